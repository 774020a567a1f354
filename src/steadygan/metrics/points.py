"""Scores of points: coverage of a mixture's modes or of a finite real set, and the gradient that G receives.

Samples are [n, d] and real points [m, d]. Distances are float64. Results are on the CPU. Samples that are not
finite are an error.
"""

import math

import torch
from torch import Generator, Tensor

from steadygan.data import Modes
from steadygan.errors import UsageError
from steadygan.metrics.distances import distances, nearest
from steadygan.metrics.extractors.base import Score
from steadygan.metrics.hash_sampling import chosen
from steadygan.metrics.kernel import check_points
from steadygan.metrics.transport import assigned, costs, potentials, sliced_wasserstein2
from steadygan.penalties import Critic, input_gradient
from steadygan.rng import generator

__all__ = [
    "EXACT",
    "close_pairs",
    "finite_gaussian",
    "generator_gradient",
    "kl_to_uniform",
    "modes",
    "points_scores",
    "potential_error",
    "smallest_gap",
    "unbalance",
]


def modes(samples: Tensor, modes: Modes, least: int | None = None) -> dict[str, float]:
    """Count the covered modes of a mixture, the share of good samples, and the imbalance between modes.

    A sample has high quality if it is within 3 std of its nearest centre. The scores are:

    - `modes`: centres with at least `least` such samples (default: a tenth of a uniform share, n / 10m
      rounded up).
    - `high_quality`: the share of such samples in all n. A perfect generator in the plane has 1 - e^-4.5 =
      0.9889.
    - `mode_kl` = sum_j p_j log(m p_j) in nats, with p their histogram over the m centres. It is 0 when even,
      and log m for a single mode. It is log m by definition when no sample has high quality.

    Raises UsageError on wrong shapes, on samples that are not finite, and on least below 1. Source:
    Srivastava 2017 (VEEGAN) for the 3 std.

    >>> modes(torch.zeros(10, 2), Modes(torch.tensor([[0.0, 0.0], [1.0, 0.0]]), std=0.1))
    {'modes': 1.0, 'high_quality': 1.0, 'mode_kl': 0.6931471805599453}
    """
    distance, centre = nearest(samples, modes.centres)
    n, m = len(samples), len(modes.centres)
    least = math.ceil(n / (10 * m)) if least is None else least
    if least < 1:
        raise UsageError(f"least is {least}, but a covered mode needs 1 sample or more")
    counts = torch.bincount(centre[distance <= 3 * modes.std], minlength=m).double()
    good = counts.sum().item()
    return {
        "modes": float((counts >= least).sum()),
        "high_quality": good / n,
        "mode_kl": kl_to_uniform(counts) if good else math.log(m),
    }


def kl_to_uniform(counts: Tensor) -> float:
    """Kullback-Leibler divergence in nats of the histogram counts [m] from the uniform one: sum_j p_j log(m p_j).

    >>> kl_to_uniform(torch.tensor([3, 3])), kl_to_uniform(torch.tensor([6, 0]))
    (0.0, 0.6931471805599453)
    """
    p = counts.double() / counts.sum()
    return max(torch.xlogy(p, len(p) * p).sum().item(), 0.0)  # never negative but for rounding


def unbalance(samples: Tensor, rows: Tensor) -> float:
    """Return the largest share of fakes whose nearest real point is the same: 1/m when even, 1 when all share one.

    The first of several equally near real points counts. Raises UsageError on wrong shapes and on samples
    that are not finite. Source: FARGAN (Tao and Wang 2020), figure 1, here as a number.

    >>> unbalance(torch.tensor([[0.1], [-0.2], [0.9], [0.3]]), torch.tensor([[0.0], [1.0]]))
    0.75
    """
    return torch.bincount(nearest(samples, rows)[1]).max().item() / len(samples)


