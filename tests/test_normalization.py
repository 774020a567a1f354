"""Normalized critics against closed forms, the counterexamples of spec B1, explicit loops and differences.

The comment in a test names the wrong implementation it is there to catch.
"""

import copy
import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

from steadygan import penalties
from steadygan.errors import UsageError
from steadygan.game import Network, flatten
from steadygan.networks import dcgan, mlp
from steadygan.normalization import (
    READINGS,
    check_piecewise_linear,
    clip_weights,
    gradient_normalized,
    is_piecewise_linear,
    penalty_gradient_normalized,
    spectral_normalized,
    tangent,
)

Critic = Callable[[Tensor], Tensor]
SHAPES = [(1,), (2,), (3, 4, 4)]
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


class Kind(NamedTuple):
    """A normalization, and its value from a logit f and the gradient [n] of one sample, in plain floats."""

    wrap: Callable[..., Critic]
    value: Callable[[float, list[float]], float]


def pgn(reading: str) -> Callable[..., Critic]:
    return lambda critic, **options: penalty_gradient_normalized(critic, reading, **options)


def root(values: list[float]) -> float:
    return math.sqrt(sum(v * v for v in values))


KINDS = {
    "gn": Kind(gradient_normalized, lambda f, g: f / (root(g) + abs(f))),
    "elementwise": Kind(pgn("elementwise"), lambda f, g: (1 - f) / (root([1 - v for v in g]) + abs(1 - f))),
    "proof": Kind(pgn("proof"), lambda f, g: (1 - f) / (root(g) + abs(1 - f))),
    "scalar": Kind(pgn("scalar"), lambda f, g: (1 - f) / (abs(1 - root(g)) + abs(1 - f))),
}
each_kind = pytest.mark.parametrize("kind", KINDS)
BOUNDED, UNBOUNDED = ("gn", "proof"), ("elementwise", "scalar")


def test_every_reading_has_an_oracle():
    assert set(KINDS) == {"gn", *READINGS}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def steep(net: nn.Module, factor: float = 3.0) -> nn.Module:
    """Weights so large that slopes are near one, and logits on both sides of 0 and 1."""
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(factor)
    return net


def network(n: int, activation: type[nn.Module] = nn.ReLU, width: int = 8, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    layers = [nn.Linear(n, width), activation(), nn.Linear(width, width), activation()]
    return steep(nn.Sequential(nn.Flatten(1), *layers, nn.Linear(width, 1), nn.Flatten(0)).double(), 2.0)


def sample_gradients(critic: Critic, x: Tensor) -> Tensor:
    """The gradient of each sample's logit, one sample a time."""
    found = []
    for row in x.detach():
        one = row[None].clone().requires_grad_()
        found.append(torch.autograd.grad(critic(one).sum(), one)[0][0])
    return torch.stack(found)


# ------------------------------------------------------------------------------------------- the formulas


@each_kind
@each_shape
def test_linear_critics_in_closed_form(kind, shape):
    # the norm over channels only, or over the whole batch; squared; f where |f| is meant
    n = math.prod(shape)
    w = torch.linspace(-1, 2, n + 1, dtype=torch.float64)[1:]
    x = normal(6, *shape)
    found = KINDS[kind].wrap(lambda x: x.flatten(1) @ w + 0.5, eps=0.0)(x)
    expected = [KINDS[kind].value(f, w.tolist()) for f in (x.flatten(1) @ w + 0.5).tolist()]
    assert found.tolist() == pytest.approx(expected, rel=1e-12)


@each_kind
@each_shape
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Softplus])
def test_networks_sample_by_sample(kind, shape, activation):
    D, x = network(math.prod(shape), activation), normal(6, *shape)
    found = KINDS[kind].wrap(D)(x)
    slopes = sample_gradients(D, x).flatten(1).tolist()
    expected = [KINDS[kind].value(f, g) for f, g in zip(D(x).tolist(), slopes, strict=True)]
    assert found.shape == (6,)
    assert found.tolist() == pytest.approx(expected, rel=1e-10)


@each_kind
def test_the_range_is_minus_one_to_one_and_wide(kind):
    # 1 / (c + |f|), or a sign lost
    D, x = network(2), 3 * normal(4000, 2)
    middle = D(x).mean().item()
    found = KINDS[kind].wrap(lambda x: 3 * (D(x) - middle) + 0.5)(x)
    assert found.abs().max() <= 1
    assert found.min() < -0.5
    assert found.max() > 0.5


@each_kind
@each_shape
def test_the_order_of_the_batch_is_the_order_of_the_outputs(kind, shape):
    # a statistic of the batch in the denominator (F10)
    D, x, order = network(math.prod(shape)), normal(6, *shape), torch.tensor([3, 5, 0, 4, 1, 2])
    wrapped = KINDS[kind].wrap(D)
    torch.testing.assert_close(wrapped(x[order]), wrapped(x)[order], rtol=1e-12, atol=1e-14)
    alone = torch.cat([wrapped(row[None]) for row in x])
    torch.testing.assert_close(wrapped(x), alone, rtol=1e-12, atol=1e-14)


def test_samples_that_are_single_numbers():
    """x [N], as in the Dirac-GAN."""
    x = torch.tensor([0.5, -2.0], dtype=torch.float64)
    for kind in KINDS.values():
        expected = [kind.value(3 * v + 0.25, [3.0]) for v in x.tolist()]
        assert kind.wrap(lambda x: 3 * x + 0.25)(x).tolist() == pytest.approx(expected)


