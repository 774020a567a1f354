"""Small matrix products of a compiled step on a CPU, without the way there.

A step of small networks is some sixty products of a few microseconds each. Of these `mm` takes half for itself, and the
library behind it keeps to half the width of the vector units of processors that are not Intel's. The pass here has
torch.compile call `small_products.cpp` in its place, has it share what the ways back through a critic have in common
(`shared_chains`), and adds biases where the next function is computed. On other devices and in
half precision nothing changes; larger matrices and float64 keep torch's function.
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
from steadygan.training.compile import share_backward, split_vectors
from steadygan.training.compile.share_backward import put, share_chains, value
from steadygan.training.compile.split_vectors import take_apart

__all__ = ["SmallProducts", "small_products"]

SOURCE = Path(__file__).with_suffix(".cpp")
WIDEST, LONGEST = 2**16, 2**10
"""Numbers in the right matrix, and terms in a sum: beyond these the kernel, which takes them whole, is no faster."""

FLAGS = ["-std=c++20", "-O3", "-fPIC", "-shared", "-fopenmp"]
VECTORS = {"AVX512": ["-mavx512f", "-mfma"], "AVX2": ["-mavx2", "-mfma"]}
"""What the compiler may use, by what torch found: no more, as a cache folder may be several machines'."""

aten = torch.ops.aten


def small_products(note: Callable[[str], None]) -> "SmallProducts | None":
    """The pass for torch.compile's option `post_grad_custom_post_pass`.

    None where it gains nothing (processors without AVX2), and with a note where it cannot be had.
    """
    if torch.backends.cpu.get_cpu_capability() not in VECTORS:
        return None
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
    vectors = VECTORS[torch.backends.cpu.get_cpu_capability()]
    words = [*shlex.split(os.environ.get("CXX", "g++")), *FLAGS, *vectors]
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
                _replace(node, put(node, aten.add.Tensor, put(node, aten.mm.default, *pair), bias))
        for node in graph.find_nodes(op="call_function", target=aten.mm.default):
            if value(node.args[0]).shape[1] == 1 and _plain(*node.args):
                _replace(node, put(node, aten.mul.Tensor, *node.args))
        share_chains(graph)
        take_apart(graph)
        for target in (aten.mm.default, aten.bmm.default):
            for node in graph.find_nodes(op="call_function", target=target):
                if _small(*node.args):
                    left, right = node.args
                    _replace(
                        node,
                        put(node, torch.ops.steadygan.product.default, left, _by_rows(node, right, by_rows)),
                    )

    def uuid(self) -> Any:
        """What a kept program depends on besides its graph: the text of the pass and of the operator."""
        texts = [
            Path(str(file)) for file in (__file__, split_vectors.__file__, share_backward.__file__, SOURCE)
        ]
        return hashlib.sha256(b"".join(text.read_bytes() for text in texts)).digest()


def _plain(left: Any, right: Any) -> bool:
    a, b = value(left), value(right)
    return a.device.type == "cpu" and a.dtype == b.dtype == torch.float32


def _small(left: Any, right: Any) -> bool:
    """Whether the kernel is for them: float32 on a CPU, and the right matrix stays in a near cache.

    Products with vectors, of a batch, are left to torch.compile, which computes them within the next function.
    """
    (*batch, m, k), n = value(left).shape, value(right).shape[-1]
    return _plain(left, right) and k > 1 and (not batch or min(m, n) > 1) and k <= LONGEST and k * n <= WIDEST


def _by_rows(node: Node, side: Any, there: dict[Node, Node]) -> Node:
    """A matrix with its rows in one piece each: itself, or a copy that all products of it share."""
    if value(side).stride(-1) == 1:
        return side
    if side not in there:
        there[side] = put(node, aten.clone.default, side, memory_format=torch.contiguous_format)
    return there[side]


def _replace(node: Node, made: Node) -> None:
    node.replace_all_uses_with(made)
    node.graph.erase_node(node)
