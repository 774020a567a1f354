"""How a benchmark or an experiment is called: bad or missing input is one sentence, not a traceback."""

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn

from steadygan.errors import UsageError


def parser(text: str | None) -> argparse.ArgumentParser:
    """A parser that shows the text, a module's docstring, as it is laid out."""
    return argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)


def positive(text: str) -> int:
    """A count on the command line, 1 or more."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"takes a whole number of 1 or more, not {text!r}")
    return int(text)


def run(main: Callable[[], int | None]) -> NoReturn:
    """Call main and exit with its code (None: 0); with code 2 and a sentence where its input is wrong or missing."""
    try:
        sys.exit(main() or 0)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
