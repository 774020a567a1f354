"""The command `steadygan init`: a commented file to start one's own networks from."""

import shlex
import sys
from pathlib import Path

from rich.console import Console

from steadygan.commands import starting_file
from steadygan.errors import UsageError
from steadygan.files import user_path, write_whole

__all__ = ["text_of", "write_starting_file"]

NAME = "my_gan"
"""The name of the file in its own text."""


def text_of(name: str) -> str:
    """The text of the starting file, with the file's name in its commands.

    >>> "--use faces.py" in text_of("faces"), "my_gan" in text_of("faces")
    (True, False)
    """
    return Path(str(starting_file.__file__)).read_text(encoding="utf-8").replace(NAME, name)


def write_starting_file(path: Path, console: Console) -> None:
    """Write the starting file and print how to train it. Raises UsageError where something is at `path` already."""
    file = user_path(path)
    if file.suffix != ".py" or not file.stem.isidentifier():
        raise UsageError(
            f"{path} cannot be the name of a Python module: use letters, digits and _, as in {NAME}.py"
        )
    if file.stem in {*sys.stdlib_module_names, "numpy", "steadygan", "torch"}:
        raise UsageError(f"{path} would hide the Python module {file.stem}: choose another name")
    if file.exists():
        raise UsageError(f"{path} is there already, and is left as it is: choose another name")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, text_of(file.stem))
    except OSError as error:
        raise UsageError(f"cannot write {path} ({error.strerror}): choose another place") from None
    for line in (
        f"{path}: a generator, a critic and data to change. Train it:",
        f"  steadygan train --use {shlex.quote(str(path))} networks.latent={starting_file.LATENT} name={file.stem}",
        f"  python {shlex.quote(str(path))}",
    ):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
