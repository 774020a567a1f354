"""Scores by nearest neighbours in feature space: precision, recall, density, coverage and memorisation.

Fakes are features [n, d] and reals [m, d], compared in float64. Two blocks of 5 million distances (40 MB
each) are held at a time, so memory is O((n + m) d). A ball is closed, and its radius is enlarged by 1e-9 of
itself for rounding. So points on its border, and equal points at radius 0, belong to it. A point is never its
own neighbour, but its duplicates are.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from steadygan.errors import UsageError
from steadygan.metrics.distances import distances, nearest
from steadygan.metrics.extractors.base import Score, share

__all__ = ["density_coverage", "manifold_scores", "memorisation", "nearest", "precision_recall"]


def precision_recall(fake: Tensor, real: Tensor, k: int = 3) -> dict[str, Score]:
    """Return `precision` and `recall`: the share of fakes in a ball of the reals, and of reals in a ball of the fakes.

    A ball reaches from a point to its k-th nearest other point of the same set. Errors are binomial, over the
    points counted. They describe other fakes against the same reals, within a quarter on Gaussians. With
    other reals too, the spread is up to 1.4 times as large. Raises UsageError on fewer than k + 1 points, on
    wrong shapes, and on points that are not finite. Source: Kynkäänniemi 2019, Eqns 1 and 2.

    >>> square = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> found = precision_recall(0.5 + 0 * square, square)  # all fakes in the middle
    >>> found["precision"].value, found["recall"].value
    (1.0, 0.0)
    """
    mine, theirs = _radii(fake, k, "fake"), _radii(real, k, "real")
    return _contained(fake, real, theirs[None], mine).precision_recall(0)


def density_coverage(fake: Tensor, real: Tensor, k: int = 5) -> dict[str, Score]:
    """Return `density`, the mean number of reals' balls around a fake over k, and `coverage`, the share of balls hit.

        density = sum_ij [fake_i in ball_j] / (n k)        coverage = mean_j [some fake in ball_j]

    A ball reaches from a real to its k-th nearest other real. Density may exceed 1: copies of the reals have
    (k + 1) / k, because a copy is in the ball of its original. The error of density is the standard error
    over the fakes. Where all fakes are alike, it is the effect of one ball more. The error of coverage is
    binomial, over the reals. Both describe other fakes against the same reals. With other reals too, density
    spreads up to 3 times as much. Raises UsageError as `precision_recall` does. Source: Naeem 2020, section
    3.

    >>> line = torch.arange(6.0)[:, None]
    >>> found = density_coverage(torch.tensor([[0.0], [0.0]]), line, k=1)
    >>> found["density"].value, round(found["coverage"].value, 3)  # in the balls of 0 and 1
    (2.0, 0.333)
    """
    return _contained(fake, real, _radii(real, k, "real")[None]).density_coverage(0, k)


def manifold_scores(fake: Tensor, real: Tensor, k: int = 3, k_density: int = 5) -> dict[str, Score]:
    """`precision_recall` with k and `density_coverage` with k_density, at the cost of the first alone."""
    near = _nearest_others(real, max(k, k_density), "real")
    theirs = torch.stack([near[:, k - 1], near[:, k_density - 1]])
    found = _contained(fake, real, theirs, _radii(fake, k, "fake"))
    return found.precision_recall(0) | found.density_coverage(1, k_density)


def memorisation(fake: Tensor, train: Tensor, held: Tensor) -> Score:
    """P(d(fake, train) < d(held, train)): how often a fake is nearer to the training set than a held-out sample.

    d is the distance to the nearest training sample; ties count half. 0.5 means no copying, and 1 means only
    copies. A value below 0.5 means that the fakes avoid the training set or lie far from all data. The value
    is the Mann-Whitney statistic over n m. The error is DeLong's with a fixed training set; where it is 0,
    the binomial error is used. Raises UsageError on fewer than 2 fakes or held-out samples, on wrong shapes,
    and on features that are not finite. Source: Meehan 2020 (the statistic in C_T); DeLong 1988 (error).

    >>> train = torch.tensor([[0.0], [10.0]])
    >>> memorisation(torch.tensor([[0.0], [9.5]]), train, torch.tensor([[1.0], [8.0]])).value
    1.0
    """
    n, m = len(fake), len(held)
    if min(n, m) < 2:
        raise UsageError(f"memorisation compares 2 or more fakes and held-out samples, not {n} and {m}")
    f, h = nearest(fake, train)[0], nearest(held, train)[0]
    nearer = 1 - _below(h, f)  # of each fake: the share of held-out samples that are further away
    overtaken = _below(f, h)
    value = nearer.mean().item()
    error = (nearer.var() / n + overtaken.var() / m).sqrt().item()
    return Score(value, error or share(value, min(n, m)).error)


def _below(values: Tensor, at: Tensor) -> Tensor:
    """The share of values [m] that are below each of at [n]; ties count half."""
    ordered = values.sort().values
    return (torch.searchsorted(ordered, at) + torch.searchsorted(ordered, at, right=True)) / (2 * len(values))


def _nearest_others(points: Tensor, k: int, name: str) -> Tensor:
    """Distances [n, k] from each point to its k nearest other points, in increasing order."""
    if k < 1:
        raise UsageError(f"each image has 1 nearest neighbour or more, not {k}")
    if len(points) < k + 1:
        raise UsageError(f"{k} nearest neighbours need {k + 1} or more {name} images, not {len(points)}")
    parts = []
    for i, block in distances(points, points):
        block.diagonal(i).fill_(torch.inf)
        parts.append(block.topk(k, largest=False).values)
    return torch.cat(parts)


def _radii(points: Tensor, k: int, name: str) -> Tensor:
    return _nearest_others(points, k, name)[:, -1]


class _Contained(NamedTuple):
    """Which points are in which balls, for r radii of each of m reals and one radius of each of n fakes."""

    counts: Tensor  # [r, n] in how many balls of the reals each fake is
    hit: Tensor  # [r, m] whether a real's ball holds a fake
    inside: Tensor  # [m] whether a real is in a ball of the fakes

    def precision_recall(self, row: int) -> dict[str, Score]:
        return {"precision": _share(self.counts[row] > 0), "recall": _share(self.inside)}

    def density_coverage(self, row: int, k: int) -> dict[str, Score]:
        each = self.counts[row].double() / k
        n = len(each)
        error = each.std(correction=int(n > 1)).item() / n**0.5
        return {"density": Score(each.mean().item(), error or 1 / (n * k)), "coverage": _share(self.hit[row])}


def _contained(fake: Tensor, real: Tensor, theirs: Tensor, mine: Tensor | None = None) -> _Contained:
    """Compare all fakes and reals once, for radii `theirs` [r, m] of the reals and optional `mine` [n] of the fakes."""
    slack = 1 + 1e-9
    mine = torch.full((len(fake),), -1.0).double() if mine is None else mine * slack
    counts, hit, inside = [], torch.zeros(theirs.shape).bool(), torch.zeros(len(real)).bool()
    for i, block in distances(fake, real):
        within = [block <= radii * slack for radii in theirs]
        counts.append(torch.stack([balls.sum(1) for balls in within]))
        hit |= torch.stack([balls.any(0) for balls in within])
        inside |= (block <= mine[i : i + len(block), None]).any(0)
    return _Contained(torch.cat(counts, 1), hit, inside)


def _share(flags: Tensor) -> Score:
    return share(flags.double().mean().item(), len(flags))
