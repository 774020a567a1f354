"""Data that a program already has: tensors, arrays, and datasets of torch."""

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steadygan.data.dataset import Data
from steadygan.errors import UsageError

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
    if not isinstance(samples, Tensor | np.ndarray | list | tuple):
        samples, found = _read(samples, note)
        labels = found if labels is None else labels
    rows = _rows(samples, note)
    y, classes = _labels(labels, len(rows))
    others = None if held is None else _rows(held, note)
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


def _rows(samples: Any, note: Note) -> Tensor:
    """Samples as one tensor [n, ...] on the CPU: uint8, or floating point and finite."""
    if isinstance(samples, list | tuple):
        samples = _stacked(samples)
    channels_last = isinstance(samples, np.ndarray) and _has_channels_last(samples.shape)
    x = (
        torch.as_tensor(np.ascontiguousarray(samples) if isinstance(samples, np.ndarray) else samples)
        .detach()
        .cpu()
    )
    if x.ndim < 2 or len(x) < 2:
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


def _has_channels_last(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[3] in (1, 3) and shape[1] not in (1, 3)


def _stacked(samples: list | tuple) -> Tensor:
    try:
        return torch.stack(
            [torch.as_tensor(np.asarray(x) if not isinstance(x, Tensor) else x) for x in samples]
        )
    except (RuntimeError, TypeError, ValueError) as error:
        raise UsageError(
            f"samples cannot be put into one tensor ({str(error).splitlines()[0]}): give all of them one shape and type"
        ) from None


def _labels(labels: Any, count: int) -> tuple[Tensor | None, int]:
    """Labels as int64 [n], and the number of classes."""
    if labels is None:
        return None, 0
    y = torch.as_tensor(np.asarray(labels) if not isinstance(labels, Tensor) else labels).cpu()
    if y.shape != (count,) or y.is_floating_point() or y.is_complex():
        raise UsageError(
            f"labels must be {count} whole numbers, one for each sample, not {y.dtype} {list(y.shape)}"
        )
    y = y.to(torch.int64)
    if int(y.min()) < 0:
        raise UsageError(
            f"labels must count from 0, but the lowest is {int(y.min())}: number the classes anew"
        )
    return y, int(y.max()) + 1


def _read(dataset: Any, note: Note) -> tuple[Tensor, list[int] | None]:
    """All samples of a dataset of torch, and their labels if it has some."""
    sized = hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")
    if not sized and not isinstance(dataset, Iterable):
        raise UsageError(
            f"data of type {type(dataset).__name__} cannot be read: give a tensor, an array, a torch Dataset, a folder "
            "or zip of images, or the name of a data set"
        )
    items = (dataset[i] for i in range(len(dataset))) if sized else iter(dataset)
    first = next(items, None)
    if first is None:
        raise UsageError("the dataset is empty: give one with two samples or more")
    pairs = isinstance(first, tuple | list) and len(first) == 2
    sample = _sample(first[0] if pairs else first)
    most = max(2, MOST // max(1, sample.numel() * sample.element_size()))
    kept = [first, *itertools.islice(items, most - 1)]
    if len(kept) == most and next(items, None) is not None:
        note(f"the first {most:,} samples of the dataset were read, {MOST / 2**30:.0f} GiB: no more fit")
    note(
        f"{len(kept):,} samples of {type(dataset).__name__} were read once: its random transforms stay as they fell "
        "(for new ones at every step use augment=)"
    )
    samples = _stacked([_sample(item[0] if pairs else item) for item in kept])
    return samples, [int(item[1]) for item in kept] if pairs else None


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
    return torch.as_tensor(np.ascontiguousarray(array.transpose(2, 0, 1) if pixels_last else array))
