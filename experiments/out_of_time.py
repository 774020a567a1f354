"""A sitting of a long study: it ends after so many minutes, or when it is told to."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class OutOfTime(KeyboardInterrupt):
    """The sitting is over; not an Exception, which a compiler would take for a fault of its own."""


@contextmanager
def ending(minutes: float | None) -> Iterator[None]:
    """Raise OutOfTime at SIGTERM and, where they are given, after so many minutes: at once if 0 or less."""

    def over(signum: int, frame: object) -> None:
        raise OutOfTime

    if minutes is not None and minutes <= 0:
        raise OutOfTime
    signals = [signal.SIGTERM, *([signal.SIGALRM] if minutes else [])]
    before = [signal.signal(each, over) for each in signals]
    timer = signal.setitimer(signal.ITIMER_REAL, 60 * minutes) if minutes else None
    try:
        yield
    finally:
        if timer:
            signal.setitimer(signal.ITIMER_REAL, 0)  # before its handler is gone
        for each, handler in zip(signals, before):
            signal.signal(each, handler)
        if timer:
            signal.setitimer(signal.ITIMER_REAL, *timer)
