"""What scores of images look through: a fixed network, with its name, its hash and what it does to an image first."""

import hashlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

from torch import Tensor

from steadygan.errors import UsageError

__all__ = ["Extractor", "Read", "Score", "check_images", "checked", "in_bytes", "over_splits", "share"]


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


def check_images(images: Tensor) -> Tensor:
    """Return images [n, 1 or 3, H, W] in [-1, 1] detached, in float32; UsageError in a sentence on anything else.

    Values a little beyond [-1, 1] pass, for not every generator ends in a tanh; 0..255 do not.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in images.shape:
        raise UsageError(
            f"scores are of images [n, 1 or 3, H, W], not {list(images.shape)}: pass one or more, grey or RGB"
        )
    if not images.is_floating_point():
        raise UsageError(f"images must be floating point in [-1, 1], not {images.dtype}: pass x / 127.5 - 1")
    if bad := int((~images.isfinite()).flatten(1).any(1).sum()):
        raise UsageError(f"{bad} of {len(images)} images are not finite: a diverged run has no score")
    low, high = (round(v.item(), 4) for v in images.aminmax())
    if low >= 0 and high > 2:
        raise UsageError(f"images must be in [-1, 1], but these go from {low} to {high}: pass x / 127.5 - 1")
    return images.detach().float()


def in_bytes(images: Tensor) -> Tensor:
    """Images in [-1, 1] as uint8 0..255, clamped and rounded: the inverse of x / 127.5 - 1.

    >>> import torch
    >>> in_bytes(torch.tensor([-1.2, -1.0, 0.0, 1.0]))
    tensor([  0,   0, 128, 255], dtype=torch.uint8)
    """
    return images.clamp(-1, 1).add(1).mul(127.5).round().byte()


def checked(path: Path, sha256: str, remedy: str) -> bytes:
    """The bytes of the weights' file at `path`. Raises UsageError where it is missing or has another SHA-256."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UsageError(f"the weights {path} cannot be read ({error.strerror}): {remedy}") from error
    if (found := hashlib.sha256(raw).hexdigest()) != sha256:
        raise UsageError(
            f"the weights {path} are not the known ones, for their SHA-256 is {found[:12]}... and not "
            f"{sha256[:12]}...: {remedy}"
        )
    return raw
