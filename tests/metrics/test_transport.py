"""Optimal transport against every permutation, closed forms, scipy and a linear program; and the errors of scores."""

import itertools
import math
import sys

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from steadygan.data import Modes, ring
from steadygan.errors import UsageError
from steadygan.metrics import modes, points_scores, sliced_wasserstein2, transport, wasserstein1, wasserstein2
from steadygan.metrics.points import potential_error
from steadygan.metrics.transport import assigned, costs, potentials
from steadygan.theory import survey_wasserstein

scipy_stats = pytest.importorskip("scipy.stats")

DISTANCES = [wasserstein1, wasserstein2, sliced_wasserstein2]
each_distance = pytest.mark.parametrize("distance", DISTANCES, ids=lambda f: f.__name__)


def normal(n: int, d: int, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ------------------------------------------------------------------------------------------------------------- exact


@pytest.mark.parametrize("n", range(1, 7))
def test_the_best_of_all_permutations(n):
    a, b = normal(n, 3, seed=n).tolist(), normal(n, 3, seed=10 + n).tolist()
    ways = [[math.dist(x, b[j]) for x, j in zip(a, order)] for order in itertools.permutations(range(n))]
    a, b = torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64)
    assert wasserstein1(a, b) == pytest.approx(min(sum(way) / n for way in ways), rel=1e-12)
    # the best way for squares is another one than for distances, now and then
    squares = min(sum(d * d for d in way) / n for way in ways)
    assert wasserstein2(a, b) == pytest.approx(math.sqrt(squares), rel=1e-12)


def test_a_linear_program_agrees():
    a, b = normal(12, 2), normal(12, 2, seed=1) * 2 + 1
    assert wasserstein1(a, b) == pytest.approx(survey_wasserstein.wasserstein1(a, b), rel=1e-7)
    nd = scipy_stats.wasserstein_distance_nd(a.numpy(), b.numpy())
    assert wasserstein1(a, b) == pytest.approx(nd, rel=1e-7)


def test_in_one_dimension_order_is_best():
    a, b = normal(200, 1), 3 * normal(200, 1, seed=1) - 1
    assert wasserstein1(a, b) == pytest.approx(scipy_stats.wasserstein_distance(a[:, 0], b[:, 0]), rel=1e-12)
    step = a.sort(0).values - b.sort(0).values
    assert wasserstein2(a, b) == pytest.approx(step.square().mean().sqrt().item(), rel=1e-12)
    assert sliced_wasserstein2(a, b) == pytest.approx(
        wasserstein2(a, b), rel=1e-12
    )  # directions are 1 and -1


def test_gaussians_have_their_closed_form():
    # W_2^2 of N(m, A) and N(0, B), both diagonal: |m|^2 + sum (sqrt A - sqrt B)^2
    a, b = normal(800, 2) * torch.tensor([1.0, 0.5]) + torch.tensor([3.0, 4.0]), normal(800, 2, seed=1)
    assert wasserstein2(a, b) == pytest.approx(math.sqrt(25 + 0.25), rel=0.02)
    # of a direction (s, t), s^2 + t^2 = 1: (3 s + 4 t)^2 + (sqrt(s^2 + t^2 / 4) - 1)^2, whose mean is 12.5 and a bit
    s, t = torch.linspace(0, 2 * math.pi, 10_001).cos(), torch.linspace(0, 2 * math.pi, 10_001).sin()
    mean = ((3 * s + 4 * t) ** 2 + ((s**2 + t**2 / 4).sqrt() - 1) ** 2)[:-1].mean().item()
    assert sliced_wasserstein2(a, b, projections=4096) == pytest.approx(math.sqrt(mean), rel=0.04)


@each_distance
def test_the_laws_of_a_distance(distance):
    a, b = normal(40, 3), normal(40, 3, seed=1) ** 3
    value = distance(a, b)
    assert value > 0.1
    assert distance(b, a) == pytest.approx(value, rel=1e-12)
    assert distance(a, a) == 0
    assert distance(a, a.flip(0)) < 1e-12  # samples have no order
    assert distance(-2.5 * a + 7, -2.5 * b + 7) == pytest.approx(2.5 * value, rel=1e-9)
    assert distance(a, b) <= distance(a, a + 1) + distance(a + 1, b)


