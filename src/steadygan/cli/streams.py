"""Output whose reader may leave: `steadygan train | head -n 1` trains to its end. It shows any text, and obeys none."""

import errno
import io
import os
import select
from typing import Any, TextIO

from rich.console import Console
from rich.text import Text

from steadygan.errors import printable, printable_lines

__all__ = ["Screen", "unbroken"]


class Screen(Console):
    """A terminal for text that is not ours: names of files, words of errors. Colours are those of rich alone.

    Nothing in a text is markup or an emoji's name, and what is not printable is escaped. With `soft_wrap` a text is a
    line.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        """Open the standard output, or the error stream."""
        super().__init__(stderr=stderr, markup=False, emoji=False)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as rich does."""
        line = options.get("soft_wrap")
        super().print(*(printable(o) if line and isinstance(o, str) else o for o in objects), **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Turn a text into rich's, as rich does for each that it prints, also in the cells of a table."""
        return super().render_str(printable_lines(text), **options)


class Discarding(io.FileIO):
    """A file for writing that waits for a slow reader, and discards what nobody reads any more."""

    def write(self, content: Any) -> int:
        """Write to the file, or to nothing once the reader of the pipe has left or the terminal is closed."""
        try:
            while (count := super().write(content)) is None:  # another program made the pipe non-blocking
                select.select([], [self], [])
            return count
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):
                raise
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return len(content)


def unbroken(stream: TextIO) -> TextIO:
    """The stream for text, which discards what nobody reads any more and escapes what it cannot encode.

    Names of files need not be text that a terminal can show. A stream that is not a file of the system stays as it is.
    """
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)  # python -u has no buffer between
    if not isinstance(stream, io.TextIOWrapper) or not isinstance(raw, io.FileIO):
        return stream
    stream.flush()
    file = Discarding(raw.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        file if buffer is raw else io.BufferedWriter(file),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
