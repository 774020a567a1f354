"""The diagnosis on histories made by hand: each illness, and the healthy run that looks most like it."""

import json
import math

import pytest
import torch

from experiments import records
from experiments.doctor import run as doctor
from experiments.doctor.calibration import CALIBRATION
from experiments.doctor.training import histories, trained
from steadygan import config, losses
from steadygan.build import build
from steadygan.diagnostics import History, Series, read
from steadygan.diagnostics.measures import closeness, copies
from steadygan.diagnostics.remedies import _TRIES, remedy
from steadygan.diagnostics.trends import early, lasting, late, swings
from steadygan.diagnostics.verdicts import VERDICTS, diagnose
from steadygan.recipes.catalogue import find_recipe
from steadygan.runs import live_diagnosis
from steadygan.training.gradient_stats import gradient_statistics

N = 24
EQUILIBRIUM = {"loss/D": 2 * math.log(2), "loss/G": math.log(2)}

# A run near its end that nothing is wrong with; illnesses change some of it.
WELL = {
    **EQUILIBRIUM,
    "update/G": 1e-3,
    "update/D": 1e-3,
    "critic/spread": 0.05,
    "critic/gap": 0.01,
    "critic/saturated": 0.0,
    "critic/held": 0.1,
    "signal/mean": 0.05,
    "signal/max": 0.2,
    "slope/fake": 0.1,
    "slope/between": 0.2,
    "slope/max": 0.5,
    "fakes/diversity": 1.0,
    "fakes/coverage": 0.9,
    "fakes/copies": 0.5,
    "fakes/at0": 0.0,
    "fakes/at1": 0.0,
    "fakes/at2": 0.0,
}


def series(value, n=N):
    """A constant, a line between two numbers (geometric), or the numbers themselves, at steps 100, 200, ..."""
    if isinstance(value, tuple):
        value = torch.logspace(*(math.log10(v) for v in value), n, dtype=torch.float64)
    values = torch.as_tensor(value, dtype=torch.float64).expand(
        n if not isinstance(value, torch.Tensor) else -1
    )
    return Series(100.0 * torch.arange(1, len(values) + 1, dtype=torch.float64), values.clone())


def history(facts=None, **changes):
    changed = {key.replace("__", "/"): value for key, value in changes.items()}
    told = {**WELL, **changed}
    return History(
        {k: series(v) for k, v in told.items() if v is not None}, facts or {"loss": "non_saturating"}
    )


def names(*args, **kwargs):
    return [verdict.name for verdict in diagnose(history(*args, **kwargs))]


