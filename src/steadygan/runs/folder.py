"""A run's folder: create it, lock it against other processes, and read its configuration and checkpoints."""

import fcntl
import itertools
import os
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from steadygan import config
from steadygan.build import NOTHING, Own, Run, build
from steadygan.config import Config
from steadygan.data.streams import Place
from steadygan.errors import UsageError, command_line
from steadygan.files import fits, make_folder, sync
from steadygan.game import State
from steadygan.game.state import member as one_member
from steadygan.recipes.catalogue import run_below
from steadygan.runs.identity import (
    IDENTITY,
    ORIGIN,
    OWN,
    Runs,
    beginning,
    check_own,
    fit_settings,
    known_runs,
    origin_of,
    own_of,
    runs_of,
)
from steadygan.training import checkpoint
from steadygan.training.loop import lost_members

__all__ = [
    "BOARD",
    "CHECKPOINTS",
    "CONFIG",
    "EVALUATION",
    "EVENTS",
    "SAMPLES",
    "Note",
    "check_free",
    "check_members",
    "claimed",
    "fresh_folder",
    "last_good",
    "locked",
    "member_of",
    "opened",
    "ownership",
    "plain_settings",
    "read_config",
    "restore",
    "restore_member",
    "runs_in",
    "stream_places",
    "tidied",
]

Note = Callable[[str], None]
CONFIG, EVENTS, CHECKPOINTS, SAMPLES = "config.yaml", "events.jsonl", "checkpoints", "samples"
EVALUATION, BOARD = "evaluation.json", "tensorboard"


def fresh_folder(name: str) -> Path:
    """Create runs/NAME, or the first of runs/NAME-2, runs/NAME-3, ... that does not exist, and return it."""
    for number in itertools.count(1):
        folder = Path("runs") / (name if number == 1 else f"{name}-{number}")
        try:
            make_folder(folder.parent)
            folder.mkdir()
            sync(folder.parent)
        except FileExistsError:
            continue
        except OSError as error:
            raise UsageError(f"cannot write to {folder} ({error.strerror}): choose an --out") from None
        return folder
    raise AssertionError("there is always a next number")


def drop_empty(folder: Path) -> None:
    """Remove the folder of a run that did not start, and the one around it, if they are empty."""
    for path in (folder, folder.parent):
        with suppress(OSError):
            path.rmdir()


_UNBEGUN = "the run in {0} was stopped before its first step and has nothing to resume: train it again, with --out {0}"
_BEGINNINGS = {CHECKPOINTS, IDENTITY, ORIGIN, OWN}
"""What a run writes before its configuration, and the text of a file of the user's own."""


def unbegun(folder: Path) -> bool:
    """Whether a folder has only what a run writes before its configuration: nothing of anybody else may be lost."""
    if not folder.is_dir():
        return False
    found = list(folder.iterdir())
    return any(not _is_text(path) for path in found) and all(map(_is_beginning, found))


def _is_text(path: Path) -> bool:
    return path.suffix == ".py" or path.match(".*.py*.partial")


def _is_beginning(path: Path) -> bool:
    """Whether this is a file that a run writes before its configuration, or the folder of its first checkpoint."""
    folder, first = path.parent, checkpoint.name(0)
    if path.name == CHECKPOINTS:
        whole = path.is_dir() and not path.is_symlink()
        return whole and all(p.name == first or p.name.startswith(f".{first}.") for p in path.iterdir())
    if not path.is_file() or _is_text(path):
        return path.is_file()
    known: dict[str, Callable[[Path], object]] = {IDENTITY: known_runs, ORIGIN: origin_of, OWN: own_of}
    if path.name in known:
        return bool(known[path.name](folder))
    return any(path.match(f".{name}*.partial") for name in (CONFIG, *_BEGINNINGS))


