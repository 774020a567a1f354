"""The values of a sweep: `a.b=[1, 2]` is a list of choices and `a.b=log(0.1, 10)` a range. They make points."""

import itertools
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch

from steadygan.config.overrides import assigned, split, value_of
from steadygan.config.resolve import sweeps
from steadygan.config.schema import parse
from steadygan.errors import UsageError
from steadygan.rng import generator

__all__ = ["Range", "Values", "as_ensemble", "draw", "points", "read", "swept", "with_whole"]

MOST = 10_000
"""Most points of a sweep."""

RANGE = re.compile(r"\s*(log|uniform)\s*\((.*)\)\s*")


class Range(NamedTuple):
    """The numbers from `low` to `high`, uniform in the logarithm or in the number itself, or only the whole ones."""

    low: float
    high: float
    log: bool
    whole: bool = False


Values = tuple[Any, ...] | Range
"""What a key of a sweep takes: its choices, of which a fixed value is the only one, or a range."""


def read(assignments: Iterable[str]) -> dict[str, Values]:
    """The values of each key, in the order given.

    A list is a list of choices. So a value that is a list itself stands in a list of one.

    >>> read(["batch=[8, 16]", "optimizer.betas=[[0, 0.9]]", "steps=100"])
    {'batch': (8, 16), 'optimizer.betas': ([0, 0.9],), 'steps': (100,)}
    >>> read(["optimizer.lr=log(1e-4, 1e-2)"])
    {'optimizer.lr': Range(low=0.0001, high=0.01, log=True, whole=False)}
    """
    found: dict[str, Values] = {}
    for assignment in assignments:
        path, text = split(assignment)
        if path in found:
            raise UsageError(f"{path} is given twice: give it once, with all its values in one list")
        found[path] = _values(path, text)
    return found


def _values(path: str, text: str) -> Values:
    ranged = RANGE.fullmatch(text)
    if ranged:
        return _range(path, text.strip(), ranged[1] == "log", ranged[2].split(","))
    value = value_of(path, text)
    if not isinstance(value, list):
        return (value,)
    if not value:
        raise UsageError(f"{path}=[] lists no value: list one or more, as in {path}=[1, 2]")
    return tuple(value)


def _range(path: str, text: str, log: bool, parts: list[str]) -> Range:
    ends = [value_of(path, part) for part in parts]
    numbers = [float(end) for end in ends if isinstance(end, int | float) and not isinstance(end, bool)]
    if len(parts) != 2 or len(numbers) != 2 or not all(map(math.isfinite, numbers)):
        raise UsageError(f"{path}={text}: a range takes two numbers, as in {path}=uniform(0.1, 10)")
    low, high = numbers
    if low >= high or (log and low <= 0):
        least = " and above 0" if log else ""
        raise UsageError(f"{path}={text}: the first number of a range is less than the second{least}")
    return Range(low, high, log)


def swept(values: Mapping[str, Values]) -> list[str]:
    """The keys that have more than one value.

    >>> swept({"steps": (100,), "batch": (8, 16), "optimizer.lr": Range(0.1, 1, False)})
    ['batch', 'optimizer.lr']
    """
    return [path for path, each in values.items() if isinstance(each, Range) or len(each) > 1]


def with_whole(raw: dict[str, Any], values: Mapping[str, Values], source: str) -> dict[str, Values]:
    """`values` with the ranges of whole numbers marked: those of keys that take no fraction.

    Raises UsageError where a key does not take the ends of its range.
    """
    first = {path: each.low if isinstance(each, Range) else each[0] for path, each in values.items()}
    made = dict(values)
    for path, each in values.items():
        if isinstance(each, Range):
            for end in (each.low, each.high):
                parse(assigned(raw, {**first, path: end}.items()), source)
            made[path] = each._replace(whole=not _parses(raw, {**first, path: _fraction(each)}))
    return made


def _fraction(found: Range) -> float:
    """A number of the range that is not whole."""
    middle = (found.low + found.high) / 2
    return middle if middle % 1 else middle + min(0.25, (found.high - found.low) / 4)


def _parses(raw: dict[str, Any], point: Mapping[str, Any]) -> bool:
    try:
        parse(assigned(raw, point.items()))
    except UsageError:
        return False
    return True


