"""Downsampling of long series that loses no extreme and no gap."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Thin", "thin"]


class Thin(NamedTuple):
    """Points [k] that stand for a series: steps, means, and the lowest and highest value behind each."""

    steps: Tensor
    middle: Tensor
    low: Tensor
    high: Tensor


def thin(steps: Tensor, middle: Tensor, low: Tensor, high: Tensor, buckets: int) -> Thin:
    """Downsample a series to at most `buckets` points: increasing steps [n], middles [n], and their bounds [n].

    The steps are divided into `buckets` equal spans. A span with points gives one point: the mean of its
    steps, the mean of its finite middles, the lowest `low` and the highest `high`. It is NaN if none is
    finite. A series of at most twice as many points as buckets stays as it is. Values that are not finite are
    skipped. Raises nothing.

    >>> values = torch.tensor([0.0, 9, 3, torch.nan, -7, 1])
    >>> found = thin(torch.arange(6.0), values, values, values, buckets=2)
    >>> found.steps.tolist(), found.middle.tolist(), found.low.tolist(), found.high.tolist()
    ([1.0, 4.0], [4.0, -3.0], [0.0, -7.0], [9.0, 1.0])
    """
    steps, middle, low, high = (part.double() for part in (steps, middle, low, high))
    if len(steps) <= 2 * buckets:
        return Thin(steps, middle, low, high)
    bucket = ((steps - steps[0]) / (steps[-1] - steps[0]).clamp_min(1e-300) * buckets).long()
    bucket = bucket.clamp(0, buckets - 1)
    found = Thin(
        _mean(bucket, steps, buckets),
        _mean(bucket, middle, buckets),
        _bound(bucket, low, buckets, "amin"),
        _bound(bucket, high, buckets, "amax"),
    )
    return Thin(*(part[found.steps.isfinite()] for part in found))


def _mean(bucket: Tensor, values: Tensor, buckets: int) -> Tensor:
    """The mean of each bucket's finite values; NaN (0 / 0) if there are none."""
    finite = values.isfinite()
    total = values.new_zeros(buckets).index_add(0, bucket, torch.where(finite, values, 0.0))
    return total / values.new_zeros(buckets).index_add(0, bucket, finite.double())


def _bound(bucket: Tensor, values: Tensor, buckets: int, reduce: str) -> Tensor:
    none = math.inf if reduce == "amin" else -math.inf
    seen = torch.where(values.isfinite(), values, none)
    found = values.new_full((buckets,), none).scatter_reduce(0, bucket, seen, reduce)
    return torch.where(found.isfinite(), found, math.nan)
