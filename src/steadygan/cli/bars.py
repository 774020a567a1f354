"""Progress bars with speed and time left, for whatever takes more than a moment in a terminal."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from rich.console import Console
from rich.errors import LiveError

from steadygan.errors import printable
from steadygan.progress import Lasting, shown_by

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["bars"]


@contextmanager
def bars(console: Console) -> Iterator[None]:
    """Inside the block, show a bar for each loop that reports its progress for a second. Only in a terminal."""
    if not console.is_terminal or console.quiet:
        yield
        return
    shown = Bars(console)
    try:
        with shown_by(Lasting(shown.draw, shown.end)):
            yield
    finally:
        shown.stop()


class Bars:
    """The bars of a terminal. rich is loaded with the first one that lasts."""

    def __init__(self, console: Console) -> None:
        """Start with no bar."""
        self.console = console
        self.tasks: dict[str, TaskID] = {}
        self.live: Progress | None = None

    def draw(self, what: str, done: int, total: int, text: str) -> None:
        """Draw the bar of a loop, or make it longer."""
        self.live = self.live or _made(self.console)
        told = printable(text)
        if what in self.tasks:
            self.live.update(self.tasks[what], completed=done, total=total, told=told)
        else:
            self.tasks[what] = self.live.add_task(printable(what), completed=done, total=total, told=told)
        with suppress(LiveError):  # rich before 14.1 shows one display at a time: that of training
            self.live.start()

    def end(self, what: str) -> None:
        """Take away the bar of a loop that is done."""
        if what in self.tasks and self.live:
            self.live.remove_task(self.tasks.pop(what))
        if not self.tasks:
            self.stop()

    def stop(self) -> None:
        """Take away all bars."""
        if self.live:
            self.live.stop()
        self.live = None
        self.tasks.clear()


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