def smallest_gap(rows: Tensor) -> float:
    """Return the smallest distance between two distinct points of rows [m, d]; repeated points count once.

    The result is exact and needs O(m) memory. Points are sorted along the first axis and compared k places
    apart. The search stops when that axis alone separates them by more than the best pair. Raises UsageError
    unless two points differ.

    >>> smallest_gap(torch.tensor([[0.0, 0.0], [3.0, 4.0], [3.0, 4.0]]))
    5.0
    """
    points, best = check_points(rows, "real points").unique(dim=0), math.inf  # unique also sorts
    if len(points) < 2:
        raise UsageError("all real points are equal: the smallest gap needs two distinct ones")
    for k in range(1, len(points)):
        step = points[k:] - points[:-k]
        if step[:, 0].min() >= best:
            break
        best = min(best, step.norm(dim=1).min().item())
    return best


def close_pairs(samples: Tensor, rows: Tensor, delta: float) -> tuple[Tensor, Tensor]:
    """Return (fake index, row index) of each fake and real point at distance <= delta, in the order of the fakes.

    Raises UsageError unless 0 < delta < `smallest_gap(rows)`, on wrong shapes, and on samples that are not
    finite. Source: FARGAN (Tao and Wang 2020), Definition 1, which requires delta far below that gap.

    >>> close_pairs(torch.tensor([[0.1], [0.5], [1.0]]), torch.tensor([[0.0], [1.0]]), delta=0.2)
    (tensor([0, 2]), tensor([0, 1]))
    """
    gap = smallest_gap(rows)
    if not 0 < delta < gap:
        raise UsageError(f"delta is {delta}, but must lie between 0 and the real points' smallest gap {gap}")
    pairs = [(near <= delta).nonzero() + torch.tensor([i, 0]) for i, near in distances(samples, rows)]
    fakes, reals = torch.cat(pairs).unbind(1)
    return fakes, reals


def generator_gradient(critic: Critic, samples: Tensor) -> Tensor:
    """The gradient norm of the non-saturating generator loss at each fake: sigma(-D(y)) |grad D(y)|, [n] float64.

    It is |d/dy softplus(-D(y))| of one fake, without the 1/n of a batch mean; detached. Raises UsageError if
    the critic does not return [n]. Source: FARGAN (Tao and Wang 2020), left side of Eqn 5.

    >>> generator_gradient(lambda y: y @ torch.tensor([3.0, 4.0]), torch.zeros(1, 2))
    tensor([2.5000], dtype=torch.float64)
    """
    logits, gradient = (t.detach().cpu().double() for t in input_gradient(critic, samples))
    return torch.sigmoid(-logits) * gradient.flatten(1).norm(dim=1)


def finite_gaussian(
    samples: Tensor, rows: Tensor, critic: Critic | None, delta: float | None = None
) -> dict[str, float]:
    """Measure overfitting to finite real points: imbalance, close pairs, and the generator's gradient there.

    - `unbalance`: see the function of that name.
    - `rows_covered`: the share of real points with a fake within delta.
    - `close_pairs`: the number of pairs within delta.
    - `close_gradient`: the largest `generator_gradient` over the fakes of a close pair; 0 if there are none.
    - `gradient_max`: the largest over all fakes.

    Without a critic the last two are left out. delta is a quarter of `smallest_gap(rows)` by default. Raises
    UsageError as the parts do. Source: FARGAN (Tao and Wang 2020), Definition 1, Eqn 5.

    >>> rows = torch.tensor([[0.0], [1.0]])
    >>> finite_gaussian(torch.tensor([[0.1], [0.5]]), rows, lambda y: 0 * y[:, 0])["close_pairs"]
    1.0
    """
    fakes, reals = close_pairs(samples, rows, smallest_gap(rows) / 4 if delta is None else delta)
    crowding = {
        "unbalance": unbalance(samples, rows),
        "rows_covered": len(reals.unique()) / len(rows),
        "close_pairs": float(len(fakes)),
    }
    if critic is None:
        return crowding
    gradient = generator_gradient(critic, samples)
    return {
        **crowding,
        "close_gradient": gradient[fakes].max().item() if len(fakes) else 0.0,
        "gradient_max": gradient.max().item(),
    }


EXACT = 1000
"""Points per side for the exact distances: half a second, or two seconds for a collapsed generator."""

