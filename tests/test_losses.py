"""Losses against formulas in plain Python floats, values worked by hand, and what theory says of each.

The comment in a test names the wrong implementation it is there to catch. Everything runs over `LOSSES`:
a loss without an oracle here fails with a KeyError under its name.
"""

import math
from collections.abc import Callable
from statistics import fmean
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from steadygan import losses
from steadygan.config import registry
from steadygan.config.records import Choice, make
from steadygan.consistency import disagreement, zcr_generator
from steadygan.energies import mean_error
from steadygan.errors import UsageError
from steadygan.losses import LOSSES

LOG2, LOG3 = math.log(2), math.log(3)

each_loss = pytest.mark.parametrize("name", LOSSES)


def sp(t: float) -> float:
    """log(1 + e^t) without overflow, by another route than the source's."""
    return max(t, 0.0) + math.log1p(math.exp(-abs(t)))


class Oracle(NamedTuple):
    """`d(real, fake)` and `g(fake, real)` on lists of floats; values worked by hand at two places.

    `hand`: (D, G) at real = (ln 3, 0), fake = (-ln 3, 0), where sigmoid is 3/4, 1/2 and 1/4, 1/2.
    `zero`: (D, G) where every logit is 0: what a run shows when D cannot tell (spec F1).
    `range`: where the loss is monotone in its logits; least squares has its targets at 0 and 1.
    """

    d: Callable[[list[float], list[float]], float]
    g: Callable[[list[float], list[float]], float]
    hand: tuple[float, float]
    zero: tuple[float, float]
    range: tuple[float, float] = (-4.0, 4.0)


def cross_entropy(real: list[float], fake: list[float]) -> float:
    return fmean(sp(-r) for r in real) + fmean(sp(f) for f in fake)


def difference(real: list[float], fake: list[float]) -> float:
    return fmean(fake) - fmean(real)


def minus_mean(fake: list[float], real: list[float]) -> float:
    return -fmean(fake)


ORACLES = {
    # sp(-ln 3) = ln 4/3, sp(ln 3) = ln 4, sp(0) = ln 2
    "minimax": Oracle(
        cross_entropy,
        lambda fake, real: -fmean(sp(f) for f in fake),
        hand=(math.log(8 / 3), -math.log(8 / 3) / 2),
        zero=(2 * LOG2, -LOG2),
    ),
    "non_saturating": Oracle(
        cross_entropy,
        lambda fake, real: fmean(sp(-f) for f in fake),
        hand=(math.log(8 / 3), math.log(8) / 2),
        zero=(1.3862943611, 0.6931471806),
    ),
    "wasserstein": Oracle(difference, minus_mean, hand=(-LOG3, LOG3 / 2), zero=(0, 0)),
    "hinge": Oracle(
        lambda real, fake: fmean(max(0, 1 - r) for r in real) + fmean(max(0, 1 + f) for f in fake),
        minus_mean,
        hand=(1.0, LOG3 / 2),  # ln 3 > 1: only the two zeros count, 1/2 each
        zero=(2, 0),
    ),
    "least_squares": Oracle(
        lambda real, fake: fmean((r - 1) ** 2 for r in real) / 2 + fmean(f**2 for f in fake) / 2,
        lambda fake, real: fmean((f - 1) ** 2 for f in fake) / 2,
        hand=((LOG3**2 - LOG3 + 1) / 2, (LOG3**2 + 2 * LOG3 + 2) / 4),
        zero=(0.5, 0.5),
        range=(0.0, 1.0),
    ),
    "relativistic": Oracle(
        lambda real, fake: fmean(sp(f - r) for r, f in zip(real, fake, strict=True)),
        lambda fake, real: fmean(sp(r - f) for r, f in zip(real, fake, strict=True)),
        hand=(math.log(20 / 9) / 2, math.log(20) / 2),  # margins ln 9 and 0
        zero=(LOG2, LOG2),
    ),
    "kl": Oracle(cross_entropy, minus_mean, hand=(math.log(8 / 3), LOG3 / 2), zero=(2 * LOG2, 0)),
    "total_variation": Oracle(
        lambda real, fake: fmean(map(math.tanh, fake)) - fmean(map(math.tanh, real)),
        lambda fake, real: -fmean(map(math.tanh, fake)),
        hand=(-0.8, 0.4),  # tanh ln 3 = (9 - 1) / (9 + 1)
        zero=(0, 0),
    ),
    "indicator": Oracle(difference, minus_mean, hand=(-LOG3, LOG3 / 2), zero=(0, 0)),
}


