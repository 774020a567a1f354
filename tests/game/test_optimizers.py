"""Functional optimizers against torch.optim and plain loops, on a function that is not quadratic.

The comment in a test names the wrong implementation it is there to catch. Everything runs over `OPTIMIZERS`:
an optimizer without cases here fails with a KeyError under its name.
"""

from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor

from steadygan import schedules
from steadygan.config import registry
from steadygan.game.optimizers import Optimizer, orthogonalized
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


class TorchMuonAndAdamW:
    """torch's Muon on the flattened matrices and torch's AdamW on what is left.

    `exact` leaves out torch's rounding to bfloat16, so that all else is compared to float64's last digits.
    """

    def __init__(
        self,
        params: list[Tensor],
        lr: float,
        shapes: list[tuple[int, ...]],
        exact: bool = True,
        adamw_lr: float = 3e-4,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        **adam: Any,
    ) -> None:
        self.p, self.lr, self.exact = params[0], lr, exact
        sizes = [int(np.prod(shape)) for shape in shapes]
        self.parts = [part.clone().requires_grad_() for part in self.p.detach().split(sizes)]
        self.views = [
            part.view(shape[0] if shape else 1, -1).detach() for part, shape in zip(self.parts, shapes)
        ]
        self.hidden = [
            len(s) > 1 and view.shape[0] > 1 < view.shape[1] for s, view in zip(shapes, self.views)
        ]
        inner = [view for view, hidden in zip(self.views, self.hidden) if hidden]
        outer = [part for part, hidden in zip(self.parts, self.hidden) if not hidden]
        options = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        self.muon = torch.optim.Muon(inner, **options) if inner else None
        self.adamw = (
            torch.optim.AdamW(outer, lr=adamw_lr, weight_decay=weight_decay, **adam) if outer else None
        )

    def step(self) -> None:
        for part, view, g in zip(self.parts, self.views, self.p.grad.split([len(p) for p in self.parts])):
            part.grad, view.grad = g, g.view_as(view)
        if self.muon:
            self.muon.param_groups[0]["lr"] = self.lr
            kept = (lambda t: t.clone()) if self.exact else torch.Tensor.bfloat16
            with mock.patch.object(torch.Tensor, "bfloat16", kept):
                self.muon.step()
        if self.adamw:
            self.adamw.step()
        self.p.data = torch.cat([part.detach() for part in self.parts])  # a matrix is a view of its part


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
    # a wide, a tall and a kernel's matrix; vectors before and after one; a last weight of one row is a vector
    "muon": [
        ({"lr": 0.01, "shapes": [(2, 3)]}, TorchMuonAndAdamW),
        ({"lr": 0.01, "shapes": [(3, 2)], "momentum": 0.5, "weight_decay": 0.0}, TorchMuonAndAdamW),
        ({"lr": 0.01, "shapes": [(3, 1, 2)], "weight_decay": 2.0}, TorchMuonAndAdamW),
        ({"lr": 0.01, "shapes": [(1,), (2, 2), (1, 1)], "adamw_lr": 0.02}, TorchMuonAndAdamW),
        ({"lr": 0.01, "shapes": [(1, 5), ()], "betas": (0.0, 0.9), "eps": 1e-2}, TorchMuonAndAdamW),
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


def test_adam_counts_beyond_256_steps_in_bfloat16():
    """A count that stops there makes all later steps too small: 1 - 0.999^400 is 0.33, and at 256 it is 0.23."""
    optimizer = OPTIMIZERS["adam"](lr=1.0)
    p, g = torch.zeros(1, dtype=torch.bfloat16), torch.ones(1, dtype=torch.bfloat16)
    moments = optimizer.init(p)
    for _ in range(400):
        _, moments = optimizer.update(g, moments, p, {})
    assert moments["count"].item() == 400


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


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (7, 7)])
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_orthogonalized_maps_singular_values_by_the_polynomial(shape, size):
    """In float64, by a decomposition: the singular vectors stay, and s / |M| goes five times through the polynomial."""
    matrix = size * torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    s = s / s.square().sum().sqrt()
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    torch.testing.assert_close(orthogonalized(matrix), u * s @ v, rtol=1e-10, atol=1e-10)
    assert 0.68 < s.min() < s.max() < 1.21


def test_a_matrix_without_a_gradient_takes_no_step():
    # 0 / 0 where nothing bounds the norm from below
    assert torch.equal(orthogonalized(torch.zeros(2, 3)), torch.zeros(2, 3))


def test_muon_equals_torchs_to_the_rounding_of_bfloat16():
    """A step has the norm lr sqrt(rank) or so. Rounding the five iterations to 8 bits leaves some 2^-7 of it."""
    shapes = [(16, 24), (8, 3, 3, 3), (40,)]
    generator = torch.Generator().manual_seed(0)
    p = torch.randn(16 * 24 + 8 * 27 + 40, generator=generator)
    found, other = p.clone(), torch.nn.Parameter(p.clone())
    ours, theirs = (
        OPTIMIZERS["muon"](lr=0.1, shapes=shapes),
        TorchMuonAndAdamW([other], 0.1, shapes, exact=False),
    )
    moments = ours.init(found)
    for _ in range(5):
        g = torch.randn(len(p), generator=generator)
        (found, moments), before = ours.update(g, moments, found, {}), (found, other.detach().clone())
        other.grad = g
        theirs.step()
        steps = found - before[0], other.detach() - before[1]
        assert (steps[0] - steps[1]).norm() < 0.05 * steps[1].norm()


def test_at_reads_numbers_and_functions():
    assert at(0.25, {}) == 0.25
    assert at(lambda scalars: 2 * scalars["a"], {"a": torch.tensor(3.0)}).item() == 6
