"""Approximated R1 and R2 against closed forms: a quadratic critic's mean over directions is known exactly.

The comment in a test names the wrong implementation it is there to catch.
"""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from steadygan import penalties
from steadygan.errors import UsageError

NAMES = ["approximated_r1", "approximated_r2"]
each_name = pytest.mark.parametrize("name", NAMES)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


X = normal(5, 2, seed=1)
A = torch.tensor([[1.5, -0.4], [-0.4, 0.7]], dtype=torch.float64)
B = torch.tensor([0.3, -1.1], dtype=torch.float64)


def quadratic(A: Tensor, b: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: torch.einsum("ni,ij,nj->n", x, A, x) / 2 + x @ b


def mean_over_directions(term: Callable[[Tensor], Tensor], shape: tuple[int, ...], nodes: int = 3) -> Tensor:
    """The mean of term(e) over e ~ N(0, I), one for all rows: exact for degrees below 2 `nodes` (Gauss-Hermite)."""
    places, weights = np.polynomial.hermite_e.hermegauss(nodes)
    found = torch.zeros((), dtype=torch.float64)
    for each in itertools.product(range(nodes), repeat=math.prod(shape[1:])):
        e = torch.tensor(places[list(each)]).view(1, *shape[1:]).expand(shape)
        found = found + float(np.prod(weights[list(each)] / math.sqrt(2 * math.pi))) * term(e)
    return found


def by_hand(A: Tensor, b: Tensor, sigma: float) -> Tensor:
    """E ((D(x + s e) - D(x)) / s)^2 for D = x.Ax / 2 + b.x: |Ax + b|^2 + s^2 / 4 (tr(A)^2 + 2 tr(A^2)), batch mean.

    The difference is s g.e + s^2 / 2 e.Ae, and E (e.Ae)^2 is tr(A)^2 + 2 tr(A^2); odd moments vanish.
    """
    gradient = X @ A + b
    return gradient.square().sum(1).mean() + sigma**2 / 4 * (A.trace() ** 2 + 2 * (A @ A).trace())


def test_at_kinks_its_gradient_is_that_of_the_mean_over_the_data_and_r1s_is_not():
    """D = v relu(w x + b), x uniform on [-1, 1]: R1 is v^2 w (w + b) / 2, because a share (1 + b / w) / 2 is active.

    A change of b or w moves the kink. Both penalties have the value, but a double backward takes the kink as fixed.
    """
    w, b, v = (torch.tensor(number, dtype=torch.float64, requires_grad=True) for number in (1.5, 0.4, 0.7))

    def kinked(x: Tensor) -> Tensor:
        return v * (w * x[:, 0] + b).relu()

    def gradient(value: Tensor) -> list[float]:
        parts = torch.autograd.grad(value, (w, b, v), allow_unused=True, materialize_grads=True)
        return [part.item() for part in parts]

    x = (torch.arange(2000, dtype=torch.float64) + 0.5) / 1000 - 1
    e = torch.distributions.Normal(0.0, 1.0).icdf((torch.arange(200, dtype=torch.float64) + 0.5) / 200)
    every, direction = (part[:, None] for part in torch.cartesian_prod(x, e).T)
    value = penalties.approximated_r1(kinked, every, 0.02, direction)
    W, B, V = w.item(), b.item(), v.item()
    assert value.item() == pytest.approx(V**2 * W * (W + B) / 2, rel=0.02)
    assert gradient(value) == pytest.approx([V**2 * (2 * W + B) / 2, V**2 * W / 2, V * W * (W + B)], rel=0.02)
    exact = penalties.r1(kinked, x[:, None])
    assert exact.item() == pytest.approx(V**2 * W * (W + B) / 2, rel=0.001)
    assert gradient(exact) == pytest.approx([V**2 * (W + B), 0.0, V * W * (W + B)], rel=0.001)


@each_name
@pytest.mark.parametrize("sigma", [0.01, 0.5, 2.0])
def test_the_mean_over_directions_of_a_quadratic_critic_is_known(name, sigma):
    # not divided by sigma^2, divided by sigma, a factor 1/2, a two-sided difference (which has no s^2 term here)
    term = getattr(penalties, name)
    found = mean_over_directions(lambda e: term(quadratic(A, B), X, sigma, e), X.shape)
    assert found.item() == pytest.approx(by_hand(A, B, sigma).item(), rel=1e-9)


def test_its_parameter_gradient_is_known_too():
    # one of the two logits detached: the value is right, and the gradient half
    sigma, leaves = 0.5, [A.clone().requires_grad_(), B.clone().requires_grad_()]
    term = penalties.approximated_r1
    mean = mean_over_directions(lambda e: term(quadratic(*leaves), X, sigma, e), X.shape)
    found = torch.autograd.grad(mean, leaves)
    g = X @ A + B
    to_b = 2 * g.mean(0)
    # d|Ax + b|^2 / dA is 2 g x' made symmetric, as x.Ax sees A; the rest is s^2 (tr(A) I / 2 + A)
    outer = torch.einsum("ni,nj->ij", g, X) / len(X)
    to_A = outer + outer.T + sigma**2 * (A.trace() / 2 * torch.eye(2, dtype=torch.float64) + A)
    torch.testing.assert_close(found[1], to_b, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close((found[0] + found[0].T) / 2, to_A, rtol=1e-9, atol=1e-12)


def test_the_limit_is_r1_and_the_error_falls_as_sigma_squared():
    """A network's value and parameter gradient: a tenth of sigma has a hundredth of the error."""
    torch.manual_seed(0)
    D = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 1), nn.Flatten(0)).double()
    params = list(D.parameters())

    def gradient(value: Tensor) -> Tensor:
        found = torch.autograd.grad(value, params, allow_unused=True, materialize_grads=True)
        return torch.cat([value.detach().view(1), *(part.flatten() for part in found)])

    exact = gradient(penalties.r1(D, X))
    errors = []
    for sigma in (0.1, 0.01):
        mean = mean_over_directions(
            lambda e, s=sigma: penalties.approximated_r1(D, X, s, e), X.shape, nodes=9
        )
        errors.append((gradient(mean) - exact).norm() / exact.norm())
    assert errors[0] < 0.05
    assert (errors[0] / errors[1]).item() == pytest.approx(100, rel=0.05)


