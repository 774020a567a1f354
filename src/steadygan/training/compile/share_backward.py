"""A graph pass: backward chains that differ only by one factor per row are computed once.

A critic's loss and a penalty on its input gradient both run backward through the same layers and rows. The penalty
starts from ones, the loss from s = dL/df of each row. A layer's backward is linear, so the second chain is the first
one times s, row by row: (s 1) W = s (1 W). Products with the same left matrix also become one product:
B^T h + B^T r = B^T (h + r). torch.compile does neither. In a step of R1 on a critic with three weight matrices, the
pass saves four products.
"""

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.fx import Graph, Node
from torch.fx.node import map_arg

__all__ = ["put", "share_chains", "value"]

aten = torch.ops.aten
PRODUCTS = (aten.mm.default, aten.bmm.default)
VIEWS = (aten.expand.default, aten.reshape.default, aten.view.default, aten.unsqueeze.default)
EXACT = (torch.float32, torch.float64)


class Chain(NamedTuple):
    """A matrix equal to `factor` [.., rows, 1] (None: 1) times the matrix that `key` describes."""

    factor: Node | None
    key: Hashable


Split = dict[Node, tuple[Node | None, Node]]
"""For a matrix: one factor per row (None: 1), and the matrix that it multiplies."""


def share_chains(graph: Graph) -> None:
    """Rewrite torch.compile's graph of a step to compute the same with fewer products.

    Results are equal up to rounding, as long as factors are finite. In half precision nothing changes.
    """
    _straighten(graph)
    bases: dict[Hashable, Node] = {}
    chains: dict[Node, Chain] = {}
    split: Split = {}
    for node in graph.nodes:
        chain = _chain(node, chains)
        if chain is None:
            continue
        if chain.factor is None:
            bases.setdefault(chain.key, node)
        if chain.key in bases:
            base = bases[chain.key]
            if chain.factor and node.target in PRODUCTS:
                node = _replaced(node, put(node, aten.mul.Tensor, base, chain.factor))
            split[node] = chain.factor, base
        chains[node] = chain
    for node in reversed(graph.find_nodes(op="call_function", target=aten.add.Tensor)):
        _merge(node, split)
    graph.eliminate_dead_code()


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


def _straighten(graph: Graph) -> None:
    """Remove duplicates: one node for each transposed matrix, and for each comparison with a number."""
    there: dict[Hashable, Node] = {}
    for node in graph.nodes:
        if node.target in VIEWS and value(node).shape == value(node.args[0]).shape:
            _replaced(node, node.args[0])
        elif node.target is aten.permute.default:
            (source, order), shape = node.args, value(node).shape
            order = [place % len(shape) for place in order]  # -1 is the last
            if source.target is aten.permute.default:
                source, order = source.args[0], [source.args[1][place] for place in order]
            if list(order) == sorted(order) and value(source).shape == shape:
                _replaced(node, source)
            else:
                node.args = (source, order)
                _once(node, (source, tuple(order)), there)
        elif node.target is aten.le.Scalar:
            _once(node, node.args, there)
    graph.eliminate_dead_code()  # so that a node that is needed once has exactly one user


def _once(node: Node, key: Hashable, there: dict[Hashable, Node]) -> None:
    first = there.setdefault((node.target, key), node)
    if first is not node:
        _replaced(node, first)


def _chain(node: Node, chains: dict[Node, Chain]) -> Chain | None:
    """The chain of a node: its start, an activation's derivative, or a product with weights; None for other nodes."""
    if (
        node.op != "call_function"
        or not isinstance(node.meta.get("val"), Tensor)
        or value(node).dtype not in EXACT
    ):
        return None
    args: Any = node.args
    outer = node.target is aten.mul.Tensor or (node.target in PRODUCTS and value(args[0]).shape[-1] == 1)
    if outer and all(isinstance(side, Node) for side in args):
        for factor, row in (args, args[::-1]):
            factor, row = _unexpanded(factor), _unexpanded(row)
            if _outer(value(factor), value(row), value(node)):
                return Chain(
                    None if _filled(factor) == 1 else factor,
                    ("row", row, value(node).shape, value(node).dtype),
                )
    elif node.target is aten.where.self and (before := chains.get(args[2])) and _filled(args[1]) == 0:
        return before._replace(key=("where", args[0], before.key))
    elif node.target in PRODUCTS and (before := chains.get(args[0])):
        return before._replace(key=("product", before.key, args[1]))
    return None


