"""CIFAR-10 and CIFAR-100, from the original archives of Python pickles. CIFAR-10 also from image files."""

from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from steadygan.data.archives import contents, reading
from steadygan.data.array_cache import load, with_test
from steadygan.data.dataset import Data
from steadygan.data.decoding import Fit, image_source
from steadygan.data.image_files import Listing, list_images, shape_text
from steadygan.data.safe_pickle import read_pickle
from steadygan.data.sources import Block, ClassifierPlan, DataSet, Source, find, places, stat
from steadygan.errors import UsageError

__all__ = ["CIFAR10", "CIFAR100", "cifar10", "cifar100"]


BATCH = 2**28
"""Bytes of the largest pickle that is read; CIFAR-100's training images have 155 MB."""


class Archive(NamedTuple):
    """The layout of an archive: its file, its folder, the pickles of each split, and the key of the labels."""

    file: str
    folder: str
    batches: dict[str, list[str]]
    labels: str


ARCHIVE10 = Archive(
    "cifar-10-python.tar.gz",
    "cifar-10-batches-py",
    {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]},
    "labels",
)
ARCHIVE100 = Archive(
    "cifar-100-python.tar.gz", "cifar-100-python", {"train": ["train"], "test": ["test"]}, "fine_labels"
)


def cifar10(root: str | Path | None = None, split: str = "train") -> Data:
    """Load CIFAR-10: 50,000 ("train") or 10,000 ("test") images 3x32x32, with labels 0 to 9 in alphabetical order.

    It is searched in `root` and then in $STEADYGAN_DATA. Either is or contains cifar-10-python.tar.gz, its folder
    cifar-10-batches-py, or image files. Image files are cifar10/{train,test}/CLASS/NNNN.jpg in a folder or in a zip
    (cifar10-jpeg.zip or cifar10.zip). Raises UsageError if the data set is missing, incomplete, damaged or unsafe to
    read. Source: Krizhevsky 2009.

    >>> cifar10(split="tests")
    Traceback (most recent call last):
    steadygan.errors.UsageError: CIFAR-10 has no split 'tests'; did you mean 'test'?
    """
    return with_test(load(cifar10_source(root, split)), split, partial(cifar10_source, root, "test"))


def cifar100(root: str | Path | None = None, split: str = "train") -> Data:
    """Load CIFAR-100: 50,000 ("train") or 10,000 ("test") images 3x32x32, with the fine labels 0 to 99.

    The classes are in alphabetical order. The data set is searched in `root` and then in $STEADYGAN_DATA. Either is or
    contains cifar-100-python.tar.gz or its folder cifar-100-python. Raises UsageError if the data set is missing,
    incomplete, damaged or unsafe to read. Source: Krizhevsky 2009.

    >>> cifar100(split="tests")
    Traceback (most recent call last):
    steadygan.errors.UsageError: CIFAR-100 has no split 'tests'; did you mean 'test'?
    """
    return with_test(load(cifar100_source(root, split)), split, partial(cifar100_source, root, "test"))


def cifar10_source(root: str | Path | None = None, split: str = "train") -> Source:
    """Find CIFAR-10, in each folder first its original files, then image files. Raises UsageError if it is missing."""
    CIFAR10.count(split)
    for place in places(root):
        original = find([place], (ARCHIVE10.file, ARCHIVE10.folder))
        if original:
            return _pickled(CIFAR10, original, ARCHIVE10, split)
        images = _find_images(place)
        if images:
            return _image_files(images, split)
    raise CIFAR10.missing()


def cifar100_source(root: str | Path | None = None, split: str = "train") -> Source:
    """Find CIFAR-100. Raises UsageError if it is missing."""
    CIFAR100.count(split)
    original = find(places(root), (ARCHIVE100.file, ARCHIVE100.folder))
    if original is None:
        raise CIFAR100.missing()
    return _pickled(CIFAR100, original, ARCHIVE100, split)


# -- Pickles -----------------------------------------------------------------------------------------------


