"""Penalties against closed forms, explicit loops over samples, and finite differences.

The comment in a test names the wrong implementation it is there to catch. Everything runs over `PENALTIES`:
a penalty without an oracle here fails with a KeyError under its name. The approximated ones, which take no gradient,
are in `test_approximated_penalties.py`.
"""

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from steadygan import penalties
from steadygan.errors import UsageError
from steadygan.normalization import check_piecewise_linear, gradient_normalized
from steadygan.penalties import (
    PENALTIES,
    SQUARED,
    input_gradient,
    interpolate,
    lazy,
    norm,
    perturb,
    squared_norm,
)

SHAPES = [(1,), (2,), (3, 4, 4)]

EXACT = [name for name, make in PENALTIES.items() if make().sigma is None]
each_penalty = pytest.mark.parametrize("name", EXACT)
each_squared = pytest.mark.parametrize("name", ["r1", "r2", "zero_centered"])
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


class Oracle(NamedTuple):
    """Where a penalty looks, its per-sample term of (squared gradient norm), and what is made of the terms."""

    where: str
    term: Callable[[float], float]
    reduce: Callable[[Sequence[float]], float] = np.mean

    def of(self, squares: Tensor | np.ndarray | list[float]) -> float:
        return float(self.reduce([self.term(float(square)) for square in squares]))


ORACLES = {
    "r1": Oracle("real", lambda square: square),
    "r2": Oracle("fake", lambda square: square),
    "zero_centered": Oracle("between", lambda square: square),
    "one_centered": Oracle("between", lambda square: (math.sqrt(square) - 1) ** 2),
    "one_sided": Oracle("between", lambda square: max(0.0, math.sqrt(square) - 1) ** 2),
    "dragan": Oracle("around", lambda square: (math.sqrt(square) - 1) ** 2),
    "max_gradient": Oracle("between", lambda square: square, max),
}

BESSEL = 0
"""What DRAGAN's standard deviation subtracts from the count. Its published code is numpy's std, with 0."""


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def points(shape: tuple[int, ...], count: int = 5) -> dict[str, Tensor]:
    """Real and fake samples, an alpha and a noise for each, the points between and those around the reals."""
    real, fake = normal(count, *shape, seed=1), 1 + normal(count, *shape, seed=2)
    alpha = torch.linspace(0.1, 0.8, count, dtype=torch.float64)
    noise = torch.special.ndtr(normal(count, *shape, seed=4))  # uniform
    between = torch.stack([a * x + (1 - a) * y for a, x, y in zip(alpha, real, fake, strict=True)])
    spread = float(np.std(real.numpy(), ddof=BESSEL))
    around = torch.stack([x + a * spread / 2 * e for a, x, e in zip(alpha, real, noise, strict=True)])
    return {"real": real, "fake": fake, "alpha": alpha, "noise": noise, "between": between, "around": around}


def public(name: str, critic: Callable[[Tensor], Tensor], at: dict[str, Tensor], **options: Any) -> Tensor:
    """Call the public function `penalties.NAME` with the arguments that its kind takes."""
    return getattr(penalties, name)(critic, *samples(name, at), **options)


def samples(name: str, at: dict[str, Tensor]) -> list[Tensor]:
    """What the penalty takes after the critic."""
    where = ORACLES[name].where
    reads = {"between": ("real", "fake", "alpha"), "around": ("real", "noise", "alpha")}.get(where, (where,))
    return [at[key] for key in reads]


# ------------------------------------------------------------------------------------------ closed forms


class Critic(NamedTuple):
    """A critic of flattened samples [N, n], and |gradient|^2 of its logit as known from calculus."""

    logit: Callable[[Tensor], Tensor]
    square: Callable[[Tensor], Tensor]


def weight(n: int) -> Tensor:
    return torch.linspace(-1, 2, n + 1, dtype=torch.float64)[1:]


def symmetric(n: int) -> Tensor:
    half = normal(n, n, seed=3)
    return half + half.T


CRITICS = {
    # w.x + 3: |w|^2 everywhere (spec F1)
    "linear": Critic(
        lambda x: x @ weight(x.shape[1]) + 3,
        lambda x: weight(x.shape[1]).square().sum().expand(len(x)),
    ),
    # x.Ax / 2 with A symmetric: |Ax|^2
    "quadratic": Critic(
        lambda x: torch.einsum("ni,ij,nj->n", x, symmetric(x.shape[1]), x) / 2,
        lambda x: (x @ symmetric(x.shape[1])).square().sum(1),
    ),
    # |x|: 1 everywhere but at 0
    "cone": Critic(lambda x: x.norm(dim=1), lambda x: torch.ones(len(x), dtype=x.dtype)),
    # |x|^4 / 4: the gradient is |x|^2 x, so |x|^6
    "quartic": Critic(
        lambda x: x.square().sum(1).square() / 4,
        lambda x: x.square().sum(1) ** 3,
    ),
}

each_critic = pytest.mark.parametrize("kind", CRITICS)


@each_penalty
@each_critic
@each_shape
def test_closed_forms_in_every_shape(name, kind, shape):
    # a 1/2, a sum over the batch, the norm of the mean gradient, another point than the one it is named for
    at, critic = points(shape), CRITICS[kind]
    expected = ORACLES[name].of(critic.square(at[ORACLES[name].where].flatten(1)))
    found = public(name, lambda x: critic.logit(x.flatten(1)), at)
    assert found.shape == ()
    assert found.item() == pytest.approx(expected, rel=1e-12)


@each_penalty
@each_shape
def test_the_tables_entry_is_the_public_function(name, shape):
    """The step takes one gradient at each place for all penalties there; the result must be the same."""
    at, entry = points(shape), PENALTIES[name]()
    assert entry.where == ORACLES[name].where
    logits, gradient = input_gradient(lambda x: x.flatten(1).square().sum(1), at[entry.where])
    found = entry.term(logits, gradient)
    assert found.shape == (len(at["real"]),)
    whole = public(name, lambda x: x.flatten(1).square().sum(1), at)
    torch.testing.assert_close(entry.reduce(found), whole)
    assert entry.name == name


