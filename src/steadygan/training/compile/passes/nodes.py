"""What all passes need of a graph: values of nodes, new nodes, and a graph without repetitions."""

import operator
from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import Graph, Node
from torch.fx.node import map_arg

__all__ = [
    "PRODUCTS",
    "VIEWS",
    "aten",
    "convert",
    "filled",
    "hashable",
    "named",
    "order",
    "put",
    "replaced",
    "tidy",
    "value",
]

aten = torch.ops.aten
convert = torch.ops.prims.convert_element_type.default
PRODUCTS = (aten.mm.default, aten.bmm.default)
VIEWS = (aten.expand.default, aten.reshape.default, aten.view.default, aten.unsqueeze.default)


def value(node: Any) -> Tensor:
    """The shape, strides and type of a node's result, as a fake tensor."""
    return node.meta["val"]


def put(before: Node, target: Any, *args: Any, **kwargs: Any) -> Node:
    """Insert a call before a node, with the shape and strides of its result."""
    with before.graph.inserting_before(before):
        made = before.graph.call_function(target, args, kwargs)
    values = map_arg(args, value)
    made.meta["val"] = target(*values, **kwargs)
    made.meta["eager_input_vals"] = (values, kwargs)  # the strides that a custom operator must get
    return made


def replaced(node: Node, made: Any) -> Any:
    """Let `made` take the place of a node, and return it."""
    node.replace_all_uses_with(made)
    node.graph.erase_node(node)
    return made


def filled(node: Any) -> float | None:
    """The number that fills a whole tensor, if the node is such a constant."""
    while node.target in VIEWS or node.target in (convert, aten.permute.default):
        node = node.args[0]
    numbers = {aten.full.default: 1, aten.scalar_tensor.default: 0}
    return node.args[numbers[node.target]] if node.target in numbers else None


def order(node: Any) -> list[int] | None:
    """The order in which a node permutes dimensions; None for another node."""
    if node.target is not aten.permute.default:
        return None
    return [place % value(node).dim() for place in node.args[1]]


def hashable(argument: Any) -> Hashable:
    """An argument of a node, equal to the same argument alone: Python says that 1, 1.0 and True are equal."""
    if isinstance(argument, list | tuple):
        return tuple(hashable(part) for part in argument)
    return argument if isinstance(argument, Node) else repr(argument)


def named(kwargs: dict[str, Any]) -> Hashable:
    """The named arguments of a node in the order of their names."""
    return tuple((name, hashable(given)) for name, given in sorted(kwargs.items()))


def tidy(graph: Graph) -> None:
    """Remove what is there twice, views that change nothing, and sums with zero.

    torch.compile does so only for graphs that it differentiates itself, and a step has its gradients already.
    """
    there: dict[Hashable, Node] = {}
    for node in graph.nodes:
        if not (kept := _reduced(node)):
            continue
        kind = kept.target, hashable(kept.args), named(kept.kwargs)
        if _is_function(kept) and (first := there.setdefault(kind, kept)) is not kept:
            replaced(kept, first)
    graph.eliminate_dead_code()  # so that a node that is needed once has exactly one user


def _reduced(node: Node) -> Node | None:
    """The node in its shortest form; None if it is another node, which then takes its place."""
    if node.target in VIEWS and value(node).shape == value(node.args[0]).shape:
        replaced(node, node.args[0])
        return None
    if node.target is aten.permute.default:
        return _permuted(node)
    if node.target is aten.add.Tensor and not node.kwargs:
        for term, other in (node.args, node.args[::-1]):
            if (
                isinstance(term, Node)
                and isinstance(other, Node)
                and filled(other) == 0
                and _alike(node, term)
            ):
                replaced(node, term)
                return None
    return node


def _alike(node: Node, other: Node) -> bool:
    mine, theirs = value(node), value(other)
    return mine.shape == theirs.shape and mine.dtype == theirs.dtype


def _permuted(node: Node) -> Node | None:
    """One permutation for two; None if nothing is permuted."""
    source: Any = node.args[0]
    places = order(node) or []
    if (before := order(source)) is not None:
        source, places = source.args[0], [before[place] for place in places]
    if places == sorted(places):
        replaced(node, source)
        return None
    node.args = (source, places)
    return node


def _is_function(node: Node) -> bool:
    """Whether a node's result depends on its arguments alone, and has memory of its own in no way that matters."""
    target = node.target
    if target is operator.getitem:
        return True
    return (
        isinstance(target, OpOverload)
        and (target.namespace == "aten" or target is convert)
        and not target._schema.is_mutable
        and torch.Tag.nondeterministic_seeded not in target.tags
    )
