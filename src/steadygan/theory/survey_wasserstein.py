"""The Wasserstein distance: parallel lines, Kantorovich-Rubinstein duality, and weight clipping.

Source: Li 2017, slides "Tackling the Gradient Issues in Generative Adversarial Networks".
"""

import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from steadygan.errors import UsageError
from steadygan.game import Network, flatten
from steadygan.normalization import clip_weights
from steadygan.penalties import input_gradient, norm
from steadygan.theory import cases
from steadygan.theory.survey_divergences import jensen_shannon, kullback_leibler
from steadygan.theory.verdicts import AS_CORRECTED, SURVEY, Verdict, judge

__all__ = [
    "check_clipping",
    "check_kantorovich",
    "check_parallel_lines",
    "clipping_bound",
    "kantorovich",
    "lipschitz_extension",
    "parallel_lines",
    "wasserstein1",
]


def wasserstein1(x: Tensor, y: Tensor, a: Tensor | None = None, b: Tensor | None = None) -> float:
    """W1: the least cost of moving weights a [n] at x [n, d] to b [m] at y [m, d]; the cost is the distance.

    Weights sum to 1; by default they are equal. Exact, by linear programming, for small sets. Raises UsageError
    without scipy, on an empty set, or on weights that are not a distribution. Arjovsky 2017, Eqn 1.

    >>> wasserstein1(torch.tensor([[0.0], [1.0]]), torch.tensor([[3.0], [2.0]]))
    2.0
    """
    a, b = weights(a, len(x)), weights(b, len(y))
    n, m = len(x), len(y)
    out = torch.eye(n, dtype=torch.float64).repeat_interleave(m, 1)
    into = torch.eye(m, dtype=torch.float64).repeat(1, n)
    cost = cases.distances(x.double(), y.double()).flatten()
    return float(linear_program(cost, A_eq=torch.cat([out, into]), b_eq=torch.cat([a, b])).fun)


def kantorovich(
    x: Tensor, y: Tensor, a: Tensor | None = None, b: Tensor | None = None
) -> tuple[float, Tensor]:
    """The largest sum a f(x) - sum b f(y) over 1-Lipschitz f, and the values of f at (x, y), [n + m].

    Values with |f_i - f_j| <= d_ij are enough: `lipschitz_extension` extends them to all points. The result
    equals `wasserstein1`. Same arguments and errors. Villani 2008, Theorem 5.10 (Kantorovich-Rubinstein).

    >>> kantorovich(torch.tensor([[0.0], [1.0]]), torch.tensor([[3.0], [2.0]]))[0]
    2.0
    """
    gain = torch.cat([weights(a, len(x)), -weights(b, len(y))])
    points = torch.cat([x, y]).double()
    i, j = torch.cartesian_prod(*[torch.arange(len(points))] * 2).unbind(1)
    one = torch.eye(len(points), dtype=torch.float64)
    solved = linear_program(
        -gain, A_ub=one[i] - one[j], b_ub=(points[i] - points[j]).norm(dim=1), bounds=(None, None)
    )
    return -float(solved.fun), torch.from_numpy(solved.x)


def linear_program(cost: Tensor, **constraints: Any) -> Any:
    """scipy's linprog on tensors. Raises UsageError without scipy."""
    try:
        from scipy.optimize import linprog
    except ImportError as error:
        raise UsageError("optimal transport needs scipy: pip install 'steadygan[metrics]'") from error
    arrays = {k: v.numpy() if isinstance(v, Tensor) else v for k, v in constraints.items()}
    sharp = {
        "primal_feasibility_tolerance": 1e-10,
        "dual_feasibility_tolerance": 1e-10,
    }  # the smallest tolerances that the HiGHS solver accepts
    return linprog(cost.numpy(), options=sharp, **arrays)


def weights(given: Tensor | None, count: int) -> Tensor:
    """The given distribution over `count` points in float64; without one, the uniform distribution."""
    if not count:
        raise UsageError("the transport cost of an empty set is not defined: give one point or more")
    if given is None:
        return torch.full((count,), 1 / count, dtype=torch.float64)
    if given.shape != (count,) or bool((given < 0).any()) or abs(float(given.sum()) - 1) > 1e-6:
        raise UsageError(f"weights must be {count} numbers, none negative, that sum to 1")
    return given.double() / given.double().sum()  # to more digits than float32 has


def lipschitz_extension(points: Tensor, values: Tensor, x: Tensor) -> Tensor:
    """min_i values_i + |x - points_i| at x [N, d]; it extends 1-Lipschitz `values` [n] (McShane 1934).

    >>> lipschitz_extension(torch.tensor([[0.0], [1.0]]), torch.tensor([0.0, 1.0]), torch.tensor([[0.5], [2.0]]))
    tensor([0.5000, 2.0000])
    """
    return (values + cases.distances(x, points)).amin(1)


