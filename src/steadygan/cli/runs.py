"""The command `steadygan runs`: its help texts and options. `steadygan.commands.runs` does the work."""

from pathlib import Path
from typing import Annotated

import typer

from steadygan.cli.analysis import console
from steadygan.errors import UsageError

__all__ = ["runs"]


def runs(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="DIR", help="Folders that hold run folders, or run folders. Default: runs."),
    ] = None,
    state: Annotated[
        list[str] | None,
        typer.Option(
            help="Only runs that are running, finished, stopped, failed or damaged. Can be repeated."
        ),
    ] = None,
    clean: Annotated[
        bool,
        typer.Option("--clean", help="Remove the listed runs, after a question. Runs that train now stay."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --clean: remove them without a question.")] = False,
) -> None:
    """List run folders with step, state, diagnosis, best score and size.

    A stopped run can be resumed. A failed one diverged, or a verdict in stop_on ended it.
    --clean needs a selection: --state, or named run folders.
    """
    from steadygan.commands import runs as command

    if yes and not clean:
        raise UsageError("--yes belongs to --clean: add it, or leave --yes out")
    if clean and not state:
        command.check_selected(folders or [])
    found = command.print_runs(folders or [Path("runs")], state or [], console)
    if clean and found:
        command.clean(found, console, None if yes else _agreed)


def _agreed(question: str) -> bool:
    """Whether the user says yes; no answer is a no."""
    try:
        return typer.confirm(question)
    except typer.Abort:
        return False
