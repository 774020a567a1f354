"""The image files of a folder or a zip: list them and read them."""

import io
import os
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple
from zipfile import BadZipFile, ZipFile

from PIL import Image

from steadygan.errors import UsageError, printable

__all__ = [
    "AS_ARRAY",
    "LARGEST",
    "Entry",
    "Listing",
    "folders",
    "formats",
    "has_signature",
    "list_images",
    "named",
    "open_zip",
    "outside_classes",
    "reader",
    "shape_text",
]

# fmt: off
FORMATS = (
    "PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "JPEG2000", "PPM", "ICO", "CUR",
    "ICNS", "PCX", "DCX", "SGI", "QOI", "DDS", "BLP", "FTEX", "PSD", "SUN", "PIXAR", "XBM", "XPM", "MSP",
    "IM", "FLI", "GBR", "MCIDAS", "FITS", "PCD", "SPIDER", "TGA",
)
# fmt: on
"""Pillow's formats of pixels, the surest first. EPS starts another program, and the others hold no pixels."""

SIGNATURES = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"qoif", b"\0\0\0\x0cjP  ")
"""The first bytes of formats that are recognised whatever a file's name is; `has_signature` adds WebP and AVIF."""

LARGEST = 2**30
"""Bytes of the largest file that is read as an image."""

UNPACKED, RATIO = 2**32, 100
"""Bytes that the files of a zip may have, or so many times the zip's own size."""

ENTRIES = 4 * 10**6
"""The most files of a zip."""

SECONDS = 20.0
"""Seconds of computing in which the names of a zip's files, or their first bytes, must say which are images."""

ODD = ("..", "\\", ":")
"""What a path that leads out of its source has somewhere, unless it begins with a slash."""

NAMED = 20
"""The most files that a note names."""


class Entry(NamedTuple):
    """One file of a source: its path in the source, its size in bytes, and a stamp that changes with its contents."""

    name: str
    size: int
    stamp: int


class Listing(NamedTuple):
    """The image files in the subfolder `below` of `source`, a folder or a zip, and the names of its other files."""

    source: Path
    below: str
    entries: list[Entry]
    others: Sequence[str] = ()


def list_images(source: Path, below: str = "") -> Listing:
    """List the image files of a folder or zip, sorted by path.

    A file is an image if its suffix is that of a format in FORMATS, or if it begins as one of SIGNATURES. All others
    are in `others`: hidden files, pipes, broken links. Links are followed. Raises UsageError for a file that is not a
    zip, and for a folder that cannot be read. It is also raised for a path that leads out of the source, and for a link
    to a folder that contains it.

    >>> list_images(Path(__file__).parent).entries  # source code, no images
    []
    """
    below = str(PurePosixPath(below)) if PurePosixPath(below).parts else ""
    _require_inside(source, below)
    entries, others = _list_folder(source, below) if source.is_dir() else _list_zip(source, below)
    return Listing(source, below, sorted(entries), sorted(others))


def folders(listing: Listing) -> list[str] | None:
    """The folder of each listed image if these are classes, else None.

    They are classes if all images are one level below `below`, in two or more folders.

    >>> folders(Listing(Path(), "train", [Entry("train/cat/1.png", 1, 1), Entry("train/dog/0.png", 1, 1)]))
    ['cat', 'dog']
    """
    paths = _paths_below(listing)
    names = [path[0] for path in paths]
    return names if all(len(path) == 2 for path in paths) and len(set(names)) > 1 else None


def outside_classes(listing: Listing) -> list[str]:
    """The images whose places take the labels from all: few lie elsewhere, and most in two or more folders.

    >>> names = ("stray.png", "cat/1.png", "cat/2.png", "dog/0.png")
    >>> outside_classes(Listing(Path(), "", [Entry(name, 1, 1) for name in names]))
    ['stray.png']
    """
    paths = _paths_below(listing)
    usual, count = Counter(map(len, paths)).most_common(1)[0] if paths else (0, 0)
    strays = [entry.name for entry, path in zip(listing.entries, paths) if len(path) != 2]
    classes = {path[0] for path in paths if len(path) == 2}
    return strays if usual == 2 and len(classes) > 1 and count > len(strays) else []


def _paths_below(listing: Listing) -> list[tuple[str, ...]]:
    skip = len(PurePosixPath(listing.below).parts)
    return [_parts(entry.name)[skip:] for entry in listing.entries]


def _parts(name: str) -> tuple[str, ...]:
    """The folders and the file in a path with slashes. pathlib takes several times as long for a plain name."""
    return PurePosixPath(name).parts if "//" in name or "./" in name else tuple(name.split("/"))


@contextmanager
def reader(source: Path) -> Iterator[Callable[[str], bytes]]:
    """Give the function that reads a listed file of a folder or zip. Several threads may call it.

    >>> with reader(Path(__file__).parent) as read:
    ...     read("image_files.py")[:14]
    b'\"\"\"The image f'
    """
    if source.is_dir():
        yield lambda name: (source / name).read_bytes()
    else:
        with open_zip(source) as archive:
            yield archive.read


AS_ARRAY = "metrics.evaluate(numpy.load(FILE), ...), or numpy.load(FILE)['arr_0'] of an .npz"


class _Counted(io.BufferedReader):
    """The file of a zip, for which zipfile reads the list of the zip's entries at once."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Read, and raise UsageError for a list of too many entries."""
        found = super().read(size)
        if found.count(b"PK\x01\x02") > ENTRIES:
            raise UsageError(
                f"{self.name} has more than {ENTRIES:,} files; give the folder, or split the zip"
            )
        return found


@contextmanager
def open_zip(source: Path) -> Iterator[ZipFile]:
    """Open a zip. Raises UsageError for another kind of file, and for one of too many files."""
    with ExitStack() as opened:
        yield _zip(source, opened)


