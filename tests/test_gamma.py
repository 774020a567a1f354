"""The rule for a penalty's weight, against critics trained to their standstill, and the probe on real recipes.

The comment in a test names the wrong implementation it is there to catch.
"""

import math
import re

import pytest
import torch
from scipy import optimize

from small import RING
from steadygan import config, gamma, losses, penalties
from steadygan.build import build
from steadygan.commands.probe import Reading, measure, recommend
from steadygan.errors import UsageError
from steadygan.recipes.catalogue import find_recipe

SATURATING = ["minimax", "non_saturating", "relativistic", "least_squares"]


@pytest.mark.parametrize("gap", [0.1, 1.0, 3.0])
@pytest.mark.parametrize("distance", [0.5, 2.0, 30.0])
@pytest.mark.parametrize("name", ["minimax", "non_saturating", "relativistic"])
def test_a_linear_critic_stands_still_at_the_gap_its_weight_was_chosen_for(name, gap, distance):
    # a factor of two anywhere: 1/2 in the penalty, gap for half the gap, distance for its square
    loss = losses.LOSSES[name]
    weight = gamma.weight_for(loss, gap, distance)
    x_real = torch.tensor([[distance / 2]], dtype=torch.float64)

    def objective(slope: float) -> float:
        def critic(x):
            return slope * x[:, 0]

        total = loss.discriminator(critic(x_real), critic(-x_real)) + weight * penalties.r1(critic, x_real)
        return total.item()

    best = optimize.minimize_scalar(objective, bounds=(0, 10 * gap / distance), method="bounded")
    assert best.x * distance == pytest.approx(gap, rel=1e-3)


def test_a_curved_critic_that_may_rescale_stands_still_where_the_rule_says():
    """At D's standstill 2 weight mean |grad D|^2 = the pull along D's own scale: here with random features."""
    torch.manual_seed(0)
    x_real, x_fake = torch.randn(64, 2).double() + 1, torch.randn(64, 2).double() - 1
    D = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.Softplus(), torch.nn.Linear(16, 1)).double()
    optimizer = torch.optim.LBFGS(D[2].parameters(), max_iter=400, line_search_fn="strong_wolfe")

    def critic(x):
        return D(x).flatten()

    def closure():
        optimizer.zero_grad()
        value = losses.non_saturating.discriminator(critic(x_real), critic(x_fake))
        value = value + 0.5 * penalties.r1(critic, x_real)
        value.backward()
        return value

    for _ in range(10):
        optimizer.step(closure)
    real, fake = critic(x_real).detach(), critic(x_fake).detach()
    pull = (torch.sigmoid(-real) * real).mean() - (torch.sigmoid(fake) * fake).mean()
    assert 2 * 0.5 * penalties.r1(critic, x_real).item() == pytest.approx(pull.item(), rel=1e-3)


@pytest.mark.parametrize("name", ["minimax", "non_saturating"])
def test_the_pull_of_a_logistic_loss_in_closed_form(name):
    for gap in (0.0, 0.7, 5.0):
        assert gamma.pull(losses.LOSSES[name], gap) == pytest.approx(1 / (1 + math.exp(gap / 2)))
    # share .3 of 1/2: sigmoid(-gap / 2) = .15
    assert gamma.gap_at(losses.LOSSES[name], 0.3) == pytest.approx(2 * math.log(0.85 / 0.15))


@pytest.mark.parametrize("name", SATURATING)
def test_less_pull_is_left_at_a_wider_gap(name):
    loss = losses.LOSSES[name]
    assert gamma.gap_at(loss, 0.3) > gamma.gap_at(loss, 0.9) > 0
    for share in (0.3, 0.9):
        assert gamma.pull(loss, gamma.gap_at(loss, share)) == pytest.approx(share * gamma.pull(loss, 0.0))


@pytest.mark.parametrize("name", ["wasserstein", "indicator", "hinge"])
def test_a_loss_that_never_tires_has_no_gap_to_read(name):
    with pytest.raises(UsageError, match="non_saturating"):
        gamma.gap_at(losses.LOSSES[name], 0.3)


@pytest.mark.parametrize("share", [-0.1, 0.0, 1e-20, 1.0, 1.5, math.nan])
def test_a_share_that_is_no_part_of_the_pull_is_refused(share):
    with pytest.raises(UsageError, match="from 1e-9 to below 1"):
        gamma.gap_at(losses.non_saturating, share)


def test_the_smallest_share_is_found():
    # sigmoid(-gap / 2) = 1e-9 / 2
    assert gamma.gap_at(losses.non_saturating, 1e-9) == pytest.approx(2 * math.log(2e9), rel=1e-6)


@pytest.mark.parametrize("gap", [0.0, -1.0, math.nan])
def test_a_critic_without_a_gap_has_no_weight(gap):
    with pytest.raises(UsageError, match="positive gap"):
        gamma.weight_for(losses.non_saturating, gap, 1.0)


def test_rescaling_is_the_published_rule():
    # StyleGAN2-ADA's automatic gamma (with its 1/2): 0.0002 pixels / batch
    def published(side, batch):
        return 0.0002 * side**2 / batch

    for side, batch in ((32, 64), (256, 16), (64, 128)):
        scaled = gamma.rescaled(published(64, 32), 64 * 64, 32, side * side, batch)
        assert scaled == pytest.approx(published(side, batch))
    with pytest.raises(UsageError, match="1 or more"):
        gamma.rescaled(1.0, 0, 64, 64, 64)


