"""What is done to an ensemble's gradients, number by number, is done as they come: layer by layer.

A player's parameters are one vector, so that its gradient is first put together of its layers' parts; then the
optimizer reads it, the log of its length reads it, and the check for NaN reads what the optimizer wrote. Of 16 members
each of these goes out of the near cache and back. The pass here has all of them done to a part while it is there, and
only the results put together.
"""

from typing import Any

from torch.fx import Graph, Node

from steadygan.training.compile.share_backward import aten, put, value

__all__ = ["take_apart"]

MOST = 16
"""Parts of a vector: beyond these, of networks whose products outweigh all this, programs would only grow."""

NUMBERWISE = {
    aten.abs.default,
    aten.add.Tensor,
    aten.div.Tensor,
    aten.mul.Tensor,
    aten.pow.Tensor_Scalar,
    aten.sqrt.default,
    aten.sub.Tensor,
}
JOINED = {aten.sum.dim_IntList: aten.add.Tensor, aten.amax.default: aten.maximum.default}
"""Reductions, and how two parts' results become one."""

Parts = dict[Node, list[Node]]


def take_apart(graph: Graph) -> None:
    """Change torch.compile's graph to one that computes the same; sums over a vector are added up in another order."""
    parts: Parts = {}
    changed: list[Node] = []
    for node in list(graph.nodes):
        if node.target is aten.cat.default and _is_vectors(node):
            parts[node] = list(node.args[0])
        elif node.target in NUMBERWISE and value(node).is_contiguous() and (sizes := _sizes(node, parts)):
            parts[node] = _numberwise(node, parts, sizes)
            changed.append(node)
        elif node.target in JOINED and node.args[0] in parts and _is_along_vectors(node):
            node.replace_all_uses_with(_joined(node, parts))
    for node in reversed(changed):
        if any(user not in parts for user in node.users):
            node.replace_all_uses_with(put(node, aten.cat.default, parts[node], 1))
    graph.eliminate_dead_code()


def _is_vectors(node: Any) -> bool:
    """Whether a node puts together a vector of each member, of parts like it."""
    parts, *dim = node.args
    alike = all(value(part).dim() == 2 and value(part).dtype == value(node).dtype for part in parts)
    return alike and dim in ([1], [-1]) and 1 < len(parts) <= MOST


def _is_along_vectors(node: Any) -> bool:
    return node.args[1:2] in (([1],), ([-1],)) and not node.kwargs


def _sizes(node: Node, parts: Parts) -> list[int] | None:
    """The sizes of the parts that a function of numbers may be taken apart into, if it may be."""
    sides = [side for side in node.args if isinstance(side, Node)]
    found = [[value(part).shape[1] for part in parts[side]] for side in sides if side in parts]
    fits = all(_is_one_a_member(side) or value(side).shape == value(node).shape for side in sides)
    return found[0] if fits and found and not node.kwargs and found.count(found[0]) == len(found) else None


def _is_one_a_member(side: Node) -> bool:
    shape = value(side).shape
    return len(shape) == 0 or (len(shape) == 2 and shape[1] == 1)


def _numberwise(node: Node, parts: Parts, sizes: list[int]) -> list[Node]:
    """The function of each part."""

    def part(side: Any, index: int) -> Any:
        if side in parts:
            return parts[side][index]
        if not isinstance(side, Node) or _is_one_a_member(side):
            return side
        start = sum(sizes[:index])
        return put(node, aten.slice.Tensor, side, 1, start, start + sizes[index])

    return [put(node, node.target, *(part(side, index) for side in node.args)) for index in range(len(sizes))]


def _joined(node: Any, parts: Parts) -> Node:
    """The reduction of each part, and what they come to."""
    source, *options = node.args
    total, *rest = (put(node, node.target, part, *options) for part in parts[source])
    for other in rest:
        total = put(node, JOINED[node.target], total, other)
    return total