def test_a_translation_costs_its_length():
    a, v = normal(60, 4), torch.tensor([3.0, 0.0, 0.0, 4.0])
    assert wasserstein1(a, a + v) == pytest.approx(5, rel=1e-9)
    assert wasserstein2(a, a + v) == pytest.approx(5, rel=1e-9)
    assert wasserstein1(a, a + v) == pytest.approx(wasserstein2(a, a + v), rel=1e-9)
    # E <theta, v>^2 = |v|^2 / d; with a standard deviation of sqrt(2 (d - 1) / (d^2 (d + 2))) |v|^2 a direction
    many = 20_000
    square, spread = 25 / 4, 25 * math.sqrt(2 * 3 / (16 * 6) / many)
    assert sliced_wasserstein2(a, a + v, projections=many) ** 2 == pytest.approx(square, abs=4 * spread)


def test_slices_are_a_function_of_the_seed_and_not_of_the_blocks(monkeypatch):
    a, b = normal(50, 3), normal(50, 3, seed=1) + 1
    value = sliced_wasserstein2(a, b, projections=70)
    assert sliced_wasserstein2(a, b, projections=70) == value
    assert sliced_wasserstein2(a, b, projections=70, seed=1) != value
    assert value <= wasserstein2(a, b)  # a projection shortens
    monkeypatch.setattr(transport, "BLOCK", 150)
    assert sliced_wasserstein2(a, b, projections=70) == pytest.approx(value, rel=1e-12)


def test_potentials_are_a_proof_that_the_assignment_is_the_best():
    for power in (1, 2):
        cost = assigned(costs(normal(40, 2), normal(40, 2, seed=1) * 2).pow(power))
        f, g = potentials(cost)
        assert (f[:, None] + g <= cost + 1e-12).all()
        assert (f + g).mean().item() == pytest.approx(cost.diagonal().mean().item(), rel=1e-12)


