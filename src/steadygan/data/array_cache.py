"""The decoded images of a data set in one array on disk, made once, mapped into memory and shared by processes.

The cache has the array (.npy), the labels (.labels.npy), and a manifest (.json). The manifest records the source, a
fingerprint of its files, resize filter and crop, count and shape, and the images left out. The cache folder is
$STEADYGAN_CACHE, or else one in the user's cache. A source that has changed is decoded again.
"""

import glob
import hashlib
import json
import math
import mmap
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from steadygan.data.dataset import Data
from steadygan.data.image_files import named
from steadygan.data.sources import Source
from steadygan.errors import DataNote, UsageError, printable
from steadygan.files import alone, cache_folder, read_json, require_file
from steadygan.progress import report

__all__ = ["RULES", "check_count", "load", "manifests", "map_rows", "prepare", "where", "with_test"]

RULES = 2  # increase it when images are decoded differently, so that older arrays are not used
HEADER = 128  # bytes before the first image
NAME = 50  # characters of a data set's name in its file names
MANIFEST = {
    **{"count": int, "shape": [int], "labels": bool, "rules": int, "fingerprint": str},
    **{"skipped": [str], "reasons": [str]},
}
"""What a manifest has at least."""
NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)


class Prepared(NamedTuple):
    """A prepared array: mapped rows [n, *shape] uint8, labels [n] int64, and the manifest."""

    rows: Tensor
    labels: Tensor | None
    manifest: dict[str, Any]


def load(source: Source) -> Data:
    """Load the images of a source from its prepared array, which is made first if it is not up to date.

    The rows are mapped copy-on-write: writing to them changes neither the file nor another process. Corrupt images
    that `prepare` skipped stay left out. A DataNote says what was left out. Raises UsageError as `prepare` does.
    """
    for text in source.notes:
        warnings.warn(text, DataNote, stacklevel=3)
    if source.direct:
        return _read_directly(source)
    found, place = _made(source, None), where(source)
    if skipped := found.manifest["skipped"]:
        warnings.warn(_skipped_note(source, skipped, found.manifest["reasons"]), DataNote, stacklevel=3)
    shape = tuple(found.rows.shape[1:])
    return Data(source.name, shape, found.rows, labels=found.labels, classes=source.classes, mapped=place)


def _skipped_note(source: Source, names: list[str], reasons: list[str]) -> str:
    count = "1 image that" if len(names) == 1 else f"{len(names):,} images that"
    shown = [f"{printable(name)} ({why})" for name, why in zip(names, reasons)]
    return f"left out {count} cannot be decoded in {source.place}: {named(shown)}"


def with_test(data: Data, split: str, test: Callable[[], Source]) -> Data:
    """The training split of a data set, with its published test split as the held-out samples if it is available."""
    if split != "train":
        return data
    try:
        test()
    except UsageError:
        return data
    return data._replace(held=lambda: _rows(load(test())))


def _rows(data: Data) -> Tensor:
    assert data.rows is not None
    return data.rows


def prepare(source: Source, skip: bool = False) -> dict[str, Any]:
    """Make the array of a source if it is not up to date, and return its manifest.

    With `skip` corrupt images are left out and named in the manifest. Raises UsageError if images are corrupt or differ
    from the first in shape, if their number is wrong, or if the cache cannot be written. All corrupt images are named.
    """
    return _made(source, skip).manifest


def where(source: Source) -> Path:
    """The path in the cache of a source's array, whether or not it exists."""
    return cache_folder() / f"{_stem(source)}-{_hash(_key(source))[:16]}.npy"


def manifests(source: Source) -> Iterator[tuple[Path, dict[str, Any], bool]]:
    """Each array made from a source's split, with any options: its file, its manifest, and whether it is up to date."""
    part = {"source": str(source.place.resolve())} | {k: source.options.get(k) for k in ("split", "below")}
    for file in sorted(cache_folder().glob(f"{glob.escape(_stem(source))}-*.json")):
        with suppress(OSError, ValueError):
            manifest = _manifest(file)
            if all(manifest.get(key) == value for key, value in part.items()):
                array, size = file.with_suffix(".npy"), math.prod((manifest["count"], *manifest["shape"]))
                same = (manifest["rules"], manifest["fingerprint"]) == (RULES, _hash(source.entries))
                yield array, manifest, same and array.stat().st_size == HEADER + size