@each_penalty
def test_samples_that_are_single_numbers(name):
    """x [N], as in the Dirac-GAN: f = x^3 / 3 has the gradient x^2."""
    at = points(())
    expected = ORACLES[name].of(at[ORACLES[name].where] ** 4)
    assert public(name, lambda x: x**3 / 3, at).item() == pytest.approx(expected, rel=1e-12)


def test_input_gradient_gives_logits_and_gradient_at_each_row():
    x = points((3, 4, 4))["real"]
    A = symmetric(48)
    logits, gradient = input_gradient(lambda x: CRITICS["quadratic"].logit(x.flatten(1)), x)
    for i, row in enumerate(x.flatten(1)):
        assert logits[i].item() == pytest.approx((row @ A @ row).item() / 2)
        torch.testing.assert_close(gradient[i].flatten(), A @ row)
    assert gradient.shape == x.shape


def test_the_norm_is_per_sample_and_over_all_dimensions():
    """On this batch every other reading of the norm gives another number."""
    x = points((3, 4, 4))["real"]
    A = symmetric(48)
    g = (x.flatten(1) @ A).view_as(x)
    right = np.mean([sum(v * v for v in row.flatten().tolist()) for row in g])
    wrong = {
        "per pixel (norm over channels, mean over the rest)": g.square().sum(1).mean(),
        "whole batch": g.square().sum(),
        "norm of the whole batch, divided by N": g.norm() / len(g),
        "norm of the mean gradient": g.mean(0).square().sum(),
        "not squared": g.flatten(1).norm(dim=1).mean(),
        "with 1/2": g.flatten(1).square().sum(1).mean() / 2,
    }
    found = penalties.r1(lambda x: CRITICS["quadratic"].logit(x.flatten(1)), x).item()
    assert found == pytest.approx(right, rel=1e-12)
    for reading, value in wrong.items():
        assert value.item() != pytest.approx(right, rel=0.1), reading


@each_penalty
def test_the_order_of_the_batch_changes_nothing(name):
    # any statistic of the batch in place of a mean (or the largest) of per-sample terms
    at, critic = points((2,)), lambda x: CRITICS["quartic"].logit(x)
    order = torch.tensor([3, 0, 4, 1, 2])
    shuffled = public(name, critic, {key: v[order] for key, v in at.items()})
    torch.testing.assert_close(shuffled, public(name, critic, at))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name, marks=pytest.mark.xfail(BESSEL == 1, strict=True, reason="std with Bessel's correction")
        )
        if name == "dragan"
        else name
        for name in EXACT
    ],
)
def test_the_repetition_of_the_batch_changes_nothing(name):
    # a sum in place of a mean
    at, critic = points((2,)), lambda x: CRITICS["quartic"].logit(x)
    thrice = public(name, critic, {key: v.repeat_interleave(3, 0) for key, v in at.items()})
    torch.testing.assert_close(thrice, public(name, critic, at))


@each_penalty
def test_a_conditional_critic_is_closed_over_its_labels(name):
    """f(x, y) = e_y . x: each sample's gradient is its own label's row, also where points are mixed."""
    at, rows, y = points((2,)), 2 * normal(3, 2, seed=5), torch.tensor([2, 0, 1, 1, 0])

    def D(x: Tensor, y: Tensor) -> Tensor:
        return (rows[y] * x).sum(1)

    expected = ORACLES[name].of(rows[y].square().sum(1))
    assert public(name, lambda x: D(x, y), at).item() == pytest.approx(expected, rel=1e-12)


def test_one_sided_leaves_slopes_up_to_one_alone():
    # abs() in place of relu, or the square taken first: a slope of 1/2 would be pushed up
    at = points((2,))
    for slope, expected in ((0.5, 0.0), (1.0, 0.0), (3.0, 4.0)):
        scale = torch.tensor(slope, dtype=torch.float64, requires_grad=True)
        value = public("one_sided", lambda x, scale=scale: scale * x[:, 0], at)
        value.backward()
        assert value.item() == pytest.approx(expected)
        assert scale.grad.item() == pytest.approx(2 * max(0.0, slope - 1))


def test_max_gradient_pushes_the_steepest_sample_only():
    """f = scale_i x_i: the derivative of max scale_i^2 is 2 scale_i at the largest and 0 elsewhere."""
    scale = torch.tensor([1.0, -3.0, 2.0, 0.5, 0.0], dtype=torch.float64, requires_grad=True)
    value = public("max_gradient", lambda x: scale * x[:, 0], points((2,)))
    value.backward()
    assert value.item() == 9
    assert scale.grad.tolist() == [0, -6, 0, 0, 0]


def test_norm_is_the_root_with_derivative_zero_at_zero():
    # sqrt(square + eps), which moves every penalty by eps' root, or sqrt alone, whose derivative is NaN
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1e-8, 0.0]], dtype=torch.float64, requires_grad=True)
    found = norm(x)
    found.sum().backward()
    assert found.tolist() == [5, 0, 1e-8]
    assert x.grad.flatten().tolist() == pytest.approx([0.6, 0.8, 0, 0, 1, 0])


def test_squared_norm_of_half_precision_is_summed_in_float32():
    # bfloat16 has 8 bits: 1201 would be 1200, and a small weight's share of it nothing
    found = squared_norm(torch.ones(2, 1201, dtype=torch.bfloat16))
    assert found.dtype == torch.float32
    assert found.tolist() == [1201, 1201]


# ------------------------------------------------------------------------------------ parameter gradients


class Smooth(NamedTuple):
    """An activation with its slope, in numpy, and the torch module of the same name."""

    module: type[nn.Module]
    slope: Callable[[np.ndarray], np.ndarray]


