"""Image files in a folder or a zip, decoded once into an array on disk that is then mapped into memory.

The array and a manifest (JSON: the source, a fingerprint of its files, count and shape) lie in
$STEADYGAN_CACHE, else in the user's cache folder. A source that changed since is decoded again.
"""

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from steadygan.errors import UsageError
from steadygan.files import cache_folder

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
RULES = 1  # raise it when images come to be decoded differently, so that older arrays are not used
BLOCK = 256  # images that a thread decodes at a time
THREADS = 2


class Entry(NamedTuple):
    """One image file: its path inside the source, its bytes, and a stamp that changes with its contents."""

    name: str
    size: int
    stamp: int


class Listing(NamedTuple):
    """The image files of `source`, a folder or a zip, that lie below its subfolder `below`."""

    source: Path
    below: str
    entries: list[Entry]


def list_images(source: Path, below: str = "") -> Listing:
    """List the image files of a folder or zip, sorted by path, hidden ones left out.

    Raises UsageError for a file that is no zip, a path that leads out of its source, and a folder that
    cannot be read.

    >>> list_images(Path(__file__).parent).entries  # source code, no images
    []
    """
    below = below.rstrip("/")
    _require_inside(source, below)
    entries = _list_folder(source, below) if source.is_dir() else _list_zip(source, below)
    return Listing(source, below, sorted(entries))


def folders(listing: Listing) -> list[str] | None:
    """The folder of each listed image, if they are classes: all one level below `below`, and two or more of them.

    Like the rows of `decode_once` they are in the listing's order, which is what the cache is checked against.

    >>> folders(Listing(Path(), "train", [Entry("train/cat/1.png", 1, 1), Entry("train/dog/0.png", 1, 1)]))
    ['cat', 'dog']
    """
    below = PurePosixPath(listing.below)
    paths = [PurePosixPath(entry.name).relative_to(below).parts for entry in listing.entries]
    names = [path[0] for path in paths]
    return names if all(len(path) == 2 for path in paths) and len(set(names)) > 1 else None


def decode_once(listing: Listing, size: int | None = None) -> Tensor:
    """Give the listed images as uint8 [n, channels, height, width], from the cache where it is up to date.

    The tensor is mapped copy-on-write: writing to it changes neither the file nor another process.
    `steadygan.data.image_folder` says how images are decoded. Raises UsageError for an image that cannot
    be decoded or is unlike the first, and for a cache folder that cannot be written.

    >>> from unittest.mock import patch
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("L", (3, 2), 7).save(f"{folder}/a.png")
    ...     with patch.dict(os.environ, STEADYGAN_CACHE=folder):
    ...         decode_once(list_images(Path(folder)))
    tensor([[[[7, 7, 7],
              [7, 7, 7]]]], dtype=torch.uint8)
    """
    key = {"source": str(listing.source.resolve()), "below": listing.below, "resized": size}
    wanted = key | {"rules": RULES, "fingerprint": _hash(listing.entries)}
    place = cache_folder() / f"{listing.source.stem}-{_hash(key)[:16]}.npy"
    rows = _read_cache(place, wanted)
    if rows is None:
        _write_cache(place, wanted, listing, size)
        rows = _map(place)
    return rows


def by(shape: tuple[int, ...]) -> str:
    """Write a shape as people do.

    >>> by((3, 32, 32))
    '3x32x32'
    """
    return "x".join(map(str, shape))


# -- Listing ---------------------------------------------------------------------------------------------


def _list_folder(source: Path, below: str) -> list[Entry]:
    if not (source / below).is_dir():
        return []
    try:
        walk = os.walk(source / below, onerror=_raise, followlinks=True)
        files = [Path(folder, name) for folder, _, names in walk for name in names]
        inside = [(file, file.relative_to(source).as_posix()) for file in files]
        images = [(file.stat(), name) for file, name in inside if _is_image(name)]
    except OSError as error:
        raise UsageError(f"{error.filename} cannot be read ({error.strerror}); mend or remove it") from error
    return [Entry(name, stat.st_size, stat.st_mtime_ns) for stat, name in images]


def _list_zip(source: Path, below: str) -> list[Entry]:
    with _open_zip(source) as archive:
        members = archive.infolist()
    for member in members:
        _require_inside(source, member.filename)
    prefix = f"{below}/" if below else ""
    images = [m for m in members if m.filename.startswith(prefix) and _is_image(m.filename)]
    return [Entry(image.filename, image.file_size, image.CRC) for image in images]


