"""Sums of products with one common factor are one product: B^T h + B^T r = B^T (h + r).

The gradient of a weight is a product of the gradient B of a layer's output with its input h. A penalty adds one with
the same B and another r. For convolutions torch writes that second one as a convolution whose batch is its channels,
which is slow: it is restated first.
"""

import operator
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple, cast

from torch.fx import Graph, Node

from steadygan.training.compile.passes.chains import BACKWARD, Split, rows, rows_times
from steadygan.training.compile.passes.nodes import PRODUCTS, aten, hashable, order, put, replaced, value

__all__ = ["merge", "restate"]


def restate(graph: Graph) -> None:
    """Write a weight's gradient that double backward gave as a convolution as the gradient that it is."""
    for convolution in graph.find_nodes(op="call_function", target=aten.convolution.default):
        if (layer := _layer(convolution)) and (result := _turned_back(convolution, layer)):
            gradient, _, weight, _, *geometry, _ = layer.args
            source = convolution.args[0].args[0]
            replaced(result, _weight_gradient(result, gradient, source, weight, geometry))


def _layer(convolution: Any) -> Any:
    """The backward of the layer whose weight's gradient this convolution is; None if it is none."""
    images, kernels, bias, *geometry = convolution.args
    if bias is not None or not (_is_swapped(images) and _is_swapped(kernels)):
        return None
    source, gradient = images.args[0], kernels.args[0]
    for layer in gradient.users:
        if layer.target is BACKWARD and layer.args[0] is gradient and _is_plain(layer):
            stride, padding, dilation, *rest = layer.args[4:10]
            same = geometry == [dilation, padding, stride, *rest]
            if same and value(layer.args[1]).shape == value(source).shape:
                return layer
    return None


def _is_plain(layer: Any) -> bool:
    """Whether a layer is neither transposed nor of several groups."""
    return layer.args[7] is False and layer.args[9] == 1


def _is_swapped(node: Any) -> bool:
    """Whether a node lets the batch and the channels of images change places."""
    return order(node) == [1, 0, *range(2, value(node).dim())] if isinstance(node, Node) else False


def _turned_back(convolution: Node, layer: Any) -> Node | None:
    """The convolution's result as the weight's gradient: batch and channels changed back, cut to the kernel's size."""
    node, weight, turned = convolution, value(layer.args[2]), False
    while not (turned and value(node).shape == weight.shape):
        if len(node.users) != 1:
            return None
        (node,) = node.users
        if _is_swapped(node) and not turned:
            turned = True
        elif node.target is not aten.slice.Tensor or list(node.args[2:3]) != [0] or len(node.args) > 4:
            return None
    return node if value(node).dtype == weight.dtype else None


def _weight_gradient(
    before: Node, gradient: Node, source: Node, weight: Node, geometry: Sequence[Any]
) -> Node:
    only = [False, True, False]
    made = put(before, BACKWARD, gradient, source, weight, None, *geometry, only)
    return put(before, operator.getitem, made, 1)


class Term(NamedTuple):
    """A term of a sum, and whether it is transposed."""

    node: Node
    turned: bool


class Product(NamedTuple):
    """A product (s B)^T h: which function of B and h, s (None: 1), and what else the function is given."""

    target: Any
    base: Node
    factor: Node | None
    right: Node
    kind: Any = ()


def merge(graph: Graph, split: Split) -> None:
    """Merge the products of each sum that have one B, up to one factor per row."""
    for root in reversed(graph.find_nodes(op="call_function", target=aten.add.Tensor)):
        _merge(root, split)
    for layer in graph.find_nodes(op="call_function", target=BACKWARD):
        _ask_for_less(layer)


def _merge(root: Node, split: Split) -> None:
    groups: dict[Hashable, list[tuple[Term, Product | None]]] = {}
    for place, term in enumerate(_terms(root, False)):
        product = _product(term.node, split)
        key = (*_shared(product), term.turned) if product else place
        groups.setdefault(key, []).append((term, product))
    if all(len(group) == 1 for group in groups.values()):
        return
    total = None
    for group in groups.values():
        part = group[0][0].node if len(group) == 1 else _merged(root, [cast("Product", p) for _, p in group])
        if group[0][0].turned:
            part = put(root, aten.permute.default, part, _swap(part))
        total = put(root, aten.add.Tensor, total, part) if total else part
    for term, _ in (pair for group in groups.values() if len(group) > 1 for pair in group):
        if term.node.target is operator.getitem:
            _sum_bias(term.node.args[0])
    replaced(root, total)


def _shared(product: Product) -> tuple[Hashable, ...]:
    """What products have in common that can be merged."""
    return product.target, product.base, value(product.right).shape, hashable(product.kind)


def _swap(node: Node) -> list[int]:
    """The order of dimensions that transposes a matrix, or each matrix of a batch."""
    places = [*range(value(node).dim())]
    return [*places[:-2], *places[:-3:-1]]


def _is_turned(node: Any) -> bool:
    """Whether a node transposes a matrix, or each matrix of a batch."""
    return isinstance(node, Node) and order(node) == _swap(node)


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
        elif _is_turned(node) and value(node).dim() < 4:
            return _terms(node.args[0], not turned, False)
    return [Term(node, turned)]


def _product(node: Any, split: Split) -> Product | None:
    """The node as a product, if it is one that has no other user."""
    if len(node.users) != 1:
        return None
    if node.target in PRODUCTS and _is_turned(node.args[0]):
        left, right = node.args
        factor, base = _factored(left.args[0], split, value(left).dim() - 1)
        return Product(node.target, base, factor, right)
    if node.target is operator.getitem and node.args[0].target is BACKWARD and node.args[1] == 1:
        layer = node.args[0]
        if _is_plain(layer):
            gradient, source, weight, _, *geometry, _ = layer.args
            factor, base = _factored(gradient, split, 1)
            return Product(BACKWARD, base, factor, source, (weight, geometry))
    return None


def _factored(node: Any, split: Split, most: int) -> tuple[Node | None, Node]:
    """The node as a factor and what it multiplies. The rows of the factor are at most the first `most` dimensions."""
    pairs = split.get(node, [])
    return next((pair for pair in pairs if not pair[0] or len(rows(value(pair[0]))) <= most), (None, node))


def _merged(root: Node, group: list[Product]) -> Node:
    """The sum of products (s B)^T h, as B^T times the sum of s h."""
    total = None
    for product in group:
        part = rows_times(root, product.factor, product.right)
        total = put(root, aten.add.Tensor, total, part) if total else part
    base, kind, target = group[0].base, group[0].kind, group[0].target
    if target is BACKWARD:
        weight, geometry = kind
        return _weight_gradient(root, base, cast("Node", total), weight, geometry)
    return put(root, target, put(root, aten.permute.default, base, _swap(base)), total)


def _sum_bias(layer: Any) -> None:
    """Take the gradient of a bias as the sum that it is, so that nothing else needs the layer's backward."""
    gradient = layer.args[0]
    for bias in [user for user in layer.users if user.args[1] == 2]:
        over = [place for place in range(value(gradient).dim()) if place != 1]
        replaced(bias, put(bias, aten.sum.dim_IntList, gradient, over))


def _ask_for_less(layer: Any) -> None:
    """Let a convolution's backward compute what is used."""
    used = {user.args[1] for user in layer.users if user.users}
    *args, mask = layer.args
    layer.args = (*args, [asked and place in used for place, asked in enumerate(mask)])
