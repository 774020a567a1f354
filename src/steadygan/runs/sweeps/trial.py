"""One run of a sweep: started or resumed in its folder, with its end in words. And all runs, one after the other."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from steadygan import config
from steadygan.errors import UsageError, said
from steadygan.runs import train as runs
from steadygan.runs.folder import CONFIG
from steadygan.runs.sweeps.record import FAILED, Sweep, run_name
from steadygan.training.events import Event, StoppedByDiagnosis

__all__ = ["DONE", "one_after_another", "train_run"]

DONE = "done"
"""The state of a run that went to its end."""


def train_run(
    folder: Path,
    raw: dict[str, Any],
    console: Console,
    sinks: Sequence[Callable[[Event], None]] = (),
) -> str:
    """Train a run to its end, from its newest checkpoint where it has begun. Returns its state in words.

    Nothing that goes wrong in a run is raised: the sweep goes on.
    """
    try:
        ended = _trained(folder, raw, console, sinks)
    except UsageError as error:
        return f"{FAILED}: {' '.join(str(error).split())}"
    except Exception as error:  # a run that does not fit the machine, for example
        return f"{FAILED}: {said(error)}"
    if isinstance(ended, StoppedByDiagnosis):
        return f"stopped early: {ended.verdict.name.replace('_', ' ')}"
    return DONE


def _trained(folder: Path, raw: dict[str, Any], console: Console, sinks: Any) -> Any:
    if (folder / CONFIG).is_file():
        return runs.resume(folder, [], console, sinks=sinks)
    return runs.start(config.parse(raw), folder, console, sinks=sinks)


def one_after_another(
    folder: Path, sweep: Sweep, todo: Sequence[int], done: Callable[[int, str], None], console: Console
) -> None:
    """Train the runs of these numbers in this process, each to its end. `done` gets its number and its state."""
    for number in todo:
        what = f"an ensemble of {len(sweep.points)}" if sweep.one else f"one of {len(sweep.runs)} runs"
        console.print(f"{run_name(number)}: {what}", markup=False, highlight=False)
        done(number, train_run(folder / run_name(number), sweep.runs[number], console))
