"""Progress of loops that take seconds: they report it, and whoever calls them may show it.

A notebook shows it by itself, the command line in a terminal. Elsewhere nobody does.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from functools import cache
from html import escape
from typing import Any, NamedTuple

__all__ = ["Began", "Lasting", "Show", "in_notebook", "report", "shown_by", "told"]

Show = Callable[[str, int, int, str], None]
"""Called with what is done, how much of it so far, how much in all, and the unit that is counted."""

_SHOWN: ContextVar[Show | None] = ContextVar("shown", default=None)

DELAY, EVERY = 1.0, 0.1
"""Seconds after which a bar appears, and between two updates of it."""


def report(what: str, done: int, total: int, unit: str = "images") -> None:
    """Report that `done` of `total` are done. It takes less than a microsecond where nobody shows it.

    >>> with shown_by(lambda *seen: print(seen)):
    ...     report("generated images", 500, 10_000)
    ('generated images', 500, 10000, 'images')
    """
    if show := _SHOWN.get() or in_notebook():
        show(what, done, total, unit)


@contextmanager
def shown_by(show: Show) -> Iterator[None]:
    """Inside the block, `show` gets what is reported."""
    token = _SHOWN.set(show)
    try:
        yield
    finally:
        _SHOWN.reset(token)


class Began(NamedTuple):
    """When something was first reported, and how much of it was done then."""

    at: float
    done: int


class Lasting:
    """Shows what lasts for seconds: calls `draw(what, done, total, text)` now and then, and `end(what)` at its end."""

    def __init__(self, draw: Callable[[str, int, int, str], None], end: Callable[[str], None]) -> None:
        """Start with nothing seen."""
        self.draw, self.end = draw, end
        self.began: dict[str, Began] = {}
        self.updated = 0.0

    def __call__(self, what: str, done: int, total: int, unit: str) -> None:
        """Draw a report, unless it is the first second of it or the last drawing is a moment ago."""
        now = time.perf_counter()
        began = self.began.setdefault(what, Began(now, done))
        if done < began.done:  # the same work, begun anew
            began = self.began[what] = Began(now, done)
        if done >= total:
            self.began.pop(what)  # a later report of the same name is another one
            self.end(what)
        elif now - began.at >= DELAY and now - self.updated >= EVERY:
            self.updated = now
            self.draw(what, done, total, told(began, now, done, total, unit))


def told(began: Began, now: float, done: int, total: int, unit: str) -> str:
    """Speed and time left, from what was done since the first report.

    >>> told(Began(10.0, 100), 12.0, 900, 10_100, "images")
    '400 images/s, 0:00:23 left'
    """
    speed = (done - began.done) / max(now - began.at, 1e-9)
    left = timedelta(seconds=round((total - done) / speed)) if speed else "?"
    return f"{speed:,.0f} {unit}/s, {left} left" if speed >= 10 else f"{speed:.1f} {unit}/s, {left} left"


@cache
def in_notebook() -> Show | None:
    """The bars below a notebook's cell; None where this process is no kernel of one, which has loaded IPython."""
    loaded: Any = sys.modules.get("IPython")
    if "ipykernel" not in sys.modules or not hasattr(loaded.get_ipython(), "kernel"):
        return None
    HTML, display = loaded.display.HTML, loaded.display.display
    shown: dict[str, Any] = {}

    def draw(what: str, done: int, total: int, text: str) -> None:
        bar = f'<progress value="{done}" max="{total}"></progress>'
        line = HTML(f"{escape(what)} {bar} {done:,}/{total:,} {text}")
        if what in shown:
            shown[what].update(line)
        else:
            shown[what] = display(line, display_id=True)

    def end(what: str) -> None:
        if what in shown:
            shown.pop(what).update(HTML(""))

    return Lasting(draw, end)
