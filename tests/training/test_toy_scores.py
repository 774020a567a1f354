"""The games that are solved by hand, from the command line: their numbers against closed forms, and their pictures."""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from steadygan import build, config
from steadygan.config import registry
from steadygan.dynamics import linear
from steadygan.errors import UsageError
from steadygan.game import Network
from steadygan.game.state import member
from steadygan.games import quadratic
from steadygan.games._quadratic import blocks
from steadygan.games.dirac_equilibrium import FORCES, SLOPES, rest
from steadygan.losses import LOSSES
from steadygan.networks import point
from steadygan.penalties import PENALTIES
from steadygan.plots import eigenvalues, phase_portrait
from steadygan.recipes.catalogue import recipe_names
from steadygan.training import toy_scores

SOLVED = sorted(name for name in recipe_names() if name.split("-")[0] in ("dirac", "bilinear", "quadratic"))

RULES: list[dict[str, Any]] = [
    {"name": "simultaneous"},
    {"name": "alternating"},
    {"name": "alternating", "n_critic": 3},
    {"name": "alternating", "n_generator": 3},
    {"name": "consensus", "gamma": 0.7},
    {"name": "smoothing", "gamma": 0.7},
    {"name": "smoothing", "gamma": 0.7, "reading": "full"},
    {"name": "extragradient"},
    {"name": "extragradient", "past": True},
    {"name": "optimistic"},
    {"name": "symplectic", "weight": 0.6},
    {"name": "lookahead", "steps": 3, "alpha": 0.4},
    {"name": "lookahead", "steps": 2, "alpha": 0.4, "inner": "simultaneous"},
    {"name": "lookahead", "steps": 2, "alpha": 0.4, "n_critic": 2},
    {"name": "lookahead", "steps": 2, "alpha": 0.4, "n_generator": 2},
]


def raw(**changes: Any) -> dict[str, Any]:
    made = {
        "game": {"name": "quadratic", "eigenvalues": [[-0.5, 2.0], [-0.1, 0.3]], "skew": 1.7},
        "data": "none",
        "networks": {"name": "point", "G": [1.0, -1.0], "D": [0.5, 2.0]},
        "optimizer": {"name": "sgd", "lr": 0.1},
        "steps": 20,
        "compile": False,
        "precision": "float64",
    }
    return made | changes


def dirac(**changes: Any) -> dict[str, Any]:
    return raw(
        game={"name": "gan", "loss": "non_saturating"}, data="dirac", networks="dirac", batch=4, **changes
    )


def made(settings: dict[str, Any]) -> build.Run:
    return build.build(config.parse(settings))


def measured(run: build.Run) -> float:
    return toy_scores.spectrum(run.game, run.rule, run.draws, run.state).radius


def name_of(options: dict[str, Any]) -> str:
    return " ".join(str(v) for v in options.values())


@pytest.mark.parametrize("rule", RULES, ids=name_of)
@pytest.mark.parametrize("settings", [raw, dirac], ids=["quadratic", "dirac"])
def test_the_matrix_of_a_rule_is_the_step_differentiated(rule, settings):
    # the closed forms of a run's `radius/closed_form` are those of dynamics/linear.py, not of test_dynamics.py
    run = made(settings(dynamics=rule))
    assert run.radius == pytest.approx(measured(run), abs=1e-9)


def test_every_rule_has_a_matrix_and_every_one_is_tried():
    assert {rule["name"] for rule in RULES} == registry.DYNAMICS.keys() == linear.MATRICES.keys()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("penalty", PENALTIES)
def test_the_dirac_gan_is_linearised_as_it_is(loss, penalty):
    """Every entry of the tables against the differentiated field; where there is none, nothing is claimed."""
    critic = {"penalties": [{"name": penalty, "weight": 0.3}]}
    run = made(dirac(critic=critic) | {"game": {"name": "gan", "loss": loss}})
    assert run.game.rest is not None
    known = run.game.rest.velocity
    assert (known is not None) is (loss in SLOPES and penalty in FORCES)
    if known is not None:
        found = toy_scores.spectrum(run.game, run.rule, run.draws, run.state).field
        wanted = torch.linalg.eigvals(known)
        gaps = (found[:, None] - wanted[None]).abs()
        assert max(gaps.amin(0).max(), gaps.amin(1).max()) < 1e-7


STILL = [
    ({}, True),
    ({"penalties": [{"name": "r1", "of": "probability"}]}, True),
    ({"penalties": ["one_sided"]}, True),
    ({"penalties": ["max_gradient"]}, True),
    ({"penalties": [{"name": "r1", "weight": 1e6}]}, True),
    ({"penalties": ["one_centered"]}, False),
    ({"penalties": [{"name": "one_centered", "weight": 1e-4}]}, False),
    ({"penalties": ["dragan"]}, False),
    ({"normalization": "gradient_normalized"}, False),
    ({"normalization": "penalty_gradient_normalized"}, False),
]


