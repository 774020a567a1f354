"""Trends in a history: whether a sign holds now, since when, how a scalar grew, whether it oscillates."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from steadygan.diagnostics.history import History, Series

__all__ = [
    "LATE",
    "Sick",
    "Sign",
    "at_steps",
    "early",
    "known",
    "lasting",
    "late",
    "one_point",
    "rank_correlation",
    "swings",
]

LATE = 4
"""`late` values are medians over the last quarter of a series; during a run, over the last quarter so far."""

MOST = 0.75
"""A sign holds if it is true at this share of the late points. It began where this share is true from there on."""


class Sick(NamedTuple):
    """A problem, the step since which its signs hold, sentences with the measured numbers, and facts for its remedy."""

    name: str
    since: int
    evidence: tuple[str, ...]
    facts: Mapping[str, Any] = MappingProxyType({})


class Sign(NamedTuple):
    """Whether a sign holds now, and the step since which it does."""

    holds: bool
    since: int


def known(history: History, key: str) -> Series:
    """A series without the values that are not finite; empty if there is none.

    >>> known(History({"x": Series(torch.tensor([1.0, 2.0]), torch.tensor([torch.nan, 3.0]))}, {}), "x").steps
    tensor([2.])
    """
    found = history.series.get(key)
    if found is None:
        return Series(torch.empty(0), torch.empty(0))
    finite = found.values.isfinite()
    return Series(found.steps[finite], found.values[finite])


def at_steps(history: History, key: str, steps: Tensor) -> Tensor:
    """A series at these steps; NaN where it has no value, so that no comparison holds there."""
    known_steps, values = known(history, key)
    places = dict(zip(known_steps.tolist(), values.tolist()))
    return torch.tensor([places.get(step, torch.nan) for step in steps.tolist()], dtype=torch.float64)


def late(history: History, key: str) -> float:
    """The median of the last quarter of a series; NaN if there is none.

    >>> late(History({"x": Series(torch.arange(8.0), torch.arange(8.0))}, {}), "x")
    6.0
    """
    values = known(history, key).values
    return values[-max(1, len(values) // LATE) :].median().item() if len(values) else torch.nan


def one_point(history: History) -> bool:
    """Whether the data are one point, as in the Dirac-GAN: no distance of two reals exists to compare with."""
    found = history.series.get("fakes/diversity")
    return found is not None and not bool(found.values.isfinite().any())


def early(history: History, key: str) -> float:
    """The median of a series from its first tenth to its first fifth: after the start, before much training."""
    values = known(history, key).values
    return values[len(values) // 10 : len(values) // 5 + 1].median().item() if len(values) else torch.nan


def lasting(steps: Tensor, flags: Tensor) -> Sign:
    """Whether a sign holds at three quarters of the last quarter of its points, and the step since which it does.

    >>> lasting(torch.arange(8), torch.tensor([0, 1, 0, 0, 1, 1, 1, 1]).bool())
    Sign(holds=True, since=4)
    """
    if not len(flags) or flags[-max(1, len(flags) // LATE) :].double().mean() < MOST:
        return Sign(False, 0)
    after = flags.double().flip(0).cumsum(0).flip(0) / torch.arange(len(flags), 0, -1)
    return Sign(True, int(steps[(flags & (after >= MOST)).nonzero()[0]]))


def rank_correlation(a: Tensor, b: Tensor) -> float:
    """Spearman's correlation of two series [n], with mean ranks for ties; NaN if one of them is constant.

    >>> rank_correlation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 10.0, 1000.0]))
    1.0
    """
    ranks = [(x[:, None] > x).double().sum(1) + (x[:, None] == x).double().sum(1) / 2 for x in (a, b)]
    one, other = (rank - rank.mean() for rank in ranks)
    return float(one @ other / (one @ one * (other @ other)).sqrt())


def swings(values: Tensor, least: int = 3) -> tuple[int, float]:
    """(periods, correlation) of a series [n] that oscillates.

    A series oscillates if its autocorrelation falls below -1/2 and returns above 1/2. Its straight trend is
    removed first. A pure circle has a cosine as autocorrelation. Noise stays within 2/sqrt(n) of 0. A
    decaying spiral has small oscillations at the end, which the caller checks. Returns (0, 0.0) if there are
    fewer than `least` periods or no second peak.

    >>> swings(torch.sin(torch.arange(100.0) * 0.5))[0], swings(torch.arange(100.0))[0]
    (7, 0)
    """
    n = len(values)
    if n < 4 * least:
        return 0, 0.0
    time = torch.linspace(-1, 1, n, dtype=values.dtype)
    x = values - values.mean()
    x = x - time * (x @ time) / (time @ time)
    power = x @ x
    if not power > 1e-12 * n * (values.square().mean() + 1e-300):
        return 0, 0.0
    lags = torch.arange(1, n // least + 1)
    # sum_i x_i x_{i + lag} of all lags at once: the power spectrum transformed back, padded against wrapping around
    products = torch.fft.irfft(torch.fft.rfft(x, 2 * n).abs().square(), 2 * n)[lags]
    found = products / power * (n / (n - lags))
    below = (found < -0.5).nonzero()
    above = (found > 0.5).nonzero()
    if not len(below) or not bool((above > below[0]).any()):
        return 0, 0.0
    rise = int(above[above > below[0]][0])
    falls = (found[rise:] <= 0.5).nonzero()
    peak = found[rise : rise + int(falls[0])] if len(falls) else found[rise:]
    return n // (rise + int(peak.argmax()) + 1), peak.max().item()