SMOOTH = {
    "tanh": Smooth(nn.Tanh, lambda a: 1 - np.tanh(a) ** 2),
    "softplus": Smooth(nn.Softplus, lambda a: 1 / (1 + np.exp(-a))),
}
each_smooth = pytest.mark.parametrize("smooth", SMOOTH)


STEEP = 8
"""So that slopes lie on either side of one, where `one_sided` begins."""


def network(n: int, smooth: str, width: int = 6) -> nn.Sequential:
    torch.manual_seed(0)
    module = SMOOTH[smooth].module()
    D = nn.Sequential(nn.Flatten(1), nn.Linear(n, width), module, nn.Linear(width, 1), nn.Flatten(0))
    nn.init.uniform_(D[3].weight, -STEEP, STEEP)
    return D.double()


def formula(name: str, smooth: str, params: list[np.ndarray], x: np.ndarray) -> float:
    """The penalty of v.act(Wx + b) + c in numpy: its input gradient is W'(v * act'(Wx + b))."""
    W, b, v, _ = params
    gradient = (v * SMOOTH[smooth].slope(x @ W.T + b)) @ W
    return ORACLES[name].of((gradient**2).sum(1))


@each_penalty
@each_smooth
@each_shape
def test_value_and_parameter_gradient_of_a_network(name, smooth, shape):
    # a gradient without create_graph, or a detached one: the value is right and nothing is learned
    at = points(shape)
    D = network(math.prod(shape), smooth)
    x = at[ORACLES[name].where].flatten(1).numpy()
    params = [p.detach().numpy().copy() for p in D.parameters()]
    value = public(name, D, at)
    assert value.item() == pytest.approx(formula(name, smooth, params, x), rel=1e-12)
    assert value > 0
    value.backward()
    for p, array in zip(D.parameters(), params, strict=True):
        found = torch.zeros_like(p) if p.grad is None else p.grad
        for index in np.ndindex(array.shape):
            kept, h = array[index], 1e-5
            array[index] = kept + h
            above = formula(name, smooth, params, x)
            array[index] = kept - h
            below = formula(name, smooth, params, x)
            array[index] = kept
            assert found[index].item() == pytest.approx((above - below) / (2 * h), rel=1e-6, abs=1e-8)


def flat_gradient(
    name: str, D: nn.Module, at: dict[str, Tensor], params: dict[str, Tensor]
) -> dict[str, Tensor]:
    def loss(params: dict[str, Tensor]) -> Tensor:
        return public(name, lambda x: torch.func.functional_call(D, params, (x,)), at)

    return torch.func.grad(loss)(params)


@each_penalty
def test_backward_in_a_loop_equals_torch_func(name):
    """The two ways through `input_gradient`: ordinary autograd, and a vjp inside a pure step."""
    at, D = points((2,)), network(2, "softplus")
    functional = flat_gradient(name, D, at, {key: p.detach() for key, p in D.named_parameters()})
    public(name, D, at).backward()
    for key, p in D.named_parameters():
        ordinary = torch.zeros_like(p) if p.grad is None else p.grad
        torch.testing.assert_close(functional[key], ordinary, rtol=1e-12, atol=1e-14)


@each_penalty
def test_under_vmap_each_member_has_its_own_penalty(name):
    at = points((2,))
    members = [
        {key: (1 + i) * p.detach() for key, p in network(2, "tanh").named_parameters()} for i in range(3)
    ]
    stacked = {key: torch.stack([member[key] for member in members]) for key in members[0]}
    D = network(2, "tanh")
    together = torch.vmap(lambda params: flat_gradient(name, D, at, params))(stacked)
    for i, member in enumerate(members):
        for key, alone in flat_gradient(name, D, at, member).items():
            torch.testing.assert_close(together[key][i], alone, rtol=1e-12, atol=1e-14)


@pytest.mark.slow
@each_penalty
def test_compiled_equals_eager(name):
    at, D = points((2,)), network(2, "softplus")
    params = {key: p.detach() for key, p in D.named_parameters()}
    backend = "inductor" if name == "r1" else "aot_eager"  # all derivatives, without a C++ compiler
    program = torch.compile(
        lambda params: flat_gradient(name, D, at, params), fullgraph=True, backend=backend
    )
    for key, gradient in program(params).items():
        torch.testing.assert_close(gradient, flat_gradient(name, D, at, params)[key], rtol=1e-10, atol=1e-12)


@each_penalty
def test_a_gradient_of_zero_is_no_trouble(name):
    # sqrt(sum(g**2)), whose derivative at 0 is NaN: at the equilibrium the critic is flat, and the run dies
    scale = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    zeros = {key: torch.zeros_like(v) for key, v in points((3, 4, 4)).items()}
    value = public(name, lambda x: scale * x.flatten(1).square().sum(1), zeros)
    assert value.item() == ORACLES[name].term(0.0)
    value.backward()
    assert scale.grad.isfinite()
    linear = nn.Sequential(nn.Flatten(1), nn.Linear(48, 1), nn.Flatten(0)).double()
    nn.init.zeros_(linear[1].weight)
    value = public(name, linear, points((3, 4, 4)))
    assert value.item() == ORACLES[name].term(0.0)
    value.backward()
    assert linear[1].weight.grad.isfinite().all()
    bias = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    value = public(name, lambda x: bias.expand(len(x)), points((3, 4, 4)))  # x is not even in the graph
    assert value.item() == ORACLES[name].term(0.0)
    (value + bias).backward()
    assert bias.grad.item() == 1
    at = points((3, 4, 4))
    pure = torch.func.grad(lambda b: public(name, lambda x: b.expand(len(x)), at) + b)
    assert pure(bias.detach()).item() == 1


# ------------------------------------------------------------------------------------------- probability


