"""What a run examines of its states equals what plain autograd finds in its checkpoints; and it changes nothing."""

import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from rich.console import Console
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils import vector_to_parameters
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from steadygan import config
from steadygan.build import Run, build
from steadygan.game import State
from steadygan.game.batches import Draws
from steadygan.game.state import member
from steadygan.game.vector_field import field
from steadygan.recipes.catalogue import find_recipe
from steadygan.runs import train as run
from steadygan.training import checkpoint
from steadygan.training.advance import advancing
from steadygan.training.divergence import origin
from steadygan.training.gradient_stats import gradient_statistics

MLP = {"name": "mlp", "width": 16, "depth": 2}
ADAM = {"name": "adam", "lr": 3e-3, "betas": [0.5, 0.9]}
POINTS = {
    "data": {"name": "gaussian", "size": 40},
    "networks": MLP,
    "optimizer": ADAM,
    "critic": {"penalties": [{"name": "r1", "weight": 1}]},
    "batch": 16,
    "steps": 30,
    "compile": False,
    "precision": "float64",
    "every": {"log": 10, "score": 15, "checkpoint": 15, "diagnostics": 15},
}
IMAGES = {
    **POINTS,
    "data": {"name": "digits", "limit": 60},
    "networks": {"name": "dcgan", "latent": 4, "width": 4},
    "fake_as_real": {"count": 4, "pool": 2},
}


class OneDevice(TorchDispatchMode):
    """Nothing but the meta device, which stands for a GPU, and plain numbers take part in any operation."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        found = [t for t in tree_leaves((args, kwargs, out)) if isinstance(t, torch.Tensor)]
        assert all(t.is_meta or not t.ndim for t in found), (
            f"{func} of {[(t.device.type, t.shape) for t in found]}"
        )
        return out


HELD = {**POINTS, "data": "digits", "networks": {"name": "dcgan", "latent": 4, "width": 4}}


@pytest.mark.parametrize(
    "raw",
    [POINTS, {**POINTS, "seeds": 2}, {**POINTS, "data": "ring8"}, HELD],
    ids=["rows", "members", "ring", "images"],
)
def test_the_pass_stays_on_the_device_of_the_run(raw):
    made = build(config.parse({**raw, "device": "cpu"}))
    state = tree_map(lambda t: t.to("meta"), made.state)
    seeds = [int(member["seed"]) for member in made.members]
    examine = gradient_statistics(
        made.game, made.data, seeds=seeds, ensemble=made.ensemble, dtype=torch.float64, device="meta"
    )
    with OneDevice():
        found = examine(state, state)
    assert len(found) > 15
    assert all(value.is_meta for value in found.values())


def trained(raw: dict[str, Any], folder: Path) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor], Run]:
    """The examinations of a run, its last checkpoint's tensors, and the run."""
    settings = config.parse(raw)
    assert run.start(settings, folder, Console(file=io.StringIO())) is None
    lines = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    newest = checkpoint.checkpoints(folder / "checkpoints")[-1]
    return (
        [line for line in lines if "field/cosine" in line],
        load_file(newest / "state.safetensors"),
        build(settings),
    )


def modules(made: Run, tensors: dict[str, torch.Tensor]) -> dict[str, nn.Module]:
    """Ordinary modules with a checkpoint's parameters."""
    nets = {name: player.network.module.double() for name, player in made.game.players.items()}
    for name, net in nets.items():
        vector_to_parameters(tensors[f"params/{name}"].clone(), net.parameters())
    return nets


