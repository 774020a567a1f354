"""Schedules: numbers that change over training. Each is a small function of the step, accepted wherever a number is."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from steadygan.errors import UsageError

__all__ = ["SCHEDULES", "Number", "Scalars", "Schedule", "at", "constant", "cosine", "linear", "warmup"]

Schedule = Callable[[Tensor], Tensor]
"""A function of the step."""

Scalars = Mapping[str, Tensor]
"""A state's scalars: `step`, and the values that differ between the members of an ensemble."""

Number = float | Callable[[Scalars], Tensor]
"""A number, or a function of the state's scalars that gives one: a schedule, or one member's value."""


def at(number: Number, scalars: Scalars) -> float | Tensor:
    """The value of `number` now.

    >>> at(0.5, {}), at(lambda now: now["step"] * 2, {"step": torch.tensor(3)})
    (0.5, tensor(6))
    """
    return number(scalars) if callable(number) else number


def constant(value: float) -> Schedule:
    """Return `value` at every step.

    >>> constant(0.1)(torch.tensor(7))
    tensor(0.1000, dtype=torch.float64)
    """
    return lambda step: torch.full_like(_real(step), value)


def linear(start: float, stop: float, over: float, begin: float = 0) -> Schedule:
    """`start` until step `begin`, then a straight line that reaches `stop` after `over` more steps, then `stop`.

    Raises UsageError unless `over` is positive.

    >>> linear(1.0, 0.0, over=10, begin=5)(torch.tensor([0, 5, 10, 15, 99]))
    tensor([1.0000, 1.0000, 0.5000, 0.0000, 0.0000], dtype=torch.float64)
    """
    progress = _progress(over, begin)
    return lambda step: start + (stop - start) * progress(step)


def cosine(start: float, stop: float, over: float, begin: float = 0) -> Schedule:
    """Like `linear`, along half a cosine: stop + (start - stop) (1 + cos(pi progress)) / 2.

    Raises UsageError unless `over` is positive. Source: Loshchilov and Hutter 2017, Eqn 5, without restarts.

    >>> cosine(1.0, 0.0, over=10)(torch.tensor([0, 5, 10]))
    tensor([1.0000, 0.5000, 0.0000], dtype=torch.float64)
    """
    progress = _progress(over, begin)
    return lambda step: stop + (start - stop) * 0.5 * (1 + torch.cos(math.pi * progress(step)))


def warmup(value: float | Schedule, over: float) -> Schedule:
    """`value` (a number or another schedule) times min(1, (step + 1) / over): never zero, full after `over` steps.

    Raises UsageError unless `over` is positive.

    >>> warmup(1.0, over=4)(torch.tensor([0, 1, 3, 9]))
    tensor([0.2500, 0.5000, 1.0000, 1.0000], dtype=torch.float64)
    """
    _positive(over)

    def schedule(step: Tensor) -> Tensor:
        full = value(step) if callable(value) else value
        return ((_real(step) + 1) / over).clamp(max=1) * full

    return schedule


def _progress(over: float, begin: float) -> Schedule:
    _positive(over)
    return lambda step: ((_real(step) - begin) / over).clamp(0, 1)


def _real(step: Tensor | int) -> Tensor:
    """The step as a float64, so that a schedule adds no rounding of its own (float32 on MPS, which has no other)."""
    step = torch.as_tensor(step)
    return step.to(torch.float32 if step.device.type == "mps" else torch.float64)


def _positive(over: float) -> None:
    if not over > 0:
        raise UsageError(f"a schedule takes a positive number of steps, not over = {over}")


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": constant,
    "linear": linear,
    "cosine": cosine,
    "warmup": warmup,
}
"""Every schedule under the name a recipe uses."""
