"""The two records that describe a data set. Every loader in this folder returns them."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from steadygan.data.streams import Stream
from steadygan.errors import UsageError


class Modes(NamedTuple):
    """The components of a mixture: their centres [m, d] and the standard deviation of one component."""

    centres: Tensor
    std: float


class Data(NamedTuple):
    """A data set: it has either `rows` (finite) or `draw` (new samples without end), never both.

    `shape` is the shape of one sample as a network sees it: (2,) for points, (channels, height, width) for images.
    The `rows` [n, *shape] are uint8 0..255 for images, which networks see as x / 127.5 - 1, and floating point for
    points. `draw(generator, count)` returns float32 [count, *shape]. With `flip` a training step mirrors each image
    left to right with probability 1/2.

    With `classes` > 0, samples have labels from 0 to classes - 1. `labels` [n] int64 has one for each row. A mixture
    without `labels` uses the nearest of its `modes`. `held()` returns rows that are held out of training: the published
    test split, or the rows that a limit left. `mapped` is the file that `rows` are mapped from, with its manifest
    beside it. `mode_classifier` names the data set whose classifier counts the modes of this one.

    With a `stream`, training steps read their samples from it. The `rows` are then a part of them, which stands for the
    stream in scores, statistics and pictures.
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
    stream: Stream | None = None

    @property
    def images(self) -> bool:
        """Whether samples are images that can be scored and drawn: [1 or 3, H, W] with sides of 8 or more.

        >>> Data("x", (3, 8, 8)).images, Data("x", (1, 4, 4)).images, Data("x", (16, 2)).images
        (True, False, False)
        """
        return len(self.shape) == 3 and self.shape[0] in (1, 3) and min(self.shape[1:]) >= 8


def as_seen(rows: Tensor) -> Tensor:
    """Rows as networks see them, in float32. Bytes become x / 127.5 - 1.

    >>> as_seen(torch.tensor([0, 255], dtype=torch.uint8))
    tensor([-1.,  1.])
    """
    return rows.float() / 127.5 - 1 if rows.dtype == torch.uint8 else rows.float()


def split_name(data: Data, split: str) -> str:
    """What a score card calls a split: of a stream it has some samples only.

    >>> split_name(Data("x", (2,), rows=torch.zeros(5, 2)), "train")
    'train'
    """
    if data.stream is None or data.rows is None or split != "train":
        return split
    return f"train, {len(data.rows):,} samples of the stream"


def rows_sha256(rows: Tensor) -> str:
    """The SHA-256 of rows with their type and shape.

    >>> rows_sha256(torch.zeros(2, 1))[:8]
    'ba329967'
    """
    digest = hashlib.sha256(json.dumps([str(rows.dtype), list(rows.shape)]).encode())
    for part in rows.split(10_000):
        digest.update(part.contiguous().reshape(-1).view(torch.uint8).numpy().data)  # numpy has no bfloat16
    return digest.hexdigest()


def check_labels(data: Data) -> None:
    """Raise UsageError unless each sample has a label from 0 to classes - 1."""
    labels, rows = data.labels, data.rows
    if data.classes < 1 and data.stream is not None:
        raise UsageError(
            f"a conditional game needs labels, but the classes of the stream {data.name} are not known: tell their "
            "number (data.classes=10, or steadygan.data.stream(dataset, classes=10)), or set game.conditional=false"
        )
    if data.classes < 1 or (labels is None and data.modes is None):
        raise UsageError(
            f"a conditional game needs labels, but data {data.name} has none: choose ring8, grid25, digits, "
            "fashion_mnist (with its label file), cifar10, images with one folder per class (data.split names the "
            "folder that holds these) or your own data with labels, or set game.conditional=false"
        )
    if labels is None:
        return
    if rows is None or labels.dtype != torch.int64 or labels.shape != rows.shape[:1]:
        raise UsageError(
            f"the labels of data {data.name} are {labels.dtype} {list(labels.shape)}: give one int64 for each row"
        )
    if not bool(((labels >= 0) & (labels < data.classes)).all()):
        raise UsageError(
            f"data {data.name} has labels from {int(labels.min())} to {int(labels.max())}: number its {data.classes} "
            f"classes from 0 to {data.classes - 1}"
        )


def nearest_centre(x: Tensor, centres: Tensor) -> Tensor:
    """The index, int64 [...], of the centre among [m, d] that is nearest to each point of x [..., d].

    >>> nearest_centre(torch.tensor([[0.1, 0.0], [0.9, 2.0]]), torch.eye(2))
    tensor([0, 1])
    """
    return (x.unsqueeze(-2) - centres).square().sum(-1).argmin(-1)


def subset(data: Data, count: int | None, seed: int = 0) -> Data:
    """At most `count` rows of a finite data set with their labels, chosen at random by `seed` and kept in order.

    With the same seed, a smaller subset is part of a larger one. The held-out test split stays whole. A data set
    without one holds out all rows that are not chosen. Raises UsageError for a stream.

    >>> from steadygan.data import gaussian
    >>> len(subset(gaussian(size=100), 10).rows)
    10
    """
    if count is None:
        return data
    if data.rows is None or data.stream is not None:
        raise UsageError(
            f"data {data.name} is a stream, and only a finite data set can be limited to {count} rows: leave out "
            "data.limit"
        )
    if count < 1:
        raise UsageError(f"a data set is limited to 1 row or more, not {count}")
    if count >= len(data.rows):
        return data
    key = hashlib.blake2b(repr((seed, "limit", data.name)).encode(), digest_size=8).digest()
    g = torch.Generator().manual_seed(int.from_bytes(key, "big") >> 1)
    rows, order = data.rows, torch.randperm(len(data.rows), generator=g)
    chosen = order[:count].sort().values
    labels = None if data.labels is None else data.labels[chosen]
    held = data.held or (lambda: rows[order[count:].sort().values])
    return data._replace(rows=rows[chosen], labels=labels, mapped=None, held=held)
