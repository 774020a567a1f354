"""Small matrix products of a compiled step on a CPU: torch's own kernel for them, without the way there.

A step of small networks is some sixty products of a few microseconds each. Of these `mm` takes half for itself, and the
library behind it keeps to half the width of the vector units of processors that are not Intel's. The pass here has
torch.compile call `small_products.cpp` in its place, which is oneDNN's kernel for blocks, and add biases where the
next function is computed. On other devices, in other precisions and for larger matrices nothing changes.
"""

import hashlib
import os
import shlex
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._inductor.custom_graph_pass import CustomGraphPass
from torch.fx import Graph, Node

from steadygan.files import cache_folder

__all__ = ["SmallProducts", "small_products"]

SOURCE = Path(__file__).with_suffix(".cpp")
LARGEST = 2**18
"""Numbers in the right matrix, all of which the kernel goes through for every block of rows: a second-level cache."""

aten = torch.ops.aten


def small_products(note: Callable[[str], None]) -> "SmallProducts | None":
    """The pass for torch.compile's option `post_grad_custom_post_pass`; None, with a note, where it cannot be had."""
    try:
        _load()
    except (OSError, RuntimeError, AttributeError, subprocess.SubprocessError) as error:
        reason = (getattr(error, "stderr", "") or str(error)).strip().splitlines()[:1]
        note(f"small matrices are multiplied as torch does it, only slower ({''.join(reason)})")
        return None
    return SmallProducts()


@cache
def _load() -> None:
    """Compile the operator, once for each torch and text, and register it with its shape."""
    from torch.utils import cpp_extension

    key = hashlib.sha256(f"{torch.__version__}{SOURCE.read_text()}".encode()).hexdigest()[:16]
    file = cache_folder() / f"small_products-{key}.so"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
        there = [f"-I{path}" for path in cpp_extension.include_paths()]
        there += [f"-L{path}" for path in cpp_extension.library_paths()]
        words = [
            *shlex.split(os.environ.get("CXX", "g++")),
            "-std=c++20",
            "-O2",
            "-fPIC",
            "-shared",
            "-fopenmp",
        ]
        command = [*words, str(SOURCE), *there, "-lc10", "-ltorch_cpu", "-o", str(partial)]
        subprocess.run(command, check=True, capture_output=True, text=True)
        os.replace(partial, file)
    torch.ops.load_library(file)
    torch.library.register_fake("steadygan::product")(_shaped)


def _shaped(left: Tensor, right: Tensor) -> Tensor:
    return left.new_empty(*left.shape[:-1], right.shape[-1])


class SmallProducts(CustomGraphPass):
    """Puts `steadygan::product` in the place of small `mm`, `bmm` and `addmm` in torch.compile's graph."""

    def __call__(self, graph: Graph) -> None:
        """Change the graph, which computes the same but for rounding."""
        by_rows: dict[Node, Node] = {}
        for node in graph.find_nodes(op="call_function", target=aten.addmm.default):
            bias, *pair = node.args
            if not node.kwargs and _small(*pair):
                product = _before(node, aten.mm.default, *pair)
                _replace(node, _before(node, aten.add.Tensor, product, bias))
        for target in (aten.mm.default, aten.bmm.default):
            for node in graph.find_nodes(op="call_function", target=target):
                if _small(*node.args):
                    pair = [_by_rows(node, side, by_rows) for side in node.args]
                    _replace(node, _before(node, torch.ops.steadygan.product.default, *pair))

    def uuid(self) -> Any:
        """What a kept program depends on besides its graph: the text of the pass and of the operator."""
        return hashlib.sha256(Path(__file__).read_bytes() + SOURCE.read_bytes()).digest()


def _value(node: Node) -> Tensor:
    return node.meta["val"]


def _small(left: Node, right: Node) -> bool:
    """Whether the kernel is for them: float32 on a CPU, no vectors, and the right matrix stays in a near cache."""
    a, b = _value(left), _value(right)
    (m, k), n = a.shape[-2:], b.shape[-1]
    return (
        a.device.type == "cpu"
        and a.dtype == b.dtype == torch.float32
        and min(m, k, n) > 1
        and k * n <= LARGEST
    )


def _before(node: Node, target: Any, *args: Node, **kwargs: Any) -> Node:
    """A call in front of a node, of known shape and strides."""
    with node.graph.inserting_before(node):
        made = node.graph.call_function(target, args, kwargs)
    values = tuple(_value(arg) for arg in args)
    made.meta["val"] = target(*values, **kwargs)
    made.meta["eager_input_vals"] = (values, kwargs)  # the strides that the operator is to see
    return made


def _by_rows(node: Node, side: Node, there: dict[Node, Node]) -> Node:
    """A matrix with its rows in one piece each: itself, or a copy that all products of it share."""
    x = _value(side)
    if x.stride(-1) == 1 and x.stride(-2) >= x.shape[-1]:
        return side
    if side not in there:
        there[side] = _before(node, aten.clone.default, side, memory_format=torch.contiguous_format)
    return there[side]


def _replace(node: Node, made: Node) -> None:
    node.replace_all_uses_with(made)
    node.graph.erase_node(node)
