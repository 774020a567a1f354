"""A graph pass: convolutions that make images of a few channels are products of matrices on a CPU.

G's last layer has one or three channels, and so has the gradient of a critic in its images. oneDNN computes them in
blocks of 16 channels, most of them empty. One product makes all that each place adds to its neighbourhood, and the
kernel `steadygan::fold` adds it up: two to five times as fast for one channel.
"""

import operator
from typing import Any, NamedTuple

import torch
from torch.fx import Graph, Node

from steadygan.training.compile.cpu import FEW
from steadygan.training.compile.passes.chains import BACKWARD
from steadygan.training.compile.passes.nodes import aten, put, replaced, value

__all__ = ["take_few"]

MANY = 16
"""Fewest channels of the source for which the product is the faster way, if the result has `FEW`."""


class Spread(NamedTuple):
    """A transposed convolution: the source [N, K, h, w] and the weight [K, few, k, k] that each place spreads."""

    source: Node
    weight: Node
    stride: list[int]
    padding: list[int]
    bias: Node | None = None
    flipped: bool = False


def take_few(graph: Graph) -> None:
    """Replace convolutions in float32 on a CPU whose result has a few channels. Results are the same up to rounding."""
    for node in [*graph.find_nodes(op="call_function", target=aten.convolution.default), *_gradients(graph)]:
        if (spread := _spread(node)) and _pays(node, spread):
            replaced(node, _product(node, spread))
    graph.eliminate_dead_code()


def _gradients(graph: Graph) -> list[Node]:
    """The gradients of inputs that are the only result of their backward."""
    found = graph.find_nodes(op="call_function", target=BACKWARD)
    return [
        user
        for layer in found
        if list(layer.args[-1]) == [True, False, False]
        for user in layer.users
        if user.args[1] == 0
    ]


def _spread(node: Any) -> Spread | None:
    """The node as a transposed convolution, if it is one without groups and dilation, in two dimensions."""
    if node.target is operator.getitem:
        source, _, weight, _, stride, padding, dilation, transposed, _, groups, _ = node.args[0].args
        bias, turned = None, not transposed
    else:
        source, weight, bias, stride, padding, dilation, transposed, _, groups = node.args
        turned = transposed
    if value(weight).dim() != 4 or groups != 1 or list(dilation) != [1, 1]:
        return None
    if turned:
        return Spread(source, weight, stride, padding, bias)
    if list(stride) != [1, 1]:
        return None
    return Spread(
        source, weight, stride, [k - 1 - p for k, p in zip(value(weight).shape[2:], padding)], bias, True
    )


def _pays(node: Node, spread: Spread) -> bool:
    source, made = value(spread.source), value(node)
    plain = source.device.type == "cpu" and source.dtype == made.dtype == torch.float32
    return plain and made.shape[1] <= FEW and source.shape[1] >= MANY and min(spread.padding) >= 0


def _product(node: Node, spread: Spread) -> Node:
    (rows, many, *_), (*_, few, height, width) = value(spread.source).shape, value(node).shape
    size = [*value(spread.weight).shape[2:]]
    weight = spread.weight
    if spread.flipped:  # [few, K, k, k]
        weight = put(node, aten.permute.default, put(node, aten.flip.default, weight, [2, 3]), [1, 0, 2, 3])
    taps = few * size[0] * size[1]
    left = put(node, aten.permute.default, put(node, aten.reshape.default, weight, [many, taps]), [1, 0])
    left = put(node, aten.expand.default, put(node, aten.unsqueeze.default, left, 0), [rows, taps, many])
    right = put(node, aten.reshape.default, spread.source, [rows, many, -1])
    columns = put(node, aten.bmm.default, left, right)
    image = put(
        node, torch.ops.steadygan.fold.default, columns, [height, width], size, spread.padding, spread.stride
    )
    if spread.bias is None:
        return image
    return put(node, aten.add.Tensor, image, put(node, aten.reshape.default, spread.bias, [1, few, 1, 1]))