def test_pgn_as_in_its_proof_is_gn_of_one_less_the_critic():
    """Bit by bit (spec B1): the last layer w -> -w, b -> 1 - b, so only bias and label direction differ."""
    D, x = network(48), normal(20, 3, 4, 4)
    found = penalty_gradient_normalized(D, "proof")(x)
    assert torch.equal(found, gradient_normalized(lambda x: 1 - D(x))(x))
    turned = copy.deepcopy(D)
    with torch.no_grad():
        turned[5].weight.neg_()
        turned[5].bias.copy_(1 - turned[5].bias)
    torch.testing.assert_close(found, gradient_normalized(turned)(x), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(("side", "expected"), [(32, 0.0177), (48, 0.0119), (128, 0.0045), (256, 0.0023)])
def test_pgn_on_images_starts_as_a_softsign_of_scale_root_n(side, expected):
    """Spec B1: sqrt(n) = 55.43, 83.14, 221.70, 443.41, so 1 / (sqrt(n) + 1) where f = 0 and grad f = 0."""
    x = torch.zeros(2, 3, side, side, dtype=torch.float64)
    for f in (0.0, -9.0):
        found = penalty_gradient_normalized(lambda x, f=f: 0 * x.flatten(1).sum(1) + f)(x)
        scale = side * math.sqrt(3)
        assert found.tolist() == pytest.approx([(1 - f) / (scale + 1 - f)] * 2, rel=1e-10)
        if f == 0:
            assert found[0].item() == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize("normalize", [gradient_normalized, penalty_gradient_normalized])
@pytest.mark.parametrize("eps", [-1e-3, float("nan")])
def test_an_eps_below_zero_is_refused(normalize, eps):
    with pytest.raises(UsageError, match="eps"):
        normalize(lambda x: x[:, 0], eps=eps)


def test_an_unknown_reading_is_refused_by_name():
    with pytest.raises(UsageError, match=r"elementwise, proof, scalar.*'vector'"):
        penalty_gradient_normalized(lambda x: x[:, 0], "vector")


def test_a_column_of_logits_is_a_row():
    for kind in KINDS.values():
        x = normal(5, 2)
        torch.testing.assert_close(kind.wrap(lambda x: x[:, :1])(x), kind.wrap(lambda x: x[:, 0])(x))


def branches(x: Tensor) -> list[Tensor]:
    """Two critics: a logit, and a map of two."""
    return [x.flatten(1) @ weights(x), torch.stack([x.flatten(1).sum(1), x.flatten(1) @ weights(x)], 1)]


def weights(x: Tensor) -> Tensor:
    return torch.linspace(-1, 2, x[0].numel(), dtype=torch.float64)


@each_kind
@pytest.mark.parametrize("reduce", ["sum", "mean"])
def test_a_list_of_critics_is_normalized_each_for_itself(kind, reduce):
    x = normal(5, 3)
    share = 1 if reduce == "sum" else 0.5
    w = weights(x)
    expected = [[KINDS[kind].value((row @ v).item(), v.tolist()) for row in x] for v in (w, share * (1 + w))]
    found = KINDS[kind].wrap(lambda x: {"D": branches(x)}, reduce=reduce, logits=lambda out: out["D"])(x)
    assert [each.tolist() for each in found] == [pytest.approx(each, rel=1e-10) for each in expected]


@each_kind
def test_further_arguments_go_to_the_critic(kind):
    x, y = normal(5, 3), torch.tensor([1.0, 2.0, 1.0, 3.0, 1.0])
    found = KINDS[kind].wrap(lambda x, y, scale: scale * y * x.sum(1))(x, y, scale=2)
    expected = [
        KINDS[kind].value(2 * v * row.sum().item(), [2 * v] * 3) for v, row in zip(y.tolist(), x, strict=True)
    ]
    assert found.tolist() == pytest.approx(expected, rel=1e-10)


def test_a_map_without_a_choice_is_refused():
    for wrap in (*(kind.wrap for kind in KINDS.values()), tangent):
        with pytest.raises(UsageError, match=r"3 logits per sample.*\[5, 3\].*reduce='sum'.*reduce='mean'"):
            wrap(lambda x: x)(normal(5, 3))


def test_tangent_planes_of_several_critics():
    """f = x^2 at x = 3 is 9 with slope 6; a map of it and 4 x has the mean (9 + 12) / 2 with slope 5."""
    x = torch.full((2, 1), 3.0, requires_grad=True)
    planes = tangent(lambda x, y: [y * x[:, 0] ** 2, torch.cat([x**2, 4 * x], 1)], reduce="mean")
    square, pair = planes(x, torch.ones(2))
    assert (square.tolist(), pair.tolist()) == ([9, 9], [10.5, 10.5])
    for logits, slope in ((square, 6), (pair, 5)):
        (gradient,) = torch.autograd.grad(logits.sum(), x)
        assert gradient.flatten().tolist() == [slope, slope]


# ------------------------------------------------------------------------------ how steep the result may be


def slope_of(wrapped: Critic, x: Tensor) -> Tensor:
    """|grad f^| of each sample, by autograd through the normalization."""
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(wrapped(x).sum(), x)
    return gradient.flatten(1).norm(dim=1)


COUNTEREXAMPLES = [
    # name, reading, slope of f in each dimension, bias, x in each dimension, |grad f^|
    ("f = 2x at 1/2", "elementwise", [2.0], 0.0, [0.5], 2.0),
    ("f = 1.1x at 1/1.1", "elementwise", [1.1], 0.0, [1 / 1.1], 11.0),
    ("grad f = .9 everywhere, in 4 dimensions", "elementwise", [0.9] * 4, 1.0, [0.0] * 4, 9.0),
    ("grad f = .9 everywhere, on an image", "elementwise", [0.9] * 48, 1.0, [0.0] * 48, 9.0),
    ("|grad f| = 1.1 read as a number", "scalar", [0.66, 0.88], 1.0, [0.0] * 2, 11.0),
    ("f = 2x at 1/2, as in the proof", "proof", [2.0], 0.0, [0.5], 1.0),
    ("f = 1.1x at 1/1.1, as in the proof", "proof", [1.1], 0.0, [1 / 1.1], 1.0),
]


@pytest.mark.parametrize("case", COUNTEREXAMPLES, ids=lambda case: case[0])
def test_counterexamples_to_the_bound(case):
    """Spec B1: at f = 1 the slope is |grad f| / c, which the printed formula does not bound."""
    _, reading, w, b, x, expected = case
    w, x = torch.tensor(w, dtype=torch.float64), torch.tensor([x], dtype=torch.float64)
    # just beside f = 1, where |1 - f| has a kink
    x = x + 1e-9 * w / w.square().sum()
    found = slope_of(penalty_gradient_normalized(lambda x: x @ w + b, reading), x)
    assert found.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("n", [1, 2, 48])
def test_a_gradient_of_ones_makes_the_printed_pgn_a_sign(n):
    """Spec B1: c = 0, so f^ = sign(1 - f), a step whose derivative is zero: nothing is learned from it."""
    w = torch.ones(n, dtype=torch.float64)
    x = torch.tensor([-2.0, 0.0, 0.5, 1.5, 3.0], dtype=torch.float64)[:, None] / n * w
    wrapped = penalty_gradient_normalized(lambda x: x @ w)
    assert wrapped(x).tolist() == pytest.approx([1, 1, 1, -1, -1], abs=1e-10)
    assert slope_of(wrapped, x).max() < 1e-9


@each_kind
def test_the_slope_within_a_linear_region_in_closed_form(kind):
    """|grad f^| = |grad f| c / (c + |h|)^2 with h = 1 - f, and h = f and c = |grad f| for GN (spec B1)."""
    D, x = network(3), 2 * normal(500, 3)
    logits, g = D(x).detach(), sample_gradients(D, x)
    slope = g.norm(dim=1)
    h = logits if kind == "gn" else 1 - logits
    c = {
        "gn": slope,
        "proof": slope,
        "elementwise": (1 - g).norm(dim=1),
        "scalar": (1 - slope).abs(),
    }[kind]
    expected = slope * c / (c + h.abs()) ** 2
    torch.testing.assert_close(slope_of(KINDS[kind].wrap(D), x), expected, rtol=1e-8, atol=1e-9)


def random_slopes(kinds: tuple[str, ...], nets: int, points: int, seed: int = 0) -> dict[str, float]:
    """The largest |grad f^| over `nets` random ReLU nets of 1 to 4 inputs, `points` points each."""
    g, largest = torch.Generator().manual_seed(seed), dict.fromkeys(kinds, 0.0)
    for n in (1, 2, 3, 4):
        each, width = nets // 4, 6
        W, b = (torch.randn(each, *s, generator=g, dtype=torch.float64) for s in ((width, n), (1, width)))
        V, c = (torch.randn(each, *s, generator=g, dtype=torch.float64) for s in ((width, width), (1, width)))
        v, d = (torch.randn(each, *s, generator=g, dtype=torch.float64) for s in ((width, 1), (1, 1)))
        x = torch.randn(each, points, n, generator=g, dtype=torch.float64)

        def nets_at(x, W=W, b=b, V=V, c=c, v=v, d=d):
            x = x.view(len(W), -1, x.shape[-1])
            hidden = (x @ W.mT + b).relu()
            return ((hidden @ V.mT + c).relu() @ v + d).flatten()

        for kind in kinds:
            found = slope_of(KINDS[kind].wrap(nets_at), x.flatten(0, 1))
            largest[kind] = max(largest[kind], found.max().item())
    return largest


def check_random_nets(nets: int) -> None:
    found = random_slopes((*BOUNDED, *UNBOUNDED), nets, points=16)
    for kind in BOUNDED:
        assert 0.95 < found[kind] <= 1 + 1e-9, kind
    for kind in UNBOUNDED:
        assert found[kind] > 2, kind


def test_gn_and_pgns_proof_are_bounded_on_2000_random_relu_nets_and_the_other_readings_are_not():
    # the norm detached (no second derivative), or a reading under another's name
    check_random_nets(2000)


@pytest.mark.slow
def test_the_same_on_10000_random_relu_nets():
    check_random_nets(10_000)


def test_gn_jumps_where_the_gradients_norm_does():
    """Spec B1: f = max(x, 2x) + 1 at 0 has f^ = 1/2 from the left and 1/3 from the right: no global bound."""
    x = torch.tensor([[-1e-12], [1e-12]], dtype=torch.float64)
    found = gradient_normalized(lambda x: torch.maximum(x, 2 * x)[:, 0] + 1)(x)
    assert found.tolist() == pytest.approx([1 / 2, 1 / 3], abs=1e-9)


# -------------------------------------------------------------------------------------------------- 0 / 0


@pytest.mark.parametrize(
    ("kind", "slope", "bias"),
    [("gn", 0.0, 0.0), ("proof", 0.0, 1.0), ("elementwise", 1.0, 1.0), ("scalar", 0.6, 1.0)],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nothing_over_nothing_is_zero_with_a_finite_gradient(kind, slope, bias, dtype):
    # no eps: NaN. The critic with nothing to say at the point is the equilibrium, not an accident
    x = torch.zeros(3, 2, dtype=dtype, requires_grad=True)
    w = torch.full((2,), slope, dtype=dtype)
    if kind == "scalar":
        w[1] = 0.8  # |grad f| = 1
    w.requires_grad_()
    b = torch.tensor(bias, dtype=dtype, requires_grad=True)
    found = KINDS[kind].wrap(lambda x: x @ w + b)(x)
    assert found.tolist() == [0, 0, 0] if kind != "scalar" else found.abs().max() < 1e-3
    for gradient in torch.autograd.grad(found.sum(), (x, w, b)):
        assert gradient.isfinite().all()
    plain = KINDS[kind].wrap(lambda x: x @ w.detach() + b.detach(), eps=0.0)(x)
    if kind != "scalar":
        assert plain.isnan().all()  # the published formula


@each_kind
def test_a_constant_critic_is_finite_with_a_finite_gradient(kind):
    # the root of a zero norm: its derivative is NaN
    for f in (0.0, 0.3, 1.0):
        x = normal(3, 3, 4, 4)
        D = nn.Sequential(nn.Flatten(1), nn.Linear(48, 1), nn.Flatten(0)).double()
        nn.init.zeros_(D[1].weight)
        nn.init.constant_(D[1].bias, f)
        found = KINDS[kind].wrap(D)(x)
        found.sum().backward()
        assert found.isfinite().all()
        assert all(p.grad.isfinite().all() for p in D.parameters())
        b = torch.tensor(f, dtype=torch.float64, requires_grad=True)
        found = KINDS[kind].wrap(lambda x, b=b: b.expand(len(x)))(x)  # x is not even in the graph
        assert found.isfinite().all()
        assert torch.autograd.grad(found.sum(), b)[0].isfinite()


# -------------------------------------------------------------------------------------- parameter gradients


class Formula(NamedTuple):
    """An activation and its slope in numpy."""

    at: Callable[[np.ndarray], np.ndarray]
    slope: Callable[[np.ndarray], np.ndarray]


FORMULAS = {
    nn.ReLU: Formula(lambda a: np.maximum(a, 0), lambda a: (a > 0).astype(float)),
    nn.Softplus: Formula(lambda a: np.log1p(np.exp(a)), lambda a: 1 / (1 + np.exp(-a))),
}


def shallow(n: int, activation: type[nn.Module]) -> nn.Sequential:
    torch.manual_seed(1)
    D = nn.Sequential(nn.Flatten(1), nn.Linear(n, 6), activation(), nn.Linear(6, 1), nn.Flatten(0))
    return steep(D.double())


def weighted(kind: str, activation: type[nn.Module], params: list[np.ndarray], x: np.ndarray) -> float:
    """sum_i (i + 1) f^(x_i) of v.act(Wx + b) + c in numpy."""
    W, b, v, c = params
    formula, hidden = FORMULAS[activation], x @ W.T + b
    logits = formula.at(hidden) @ v[0] + c[0]
    slopes = (v * formula.slope(hidden)) @ W
    values = [KINDS[kind].value(float(f), g.tolist()) for f, g in zip(logits, slopes, strict=True)]
    return sum((i + 1) * value for i, value in enumerate(values))


@each_kind
@pytest.mark.parametrize("activation", FORMULAS, ids=lambda a: a.__name__)
@each_shape
def test_parameter_gradients_by_finite_differences(kind, activation, shape):
    # the norm without create_graph or detached: right values, wrong learning
    D, x = shallow(math.prod(shape), activation), normal(4, *shape, seed=2)
    params = [p.detach().numpy().copy() for p in D.parameters()]
    flat = x.flatten(1).numpy()
    value = (KINDS[kind].wrap(D)(x) * torch.arange(1, 5)).sum()
    assert value.item() == pytest.approx(weighted(kind, activation, params, flat), rel=1e-9)
    value.backward()
    for p, array in zip(D.parameters(), params, strict=True):
        for index in np.ndindex(array.shape):
            kept, h = array[index], 1e-6
            array[index] = kept + h
            above = weighted(kind, activation, params, flat)
            array[index] = kept - h
            below = weighted(kind, activation, params, flat)
            array[index] = kept
            assert p.grad[index].item() == pytest.approx((above - below) / (2 * h), rel=1e-5, abs=1e-7)


@each_kind
@pytest.mark.parametrize("activation", FORMULAS, ids=lambda a: a.__name__)
def test_backward_in_a_loop_equals_torch_func(kind, activation):
    """The two ways through `input_gradient`, also to the samples, and under vmap."""
    D, x = network(3, activation), normal(5, 3)
    params = {key: p.detach() for key, p in D.named_parameters()}
    weights = torch.arange(1, 6)

    def loss(params: dict[str, Tensor], x: Tensor) -> Tensor:
        wrapped = KINDS[kind].wrap(lambda x: torch.func.functional_call(D, params, (x,)))
        return (wrapped(x) * weights).sum()

    leaf = x.clone().requires_grad_()
    (KINDS[kind].wrap(D)(leaf) * weights).sum().backward()
    functional, to_samples = torch.func.grad(loss, (0, 1))(params, x)
    torch.testing.assert_close(to_samples, leaf.grad, rtol=1e-10, atol=1e-12)
    for key, p in D.named_parameters():
        torch.testing.assert_close(functional[key], p.grad, rtol=1e-10, atol=1e-12)
    stacked = {key: torch.stack([p, 1.5 * p]) for key, p in params.items()}
    together = torch.vmap(torch.func.grad(loss), (0, None))(stacked, x)
    alone = torch.func.grad(loss)({key: 1.5 * p for key, p in params.items()}, x)
    for key in params:
        torch.testing.assert_close(together[key][0], functional[key], rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(together[key][1], alone[key], rtol=1e-10, atol=1e-12)


# ---------------------------------------------------------------------------------------- the tangent plane


def to_samples(critic: Critic, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    value = critic(x)
    (gradient,) = torch.autograd.grad((value * torch.linspace(-1, 2, len(x))).sum(), x)
    return value.detach(), gradient


NETS = {
    "relu": lambda: network(3),
    "leaky": lambda: network(3, lambda: nn.LeakyReLU(0.2)),
    "conv": lambda: steep(dcgan((1, 8, 8), width=3)[1].double(), 2.0),
    "spectral": lambda: spectral_normalized(network(3)).eval(),
}


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("kind", ["none", *KINDS])
def test_through_the_tangent_plane_piecewise_linear_critics_are_exact(net, kind):
    # the gradient not detached from x0, a value that moves, x - x0 without its graph
    D = NETS[net]()
    x = normal(8, 1, 8, 8) if net == "conv" else normal(8, 3)
    wrap = KINDS[kind].wrap if kind in KINDS else lambda critic: critic
    exact, cheap = to_samples(wrap(D), x), to_samples(wrap(tangent(D)), x)
    assert exact[1].norm() > 1e-3
    for a, b in zip(cheap, exact, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@each_kind
def test_through_the_tangent_plane_curved_critics_are_not(kind):
    """The value is the same; what the Hessian adds to the gradient is missing."""
    D, x = network(3, nn.Softplus), normal(8, 3)
    exact, cheap = to_samples(KINDS[kind].wrap(D), x), to_samples(KINDS[kind].wrap(tangent(D)), x)
    torch.testing.assert_close(cheap[0], exact[0], rtol=1e-10, atol=1e-12)
    assert (cheap[1] - exact[1]).norm() > 1e-3 * exact[1].norm()
    torch.testing.assert_close(to_samples(tangent(D), x), to_samples(D, x), rtol=1e-10, atol=1e-12)


def test_the_tangent_plane_inside_a_pure_step_is_the_same():
    D, x = network(3), normal(8, 3)
    wrapped = gradient_normalized(tangent(D))
    found = torch.func.grad(lambda x: (wrapped(x) * torch.linspace(-1, 2, 8)).sum())(x)
    torch.testing.assert_close(found, to_samples(gradient_normalized(D), x)[1], rtol=1e-10, atol=1e-12)


def test_the_tangent_plane_gives_the_critics_parameters_no_gradient_and_the_generators_theirs():
    D, G, z = network(3), nn.Linear(2, 3).double(), normal(8, 2)
    gradient_normalized(tangent(D))(G(z)).sum().backward()
    assert all(p.grad is None for p in D.parameters())
    found = [p.grad.clone() for p in G.parameters()]
    G.zero_grad()
    gradient_normalized(D)(G(z)).sum().backward()
    torch.testing.assert_close(found, [p.grad for p in G.parameters()], rtol=1e-10, atol=1e-12)
    params = {key: p.detach() for key, p in D.named_parameters()}
    pure = torch.func.grad(
        lambda params: tangent(lambda x: torch.func.functional_call(D, params, (x,)))(G(z).detach()).sum()
    )(params)
    assert all((gradient == 0).all() for gradient in pure.values())


def test_the_tangent_plane_is_the_critic_within_its_region_and_not_beyond():
    """f = |x| at x0 = 1: the plane is x, so -1 at x = -1; the output is only meant to be taken at x0."""
    x = torch.tensor([[1.0], [-3.0]], requires_grad=True)
    found = tangent(lambda x: x[:, 0].abs())(x)
    assert found.tolist() == [1, 3]
    assert torch.autograd.grad(found.sum(), x)[0].tolist() == [[1], [-1]]


def test_the_tangent_plane_of_samples_that_are_single_numbers():
    assert tangent(lambda x: x**2)(torch.tensor([2.0, 3.0])).tolist() == [4, 9]


# --------------------------------------------------------------------------- is the critic piecewise linear


def with_activation(module: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), module, nn.Linear(8, 1), nn.Flatten(0))


STRAIGHT = {
    "relu": (lambda: with_activation(nn.ReLU()), (3,)),
    "in place": (lambda: with_activation(nn.ReLU(inplace=True)), (3,)),
    "leaky": (lambda: with_activation(nn.LeakyReLU(0.2)), (3,)),
    "prelu": (lambda: with_activation(nn.PReLU()), (3,)),
    "hardtanh": (lambda: with_activation(nn.Hardtanh()), (3,)),
    "mlp": (lambda: mlp((2,))[1], (2,)),
    "dcgan": (lambda: dcgan((3, 16, 16), width=4)[1], (3, 16, 16)),
    "max pool": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.Flatten(1), nn.Linear(18, 1), nn.Flatten(0)
        ),
        (1, 8, 8),
    ),
}
CURVED = {
    "softplus": (lambda: with_activation(nn.Softplus()), (3,)),
    "tanh": (lambda: with_activation(nn.Tanh()), (3,)),
    "silu": (lambda: with_activation(nn.SiLU()), (3,)),
    "one late sigmoid": (lambda: nn.Sequential(mlp((2,))[1], nn.Sigmoid()), (2,)),
}


@pytest.mark.parametrize("net", STRAIGHT)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_piecewise_linear_critics_are_known_and_pass(net, dtype):
    make, shape = STRAIGHT[net]
    D = make().to(dtype)
    assert is_piecewise_linear(D)
    torch.manual_seed(0)
    check_piecewise_linear(D, torch.randn(32, *shape, dtype=dtype))


@pytest.mark.parametrize("net", CURVED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_curved_critics_are_known_and_refused(net, dtype):
    make, shape = CURVED[net]
    D = make().to(dtype)
    assert not is_piecewise_linear(D)
    torch.manual_seed(0)
    with pytest.raises(UsageError, match="piecewise linear"):
        check_piecewise_linear(D, torch.randn(32, *shape, dtype=dtype))


def test_one_curved_sample_is_enough_to_be_refused():
    """f = max(x, 0)^2: straight on the left; any() must not be all()."""
    left, right = -torch.ones(7, 1), torch.ones(1, 1)
    check_piecewise_linear(lambda x: x[:, 0].relu().square(), left)
    with pytest.raises(UsageError):
        check_piecewise_linear(lambda x: x[:, 0].relu().square(), torch.cat([left, right]))


def test_the_check_is_the_same_each_time_and_draws_from_no_global_generator():
    state = torch.random.get_rng_state()
    check_piecewise_linear(mlp((2,))[1], torch.ones(4, 2, requires_grad=True))
    assert not torch.equal(torch.random.get_rng_state(), state)  # the mlp's own
    D, state = mlp((2,))[1], torch.random.get_rng_state()
    check_piecewise_linear(D, torch.ones(4, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(p.grad is None for p in D.parameters())


def test_modules_that_are_not_known_count_as_curved():
    class Own(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sum(1)

    assert not is_piecewise_linear(Own())
    assert not is_piecewise_linear(nn.Sequential(nn.Linear(2, 2), Own()))
    assert not is_piecewise_linear(spectral_normalized(with_activation(nn.Softplus())))


def test_spectrally_normalized_modules_are_known():
    assert is_piecewise_linear(spectral_normalized(mlp((2,))[1]))
    assert is_piecewise_linear(spectral_normalized(dcgan((1, 8, 8), width=2)[1]))


def test_the_check_works_on_spectrally_normalized_critics():
    check_piecewise_linear(spectral_normalized(with_activation(nn.ReLU())), torch.randn(4, 3))


# -------------------------------------------------------------------------------------------- spectral norm

WEIGHTED: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "linear": (lambda: nn.Linear(7, 5), (7,), 0),
    "conv": (lambda: nn.Conv2d(3, 5, 3), (3, 6, 6), 0),
    "transposed": (lambda: nn.ConvTranspose2d(3, 5, 3), (3, 6, 6), 1),
    "conv1d": (lambda: nn.Conv1d(3, 5, 3), (3, 6), 0),
}
each_weighted = pytest.mark.parametrize("layer", WEIGHTED)


def matrix(weight: Tensor, dim: int) -> Tensor:
    """W as [outputs, everything else], written out row by row."""
    return torch.stack([weight.select(dim, row).reshape(-1) for row in range(weight.shape[dim])])


@each_weighted
def test_the_largest_singular_value_becomes_one(layer):
    # the wrong dimension of a transposed convolution; the Frobenius norm; no iteration at all
    make, shape, dim = WEIGHTED[layer]
    torch.manual_seed(0)
    net = make().double()
    raw = net.weight.detach().clone()
    spectral_normalized(net)
    for _ in range(200):
        net(normal(2, *shape))
    found = net.eval().weight
    assert torch.linalg.matrix_norm(matrix(found, dim), 2).item() == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(
        found, raw / torch.linalg.matrix_norm(matrix(raw, dim), 2), rtol=1e-6, atol=1e-8
    )


@each_weighted
def test_spectral_norm_is_torchs_from_the_same_vectors(layer):
    """Values, vectors, gradients and second derivatives over five training passes and one in evaluation."""
    make, shape, _ = WEIGHTED[layer]
    torch.manual_seed(0)
    net = make().double()
    raw = net.weight.detach()
    theirs = parametrizations.spectral_norm(copy.deepcopy(net))
    ours = spectral_normalized(net)
    for name in ("u", "v"):
        vector = getattr(theirs.parametrizations.weight[0], f"_{name}")
        getattr(ours.parametrizations.weight[0], name).copy_(vector)
    for turn in range(6):
        if turn == 5:
            ours.eval()
            theirs.eval()
        gradients = []
        for module in (ours, theirs):
            module.zero_grad()
            x = normal(2, *shape, seed=turn).requires_grad_()
            (first,) = torch.autograd.grad(module(x).tanh().sum(), x, create_graph=True)
            first.square().sum().backward()
            gradients.append(module.parametrizations.weight.original.grad)
        torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-12)
        for name in ("u", "v"):
            mine = getattr(ours.parametrizations.weight[0], name)
            torch.testing.assert_close(mine, getattr(theirs.parametrizations.weight[0], f"_{name}"))
        noise = normal(*raw.shape, seed=turn)
        with torch.no_grad():
            for module in (ours, theirs):
                module.parametrizations.weight.original.add_(0.1 * noise)
    torch.testing.assert_close(ours.weight, theirs.weight, rtol=1e-10, atol=1e-12)


def spectral(width: int = 8) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 1), nn.Flatten(0)]
    return spectral_normalized(nn.Sequential(*layers).double())


def vectors(net: nn.Module) -> list[Tensor]:
    return [b.clone() for b in net.buffers()]


def test_each_training_pass_iterates_once_and_evaluation_never():
    D, x = spectral(), normal(4, 3)
    with torch.no_grad():
        D[0].parametrizations.weight.original.add_(normal(8, 3, seed=3))
    u, v = vectors(D)[:2]
    W = D[0].parametrizations.weight.original.detach()
    D(x)
    left = W @ v / (W @ v).norm()
    right = W.T @ left / (W.T @ left).norm()
    torch.testing.assert_close(vectors(D)[:2], [left, right])
    assert (left - u).norm() > 1e-6
    before = vectors(D.eval())
    assert torch.equal(D(x), D(x))
    assert all(torch.equal(a, b) for a, b in zip(vectors(D), before, strict=True))
    torch.testing.assert_close(D[0].weight, W / (left @ W @ right))


def test_two_passes_before_a_backward_each_keep_their_own_vectors():
    # the second pass writes over the vectors that the first one's backward needs: an error, or a wrong gradient
    D, x, y = spectral(), normal(4, 3), normal(4, 3, seed=1)
    with torch.no_grad():
        D[0].parametrizations.weight.original.add_(normal(8, 3, seed=3))
    once, twice = copy.deepcopy(D), copy.deepcopy(D)
    (D(x).sum() + 2 * D(y).sum()).backward()
    once(x).sum().backward()
    twice(x)
    (2 * twice(y).sum()).backward()
    for a, b, c in zip(D.parameters(), once.parameters(), twice.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad + c.grad, rtol=1e-12, atol=1e-14)


def test_sigmas_derivative_is_part_of_the_gradient():
    """By differences of W / (u W v) with u and v held, in evaluation mode, through r1: a double backward."""
    D, x = spectral().eval(), normal(4, 3)
    penalties.r1(D, x).backward()
    for p in D.parameters():
        found = torch.zeros_like(p) if p.grad is None else p.grad
        for index in np.ndindex(*p.shape):
            ends = []
            for h in (1e-6, -2e-6):
                p.data[index] += h
                ends.append(penalties.r1(D, x).item())
            p.data[index] += 1e-6
            assert found[index].item() == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5, abs=1e-9)


def test_spectral_norm_trains_under_a_penalty_in_an_ordinary_loop():
    D, x, y = spectral(), normal(8, 3), 1 + normal(8, 3, seed=1)
    optimizer, start = torch.optim.SGD(D.parameters(), 0.05), flatten(D)
    for _ in range(10):
        optimizer.zero_grad()
        (D(y).mean() - D(x).mean() + penalties.r1(D, x)).backward()
        optimizer.step()
    assert (flatten(D) - start).norm() > 0.01
    for layer in (D[0], D[2]):
        assert torch.linalg.matrix_norm(layer.weight, 2).item() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    "penalised",
    [
        False,
        pytest.param(
            True,
            marks=pytest.mark.xfail(
                raises=RuntimeError, strict=True, reason="buffers leave input_gradient's vjp wrapped"
            ),
        ),
    ],
)
def test_members_under_vmap_have_their_own_vectors(penalised):
    D, x = spectral(), normal(4, 3)
    params, buffers = flatten(D), {key: b.clone() for key, b in D.named_buffers()}
    others = params + 0.1 * normal(*params.shape, seed=4)

    def run(params: Tensor, buffers: dict[str, Tensor]) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        def loss(params: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            fresh = dict(buffers)
            critic = partial(Network(D), params, fresh)
            return penalties.r1(critic, x) if penalised else critic(x).square().sum(), fresh

        gradient, (value, fresh) = torch.func.grad_and_value(loss, has_aux=True)(params)
        return gradient, value, fresh

    stacked = {key: torch.stack([b, b]) for key, b in buffers.items()}
    together = torch.vmap(run)(torch.stack([params, others]), stacked)
    for i, own in enumerate((params, others)):
        alone = run(own, buffers)
        torch.testing.assert_close(together[0][i], alone[0], rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(together[1][i], alone[1], rtol=1e-10, atol=1e-12)
        for key, b in alone[2].items():
            torch.testing.assert_close(together[2][key][i], b, rtol=1e-10, atol=1e-12)
    assert not torch.equal(
        together[2]["0.parametrizations.weight.0.u"][1], buffers["0.parametrizations.weight.0.u"]
    )


def test_only_weights_are_normalized_and_only_once():
    net = spectral_normalized(
        spectral_normalized(nn.Sequential(nn.Linear(3, 4), nn.PReLU(), nn.Linear(4, 1)))
    )
    assert [name for name, _ in net.named_buffers()] == [
        f"{layer}.parametrizations.weight.0.{vector}" for layer in (0, 2) for vector in "uv"
    ]
    assert {name for name, _ in net.named_parameters()} == {
        "0.bias", "0.parametrizations.weight.original", "1.weight",
        "2.bias", "2.parametrizations.weight.original",
    }  # fmt: skip


ON_TOP = {
    "weight norm": lambda: parametrizations.weight_norm(nn.Linear(3, 4)),
    "weight norm of a convolution": lambda: parametrizations.weight_norm(nn.Conv1d(3, 4, 2)),
    "orthogonal": lambda: parametrizations.orthogonal(nn.Linear(3, 4)),
    "a bias": lambda: parametrize.register_parametrization(nn.Linear(3, 4), "bias", nn.Tanh()),
}


@pytest.mark.parametrize("kind", ON_TOP)
def test_spectral_norm_divides_what_other_parametrizations_make_of_a_weight(kind):
    # skipped in silence: the layer stays as steep as it was
    torch.manual_seed(0)
    layer = ON_TOP[kind]().double()
    raw = layer.weight.detach().clone()
    found = spectral_normalized(layer)
    for _ in range(100):  # iterations
        assert found.weight.isfinite().all()
    found.eval()
    expected = raw / torch.linalg.matrix_norm(matrix(raw, 0), 2)
    torch.testing.assert_close(found.weight, expected, rtol=1e-6, atol=1e-8)
    penalties.r1(
        lambda x: found(x).flatten(1).sum(1), normal(5, 3, 2) if raw.ndim == 3 else normal(5, 3)
    ).backward()
    trained = [p for name, p in found.named_parameters() if "weight" in name]
    assert trained
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained)


NOT_DIVIDED = {
    "torch's": (
        lambda: parametrizations.spectral_norm(nn.Linear(3, 3)),
        "torch's spectral_norm divides it already",
    ),
    "torch's old": (lambda: nn.utils.spectral_norm(nn.Linear(3, 3)), "hook.*remove_spectral_norm"),
    "old weight norm": (lambda: nn.utils.weight_norm(nn.Linear(3, 3)), "hook.*remove_weight_norm"),
    "pruned": (lambda: prune.l1_unstructured(nn.Linear(3, 3), "weight", 1), "hook.*prune.remove"),
    "lazy": (lambda: nn.LazyLinear(3), "one batch"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", NOT_DIVIDED)
def test_a_weight_that_cannot_be_divided_is_named_and_nothing_is_changed(kind):
    make, words = NOT_DIVIDED[kind]
    net = nn.Sequential(nn.Linear(3, 3), make())
    with pytest.raises(UsageError, match=f"layer '1': .*{words}"):
        spectral_normalized(net)
    assert not parametrize.is_parametrized(net[0])


def test_spectral_norm_survives_a_copy_a_cast_and_a_state_dict():
    net = spectral().float()
    assert {t.dtype for t in (*net.parameters(), *net.buffers())} == {torch.float32}
    other = spectral_normalized(nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1), nn.Flatten(0)))
    other.load_state_dict(net.state_dict())
    x = torch.ones(2, 3)
    assert torch.equal(copy.deepcopy(net).eval()(x), other.eval()(x))


# --------------------------------------------------------------------------------------------- clipped weights


def test_weights_are_held_to_plus_and_minus_c():
    found = clip_weights(torch.tensor([-3.0, -0.01, 0.0, 0.005, 2.0]), 0.01)
    torch.testing.assert_close(found, torch.tensor([-0.01, -0.01, 0.0, 0.005, 0.01]))


def test_clipping_leaves_its_argument_alone_and_is_idempotent():
    params = torch.tensor([-3.0, 0.5])
    found = clip_weights(params, 1.0)
    assert params.tolist() == [-3, 0.5]
    assert torch.equal(clip_weights(found, 1.0), found)


def test_a_bound_that_is_no_float32_clips_nothing():
    params = torch.tensor([-3e38, 0.0, 2.0])
    assert torch.equal(clip_weights(params, 1e39), params)


@pytest.mark.parametrize("c", [0.0, -1.0, math.nan])
def test_weights_clipped_to_nothing_are_refused(c):
    with pytest.raises(UsageError, match=r"positive c, not"):
        clip_weights(torch.ones(2), c)


# ------------------------------------------------------------------------------------- found by breaking things


def test_a_nan_is_no_proof_of_linear_pieces():
    with pytest.raises(UsageError, match="Hessian"):
        check_piecewise_linear(lambda x: x.square().sum(1) * torch.nan, torch.randn(4, 3))


class Bent(nn.Linear):
    """A linear layer that is none."""

    def forward(self, x):
        return super().forward(x).sin()


def test_a_subclass_with_a_forward_of_its_own_is_not_taken_for_its_base():
    assert not is_piecewise_linear(nn.Sequential(Bent(2, 2), nn.ReLU()))
    assert is_piecewise_linear(spectral_normalized(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())))


