"""The commands `steadygan report` and `steadygan watch`: their words and options; heavy imports wait until needed."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from steadygan.errors import UsageError

__all__ = ["report", "watch"]

Folders = Annotated[list[Path], typer.Argument(metavar="DIR...", help="Run folders, or files of events.")]


def report(
    folders: Folders,
    out: Annotated[Path, typer.Option(help="The page.")] = Path("report.html"),
) -> None:
    """Make one self-contained page on a run, or on several side by side: verdict, scores, curves, pictures."""
    from steadygan.files import write_whole
    from steadygan.report.page import page
    from steadygan.report.run_summary import Reader

    runs = [Reader(folder).read() for folder in folders]
    for run in runs:
        if not run.keys and not run.diverged:
            raise UsageError(
                f"{run.folder} holds no events yet: report on it when it has trained for a while"
            )
    text = page(runs)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, text)
    except OSError as error:
        raise UsageError(f"cannot write {out} ({error.strerror}): choose another --out") from None
    size = f"{len(text.encode()) / 1e6:.1f} MB"
    Console().print(f"report: {out} ({size}, opens in any browser)", soft_wrap=True, markup=False)


def watch(
    folders: Folders,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 0,
    every: Annotated[int, typer.Option(min=1, help="Seconds between two looks at the run.")] = 3,
) -> None:
    """Serve the report on this machine's loopback, and keep it up to date while the run goes on."""
    from steadygan.report.run_summary import Reader
    from steadygan.report.watch import serve

    serve([Reader(folder) for folder in folders], port, every, Console())
