"""Atomic writing of files, reading of JSON, and the folder of cached files."""

import json
import os
from pathlib import Path
from typing import Any

__all__ = ["cache_folder", "clear_partial", "read_json", "user_path", "write_whole"]


def write_whole(path: Path, content: str | bytes) -> None:
    """Write bytes, or text as UTF-8, to a temporary name beside `path` and rename it.

    A reader sees the old file or the new one. Raises OSError when it cannot write; the file is then as
    before.
    """
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content.encode() if isinstance(content, str) else content)
    os.replace(partial, path)


def clear_partial(folder: Path) -> None:
    """Remove the temporary files in a folder that a killed process did not rename. Nobody else may be writing there."""
    for left in folder.glob(".*.partial"):
        left.unlink()


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
