"""Graphs that look like shared chains and are none, or nearly: the rewritten graph gives the same numbers."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from steadygan.rng import generator
from steadygan.training.compile.passes.chains import BACKWARD
from steadygan.training.compile.passes.rewrite import share_backward
from tracing import traced

N = 6
"""Rows, channels, sides and members: their number does not tell them apart."""


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator("same numbers", *shape), dtype=torch.float64)


def ones(*shape: int) -> Tensor:
    return torch.full(shape, 1.0, dtype=torch.float64)


def backward(gradient: Tensor, x: Tensor, weight: Tensor) -> Any:
    """The gradients of the input and the weight of a layer of stride 2."""
    geometry = [2, 2], [1, 1], [1, 1], False, [0, 0], 1
    return BACKWARD(gradient, x, weight, None, *geometry, [True, True, False])


def check(function: Callable[..., Any], *args: Tensor) -> None:
    module = traced(function, *args)
    share_backward(module.graph)
    module.graph.lint()
    module.recompile()
    torch.testing.assert_close(module(*args), function(*args), rtol=1e-11, atol=1e-11, equal_nan=True)


ON_ROWS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], tuple[int, ...]]] = {
    "columns are divided": (lambda s, y: s / (y + 5), (N,)),
    "columns are repeated": (lambda s, y: s.expand(N, N) * y.sin(), (N,)),
    "rows are divided": (lambda s, y: s / (y + 5), (N, 1)),
    "a border of twos": (lambda s, y: F.pad(s * y[:, 1:-1], (1, 1), value=2.0), (N, 1)),
    "a border of zeros": (lambda s, y: F.pad(s * y[:, 1:-1], (1, 1)), (N, 1)),
    "rows move down": (lambda s, y: F.pad(s * y, (0, 0, 1, -1)), (N, 1)),
    "rows and columns change places": (lambda s, y: (s * y).t(), (N, 1)),
    "rows in another order": (lambda s, y: (s * y).flip(0), (N, 1)),
    "sums of columns": (lambda s, y: (s * y).sum(0, keepdim=True) * y, (N, 1)),
    "sums of rows": (lambda s, y: (s * y).sum(1, keepdim=True) * y, (N, 1)),
    "rows add up": (lambda s, y: (s * y).cumsum(0), (N, 1)),
    "a scaled sum": (lambda s, y: torch.add(s * y, s * y.cos(), alpha=3), (N, 1)),
    "one of two": (lambda s, y: torch.where(y > 0, s * y, s * y.cos()), (N, 1)),
    "another factor in one of two": (lambda s, y: torch.where(y > 0, s * y, s.flip(0) * y.cos()), (N, 1)),
    "the factor twice": (lambda s, y: (s * y) * (s * y.cos()), (N, 1)),
    "the factor in a norm": (lambda s, y: (s * y) / (s * y).norm(dim=1, keepdim=True), (N, 1)),
}


@pytest.mark.parametrize("name", ON_ROWS)
def test_what_mixes_rows_is_not_shared(name):
    way, shape = ON_ROWS[name]

    def both(s: Tensor, w: Tensor, y: Tensor) -> Tensor:
        return (way(ones(*shape), y) @ w) * (way(s, y) @ w)

    check(both, numbers(*shape), numbers(N, N), numbers(N, N).flip(0))


def test_a_number_of_each_row_and_channel_is_no_number_of_each_row():
    """A critic whose last layer makes images of one pixel, which are added up."""

    def critic(w: list[Tensor], x: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(x, w[0], None, 1, 1).relu(), w[1]).relu().sum((1, 2, 3))

    def step(x: Tensor, *w: Tensor) -> list[Tensor]:
        def loss(weights: list[Tensor]) -> Tensor:
            slope = torch.func.grad(lambda at: critic(weights, at).sum())(x)
            return F.softplus(-critic(weights, x)).sum() + slope.square().sum()

        return torch.func.grad(loss)([*w])

    check(step, numbers(N, N, N, N), numbers(N, N, 3, 3) / N, numbers(N, N, N, N) / N**1.5)


@pytest.mark.parametrize("members", [(), (3,)])
def test_nor_is_one_of_each_number_of_a_matrix(members):
    def gradient(s: Tensor, y: Tensor, h: Tensor, g: Tensor) -> Tensor:
        base, chain = ((factor * y).sum(-1) for factor in (ones(*s.shape), s))
        return base.mT @ h + chain.mT @ g

    h = numbers(*members, N, N)
    check(gradient, numbers(*members, N, N, 1), numbers(*members, N, N, 2), h, h.cos())


def test_layers_of_other_images_are_other_layers():
    """Images of 8 and of 9 pixels have the same gradient in a layer of stride 2."""

    def inputs(s: Tensor, mask: Tensor, x: Tensor, larger: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        base, chain = (factor * mask for factor in (ones(N, 1, 1, 1), s))
        return backward(base, x, w)[0], backward(chain, larger, w)[0]

    def weights(gradient: Tensor, x: Tensor, larger: Tensor, w: Tensor) -> Tensor:
        return backward(gradient, x, w)[1] + backward(gradient, larger, w)[1]

    images = numbers(N, 3, 8, 8), numbers(N, 3, 9, 9), numbers(4, 3, 4, 4)
    check(inputs, numbers(N, 1, 1, 1), numbers(N, 4, 4, 4), *images)
    check(weights, numbers(N, 4, 4, 4), *images)


def test_a_chain_of_members_goes_on_where_one_of_rows_is_shared():
    """Ones of each member times s of each row: both are chains of the same product."""

    def both(s: Tensor, t: Tensor, y: Tensor, w: Tensor) -> list[Tensor]:
        starts = ones(N, N, 1), ones(N, 1, 1).expand(N, N, 1) * s, t.expand(N, N, 1) * s
        return [((start * y) @ w) @ w for start in starts]

    check(both, numbers(N, N, 1), numbers(N, 1, 1), numbers(N, N, N), numbers(N, N, N).cos())


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
def test_equal_numbers_of_other_types_are_others(dtype):
    def products(x: Tensor) -> list[Tensor]:
        filled = [torch.full((N,), one) for one in (1, 1.0, True)]
        return [x * 1, x * 1.0, x * True, x + 1, x + True, *(x + each for each in filled), *filled]

    check(products, torch.arange(N).to(dtype))


def test_products_of_complex_matrices():
    """The transpose is not the adjoint."""
    a, b, c = (torch.complex(numbers(N, N) + place, numbers(N, N)) for place in range(3))
    check(lambda a, b, c: (a.t() @ b + a.t() @ c, a.mH @ b + a.mH @ c), a, b, c)


@pytest.mark.parametrize("rows", [0, 1])
def test_a_batch_of_one_row_or_none(rows):
    def step(x: Tensor, *w: Tensor) -> list[Tensor]:
        def critic(weights: list[Tensor], x: Tensor) -> Tensor:
            h = F.conv2d(F.conv2d(x, weights[0], None, 1, 1).relu(), weights[0], None, 1, 1).relu()
            return (h.flatten(1) @ weights[1]).squeeze(1)

        def loss(weights: list[Tensor]) -> Tensor:
            slope = torch.func.grad(lambda at: critic(weights, at).sum())(x)
            return F.softplus(-critic(weights, x)).sum() + slope.square().sum()

        return torch.func.grad(loss)([*w])

    check(step, numbers(rows, N, N, N), numbers(N, N, 3, 3) / N, numbers(N**3, 1) / N**1.5)


def test_a_draw_is_not_taken_twice():
    module = traced(lambda x: [torch.rand_like(x), torch.rand_like(x), F.dropout(x), F.dropout(x)], ones(99))
    share_backward(module.graph)
    module.recompile()
    first, second, third, fourth = module(ones(99))
    assert not torch.equal(first, second)
    assert not torch.equal(third, fourth)
