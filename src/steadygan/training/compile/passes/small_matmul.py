"""A graph pass: a fast kernel for the small matrix products of a compiled step on a CPU.

A step of small networks has some sixty products of a few microseconds each. Half of that time is the call overhead of
`mm`, and the library behind it uses half the vector width on processors of other makers than Intel. With this pass,
torch.compile calls the kernel `steadygan::product` instead. Additions of a bias move into the next function. On other
devices and in half precision nothing changes. Larger matrices and float64 keep torch's function.
"""

from typing import Any

import torch
from torch.fx import Graph, Node

from steadygan.training.compile.passes.nodes import PRODUCTS, aten, put, replaced, value

__all__ = ["take_bias_out", "take_small"]

WIDEST, LONGEST = 2**16, 2**10
"""Maximum size of the right matrix, and of a sum. The kernel has no blocking: beyond these it is no faster."""


def take_bias_out(graph: Graph) -> None:
    """Write a product with a bias as a product and a sum, and an outer product as one number by number."""
    for node in graph.find_nodes(op="call_function", target=aten.addmm.default):
        bias, *pair = node.args
        if not node.kwargs and _small(*pair):
            replaced(node, put(node, aten.add.Tensor, put(node, aten.mm.default, *pair), bias))
    for node in graph.find_nodes(op="call_function", target=aten.mm.default):
        if value(node.args[0]).shape[1] == 1 and _plain(*node.args):
            replaced(node, put(node, aten.mul.Tensor, *node.args))


def take_small(graph: Graph) -> None:
    """Replace small `mm` and `bmm` by `steadygan::product`. Results are the same up to rounding."""
    by_rows: dict[Any, Node] = {}
    for target in PRODUCTS:
        for node in graph.find_nodes(op="call_function", target=target):
            if _small(*node.args):
                left, right = node.args
                right = _by_rows(node, right, by_rows)
                replaced(node, put(node, torch.ops.steadygan.product.default, left, right))


def _plain(left: Any, right: Any) -> bool:
    a, b = value(left), value(right)
    return a.device.type == "cpu" and a.dtype == b.dtype == torch.float32


def _small(left: Any, right: Any) -> bool:
    """Whether the kernel takes this product: float32 on a CPU, and a right matrix that stays in the cache.

    Batched products with vectors are left to torch.compile, which computes them inside the next function.
    """
    (*batch, m, k), n = value(left).shape, value(right).shape[-1]
    return _plain(left, right) and k > 1 and (not batch or min(m, n) > 1) and k <= LONGEST and k * n <= WIDEST


def _by_rows(node: Node, side: Any, there: dict[Node, Node]) -> Node:
    """The matrix with contiguous rows: itself, or one copy that all its products share."""
    if value(side).stride(-1) == 1:
        return side
    if side not in there:
        there[side] = put(node, aten.clone.default, side, memory_format=torch.contiguous_format)
    return there[side]
