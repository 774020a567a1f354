"""Counter-based numbers: against numpy's Philox, the published vectors, and the distributions they claim."""

import itertools
import math

import numpy as np
import pytest
import torch
from numpy.random import Philox
from scipy import stats
from torch import Tensor

from steadygan.game.philox import CHUNK, normal, philox, stream, uniform

KEYS = torch.stack([stream(seed, 1, "z") for seed in (0, 1, 2)])
LEAST = 1e-4
"""The seeds are fixed, so a right generator passes always; a wrong transform has p-values far below this."""


def signed(*words: int) -> Tensor:
    return torch.tensor([[word - (word >> 63 << 64) for word in words]])


def words_of_numpy(key: Tensor, block: int, first: int, count: int) -> Tensor:
    """Numpy's words, which start at its counter plus 1."""
    before = ((block << 64) + first - 1) % 2**256
    raw = Philox(key=key.numpy().view(np.uint64), counter=before).random_raw(4 * count)
    return torch.from_numpy(raw.view(np.int64))


def test_the_published_vectors():
    """Random123's kat_vectors for philox4x64 with 10 rounds, of which the last two words of a counter are zero."""
    zero = [0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B]
    assert torch.equal(philox(signed(0, 0), 0, 0, 1)[0], signed(*zero))


@pytest.mark.parametrize(("block", "first"), [(0, 0), (0, 5), (1, 0), (3, 2**32 - 2), (2**31 + 7, 2**40 + 3)])
def test_words_are_those_of_numpy(block, first):
    """A product that loses a carry differs in one word of thousands; hence many words, and keys with all bits."""
    keys = torch.cat([KEYS, signed(2**64 - 1, 2**64 - 1), signed(2**63, 1)])
    found = philox(keys, block, first, 5000)
    assert torch.equal(found[:, 0], torch.stack([words_of_numpy(key, block, first, 5000) for key in keys]))


def test_blocks_made_together_are_those_made_one_by_one():
    """A block number that is shared, or counted along the keys, gives other words."""
    found = philox(KEYS, 5, 2, 7, blocks=3)
    assert torch.equal(found, torch.cat([philox(KEYS, number, 2, 7) for number in (5, 6, 7)], 1))
    for make in (uniform, normal):
        alone = torch.cat([make(KEYS, number, 3, 9) for number in (5, 6, 7)], 1)
        assert torch.equal(make(KEYS, 5, 3, 9, blocks=3), alone)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("make", [uniform, normal])
@pytest.mark.parametrize(("first", "count"), [(0, 9), (1, 2), (3, 1), (6, CHUNK + 3), (5, 0)])
def test_a_range_is_a_part_of_the_stream(make, first, count, dtype):
    whole = make(KEYS, 2, 0, first + count + 4, dtype)
    assert torch.equal(make(KEYS, 2, first, count, dtype), whole[..., first : first + count])


def test_numbers_of_a_device_are_those_of_the_cpu():
    """What a device computes from its words, by hand: the CPU has numpy's own numbers."""
    words = philox(KEYS, 7, 0, 1000)
    u = np.stack([[(int(w) & (2**64 - 1)) >> 11 for w in row] for row in words[:, 0]]) / 2.0**53
    assert np.array_equal(uniform(KEYS, 7, 0, 4000)[:, 0].numpy(), u)
    radius, angle = np.sqrt(-2 * np.log1p(-u[:, ::2])), 2 * np.pi * u[:, 1::2]
    z = np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1).reshape(3, -1)
    np.testing.assert_allclose(normal(KEYS, 7, 0, 4000)[:, 0].numpy(), z, rtol=1e-12, atol=1e-14)


def test_float32_is_float64_rounded_and_below_one():
    assert torch.equal(normal(KEYS, 0, 0, 999, torch.float32), normal(KEYS, 0, 0, 999).float())
    single, double = (uniform(KEYS, 0, 0, 2**22, dtype) for dtype in (torch.float32, torch.float64))
    assert single.max() < 1
    assert (single.double() - double).abs().max() <= 2**-24


def test_streams_are_told_apart_by_their_whole_key():
    keys = [stream(*key) for key in ((1, 23), (12, 3), (123,), ("1", 23), (1, "23"), (1, 23, 0))]
    assert len({tuple(key.tolist()) for key in keys}) == len(keys)
    assert torch.equal(stream(1, 0, "z"), stream(1, 0, "z"))


# --------------------------------------------------------------------------------------------- distributions


@pytest.mark.slow
@pytest.mark.parametrize(("make", "law"), [(uniform, stats.uniform), (normal, stats.norm)])
def test_numbers_have_their_distribution(make, law):
    """Kolmogorov-Smirnov on the whole, on even and odd places, and on the far tails, where 24 bits would show."""
    x = make(KEYS, 0, 0, 2**20).flatten().numpy()
    for part in (x, x[::2], x[1::2]):
        assert stats.kstest(part, law.cdf).pvalue > LEAST
    for low, high in ((0, 1e-3), (1 - 1e-3, 1)):
        share = law.cdf(x)
        tail = (share[(share > low) & (share < high)] - low) / (high - low)
        assert stats.kstest(tail, "uniform").pvalue > LEAST
        assert stats.binomtest(len(tail), len(x), 1e-3).pvalue > LEAST


def test_normal_moments():
    """Moments 1 to 6 are 0, 1, 0, 3, 0, 15; the variance of the k-th power's mean is (m_2k - m_k^2) / n."""
    x = normal(KEYS, 1, 0, 2**20).flatten()

    def moment(k: int) -> float:
        return math.prod(range(1, k, 2)) * (k % 2 == 0)

    for k in range(1, 7):
        error = math.sqrt((moment(2 * k) - moment(k) ** 2) / len(x))
        assert abs(float((x**k).mean()) - moment(k)) < 4 * error


def correlated(a: Tensor, b: Tensor) -> float:
    """The smallest p-value of Pearson's r over the powers of two samples, which sees radius and angle shared."""
    pairs = itertools.product((1, 2, 3), repeat=2)
    return min(float(stats.pearsonr((a**i).numpy(), (b**j).numpy()).pvalue) for i, j in pairs)


def test_neighbours_pairs_blocks_and_keys_are_independent():
    """Cosine and sine of one angle are uncorrelated, but dependent unless their radius is Rayleigh's."""
    n = 2**18
    x, later = normal(KEYS, 0, 0, n, blocks=2).unbind(1)
    for a, b in (
        (x[0, ::2], x[0, 1::2]),
        (x[0, 1:-1:2], x[0, 2::2]),
        (x[0, :-4], x[0, 4:]),
        (x[0], x[1]),
        (x[1], x[2]),
        (x[0], later[0]),
    ):
        assert correlated(a, b) > LEAST
    radius = (x[0, ::2].square() + x[0, 1::2].square()).numpy()
    assert stats.kstest(radius, stats.chi2(2).cdf).pvalue > LEAST
    angle = torch.atan2(x[0, 1::2], x[0, ::2]).numpy() / (2 * math.pi) + 0.5
    assert stats.kstest(angle, "uniform").pvalue > LEAST


@pytest.mark.parametrize("lag", [1, 2, 4, 64, 4096])
def test_cells_of_a_sequence_are_equally_filled(lag):
    """Chi-squared on 16 x 16 cells of pairs that lie `lag` apart."""
    u = uniform(KEYS, 3, 0, 2**18)[0, 0]
    cell = (u[:-lag] * 16).long() * 16 + (u[lag:] * 16).long()
    assert stats.chisquare(cell[:: lag + 1].bincount(minlength=256).numpy()).pvalue > LEAST
