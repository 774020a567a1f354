"""Atomic writing of files, locks, reading of JSON, and the folder of cached files."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["alone", "cache_folder", "clear_partial", "read_json", "sync", "user_path", "write_whole"]


def write_whole(path: Path, content: str | bytes) -> None:
    """Write bytes, or text as UTF-8, to a temporary name beside `path` and rename it.

    A reader sees the old file or the new one, also after a power loss. Raises OSError when it cannot write; the file
    is then as before.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
        sync(partial)
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    sync(path.parent)


def sync(path: Path) -> None:
    """Have the content of a file, or the names in a folder, written to the disk."""
    handle = os.open(path, os.O_RDONLY)
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


def read_json(path: Path) -> Any:
    """Return the content of a JSON file. Raises OSError if it cannot be read, ValueError if it is not JSON.

    A file of brackets that are nested too deep is not JSON either.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError(f"{path} is nested too deep") from None


def user_path(named: str | Path) -> Path:
    """Return a path as a user names it, with ~ and ~somebody expanded to homes; unchanged where there is no such home.

    >>> user_path("~nobody.here/images").as_posix()
    '~nobody.here/images'
    """
    return Path(os.path.expanduser(named))  # pathlib's own raises


def cache_folder() -> Path:
    """Return the user's folder for cached files.

    It is $STEADYGAN_CACHE, else steadygan in $XDG_CACHE_HOME or ~/.cache.
    """
    named = os.environ.get("STEADYGAN_CACHE")
    return user_path(named or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "steadygan")
