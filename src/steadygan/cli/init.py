"""The command `steadygan init`: its help texts. `steadygan.commands.init` does the work."""

from pathlib import Path
from typing import Annotated

import typer

from steadygan.cli.analysis import console

__all__ = ["init"]


def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Python file to create.")] = Path("my_gan.py"),
) -> None:
    """Write a commented Python file to start your own networks from.

    It runs as it is. An existing file is never overwritten.
    """
    from steadygan.commands.init import write_starting_file

    write_starting_file(file, console)
