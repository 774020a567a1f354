"""The command `steadygan runs`: a line for each run folder, and the removal of those that are selected."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.console import Console

from steadygan.commands.data import size_text
from steadygan.errors import UsageError, nearest, printable
from steadygan.progress import report
from steadygan.runs.overview import STATES, Overview, is_run, overview, remove, run_folders

__all__ = ["check_selected", "clean", "print_runs"]

HEADS = ("run", "recipe", "step", "state", "diagnosis", "best score", "size")

NAMED = 5
"""The most names of other files in a run folder that are printed."""


def print_runs(places: Sequence[Path], states: Sequence[str], console: Console) -> list[Overview]:
    """Print a line for each run folder at these places, of those in one of `states` if any are given; return them.

    Raises UsageError for a state that is none, and where there is no run.
    """
    for state in states:
        if state not in STATES:
            raise UsageError(f"--state {state!r} is none of the states: {nearest(state, STATES)}")
    every = [folder for place in places for folder in run_folders(place)]
    folders = {(folder.resolve(), folder.is_symlink()): folder for folder in every}.values()
    where = ", ".join(map(str, places))
    if not folders:
        raise UsageError(f"there is no run in {where}: name another folder, or train one")
    found = [run for run in _overviews(list(folders)) if run.state in (states or STATES)]
    lines = _lines(found) if found else [f"no run in {where} is {' or '.join(states)}"]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return found


def _overviews(folders: Sequence[Path]) -> Iterator[Overview]:
    for count, folder in enumerate(folders, 1):
        yield overview(folder)
        report("reading runs", count, len(folders), "runs")


def check_selected(places: Sequence[Path]) -> None:
    """Raise UsageError unless these are run folders themselves: all below a folder is no selection."""
    wrong = next((f"{place} is no run folder" for place in places if not is_run(place)), "")
    if wrong or not places:
        raise UsageError(
            f"--clean needs a selection{': ' if wrong else ''}{wrong}: add --state, as in --state failed, or name each "
            "run folder to remove"
        )


def clean(found: Sequence[Overview], console: Console, agreed: Callable[[str], bool] | None) -> None:
    """Say which of these runs would be removed, ask `agreed` (None: do not ask), and remove them.

    Runs that train now stay. A run that has changed meanwhile stays too, with a note. Raises UsageError where nothing
    is removed.
    """
    chosen = [run for run in found if run.state != "running"]
    if not chosen:
        raise UsageError("all of these runs train now: nothing is removed")
    _print(console, "")
    for run in chosen:
        more = f"; {_named(run.others)} {'stays' if len(run.others) == 1 else 'stay'}" if run.others else ""
        _print(console, f"to remove: {run.folder} ({size_text(run.bytes)}{more})")
    runs = "1 run" if len(chosen) == 1 else f"{len(chosen)} runs"
    freed = size_text(sum(run.bytes for run in chosen))
    if agreed and not agreed(f"Remove {runs} and free {freed}?"):
        raise UsageError("nothing was removed: confirm, or add --yes")
    removed = [run for run in chosen if _removed(run, console)]
    if not removed:
        raise UsageError(f"removed none of {runs}: do what the notes above say")
    _print(console, f"removed {len(removed)} of {runs}, {size_text(sum(run.bytes for run in removed))}")


def _removed(run: Overview, console: Console) -> bool:
    try:
        remove(run)
        return True
    except UsageError as error:
        _print(console, f"note: {error}")
    except OSError as error:
        _print(console, f"note: {run.folder} cannot be removed whole ({error.strerror})")
    return False


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"


def _lines(found: Sequence[Overview]) -> list[str]:
    """A table of the runs, in columns of text."""
    rows = [HEADS, *map(_cells, found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADS))]
    lines = [
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return [lines[0], *(f"{line}  {run.note}".rstrip() for line, run in zip(lines[1:], found, strict=True))]


def _cells(run: Overview) -> tuple[str, ...]:
    step = f"{run.step:,} of {run.steps:,}" if run.steps else f"{run.step:,}"
    return (
        printable(str(run.folder)),
        printable(run.recipe),
        step,
        run.state,
        run.verdict,
        run.score,
        size_text(run.bytes),
    )


def _print(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
