"""A set's own archive, .tar.gz or .tgz, or the folder that it unpacks to: files read from either, nothing unpacked."""

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
    """Give the function that opens a file by its name below the archive's folder `top`, which may be `place` itself.

    Only the named file is read, whatever else an archive holds. Raises UsageError where a file is not there, and
    for an archive that cannot be read, is damaged or cut short, also while it is read.

    >>> with reading(Path(__file__).parent, "data") as read, read("archives.py") as file:
    ...     file.read(8)
    b'\"\"\"A set'
    """
    try:
        if place.is_dir():
            yield lambda name: _in_folder(place, name)
        else:
            with gzip.open(place) as whole, tarfile.open(fileobj=whole) as archive:
                yield lambda name: _in_archive(archive, place, f"{top}/{name}")
                while whole.read(CHUNK):  # its checksum comes last
                    pass
    except (gzip.BadGzipFile, EOFError, tarfile.TarError, zlib.error) as error:
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else "it ends too soon"
        raise UsageError(f"{place} is no whole archive ({reason}); download it again") from error
    except OSError as error:
        raise UsageError(
            f"{place} cannot be read ({error.strerror or error}); mend that, or download it again"
        ) from error


def _in_folder(place: Path, name: str) -> IO[bytes]:
    try:
        return (place / name).open("rb")
    except OSError as error:
        raise UsageError(
            f"{place / name} cannot be read ({error.strerror}); unpack the whole set again"
        ) from error


def _in_archive(archive: tarfile.TarFile, place: Path, name: str) -> IO[bytes]:
    for member in archive:  # which reads no further than it must
        if member.name.removeprefix("./") == name and member.isfile():
            found = archive.extractfile(member)
            if found is not None:
                return found
    raise UsageError(f"{place} has no file {name}; download the set's own archive again")
