"""The command that writes a run's generator for those who do not have steadygan."""

from pathlib import Path
from typing import Annotated

import typer

from steadygan.cli.analysis import OneMember, Raw, RunFolder, Use, brought, console

__all__ = ["export"]


def export(
    folder: RunFolder,
    to: Annotated[
        str,
        typer.Option(
            help="Format: safetensors (with a .py file that needs torch alone), torch-export or onnx."
        ),
    ] = "safetensors",
    out: Annotated[Path | None, typer.Option(help="File to write. Default: G in the run folder.")] = None,
    member: OneMember = 0,
    raw: Raw = False,
    use: Use = None,
) -> None:
    """Export a run's generator to a file that runs without steadygan.

    The file is run in a new process. Nothing is written if 64 samples differ from the run's by more than 1e-5.
    """
    from steadygan.runs.export import check_format
    from steadygan.runs.export import export as write

    check_format(to)  # before anything that the run folder lacks
    made = write(folder, to, out, member=member, average=not raw, use=brought(use, folder))
    names = " and ".join(str(path) for path in made.files)
    text = f"{names}: largest difference of 64 samples {made.difference:.1e}"
    console.print(text, soft_wrap=True, markup=False)
