"""The commands `steadygan report` and `steadygan watch`: their help texts and options."""

from pathlib import Path
from typing import Annotated

import typer

from steadygan.cli.analysis import console
from steadygan.errors import UsageError

__all__ = ["report", "watch"]

Folders = Annotated[
    list[Path], typer.Argument(metavar="DIR|FILE", help="Run folders, or files of a Monitor.")
]


def report(
    folders: Folders,
    out: Annotated[Path, typer.Option(help="Output page.")] = Path("report.html"),
) -> None:
    """Write one HTML page on one or more runs: verdicts, scores, curves, samples.

    The page is self-contained: it needs no network and no other file.
    """
    from steadygan.report import report as page_on

    text = page_on(*folders)
    try:
        text.save(out)
    except OSError as error:
        raise UsageError(f"cannot write {out} ({error.strerror}): choose another --out") from None
    size = f"{len(text.encode()) / 1e6:.1f} MB"
    console.print(f"report: {out} ({size}, opens in any browser)", soft_wrap=True, markup=False)


def watch(
    folders: Folders,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port. 0 takes any free port.")] = 0,
    every: Annotated[int, typer.Option(min=1, help="Seconds between two updates.")] = 3,
) -> None:
    """Serve a live report of running or finished runs on this machine.

    The page is updated while the runs train. Only this machine can open it.
    """
    from steadygan.report.run_summary import Reader
    from steadygan.report.watch import serve

    serve([Reader(folder) for folder in folders], port, every, console)
