"""The run folders below a folder: how far each has come, what is wrong with it, and how to remove one."""

import os
import shutil
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from steadygan import config
from steadygan.config import Config
from steadygan.diagnostics import VERDICTS, Events, Verdict, diagnose, read
from steadygan.diagnostics.history import is_score
from steadygan.errors import UsageError, short
from steadygan.files import read_json
from steadygan.runs.folder import (
    BOARD,
    CHECKPOINTS,
    CONFIG,
    EVALUATION,
    EVENTS,
    SAMPLES,
    locked,
    read_config,
    unbegun,
)
from steadygan.runs.identity import IDENTITY, ORIGIN, OWN, known_runs, own_of
from steadygan.runs.live_diagnosis import facts_of
from steadygan.runs.score_cards import SCORES
from steadygan.runs.sinks.checkpoints import best_score
from steadygan.runs.sinks.jsonl import whole
from steadygan.runs.sinks.landscapes import LANDSCAPES
from steadygan.training import checkpoint
from steadygan.training.online_scores import lower_is_better

__all__ = ["STATES", "Overview", "is_run", "overview", "remove", "run_folders"]

STATES = ("running", "finished", "stopped", "failed", "damaged")
"""What a run may be: `stopped` can be resumed, `failed` diverged or was ended by a verdict in stop_on."""

DEEPEST = 3
"""Levels of folders below the one named in which runs are looked for: a sweep's runs are two below runs/."""

WRITTEN = {
    *(CONFIG, EVENTS, EVALUATION, CHECKPOINTS, SAMPLES, LANDSCAPES, IDENTITY),
    *(BOARD, "trackers", "wandb", ORIGIN, OWN, SCORES, "looks.json"),
    *("samples.png", "spectrum.png", "spectrum.json", "report.html"),
}
"""What steadygan itself writes to a run folder."""


class Overview(NamedTuple):
    """A run in one line: its folder, recipe, last step of `steps`, state, verdict, best score, size, and a note.

    `bytes` are those of what steadygan wrote, `others` the names of what else is in the folder.
    """

    folder: Path
    recipe: str
    step: int
    steps: int
    state: str
    verdict: str
    score: str
    bytes: int
    others: list[str]
    note: str


def run_folders(place: Path, deepest: int = DEEPEST) -> Iterator[Path]:
    """Yield the run folders at a place and below it, sorted. Hidden folders and links to folders are not entered.

    Raises UsageError for a place that is no folder.
    """
    if not place.is_dir():
        raise UsageError(f"{place} is no folder: name one that holds run folders")
    if is_run(place):
        yield place
    elif deepest and _readable(place):
        for below in sorted(place.iterdir()):
            if (
                not below.name.startswith(".")
                and below.is_dir()
                and (not below.is_symlink() or is_run(below))
            ):
                yield from run_folders(below, deepest - 1)


def _readable(folder: Path) -> bool:
    return os.access(folder, os.R_OK | os.X_OK)


def is_run(folder: Path) -> bool:
    """Whether steadygan has made a folder for a run. Another program's files of these names do not count."""
    if not _readable(folder):
        return False
    if known_runs(folder):
        return True
    for path in checkpoint.checkpoints(folder / CHECKPOINTS):
        with suppress(ValueError):
            read_json(path / "meta.json", {"steadygan": str, "step": int})
            return True
    return (folder / EVENTS).is_file() and _settings(folder)[0] is not None


def overview(folder: Path) -> Overview:
    """Return how a run stands. A damaged one has a note instead of an error."""
    size, others = _bytes(folder), _others(folder)
    settings, note = _settings(folder)
    step, ending = _told(folder)
    if settings is None:
        state = "running" if _held(folder) else "stopped" if unbegun(folder) else "damaged"
        return Overview(folder, "", step, 0, state, "", "", size, others, short(note))
    try:
        events = read(folder / EVENTS, facts_of(settings))
    except UsageError:
        events = Events()  # stopped before its first line
    found = _diagnosed(events)
    if _held(folder):
        state = "running"
    elif "ill" in ending or _all_lost(events):
        state = "failed"
    else:
        state = "finished" if ending or _saved_step(folder) >= settings.steps else "stopped"
    score = _score(folder, events)
    return Overview(
        folder, settings.name, step, settings.steps, state, _verdict(found), score, size, others, ""
    )


