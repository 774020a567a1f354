"""Optimal transport between two samples of equal size: exact Wasserstein distances, and the sliced distance.

    W_p(a, b) = min over permutations s of (mean_i |a_i - b_s(i)|^p)^(1/p)

Samples are [n, d] with equal weights. Values are float64 on the CPU. Two samples of one distribution have a
distance above 0, which falls slowly with n: compare distances at equal n only.
"""

import torch
from torch import Tensor

from steadygan.errors import UsageError
from steadygan.metrics.kernel import check_points
from steadygan.rng import generator

__all__ = [
    "LARGEST",
    "assigned",
    "costs",
    "potentials",
    "sliced_wasserstein2",
    "wasserstein1",
    "wasserstein2",
]

LARGEST = 5000
"""Most samples for the exact distances: n^2 costs are in memory (200 MB), and time grows as about n^3.

On one core, 2,000 samples of ring8 take 0.3 s, and 5 s if one side has collapsed to a mode. 4,096 samples
take 3 s and 50 s.
"""

PROJECTIONS, BLOCK = 512, 2**22  # projected values held at once: 32 MB


def wasserstein1(a: Tensor, b: Tensor) -> float:
    """The Wasserstein-1 (earth mover's) distance of two samples [n, d]: min over s of mean_i |a_i - b_s(i)|.

    It is exact, by assignment. Raises UsageError on unequal or too many samples, on samples that are not
    finite, and without scipy. Source: Villani 2008, chapter 6; Crouse 2016 (solver).

    >>> wasserstein1(torch.tensor([[0.0], [1.0]]), torch.tensor([[3.0], [2.0]]))
    2.0
    """
    return _mean(assigned(costs(a, b)))


def wasserstein2(a: Tensor, b: Tensor) -> float:
    """The Wasserstein-2 distance of two samples [n, d]: the root of min over s of mean_i |a_i - b_s(i)|^2.

    It is exact, by assignment. Errors and sources are those of `wasserstein1`.

    >>> wasserstein2(torch.tensor([[0.0], [1.0]]), torch.tensor([[4.0], [0.0]]))
    2.1213203435596424
    """
    return _mean(assigned(costs(a, b).square())) ** 0.5


def sliced_wasserstein2(a: Tensor, b: Tensor, projections: int = PROJECTIONS, seed: int = 0) -> float:
    """The root mean square over directions theta of W_2 between the projections <theta, a_i> and <theta, b_i>.

    W_2^2 of a direction is mean_i (x_(i) - y_(i))^2 of the sorted projections. The `projections` directions
    are uniform on the unit sphere, and are a function of d and `seed`. A translation by v has the expected
    value |v| / sqrt(d). Raises UsageError on unequal samples, on samples that are not finite, and on
    projections below 1. Source: Rabin 2011; Bonneel 2015.

    >>> sliced_wasserstein2(torch.tensor([[0.0], [1.0]]), torch.tensor([[3.0], [2.0]]))
    2.0
    """
    a, b = _pair(a, b)
    if projections < 1:
        raise UsageError(f"projections is {projections}, but a sliced distance needs 1 direction or more")
    g = generator("directions", a.shape[1], seed)
    directions = torch.randn(projections, a.shape[1], generator=g, dtype=torch.float64)
    directions = directions / directions.norm(dim=1, keepdim=True)
    parts = directions.split(max(1, BLOCK // len(a)))
    total = sum((_sorted(a, part) - _sorted(b, part)).square().mean(1).sum().item() for part in parts)
    return (total / projections) ** 0.5


def costs(a: Tensor, b: Tensor) -> Tensor:
    """The distances |a_i - b_j| [n, n] float64, from coordinate differences. Raises UsageError beyond LARGEST."""
    a, b = _pair(a, b)
    if len(a) > LARGEST:
        raise UsageError(
            f"{len(a)} samples are too many for an exact distance: take {LARGEST} or fewer, or the sliced one"
        )
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def assigned(cost: Tensor) -> Tensor:
    """The cost matrix [n, n] with its columns permuted so that the diagonal has the least possible sum.

    Raises UsageError without scipy. Source: Crouse 2016.

    >>> assigned(torch.tensor([[1.0, 0.0], [2.0, 5.0]]))
    tensor([[0., 1.],
            [5., 2.]])
    """
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise UsageError("optimal transport needs scipy: pip install 'steadygan[metrics]'") from error
    return cost[:, torch.from_numpy(linear_sum_assignment(cost.numpy())[1])]


def potentials(cost: Tensor) -> tuple[Tensor, Tensor]:
    """Kantorovich's potentials f and g [n] of costs whose best assignment is the diagonal, as `assigned` returns them.

    f_i + g_j <= c_ij for all i and j, with equality where i = j. So the least mean cost is mean f + mean g.
    The potential of i is the shortest path to i over steps c_ij - c_jj, found after at most n rounds. Source:
    Villani 2008, Theorem 5.10; Bellman 1958 and Ford 1956 (shortest paths).

    >>> f, g = potentials(torch.tensor([[0.0, 1.0], [5.0, 2.0]]))
    >>> f.tolist(), g.tolist()
    ([-1.0, 0.0], [1.0, 2.0])
    """
    steps, f = cost - cost.diagonal(), cost.new_zeros(len(cost))
    rounding = 8 * torch.finfo(cost.dtype).eps * cost.abs().max()
    for _ in range(len(cost)):
        shorter = (steps + f).amin(1)
        if (f - shorter).max() <= rounding:  # cycles of length 0, as of equal samples, never end exactly
            break
        f = shorter
    return f, cost.diagonal() - f


def _mean(cost: Tensor) -> float:
    return cost.diagonal().mean().item()


def _pair(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    a, b = check_points(a, "samples"), check_points(b, "samples to compare with")
    if a.shape != b.shape:
        raise UsageError(
            f"optimal transport needs two equal shapes [n, d], not {list(a.shape)} and {list(b.shape)}: "
            "take as many of each"
        )
    return a, b


def _sorted(points: Tensor, directions: Tensor) -> Tensor:
    """The projections [k, n] of the points on k directions, each row sorted."""
    return (directions @ points.T).sort(dim=1).values