@each_squared
def test_of_the_probability_in_closed_form(name):
    """D = sigmoid(w.x + 3): |grad D|^2 = (D (1 - D))^2 |w|^2."""
    at, (logit, square) = points((2,)), CRITICS["linear"]
    x = at[ORACLES[name].where]
    p = [1 / (1 + math.exp(-t)) for t in logit(x).tolist()]
    expected = ORACLES[name].of([(q * (1 - q)) ** 2 * square(x)[0].item() for q in p])
    assert public(name, logit, at, of="probability").item() == pytest.approx(expected, rel=1e-12)


@each_squared
def test_of_the_probability_is_of_the_sigmoid_composed(name):
    at, D = points((2,)), network(2, "tanh")
    public(name, D, at, of="probability").backward()
    gradients = [p.grad.clone() for p in D.parameters()]
    D.zero_grad()
    public(name, lambda x: torch.sigmoid(D(x)), at).backward()
    for p, found in zip(D.parameters(), gradients, strict=True):
        torch.testing.assert_close(found, p.grad, rtol=1e-10, atol=1e-14)


@each_squared
@pytest.mark.parametrize("logit", [300.0, -300.0])
def test_of_the_probability_of_a_sure_critic_is_zero_and_finite(name, logit):
    bias = torch.tensor(logit, requires_grad=True)
    at = {key: v.float() for key, v in points((2,)).items()}
    value = public(name, lambda x: x.sum(1) + bias, at, of="probability")
    assert value.item() == pytest.approx(ORACLES[name].term(0.0), abs=1e-30)
    value.backward()
    assert bias.grad.isfinite()


@each_squared
def test_of_something_else_is_refused(name):
    with pytest.raises(UsageError, match="'logits'"):
        public(name, lambda x: x.sum(1), points((2,)), of="logits")
    with pytest.raises(UsageError, match="'logits'"):
        PENALTIES[name](of="logits")


# ------------------------------------------------------------------------------------- critics of other forms


def spread(n: int) -> Tensor:
    """Weights [n, 6] of six logits, so that no two of them have one gradient."""
    return normal(n, 6, seed=7)


def patches(x: Tensor) -> Tensor:
    """Six logits in a map [N, 1, 2, 3], each linear in the sample."""
    return (x.flatten(1) @ spread(x[0].numel())).view(-1, 1, 2, 3)


@each_penalty
@each_shape
@pytest.mark.parametrize("reduce", ["sum", "mean"])
def test_a_map_is_differentiated_through_the_number_that_was_chosen(name, shape, reduce):
    """The gradient of sum_k w_k.x is sum_k w_k; of the mean a sixth of it."""
    at = points(shape)
    w = [sum(row) / (6 if reduce == "mean" else 1) for row in spread(math.prod(shape)).tolist()]
    expected = ORACLES[name].of([sum(v * v for v in w)])
    assert public(name, patches, at, reduce=reduce).item() == pytest.approx(expected, rel=1e-12)


@each_penalty
def test_several_critics_are_penalised_each_for_itself_and_summed(name):
    # the gradient of the sum of all critics, or a mean over critics
    at, n = points((2,)), 2
    squares = [(weight(n).square().sum().item()), spread(n).sum(1).square().sum().item()]

    def D(x: Tensor) -> list[Tensor]:
        return [x @ weight(n), patches(x)]

    expected = sum(ORACLES[name].of([square]) for square in squares)
    assert public(name, D, at, reduce="sum").item() == pytest.approx(expected, rel=1e-12)
    found = public(name, lambda x: {"scores": D(x)}, at, reduce="sum", logits=lambda out: out["scores"])
    assert found.item() == pytest.approx(expected, rel=1e-12)
    logits, gradients = input_gradient(D, at["real"], reduce="sum")
    assert [each.shape for each in logits] == [(5,), (5,)]
    torch.testing.assert_close(gradients[0], weight(n).expand(5, 2))
    torch.testing.assert_close(gradients[1], spread(n).sum(1).expand(5, 2))


@each_penalty
def test_labels_go_to_the_critic_with_the_rows_of_x(name):
    at, rows, y = points((2,)), 2 * normal(3, 2, seed=5), torch.tensor([2, 0, 1, 1, 0])
    expected = ORACLES[name].of(rows[y].square().sum(1))
    assert public(name, lambda x, y: (rows[y] * x).sum(1), at, y=y).item() == pytest.approx(
        expected, rel=1e-12
    )
    found = public(name, lambda x, y, c: c * (rows[y] * x).sum(1), at, y=(y, torch.ones(5)))
    assert found.item() == pytest.approx(expected, rel=1e-12)
    with pytest.raises(UsageError, match=r"5.*\[4\]"):
        public(name, lambda x, y: x[:, 0], at, y=y[:4])


@each_penalty
def test_the_penalty_and_the_logits_come_from_one_pass(name):
    at, D, seen = points((2,)), network(2, "tanh"), []

    def counted(x: Tensor) -> list[Tensor]:
        seen.append(x)
        return [D(x), torch.stack([D(x), D(2 * x)], 1)]

    penalty = getattr(penalties, name)
    logits, value = penalties.value_and(penalty, counted, *samples(name, at), reduce="mean")
    assert len(seen) == 1
    x = at[ORACLES[name].where]
    torch.testing.assert_close(logits, [D(x), torch.stack([D(x), D(2 * x)], 1)])
    torch.testing.assert_close(value, public(name, counted, at, reduce="mean"))
    (value + sum(each.mean() for each in logits)).backward()
    once = [p.grad.clone() for p in D.parameters()]
    D.zero_grad()
    (public(name, counted, at, reduce="mean") + sum(each.mean() for each in counted(x))).backward()
    for p, found in zip(D.parameters(), once, strict=True):
        torch.testing.assert_close(found, p.grad, rtol=1e-10, atol=1e-13)


@each_squared
def test_the_logits_beside_a_penalty_of_the_probability(name):
    at, (logit, _) = points((2,)), CRITICS["linear"]
    penalty = getattr(penalties, name)
    found = penalties.value_and(penalty, logit, *samples(name, at), of="probability")
    torch.testing.assert_close(found[0], logit(at[ORACLES[name].where]))
    torch.testing.assert_close(found[1], public(name, logit, at, of="probability"))


