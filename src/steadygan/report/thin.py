"""Long series with few points, so that no extreme and no gap is lost."""

import torch
from torch import Tensor

__all__ = ["thinned"]


def thinned(steps: Tensor, values: Tensor, buckets: int) -> Tensor:
    """The indices [k], in order, of the points that stand for a series: steps [n], increasing, and values [n].

    In each of `buckets` equal spans of steps the first of the lowest values, the first of the highest, and the first
    one that is not finite, so that a gap stays a gap; and the first and the last point. k is at most 3 buckets + 2;
    a series of no more points than that stays whole.

    >>> values = torch.tensor([0.0, 1, 2, 9, 2, 1, 0, torch.nan, 1, -7, 1, 0])
    >>> thinned(torch.arange(12), values, 2)
    tensor([ 0,  3,  7,  8,  9, 11])
    """
    n = len(steps)
    if n <= 3 * buckets + 2:
        return torch.arange(n)
    at = steps.double() - steps[0]
    bucket = (at / at[-1].clamp_min(1e-300) * buckets).long().clamp(0, buckets - 1)
    finite = values.isfinite()
    kept = [torch.tensor([0, n - 1])]
    for sign in (1, -1):
        signed = torch.where(finite, sign * values.double(), torch.inf)
        least = signed.new_full((buckets,), torch.inf).scatter_reduce(0, bucket, signed, "amin")
        kept.append(_first(bucket, finite & (signed == least[bucket]), buckets))
    kept.append(_first(bucket, ~finite, buckets))
    return torch.cat(kept).unique(sorted=True)


def _first(bucket: Tensor, flag: Tensor, buckets: int) -> Tensor:
    """The index of the first flagged point of each bucket that has one."""
    n = len(bucket)
    index = torch.where(flag, torch.arange(n), n)
    first = index.new_full((buckets,), n).scatter_reduce(0, bucket, index, "amin")
    return first[first < n]
