"""Where a set's images come from: the files that were found, and how they are read a block at a time."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from steadygan.data.dataset import Data
from steadygan.data.image_files import Entry
from steadygan.errors import UsageError, nearest
from steadygan.files import user_path

__all__ = ["BLOCK", "Block", "ClassifierPlan", "DataSet", "Source", "find", "places", "stat"]

BLOCK = 256
"""Images a block: what a thread decodes at a time, and what is held in memory at once."""


class Block(NamedTuple):
    """Consecutive images [k, channels, height, width] uint8, their labels [k], and files that are corrupt, and why."""

    images: np.ndarray
    labels: np.ndarray | None = None
    corrupt: Sequence[tuple[str, str]] = ()


class Source(NamedTuple):
    """A set that was found: its files at `place`, and `blocks(skip)`, which reads its `total` images in order.

    `options` are plain values that make another array of the same files. With `skip` corrupt images are left out
    and named in their block; without, they are a UsageError at the end. A `direct` source is small and is read from
    its files each time; the others are prepared once.
    """

    name: str
    place: Path
    entries: list[Entry]
    total: int
    blocks: Callable[[bool], Iterator[Block]]
    options: dict[str, Any]
    classes: int = 0
    direct: bool = False


class ClassifierPlan(NamedTuple):
    """How the classifier of a data set's own classes is trained: steps, and the width of its network."""

    steps: int
    width: int


class DataSet(NamedTuple):
    """All that is known of a named set of images.

    `load(root, ...)` gives its data and `source(root, split, ...)` where its files are. `shape` is None where it is
    chosen, `counts` are images by split, `files` the MD5 of published files by name. `get` says in words how to come by
    it, after "was not found;". `labels` names its classes in the order of their numbers. `padding` is the border of
    zeros that it is shown with, `classifier` how its classifier is trained, if it has one.
    """

    name: str
    title: str
    load: Callable[..., Data]
    source: Callable[..., Source]
    shape: tuple[int, int, int] | None
    classes: int
    counts: Mapping[str, int]
    get: str
    files: Mapping[str, str] = MappingProxyType({})
    labels: tuple[str, ...] = ()
    padding: int = 0
    classifier: ClassifierPlan | None = None

    def missing(self) -> UsageError:
        """The sentence for a set that is not there: how to get it, and how to name its place."""
        return UsageError(
            f"{self.title} was not found; {self.get}, and name the folder that holds it with --data-root or "
            "STEADYGAN_DATA"
        )

    def count(self, split: str) -> int:
        """How many images a split has. Raises UsageError for a split that the set has not."""
        if split not in self.counts:
            raise UsageError(f"{self.title} has no split {split!r}; {nearest(split, self.counts)}")
        return self.counts[split]


def places(root: str | Path | None) -> list[Path]:
    """Give the user's data folders, most explicit first; one that does not exist is a slip worth an error.

    >>> places("/no/such/folder")
    Traceback (most recent call last):
    steadygan.errors.UsageError: the data folder /no/such/folder does not exist; correct --data-root or STEADYGAN_DATA
    """
    found = [user_path(place) for place in (root, os.environ.get("STEADYGAN_DATA")) if place]
    for place in found:
        if not place.exists():
            raise UsageError(f"the data folder {place} does not exist; correct --data-root or STEADYGAN_DATA")
    return found


def find(folders: Iterable[Path], names: Iterable[str]) -> Path | None:
    """The first of `names` in the first folder that has one; a folder or file of such a name stands for itself, also
    as "." or under another name.

    >>> find([Path(__file__).parent], ["none.py", "sources.py"]).name, find([Path(__file__)], ["sources.py"]).name
    ('sources.py', 'sources.py')
    """
    named = list(names)
    for place in folders:
        for name in named:
            if name in (place.name, place.resolve().name):
                return place
            if (place / name).exists():
                return place / name
    return None


def stat(place: Path, names: Iterable[str]) -> list[Entry]:
    """The entries of an archive itself, or of the named files in a folder. Raises UsageError where one is not there."""
    files = {name: place / name for name in names} if place.is_dir() else {place.name: place}
    for name, file in files.items():
        if not file.is_file():
            raise UsageError(f"{place} has no file {name}; unpack or copy the whole set again")
    stats = {name: file.stat() for name, file in files.items()}
    return [Entry(name, found.st_size, found.st_mtime_ns) for name, found in stats.items()]
