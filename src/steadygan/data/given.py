"""Data that a program already has: tensors, arrays, and datasets of torch and of Hugging Face."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from steadygan.data.dataset import Data
from steadygan.data.items import check_dataset, indexed, rows, sample, size_of, split, tensor
from steadygan.data.own_streams import stream_of
from steadygan.data.reading import ARRAYS, MOST, in_memory, read, with_held
from steadygan.data.stream_data import REFERENCE, most_rows
from steadygan.errors import UsageError

__all__ = ["given"]

Note = Callable[[str], None]


def given(samples: Any, labels: Any = None, *, held: Any = None, note: Note = lambda text: None) -> Data:
    """The data set of samples [n, ...], with labels [n] if given: whole numbers from 0.

    `samples` are a tensor, a numpy array, a list of either, or a dataset of torch, map-style or iterable, whose items
    are samples, pairs (sample, label) or dictionaries of these. Whole numbers of 8 bits are images 0..255, which
    networks see in [-1, 1]; floating point is seen as it is. An image array [n, H, W, 1 or 3] of numpy is turned to
    [n, C, H, W]. A map-style dataset of up to 4 GiB, and an iterable one of up to 10,000 samples, is read into memory
    once. A larger one is a `stream`. `note` gets a sentence on what that means. `held` are samples held out of
    training. Raises UsageError for anything else.

    >>> import numpy as np
    >>> given(torch.zeros(5, 2)).shape, given(np.zeros((5, 8, 8, 3), np.uint8), [0, 1, 0, 1, 0]).classes
    ((2,), 2)
    """
    data = _arrays(samples, labels, note) if isinstance(samples, ARRAYS) else _dataset(samples, labels, note)
    return with_held(data, held)


def _arrays(samples: Any, labels: Any, note: Note) -> Data:
    """Rows in memory as a data set."""
    x = rows(samples, note)
    y, classes = _labels(labels, len(x), note)
    return Data("own", tuple(x.shape[1:]), rows=x, labels=y, classes=classes)


def _dataset(dataset: Any, labels: Any, note: Note) -> Data:
    """A dataset in memory where it is small, else as a stream. An iterator can be read once only: it is no stream."""
    check_dataset(dataset)
    first, numbered, once = None, indexed(dataset), isinstance(dataset, Iterator)
    if not numbered or not _is_large(dataset):
        first, whole = read(dataset, None if numbered or once else most_rows)
        if whole or once:
            x, found = in_memory(dataset, first, whole, note)
            return _arrays(x, found if labels is None else labels, note)
    if labels is not None:
        raise UsageError(
            "labels belong to tensors and arrays: let the items of a stream be pairs (sample, label)"
        )
    note(
        f"{type(dataset).__name__} is read while training goes on: up to {REFERENCE:,} of its samples are kept in "
        "memory, for scores and pictures"
    )
    return stream_of(dataset, first, note=note)


def _labels(labels: Any, count: int, note: Note) -> tuple[Tensor | None, int]:
    """Labels as int64 [n], and the number of classes."""
    if labels is None:
        return None, 0
    y = tensor(labels, "labels").cpu()
    if y.shape != (count,) or y.is_floating_point() or y.is_complex():
        raise UsageError(
            f"labels must be {count} whole numbers, one for each sample, not {y.dtype} {list(y.shape)}"
        )
    y = y.to(torch.int64)
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= count:
        raise UsageError(
            f"labels must count the classes from 0, but here they are {low} to {high} for {count} samples: number the "
            "classes anew"
        )
    seen = len(y.unique())
    if seen <= high:
        note(
            f"{high + 1 - seen} of the labels 0 to {high} have no sample, and G is asked for them all the same: number "
            "the classes anew"
        )
    return y, high + 1


def _is_large(dataset: Any) -> bool:
    """Whether a map-style dataset has more than `MOST` bytes, by its first item."""
    if not len(dataset):
        return False
    one = sample(split(read(dataset, lambda _: 1)[0][0])[0])
    return len(dataset) * size_of(one) > MOST
