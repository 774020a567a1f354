"""Landscapes of critics in the plane, against critics whose values and gradients are known."""

import copy
import json

import pytest
import torch

from steadygan import build, config
from steadygan.diagnostics.landscape import around, centres, landscape
from steadygan.errors import UsageError
from steadygan.runs.sinks.landscapes import evaluation_critic, landscape_sink, read_landscape
from steadygan.training.events import Evaluated, Progress, Scored

FRAME = (1.0, -2.0, 3.0)  # x in [-2, 4], y in [-5, 1]


def test_a_quadratic_critic_is_seen_where_it_stands():
    def critic(x):
        return x[:, 0] ** 2 + 10 * x[:, 1]

    found = landscape(critic, FRAME, torch.empty(0, dtype=torch.float64), cells=6, arrows=3)
    for row, y in enumerate((-4.5, -3.5, -2.5, -1.5, -0.5, 0.5)):
        for column, x in enumerate((-1.5, -0.5, 0.5, 1.5, 2.5, 3.5)):
            assert found.logits[row, column].item() == pytest.approx(x**2 + 10 * y)
    for column, x in enumerate((-1.0, 1.0, 3.0)):
        assert found.gradient[:, column].tolist() == [[2 * x, 10.0]] * 3
    assert found.logits.dtype == found.gradient.dtype == torch.float32


def test_the_view_holds_the_points_with_a_quarter_to_spare_and_both_axes_alike():
    x, y, half = around(torch.tensor([[-1.0, 0.0], [7.0, 2.0], [torch.nan, 9.0]]))
    assert (x, y, half) == (3.0, 1.0, 5.0)
    grid = centres((x, y, half), 10)
    assert grid[0, 0].tolist() == [-1.5, -3.5]
    assert grid[-1, -1].tolist() == [7.5, 5.5]


@pytest.mark.parametrize("points", [torch.zeros(3, 3), torch.full((2, 2), torch.nan), torch.zeros(0, 2)])
def test_there_is_no_view_of_what_is_not_in_the_plane(points):
    with pytest.raises(UsageError):
        around(points)


def made(recipe: dict, **more: object):
    raw = {"data": "ring8", "networks": "mlp", "optimizer": {"name": "sgd", "lr": 0.1}, "steps": 4}
    return build.build(config.parse(raw | recipe | more))


RECIPES = {
    "plain": {},
    "ensemble": {"seeds": 2},
    "gradient_normalized": {"critic": {"normalization": "gradient_normalized"}},
    "spectral": {"critic": {"normalization": "spectral_normalized"}},
    "conditional": {"game": {"name": "gan", "conditional": True}},
    "noisy": {"noise": {"D": 0.5}},
}


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_written_is_small_and_changes_no_state(name, tmp_path):
    run = made(RECIPES[name])
    state, before = run.state, copy.deepcopy(run.state)
    reals = 2 * torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    sink = landscape_sink(tmp_path, run.game, reals, classes=run.classes, ensemble=run.ensemble)
    sink(Progress(7, 0.0, {}))
    assert not list(tmp_path.iterdir())
    random = torch.get_rng_state()
    sink(Scored(40, 1.0, state, Evaluated([reals + 1], {})))
    assert torch.equal(random, torch.get_rng_state())
    for old, new in zip(torch.utils._pytree.tree_leaves(before), torch.utils._pytree.tree_leaves(state)):
        assert torch.equal(old, new)
    (file,) = tmp_path.iterdir()
    content = file.read_bytes()
    sink(Scored(40, 1.0, state, Evaluated([reals + 1], {})))
    assert file.read_bytes() == content
    assert file.name == "step-00000040.safetensors"
    assert file.stat().st_size < 20_000
    seen = read_landscape(file)
    assert seen is not None
    assert seen.step == 40
    assert torch.equal(seen.fakes, reals[:400] + 1)
    assert torch.equal(seen.reals, reals[:400])
    assert seen.landscape.frame == pytest.approx(around(reals))
    assert seen.landscape.logits.isfinite().all()


def test_the_gradient_is_the_slope_of_the_judge_s_logits():
    run = made({"critic": {"normalization": "gradient_normalized"}}, precision="float64")
    critic = evaluation_critic(run.game, run.state)
    found = landscape(critic, FRAME, run.state.params["D"], arrows=3)
    at, step = centres(FRAME, 3)[1, 2][None], 1e-6
    for axis in (0, 1):
        aside = torch.zeros(1, 2, dtype=torch.float64)
        aside[0, axis] = step
        slope = (critic(at + aside) - critic(at - aside)).item() / (2 * step)
        assert found.gradient[1, 2, axis].item() == pytest.approx(slope, rel=1e-4)


def test_a_conditional_critic_is_averaged_over_its_classes():
    run = made(RECIPES["conditional"])
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(1))
    player = run.game.players["D"].network
    each = [
        player(run.state.params["D"], dict(run.state.buffers["D"]), x, torch.full((5,), c)) for c in range(8)
    ]
    assert torch.allclose(evaluation_critic(run.game, run.state, 8)(x), sum(each) / 8, atol=1e-6)


def test_a_damaged_file_is_no_landscape(tmp_path):
    file = tmp_path / "step-00000001.safetensors"
    file.write_bytes(b"torn")
    assert read_landscape(file) is None
    assert read_landscape(tmp_path / "none.safetensors") is None


def test_a_run_in_the_plane_keeps_one_at_every_look(tmp_path, command):
    out = tmp_path / "run"
    done = command("train", "ring8-0gp", "steps=4", "every.score=2", "compile=false", "--out", out)
    assert done.code == 0, done.err
    files = sorted((out / "landscapes").iterdir())
    lines = (out / "events.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines if "modes" in line]
    assert [read_landscape(file).step for file in files] == steps == [0, 2, 4]