@pytest.mark.parametrize("name", ["max_gradient", "dragan", "approximated_r1"])
def test_a_penalty_of_logits_alone_has_no_other_output_to_look_at(name):
    with pytest.raises(UsageError, match=f"{name} does not take of"):
        penalties.value_and(getattr(penalties, name), lambda x: x[:, 0], torch.ones(4, 2), of="probability")


@pytest.mark.parametrize(
    ("name", "points", "given", "said"),
    [
        ("r1", 1, {"sigma": 0.1}, "r1 does not take sigma"),
        (
            "r1",
            1,
            {"alpha": torch.ones(4), "direction": torch.ones(4, 2)},
            "r1 does not take alpha or direction",
        ),
        ("dragan", 1, {"direction": torch.ones(4, 2)}, "dragan does not take direction"),
        ("r1", 2, {}, "r1 takes x_real after the critic, not 2 tensors"),
        ("one_centered", 1, {}, "one_centered takes x_real and x_fake after the critic, not 1 tensors"),
    ],
)
def test_value_and_refuses_what_the_penalty_does_not_take(name, points, given, said):
    with pytest.raises(UsageError, match=said):
        penalties.value_and(
            getattr(penalties, name), lambda x: x[:, 0], *[torch.ones(4, 2)] * points, **given
        )


@pytest.mark.parametrize("name", PENALTIES)
def test_whole_numbers_have_no_gradient_and_are_refused(name):
    whole = torch.ones(4, 2, dtype=torch.uint8)
    points = [whole] * (2 if PENALTIES[name]().where == "between" else 1)
    with pytest.raises(UsageError, match="needs samples of floating point, not torch\\.uint8"):
        getattr(penalties, name)(lambda x: x.float().sum(1), *points)


def test_value_and_of_something_else_is_refused():
    def r1(critic: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        return critic(x).sum()

    for penalty in (r1, lazy(penalties.r1, 4), norm, "r1"):
        with pytest.raises(UsageError, match=r"one of r1, r2.*input_gradient"):
            penalties.value_and(penalty, lambda x: x[:, 0], torch.ones(4, 2))


def several(params: dict[str, Tensor], D: nn.Module) -> Callable[[Tensor], list[Tensor]]:
    """Two critics of one module: its logit, and a map of two."""

    def critic(x: Tensor) -> list[Tensor]:
        one, two = (torch.func.functional_call(D, params, (scale * x,)) for scale in (1, 2))
        return [one, torch.stack([one, two], 1)]

    return critic


def several_gradient(
    name: str, reduce: str, params: dict[str, Tensor], D: nn.Module, at: dict[str, Tensor]
) -> dict[str, Tensor]:
    def loss(params: dict[str, Tensor]) -> Tensor:
        penalty, critic = getattr(penalties, name), several(params, D)
        logits, value = penalties.value_and(penalty, critic, *samples(name, at), reduce=reduce)
        return value + sum(each.square().mean() for each in logits)

    return torch.func.grad(loss)(params)


@each_penalty
@pytest.mark.parametrize("reduce", ["sum", "mean"])
def test_several_critics_in_a_pure_step_and_in_an_ensemble(name, reduce):
    """torch.func's gradients, alone and under vmap, are those of .backward()."""
    at, D = points((2,)), network(2, "softplus")
    members = [{key: (1 + i) * p.detach() for key, p in D.named_parameters()} for i in range(2)]
    stacked = {key: torch.stack([member[key] for member in members]) for key in members[0]}
    together = torch.vmap(lambda params: several_gradient(name, reduce, params, D, at))(stacked)
    for i, member in enumerate(members):
        leaves = {key: p.clone().requires_grad_() for key, p in member.items()}
        value = public(name, several(leaves, D), at, reduce=reduce)
        logits = several(leaves, D)(at[ORACLES[name].where])
        (value + sum(each.square().mean() for each in logits)).backward()
        alone = several_gradient(name, reduce, member, D, at)
        for key, p in leaves.items():
            torch.testing.assert_close(alone[key], p.grad, rtol=1e-10, atol=1e-12)
            torch.testing.assert_close(together[key][i], p.grad, rtol=1e-10, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["r1", "one_centered"])
def test_several_critics_compiled_equal_eager(name):
    at, D = points((2,)), network(2, "softplus")
    params = {key: p.detach() for key, p in D.named_parameters()}
    program = torch.compile(
        lambda params: several_gradient(name, "mean", params, D, at), fullgraph=True, backend="aot_eager"
    )
    expected = several_gradient(name, "mean", params, D, at)
    for key, gradient in program(params).items():
        torch.testing.assert_close(gradient, expected[key], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("critic", "options", "words"),
    [
        (lambda x: x.view(5, 1, 2), {}, r"2 logits.*\[5, 1, 2\].*reduce='sum'.*reduce='mean'.*R1: 4 times"),
        (lambda x: [x[:, 0], x], {}, r"\[5, 2\].*reduce='sum'"),
        (lambda x: x, {"reduce": "max"}, "'sum' or 'mean'.*'max'"),
        (lambda x: x[:, 0], {"reduce": "max"}, "'sum' or 'mean'.*'max'"),
        (lambda x: (x[:, 0], None), {}, r"tuple of Tensor, NoneType.*logits=lambda out: out\[0\]"),
        (lambda x: (x[:, 0], x[:, 1]), {}, r"tuple of Tensor, Tensor.*logits=lambda out: out\[0\]"),
        (lambda x: {"score": x[:, 0]}, {}, r"dict with 'score'.*logits=lambda out: out\['score'\]"),
        (lambda x: [[x, x[:, 0]]], {}, r"list of list.*logits=lambda out: \[scale\[-1\] for scale in out\]"),
        (lambda x: (x[:, 0], None), {"logits": lambda out: out}, r"tuple of Tensor, NoneType.*out\[0\]"),
        (lambda x: None, {}, "NoneType"),
        (lambda x: [], {}, "list of nothing"),
        (lambda x: x.sum(), {}, r"shape \[\].*mean"),
        (lambda x: x.reshape(1, 10), {"reduce": "sum"}, r"\[5\].*\[1, 10\].*packs"),
    ],
)
def test_an_answer_that_is_no_number_a_sample_is_refused_with_what_to_write(critic, options, words):
    # advice that leads to the same sentence again: flatten(0) of a map has another number of rows
    for call in (
        penalties.r1,
        input_gradient,
        lambda D, x, **how: penalties.value_and(penalties.r1, D, x, **how),
    ):
        with pytest.raises(UsageError, match=words):
            call(critic, torch.ones(5, 2), **options)


@pytest.mark.parametrize("shape", [(5, 1), (5, 1, 1, 1), (5, 1, 1)])
def test_one_logit_a_sample_needs_no_choice_whatever_its_axes(shape):
    x = points((2,))["real"]
    found = penalties.r1(lambda x: CRITICS["quartic"].logit(x).view(shape), x)
    torch.testing.assert_close(found, penalties.r1(CRITICS["quartic"].logit, x))


# ------------------------------------------------------------------------------------------- torch.compile


def convolutional() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(1, 4, 3), nn.ReLU(), nn.Conv1d(4, 1, 3), nn.Flatten(0))


