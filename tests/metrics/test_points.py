"""Metrics against theory: closed forms, brute-force loops over Python floats, and finite differences.

The comment or docstring of each test names the wrong implementation it is there to catch.
"""

import itertools
import math

import pytest
import torch
from torch import Tensor

from steadygan.data import Modes, ring
from steadygan.errors import UsageError
from steadygan.metrics import (
    close_pairs,
    distances,
    finite_gaussian,
    generator_gradient,
    kernel_distance,
    modes,
    pooled_pixels,
    smallest_gap,
    unbalance,
)

RING = ring(modes=8, scale=2.0).modes
assert RING is not None
LINE = Modes(torch.tensor([[0.0, 0.0], [10.0, 0.0]]), std=0.5)  # two modes, good up to 1.5 away


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def around(which: list[int], count: int, seed: int = 0) -> Tensor:
    """`count` samples of RING, spread evenly over the modes `which`."""
    centres = RING.centres[which].repeat(count // len(which), 1)
    return centres + RING.std * torch.randn(len(centres), 2, generator=seeded(seed))


# ------------------------------------------------------------------------------------------------ modes


def test_a_perfect_ring_has_the_normals_own_share_of_good_samples():
    # 3 std in each coordinate would give 0.9946, 2 std 0.865, a variance for a std next to nothing
    n, share = 100_000, 1 - math.exp(-4.5)
    found = modes(ring(modes=8, scale=2.0).draw(seeded(1), n), RING)
    assert found["modes"] == 8
    assert found["high_quality"] == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / n))
    assert 0 <= found["mode_kl"] < 8 * (8 - 1) / (2 * n)  # its expectation is (m - 1) / 2n


@pytest.mark.parametrize(("which", "kl"), [([3], math.log(8)), ([0, 2, 5, 7], math.log(2)), (range(8), 0.0)])
def test_kl_of_evenly_covered_modes_is_the_log_of_the_covered_share(which, kl):
    """p = 1/k on k of 8 modes: KL(p || u) = log(8/k); KL(u || p) would be infinite, log2 gives 3 and 1."""
    on_centres = RING.centres[list(which)].repeat(40, 1)
    assert modes(on_centres, RING) == {
        "modes": len(which),
        "high_quality": 1.0,
        "mode_kl": pytest.approx(kl, abs=1e-12),
    }


def test_kl_counts_good_samples_only():
    # 3 + 1 good samples and 4 bad ones, three of these nearest to the second centre
    x = torch.tensor([0.0, 0.1, -0.1, 10.0, 5.1, 8.0, 12.0, -2.0])
    found = modes(torch.stack([x, torch.zeros(8)], 1), LINE)
    assert found["high_quality"] == 0.5
    assert found["mode_kl"] == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), abs=1e-12)


def test_without_a_good_sample_nothing_is_covered_and_kl_is_at_its_worst():
    # 0/0 in the histogram would be NaN here, or 0: a perfect score
    found = modes(torch.full((50, 2), 99.0), RING)
    assert found == {"modes": 0, "high_quality": 0, "mode_kl": pytest.approx(math.log(8))}


def test_three_std_is_a_closed_ball():
    x = torch.tensor([[1.5, 0.0], [0.0, -1.5], [1.5001, 0.0], [1.2, 1.2]])  # the last lies in the box only
    assert modes(x, LINE)["high_quality"] == 0.5


@pytest.mark.parametrize(
    ("good", "least", "covered"), [(1, None, 1), (2, None, 2), (1, 1, 2), (2, 3, 1), (0, 1, 1)]
)
def test_a_mode_needs_a_tenth_of_its_uniform_share(good, least, covered):
    # n = 40 in two modes: a uniform share is 20, a tenth of it 2
    x = LINE.centres[[0] * (40 - good) + [1] * good]
    assert modes(x, LINE, least)["modes"] == covered


