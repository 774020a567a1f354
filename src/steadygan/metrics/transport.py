"""Optimal transport between two samples of equal size: exact Wasserstein distances, and the sliced one.

W_p(a, b) = min over permutations s of (mean_i |a_i - b_s(i)|^p)^(1/p), for samples [n, d] of even weights. In
float64 on the CPU. Between samples of one distribution it is above 0, by a margin that falls slowly with n: compare
distances at equal n only.
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
"""Samples that the exact distances take: n^2 costs lie in memory (200 MB), and the time goes with about n^3.

On one core at 2,000 samples: 0.3 s for two samples of ring8, 5 s for one that has collapsed to a mode; at 4,096:
3 s and 50 s.
"""

PROJECTIONS, BLOCK = 512, 2**22  # projected values held at once: 32 MB


def wasserstein1(a: Tensor, b: Tensor) -> float:
    """The earth mover's distance of samples [n, d] each: the least mean of |a_i - b_s(i)| over permutations s.

    Exact, by assignment. Raises UsageError on unequal or too many samples, ones that are not finite, or without
    scipy. Source: Villani 2008, chapter 6; Crouse 2016 for the solver.

    >>> wasserstein1(torch.tensor([[0.0], [1.0]]), torch.tensor([[3.0], [2.0]]))
    2.0
    """
    return _mean(assigned(costs(a, b)))


def wasserstein2(a: Tensor, b: Tensor) -> float:
    """The root of the least mean of |a_i - b_s(i)|^2 over permutations s, of samples [n, d] each.

    Exact, by assignment; errors and sources are those of `wasserstein1`.

    >>> wasserstein2(torch.tensor([[0.0], [1.0]]), torch.tensor([[4.0], [0.0]]))
    2.1213203435596424
    """
    return _mean(assigned(costs(a, b).square())) ** 0.5


def sliced_wasserstein2(a: Tensor, b: Tensor, projections: int = PROJECTIONS, seed: int = 0) -> float:
    """The root mean square of W_2 over directions: of x = <theta, a_i> and y = <theta, b_i>, in one dimension.

    W_2^2 of a direction is mean_i (x_(i) - y_(i))^2 of the sorted values. The directions are `projections` ones
    drawn evenly from the unit sphere, a function of d and `seed`. A translation by v is |v| / sqrt(d) in
    expectation. Raises UsageError on unequal samples, ones that are not finite, or projections below 1.
    Source: Rabin 2011; Bonneel 2015.

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
    """The distances |a_i - b_j| [n, n] in float64, from coordinate differences. Raises UsageError beyond LARGEST."""
    a, b = _pair(a, b)
    if len(a) > LARGEST:
        raise UsageError(
            f"{len(a)} samples are too many for an exact distance: take {LARGEST} or fewer, or the sliced one"
        )
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def assigned(cost: Tensor) -> Tensor:
    """The cost matrix [n, n] with its columns in the order s whose diagonal is the least that there is.

    Raises UsageError without scipy. Source: Crouse 2016.

    >>> assigned(torch.tensor([[1.0, 0.0], [2.0, 5.0]]))
    tensor([[0., 1.],
            [5., 2.]])
    """
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise UsageError("optimal transport needs scipy: pip install steadygan[metrics]") from error
    return cost[:, torch.from_numpy(linear_sum_assignment(cost.numpy())[1])]


def potentials(cost: Tensor) -> tuple[Tensor, Tensor]:
    """Kantorovich's potentials f and g [n] of costs whose best assignment is the diagonal, as `assigned` has it.

    f_i + g_j <= c_ij for all i and j, with equality where i = j, so mean f + mean g is the least mean cost. f_i is
    the shortest way to i over steps c_ij - c_jj (Bellman 1958, Ford 1956), after at most n rounds.
    Source: Villani 2008, Theorem 5.10.

    >>> f, g = potentials(torch.tensor([[0.0, 1.0], [5.0, 2.0]]))
    >>> f.tolist(), g.tolist()
    ([-1.0, 0.0], [1.0, 2.0])
    """
    steps, f = cost - cost.diagonal(), cost.new_zeros(len(cost))
    for _ in range(len(cost)):
        shorter = (steps + f).amin(1)
        if torch.equal(shorter, f):
            break
        f = shorter
    return f, cost.diagonal() - f


def _mean(cost: Tensor) -> float:
    return cost.diagonal().mean().item()


def _pair(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    a, b = check_points(a, "samples"), check_points(b, "samples to compare with")
    if a.shape != b.shape:
        raise UsageError(
            f"transport is between as many samples of one size, not {list(a.shape)} and {list(b.shape)}: "
            "take as many of each"
        )
    return a, b


def _sorted(points: Tensor, directions: Tensor) -> Tensor:
    """The points' places [k, n] along k directions, each row in order."""
    return (directions @ points.T).sort(dim=1).values