def in_part(D: nn.Sequential, backend: str) -> nn.Module:
    return nn.Sequential(D[0], torch.compile(D[1:], backend=backend))


class Doubled(nn.Module):
    """Twice the logits of D. (torch.compile passes over a Sequential that is compiled in place.)"""

    def __init__(self, D: nn.Module) -> None:
        super().__init__()
        self.D = D

    def forward(self, x: Tensor) -> Tensor:
        return 2 * self.D(x)


def in_place(D: nn.Sequential, backend: str) -> nn.Module:
    whole = Doubled(D)
    whole.compile(backend=backend)
    return whole


COMPILED = {
    "a module": lambda D, backend: torch.compile(D, backend=backend),
    "a module in place": in_place,
    "a function": lambda D, backend: torch.compile(lambda x: 2 * D(x), backend=backend),
    "inside a function": lambda D, backend: (lambda C: lambda x: C(x) * 2)(torch.compile(D, backend=backend)),
    "in part": in_part,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "backend"), [*((kind, "aot_eager") for kind in COMPILED), ("a module", "inductor")]
)
def test_a_compiled_critic_is_refused_before_backward_with_the_remedy(kind, backend):
    x, D = torch.randn(5, 1, 5), COMPILED[kind](convolutional(), backend)
    with pytest.raises(UsageError, match=r"torch\.compile.*plain module.*whole loss"):
        penalties.r1(D, x)
    with pytest.raises(UsageError, match=r"torch\.compile.*plain module.*whole loss"):
        gradient_normalized(D)(x)
    with pytest.raises(UsageError, match=r"torch\.compile.*plain module.*whole loss"):
        check_piecewise_linear(D, x)


@pytest.mark.slow
def test_what_is_compiled_and_needs_no_double_backward_passes():
    """The whole loss, a backend that only traces, a generator that made the fakes, and no gradients at all."""
    torch.manual_seed(0)
    x, D = torch.randn(5, 1, 5), convolutional()
    expected = penalties.r1(D, x)
    whole = torch.compile(lambda x: penalties.r1(D, x), fullgraph=True)
    traced = torch.compile(D, backend="eager")
    for value in (whole(x), penalties.r1(traced, x)):
        torch.testing.assert_close(value, expected)
        value.backward()
    G = nn.Conv1d(1, 1, 3, padding=1)
    penalties.r2(D, torch.compile(G)(x)).backward()
    assert G.weight.grad is not None
    linear = torch.compile(nn.Sequential(nn.Linear(5, 1), nn.Flatten(0)), backend="aot_eager")
    with torch.no_grad():
        assert penalties.r1(linear, torch.randn(4, 5)).isfinite()


# ----------------------------------------------------------------------------------------- interpolation


def test_interpolation_has_one_alpha_a_sample():
    # one alpha for the batch, or one for each pixel
    found = interpolate(torch.ones(4000, 3, 2, 2), torch.zeros(4000, 3, 2, 2)).flatten(1)
    assert (found == found[:, :1]).all()
    alpha = found[:, 0].sort().values
    uniform = (torch.arange(4000) + 0.5) / 4000
    assert (alpha - uniform).abs().max() < 1.95 / math.sqrt(4000)  # Kolmogorov-Smirnov, p = 0.001


def test_interpolation_weighs_the_real_sample_with_alpha():
    x, y = normal(3, 2, seed=1), normal(3, 2, seed=2)
    alpha = torch.tensor([0.0, 0.25, 1.0], dtype=torch.float64)
    expected = torch.stack([y[0], (x[1] + 3 * y[1]) / 4, x[2]])
    torch.testing.assert_close(interpolate(x, y, alpha), expected)


def test_interpolation_at_its_ends_is_r1_and_r2():
    at, D = points((2,)), network(2, "tanh")
    ends = [
        penalties.zero_centered(D, at["real"], at["fake"], torch.full((5,), end).double()) for end in (1, 0)
    ]
    torch.testing.assert_close(ends, [penalties.r1(D, at["real"]), penalties.r2(D, at["fake"])])


def test_interpolation_between_unlike_shapes_is_refused():
    with pytest.raises(UsageError, match=r"\[4, 2\].*\[3, 2\]"):
        interpolate(torch.ones(4, 2), torch.ones(3, 2))


# ------------------------------------------------------------------------------------- around the data