def test_the_default_threshold_rounds_up_and_is_never_zero():
    x = LINE.centres[[0] * 39 + [1] * 2]  # n / 10m = 2.05: two samples are less than a tenth of a share
    assert modes(x, LINE)["modes"] == 1
    assert modes(LINE.centres[[0, 0, 0]], LINE)["modes"] == 1  # rounding 0.15 down would cover both


def test_modes_ignore_the_order_of_samples_and_of_centres_and_the_unit_of_length():
    x = torch.cat([around([0, 1, 2], 300), around([5], 20, seed=1), torch.randn(80, 2, generator=seeded(2))])
    expected = modes(x, RING)
    shuffled = Modes(RING.centres[torch.randperm(8, generator=seeded(3))], RING.std)
    assert modes(x[torch.randperm(len(x), generator=seeded(4))], RING) == expected
    assert modes(x, shuffled) == pytest.approx(expected, rel=1e-12)
    assert modes(x * 4, Modes(RING.centres * 4, RING.std * 4)) == expected
    assert expected["modes"] == 4  # 20 of 400 reach the threshold of 5


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (torch.zeros(0, 2), r"at least 1, .* \[0, 2\]"),
        (torch.zeros(4), r"\[4\]"),
        (torch.zeros(4, 3), "3 coordinates, .* 2"),
        (torch.tensor([[0.0, 0.0], [math.nan, 0.0], [0.0, math.inf]]), "2 of 3 samples are not finite"),
    ],
)
def test_unfit_samples_are_named(samples, words):
    for measure in (
        lambda: modes(samples, LINE),
        lambda: unbalance(samples, LINE.centres),
        lambda: close_pairs(samples, LINE.centres, 0.1),
    ):
        with pytest.raises(UsageError, match=words):
            measure()


def test_least_below_one_is_an_error():
    with pytest.raises(UsageError, match="least is 0"):
        modes(torch.zeros(4, 2), LINE, least=0)  # would count empty modes as covered


# -------------------------------------------------------------------------------- real points and fakes


def nearest_row(fake: list[float], rows: list[list[float]]) -> int:
    return min(range(len(rows)), key=lambda j: math.dist(fake, rows[j]))


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_unbalance_equals_a_brute_force_count(dim):
    # argmin over the wrong axis would ask each row for its nearest fake; 37 != 90 tells them apart
    samples = 0.5 * torch.randn(90, dim, generator=seeded(dim))
    rows = torch.randn(37, dim, generator=seeded(dim + 1))
    wins = [nearest_row(fake, rows.tolist()) for fake in samples.tolist()]
    assert unbalance(samples, rows) == max(wins.count(j) for j in range(37)) / 90


def test_unbalance_is_one_for_a_crowd_and_the_even_share_for_a_copy():
    rows = torch.randn(20, 2, generator=seeded(0))
    assert unbalance(rows[7] + 1e-4 * torch.randn(50, 2, generator=seeded(1)), rows) == 1.0
    assert unbalance(rows.repeat(3, 1), rows) == 1 / 20


def test_unbalance_far_from_the_origin():
    """Points 0.01 apart near 1000: |a|^2 + |b|^2 - 2ab in float32, as torch.cdist has it, parts none."""
    rows = 1000 + 0.01 * torch.randn(40, 2, generator=seeded(0))
    samples = rows[torch.arange(60) % 30]
    wins = [nearest_row(fake, rows.tolist()) for fake in samples.tolist()]
    assert unbalance(samples, rows) == max(wins.count(j) for j in range(40)) / 60 == 2 / 60


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("spread", [1.0, 0.0])  # 0: equal first coordinates, which sorting cannot part
def test_smallest_gap_equals_a_double_loop(dim, spread):
    rows = torch.randn(60, dim + 1, generator=seeded(dim))
    rows[:, 0] *= spread
    rows[30:33] = rows[5]  # repeats, which are no pair of distinct points
    pairs = [math.dist(a, b) for a in rows.tolist() for b in rows.tolist() if a != b]
    assert smallest_gap(rows) == pytest.approx(min(pairs), rel=1e-15)


