"""The kernel distance between two sets of samples, and pooled pixels as features that need no network."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from steadygan.errors import UsageError

__all__ = ["kernel_distance", "kernel_distance_to", "pooled_pixels"]

BLOCK = 2**17
"""Kernel values at once: 1 MB, which a processor's second cache holds."""


def kernel_distance(a: Tensor, b: Tensor, block: int = BLOCK) -> float:
    """The unbiased squared maximum mean discrepancy (MMD) of a [n, d] and b [m, d].

        mean_{i != j} k(a_i, a_j) + mean_{i != j} k(b_i, b_j) - 2 mean_{i, j} k(a_i, b_j),    k(x, y) = (x.y / d + 1)^3

    Its expectation is 0 for equal distributions, so it may be negative. The computation is in float64 and
    holds at most `block` kernel values at once, or one row of them. Raises UsageError on fewer than 2
    samples, on features of unequal size, and on samples that are not finite. Source: Binkowski 2018 (KID),
    section 4; Gretton 2012, Eqn 3.

    >>> import torch
    >>> kernel_distance(torch.zeros(5, 3), torch.ones(4, 3))
    7.0
    """
    return kernel_distance_to(b, block)(a)


def kernel_distance_to(b: Tensor, block: int = BLOCK) -> Callable[[Tensor], float]:
    """The `kernel_distance` to b [m, d] as a function of a [n, d]. What depends on b alone is computed once.

    >>> import torch
    >>> kernel_distance_to(torch.ones(4, 3))(torch.zeros(5, 3))
    7.0
    """
    b = check_points(b, "samples to compare with", least=2)
    within = _within(b, block)

    def distance(a: Tensor) -> float:
        a = check_points(a, "samples", least=2)
        if a.shape[1] != b.shape[1]:
            raise UsageError(
                f"features of size {a.shape[1]} and {b.shape[1]} cannot be compared: use one extractor"
            )
        return _within(a, block) + within - 2 * _kernel_sum(a, b, block) / (len(a) * len(b))

    return distance


def pooled_pixels(images: Tensor) -> Tensor:
    """Average images [n, C, H, W] in [-1, 1] over an 8 x 8 grid: fixed features [n, C * 64].

    Where 8 does not divide a side, cells overlap (torch's adaptive pooling). Raises UsageError on another
    shape, on sides below 8, and on images that are not floating point.

    >>> import torch
    >>> pooled_pixels(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 192])
    """
    if images.ndim != 4 or min(images.shape[2:]) < 8:
        raise UsageError(f"images must be [n, C, H, W] of 8 x 8 pixels or more, not {list(images.shape)}")
    if not images.is_floating_point():
        raise UsageError(f"images must be floating point in [-1, 1], not {images.dtype}: pass x / 127.5 - 1")
    return F.adaptive_avg_pool2d(images, 8).flatten(1)


def check_points(points: Tensor, name: str, least: int = 1) -> Tensor:
    """Return points [n, d] detached, on the CPU, in float64. Raises UsageError if n < least or one is not finite."""
    return finite_points(points, name, least).double()


def finite_points(points: Tensor, name: str, least: int = 1) -> Tensor:
    """The same as `check_points` in the points' own type: points on the CPU are not copied."""
    if points.ndim != 2 or len(points) < least or not points.shape[1]:
        raise UsageError(
            f"{name} must be [n, d] with n at least {least} and d at least 1, but have shape {list(points.shape)}"
        )
    if bad := int((~points.isfinite()).any(1).sum()):
        raise UsageError(f"{bad} of {len(points)} {name} are not finite: NaN and infinity have no score")
    return points.detach().cpu()


def _within(a: Tensor, block: int) -> float:
    """Mean of k over all ordered pairs of two different rows of a. Each pair is computed once: k is symmetric."""
    rows = _rows(a, block)
    above = sum(
        2 * _kernel_sum(part, a[start + rows :], block) + _kernel_sum(part, part, block)
        for start, part in zip(range(0, len(a), rows), a.split(rows))
    )
    diagonal = (a.square().sum(1) / a.shape[1] + 1).pow(3).sum().item()
    return (above - diagonal) / (len(a) * (len(a) - 1))


def _kernel_sum(a: Tensor, b: Tensor, block: int) -> float:
    """Sum of k(a_i, b_j) over all i and j, in blocks of rows of a. d^3 k = (a_i.b_j + d)^3 takes fewer passes."""
    d = a.shape[1]
    return sum((part @ b.T).add_(d).pow_(3).sum().item() for part in a.split(_rows(b, block))) / d**3


def _rows(points: Tensor, block: int) -> int:
    return max(1, block // max(1, len(points)))
