"""What is told of verdicts while a game is trained: an illness that two looks in a row find, once."""

from collections.abc import Callable, Sequence

from steadygan.diagnostics.verdicts import WELL, Verdict

__all__ = ["Found", "Teller"]

Found = dict[tuple[int, str], Verdict]
"""Verdicts that name an illness, by the member that has it and their name."""


class Teller:
    """Sure of an illness of a member when two looks in a row find it, of divergence at once; `warn`s of each once.

    >>> teller = Teller(print, lambda verdict: verdict.remedy)
    >>> ill = [Verdict("collapse", 0, ("two fakes are alike.",), "use R1")]
    >>> for step in (10, 20, 30):
    ...     teller.tell(step, teller.sure([ill]))
    step 20: collapse: two fakes are alike. Try: use R1
    """

    def __init__(self, warn: Callable[[str], None], advice: Callable[[Verdict], str], *told: str) -> None:
        """Begin with no look; of the verdicts in `told` somebody else warns."""
        self.warn, self.advice, self.told = warn, advice, set(told)
        self.before: set[tuple[int, str]] = set()

    def sure(self, found: Sequence[list[Verdict]]) -> Found:
        """Of a look, each member's verdicts: those that count, as the look before came to them too."""
        now = {(index, v.name): v for index, each in enumerate(found) for v in each if v.name not in WELL}
        before, self.before = self.before, set(now)
        return {key: v for key, v in now.items() if key in before or v.name == "diverged"}

    def tell(self, step: int, sure: Found, of: int = 1) -> None:
        """Say what is wrong, with how many of the members, how it shows with the first, and what to try."""
        for (_, name), verdict in sure.items():
            if name not in self.told:
                self.told.add(name)
                count = sum(other == name for _, other in sure)
                who = f" in {count} of {of} members" if of > 1 else ""
                title = name.replace("_", " ")
                self.warn(f"step {step:,}: {title}{who}: {verdict.evidence[0]} Try: {self.advice(verdict)}")