@pytest.mark.parametrize(("critic", "still"), STILL, ids=lambda v: str(v))
def test_the_dirac_gan_rests_only_where_its_field_is_zero(critic, still):
    """(|psi| - 1)^2 and f / |grad f| have a cusp at psi = 0; PGN's f^ is 1/2 there, which a loss wants larger."""
    run = made(dirac(critic=critic))
    assert run.game.rest.still is still
    look = toy_scores.make_toy_evaluator(
        run.game, run.rule, run.draws, members=1, ensemble=False, closed=run.radius
    )
    named = {"distance", "radius"} if still else set()
    assert named == set(toy_scores.score_names(run.game.rest))
    assert set(look(run.state).scores) - {"radius/closed_form"} == {"at/D", "at/G"} | named


def test_a_run_without_an_equilibrium_draws_its_path_alone(tmp_path, command):
    words = (
        "train",
        "dirac-consensus",
        "dynamics=alternating",
        "critic.penalties=[{name: one_centered}]",
        "steps=20",
    )
    done = command(*words, "--out", tmp_path / "run")
    assert done.code == 0, done.err
    assert "radius" not in done.out + (tmp_path / "run" / "events.jsonl").read_text()
    picture = sorted((tmp_path / "run" / "samples").glob("*.png"))[-1]
    assert Image.open(picture).size == (720, 720)
    assert command(*words, "keep.best=radius", "--out", tmp_path / "other").code == 2


def test_rest_by_hand():
    assert rest("kl", [("r1", 0.5), ("r2", 1.0)]).velocity.tolist() == [[-3.0, -0.5], [1.0, 0.0]]
    assert rest("least_squares", []).velocity is None
    assert rest("wasserstein", [("one_centered", 1.0)]).velocity is None


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": {"name": "adam", "lr": 0.1}},
        {"optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.5}},
        {"optimizer": {"name": "sgd", "lr": {"schedule": "linear", "start": 0.1, "stop": 0}}},
        {"optimizer": {"name": "sgd", "lr": [0.1, 0.2]}},
        {"optimizer": {"D": {"name": "sgd", "lr": 0.1}, "G": {"name": "sgd", "lr": 0.2}}},
        {"dynamics": {"name": "consensus", "gamma": [1.0, 2.0]}},
    ],
    ids=["adam", "momentum", "schedule", "sweep", "two optimizers", "swept gamma"],
)
def test_a_closed_form_is_not_claimed_for_what_it_is_not(changes):
    run = made(raw(**changes))
    assert run.radius is None
    look = toy_scores.make_toy_evaluator(
        run.game, run.rule, run.draws, members=len(run.members), ensemble=run.ensemble, closed=None
    )
    scores = look(run.state).scores
    assert "radius/closed_form" not in scores
    assert {"distance", "radius", "at/D", "at/G"} <= scores.keys()


@pytest.mark.parametrize("option", [{"interval": 4}, {"of": "probability"}], ids=["lazy", "of D(x)"])
def test_a_closed_form_is_of_a_penalty_at_each_step_on_the_logit(option):
    known, other = (
        made(dirac(critic={"penalties": [{"name": "r1", "weight": 1.0, **more}]})) for more in ({}, option)
    )
    assert known.game.rest.velocity is not None
    assert known.radius is not None
    assert (other.game.rest.velocity, other.radius) == (None, None)


def test_members_have_their_own_radius():
    run = made(raw(dynamics="simultaneous", optimizer={"name": "sgd", "lr": [0.1, 0.2]}))
    pairs = [(-0.5, 2.0), (-0.1, 0.3)]
    for index, h in enumerate((0.1, 0.2)):
        found = toy_scores.spectrum(run.game, run.rule, run.draws, member(run.state, index), index).radius
        assert found == pytest.approx(max(abs(1 + h * complex(*z)) for z in pairs))


def preconditioner(optimizer: dict[str, Any], state: Any) -> np.ndarray:
    """What the next step of an optimizer multiplies its (mean) gradient by, by hand, D first."""
    rows = []
    for name in "DG":
        moments = {key: m.numpy() for key, m in state.moments[name].items()}
        if optimizer["name"] == "adam":
            b1, b2 = optimizer["betas"]
            t = moments["count"] + 1
            spread = np.sqrt(b2 * moments["square"] / (1 - b2**t)) + 1e-8
            rows.append(optimizer["lr"] / (1 - b1**t) / spread)
        elif optimizer["name"] == "rmsprop":
            rows.append(optimizer["lr"] / (np.sqrt(optimizer["alpha"] * moments["square"]) + 1e-8))
        else:
            rows.append(optimizer["lr"] / np.sqrt(0.9 * moments["square"] + 1e-10))
    return np.concatenate(rows)


