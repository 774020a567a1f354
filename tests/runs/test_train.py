"""A run in its folder: stopped and resumed it leaves the same bits, whenever and however it was stopped."""

import io
import json
import math
import multiprocessing
import os
import random
import shutil
import signal
import stat
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils import vector_to_parameters

from steadygan import config, metrics, networks
from steadygan.build import build
from steadygan.commands.sample import sample
from steadygan.config import Config, parse
from steadygan.data import as_seen
from steadygan.errors import UsageError
from steadygan.game import State, batches
from steadygan.plots.samples import save as save_picture
from steadygan.runs import train
from steadygan.runs.folder import fresh_folder
from steadygan.runs.sinks import checkpoint_sink
from steadygan.runs.sinks import checkpoints as sinks
from steadygan.runs.sinks import samples as picture_sinks
from steadygan.training import checkpoint, sampling
from steadygan.training.beside import beside
from steadygan.training.compile.compile_cost import Estimate
from steadygan.training.events import Diverged, Evaluated, Scored, Snapshot
from steadygan.training.online_scores import evaluation_samples

R1 = {"penalties": [{"name": "r1", "weight": 1}]}
FAR = {"count": 3, "pool": 2}
ADAM = {"name": "adam", "lr": 2e-3, "betas": [0.5, 0.9]}
SMALL = {
    "batch": 8,
    "compile": False,
    "critic": R1,
    "steps": 12,
    "every": {"log": 2, "score": 6, "checkpoint": 3, "diagnostics": 3},
}
POINTS = {**SMALL, "data": "ring8", "networks": {"name": "mlp", "width": 8, "depth": 2}, "optimizer": ADAM}
DIGITS = {
    **SMALL,
    "data": "digits",
    "networks": {"name": "dcgan", "latent": 4, "width": 4},
    "optimizer": ADAM,
}
FALLING = {"schedule": "linear", "start": 5, "stop": 0, "over": "60%"}

RECIPES: dict[str, tuple[dict[str, Any], int]] = {
    "points, fake-as-real": ({**POINTS, "fake_as_real": FAR}, 7),
    "beyond a block of draws": (
        {**POINTS, "steps": 80, "every": {"log": 10, "score": 40, "checkpoint": 33}},
        71,
    ),
    "digits": ({**DIGITS, "fake_as_real": FAR}, 8),
    "digits, batch norm in G": (
        {**DIGITS, "networks": {**DIGITS["networks"], "batch_norm": True}, "steps": 6},
        5,
    ),
    "average": ({**POINTS, "ema": {"decay": 0.9, "start": 4}}, 10),
    "batch norm and average": (
        {**DIGITS, "networks": {**DIGITS["networks"], "batch_norm": True}, "ema": {"decay": 0.9}, "steps": 6},
        5,
    ),
    "ensemble of seeds and rates": (
        {**POINTS, "seeds": 2, "optimizer": {**ADAM, "lr": [1e-3, 1e-2]}, "ema": {}},
        7,
    ),
    "ensemble of digits": ({**DIGITS, "seeds": 2, "steps": 6}, 4),
    "finite set, several epochs": (
        {**POINTS, "data": {"name": "gaussian", "size": 20}, "optimizer": {"name": "rmsprop", "lr": 1e-3}},
        8,
    ),
    "schedules over shares of the run": (
        {
            **POINTS,
            "fake_as_real": {"count": FALLING, "pool": 2},
            "optimizer": {
                "name": "sgd",
                "momentum": 0.5,
                "lr": {"schedule": "warmup", "value": 0.1, "over": "50%"},
            },
        },
        5,
    ),
    "many critic steps": ({**POINTS, "dynamics": {"name": "alternating", "n_critic": 3}}, 4),
    "many generator steps": ({**POINTS, "dynamics": {"name": "alternating", "n_generator": 3}}, 4),
    "simultaneous, an optimizer each, float64": (
        {
            **POINTS,
            "dynamics": "simultaneous",
            "optimizer": {"G": ADAM, "D": {"name": "tf_rmsprop", "lr": 1e-3}},
            "precision": "float64",
        },
        7,
    ),
    "bfloat16": ({**POINTS, "precision": "bfloat16", "critic": {"penalties": ["zero_centered"]}}, 7),
    "penalties every few steps": (
        {
            **POINTS,
            "critic": {"penalties": [{"name": "r1", "interval": 4}, {"name": "r2", "interval": 3}]},
            "seeds": 2,
        },
        8,
    ),
    "spectral norm and average": (
        {**DIGITS, "critic": {"normalization": "spectral_normalized"}, "ema": {"decay": 0.9}, "steps": 6},
        5,
    ),
    "gradient normalization, clipped": (
        {**POINTS, "critic": {"normalization": "gradient_normalized", "clip": 0.1}},
        7,
    ),
    "codes and their reader, an ensemble": (
        {
            **POINTS,
            "game": {"name": "infogan", "categorical": [3], "continuous": 1, "weight": [0.5, 1.0]},
            "networks": {"name": "mlp", "latent": 6, "width": 8, "depth": 2},
            "ema": {"decay": 0.9},
        },
        7,
    ),
    "the best is kept": (
        {
            **DIGITS,
            "optimizer": {**ADAM, "lr": 0.03},
            "every": {"score": 2, "checkpoint": 4},
            "keep": {"last": 1, "best": "kd_pixels8"},
        },
        7,
    ),
}


class Stopped(BaseException):
    """Ends a run between two steps, as Ctrl-C may."""