def test_a_weight_of_the_source_converts_by_sigma_squared():
    """Lin et al.: lambda mean (D(x) - D(x + s e))^2 with lambda = 100 and s = 0.01 is a weight of 0.01."""
    e, D = normal(5, 2, seed=3), quadratic(A, B)
    theirs = 100 * sum((D(x[None]) - D(x[None] + 0.01 * d[None])).item() ** 2 for x, d in zip(X, e)) / len(X)
    ours = 100 * 0.01**2 * penalties.approximated_r1(D, X, 0.01, e)
    assert ours.item() == pytest.approx(theirs, rel=1e-9)


def test_a_linear_critic_s_estimate_deviates_by_root_two_a_sample():
    w = torch.tensor([3.0, 4.0], dtype=torch.float64)
    found = torch.stack(
        [
            penalties.approximated_r1(lambda x: x @ w, X[:1], direction=normal(1, 2, seed=s))
            for s in range(4000)
        ]
    )
    assert found.mean().item() == pytest.approx(25, rel=0.1)
    assert found.std().item() == pytest.approx(25 * math.sqrt(2), rel=0.1)


# ----------------------------------------------------------------------------------- what critics may be


@each_name
def test_maps_lists_and_labels_are_read_as_by_the_exact_penalties(name):
    """A linear critic's slope along e is w.e, whatever sigma: maps by `reduce`, critics summed, labels by rows."""
    e, term = normal(5, 2, seed=3), getattr(penalties, name)
    w, rows, y = normal(2, 6, seed=4), normal(3, 2, seed=5), torch.tensor([2, 0, 1, 1, 0])
    for reduce, share in (("sum", 1), ("mean", 6)):
        found = term(lambda x: (x @ w).view(-1, 1, 2, 3), X, direction=e, reduce=reduce)
        expected = np.mean([((d @ w).sum().item() / share) ** 2 for d in e])
        assert found.item() == pytest.approx(expected, rel=1e-9)
    both = term(lambda x: {"out": [x @ w[:, 0], x @ w[:, 1]]}, X, direction=e, logits=lambda out: out["out"])
    assert both.item() == pytest.approx(np.mean([(d @ w[:, i]).item() ** 2 for d in e for i in (0, 1)]) * 2)
    labelled = term(lambda x, y: (rows[y] * x).sum(1), X, direction=e, y=y)
    assert labelled.item() == pytest.approx(np.mean([(rows[k] @ d).item() ** 2 for k, d in zip(y, e)]))
    with pytest.raises(UsageError, match="reduce='sum'"):
        term(lambda x: (x @ w).view(-1, 1, 2, 3), X)
    with pytest.raises(UsageError, match=r"5.*\[4\]"):
        term(lambda x, y: x[:, 0], X, y=y[:4])


