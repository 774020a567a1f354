"""What scores of images look through: a fixed network, with its name, its hash and what it does to an image first."""

import math
from collections.abc import Callable, Sequence
from statistics import fmean, stdev
from typing import NamedTuple

from torch import Tensor

__all__ = ["Extractor", "Read", "Score", "over_splits", "share"]


class Read(NamedTuple):
    """What an extractor says of n images: features [n, d] float32, and logits [n, k] where it is a classifier."""

    features: Tensor
    logits: Tensor | None = None


class Extractor(NamedTuple):
    """A fixed network: `read` takes images [n, C, H, W] in [-1, 1], as generators make them.

    `name` ends the names of its scores (fd_NAME), `sha256` is that of its weights, `preprocessing` says what is
    done to an image before the network sees it, `size` is d.
    """

    name: str
    read: Callable[[Tensor], Read]
    size: int
    sha256: str
    preprocessing: str


class Score(NamedTuple):
    """A score and its sampling error: one standard deviation of what another sample of as many would have given."""

    value: float
    error: float


def share(p: float, n: int) -> Score:
    """A share p of n, with the binomial error sqrt(p (1 - p) / n), p brought to 1 / 2n from 0 or 1 for it.

    Of a share that none or all make up, nothing finer is known.

    >>> share(0.5, 100)
    Score(value=0.5, error=0.05)
    """
    inner = min(max(p, 0.5 / n), 1 - 0.5 / n)
    return Score(p, math.sqrt(inner * (1 - inner) / n))


def over_splits(values: Sequence[float]) -> Score:
    """The mean of a score over disjoint splits, and that mean's standard error; of one split the error is NaN.

    >>> over_splits([1.0, 2.0, 3.0]).error == 1 / math.sqrt(3)
    True
    """
    return Score(fmean(values), stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan)
