"""Atomic writing of files, and the folder of cached files."""

import os
from pathlib import Path

__all__ = ["cache_folder", "user_path", "write_whole"]


def write_whole(path: Path, content: str | bytes) -> None:
    """Write bytes, or text as UTF-8, to a temporary name beside `path` and rename it.

    A reader sees the old file or the new one. Raises OSError when it cannot write; the file is then as
    before.
    """
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content.encode() if isinstance(content, str) else content)
    os.replace(partial, path)


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
