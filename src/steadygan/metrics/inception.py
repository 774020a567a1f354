"""The Inception score from the logits of any classifier."""

from typing import NamedTuple

import torch
from torch import Tensor

from steadygan.errors import UsageError
from steadygan.metrics.extractors.base import Score, over_splits
from steadygan.metrics.frechet import check_features
from steadygan.metrics.hash_sampling import block_of

__all__ = ["ClassSums", "inception_score"]


class ClassSums(NamedTuple):
    """The sums over n images that the score needs, float64: n [], sum p(y|x) [k], sum_x sum_y p(y|x) log p(y|x) []."""

    images: Tensor
    chance: Tensor
    certainty: Tensor

    @classmethod
    def of(cls, logits: Tensor) -> "ClassSums":
        """The sums for logits [n, k]."""
        log_p = logits.detach().cpu().double().log_softmax(1)
        p = log_p.exp()
        return cls(torch.tensor(float(len(logits)), dtype=p.dtype), p.sum(0), (p * log_p).sum())

    def plus(self, other: "ClassSums") -> "ClassSums":
        """The sums over both sets of images."""
        return ClassSums(*(x + y for x, y in zip(self, other)))

    def score(self) -> float:
        """exp(E_x KL(p(y|x) || p(y))), with KL = sum_y p(y|x) log p(y|x) - sum_y p(y|x) log p(y)."""
        mean = self.chance / self.images
        return (self.certainty / self.images - torch.xlogy(mean, mean).sum()).exp().item()


def inception_score(logits: Tensor, splits: int = 10) -> Score:
    """The Inception score of logits [n, k], the mean over `splits`: 1 is worst, k is best.

        exp(E_x KL(p(y|x) || p(y)))

    The splits are those of `block_of`: sizes differ by at most one, and the order of labels does not matter.
    The error is the standard error of the mean. It is sqrt(splits) times smaller than the standard deviation
    that papers print, and NaN for one split. Raises UsageError on fewer images than splits, on another shape,
    and on logits that are not finite. Source: Salimans 2016, section 4, and its code for the splits.

    >>> round(inception_score(100 * torch.eye(4).repeat(10, 1), splits=1).value, 12)
    4.0
    """
    if logits.ndim != 2 or splits < 1 or len(logits) < splits:
        raise UsageError(f"logits must be [n, k] with n at least {max(splits, 1)}, not {list(logits.shape)}")
    check_features(logits, logits.shape[1], "logits")
    split = block_of(torch.arange(len(logits)), splits)
    return over_splits([ClassSums.of(logits[split == j]).score() for j in range(splits)])