def _stem(source: Source) -> str:
    """The data set's name, cut to fit into a file name."""
    return source.name[:NAME]


def _key(source: Source) -> dict[str, Any]:
    return {"name": source.name, "source": str(source.place.resolve()), **source.options}


def _wanted(source: Source) -> dict[str, Any]:
    return _key(source) | {"rules": RULES, "fingerprint": _hash(source.entries)}


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _made(source: Source, skip: bool | None) -> Prepared:
    place = where(source)
    found = _read(source, skip)
    if found is None:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with alone(place):
                _clear(place)
                if _read(source, skip) is None:  # no other process made it meanwhile
                    _write(place, source, source.forgiving if skip is None else skip)
        except OSError as error:
            raise UsageError(
                f"the decoded images cannot be written to {place.parent} ({error.strerror}); "
                "set STEADYGAN_CACHE to a folder with enough space"
            ) from error
        found = _read(source, skip)
    if found is None:
        raise UsageError(f"{source.place} changed while it was read; do not change it and try again")
    return found


def _clear(place: Path) -> None:
    """Remove the scratch folders, maybe large, of processes that were killed while they made `place`."""
    for left in place.parent.glob(f"{glob.escape(_scratch(place))}*"):
        shutil.rmtree(left, ignore_errors=True)


def _scratch(place: Path) -> str:
    return f".preparing-{place.stem}-"


# -- Reading -----------------------------------------------------------------------------------------------


def _read(source: Source, skip: bool | None) -> Prepared | None:
    """The array in the cache if it is up to date, or None. If `skip` is False, no images may have been left out."""
    place = where(source)
    try:
        manifest = _manifest(place.with_suffix(".json"))
        rows = map_rows(place)
        labels = _read_labels(_labels(place), source.classes) if manifest["labels"] else None
        same = manifest == _manifest(place.with_suffix(".json"))
        whole = [manifest["count"], *manifest["shape"]] == list(rows.shape)
        skipped = manifest["skipped"]
    except (OSError, ValueError, EOFError):  # missing or damaged: make it again
        return None
    whole = whole and (labels is None or labels.shape == rows.shape[:1])
    fits = all(manifest.get(key) == value for key, value in _wanted(source).items())
    return (
        Prepared(rows, labels, manifest)
        if same and whole and fits and not (skip is False and skipped)
        else None
    )


def _manifest(file: Path) -> dict[str, Any]:
    """Read a manifest. Raises ValueError if there is none."""
    found: dict[str, Any] = read_json(file, MANIFEST)
    return found


def _read_labels(file: Path, classes: int) -> Tensor:
    """Read the labels. Raises ValueError if they are incomplete, another kind, or not of 0 to `classes` - 1."""
    require_file(file)
    found = np.lib.format.open_memmap(
        file, mode="r"
    )  # which, unlike np.load, makes no room that a header asks for
    if found.dtype != np.int64 or found.min(initial=0) < 0 or found.max(initial=0) >= classes:
        raise ValueError(f"{file} has no labels of 0 to {classes - 1}")
    return torch.from_numpy(np.array(found))


def map_rows(place: Path) -> Tensor:
    """Map an .npy file of bytes into memory, copy-on-write. Raises ValueError if it is incomplete or another kind.

    The mapping reserves no memory. Otherwise Linux refuses a writable map of a file larger than the machine's memory.
    """
    require_file(place)
    with place.open("rb") as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("another version of npy")
        shape, columns_first, dtype = np.lib.format.read_array_header_1_0(file)
        start = file.tell()
        if sys.platform == "linux":
            flags, protection = mmap.MAP_PRIVATE | NORESERVE, mmap.PROT_READ | mmap.PROT_WRITE
            mapped = mmap.mmap(file.fileno(), 0, flags=flags, prot=protection)
        else:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    if dtype != np.uint8 or columns_first or len(mapped) != start + math.prod(shape):
        raise ValueError("not a whole array of bytes")
    return torch.from_numpy(np.frombuffer(mapped, np.uint8, offset=start).reshape(shape))


