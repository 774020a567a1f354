"""The protocol's rules as pure functions: which learning rate a method takes, and how two methods are compared."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

__all__ = ["Difference", "change", "difference", "ranked_rates", "ratio", "read"]


def ranked_rates(scores: Mapping[float, Sequence[float | None]]) -> list[float]:
    """The learning rates from the lowest to the highest mean kernel distance on the validation split, over seeds.

    A run that became NaN has no score, and its rate is left out. Of equal means the lower rate comes first.

    >>> ranked_rates({1e-4: [9.0, 1.0], 2e-4: [4.0, 4.0], 5e-4: [4.0, 4.0], 1e-3: [1.0, None]})
    [0.0002, 0.0005, 0.0001]
    """
    found = [
        (statistics.fmean(finite), rate)
        for rate, each in scores.items()
        if len(finite := [v for v in each if v is not None and math.isfinite(v)]) == len(each)
    ]
    return [rate for _, rate in sorted(found)]


class Difference(NamedTuple):
    """The difference of two means, first - second, and the ends of its 95 % interval; NaN where there is none."""

    value: float
    low: float
    high: float


def difference(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Welch's 95 % interval of mean(first) - mean(second), over seeds. Source: Welch 1947.

    >>> [round(v, 3) for v in difference([1.0, 2.0, 3.0], [5.0, 6.0, 7.0])]
    [-4.0, -6.267, -1.733]
    """
    value = statistics.fmean(first) - statistics.fmean(second)
    if min(len(first), len(second)) < 2:
        return Difference(value, math.nan, math.nan)
    from scipy.stats import t

    parts = [statistics.variance(each) / len(each) for each in (first, second)]
    error = sum(parts)
    if not error:
        return Difference(value, value, value)
    freedom = error**2 / sum(p**2 / (len(each) - 1) for p, each in zip(parts, (first, second)))
    wide = float(t.ppf(0.975, freedom)) * math.sqrt(error)
    return Difference(value, value - wide, value + wide)


def change(before: Sequence[float], after: Sequence[float]) -> Difference:
    """Student's 95 % interval of mean(after - before), over the runs. Source: Student 1908.

    >>> [round(v, 3) for v in change([5.0, 7.0, 6.0], [4.0, 5.0, 3.0])]
    [-2.0, -4.484, 0.484]
    """
    apart = [last - first for first, last in zip(before, after, strict=True)]
    return difference(apart, [0.0] * len(apart))


def ratio(first: Sequence[float], second: Sequence[float]) -> Difference:
    """The ratio of geometric means and its 95 % interval, Welch's of the logarithms; NaN where a value is not above 0.

    >>> [round(v, 3) for v in ratio([1.0, 2.0, 4.0], [8.0, 16.0, 32.0])]
    [0.125, 0.026, 0.602]
    """
    if min(*first, *second) <= 0:
        return Difference(math.nan, math.nan, math.nan)
    logs = ([math.log(value) for value in each] for each in (first, second))
    return Difference(*map(math.exp, difference(*logs)))


def read(found: Difference) -> str:
    """What a 95 % interval says of the claim that the first is lower.

    >>> read(Difference(-4.0, -6.0, -2.0)), read(Difference(1.0, -2.0, 4.0)), read(Difference(3.0, 1.0, 5.0))
    ('lower', 'undecided', 'higher')
    """
    if found.high < 0:
        return "lower"
    return "higher" if found.low > 0 else "undecided"
