"""Warnings during training: a problem that two diagnoses in a row find is reported once."""

from collections.abc import Callable, Sequence

from steadygan.diagnostics.verdicts import WELL, Verdict

__all__ = ["Found", "WarnOnce"]

Found = dict[tuple[int, str], Verdict]
"""The verdicts that name a problem, by member and name."""


class WarnOnce:
    """Confirm a member's problem when two diagnoses in a row find it, divergence at once; `warn` of each once.

    >>> warnings = WarnOnce(print, lambda verdict: verdict.remedy)
    >>> ill = [Verdict("collapse", 0, ("two fakes are alike.",), "use R1")]
    >>> for step in (10, 20, 30):
    ...     warnings.tell(step, warnings.sure([ill]))
    step 20: collapse: two fakes are alike. Try: use R1
    """

    def __init__(self, warn: Callable[[str], None], advice: Callable[[Verdict], str], *told: str) -> None:
        """Start with no diagnosis. The verdicts in `told` are reported elsewhere."""
        self.warn, self.advice, self.told = warn, advice, set(told)
        self.before: set[tuple[int, str]] = set()

    def sure(self, found: Sequence[list[Verdict]]) -> Found:
        """The confirmed verdicts: those of this diagnosis that the previous one had too."""
        now = {(index, v.name): v for index, each in enumerate(found) for v in each if v.name not in WELL}
        before, self.before = self.before, set(now)
        return {key: v for key, v in now.items() if key in before or v.name == "diverged"}

    def tell(self, step: int, sure: Found, of: int = 1) -> None:
        """Report what is wrong, in how many members, with the first one's evidence, and what to try."""
        for (_, name), verdict in sure.items():
            if name not in self.told:
                self.told.add(name)
                count = sum(other == name for _, other in sure)
                who = f" in {count} of {of} members" if of > 1 else ""
                title = name.replace("_", " ")
                advice = f" Try: {found}" if (found := self.advice(verdict)) else ""
                self.warn(f"step {step:,}: {title}{who}: {verdict.evidence[0]}{advice}")
