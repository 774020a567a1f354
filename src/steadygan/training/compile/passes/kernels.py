"""Operators whose kernels, in `kernels.cpp`, are compiled once for a processor and a version of torch, then loaded."""

import hashlib
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from ctypes import CDLL, RTLD_GLOBAL
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from steadygan.files import alone, cache_folder, write_whole

__all__ = ["DIRECT", "SOURCE", "VECTORS", "load", "wanted"]

SOURCE = Path(__file__).with_suffix(".cpp")

DIRECT = "AOTITorchError aoti_torch_cpu_product(AtenTensorHandle, AtenTensorHandle, AtenTensorHandle*)"
"""The declaration of the product in C, under the name that torch.compile gives it."""

FLAGS = ["-std=c++20", "-O3", "-fPIC", "-shared", "-fopenmp"]

EXPORTED = "{ global: aoti_torch_cpu_product; local: *; };"
"""What other libraries may see, in the words of a linker on Linux. Else those that are loaded later take our copies of
C++'s own functions. Where another compiler made them, the process ended, at an error's message or in cuDNN."""

VECTORS = {"AVX512": ["-mavx512f", "-mfma"], "AVX2": ["-mavx2", "-mfma"]}
"""Compiler flags by the CPU capability that torch found. No others: machines may share the cache folder."""


def wanted() -> bool:
    """Whether the kernels gain something on this processor: not without AVX2."""
    return torch.backends.cpu.get_cpu_capability() in VECTORS


def load(note: Callable[[str], None]) -> bool:
    """Make the kernels ready, and return whether they are.

    They are not where they are not wanted, and not where they cannot be compiled: `note` then gets a sentence.
    """
    if not wanted():
        return False
    try:
        _load()
    except (ImportError, OSError, RuntimeError, AttributeError, subprocess.SubprocessError) as error:
        note(
            "the kernels for a CPU could not be compiled, so torch's own functions are used: they are slower, and "
            f"round differently ({_reason(error)})"
        )
        return False
    return True


@cache
def _load() -> None:
    """Compile the kernels unless the cache folder has them intact; load them, so that the operators can be called."""
    words, file = _wanted()
    if not _is_whole(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        with alone(file):
            if not _is_whole(file):  # another process has just made it
                _make(words, file)
    CDLL(str(file), mode=RTLD_GLOBAL)  # global, because programs call it by its name in C


def _wanted() -> tuple[list[str], Path]:
    """The compiler's words for this processor, and the file for what it makes of them."""
    vectors = VECTORS[torch.backends.cpu.get_cpu_capability()]
    words = [*shlex.split(os.environ.get("CXX", "g++")), *FLAGS, *vectors]
    asked = [torch.__version__, platform.machine(), *words, EXPORTED]
    key = hashlib.sha256(repr([*asked, SOURCE.read_text()]).encode()).hexdigest()[:16]
    return words, cache_folder() / f"kernels-{key}.so"


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
    with tempfile.TemporaryDirectory(dir=file.parent) as own:
        made = Path(own) / file.name
        if sys.platform == "linux":
            exported = Path(own) / "exported"
            exported.write_text(EXPORTED)
            there += ["-Xlinker", f"--version-script={exported}"]  # which may have a comma
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


# The operators are known before they are compiled, so that graphs can have them meanwhile.
torch.library.define(
    "steadygan::product", "(Tensor left, Tensor right) -> Tensor", tags=torch.Tag.needs_exact_strides
)
torch.library.define(
    "steadygan::fold", "(Tensor columns, int[] size, int[] kernel, int[] padding, int[] stride) -> Tensor"
)


@torch.library.register_fake("steadygan::product")
def _product(left: Tensor, right: Tensor) -> Tensor:
    return left.new_empty(*left.shape[:-1], right.shape[-1])


@torch.library.register_fake("steadygan::fold")
def _fold(
    columns: Tensor, size: Sequence[int], kernel: Sequence[int], padding: Sequence[int], stride: Sequence[int]
) -> Tensor:
    return columns.new_empty(columns.shape[0], columns.shape[1] // (kernel[0] * kernel[1]), *size)