def _zip(source: Path, opened: ExitStack) -> ZipFile:
    try:
        if not source.is_file():  # a pipe would keep its reader waiting
            raise BadZipFile("not a file")
        file = opened.enter_context(_Counted(io.FileIO(source)))
        return opened.enter_context(ZipFile(file))
    except UsageError:
        raise
    except (
        BadZipFile,
        OSError,
        ValueError,
        NotImplementedError,
    ) as error:  # ValueError: names that cannot be decoded
        array = source.suffix in (".npy", ".npz")
        remedy = (
            f"score its array from Python: {AS_ARRAY}" if array else "give a folder or a complete zip file"
        )
        raise UsageError(f"{source} cannot be read as a zip; {remedy}") from error


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape as text.

    >>> shape_text((3, 32, 32))
    '3x32x32'
    """
    return "x".join(map(str, shape))


def named(names: Sequence[str], most: int = NAMED) -> str:
    """The first names as text, and how many more there are.

    >>> named(["a.txt", "b.txt", "c.txt"], most=2)
    'a.txt, b.txt and 1 more'
    """
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(printable, names[:most])) + more


@cache
def formats() -> tuple[str, ...]:
    """Those of FORMATS that this Pillow has."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@cache
def _suffixes() -> frozenset[str]:
    Image.init()
    return frozenset(s for s, name in Image.registered_extensions().items() if name in formats())


def _list_folder(source: Path, below: str) -> tuple[list[Entry], list[str]]:
    if not (source / below).is_dir():
        return [], []
    entries, others = [], []
    try:
        for file, hidden in _files(source / below):
            name = file.relative_to(source).as_posix()
            if not hidden and file.is_file() and _is_image(name, lambda file=file: _start(file)):  # type: ignore[misc]
                stat = file.stat()
                entries.append(Entry(name, stat.st_size, stat.st_mtime_ns))
            else:
                others.append(name + _no_file(file))
    except OSError as error:
        raise UsageError(
            f"{error.filename} cannot be read ({error.strerror}); repair or remove it"
        ) from error
    return entries, others


def _files(folder: Path, above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[tuple[Path, bool]]:
    """All files in a folder and its subfolders, and whether each is hidden. Hidden folders are left alone.

    `above` are the folders that lead to it.
    """
    stat = folder.stat()
    here = stat.st_dev, stat.st_ino
    if here in above:
        raise UsageError(f"{folder} is a link to a folder that contains it; remove the link")
    with os.scandir(folder) as found:
        entries = list(found)
    for entry in entries:
        hidden = entry.name.startswith(".")
        if not _is_dir(entry):
            yield Path(entry), hidden
        elif not hidden:
            yield from _files(Path(entry), above | {here})


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _no_file(file: Path) -> str:
    if file.is_file():
        return ""
    return " (not a file)" if file.exists() else " (a broken link)"


def _start(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(16)
    except OSError:
        return b""


def _list_zip(source: Path, below: str) -> tuple[list[Entry], list[str]]:
    prefix = f"{below}/" if below else ""
    entries, others = [], []
    with open_zip(source) as archive:
        members = archive.infolist()
        _require_small(source, sum(member.file_size for member in members))
        names = "\n".join(["", *archive.namelist()])
        if any(sign in names for sign in ("\n/", *ODD)):
            for name in archive.namelist():
                _require_inside(source, name)
        # A name may be there twice: like a zip's reader, take the last one.
        found = {m.filename: m for m in members if m.filename.startswith(prefix) and not m.is_dir()}
        end = time.thread_time() + SECONDS
        for name, member in found.items():
            if time.thread_time() > end:
                raise UsageError(
                    f"{source} has so many files without a suffix that {SECONDS:.0f} s do not show which are images; "
                    "give the folder, or give its images their suffixes"
                )
            hidden = "/." in f"/{name}" and any(part.startswith(".") for part in PurePosixPath(name).parts)
            if not hidden and _is_image(name, lambda name=name: _start_in_zip(archive, name)):  # type: ignore[misc]
                entries.append(Entry(name, member.file_size, member.CRC))
            else:
                others.append(name)
    return entries, others


def _start_in_zip(archive: ZipFile, name: str) -> bytes:
    try:
        with archive.open(name) as opened:
            return opened.read(16)
    except (BadZipFile, OSError, RuntimeError, ValueError, EOFError, zlib.error):  # encrypted or damaged
        return b""


def _is_image(name: str, start: Callable[[], bytes]) -> bool:
    return name[name.rfind(".") :].lower() in _suffixes() or has_signature(start())


def has_signature(start: bytes) -> bool:
    """Whether a file of some 16 first bytes `start` is an image, whatever its name."""
    webp = start[:4] == b"RIFF" and start[8:12] == b"WEBP"
    return webp or start[4:12] in (b"ftypavif", b"ftypavis") or start.startswith(SIGNATURES)


def _require_small(source: Path, unpacked: int) -> None:
    """Raise UsageError for a zip whose files share their bytes, or are zeros: images are packed already."""
    if unpacked > max(UNPACKED, RATIO * source.stat().st_size):
        raise UsageError(
            f"{source} unpacks to {unpacked:,} bytes, more than {RATIO} times its size; unpack it if you trust it, and "
            "give the folder"
        )


def _require_inside(source: Path, name: str) -> None:
    if not name.startswith("/") and not any(sign in name for sign in ODD):
        return  # as most names; a path takes ten times as long to look at
    path = PureWindowsPath(name)  # knows both kinds of slash, and drives
    if path.anchor or ".." in path.parts:
        raise UsageError(f"{name!r} leads out of {source}; use paths inside it, without '..' or a drive")