def test_the_neighbourhood_of_the_data_with_given_noise_and_alpha():
    """x + alpha s/2 noise (Kodali 2017's code): one s of the batch, one alpha a sample, a noise a pixel."""
    at = points((3, 4, 4))
    x = at["real"] * torch.linspace(0.2, 3, 4, dtype=torch.float64)  # pixels of unlike spread
    alpha, noise = at["alpha"].view(-1, 1, 1, 1), at["noise"]
    s = float(np.std(x.numpy(), ddof=BESSEL))
    found = perturb(x, at["noise"], at["alpha"])
    torch.testing.assert_close(found, x + alpha * s / 2 * noise, rtol=1e-12, atol=1e-14)
    wrong = {
        "s, without the half": x + alpha * s * noise,
        "s of each pixel": x + alpha * x.std(0) / 2 * noise,
        "s of each sample": x + alpha * x.flatten(1).std(1).view(-1, 1, 1, 1) / 2 * noise,
        "the variance": x + alpha * s**2 / 2 * noise,
        "1 - alpha": x + (1 - alpha) * s / 2 * noise,
        "no alpha": x + s / 2 * noise,
        "noise about zero": x + alpha * s / 2 * (2 * noise - 1),
    }
    for reading, value in wrong.items():
        assert (found - value).norm() > 0.05 * (found - x).norm(), reading


def test_the_neighbourhood_is_drawn_with_a_uniform_noise_a_pixel_and_a_uniform_alpha_a_sample():
    # normal noise, one noise a sample, one alpha for the batch
    torch.manual_seed(0)
    x = torch.randn(2000, 3, 8, 8)
    moved = ((perturb(x) - x) / (x.std(correction=0) / 2)).flatten(1)
    alpha = moved.amax(1)  # 192 uniform numbers reach 0.995 of it
    for values in (alpha, (moved / alpha[:, None])[:, :5].flatten()):
        uniform = (torch.arange(len(values)) + 0.5) / len(values)
        assert (values.sort().values - uniform).abs().max() < 1.95 / math.sqrt(len(values)) + 0.005


def test_dragan_on_a_bowl_feels_the_factor():
    """f = |x|^2 / 2: |grad| = |u|, so the penalty is known point by point, and a wrong s is seen in it."""
    at = points((2,))
    found = penalties.dragan(lambda x: x.square().sum(1) / 2, at["real"], at["noise"], at["alpha"]).item()
    assert found == pytest.approx(ORACLES["dragan"].of(at["around"].square().sum(1)), rel=1e-12)
    doubled = 2 * at["around"] - at["real"]
    assert found != pytest.approx(ORACLES["dragan"].of(doubled.square().sum(1)), rel=0.01)


@pytest.mark.filterwarnings("ignore:std")
def test_a_single_number_is_its_own_neighbourhood():
    assert perturb(torch.ones(1, 1)).item() == 1


# ------------------------------------------------------------------------------------------------- lazily


@each_penalty
def test_a_lazy_penalty_is_heavier_when_due_and_nothing_between(name):
    # not multiplied by its interval, due one step off, taken (and paid for) at every step
    at, D, calls = points((2,)), network(2, "tanh"), []

    def counted(x: Tensor) -> Tensor:
        calls.append(len(x))
        return D(x)

    lazily = lazy(lambda critic: public(name, critic, at), 3)
    found = [float(lazily(step, counted)) for step in range(7)]
    each = public(name, D, at).item()
    assert found == pytest.approx([3 * each, 0, 0] * 2 + [3 * each], rel=1e-12)
    assert len(calls) == 3
    assert sum(found[:6]) / 6 == pytest.approx(each)


def test_a_lazy_penalty_hands_all_arguments_on_and_has_interval_times_the_gradient():
    at, D = points((2,)), network(2, "tanh")
    gradients = []
    for value in (
        lazy(penalties.r1, 4)(8, D, at["real"], of="probability"),
        4 * penalties.r1(D, at["real"], of="probability"),
        lazy(penalties.r1, 1)(3, D, at["real"], of="probability") * 4,
    ):
        gradients.append(torch.autograd.grad(value, D[1].weight)[0])
    torch.testing.assert_close(gradients[0], gradients[1])
    torch.testing.assert_close(gradients[2], gradients[1])


@pytest.mark.parametrize("interval", [0, -2, 1.5])
def test_a_lazy_penalty_without_an_interval_is_refused(interval):
    with pytest.raises(UsageError, match=str(interval)):
        lazy(penalties.r1, interval)


# -------------------------------------------------------------------------------- in a loop of one's own


def test_another_number_of_rows_is_refused_with_both_shapes():
    for of_shape in (lambda x: x.mean(0, keepdim=True), lambda x: x.repeat(2, 1).sum(1)):
        with pytest.raises(UsageError, match=r"\[5\].*shape \["):
            penalties.r1(of_shape, torch.ones(5, 2))
        with pytest.raises(UsageError, match=r"\[5\].*shape \["):
            torch.func.grad(lambda w, f=of_shape: penalties.r1(lambda x: w * f(x), torch.ones(5, 2)))(
                torch.ones(())
            )


def test_works_under_no_grad():
    x = points((2,))["real"]
    with torch.no_grad():
        value = penalties.r1(CRITICS["quartic"].logit, x)
    torch.testing.assert_close(value, penalties.r1(CRITICS["quartic"].logit, x))


def test_leaves_the_callers_tensors_and_gradients_as_they_were():
    # x.requires_grad_() on the batch itself, or a backward that fills .grad: the next step would add to it
    x, D = points((2,))["real"], network(2, "tanh")
    before = x.clone()
    penalties.r1(D, x)
    assert not x.requires_grad
    assert torch.equal(x, before)
    assert all(p.grad is None for p in D.parameters())


def test_a_generators_graph_goes_through():
    """D = |x|^2 / 2 on x = s z: the penalty is s^2 mean |z|^2, so a generator may be trained through it."""
    z = normal(5, 2)
    s = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    value = penalties.r2(lambda x: x.square().sum(1) / 2, s * z)
    value.backward()
    assert value.item() == pytest.approx(9 * z.square().sum(1).mean().item())
    assert s.grad.item() == pytest.approx(6 * z.square().sum(1).mean().item())