MINIMAX, WASSERSTEIN = {"loss": "minimax"}, {"loss": "wasserstein"}
jumps = torch.tensor([1.0, -1.0]).repeat(N // 2)
circle = torch.sin(torch.arange(200.0) * 0.4)
down = torch.linspace(0.1, 2.0, N)
BYTES = {"data__min": 0.0, "data__max": 255.0}
ROUNDED = {f"slope__{place}": 1e-9 for place in ("real", "fake", "between")} | {
    "data__min": -1.0,
    "data__max": 1.0,
}
FLAT = {"critic__spread": 1e-6, "signal__mean": 1e-7, "fakes__coverage": 0.1}
CASES = {
    "frozen": (None, {"update__G": 0.0}),
    "mismatched_ranges": (None, BYTES | {"fakes__min": -1.0, "fakes__max": 1.0}),
    "reversed_sign": (None, {"critic__gap": -down, "loss__D": 2 * math.log(2) - down / 20}),
    "cancelled_gradient": (None, ROUNDED | {"critic__spread": 1e-8, "signal__mean": 1e-9}),
    "dead_game": (None, {"update__G": 1e-9, "update__D": 1e-10}),
    "dead_critic": (None, FLAT | {"slope__fake": 1e-7}),
    "vanishing": (MINIMAX, {"signal__mean": 1e-4, "slope__fake": 3.0, "critic__spread": 12.0}),
    "exploding": (None, {"slope__max": (0.5, 200.0), "signal__max": (0.2, 50.0), "critic__spread": 6.0}),
    "overfitted": (None, {"critic__held": 0.9, "critic__gap": 0.1}),
    "memorisation": (None, {"fakes__copies": 0.99}),
    "collapse": (None, {"fakes__diversity": 0.05, "fakes__coverage": 0.1}),
    "hopping": (None, {"fakes__at0": jumps, "fakes__diversity": 0.05}),
    "rotation": (WASSERSTEIN, {"loss__G": circle, "logit__fake": circle}),
}
TWINS = {
    "frozen": {"update__G": torch.cat([torch.full((1,), 1e-3), torch.zeros(N - 1)])},  # it moved once
    "mismatched_ranges": BYTES | {"fakes__min": -3.0, "fakes__max": 170.0},  # on its way
    "reversed_sign": {"critic__gap": -down, "loss__D": 2 * math.log(2) + down / 20},  # a critic that lags
    "cancelled_gradient": ROUNDED | {"slope__between": 0.2},
    "dead_game": {"update__G": (1e-3, 1e-6), "update__D": 1e-9},  # a rate that falls; one player at rest
    "dead_critic": {"critic__spread": 0.5},  # the very same losses
    "vanishing": {"signal__mean": 1.5, "slope__fake": 3.0, "critic__spread": 12.0},
    "exploding": {"slope__max": (0.5, 200.0), "signal__max": (0.2, 50.0)},  # steep, yet unsure: spread .05
    "overfitted": {"critic__held": 0.9, "critic__gap": 1e-3},  # a ratio of two noises
    "memorisation": {"fakes__copies": 0.6},
    "collapse": {"fakes__diversity": 0.8, "fakes__coverage": 0.4},
    "hopping": {"fakes__at0": 0.1 * jumps},
    "rotation": {"loss__G": circle * torch.exp(-0.05 * torch.arange(200.0))},  # a spiral that goes inward
}


IN_THE_CODE = {"frozen", "mismatched_ranges", "reversed_sign", "cancelled_gradient"}
"""Mistakes of a loop, which no line of configuration repairs."""


@pytest.mark.parametrize("name", CASES)
def test_each_illness_is_named_first(name):
    facts, changes = CASES[name]
    first = diagnose(history(facts, **changes))[0]
    assert first.name == name
    assert first.evidence
    assert first.remedy
    assert first.config or name in IN_THE_CODE
    assert any(character.isdigit() for character in " ".join(first.evidence))


@pytest.mark.parametrize("name", TWINS)
def test_its_healthy_twin_is_not(name):
    facts, _ = CASES[name]
    assert names(facts, **TWINS[name]) == ["healthy"]


def shorter(told, steps):
    """The same history of a run that has taken this many steps."""
    scale = steps / (100 * N)
    return History({k: Series(s.steps * scale, s.values) for k, s in told.series.items()}, told.facts)


@pytest.mark.parametrize(("steps", "name"), [(60, "undecided"), (499, "undecided"), (500, "collapse")])
def test_a_run_of_few_steps_has_not_collapsed_yet(steps, name):
    first = diagnose(shorter(history(fakes__diversity=0.3), steps))[0]
    assert first.name == name
    assert (f"too early: {steps} steps" in first.evidence[0]) is (name == "undecided")


@pytest.mark.parametrize(("last", "name"), [(0.24, "collapse"), (0.26, "undecided"), (0.1, "collapse")])
def test_fakes_that_still_spread_have_not_collapsed(last, name):
    """The median of the last quarter may be .05 above that of the quarter before, which is .2."""
    diversity = torch.full((N,), 0.2)
    diversity[-N // 4 :] = last
    first = diagnose(history(fakes__diversity=diversity))[0]
    assert first.name == name
    assert ("still rises" in first.evidence[0]) is (name == "undecided")


def test_a_frozen_player_hides_its_consequences_but_no_other_mistake():
    narrow = {"update__G": 0.0, "fakes__diversity": 0.05, "fakes__coverage": 0.1}
    assert names(**narrow) == ["frozen"]
    assert names(**narrow, **BYTES, fakes__min=-1.0, fakes__max=1.0) == ["frozen", "mismatched_ranges"]


def test_the_remedy_of_a_frozen_player_is_a_line_only_for_the_trainer():
    (loop,) = diagnose(history(update__G=0.0))
    (trainer,) = diagnose(history({"loss": "non_saturating", "dynamics": "simultaneous"}, update__G=0.0))
    assert loop.config == ""
    assert "takes a step" in loop.remedy
    assert trainer.config.startswith("optimizer=")


@pytest.mark.parametrize(
    ("reals", "fakes", "words"),
    [
        ((0.0, 255.0), (-1.0, 1.0), "x / 127.5 - 1"),
        ((0.0, 1.0), (-1.0, 1.0), "2 x - 1"),
        ((-0.5, 2.8), (-1.0, 1.0), "G's last layer"),
        ((0.0, 255.0), (0.0, 1.0), "G's last layer"),
    ],
    ids=["bytes, tanh", "unit, tanh", "standardised, tanh", "bytes, sigmoid"],
)
def test_the_scale_is_named_where_it_fits(reals, fakes, words):
    ends = {"data__min": reals[0], "data__max": reals[1], "fakes__min": fakes[0], "fakes__max": fakes[1]}
    first = diagnose(history(**ends))[0]
    assert first.name == "mismatched_ranges"
    assert words in first.remedy
    for other in {"x / 127.5 - 1", "2 x - 1"} - {words}:
        assert other not in first.remedy


@pytest.mark.parametrize("low", [-1.16, -1.0])
def test_fakes_that_leave_one_end_of_a_range_do_not_press_against_the_other(low):
    ends = {"data__min": -0.1, "data__max": 3.9, "fakes__min": low, "fakes__max": 0.997}
    assert ("mismatched_ranges" in names(**ends)) is (low >= -1)


def with_logits(real, fake, loss_D, **facts):
    """The verdicts where the logits' gap grows from a half to the whole, and D's loss falls to `loss_D`."""
    way = torch.linspace(0.5, 1.0, N, dtype=torch.float64)
    return names(
        {"loss": "least_squares", **facts},
        logit__real=way * real,
        logit__fake=way * fake,
        critic__gap=way * (real - fake),
        loss__D=loss_D * (2 - way),
        loss__G=1.0,
    )


@pytest.mark.parametrize("penalties", [[], ["r1"]])
def test_a_penalty_that_falls_reverses_no_sign(penalties):
    """(D(x) - 1)^2 + D(G(z))^2 at logits -.3 and .3 is 1.78 or more; the rest of 2 is a penalty."""
    assert with_logits(-0.3, 0.3, 2.0, penalties=penalties) == ["healthy"]
    assert with_logits(-0.9, -0.1, 0.1, penalties=penalties)[0] == "reversed_sign"


@pytest.mark.parametrize(("penalties", "found"), [([], True), (["r1"], False)])
def test_a_loss_of_ones_own_tells_of_a_reversed_sign_without_a_penalty_only(penalties, found):
    verdicts = with_logits(-0.3, 0.3, 2.0, penalties=penalties, loss="my_loss")
    assert ("reversed_sign" in verdicts) is found


def grown(times):
    return torch.cat([torch.ones(N // 2), times * torch.ones(N - N // 2)])


def inward(share):
    """A circle of which the last quarter of the points is smaller by `share`."""
    return circle * torch.where(torch.arange(200) < 150, 1.0, share)


STEEP = {"signal__max": (0.2, 50.0), "critic__spread": 6.0}
HELD = {"critic__held": 0.9, "critic__spread": 0.05}
UNIT = {"data__min": 0.0, "data__max": 1.0, "fakes__max": 0.95}
TANH = {"fakes__min": -0.95, "fakes__max": 0.95, "data__min": -1.0}
TINY = {"fakes__min": -0.45, "fakes__max": 0.45, "data__min": 0.3}
noisy = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0] * (N // 6))
shuffled = {  # Spearman's 1 - 6 sum d^2 / (n (n^2 - 1)) of a block: 1 - 84 / 210 = .6, and 1 - 120 / 210 = .43
    True: torch.tensor([4.0, 1.0, 2.0, 3.0, 6.0, 5.0] * (N // 6)),
    False: torch.tensor([5.0, 1.0, 2.0, 3.0, 4.0, 6.0] * (N // 6)),
}
BORDERS = [  # what theory gives, a little to either side; of what was calibrated, the nearest runs that are told
    ("frozen", None, lambda v: {"update__D": v}, 0.0, 1e-30),
    ("mismatched_ranges", None, lambda v: UNIT | {"fakes__min": v}, -0.55, -0.45),
    ("mismatched_ranges", None, lambda v: TANH | {"data__max": v}, 1.25, 1.15),
    ("mismatched_ranges", None, lambda v: TANH | {"data__max": 3.0, "fakes__max": v}, 0.92, 0.88),
    ("mismatched_ranges", None, lambda v: TANH | {"data__max": 3.0, "fakes__max": v}, 1.0, 1.01),
    (
        "mismatched_ranges",
        None,
        lambda v: BYTES | {"fakes__min": 0.2, "fakes__max": 0.3, "data__max": v},
        17,
        15,
    ),
    ("mismatched_ranges", None, lambda v: TINY | {"data__max": 0.3 + v}, 0.05, 0.06),
    ("reversed_sign", None, lambda v: {"critic__gap": -noisy, "loss__D": -shuffled[v]}, True, False),
    (
        "reversed_sign",
        None,
        lambda v: {"critic__gap": -16.0, "logit__real": -8.0, "logit__fake": 8.0, "loss__D": v},
        4.5,
        4.7,
    ),
    ("reversed_sign", None, lambda v: {"critic__gap": v * noisy, "loss__D": v * noisy}, -1, 1),
    (
        "reversed_sign",
        None,
        lambda v: {"critic__gap": -2 * v, "logit__real": -v, "logit__fake": v, "loss__D": None},
        4.7,  # log 99 = 4.595
        4.5,
    ),
    (
        "cancelled_gradient",
        None,
        lambda v: ROUNDED | {"slope__fake": 4e-7, "critic__spread": v},
        9e-7,
        1.1e-6,
    ),
    (
        "cancelled_gradient",
        None,
        lambda v: ROUNDED | {"critic__spread": 1.0, "slope__fake": v},
        2.0**-11,
        2.0**-9,
    ),
    ("dead_game", None, lambda v: {"update__G": v, "update__D": v}, 2.0**-25, 2.0**-23),
    ("dead_critic", None, lambda v: FLAT | {"critic__spread": v}, 0.00023, 0.017),
    ("dead_critic", None, lambda v: FLAT | {"signal__mean": v}, 0.00023, 0.017),
    ("dead_critic", None, lambda v: FLAT | {"fakes__coverage": v}, 0.16, 0.3),
    (
        "vanishing",
        MINIMAX,
        lambda v: {"signal__mean": 3 * v, "slope__fake": 3.0, "critic__spread": 12.0},
        0.009,
        0.011,
    ),
    ("vanishing", WASSERSTEIN, lambda v: {"slope__between": v, "fakes__coverage": 0.1}, 0.009, 0.011),
    ("vanishing", WASSERSTEIN, lambda v: {"slope__between": 0.001, "fakes__coverage": v}, 0.16, 0.3),
    ("exploding", None, lambda v: STEEP | {"slope__max": grown(v)}, 7.0, 1.8),
    ("exploding", None, lambda v: STEEP | {"slope__max": 9 * grown(v)}, 7.0, 1.8),
    ("exploding", None, lambda v: STEEP | {"slope__max": grown(9.0), "critic__spread": v}, 0.7, 0.2),
    ("exploding", None, lambda v: STEEP | {"slope__max": grown(9.0), "signal__max": grown(v)}, 2.0, 0.9),
    (
        "exploding",
        None,
        lambda v: STEEP | {"slope__max": grown(9.0), "critic__spread": v, "fakes__diversity": 0.1},
        4.7,  # log 99 = 4.595, where a heap of fakes is told from the data
        4.5,
    ),
    ("overfitted", None, lambda v: HELD | {"critic__gap": 1.0, "critic__held": v}, 0.55, 0.45),
    ("overfitted", None, lambda v: HELD | {"critic__held": 0.6, "critic__gap": v * 0.05 / 0.6}, 0.55, 0.45),
    ("memorisation", None, lambda v: {"fakes__copies": v}, 0.8, 0.7),
    ("memorisation", None, lambda v: {"fakes__copies": 0.99, "close__pairs": v}, 0.25, 0.04),
    ("collapse", None, lambda v: {"fakes__diversity": v}, 0.45, 0.55),
    ("hopping", None, lambda v: {"fakes__at2": v / 2 * jumps}, 0.55, 0.45),
    ("hopping", None, lambda v: {"fakes__at0": 0.3 * v * jumps, "fakes__at1": -0.4 * v * jumps}, 0.55, 0.45),
    ("hopping", None, lambda every: {"fakes__at0": torch.arange(N) // every % 2}, 3, 6),  # rests in between
    ("rotation", WASSERSTEIN, lambda v: {"loss__G": inward(v)}, 0.6, 0.4),
    ("rotation", None, lambda v: {"fakes__at0": 0.5 * inward(v)}, 0.6, 0.4),
]


@pytest.mark.parametrize("index", range(len(BORDERS)), ids=[name for name, *_ in BORDERS])
def test_where_each_sign_begins(index):
    name, facts, changes, ill, well = BORDERS[index]
    assert name in names(facts, **changes(ill))
    assert name not in names(facts, **changes(well))


def test_every_verdict_has_a_case():
    assert set(CASES) | {"diverged", "healthy", "undecided"} == set(VERDICTS)


def test_losses_of_two_log_two_are_an_equilibrium_or_a_dead_critic_by_the_spread_alone():
    assert names(**FLAT | {"critic__spread": 0.5, "signal__mean": 0.4}) == ["healthy"]
    assert names(**FLAT)[0] == "dead_critic"
    assert "2 log 2" in diagnose(history(**FLAT))[0].evidence[1]
    assert "2 log 2" not in str(diagnose(history(**FLAT | {"loss__D": 1.0}))[0].evidence)


def test_a_critic_that_is_flat_where_the_fakes_lie_among_the_data_is_at_its_equilibrium():
    """D = 1/2 is the best critic there; of fakes that nobody has compared with the data nothing excuses it."""
    assert names(**FLAT | {"fakes__coverage": 0.8}) == ["healthy"]
    assert names(**FLAT | {"fakes__coverage": None})[0] == "dead_critic"


@pytest.mark.parametrize("scale", [1e-3, 1e3])
@pytest.mark.parametrize("name", ["collapse", "hopping", "memorisation", "dead_game"])
def test_units_of_the_logits_do_not_matter_to_what_the_fakes_do(name, scale):
    """A Wasserstein critic's output has no unit; slopes of 1 keep the other verdicts away."""
    _, changes = CASES[name]
    flat = {
        "slope__between": 1.0,
        "critic__spread": 0.05 * scale,
        "critic__gap": 0.01 * scale,
        "signal__mean": 1.0,
    }
    assert names(WASSERSTEIN, **{**flat, **changes})[0] == name
    assert names(WASSERSTEIN, **flat) == ["healthy"]


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_vanishing_is_a_share_of_the_slope_whatever_the_data_are_measured_in(scale):
    units = {"signal__mean": 1e-4 * scale, "slope__fake": 3.0 * scale, "critic__spread": 12.0}
    assert names(MINIMAX, **units)[0] == "vanishing"


def test_a_flat_critic_of_one_point_s_data_is_at_its_equilibrium():
    """The Dirac-GAN: no two reals are apart, so the fakes' diversity is a gap, and D = 0 is where it converges to."""
    flat = {"critic__spread": 1e-6, "signal__mean": 1e-7, "fakes__diversity": torch.full((N,), torch.nan)}
    flat |= {"fakes__coverage": 0.0, "fakes__copies": None}
    assert names(**flat) == ["healthy"]
    assert names(**flat | {"fakes__diversity": None})[0] == "dead_critic", "of which nothing is known"


def test_facts_name_the_loss_as_the_verdicts_know_it():
    _, raw = find_recipe("ring8-wgan")
    assert live_diagnosis.facts_of(config.parse(raw))["loss"] == "wasserstein"


def test_a_game_without_data_is_examined():
    run = build(config.parse(find_recipe("bilinear-optimistic")[1]))
    found = gradient_statistics(run.game, run.data, seeds=[0], ensemble=False, dtype=torch.float64)(
        run.state, run.state
    )
    assert "field/cosine" in found


def test_a_clipped_wasserstein_critic_vanishes_and_is_not_dead():
    tiny = {
        "fakes__coverage": 0.1,
        "critic__spread": 1e-6,
        "signal__mean": 1e-6,
        "slope__between": 1e-6,
        "slope__fake": 1e-6,
    }
    assert names(WASSERSTEIN, **tiny)[0] == "vanishing"


def test_a_worse_number_is_never_a_better_verdict():
    for name, key, values in [
        ("dead_critic", "signal__mean", [1e-4, 1e-6, 0.0]),
        ("memorisation", "fakes__copies", [0.8, 0.9, 1.0]),
        ("collapse", "fakes__diversity", [0.4, 0.1, 0.0]),
        ("overfitted", "critic__held", [0.9, 2.0, 10.0]),
    ]:
        facts, changes = CASES[name]
        assert all(names(facts, **{**changes, key: value})[0] == name for value in values)


@pytest.mark.parametrize(("dimension", "scale"), [(64, 0.85), (64, 0.3), (20, 0.7), (8, 0.7)])
def test_fakes_in_the_middle_of_the_data_are_no_copies(dimension, scale):
    """They are nearer to the training set than new samples are, though nothing of it is in them."""
    lines = []
    for step in range(1, 13):
        torch.manual_seed(step)
        train, held, fake = (torch.randn(n, dimension) for n in (1000, 256, 256))
        apart = torch.cdist(train, train).fill_diagonal_(math.inf).min(1).values
        found = copies(scale * fake, held, train)
        assert found["fakes/copies"] > 0.7
        found |= closeness(scale * fake, train, apart.median() / 4, torch.ones(256))
        lines.append({"step": step, "loss/D": 1.0} | {key: value.item() for key, value in found.items()})
    assert diagnose(read(map(json.dumps, lines)).history())[0].name == "healthy"
    copied = [line | {"fakes/copies": 1.0, "close/pairs": 0.5} for line in lines]
    assert diagnose(read(map(json.dumps, copied)).history())[0].name == "memorisation"


def test_since_is_the_step_where_the_signs_began():
    diversity = torch.ones(N)
    diversity[15:] = 0.05
    assert diagnose(history(fakes__diversity=diversity))[0].since == 1600
    assert names(fakes__diversity=torch.cat([0.05 * torch.ones(12), torch.ones(12)])) == ["healthy"]


def test_hopping_is_since_the_last_look_before_the_first_hop_and_rotation_in_the_last_half():
    places = torch.cat([torch.zeros(10), jumps[:14]])
    assert diagnose(history(fakes__at0=places))[0].since == 1000
    assert diagnose(history(WASSERSTEIN, loss__G=circle))[0].since == 10100


@pytest.mark.parametrize(("signal", "told"), [((1.0, 9.0), True), ((9.0, 1.0), False)])
def test_the_vicious_circle_is_more_close_pairs_and_more_signal_there(signal, told):
    changes = {"slope__max": grown(9.0), "close__pairs": (0.01, 0.1), "close__signal": signal}
    assert ("vicious circle" in " ".join(diagnose(history(**STEEP | changes))[0].evidence)) is told


def test_causes_come_before_effects():
    both = {**CASES["vanishing"][1], **CASES["collapse"][1]}
    assert names(MINIMAX, **both) == ["vanishing", "collapse"]


def test_gaps_in_a_series_are_passed_over():
    holes = torch.full((N,), 0.05)
    holes[::3] = torch.nan
    assert names(fakes__diversity=holes)[0] == "collapse"
    nothing = torch.full((N,), torch.nan)
    assert names(critic__held=nothing) == ["healthy"]
    assert "dead_critic" not in names(**FLAT | {"signal__mean": nothing})


def test_losses_that_end_in_gaps_have_diverged_and_the_step_is_told():
    losses = torch.ones(N)
    losses[5:8] = torch.nan
    assert names(loss__D=losses) == ["healthy"], "a gap that is over"
    losses[20:] = torch.nan
    found = diagnose(history(loss__D=losses))
    assert [v.name for v in found] == ["diverged"]
    assert found[0].since == 2100


def test_the_trainer_s_word_on_divergence_names_the_tensor():
    facts = {"diverged": {"step": 50, "good_step": 40, "began": 43, "tensor": "D/layers.0.weight"}}
    (found,) = diagnose(History({}, facts))
    assert found.name == "diverged"
    assert found.since == 43
    assert "layers.0.weight" in found.evidence[0]
    assert found.evidence[1] == "the last good state was that of step 40."


@pytest.mark.parametrize("told", [True, False, None, 3, ["a"], [-1], [True]])
def test_another_program_s_word_on_divergence_is_passed_over(told):
    """What a foreign file means by it is not known: its losses are still read."""
    lines = [json.dumps({"step": step, "loss/D": 1.0}) for step in range(1, 9)]
    events = read([*lines, json.dumps({"step": 9, "diverged": told})])
    assert [v.name for v in diagnose(events.history())] == ["healthy"]
    assert not events.diverged


@pytest.mark.parametrize("few", [0, 1, 5])
def test_too_little_is_undecided(few):
    told = {key: series(1.0, few) for key in WELL} if few else {}
    assert [v.name for v in diagnose(History(told, {}))] == ["undecided"]
    assert diagnose(History({key: series(1.0, 6) for key in WELL}, {}))[0].name != "undecided"


@pytest.mark.parametrize("key", ["loss/D", "critic/spread", "signal/mean"])
def test_six_numbers_of_either_kind_are_enough_and_gaps_are_none(key):
    assert diagnose(History({key: series(1.0, 6)}, {}))[0].name == "healthy"
    gaps = torch.full((N,), torch.nan)
    gaps[-5:] = 1.0
    assert diagnose(History({key: series(gaps)}, {}))[0].name == "undecided"


def test_health_is_said_with_the_numbers_that_there_are():
    assert "critic/spread is 0.05, signal/mean is 0.05" in diagnose(history())[0].evidence[0]
    (said,) = diagnose(History({"loss/D": series(1.0)}, {}))[0].evidence
    assert "losses change" in said


def test_players_and_places_that_are_known_at_other_steps_say_nothing_together():
    assert names(update__G=torch.full((N,), 1e-9), update__D=torch.full((N // 2,), 1e-9)) == ["healthy"]
    assert names(fakes__at0=jumps, fakes__at1=jumps[::2]) == ["healthy"]


def test_keys_that_nobody_knows_say_nothing():
    assert names(something__else=7.0, fakes__at9=jumps) == ["healthy"]


def test_fakes_that_have_not_reached_the_data_are_not_called_healthy():
    assert names(fakes__coverage=0.01, fakes__copies=None) == ["undecided"]
    assert names(fakes__coverage=0.3, fakes__copies=None) == ["healthy"]
    assert names(fakes__coverage=0.01, fakes__copies=0.5) == ["healthy"], (
        "of few samples, whose balls are points"
    )


def test_each_member_of_an_ensemble_has_its_own_verdict():
    lines = [
        json.dumps({"step": 100 * i, **{k: [v, v] for k, v in WELL.items()}, "fakes/diversity": [1.0, 0.05]})
        for i in range(1, N + 1)
    ]
    events = read(lines)
    assert [diagnose(events.history(i))[0].name for i in range(2)] == ["healthy", "collapse"]


def test_losses_near_the_equilibrium_come_with_the_caveat_under_fake_as_real():
    """Spec: fake-as-real bounds D by itself, so a loss of 1.386 is no evidence of health."""
    plain = " ".join(diagnose(history())[0].evidence)
    with_it = " ".join(diagnose(history({"loss": "non_saturating", "fake_as_real": True}))[0].evidence)
    assert "fake-as-real" not in plain
    assert "says little" in with_it
    away = diagnose(history({"loss": "non_saturating", "fake_as_real": True}, loss__D=1.0))[0]
    assert "fake-as-real" not in str(away.evidence)


RECIPES = [
    "ring8-fargan",
    "ring8-0gp",
    "digits-wgan",
    "digits-r3gan",
    "digits-began",
    "bilinear-optimistic",
    "digits-gn",
]


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("name", _TRIES)
def test_every_line_of_configuration_parses_and_changes_something(name, recipe):
    _, raw = find_recipe(recipe)
    text, line = remedy(name, live_diagnosis.facts_of(config.parse(raw)))
    assert text
    if not line:
        assert name in IN_THE_CODE
        return
    assert config.parse(config.override(raw, [line])) != config.parse(raw), line


@pytest.mark.parametrize("name", _TRIES)
def test_nothing_is_offered_that_the_run_has(name):
    has = {"game": "gan", "loss": "relativistic", "penalties": ["r1", "r2"], "normalization": "none"}
    text, line = remedy(
        name, {**has, "fake_as_real": True, "images": True, "augment": "ada", "dynamics": "extragradient"}
    )
    assert text
    for there in ("name: r2", "fake_as_real={", "relativistic", "ada,", "=ada", "extragradient"):
        assert there not in line


@pytest.mark.parametrize(
    ("rate", "penalties", "words"),
    [
        (None, ["r1"], "an optimizer that adapts"),
        (1e6, ["r1"], "an optimizer that adapts"),
        (2e-4, ["r1"], "reduce the weight of the penalty"),
        (2e-4, [], "steps a tenth as large"),
        (2e-5, [], ""),
    ],
)
def test_a_run_that_diverged_is_offered_another_rate_than_its_own(rate, penalties, words):
    text, _ = remedy("diverged", {"game": "gan", "penalties": penalties, "adam_rate": rate})
    assert words in text if words else not text


@pytest.mark.parametrize(
    ("name", "facts", "line"),
    [
        ("diverged", {"adam_rate": 2e-4, "penalties": ["r1"], "penalty_weight": 0.05}, "lr: 0.00002"),
        ("dead_game", {"adam_rate": 1e-12, "loss": "hinge"}, "lr: 0.002"),
        ("dead_game", {"adam_rate": None, "loss": "hinge"}, "lr: 0.0002"),
    ],
)
def test_what_is_offered_is_not_there_already(name, facts, line):
    assert line in remedy(name, {"game": "gan", **facts})[1]


def test_the_rate_of_adam_is_the_largest_of_all_players():
    raw = find_recipe("ring8-fargan")[1]
    adam = {"name": "adam", "lr": 0.1}
    for chosen, wanted in (
        (adam, 0.1),
        ({"D": adam, "G": {"name": "adamw", "lr": 0.2}}, 0.2),
        ({"D": adam, "G": {"name": "sgd", "lr": 0.2}}, None),
        ({**adam, "lr": {"schedule": "linear", "start": 0.3, "stop": 0, "over": "90%"}}, 0.3),
    ):
        settings = config.parse({**raw, "optimizer": chosen})
        assert live_diagnosis.facts_of(settings)["adam_rate"] == wanted


def test_lasting_needs_three_quarters_of_the_last_quarter():
    steps = torch.arange(16)
    flags = torch.zeros(16, dtype=torch.bool)
    flags[-4:] = torch.tensor([True, True, True, False])
    assert lasting(steps, flags) == (True, 12)
    flags[-3] = False
    assert not lasting(steps, flags).holds


def test_swings_counts_the_turns_of_a_sine_and_none_of_noise_or_a_line():
    time = torch.arange(200.0, dtype=torch.float64)
    assert swings(torch.sin(2 * math.pi * time / 25))[0] == 8
    noise = torch.randn(50, 100, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert sum(swings(row)[0] > 0 for row in noise) == 0
    walks = noise.cumsum(1)
    assert sum(swings(row)[0] > 0 for row in walks) <= 2
    assert swings(time)[0] == swings(torch.ones(200))[0] == 0


def test_swings_are_those_about_the_straight_line_and_of_their_full_size():
    """A cosine's correlation with itself a period on is 1, of however few periods there are."""
    time = torch.arange(200.0, dtype=torch.float64)
    periods, match = swings(torch.cos(2 * math.pi * (time + 0.5) / 50))
    assert periods == 4
    assert swings(torch.cos(2 * math.pi * (time + 0.5) / 100)) == (0, 0.0), "two periods may be chance"
    assert [swings(torch.tensor([1.0, -1.0] * 6, dtype=torch.float64)[:n])[0] for n in (11, 12)] == [0, 6]
    assert swings(1 + 1e-7 * torch.cos(2 * math.pi * (time + 0.5) / 25)) == (0, 0.0), "rounding of a float32"
    assert match == pytest.approx(1, abs=0.01)
    assert swings(0.1 * time + torch.sin(2 * math.pi * time / 25))[0] == 8


def test_swings_fall_below_minus_a_half_and_come_back_above_a_half():
    """Pulses at one place in four correlate by -1/3 with those beside them, at two in five by -2/3."""
    one, two = ([1.0, 0.0, 0.0, 0.0] * 50, [1.0, 1.0, 0.0, 0.0, 0.0] * 40)
    assert swings(torch.tensor(one, dtype=torch.float64)) == (0, 0.0)
    assert swings(torch.tensor(two, dtype=torch.float64))[0] == 40
    time = torch.arange(600.0, dtype=torch.float64)
    noise = torch.randn(600, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for share, seen in ((0.65, True), (0.35, False)):
        x = math.sqrt(2 * share) * torch.sin(2 * math.pi * time / 25) + math.sqrt(1 - share) * noise
        assert (abs(swings(x)[1] - share) < 0.1) is seen


def test_early_is_the_median_from_the_tenth_to_the_fifth():
    values = torch.full((20,), 50.0)
    values[2:5] = torch.tensor([1.0, 9.0, 2.0])
    assert early(History({"x": series(values)}, {}), "x") == 2.0
    assert math.isnan(early(History({}, {}), "x"))


def test_late_is_the_median_of_the_last_quarter():
    given = History({"x": series(torch.arange(8.0))}, {})
    assert late(given, "x") == 6.0
    assert math.isnan(late(given, "y"))


def test_the_page_shows_the_figures_that_were_measured():
    text = doctor.PAGE.read_text()
    figures = records.read(doctor.FIGURES)
    assert doctor.page(figures, text) == text
    assert all(f"| `{name}` |" in text for name in VERDICTS if name != "undecided")


@pytest.mark.slow
def test_labelled_runs_are_diagnosed_as_what_they_are(tmp_path):
    wanted = {
        "healthy-ring-r1",
        "dead_critic-ring-r1",
        "rotation-dirac-alt",
        "diverged-ring-ls",
    }
    for setting in CALIBRATION:
        if f"{setting.label}-{setting.name}" in wanted:
            for told, _ in histories(trained(setting, 1, tmp_path)):
                assert diagnose(told)[0].name == setting.label


# -------------------------------------------------------------------------------------- what keeps a sign from others


def test_what_hides_behind_a_frozen_player_is_not_a_mistake_of_its_own_kind():
    flat = {"critic__spread": 1e-8, "signal__mean": 1e-9}
    assert names(update__G=0.0, **ROUNDED, **flat) == ["frozen", "cancelled_gradient"]


def test_wasserstein_logits_have_no_unit_by_which_a_critic_is_sure():
    sides = {"critic__gap": -16.0, "logit__real": -8.0, "logit__fake": 8.0, "loss__D": None}
    assert "reversed_sign" not in names(WASSERSTEIN, **sides)
    assert "reversed_sign" in names(**sides)


def test_one_of_several_critics_is_dead_by_its_slope_too():
    flat = {f"critic__spread{i}": v for i, v in enumerate((1e-6, 0.5))} | {"fakes__coverage": 0.1}
    assert "dead_critic" in names(**flat, slope__fake0=1e-6, slope__fake1=0.5)
    assert "dead_critic" not in names(**flat, slope__fake0=0.5, slope__fake1=0.5)


def test_data_on_both_sides_of_zero_are_no_bytes():
    around = {"data__min": -20.0, "data__max": 20.0, "fakes__min": -0.3, "fakes__max": 0.3}
    assert "mismatched_ranges" not in names(**around)
    assert "mismatched_ranges" in names(**{**around, "data__min": 0.0, "data__max": 255.0})


def lagging(loss, real, fake, critics, measured=None):
    """A history of critics that lag behind G: their loss falls with the gap, as where a penalty falls."""
    value = torch.stack(
        [
            getattr(losses, loss).discriminator([r.view(1)] * critics, [f.view(1)] * critics)
            for r, f in zip(real, fake)
        ]
    )
    spreads = {f"critic__spread{i}": 0.3 for i in range(critics)} if critics > 1 else {}
    sums = {
        "logit__real": critics * real,
        "logit__fake": critics * fake,
        "critic__gap": critics * (real - fake),
    }
    return names({"loss": loss}, **sums, **spreads, loss__D=value if measured is None else measured)


def test_the_least_loss_of_several_critics_is_that_of_critics_that_are_alike():
    """Logits are sums over critics. One critic with three times the logits has more loss than three with these."""
    w = torch.linspace(0, 1, N, dtype=torch.float64)
    real, fake = 0.8 - 0.3 * w, 0.81 - 0.27 * w
    for critics in (1, 3):
        assert "reversed_sign" not in lagging("least_squares", real, fake, critics)
    low = 0.5 * torch.linspace(1.0, 0.9, N, dtype=torch.float64)
    assert "reversed_sign" in lagging("least_squares", real, fake, 3, measured=low)


def test_total_variation_has_no_least_loss_at_the_mean_logits():
    """-tanh is not convex. A few samples far on the wrong side turn the mean logits, and the loss stays good."""
    sets = []
    for w in torch.linspace(0, 1, N, dtype=torch.float64):
        real = torch.full((100,), 0.3, dtype=torch.float64)
        real[:10] = -10 - 10 * w
        sets.append((real, -real, 0.5 * (1 - w)))
    sides = {"logit__real": torch.stack([r.mean() for r, *_ in sets])}
    sides["logit__fake"] = -sides["logit__real"]
    sides["critic__gap"] = 2 * sides["logit__real"]
    value = torch.stack([losses.total_variation.discriminator(r, f) + more for r, f, more in sets])
    assert value.diff().lt(0).all()
    assert sides["critic__gap"].diff().lt(0).all()
    facts = {"loss": "total_variation", "penalties": ["r1"]}
    assert "reversed_sign" not in names(facts, **sides, loss__D=value)
