"""Read files of a data set: from its archive (.tar.gz, .tgz), without unpacking, its unpacked folder, or tar shards."""

import gzip
import math
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from steadygan.errors import UsageError

__all__ = ["Bounded", "contents", "reading", "shard_files"]

CHUNK = 2**20

UNPACKED, RATIO = 2**30, 20
"""Bytes that an archive may unpack to, or so many times its own size. The published ones unpack to 1.2 times theirs."""

ENTRIES, SHARD = 10**5, 10**6
"""The most entries of an archive that is published, and of a shard."""

HEADER = 2**20
"""Bytes of the longest header of an entry."""

SECONDS, SPEED = 10.0, 3 * 10**6
"""Seconds of computing in which all headers of an archive must be read, and one more for so many of its bytes."""


class Bounded:
    """A file for tarfile that raises UsageError after too many bytes, entries or seconds.

    Zeros unpack to a thousand times their size, and headers can be as long and as many as somebody likes.
    """

    def __init__(self, file: Any, place: Path) -> None:
        """Start where the file is, which is `place` or what that unpacks to."""
        size = place.stat().st_size
        self.file, self.place = file, place
        self.most, self.left = max(UNPACKED, RATIO * size), SECONDS + size / SPEED
        self.longest, self.end = math.inf, math.inf

    @contextmanager
    def searching(self) -> Iterator[None]:
        """Inside the block only headers are read. What others do with a file that was found takes its own time."""
        self.longest, self.end = HEADER, time.thread_time() + self.left
        try:
            yield
        except UsageError:
            raise
        except (ArithmeticError, LookupError, RecursionError, ValueError) as error:  # tarfile trusts them
            raise tarfile.ReadError("a header has no sense") from error
        finally:
            self.left = self.end - time.thread_time()
            self.longest, self.end = math.inf, math.inf

    def read(self, count: int) -> bytes:
        """Read at most `count` bytes."""
        if count < 0:
            raise tarfile.ReadError("a size is negative")
        if count > self.longest:
            raise self._refused(f"has a header of more than {self.longest:,} bytes")
        found = self.file.read(min(count, CHUNK + self.most))
        self._require(self.file.tell())
        return found

    def seek(self, to: int) -> int:
        """Go to a byte."""
        self._require(to)
        return self.file.seek(to)

    def tell(self) -> int:
        """The byte that is read next."""
        return self.file.tell()

    def _require(self, byte: int) -> None:
        if byte > self.most:
            raise self._refused(f"unpacks to more than {self.most:,} bytes")
        if time.thread_time() > self.end:
            raise self._refused("takes too many seconds to search")

    def _refused(self, why: str) -> UsageError:
        return UsageError(f"{self.place} {why}, so it is no archive of a data set; download it again")

    def archive(self) -> tarfile.TarFile:
        """Open the archive in this file, whose first header is read at once."""
        with self.searching():
            return tarfile.open(fileobj=self, mode="r:")  # type: ignore[call-overload]

    def entries(self, archive: tarfile.TarFile, most: int) -> Iterator[tarfile.TarInfo]:
        """Yield the entries of the archive in this file, and raise UsageError after `most` of them."""
        found = iter(archive)
        for _ in range(most):
            with self.searching():
                entry = next(found, None)
            if entry is None:
                return
            if entry.issparse():  # a few bytes are a file of any size
                raise tarfile.ReadError("a file is sparse")
            yield entry
        raise self._refused(f"has more than {most:,} entries")


@contextmanager
def reading(place: Path, top: str) -> Iterator[Callable[[str], IO[bytes]]]:
    """Give the function that opens a file by its name below the folder `top` of the archive `place`.

    `place` may also be the unpacked folder. Only the named file is read from an archive. Raises UsageError if a file
    is missing, or if the archive cannot be read, is damaged or is incomplete, which may show only while it is read.

    >>> with reading(Path(__file__).parent, "data") as read, read("archives.py") as file:
    ...     file.read(8)
    b'\"\"\"Read '
    """
    try:
        if place.is_dir():
            yield lambda name: _in_folder(place, name)
        elif not place.is_file():  # a pipe would keep its reader waiting
            raise UsageError(f"{place} is not a file; download the archive again")
        else:
            with gzip.open(place) as packed:
                whole = Bounded(packed, place)
                with whole.archive() as archive:
                    yield lambda name: _in_archive(archive, whole, f"{top}/{name}")
                    while whole.read(CHUNK):  # read to the end, where the checksum is
                        pass
    except (gzip.BadGzipFile, EOFError, tarfile.TarError, zlib.error) as error:
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else "it ends too early"
        raise UsageError(f"{place} is a damaged archive ({reason}); download it again") from error
    except OSError as error:
        raise UsageError(f"{place} cannot be read ({error.strerror or error}); download it again") from error


def shard_files(shard: Path) -> Iterator[tuple[str, bytes]]:
    """Name and contents of each regular file of a tar file, plain or packed by gzip, in their order.

    Raises UsageError where it has more bytes, entries or headers than one of data has, and tarfile's errors where it is
    none.

    >>> next(shard_files(Path("/no/such.tar")))  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    FileNotFoundError: /no/such.tar
    """
    with shard.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    with gzip.open(shard) if packed else shard.open("rb") as file:
        whole = Bounded(file, shard)
        with whole.archive() as archive:
            for entry in whole.entries(archive, SHARD):
                archive.members = []  # type: ignore[attr-defined]  # it would keep all of them
                if entry.isreg() and (found := archive.extractfile(entry)):
                    yield entry.name, found.read()


def contents(file: IO[bytes], name: str, most: int) -> bytes:
    """All of an open file, which is then closed. Raises UsageError if it has more than `most` bytes."""
    with file:
        raw = file.read(most + 1)
    if len(raw) > most:
        raise UsageError(f"{name} has more than {most:,} bytes; download the data set again")
    return raw


def _in_folder(place: Path, name: str) -> IO[bytes]:
    try:
        if (place / name).exists() and not (place / name).is_file():
            raise UsageError(f"{place / name} is not a file; unpack the data set again")
        return (place / name).open("rb")
    except OSError as error:
        raise UsageError(
            f"{place / name} cannot be read ({error.strerror}); unpack the data set again"
        ) from error


def _in_archive(archive: tarfile.TarFile, whole: Bounded, name: str) -> IO[bytes]:
    for entry in whole.entries(archive, ENTRIES):  # stops reading at the file
        if entry.name.removeprefix("./") == name and entry.isfile():
            found = archive.extractfile(entry)
            if found is not None:
                return found
    raise UsageError(f"{whole.place} has no file {name}; download the original archive again")