def test_spectral_norm_of_one_row_has_penalty_one():
    """D = w.x / |w|: the penalty is 1 without slope, whatever w is; for one row power iteration is exact."""
    torch.manual_seed(0)
    D = nn.Sequential(spectral_norm(nn.Linear(48, 1)), nn.Flatten(0)).double()
    value = penalties.r1(D, normal(5, 48))
    value.backward()
    assert value.item() == pytest.approx(1, rel=1e-12)
    assert D[0].parametrizations.weight.original.grad.abs().max() < 1e-12


def test_critics_with_spectral_norm_train_in_an_ordinary_loop():
    """Power iteration writes into buffers at each forward pass, which must not spoil the backward ones."""
    torch.manual_seed(0)
    D = nn.Sequential(
        spectral_norm(nn.Linear(2, 8)), nn.Tanh(), spectral_norm(nn.Linear(8, 1)), nn.Flatten(0)
    )
    optimizer = torch.optim.SGD(D.double().parameters(), 0.05)
    x, y = points((2,))["real"], points((2,))["fake"]
    for _ in range(5):
        optimizer.zero_grad()
        (D(y).mean() - D(x).mean() + penalties.r1(D, x)).backward()
        optimizer.step()

    D.eval().zero_grad()  # the singular vectors stay now, so that differences of values mean something
    params = [D[0].weight, D[0].bias, D[2].weight[0], D[2].bias]
    value = penalties.r1(D, x)
    assert value.item() == pytest.approx(
        formula("r1", "tanh", [p.detach().numpy() for p in params], x.numpy())
    )
    value.backward()
    original = D[0].parametrizations.weight.original
    for index in np.ndindex(8, 2):
        ends = []
        for h in (1e-5, -2e-5):
            original.data[index] += h
            ends.append(penalties.r1(D, x).item())
        original.data[index] += 1e-5
        assert original.grad[index].item() == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-6, abs=1e-8)


def test_critics_with_in_place_activations_have_the_same_gradients():
    torch.manual_seed(0)
    D = nn.Sequential(
        nn.Linear(2, 8), nn.ReLU(inplace=True), nn.Linear(8, 8), nn.LeakyReLU(0.2, inplace=True)
    )
    D.extend([nn.Linear(8, 1), nn.Flatten(0)])
    copied = copy.deepcopy(D)
    copied[1], copied[3] = nn.ReLU(), nn.LeakyReLU(0.2)
    x = torch.randn(16, 2)
    for critic in (D, copied):
        (penalties.r1(critic, x) + critic(x).mean()).backward()
    for found, expected in zip(D.parameters(), copied.parameters(), strict=True):
        assert torch.equal(found.grad, expected.grad)


def test_batch_norm_runs_but_mixes_samples():
    """As `input_gradient` warns: logits after batch norm have a constant sum, so its gradient is zero.

    In evaluation mode samples are apart again, and the penalty is |w / std|^2.
    """
    torch.manual_seed(0)
    D = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 1), nn.Flatten(0)).double()
    x = normal(64, 2) * torch.tensor([1.0, 3.0])
    value = penalties.r1(D, x)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-20)
    assert D[1].weight.grad.abs().max() < 1e-12
    variance = D.eval()[0].running_var + D[0].eps
    expected = (D[1].weight.square() / variance).sum().item()
    assert penalties.r1(D, x).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "options"),
    [(name, {"of": of}) for name in ("r1", "r2", "zero_centered") for of in SQUARED]
    + [(name, {}) for name in ("one_centered", "one_sided", "dragan", "max_gradient")],
)
def test_autocast_to_bfloat16_gives_a_float32_penalty_within_a_hundredth(name, options):
    torch.manual_seed(0)
    D = nn.Sequential(
        nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1), nn.Flatten(0)
    )
    at = {key: v.float() for key, v in points((2,), count=64).items()}
    exact = public(name, D, at, **options)
    with torch.autocast("cpu", torch.bfloat16):
        rough = public(name, D, at, **options)
    rough.backward()
    assert rough.dtype == torch.float32
    assert rough.item() == pytest.approx(exact.item(), rel=1e-2)
    assert all(p.grad is None or p.grad.isfinite().all() for p in D.parameters())


@pytest.mark.parametrize("alpha", [torch.ones(1), torch.ones(4, 1), torch.ones(3)])
def test_one_weight_for_the_whole_batch_is_refused(alpha):
    # torchgan's bug: a single alpha for all samples
    with pytest.raises(UsageError, match="one number per sample"):
        penalties.zero_centered(lambda x: x[:, 0], torch.ones(4, 2), torch.zeros(4, 2), alpha)


def test_noise_of_another_shape_is_refused_instead_of_spread():
    with pytest.raises(UsageError, match="shaped like the samples"):
        penalties.dragan(lambda x: x[:, 0], torch.ones(4, 2), noise=torch.ones(4, 1))


def test_whole_numbers_have_no_gradient():
    with pytest.raises(UsageError, match="floating point"):
        penalties.r1(lambda x: x.float().sum(1), torch.ones(4, 2, dtype=torch.long))


def test_the_norm_of_a_broken_gradient_is_broken():
    # a guard against zero that takes NaN for zero hides what must be seen
    found = norm(torch.tensor([[torch.nan, 1.0], [torch.inf, 1.0], [0.0, 0.0]]))
    assert found[0].isnan()
    assert found[1].isinf()
    assert found[2] == 0


def test_a_pair_at_the_distance_itself_is_close():
    x, y = torch.tensor([[0.0]]), torch.tensor([[0.25], [0.26]])
    assert penalties.close(x, y, 0.25).tolist() == [[True, False]]
    assert penalties.close(x.bfloat16(), y.bfloat16(), 0.255).tolist() == [[True, False]]
