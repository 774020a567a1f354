"""Axes of a chart: the pixel of a number, and the round numbers at the ticks."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Scale", "fitting", "short", "ticks", "written"]

WIDE = 100.0
"""The ratio of the largest to the smallest positive number from which an axis is logarithmic."""


class Scale(NamedTuple):
    """Maps `low`..`high` to pixels `start`..`stop`: linear, `log`, or linear up to `near` and logarithmic beyond."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False
    near: float | None = None

    def bent(self, values: Tensor) -> Tensor:
        """The values, transformed as the axis is."""
        if self.log:
            return values.clamp_min(1e-300).log10()
        return (values / self.near).asinh() if self.near else values

    def __call__(self, values: Tensor) -> Tensor:
        """The pixels of values [n]."""
        low, high, at = (self.bent(torch.as_tensor(v).double()) for v in (self.low, self.high, values))
        return self.start + (at - low) / (high - low) * (self.stop - self.start)


def fitting(low: float, high: float, start: float, stop: float, *, positive: float | None = None) -> Scale:
    """The scale for values from low to high; logarithmic if the smallest value, `positive`, and the range allow it.

    >>> fitting(0.25, 4.0, 100.0, 0.0).log, fitting(0.01, 4.0, 100.0, 0.0, positive=0.01).log
    (False, True)
    """
    if positive and low > 0 and high / positive > WIDE:
        return Scale(low / 1.15, high * 1.15, start, stop, log=True)
    if low == high == 0:
        return Scale(-0.04, 1.0, start, stop)
    room = 0.04 * (high - low) or 0.05 * abs(high)
    return Scale(low - room, high + room, start, stop)


def ticks(scale: Scale, most: int = 5) -> list[float]:
    """Up to about `most` round numbers inside the scale.

    >>> ticks(Scale(0.0, 4000.0, 0.0, 1.0))
    [0.0, 1000.0, 2000.0, 3000.0, 4000.0]
    >>> ticks(Scale(0.002, 30.0, 0.0, 1.0, log=True))
    [0.01, 0.1, 1.0, 10.0]
    """
    if scale.log:
        first, last = math.ceil(math.log10(scale.low) - 1e-9), math.floor(math.log10(scale.high) + 1e-9)
        every = max(1, math.ceil((last - first + 1) / most))
        return [float(f"1e{power}") for power in range(first, last + 1, every)]
    if scale.near:
        reach = math.floor(math.log10(max(abs(scale.low), abs(scale.high)) * 0.999))
        powers = [10.0**power for power in (reach, reach - 1) if 10.0**power > 3 * scale.near]
        return [v for v in (*(-p for p in powers), 0.0, *powers) if scale.low <= v <= scale.high]
    span = scale.high - scale.low
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(m * power for m in (1, 2, 5, 10, 20) if span / (m * power) <= most)
    first, last = math.ceil(scale.low / step - 1e-9), math.floor(scale.high / step + 1e-9)
    return [float(f"{i * step:.14g}") for i in range(first, last + 1)]


def short(value: float, digits: int = 4) -> str:
    """A number in few characters: thousands and millions with their prefix.

    >>> [short(v) for v in (500000.0, 1500.0, 250.0, 0.0001, -0.05, 1e-12)]
    ['500k', '1.5k', '250', '0.0001', '-0.05', '1e-12']
    """
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size <= abs(value) < 1e12:
            return f"{value / size:.{digits}g}{letter}"
    return f"{value:.{digits}g}".replace("e-0", "e-").replace("e+0", "e")


def written(values: list[float]) -> list[str]:
    """Ticks as text, with as many digits as they need to differ.

    >>> written([1.38625, 1.3863, 1.38635]), written([0.0, 500.0, 1000.0])
    (['1.38625', '1.3863', '1.38635'], ['0', '500', '1k'])
    """
    for digits in range(4, 10):
        found = [short(value, digits) for value in values]
        if len(set(found)) == len(values) and all(_same(t, v, values) for t, v in zip(found, values)):
            break
    return found if values else []


def _same(text: str, value: float, values: list[float]) -> bool:
    """Whether a tick's text is off by less than a hundredth of the distance to its neighbour."""
    sizes = {"G": 1e9, "M": 1e6, "k": 1e3}
    number = float(text.rstrip("GMk")) * sizes.get(text[-1], 1.0)
    return abs(number - value) <= 0.01 * min(abs(a - b) for a, b in zip(values, values[1:] or [math.inf]))
