"""The image files of a folder or a zip: list them and read them."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple
from zipfile import BadZipFile, ZipFile

from steadygan.errors import UsageError

__all__ = ["SUFFIXES", "Entry", "Listing", "folders", "list_images", "open_zip", "reader", "shape_text"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


class Entry(NamedTuple):
    """One file of a source: its path in the source, its size in bytes, and a stamp that changes with its contents."""

    name: str
    size: int
    stamp: int


class Listing(NamedTuple):
    """The image files in the subfolder `below` of `source`, a folder or a zip."""

    source: Path
    below: str
    entries: list[Entry]


def list_images(source: Path, below: str = "") -> Listing:
    """List the image files of a folder or zip, sorted by path, without hidden files.

    Links are followed. Raises UsageError for a file that is not a zip, and for a folder that cannot be read. It is also
    raised for a path that leads out of the source, and for a link to a folder that contains it.

    >>> list_images(Path(__file__).parent).entries  # source code, no images
    []
    """
    below = below.rstrip("/")
    _require_inside(source, below)
    entries = _list_folder(source, below) if source.is_dir() else _list_zip(source, below)
    return Listing(source, below, sorted(entries))


def folders(listing: Listing) -> list[str] | None:
    """The folder of each listed image if these are classes, else None.

    They are classes if all images are one level below `below`, in two or more folders.

    >>> folders(Listing(Path(), "train", [Entry("train/cat/1.png", 1, 1), Entry("train/dog/0.png", 1, 1)]))
    ['cat', 'dog']
    """
    below = PurePosixPath(listing.below)
    paths = [PurePosixPath(entry.name).relative_to(below).parts for entry in listing.entries]
    names = [path[0] for path in paths]
    return names if all(len(path) == 2 for path in paths) and len(set(names)) > 1 else None


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


def open_zip(source: Path) -> ZipFile:
    """Open a zip. Raises UsageError for another kind of file."""
    try:
        return ZipFile(source)
    except (
        BadZipFile,
        OSError,
        ValueError,
        NotImplementedError,
    ) as error:  # ValueError: names that cannot be decoded
        raise UsageError(f"{source} cannot be read as a zip; give a folder or a complete zip file") from error


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape as text.

    >>> shape_text((3, 32, 32))
    '3x32x32'
    """
    return "x".join(map(str, shape))


def _list_folder(source: Path, below: str) -> list[Entry]:
    if not (source / below).is_dir():
        return []
    try:
        inside = [(file, file.relative_to(source).as_posix()) for file in _files(source / below)]
        images = [(file.stat(), name) for file, name in inside if _is_image(name)]
    except OSError as error:
        raise UsageError(
            f"{error.filename} cannot be read ({error.strerror}); repair or remove it"
        ) from error
    return [Entry(name, stat.st_size, stat.st_mtime_ns) for stat, name in images]


def _files(folder: Path, above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[Path]:
    """All files in a folder and its subfolders, without hidden files. `above` are the folders that lead to it."""
    stat = folder.stat()
    here = stat.st_dev, stat.st_ino
    if here in above:
        raise UsageError(f"{folder} is a link to a folder that contains it; remove the link")
    with os.scandir(folder) as found:
        entries = [entry for entry in found if not entry.name.startswith(".")]
    for entry in entries:
        if entry.is_dir():
            yield from _files(Path(entry), above | {here})
        else:
            yield Path(entry)


def _list_zip(source: Path, below: str) -> list[Entry]:
    with open_zip(source) as archive:
        members = archive.infolist()
    for member in members:
        _require_inside(source, member.filename)
    prefix = f"{below}/" if below else ""
    # A name may be there twice: like a zip's reader, take the last one.
    last = {m.filename: m for m in members if not m.is_dir()}
    images = [m for name, m in last.items() if name.startswith(prefix) and _is_image(name)]
    return [Entry(image.filename, image.file_size, image.CRC) for image in images]


def _is_image(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in path.parts)


def _require_inside(source: Path, name: str) -> None:
    path = PureWindowsPath(name)  # knows both kinds of slash, and drives
    if path.anchor or ".." in path.parts:
        raise UsageError(f"{name!r} leads out of {source}; use paths inside it, without '..' or a drive")