def stop_before(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    draw = batches.Draws.__call__

    def call(self: batches.Draws, number: int) -> Any:
        if number == step:
            raise Stopped
        return draw(self, number)

    monkeypatch.setattr(batches.Draws, "__call__", call)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a run folder but its lock, and its lines, which hold the time."""
    files = [p for p in folder.rglob("*") if p.is_file() and p.name not in ("events.jsonl", ".lock")]
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(files)}


def events(folder: Path) -> list[dict[str, Any]]:
    """The lines of events.jsonl without the time; every one must be whole."""
    return [{k: v for k, v in json.loads(line).items() if k != "wall_s"} for line in lines(folder)]


def lines(folder: Path) -> list[str]:
    text = (folder / "events.jsonl").read_text()
    assert text.endswith("\n")
    return text.splitlines()


def assert_same_run(found: Path, wanted: Path) -> None:
    """The same files with the same bytes: tensors, meta data, pictures, the configuration, the best."""
    a, b = contents(found), contents(wanted)
    assert a.keys() == b.keys()
    assert [name for name in a if a[name] != b[name]] == []
    assert events(found) == events(wanted)
    times = [json.loads(line)["wall_s"] for line in lines(found)]
    assert times == sorted(times), "the clock goes on, it does not start again"


def newest(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(checkpoint.checkpoints(folder / "checkpoints")[-1] / "state.safetensors")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Callable[[str], Path]:
    """`whole(name)`: the folder of the recipe's run that nobody stopped."""
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp("whole") / "run"
            assert train.start(parse(RECIPES[name][0]), made[name], Console(file=io.StringIO())) is None
        return made[name]

    return get


# ------------------------------------------------------------------------------- N steps, stop, M steps


OTHERS = {
    "codes and their reader, an ensemble",
    "the best is kept",
    "penalties every few steps",
    "beyond a block of draws",
    "digits, batch norm in G",
    "average",
    "ensemble of digits",
    "many critic steps",
    "bfloat16",
    "gradient normalization, clipped",
    "spectral norm and average",
}
"""What they add to a run's state is in that of the recipes left."""


def test_the_samples_seen_go_on_from_the_log_after_another_batch(tmp_path, quiet):
    raw = {"data": "ring8", "networks": {"name": "mlp", "width": 8, "depth": 1}, "batch": 16, "steps": 20}
    raw["optimizer"] = {"name": "adam", "lr": 0.001}
    every = {"log": 10, "score": 20, "checkpoint": 20, "diagnostics": 20}
    train.start(config.parse({**raw, "compile": False, "every": every}), tmp_path, quiet)
    train.resume(tmp_path, ["steps=40", "batch=64"], quiet)
    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert {line["step"]: line["images"] for line in lines} == {0: 0, 10: 160, 20: 320, 30: 960, 40: 1600}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in OTHERS else ()) for name in RECIPES]
)
def test_a_run_stopped_between_checkpoints_and_resumed_is_the_run_that_was_not(
    name, whole, tmp_path, quiet, monkeypatch
):
    raw, at = RECIPES[name]
    with monkeypatch.context() as patch:
        stop_before(patch, at)
        with pytest.raises(Stopped):
            train.start(parse(raw), tmp_path / "run", quiet)
    assert contents(tmp_path / "run").keys() != contents(whole(name)).keys()
    assert train.resume(tmp_path / "run", [], quiet) is None
    assert_same_run(tmp_path / "run", whole(name))


def test_a_run_stopped_before_its_first_checkpoint_starts_again(tmp_path, whole, quiet, monkeypatch):
    """There must be a way on from a folder that is not empty and holds no checkpoint."""
    name = "points, fake-as-real"
    with monkeypatch.context() as patch:
        stop_before(patch, 2)
        with pytest.raises(Stopped):
            train.start(parse(RECIPES[name][0]), tmp_path / "run", quiet)
    told = io.StringIO()
    train.resume(tmp_path / "run", [], Console(file=told))
    assert "no checkpoint found: starting at step 0 of 12" in told.getvalue()
    assert_same_run(tmp_path / "run", whole(name))


@pytest.mark.parametrize("name", ["points, fake-as-real", "digits", "ensemble of seeds and rates"])
def test_a_shorter_run_made_longer_is_the_longer_run(name, whole, tmp_path, quiet):
    """N steps to their end, then M more: nothing in these recipes is a share of the run."""
    raw, _ = RECIPES[name]
    train.start(parse({**raw, "steps": 6}), tmp_path / "run", quiet)
    train.resume(tmp_path / "run", ["steps=12"], quiet)
    assert_same_run(tmp_path / "run", whole(name))


def test_a_run_made_longer_keeps_its_schedules(tmp_path, quiet):
    """Half of a run of 6 is 3 steps: after a resume to 12 it is still 3, not 6."""
    raw = {**RECIPES["points, fake-as-real"][0], "ema": {"decay": 0.9, "start": "50%"}}
    rate = {"schedule": "linear", "start": 0.01, "stop": 0.001, "over": "50%", "begin": "50%"}
    train.start(parse({**raw, "steps": 6, "optimizer": {**ADAM, "lr": rate}}), tmp_path / "run", quiet)
    train.resume(tmp_path / "run", ["steps=12"], quiet)
    in_steps = {**raw, "ema": {"decay": 0.9, "start": 3}}
    fixed = {**in_steps, "optimizer": {**ADAM, "lr": {**rate, "over": 3, "begin": 3}}}
    train.start(parse(fixed), tmp_path / "wanted", quiet)
    assert_same_run(tmp_path / "run", tmp_path / "wanted")


def test_a_run_made_longer_does_not_train_at_rate_0_silently(tmp_path, quiet):
    """Its rate has fallen to 0 over 80 % of 6 steps: nothing would move, and the sentence has what moves it again."""
    rate = {"schedule": "linear", "start": 0.01, "stop": 0, "over": "80%"}
    raw = {**RECIPES["points, fake-as-real"][0], "steps": 6, "optimizer": {**ADAM, "lr": rate}}
    told = io.StringIO()
    train.start(parse(raw), tmp_path / "run", Console(file=told, width=200))
    assert "note: optimizer.lr is 0 from step 5" not in told.getvalue(), "of the last step alone"
    before = contents(tmp_path / "run")
    with pytest.raises(UsageError, match=r"optimizer.lr is 0 from step 6 on.* such as optimizer.lr.over=12"):
        train.resume(tmp_path / "run", ["steps=12"], quiet)
    assert contents(tmp_path / "run") == before
    train.resume(tmp_path / "run", ["steps=12", "optimizer.lr.over=12"], Console(file=told, width=200))
    found = newest(tmp_path / "run")
    assert int(found["scalars/step"]) == 12
    assert all(torch.isfinite(found[f"params/{name}"]).all() for name in "GD")
    train.resume(tmp_path / "run", ["steps=24", "optimizer.lr=0"], Console(file=told, width=200))
    assert torch.equal(newest(tmp_path / "run")["params/G"], found["params/G"]), "as it was asked to"