def test_smallest_gap_looks_past_the_neighbour_along_the_first_axis():
    assert smallest_gap(torch.tensor([[0.0, 0.0], [0.5, 50.0], [0.75, -50.0], [1.0, 0.0]])) == 1.0


def test_smallest_gap_needs_two_distinct_points():
    with pytest.raises(UsageError, match="two distinct"):
        smallest_gap(torch.ones(3, 2))


CORNERS = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])  # smallest gap 1
NEAR = torch.tensor([[0.25, 0.0], [5.0, 5.0], [1.0, 0.0], [0.0, 2.5], [0.5, 0.0], [0.2, 0.2]])


@pytest.mark.parametrize(
    ("delta", "expected"),
    [
        (0.25, [(0, 0), (2, 1)]),  # at most delta: the border counts; in a box (5, 0) would too
        (0.375, [(0, 0), (2, 1), (5, 0)]),
        (0.5, [(0, 0), (2, 1), (3, 2), (4, 0), (4, 1), (5, 0)]),  # fake 4 is close to two real points
    ],
)
def test_close_pairs_of_a_configuration_made_by_hand(delta, expected):
    fakes, reals = close_pairs(NEAR, CORNERS, delta)
    assert list(zip(fakes.tolist(), reals.tolist())) == expected


@pytest.mark.parametrize("block", [1, 100, 2**22])  # one fake at a time, three, all: indices must carry on
def test_close_pairs_equal_a_double_loop_in_blocks_of_any_size(block, monkeypatch):
    monkeypatch.setattr(distances, "BLOCK", block)
    rows = torch.tensor([[i, j] for i in range(6) for j in range(5)], dtype=torch.float32)
    samples = 6 * torch.rand(80, 2, generator=seeded(0))
    fakes, reals = close_pairs(samples, rows, 0.4)
    expected = [
        (i, j)
        for i, fake in enumerate(samples.tolist())
        for j, real in enumerate(rows.tolist())
        if math.dist(fake, real) <= 0.4
    ]
    assert 10 < len(expected) < 80
    assert list(zip(fakes.tolist(), reals.tolist())) == expected
    wins = [nearest_row(fake, rows.tolist()) for fake in samples.tolist()]
    assert unbalance(samples, rows) == max(wins.count(j) for j in range(30)) / 80


def test_close_pairs_resolve_a_millionth_far_from_the_origin():
    # at 1e4 the product formula errs by about 1e-4, even in float64
    rows = 1e4 + torch.randn(40, 2, generator=seeded(0), dtype=torch.float64)
    samples = rows + torch.tensor([[1e-6, 0.0], [3e-6, 0.0]], dtype=torch.float64).repeat(20, 1)
    fakes, reals = close_pairs(samples, rows, 2e-6)
    assert fakes.tolist() == reals.tolist() == list(range(0, 40, 2))


@pytest.mark.parametrize("delta", [1.0, 1.75, 0.0, -0.5, math.nan])
def test_a_delta_outside_definition_1_is_refused_with_both_numbers(delta):
    with pytest.raises(UsageError, match=rf"delta is {delta}, .* gap 1\.0"):
        close_pairs(NEAR, CORNERS, delta)


# -------------------------------------------------------------------------------- the generator's gradient


def smooth_critic(seed: int):
    """A critic with curvature, float64 [n, 2] -> [n]."""
    w, v = (
        torch.randn(2, 7, generator=seeded(seed)).double(),
        torch.randn(7, generator=seeded(seed + 1)).double(),
    )
    return lambda y: torch.tanh(y @ w + 0.3) @ v


def test_generator_gradient_equals_finite_differences():
    """Catches a batch mean (1/n), the saturating loss (sigma(D)), softplus(+D), and a norm over the batch."""
    critic, h = smooth_critic(0), 1e-5
    samples = torch.randn(9, 2, generator=seeded(3), dtype=torch.float64)
    expected = []
    for fake in samples:
        slopes = []
        for axis in range(2):
            up, down = fake.clone(), fake.clone()
            up[axis] += h
            down[axis] -= h
            loss = [math.log1p(math.exp(-critic(y[None]).item())) for y in (up, down)]
            slopes.append((loss[0] - loss[1]) / (2 * h))
        expected.append(math.hypot(*slopes))
    assert generator_gradient(critic, samples).tolist() == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("logit", [-200.0, -3.0, 0.0, 3.0, 200.0])