@pytest.mark.parametrize(
    "optimizer",
    [
        {"name": "adam", "lr": 0.01, "betas": [0.5, 0.9]},
        {"name": "adam", "lr": 0.03, "betas": [0.0, 0.99]},
        {"name": "rmsprop", "lr": 0.01, "alpha": 0.9},
        {"name": "tf_rmsprop", "lr": 0.01},
    ],
    ids=lambda o: " ".join(map(str, o.values())),
)
def test_the_radius_under_an_optimizer_is_that_of_the_preconditioned_step(optimizer):
    """x' = x - P m', m' = b m + (1 - b) g with g = -V x: the squares and the count are numbers, not coordinates."""
    run = made(raw(dynamics="simultaneous", optimizer=optimizer, steps=30))
    state = run.state
    for step in range(7):
        state, _ = run.step(state, run.draws(step))
    V, P = blocks([(-0.5, 2.0), (-0.1, 0.3)], 1.7).numpy(), np.diag(preconditioner(optimizer, state))
    b, one = optimizer.get("betas", [0.0])[0], np.eye(4)
    matrix = np.block([[one + (1 - b) * P @ V, -b * P], [-(1 - b) * V, b * one]])
    expected = abs(np.linalg.eigvals(matrix)).max()
    found = toy_scores.spectrum(run.game, run.rule, run.draws, state)
    assert found.radius == pytest.approx(expected, abs=1e-9)
    assert abs(found.radius - 1) > 1e-4
    assert len(found.step) == (8 if "betas" in optimizer else 4)


def test_an_adam_run_shrinks_at_the_radius_it_reports():
    """Where the squares change little from step to step, the distance shrinks by the radius."""
    game = {"name": "quadratic", "eigenvalues": [[-1.0, 0.5]]}
    optimizer = {"name": "adam", "lr": 0.005, "betas": [0.5, 0.999999]}
    run = made(raw(game=game, networks="point", dynamics="simultaneous", optimizer=optimizer, steps=200))
    state, distances = run.state, []
    for step in range(200):
        state, _ = run.step(state, run.draws(step))
        distances.append(math.hypot(*(state.params[name].item() for name in "DG")))
    radius = toy_scores.spectrum(run.game, run.rule, run.draws, state).radius
    assert 0.99 < radius < 0.995
    assert (distances[-1] / distances[-11]) ** (1 / 10) == pytest.approx(radius, abs=2e-4)


def test_velocities_are_those_of_the_first_parameters():
    run = made(raw())
    points = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, -3.0]], dtype=torch.float64)
    V = blocks([(-0.5, 2.0)], 1.7)
    torch.testing.assert_close(toy_scores.velocities(run.game, run.draws, run.state, points), points @ V.T)


# ---------------------------------------------------------------------------------------------- runs


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name.startswith("quadratic") else ()) for name in SOLVED],
)
def test_a_recipe_arrives_at_the_rate_it_says(name, tmp_path, command):
    """The distance of the run itself, from its own file, shrinks or grows by the radius in the end."""
    folder = tmp_path / "run"
    done = command("train", name, "every.score=20", "every.checkpoint=50%", "--out", folder)
    assert done.code == 0, done.err
    lines = [line for line in events(folder) if "distance" in line]
    radius = lines[-1]["radius"]
    assert radius == pytest.approx(lines[-1]["radius/closed_form"], abs=1e-7)
    if name != "dirac-r1":  # a double eigenvalue is approached like 1/t
        used = [line for line in lines if line["distance"] > 1e-12]
        slopes = [math.log(line["distance"]) for line in used]
        count, span = len(used) - 1, used[-1]["step"] - used[0]["step"]
        assert count > 3
        assert (slopes[-1] - slopes[0]) / span == pytest.approx(math.log(radius), abs=0.01)
    assert len(list((folder / "samples").glob("step-*.png"))) == 2


def test_a_path_is_drawn_from_the_initial_state(tmp_path, command, monkeypatch):
    """Neither the first scored step nor, in a resumed run, the checkpoint that it goes on from."""
    paths: list[torch.Tensor] = []
    monkeypatch.setattr(
        phase_portrait,
        "phase",
        lambda path, *_, f=phase_portrait.phase, **more: paths.append(path) or f(path, *_, **more),
    )
    words = ("networks.theta=0.75", "networks.psi=-0.5", "every.score=10", "every.checkpoint=20")
    assert command("train", "dirac-consensus", "steps=20", *words, "--out", tmp_path / "run").code == 0
    assert command("resume", tmp_path / "run", "steps=40").code == 0
    assert [len(path) for path in paths] == [3, 5]
    for path in paths:
        assert path[0].tolist() == [-0.5, 0.75]


