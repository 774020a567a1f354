"""Writing a file whole or not at all, and where files that can be made again are kept."""

import os
from pathlib import Path

__all__ = ["cache_folder", "user_path", "write_whole"]


def write_whole(path: Path, content: str | bytes) -> None:
    """Write bytes, or text as UTF-8, to a temporary name beside `path` and rename it.

    A reader sees the old file or the new one. Raises OSError when it cannot; the file is then as before.
    """
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content.encode() if isinstance(content, str) else content)
    os.replace(partial, path)


def user_path(named: str | Path) -> Path:
    """A path as a user names it, ~ and ~somebody for homes; where there is none of these, it stays as it is.

    >>> user_path("~nobody.here/images").as_posix()
    '~nobody.here/images'
    """
    return Path(os.path.expanduser(named))  # pathlib's own raises


def cache_folder() -> Path:
    """The user's folder for what can be made again: $STEADYGAN_CACHE, else steadygan in $XDG_CACHE_HOME or ~/.cache."""
    named = os.environ.get("STEADYGAN_CACHE")
    return user_path(named or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "steadygan")