def test_generator_gradient_of_a_linear_critic(logit):
    """sigma(-D) |w|; at D = 200 a float32 sigmoid would report a dead gradient where e^-200 is left."""
    w = torch.tensor([6.0, 8.0])
    samples = logit * w / 100 + torch.tensor([[-8.0, 6.0], [0.0, 0.0]]) * 0.125
    expected = 10 * math.exp(-logit) / (1 + math.exp(-logit))
    assert generator_gradient(lambda y: y @ w, samples).tolist() == pytest.approx(
        [expected] * 2, rel=1e-4, abs=0
    )


def test_generator_gradient_is_per_sample_and_leaves_nothing_behind():
    critic = torch.nn.Sequential(
        torch.nn.Linear(2, 8),
        torch.nn.LeakyReLU(0.2, inplace=True),
        torch.nn.Linear(8, 1),
        torch.nn.Flatten(0),
    )
    samples = torch.randn(6, 2, generator=seeded(0))
    with torch.no_grad():  # as a training loop that measures would call it
        all_at_once = generator_gradient(critic, samples)
    one_by_one = torch.cat([generator_gradient(critic, y[None]) for y in samples])
    torch.testing.assert_close(all_at_once, one_by_one, rtol=1e-5, atol=1e-8)
    assert not one_by_one.requires_grad
    assert all(p.grad is None for p in critic.parameters())


def test_generator_gradient_is_zero_not_nan_on_a_flat_critic():
    assert generator_gradient(lambda y: 0 * y.sum(1), torch.ones(3, 2)).tolist() == [0, 0, 0]


X0 = torch.tensor([0.3, -0.7], dtype=torch.float64)
# critics with D(x0) - D(x0 + (r, 0)) = eps, concave on the way, and their |grad D(y0)| in units of eps / r
KEEPS_A_GAP = {
    "linear": (lambda y, eps, r: -eps * (y - X0)[:, 0] / r, 1.0),
    "cone": (lambda y, eps, r: -eps * (y - X0).norm(dim=1) / r, 1.0),
    "parabola": (lambda y, eps, r: -eps * ((y - X0) / r).square().sum(1), 2.0),
    "sideways": (
        lambda y, eps, r: -eps * (y - X0) @ torch.tensor([1.0, 3.0], dtype=X0.dtype) / r,
        math.sqrt(10),
    ),
}


@pytest.mark.parametrize("name", KEEPS_A_GAP)
@pytest.mark.parametrize("level", [-2.0, 0.0, 2.0])
def test_eqn_5_bounds_the_gradient_of_a_close_pair_from_below(name, level):
    """FARGAN, Eqn 5: |grad L_G(y0)| >= sigma(-D(y0)) eps / r, so at a kept gap it grows like 1/r."""
    critic, steepness = KEEPS_A_GAP[name]
    eps, found = 0.5, []
    for r in (1e-1, 1e-2, 1e-3, 1e-4):
        pair = torch.stack([X0, X0 + torch.tensor([r, 0.0], dtype=X0.dtype)])
        logits = critic(pair, eps, r) + level
        assert (logits[0] - logits[1]).item() == pytest.approx(eps, rel=1e-9)
        bound = eps / r / (1 + math.exp(logits[1].item()))
        found.append(generator_gradient(lambda y, r=r: critic(y, eps, r) + level, pair[1:]).item())
        assert found[-1] >= bound * (1 - 1e-9)
        assert found[-1] == pytest.approx(steepness * bound, rel=1e-9)
    assert [b / a for a, b in itertools.pairwise(found)] == pytest.approx([10] * 3, rel=1e-6)