def _read_directly(source: Source) -> Data:
    blocks = list(source.blocks(False))
    images = np.concatenate([block.images for block in blocks])
    labels = [block.labels for block in blocks if block.labels is not None]
    data = Data(source.name, tuple(images.shape[1:]), torch.from_numpy(images))
    if not labels:
        return data
    return data._replace(labels=torch.from_numpy(np.concatenate(labels)), classes=source.classes)


# -- Writing -----------------------------------------------------------------------------------------------


def _labels(place: Path) -> Path:
    return place.with_suffix(".labels.npy")


def _write(place: Path, source: Source, skip: bool) -> None:
    """Write array, labels and manifest, completely or not at all.

    The old manifest is removed first and the new one written last, so that no manifest describes a partial array.
    """
    with tempfile.TemporaryDirectory(prefix=_scratch(place), dir=place.parent) as scratch:
        array, labels, manifest = (Path(scratch, name) for name in ("images.npy", "labels.npy", "manifest"))
        facts = _fill(array, labels, source, skip)
        manifest.write_text(json.dumps(_wanted(source) | facts, indent=1))
        place.with_suffix(".json").unlink(missing_ok=True)
        array.replace(place)
        if facts["labels"]:
            labels.replace(_labels(place))
        manifest.replace(place.with_suffix(".json"))


def _fill(array: Path, labels: Path, source: Source, skip: bool) -> dict[str, Any]:
    """Write all blocks of a source to the .npy files `array` and `labels`. Returns count, shape and skipped images."""
    shape: tuple[int, ...] = ()
    corrupt: list[tuple[str, str]] = []
    count, classes = 0, []
    with array.open("wb") as file:
        file.seek(HEADER)
        for block in source.blocks(skip):
            if len(block.images):
                shape = block.images.shape[1:]
                file.write(np.ascontiguousarray(block.images).data)
            count += len(block.images)
            corrupt += block.corrupt
            if block.labels is not None:
                classes.append(block.labels)
            report(f"preparing {source.name}", count + len(corrupt), source.total)
        check_count(source, count, len(corrupt), *(why for _, why in corrupt[:1]))
        file.seek(0)
        file.write(_header((count, *shape)))
        file.flush()
        os.fsync(file.fileno())
    if classes:
        np.save(labels, np.concatenate(classes).astype(np.int64))
    return {
        "count": count,
        "shape": list(shape),
        "classes": source.classes,
        "labels": bool(classes),
        "skipped": [name for name, _ in corrupt],
        "reasons": [why for _, why in corrupt],
    }


def check_count(source: Source, count: int, skipped: int, why: str = "") -> None:
    """Raise UsageError unless `count` decoded and `skipped` images are as many as the source should have.

    `why` says why the first of the skipped could not be decoded.
    """
    if count + skipped != source.total:
        raise UsageError(
            f"{source.place} has {count + skipped} images instead of {source.total}; download or copy it again"
        )
    if not count:
        raise UsageError(
            f"none of the {skipped} images in {source.place} can be decoded{f' ({why})' if why else ''}; copy the data "
            "set again"
        )


def _header(shape: tuple[int, ...]) -> bytes:
    """The header of an .npy file of bytes. Its length is fixed, so that it can be written last, with the count.

    >>> len(_header((3, 1, 2, 2))) == HEADER == len(_header((10**9, 3, 1024, 1024)))
    True
    """
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    return (
        b"\x93NUMPY\x01\x00" + (HEADER - 10).to_bytes(2, "little") + text.ljust(HEADER - 11).encode() + b"\n"
    )
