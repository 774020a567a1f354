"""Runs that are killed again and again: the end must be that of a run in peace, and readers must find it whole."""

import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import NamedTuple

from experiments.faults import moments, runs
from experiments.faults.commands import Child, Ended, call, fork, judged, real, wait
from experiments.faults.trials import Outcome

__all__ = ["Peace", "following", "in_peace", "kills", "pairs", "processes", "stops"]

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
QUIET = (0, 1, 2, 130, *(-number for number in SIGNALS))
"""Exit codes of a command that was killed, or had ended before."""

SLOW = 600.0
"""Seconds that a real process may take: it loads torch."""

EACH = 3
"""Kills of one run, before it is left in peace."""

MET = 1.5
"""Seconds in which two forks have met."""


class Peace(NamedTuple):
    """A run that nobody killed: the command, all that it holds, its seconds, and how often it changed its folder.

    It keeps as many checkpoints as `kept` says at most.
    """

    words: list[str]
    held: dict[str, str]
    seconds: float
    changes: int
    kept: int


def in_peace(name: str, folder: Path) -> Peace:
    """Train a recipe once."""
    words, counter = ["train", runs.recipe(name, folder)], moments.Counter()
    run, began = folder / "peace", time.perf_counter()
    ended = call([*words, "--out", str(run)], folder / "log", moments.at(run, None, str, counter))
    assert ended.code in (0, 1), ended.err
    keep = runs.RECIPES[name]["keep"]
    kept = keep["last"] + ("best" in keep) + (name == "lost")  # the last good state of a member that is lost
    found = Peace(words, runs.held(run), time.perf_counter() - began, counter.value, kept)
    shutil.rmtree(run)
    return found


def kills(name: str, chance: Random, count: int, folder: Path) -> Iterator[Outcome]:
    """Kill a run of a recipe at its changes and at random times, by each signal, until there were `count` kills."""
    peace = in_peace(name, folder)
    yield from _until(count, lambda: _killed(peace, chance, folder))


def _until(count: int, trial: Callable[[], Outcome]) -> Iterator[Outcome]:
    """Repeat a trial until there were `count` kills in all."""
    done = 0
    while done < count:
        outcome = trial()
        done += outcome.count
        yield outcome


def _killed(peace: Peace, chance: Random, folder: Path) -> Outcome:
    """One run that is killed, resumed, killed, ... and left in peace at last. A kill of what was over is none."""
    run = folder / "run"
    shutil.rmtree(run, ignore_errors=True)
    fell, slowest, count = "", 0.0, 0
    for _ in range(EACH):
        ended = _kill(following(peace, run), run, peace, chance, folder)
        slowest = max(slowest, ended.seconds)
        if ended.code in (0, 1) or not runs.differ(peace.held, runs.held(run)):
            break
        count += 1
        fell = fell or judged(ended, QUIET) or _left(folder) or _read(run, chance, folder)
    last = call(following(peace, run), folder / "log", _looking(peace, run, folder))
    fell = fell or judged(last, (0, 1)) or _left(folder) or runs.differ(peace.held, runs.held(run))
    return Outcome(fell, max(slowest, last.seconds), max(count, bool(fell)))


def _looking(peace: Peace, run: Path, folder: Path) -> Callable[[], None]:
    """What a start calls first, to write down what it has not tidied up when it goes on."""

    def look() -> None:
        left = [name for name in runs.tree(run) if "/." in f"/{name}"]
        found = sorted(path.name for path in (run / "checkpoints").glob("step-*"))
        left += found[: -peace.kept]
        (folder / "left").write_text(" ".join(left))

    (folder / "left").unlink(missing_ok=True)
    return moments.begun(run, look)


def _left(folder: Path) -> str:
    """What the last start left, if it went on at all."""
    left = (folder / "left").read_text() if (folder / "left").exists() else ""
    return f"the next start leaves {left}" if left else ""


def following(peace: Peace, run: Path) -> list[str]:
    """Resume what is a run; train what was killed before it was one."""
    return ["resume", str(run)] if (run / "config.yaml").exists() else [*peace.words, "--out", str(run)]