def _pickled(known: DataSet, place: Path, archive: Archive, split: str) -> Source:
    files, classes = archive.batches[split], known.classes

    def blocks(skip: bool) -> Iterator[Block]:
        with reading(place, archive.folder) as read:
            for file in files:
                named = f"{file} in {place}"
                table = read_pickle(contents(read(file), named, BATCH), named)
                yield _batch(table, archive.labels, classes, named)

    count = known.count(split)
    return Source(known.name, place, stat(place, files), count, blocks, {"split": split}, classes)


def _batch(table: dict[str, Any], key: str, classes: int, place: str) -> Block:
    """The images and labels of a batch. An image is 1,024 bytes of red, then green, then blue, row by row."""
    data, labels = table.get("data"), table.get(key)
    if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != 3072:
        shape = shape_text(data.shape) if isinstance(data, np.ndarray) else "no"
        raise UsageError(f"{place} has {shape} values instead of n x 3072; download the data set again")
    listed = labels if isinstance(labels, list) else []
    whole = all(type(label) is int and 0 <= label < classes for label in listed)
    if not whole or len(listed) != len(data):
        raise UsageError(
            f"{place} does not have one label ({key}) of 0 to {classes - 1} for each of its {len(data)} images; "
            "download the data set again"
        )
    return Block(data.reshape(-1, 3, 32, 32), np.array(listed, np.int64))


# -- Image files -------------------------------------------------------------------------------------------


def _find_images(place: Path) -> Path | None:
    archives = (place, place / "cifar10-jpeg.zip", place / "cifar10.zip")
    archive = next((path for path in archives if path.is_file()), None)
    return archive or (place if (place / "cifar10").is_dir() else None)


def _listed(place: Path, below: str) -> Listing:
    """The image files of a split. A zip lists all its files, so those of both splits are listed at once."""
    if place.is_dir():
        return list_images(place, below)
    found = place.stat()
    _, _, entries, others = _listed_zip(place, found.st_mtime_ns, found.st_size)
    prefix = f"{below}/"
    return Listing(
        place,
        below,
        [entry for entry in entries if entry.name.startswith(prefix)],
        [name for name in others if name.startswith(prefix)],
    )


@lru_cache(maxsize=1)
def _listed_zip(place: Path, changed: int, size: int) -> Listing:
    """The image files of a zip as it is: one with another time of change or size is listed again."""
    return list_images(place, "cifar10")


def _image_files(place: Path, split: str) -> Source:
    count, listing = CIFAR10.count(split), _listed(place, f"cifar10/{split}")
    if len(listing.entries) != count:
        raise UsageError(
            f"cifar10/{split} in {place} has {len(listing.entries)} images instead of {count}; "
            "unpack or copy the data set again"
        )
    source = image_source("cifar10", listing, Fit(colour="rgb"))

    def blocks(skip: bool) -> Iterator[Block]:
        for block in source.blocks(skip):
            if len(block.images) and block.images.shape[1:] != (3, 32, 32):
                raise UsageError(
                    f"{place} has {shape_text(block.images.shape[1:])} images instead of 3x32x32; use the originals of "
                    "CIFAR-10"
                )
            yield block

    return source._replace(blocks=blocks)


# -- What is known of them ---------------------------------------------------------------------------------


CIFAR10 = DataSet(
    "cifar10",
    "CIFAR-10",
    cifar10,
    cifar10_source,
    shape=(3, 32, 32),
    classes=10,
    counts={"train": 50_000, "test": 10_000},
    get="download cifar-10-python.tar.gz (170 MB) from its home page, or provide image files as cifar10-jpeg.zip, "
    "cifar10.zip or cifar10/{train,test}/CLASS/NNNN.jpg",
    files={
        "cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a",
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
    },
    labels=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    classifier=ClassifierPlan(steps=4000, width=32),
)

CIFAR100 = DataSet(
    "cifar100",
    "CIFAR-100",
    cifar100,
    cifar100_source,
    shape=(3, 32, 32),
    classes=100,
    counts={"train": 50_000, "test": 10_000},
    get="download cifar-100-python.tar.gz (169 MB) from its home page",
    files={
        "cifar-100-python.tar.gz": "eb9058c3a382ffc7106e4002c42a8d85",
        "train": "16019d7e3df5f24257cddd939b257f8d",
        "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    },
)
