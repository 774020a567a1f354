"""The source of a data set: the files that were found, and how they are read one block at a time."""

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
"""Images per block: as many are decoded by a thread and kept in memory at once."""


class Block(NamedTuple):
    """Consecutive images [k, channels, height, width] uint8, their labels [k], and corrupt files with the reason."""

    images: np.ndarray
    labels: np.ndarray | None = None
    corrupt: Sequence[tuple[str, str]] = ()


class Source(NamedTuple):
    """A data set that was found: its files at `place`, and `blocks(skip)`, which reads its `total` images in order.

    `options` are plain values: with other options the same files give another array. With `skip` corrupt images are
    left out and named in their block. Without it they raise UsageError at the end. A `direct` source is small and read
    from its files each time. The others are prepared once, and a `forgiving` one then leaves corrupt images out.
    `notes` say what a user should know of the files, such as those that are not images.
    """

    name: str
    place: Path
    entries: list[Entry]
    total: int
    blocks: Callable[[bool], Iterator[Block]]
    options: dict[str, Any]
    classes: int = 0
    direct: bool = False
    forgiving: bool = False
    notes: Sequence[str] = ()


class NotFound(UsageError):
    """A named data set is in none of the user's folders."""


class ClassifierPlan(NamedTuple):
    """How the classifier of a data set is trained: its steps and the width of its network."""

    steps: int
    width: int


class DataSet(NamedTuple):
    """All that is known of a named image data set.

    `load(root, ...)` returns its data and `source(root, split, ...)` its files. `shape` is None if the user chooses it.
    `counts` are images by split, and `files` the MD5 of published files by name. `get` tells the user how to get the
    data set. `labels` names the classes in the order of their numbers. `padding` is the border of zeros that networks
    see. `classifier` says how its classifier is trained, if it has one.
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

    def missing(self) -> NotFound:
        """The error for a missing data set: how to get it, and how to name its folder."""
        return NotFound(
            f"{self.title} was not found; {self.get}, and name its folder with --data-root or STEADYGAN_DATA"
        )

    def count(self, split: str) -> int:
        """The number of images in a split. Raises UsageError for an unknown split."""
        if split not in self.counts:
            raise UsageError(f"{self.title} has no split {split!r}; {nearest(split, self.counts)}")
        return self.counts[split]


def places(root: str | Path | None) -> list[Path]:
    """The user's data folders: `root`, then $STEADYGAN_DATA. Raises UsageError for one that does not exist.

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
    """The first of `names` in the first folder that has one, or None.

    A folder may also be the data set itself: then its own name is one of `names`, even if it is given as "." or a link.

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
    """The entry of an archive, or those of the named files in a folder. Raises UsageError if one is missing."""
    files = {name: place / name for name in names} if place.is_dir() else {place.name: place}
    for name, file in files.items():
        if not file.is_file():
            raise UsageError(f"{place} has no file {name}; unpack or copy the data set again")
    stats = {name: file.stat() for name, file in files.items()}
    return [Entry(name, found.st_size, found.st_mtime_ns) for name, found in stats.items()]
