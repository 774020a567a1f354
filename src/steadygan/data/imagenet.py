"""ImageNet-64, from the official npz batches or from image files with one folder per class."""

import re
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tokenize import TokenError
from typing import IO
from zipfile import BadZipFile, ZipFile

import numpy as np

from steadygan.data.array_cache import load, with_test
from steadygan.data.dataset import Data
from steadygan.data.decoding import Fit, image_source
from steadygan.data.image_files import Entry, list_images, open_zip, shape_text
from steadygan.data.sources import BLOCK, Block, DataSet, Source, find, places
from steadygan.errors import UsageError

__all__ = ["IMAGENET64", "imagenet64"]

BATCHES = {"train": [f"train_data_batch_{i}.npz" for i in range(1, 11)], "test": ["val_data.npz"]}
VALUES = 3 * 64 * 64
FIT = Fit(64, "box", colour="rgb")
DAMAGED = (BadZipFile, EOFError, OSError, SyntaxError, TokenError, ValueError, zlib.error)
"""The errors that zipfile and numpy raise for a damaged file."""


def imagenet64(root: str | Path | None = None, split: str = "train") -> Data:
    """Load ImageNet-64: 1,281,167 ("train") or 50,000 validation ("test") images 3x64x64, with labels 0 to 999.

    It is searched in `root` and then in $STEADYGAN_DATA. Either contains the npz batches train_data_batch_1.npz to
    _10.npz and val_data.npz, at most two folders deep, or a folder or zip imagenet64 with `train/CLASS/*.png` and
    `val/CLASS/*.png`. Image files of another size are cropped to their central square and resized (box). The batches
    have their own order of classes, and folders have the alphabetical order. Raises UsageError if the data set is
    missing, incomplete, damaged or of another size. Source: Chrabaszcz, Loshchilov and Hutter 2017.

    >>> imagenet64(split="tests")
    Traceback (most recent call last):
    steadygan.errors.UsageError: ImageNet-64 has no split 'tests'; did you mean 'test'?
    """
    return with_test(load(imagenet64_source(root, split)), split, partial(imagenet64_source, root, "test"))


def imagenet64_source(root: str | Path | None = None, split: str = "train") -> Source:
    """Find ImageNet-64, in each folder first the batches, then image files. Raises UsageError if it is missing."""
    IMAGENET64.count(split)
    for place in places(root):
        batches = _find_batches(place, split)
        if batches:
            return _batched(place, batches, split)
        images = find([place], ("imagenet64", "imagenet64.zip"))
        if images:
            return _image_files(images, split)
    raise IMAGENET64.missing()


def _image_files(place: Path, split: str) -> Source:
    count, below = IMAGENET64.count(split), "val" if split == "test" else split
    listing = list_images(place, below)
    if not listing.entries:
        listing = list_images(place, f"imagenet64/{below}")
    if len(listing.entries) != count:
        raise UsageError(
            f"{below} in {place} has {len(listing.entries)} images instead of {count}; copy the data set again"
        )
    return image_source("imagenet64", listing, FIT)


# -- The official batches ----------------------------------------------------------------------------------


def _find_batches(place: Path, split: str) -> list[Path]:
    """All batches of a split in order, or an empty list if there are none. Raises UsageError if some are missing."""
    found = {file.name: file for depth in ("", "*/", "*/*/") for file in sorted(place.glob(f"{depth}*.npz"))}
    lacking = [name for name in BATCHES[split] if name not in found]
    if lacking and len(lacking) < len(BATCHES[split]):
        raise UsageError(
            f"{place} lacks {', '.join(lacking)} of ImageNet-64; download all batches of the split"
        )
    return [] if lacking else [found[name] for name in BATCHES[split]]


def _batched(place: Path, files: list[Path], split: str) -> Source:
    count, lengths = IMAGENET64.count(split), [_length(file) for file in files]
    if sum(lengths) != count:
        raise UsageError(
            f"the {split} batches of ImageNet-64 in {place} have {sum(lengths)} images instead of {count}; "
            "download the data set again"
        )

    def blocks(skip: bool) -> Iterator[Block]:
        for file, length in zip(files, lengths):
            yield from _blocks(file, length)

    stats = [(file, file.stat()) for file in files]
    entries = [Entry(file.relative_to(place).as_posix(), s.st_size, s.st_mtime_ns) for file, s in stats]
    return Source("imagenet64", place, entries, count, blocks, {"split": split}, IMAGENET64.classes)