def check_free(folder: Path) -> None:
    """Raise UsageError if a new run cannot take this folder, because something is there."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: choose another --out")
    if not folder.exists() or not any(folder.iterdir()) or unbegun(folder):
        return
    if (folder / CONFIG).exists():
        raise UsageError(
            f"{folder} is not empty: continue its run with {command_line('resume', folder)}, or choose another --out"
        )
    raise UsageError(f"{folder} is not empty, and it is no run folder (no {CONFIG}): choose another --out")


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Create and lock the folder of a new run, without what one has left there that was stopped before its first step.

    Raises UsageError if something else is there, if it cannot be written, or if another process has it.
    """
    check_free(folder)
    try:
        make_folder(folder)
    except OSError as error:
        raise UsageError(f"cannot write to {folder} ({error.strerror}): choose another --out") from None
    with locked(folder):
        check_free(folder)  # again, because another process may have had the lock
        for left in folder.iterdir():
            if left.is_dir():
                shutil.rmtree(left)
            elif left.suffix != ".py":
                left.unlink()
        yield


def tidied(folder: Path) -> None:
    """Remove what a killed process left in a run folder that this one has locked."""
    for name in (
        CONFIG,
        EVENTS,
        EVALUATION,
        *_BEGINNINGS,
    ):  # not what another command may be writing, as a report
        for left in folder.glob(f".{name}*.partial"):
            left.unlink(missing_ok=True)
    checkpoint.clear(folder / CHECKPOINTS)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a run folder, so that no other process writes to it. Raises UsageError if it is locked."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"another process is training in {folder}: wait for it to end, or choose another folder"
            ) from None
        yield
    finally:
        os.close(handle)


def plain_settings(settings: Config) -> dict[str, Any]:
    """A configuration as plain data, as config.yaml has it."""
    return config.in_steps(settings).model_dump(mode="json")


def runs_in(folder: Path) -> Runs:
    """The runs of a folder. Where run.json is lost, those of its newest checkpoint with the settings of config.yaml."""
    if found := known_runs(folder):
        return found
    told = []
    for path in reversed(checkpoint.checkpoints(folder / CHECKPOINTS)):
        with suppress(UsageError):
            told.append(runs_of(checkpoint.meta(path)))
    if not any(told):
        return ()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on keys with an old name
        settings = config.parse(read_config(folder), str(folder / CONFIG))
    raw, begun = plain_settings(settings), beginning(folder)
    return next((runs for runs in told if fit_settings(runs, raw, begun)), ())


def ownership(folder: Path) -> checkpoint.Check:
    """The check that a checkpoint belongs to a folder."""
    return partial(check_own, runs=runs_in(folder))


def restore(folder: Path, run: Run, note: Note, step: int | None = None) -> State:
    """Load the newest complete checkpoint of a run folder, or that of `step`.

    Swept values are those of the configuration. Raises UsageError if there is no such checkpoint.
    """
    if step is None:
        state = checkpoint.load_newest(folder / CHECKPOINTS, run.state, note, ownership(folder))
        _compare_seeds(folder, run, state, note)
    else:
        state = checkpoint.load(_checkpoint(folder, step), run.state, ownership(folder))
    swept = {path: run.state.scalars[path] for path in run.members[0] if path != "seed"}
    return state._replace(scalars={**state.scalars, **swept})


def _compare_seeds(folder: Path, run: Run, state: State, note: Note) -> None:
    """Note where a checkpoint was saved with other seeds than the settings have: config.yaml may be another run's."""
    path = folder / CHECKPOINTS / checkpoint.name(int(state.scalars["step"].flatten()[0]))
    told: Any = None
    with suppress(UsageError):  # the run that trains may have removed it meanwhile
        told = checkpoint.meta(path).get("members")
    now = [int(member["seed"]) for member in run.members]
    if fits(told, [{"seed": int}]) and (before := [member["seed"] for member in told]) != now:
        note(
            f"{path} was saved with {_seeds(before)}, and the settings have {_seeds(now)}: the latter is used"
        )


def _seeds(found: list[int]) -> str:
    return f"seed {found[0]}" if len(found) == 1 else f"seeds {', '.join(map(str, found))}"


