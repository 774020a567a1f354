"""Commands of steadygan in processes of their own, forked from this one, in which torch is loaded already.

A real `python -m steadygan` takes seconds to load it. The fork runs the same `main`, and costs some 40 ms.
"""

import gc
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

__all__ = ["LIMIT", "Child", "Ended", "call", "fork", "judged", "load", "real", "wait"]

LIMIT = 10.0
"""Seconds that a command may take where a promise says so."""

PATIENCE = 120.0
"""Seconds after which a command is taken to hang."""


class Ended(NamedTuple):
    """How a command ended: its exit code (-N after signal N, None where it hung), its output, and its seconds.

    They are without those in which other processes had the processors, so that a busy machine is no failure.
    """

    code: int | None
    out: str
    err: str
    seconds: float


class Child(NamedTuple):
    """A command that runs: its process, the files of its output, and when it began."""

    pid: int
    out: Path
    err: Path
    began: float


def load(folder: Path) -> None:
    """Load what the commands load, by calling each once in this process; its output goes to a file in `folder`.

    What is loaded is then left to the forks as it is. To search it for garbage would copy its pages, and take 0.3 s.
    """
    run = folder / "loading"
    recipe = (
        "data: ring8\nnetworks: {name: mlp, width: 8, depth: 2}\noptimizer: {name: sgd, lr: 0.01}\nbatch: 8\n"
    )
    (folder / "loading.yaml").write_text(recipe + "steps: 2\ncompile: false\n")
    kept = os.dup(1), os.dup(2)
    with (folder / "loading.txt").open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    streams = sys.stdout, sys.stderr
    try:
        for words in (
            ["train", str(folder / "loading.yaml"), "--out", str(run)],
            ["resume", str(run)],
            ["sample", str(run), "-n", "4"],
            ["evaluate", str(run), "-n", "100"],
            ["report", str(run), "--out", str(folder / "loading.html")],
            ["diagnose", str(run)],
            ["compare", str(run), str(run)],
            ["train", str(folder / "loading.yaml"), "--dry-run"],
            # Decodes CIFAR-10, if it is there, for all other commands.
            ["train", "cifar10-dcgan-0gp", "--dry-run"],
        ):
            _main(words)
    finally:
        sys.stdout, sys.stderr = streams
        for number, handle in zip((1, 2), kept):
            os.dup2(handle, number)
            os.close(handle)
    gc.collect()
    gc.freeze()


def _main(words: Sequence[str]) -> int:
    from steadygan.cli import app

    sys.argv = ["steadygan", *words]
    try:
        app.main()
    except SystemExit as stop:
        sys.stdout.flush()
        sys.stderr.flush()
        return int(stop.code or 0)
    return 0


def fork(words: Sequence[str], log: Path, first: Callable[[], None] | None = None) -> Child:
    """Start a command in a fork of this process, in a process group of its own. `first` is called in it before.

    Its output goes to two files that begin with the name `log`.
    """
    child = Child(0, log.with_suffix(".out"), log.with_suffix(".err"), time.perf_counter())
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # else a fork could leave through this function
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        return child._replace(pid=pid)
    code = 1
    try:
        _redirect(child)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        if first:
            first()
        code = _main(words)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _leave()
    except BaseException:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        traceback.print_exc()
    finally:
        os._exit(code)


def _redirect(child: Child) -> None:
    os.setpgid(0, 0)
    for number, path in ((1, child.out), (2, child.err)):
        with path.open("wb") as file:
            os.dup2(file.fileno(), number)


def _leave() -> None:
    """What Python would do at its end and a fork leaves out: the processes of a run part, and output is written."""
    from steadygan.training import cluster

    cluster._leave()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()


def wait(child: Child, patience: float = PATIENCE) -> Ended:
    """Wait for the end of a command; kill it where it takes more seconds of its own than `patience`."""
    handle = os.pidfd_open(child.pid)
    try:
        while not (ended := select.select([handle], [], [], 1.0)[0]) and _seconds(child) < patience:
            pass
    finally:
        os.close(handle)
    seconds = _seconds(child)
    if hung := not ended:
        os.kill(child.pid, signal.SIGKILL)
    _, status = os.waitpid(child.pid, 0)
    code = None if hung else os.waitstatus_to_exitcode(status)
    return Ended(code, _text(child.out), _text(child.err), seconds)


def _seconds(child: Child) -> float:
    """The seconds since a command began, without those in which its first thread could run and others did."""
    try:
        waited = int(Path(f"/proc/{child.pid}/schedstat").read_text().split()[1]) / 1e9
    except OSError:
        waited = 0.0
    return time.perf_counter() - child.began - waited


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def call(
    words: Sequence[str], log: Path, first: Callable[[], None] | None = None, patience: float = PATIENCE
) -> Ended:
    """Run a command in a fork and wait for its end."""
    return wait(fork(words, log, first), patience)


def real(words: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> Child:
    """Start a real `python -m steadygan`."""
    out, err = log.with_suffix(".out"), log.with_suffix(".err")
    with out.open("wb") as first, err.open("wb") as second:
        process = subprocess.Popen(
            [sys.executable, "-m", "steadygan", *words],
            stdout=first,
            stderr=second,
            env={**os.environ, **(environment or {})},
        )
    return Child(process.pid, out, err, time.perf_counter())


def judged(
    ended: Ended, codes: Sequence[int] = (0, 1, 2), limit: float = LIMIT, length: int | None = None
) -> str:
    """What a command has done that it must not: "" where it ran, or was refused in one sentence, in time.

    >>> judged(Ended(2, "", "error: no such run\\n", 0.1))
    ''
    >>> judged(Ended(1, "", "Traceback (most recent call last):\\nKeyError: 3\\n", 0.1))
    'traceback: KeyError: 3'
    """
    if ended.code is None:
        return "hangs"
    text = ended.err + ended.out
    if "Traceback" in text or "Fatal Python error" in text:
        return f"traceback: {text.strip().splitlines()[-1][:200]}"
    if ended.code not in codes:
        return f"exit code {ended.code}: {text.strip()[-200:]}"
    sentences = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    if ended.code == 2 and len(sentences) != 1:
        return f"{len(sentences)} sentences at exit code 2: {text.strip()[-200:]}"
    if length and sentences and len(sentences[0].removeprefix("error: ")) > length:
        return f"a sentence of {len(sentences[0]) - 7} characters: {sentences[0][:200]}"
    return f"takes {ended.seconds:.0f} s" if ended.seconds > limit else ""
