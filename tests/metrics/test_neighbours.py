"""Scores by neighbours: values by hand for generators whose faults are known, plain double loops, invariances.

Hand values are of points on a line, once as they are (distances from differences) and once turned into 40
dimensions (distances from products).
"""

import math

import pytest
import torch
from torch import Tensor

from steadygan.errors import UsageError
from steadygan.metrics import density_coverage, distances, memorisation, nearest, precision_recall
from steadygan.metrics.neighbours import manifold_scores

DIMS = pytest.mark.parametrize("dim", [1, 40])


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(n: int, d: int, seed: int) -> Tensor:
    return torch.randn(n, d, generator=seeded(seed), dtype=torch.float64)


def on_a_line(values: list[float], dim: int) -> Tensor:
    direction = normal(1, dim, seed=0)
    return torch.tensor(values, dtype=torch.float64)[:, None] * direction / direction.norm() + 7.0


# ------------------------------------------------------------------------------------- generators of known faults

REALS = [0.0, 1.0, 2.0, 3.0, 100.0, 101.0, 102.0, 103.0]
"""Two modes. With k = 3 the radii within a mode are 3, 2, 2, 3 (with oneself among the neighbours 2, 1, 1, 2)."""

NEAR = [0.25, 1.25, 2.25, 3.25]
"""Fakes of one mode: three are in all 4 of its balls, 3.25 in those of 2 and 3 alone: 14 in 4 fakes, over k = 3."""

GENERATORS = {  # fakes, then precision, recall, density, coverage
    "perfect": ([*NEAR, *(100 + x for x in NEAR)], (1, 1, 14 / 12, 1)),
    "half covered": (NEAR, (1, 0.5, 14 / 12, 0.5)),
    "collapsed": ([1.5] * 6, (1, 0, 4 / 3, 0.5)),  # in the balls of one mode; its own balls have radius 0
    "off the manifold": ([48.0, 50.0, 52.0, 54.0], (0, 0, 0, 0)),
    "around the manifold": ([-1000.0, -500.0, 600.0, 1100.0], (0, 1, 0, 0)),  # swapped, it would be precise
    "half off": ([*NEAR, 48.0, 50.0, 52.0, 54.0], (0.5, 0.5, 7 / 12, 0.5)),
}


@DIMS
@pytest.mark.parametrize("name", GENERATORS)
def test_generators_of_known_faults(name, dim):
    fakes, expected = GENERATORS[name]
    fake, real = on_a_line(fakes, dim), on_a_line(REALS, dim)
    parts = precision_recall(fake, real, k=3) | density_coverage(fake, real, k=3)
    found = tuple(parts[key].value for key in ("precision", "recall", "density", "coverage"))
    assert found == pytest.approx(expected, abs=1e-12)
    assert manifold_scores(fake, real, k=3, k_density=3) == parts


@DIMS
def test_the_border_belongs_to_the_ball(dim):
    # -3 is 3 from 0, whose radius is 3, and 106 from 103 likewise; -3.01 is in no ball
    real = on_a_line(REALS, dim)
    found = density_coverage(on_a_line([-3.0, 106.0, -3.01, 1000.0], dim), real, k=3)
    assert found["density"].value == pytest.approx(2 / 12)
    assert precision_recall(on_a_line([-3.0, 106.0, -3.01, 1000.0], dim), real)["precision"].value == 0.5


@pytest.mark.parametrize("dim", [2, 40, 300])
def test_copies_of_the_reals(dim):
    """Each ball holds its own copy and those of its k neighbours, the last on its border: density (k + 1) / k."""
    x = normal(50, dim, seed=1) + 100
    found = manifold_scores(x, x)
    assert {key: score.value for key, score in found.items()} == {
        "precision": 1,
        "recall": 1,
        "density": pytest.approx(6 / 5),
        "coverage": 1,
    }


def test_constant_images():
    same, other = torch.zeros(8, 3), torch.ones(8, 3)
    assert [score.value for score in manifold_scores(same, same).values()] == [1, 1, 8 / 5, 1]
    assert [score.value for score in manifold_scores(same, other).values()] == [0, 0, 0, 0]


# --------------------------------------------------------------------------------------------- plain double loops


