"""A step's chains back through a critic are shared where they differ by a factor of each row, and only there."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.nn.functional import linear, softplus

from steadygan.rng import generator
from steadygan.training.compile.passes.nodes import PRODUCTS
from steadygan.training.compile.passes.rewrite import share_backward
from tracing import traced

WIDE, ROWS = 16, 24
SHAPES = (WIDE, 3), (WIDE, WIDE), (WIDE, WIDE), (WIDE, WIDE), (1, WIDE)
"""A critic's weights; three of them are matrices between hidden layers."""

Critic = Callable[[Tensor], Tensor]


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator("chains", *shape))


def weights() -> list[Tensor]:
    return [numbers(*shape) / shape[1] ** 0.5 for shape in SHAPES]


def critic(weights: list[Tensor], x: Tensor) -> Tensor:
    *hidden, last = weights
    for weight in hidden:
        x = linear(x, weight).relu()
    return linear(x, last).squeeze(-1)


def slope(f: Critic, x: Tensor, of: Callable[[Tensor], Tensor] = torch.sum) -> Tensor:
    return torch.func.grad(lambda at: of(f(at)))(x)


def r1(f: Critic, x: Tensor) -> Tensor:
    return slope(f, x).square().sum()


def loss(f: Critic, x: Tensor) -> Tensor:
    return softplus(-f(x)).sum()


def own(weights: list[Tensor], x: Tensor, term: Callable[[Critic, Tensor], Tensor]) -> list[Tensor]:
    return torch.func.grad(lambda w: term(lambda at: critic(w, at), x))(weights)


def fakes(x: Tensor) -> Tensor:
    return x.flip(1) + 1


TERMS: dict[str, tuple[Callable[[Critic, Tensor], Tensor], int]] = {
    "a loss alone": (loss, 0),
    "R1 alone": (r1, 0),
    "a loss and R1": (lambda f, x: loss(f, x) + 5 * r1(f, x), 7),
    "R1 first": (lambda f, x: 5 * r1(f, x) + loss(f, x), 7),
    "a loss of real and fake rows, and R1": (lambda f, x: loss(f, x) + f(fakes(x)).exp().sum() + r1(f, x), 7),
    "losses, R1 and R2": (lambda f, x: loss(f, x) + r1(f, fakes(x)) + loss(f, fakes(x)) + r1(f, x), 14),
    "two losses of the same rows, without ones": (lambda f, x: loss(f, x) + f(x).square().sum(), 0),
    "R1 on other rows": (lambda f, x: loss(f, x) + r1(f, fakes(x)), 0),
    "the slope of a probability": (
        lambda f, x: loss(f, x) + slope(f, x, lambda y: y.sigmoid().sum()).square().sum(),
        0,
    ),
    "R1 with other weights": (lambda f, x: loss(f, x) + r1(lambda at: f(at * 2), x), 0),
}
"""Of what, and how many products are saved by rows that both go back from: for each matrix between hidden layers one on
the way and one in its gradient, and one in the first matrix's gradient."""


def shared(module: GraphModule) -> GraphModule:
    share_backward(module.graph)
    module.recompile()
    return module


def count(module: GraphModule) -> int:
    """Products of matrices, neither of them a vector."""
    found = [
        node for target in PRODUCTS for node in module.graph.find_nodes(op="call_function", target=target)
    ]
    sizes = [(*node.args[0].meta["val"].shape[-2:], node.meta["val"].shape[-1]) for node in found]
    return sum(min(size) > 1 for size in sizes)


ENSEMBLES = [
    pytest.param(name, True, marks=() if saved else pytest.mark.slow, id=f"{name}, an ensemble")
    for name, (_, saved) in TERMS.items()
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "members"), [*((name, False) for name in TERMS), *ENSEMBLES])
def test_gradients_are_the_same_with_fewer_products(name, members):
    term, saved = TERMS[name]

    def step(x: Tensor, *weights: Tensor) -> list[Tensor]:
        return own([*weights], x, term)

    args, program = [each.double() for each in (numbers(ROWS, 3), *weights())], step
    if members:
        args, program = [torch.stack([0.8 * arg, arg, 1.2 * arg]) for arg in args], torch.vmap(step)
    module = traced(program, *args)
    before = count(module)
    for mine, theirs in zip(shared(module)(*args), program(*args), strict=True):
        assert (mine - theirs).abs().max() <= 1e-12 * theirs.abs().max()
    assert before - count(module) == saved


def turn(x: Tensor) -> Tensor:
    return torch.ops.aten.permute.default(x, [1, 0])


a, b, c, d = (numbers(6, 6).double() + place for place in range(4))

SUMS: dict[str, tuple[Callable[..., Tensor], int]] = {
    "the same left matrix": (lambda a, b, c, d: turn(a) @ b + turn(a) @ c, 1),
    "within a longer sum": (lambda a, b, c, d: (turn(a) @ b + d) + (c + turn(a) @ c), 1),
    "three": (lambda a, b, c, d: turn(a) @ b + (turn(a) @ c + turn(a) @ d), 1),
    "the sum is turned": (lambda a, b, c, d: turn(turn(turn(a) @ b) + turn(turn(a) @ c)) + d, 1),
    "one of them is turned": (lambda a, b, c, d: turn(turn(a) @ b) + turn(a) @ c, 2),
    "another left matrix": (lambda a, b, c, d: turn(a) @ b + turn(d) @ c, 2),
    "the left matrix is not turned": (lambda a, b, c, d: a @ b + a @ c, 2),
    "a product is needed elsewhere": (
        lambda a, b, c, d: (turn(a) @ b + turn(a) @ c) * (turn(a) @ b).sum(),
        2,
    ),
    "a difference": (lambda a, b, c, d: torch.ops.aten.add.Tensor(turn(a) @ b, turn(a) @ c, alpha=-1), 2),
    "a sum with itself": (lambda a, b, c, d: b + b + turn(a) @ c, 1),
    "a vector is added": (lambda a, b, c, d: (turn(a) @ b + d[0]) + turn(a) @ c, 2),
}


