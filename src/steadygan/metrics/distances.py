"""Euclidean distances between two sets of points, computed in blocks and exact to rounding.

Points are [n, d] and [m, d]. Distances are float64 on the CPU. Memory holds a copy of the second set and two
blocks of at most 5 million distances (40 MB each). Distances stay exact for points that coincide or have many
coordinates. Points that are not finite are an error.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from steadygan.errors import UsageError
from steadygan.metrics.kernel import finite_points
from steadygan.progress import report

__all__ = ["distances", "nearest"]

BLOCK = 5 * 2**20  # distances held at once: 40 MB, which glibc gives back when they are freed (above 32 MiB)
WIDE = 32  # from this many coordinates on, the matrix product is several times faster than differences
LOST = (
    1e-5  # |a - b|^2 below this share of |a|^2 + |b|^2 is taken from differences: the rest is right to 1e-9
)


def distances(a: Tensor, b: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield (i, block): the distances [rows, m] of the points a[i : i + rows] to all points of b.

    Points of few coordinates use differences. Points of many coordinates use |a|^2 + |b|^2 - 2 a.b, centred
    at a point of b. Entries that lose digits by cancellation are computed again from differences, so equal
    points are exactly 0 apart. Raises UsageError on wrong shapes or points that are not finite.

    >>> [(i, block.tolist()) for i, block in distances(torch.tensor([[0.0], [3.0]]), torch.tensor([[3.0]]))]
    [(0, [[3.0], [0.0]])]
    """
    a, b = finite_points(a, "samples"), finite_points(b, "real points")
    if a.shape[1] != b.shape[1]:
        raise UsageError(
            f"samples have {a.shape[1]} coordinates, but the points to compare with have {b.shape[1]}"
        )
    wide = a.shape[1] >= WIDE
    between = _by_products if wide else _by_differences
    origin = b[0].double() if wide else b.new_zeros(1, dtype=torch.float64)
    b, size = b.double() - origin, max(1, BLOCK // len(b))
    for i in range(0, len(a), size):
        report("distances", i, len(a), "points")
        yield i, between(a[i : i + size].double() - origin, b)
    report("distances", len(a), len(a), "points")


def nearest(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return for each point of a its distance [n] to the nearest point of b, and the index [n] of that point.

    The first of several equally near points counts. Raises UsageError as `distances` does.

    >>> nearest(torch.tensor([[0.0, 0.0]]), torch.tensor([[6.0, 8.0], [3.0, 4.0]]))
    (tensor([5.], dtype=torch.float64), tensor([1]))
    """
    least = [near.min(dim=1) for _, near in distances(a, b)]
    return torch.cat([near.values for near in least]), torch.cat([near.indices for near in least])


def _by_differences(a: Tensor, b: Tensor) -> Tensor:
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _by_products(a: Tensor, b: Tensor) -> Tensor:
    """|a_i - b_j| [n, m] by a matrix product; by differences where almost nothing is left of |a|^2 + |b|^2."""
    size = a.square().sum(1, keepdim=True) + b.square().sum(1)
    square = torch.addmm(size, a, b.T, alpha=-2)
    lost = square < size.mul_(LOST)
    if lost.sum() > lost.numel() // 8:  # a collapsed generator: no gain from picking pairs
        return _by_differences(a, b)
    for pairs in lost.nonzero().split(max(1, BLOCK // a.shape[1])):
        i, j = pairs.unbind(1)
        square[i, j] = (a[i] - b[j]).square().sum(1)
    return square.sqrt_()