def remove(run: Overview) -> None:
    """Remove a run that is still as `run` says, and its folder. Raises UsageError where it is not, or is a link.

    What steadygan did not write stays, and the folder with it. What names it as a run goes last: after a kill in
    between it is still listed, and can be removed again.
    """
    if run.folder.is_symlink():
        raise UsageError(f"{run.folder} is a link, and was left: remove it by hand")
    with locked(run.folder):
        if not is_run(run.folder) or _told(run.folder)[0] != run.step:
            raise UsageError(f"{run.folder} has changed meanwhile, and was left: list the runs again")
        for path in sorted(_written(run.folder), key=lambda p: (p.name == IDENTITY, p.name == CHECKPOINTS)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        if not any(run.folder.iterdir()):
            run.folder.resolve().rmdir()


def _settings(folder: Path) -> tuple[Config | None, str]:
    """The configuration of a run folder, or None with the reason."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on keys with an old name
            return config.parse(read_config(folder), str(folder / CONFIG)), ""
    except UsageError as error:
        return None, str(error)


def _held(folder: Path) -> bool:
    """Whether a process trains in a folder now. The lock is taken for a moment, and shared with others who ask."""
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _all_lost(events: Events) -> bool:
    """Whether all members of a run have diverged."""
    return len({member for line in events.diverged for member in line["diverged"]}) >= events.members


def _diagnosed(events: Events) -> list[list[Verdict]]:
    """The verdicts on each member; none of a run without a line."""
    if not events.columns and not events.diverged:
        return []
    return [diagnose(events.history(index)) for index in range(events.members)]


def _verdict(found: Sequence[list[Verdict]]) -> str:
    """The main verdict of a run; of an ensemble the number of members that have each."""
    if not found:
        return ""
    names = Counter(each[0].name for each in found)
    if len(found) == 1:
        return next(iter(names))
    return ", ".join(f"{names[name]} {name}" for name in VERDICTS if name in names)


def _score(folder: Path, events: Events) -> str:
    """The score of the best checkpoint, else the best value of the first score in the events."""
    if kept := best_score(folder / CHECKPOINTS):
        return f"{kept[0]} {kept[1]:.4g}"
    for name, (_, values) in events.columns.items():
        means = [mean for value in values if (mean := _mean(value)) is not None]
        if is_score(name) and means:
            return f"{name} {(min if lower_is_better(name) else max)(means):.4g}"
    return ""


def _mean(value: Any) -> float | None:
    numbers = [v for v in (value if isinstance(value, list) else [value]) if isinstance(v, int | float)]
    return fmean(numbers) if numbers else None


def _told(folder: Path) -> tuple[int, dict[str, Any]]:
    """The last step that a run has a checkpoint or a line of, and the line that says what ended it there, if any."""
    step, ending = _saved_step(folder), dict[str, Any]()
    for _, line in whole(folder / EVENTS):
        step = max(step, line["step"])
        ending = line if "stopped" in line else ending
    return step, ending if ending.get("step") == step else {}


def _saved_step(folder: Path) -> int:
    found = checkpoint.checkpoints(folder / CHECKPOINTS)
    return int(found[-1].name[5:]) if found else 0


def _bytes(folder: Path) -> int:
    """The size of what steadygan wrote. What another process removes meanwhile does not count."""
    total = 0
    for path in _written(folder):
        within = (os.path.join(place, name) for place, _, names in os.walk(path) for name in names)
        for name in [str(path)] if path.is_file() else within:
            with suppress(OSError):
                total += os.lstat(name).st_size
    return total


def _written(folder: Path) -> list[Path]:
    """What steadygan wrote at the top of a run folder. A file of --use belongs to the run."""
    known = {*WRITTEN, own_of(folder).get("file")}
    return [path for path in folder.iterdir() if path.name in known or path.match(".*.partial")]


def _others(folder: Path) -> list[str]:
    return sorted({path.name for path in folder.iterdir()} - {path.name for path in _written(folder)})
