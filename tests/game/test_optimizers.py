"""Functional optimizers against torch.optim and plain loops, on a function that is not quadratic.

The comment in a test names the wrong implementation it is there to catch. Everything runs over `OPTIMIZERS`:
an optimizer without cases here fails with a KeyError under its name.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from steadygan import schedules
from steadygan.config import registry
from steadygan.game.optimizers import Optimizer
from steadygan.schedules import at

OPTIMIZERS = {name: part.make for name, part in registry.OPTIMIZERS.items()}


START = torch.tensor([-1.2, 1.0, 0.5, -0.3, 2.0, 0.1], dtype=torch.float64)


def valley(p: Tensor) -> Tensor:
    """Rosenbrock's function: curved, badly scaled, with gradients that change sign on the way."""
    return (10 * (p[1:] - p[:-1].square()).square() + (1 - p[:-1]).square()).sum() / 10


def slope(p: Tensor) -> Tensor:
    return torch.func.grad(valley)(p)


class NumpyTensorFlowRMSProp:
    """TensorFlow 1's RMSProp as its kernel documents it: ms starts at 1, epsilon is inside the root."""

    def __init__(self, params: list[Tensor], lr: float, decay: float = 0.9, eps: float = 1e-10) -> None:
        self.p, self.lr, self.decay, self.eps = params[0], lr, decay, eps
        self.ms = np.ones(len(self.p))

    def step(self) -> None:
        g = self.p.grad.numpy()
        self.ms += (g * g - self.ms) * (1 - self.decay)
        with torch.no_grad():
            self.p -= torch.from_numpy(self.lr * g / np.sqrt(self.ms + self.eps))


Case = tuple[dict[str, Any], Callable[..., Any]]

# An eps of 1e-2 shows where it stands: inside or outside the root, before or after the correction.
CASES: dict[str, list[Case]] = {
    "sgd": [({"lr": 0.01}, torch.optim.SGD), ({"lr": 0.003, "momentum": 0.9}, torch.optim.SGD)],
    "rmsprop": [
        ({"lr": 0.003}, torch.optim.RMSprop),
        ({"lr": 0.01, "alpha": 0.5, "eps": 1e-2}, torch.optim.RMSprop),
    ],
    "tf_rmsprop": [
        ({"lr": 0.003}, NumpyTensorFlowRMSProp),
        ({"lr": 0.01, "decay": 0.5, "eps": 1e-2}, NumpyTensorFlowRMSProp),
    ],
    "adam": [
        ({"lr": 0.01, "betas": betas, "eps": eps}, torch.optim.Adam)
        for betas in [(0.9, 0.999), (0.0, 0.9), (0.5, 0.99), (0.0, 0.0), (0.9, 0.0)]
        for eps in (1e-8, 1e-2)
    ],
    "adamw": [
        ({"lr": 0.01}, torch.optim.AdamW),
        ({"lr": 0.01, "betas": (0.0, 0.9), "eps": 1e-2, "weight_decay": 2.0}, torch.optim.AdamW),
    ],
}

each_case = pytest.mark.parametrize(
    ("name", "options", "oracle"),
    [(name, *case) for name in OPTIMIZERS for case in CASES[name]],
    ids=lambda value: str(value) if isinstance(value, str | dict) else "",
)


def walk(
    optimizer: Optimizer, steps: int, p: Tensor = START, f: Callable[[Tensor], Tensor] = slope
) -> Tensor:
    """Every point that the optimizer comes by: [steps, n]. Scalars hold the step, as in a run."""
    moments, path = optimizer.init(p), []
    for step in range(steps):
        p, moments = optimizer.update(f(p), moments, p, {"step": torch.tensor(step)})
        path.append(p)
    return torch.stack(path)


@each_case
def test_equals_its_namesake(name, options, oracle):
    p = START.clone().requires_grad_()
    other, path = oracle([p], **options), []
    for _ in range(50):
        p.grad = slope(p.detach())
        other.step()
        path.append(p.detach().clone())
    found = walk(OPTIMIZERS[name](**options), 50)
    assert valley(found[-1]) < valley(START)
    torch.testing.assert_close(found, torch.stack(path), rtol=1e-12, atol=1e-12)