def test_a_schedule_that_ends_at_0_is_noted(tmp_path, quiet):
    """A rate when the run starts, and any other number when it is made longer."""
    rate = {"schedule": "linear", "start": 0.01, "stop": 0, "over": 4}
    weight = {"schedule": "cosine", "start": 1, "stop": 0, "over": 3}
    raw = {
        **RECIPES["points, fake-as-real"][0],
        "steps": 8,
        "optimizer": {"G": {**ADAM, "lr": rate}, "D": ADAM},
    }
    raw["critic"] = {"penalties": [{"name": "r1", "weight": weight}]}
    told = io.StringIO()
    train.start(parse(raw), tmp_path / "run", Console(file=told, width=200))
    assert "note: optimizer.G.lr is 0 from step 4 to the last, 8" in told.getvalue()
    assert "weight is 0" not in told.getvalue()
    train.resume(tmp_path / "run", ["steps=10"], Console(file=told, width=200))
    assert "optimizer.G.lr is 0 from step 8 to the last, 10" in told.getvalue()
    wanted = "critic.penalties.0.weight is 0 from step 8 to the last, 10: for another value, add "
    assert f"{wanted}critic.penalties.0.weight.over=10" in told.getvalue()


def test_a_run_stopped_at_every_single_step_is_the_run_that_was_not(tmp_path, whole, quiet, monkeypatch):
    """Six steps past each checkpoint at most, eleven stops: an error of one step anywhere adds up."""
    raw, _ = RECIPES["points, fake-as-real"]
    with monkeypatch.context() as patch:
        stop_before(patch, 3)
        with pytest.raises(Stopped):
            train.start(parse(raw), tmp_path / "run", quiet)
    for step in range(4, 12):
        with monkeypatch.context() as patch:
            stop_before(patch, step)
            with pytest.raises(Stopped):
                train.resume(tmp_path / "run", [], quiet)
    train.resume(tmp_path / "run", [], quiet)
    assert_same_run(tmp_path / "run", whole("points, fake-as-real"))


def test_a_complete_run_is_left_as_it_is(tmp_path, whole, quiet):
    shutil.copytree(whole("digits"), tmp_path / "run")
    before = {**contents(tmp_path / "run"), "events": (tmp_path / "run" / "events.jsonl").read_bytes()}
    assert train.resume(tmp_path / "run", [], quiet) is None
    assert {
        **contents(tmp_path / "run"),
        "events": (tmp_path / "run" / "events.jsonl").read_bytes(),
    } == before


def test_what_is_changed_at_a_resume_holds_from_there_on(tmp_path, whole, quiet):
    """And stands in config.yaml, so that the next resume goes on with it."""
    name = "points, fake-as-real"
    shutil.copytree(whole(name), tmp_path / "run")
    train.resume(tmp_path / "run", ["steps=15", "optimizer.lr=0"], quiet)
    settings = parse(config.load(tmp_path / "run" / "config.yaml"))
    assert (settings.steps, settings.optimizer.lr) == (15, 0)
    before, after = newest(whole(name)), newest(tmp_path / "run")
    assert torch.equal(before["params/G"], after["params/G"]), "at rate 0 nothing moves"
    assert int(after["scalars/step"]) == 15


def test_a_run_folder_is_itself_a_recipe(tmp_path, whole, quiet):
    settings = parse(config.load(whole("digits") / "config.yaml"))
    train.start(settings, tmp_path / "again", quiet)
    a, b = contents(tmp_path / "again"), contents(whole("digits"))
    assert a == b
    assert events(tmp_path / "again") == events(whole("digits"))


def test_a_seed_is_another_run(tmp_path, whole, quiet):
    train.start(parse({**RECIPES["digits"][0], "seed": 1}), tmp_path / "other", quiet)
    a, b = newest(tmp_path / "other"), newest(whole("digits"))
    assert not torch.isclose(a["params/G"], b["params/G"]).all()


# ----------------------------------------------------------------------------------------- what is in it


def test_what_a_run_folder_holds(whole):
    folder = whole("digits")
    settings = parse(config.load(folder / "config.yaml"))
    assert settings == parse(RECIPES["digits"][0])
    assert sorted(p.name for p in folder.iterdir()) == [
        "checkpoints",
        "config.yaml",
        "evaluation.json",
        "events.jsonl",
        "run.json",
        "samples",
    ]
    assert [p.name for p in checkpoint.checkpoints(folder / "checkpoints")] == [
        "step-00000009",
        "step-00000012",
    ]
    assert sorted(p.name for p in (folder / "samples").iterdir()) == [
        "step-00000000.png",
        "step-00000006.png",
        "step-00000012.png",
    ]
    assert [e["step"] for e in events(folder) if "loss/G" in e] == [2, 4, 6, 8, 10, 12]
    assert [e["step"] for e in events(folder) if "kd_pixels8" in e] == [0, 6, 12]
    for event in events(folder):
        assert event["images"] == event["step"] * 8
        assert all(isinstance(value, int | float) and math.isfinite(value) for value in event.values())


def test_the_images_of_a_step_are_those_that_its_rounds_read(whole):
    """n_critic 3: three batches of real images a step, none for the generator. n_generator 3: one batch."""
    assert all(event["images"] == event["step"] * 3 * 8 for event in events(whole("many critic steps")))
    assert all(event["images"] == event["step"] * 8 for event in events(whole("many generator steps")))


def test_an_ensembles_numbers_are_lists_over_its_members(whole):
    folder = whole("ensemble of seeds and rates")
    (meta,) = {(p / "meta.json").read_text() for p in checkpoint.checkpoints(folder / "checkpoints")[-1:]}
    members = json.loads(meta)["members"]
    assert len(members) == 4
    for event in events(folder):
        shared = {"step", "images"}
        assert all(len(event[key]) == 4 for key in event.keys() - shared)
        assert all(isinstance(event[key], int) for key in shared)


@pytest.mark.parametrize("index", [0, 3])
def test_a_member_of_an_ensemble_is_the_single_run_with_its_seed_and_rate(index, whole, tmp_path, quiet):
    folder = whole("ensemble of seeds and rates")
    meta = json.loads((checkpoint.checkpoints(folder / "checkpoints")[-1] / "meta.json").read_text())
    member = meta["members"][index]
    raw, _ = RECIPES["ensemble of seeds and rates"]
    alone = {**raw, "seeds": 1, "seed": member["seed"], "optimizer": {**ADAM, "lr": member["optimizer.lr"]}}
    train.start(parse(alone), tmp_path / "alone", quiet)
    one, all_ = newest(tmp_path / "alone"), newest(folder)
    for name, tensor in one.items():
        torch.testing.assert_close(all_[name][index], tensor, rtol=1e-3, atol=1e-4)
    for single, both in zip(events(tmp_path / "alone"), events(folder), strict=True):
        for key in single.keys() - {"step", "images"}:
            assert both[key][index] == pytest.approx(single[key], rel=1e-2, abs=1e-3)


