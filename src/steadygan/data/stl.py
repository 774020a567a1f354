"""STL-10, from the original binary files: 96x96, stored by columns, and resized when they are prepared."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np

from steadygan.data.archives import contents, reading
from steadygan.data.array_cache import load, with_test
from steadygan.data.dataset import Data
from steadygan.data.decoding import Fit, fit_all
from steadygan.data.sources import BLOCK, Block, DataSet, Source, find, places, stat
from steadygan.errors import UsageError
from steadygan.files import BINARY

__all__ = ["STL10", "stl10"]

SIDE = 96
IMAGE = 3 * SIDE * SIDE  # bytes


def stl10(
    root: str | Path | None = None, split: str = "unlabeled", size: int = 48, filter: str = "lanczos"
) -> Data:
    """Load STL-10: images 3 x size x size, 100,000 "unlabeled", or 5,000 "train" or 8,000 "test" with labels 0 to 9.

    It is searched in `root` and then in $STEADYGAN_DATA. Either is or contains stl10_binary.tar.gz or its folder
    stl10_binary. Images are resized from 96x96 by `filter`, which published scores do not state. Raises UsageError if
    the data set is missing, incomplete or of another size. Source: Coates, Lee and Ng 2011.

    >>> stl10(split="labeled")
    Traceback (most recent call last):
    steadygan.errors.UsageError: STL-10 has no split 'labeled'; did you mean 'unlabeled'?
    """
    found = load(stl10_source(root, split, size, filter))
    shown = "train" if split == "unlabeled" else split
    return with_test(found, shown, partial(stl10_source, root, "test", size, filter))


def stl10_source(
    root: str | Path | None = None, split: str = "unlabeled", size: int = 48, filter: str = "lanczos"
) -> Source:
    """Find STL-10. Raises UsageError if it is missing, and for an unknown size or filter."""
    count, how = STL10.count(split), Fit(size, filter, "none").check().of(SIDE)
    place = find(places(root), ("stl10_binary.tar.gz", "stl10_binary"))
    if place is None:
        raise STL10.missing()
    labelled = split != "unlabeled"
    files = [f"{split}_X.bin"] + [f"{split}_y.bin"] * labelled

    def blocks(skip: bool) -> Iterator[Block]:
        with reading(place, "stl10_binary") as read:
            labels = _labels(read(files[1]), count, f"{files[1]} in {place}") if labelled else None
            with read(files[0]) as file:
                for start in range(0, count, BLOCK):
                    images = _images(file, min(BLOCK, count - start), f"{files[0]} in {place}", count)
                    yield Block(
                        fit_all(images, how), None if labels is None else labels[start : start + BLOCK]
                    )
                if file.read(1):
                    raise UsageError(
                        f"{files[0]} in {place} has more than {count} images; download the data set again"
                    )

    options = {"split": split, **how.options()}
    classes = STL10.classes if labelled else 0
    return Source("stl10", place, stat(place, files), count, blocks, options, classes)


def _images(file: IO[bytes], count: int, place: str, total: int) -> np.ndarray:
    """The next images. An image is 96x96 bytes of red, then green, then blue, column by column."""
    raw = file.read(count * IMAGE)
    if len(raw) != count * IMAGE:
        raise UsageError(f"{place} has fewer than {total} images; download the data set again")
    return np.frombuffer(raw, np.uint8).reshape(count, 3, SIDE, SIDE).transpose(0, 1, 3, 2)


def _labels(file: IO[bytes], count: int, place: str) -> np.ndarray:
    """The labels, int64 from 0 on. In the file each is one byte, from 1 on."""
    labels = np.frombuffer(contents(file, place, BINARY), np.uint8)
    classes = STL10.classes
    if len(labels) != count or labels.min() < 1 or labels.max() > classes:
        raise UsageError(
            f"{place} does not have {count} labels of 1 to {classes}; download the data set again"
        )
    return labels.astype(np.int64) - 1


STL10 = DataSet(
    "stl10",
    "STL-10",
    stl10,
    stl10_source,
    shape=(3, 96, 96),
    classes=10,
    counts={"unlabeled": 100_000, "train": 5000, "test": 8000},
    get="download stl10_binary.tar.gz (2.6 GB) from its home page",
    files={
        "stl10_binary.tar.gz": "91f7769df0f17e558f3565bffb0c7dfb",
        "unlabeled_X.bin": "5242ba1fed5e4be9e1e742405eb56ca4",
        "train_X.bin": "918c2871b30a85fa023e0c44e0bee87f",
        "train_y.bin": "5a34089d4802c674881badbb80307741",
        "test_X.bin": "7f263ba9f9e0b06b93213547f721ac82",
        "test_y.bin": "36f9794fa4beb8a2c72628de14fa638e",
    },
)
