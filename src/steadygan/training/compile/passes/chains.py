"""Backward chains that differ only by one factor per row are computed once.

A critic's loss and a penalty on its input gradient both go back through the same layers and rows. The penalty starts
from ones, the loss from s = dL/df of each row. A layer's backward is linear, so the second chain is the first one
times s, row by row: (s 1) W = s (1 W). This holds for matrices and convolutions, masks of activations, residual sums
and pooling. torch.compile does not see it.
"""

import operator
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

from torch import Tensor
from torch.fx import Graph, Node

from steadygan.training.compile.passes.nodes import (
    PRODUCTS,
    aten,
    convert,
    filled,
    hashable,
    named,
    put,
    replaced,
    value,
)

__all__ = ["BACKWARD", "Split", "rows", "rows_times", "share"]

BACKWARD = aten.convolution_backward.default
LINEAR = {
    convert,
    aten.avg_pool2d_backward.default,
    aten.clone.default,
    aten.constant_pad_nd.default,
    aten.div.Scalar,
    aten.div.Tensor,
    aten.expand.default,
    aten.mm.default,
    aten.bmm.default,
    aten.mul.Scalar,
    aten.neg.default,
    aten.permute.default,
    aten.reshape.default,
    aten.slice.Tensor,
    aten.squeeze.dims,
    aten.sum.dim_IntList,
    aten.unsqueeze.default,
    aten.upsample_nearest2d_backward.default,
    aten.view.default,
}
"""Functions that are linear in their first argument, the others held."""

TOGETHER = {aten.add.Tensor: (0, 1), aten.sub.Tensor: (0, 1), aten.where.self: (1, 2)}
"""Functions that are linear in two arguments together."""


class Chain(NamedTuple):
    """A tensor equal to its `factor`, one number a row (None: 1), times the tensor that `key` names."""

    factor: Node | None
    key: int


Chains = dict[tuple[int, ...], Chain]
"""A tensor's chains by the shape of their rows: its first dimension, or the first two of an ensemble."""

Split = dict[Node, list[tuple[Node | None, Node]]]
"""For a tensor: its factors per row (None: 1), each with the tensor that it multiplies."""


def share(graph: Graph) -> Split:
    """Compute a product of a chain as factor times base wherever its base, the chain from ones, is in the graph."""
    bases: dict[int, Node] = {}
    chains: dict[Node, Chains] = {}
    split: Split = {}
    keys: dict[Hashable, int] = {}
    for node in graph.nodes:
        found = _chains(node, chains, keys)
        pairs = [(chain.factor, bases[chain.key]) for chain in found.values() if chain.key in bases]
        starts = any(chain.factor is node for chain in found.values())
        if pairs and pairs[0][0] and not starts and _is_product(node):
            node = replaced(node, rows_times(node, *pairs[0]))
        for chain in found.values():
            if chain.factor is None:
                bases.setdefault(chain.key, node)
        split[node], chains[node] = pairs, found
    return split


def rows_times(before: Node, factor: Node | None, base: Node) -> Node:
    """The tensor `base` with each row multiplied by its number in `factor`."""
    if factor is None:
        return base
    shape = [*value(factor).shape, *[1] * value(base).dim()][: value(base).dim()]
    column = factor if [*value(factor).shape] == shape else put(before, aten.reshape.default, factor, shape)
    made = put(before, aten.mul.Tensor, base, column)
    return made if value(made).dtype == value(base).dtype else put(before, convert, made, value(base).dtype)


def _is_product(node: Any) -> bool:
    """Whether a node costs a pass through a layer: a product of matrices, or a convolution's gradient of its input."""
    return node.target in PRODUCTS or (node.target is operator.getitem and node.args[0].target is BACKWARD)


