"""What scores of images look through: a fixed network, with its name, its hash and what it does to an image first."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

__all__ = ["Extractor", "Read", "Score"]


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