def test_eqn_5_holds_somewhere_between_the_pair_for_any_critic():
    """A step halfway is flat at y0, where the bound fails; by the mean value theorem it holds on the way."""
    eps, r, n = 0.5, 0.1, 2001

    def critic(y: Tensor) -> Tensor:
        return -eps * torch.sigmoid(400 * ((y - X0)[:, 0] / r - 0.5))

    way = X0 + torch.linspace(0, r, n).double()[:, None] * torch.tensor([1.0, 0.0]).double()
    slope = generator_gradient(critic, way) / torch.sigmoid(-critic(way))
    assert slope[-1] < 1e-6 * eps / r
    assert slope.max() >= eps / r


# -------------------------------------------------------------------------------- the finite Gaussian


def test_finite_gaussian_of_a_configuration_made_by_hand():
    # gap 1, so delta = 1/4; close are 0-0, 1-0 and 3-1; fakes 0, 1, 2 and 4 are nearest to row 0
    samples = torch.tensor([[0.24, 0.0], [0.0, 0.0], [0.26, 0.0], [1.0, 0.2], [-9.0, -9.0], [0.0, 3.0]])
    slope = torch.tensor([0.0, -2.0])
    found = finite_gaussian(samples, CORNERS, lambda y: y @ slope)
    assert found == {
        "unbalance": pytest.approx(4 / 6),
        "rows_covered": pytest.approx(2 / 3),
        "close_pairs": 3,
        "close_gradient": pytest.approx(2 / (1 + math.exp(-0.4))),  # fake 3, where D = -0.4
        "gradient_max": pytest.approx(2 / (1 + math.exp(-6))),  # fake 5, which is close to nothing
    }
    wider = finite_gaussian(samples, CORNERS, lambda y: y @ slope, delta=0.3)
    assert (wider["close_pairs"], wider["rows_covered"]) == (4, pytest.approx(2 / 3))


def test_finite_gaussian_without_a_close_pair():
    found = finite_gaussian(torch.full((3, 2), 9.0), CORNERS, lambda y: y.sum(1))
    assert (found["close_pairs"], found["rows_covered"], found["close_gradient"]) == (0, 0, 0.0)
    assert found["gradient_max"] > 0
    assert all(type(value) is float for value in found.values())  # scalars for a line of JSON


# -------------------------------------------------------------------------------- kernel distance


def kernel_distance_by_loops(a: list[list[float]], b: list[list[float]]) -> float:
    def k(x, y):
        return (sum(p * q for p, q in zip(x, y)) / len(x) + 1) ** 3

    def within(s):
        return sum(k(s[i], s[j]) for i in range(len(s)) for j in range(len(s)) if i != j) / (
            len(s) ** 2 - len(s)
        )

    return within(a) + within(b) - 2 * sum(k(x, y) for x in a for y in b) / (len(a) * len(b))


