"""Moments against numpy's, the Fréchet distance against closed forms, singular values and torchmetrics."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from steadygan.errors import UsageError
from steadygan.metrics import Moments, frechet_distance
from steadygan.metrics.frechet import merge


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(n: int, d: int, seed: int) -> Tensor:
    """Correlated float64 features with a mean."""
    g = seeded(seed)
    mix = torch.randn(d, d, generator=g, dtype=torch.float64)
    return torch.randn(n, d, generator=g, dtype=torch.float64) @ mix + torch.randn(d, generator=g)


def of(features: Tensor, chunk: int = 10**9) -> Moments:
    made = Moments(features.shape[1])
    for part in features.split(chunk):
        made.add(part)
    return made


def exact(mean: list[float], covariance: Tensor) -> Moments:
    """Moments of 2d points mean +- s L e_i: sum of outer products 2 s^2 L L^T, so s^2 = (2d - 1) / 2 gives L L^T."""
    d = len(mean)
    values, vectors = torch.linalg.eigh(covariance)
    L = vectors * values.clamp(min=0).sqrt()
    return of(torch.tensor(mean, dtype=torch.float64) + math.sqrt(d - 0.5) * torch.cat([L.T, -L.T]))


# ---------------------------------------------------------------------------------------------------- moments


@pytest.mark.parametrize(
    ("n", "d"), [(2, 3), (40, 3), (512, 5), (1300, 5), (600, 300)]
)  # folds, bands of columns
def test_mean_and_covariance_are_numpys(n, d):
    x = normal(n, d, seed=n)
    found = of(x)
    assert found.count == n
    np.testing.assert_allclose(found.mean, x.numpy().mean(0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(x.numpy().T), rtol=1e-12, atol=1e-11)
    assert torch.equal(found.covariance, found.covariance.T)


@pytest.mark.parametrize("chunk", [1, 7, 512, 1000])
def test_parts_of_any_size_give_the_same_bits(chunk):
    x = normal(1300, 4, seed=0).float()
    whole, parts = of(x), of(x, chunk)
    assert torch.equal(whole.mean, parts.mean)
    assert torch.equal(whole.covariance, parts.covariance)


def test_reading_in_between_changes_nothing():
    x, read = normal(700, 3, seed=1), Moments(3)
    for part in x.split(90):
        read.add(part)
        assert read.mean.isfinite().all()
    assert torch.equal(read.mean, of(x).mean)


def test_a_far_mean_costs_no_digits():
    # sums of x x^T lose all of it: (1e8)^2 has 16 digits before the point
    x = normal(1300, 3, seed=2)
    near, far = of(x), of(x + 1e8)
    exact_far = np.cov((x + 1e8 - 1e8).numpy().T)
    np.testing.assert_allclose(far.covariance, exact_far, rtol=1e-9)
    np.testing.assert_allclose(far.covariance, near.covariance, rtol=1e-6)


def test_what_is_added_may_be_overwritten_afterwards():
    x = normal(100, 3, seed=3)
    found, buffer = Moments(3), torch.empty(10, 3, dtype=torch.float64)
    for part in x.split(10):
        found.add(buffer.copy_(part))
    assert torch.equal(found.mean, of(x).mean)


def test_merged_parts_are_the_whole():
    x = normal(1700, 4, seed=4)
    parts = [of(part).settled() for part in x.split([3, 900, 797])]
    for one in (merge(parts), merge([*parts, Moments(4)])):  # an empty part is none
        assert one.count == 1700
        np.testing.assert_allclose(one.mean, of(x).mean, rtol=1e-12)
        np.testing.assert_allclose(one.covariance, of(x).covariance, rtol=1e-12)


@pytest.mark.parametrize(
    ("features", "words"),
    [
        (torch.zeros(4, 2), r"floating point \[n, 3\], not .*\[4, 2\]"),
        (torch.zeros(3), r"\[n, 3\]"),
        (torch.zeros(4, 3).long(), "int64"),
        (
            torch.tensor([[0, 0, 0], [0, math.nan, 0], [math.inf, 0, 0]]),
            "2 of 3 images have features that are not finite",
        ),
    ],
)
def test_unfit_features_are_one_sentence(features, words):
    with pytest.raises(UsageError, match=words):
        Moments(3).add(features)


def test_too_few_images_have_no_moments():
    empty, one = Moments(2), of(torch.zeros(1, 2))
    for read in (
        lambda: empty.mean,
        lambda: one.covariance,
        lambda: frechet_distance(one, of(torch.zeros(5, 2))),
    ):
        with pytest.raises(UsageError, match=r"moments of [01] images are not defined"):
            read()


# ----------------------------------------------------------------------------------------- Fréchet distance


def test_commuting_gaussians():
    """|mu|^2 + sum (sqrt a - sqrt b)^2: 9 + 16 + (1 - 3)^2 + (2 - 1)^2."""
    a = exact([0.0, 0.0], torch.diag(torch.tensor([1.0, 4.0], dtype=torch.float64)))
    b = exact([3.0, 4.0], torch.diag(torch.tensor([9.0, 1.0], dtype=torch.float64)))
    assert frechet_distance(a, b) == pytest.approx(30, rel=1e-12)


def test_gaussians_that_do_not_commute():
    """Of a 2 x 2 matrix M, (tr M^1/2)^2 = tr M + 2 sqrt(det M); M = A^1/2 B A^1/2 has tr(AB) = 10, det 3 * 4.

    tr A + tr B = 9. Taking tr(A^1/2 B^1/2) for the root gives another number (1.366 + 2.732 for 4.114).
    """
    A = torch.tensor([[2.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
    B = torch.tensor([[1.0, 0.0], [0.0, 4.0]], dtype=torch.float64)
    expected = 1 + 9 - 2 * math.sqrt(10 + 2 * math.sqrt(12))
    a, b = exact([0.0, 0.0], A), exact([0.0, 1.0], B)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-12)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-12)


def test_a_line_against_a_plane():
    """A = v v^T of rank 1: tr(A^1/2 B A^1/2)^1/2 = sqrt(v^T B v)."""
    v = torch.tensor([3.0, 4.0, 0.0], dtype=torch.float64)
    B = torch.diag(torch.tensor([1.0, 4.0, 0.0], dtype=torch.float64))
    expected = 25 + 5 - 2 * math.sqrt(9 + 64)
    a, b = exact([0.0] * 3, torch.outer(v, v)), exact([0.0] * 3, B)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-6)


def test_constant_images_have_a_distance():
    """Of covariance 0 there is |mu_a - mu_b|^2 + tr A left; of two constants the first alone."""
    x = normal(300, 6, seed=5)
    constant = of(torch.full((20, 6), 2.0))
    expected = (x.mean(0) - 2).square().sum() + np.trace(np.cov(x.numpy().T))
    assert frechet_distance(of(x), constant) == pytest.approx(float(expected), rel=1e-12)
    assert frechet_distance(constant, of(torch.full((9, 6), 5.0))) == pytest.approx(54, rel=1e-12)
    assert frechet_distance(constant, constant) == 0


@pytest.mark.parametrize(("n", "m"), [(10, 200), (200, 10), (8, 12), (2, 2)])
def test_fewer_images_than_features(n, m):
    """With X and Y centred, tr(A^1/2 B A^1/2)^1/2 is the sum of the singular values of X Y^T / sqrt((n-1)(m-1))."""
    x, y = normal(n, 40, seed=6), normal(m, 40, seed=7)
    X, Y = x - x.mean(0), y - y.mean(0)
    A, B = X.square().sum() / (n - 1), Y.square().sum() / (m - 1)
    root = torch.linalg.svdvals(X @ Y.T).sum() / math.sqrt((n - 1) * (m - 1))
    expected = (x.mean(0) - y.mean(0)).square().sum() + A + B - 2 * root
    assert frechet_distance(of(x), of(y)) == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("n", [5, 50, 500])
def test_a_set_is_at_distance_0_from_itself(n):
    x = normal(n, 20, seed=8)
    scale = x.square().sum().item() / n
    assert 0 <= frechet_distance(of(x), of(x.flip(0))) <= 1e-6 * scale


def test_distance_turns_and_grows_with_the_features():
    x, y = normal(300, 6, seed=9), normal(200, 6, seed=10)
    turn = torch.linalg.qr(torch.randn(6, 6, generator=seeded(11), dtype=torch.float64)).Q
    expected = frechet_distance(of(x), of(y))
    assert frechet_distance(of(x @ turn + 5), of(y @ turn + 5)) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(of(3 * x), of(3 * y)) == pytest.approx(9 * expected, rel=1e-9)
    assert frechet_distance(of(x[torch.randperm(300)]), of(y)) == pytest.approx(expected, rel=1e-9)


class Given(nn.Identity):
    num_features = 24


@pytest.mark.parametrize(("n", "m"), [(900, 700), (900, 15)])
def test_torchmetrics_has_the_same_distance(n, m):
    from torchmetrics.image.fid import FrechetInceptionDistance

    x, y = normal(n, 24, seed=12).float(), normal(m, 24, seed=13).float() + 1
    theirs = FrechetInceptionDistance(Given(), input_img_size=(1,))
    theirs.update(x, real=True)
    theirs.update(y, real=False)
    assert frechet_distance(of(x), of(y)) == pytest.approx(theirs.compute().item(), rel=1e-5)


def test_unequal_widths_have_no_distance():
    with pytest.raises(UsageError, match="size 3 and 2 cannot be compared"):
        frechet_distance(of(torch.zeros(5, 2)), of(torch.zeros(4, 3)))
