"""Atomic writing of files, locks, bounded reading of what was written, the folder of cached files, and the memory."""

import errno
import json
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

__all__ = [
    "BINARY",
    "LARGEST",
    "alone",
    "cache_folder",
    "clear_partial",
    "fits",
    "folder_or_zip",
    "lines",
    "make_folder",
    "memory",
    "parse_json",
    "partial_of",
    "read_json",
    "read_text",
    "read_whole",
    "require_file",
    "sync",
    "user_path",
    "write_whole",
]

LARGEST = 2**24
"""Bytes of the largest file of JSON that is read, and of the longest line of events."""

BINARY = 2**30
"""Bytes of the largest file of tensors, pixels or a program that is read at once."""

DEEPEST = 64
"""Levels of the deepest JSON that is read."""


def write_whole(path: Path, content: str | bytes) -> None:
    """Write bytes, or text as UTF-8, to a temporary name beside `path` and rename it.

    A reader sees the old file or the new one, also after a power loss and where several processes of a machine write
    it. Raises OSError when it cannot write; the file is then as before.
    """
    if not path.name:  # the working directory or the root
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    partial = partial_of(path)
    try:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
        sync(partial)
        os.replace(partial, path)
    except BaseException:  # Ctrl-C too: nobody else removes what has this process's number
        partial.unlink(missing_ok=True)
        raise
    sync(path.parent)


def partial_of(path: Path) -> Path:
    """The name beside `path` under which this process writes it, before it renames it."""
    return path.with_name(f".{path.name}.{os.getpid()}.partial")


def make_folder(folder: Path) -> None:
    """Create a folder, and those above it, unless it exists. Their names are then on the disk. Raises OSError."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync(folder.parent)


def sync(path: Path) -> None:
    """Have the content of a file, or the names in a folder, written to the disk."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:
        if path.is_dir():  # one in which one may write and not read: its names cannot be forced there
            return
        raise
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def clear_partial(folder: Path) -> None:
    """Remove the temporary files in a folder that a killed process did not rename. Nobody else may be writing there."""
    for left in folder.glob(".*.partial"):
        if not left.is_dir():
            left.unlink()


@contextmanager
def alone(place: Path) -> Iterator[None]:
    """Let one process at a time make `place`. Without file locks (Windows) each process makes its own."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    path = place.with_suffix(".lock")
    while True:
        with path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                held = os.path.samestat(os.fstat(file.fileno()), path.stat())
            except FileNotFoundError:  # the previous owner of the lock removed the file
                held = False
            if held:
                try:
                    yield
                finally:
                    path.unlink(missing_ok=True)
                return


def read_whole(path: Path, most: int = LARGEST) -> bytes:
    """Return the content of an ordinary file of at most `most` bytes. Raises ValueError, which says why it cannot.

    >>> read_whole(Path("/dev/zero"))
    Traceback (most recent call last):
    ValueError: /dev/zero is not a file
    """
    try:
        require_file(path)
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from error
    if len(content) > most:
        raise ValueError(f"{path} has more than {most:,} bytes")
    return content


def require_file(path: Path) -> None:
    """Raise ValueError for a pipe, a device or a folder. A pipe would keep its reader waiting."""
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is not a file")


def read_text(path: Path, most: int = LARGEST) -> str:
    """Return the text of a file in UTF-8, as `read_whole` does its bytes."""
    try:
        return read_whole(path, most).decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8 (byte {error.start})") from None


def lines(path: Path, start: int = 0) -> Iterator[bytes]:
    """Yield the lines of a file from byte `start` on. Raises OSError.

    They end at a line of LARGEST bytes or more, which no run writes: a damaged file may have any size. What is no
    ordinary file has no lines.
    """
    if not path.is_file():
        return
    with path.open("rb") as file:
        file.seek(start)
        while len(line := file.readline(LARGEST)) not in (0, LARGEST):
            yield line


def parse_json(content: str | bytes) -> Any:
    """Return the plain data in JSON. Numbers that are not finite, and whole ones of more than 19 digits, become None.

    Raises ValueError for what is no JSON, no UTF-8, or nested more than 64 deep.

    >>> parse_json('{"a": [1, 0.5, NaN, 1e999]}')
    {'a': [1, 0.5, None, None]}
    """
    text = content.decode() if isinstance(content, bytes) else content
    try:
        found = _DECODER.decode(text)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if text.count("[") + text.count("{") > DEEPEST:
        _check_depth(found)
    return found


def _finite(digits: str) -> float | None:
    found = float(digits)
    return found if math.isfinite(found) else None


_DECODER = json.JSONDecoder(
    parse_float=_finite,
    parse_int=lambda digits: int(digits) if len(digits) < 20 else None,
    parse_constant=lambda name: None,
)


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(DEEPEST):
        level = [part for each in level for part in _parts(each)]
    if level:
        raise ValueError("nested too deep")


def _parts(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def read_json(path: Path, shape: Any = object) -> Any:
    """Return the content of a file of JSON, which `fits` the shape. Raises ValueError, which says why it cannot."""
    content = read_whole(path)
    try:
        found = parse_json(content)
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error})") from error
    if not fits(found, shape):
        raise ValueError(f"{path} is damaged: its contents are not what steadygan writes")
    return found


def fits(value: Any, shape: Any) -> bool:
    """Whether plain data has a shape: a type or a union of types, [shape] for a list, or a dict of required fields.

    True is no int, and a dict may have more fields than the shape.

    >>> fits({"step": 3, "more": 1}, {"step": int}), fits([1, None], [int | None]), fits({}, {"step": int})
    (True, True, False)
    """
    if isinstance(shape, dict):
        return isinstance(value, dict) and all(
            key in value and fits(value[key], part) for key, part in shape.items()
        )
    if isinstance(shape, list):
        return isinstance(value, list) and all(fits(each, shape[0]) for each in value)
    return shape is object or type(value) in (get_args(shape) or (shape,))


def user_path(named: str | Path) -> Path:
    """Return a path as a user names it, with ~ and ~somebody expanded to homes; unchanged where there is no such home.

    >>> user_path("~nobody.here/images").as_posix()
    '~nobody.here/images'
    """
    return Path(os.path.expanduser(named))  # pathlib's own raises


def folder_or_zip(named: str) -> bool:
    """Whether a folder or a zip is there under this name. A name that no file can have is none.

    >>> folder_or_zip("/"), folder_or_zip(9999 * "a")
    (True, False)
    """
    path = str(user_path(named))
    return os.path.isdir(path) or (path.lower().endswith(".zip") and os.path.isfile(path))


def memory() -> float:
    """Return this machine's memory in bytes, or infinity where it is unknown."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return math.inf


def cache_folder() -> Path:
    """Return the user's folder for cached files.

    It is $STEADYGAN_CACHE, else steadygan in $XDG_CACHE_HOME or ~/.cache.
    """
    named = os.environ.get("STEADYGAN_CACHE")
    return user_path(named or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "steadygan")