def float64(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def discriminator(name: str, real: list[float], fake: list[float]) -> float:
    return LOSSES[name].discriminator(float64(*real), float64(*fake)).item()


def generator(name: str, fake: list[float], real: list[float]) -> float:
    return LOSSES[name].generator(float64(*fake), float64(*real)).item()


def logits(name: str, seed: int, scale: float = 2.0) -> tuple[list[float], list[float]]:
    """Random real and fake logits, of different number unless the loss pairs them."""
    draw = torch.Generator().manual_seed(seed)
    count = 3 if LOSSES[name].pairs else 5
    real, fake = (scale * torch.randn(n, generator=draw, dtype=torch.float64) for n in (3, count))
    return real.tolist(), fake.tolist()


# ------------------------------------------------------------------------------------------------ values


@each_loss
def test_values_worked_by_hand(name):
    assert discriminator(name, [LOG3, 0.0], [-LOG3, 0.0]) == pytest.approx(ORACLES[name].hand[0], abs=1e-14)
    assert generator(name, [-LOG3, 0.0], [LOG3, 0.0]) == pytest.approx(ORACLES[name].hand[1], abs=1e-14)


@each_loss
def test_a_critic_that_cannot_tell_has_the_losses_of_equilibrium(name):
    zeros = [0.0] * 3
    found = discriminator(name, zeros, zeros), generator(name, zeros, zeros)
    assert found == pytest.approx(ORACLES[name].zero, abs=1e-10)


@each_loss
@pytest.mark.parametrize("seed", range(5))
def test_equals_the_formula_term_by_term(name, seed):
    # a sum for a mean, one mean over reals and fakes together (there are 3 and 5), or swapped arguments
    real, fake = logits(name, seed)
    assert discriminator(name, real, fake) == pytest.approx(ORACLES[name].d(real, fake), rel=1e-13)
    assert generator(name, fake, real) == pytest.approx(ORACLES[name].g(fake, real), rel=1e-13)


@each_loss
@pytest.mark.parametrize("player", ["discriminator", "generator"])
def test_gradients_are_the_formulas_finite_differences(name, player):
    # a detached or clamped term, which leaves the value right and the training wrong
    first, second = logits(name, seed=7)
    first, second = (first, second) if player == "discriminator" else (second, first)
    formula = ORACLES[name].d if player == "discriminator" else ORACLES[name].g
    leaves = [float64(*values).requires_grad_() for values in (first, second)]
    getattr(LOSSES[name], player)(*leaves).backward()
    for which, leaf in enumerate(leaves):
        found = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
        for i in range(len(leaf)):

            def moved(h: float, which: int = which, i: int = i) -> float:
                values = [list(first), list(second)]
                values[which][i] += h
                return formula(*values)

            assert found[i].item() == pytest.approx((moved(1e-6) - moved(-1e-6)) / 2e-6, abs=1e-9)


@each_loss
@pytest.mark.parametrize("real", [1e4, -1e4])
@pytest.mark.parametrize("fake", [1e4, -1e4])
def test_huge_logits_stay_exact_and_finite_in_float32(name, real, fake):
    # log(1 + exp(t)) or log(sigmoid(t)) overflow here; clamping would flatten the slope
    r, f = (torch.tensor([value, value / 2], requires_grad=True) for value in (real, fake))
    d, g = LOSSES[name].discriminator(r, f), LOSSES[name].generator(f, r)
    assert d.item() == pytest.approx(ORACLES[name].d(r.tolist(), f.tolist()), rel=1e-6, abs=1e-30)
    assert g.item() == pytest.approx(ORACLES[name].g(f.tolist(), r.tolist()), rel=1e-6, abs=1e-30)
    (d + g).backward()
    assert r.grad.isfinite().all()
    assert f.grad.isfinite().all()


def test_softplus_is_exact_where_torchs_own_turns_linear():
    # F.softplus(25) is 25: the vanishing part, which is all that a sure D still learns from, would be lost
    t = float64(25.0, -40.0, 0.0).requires_grad_()
    value = losses.softplus(t)
    assert (value[0] - 25).item() == pytest.approx(math.log1p(math.exp(-25)), rel=1e-3)
    assert value[1].item() == pytest.approx(math.exp(-40), rel=1e-12)
    assert value[2].item() == pytest.approx(LOG2, rel=1e-15)
    value.sum().backward()
    assert t.grad.tolist() == pytest.approx([1 - math.exp(-25), math.exp(-40), 0.5], rel=1e-14)


@each_loss
def test_a_whole_weight_is_a_sample_that_comes_so_often(name):
    # weights for the fakes too, a mean that is divided by the sum of the weights, a weight inside the function
    (real, fake), often = logits(name, seed=3), [3, 0, 1]
    expected = ORACLES[name].d(
        [r for r, n in zip(real, often, strict=True) for _ in range(n)],
        [f for f, n in zip(fake, often, strict=True) for _ in range(n)] if LOSSES[name].pairs else fake,
    )
    weights = float64(*often) * 3 / 4
    found = LOSSES[name].discriminator(float64(*real), float64(*fake), weights=weights)
    assert found.item() == pytest.approx(expected, rel=1e-12)
    maps = [float64(*values)[:, None, None].expand(-1, 1, 3) for values in (real, fake)]
    assert LOSSES[name].discriminator(*maps, weights=weights).item() == pytest.approx(expected, rel=1e-12)
    with pytest.raises(UsageError, match=r"\[3\], not \[2\]"):
        LOSSES[name].discriminator(float64(*real), float64(*fake), weights=weights[:2])


# ------------------------------------------------------------------------------------------------ theory


@each_loss
def test_high_means_real(name):
    # the opposite sign convention, which also turns fake-as-real's selection round (spec A1)
    low, high = ORACLES[name].range
    draw = torch.Generator().manual_seed(1)
    for _ in range(20):
        r, f, rise = low + (high - low) * torch.rand(3, 4, generator=draw, dtype=torch.float64)
        raised = torch.maximum(r, rise), torch.maximum(f, rise)
        loss = LOSSES[name]
        assert loss.discriminator(raised[0], f) <= loss.discriminator(r, f)
        assert loss.discriminator(r, raised[1]) >= loss.discriminator(r, f)
        assert loss.generator(raised[1], r) <= loss.generator(f, r)
    assert loss.generator(torch.full((4,), high), r) < loss.generator(torch.full((4,), low), r)


@pytest.mark.parametrize(("share", "floor"), [(0.25, 0.62550), (0.5, 0.95477), (0.75, 1.19509)])
def test_fake_as_real_bounds_the_discriminators_loss_from_below(share, floor):
    """At separable supports the best logit on fakes is log(N0/N): spec A1's floors, for cross-entropy.

    L(t) = rho sp(-t) + sp(t), so L'(t) = sigmoid(t) - rho sigmoid(-t) = 0 where e^t = rho.
    """
    n, n0 = 64, round(64 * share)

    def loss(t: Tensor) -> Tensor:
        rows = torch.cat([torch.full((n - n0,), 1e4, dtype=t.dtype), t.expand(n0)])
        return losses.non_saturating.discriminator(rows, t.expand(n))

    best = float64(math.log(share)).squeeze().requires_grad_()
    value = loss(best)
    value.backward()
    assert value.item() == pytest.approx(floor, abs=5e-6)
    assert best.grad.item() == pytest.approx(0, abs=1e-15)
    assert min(loss(best.detach() + 0.1), loss(best.detach() - 0.1)) > value


def test_values_at_the_best_discriminator_are_the_divergences():
    """Spec F5: P = (.7, .2, .1), Q = (.1, .3, .6), D* = P / (P + Q), as ten samples of each."""
    p, q = float64(0.7, 0.2, 0.1), float64(0.1, 0.3, 0.6)
    best = (p / q).log()
    real, fake = (best.repeat_interleave((10 * weights).round().long()) for weights in (p, q))
    jsd = 0.2306454879
    assert losses.minimax.discriminator(real, fake).item() == pytest.approx(2 * LOG2 - 2 * jsd, abs=1e-9)
    assert losses.minimax.discriminator(real, fake).item() == pytest.approx(0.9250033853, abs=1e-9)
    assert losses.kl.generator(fake).item() == pytest.approx(1.0021041991, abs=1e-9)  # KL(Q || P)
    assert losses.non_saturating.generator(fake).item() == pytest.approx(1.4557864482, abs=1e-9)


@pytest.mark.parametrize("name", ["minimax", "wasserstein", "total_variation", "indicator"])
def test_zero_sum_games_are_zero_sum(name):
    # non-saturating's generator under the name of minimax: the game is no longer one function's saddle
    f = float64(0.7, -2.0, 0.1).requires_grad_()
    (d,) = torch.autograd.grad(LOSSES[name].discriminator(float64(0.3, -1.0), f), f)
    (g,) = torch.autograd.grad(LOSSES[name].generator(f), f)
    torch.testing.assert_close(d, -g, rtol=1e-14, atol=0)


def test_hinge_within_one_is_wasserstein_plus_two():
    """Spec F10: why the hinge on a normalised critic is no other loss."""
    r, f = 2 * torch.rand(2, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 1
    found = losses.hinge.discriminator(r, f)
    torch.testing.assert_close(found, losses.wasserstein.discriminator(r, f) + 2, rtol=1e-14, atol=0)


def test_relativistic_sees_differences_only():
    """It pairs row with row: a common shift changes nothing, another pairing does, and the players mirror."""
    draw = torch.Generator().manual_seed(0)
    r, f = torch.randn(2, 6, dtype=torch.float64, generator=draw)
    value = losses.relativistic.discriminator(r, f)
    torch.testing.assert_close(losses.relativistic.discriminator(r + 3, f + 3), value)
    torch.testing.assert_close(losses.relativistic.generator(r, f), value)
    assert abs(losses.relativistic.discriminator(r, f.flip(0)) - value) > 1e-3


def test_least_squares_takes_its_scale():
    r, f = float64(0.3, -2.0), float64(1.5, 0.1)
    loss = losses.least_squares
    assert loss.discriminator(r, f, scale=1.0).item() == pytest.approx((0.7**2 + 3**2 + 1.5**2 + 0.1**2) / 2)
    assert loss.generator(f, scale=2.0).item() == pytest.approx(0.5**2 + 0.9**2)


def test_a_recipes_scale_of_least_squares_is_that_of_both_players():
    """At logits of 0 a real sample of D and a fake of G are one away from what is wanted of them."""
    loss, zero = make(registry.LOSSES, Choice("least_squares", {"scale": 1.0})), float64(0.0, 0.0)
    assert (loss.discriminator(zero, zero).item(), loss.generator(zero).item()) == (1, 1)


# ------------------------------------------------------------------------------------------------ refusals


@each_loss
def test_a_column_is_never_spread_over_a_row(name):
    # [N, 1] against [N] broadcasts to [N, N]: the commonest silent error of all
    (real, fake), loss = logits(name, seed=4), LOSSES[name]
    row, column = float64(*real), float64(*fake)[:, None]
    if loss.pairs:
        for call in (lambda: loss.discriminator(row, column), lambda: loss.generator(column, row)):
            with pytest.raises(UsageError, match=r"\[3, 1\].*\[3\]|\[3\].*\[3, 1\]"):
                call()
    else:
        assert loss.discriminator(row, column).item() == pytest.approx(ORACLES[name].d(real, fake), rel=1e-13)
        assert loss.generator(column).item() == pytest.approx(ORACLES[name].g(fake, real), rel=1e-13)


@each_loss
def test_a_mean_over_the_batch_is_refused(name):
    with pytest.raises(UsageError, match=r"\[N\].*\[\].*mean"):
        LOSSES[name].discriminator(torch.zeros(()), torch.zeros(4))


@each_loss
def test_pairs_says_whether_the_generator_needs_reals(name):
    _, fake = logits(name, seed=3)
    loss, f = LOSSES[name], float64(*fake)
    if loss.pairs:
        with pytest.raises(UsageError, match="real_logits"):
            loss.generator(f)
        with pytest.raises(UsageError, match=r"\[2\] and \[3\]|\[3\] and \[2\]"):
            loss.generator(f, float64(0, 0))
        with pytest.raises(UsageError, match=r"\[2\] and \[3\]|\[3\] and \[2\]"):
            loss.discriminator(f, float64(0, 0))
    else:
        assert torch.equal(loss.generator(f), loss.generator(f, float64(9.0, -9.0)))


# ---------------------------------------------------------------------------------- maps and several critics


def grid(values: list[float]) -> Tensor:
    """The values as a map [N, 1, 2, 2]."""
    return float64(*values).view(-1, 1, 2, 2)


@each_loss
@pytest.mark.parametrize("kind", [list, tuple])
def test_the_loss_of_several_maps_is_the_sum_of_means_over_all_their_logits(name, kind):
    # a mean over critics, or one mean over all logits of all critics, which unlike sizes tell apart
    rows = [[float(v) for v in normal(size, seed)] for size, seed in ((8, 0), (8, 1), (16, 2), (16, 3))]
    (real, fake), (fine_real, fine_fake), loss = rows[:2], rows[2:], LOSSES[name]
    reals, fakes = kind([grid(real), grid(fine_real)]), kind([grid(fake), grid(fine_fake)])
    d, g = ORACLES[name].d, ORACLES[name].g
    expected = d(real, fake) + d(fine_real, fine_fake)
    assert loss.discriminator(reals, fakes).item() == pytest.approx(expected, rel=1e-12)
    expected = g(fake, real) + g(fine_fake, fine_real)
    assert loss.generator(fakes, reals).item() == pytest.approx(expected, rel=1e-12)


def normal(count: int, seed: int) -> Tensor:
    return torch.randn(count, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@each_loss
@pytest.mark.parametrize(
    ("real", "words"),
    [
        ([torch.zeros(4)], "2 critics|1 and 2"),
        ((torch.zeros(4), None), r"tuple of Tensor, NoneType.*out\[0\]"),
        ({"logits": torch.zeros(4)}, "dict with 'logits'"),
        ([], "list of nothing"),
    ],
    ids=["fewer", "features", "dict", "empty"],
)
def test_what_are_no_logits_of_the_same_critics_is_refused(name, real, words):
    with pytest.raises(UsageError, match=words):
        LOSSES[name].discriminator(real, [torch.zeros(4), torch.zeros(4)])


# ------------------------------------------------------------------------------------------ feature matching


def test_feature_matching_by_hand():
    # a sum over entries, one mean over all entries of all layers, a mean over critics, or a squared difference
    real = [[float64(1, 2)[:, None], float64(0, 0, 0, 0).view(2, 2)], [float64(5, 5)[:, None]]]
    fake = [[float64(2, 5)[:, None], float64(8, 0, 0, 0).view(2, 2)], [float64(4, 4)[:, None]]]
    # layers: (1 + 3) / 2 = 2 and 8 / 4 = 2, so 2; then 1
    assert losses.feature_matching(real, fake).item() == 3
    assert losses.feature_matching(tuple(real[0]), fake[0]).item() == 2
    assert losses.feature_matching(real[1][0], fake[1][0]).item() == 1


def test_feature_matching_moves_the_fakes_alone():
    real, fake = float64(1, 2).requires_grad_(), float64(3, 1).requires_grad_()
    losses.feature_matching([real], [fake]).backward()
    assert real.grad is None
    assert fake.grad.tolist() == [0.5, -0.5]


@pytest.mark.parametrize(
    ("real", "words"),
    [
        ([torch.zeros(3, 2)], r"\[3, 2\].*\[2, 2\]"),
        ([torch.zeros(2, 2), torch.zeros(2, 2)], "like layers"),
        ([[torch.zeros(2, 2)], [torch.zeros(2, 2)]], "like layers"),
        ([], "list of tensors"),
        ([[]], "list of tensors"),
        ([{"a": torch.zeros(2, 2)}], "list of tensors"),
    ],
    ids=["rows", "layers", "critics", "empty", "no layers", "dict"],
)
def test_features_that_do_not_pair_are_refused(real, words):
    with pytest.raises(UsageError, match=words):
        losses.feature_matching(real, [torch.zeros(2, 2)])


def test_matching_of_means_by_hand():
    # a mean over features, paired rows, a distance without the square
    real, fake = torch.tensor([[[0.0, 1.0]], [[4.0, 1.0]]]), torch.tensor([[[1.0, 4.0]]])
    assert losses.mean_feature_matching(real, fake).item() == (2 - 1) ** 2 + (1 - 4) ** 2
    with pytest.raises(UsageError, match=r"\[2, 1, 2\].*\[2, 1, 3\]"):
        losses.mean_feature_matching(real, torch.zeros(2, 1, 3))
    with pytest.raises(UsageError, match=r"\[0, 1, 2\]"):
        losses.mean_feature_matching(real, fake[:0])


def test_terms_of_half_precision_are_those_of_float32():
    """In float16 a square above 65,504 is infinite, and one below 6e-8 is 0."""
    codes = torch.tensor([[100.0, -200.0], [300.0, 50.0], [1e-4, 2e-4]])
    for kind in (torch.float16, torch.bfloat16):
        narrow = codes.to(kind)
        assert losses.pull_away(narrow).item() == losses.pull_away(narrow.float()).item()
        found = losses.mean_feature_matching(3 * narrow[:2], narrow[2:])
        assert (
            found.item() == losses.mean_feature_matching((3 * narrow[:2]).float(), narrow[2:].float()).item()
        )


# ------------------------------------------------------------------------------------------- terms of logits


def test_centering_pairs_rows_and_fixes_the_common_level():
    """Its gradient in a shift of all logits is 2 mean (r + f), where a relativistic loss has none."""
    # (mean r + mean f)^2, which pairs nothing; r^2 + f^2
    real, fake = torch.tensor([1.0, 3.0, -2.0]), torch.tensor([0.5, -1.0, 2.0])
    assert losses.centering(real, fake).item() == pytest.approx((1.5**2 + 2**2 + 0) / 3)
    shift = torch.zeros((), requires_grad=True)
    (slope,) = torch.autograd.grad(losses.centering(real + shift, fake + shift), shift)
    assert slope.item() == pytest.approx(4 * (1.5 + 2 + 0) / 3)
    (none,) = torch.autograd.grad(losses.relativistic.discriminator(real + shift, fake + shift), shift)
    assert none.abs().item() < 1e-6
    maps = [torch.ones(2, 1, 3, 3), torch.zeros(2)], [torch.ones(2, 1, 3, 3), torch.ones(2)]
    assert losses.centering(*maps).item() == 5  # a mean over a critic's logits, summed over critics
    with pytest.raises(UsageError, match=r"centering pairs .*\[3\] and \[2\]"):
        losses.centering(real, fake[:2])


def test_lecam_pulls_each_side_to_the_other_sides_average():
    # each side to its own average; averages of which one is differentiated
    real, fake = torch.tensor([2.0, 4.0]), torch.tensor([-1.0, 0.0, 1.0])
    a_real, a_fake = torch.tensor(1.5), torch.tensor(-0.5)
    by_hand = (2.5**2 + 4.5**2) / 2 + (2.5**2 + 1.5**2 + 0.5**2) / 3
    assert losses.lecam(real, fake, a_real, a_fake).item() == pytest.approx(by_hand)
    graph = a_real.requires_grad_() * 1.0  # a running mean of logits, which a loop has not detached
    (none,) = torch.autograd.grad(
        losses.lecam(real.requires_grad_(), fake, graph, a_fake), a_real, allow_unused=True
    )
    assert none is None
    both = losses.lecam([real, 2 * real], [fake, fake], [1.5, 0.0], [-0.5, 1.0])
    second = ((2 * real - 1) ** 2).mean() + (fake**2).mean()
    assert both.item() == pytest.approx(by_hand + second.item())
    with pytest.raises(UsageError, match="one average of each side for each critic, of 2 here, not 1 and 1"):
        losses.lecam([real, real], [fake, fake], 0.0, 0.0)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_squares_of_half_precision_logits_are_those_of_float32(kind):
    """300 squared is more than float16 has."""
    real, fake = torch.tensor([300.0, -10.0]), torch.tensor([-10.0, 300.0])
    functions = {
        "lecam": lambda r, f: losses.lecam(r, f, 0.0, 0.0),
        "centering": losses.centering,
        "D of LSGAN": losses.least_squares.discriminator,
        "G of LSGAN": lambda r, f: losses.least_squares.generator(f),
        "cr": disagreement,
        "zcr": zcr_generator,
        "BEGAN's error": lambda r, f: mean_error(r[:, None], f[:, None], 2.0),
    }
    for name, function in functions.items():
        found = function(real.to(kind), fake.to(kind))
        torch.testing.assert_close(found, function(real, fake), rtol=1e-2, atol=0, msg=name)
