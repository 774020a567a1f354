"""Output whose reader may leave: `steadygan train | head -n 1` trains to its end."""

import errno
import io
import os
import select
from typing import Any, TextIO

__all__ = ["unbroken"]


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
