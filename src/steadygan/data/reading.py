"""Datasets that are read into memory once."""

from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
from torch import Tensor

from steadygan.data.dataset import Data
from steadygan.data.items import items, rewound, rows, sample, size_of, split, stacked
from steadygan.data.seeding import seeded_globals
from steadygan.errors import UsageError

__all__ = ["ARRAYS", "MOST", "in_memory", "read", "with_held"]

MOST = 2**32
"""Bytes of samples up to which a dataset is read into memory. A step takes rows by their numbers, from memory."""

ARRAYS = (Tensor, np.ndarray, list, tuple)
"""What holds samples in memory already."""

Note = Callable[[str], None]


def read(dataset: Any, most: Callable[[Tensor], int] | None = None) -> tuple[list[Any], bool]:
    """The first items of a dataset, and whether these are all.

    They are `most(first sample)`, or as many as `MOST` bytes hold. Random transforms fall in the same way every time.
    """
    with rewound(dataset), seeded_globals("data"):
        found = items(dataset)
        first = next(found, None)
        if first is None:
            raise UsageError("the dataset is empty: give one with two samples or more")
        one = sample(split(first)[0])
        count = most(one) if most else max(2, MOST // size_of(one))
        kept = [first, *islice(found, count - 1)]
        return kept, len(kept) < count or next(found, None) is None


def in_memory(dataset: Any, kept: list[Any], whole: bool, note: Note) -> tuple[Tensor, list[Any] | None]:
    """The items of a dataset as one tensor, and their labels if it has some. `note` gets what this means."""
    parts = [split(item) for item in kept]
    if not whole:
        note(
            f"the first {len(kept):,} samples of the dataset were read, {MOST / 2**30:.3g} GiB: the rest is left out"
        )
    note(
        f"{len(kept):,} samples of {type(dataset).__name__} were read once: its random transforms stay as they fell "
        "(for new ones at every step use augment=)"
    )
    labels = [item[1] for item in parts if len(item) == 2] if len(parts[0]) == 2 else None
    return stacked([sample(item[0]) for item in parts]), labels


def with_held(data: Data, held: Any) -> Data:
    """The data set with samples that are held out of training. Raises UsageError for those of another shape."""
    if held is None:
        return data
    found = held if isinstance(held, ARRAYS) else in_memory(held, *read(held), _silent)[0]
    others = rows(found, _silent)
    if others.shape[1:] != data.shape:
        raise UsageError(
            f"held-out samples have shape {list(others.shape[1:])}, but those of training {list(data.shape)}: give "
            "both in one shape"
        )
    if data.rows is not None and others.is_floating_point() != data.rows.is_floating_point():
        raise UsageError(
            f"held-out samples are {others.dtype}, but those of training {data.rows.dtype}: give both in one type: "
            "bytes are scaled to [-1, 1]"
        )
    return data._replace(held=lambda: others)


def _silent(text: str) -> None:
    """Take no note."""
