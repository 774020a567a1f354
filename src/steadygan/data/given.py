"""Data that a program already has: tensors, arrays, and datasets of torch."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from steadygan.data.dataset import Data
from steadygan.errors import UsageError, said

__all__ = ["MOST", "given"]

MOST = 2**32
"""Bytes of samples that are read from a dataset at most. A training step takes rows by their numbers, from memory."""

Note = Callable[[str], None]


def given(samples: Any, labels: Any = None, *, held: Any = None, note: Note = lambda text: None) -> Data:
    """The data set of samples [n, ...], with labels [n] if given: whole numbers from 0.

    `samples` are a tensor, a numpy array, a list of either, or a dataset of torch, map-style or iterable, whose items
    are samples or pairs (sample, label). Whole numbers of 8 bits are images 0..255, which networks see in [-1, 1];
    floating point is seen as it is. An image array [n, H, W, 1 or 3] of numpy is turned to [n, C, H, W]. A dataset is
    read once, up to `MOST` bytes; `note` gets a sentence on what that means. `held` are samples held out of training.
    Raises UsageError for anything else.

    >>> given(torch.zeros(5, 2)).shape, given(np.zeros((5, 8, 8, 3), np.uint8), [0, 1, 0, 1, 0]).classes
    ((2,), 2)
    """
    rows, found = _loaded(samples, note)
    y, classes = _labels(found if labels is None else labels, len(rows), note)
    others = None if held is None else _loaded(held, note)[0]
    if others is not None and others.shape[1:] != rows.shape[1:]:
        raise UsageError(
            f"held-out samples have shape {list(others.shape[1:])}, but those of training {list(rows.shape[1:])}: give "
            "both in one shape"
        )
    return Data(
        "own",
        tuple(rows.shape[1:]),
        rows=rows,
        labels=y,
        classes=classes,
        held=None if others is None else lambda: others,
    )


def _loaded(samples: Any, note: Note) -> tuple[Tensor, list[Any] | None]:
    """Samples of any kind as one tensor, and the labels that a dataset has with them."""
    if isinstance(samples, Tensor | np.ndarray | list | tuple):
        return _rows(samples, note), None
    found, labels = _read(samples, note)
    return _rows(found, note), labels


def _rows(samples: Any, note: Note) -> Tensor:
    """Samples as one tensor [n, ...] on the CPU: uint8, or floating point and finite."""
    if isinstance(samples, list | tuple):
        samples = _stacked(samples)
    channels_last = isinstance(samples, np.ndarray) and _has_channels_last(samples.shape)
    x = _tensor(samples, "data").detach().cpu()
    if x.ndim < 2 or len(x) < 2 or not x.numel():
        raise UsageError(
            f"data must be two or more samples [n, ...], not of shape {list(x.shape)}: give one row each"
        )
    if x.dtype != torch.uint8 and not x.is_floating_point():
        raise UsageError(
            f"data of type {x.dtype} are neither images (uint8, 0..255) nor numbers as the critic sees them (floating "
            "point): convert them"
        )
    if x.is_floating_point() and not bool(x.isfinite().all()):
        raise UsageError("the data hold NaN or infinite numbers: leave those samples out")
    if channels_last:
        note(f"images of shape {list(x.shape[1:])} are read as height x width x channels")
        x = x.movedim(-1, 1).contiguous()
    if x.ndim == 4 and x.is_floating_point() and x.min() >= 0:
        note(
            f"the images lie in [{x.min():.3g}, {x.max():.3g}], and a generator that ends in tanh makes [-1, 1]: give "
            "them as uint8, or scale them to the range of your generator"
        )
    return x


def _tensor(values: Any, what: str) -> Tensor:
    """Numbers of torch, numpy or lists as a tensor. Raises UsageError for anything else."""
    try:
        if isinstance(values, Tensor):
            return values if values.layout == torch.strided else values.to_dense()
        array = np.ascontiguousarray(values)
        return torch.as_tensor(array.astype(array.dtype.newbyteorder("="), copy=False)).view(np.shape(values))
    except (TypeError, ValueError) as error:
        raise UsageError(f"{what} cannot be made a tensor ({said(error)}): give numbers") from None


def _has_channels_last(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[3] in (1, 3) and shape[1] not in (1, 3)


def _stacked(samples: list | tuple) -> Tensor:
    try:
        return torch.stack([_tensor(x, "a sample") for x in samples])
    except (RuntimeError, TypeError) as error:
        raise UsageError(
            f"samples cannot be put into one tensor ({said(error)}): give all of them one shape and type"
        ) from None


def _labels(labels: Any, count: int, note: Note) -> tuple[Tensor | None, int]:
    """Labels as int64 [n], and the number of classes."""
    if labels is None:
        return None, 0
    y = _tensor(labels, "labels").cpu()
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


def _read(dataset: Any, note: Note) -> tuple[Tensor, list[Any] | None]:
    """All samples of a dataset of torch, and their labels if it has some."""
    items = _items(dataset)
    first = next(items, None)
    if first is None:
        raise UsageError("the dataset is empty: give one with two samples or more")
    sample, pairs = _sample(_split(first)[0]), len(_split(first)) == 2
    most = max(2, MOST // max(1, sample.numel() * sample.element_size()))
    kept = [_split(item) for item in (first, *itertools.islice(items, most - 1))]
    if len(kept) == most and next(items, None) is not None:
        note(
            f"the first {most:,} samples of the dataset were read, {MOST / 2**30:.3g} GiB: the rest is left out"
        )
    note(
        f"{len(kept):,} samples of {type(dataset).__name__} were read once: its random transforms stay as they fell "
        "(for new ones at every step use augment=)"
    )
    labels = [item[1] for item in kept if len(item) == 2] if pairs else None
    return _stacked([_sample(item[0]) for item in kept]), labels


def _items(dataset: Any) -> Iterator[Any]:
    """The items of a dataset, map-style or iterable. Raises UsageError where there are none, or one fails."""
    if isinstance(dataset, DataLoader):
        raise UsageError(
            "data are samples, and a DataLoader gives batches: give its dataset (loader.dataset)"
        )
    sized = hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")
    if isinstance(dataset, str | bytes | Mapping) or not (sized or isinstance(dataset, Iterable)):
        raise UsageError(
            f"data of type {type(dataset).__name__} cannot be read: give a tensor, an array, a torch Dataset, a folder "
            "or zip of images, or the name of a data set"
        )
    try:
        yield from (dataset[i] for i in range(len(dataset))) if sized else dataset
    except Exception as error:  # whatever the caller's dataset raises
        raise UsageError(
            f"the {type(dataset).__name__} cannot be read item by item ({said(error)}): give a "
            "dataset of torch, or an array"
        ) from error


def _split(item: Any) -> tuple[Any, ...]:
    """An item as (sample,) or (sample, label)."""
    parts = tuple(item) if isinstance(item, tuple | list) else (item,)
    if len(parts) not in (1, 2):
        raise UsageError(
            f"an item of the dataset has {len(parts)} parts: its items must be samples, or pairs (sample, label)"
        )
    return parts


def _sample(x: Any) -> Tensor:
    if isinstance(x, Tensor):
        return x
    array = np.asarray(x)
    if array.dtype == object:
        raise UsageError(
            f"an item of the dataset is {type(x).__name__}: its items must be samples, or pairs (sample, label)"
        )
    if array.ndim == 2 and hasattr(x, "mode"):  # a grey picture of pillow
        array = array[:, :, None]
    pixels_last = array.ndim == 3 and array.shape[2] in (1, 3) and array.shape[0] not in (1, 3)
    return _tensor(array.transpose(2, 0, 1) if pixels_last else array, "an item of the dataset")
