"""A graph pass: an ensemble's gradients are processed layer by layer, while they are in the cache.

A player's parameters are one vector, so its gradient is first concatenated from the parts of its layers. Then the
optimizer reads it, and so does the log of its norm. The check for NaN reads what the optimizer wrote. With 16 members
each of these vectors leaves the cache and comes back. The pass does all of this on each part in turn, and concatenates
only the results.
"""

from typing import Any

from torch.fx import Graph, Node

from steadygan.training.compile.passes.nodes import aten, put, value

__all__ = ["take_apart"]

MOST = 16
"""Most parts of a vector. Networks with more parts spend their time in products, and programs would only grow."""

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
"""Reductions, and the function that combines the results of two parts."""

Parts = dict[Node, list[Node]]


def take_apart(graph: Graph) -> None:
    """Rewrite torch.compile's graph. Results are the same, but sums over a vector are added in another order."""
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
    """Whether a node concatenates parts into one vector per member."""
    parts, *dim = node.args
    alike = all(value(part).dim() == 2 and value(part).dtype == value(node).dtype for part in parts)
    return alike and dim in ([1], [-1]) and 1 < len(parts) <= MOST


def _is_along_vectors(node: Any) -> bool:
    return node.args[1:2] in (([1],), ([-1],)) and not node.kwargs


def _sizes(node: Node, parts: Parts) -> list[int] | None:
    """The sizes of the parts that an elementwise function can be split into; None if it cannot."""
    sides = [side for side in node.args if isinstance(side, Node)]
    found = [[value(part).shape[1] for part in parts[side]] for side in sides if side in parts]
    fits = all(_is_one_a_member(side) or value(side).shape == value(node).shape for side in sides)
    return found[0] if fits and found and not node.kwargs and found.count(found[0]) == len(found) else None


def _is_one_a_member(side: Node) -> bool:
    shape = value(side).shape
    return len(shape) == 0 or (len(shape) == 2 and shape[1] == 1)


def _numberwise(node: Node, parts: Parts, sizes: list[int]) -> list[Node]:
    """The elementwise function, applied to each part."""

    def part(side: Any, index: int) -> Any:
        if side in parts:
            return parts[side][index]
        if not isinstance(side, Node) or _is_one_a_member(side):
            return side
        start = sum(sizes[:index])
        return put(node, aten.slice.Tensor, side, 1, start, start + sizes[index])

    return [put(node, node.target, *(part(side, index) for side in node.args)) for index in range(len(sizes))]


def _joined(node: Any, parts: Parts) -> Node:
    """The reduction of each part, and their combination."""
    source, *options = node.args
    total, *rest = (put(node, node.target, part, *options) for part in parts[source])
    for other in rest:
        total = put(node, JOINED[node.target], total, other)
    return total
