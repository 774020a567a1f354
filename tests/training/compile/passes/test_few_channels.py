"""Convolutions whose result has a few channels are products with the same result, and the others stay."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fx import GraphModule

from steadygan.rng import generator
from steadygan.training.compile.passes.few_channels import FEW, MANY, take_few
from tracing import traced

pytestmark = pytest.mark.usefixtures("operators")


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator("few", *shape))


def taken(module: GraphModule) -> int:
    take_few(module.graph)
    module.recompile()
    return len(module.graph.find_nodes(op="call_function", target=torch.ops.steadygan.fold.default))


def gradient(x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """Of the sum of squares of a convolution's result, with respect to its input."""
    return torch.func.grad(lambda at: F.conv2d(at, weight, None, stride, padding).square().sum())(x)


CASES = {
    "G's last layer, stride 2": (
        lambda x, w, b: F.conv_transpose2d(x, w, b, 2, 1),
        [(3, MANY, 5, 4), (MANY, 3, 4, 4), (3,)],
    ),
    "one that makes a larger image": (
        lambda x, w, b: F.conv_transpose2d(x, w, b, 2, 1, 1),
        [(3, MANY, 5, 4), (MANY, 1, 3, 3), (1,)],
    ),
    "an uneven one": (
        lambda x, w, b: F.conv_transpose2d(x, w, b, (2, 3), (0, 1)),
        [(2, MANY, 3, 4), (MANY, 2, 2, 5), (2,)],
    ),
    "a layer of stride 1": (
        lambda x, w, b: F.conv2d(x, w, b, 1, 1),
        [(3, MANY, 6, 5), (3, MANY, 3, 3), (3,)],
    ),
    "one without padding": (lambda x, w, b: F.conv2d(x, w, b), [(3, MANY, 6, 5), (2, MANY, 2, 3), (2,)]),
    "a critic's gradient, stride 2": (
        lambda x, w: gradient(x, w, 2, 1),
        [(3, 1, 9, 8), (MANY, 1, 4, 4)],
    ),
    "a critic's gradient, stride 1": (lambda x, w: gradient(x, w, 1, 1), [(3, 3, 6, 6), (MANY, 3, 3, 3)]),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_result_is_that_of_the_convolution_in_float64(name, layout):
    function, shapes = CASES[name]
    args = [numbers(*shape) for shape in shapes]
    args = [arg.to(memory_format=layout) if arg.dim() == 4 else arg for arg in args]
    module = traced(function, *args)
    assert taken(module) == 1
    wanted = function(*(arg.double() for arg in args))
    found = module(*args)
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()


LEFT = {
    "many channels": (lambda x, w: F.conv2d(x, w), [(2, MANY, 5, 5), (FEW + 1, MANY, 3, 3)]),
    "of few": (lambda x, w: F.conv2d(x, w), [(2, MANY - 1, 5, 5), (1, MANY - 1, 3, 3)]),
    "a layer of stride 2": (lambda x, w: F.conv2d(x, w, None, 2), [(2, MANY, 5, 5), (1, MANY, 3, 3)]),
    "wider padding than its kernel": (
        lambda x, w: F.conv2d(x, w, None, 1, 3),
        [(2, MANY, 5, 5), (1, MANY, 3, 3)],
    ),
    "dilation": (lambda x, w: F.conv2d(x, w, None, 1, 0, 2), [(2, MANY, 5, 5), (1, MANY, 2, 2)]),
    "groups": (lambda x, w: F.conv_transpose2d(x, w, groups=2), [(2, 2 * MANY, 5, 5), (2 * MANY, 1, 3, 3)]),
    "one dimension": (lambda x, w: F.conv1d(x, w), [(2, MANY, 5), (1, MANY, 3)]),
}


@pytest.mark.parametrize("name", LEFT)
def test_others_stay(name):
    function, shapes = LEFT[name]
    assert taken(traced(function, *(numbers(*shape) for shape in shapes))) == 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_stay(dtype):
    args = [numbers(2, MANY, 5, 5).to(dtype), numbers(1, MANY, 3, 3).to(dtype)]
    assert taken(traced(lambda x, w: F.conv2d(x, w), *args)) == 0


def test_fold_adds_each_column_at_its_place():
    """By a plain loop: column (i, j) of place (a, b) goes to (a s - p + i, b s - p + j)."""
    columns, (height, width), (k, m), padding, stride = numbers(2, 3 * 6, 9), (5, 6), (3, 2), (1, 0), (2, 2)
    found = torch.ops.steadygan.fold(columns, [height, width], [k, m], [*padding], [*stride])
    wanted = torch.zeros(2, 3, height, width, dtype=torch.float64)
    wide = (width + 2 * padding[1] - m) // stride[1] + 1
    for place in range(9):
        a, b = divmod(place, wide)
        for i in range(k):
            for j in range(m):
                y, x = a * stride[0] - padding[0] + i, b * stride[1] - padding[1] + j
                if 0 <= y < height and 0 <= x < width:
                    wanted[:, :, y, x] += columns.double().reshape(2, 3, k, m, 9)[:, :, i, j, place]
    assert found.shape == wanted.shape
    assert torch.allclose(found.double(), wanted, atol=1e-5)
