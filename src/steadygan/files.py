"""Writing a file whole or not at all, and where files that can be made again are kept."""

import os
from pathlib import Path

__all__ = ["cache_folder", "write_whole"]


def write_whole(path: Path, text: str) -> None:
    """Write `text` to a temporary name beside `path` and rename it: a reader sees the old file or the new one.

    Raises OSError when it cannot; the file is then as before.
    """
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    os.replace(partial, path)


def cache_folder() -> Path:
    """The user's folder for what can be made again: $STEADYGAN_CACHE, else steadygan in $XDG_CACHE_HOME or ~/.cache."""
    named = os.environ.get("STEADYGAN_CACHE")
    return Path(named or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "steadygan").expanduser()