def test_the_power_iteration_stays_in_float32_under_autocast():
    # in bfloat16 the estimate is half a percent off, and so is the norm
    torch.manual_seed(0)
    layer = spectral_normalized(nn.Linear(256, 256, bias=False))
    with torch.autocast("cpu", torch.bfloat16):
        for _ in range(200):
            layer(torch.zeros(1, 256))
    sigma = torch.linalg.matrix_norm(layer.eval().weight, 2).item()
    assert sigma == pytest.approx(1.0, abs=1e-4)


def test_a_weight_of_zeros_stays_zeros():
    layer = nn.Linear(3, 3, bias=False)
    nn.init.zeros_(layer.weight)
    assert torch.equal(spectral_normalized(layer)(torch.ones(1, 3)), torch.zeros(1, 3))


@pytest.mark.parametrize(
    "ask",
    [lambda x: gradient_normalized(lambda x: x.sum(1))(x), lambda x: penalties.r1(lambda x: x.sum(1), x)],
)
def test_inference_mode_is_refused_instead_of_answered_with_zeros(ask):
    with torch.inference_mode(), pytest.raises(UsageError, match="no_grad"):
        ask(torch.randn(4, 2))
    with torch.no_grad():
        assert ask(torch.randn(4, 2)).isfinite().all()