def _kill(words: Sequence[str], run: Path, peace: Peace, chance: Random, folder: Path) -> Ended:
    """Start a command and kill it, at one of its changes or at a random time."""
    which, looking = chance.choice(SIGNALS), _looking(peace, run, folder)
    if chance.random() < 0.7:
        number = chance.randrange(peace.changes * 2 // EACH)
        killing = moments.at(run, number, partial(_signal_self, which), moments.Counter())

        def first() -> None:
            looking()
            killing()

        return call(words, folder / "log", first)
    child = fork(words, folder / "log", looking)
    time.sleep(chance.uniform(0, peace.seconds))
    os.kill(child.pid, which)
    return wait(child)


def _read(run: Path, chance: Random, folder: Path) -> str:
    """A reader of what was left: it shows it or says in one sentence why not, and changes nothing."""
    if chance.random() < 0.7 or not run.exists():
        return ""
    before = runs.tree(run)
    words = chance.choice((["sample", "-n", "4"], ["report"], ["diagnose"]))
    more = ["--out", str(folder / "read.png")] * (words[0] in ("sample", "report"))
    ended = call([words[0], str(run), *words[1:], *more], folder / "reader")
    return judged(ended) or ("" if before == runs.tree(run) else f"{words[0]} changes the folder")


def stops(name: str, chance: Random, count: int, folder: Path) -> Iterator[Outcome]:
    """Stop a run at one of its changes, read it and try to resume it meanwhile, and let it go on."""
    peace, run = in_peace(name, folder), folder / "run"
    for _ in range(count):
        shutil.rmtree(run, ignore_errors=True)
        number = chance.randrange(peace.changes)
        first = moments.at(run, number, partial(_signal_self, signal.SIGSTOP), moments.Counter())
        child = fork([*peace.words, "--out", str(run)], folder / "log", first)
        os.waitpid(child.pid, os.WUNTRACED)
        fell = _read(run, chance, folder) or (_refused(run, folder) if (run / "config.yaml").exists() else "")
        os.kill(child.pid, signal.SIGCONT)
        ended = wait(child)
        fell = fell or judged(ended, (0, 1)) or runs.differ(peace.held, runs.held(run))
        yield Outcome(fell, ended.seconds)


def _signal_self(which: int) -> None:
    os.kill(os.getpid(), which)


def _refused(run: Path, folder: Path) -> str:
    """While another process trains in a folder, `resume` says so."""
    ended = call(["resume", str(run)], folder / "second")
    return judged(ended, (2,)) or ("" if "another process" in ended.err else f"resume says {ended.err[:200]}")


def pairs(name: str, chance: Random, count: int, folder: Path) -> Iterator[Outcome]:
    """Two processes share a run (gloo); one of them is killed at a random time, and the other one ends by itself.

    It is killed when they have met. Before that, the other one may wait ten minutes, which torchrun does not let it.
    """
    words, run = ["train", runs.recipe(name, folder)], folder / "run"
    began = time.perf_counter()
    ended = _both([*words, "--out", str(run)], folder, lambda pair: None)
    assert [each.code for each in ended] == [0, 0], [each.err for each in ended]
    seconds = time.perf_counter() - began
    peace = Peace(words, runs.held(run), seconds, 0, 0)
    yield from _until(count, lambda: _killed_pair(peace, chance, folder))


def _killed_pair(peace: Peace, chance: Random, folder: Path) -> Outcome:
    run = folder / "run"
    shutil.rmtree(run, ignore_errors=True)
    fell, slowest, count = "", 0.0, 0
    for _ in range(EACH):
        which, late = chance.randrange(2), chance.uniform(MET, max(2 * MET, peace.seconds))
        how = chance.choice((signal.SIGKILL, signal.SIGTERM))

        def kill(pair: list[Child], which: int = which, late: float = late, how: int = how) -> None:
            time.sleep(late)
            os.kill(pair[which].pid, how)

        ended = _both(following(peace, run), folder, kill)
        slowest = max(slowest, *(each.seconds for each in ended))
        if [each.code for each in ended] == [0, 0] or not runs.differ(peace.held, runs.held(run)):
            break
        count += 1
        # One of them says so, or the one that is left has done its work already.
        killed, left = (_spoken_for(ended[each], ended[1 - each]) for each in (which, 1 - which))
        fell = fell or judged(killed, QUIET, 60) or judged(left, (0, 2), 60)
    last = _both(following(peace, run), folder, lambda pair: None)
    fell = fell or judged(last[0], (0,), 60) or judged(last[1], (0,), 60)
    fell = fell or runs.differ(peace.held, runs.held(run))
    return Outcome(fell, slowest, max(count, bool(fell)))


def _spoken_for(one: Ended, other: Ended) -> Ended:
    """How a process ended, as if in peace where it is silent and the other one has said why both end."""
    return one._replace(code=0) if one.code == 2 and not one.err and other.err else one


def _both(words: Sequence[str], folder: Path, meanwhile: Callable[[list[Child]], None]) -> list[Ended]:
    """Run a command as two processes, as torchrun does."""
    port = _free_port()
    pair = [fork(words, folder / f"log-{rank}", partial(_rank, rank, port)) for rank in range(2)]
    meanwhile(pair)
    return [wait(child) for child in pair]


def _rank(rank: int, port: int) -> None:
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "GLOO_SOCKET_IFNAME": "lo",
    }


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def processes(name: str, chance: Random, count: int, folder: Path) -> Iterator[Outcome]:
    """Kill real processes of `python -m steadygan` at random times, those of torchrun among them."""
    words, run = (
        ["train", runs.recipe(name, folder), "steps=400", "every={log: 20, score: 100, checkpoint: 20}"],
        folder / "run",
    )
    ended = wait(real([*words, "--out", str(run)], folder / "log"), SLOW)
    assert ended.code == 0, ended.err
    peace = Peace(words, runs.held(run), ended.seconds, 0, 0)
    done = 0
    while done < count:
        shutil.rmtree(run, ignore_errors=True)
        fell, killed = "", 0
        for _ in range(EACH):
            how = chance.choice(SIGNALS)
            child = real(following(peace, run), folder / "log")
            time.sleep(chance.uniform(0.3, 1.0) * peace.seconds)
            os.kill(child.pid, how)
            ended = wait(child, SLOW)
            if ended.code == 0 or not runs.differ(peace.held, runs.held(run)):
                break
            killed += 1
            fell = fell or judged(ended, QUIET, 60)
        last = wait(real(following(peace, run), folder / "log"), SLOW)
        fell = fell or judged(last, (0,), 60) or runs.differ(peace.held, runs.held(run))
        done += killed
        yield Outcome(fell, last.seconds, max(killed, bool(fell)))