def test_the_layout_in_a_checkpoint_suffices_to_read_it_without_us(whole):
    """meta.json gives names and shapes in order: cut the vector accordingly, and it is the generator."""
    folder = checkpoint.checkpoints(whole("digits") / "checkpoints")[-1]
    layout = json.loads((folder / "meta.json").read_text())["layout"]["G"]
    vector = load_file(folder / "state.safetensors")["params/G"]
    parts = vector.split([math.prod(shape) for shape in layout.values()])
    G, _ = networks.dcgan((1, 8, 8), latent=4, width=4)
    found = {name: part.view(shape) for (name, shape), part in zip(layout.items(), parts, strict=True)}
    G.load_state_dict(found)


def test_the_best_checkpoint_is_kept_and_named(whole):
    folder = whole("the best is kept") / "checkpoints"
    scores = {e["step"]: e["kd_pixels8"] for e in events(folder.parent) if "kd_pixels8" in e}
    assert len(set(scores.values())) == 7
    best = json.loads((folder / "best.json").read_text())
    step = min(scores, key=lambda step: (scores[step], step))  # lower is better; the first of equals
    assert best == {"checkpoint": f"step-{step:08d}", "score": "kd_pixels8", "value": scores[step]}
    assert {p.name for p in checkpoint.checkpoints(folder)} == {best["checkpoint"], "step-00000012"}


# ------------------------------------------------------------------------------------------------ samples


def test_samples_are_those_of_the_averaged_generator(whole, quiet):
    """Rebuilt from the checkpoint's own file with an ordinary module."""
    folder = whole("average")
    tensors = newest(folder)
    z = sampling.latents(0, "look", 50, 2, torch.float32)
    for average, name in ((True, "average/G/params"), (False, "params/G")):
        G, _ = networks.mlp((2,), latent=2, width=8, depth=2)
        vector_to_parameters(tensors[name], G.parameters())
        found, *_ = sample(folder, 50, average=average, member=0, note=print)
        torch.testing.assert_close(found, G(z).detach())
    assert not torch.allclose(tensors["average/G/params"], tensors["params/G"])


@pytest.mark.parametrize("name", ["digits", "batch norm and average"])
def test_what_is_scored_is_what_is_sampled(name, whole):
    """The average where there is one, at fixed latents: not the raw generator, not other samples each time."""
    folder = whole(name)
    scores = [event["kd_pixels8"] for event in events(folder) if "kd_pixels8" in event]
    recomputed, real = {}, as_seen(evaluation_samples(build(parse(RECIPES[name][0])).data, 1000))
    for average in (True, False):
        found, *_ = sample(folder, len(real), average=average, member=0, note=print)
        pooled = [metrics.pooled_pixels(images) for images in (found, real)]
        recomputed[average] = metrics.kernel_distance(*pooled)
    assert scores[-1] == pytest.approx(recomputed[True])
    assert (recomputed[True] == recomputed[False]) == (name == "digits"), "the average is another generator"


@pytest.mark.parametrize(
    ("score", "values", "best"),
    [
        ("modes", [3, 8, 5, 8], 2),  # higher is better, the first of equals
        ("mode_kl", [0.3, 0.1, 0.2, 0.1], 2),  # lower is better
        ("mode_kl", [math.nan, 0.3, math.nan], 2),
        ("modes", [[1, 4], [3, 3], [0, 5]], 2),  # of an ensemble the mean
    ],
    ids=str,
)
def test_the_best_is_the_highest_or_the_lowest_as_the_score_wants_it(tmp_path, score, values, best):
    with beside() as writer:
        sink = checkpoint_sink(tmp_path, lambda step: {}, writer(), last=1, best=score)
        for step, value in enumerate(values, 1):
            state = State({"G": torch.tensor([float(step)])}, {}, {}, {}, {"step": torch.tensor(step)})
            sink(Scored(step, 0.0, state, Evaluated([], {score: value, "other": 0.0})))
            sink(Snapshot(step, state))
    record = json.loads((tmp_path / "best.json").read_text())
    assert record["checkpoint"] == f"step-{best:08d}"
    assert {path.name for path in checkpoint.checkpoints(tmp_path)} == {
        record["checkpoint"],
        f"step-{len(values):08d}",
    }


