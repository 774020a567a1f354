"""Progress bars with speed and time left, for whatever takes more than a moment in a terminal."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console
from rich.errors import LiveError

from steadygan.progress import shown_by

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["bars", "told"]

DELAY, EVERY = 1.0, 0.1
"""Seconds after which a bar appears, and between two updates of it."""


class Began(NamedTuple):
    """When something was first reported, and how much of it was done then."""

    at: float
    done: int


@contextmanager
def bars(console: Console) -> Iterator[None]:
    """Inside the block, show a bar for each loop that reports its progress for a second. Only in a terminal."""
    if not console.is_terminal or console.quiet:
        yield
        return
    shown = Bars(console)
    try:
        with shown_by(shown.show):
            yield
    finally:
        shown.stop()


def told(began: Began, now: float, done: int, total: int, unit: str) -> str:
    """Speed and time left, from what was done since the first report.

    >>> told(Began(10.0, 100), 12.0, 900, 10_100, "images")
    '400 images/s, 0:00:23 left'
    """
    speed = (done - began.done) / max(now - began.at, 1e-9)
    left = timedelta(seconds=round((total - done) / speed)) if speed else "?"
    return f"{speed:,.0f} {unit}/s, {left} left" if speed >= 10 else f"{speed:.1f} {unit}/s, {left} left"


class Bars:
    """The bars of a terminal. rich is loaded with the first one that lasts."""

    def __init__(self, console: Console) -> None:
        """Start with no bar."""
        self.console = console
        self.began: dict[str, Began] = {}
        self.tasks: dict[str, TaskID] = {}
        self.updated = 0.0
        self.live: Progress | None = None

    def show(self, what: str, done: int, total: int, unit: str) -> None:
        """Draw a report, unless it is the first second of it or the last update is a moment ago."""
        now = time.perf_counter()
        began = self.began.setdefault(what, Began(now, done))
        if done < began.done:  # the same work, begun anew
            began = self.began[what] = Began(now, done)
        if done >= total:
            self._end(what)
        elif now - began.at >= DELAY and now - self.updated >= EVERY:
            self.updated = now
            self._draw(what, done, total, told(began, now, done, total, unit))

    def stop(self) -> None:
        """Take away all bars."""
        if self.live:
            self.live.stop()
        self.live = None
        self.tasks.clear()

    def _draw(self, what: str, done: int, total: int, text: str) -> None:
        self.live = self.live or _made(self.console)
        if what in self.tasks:
            self.live.update(self.tasks[what], completed=done, total=total, told=text)
        else:
            self.tasks[what] = self.live.add_task(what, completed=done, total=total, told=text)
        with suppress(LiveError):  # rich before 14.1 shows one display at a time: that of training
            self.live.start()

    def _end(self, what: str) -> None:
        """Forget what is done; a later report of the same name is another one."""
        self.began.pop(what)
        if what in self.tasks and self.live:
            self.live.remove_task(self.tasks.pop(what))
        if not self.tasks:
            self.stop()


def _made(console: Console) -> "Progress":
    from rich.progress import BarColumn, Progress, TextColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
        TextColumn("{task.fields[told]}", markup=False),
        console=console,
        transient=True,
        refresh_per_second=4,
    )
