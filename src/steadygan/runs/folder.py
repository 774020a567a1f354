"""A run's folder: made, held against other processes, opened, and its checkpoints read."""

import fcntl
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from steadygan import config
from steadygan.build import Run, build
from steadygan.config import Config
from steadygan.errors import UsageError
from steadygan.game import State
from steadygan.game.state import member as one_member
from steadygan.training import checkpoint

__all__ = [
    "BOARD",
    "CHECKPOINTS",
    "CONFIG",
    "EVALUATION",
    "EVENTS",
    "SAMPLES",
    "Note",
    "claim",
    "fresh_folder",
    "locked",
    "opened",
    "read_config",
    "restore",
    "restore_member",
]

Note = Callable[[str], None]
CONFIG, EVENTS, CHECKPOINTS, SAMPLES = "config.yaml", "events.jsonl", "checkpoints", "samples"
EVALUATION, BOARD = "evaluation.json", "tensorboard"


def fresh_folder(name: str) -> Path:
    """Make runs/NAME, or the first runs/NAME-2, runs/NAME-3, ... that nobody has, and return it, empty."""
    for number in itertools.count(1):
        folder = Path("runs") / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise UsageError(f"cannot write to {folder} ({error.strerror}): choose an --out") from None
        return folder
    raise AssertionError("there is always a next number")


def claim(folder: Path) -> None:
    """Make a folder for a new run. Raises UsageError where it is not empty, or cannot be written."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: choose another --out")
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(
            f"{folder} is not empty: steadygan resume {folder} goes on with a run, or choose another --out"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {folder} ({error.strerror}): choose another --out") from None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run folder against other processes that would write to it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise UsageError(
            f"another process is training in {folder}: wait for it, or choose another folder"
        ) from None
    finally:
        os.close(handle)


def restore(folder: Path, run: Run, note: Note, step: int | None = None) -> State:
    """The newest whole checkpoint of a run folder, or that of `step`, with the configuration's swept values."""
    if step is None:
        state = checkpoint.load_newest(folder / CHECKPOINTS, run.state, note)
    else:
        state = checkpoint.load(_checkpoint(folder, step), run.state)
    swept = {path: run.state.scalars[path] for path in run.members[0] if path != "seed"}
    return state._replace(scalars={**state.scalars, **swept})


def restore_member(
    folder: Path, run: Run, member: int, note: Note, step: int | None = None
) -> tuple[State, int]:
    """One member's state at a checkpoint, as a single run's, and its seed. Raises UsageError if there is none."""
    if not 0 <= member < len(run.members):
        raise UsageError(
            f"member {member} is not among this run's {len(run.members)}: choose 0 to {len(run.members) - 1}"
        )
    state = one_member(restore(folder, run, note, step), member if run.ensemble else None)
    return state, int(run.members[member]["seed"])


def _checkpoint(folder: Path, step: int) -> Path:
    path = folder / CHECKPOINTS / checkpoint.name(step)
    if not path.is_dir():
        steps = [str(int(p.name[5:])) for p in checkpoint.checkpoints(folder / CHECKPOINTS)]
        raise UsageError(f"{folder} holds no checkpoint of step {step}: it has {', '.join(steps) or 'none'}")
    return path


def read_config(folder: Path) -> dict:
    """A run folder's configuration as plain data. Raises UsageError when the folder holds no run."""
    if not (folder / CONFIG).is_file():
        raise UsageError(
            f"{folder} holds no {CONFIG}, so it is no run folder: name one that steadygan train made"
        )
    return config.load(folder / CONFIG)


def opened(folder: Path, root: Path | None = None) -> tuple[Config, Run]:
    """A run folder's configuration and all that it names, its data in `root` if it is given.

    Raises UsageError when the folder holds no run.
    """
    settings = config.parse(config.with_root(read_config(folder), root), str(folder / CONFIG))
    return settings, build(settings)
