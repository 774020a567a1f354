"""torch's compiler for traced graphs, called so that a CPU waits little: no probe programs, the parts side by side.

What stands on torch's internals is looked up by name. Where torch has changed, it compiles as it does by itself.
"""

import gc
import os
import shlex
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.fx import GraphModule

from steadygan.training.compile.program import Call

__all__ = ["QUICK", "build", "library_call", "no_garbage"]

QUICK: dict[str, Any] = {"cpp_wrapper_build_separate": True, "cpp_cache_precompile_headers": False}
"""Options that let the calls be compiled beside the kernels, and with fewer optimizations. Precompiled headers take
longer than they save in one program."""

ENTRY, ADDRESS = "inductor_entry_cpp", "_TORCHINDUCTOR_PYOBJECT_TENSOR_DATA_PTR"


@contextmanager
def no_garbage() -> Iterator[None]:
    """Inside the block no garbage is collected. To search all that a compiler loads and builds takes a sixth of it."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def build(
    graph: GraphModule,
    inputs: list[Tensor],
    outputs: int,
    options: dict[str, Any],
    before_loading: Callable[[], None],
) -> tuple[Call, Path | None]:
    """Compile a graph. Returns the program, and its library where that alone is the program (on a CPU).

    `before_loading` is called before a program that this process has not loaded is loaded.
    """
    from torch import _inductor
    from torch._inductor import config

    known = config.get_config_copy()
    options = {name: value for name, value in options.items() if name in known}
    with _side_by_side(before_loading), _recorded() as modules:
        program = _inductor.compile(graph, [*inputs], options=options)
    library = _library(modules, len(inputs), outputs)
    if library:
        return library_call(library), library
    return lambda tensors: program(*tensors), None


def library_call(library: Path) -> Call:
    """The program in a library that torch compiled. The library has to be intact: it is loaded into this process."""
    # The library reads an address of torch from the environment when it is loaded.
    os.environ[ADDRESS] = str(torch._C._dynamo.guards._torchinductor_pyobject_tensor_data_ptr)  # type: ignore[attr-defined]
    loader = ExtensionFileLoader(f"{library.stem}.{ENTRY}", str(library))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    entry = getattr(module, ENTRY)
    given, taken = (
        torch._C._aoti.unsafe_alloc_void_ptrs_from_tensors,
        torch._C._aoti.alloc_tensors_by_stealing_from_void_ptrs,
    )
    return lambda tensors: taken(entry(given(tensors)))


def _library(modules: Sequence[ModuleType], inputs: int, outputs: int) -> Path | None:
    """The library of a program, if it takes these inputs and nothing else, as its source says."""
    if len(modules) != 1 or not modules[0].__file__:
        return None
    text = Path(modules[0].__file__).read_text()
    entry = getattr(modules[0], "inductor_entry", None)
    file = getattr(getattr(entry, "__self__", None), "__file__", None)
    wanted = f"input_handles, {inputs})", f"num_outputs={outputs},"
    alone = "constants_tensor" not in text and all(word in text for word in wanted)
    return Path(file) if file and alone else None


@contextmanager
def _recorded() -> Iterator[list[ModuleType]]:
    """Inside the block, the modules of compiled programs are recorded as torch loads them."""
    from torch._inductor.codecache import PyCodeCache

    modules: list[ModuleType] = []
    load = getattr(PyCodeCache, "load_by_key_path", None)

    def recorded(*args: Any, **kwargs: Any) -> ModuleType:
        modules.append(load(*args, **kwargs))  # type: ignore[misc]
        return modules[-1]

    with patch.object(PyCodeCache, "load_by_key_path", recorded) if load else ExitStack():
        yield modules


@contextmanager
def _side_by_side(before_loading: Callable[[], None]) -> Iterator[None]:
    """Inside the block, the C++ compiler works on the parts of a program at once, and builds none to try it out."""
    from torch._inductor import codecache, cpu_vec_isa

    with ExitStack() as stack:
        if hasattr(codecache, "_worker_compile_cpp"):
            built = partial(_built, before_loading)
            stack.enter_context(patch.object(codecache, "_worker_compile_cpp", built))
        else:
            before_loading()
        if hasattr(cpu_vec_isa.VecISA, "check_build"):
            stack.enter_context(patch.object(cpu_vec_isa.VecISA, "check_build", _accepted))
        yield


def _built(before_loading: Callable[[], None], lock: str, builders: Sequence[Any]) -> None:
    """Build the parts of a program and link them, unless they are there. torch loads the program then."""
    from torch.utils._filelock import FileLock

    *parts, last = builders
    with FileLock(lock), ThreadPoolExecutor() as threads:
        for step in (parts, [last]):
            missing = [part for part in step if not os.path.exists(part.get_target_file_path())]
            [*threads.map(lambda part: part.build(), missing)]
    before_loading()


def _accepted(isa: Any, code: str) -> bool:
    """Whether the C++ compiler knows the instructions. torch compiles and loads a program for each, for seconds."""
    words = [*shlex.split(os.environ.get("CXX", "g++")), *isa.build_arch_flags().split()]
    asked = [*words, "-fsyntax-only", "-x", "c++", os.devnull]
    return subprocess.run(asked, capture_output=True, check=False).returncode == 0
