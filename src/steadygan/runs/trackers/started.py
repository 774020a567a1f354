"""Start the processes of a run's trackers, tell them what is new, and say once where one fails."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from steadygan.diagnostics import Verdict
from steadygan.errors import said
from steadygan.runs.folder import Note
from steadygan.runs.trackers.follower import PATIENCE, record_of
from steadygan.training.events import Diverged, Event, Progress, Scored, Statistics

__all__ = ["Judged", "followed"]

SILENT = 2.0
"""Seconds of waiting for a tracker without a word."""

Judged = Callable[[int, Sequence[Sequence[Verdict]]], None]
"""Gets the step of an evaluation, and the verdicts on each member."""


@contextmanager
def followed(
    names: Collection[str],
    folder: Path,
    members: Sequence[Mapping[str, Any]],
    *,
    drawn: type,
    first: int,
    note: Note,
) -> Iterator[tuple[Callable[[Event], None], Judged]]:
    """Inside the block each tracker follows the folder; it yields what gets the events, and what gets the verdicts.

    A tracker is a process of its own, so that training keeps its time, its random numbers and its life. It is told of
    new lines, and of a new picture at each event of the type `drawn`. `first` is the step from which the run starts or
    resumes. A tracker that cannot start, fails, or does not end within a minute, costs a note.
    """
    about = {"name": folder.resolve().name, "members": [dict(m) for m in members], "first": first}
    others: list[_Follower] = []

    def tell(message: Mapping[str, Any]) -> None:
        for other in others:
            other.tell(message)

    def sink(event: Event) -> None:
        if isinstance(event, drawn):
            tell({"picture": event.step})
        elif isinstance(event, Progress | Statistics | Scored | Diverged):
            tell({"line": event.step})

    def judged(step: int, found: Sequence[Sequence[Verdict]]) -> None:
        tell({"step": step, "verdicts": [[(v.name, _words(v)) for v in each] for each in found]})

    try:
        for name in dict.fromkeys(names):
            try:
                others.append(_Follower(name, folder, about, note))
            except OSError as error:
                note(f"the tracker {name} cannot start ({said(error)}), and the run goes on without it")
        yield sink, judged
        tell({"ended": True})
    finally:
        last = time.monotonic() + PATIENCE
        for other in others:
            other.end(last)
        for other in others:
            other.wait(last)


def _words(verdict: Verdict) -> str:
    """A verdict in a line, with its first evidence and the remedy."""
    advice = " ".join(part for part in (verdict.remedy, verdict.config and f"({verdict.config})") if part)
    name = verdict.name.replace("_", " ")
    return f"{name}: {verdict.evidence[0]}" + (f" Try: {advice}" if advice else "")


def _path() -> str:
    """Where a tracker's process imports from: as here, but no file of the working folder, such as a trackio.py."""
    here, home = Path.cwd(), Path(__file__).parents[3]
    return os.pathsep.join(each for each in sys.path if each and Path(each).resolve() not in {here} - {home})


class _Follower:
    """The process of one tracker. What its pipe does not take at once waits here, and training does not."""

    def __init__(self, name: str, folder: Path, about: Mapping[str, Any], note: Note) -> None:
        self.name, self.folder, self.note, self.left, self.told = name, folder, note, b"", False
        (folder / "trackers").mkdir(exist_ok=True)
        self.log = folder / "trackers" / f"{name}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "steadygan.runs.trackers.follower", name, str(folder.resolve())],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": _path()},
                start_new_session=True,  # an interrupt is for the training: the tracker then ends by itself
            )
        assert self.process.stdin
        self.pipe = self.process.stdin.fileno()
        os.set_blocking(self.pipe, False)
        self.tell(about)

    def tell(self, message: Mapping[str, Any]) -> None:
        """Send a message, as far as the pipe takes it now. Where others wait, a line needs no message of its own."""
        if not self.told:
            if not (self.left and "line" in message):
                self.left += json.dumps(message).encode() + b"\n"
            self._push()

    def _push(self) -> None:
        try:
            self.left = self.left[os.write(self.pipe, self.left) :]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            self._failed()

    def end(self, last: float) -> None:
        """Say that there is no more to come, as soon as the pipe has taken what waits, and by the time `last`."""
        while self.left and not self.told and (rest := last - time.monotonic()) > 0:
            if select.select([], [self.pipe], [], rest)[1]:
                self._push()
        with suppress(OSError):
            self.process.stdin.close()  # type: ignore[union-attr]

    def wait(self, last: float) -> None:
        """Wait until the process has ended, no longer than to the time `last`, and say how it ended."""
        try:
            self._wait(last - time.monotonic())
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)  # with what the tracker has started
            self._say(f"has not ended within {PATIENCE:.0f} s")
        finally:
            self.process.kill()
            self.process.wait()
        if self.process.returncode and not self.told:
            self._failed()
        elif not self.told:
            self.note(f"{self.name}: {record_of(self.folder, self.name)['place']}")

    def _wait(self, rest: float) -> None:
        try:
            self.process.wait(max(min(rest, SILENT), 0.0))
        except subprocess.TimeoutExpired:
            if rest <= SILENT:
                raise
            self.note(f"waiting for {self.name} to send what is left, at most {rest:.0f} s")
            self.process.wait(rest - SILENT)

    def _failed(self) -> None:
        self.process.wait()
        reason = record_of(self.folder, self.name)["failed"] or f"exit code {self.process.returncode}"
        self._say(f"has failed ({reason})")

    def _say(self, how: str) -> None:
        self.told = True
        self.note(
            f"the tracker {self.name} {how}, and the run goes on without it: its words are in {self.log}, and "
            f"steadygan resume sends what it lacks"
        )
