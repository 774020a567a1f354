"""Verdicts: what is wrong with a game according to its history, with evidence and what to try next.

The signs of each problem are in `illnesses` and `mistakes`, the remedies in `remedies`.
"""

import math
from html import escape
from typing import NamedTuple

from steadygan.diagnostics.history import History
from steadygan.diagnostics.illnesses import ILLNESSES, diverged, narrow, unfinished
from steadygan.diagnostics.remedies import remedy
from steadygan.diagnostics.trends import Sick, known, late, one_point

__all__ = ["VERDICTS", "WELL", "Verdict", "Verdicts", "as_html", "diagnose", "said"]


class Verdict(NamedTuple):
    """A name of `VERDICTS`, the step since which its signs hold, sentences of evidence, and the remedy."""

    name: str
    since: int
    evidence: tuple[str, ...]
    remedy: str = ""
    config: str = ""

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return as_html(self)


class Verdicts(list[Verdict]):
    """Verdicts, the cause first: a list that a notebook shows as text."""

    def _repr_html_(self) -> str:
        return "".join(map(as_html, self))


VERDICTS = {
    "diverged": "a parameter became NaN or infinite",
    "frozen": "the parameters of a player never change",
    "mismatched_ranges": "real samples and fakes lie in different ranges",
    "reversed_sign": "the critic's logits are low for reals and high for fakes",
    "cancelled_gradient": "the critic's gradient with respect to its input cancels, as right after a normalization",
    "dead_game": "no player changes its parameters any more",
    "dead_critic": "the critic gives every sample the same output, so G receives no gradient",
    "vanishing": "the critic recognises the fakes, but its gradient does not reach G",
    "memorisation": "G's samples are copies of training samples",
    "overfitted": "the critic distinguishes training samples from new ones of the same distribution",
    "exploding": "the critic's slopes, and with them the gradient that G receives, grow without limit",
    "hopping": "the fakes move from one part of the data to another, again and again",
    "collapse": "the fakes are much less diverse than the data",
    "rotation": "the players circle around a solution and do not come closer",
    "healthy": "no sign of a problem; scores say how good the samples are",
    "undecided": "too little is known yet",
}
"""Each verdict in a sentence. Causes stand before their effects, and `diagnose` returns verdicts in this order."""

WELL = ("healthy", "undecided")
"""The verdicts that name no problem."""

LEAST = 6
"""Fewest diagnostics passes for a verdict, or logged lines where there is none: a quarter must be more than one."""

REACHED = 0.1
"""Coverage below which no run is called healthy. Calibrated: healthy runs had .3 and more."""


def diagnose(history: History) -> Verdicts:
    """Every problem whose signs hold now, the cause first; else `healthy`, or `undecided` when too little is known.

    >>> diagnose(History({}, {}))[0].name
    'undecided'
    """
    return Verdicts(_found(history))


def _found(history: History) -> list[Verdict]:
    found = diverged(history)
    if found:
        return [_treated(found, history)]
    if not _enough(history):
        return [
            Verdict(
                "undecided",
                0,
                ("fewer than six diagnostics passes are known, or logged lines where there is none.",),
            )
        ]
    ill = [found for sign in ILLNESSES if (found := sign(history))]
    ill = sorted(ill, key=lambda found: list(VERDICTS).index(found.name))
    if ill:
        first, *rest = [_treated(found, history) for found in _causes(ill)]
        return [first._replace(evidence=first.evidence + _near_equilibrium(history)), *rest]
    if narrow(history).holds:
        return [Verdict("undecided", 0, (unfinished(history),))]
    if late(history, "fakes/coverage") < REACHED and not _repeated(history):
        return [Verdict("undecided", 0, (_away(history),))]
    return [Verdict("healthy", 0, _wellness(history))]


def _causes(ill: list[Sick]) -> list[Sick]:
    """Without the consequences of a player that never changes: all but mistakes in the set-up."""
    if ill[0].name != "frozen":
        return ill
    last = list(VERDICTS).index("cancelled_gradient")
    return [found for found in ill if list(VERDICTS).index(found.name) <= last]


