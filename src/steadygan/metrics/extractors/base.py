"""The contract of a feature extractor: a fixed network with its name, hash and preprocessing."""

import hashlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

import torch
from torch import Tensor

from steadygan.errors import UsageError

__all__ = ["Extractor", "Read", "Score", "check_images", "checked", "in_bytes", "over_splits", "share"]


class Read(NamedTuple):
    """The output of an extractor for n images: features [n, d] float32, and logits [n, k] if it is a classifier."""

    features: Tensor
    logits: Tensor | None = None


class Extractor(NamedTuple):
    """A fixed network: `read` takes images [n, C, H, W] in [-1, 1], as generators make them.

    It returns `Read`, or a tensor of features alone. `name` ends the names of its scores (fd_NAME). `sha256` is the
    hash of its weights, under which what is read of real images is kept. `preprocessing` says what is done to an image
    before the network. `size` is the width d of the features.
    """

    name: str
    read: Callable[[Tensor], Read | Tensor]
    size: int
    sha256: str
    preprocessing: str


def read_by(extract: Extractor, x: Tensor) -> Read:
    """What an extractor says of images. Raises UsageError unless that is a row of features for each."""
    found = extract.read(x)
    read = Read(found) if isinstance(found, Tensor) else found
    features = read.features if isinstance(read, Read) else None
    if not isinstance(features, Tensor) or features.shape != (len(x), extract.size):
        raise UsageError(
            f"the extractor {extract.name} has to return a tensor of features [n, {extract.size}] for n images, or a "
            "metrics.Read of them"
        )
    return read


class Score(NamedTuple):
    """A score and its sampling error: one standard deviation over other samples of the same size."""

    value: float
    error: float


def share(p: float, n: int) -> Score:
    """A share p of n with the binomial error sqrt(p (1 - p) / n).

    For the error, p = 0 counts as 1 / 2n and p = 1 as 1 - 1 / 2n, because nothing finer is known.

    >>> share(0.5, 100)
    Score(value=0.5, error=0.05)
    """
    inner = min(max(p, 0.5 / n), 1 - 0.5 / n)
    return Score(p, math.sqrt(inner * (1 - inner) / n))


def over_splits(values: Sequence[float]) -> Score:
    """The mean of a score over disjoint splits, and its standard error. The error of one split is NaN.

    >>> over_splits([1.0, 2.0, 3.0]).error == 1 / math.sqrt(3)
    True
    """
    return Score(fmean(values), stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan)


def check_images(images: Tensor) -> Tensor:
    """Return images [n, 1 or 3, H, W] in [-1, 1] detached, in float32. Raises UsageError on anything else.

    Values slightly outside [-1, 1] pass, because not every generator ends in a tanh. Values in 0..255 do not.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in images.shape:
        raise UsageError(
            f"scores need images [n, 1 or 3, H, W], not {list(images.shape)}: pass one or more, grey or RGB"
        )
    if not images.is_floating_point():
        raise UsageError(f"images must be floating point in [-1, 1], not {images.dtype}: pass x / 127.5 - 1")
    bad = (~images.isfinite()).flatten(1).any(1).sum()
    count, low, high = torch.stack(
        [v.float() for v in (bad, *images.aminmax())]
    ).tolist()  # one wait for a GPU
    if count:
        raise UsageError(
            f"{count:.0f} of {len(images)} images are not finite: NaN and infinity have no score"
        )
    if round(low, 4) >= 0 and high > 2:
        raise UsageError(
            f"images must be in [-1, 1], but these go from {round(low, 4)} to {round(high, 4)}: pass x / 127.5 - 1"
        )
    return images.detach().float()


def in_bytes(images: Tensor) -> Tensor:
    """Images in [-1, 1] as uint8 0..255, clamped and rounded: the inverse of x / 127.5 - 1.

    >>> import torch
    >>> in_bytes(torch.tensor([-1.2, -1.0, 0.0, 1.0]))
    tensor([  0,   0, 128, 255], dtype=torch.uint8)
    """
    return images.clamp(-1, 1).add(1).mul(127.5).round().byte()


def checked(path: Path, sha256: str, remedy: str) -> bytes:
    """The bytes of the weights' file at `path`. Raises UsageError if it is missing or has another SHA-256."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UsageError(f"the weights {path} cannot be read ({error.strerror}): {remedy}") from error
    if (found := hashlib.sha256(raw).hexdigest()) != sha256:
        raise UsageError(
            f"the weights {path} are not the expected ones, with SHA-256 {found[:12]}... in place of "
            f"{sha256[:12]}...: {remedy}"
        )
    return raw
