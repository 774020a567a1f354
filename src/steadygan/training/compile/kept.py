"""Compiled programs in the user's cache folder, so that the next start of a run does not compile.

A program is a library and a description of what it takes and gives (`Form`). Its name has everything that it depends
on: versions, processor, the text of this package, settings, and the layout of its arguments. It is loaded only if its
checksum holds, from a folder that only this user can write to. Nothing in it is a pickle.
"""

import hashlib
import json
import os
import platform
import re
from collections.abc import Callable, Hashable, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch

from steadygan.files import BINARY, alone, cache_folder, read_json, read_whole, write_whole
from steadygan.game import Step
from steadygan.training.compile.inductor import library_call
from steadygan.training.compile.program import Form, as_step

__all__ = ["forget", "found", "keep", "key"]

UNRELATED = {"TORCH_CPP_LOG_LEVEL", "TORCH_LOGS"}

MOST = 64
"""Programs that are kept; the oldest ones go. One has half a megabyte."""


def key(about: str, *parts: Hashable) -> str:
    """The name of a program: a hash of what it depends on. `about` says which step it is."""
    machine = [platform.machine(), torch.backends.cpu.get_cpu_capability(), _processor()]
    python = [platform.python_implementation(), platform.python_version()]
    named = sorted((k, v) for k, v in os.environ.items() if _matters(k))
    rounding = torch.backends.mkldnn.matmul.fp32_precision  # type: ignore[attr-defined]
    now = [torch.get_num_threads(), rounding, torch.is_grad_enabled()]
    asked = [torch.__version__, machine, python, named, now, _package(), about, parts]
    return hashlib.sha256(repr(asked).encode()).hexdigest()[:32]


def _matters(variable: str) -> bool:
    """Whether an environment variable may change a program. Those of places do not, and torch sets some of them.

    >>> _matters("TORCHINDUCTOR_FREEZING"), _matters("TORCHINDUCTOR_CACHE_DIR"), _matters("HOME")
    (True, False, False)
    """
    if variable in UNRELATED or variable.startswith("TORCHELASTIC_") or variable.endswith(("_DIR", "_HOME")):
        return False
    return variable == "CXX" or variable.startswith(("TORCH", "ATEN", "AOT_"))


def found(name: str, ready: Callable[[], bool]) -> Step | None:
    """The kept program of this name, or None if it is not there, not intact, or not certainly this user's.

    A program that is there is loaded if what it calls is `ready`.
    """
    library, about = _files(name)
    try:
        if not _is_ours(library.parent):
            return None
        content = read_json(about, {"form": dict, "sha256": str})
        form = Form(**content["form"])
        whole = content["sha256"] == _sum(read_whole(library, BINARY), form)
        return as_step(library_call(library), form) if whole and ready() else None
    except (OSError, ValueError, TypeError, AttributeError, ImportError):
        return None


def keep(name: str, library: Path, form: Form) -> None:
    """Keep a program. The checksum is written last, so that a crash leaves none. A full disk keeps none."""
    folder = _folder()
    with suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        content = library.read_bytes()
        kept, about = _files(name)
        text = json.dumps({"form": form._asdict(), "sha256": _sum(content, form)})
        with alone(kept):
            for path, part in ((kept, content), (about, text.encode())):
                write_whole(path, part)
        for old in sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime)[:-MOST]:
            forget(old.stem)


def forget(name: str) -> None:
    """Remove a kept program."""
    for path in reversed(_files(name)):
        path.unlink(missing_ok=True)


def _folder() -> Path:
    return cache_folder() / "programs"


def _files(name: str) -> tuple[Path, Path]:
    return _folder() / f"{name}.so", _folder() / f"{name}.json"


def _sum(library: bytes, form: Form) -> str:
    return hashlib.sha256(library + json.dumps(form).encode()).hexdigest()


def _is_ours(folder: Path) -> bool:
    """Whether only this user can write to a folder: what is loaded from there runs with the user's rights."""
    about = folder.lstat()
    return not hasattr(os, "geteuid") or (about.st_uid == os.geteuid() and not about.st_mode & 0o022)


@cache
def _package() -> str:
    """A hash of the text of this package."""
    root = Path(__file__).parents[2]
    sources = (path for path in sorted(root.rglob("*")) if path.suffix in (".py", ".cpp"))
    return _hash(
        part for path in sources for part in (str(path.relative_to(root)).encode(), path.read_bytes())
    )


@cache
def _processor() -> str:
    """What the processor can do: programs are compiled for it alone."""
    try:
        flags = re.search(r"^(flags|Features)\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        flags = None
    return flags[2].strip() if flags else platform.processor()


def _hash(parts: Iterable[bytes]) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(len(part).to_bytes(8, "big") + part)
    return whole.hexdigest()
