"""Schedules against values worked by hand and torch's own schedulers.

Everything runs over `SCHEDULES`: a schedule without an oracle here fails with a KeyError under its name.
"""

import math
from typing import NamedTuple

import pytest
import torch
from torch.optim import lr_scheduler

from steadygan.errors import UsageError
from steadygan.schedules import SCHEDULES, Schedule, constant, cosine, linear, warmup


class Oracle(NamedTuple):
    """A schedule, its values worked by hand, and the most that it may change from one step to the next."""

    schedule: Schedule
    values: dict[int, float]
    steepest: float


ORACLES = {
    "constant": [Oracle(constant(0.25), {0: 0.25, 1: 0.25, 10**7: 0.25}, 0)],
    "linear": [
        Oracle(linear(1.0, 0.2, over=8), {0: 1.0, 1: 0.9, 4: 0.6, 8: 0.2, 9: 0.2, 10**7: 0.2}, 0.1),
        # a schedule that begins late must not start from a value of the future
        Oracle(
            linear(2.0, 4.0, over=4, begin=10),
            {0: 2.0, 9: 2.0, 10: 2.0, 11: 2.5, 13: 3.5, 14: 4.0, 99: 4.0},
            0.5,
        ),
    ],
    "cosine": [
        # cos(pi / 3) = 1/2, cos(2 pi / 3) = -1/2: progress 1/3 and 2/3
        Oracle(cosine(1.0, 0.0, over=6), {0: 1.0, 2: 0.75, 3: 0.5, 4: 0.25, 6: 0.0, 50: 0.0}, math.pi / 12),
        Oracle(
            cosine(0.0, 8.0, over=4, begin=2), {0: 0.0, 2: 0.0, 3: 4 - 2 * 2**0.5, 4: 4.0, 6: 8.0}, math.pi
        ),
    ],
    "warmup": [
        Oracle(warmup(2.0, over=4), {0: 0.5, 1: 1.0, 2: 1.5, 3: 2.0, 4: 2.0, 10**7: 2.0}, 0.5),
        # (t + 1) / 4 of a line from 1 down to 0 over 8 steps
        Oracle(
            warmup(linear(1.0, 0.0, over=8), over=4), {0: 0.25, 1: 7 / 16, 3: 5 / 8, 4: 0.5, 8: 0.0}, 0.25
        ),
    ],
}

each = pytest.mark.parametrize("oracle", [oracle for name in SCHEDULES for oracle in ORACLES[name]])


@each
def test_values_worked_by_hand(oracle):
    for step, value in oracle.values.items():
        assert oracle.schedule(torch.tensor(step)).item() == pytest.approx(value, abs=1e-6)


@each
def test_no_jumps(oracle):
    """One off at `begin` or at the end shows as a step twice as high as the steepest."""
    values = oracle.schedule(torch.arange(60))
    assert values.diff().abs().max().item() <= oracle.steepest + 1e-6


@each
def test_a_tensor_of_steps_has_each_steps_value(oracle):
    """In an ensemble the step has a dimension in front; a compiled run knows it only as a tensor."""
    steps = torch.arange(20)
    alone = torch.stack([oracle.schedule(step) for step in steps])
    assert torch.equal(oracle.schedule(steps), alone)
    assert torch.equal(torch.vmap(oracle.schedule)(steps), alone)


def test_a_long_run_is_still_resolved():
    found = linear(0.0, 1.0, over=10_000_000)(torch.tensor([1, 2_500_000, 9_999_999]))
    assert found.tolist() == pytest.approx([1e-7, 0.25, 0.9999999], abs=1e-7)


def torchs(steps: int, make: type[lr_scheduler.LRScheduler], lr: float, **options: float) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr)
    scheduler, found = make(optimizer, **options), []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_cosine_is_torchs_cosine_annealing():
    expected = torchs(21, lr_scheduler.CosineAnnealingLR, 0.3, T_max=20, eta_min=0.05)
    assert cosine(0.3, 0.05, over=20)(torch.arange(21)).tolist() == pytest.approx(expected, rel=1e-5)


def test_linear_is_torchs_linear():
    options = {"start_factor": 1.0, "end_factor": 0.1, "total_iters": 20}
    expected = torchs(30, lr_scheduler.LinearLR, 0.3, **options)
    assert linear(0.3, 0.03, over=20)(torch.arange(30)).tolist() == pytest.approx(expected, rel=1e-5)


def test_warmup_is_torchs_linear_up_to_one():
    expected = torchs(30, lr_scheduler.LinearLR, 0.3, start_factor=1 / 10, end_factor=1.0, total_iters=9)
    assert warmup(0.3, over=10)(torch.arange(30)).tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("over", [0, -3, math.nan])
def test_a_span_of_no_steps_is_refused(over):
    for make in (lambda: linear(1.0, 0.0, over), lambda: cosine(1.0, 0.0, over), lambda: warmup(1.0, over)):
        with pytest.raises(UsageError, match=f"over = {over}"):
            make()


@pytest.mark.parametrize(
    "schedule",
    [
        constant(0.1),
        linear(1.0, 0.0, over=10),
        cosine(1.0, 0.0, over=10),
        warmup(1.0, 10),
    ],
)
def test_a_step_may_be_a_whole_number(schedule):
    """As torch's LambdaLR counts."""
    for step in (0, 3, 12):
        assert torch.equal(schedule(step), schedule(torch.tensor(step)))
