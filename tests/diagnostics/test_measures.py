"""What is measured: closed forms, double loops, and what must not change a measure."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from steadygan import metrics
from steadygan.diagnostics import (
    SURE,
    closeness,
    compared,
    copies,
    cosine,
    critic_measures,
    fake_measures,
    features,
    signal_measures,
    spectral_norm,
    spread,
)

G = torch.Generator().manual_seed(0)


def points(n: int, d: int = 2, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ------------------------------------------------------------------------------------------------- the signal


def test_a_signal_is_measured_over_all_dimensions_of_a_sample():
    """Rows of an image with norms 1, 2, 3, 4: mean 2.5, the lower middle 2, the largest has 4 of 10."""
    norms = torch.tensor([3.0, 1.0, 4.0, 2.0])
    gradient = torch.ones(4, 3, 4, 3) * norms.view(4, 1, 1, 1) / 6  # 36 entries: norm is 6 times an entry
    found = signal_measures(gradient)
    assert {key: round(value.item(), 5) for key, value in found.items()} == {
        "signal/mean": 2.5,
        "signal/median": 2.0,
        "signal/max": 4.0,
        "signal/top": 0.4,
    }


def test_no_gradient_at_all_is_a_measure_too():
    assert {value.item() for value in signal_measures(torch.zeros(5, 2)).values()} == {0.0}


def test_a_gradient_that_is_not_finite_is_not_hidden():
    bad = torch.tensor([[1.0, math.nan], [1.0, 0.0]])
    assert all(
        math.isnan(signal_measures(bad)[key].item()) for key in ("signal/mean", "signal/max", "signal/top")
    )


# ------------------------------------------------------------------------------------------------- the critic


def test_the_critic_at_three_places_by_hand():
    slope = {"real": [3.0, 1.0], "fake": [0.0, 4.0], "between": [2.0, 2.0]}
    logits = {"real": [1.0, 3.0], "fake": [-5.0, 0.0], "between": [9.0, 9.0]}
    places = {at: (torch.tensor(logits[at]), torch.tensor(slope[at])[:, None]) for at in slope}
    found = {key: value.item() for key, value in critic_measures(places, torch.tensor([1.0, 0.0])).items()}
    every = [1.0, 3.0, -5.0, 0.0]
    mean = sum(every) / 4
    assert found == pytest.approx(
        {
            "slope/real": 2.0,
            "slope/fake": 2.0,
            "slope/between": 2.0,
            "slope/max": 4.0,
            "critic/gap": 4.5,
            "critic/spread": math.sqrt(sum((v - mean) ** 2 for v in every) / 4),
            "critic/saturated": 0.5,  # -5 is below -log 99 = -4.595
            "critic/held": (2.0 - 0.5) / 4.5,
        }
    )


def test_sure_is_where_one_percent_of_the_logistic_pull_is_left():
    assert 1 / (1 + math.exp(-SURE)) == pytest.approx(0.99)
    both = torch.tensor([SURE - 1e-3, -SURE + 1e-3, SURE + 1e-3, -SURE - 1e-3])
    flat = torch.zeros(4, 1)
    found = critic_measures({"real": (both, flat), "fake": (both, flat)})
    assert found["critic/saturated"].item() == 0.5


@given(st.floats(-50, 50), st.floats(0.1, 10))
def test_a_shift_of_all_logits_changes_nothing_and_a_scale_only_scales(shift, scale):
    real, fake, held = (points(20, 1, seed)[:, 0] for seed in range(3))
    flat = torch.zeros(20, 1).double()

    def found(a, b):
        places = {"real": (a * real + b, flat), "fake": (a * fake + b, flat)}
        return critic_measures(places, a * held + b)

    one, other = found(1.0, 0.0), found(scale, shift)
    for key, power in (("critic/gap", 1), ("critic/spread", 1), ("critic/held", 0)):
        assert other[key].item() == pytest.approx(one[key].item() * scale**power, rel=1e-6), key


def test_a_critic_at_the_equilibrium_and_a_dead_one_differ_in_spread_alone():
    """Half its reals above, half below, and the same of the fakes: no gap, the losses of a coin, but it lives."""
    flat = torch.zeros(4, 1)
    alive, dead = torch.tensor([1.0, -1.0, 1.0, -1.0]), torch.zeros(4)
    found = [critic_measures({"real": (x, flat), "fake": (x, flat)}) for x in (alive, dead)]
    assert [f["critic/gap"].item() for f in found] == [0, 0]
    assert [f["critic/spread"].item() for f in found] == [1, 0]
    assert spread(alive, alive).item() == 1


# ------------------------------------------------------------------------------------------------- the fakes


def coverage(fake: torch.Tensor, real: torch.Tensor, k: int) -> float:
    """By loops: a real is covered by a fake that is no further than its k-th nearest other real."""
    hit = 0
    for j, r in enumerate(real.tolist()):
        others = sorted(math.dist(r, o) for i, o in enumerate(real.tolist()) if i != j)
        hit += any(math.dist(r, f) <= others[k - 1] for f in fake.tolist())
    return hit / len(real)


def mean_distance(x: torch.Tensor) -> float:
    rows = x.tolist()
    pairs = [(a, b) for i, a in enumerate(rows) for j, b in enumerate(rows) if i != j]
    return sum(math.dist(a, b) for a, b in pairs) / len(pairs)


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("d", [2, 7, 40])
def test_the_fakes_by_loops(k, d):
    fake, real = points(17, d, 1) * 0.6 + 0.3, points(23, d, 2)
    found = fake_measures(fake, real, torch.eye(d, 2).double(), k)
    assert found["fakes/coverage"].item() == pytest.approx(coverage(fake, real, k))
    assert found["fakes/diversity"].item() == pytest.approx(mean_distance(fake) / mean_distance(real))
    centre = real.mean(0)
    rms = math.sqrt(sum(math.dist(r, centre.tolist()) ** 2 for r in real.tolist()) / len(real))
    for axis in range(2):
        wanted = (fake.mean(0) - centre)[axis].item() / rms
        assert found[f"fakes/at{axis}"].item() == pytest.approx(wanted)


@pytest.mark.parametrize("d", [2, 40])
def test_points_that_are_close_to_each_other_and_far_from_0_keep_their_distances(d):
    """In float32, |a|^2 + |b|^2 - 2 a.b loses all digits of distances of 1e-3 at 100."""
    fake, real = ((points(12, d, seed) * 1e-3 + 100).float() for seed in (1, 2))
    found = fake_measures(fake, real, torch.eye(d, 2), 2)
    wanted = mean_distance(fake.double()) / mean_distance(real.double())
    assert found["fakes/diversity"].item() == pytest.approx(wanted, rel=1e-5)
    assert found["fakes/coverage"].item() == pytest.approx(coverage(fake.double(), real.double(), 2))


def test_coverage_is_that_of_the_scores():
    fake, real = points(100, 3, 1) * 0.5, points(80, 3, 2)
    found = fake_measures(fake, real, torch.eye(3, 1).double())
    assert found["fakes/coverage"].item() == metrics.density_coverage(fake, real, k=5)["coverage"].value


@given(st.floats(0.01, 100), st.floats(-100, 100))
def test_units_of_the_data_change_nothing(scale, shift):
    fake, real, eye = points(20, 2, 1) + 1, points(25, 2, 2), torch.eye(2).double()
    one, other = (
        fake_measures(fake, real, eye),
        fake_measures(scale * fake + shift, scale * real + shift, eye),
    )
    for key in one:
        assert other[key].item() == pytest.approx(one[key].item(), rel=1e-6, abs=1e-9), key


@pytest.mark.parametrize("d", [2, 40])
def test_a_good_generator_a_collapsed_one_and_one_that_is_away(d):
    real, same = points(256, d, 1), points(256, d, 2)
    eye = torch.eye(d, 2).double()
    good, one, away = (fake_measures(x, real, eye) for x in (same, same[:1].expand(256, d), same + 100))
    assert good["fakes/coverage"] > 0.93  # 1 - 2^-5 in the mean, with a spread of .011
    assert good["fakes/diversity"].item() == pytest.approx(1, abs=0.1)
    assert (one["fakes/diversity"].item(), away["fakes/coverage"].item()) == (0.0, 0.0)
    assert one["fakes/coverage"] < 0.1


# ------------------------------------------------------------------------------------------ copies and close pairs


def test_close_pairs_by_hand_borders_included():
    fake = torch.tensor([[0.0, 0.3], [5.0, 5.0], [1.0, 0.0]], dtype=torch.float64)
    train = torch.tensor([[0.0, 0.0], [1.0, 0.5]], dtype=torch.float64)
    found = closeness(fake, train, 0.5, torch.tensor([1.0, 99.0, 7.0]).double())
    assert found["close/pairs"].item() == pytest.approx(2 / 3)
    assert found["close/signal"].item() == 7.0, "the largest of those that are close, not of all"
    assert closeness(fake, train, 0.1, torch.ones(3).double())["close/signal"].item() == 0.0


def test_copies_is_the_statistic_of_the_scores_ties_included():
    train, held = points(40, 2, 1), points(30, 2, 2)
    fake = torch.cat([points(20, 2, 3), train[:10], held[:5]])
    wanted = metrics.memorisation(fake, train, held).value
    assert copies(fake, held, train)["fakes/copies"].item() == pytest.approx(wanted)


@pytest.mark.parametrize("d", [2, 40])
def test_copies_by_loops_of_samples_that_are_in_both_sets_too(d):
    train = points(40, d, 1)
    held = torch.cat([points(30, d, 2), train[20:25]])
    fake = torch.cat([points(20, d, 3), train[:10], held[:5]])
    of_fakes, of_held = (
        [min(math.dist(x, t) for t in train.tolist()) for x in s.tolist()] for s in (fake, held)
    )
    wanted = sum((f < h) + (f == h) / 2 for f in of_fakes for h in of_held) / (len(fake) * len(held))
    assert copies(fake, held, train)["fakes/copies"].item() == pytest.approx(wanted)


def test_a_close_pair_is_nearer_than_a_quarter_of_the_median_to_the_nearest_other_sample():
    train = torch.tensor([0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 104.0])[
        :, None
    ]  # a sample that is there twice, one far away
    assert compared(train, 1)["delta"].item() == 0.25
    assert compared(None, 1).keys() == {"directions"}


@pytest.mark.parametrize("dimension", [1, 3, 4, 64])
def test_directions_are_orthonormal_always_the_same_and_the_axes_of_few_dimensions(dimension):
    found = compared(None, dimension)["directions"]
    assert found.shape == (dimension, min(3, dimension))
    torch.testing.assert_close(found.T @ found, torch.eye(min(3, dimension)))
    assert torch.equal(found, compared(None, dimension)["directions"])
    assert torch.equal(found, torch.eye(dimension)) or dimension > 3


@pytest.mark.parametrize("shape", [(2, 5), (2, 3, 4, 9), (2, 1, 8, 8), (2, 3, 16, 24)])
def test_samples_are_compared_by_a_copy_images_by_the_means_of_64_parts(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = features(x)
    wanted = x.clone().flatten(1)
    if len(shape) == 4 and min(shape[2:]) >= 8:
        n, c, h, w = shape
        wanted = x.view(n, c, 8, h // 8, 8, w // 8).mean((3, 5)).flatten(1)
    torch.testing.assert_close(found, wanted)
    x.zero_()
    torch.testing.assert_close(found, wanted)
    assert features(x.bfloat16()).dtype == torch.float32


# ------------------------------------------------------------------------------------------- fields and weights


@pytest.mark.parametrize("angle", [0.0, 0.3, 1.5, 3.0])
def test_the_cosine_of_a_field_that_turns(angle):
    """Two players on a circle: the field (psi, -theta) turns as the point does."""
    here = {"G": torch.tensor([1.0]).double(), "D": torch.tensor([-1.0]).double()}
    c, s = math.cos(angle), math.sin(angle)
    there = {"G": torch.tensor([c + s]).double(), "D": torch.tensor([-c + s]).double()}
    assert cosine(here, there).item() == pytest.approx(math.cos(angle))


def test_the_cosine_weighs_players_alike():
    """D's gradient is a million times G's, and yet it is seen that G's has turned."""
    here = {"G": torch.tensor([1e-3]), "D": torch.tensor([1e3])}
    assert cosine(here, {"G": -here["G"], "D": here["D"]}).item() == pytest.approx(0)
    assert cosine(here, {"G": 5 * here["G"], "D": 5 * here["D"]}).item() == pytest.approx(1)
    assert math.isnan(cosine({**here, "G": torch.zeros(1)}, here).item())


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 2, 3, 3)])
def test_the_spectral_norm_is_the_largest_singular_value_of_any_weight(shape):
    small, large = torch.randn(4, 4, generator=G), 3 * torch.randn(*shape, generator=G)
    wanted = max(torch.linalg.svdvals(w.flatten(1))[0].item() for w in (small, large))
    found = spectral_norm({"a": small, "bias": torch.full((9,), 1e9), "b": large})
    assert found.item() == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_weights_that_are_not_finite_have_no_norm_and_end_nothing(bad):
    weights = {"a": torch.ones(3, 3), "b": torch.tensor([[1.0, bad], [0.0, 1.0]])}
    assert math.isnan(spectral_norm(weights).item())


@pytest.mark.parametrize("d", [2, 40])
def test_every_measure_is_mapped_over_members(d):
    """An ensemble's are had by vmap: each equals the single one."""
    fake, real = (torch.stack([points(9, d, seed + at) for seed in (1, 2, 3)]) for at in (0, 10))
    eye = torch.eye(d, 2).double()

    def everything(a, b):
        places = {"real": (b[:, 0], b), "fake": (a[:, 0], a)}
        return {
            **signal_measures(a),
            **critic_measures(places, b[:, 1]),
            **fake_measures(a, b, eye, 2),
            **closeness(a, b, 0.3, a[:, 0].abs()),
            **copies(a, b + 0.1, b),
            "cosine": cosine({"G": a[:, 0]}, {"G": b[:, 0]}),
            "norm": spectral_norm({"w": a}),
        }

    mapped = torch.vmap(everything)(fake, real)
    for index in range(3):
        for key, value in everything(fake[index], real[index]).items():
            assert mapped[key][index].item() == pytest.approx(value.item(), rel=1e-9), key