def fixed(made: Run) -> list[dict[str, torch.Tensor]]:
    """The draws that examinations are made on: those of a round in which everybody moves."""
    names = tuple(made.game.players)
    draws = Draws(made.game, (names,), made.data, [0], members=False, dtype=torch.float64)
    return [draws(step)[0] for step in range(256 // 16)]


@pytest.mark.parametrize("raw", [POINTS, IMAGES], ids=["points", "images, fake-as-real"])
def test_an_examination_is_what_plain_autograd_finds_in_the_checkpoint(raw, tmp_path):
    """Every number again, from ordinary modules with .backward(); the checkpoint is of the examined step."""
    (first, last), tensors, made = trained(raw, tmp_path / "run")
    assert (first["step"], last["step"]) == (15, 30)
    nets, draws = modules(made, tensors), fixed(made)
    G, D = nets["G"], nets["D"]
    z, x = draws[0]["z"], draws[0]["x_real"]

    y = G(z).detach().requires_grad_()
    F.softplus(-D(y)).mean().backward()
    told = 16 * y.grad.flatten(1).norm(dim=1)
    assert last["signal/mean"] == pytest.approx(told.mean().item())
    assert last["signal/median"] == pytest.approx(told.median().item())  # torch's is the lower one too
    assert last["signal/max"] == pytest.approx(told.max().item())
    assert last["signal/top"] == pytest.approx((told.max() / told.sum()).item())

    alpha = ((torch.arange(16).double() + 0.5) / 16).view(-1, *[1] * (x.ndim - 1))
    logits, norms = {}, {}
    for place, at in {"real": x, "fake": y, "between": alpha * x + (1 - alpha) * y}.items():
        rows = at.detach().requires_grad_()
        logits[place] = D(rows)
        logits[place].sum().backward()
        norms[place] = rows.grad.flatten(1).norm(dim=1)
        assert last[f"slope/{place}"] == pytest.approx(norms[place].mean().item())
    assert last["slope/max"] == pytest.approx(max(n.max().item() for n in norms.values()))
    assert last["critic/gap"] == pytest.approx((logits["real"].mean() - logits["fake"].mean()).item())
    both = torch.cat([logits["real"], logits["fake"]])
    assert last["critic/spread"] == pytest.approx(both.std(correction=0).item())

    fakes = torch.cat([G(d["z"]) for d in draws]).detach()
    seen = F.adaptive_avg_pool2d(fakes, 8).flatten(1) if fakes.ndim == 4 else fakes
    rows = made.data.rows.double()
    train = F.adaptive_avg_pool2d(rows / 127.5 - 1, 8).flatten(1) if fakes.ndim == 4 else rows
    apart = torch.cdist(train, train).fill_diagonal_(math.inf)
    apart[apart < 1e-6] = math.inf  # copies in the set are one point
    close = torch.cdist(seen[:16], train).min(1).values <= apart.min(1).values.median() / 4
    assert last["close/pairs"] == pytest.approx(close.double().mean().item())
    assert last["close/signal"] == pytest.approx(told[close].max().item() if close.any() else 0.0)

    for name, net in nets.items():
        largest = max(torch.linalg.svdvals(p.detach().flatten(1))[0] for p in net.parameters() if p.ndim > 1)
        assert last[f"spectral/{name}"] == pytest.approx(largest.item(), rel=1e-6)


def test_held_out_samples_are_those_that_a_limit_left(tmp_path):
    """r_v of Karras 2020, on the 256 that are looked at; a shift of D's logits is no part of it."""
    (*_, last), tensors, made = trained(IMAGES, tmp_path / "run")
    D, G, draw = *(modules(made, tensors)[name] for name in "DG"), fixed(made)[0]
    held = made.data.held()
    assert len(held) == 1797 - 60
    digits = {tuple(row.tolist()) for row in made.data.rows.flatten(1)}
    assert not any(tuple(row.tolist()) in digits for row in held.flatten(1)), "none of them is trained on"
    each = D(held.double() / 127.5 - 1)
    real, fake = D(draw["x_real"]).mean().item(), D(G(draw["z"])).mean().item()
    # 256 of all: within four standard errors of the mean over all of them
    error = 4 * each.std().item() / 256**0.5 / abs(real - fake)
    assert last["critic/held"] == pytest.approx((real - each.mean().item()) / (real - fake), abs=error)


def test_update_ratios_are_those_of_the_step_that_led_here(tmp_path):
    raw = {
        **POINTS,
        "steps": 2,
        "every": {"log": 1, "score": 1, "checkpoint": 1, "diagnostics": 1},
        "keep": {"last": 9},
    }
    folder = tmp_path / "run"
    _, last, _ = trained(raw, folder)
    before = load_file(checkpoint.checkpoints(folder / "checkpoints")[0] / "state.safetensors")
    lines = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    (line,) = [line for line in lines if line["step"] == 2 and "update/G" in line]
    for name in "GD":
        old, new = before[f"params/{name}"], last[f"params/{name}"]
        assert line[f"update/{name}"] == pytest.approx(((new - old).norm() / old.norm()).item())


# -------------------------------------------------------------------------------------------- what it leaves alone


def test_how_often_a_run_is_examined_changes_nothing_else(tmp_path):
    often = {**POINTS, "every": {**POINTS["every"], "diagnostics": 1}}
    a, b = (trained(raw, tmp_path / name)[1] for name, raw in (("a", POINTS), ("b", often)))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_a_member_is_examined_like_the_single_run_of_its_seed(tmp_path):
    both, *_ = trained({**POINTS, "seeds": 2, "seed": 3}, tmp_path / "both")
    for index in range(2):
        alone, *_ = trained({**POINTS, "seed": 3 + index}, tmp_path / f"{index}")
        for key, value in alone[-1].items():
            if key not in ("wall_s", "step", "images"):
                assert both[-1][key][index] == pytest.approx(value, rel=1e-6, abs=1e-9), key


# --------------------------------------------------------------------------------------------------- other games


@pytest.mark.parametrize(
    "name",
    [
        "ring8-gn",
        "ring8-pgn",
        "ring8-infogan",
        "ring8-mdgan",
        "ring8-reg-gan",
        "digits-conditional",
        "ring8-sn",
    ],
)
def test_every_kind_of_game_is_examined(name):
    """All that a critic and a generator can show, finite, through whatever stands between them."""
    source, raw = find_recipe(name)
    made = build(config.parse({"name": source, **raw, "seeds": 1}))
    found = gradient_statistics(made.game, made.data, seeds=[0], ensemble=False, classes=made.classes)(
        made.state, made.state
    )
    for key in (
        "signal/mean",
        "slope/real",
        "slope/between",
        "critic/spread",
        "fakes/coverage",
        "spectral/G",
    ):
        assert math.isfinite(found[key]), key


def test_a_normalized_critic_is_measured_as_the_generator_meets_it():
    """GN's critic has values in [-1, 1] and, within a linear region, gradients of norm at most 1: the raw one not."""
    source, raw = find_recipe("ring8-gn")
    made = build(config.parse({"name": source, **raw, "seeds": 1}))
    large = made.state._replace(params={**made.state.params, "D": 3 * made.state.params["D"]})
    found = gradient_statistics(made.game, made.data, seeds=[0], ensemble=False)(large, large)
    assert found["slope/max"] <= 1 + 1e-5
    raw_game = made.game._replace(normalize=None)
    assert gradient_statistics(raw_game, made.data, seeds=[0], ensemble=False)(large, large)["slope/max"] > 1


@pytest.mark.parametrize("batch_G", [5, 16, 48])
def test_a_generators_own_batch_changes_only_what_is_of_the_field(batch_G):
    """What G is told is looked at on the latents that the critic meets, however many its own batch has."""
    found = []
    for game in ({"name": "gan"}, {"name": "gan", "batch_G": batch_G}):
        settings = config.parse({**IMAGES, "game": game, "fake_as_real": {"count": 0}})
        made = build(settings)
        look = gradient_statistics(made.game, made.data, seeds=[0], ensemble=False, dtype=torch.float64)
        found.append(look(made.state, build(settings).state))
    without, own = found
    assert own.keys() == without.keys()
    assert own["field/cosine"].isfinite()
    for key in own.keys() - {"field/cosine"}:
        torch.testing.assert_close(own[key], without[key], equal_nan=True)


def test_the_cosine_is_that_of_the_field_here_and_a_hundredth_of_each_player_on():
    made = build(config.parse({**POINTS, "seeds": 1}))
    game, state, players = made.game, made.state, tuple(made.game.players)
    passed = gradient_statistics(game, made.data, seeds=[0], ensemble=False, dtype=torch.float64)
    draw = Draws(game, (players,), made.data, [0], members=False, dtype=torch.float64)(0)[0]
    here = field(game, players, state, draw)[0]
    size = {name: g.norm() for name, g in here.items()}
    moved = {name: p - 0.01 * p.norm() * here[name] / size[name] for name, p in state.params.items()}
    there = field(game, players, state._replace(params=moved), draw)[0]
    one, other = (torch.cat([each[name] / size[name] for name in here]) for each in (here, there))
    wanted = (one @ other / one.norm() / other.norm()).item()
    assert passed(state, state)["field/cosine"].item() == pytest.approx(wanted, rel=1e-10)


def test_a_game_without_samples_has_a_field_that_turns():
    """Dirac-GAN: two numbers; a hundredth of them along the field turns it by some hundredths."""
    source, raw = find_recipe("dirac-consensus")
    made = build(config.parse({"name": source, **raw, "dynamics": "alternating", "seeds": 1}))
    found = gradient_statistics(made.game, made.data, seeds=[0], ensemble=False, dtype=made.draws.dtype)(
        made.state, made.state
    )
    assert 0.9 < found["field/cosine"] < 1
    assert "signal/mean" not in found or math.isfinite(found["signal/mean"])


# ------------------------------------------------------------------------------------------ where a divergence began


def diverging(at: int) -> Run:
    """A run whose learning rate is infinite at one step (counted from 1) and small at all others."""
    made = build(config.parse({**POINTS, "precision": "float32"}))

    def step(state: State, batch: Any) -> tuple[State, dict[str, torch.Tensor]]:
        state, logs = made.step(state, batch)
        if int(state.scalars["step"]) == at:
            spoiled = state.params["D"].clone()
            spoiled[-1] = math.inf  # its last bias
            state = state._replace(params={**state.params, "D": spoiled})
            logs = {**logs, "finite": torch.zeros(())}
        return state, logs

    return made._replace(step=step)


@pytest.mark.parametrize("at", [1, 4, 7])
def test_a_divergence_is_traced_to_the_step_and_the_tensor(at):
    made = diverging(at)
    found = origin(made.game, advancing(made.step, made.draws), made.state, 7, None)
    last = list(dict(made.game.players["D"].network.module.named_parameters()))[-1]
    assert found == (at, f"{last} of D")


def test_logs_come_before_parameters_and_what_stays_finite_has_no_origin():
    made = build(config.parse({**POINTS, "optimizer": {"name": "sgd", "lr": 1e30}, "precision": "float32"}))
    found = origin(made.game, advancing(made.step, made.draws), made.state, 9, None)
    state = made.state
    for number in range(9):  # the same by hand
        state, logs = made.step(state, made.draws(number))
        bad = [key for key, value in logs.items() if key != "finite" and not math.isfinite(value)]
        if bad or not state.params["G"].isfinite().all() or not state.params["D"].isfinite().all():
            break
    assert found is not None
    assert found.step == number + 1
    assert found.tensor == bad[0]


def test_what_stays_finite_has_no_origin():
    made = diverging(99)
    assert origin(made.game, advancing(made.step, made.draws), made.state, 3, None) is None


def test_the_origin_of_one_member_is_its_own():
    raw = {**POINTS, "optimizer": {"name": "sgd", "lr": [1e-3, 1e30]}, "precision": "float32"}
    made = build(config.parse(raw))
    step = torch.vmap(made.step)
    assert origin(made.game, advancing(step, made.draws), made.state, 3, 0) is None
    found = origin(made.game, advancing(step, made.draws), made.state, 3, 1)
    assert found is not None
    assert member(made.state, 1).params["G"].isfinite().all()