def stream_places(folder: Path, step: int) -> list[Place]:
    """Where the streams of a run were at the checkpoint of a step, as far as it says so."""
    found = checkpoint.meta(folder / CHECKPOINTS / checkpoint.name(step)).get("stream")
    try:
        return [
            Place(int(number), int(epoch), int(began), state, str(seen))
            for number, epoch, began, state, seen in found or ()
        ]
    except (TypeError, ValueError):
        return []  # then the stream is read from its beginning


def restore_member(
    folder: Path, run: Run, member: int, note: Note, step: int | None = None
) -> tuple[State, int]:
    """Load one member's state at a checkpoint, with the shapes of a single run, and its seed.

    A member that has diverged comes from the newest checkpoint in which it is finite, with a note, unless `step` is
    given. Raises UsageError if there is no such member or checkpoint.
    """
    check_members(run, [member])
    state = restore(folder, run, note, step)
    if step is None and run.ensemble and member in lost_members(state):
        good = last_good(folder, run, state, member, note)
        if good is None:
            raise UsageError(
                f"member {member} of {folder} has diverged, and no checkpoint from before is left: choose another "
                "member"
            )
        state, name = good, checkpoint.name(int(good.scalars["step"][0]))
        note(f"member {member} has diverged: this is its last good state, of {name}")
    return member_of(run, state, member)


def check_members(run: Run, members: Iterable[int]) -> None:
    """Raise UsageError for a member that the run does not have."""
    count = len(run.members)
    for member in members:
        if not 0 <= member < count:
            raise UsageError(
                f"member {member} does not exist: this run has {count}, so choose 0 to {count - 1}"
                if count > 1
                else f"member {member} does not exist: this run is not an ensemble, so leave out --member"
            )


def member_of(run: Run, state: State, member: int) -> tuple[State, int]:
    """One member's part of a run's state, with the shapes of a single run, and its seed."""
    return one_member(state, member if run.ensemble else None), int(run.members[member]["seed"])


def last_good(folder: Path, run: Run, state: State, member: int, note: Note) -> State | None:
    """The newest state before `state` in which a member is finite, or None. `note` gets a sentence on damaged ones."""
    for path in reversed(checkpoint.checkpoints(folder / CHECKPOINTS)):
        step = int(path.name[5:])
        if step >= int(state.scalars["step"].flatten()[0]):
            continue
        try:
            found = restore(folder, run, note, step)
        except UsageError as error:
            note(str(error))
            continue
        if member not in lost_members(found):
            return found
    return None


def _checkpoint(folder: Path, step: int) -> Path:
    path = folder / CHECKPOINTS / checkpoint.name(step)
    if not path.is_dir():
        steps = [str(int(p.name[5:])) for p in checkpoint.checkpoints(folder / CHECKPOINTS)]
        raise UsageError(
            f"{folder} has no checkpoint of step {step}: choose one of {', '.join(steps)}"
            if steps
            else f"{folder} has no checkpoint yet: train longer, or name another run folder"
        )
    return path


def read_config(folder: Path) -> dict:
    """Read a run folder's configuration as plain data. Raises UsageError if it is not a run folder."""
    if unbegun(folder):
        raise UsageError(_UNBEGUN.format(folder))
    if not (folder / CONFIG).is_file():
        found = run_below(folder)
        name = f"a run folder in it, such as {found}" if found else "a folder made by steadygan train"
        raise UsageError(f"{folder} is not a run folder (no {CONFIG}): name {name}")
    return config.of_a_run(config.load(folder / CONFIG))


def opened(folder: Path, root: Path | None = None, own: Own = NOTHING) -> tuple[Config, Run]:
    """Read a run folder's configuration and build what it names, with the data in `root` if given.

    `own` has the objects for which the configuration says `own`.

    Raises UsageError if it is not a run folder.
    """
    settings = config.parse(config.with_root(read_config(folder), root), str(folder / CONFIG))
    return settings, build(settings, own)
