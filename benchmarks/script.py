"""How a benchmark or an experiment is called: bad or missing input is one sentence, not a traceback."""

import argparse
import sys
from collections.abc import Callable, Collection, Iterable
from typing import NoReturn

from steadygan.errors import UsageError, nearest


def parser(text: str | None) -> argparse.ArgumentParser:
    """A parser that shows the text, a module's docstring, as it is laid out."""
    return argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)


def positive(text: str) -> int:
    """A count on the command line, 1 or more."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"takes a whole number of 1 or more, not {text!r}")
    return int(text)


def check_known(names: Iterable[str], known: Collection[str], what: str) -> None:
    """Raise UsageError for a name that is none of the known ones.

    >>> check_known(["ring9"], ["ring8", "digits"], "data set")
    Traceback (most recent call last):
    steadygan.errors.UsageError: 'ring9' is no data set: did you mean 'ring8'?
    """
    for name in names:
        if name not in known:
            raise UsageError(f"{name!r} is no {what}: {nearest(name, known)}")


def run(main: Callable[[], int | None]) -> NoReturn:
    """Call main and exit with its code (None: 0); with code 2 and a sentence where its input is wrong or missing."""
    try:
        sys.exit(main() or 0)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