RESAMPLED = 64  # bootstrap samples of an error
DIRECTIONS = 32  # of the sliced distance of a bootstrap sample


def points_scores(
    samples: Tensor, real: Tensor, modes: Modes | None = None, *, exact: int = EXACT, seed: int = 0
) -> dict[str, Score]:
    """Score samples [n, d] against real points [m, d]: `w1`, `w2`, `sliced_w2`, and for a mixture its modes.

    `modes`, `high_quality` and `mode_kl` use all samples. Their errors are standard deviations over 64
    bootstrap samples. The distances compare equally many points of both sides, chosen at random where there are
    more: `sliced_w2` all that there are, `w1` and `w2` up to `exact`. Their errors cover the sampling of the real
    points too. That of `sliced_w2` is a bootstrap of both sides; those of `w1` and `w2` are `potential_error`. All
    values are a function of the points and `seed`. Raises UsageError on fewer than 2 points, on unequal sizes, on
    points that are not finite, and without scipy.

    >>> points = torch.arange(4.0).view(4, 1)
    >>> {name: score.value for name, score in points_scores(points, points + 1).items()}
    {'w1': 1.0, 'w2': 1.0, 'sliced_w2': 1.0}
    """
    samples, real = check_points(samples, "samples", least=2), check_points(real, "real points", least=2)
    if exact < 2:
        raise UsageError(f"exact is {exact}, but a distance with its error needs 2 points or more")
    g = generator("bootstrap", seed)
    n = min(len(samples), len(real))
    few = min(n, exact)
    counted = _of_modes(samples, modes, g) if modes else {}
    # Not the first ones: the order may be that of a file.
    a, b = (points[chosen(len(points), n)] for points in (samples, real))
    exactly = _exact(*(points[chosen(len(points), few)] for points in (samples, real)))
    return counted | exactly | {"sliced_w2": _sliced(a, b, g)}


def potential_error(cost: Tensor) -> float:
    """The sampling error of the least mean cost between n and n points: sqrt((var f + var g) / n), f, g its potentials.

    `cost` is sorted as `assigned` returns it. This is the standard deviation in the limit law of optimal
    transport for unlike distributions. For equal distributions that law has no term of this order, so the
    error is too large: by a half on ring8. Source: del Barrio and Loubes 2019, for W_2^2.

    >>> potential_error(torch.tensor([[0.0, 1.0], [5.0, 2.0]]))
    0.7071067690849304
    """
    f, g = potentials(cost)
    return ((f.var() + g.var()) / len(cost)).sqrt().item()


def _of_modes(samples: Tensor, mixture: Modes, g: Generator) -> dict[str, Score]:
    centres = Modes(mixture.centres.cpu().double(), mixture.std)
    drawn = [modes(samples[_again(len(samples), g)], centres) for _ in range(RESAMPLED)]
    return {
        name: Score(value, _spread([each[name] for each in drawn]))
        for name, value in modes(samples, centres).items()
    }


def _exact(samples: Tensor, real: Tensor) -> dict[str, Score]:
    """W_1, and W_2 as a root. The error of W_2 is that of its square over 2 W_2."""
    first, second = assigned(costs(samples, real)), assigned(costs(samples, real).square())
    w1, w2 = first.diagonal().mean().item(), second.diagonal().mean().item() ** 0.5
    error = potential_error(second) / (2 * w2) if w2 else 0.0
    return {"w1": Score(w1, potential_error(first)), "w2": Score(w2, error)}


def _sliced(samples: Tensor, real: Tensor, g: Generator) -> Score:
    n = len(real)
    drawn = [
        sliced_wasserstein2(samples[_again(n, g)], real[_again(n, g)], DIRECTIONS) for _ in range(RESAMPLED)
    ]
    return Score(sliced_wasserstein2(samples, real), _spread(drawn))


def _again(n: int, g: Generator) -> Tensor:
    """Indices of n points drawn from n with replacement."""
    return torch.randint(n, (n,), generator=g)


def _spread(values: list[float]) -> float:
    return torch.tensor(values, dtype=torch.float64).std().item()