def test_a_recommendation_holds_the_weight_of_a_critic_in_range():
    """Readings made by the rule itself, of a critic over distance 3: the range is the rule's, from any of them."""
    loss = losses.non_saturating
    gaps = [0.2, 1.0, 2.5]
    readings = [Reading(gamma.weight_for(loss, g, 3.0), g, g / 3.0, 1.0) for g in gaps]
    for chosen in (readings, readings[:1], readings[2:]):
        text = recommend(chosen, loss)
        least, most = (float(n) for n in re.search(r"weight: (\S+) to (\S+)\.", text).groups())
        assert least == pytest.approx(0.15 * 9 / (2 * 3.469), rel=0.05)
        assert all(least < r.weight < most for r in readings)


def test_a_critic_that_tells_nothing_apart_is_said_so():
    assert "more --steps" in recommend([Reading(1.0, -0.1, 0.2, 0.1)], losses.non_saturating)


def test_two_penalties_of_one_weight_share_it():
    # r1 + r2 with one weight (R3GAN): each gets what a critic penalised twice needs
    loss, gap, distance = losses.relativistic, 1.0, 2.0
    x = torch.tensor([[distance / 2]], dtype=torch.float64)

    def objective(slope: float) -> float:
        def critic(x):
            return slope * x[:, 0]

        both = penalties.r1(critic, x) + penalties.r2(critic, -x)
        return (loss.discriminator(critic(x), critic(-x)) + weight * both).item()

    weight = gamma.weight_for(loss, gap, distance) / 2
    best = optimize.minimize_scalar(objective, bounds=(0, 10), method="bounded")
    assert best.x * distance == pytest.approx(gap, rel=1e-3)
    one, two = (recommend([Reading(1.0, 1.0, 0.5, 1.0, terms)], loss) for terms in (1, 2))
    least = [float(re.search(r"weight: (\S+) to", text)[1]) for text in (one, two)]
    assert least[1] == pytest.approx(least[0] / 2, rel=0.06)


def test_a_run_that_blew_up_is_neither_read_nor_called_calm():
    lost = [Reading(1.0, math.nan, math.nan, 1.0), Reading(2.0, -500.0, 3.0, 1e3)]
    assert "no recommendation" in recommend(lost, losses.non_saturating)
    told = recommend([Reading(w, math.nan, math.nan, math.nan) for w in (1.0, 2.0)], losses.non_saturating)
    assert "diverged with every weight. Use a lower optimizer.lr" in told


def test_a_measurement_is_the_mean_over_the_second_half():
    source, raw = find_recipe("ring8-fargan")
    found = measure(raw, source, [0], 0.5, 6)
    run = build(config.parse(config.override(raw, ["critic.penalties.0.weight=0.5", "steps=6"]), source))
    state, seen = run.state, []
    for step in range(6):
        state, logs = run.step(state, run.draws(step))
        seen.append((logs["logit/real"] - logs["logit/fake"], logs["penalty/r1"], logs["gradient/G"]))
    gap, square, gradient = (sum(v.item() for v in values[3:]) / 3 for values in zip(*seen))
    assert found == pytest.approx((0.5, gap, math.sqrt(square), gradient, 1), rel=1e-5)


def test_from_the_command_line(command):
    done = command("probe", "gamma", "digits-fargan", "--steps", "10", "batch=8", "fake_as_real.count=0")
    assert done.code == 0
    assert "recommended weight" in done.out
    assert "multiply it by 4 for 16x16 images" in " ".join(done.out.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gaussian-nsgan"], "has none of the penalties r1, r2, zero_centered"),
        (["ring8-fargan", "game.loss=wasserstein"], "does not saturate"),
        (["ring8-fargan", "critic.penalties.0.of=probability"], "of=logit"),
        (["ring8-fargan", "optimizer.lr=[0.001, 0.002]"], "sweeps optimizer.lr: give one value"),
        (["ring8-frgan"], "did you mean 'ring8-fargan'"),
        (["ring8-fargan", "--steps", "3"], "--steps"),
        (["ring8-fargan", "steps=12"], "for --steps: leave out steps="),
    ],
)
def test_what_cannot_be_probed_is_said_in_a_sentence(words, said, command):
    done = command("probe", "gamma", *words)
    assert done.code == 2
    assert said in done.err


def penalised(*penalties):
    return {**RING, "critic": {"penalties": list(penalties)}}


def test_a_lazy_penalty_is_probed_at_every_step():
    """It is logged where it is due alone, and read in every step of the second half."""
    lazy, eager = (
        measure(penalised({"name": "r1", "weight": 1.0, "interval": n}), "it", [0], 0.5, 4) for n in (4, 1)
    )
    assert lazy == eager


def test_the_slope_of_two_penalties_is_their_mean():
    """Root of the mean squared gradient: of r1 and r2 together, that between those of each, not sqrt(2) times it."""
    both = measure(penalised("r1", "r2"), "it", [0, 1], 1e-9, 2)
    r1, r2 = (measure(penalised(name), "it", [0], 1e-9, 2) for name in ("r1", "r2"))
    assert both.slope**2 == pytest.approx((r1.slope**2 + r2.slope**2) / 2, rel=1e-4)
    assert (both.terms, r1.terms) == (2, 1)


def test_a_reading_is_named_by_its_gap():
    """Between the gaps of 98 % and 30 % of the gradient it is in range; below minus the first, reversed."""
    import math

    from steadygan import gamma, losses
    from steadygan.commands.probe import SATURATED, UNDECIDED, Reading, _table

    low, high = (gamma.gap_at(losses.non_saturating, share) for share in (UNDECIDED, SATURATED))
    gaps = {
        1.01 * high: "saturated",
        0.99 * high: "in range",
        1.01 * low: "in range",
        0.99 * low: "undecided",
        -0.99 * low: "undecided",
        -1.01 * low: "reversed",
        math.inf: "diverged",
    }
    table = _table([Reading(1.0, gap, 1.0, 1.0) for gap in gaps], losses.non_saturating)
    assert [*table.columns[-1].cells] == [*gaps.values()]
