"""A set's images in one array on disk, made once and mapped into memory: read at memory speed, shared by processes.

The array (.npy), its labels (.labels.npy) where there are some, and a manifest (.json: the source, a fingerprint of
its files, resize filter and crop, count and shape, what was left out) lie in $STEADYGAN_CACHE, else in the user's
cache folder. A source that changed since is read again.
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from steadygan.data.dataset import Data
from steadygan.data.sources import Source
from steadygan.errors import UsageError
from steadygan.files import cache_folder

__all__ = ["RULES", "check_count", "load", "manifests", "map_rows", "prepare", "where", "with_test"]

RULES = 1  # raise it when images come to be decoded differently, so that older arrays are not used
HEADER = 128  # bytes before the first image
NAME = 50  # letters of a set's name in that of its files
NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)


class Prepared(NamedTuple):
    """What a manifest describes: rows [n, *shape] uint8, mapped; labels [n] int64; the manifest itself."""

    rows: Tensor
    labels: Tensor | None
    manifest: dict[str, Any]


def load(source: Source) -> Data:
    """Give a source's images as data: from its prepared array, which is made first where it is not up to date.

    The rows are mapped copy-on-write: writing to them changes neither the file nor another process. Corrupt images
    that `prepare` was asked to skip stay left out. Raises UsageError as `prepare` does.
    """
    if source.direct:
        return _read_directly(source)
    found, place = _made(source, None), where(source)
    shape = tuple(found.rows.shape[1:])
    return Data(source.name, shape, found.rows, labels=found.labels, classes=source.classes, mapped=place)


def with_test(data: Data, split: str, test: Callable[[], Source]) -> Data:
    """The training part of a set with its published test part as what is held out, where that is there."""
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
    """Make the array of a source where it is not up to date, and give its manifest.

    With `skip` corrupt images are left out and named in the manifest. Raises UsageError for images that are corrupt
    (all are named) or unlike the first, for more or fewer than the set has, and for a cache that cannot be written.
    """
    return _made(source, skip).manifest


def where(source: Source) -> Path:
    """The file in the cache that a source's array has or would have."""
    return cache_folder() / f"{_stem(source)}-{_hash(_key(source))[:16]}.npy"


def manifests(source: Source) -> Iterator[tuple[Path, dict[str, Any], bool]]:
    """Every array made of a source's part, by whatever options: its file, manifest, and whether it is up to date."""
    part = {"source": str(source.place.resolve())} | {k: source.options.get(k) for k in ("split", "below")}
    for file in sorted(cache_folder().glob(f"{glob.escape(_stem(source))}-*.json")):
        with suppress(OSError, ValueError):
            manifest = json.loads(file.read_text())
            if all(manifest.get(key) == value for key, value in part.items()):
                array, size = file.with_suffix(".npy"), math.prod((manifest["count"], *manifest["shape"]))
                same = (manifest["rules"], manifest["fingerprint"]) == (RULES, _hash(source.entries))
                yield array, manifest, same and array.stat().st_size == HEADER + size


def _stem(source: Source) -> str:
    """The set's name, or as much of it as a file's name has room for."""
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
            with _alone(place):
                if _read(source, skip) is None:  # nobody made it meanwhile
                    _write(place, source, bool(skip))
        except OSError as error:
            raise UsageError(
                f"the decoded images cannot be written to {place.parent} ({error.strerror}); "
                "set STEADYGAN_CACHE to a folder with room"
            ) from error
        found = _read(source, skip)
    if found is None:
        raise UsageError(f"{source.place} changed while it was read; leave it in peace and try again")
    return found


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Let one process at a time make `place`; where files cannot be locked (Windows), each makes it for itself."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    path = place.with_suffix(".lock")
    while True:
        with path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                held = os.path.samestat(os.fstat(file.fileno()), path.stat())
            except FileNotFoundError:  # the one who had it took the file away
                held = False
            if held:
                _clear(place)
                try:
                    yield
                finally:
                    path.unlink(missing_ok=True)
                return


def _clear(place: Path) -> None:
    """Take away what processes that were killed while they made `place` left: as large as the set, maybe."""
    for left in place.parent.glob(f"{glob.escape(_scratch(place))}*"):
        shutil.rmtree(left, ignore_errors=True)


def _scratch(place: Path) -> str:
    return f".preparing-{place.stem}-"


# -- Reading -----------------------------------------------------------------------------------------------


def _read(source: Source, skip: bool | None) -> Prepared | None:
    """What lies in the cache, if it is what is wanted: with images left out only if `skip` is not False."""
    place = where(source)
    try:
        manifest = json.loads(place.with_suffix(".json").read_text())
        rows = map_rows(place)
        labels = torch.from_numpy(np.load(_labels(place))) if manifest["labels"] else None
        same = manifest == json.loads(place.with_suffix(".json").read_text())
        whole = [manifest["count"], *manifest["shape"]] == list(rows.shape)
        skipped = manifest["skipped"]
    except (OSError, ValueError, EOFError, KeyError, TypeError):  # not there, or cut short: make it again
        return None
    whole = whole and (labels is None or labels.shape == rows.shape[:1])
    fits = all(manifest.get(key) == value for key, value in _wanted(source).items())
    return (
        Prepared(rows, labels, manifest)
        if same and whole and fits and not (skip is False and skipped)
        else None
    )


def map_rows(place: Path) -> Tensor:
    """Map an .npy file of bytes into memory, copy-on-write. Raises ValueError where it is cut short or another kind.

    The mapping reserves no memory: Linux else refuses to map a set larger than the machine's memory for writing.
    """
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
    """Write array, labels and manifest whole or not at all: the old manifest goes first, the new one comes last."""
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
    """Write all blocks of a source to the .npy files `array` and `labels`; give count, shape and what was skipped."""
    shape: tuple[int, ...] = ()
    count, classes, skipped = 0, [], []
    with array.open("wb") as file:
        file.seek(HEADER)
        for block in source.blocks(skip):
            if len(block.images):
                shape = block.images.shape[1:]
                file.write(np.ascontiguousarray(block.images).data)
            count += len(block.images)
            skipped += [name for name, _ in block.corrupt]
            if block.labels is not None:
                classes.append(block.labels)
        check_count(source, count, len(skipped))
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
        "skipped": skipped,
    }


def check_count(source: Source, count: int, skipped: int) -> None:
    """Raise UsageError unless `count` images that could be read and `skipped` ones are what the source should hold."""
    if count + skipped != source.total:
        raise UsageError(
            f"{source.place} holds {count + skipped} images instead of {source.total}; download or copy it again"
        )
    if not count:
        raise UsageError(f"none of the {skipped} images in {source.place} can be decoded; copy the set again")


def _header(shape: tuple[int, ...]) -> bytes:
    """The header of an .npy file of bytes, always as long, so that it can be written when the count is known.

    >>> len(_header((3, 1, 2, 2))) == HEADER == len(_header((10**9, 3, 1024, 1024)))
    True
    """
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    return (
        b"\x93NUMPY\x01\x00" + (HEADER - 10).to_bytes(2, "little") + text.ljust(HEADER - 11).encode() + b"\n"
    )
