"""What a data set is: the two records that every builder in this folder returns."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from steadygan.errors import UsageError


class Modes(NamedTuple):
    """Where a mixture's components lie: centres [m, d], and the standard deviation of one component."""

    centres: Tensor
    std: float


class Data(NamedTuple):
    """A data set: either `rows` (finite) or `draw` (a stream), never both.

    `shape` is one sample's shape as a network sees it: (2,) for points, (channels, height, width) for
    images. Finite sets keep `rows` [n, *shape]: uint8 for images (0..255, shown to networks as
    x / 127.5 - 1), floating point for points. A stream's `draw(generator, count)` returns float32
    [count, *shape]. With `flip` a step sees each image mirrored left to right with probability 1/2.

    Samples of `classes` > 0 classes are labelled 0 .. classes - 1: `labels` [n] int64, one for each row, or, for
    a mixture without them, the nearest of its `modes`. `held()` gives rows like these that are held out of training:
    the published test set, where there is one, or what a limit left. `mapped` is the file that `rows` are mapped from,
    if any: its manifest lies beside it. `mode_classifier` names the set whose classifier counts the modes of these.
    """

    name: str
    shape: tuple[int, ...]
    rows: Tensor | None = None
    draw: Callable[[Generator, int], Tensor] | None = None
    modes: Modes | None = None
    flip: bool = False
    labels: Tensor | None = None
    classes: int = 0
    held: Callable[[], Tensor] | None = None
    mapped: Path | None = None
    mode_classifier: str | None = None


def as_seen(rows: Tensor) -> Tensor:
    """Rows as networks see them, float32: bytes as x / 127.5 - 1.

    >>> as_seen(torch.tensor([0, 255], dtype=torch.uint8))
    tensor([-1.,  1.])
    """
    return rows.float() / 127.5 - 1 if rows.dtype == torch.uint8 else rows.float()


def check_labels(data: Data) -> None:
    """Raise UsageError unless the data have a label in 0 .. classes - 1 for each sample."""
    labels, rows = data.labels, data.rows
    if data.classes < 1 or (labels is None and data.modes is None):
        raise UsageError(
            f"a conditional game needs labels, and data {data.name} has none: choose ring8, grid25, digits, "
            "fashion-mnist (with its file of labels), cifar10 or images in one folder a class, or "
            "game.conditional=false"
        )
    if labels is None:
        return
    if rows is None or labels.dtype != torch.int64 or labels.shape != rows.shape[:1]:
        raise UsageError(
            f"labels are one int64 for each row of the data, not {labels.dtype} {list(labels.shape)}: mend them"
        )
    if not bool(((labels >= 0) & (labels < data.classes)).all()):
        raise UsageError(
            f"data {data.name} has labels from {int(labels.min())} to {int(labels.max())}, but its {data.classes} "
            f"classes are 0 to {data.classes - 1}: mend them"
        )


def nearest_centre(x: Tensor, centres: Tensor) -> Tensor:
    """Which of the centres [m, d] each point of x [..., d] is nearest to: int64 [...].

    >>> nearest_centre(torch.tensor([[0.1, 0.0], [0.9, 2.0]]), torch.eye(2))
    tensor([0, 1])
    """
    return (x.unsqueeze(-2) - centres).square().sum(-1).argmin(-1)


def subset(data: Data, count: int | None, seed: int = 0) -> Data:
    """At most `count` rows of a finite set, drawn at random by `seed`, in their order, with their labels.

    A smaller part lies within a larger one of the same seed. What is held out stays whole; of a set without published
    test samples, all that is not taken is held out. Raises UsageError for a stream.

    >>> from steadygan.data import gaussian
    >>> len(subset(gaussian(size=100), 10).rows)
    10
    """
    if count is None:
        return data
    if data.rows is None:
        raise UsageError(
            f"data {data.name} is a stream and has no rows to take {count} of: leave out data.limit"
        )
    if count >= len(data.rows):
        return data
    key = hashlib.blake2b(repr((seed, "limit", data.name)).encode(), digest_size=8).digest()
    g = torch.Generator().manual_seed(int.from_bytes(key, "big") >> 1)
    rows, order = data.rows, torch.randperm(len(data.rows), generator=g)
    chosen = order[:count].sort().values
    labels = None if data.labels is None else data.labels[chosen]
    held = data.held or (lambda: rows[order[count:].sort().values])
    return data._replace(rows=rows[chosen], labels=labels, mapped=None, held=held)