def check_kantorovich(seed: int = 0) -> Verdict:
    """Both linear programs on weighted samples, and the optimal critic extended to the whole space.

    >>> check_kantorovich().verdict
    'holds'
    """
    g = cases.generator(seed)
    gaps, slopes, kept = [], [], []
    for _ in range(30):
        n, m, d = (cases.integers(g, 2, 7) for _ in range(3))
        x, y, far = cases.normal(g, n, d), cases.normal(g, m, d), 3 * cases.normal(g, 100, d)
        a, b = cases.normal(g, n).softmax(0), cases.normal(g, m).softmax(0)
        best, values = kantorovich(x, y, a, b)
        gaps.append(abs(best - wasserstein1(x, y, a, b)))
        points = torch.cat([x, y])
        kept.append(float((lipschitz_extension(points, values, points) - values).abs().max()))
        at = lipschitz_extension(points, values, far)
        slopes.append(float(((at[1:] - at[:-1]).abs() / (far[1:] - far[:-1]).norm(dim=1)).max()))
    gap, slope, keep = (torch.tensor(t) for t in (gaps, slopes, kept))
    return Verdict(
        "Kantorovich-Rubinstein",
        SURVEY,
        "W1 is the largest difference of means of a 1-Lipschitz critic",
        f"least cost and optimal critic agree to {gap.max():.0e} on samples; extended to the whole space the critic "
        f"has slopes up to {slope.max():.3f}",
        judge((gap <= 1e-8) & (slope <= 1 + 1e-6) & (keep <= 1e-8)),
        len(gap),
    )


def parallel_lines(theta: float) -> tuple[float, float, float]:
    """W1, JSD and KL between U[0, 1] on the lines at 0 and at theta: |theta|, log 2, inf (0, 0, 0 at theta = 0).

    Arjovsky 2017, Example 1.

    >>> parallel_lines(0.5)
    (0.5, 0.6931471805599453, inf)
    """
    return (abs(theta), math.log(2), math.inf) if theta else (0.0, 0.0, 0.0)


def check_parallel_lines(seed: int = 0) -> Verdict:
    """Samples at the same heights on both lines: W1 by transport, JSD and KL by histograms over all points.

    >>> check_parallel_lines().verdict
    'holds'
    """
    g = cases.generator(seed)
    errors, smallest = [], math.inf
    for theta in [0.0, *cases.log_uniform(g, 1e-3, 10, 20).tolist()]:
        height = cases.uniform(g, 0, 1, 12)
        x, y = (torch.stack([torch.full_like(height, at), height], 1) for at in (0.0, theta))
        points, index = torch.cat([x, y]).unique(dim=0, return_inverse=True)
        p, q = (torch.bincount(part, minlength=len(points)).double() / 12 for part in index.split(12))
        found = wasserstein1(x, y), float(jensen_shannon(p, q)), float(kullback_leibler(p, q))
        expected = parallel_lines(theta)
        errors.append(max(abs(f - e) if math.isfinite(e) else float(f != e) for f, e in zip(found, expected)))
        smallest = min(smallest, theta or math.inf)
    error = torch.tensor(errors)
    return Verdict(
        "Parallel lines",
        SURVEY,
        "W1 measures how far apart distributions without overlap are, where JSD stays at log 2 and KL is infinite",
        f"W1 = |theta|, JSD = log 2, KL = inf to {error.max():.0e} for theta from {smallest:.2g}; all 0 at theta = 0",
        judge(error <= 1e-8),
        len(error),
    )


def clipping_bound(sizes: Sequence[int], c: float) -> float:
    """A Lipschitz constant of any ReLU MLP of these layer sizes with weights in [-c, c]: prod c sqrt(n_in n_out).

    The spectral norm of a layer is at most its Frobenius norm, with equality when all weights are c. It bounds
    the critic of Arjovsky 2017 (WGAN), section 3.

    >>> clipping_bound((2, 64, 64, 64, 1), 0.01)
    0.00370727...
    """
    return math.prod(c * math.sqrt(i * o) for i, o in pairwise(sizes))


def check_clipping(seed: int = 0) -> Verdict:
    """Slopes of clipped networks, random ones and ones with all weights c, against the bound and against 1.

    >>> check_clipping().verdict
    'holds as corrected'
    """
    g = cases.generator(seed)
    found, tight = [], []
    sizes = (2, 64, 64, 64, 1)
    pieces = [piece for i, o in pairwise(sizes) for piece in (nn.Linear(i, o), nn.ReLU())][:-1]
    D = Network(nn.Sequential(*pieces, nn.Flatten(0)))
    count = len(flatten(D.module))
    for c in cases.log_uniform(g, 1e-2, 1, 50).tolist():
        largest = []
        for draw in (cases.normal(g, count), torch.full((count,), math.inf, dtype=torch.float64)):
            params = clip_weights(draw, c)
            gradient = input_gradient(partial(D, params, {}), cases.normal(g, 100, 2).abs())[1]
            largest.append(float(norm(gradient.detach()).max()))
        found.append([max(largest), clipping_bound(sizes, c)])
        tight.append(largest[1] / found[-1][1])
    slope, bound = torch.tensor(found, dtype=torch.float64).unbind(1)
    reached = (torch.tensor(tight) - 1).abs() <= 1e-9
    return Verdict(
        "Weight clipping",
        SURVEY,
        "weights in [-c, c] make the critic a 1-Lipschitz function",
        f"for 2-64-64-64-1 the constant is the product of c sqrt(n_in n_out) over the layers: "
        f"{clipping_bound(sizes, 0.01):.1e} at c = .01, {clipping_bound(sizes, 1.0):.1e} at c = 1; reached to "
        f"{max(abs(t - 1) for t in tight):.0e}",
        judge(slope <= 1, (slope <= bound * (1 + 1e-9)) & reached, AS_CORRECTED),
        len(slope),
    )