class Rounds(TorchFunctionMode):
    """Counts the calls of amin."""

    count = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Count it, and go on."""
        self.count += func is torch.Tensor.amin
        return func(*args, **(kwargs or {}))


def test_potentials_of_repeated_samples_end_as_soon():
    """Cycles of equal samples have length 0. Rounding makes some -4e-16, which each round adds once more."""
    for seed in range(20):  # of which 14 is such a one
        g = torch.Generator().manual_seed(seed)
        a, b = (torch.randn(60, 2, generator=g)[torch.randint(0, 6, (60,), generator=g)] for _ in "ab")
        cost = assigned(costs(a, b))
        with Rounds() as rounds:
            f, g = potentials(cost)
        assert 1 <= rounds.count <= 12  # a shortest path visits each of 6 kinds of sample once, on both sides
        assert (f[:, None] + g <= cost + 1e-12).all()


# ----------------------------------------------------------------------------------------------------------- refusals


@each_distance
def test_unfit_samples_are_told_in_a_sentence(distance):
    a = normal(5, 2)
    with pytest.raises(UsageError, match=r"not \[5, 2\] and \[4, 2\]: take as many of each"):
        distance(a, a[:4])
    with pytest.raises(UsageError, match=r"not \[5, 2\] and \[5, 1\]"):
        distance(a, a[:, :1])
    with pytest.raises(UsageError, match="1 of 5 samples to compare with are not finite"):
        distance(a, torch.where(a == a[0, 0], torch.nan, a))
    with pytest.raises(UsageError, match="n at least 1"):
        distance(a[:0], a[:0])


def test_too_many_samples_are_refused_before_their_costs_are_made():
    many = torch.zeros(transport.LARGEST + 1, 2)
    for distance in (wasserstein1, wasserstein2):
        with pytest.raises(
            UsageError, match=r"5001 samples are too many .* take 5000 or fewer, or the sliced one"
        ):
            distance(many, many)
    assert sliced_wasserstein2(many, many + 1, projections=2) > 0
    with pytest.raises(UsageError, match="projections is 0"):
        sliced_wasserstein2(many, many, projections=0)


def test_a_missing_scipy_is_told_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(UsageError, match=r"pip install 'steadygan\[metrics\]'"):
        wasserstein1(normal(3, 2), normal(3, 2))


# ------------------------------------------------------------------------------------------------------------- scores

RING = ring(modes=8, scale=2.0)


def draw(n: int, seed: int) -> Tensor:
    return RING.draw(torch.Generator().manual_seed(seed), n)


def test_scores_are_those_of_the_metrics():
    samples, real = draw(250, seed=1), draw(250, seed=2)
    found = points_scores(samples, real, RING.modes)
    assert list(found) == ["modes", "high_quality", "mode_kl", "w1", "w2", "sliced_w2"]
    values = {name: score.value for name, score in found.items()}
    assert values["w1"] == wasserstein1(samples, real)
    assert values["w2"] == wasserstein2(samples, real)
    assert values["sliced_w2"] == sliced_wasserstein2(samples, real)
    counted = modes(samples, RING.modes)
    assert {name: values[name] for name in counted} == counted
    assert points_scores(samples, real, RING.modes) == found
    assert list(points_scores(samples, real, exact=10)) == ["w1", "w2", "sliced_w2"]


@pytest.mark.parametrize("side", ["samples", "real"])
def test_a_set_in_the_order_of_its_modes_is_compared_as_a_whole(side):
    """The first 100 of 800 points that are sorted by angle are one mode of eight, some 1.2 away from the ring."""
    sets = {name: draw(800, seed) for seed, name in enumerate(("samples", "real"))}
    angle = torch.atan2(sets[side][:, 1], sets[side][:, 0])
    sets[side] = sets[side][angle.argsort()]
    found = points_scores(**sets, exact=100)
    assert found["w1"].value < 0.4
    sets[side] = sets[side][:400]  # half of the ring, in the sliced distance too
    assert points_scores(**sets)["sliced_w2"].value > 2 * found["sliced_w2"].value


def test_the_error_of_a_share_is_binomial():
    line = Modes(torch.tensor([[0.0], [100.0]]), std=1.0)
    n, p = 1000, 0.7
    samples = torch.where(torch.arange(n) < p * n, 0.0, 50.0)[:, None]
    error = points_scores(samples, samples, line, exact=10)["high_quality"].error
    assert error == pytest.approx(
        math.sqrt(p * (1 - p) / n), rel=0.35
    )  # of 64 bootstrap samples: 9 % is one sigma


def test_errors_are_how_far_other_samples_lie():
    # two Gaussians of widths 1.5 and 1, apart by 1: the scores of 30 other pairs of samples scatter as one pair says
    n = 100
    pairs = [(1.5 * normal(n, 2, seed=2 * k) + 1, normal(n, 2, seed=2 * k + 1)) for k in range(30)]
    found = [points_scores(a, b) for a, b in pairs]
    for name in ("w1", "w2", "sliced_w2"):
        scatter = torch.tensor([scores[name].value for scores in found]).std().item()
        mean = sum(scores[name].error for scores in found) / len(found)
        assert mean == pytest.approx(scatter, rel=0.5), name


def test_errors_of_potentials_by_hand():
    # from 0 to points at 1 and -1 all costs are 1, whoever is drawn
    one = assigned(costs(torch.zeros(4, 1), torch.tensor([[1.0], [-1.0], [1.0], [-1.0]])))
    assert potential_error(one) == 0
    # to points at 1 and 3, half each: f is 0, and g 1 or 3, whose variance of four is 4/3
    two = assigned(costs(torch.zeros(4, 1), torch.tensor([[1.0], [3.0], [1.0], [3.0]])))
    assert potential_error(two) == pytest.approx(math.sqrt(4 / 3 / 4))


def test_equal_points_have_no_distance_and_no_error():
    found = points_scores(torch.zeros(5, 2), torch.zeros(5, 2))
    assert [score.value for score in found.values()] == [0, 0, 0]
    assert [score.error for score in found.values()] == [0, 0, 0]


def test_scores_need_two_points_that_are_finite():
    a = normal(4, 2)
    with pytest.raises(UsageError, match="n at least 2"):
        points_scores(a[:1], a)
    with pytest.raises(UsageError, match="not finite"):
        points_scores(a / 0, a)
    with pytest.raises(UsageError, match="exact is 1"):
        points_scores(a, a, exact=1)


def test_the_error_of_the_sliced_distance_is_of_both_sides():
    """All fakes are one point. What other reals would change is an error, too: that of their mean alone is .1."""
    real = torch.randn(100, 1, generator=torch.Generator().manual_seed(0))
    assert points_scores(torch.zeros(100, 1), real)["sliced_w2"].error > 0.02
