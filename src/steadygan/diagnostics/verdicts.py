"""What is wrong with a game, said from its history: verdicts with evidence, and what to try next.

The signs of each illness are in `illnesses`, the remedies in `remedies`.
"""

import math
from typing import NamedTuple

from steadygan.diagnostics.history import History
from steadygan.diagnostics.illnesses import ILLNESSES, Sick, diverged
from steadygan.diagnostics.remedies import remedy
from steadygan.diagnostics.trends import known, late, one_point

__all__ = ["VERDICTS", "WELL", "Verdict", "diagnose", "said"]


class Verdict(NamedTuple):
    """A name of `VERDICTS`, the step since which its signs stand, sentences with numbers, and what to try next."""

    name: str
    since: int
    evidence: tuple[str, ...]
    remedy: str = ""
    config: str = ""


VERDICTS = {
    "diverged": "a parameter became NaN or infinite",
    "dead_game": "no player moves any more",
    "dead_critic": "the critic says the same of everything, so that G is told nothing",
    "vanishing": "the critic knows the fakes, but its gradient does not reach G",
    "memorisation": "G's samples are training samples",
    "overfitted": "the critic tells training samples from new ones of the same law",
    "exploding": "the critic's slopes, and with them what G is told, grow without end",
    "hopping": "the fakes leave one part of the data for another, again and again",
    "collapse": "the fakes are much less various than the data",
    "rotation": "the players circle around a solution and come no nearer",
    "healthy": "none of these signs",
    "undecided": "too little is known yet",
}
"""Each verdict in a sentence, causes before their effects: the order in which `diagnose` gives them."""

WELL = ("healthy", "undecided")
"""The verdicts that name no illness."""

LEAST = 6
"""Examinations (or logged lines) below which nothing is said: a quarter of them must be more than one."""

REACHED = 0.1
"""Coverage below which no run is called healthy. Calibrated: healthy .3 and more."""


def diagnose(history: History) -> list[Verdict]:
    """Every illness whose signs stand now, the cause first; `healthy` alone, or `undecided` when too little is known.

    >>> diagnose(History({}, {}))[0].name
    'undecided'
    """
    found = diverged(history)
    if found:
        return [_treated(found, history)]
    if not _enough(history):
        return [Verdict("undecided", 0, ("fewer than six examinations or lines are known.",))]
    ill = [found for sign in ILLNESSES if (found := sign(history))]
    ill = sorted(ill, key=lambda found: list(VERDICTS).index(found.name))
    if ill:
        first, *rest = [_treated(found, history) for found in ill]
        return [first._replace(evidence=first.evidence + _near_equilibrium(history)), *rest]
    if late(history, "fakes/coverage") < REACHED and not _repeated(history):
        return [Verdict("undecided", 0, (_away(history),))]
    return [Verdict("healthy", 0, _wellness(history))]


def _repeated(history: History) -> bool:
    """Whether real samples repeat, as those of a small set or of one point do, which leaves coverage no radius."""
    return bool(len(known(history, "fakes/copies").values)) or one_point(history)


def _away(history: History) -> str:
    return (
        f"no sign of an illness, but only {late(history, 'fakes/coverage'):.0%} of the reals have a fake near: "
        "train longer, or doubt the networks."
    )


def _treated(found: Sick, history: History) -> Verdict:
    return Verdict(*found, *remedy(found.name, history.facts))


def _enough(history: History) -> bool:
    keys = (*(key for key in history.series if key.startswith("loss/")), "critic/spread", "signal/mean")
    return max((len(known(history, key).steps) for key in keys), default=0) >= LEAST


def _wellness(history: History) -> tuple[str, ...]:
    keys = ("critic/spread", "signal/mean", "slope/max", "fakes/diversity", "fakes/coverage")
    said = [f"{key} is {late(history, key):.3g}" for key in keys if len(known(history, key).values)]
    caveat = _near_equilibrium(history)
    return (f"{', '.join(said)}.", *caveat) if said else ("the losses move and stay finite.", *caveat)


def _near_equilibrium(history: History) -> tuple[str, ...]:
    """The caveat to losses near 2 log 2 and log 2, which fake-as-real's critic has by construction."""
    loss = late(history, "loss/D")
    if not history.facts.get("fake_as_real") or not abs(loss - 2 * math.log(2)) < 0.05:
        return ()
    return (
        f"loss/D is {loss:.4g}, near 2 log 2 = 1.386, but that says little here: fake-as-real keeps the critic from "
        "being sure, so its losses lie there whether or not modes are missing; look at fakes/coverage.",
    )


def said(verdicts: list[Verdict]) -> str:
    """Verdicts as `steadygan diagnose` prints them, the main one first.

    >>> print(said([Verdict("collapse", 1200, ("two fakes are alike.",), "try R1", "critic.penalties=[r1]")]))
    collapse, since step 1,200: the fakes are much less various than the data
      two fakes are alike.
      next: try R1
        critic.penalties=[r1]
    """
    return "\n".join(line for verdict in verdicts for line in _lines(verdict))


def _lines(verdict: Verdict) -> list[str]:
    since = f", since step {verdict.since:,}" if verdict.since else ""
    head = f"{verdict.name}{since}: {VERDICTS[verdict.name]}"
    after = [f"  next: {verdict.remedy}", f"    {verdict.config}"] if verdict.remedy else []
    return [head, *(f"  {sentence}" for sentence in verdict.evidence), *after]