@each_case
def test_a_learning_rate_may_be_a_function_of_the_step(name, options, oracle):
    # the first step reads step 0; a rate folded into the moments would remember old rates
    lr, rest = options["lr"], {key: v for key, v in options.items() if key != "lr"}
    constant = OPTIMIZERS[name](lr=lambda scalars: lr, **rest)
    assert torch.equal(walk(constant, 20), walk(OPTIMIZERS[name](**options), 20))
    decayed = OPTIMIZERS[name](lr=lambda scalars: lr / (1 + scalars["step"].double()), **rest)
    p = START.clone().requires_grad_()
    other, path = oracle([p], **options), []
    for step in range(20):  # the rate is set by hand, as LambdaLR does before each step
        _set_lr(other, lr / (1 + step))
        p.grad = slope(p.detach())
        other.step()
        path.append(p.detach().clone())
    torch.testing.assert_close(walk(decayed, 20), torch.stack(path), rtol=1e-12, atol=1e-12)


def _set_lr(optimizer: Any, lr: float) -> None:
    if isinstance(optimizer, torch.optim.Optimizer):
        optimizer.param_groups[0]["lr"] = lr
    else:
        optimizer.lr = lr


def test_a_schedule_equals_torchs_scheduler():
    """lr = 0.5 + (0.0625 - 0.5) min(1, t / 16), in binary fractions, so that float32 schedules are exact."""
    line = schedules.linear(0.5, 0.0625, over=16)
    found = walk(OPTIMIZERS["sgd"](lr=lambda scalars: line(scalars["step"]) / 128), 30)
    p = START.clone().requires_grad_()
    other = torch.optim.SGD([p], lr=1 / 128)
    scheduler = torch.optim.lr_scheduler.LambdaLR(other, lambda t: 0.5 + (0.0625 - 0.5) * min(1, t / 16))
    for step in range(30):
        p.grad = slope(p.detach())
        other.step()
        scheduler.step()
        torch.testing.assert_close(found[step], p.detach(), rtol=1e-12, atol=1e-12)


@each_case
def test_a_step_writes_into_none_of_its_arguments(name, options, oracle):
    # in-place moments: a state kept for comparison or a checkpoint would change behind its owner's back
    optimizer = OPTIMIZERS[name](**options)
    p, g = START.clone(), slope(START)
    _, moments = optimizer.update(g, optimizer.init(p), p, {})
    before = {key: v.clone() for key, v in moments.items()}
    optimizer.update(g, moments, p, {})
    assert torch.equal(p, START)
    assert torch.equal(g, slope(START))
    assert all(torch.equal(moments[key], v) for key, v in before.items())


@each_case
def test_under_vmap_each_member_walks_alone_at_its_own_rate(name, options, oracle):
    rest = {key: v for key, v in options.items() if key != "lr"}
    optimizer = OPTIMIZERS[name](lr=lambda scalars: scalars["lr"], **rest)
    rates = torch.tensor([0.001, 0.01], dtype=torch.float64)
    starts = torch.stack([START, -START])

    def three_steps(p: Tensor, lr: Tensor) -> Tensor:
        moments = optimizer.init(p)
        for _ in range(3):
            p, moments = optimizer.update(slope(p), moments, p, {"lr": lr})
        return p

    together = torch.vmap(three_steps)(starts, rates)
    for i in range(2):
        torch.testing.assert_close(together[i], three_steps(starts[i], rates[i]), rtol=1e-12, atol=1e-12)


def test_weight_decay_is_decoupled_and_may_follow_a_schedule():
    """Without a gradient p falls by the factor 1 - lr wd; as a term of the loss (L2) Adam would step by lr."""
    optimizer = OPTIMIZERS["adamw"](lr=0.1, weight_decay=lambda scalars: 0.5 / (1 + scalars["step"]))
    found = walk(optimizer, 3, f=torch.zeros_like)
    factors = torch.tensor([1 - 0.1 * 0.5 / (1 + step) for step in range(3)], dtype=torch.float64).cumprod(0)
    torch.testing.assert_close(found, factors[:, None] * START)


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.0, 0.9), (0.5, 0.99999)])
def test_adams_first_steps_in_float32_agree_with_float64(betas):
    """At a constant gradient every corrected step is lr g / (|g| + eps) exactly.

    1 - beta**t in float32 loses most of its digits at beta = 0.999 and small t.
    """
    g = torch.tensor([0.3, -2.0, 1e-3])
    path = walk(OPTIMIZERS["adam"](lr=1.0, betas=betas), 20, torch.zeros(3), lambda p: g)
    steps = path.diff(dim=0, prepend=torch.zeros(1, 3)).double()
    expected = (-g / (g.abs() + 1e-8)).double().expand(20, 3)
    torch.testing.assert_close(steps, expected, rtol=3e-6, atol=0)


def test_at_reads_numbers_and_functions():
    assert at(0.25, {}) == 0.25
    assert at(lambda scalars: 2 * scalars["a"], {"a": torch.tensor(3.0)}).item() == 6
