"""What a command has made: the file that it writes, or what it prints. Whether a damaged file could be a whole one."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load

from experiments.faults.commands import Ended
from steadygan.files import read_whole

__all__ = ["Result", "alike", "result"]

NOTE = "note: "
"""How a line begins that says what was passed over."""


class Result(NamedTuple):
    """A digest of what a command has made, its exit code among it, and its notes."""

    made: str
    notes: frozenset[str]


def result(ended: Ended, file: Path | None = None) -> Result:
    """What a command has made: its `file`, or else what it printed without the notes.

    >>> result(Ended(0, "note: one is left out\\nfid 3\\n", "", 0.1)).notes
    frozenset({'note: one is left out'})
    """
    lines = (ended.out + ended.err).splitlines()
    notes = frozenset(line for line in lines if line.startswith(NOTE))
    if file is None:
        content = "\n".join(line for line in ended.out.splitlines() if line not in notes).encode()
    else:
        content = file.read_bytes() if file.is_file() else b""
    return Result(hashlib.sha256(f"{ended.code} ".encode() + content).hexdigest(), notes)


def alike(before: bytes, file: Path) -> bool:
    """Whether a file that has no checksum could be a whole one, with other values than `before`.

    It is then still JSON, or has arrays of the same names and sizes. A last line without an end is being written.
    """
    try:
        content = read_whole(file)
        if file.suffix == ".json":
            return isinstance(json.loads(content), dict)
        if file.suffix == ".jsonl":
            return all(isinstance(json.loads(line), dict) for line in content.split(b"\n")[:-1])
        return len(before) == len(content) and _sizes(file.suffix, before) == _sizes(file.suffix, content)
    except (ValueError, EOFError, RecursionError, SafetensorError):
        return False


def _sizes(suffix: str, content: bytes) -> set[tuple[str, Any, Any]]:
    arrays = {"": np.load(io.BytesIO(content))} if suffix == ".npy" else load(content)
    return {(name, array.shape, array.dtype) for name, array in arrays.items()}
