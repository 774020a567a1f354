"""What is done to an ensemble's vectors is done to their parts, and only where the numbers stay the same."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx import GraphModule

from steadygan.rng import generator
from steadygan.training.compile.passes.split_vectors import MOST, take_apart
from tracing import traced

MEMBERS, SIZES = 3, (6, 2, 9, 1)
WHOLE = sum(SIZES)


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator("parts", *shape))


def given(dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    """Four parts of a gradient, parameters, a moment and a number of each member."""
    shapes = [*((MEMBERS, size) for size in SIZES), (MEMBERS, WHOLE), (MEMBERS, WHOLE), (MEMBERS, 1)]
    return tuple(numbers(*shape).to(dtype) for shape in shapes)


def apart(function: Callable[..., Any], *args: Tensor) -> GraphModule:
    module = traced(function, *args)
    take_apart(module.graph)
    module.recompile()
    return module


def widest(module: GraphModule) -> int:
    """How many nodes, of those that compute something, make a whole vector."""
    made = [node for node in module.graph.nodes if node.op == "call_function"]
    return sum(node.meta["val"].shape[-1:] == (WHOLE,) for node in made)


def gradient(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    return torch.cat([a, b, c, d], 1)


def sgd(a, b, c, d, params, moment, rate):
    return params - rate * gradient(a, b, c, d)


def momentum(a, b, c, d, params, moment, rate):
    new = 0.9 * moment + gradient(a, b, c, d)
    return params - 0.1 * new, new


def root(a, b, c, d, params, moment, rate):
    g = gradient(a, b, c, d)
    square = 0.5 * moment.abs() + 0.5 * g.square()
    return params - g / (square.sqrt() + 1e-3), square


def watched(a, b, c, d, params, moment, rate):
    g = gradient(a, b, c, d)
    after = params - rate * g
    return after, g.square().sum(1), after.abs().amax(1), after.sum(-1, keepdim=True)


def also_whole(a, b, c, d, params, moment, rate):
    g = gradient(a, b, c, d)
    return g, 2 * g, (3 * g).sum(0)


APART = {sgd: 1, momentum: 3, root: 4, watched: 1, also_whole: 4}
"""What is done by parts, and how many whole vectors are still made: what is done to the parameters and moments alone,
and what somebody needs whole."""


@pytest.mark.parametrize("function", APART, ids=lambda function: function.__name__)
def test_what_is_done_by_parts_gives_the_same_numbers(function):
    args = given()
    module = apart(function, *args)
    assert widest(module) == APART[function]
    found, wanted = (
        result if isinstance(result, tuple) else (result,) for result in (module(*args), function(*args))
    )
    for mine, theirs in zip(found, wanted, strict=True):
        if mine.shape == (MEMBERS, WHOLE):
            assert torch.equal(mine, theirs)
        torch.testing.assert_close(mine, theirs)


def test_nothing_hides_a_number_that_is_none():
    a, *rest = given()
    b = rest[0].clone()
    b[1, 1], rest[0] = torch.nan, b
    module = apart(watched, a, *rest)
    after, squares, largest, _ = module(a, *rest)
    for found in (squares, largest, after.sum(1)):
        assert found.isnan().tolist() == [False, True, False]


def other_parts(a, b, c, d, params, moment, rate):
    return gradient(a, b, c, d) + torch.cat([c, a, d, b], 1)


def a_row_for_all(a, b, c, d, params, moment, rate):
    return gradient(a, b, c, d) * params[0]


def scaled_sum(a, b, c, d, params, moment, rate):
    return torch.ops.aten.add.Tensor(gradient(a, b, c, d), params, alpha=3)


def over_members(a, b, c, d, params, moment, rate):
    return gradient(a, b, c, d).square().sum(0)


def of_two_types(a, b, c, d, params, moment, rate):
    return torch.cat([a, b, c.double(), d], 1) / 7


def by_rows(a, b, c, d, params, moment, rate):
    return (torch.cat([a, a, a[:1]], 0) * 2).abs()


def in_double(a, b, c, d, params, moment, rate):
    return gradient(a, b, c, d).square().sum(1, dtype=torch.float64)


def largest_of_all(a, b, c, d, params, moment, rate):
    return gradient(a, b, c, d).amax()


def sum_of_all(a, b, c, d, params, moment, rate):
    return gradient(a, b, c, d).square().sum()


def by_columns(a, b, c, d, params, moment, rate):
    turned = params.new_ones(WHOLE, MEMBERS).cumsum(0).t() * gradient(a, b, c, d)
    return turned.as_strided((MEMBERS * WHOLE,), (1,)) + 1


def of_matrices(a, b, c, d, params, moment, rate):
    return (torch.cat([a[None], b[None], c[None]], -1) * 2).sum(-1)


WHOLES = [
    largest_of_all,
    sum_of_all,
    by_columns,
    of_matrices,
    other_parts,
    a_row_for_all,
    scaled_sum,
    over_members,
    of_two_types,
    by_rows,
    in_double,
]


@pytest.mark.parametrize("function", WHOLES, ids=lambda function: function.__name__)
def test_what_looks_alike_but_is_another_thing_keeps_its_numbers(function):
    args = given()
    found, wanted = apart(function, *args)(*args), function(*args)
    assert found.dtype == wanted.dtype
    torch.testing.assert_close(found, wanted)


def test_a_single_run_and_large_networks_are_left_alone():
    def single(a: Tensor, b: Tensor) -> Tensor:
        return 2 * torch.cat([a, b])

    def large(a: Tensor) -> Tensor:
        return 2 * torch.cat([a] * (MOST + 1), 1)

    for function, args in ((single, (numbers(4), numbers(5))), (large, (numbers(MEMBERS, 2),))):
        before, after = traced(function, *args), apart(function, *args)
        assert len(before.graph.nodes) == len(after.graph.nodes)
        assert torch.equal(after(*args), function(*args))