@pytest.mark.slow
def test_a_resumed_run_draws_its_whole_path(tmp_path, command):
    for folder, steps in ((tmp_path / "whole", 40), (tmp_path / "parts", 20)):
        words = ("bilinear-optimistic", f"steps={steps}", "every.score=5", "every.checkpoint=10")
        assert command("train", *words, "--out", folder).code == 0
    assert command("resume", tmp_path / "parts", "steps=40").code == 0
    whole, parts = (
        [[line["at/D"], line["at/G"]] for line in events(tmp_path / part) if "at/D" in line]
        for part in ("whole", "parts")
    )
    assert whole == parts


@pytest.mark.slow
def test_an_ensemble_of_closed_form_games(tmp_path, command):
    done = command(
        "train", "dirac-consensus", "optimizer.lr=[0.1, 0.2]", "steps=20", "--out", tmp_path / "run"
    )
    assert done.code == 0, done.err
    last = [line for line in events(tmp_path / "run") if "radius" in line][-1]
    expected = [math.hypot(1 - h, h) for h in (0.1, 0.2)]
    assert last["radius"] == pytest.approx(expected)


def test_there_are_no_samples_to_draw(tmp_path, command):
    assert command("train", "bilinear-optimistic", "steps=10", "--out", tmp_path / "run").code == 0
    done = command("sample", tmp_path / "run")
    assert done.code == 2
    assert "no samples" in done.err


@pytest.mark.parametrize(
    "changes",
    [
        {"data": "ring8"},
        {"networks": "mlp"},
        {"game": "gan"},
        {"data": "none", "networks": "mlp", "game": "gan"},
        {"critic": {"penalties": ["r1"]}},
        {"ema": {}},
        {"fake_as_real": {"count": 3}},
        {"noise": {"instance": 0.1}},
        {"augment": "diffaugment"},
        {"networks": {"name": "point", "G": [1.0], "D": [1.0]}},
        {"data": "ring8", "networks": "dirac", "game": "gan"},
        {"dynamics": {"name": "lookahead", "inner": "simultaneous", "n_critic": 2}},
    ],
    ids=str,
)
def test_what_does_not_fit_is_told(changes):
    with pytest.raises(UsageError):
        made(raw() | changes)


# ------------------------------------------------------------------------------------------- pictures


def test_a_path_is_drawn_where_it_went():
    """Red where the path runs, none in the quarter it never entered; arrows over all of it."""
    t = torch.linspace(0, math.pi / 2, 50, dtype=torch.float64)
    path = torch.stack([t.cos(), t.sin()], dim=1)
    points = phase_portrait.grid(phase_portrait.extent(path))
    image = phase_portrait.phase(path, points @ blocks([(0.0, 1.0)]).T, "title")
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(720, 720, 3).double()
    red = (pixels - torch.tensor(phase_portrait.FAKES, dtype=torch.float64)).abs().sum(2) < 60
    red[:62] = False  # the legend
    assert red[62:372, 360:].sum() > 200
    assert red[390:, :340].sum() == 0


@pytest.mark.parametrize("path", [torch.zeros(0, 2), torch.full((3, 2), math.nan), torch.ones(1, 2)], ids=len)
def test_a_path_may_be_empty_or_lost(path):
    arrows = torch.zeros(17 * 17, 2)
    assert phase_portrait.phase(path.double(), arrows.double(), size=360).size == (360, 360)
    assert eigenvalues.plane(torch.zeros(0), torch.zeros(0), size=360).size == (360, 360)


@pytest.mark.parametrize(
    ("path", "arrows"),
    [
        ((3, 3), (17 * 17, 2)),
        ((3, 2), (5, 2)),
        ((6,), (4, 2)),
        ((3, 2), (4,)),
        ((3, 2), (4, 3)),
        ((3, 2), (0, 2)),
    ],
)
def test_a_phase_portrait_refuses_what_is_none(path, arrows):
    with pytest.raises(UsageError, match=re.escape(f"not {list(path)} and {list(arrows)}")):
        phase_portrait.phase(torch.zeros(path), torch.zeros(arrows))


@pytest.mark.parametrize("block", [0, 2])
def test_each_players_own_block_is_symmetric(block):
    G, D = (Network(net) for net in point((), G=(1.0, 1.0), D=(1.0, 1.0)))
    velocity = torch.zeros(4, 4)
    velocity[block, block + 1] = 1.0
    with pytest.raises(UsageError, match="symmetric in each player's own block"):
        quadratic(G, D, velocity)