@pytest.mark.parametrize("dim", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kernel_distance_equals_a_double_loop(dim, dtype):
    """Catches the diagonal, a missing 1/d, n for m, a wrong power; and float32 sums (1e-7 against 1e-12)."""
    a = torch.randn(12, dim, generator=seeded(0), dtype=dtype)
    b = 1 + torch.randn(7, dim, generator=seeded(1), dtype=dtype)
    assert kernel_distance(a, b) == pytest.approx(kernel_distance_by_loops(a.tolist(), b.tolist()), rel=1e-12)


@pytest.mark.parametrize(("shift", "truth"), [(0.0, 0.0), (1.0, 22.0)])
def test_kernel_distance_is_unbiased(shift, truth):
    """In one dimension the kernel compares moments: MMD^2 = 3 (d mean)^2 + 3 (d square)^2 + (d cube)^2.

    N(0, 1) and N(1, 1) have moments (0, 1, 0) and (1, 2, 4): 3 + 3 + 16 = 22. A V-statistic (diagonal kept)
    is too high by E[k(x,x) - k(x,y)] (1/n + 1/m), here over 5.
    """
    draws = []
    for seed in range(3000):
        x = torch.randn(14, 1, generator=seeded(seed))
        draws.append(kernel_distance(x[:6], x[6:] + shift))
    draws = torch.tensor(draws, dtype=torch.float64)
    assert (draws.mean() - truth).abs() < 4 * draws.std() / math.sqrt(len(draws))
    assert (
        shift or draws.min() < 0
    )  # an unbiased estimate of 0 goes below it; a clamp or a square root does not


def test_kernel_distance_ignores_blocks_and_order_and_is_symmetric():
    a, b = torch.randn(50, 4, generator=seeded(0)), 0.5 + torch.randn(33, 4, generator=seeded(1))
    expected = kernel_distance(a, b)
    for block in (1, 33, 100, 1000, 10**9):  # 1 is less than one row; 100 leaves a ragged last block
        assert kernel_distance(a, b, block) == pytest.approx(expected, rel=1e-12)
    shuffled = a[torch.randperm(50, generator=seeded(2))]
    assert kernel_distance(shuffled, b) == pytest.approx(expected, rel=1e-12)
    assert kernel_distance(b, a) == pytest.approx(expected, rel=1e-12)


def test_kernel_distance_of_pooled_images_grows_with_noise():
    # white noise of std s adds s^2 / 4 to each of 64 cells' squares, 3 s^4 / 1024 to the distance
    clean, other = (torch.rand(2000, 1, 16, 16, generator=seeded(s)) * 2 - 1 for s in (0, 1))
    noise = torch.randn(clean.shape, generator=seeded(2))
    none, *noisy = (
        kernel_distance(pooled_pixels(other), pooled_pixels(clean + s * noise)) for s in (0, 1, 2, 4)
    )
    assert abs(none) < 1e-3
    assert noisy == pytest.approx([3 * s**4 / 1024 for s in (1, 2, 4)], rel=0.2)


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        (torch.zeros(1, 3), torch.zeros(5, 3), r"at least 2 and .* \[1, 3\]"),
        (torch.zeros(5, 3), torch.zeros(1, 3), r"compare with .* \[1, 3\]"),
        (torch.zeros(5, 0), torch.zeros(5, 0), r"d at least 1, .* \[5, 0\]"),
        (torch.zeros(5, 3), torch.zeros(5, 4), "size 3 and 4"),
        (torch.zeros(5, 3, 8, 8), torch.zeros(5, 3), r"\[5, 3, 8, 8\]"),
        (torch.full((5, 3), math.inf), torch.zeros(5, 3), "5 of 5 samples are not finite"),
        (torch.zeros(5, 3), torch.tensor([[0.0] * 3, [math.nan] * 3]), "1 of 2 .* not finite"),
    ],
)
def test_kernel_distance_names_what_is_unfit(a, b, words):
    with pytest.raises(UsageError, match=words):
        kernel_distance(a, b)


# -------------------------------------------------------------------------------- pooled pixels


def test_pooled_pixels_are_block_means_channel_by_channel():
    images = torch.rand(2, 3, 32, 24, generator=seeded(0)) * 2 - 1
    expected = [
        [
            images[i, c, 4 * y : 4 * y + 4, 3 * x : 3 * x + 3].mean().item()
            for c in range(3)
            for y in range(8)
            for x in range(8)
        ]
        for i in range(2)
    ]
    torch.testing.assert_close(pooled_pixels(images), torch.tensor(expected))


def test_pooled_pixels_leave_8_by_8_alone_and_take_a_side_that_8_does_not_divide():
    images = torch.rand(4, 1, 8, 8, generator=seeded(0))
    assert torch.equal(pooled_pixels(images), images.flatten(1))
    assert torch.equal(pooled_pixels(torch.full((2, 1, 28, 28), 0.5)), torch.full((2, 64), 0.5))


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (torch.zeros(2, 3, 7, 9), r"\[2, 3, 7, 9\]"),  # would be blown up, not pooled
        (torch.zeros(3, 8, 8), r"\[3, 8, 8\]"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), "uint8: pass x / 127.5 - 1"),
    ],
)
def test_pooled_pixels_name_what_is_unfit(images, words):
    with pytest.raises(UsageError, match=words):
        pooled_pixels(images)
