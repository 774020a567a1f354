"""What the figures of experiments.table2 say of one table: scores, rates and curves by method."""

import math
import statistics
from collections.abc import Container, Mapping, Sequence
from typing import Any, NamedTuple

from experiments.table2.choice import ranked_rates
from experiments.table2.methods import METHODS, RATES
from experiments.table2.tables import TABLES, Table

__all__ = [
    "CONTROL",
    "Figures",
    "Tried",
    "all_diagnosed",
    "at",
    "begun",
    "diagnosed",
    "ended",
    "failing",
    "fails",
    "finals",
    "gaps",
    "grid",
    "hours",
    "is_worse",
    "ranked",
    "scores",
    "undiagnosed",
    "untrained",
]

Figures = Mapping[str, dict[str, Any]]
"""The records of the study, by name."""

CONTROL = "sn"
"""A method that fails in no table: the verdicts on its runs stand beside those on the runs that fail."""


def of(figures: Figures, table: str, part: str) -> dict[str, list[dict[str, Any]]]:
    """The lines of one part of a table by method, in the order of METHODS."""
    mine = [one for one in figures.values() if one.get("table") == table and one["part"] == part]
    found = {method: [one for one in mine if one["method"] == method] for method in METHODS}
    return {method: lines for method, lines in found.items() if lines}


def grid(figures: Figures, table: str) -> dict[str, dict[float, list[float | None]]]:
    """The validation scores of each method at each rate, at the last step, over the seeds of the grid."""
    lines = of(figures, table, "grid")
    return {
        method: {
            rate: [one["curve"][-1][1] for one in each if one["rate"] == rate]
            for rate in dict.fromkeys(one["rate"] for one in each)
        }
        for method, each in lines.items()
    }


def ranked(figures: Figures, table: str, method: str) -> list[float]:
    """A method's rates, the one that the validation split chooses first; empty where the grid is not complete."""
    found = grid(figures, table).get(method, {})
    whole = len(found) == len(RATES) and len({len(each) for each in found.values()}) == 1
    return ranked_rates(found) if whole else []


def finals(figures: Figures, table: str) -> dict[str, list[dict[str, Any]]]:
    """The lines of the fresh seeds of each method, at the rate that its grid chooses, if it has one."""
    kept = {}
    for method, lines in of(figures, table, "final").items():
        rates = ranked(figures, table, method)
        kept[method] = [line for line in lines if not rates or line["rate"] == rates[0]]
    return {method: lines for method, lines in kept.items() if lines}


def diagnosed(figures: Figures, table: str) -> dict[str, dict[float, list[dict[str, Any]]]]:
    """The lines of the runs with a diagnosis by method and rate, the best rate of the grid first."""
    found = of(figures, table, "diagnosis")
    return {
        method: {
            rate: mine
            for rate in ranked(figures, table, method)
            if (mine := [line for line in lines if line["rate"] == rate])
        }
        for method, lines in found.items()
    }


class Tried(NamedTuple):
    """The runs of a method at a rate that have a diagnosis."""

    table: Table
    method: str
    rate: float
    runs: Sequence[dict[str, Any]]


def all_diagnosed(figures: Figures) -> list[Tried]:
    """All runs with a diagnosis, in the order of the tables, the methods and the grid."""
    return [
        Tried(table, method, rate, runs)
        for table in TABLES
        for method, tries in diagnosed(figures, str(table)).items()
        for rate, runs in tries.items()
    ]


def begun(lines: Sequence[dict[str, Any]]) -> float:
    """The mean of some runs before training, on the validation split."""
    return statistics.fmean(line["curve"][0][1] for line in lines)


def ended(line: dict[str, Any]) -> float:
    """The score of a run at the last step, on the validation split; NaN where it has none."""
    value = line["curve"][-1][1]
    return math.nan if value is None else value