def _is_image(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in path.parts)


def _require_inside(source: Path, name: str) -> None:
    path = PureWindowsPath(name)  # knows both kinds of slash, and drives
    if path.anchor or ".." in path.parts:
        raise UsageError(f"{name!r} leads out of {source}; use only paths inside it, without '..' or drive")


def _raise(error: OSError) -> None:
    raise error


def _open_zip(source: Path) -> ZipFile:
    try:
        return ZipFile(source)
    except (BadZipFile, OSError) as error:
        raise UsageError(f"{source} cannot be read as a zip; give a folder or a whole zip file") from error


# -- Decoding --------------------------------------------------------------------------------------------


@contextmanager
def _reader(source: Path) -> Iterator[Callable[[str], bytes]]:
    if source.is_dir():
        yield lambda name: (source / name).read_bytes()
    else:
        with _open_zip(source) as archive:
            yield archive.read


def _decode(raw: bytes, size: int | None) -> np.ndarray:
    """Decode one image: uint8 [channels, height, width], 1 channel when grey, else 3."""
    image: Image.Image = Image.open(io.BytesIO(raw), formats=FORMATS)
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        raise ValueError("more than 8 bits a channel")
    mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    image = image.convert(mode)
    if size is not None:
        image = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
    return np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)


def _decode_named(name: str, read: Callable[[str], bytes], source: Path, size: int | None) -> np.ndarray:
    try:
        return _decode(read(name), size)
    except Exception as error:  # pillow and zipfile raise a dozen kinds; the user needs the file's name
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else str(error).rstrip(".")
        raise UsageError(f"{name} in {source} cannot be decoded ({reason}); replace or remove it") from error


def _decode_all(listing: Listing, size: int | None, path: Path) -> tuple[int, ...]:
    """Write all images into the .npy file `path`, a block at a time in order; give the shape of one."""
    source, names = listing.source, [entry.name for entry in listing.entries]
    with _reader(source) as read, path.open("wb") as file, ThreadPoolExecutor(THREADS) as pool:
        shape = _decode_named(names[0], read, source, size).shape

        def alike(name: str) -> np.ndarray:
            image = _decode_named(name, read, source, size)
            if image.shape != shape:
                raise UsageError(
                    f"{name} in {source} is {by(image.shape)} but {names[0]} is {by(shape)} (channels x "
                    "height x width); give a size to resize all to, or make them all grey or all colour"
                )
            return image

        def block(start: int) -> bytes:
            return np.stack([alike(name) for name in names[start : start + BLOCK]]).tobytes()

        header = {"descr": "|u1", "fortran_order": False, "shape": (len(names), *shape)}
        np.lib.format.write_array_header_1_0(file, header)
        starts = range(0, len(names), BLOCK)
        for i in range(0, len(starts), THREADS):  # so that no decoded blocks pile up before a slow disk
            file.writelines(pool.map(block, starts[i : i + THREADS]))
        file.flush()
        os.fsync(file.fileno())
    return shape


# -- The cache -------------------------------------------------------------------------------------------


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _map(place: Path) -> Tensor:
    return torch.from_numpy(np.load(place, mmap_mode="c"))


def _read_cache(place: Path, wanted: dict[str, Any]) -> Tensor | None:
    try:
        manifest = json.loads(place.with_suffix(".json").read_text())
        rows = _map(place)
    except (OSError, ValueError):  # not there, or cut short: decode again
        return None
    whole = wanted | {"count": len(rows), "shape": list(rows.shape[1:])}
    return rows if manifest == whole else None


def _write_cache(place: Path, wanted: dict[str, Any], listing: Listing, size: int | None) -> None:
    """Write array and manifest whole or not at all: the manifest goes first and comes back last."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".decoding-", dir=place.parent) as scratch:
            array, manifest = Path(scratch, "images.npy"), Path(scratch, "manifest.json")
            shape = _decode_all(listing, size, array)
            whole = wanted | {"count": len(listing.entries), "shape": shape}
            manifest.write_text(json.dumps(whole, indent=1))
            place.with_suffix(".json").unlink(missing_ok=True)
            array.replace(place)
            manifest.replace(place.with_suffix(".json"))
    except OSError as error:
        raise UsageError(
            f"the decoded images cannot be written to {place.parent} ({error.strerror}); "
            "set STEADYGAN_CACHE to a folder with room"
        ) from error