def test_samples_of_a_generator_with_batch_norm_use_statistics_of_its_own_output(whole):
    """Neither the running averages of training, nor those of the batch: a sample depends on its latent alone."""
    folder = whole("batch norm and average")
    few, *_ = sample(folder, 8, average=True, member=0, note=print)
    many, *_ = sample(folder, 40, average=True, member=0, note=print)
    torch.testing.assert_close(many[:8], few, rtol=1e-4, atol=1e-5)
    tensors = newest(folder)
    G, _ = networks.dcgan((1, 8, 8), latent=4, width=4, batch_norm=True)
    vector_to_parameters(tensors["average/G/params"], G.parameters())
    norms = [m for m in G.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's own cumulative mean, over many batches of its own latents
    with torch.no_grad():
        for seed in range(30):
            G.train()(torch.randn(64, 4, generator=torch.Generator().manual_seed(seed)))
        wanted = G.eval()(sampling.latents(0, "look", 40, 4, torch.float32))
    torch.testing.assert_close(many, wanted, rtol=0, atol=0.03)


def test_each_member_of_an_ensemble_has_samples_of_its_own(whole):
    folder = whole("ensemble of digits")
    drawn = [sample(folder, 6, average=True, member=member, note=print)[0] for member in (0, 1)]
    assert drawn[0].shape == (6, 1, 8, 8)
    tensors = newest(folder)
    G, _ = networks.dcgan((1, 8, 8), latent=4, width=4)
    for member in (0, 1):
        vector_to_parameters(tensors["params/G"][member], G.parameters())
        torch.testing.assert_close(
            drawn[member], G(sampling.latents(member, "look", 6, 4, torch.float32)).detach()
        )
    with pytest.raises(UsageError, match=r"member 2 .*0 to 1"):
        sample(folder, 6, average=True, member=2, note=print)


def test_a_checkpoint_comes_after_the_picture_of_its_step_and_training_waits_for_neither(
    tmp_path, quiet, monkeypatch
):
    """A run that is resumed from the checkpoint does not draw the picture again."""
    drew, saved = [], []

    def slow(image, path):
        drew.append(threading.current_thread())
        time.sleep(0.1)
        return save_picture(image, path)

    def record(folder, state, about):
        step = int(state.scalars["step"])
        saved.append((step, {path.name for path in (folder.parent / "samples").glob("step-*")}))
        return save(folder, state, about)

    save = checkpoint.save
    monkeypatch.setattr(picture_sinks, "save", slow)
    monkeypatch.setattr(checkpoint, "save", record)
    train.start(parse(RECIPES["digits"][0]), tmp_path / "run", quiet)
    assert len(drew) == 3
    assert threading.main_thread() not in drew
    names = [f"step-{step:08d}.png" for step in (0, 6, 12)]
    assert saved == [(step, set(names[: 1 + step // 6])) for step in (3, 6, 9, 12)]


def test_pictures_are_pictures(whole):
    for name in ("digits", "points, fake-as-real", "ensemble of digits"):
        for file in (whole(name) / "samples").glob("*.png"):
            with Image.open(file) as image:
                image.load()
                assert min(image.size) >= 64
                assert len(image.convert("L").getcolors()) > 2, "something is drawn"


# ------------------------------------------------------------------------------------------------ divergence


def go(raw: dict[str, Any], folder: Path, console: Console) -> Diverged | None:
    return train.start(parse(raw), folder, console)


EXPLODING = {"name": "sgd", "lr": 1e30}


@pytest.mark.parametrize("name", ["points, fake-as-real", "digits", "batch norm and average"])
@pytest.mark.parametrize("interval", [1, 5])
def test_a_run_that_diverges_leaves_its_last_good_state(name, interval, tmp_path, quiet):
    raw = {
        **RECIPES[name][0],
        "optimizer": EXPLODING,
        "every": {"log": interval, "score": 100, "checkpoint": 100},
    }
    diverged = go(raw, tmp_path / "run", quiet)
    assert diverged is not None
    assert diverged.members == [0]
    tensors = newest(tmp_path / "run")
    assert int(tensors["scalars/step"]) == diverged.good_step < diverged.step
    assert all(t.isfinite().all() for key, t in tensors.items() if key.startswith("params"))
    assert events(tmp_path / "run")[-1] == {
        "step": diverged.step,
        "diverged": [0],
        "good_step": diverged.good_step,
        "began": diverged.began,
        "tensor": diverged.tensor,
    }
    assert diverged.good_step < diverged.began <= diverged.step
    samples, *_ = sample(tmp_path / "run", 4, average=True, member=0, note=print)
    assert len(samples) == 4


def test_a_diverged_run_can_go_on_with_other_settings(tmp_path, quiet):
    raw = {**POINTS, "optimizer": EXPLODING, "every": {"log": 5, "score": 100, "checkpoint": 100}}
    assert go(raw, tmp_path / "run", quiet) is not None
    assert train.resume(tmp_path / "run", ["optimizer.lr=1e-3"], quiet) is None
    assert not any("diverged" in event for event in events(tmp_path / "run"))
    assert int(newest(tmp_path / "run")["scalars/step"]) == 12


def test_a_run_that_diverges_while_the_best_is_kept_ends_as_diverged(tmp_path, quiet):
    """Samples that are not finite have no score; that is no reason to blame the score's name."""
    rates = {
        "G": EXPLODING,
        "D": {"name": "sgd", "lr": 1e-3},
    }  # G's parameters are finite, its samples are not
    raw = {**POINTS, "optimizer": rates, "every": {"log": 1, "score": 1}, "keep": {"best": "modes"}}
    assert go(raw, tmp_path / "run", quiet) is not None


BROKEN = {**POINTS, "optimizer": {"name": "sgd", "lr": [1e-3, 1e30]}}


def test_an_ensemble_goes_on_without_a_diverged_member(tmp_path, quiet):
    diverged = go(BROKEN, tmp_path / "run", quiet)
    assert diverged is not None
    assert diverged.members == [1]
    tensors = newest(tmp_path / "run")
    assert tensors["scalars/step"].tolist() == [12, 12]
    assert tensors["params/G"][0].isfinite().all()
    alone = {**POINTS, "optimizer": {"name": "sgd", "lr": 1e-3}}
    assert go(alone, tmp_path / "alone", quiet) is None
    torch.testing.assert_close(
        tensors["params/G"][0], newest(tmp_path / "alone")["params/G"], rtol=1e-4, atol=1e-5
    )
    last = events(tmp_path / "run")[-1]
    assert last["modes"][0] is not None
    assert last["modes"][1] is None, "a lost member has no score, and JSON has no NaN"


def test_an_ensemble_that_lost_a_member_tells_it_once_however_often_it_is_resumed(
    tmp_path, quiet, monkeypatch
):
    told = go(BROKEN, tmp_path / "whole", quiet)
    with monkeypatch.context() as patch:
        stop_before(patch, 8)
        with pytest.raises(Stopped):
            go(BROKEN, tmp_path / "run", quiet)
    assert train.resume(tmp_path / "run", [], quiet) == told
    assert events(tmp_path / "run") == events(tmp_path / "whole")


@pytest.mark.slow
def test_an_ensemble_in_blocks_is_the_one_that_trains_as_a_whole(tmp_path, quiet, monkeypatch):
    """17 members, one of which diverges, in two blocks of 9 that share a member: also when it is stopped between."""
    rates = [1e-3] * 12 + [1e30] + [2e-3] * 4
    raw = {**POINTS, "precision": "float64", "ema": {}, "optimizer": {"name": "sgd", "lr": rates}}
    diverged = go(raw, tmp_path / "whole", quiet)
    together: set[int] = set()

    def counted(step: Any, *_: Any, **__: Any) -> Any:
        return lambda state, batch: together.add(len(state.scalars["step"])) or step(state, batch)

    monkeypatch.setattr(train, "compiled", counted)
    blocked = {**raw, "compile": True}
    assert go(blocked, tmp_path / "blocks", quiet) == diverged
    assert together == {9}
    torch.testing.assert_close(
        newest(tmp_path / "blocks"), newest(tmp_path / "whole"), rtol=1e-9, atol=1e-12, equal_nan=True
    )
    with monkeypatch.context() as patch:
        stop_before(patch, 8)
        with pytest.raises(Stopped):
            go(blocked, tmp_path / "stopped", quiet)
    train.resume(tmp_path / "stopped", [], quiet)
    assert contents(tmp_path / "stopped") == contents(tmp_path / "blocks")
    assert events(tmp_path / "stopped") == events(tmp_path / "blocks")


BROKEN_LATE = {
    **BROKEN,
    "steps": 20,
    "every": {"log": 1, "score": 20, "checkpoint": 2},
    "keep": {"last": 2},
}


def test_the_last_good_state_of_a_lost_member_is_kept(tmp_path, quiet, monkeypatch):
    """Also by a run that was stopped after it: the lines say where the state is."""
    diverged = go(BROKEN_LATE, tmp_path / "whole", quiet)
    assert diverged is not None
    assert diverged.members == [1]
    with monkeypatch.context() as patch:
        stop_before(patch, 15)
        with pytest.raises(Stopped):
            go(BROKEN_LATE, tmp_path / "run", quiet)
    train.resume(tmp_path / "run", [], quiet)
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")
    assert events(tmp_path / "run") == events(tmp_path / "whole")
    kept = checkpoint.checkpoints(tmp_path / "run" / "checkpoints")
    assert [path.name for path in kept] == [checkpoint.name(step) for step in (diverged.good_step, 18, 20)]
    good = load_file(kept[0] / "state.safetensors")
    assert all(good[f"params/{name}"].isfinite().all() for name in "GD")
    notes: list[str] = []
    samples, *_ = sample(tmp_path / "run", 4, average=True, member=1, note=notes.append)
    assert samples.isfinite().all()
    assert notes == [f"member 1 has diverged: this is its last good state, of {kept[0].name}"]
    (kept[0] / "meta.json").write_text("{")
    notes.clear()
    with pytest.raises(UsageError, match=r"member 1 of .* has diverged, and no checkpoint"):
        sample(tmp_path / "run", 4, average=True, member=1, note=notes.append)
    assert [note.startswith(f"checkpoint {kept[0]} cannot be read") for note in notes] == [True]


@pytest.mark.parametrize("damage", ["no log", "a damaged line"])
def test_the_last_good_state_of_a_lost_member_is_kept_without_the_lines_that_say_where_it_is(
    damage, tmp_path, quiet
):
    diverged = go(BROKEN_LATE, tmp_path / "run", quiet)
    assert diverged is not None
    log = tmp_path / "run" / "events.jsonl"
    if damage == "no log":
        log.unlink()
    else:
        log.write_text(log.read_text().replace('"diverged"', '"diverged'))
    told = train.resume(tmp_path / "run", ["steps=24"], quiet)
    assert told is not None
    assert (told.members, told.good_step) == ([1], diverged.good_step)
    kept = checkpoint.checkpoints(tmp_path / "run" / "checkpoints")
    assert [path.name for path in kept] == [checkpoint.name(step) for step in (diverged.good_step, 22, 24)]
    samples, *_ = sample(tmp_path / "run", 4, average=True, member=1, note=print)
    assert samples.isfinite().all()


def test_the_best_of_an_ensemble_is_found_among_the_members_that_last(tmp_path, quiet):
    go({**BROKEN, "every": {"log": 1, "score": 4}, "keep": {"best": "mode_kl"}}, tmp_path / "run", quiet)
    assert (tmp_path / "run" / "checkpoints" / "best.json").exists()


# ------------------------------------------------------------------------------------------- lines and clocks


def test_a_torn_last_line_is_dropped_at_a_resume(tmp_path, whole, quiet):
    """A power cut may leave half a line; it is written again."""
    name = "points, fake-as-real"
    shutil.copytree(whole(name), tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-00000012")
    file = tmp_path / "run" / "events.jsonl"
    file.write_text(file.read_text()[:-30])
    train.resume(tmp_path / "run", [], quiet)
    assert events(tmp_path / "run") == events(whole(name))


def test_lost_lines_are_no_reason_to_stop(tmp_path, whole, quiet):
    name = "points, fake-as-real"
    shutil.copytree(whole(name), tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-00000012")
    (tmp_path / "run" / "events.jsonl").unlink()
    train.resume(tmp_path / "run", [], quiet)
    assert events(tmp_path / "run") == [event for event in events(whole(name)) if event["step"] > 9]


@pytest.mark.parametrize(
    "damage", [b"\xff\xfe\n", b"3\n", b"{}\n", b'{"step": "one"}\n', b"\0" * 100], ids=repr
)
def test_damaged_lines_are_dropped_and_the_others_kept(damage, tmp_path, whole, quiet):
    """A power cut leaves zeros or another file's blocks at the end of a file."""
    name = "points, fake-as-real"
    shutil.copytree(whole(name), tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-00000012")
    with (tmp_path / "run" / "events.jsonl").open("ab") as file:
        file.write(damage)
    train.resume(tmp_path / "run", [], quiet)
    assert events(tmp_path / "run") == events(whole(name))


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", "\0"], ids=repr)
def test_a_damaged_record_of_the_best_is_no_reason_to_stop(damage, tmp_path, whole, quiet):
    shutil.copytree(whole("the best is kept"), tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "best.json").write_text(damage)
    train.resume(tmp_path / "run", ["steps=14"], quiet)
    best = json.loads((tmp_path / "run" / "checkpoints" / "best.json").read_text())
    assert best["checkpoint"] == "step-00000014"


def test_a_damaged_newest_checkpoint_costs_only_the_steps_since_the_one_before(tmp_path, whole):
    name = "points, fake-as-real"
    shutil.copytree(whole(name), tmp_path / "run")
    file = tmp_path / "run" / "checkpoints" / "step-00000012" / "state.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    told = io.StringIO()
    train.resume(tmp_path / "run", [], Console(file=told))
    assert "step-00000012" in told.getvalue()
    assert "step-00000009 is used instead" in told.getvalue()
    assert_same_run(tmp_path / "run", whole(name))


# ----------------------------------------------------------------------------------------------- SIGKILL


def _child(settings: Config | None, folder: Path) -> None:
    torch.set_num_threads(1)
    silent = Console(file=io.StringIO())
    if settings:
        train.start(settings, folder, silent)
    else:
        train.resume(folder, [], silent)
    os._exit(0)


def last_step(folder: Path) -> int:
    try:
        whole_lines = (folder / "events.jsonl").read_text().splitlines()[-2:]
        return max((json.loads(line)["step"] for line in whole_lines if line.endswith("}")), default=0)
    except OSError:
        return 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="forks a process that holds torch")
def test_a_run_killed_at_random_moments_is_the_run_that_was_not(tmp_path, quiet):
    """Real SIGKILLs of a real recipe, each at a random step and a random moment within it."""
    from steadygan.recipes.catalogue import find_recipe

    name, raw = find_recipe("digits-fargan")
    changes = ["compile=false", "steps=40", "batch=16", "every.log=1", "every.score=20", "every.checkpoint=3"]
    settings = parse(config.override({"name": name, **raw}, changes))
    train.start(settings, tmp_path / "whole", quiet)
    chance = random.Random(time.time_ns())
    fork = multiprocessing.get_context("fork")
    kills = 0
    for target in sorted(chance.sample(range(4, 38), 3)):
        child = fork.Process(target=_child, args=(None if kills else settings, tmp_path / "run"))
        child.start()
        while last_step(tmp_path / "run") < target and child.is_alive():
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.03))
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        kills += child.exitcode == -signal.SIGKILL
    assert kills == 3
    train.resume(tmp_path / "run", [], quiet)
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_a_resumed_run_removes_what_a_killed_one_left(tmp_path, whole, quiet):
    name = "points, fake-as-real"
    shutil.copytree(whole(name), tmp_path / "run")
    (tmp_path / "run" / "samples" / ".step-00000006.png.77.partial").write_bytes(b"half")
    (tmp_path / "run" / "landscapes" / ".step-00000006.safetensors.partial").write_bytes(b"half")
    for left in (".step-00000010.partial", ".step-00000003.gone"):
        shutil.copytree(
            tmp_path / "run" / "checkpoints" / "step-00000009", tmp_path / "run" / "checkpoints" / left
        )
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-00000012")
    train.resume(tmp_path / "run", [], quiet)
    assert_same_run(tmp_path / "run", whole(name))


def test_the_lines_before_a_checkpoint_are_on_the_disk_with_it(tmp_path, quiet, monkeypatch):
    """A run that is resumed from a checkpoint does not write them again: a power loss must not take them."""
    lines, synced, save, sync = tmp_path / "run" / "events.jsonl", [], checkpoint.save, os.fsync

    def syncing(file: int) -> None:
        sync(file)
        if lines.exists() and os.path.samestat(os.fstat(file), lines.stat()):
            synced.append(lines.read_text().count("\n"))

    def saving(folder: Path, state: State, facts: dict[str, object]) -> Path:
        step = int(state.scalars["step"].flatten()[0])
        assert not step or synced[-1] >= step, "every step is a line"
        return save(folder, state, facts)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(checkpoint, "save", saving)
    go({**POINTS, "every": {**POINTS["every"], "log": 1}}, tmp_path / "run", quiet)
    assert len(synced) > 1


@pytest.mark.parametrize("out", ["new/place/run", None])
def test_a_power_loss_after_a_checkpoint_takes_the_name_of_nothing_that_it_needs(
    out, tmp_path, quiet, monkeypatch
):
    """POSIX: the name of a file or a folder is on the disk when the folder that holds it was fsynced since."""
    monkeypatch.chdir(tmp_path)
    named: dict[int, set[str]] = {}
    sync, save = os.fsync, checkpoint.save

    def syncing(file: int) -> None:
        sync(file)
        if stat.S_ISDIR(os.fstat(file).st_mode):
            named[os.fstat(file).st_ino] = set(os.listdir(file))

    def saving(folder: Path, state: State, facts: dict[str, object]) -> Path:
        path = save(folder, state, facts)
        run = folder.parent
        needed = [run / name for name in ("config.yaml", "run.json", "events.jsonl", "evaluation.json")]
        for part in (path / "state.safetensors", path / "meta.json", *(p for p in needed if p.exists())):
            while part.resolve() != tmp_path.resolve():
                known = named.get(part.parent.stat().st_ino, ())
                assert part.name in known, f"{part} is not on the disk"
                part = part.parent
        saved.append(path)
        return path

    saved: list[Path] = []
    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(checkpoint, "save", saving)
    folder = Path(out) if out else fresh_folder("ring")
    go({**POINTS, "every": {**POINTS["every"], "log": 1}}, folder, quiet)
    assert len(saved) > 1


def test_a_run_that_was_killed_after_its_last_checkpoint_keeps_no_more_than_it_should(tmp_path, quiet, whole):
    name = "points, fake-as-real"
    shutil.copytree(whole(name), tmp_path / "run")
    checkpoints = tmp_path / "run" / "checkpoints"
    older = shutil.copytree(checkpoints / "step-00000009", checkpoints / "step-00000003")
    meta = json.loads((older / "meta.json").read_text())
    (older / "meta.json").write_text(json.dumps({**meta, "step": 3}))
    (checkpoints / ".best.json.partial").write_text("{")
    train.resume(tmp_path / "run", [], quiet)
    assert_same_run(tmp_path / "run", whole(name))


@pytest.mark.parametrize(
    "theirs",
    [
        *("checkpoints/model.pt", "checkpoints/step-00000400/model.pt", ".notes.partial"),
        *("run.json", "origin.json", "own.json/notes", "mine.py/notes"),
    ],
)
def test_a_folder_of_somebody_else_is_not_trained_in(theirs, tmp_path, quiet):
    (tmp_path / theirs).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / theirs).write_text('{"my": "notes"}')
    checkpoint.save(tmp_path / "checkpoints", build(parse(POINTS)).state, {})
    with pytest.raises(UsageError, match="is not empty, and it is no run folder"):
        train.start(parse(POINTS), tmp_path, quiet)
    assert (tmp_path / theirs).read_text() == '{"my": "notes"}'


def test_checkpoints_on_another_disk_are_waited_for(tmp_path, quiet, whole):
    """A link to a disk that is not there, or to a file: the log still has all its lines."""
    folder = shutil.copytree(whole("points, fake-as-real"), tmp_path / "run")
    disk = tmp_path / "disk"
    (folder / "checkpoints").rename(disk)
    (folder / "checkpoints").symlink_to(disk)
    disk.rename(tmp_path / "away")
    for there in (False, True):
        if there:
            disk.write_text("a file")
        with pytest.raises(UsageError, match="a link to one that is not there: put it back"):
            train.resume(folder, ["steps=14"], quiet)
    (folder / "checkpoints").unlink()
    (tmp_path / "away").rename(folder / "checkpoints")
    train.resume(folder, [], quiet)
    assert_same_run(folder, whole("points, fake-as-real"))


@pytest.mark.parametrize("written", ["nothing", "half a configuration", "the first weights"])
def test_a_folder_in_which_a_run_was_killed_before_its_configuration_is_trained_in(
    written, tmp_path, quiet, whole
):
    folder = tmp_path / "run"
    folder.mkdir()
    if written == "half a configuration":
        (folder / ".config.yaml.partial").write_text("data: ri")
        (folder / "own.py").write_text("")  # perhaps the only copy of what the run was given
    if written == "the first weights":
        run = build(parse(POINTS))
        checkpoint.save(folder / "checkpoints", run.state, {})
        (folder / "checkpoints" / ".step-00000000.partial").mkdir()
        (folder / "origin.json").write_text('{"folder": "there", "step": 4, "sha256": "0f"}')
    if written != "nothing":
        with pytest.raises(UsageError, match=r"nothing to resume: train it again, with --out "):
            train.resume(folder, [], quiet)
    assert go(POINTS, folder, quiet) is None
    (folder / "own.py").unlink(missing_ok=True)
    go(POINTS, tmp_path / "peace", quiet)
    assert_same_run(folder, tmp_path / "peace")


def test_a_trained_run_without_its_configuration_is_not_to_be_removed(tmp_path, quiet, whole):
    shutil.copytree(whole("points, fake-as-real"), tmp_path / "run")
    for lost in ("config.yaml", "events.jsonl", "evaluation.json"):
        (tmp_path / "run" / lost).unlink()
    with pytest.raises(UsageError, match="choose another --out"):
        go(POINTS, tmp_path / "run", quiet)
    with pytest.raises(UsageError, match="not a run folder"):
        train.resume(tmp_path / "run", [], quiet)


def test_two_checkpoints_that_changed_places_are_refused(tmp_path, quiet, whole):
    shutil.copytree(whole("points, fake-as-real"), tmp_path / "run")
    place = tmp_path / "run" / "checkpoints"
    for old, new in (("step-00000009", "x"), ("step-00000012", "step-00000009"), ("x", "step-00000012")):
        (place / old).rename(place / new)
    with pytest.raises(UsageError, match="holds step 9"):
        train.resume(tmp_path / "run", [], quiet)


def test_a_folder_of_the_first_version_is_resumed(whole, tmp_path, quiet):
    """Its configuration has looks and every.diagnostics; it ends as one with the present keys ends."""
    ends = []
    for keys in (
        {"evaluation": "evaluation", "diagnostics": "diagnostics"},
        {"evaluation": "looks", "diagnostics": "examine"},
    ):
        folder = tmp_path / keys["evaluation"]
        shutil.copytree(whole("digits"), folder)
        raw = yaml.safe_load((folder / "config.yaml").read_text())
        raw[keys["evaluation"]] = raw.pop("evaluation")
        raw["every"][keys["diagnostics"]] = raw["every"].pop("diagnostics")
        (folder / "config.yaml").write_text(yaml.safe_dump(raw))
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", FutureWarning)
            assert train.resume(folder, ["steps=15"], quiet) is None
        ends.append(checkpoint.checkpoints(folder / "checkpoints")[-1] / "state.safetensors")
        assert bool([w for w in told if "is now" in str(w.message)]) == ("looks" in raw)
    assert ends[0].parent.name == "step-00000015"
    assert ends[0].read_bytes() == ends[1].read_bytes()


@pytest.mark.parametrize("uncompiled", [10.0, 1000.0])
def test_whether_a_step_is_compiled_is_decided_once(uncompiled, tmp_path, quiet, monkeypatch):
    """Compiling is estimated at 100 s: it pays for the long run alone, and the folder says which it was."""
    monkeypatch.setattr(train, "estimate", lambda *_: Estimate(uncompiled, 100.0))
    monkeypatch.setattr(train, "compiled", lambda step, *_, **__: step)
    raw = {**RECIPES["digits"][0], "compile": "auto", "steps": 6}
    train.start(parse(raw), tmp_path / "run", quiet)
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["compile"]["when"] is (
        uncompiled > 200
    )
    assert ("the step is not compiled: the uncompiled run takes about 10 s" in quiet.file.getvalue()) == (
        uncompiled < 200
    )
    monkeypatch.setattr(train, "estimate", None)  # it is not asked again
    assert train.resume(tmp_path / "run", ["steps=8"], quiet) is None


def scored(step, value, name="mode_kl"):
    state = State({"G": torch.tensor([float(step)])}, {}, {}, {}, {"step": torch.tensor(step)})
    return Scored(step, 0.0, state, Evaluated([], {name: value}))


def best_sink(folder):
    return checkpoint_sink(folder, lambda step: {}, lambda tree, job: job(tree), last=1, best="mode_kl")


def test_a_lost_member_does_not_better_the_score_of_an_ensemble(tmp_path):
    """The mean over two members is 0.2 before and 0.3 after one is lost; their sum would fall from 0.4 to 0.3."""
    sink = best_sink(tmp_path)
    for step, value in enumerate(([0.2, 0.2], [0.3, math.nan]), 1):
        sink(scored(step, value))
    record = json.loads((tmp_path / "best.json").read_text())
    assert record == {"checkpoint": checkpoint.name(1), "score": "mode_kl", "value": pytest.approx(0.2)}


def test_a_kill_between_the_record_of_the_best_and_its_checkpoint_loses_neither(tmp_path, monkeypatch):
    """The record is written first. With the checkpoint alone a resumed run would begin there, and not evaluate it."""
    with monkeypatch.context() as patch:
        patch.setattr(sinks, "write_whole", lambda *_: pytest.fail("killed"))
        with pytest.raises(pytest.fail.Exception):
            best_sink(tmp_path)(scored(5, 0.1))
    assert checkpoint.checkpoints(tmp_path) == []
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", lambda *_: pytest.fail("killed"))
        with pytest.raises(pytest.fail.Exception):
            best_sink(tmp_path)(scored(5, 0.1))
    assert checkpoint.checkpoints(tmp_path) == []
    best_sink(tmp_path)(scored(5, 0.1))  # the resumed run, at the same step
    assert [path.name for path in checkpoint.checkpoints(tmp_path)] == [checkpoint.name(5)]
