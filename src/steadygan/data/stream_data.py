"""A stream as a data set: its first samples stand for it in scores and pictures, and each later one is checked."""

import warnings
from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain, islice
from typing import Any

import torch
from torch import Tensor

from steadygan.data.dataset import Data
from steadygan.data.items import check_numbers, label, rows, size_of, stacked
from steadygan.data.streams import Sample, Stream
from steadygan.errors import DataNote, UsageError

__all__ = ["REFERENCE", "SHUFFLE", "Parts", "most_rows", "streamed", "warned"]

REFERENCE, BYTES = 10_000, 2**30
"""Samples of a stream that are kept in memory for scores and pictures, and the most bytes of them."""

SHUFFLE = 1000
"""Samples of a block, whose order is random, where the source has no order of its own."""

Parts = Callable[[Any], tuple[Any, ...]]
"""Makes of a raw item its sample, a tensor, and its label if it has one."""

Note = Callable[[str], None]


def warned(text: str) -> None:
    """Say something of a data set that the command line prints as a note."""
    warnings.warn(text, DataNote, stacklevel=2)


def streamed(
    name: str,
    source: Stream,
    parts: Parts,
    first: Iterable[Any],
    *,
    classes: int = 0,
    reference: int = REFERENCE,
    note: Note = warned,
) -> Data:
    """The data set of a `source`, whose items `parts` takes apart. The raw items `first` become its rows.

    There are `reference` rows, or as many as 1 GiB holds. Labels count where `classes` are known.
    """
    found = (parts(item) for item in first)
    one = next(found, None)
    if one is None:
        raise UsageError("the stream is empty: give one with two samples or more")
    kept = list(islice(chain([one], found), most_rows(one[0], reference)))
    x = rows(stacked([item[0] for item in kept]), note)
    y = torch.tensor([_label(item, classes) for item in kept]) if classes else None
    if y is not None and (seen := len(y.unique())) < classes:
        note(
            f"the {len(y):,} samples that stand for the stream in scores have {seen} of its {classes} classes: shuffle "
            "the source, or tell its number of classes"
        )
    decode = partial(_checked, parts, shape=tuple(x.shape[1:]), dtype=x.dtype, classes=classes)
    stream = source._replace(decode=decode)
    return Data(name, tuple(x.shape[1:]), rows=x, labels=y, classes=classes, stream=stream)


def most_rows(sample: Tensor, reference: int = REFERENCE) -> int:
    """How many samples like this one are kept as reference.

    >>> most_rows(torch.zeros(3, 256, 256, dtype=torch.uint8)), most_rows(torch.zeros(2))
    (5461, 10000)
    """
    return min(reference, max(2, BYTES // size_of(sample)))


def _checked(parts: Parts, item: Any, *, shape: tuple[int, ...], dtype: torch.dtype, classes: int) -> Sample:
    """The sample of a raw item and its label. Raises UsageError where it is unlike the reference."""
    found = parts(item)
    x = found[0].detach().cpu()
    if x.shape != shape or x.dtype != dtype:
        raise UsageError(
            f"samples cannot be put into one tensor (one is {x.dtype} {list(x.shape)}, the first {dtype} "
            f"{list(shape)}): give all of them one shape and type"
        )
    check_numbers(x)
    return x, _label(found, classes) if classes else 0


def _label(item: tuple[Any, ...], classes: int) -> int:
    """The label of an item. Raises UsageError for one that is no class."""
    if len(item) < 2:
        raise UsageError(
            "an item of the stream has no label: give pairs (sample, label), or no number of classes"
        )
    y = label(item[1])
    if not 0 <= y < classes:
        raise UsageError(
            f"the stream has the label {y}, but its classes are 0 to {classes - 1}: tell the right number of classes"
        )
    return y