def _repeated(history: History) -> bool:
    """Whether real samples repeat, as in a small set or in one point: then the balls of the coverage have no radius."""
    return bool(len(known(history, "fakes/copies").values)) or one_point(history)


def _away(history: History) -> str:
    return (
        f"no sign of a problem, but only {late(history, 'fakes/coverage'):.0%} of the reals have a fake nearby: "
        "train longer, or change the networks."
    )


def _treated(found: Sick, history: History) -> Verdict:
    return Verdict(*found[:3], *remedy(found.name, {**history.facts, **found.facts}))


def _enough(history: History) -> bool:
    """Whether there are enough diagnostics passes, or enough logged lines where there is no pass."""
    counts = {key: len(known(history, key).steps) for key in history.series}
    passes = [
        n for key, n in counts.items() if n and key.startswith(("critic/spread", "signal/mean", "update/"))
    ]
    lines = [n for key, n in counts.items() if key.startswith("loss/")]
    return max(passes or lines, default=0) >= LEAST


def _wellness(history: History) -> tuple[str, ...]:
    keys = ("critic/spread", "signal/mean", "slope/max", "fakes/diversity", "fakes/coverage")
    said = [f"{key} is {late(history, key):.3g}" for key in keys if len(known(history, key).values)]
    caveat = _near_equilibrium(history)
    return (f"{', '.join(said)}.", *caveat) if said else ("the losses change and stay finite.", *caveat)


def _near_equilibrium(history: History) -> tuple[str, ...]:
    """The caveat on losses near 2 log 2 and log 2, which a critic under fake-as-real has by construction."""
    loss = late(history, "loss/D")
    if not history.facts.get("fake_as_real") or not abs(loss - 2 * math.log(2)) < 0.05:
        return ()
    return (
        f"loss/D is {loss:.4g}, near 2 log 2 = 1.386. That says little here: fake-as-real keeps the critic uncertain, "
        "so its losses lie there whether or not modes are missing. Check fakes/coverage.",
    )


def said(verdicts: list[Verdict]) -> str:
    """The verdicts as text, as `steadygan diagnose` prints them, the main one first.

    >>> print(said([Verdict("collapse", 1200, ("two fakes are alike.",), "try R1", "critic.penalties=[r1]")]))
    collapse, since step 1,200: the fakes are much less diverse than the data
      two fakes are alike.
      next: try R1
        critic.penalties=[r1]
    """
    return "\n".join(line for verdict in verdicts for line in _lines(verdict))


def _lines(verdict: Verdict) -> list[str]:
    since = f", since step {verdict.since:,}" if verdict.since else ""
    head = f"{verdict.name}{since}: {VERDICTS[verdict.name]}"
    after = [f"  next: {verdict.remedy}"] if verdict.remedy else []
    after += [f"    {verdict.config}"] if verdict.config else []
    return [head, *(f"  {sentence}" for sentence in verdict.evidence), *after]


def as_html(verdict: Verdict, members: str = "") -> str:
    """A verdict as HTML, and which `members` of an ensemble have it: for the report and for notebooks.

    >>> as_html(Verdict("healthy", 0, ("a < b.",))).partition("</p>")[2]
    '<p class="small">a &lt; b.</p></div>'
    """
    well = verdict.name in WELL
    since = f" since step {verdict.since:,}" if verdict.since and not well else ""
    where = f" in {escape(members)}" if members else ""
    name = escape(verdict.name.replace("_", " "))
    parts = [f"<p><strong>{name}</strong>{where}{since}: {VERDICTS[verdict.name]}</p>"]
    parts += [f'<p class="small">{escape(sentence)}</p>' for sentence in verdict.evidence]
    config = f": <code>{escape(verdict.config)}</code>" if verdict.config else ""
    parts += [f'<p class="small"><b>Try:</b> {escape(verdict.remedy)}{config}</p>'] if verdict.remedy else []
    return f'<div class="verdict{" well" if well else ""}">{"".join(parts)}</div>'
