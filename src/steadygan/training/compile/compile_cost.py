"""Whether compiling a step pays: what it is likely to cost, against the whole run uncompiled."""

import time
from collections.abc import Sequence
from typing import NamedTuple

import torch

from steadygan.game import Draw, State, Step
from steadygan.training.flop_meter import Meter

__all__ = ["TRIED", "Estimate", "estimate"]

PER_OPERATION = 30_000
"""What torch.compile needs for one operation of a step, in units of what torch needs to run a very small one.

Measured with an empty cache: 33,000 for ring8-fargan (528 operations, 15 s), 25,000 for digits-fargan (371, 8 s).
"""

TRIED, LONG = 3, 1.0
"""Steps that are timed, and the seconds after which one is enough."""


class Estimate(NamedTuple):
    """Seconds that the steps of a run take uncompiled, and that compiling the step is likely to take."""

    uncompiled: float
    compiling: float

    @property
    def pays(self) -> bool:
        """Whether compiling is likely to be repaid: the uncompiled run takes twice as long, or longer.

        >>> Estimate(100, 30).pays, Estimate(50, 30).pays
        (True, False)
        """
        return self.uncompiled > 2 * self.compiling


def estimate(step: Step, state: State, batch: Sequence[Draw], steps: int, tried: int = TRIED) -> Estimate:
    """Time `tried` uncompiled steps, which change nothing, and count what there is to compile."""
    with Meter() as meter:
        step(state, batch)
    times: list[float] = []
    while len(times) < tried and sum(times) < LONG:
        began = time.perf_counter()
        _, logs = step(state, batch)
        logs["finite"].cpu()  # on a device the step is done only when a result of it is here
        times.append(time.perf_counter() - began)
    return Estimate(steps * min(times), meter.operations * PER_OPERATION * _dispatch_seconds())


def _dispatch_seconds(repeats: int = 5, each: int = 400) -> float:
    """What one very small operation takes: the quickest of a few series, which other work disturbs least."""
    x, found = torch.zeros(8), []
    for _ in range(repeats):
        began = time.perf_counter()
        for _ in range(each):
            torch.add(x, x)
        found.append((time.perf_counter() - began) / each)
    return min(found)
