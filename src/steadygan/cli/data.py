"""The command `steadygan data`: its help texts and options. `steadygan.commands.data` does the work."""

from typing import Annotated

import typer

from steadygan.cli.analysis import DataRoot, console

__all__ = ["data"]

data = typer.Typer(no_args_is_help=True)

Which = Annotated[
    str, typer.Argument(metavar="NAME|PATH", help="Name of a data set, or a folder or zip of images.")
]
Split = Annotated[
    str | None, typer.Option(help="Split of the data set, or a subfolder of images. Default: all splits.")
]


@data.callback()
def data_group() -> None:
    """Inspect, verify and preprocess image data sets."""


@data.command("info")
def info(
    which: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME|PATH",
            help="Name of a data set, or a folder or zip of images. Default: all known data sets.",
        ),
    ] = None,
    split: Split = None,
    data_root: DataRoot = None,
) -> None:
    """Show where a data set is, its images and classes, and its prepared arrays."""
    from steadygan.commands import data as datasets

    datasets.info(which, data_root, split, console)


@data.command("verify")
def verify(which: Which, split: Split = None, data_root: DataRoot = None) -> None:
    """Check a data set's files: checksums, number of images, and decoding.

    The exit code is 2 if anything is missing or damaged.
    """
    from steadygan.commands import data as datasets

    datasets.verify(which, data_root, split, console)


@data.command("prepare")
def prepare(
    which: Which,
    size: Annotated[
        int | None, typer.Option(help="Side length in pixels to resize to. Default: the data set's own.")
    ] = None,
    filter: Annotated[
        str | None,
        typer.Option(
            help="Resize filter: nearest, box, bilinear, hamming, bicubic, lanczos. Default: lanczos."
        ),
    ] = None,
    crop: Annotated[
        str | None,
        typer.Option(
            help="Crop before resizing: center, pad to add borders, or none to squeeze. Default: center."
        ),
    ] = None,
    colour: Annotated[
        str | None,
        typer.Option(help="Turn your own images to colour (rgb) or to grey. Default: as they are."),
    ] = None,
    white: Annotated[
        int | None, typer.Option(help="Value of your own 16-bit images that is white. Default: 65535.")
    ] = None,
    skip_corrupt: Annotated[
        bool,
        typer.Option(
            "--skip-corrupt", help="Leave out images that cannot be decoded. Default: stop with an error."
        ),
    ] = False,
    split: Split = None,
    data_root: DataRoot = None,
) -> None:
    """Decode a data set once into an array that runs map into memory.

    A manifest beside the array records how it was made.
    """
    from steadygan.commands import data as datasets

    options = {"size": size, "filter": filter, "crop": crop, "colour": colour, "white": white}
    datasets.prepare(which, data_root, split, options, skip_corrupt, console)