def _length(file: Path) -> int:
    """The number of images in the header of a batch. Raises UsageError if they are not 64x64 images."""
    with open_zip(file) as archive, _member(archive, file, "data") as opened:
        shape, dtype = _header(opened, file)
    if dtype != np.uint8 or len(shape) != 2 or shape[1] != VALUES:
        raise UsageError(
            f"data in {file} is {shape_text(shape)} of {dtype} instead of n x {VALUES} bytes; "
            "download the 64x64 batches of ImageNet-64"
        )
    return shape[0]


def _blocks(file: Path, length: int) -> Iterator[Block]:
    """The images of a batch, read as a stream. An image is 4,096 bytes of red, then green, then blue, row by row."""
    labels = _labels(file, length)
    with open_zip(file) as archive, _member(archive, file, "data") as opened:
        _header(opened, file)
        for start in range(0, length, BLOCK):
            count = min(BLOCK, length - start)
            images = np.frombuffer(_read(opened, file, count * VALUES), np.uint8).reshape(count, 3, 64, 64)
            yield Block(images, labels[start : start + count])


def _labels(file: Path, length: int) -> np.ndarray:
    """The labels of a batch, int64 from 0 on. In the file they are 1 to 1000."""
    with open_zip(file) as archive, _member(archive, file, "labels") as opened:
        shape, dtype = _header(opened, file)
        whole = dtype.kind in "iu" and shape == (length,)
        raw = _read(opened, file, length * dtype.itemsize) if whole else b""
    labels, classes = np.frombuffer(raw, dtype if whole else np.uint8), IMAGENET64.classes
    if not whole or labels.min() < 1 or labels.max() > classes:
        raise UsageError(
            f"{file} does not have one label of 1 to {classes} for each of its {length} images; download it again"
        )
    return labels.astype(np.int64) - 1


def _member(archive: ZipFile, file: Path, name: str) -> IO[bytes]:
    try:
        return archive.open(f"{name}.npy")
    except (
        KeyError,
        NotImplementedError,
        RuntimeError,
        *DAMAGED,
    ) as error:  # RuntimeError: it needs a password
        raise UsageError(f"{file} has no array {name!r}; replace it with a batch of ImageNet-64") from error


def _header(opened: IO[bytes], file: Path) -> tuple[tuple[int, ...], np.dtype]:
    """Read the header of an array without unpickling: its shape and type. The values come next."""
    try:
        if (version := np.lib.format.read_magic(opened)) != (1, 0):  # others have headers of up to 4 GB
            raise ValueError(f"version {version[0]} of its header")
        shape, by_columns, dtype = np.lib.format.read_array_header_1_0(opened)
        if any(side < 0 for side in shape):
            raise ValueError(f"{shape_text(shape)} values")
    except DAMAGED as error:
        reason = re.split(r"[.\n]", str(error))[0]
        raise UsageError(f"{file} has a damaged array ({reason}); download it again") from error
    if by_columns and len(shape) > 1:
        raise UsageError(f"{file} is stored by columns instead of rows; download the official batches again")
    return shape, dtype


def _read(opened: IO[bytes], file: Path, count: int) -> bytes:
    try:
        raw = opened.read(count)
    except DAMAGED as error:
        raise UsageError(f"{file} is damaged ({error}); download it again") from error
    if len(raw) != count:
        raise UsageError(f"{file} is incomplete; download it again")
    return raw


IMAGENET64 = DataSet(
    "imagenet64",
    "ImageNet-64",
    imagenet64,
    imagenet64_source,
    shape=(3, 64, 64),
    classes=1000,
    counts={"train": 1_281_167, "test": 50_000},
    get="download the 64x64 npz batches (about 13 GB, after registering) from ImageNet's home page and unpack "
    "train_data_batch_1.npz to _10.npz and val_data.npz, or make a folder imagenet64/{train,val}/CLASS of images",
)
