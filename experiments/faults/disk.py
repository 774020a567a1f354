"""Full disks: no room from one change of a run's folder on, then room again. The end must be that of a run in peace."""

import errno
import os
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from experiments.faults import moments, runs
from experiments.faults.commands import call, judged
from experiments.faults.kills import Peace, following, in_peace
from experiments.faults.trials import Outcome

__all__ = ["full_disk"]


def full_disk(name: str, chance: Random, count: int | None, folder: Path) -> Iterator[Outcome]:
    """Let the disk be full at each change of a run's folder, or at `count` of them, and resume with room.

    It is full in two ways: the system refuses to make or open a file, or it takes only part of what is written.
    """
    peace = in_peace(name, folder)
    every = [(number, how) for number in range(peace.changes) for how in (refuse, shorten)]
    for number, how in chance.sample(every, len(every))[:count]:
        yield _tried(peace, number, how, folder)


def _tried(peace: Peace, number: int, how: Callable[[], None], folder: Path) -> Outcome:
    run = folder / "run"
    shutil.rmtree(run, ignore_errors=True)
    first = moments.at(run, number, how, moments.Counter())
    ended = call(following(peace, run), folder / "log", first)
    # A run may have nothing to write any more, or write it in what room there is.
    fell = judged(ended, (0, 2)) or _said(ended.code, ended.err)
    last = call(following(peace, run), folder / "log")
    fell = fell or judged(last, (0,)) or runs.differ(peace.held, runs.held(run))
    where = f"{how.__name__} at change {number}: "
    return Outcome(f"{where}{fell}" if fell else "", max(ended.seconds, last.seconds))


def _said(code: int | None, err: str) -> str:
    """A disk that is full is what the sentence says."""
    full = (os.strerror(errno.ENOSPC), os.strerror(errno.EFBIG))
    return "" if code == 0 or any(words in err for words in full) else f"says {err.strip()[-200:]}"


def refuse() -> None:
    """From now on no file is opened for writing, and no folder made; what was about to be done fails too."""
    sys.addaudithook(_refuse)
    raise _full("the run")


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "os.mkdir" or (event == "open" and arguments[2] & moments.WRITES):
        raise _full(arguments[0])


def _full(path: Any) -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


def shorten() -> None:
    """From now on a file takes 100 bytes and no more, as the last block of a disk may."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