@pytest.mark.parametrize("name", SUMS)
def test_products_in_a_sum_with_one_left_matrix_are_one(name):
    function, products = SUMS[name]
    module = shared(traced(function, a, b, c, d))
    assert torch.allclose(module(a, b, c, d), function(a, b, c, d))
    assert count(module) == products


def ones() -> Tensor:
    return torch.full((6, 1), 1.0, dtype=torch.float64)


def chain(column: Tensor, row: Tensor, mask: Tensor, weight: Tensor, other: float = 0.0) -> Tensor:
    return torch.where(mask <= 0, other, column * row) @ weight


def repeated(column: Tensor, mask: Tensor, weight: Tensor, times: int) -> Tensor:
    """Zeros of a larger shape repeat the column, and so make its sum larger."""
    zeros = torch.zeros(6, 6, times, dtype=torch.float64)
    return torch.where(mask[:, :1, None] > 0, column[:, :, None], zeros).sum(2) @ weight


CHAINS: dict[str, tuple[Callable[..., Tensor], int]] = {
    "zeros of one shape": (lambda a, b, c, d: repeated(ones(), b, c, 3) * repeated(d[:, :1], b, c, 3), 1),
    "zeros of two shapes": (lambda a, b, c, d: repeated(ones(), b, c, 3) * repeated(d[:, :1], b, c, 5), 2),
    "a factor": (lambda a, b, c, d: chain(ones(), a[:1], b, c) * chain(d[:, :1], a[:1], b, c), 1),
    "the factor second": (
        lambda a, b, c, d: chain(ones(), a[:1], b, c) + chain(a[:1], d[:, :1], b, c),
        1,
    ),
    "ones last": (lambda a, b, c, d: chain(d[:, :1], a[:1], b, c) * chain(ones(), a[:1], b, c), 2),
    "twos": (
        lambda a, b, c, d: (
            chain(torch.full((6, 1), 2.0, dtype=torch.float64), a[:1], b, c) * chain(d[:, :1], a[:1], b, c)
        ),
        2,
    ),
    "another row": (
        lambda a, b, c, d: chain(ones(), a[:1], b, c) * chain(d[:, :1], a[1:2], b, c),
        2,
    ),
    "another mask": (
        lambda a, b, c, d: chain(ones(), a[:1], b, c) * chain(d[:, :1], a[:1], d, c),
        2,
    ),
    "other weights": (
        lambda a, b, c, d: chain(ones(), a[:1], b, c) * chain(d[:, :1], a[:1], b, d),
        2,
    ),
    "not masked by 0": (
        lambda a, b, c, d: chain(ones(), a[:1], b, c, 1.0) * chain(d[:, :1], a[:1], b, c, 1.0),
        2,
    ),
    "two products on": (
        lambda a, b, c, d: (chain(ones(), a[:1], b, c) @ d) * (chain(d[:, :1], a[:1], b, c) @ d),
        2,
    ),
}


@pytest.mark.parametrize("name", CHAINS)
def test_chains_are_shared_if_only_a_factor_of_each_row_differs(name):
    function, products = CHAINS[name]
    module = shared(traced(function, a, b, c, d))
    assert torch.allclose(module(a, b, c, d), function(a, b, c, d))
    assert count(module) == products


@pytest.mark.parametrize("order", [(-1, 0), (1, 0), (-2, -1), (1, -2)])
def test_a_matrix_stays_turned_however_its_dimensions_are_counted(order):
    """A square one, whose shape does not tell."""

    def turned(x: Tensor) -> Tensor:
        return x.permute(order) * 2

    graph = traced(turned, numbers(WIDE, WIDE))
    for node in graph.graph.find_nodes(op="call_function", target=torch.ops.aten.permute.default):
        node.args = (node.args[0], list(order))
    x = numbers(WIDE, WIDE)
    assert torch.equal(shared(graph)(x), 2 * x.permute(order))


@pytest.mark.parametrize("orders", [((1, 2, 0), (0, 2, 1)), ((2, 0, 1), (1, 0, 2)), ((1, 2, 0), (1, 2, 0))])
def test_two_turns_are_one_in_their_order(orders):
    def turned(x: Tensor) -> Tensor:
        return x.permute(orders[0]).permute(orders[1]) * 2

    x = numbers(6, 6, 6)
    assert torch.equal(shared(traced(turned, x))(x), turned(x))


def test_comparisons_with_unlike_numbers_are_not_one():
    def masks(x: Tensor) -> Tensor:
        return torch.where(x <= 0, 0.0, x) + torch.where(x <= 0.5, 1.0, x)

    x = numbers(6, 6)
    assert torch.equal(shared(traced(masks, x))(x), masks(x))