def loops(fake: Tensor, real: Tensor, k: int, k_density: int) -> tuple[float, ...]:
    f, r = fake.tolist(), real.tolist()

    def radius(points: list, i: int, k: int) -> float:
        return sorted(math.dist(points[i], points[j]) for j in range(len(points)) if j != i)[k - 1] * (
            1 + 1e-9
        )

    balls, wide = [radius(r, i, k) for i in range(len(r))], [radius(r, i, k_density) for i in range(len(r))]
    mine = [radius(f, i, k) for i in range(len(f))]
    precise = [any(math.dist(x, y) <= balls[j] for j, y in enumerate(r)) for x in f]
    recalled = [any(math.dist(x, y) <= mine[i] for i, x in enumerate(f)) for y in r]
    counts = [sum(math.dist(x, y) <= wide[j] for j, y in enumerate(r)) for x in f]
    covered = [any(math.dist(x, y) <= wide[j] for x in f) for j, y in enumerate(r)]
    return (
        sum(precise) / len(f),
        sum(recalled) / len(r),
        sum(counts) / len(f) / k_density,
        sum(covered) / len(r),
    )


@pytest.mark.parametrize("dim", [3, 40])
@pytest.mark.parametrize(("k", "k_density"), [(3, 5), (1, 2), (6, 1)])
@pytest.mark.parametrize("block", [2**20, 1, 100])
def test_double_loops_find_the_same(dim, k, k_density, block, monkeypatch):
    monkeypatch.setattr(distances, "BLOCK", block)
    real = normal(41, dim, seed=2)
    fake = 0.8 * normal(30, dim, seed=3) + 0.3
    fake[10:14], fake[20:23], real[30:34] = real[:4], fake[3], real[5]  # copies, and repeats on either side
    found = manifold_scores(fake, real, k, k_density)
    assert tuple(score.value for score in found.values()) == pytest.approx(
        loops(fake, real, k, k_density), abs=1e-12
    )


@pytest.mark.parametrize("dim", [3, 40])
def test_order_turns_shifts_and_units_change_nothing(dim):
    fake, real = 0.7 * normal(60, dim, seed=4), normal(80, dim, seed=5)
    turn = 3 * torch.linalg.qr(normal(dim, dim, seed=6)).Q
    expected = manifold_scores(fake, real)
    for other in (
        manifold_scores(fake.flip(0), real[torch.randperm(80, generator=seeded(7))]),
        manifold_scores(fake @ turn + 10, real @ turn + 10),
    ):
        for name, score in expected.items():
            assert other[name] == pytest.approx(score, rel=1e-12), name


def test_errors_are_what_other_fakes_have_against_the_same_reals():
    real, each = normal(300, 8, seed=8), []
    for seed in range(60):
        each.append(manifold_scores(0.7 * normal(300, 8, seed=100 + seed), real))
    for key in ("precision", "recall", "density"):
        spread = torch.tensor([found[key].value for found in each]).std().item()
        assert 0.6 * spread < sum(found[key].error for found in each) / 60 < 1.6 * spread, key


def test_no_share_is_certain():
    found = manifold_scores(torch.zeros(8, 2), 9 + normal(50, 2, seed=9))
    assert all(score.value == 0 and score.error > 0 for score in found.values())


# ------------------------------------------------------------------------------------------------------ distances


@pytest.mark.parametrize("dim", [2, 40, 200])
def test_distances_equal_differences_where_points_are_close_and_far_from_the_origin(dim):
    # |a|^2 + |b|^2 - 2 a.b about the origin leaves nothing of 1e-7 at 1000
    a = 1000 + normal(30, dim, seed=10)
    b = torch.cat([a[:10], a[10:20] + 1e-7 * normal(10, dim, seed=11), normal(12, dim, seed=12)])
    found = torch.cat([block for _, block in distances.distances(a, b)])
    expected = (a[:, None] - b).norm(dim=2)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=0)
    assert (found.diagonal()[:10] == 0).all()


def test_a_collapsed_generator_takes_its_distances_from_differences():
    a = 5 + torch.cat([torch.zeros(40, 64), 1e-6 * normal(3, 64, seed=13)])
    found = torch.cat([block for _, block in distances.distances(a, a)])
    torch.testing.assert_close(found, (a[:, None] - a).norm(dim=2), rtol=1e-6, atol=0)
    assert (found[:40, :40] == 0).all()


