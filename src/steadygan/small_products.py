"""Small matrix products of a compiled step on a CPU: torch's own kernel for them, without the way there.

A step of small networks is some sixty products of a few microseconds each. Of these `mm` takes half for itself, and the
library behind it keeps to half the width of the vector units of processors that are not Intel's. The pass here has
torch.compile call `small_products.cpp` in its place, which is oneDNN's kernel for blocks, and add biases where the
next function is computed. On other devices, in other precisions and for larger matrices nothing changes.
"""

import hashlib
import os
import platform
import shlex
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._inductor.custom_graph_pass import CustomGraphPass
from torch.fx import Graph, Node

from steadygan.files import cache_folder, write_whole

__all__ = ["SmallProducts", "small_products"]

SOURCE = Path(__file__).with_suffix(".cpp")
WIDEST, LONGEST = 2**16, 2**10
"""Numbers in the right matrix, and terms in a sum: beyond these the kernel, which takes them whole, is no faster."""

aten = torch.ops.aten


def small_products(note: Callable[[str], None]) -> "SmallProducts | None":
    """The pass for torch.compile's option `post_grad_custom_post_pass`; None, with a note, where it cannot be had."""
    try:
        _load()
    except (OSError, RuntimeError, AttributeError, subprocess.SubprocessError) as error:
        note(
            "small matrices are multiplied by torch's own function: slower, and not to the same bits as by the "
            f"operator, which could not be made ({_reason(error)})"
        )
        return None
    return SmallProducts()


@cache
def _load() -> None:
    """Compile the operator if the cache folder does not have it whole, and register it with its shape."""
    words = [*shlex.split(os.environ.get("CXX", "g++")), "-std=c++20", "-O2", "-fPIC", "-shared", "-fopenmp"]
    asked = [torch.__version__, platform.machine(), *words, torch.Tag.needs_exact_strides, SOURCE.read_text()]
    key = hashlib.sha256(repr(asked).encode()).hexdigest()[:16]
    file = cache_folder() / f"small_products-{key}.so"
    if not _is_whole(file):
        _make(words, file)
    torch.ops.load_library(file)
    torch.library.register_fake("steadygan::product")(_shaped)


def _is_whole(file: Path) -> bool:
    """Whether the library is there and is what was made: a part of one would end the process that loads it."""
    sums = file.with_suffix(".sha256")
    return file.is_file() and sums.is_file() and sums.read_text() == _sum(file)


def _sum(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _make(words: list[str], file: Path) -> None:
    """Compile beside the file, in a folder of this call's own, and put it there whole; its checksum goes last."""
    from torch.utils import cpp_extension

    there = [f"-I{path}" for path in cpp_extension.include_paths()]
    there += [f"-L{path}" for path in cpp_extension.library_paths()]
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent) as own:
        made = Path(own) / file.name
        command = [*words, str(SOURCE), *there, "-lc10", "-ltorch_cpu", "-o", str(made)]
        subprocess.run(command, check=True, capture_output=True, text=True, errors="replace")
        checksum = _sum(made)
        os.replace(made, file)
        write_whole(file.with_suffix(".sha256"), checksum)


def _reason(error: Exception) -> str:
    """Why, in a line: the compiler's first error, or what the system says."""
    if isinstance(error, subprocess.CalledProcessError):
        lines = error.stderr.strip().splitlines() or [f"{error.cmd[0]} ended with {error.returncode}"]
        return next((line for line in lines if "error" in line), lines[-1])
    return str(error.__cause__ or error).strip().partition("\n")[0]


def _shaped(left: Tensor, right: Tensor) -> Tensor:
    return left.new_empty(*left.shape[:-1], right.shape[-1])


class SmallProducts(CustomGraphPass):
    """Puts `steadygan::product` in the place of small `mm`, `bmm` and `addmm` in torch.compile's graph."""

    def __call__(self, graph: Graph) -> None:
        """Change the graph, which computes the same but for rounding."""
        by_rows: dict[Any, Node] = {}
        for node in graph.find_nodes(op="call_function", target=aten.addmm.default):
            bias, *pair = node.args
            if not node.kwargs and _small(*pair):
                product = _before(node, aten.mm.default, *pair)
                _replace(node, _before(node, aten.add.Tensor, product, bias))
        for target in (aten.mm.default, aten.bmm.default):
            for node in graph.find_nodes(op="call_function", target=target):
                if _small(*node.args):
                    pair = [_by_rows(node, _bare(side), by_rows) for side in node.args]
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
    plain = a.device.type == "cpu" and a.dtype == b.dtype == torch.float32
    return plain and min(m, k, n) > 1 and k <= LONGEST and k * n <= WIDEST


def _before(node: Node, target: Any, *args: Node, **kwargs: Any) -> Node:
    """A call in front of a node, of known shape and strides."""
    with node.graph.inserting_before(node):
        made = node.graph.call_function(target, args, kwargs)
    values = tuple(_value(arg) for arg in args)
    made.meta["val"] = target(*values, **kwargs)
    made.meta["eager_input_vals"] = (values, kwargs)  # the strides that the operator is to see
    return made


def _bare(node: Any) -> Node:
    """What a node is without expanding to the shape that it has."""
    while node.target is aten.expand.default and _value(node).shape == _value(node.args[0]).shape:
        node = node.args[0]
    return node


def _by_rows(node: Node, side: Node, there: dict[Any, Node]) -> Node:
    """A matrix with its rows in one piece each: itself, or a copy that all products of it share."""
    x = _value(side)
    if x.stride(-1) == 1 and x.stride(-2) >= x.shape[-1]:
        return side
    turned = side.target is aten.permute.default  # each use of a layer turns its weights anew
    key = (side.args[0], *side.args[1]) if turned else side  # type: ignore[misc]
    if key not in there:
        there[key] = _before(node, aten.clone.default, side, memory_format=torch.contiguous_format)
    return there[key]


def _replace(node: Node, made: Node) -> None:
    node.replace_all_uses_with(made)
    node.graph.erase_node(node)