def is_worse(line: dict[str, Any]) -> bool:
    """Whether a run is not better than its own generator before training, on the validation split."""
    return not ended(line) < begun([line])


def fails(lines: Sequence[dict[str, Any]]) -> bool:
    """Whether the mean of some runs at the last step is not below that of the same generators before training."""
    found = [value for line in lines if math.isfinite(value := ended(line))]
    return not (found and statistics.fmean(found) < begun(lines))


def undiagnosed(figures: Figures, table: str) -> list[tuple[str, float, int]]:
    """The methods and rates that need a diagnosis, with the first seed that has none.

    They are all rates of the methods that fail. The control beside them is CONTROL at its own rate.
    """
    bad = failing(figures, table)
    wanted = [(m, rate) for m in bad for rate in ranked(figures, table, m)]
    if bad:
        wanted += [(CONTROL, rate) for rate in ranked(figures, table, CONTROL)[:1]]
    lines, known = finals(figures, table), diagnosed(figures, table)

    def without(method: str, rate: float) -> list[int]:
        done = {line["seed"] for line in known.get(method, {}).get(rate, ())}
        return [line["seed"] for line in lines[method] if line["seed"] not in done]

    return [(m, rate, min(gone)) for m, rate in dict.fromkeys(wanted) if (gone := without(m, rate))]


def at(line: dict[str, Any], point: str, score: str) -> float:
    """A score of a run at a point; NaN where it has none."""
    card = line["at"].get(point, {}).get("card")
    return card["scores"][score]["value"] if card else math.nan


def scores(figures: Figures, table: str, point: str, score: str) -> dict[str, list[float]]:
    """The final scores of each method over its seeds, without those that are not finite."""
    found = {m: [at(line, point, score) for line in lines] for m, lines in finals(figures, table).items()}
    return {m: kept for m, each in found.items() if (kept := [v for v in each if math.isfinite(v)])}


def gaps(figures: Figures, table: str, point: str, logits: bool = False) -> dict[str, list[float]]:
    """How well each method's critics know their images, over its seeds: the gap, in spreads or in logits."""

    def gap(critic: dict[str, Any]) -> float:
        return critic["over_held"]["value"] * (critic["spread"] if logits else 1)

    found = finals(figures, table)
    return {method: [gap(line["at"][point]["critic"]) for line in lines] for method, lines in found.items()}


def untrained(figures: Figures, table: str, methods: Container[str] = METHODS) -> dict[bool, list[float]]:
    """The validation scores of the methods' generators at step 0, one a seed, by whether they have batch norm."""
    found: dict[bool, dict[int, float]] = {}
    for method, lines in finals(figures, table).items():
        if method not in methods:
            continue
        mine = found.setdefault(METHODS[method].batch_norm or table.endswith("gn_cnn"), {})
        mine |= {line["seed"]: line["curve"][0][1] for line in lines}
    return {batch_norm: list(by_seed.values()) for batch_norm, by_seed in found.items()}


def failing(figures: Figures, table: str) -> list[str]:
    """The methods that fail at the chosen rate."""
    return [method for method, lines in finals(figures, table).items() if fails(lines)]


def hours(figures: Figures, table: str, methods: Sequence[str], members: int) -> float:
    """The hours of one core that the runs of some methods take, by their FLOPs and by the speed of those that ran.

    The speed is the median over the finished runs. NaN where none has run, or where a cost is not known.
    """
    costs = {
        (one["table"], one["method"]): one["flops"] for one in figures.values() if one.get("part") == "cost"
    }
    speeds = [
        costs[key] / one["seconds_a_step"]
        for one in figures.values()
        if one.get("part") == "final" and (key := (one["table"], one["method"])) in costs
    ]
    each = [figures.get(f"{table}-{method}-cost") for method in methods]
    if not speeds or None in each:
        return math.nan
    work = sum(one["flops"] * one["steps"] for one in each if one)
    return members * work / statistics.median(speeds) / 3600
