"""Read files of a data set: from its archive (.tar.gz, .tgz), without unpacking, its unpacked folder, or tar shards."""

import gzip
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from steadygan.errors import UsageError

__all__ = ["contents", "reading", "shard_files"]

CHUNK = 2**20

UNPACKED, RATIO = 2**30, 20
"""Bytes that an archive may unpack to, or so many times its own size. The published ones unpack to 1.2 times theirs."""


class Bounded:
    """A file for tarfile that raises UsageError after `most` bytes: zeros unpack to a thousand times their size."""

    def __init__(self, file: Any, place: Path) -> None:
        """Start where the file is, which is `place` or what that unpacks to."""
        self.file, self.most, self.place = file, max(UNPACKED, RATIO * place.stat().st_size), place

    def read(self, count: int) -> bytes:
        """Read at most `count` bytes."""
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
            raise UsageError(
                f"{self.place} unpacks to more than {self.most:,} bytes, so it is no archive of a data set; download "
                "it again"
            )


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
                whole: Any = Bounded(packed, place)
                with tarfile.open(fileobj=whole, mode="r:") as archive:
                    yield lambda name: _in_archive(archive, place, f"{top}/{name}")
                    while whole.read(CHUNK):  # read to the end, where the checksum is
                        pass
    except (gzip.BadGzipFile, EOFError, tarfile.TarError, zlib.error) as error:
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else "it ends too early"
        raise UsageError(f"{place} is a damaged archive ({reason}); download it again") from error
    except OSError as error:
        raise UsageError(f"{place} cannot be read ({error.strerror or error}); download it again") from error


def shard_files(shard: Path) -> Iterator[tuple[str, bytes]]:
    """Name and contents of each regular file of a tar file, plain or packed by gzip, in their order.

    Raises UsageError where it unpacks to more than an archive of data does, and tarfile's errors where it is none.

    >>> next(shard_files(Path("/no/such.tar")))  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    FileNotFoundError: /no/such.tar
    """
    with shard.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    with gzip.open(shard) if packed else shard.open("rb") as file:
        whole: Any = Bounded(file, shard)
        with tarfile.open(fileobj=whole, mode="r|", bufsize=CHUNK) as archive:
            for member in archive:
                archive.members = []  # type: ignore[attr-defined]  # it would keep all of them
                if member.isreg() and (found := archive.extractfile(member)):
                    yield member.name, found.read()


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


def _in_archive(archive: tarfile.TarFile, place: Path, name: str) -> IO[bytes]:
    for member in archive:  # stops reading at the file
        if member.name.removeprefix("./") == name and member.isfile():
            found = archive.extractfile(member)
            if found is not None:
                return found
    raise UsageError(f"{place} has no file {name}; download the original archive again")
