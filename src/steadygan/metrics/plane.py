"""The scores of points, each with its sampling error: modes of a mixture, and distances of optimal transport."""

import torch
from torch import Generator, Tensor

from steadygan.data import Modes
from steadygan.draws import generator
from steadygan.errors import UsageError
from steadygan.metrics.extractor import Score
from steadygan.metrics.kernel import check_points
from steadygan.metrics.points import modes as count_modes
from steadygan.metrics.transport import assigned, costs, potentials, sliced_wasserstein2

__all__ = ["EXACT", "points_scores", "potential_error"]

EXACT = 1000
"""How many of each the exact distances look at: half a second, and two for a generator that has collapsed."""

RESAMPLED = 64  # bootstrap samples of an error
DIRECTIONS = 32  # of the sliced distance of a bootstrap sample


def points_scores(
    samples: Tensor, real: Tensor, modes: Modes | None = None, *, exact: int = EXACT, seed: int = 0
) -> dict[str, Score]:
    """Score samples [n, d] against real points [m, d]: `w1`, `w2` and `sliced_w2`, and of a mixture its modes.

    `modes`, `high_quality` and `mode_kl` are those of all samples; their errors are standard deviations over 64
    bootstrap samples of them. The distances are between the first samples and the first real points, as many of
    each: `sliced_w2` of all that there are, `w1` and `w2` of up to `exact`. Their errors hold what other real points
    would have changed too: `sliced_w2` by bootstrap of both, the others by the variance of their potentials
    (`potential_error`). All are a function of the points and `seed`. Raises UsageError on fewer than 2 points,
    unequal sizes, points that are not finite, or without scipy.

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
    return counted | _exact(samples[:few], real[:few]) | {"sliced_w2": _sliced(samples[:n], real[:n], g)}


def potential_error(cost: Tensor) -> float:
    """The sampling error of the least mean cost of n and n points: sqrt((var f + var g) / n), f and g its potentials.

    `cost` is as `assigned` has it. The deviation that the limit law of optimal transport has for unlike
    distributions; for equal ones, where there is none of that order, it is too large, by a half on ring8.
    Source: del Barrio and Loubes 2019, for W_2^2.

    >>> potential_error(torch.tensor([[0.0, 1.0], [5.0, 2.0]]))
    0.7071067690849304
    """
    f, g = potentials(cost)
    return ((f.var() + g.var()) / len(cost)).sqrt().item()


def _of_modes(samples: Tensor, modes: Modes, g: Generator) -> dict[str, Score]:
    centres = Modes(modes.centres.cpu().double(), modes.std)
    drawn = [count_modes(samples[_again(len(samples), g)], centres) for _ in range(RESAMPLED)]
    return {
        name: Score(value, _spread([each[name] for each in drawn]))
        for name, value in count_modes(samples, centres).items()
    }


def _exact(samples: Tensor, real: Tensor) -> dict[str, Score]:
    """W_1, and W_2 as a root, whose error is that of its square over 2 W_2."""
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
    """Numbers of n points that are drawn from n with replacement."""
    return torch.randint(n, (n,), generator=g)


def _spread(values: list[float]) -> float:
    return torch.tensor(values, dtype=torch.float64).std().item()
