"""A kind of trial: what it promises, its trials one by one, and the table of how many held."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

__all__ = ["HEADER", "NONE", "Kind", "Outcome", "as_record", "joined", "table"]

SHOWN = 20
"""So many failures of a kind are kept with their words."""


class Outcome(NamedTuple):
    """How a trial ended: what fell ("" where the promise held), its slowest seconds, and for how many it counts."""

    fell: str
    seconds: float
    count: int = 1


class Kind(NamedTuple):
    """A kind of trial. `trials(chance, count, folder)` makes at least `count` of them in an empty folder.

    There are `small` or `full` of them, and figures are kept after each `block`. None is all there are, in one block.
    """

    promise: str
    small: int
    full: int | None
    trials: Callable[[Random, Any, Path], Iterator[Outcome]]
    block: int = 50

    def lacks(self, figure: Mapping[str, Any]) -> int | None:
        """How many trials of its next block are lacking in the figures of a kind; 0 where it has all.

        >>> kind = Kind("no traceback", 1, 120, lambda chance, count, folder: iter(()))
        >>> [kind.lacks({"scale": "full", "trials": trials}) for trials in (0, 100, 121)]
        [50, 20, 0]
        """
        count = self.small if figure["scale"] == "small" else self.full
        if count is None:
            return 0 if figure["trials"] else None
        return max(0, min(self.block, count - int(figure["trials"])))


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


def joined(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of two blocks of a kind as one.

    >>> joined(as_record([Outcome("late", 2.0)]), as_record([Outcome("", 1.0), Outcome("late", 1.0)]))
    {'trials': 3, 'held': 1, 'worst_s': 2.0, 'fell': {'late': 2}}
    """
    return {
        "trials": one["trials"] + other["trials"],
        "held": one["held"] + other["held"],
        "worst_s": max(one["worst_s"], other["worst_s"]),
        "fell": dict((Counter(one["fell"]) + Counter(other["fell"])).most_common(SHOWN)),
    }


NONE = as_record([])
"""The figures of a kind before its first block."""

HEADER = ["| kind | trials | promised | held | worst, s |", "|---|--:|---|--:|--:|"]


def table(kinds: Mapping[str, Kind], figures: Mapping[str, Mapping[str, Any]]) -> str:
    """The table of all kinds that have figures, as Markdown."""
    rows = [
        f"| {name} | {figures[name]['trials']:,} | {kind.promise} | {figures[name]['held']:,} "
        f"| {figures[name]['worst_s']:.1f} |"
        for name, kind in kinds.items()
        if name in figures
    ]
    return "\n".join([*HEADER, *rows])
