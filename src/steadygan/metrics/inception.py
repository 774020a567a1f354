"""The Inception score of any classifier's logits: sure of each image, and of all classes over the images."""

from typing import NamedTuple

import torch
from torch import Tensor

from steadygan.errors import UsageError
from steadygan.metrics.extractors.base import Score, over_splits
from steadygan.metrics.hash_sampling import block_of
from steadygan.metrics.moments import check_features

__all__ = ["ClassSums", "inception_score"]


class ClassSums(NamedTuple):
    """What the score needs of n images, float64: n [], sum p(y|x) [k], and sum_x sum_y p(y|x) log p(y|x) []."""

    images: Tensor
    chance: Tensor
    certainty: Tensor

    @classmethod
    def of(cls, logits: Tensor) -> "ClassSums":
        """The sums of logits [n, k]."""
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
    """exp(E_x KL(p(y|x) || p(y))) of logits [n, k], the mean over `splits`: 1 at worst, k at best.

    Splits are those of `block_of`: equal but for one image, with no regard to the order of labels. The literature
    gives the splits' standard deviation; the error here is that of the mean, sqrt(splits) times smaller, and NaN for
    one split. Raises UsageError on fewer images than splits, another shape or logits that are not finite. Source:
    Salimans 2016, section 4, and its code for the splits.

    >>> round(inception_score(100 * torch.eye(4).repeat(10, 1), splits=1).value, 12)
    4.0
    """
    if logits.ndim != 2 or splits < 1 or len(logits) < splits:
        raise UsageError(f"logits must be [n, k] with n at least {max(splits, 1)}, not {list(logits.shape)}")
    check_features(logits, logits.shape[1], "logits")
    split = block_of(torch.arange(len(logits)), splits)
    return over_splits([ClassSums.of(logits[split == j]).score() for j in range(splits)])
