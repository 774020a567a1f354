"""The command `steadygan data`: its words and options; `datasets` does the work, imported when it is needed."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

__all__ = ["data"]

data = typer.Typer(
    no_args_is_help=True, help="Image sets: what is there, is it whole, and preparing it once."
)

Which = Annotated[
    str, typer.Argument(metavar="NAME|PATH", help="A set's name, or a folder or zip of images.")
]
Root = Annotated[Path | None, typer.Option("--data-root", help="Where the sets lie; else STEADYGAN_DATA.")]
Split = Annotated[
    str | None, typer.Option(help="One part of the set, or a subfolder; all parts when not given.")
]


@data.callback()
def handling() -> None:
    """Image sets: what is there, is it whole, and preparing it once."""


@data.command("info")
def info(
    which: Annotated[
        str | None, typer.Argument(metavar="[NAME|PATH]", help="All known sets when not given.")
    ] = None,
    split: Split = None,
    data_root: Root = None,
) -> None:
    """Say where a set is, how many images of what shape and classes, and which arrays are prepared of it."""
    from steadygan.commands import data as datasets

    datasets.info(which, data_root, split, Console())


@data.command("verify")
def verify(which: Which, split: Split = None, data_root: Root = None) -> None:
    """Check a set's files: checksums where known, counts, that every image decodes; exit code 2 if not."""
    from steadygan.commands import data as datasets

    datasets.verify(which, data_root, split, Console())


@data.command("prepare")
def prepare(
    which: Which,
    size: Annotated[int | None, typer.Option(help="Resize to this many pixels a side.")] = None,
    filter: Annotated[
        str | None, typer.Option(help="nearest, box, bilinear, hamming, bicubic or lanczos.")
    ] = None,
    crop: Annotated[str | None, typer.Option(help="center, or none: squeeze to a square.")] = None,
    skip_corrupt: Annotated[
        bool, typer.Option("--skip-corrupt", help="Leave out images that do not decode.")
    ] = False,
    split: Split = None,
    data_root: Root = None,
) -> None:
    """Decode a set once into an array that runs map into memory; a manifest beside it says how it was made."""
    from steadygan.commands import data as datasets

    options = {"size": size, "filter": filter, "crop": crop}
    datasets.prepare(which, data_root, split, options, skip_corrupt, Console())