def draw(found: Range, share: float) -> float | int:
    """The number at a share in [0, 1) of a range, with 4 digits, or more where the range is narrow.

    A range of whole numbers has both ends in it.

        uniform: low + share (high - low)        log: low (high / low)^share

    >>> draw(Range(0.1, 10, log=True), 0.5), draw(Range(1, 3, log=False, whole=True), 0.9)
    (1.0, 3)
    >>> draw(Range(0.9999, 0.99999, log=False), 0.5)
    0.999945
    """
    high = found.high + 1 if found.whole else found.high
    at = found.low * (high / found.low) ** share if found.log else found.low + share * (high - found.low)
    if found.whole:
        return min(math.floor(at), int(found.high))
    narrow = math.log10(max(abs(at) / (found.high - found.low), 1.0)) if found.high > found.low else 0.0
    return min(max(float(f"{at:.{4 + max(0, math.ceil(narrow) - 1)}g}"), found.low), found.high)


def points(values: Mapping[str, Values], samples: int | None, seed: int) -> list[dict[str, Any]]:
    """The points of a sweep, each with a value of every key.

    Lists alone make a grid: every combination. With ranges there are `samples` draws. Draw n is a function of `seed`
    and n. It takes combination n of the lists, and begins anew after the last one. Raises UsageError where nothing
    is swept, and where `samples` is missing or unused.

    >>> points({"batch": (8, 16), "steps": (5, 6)}, None, 0)[:3]
    [{'batch': 8, 'steps': 5}, {'batch': 8, 'steps': 6}, {'batch': 16, 'steps': 5}]
    """
    lists = {path: each for path, each in values.items() if not isinstance(each, Range)}
    ranges = {path: each for path, each in values.items() if isinstance(each, Range)}
    size = math.prod(len(each) for each in lists.values())
    _check(swept(values), list(ranges), size, samples)
    grid = [dict(zip(lists, combination, strict=True)) for combination in itertools.product(*lists.values())]
    if not ranges:
        return grid
    return [
        {
            path: grid[n % size][path] if path in lists else draw(ranges[path], _share(seed, n, path))
            for path in values
        }
        for n in range(samples or 0)
    ]


def _share(seed: int, number: int, path: str) -> float:
    return torch.rand((), dtype=torch.float64, generator=generator("sweep", seed, number, path)).item()


def _check(several: list[str], ranges: list[str], size: int, samples: int | None) -> None:
    if not several:
        raise UsageError(
            "nothing is swept: give a key several values, as in 'optimizer.lr=[1e-4, 1e-3]' or "
            "'optimizer.lr=log(1e-4, 1e-2)'"
        )
    if ranges and samples is None:
        raise UsageError(f"{ranges[0]} is a range: say how many draws with --samples, as in --samples 20")
    if not ranges and samples is not None:
        raise UsageError(
            f"--samples is for ranges, and lists alone make a grid of {size:,} runs: leave it out"
        )
    if max(size, samples or 0) > MOST:
        raise UsageError(f"the sweep has more than {MOST:,} points: give fewer values or --samples")


def as_ensemble(
    raw: dict[str, Any], several: Iterable[str], chosen: list[dict[str, Any]]
) -> dict[str, Any] | None:
    """The configuration of one ensemble that has every point as a member; None where a swept key takes no list.

    >>> raw = {"data": "ring8", "networks": "mlp", "optimizer": "sgd", "steps": 9}
    >>> as_ensemble(raw, ["optimizer.lr"], [{"optimizer.lr": 0.1}, {"optimizer.lr": 0.2}])["optimizer"]
    {'name': 'sgd', 'lr': [0.1, 0.2]}
    >>> as_ensemble(raw, ["batch"], [{"optimizer.lr": 0.1, "batch": 8}, {"optimizer.lr": 0.1, "batch": 9}])
    """
    lists = {path: [point[path] for point in chosen] for path in several}
    try:
        made = assigned(raw, [*(chosen[0] | lists).items(), ("sweep", "paired")])
        return made if sweeps(parse(made)).keys() == lists.keys() else None
    except UsageError:
        return None
