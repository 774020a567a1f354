"""Read files from a data set's archive (.tar.gz or .tgz) without unpacking it, or from its unpacked folder."""

import gzip
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from steadygan.errors import UsageError

__all__ = ["reading"]

CHUNK = 2**20


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
            with gzip.open(place) as whole, tarfile.open(fileobj=whole) as archive:
                yield lambda name: _in_archive(archive, place, f"{top}/{name}")
                while whole.read(CHUNK):  # read to the end, where the checksum is
                    pass
    except (gzip.BadGzipFile, EOFError, tarfile.TarError, zlib.error) as error:
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else "it ends too early"
        raise UsageError(f"{place} is a damaged archive ({reason}); download it again") from error
    except OSError as error:
        raise UsageError(f"{place} cannot be read ({error.strerror or error}); download it again") from error


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