def _outer(factor: Tensor, row: Tensor, whole: Tensor) -> bool:
    """Whether `whole` is an outer product, a column times a row, for each matrix."""
    *batch, m, n = 1, 1, *whole.shape
    return whole.dim() > 1 and ([*factor.shape], [*row.shape]) == ([*batch[2:], m, 1], [*batch[2:], 1, n])


def _unexpanded(node: Any) -> Node:
    while node.target is aten.expand.default:
        node = node.args[0]
    return node


def _filled(node: Any) -> float | None:
    """The number that fills a whole tensor, if the node is such a constant."""
    while node.target in VIEWS:
        node = node.args[0]
    numbers = {aten.full.default: 1, aten.scalar_tensor.default: 0}
    return node.args[numbers[node.target]] if node.target in numbers else None


class Term(NamedTuple):
    """A term of a sum, and whether it is transposed."""

    node: Node
    turned: bool


def _is_turned(node: Any) -> bool:
    """Whether a node transposes a matrix, or each matrix of a batch."""
    if not isinstance(node, Node) or node.target is not aten.permute.default:
        return False
    places = [*range(value(node).dim())]
    return list(node.args[1]) == [*places[:-2], *places[:-3:-1]]  # type: ignore[arg-type]


def _terms(node: Any, turned: bool, first: bool = True) -> list[Term]:
    """The terms of a nested sum."""
    if first or len(node.users) == 1:
        if (
            node.target is aten.add.Tensor
            and all(isinstance(side, Node) for side in node.args)
            and not node.kwargs
        ):
            if len({value(side).shape for side in node.args}) == 1:
                return [term for side in node.args for term in _terms(side, turned, False)]
        elif _is_turned(node):
            return _terms(node.args[0], not turned, False)
    return [Term(node, turned)]


def _merge(root: Node, split: Split) -> None:
    """Merge the products of a sum whose left matrices are the same transposed matrix, up to one factor per row."""
    groups: dict[Hashable, list[Term]] = {}
    for place, term in enumerate(_terms(root, False)):
        base = _base(term.node, split)
        groups.setdefault((base, term.turned) if base else place, []).append(term)
    if all(len(group) == 1 for group in groups.values()):
        return
    total = None
    for group in groups.values():
        part = group[0].node if len(group) == 1 else _merged(root, group, split)
        if group[0].turned:
            places = [*range(value(part).dim())]
            part = put(root, aten.permute.default, part, [*places[:-2], *places[:-3:-1]])
        total = put(root, aten.add.Tensor, total, part) if total else part
    _replaced(root, total)


def _base(product: Node, split: Split) -> Node | None:
    """B of a product (s B)^T h that has no other user."""
    if product.target in PRODUCTS and len(product.users) == 1 and value(product).dtype in EXACT:
        left: Any = product.args[0]
        if _is_turned(left):
            return split.get(left.args[0], (None, left.args[0]))[1]
    return None


def _merged(root: Node, group: list[Term], split: Split) -> Node:
    """The sum of products (s B)^T h, as B^T times the sum of s h."""
    total = None
    for product, _ in group:
        left, right = cast("Sequence[Node]", product.args)
        factor, base = split.get(left.args[0], (None, left.args[0]))  # type: ignore[arg-type]
        part = put(root, aten.mul.Tensor, right, factor) if factor else right
        total = put(root, aten.add.Tensor, total, part) if total else part
    turned = put(root, aten.permute.default, base, left.args[1])
    return put(root, product.target, turned, total)


def _replaced(node: Node, made: Any) -> Node:
    node.replace_all_uses_with(made)
    node.graph.erase_node(node)
    return made