@pytest.mark.parametrize("dim", [2, 50])
def test_nearest_is_a_plain_minimum(dim):
    a, b = normal(20, dim, seed=14), normal(30, dim, seed=15)
    distance, index = nearest(a, b)
    for i, x in enumerate(a.tolist()):
        each = [math.dist(x, y) for y in b.tolist()]
        assert distance[i].item() == pytest.approx(min(each), rel=1e-12)
        assert index[i] == each.index(min(each))


# --------------------------------------------------------------------------------------------------- memorisation


def test_memorisation_by_hand():
    """Fakes 0 and 1 from the training set, held-out samples 1 and 2: 3 of 4 pairs, and half of one.

    Shares of the fakes 1 and 3/4, of the held-out ones 3/4 and 1: both of variance 1/32; sqrt(1/64 + 1/64).
    """
    train = torch.tensor([[0.0], [50.0]])
    found = memorisation(torch.tensor([[0.0], [49.0]]), train, torch.tensor([[1.0], [-2.0]]))
    assert found == (pytest.approx(3.5 / 4), pytest.approx(math.sqrt(1 / 32)))


@pytest.mark.parametrize("dim", [4, 40])
def test_copies_fresh_samples_and_strangers(dim):
    train, held = normal(200, dim, seed=16), normal(150, dim, seed=17)
    assert memorisation(train[:90] + 1e-3, train, held).value == 1
    assert memorisation(train[:90], train, held).error > 0
    fresh = memorisation(normal(150, dim, seed=18), train, held)
    assert abs(fresh.value - 0.5) < 3 * fresh.error < 0.15
    assert memorisation(100 + train, train, held).value == 0
    assert memorisation(held.flip(0), train, held).value == 0.5
    half = memorisation(torch.cat([train[:75], normal(75, dim, seed=18)]), train, held)
    assert half.value == pytest.approx(0.75, abs=3 * half.error)


def test_memorisation_of_constant_images_is_undecided():
    assert memorisation(torch.zeros(8, 3), torch.zeros(9, 3), torch.zeros(10, 3)).value == 0.5


def test_the_error_of_memorisation_is_its_spread():
    train = normal(100, 4, seed=19)
    each = [memorisation(0.9 * normal(80, 4, 200 + i), train, normal(60, 4, 900 + i)) for i in range(80)]
    spread = torch.tensor([score.value for score in each]).std().item()
    assert 0.75 * spread < sum(score.error for score in each) / 80 < 1.33 * spread


# ------------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: precision_recall(x[:3], x), "3 nearest neighbours need 4 or more fake images, not 3"),
        (lambda x: precision_recall(x, x[:3]), "4 or more real images, not 3"),
        (lambda x: density_coverage(x, x[:5]), "5 nearest neighbours need 6 or more real images, not 5"),
        (lambda x: precision_recall(x, x, k=0), "1 nearest neighbour or more, not 0"),
        (lambda x: precision_recall(x[:, :2], x), "2 coordinates, .* 3"),
        (lambda x: density_coverage(x * math.nan, x), "20 of 20 samples are not finite"),
        (lambda x: memorisation(x[:1], x, x), "2 or more fakes and held-out samples, not 1 and 20"),
        (lambda x: nearest(x, x[:0]), "at least 1"),
    ],
    ids=["few fakes", "few reals", "few for density", "no k", "width", "nan", "one fake", "none"],
)
def test_unfit_features_are_one_sentence(call, words):
    with pytest.raises(UsageError, match=words):
        call(normal(20, 3, seed=20))


@DIMS
def test_the_border_belongs_to_the_balls_of_fakes_too(dim):
    fake = on_a_line([-3.0, 106.0, -3.01, 1000.0], dim)
    assert precision_recall(on_a_line(REALS, dim), fake)["recall"].value == 0.5


def test_near_points_in_many_dimensions_have_exact_distances():
    """Products of matrices lose nine digits of a distance of 1e-3."""
    b = normal(20, 40, seed=0).double()
    a = b + 1e-4 * normal(20, 40, seed=1).double()
    found = torch.cat([block for _, block in distances.distances(a, b)])
    torch.testing.assert_close(found, (a[:, None] - b).norm(dim=2), rtol=1e-9, atol=0)
