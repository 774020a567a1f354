"""What a data set is: the two records that every builder in this folder returns."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Generator, Tensor


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
    if any: its manifest lies beside it.
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


def as_seen(rows: Tensor) -> Tensor:
    """Rows as networks see them, float32: bytes as x / 127.5 - 1.

    >>> as_seen(torch.tensor([0, 255], dtype=torch.uint8))
    tensor([-1.,  1.])
    """
    return rows.float() / 127.5 - 1 if rows.dtype == torch.uint8 else rows.float()