def test_spectral_norm_changes_no_weights_between_the_two_logits():
    # two passes: each turns the power iteration once, and the change of the weights over sigma is no slope
    torch.manual_seed(0)
    D = nn.Sequential(spectral_norm(nn.Linear(2, 8)), nn.Tanh(), nn.Linear(8, 1), nn.Flatten(0)).double()
    with torch.no_grad():
        D[0].parametrizations.weight[0]._u.copy_(normal(8, seed=9))  # far from its limit
    assert penalties.approximated_r1(D, X, 1e-4, torch.zeros_like(X)).item() < 1e-18


@each_name
def test_the_logits_come_with_the_penalty_in_one_pass(name):
    seen, e = [], normal(5, 2, seed=3)

    def D(x: Tensor) -> list[Tensor]:
        seen.append(len(x))
        return [x @ B, x @ A]

    term = getattr(penalties, name)
    logits, value = penalties.value_and(term, D, X, sigma=0.3, direction=e, reduce="sum")
    assert seen == [10]
    torch.testing.assert_close(logits, [X @ B, X @ A])
    torch.testing.assert_close(value, term(D, X, 0.3, e, reduce="sum"))


def test_no_gradient_is_differentiated():
    """A critic whose backward has no derivative, as attention kernels have none: the approximation trains it."""

    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w):
            ctx.save_for_backward(x, w)
            return x @ w

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, slope):
            x, w = ctx.saved_tensors
            return slope[:, None] * w, slope @ x

    w = B.clone().requires_grad_()
    e = normal(5, 2, seed=3)
    penalties.approximated_r1(lambda x: Once.apply(x, w), X, direction=e).backward()
    expected = 2 * ((e @ B)[:, None] * e).mean(0)
    torch.testing.assert_close(w.grad, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.slow
def test_a_compiled_critic_is_penalised():
    """`r1(torch.compile(D))` is refused; this is not, and equals the plain module."""
    torch.manual_seed(0)
    D, e = (
        nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 1), nn.Flatten(0)).double(),
        normal(5, 2, seed=3),
    )
    gradients = []
    for critic in (D, torch.compile(D)):
        D.zero_grad()
        penalties.approximated_r1(critic, X, direction=e).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in D.parameters() if p.grad is not None]))
    torch.testing.assert_close(*gradients, rtol=1e-7, atol=1e-9)


def test_in_a_pure_step_and_in_an_ensemble_it_is_the_same():
    e, weights = normal(5, 2, seed=3), normal(3, 2, seed=6)

    def loss(w: Tensor) -> Tensor:
        return penalties.approximated_r1(lambda x: torch.tanh(x @ w), X, 0.2, e)

    together = torch.vmap(torch.func.grad(loss))(weights)
    for w, found in zip(weights, together, strict=True):
        leaf = w.clone().requires_grad_()
        loss(leaf).backward()
        torch.testing.assert_close(found, leaf.grad, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan])
def test_a_sigma_that_is_not_positive_is_refused(sigma):
    with pytest.raises(UsageError, match="positive sigma"):
        penalties.approximated_r1(quadratic(A, B), X, sigma)


def test_wrong_shapes_are_refused():
    with pytest.raises(UsageError, match=r"shaped like the samples, \[5, 2\]"):
        penalties.approximated_r1(quadratic(A, B), X, direction=X[:1])
    with pytest.raises(UsageError, match="one row of logits per sample"):
        penalties.approximated_r1(lambda x: x.sum().view(1), X)
