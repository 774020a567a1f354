"""A kind of trial: what it promises, its trials one by one, and the table of how many held."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

__all__ = ["HEADER", "Kind", "Outcome", "as_record", "table"]

SHOWN = 20
"""So many failures of a kind are kept with their words."""


class Outcome(NamedTuple):
    """How a trial ended: what fell ("" where the promise held), its slowest seconds, and for how many it counts."""

    fell: str
    seconds: float
    count: int = 1


class Kind(NamedTuple):
    """A kind of trial. `trials(chance, count, folder)` makes at least `count` of them in an empty folder."""

    promise: str
    small: int
    full: int
    trials: Callable[[Random, int, Path], Iterator[Outcome]]


def as_record(outcomes: Iterable[Outcome]) -> dict[str, Any]:
    """The figures of a kind.

    >>> as_record([Outcome("", 0.25, 3), Outcome("a traceback", 0.5)])
    {'trials': 4, 'held': 3, 'worst_s': 0.5, 'fell': {'a traceback': 1}}
    """
    trials, held, worst, fell = 0, 0, 0.0, Counter[str]()
    for outcome in outcomes:
        trials += outcome.count
        held += outcome.count * (not outcome.fell)
        worst = max(worst, outcome.seconds)
        if outcome.fell:
            fell[outcome.fell] += 1
    return {"trials": trials, "held": held, "worst_s": round(worst, 2), "fell": dict(fell.most_common(SHOWN))}


HEADER = ["| kind | trials | promised | held | worst, s |", "|---|--:|---|--:|--:|"]


def table(kinds: Mapping[str, Kind], figures: Mapping[str, Mapping[str, Any]]) -> str:
    """The table of all kinds that have figures, as Markdown."""
    rows = [
        f"| {name} | {found['trials']:,} | {kinds[name].promise} | {found['held']:,} | {found['worst_s']:.1f} |"
        for name, found in figures.items()
        if name in kinds
    ]
    return "\n".join([*HEADER, *rows])