def _chains(node: Node, chains: dict[Node, Chains], keys: dict[Hashable, int]) -> Chains:
    """The chains of a node by their rows: those that its arguments go on with, and the one that starts with it."""
    if not isinstance(node.meta.get("val"), Tensor) or not value(node).is_floating_point():
        return {}
    found: Chains = {}
    for sides, *other in _linear(node):
        for shape in dict.fromkeys(shape for side in sides for shape in chains.get(side, {})):
            if before := _before(node, sides, shape, chains):
                factor, parts = before
                # The shape too: where one side is 0, it may have repeated the other.
                made = tuple(value(node).shape), value(node).dtype
                key = keys.setdefault((node.target, *made, *parts, *other), len(keys))
                found.setdefault(shape, Chain(factor, key))
    if shape := rows(value(node)):  # one number a row: that number times one
        start = "ones", tuple(value(node).shape), value(node).dtype
        found[shape] = Chain(None if filled(node) == 1 else node, keys.setdefault(start, len(keys)))
    return found


def rows(t: Tensor) -> tuple[int, ...]:
    """The shape of the rows of a tensor that has one number a row; empty for others."""
    shape = list(t.shape)
    if len(shape) > 1 and shape[-1] != 1:
        return ()
    while len(shape) > 1 and shape[-1] == 1:
        shape.pop()
    return tuple(shape)


def _linear(node: Any) -> list[tuple[Any, ...]]:
    """The ways in which a node is linear: the arguments in which it is, together, and what else it depends on."""
    if node.op != "call_function":
        return []
    args = node.args
    if node.target is operator.getitem:  # of a convolution's backward, which does not use the input for this
        if args[0].target is not BACKWARD or args[1] != 0:
            return []
        gradient, source, weight, _, *geometry, _ = args[0].args
        return [([gradient], value(source).shape, weight, hashable(geometry))]
    if node.target is aten.mul.Tensor:  # of two chains the wider one goes on
        ways = [([side], hashable(other)) for side, other in (args, args[::-1]) if isinstance(side, Node)]
        return sorted(ways, key=lambda way: -value(way[0][0]).numel())
    if node.target in TOGETHER and not node.kwargs:
        first, second = TOGETHER[node.target]
        return [([args[first], args[second]], *args[:first])]
    if node.target is aten.constant_pad_nd.default and any(args[2:]):  # a border of another number than 0
        return []
    return [([args[0]], hashable(args[1:]), named(node.kwargs))] if node.target in LINEAR else []


def _before(
    node: Node, sides: Sequence[Any], shape: tuple[int, ...], chains: dict[Node, Chains]
) -> tuple[Node | None, list[Hashable]] | None:
    """The one factor of all sides and the keys of what they multiply; None if they have none, or rows are mixed."""
    parts: list[Hashable] = []
    factors: set[Node | None] = set()
    for side in sides:
        chain = chains.get(side, {}).get(shape) if isinstance(side, Node) else None
        if chain and _keeps_rows(node, side, shape):
            parts.append(chain.key)
            factors.add(chain.factor)
        elif side == 0 or (isinstance(side, Node) and filled(side) == 0):
            parts.append("zero")
        else:
            return None
    return (factors.pop(), parts) if len(factors) == 1 else None


def _keeps_rows(node: Node, source: Any, shape: tuple[int, ...]) -> bool:
    """Whether each row of the result depends on the same row of its source alone."""
    there, before, after = len(shape), value(source), value(node)
    if not tuple(before.shape[:there]) == tuple(after.shape[:there]) == shape:
        return False
    where: Any = node.args[1] if len(node.args) > 1 else None
    if node.target in PRODUCTS:
        return before.dim() > there
    if node.target in TOGETHER or node.target in BROADCAST:  # [N] is a row of [N, N], not its rows
        return before.dim() == after.dim()
    if node.target is aten.constant_pad_nd.default:
        return len(where) <= 2 * (before.dim() - there)
    if node.target is aten.permute.default:
        return [*where[:there]] == [*range(there)]
    if node.target in (aten.sum.dim_IntList, aten.squeeze.dims):
        return bool(where) and all(place % before.dim() >= there for place in where)
    if node.target is aten.unsqueeze.default:
        return where % after.dim() >= there
    if node.target in BY_IMAGE or node.target is operator.getitem:
        return there == 1
    return True


BROADCAST = {aten.div.Tensor, aten.expand.default, aten.mul.Tensor}
"""Functions that may repeat their first argument along new first dimensions."""

BY_IMAGE = {
    aten.avg_pool2d_backward.default,
    aten.upsample_nearest2d_backward.default,
}
"""Functions of images, one by one."""
