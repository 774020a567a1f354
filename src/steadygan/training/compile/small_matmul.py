"""A graph pass: a fast kernel for the small matrix products of a compiled step on a CPU.

A step of small networks has some sixty products of a few microseconds each. Half of that time is the call overhead of
`mm`, and the library behind it uses half the vector width on processors of other makers than Intel. With this pass,
torch.compile calls the kernel of `small_matmul.cpp` instead. Additions of a bias move into the next function. On other
devices and in half precision nothing changes. Larger matrices and float64 keep torch's function.
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
from torch.fx import Graph, Node

from steadygan.files import cache_folder, write_whole
from steadygan.training.compile.share_backward import put, value

__all__ = ["SOURCE", "VECTORS", "load", "take_bias_out", "take_small", "wanted"]

SOURCE = Path(__file__).with_suffix(".cpp")
WIDEST, LONGEST = 2**16, 2**10
"""Maximum size of the right matrix, and of a sum. The kernel has no blocking: beyond these it is no faster."""

FLAGS = ["-std=c++20", "-O3", "-fPIC", "-shared", "-fopenmp"]
VECTORS = {"AVX512": ["-mavx512f", "-mfma"], "AVX2": ["-mavx2", "-mfma"]}
"""Compiler flags by the CPU capability that torch found. No others: machines may share the cache folder."""

aten = torch.ops.aten


def wanted() -> bool:
    """Whether the kernel gains something on this processor: not without AVX2."""
    return torch.backends.cpu.get_cpu_capability() in VECTORS


def load(note: Callable[[str], None]) -> bool:
    """Make the kernel ready, and return whether it is: not where it is not wanted.

    Nor is it where it cannot be compiled: `note` then gets a sentence.
    """
    if not wanted():
        return False
    try:
        _load()
    except (OSError, RuntimeError, AttributeError, subprocess.SubprocessError) as error:
        note(
            "the kernel for small matrices could not be compiled, so torch's own function is used: it is slower, and "
            f"rounds differently ({_reason(error)})"
        )
        return False
    return True


@cache
def _load() -> None:
    """Compile the kernel unless the cache folder has it intact; register it, with the shape of its result."""
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
    """Whether the library is there with its checksum: loading a part of one would end the process."""
    sums = file.with_suffix(".sha256")
    return file.is_file() and sums.is_file() and sums.read_bytes() == _sum(file).encode()


def _sum(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _make(words: list[str], file: Path) -> None:
    """Compile in a temporary folder, then rename into place. The checksum comes last, so that a crash leaves none."""
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
    """The reason in one line: the compiler's first error, or the message of the system."""
    if isinstance(error, subprocess.CalledProcessError):
        lines = error.stderr.strip().splitlines() or [f"{error.cmd[0]} ended with {error.returncode}"]
        return next((line for line in lines if "error" in line), lines[-1])
    return str(error.__cause__ or error).strip().partition("\n")[0]


def _shaped(left: Tensor, right: Tensor) -> Tensor:
    return left.new_empty(*left.shape[:-1], right.shape[-1])


def take_small(graph: Graph) -> None:
    """Replace small `mm` and `bmm` by `steadygan::product`. Results are equal up to rounding."""
    by_rows: dict[Any, Node] = {}
    for target in (aten.mm.default, aten.bmm.default):
        for node in graph.find_nodes(op="call_function", target=target):
            if _small(*node.args):
                left, right = node.args
                product = torch.ops.steadygan.product.default
                _replace(node, put(node, product, left, _by_rows(node, right, by_rows)))


def take_bias_out(graph: Graph) -> None:
    """Write a product with a bias as a product and a sum, and an outer product as one number by number."""
    for node in graph.find_nodes(op="call_function", target=aten.addmm.default):
        bias, *pair = node.args
        if not node.kwargs and _small(*pair):
            _replace(node, put(node, aten.add.Tensor, put(node, aten.mm.default, *pair), bias))
    for node in graph.find_nodes(op="call_function", target=aten.mm.default):
        if value(node.args[0]).shape[1] == 1 and _plain(*node.args):
            _replace(node, put(node, aten.mul.Tensor, *node.args))


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


def _replace(node: Node, made: Node) -> None:
    node.replace_all_uses_with(made)
    node.graph.erase_node(node)
