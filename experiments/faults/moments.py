"""The moments of a run at which it changes its folder, to kill it, or fill the disk, at each in turn."""

import mmap
import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["Counter", "at", "begun"]

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = {"os.rename": 2, "os.mkdir": 1, "os.rmdir": 1, "os.remove": 1, "os.truncate": 1}
"""The audit events of Python that change a folder, and how many of their arguments are paths."""


class Counter:
    """A number that this process and the ones forked from it share."""

    def __init__(self) -> None:
        """Begin at 0."""
        self.memory = mmap.mmap(-1, 8)

    def next(self) -> int:
        """The number before, and one more from now on."""
        value = self.value
        self.memory[:8] = struct.pack("q", value + 1)
        return value

    @property
    def value(self) -> int:
        """The number."""
        return int(struct.unpack("q", self.memory[:8])[0])


def at(folder: Path, number: int | None, action: Callable[[], None], counter: Counter) -> Callable[[], None]:
    """What a forked process calls first, to have `action` called before change `number` of what is in `folder`.

    Counts from 0. `counter` says how many changes there were. A change is a file opened for writing, a folder made, or
    something renamed or removed.
    """

    def install() -> None:
        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            if _changes(event, arguments, str(folder)) and counter.next() == number:
                action()

        sys.addaudithook(hook)

    return install


def begun(folder: Path, action: Callable[[], None]) -> Callable[[], None]:
    """What a forked process calls first, to have `action` called once its run has begun.

    That is before it writes the first of its checkpoints or pictures, which are in folders of its own.
    """

    def install() -> None:
        waiting = [action]

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            begins = event in ("open", "os.mkdir") and _changes(event, arguments, str(folder))
            if waiting and begins and _is_below(arguments[0], folder):
                waiting.pop()()

        sys.addaudithook(hook)

    return install


def _is_below(path: Any, folder: Path) -> bool:
    """Whether something is written in a folder of a run: it begins under a hidden name."""
    place = Path(str(path))
    return place.name.endswith(".partial") and place.parent.parent == folder


def _changes(event: str, arguments: tuple[Any, ...], folder: str) -> bool:
    """Whether an audit event is a change in the folder. `shutil.rmtree` gives names alone."""
    if event == "open":
        return bool(arguments[2] & WRITES) and str(arguments[0]).startswith(folder)
    paths = [str(part) for part in arguments[: CHANGES.get(event, 0)]]
    return any(path.startswith(folder) or "/" not in path for path in paths)
