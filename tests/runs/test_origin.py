"""A run that starts from another's weights has exactly these, and resumes as any run does."""

import io
import json
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file

from steadygan.build import NOTHING, build
from steadygan.config import parse
from steadygan.errors import UsageError
from steadygan.runs import train
from steadygan.runs.origin import origin, started

SMALL = {
    "batch": 8,
    "compile": False,
    "steps": 4,
    "every": {"log": 2, "score": 4, "checkpoint": 2, "diagnostics": 4},
    "keep": {"last": 9},
    "optimizer": {"name": "adam", "lr": 1e-2, "betas": [0.5, 0.9]},
    "evaluation": {"images": 100},
}
POINTS = {**SMALL, "data": "ring8", "networks": {"name": "mlp", "width": 8, "depth": 2}}
DIGITS = {
    **SMALL,
    "data": "digits",
    "networks": {"name": "dcgan", "latent": 4, "width": 4, "batch_norm": True},
}
SOURCES = {
    "points": POINTS,
    "average": {**POINTS, "ema": {"decay": 0.5}},
    "three": {**POINTS, "seeds": 3},
    "digits": {**DIGITS, "ema": {"decay": 0.5}},
}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """`source(name)`: the folder of a run of `SOURCES`, trained once."""
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp("origin") / "source"
            train.start(parse(SOURCES[name]), made[name], Console(file=io.StringIO()))
        return made[name]

    return get


def begin(raw, folder: Path, where: Path, **how) -> None:
    train.start(parse(raw), folder, Console(file=io.StringIO()), source=origin(where, print, **how))


def state(folder: Path, step: int) -> dict[str, torch.Tensor]:
    return load_file(folder / "checkpoints" / f"step-{step:08d}" / "state.safetensors")


def test_weights_are_the_source_s_and_optimizers_start_afresh(source, tmp_path):
    begin({**DIGITS, "seed": 7, "ema": {"decay": 0.9}}, tmp_path / "run", source("digits"))
    was, now = state(source("digits"), 4), state(tmp_path / "run", 0)
    assert was.keys() == now.keys()
    for name in was:
        if name.startswith(("params", "buffers", "average")):
            assert torch.equal(was[name], now[name]), name
        elif name.startswith("moments"):
            assert not now[name].any(), name
    assert int(now["scalars/step"]) == 0
    assert not torch.equal(now["params/G"], state(tmp_path / "run", 4)["params/G"])


def test_the_average_is_g_itself_where_the_source_has_none(source, tmp_path):
    begin({**POINTS, "ema": {"decay": 0.9}}, tmp_path / "run", source("points"))
    now = state(tmp_path / "run", 0)
    assert torch.equal(now["average/G/params"], state(source("points"), 4)["params/G"])
    begin(POINTS, tmp_path / "raw", source("average"))
    assert torch.equal(state(tmp_path / "raw", 0)["params/G"], state(source("average"), 4)["params/G"])


def test_slow_weights_of_a_rule_start_there_too(source, tmp_path):
    begin({**POINTS, "dynamics": "lookahead"}, tmp_path / "run", source("points"))
    was, now = state(source("points"), 4), state(tmp_path / "run", 0)
    slow = [name for name in now if name.startswith("moments/G") and torch.equal(now[name], was["params/G"])]
    assert slow


@pytest.mark.parametrize("left", [[0], [0, 2]])
def test_it_resumes_bit_for_bit(left, source, tmp_path, quiet):
    """Stopped after any checkpoint, the first of which holds the source's weights."""
    raw = {**DIGITS, "ema": {"decay": 0.9}}
    begin(raw, tmp_path / "whole", source("digits"))
    shutil.copytree(tmp_path / "whole", tmp_path / "run")
    for step in {0, 2, 4} - set(left):
        shutil.rmtree(tmp_path / "run" / "checkpoints" / f"step-{step:08d}")
    assert train.resume(tmp_path / "run", [], quiet) is None
    a, b = (state(tmp_path / name, 4) for name in ("run", "whole"))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_without_its_first_weights_it_does_not_start_again(source, tmp_path, quiet):
    """From its seed it would be another run, under the same identity."""
    begin(POINTS, tmp_path / "run", source("points"))
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    with pytest.raises(UsageError, match="none of its checkpoints is left: train it again, with --from"):
        train.resume(tmp_path / "run", [], quiet)


def test_a_member_that_has_diverged_is_taken_from_its_last_good_state(tmp_path):
    broken = {**POINTS, "steps": 12, "optimizer": {"name": "sgd", "lr": [1e-3, 1e30]}}
    (lost,) = train.start(parse(broken), tmp_path / "two", Console(file=io.StringIO())).members
    notes: list[str] = []
    for member, step in [(1 - lost, 12), (lost, 0), (None, 0)]:
        found = origin(tmp_path / "two", notes.append, member=member)
        assert found.step == step
        assert all(
            t.isfinite().all() for each in found.weights for net in each.values() for t in net.values()
        )
    assert f"member {lost} has diverged in checkpoint " in notes[0]
    assert notes[-1].endswith("step-00000000 is used instead")


@pytest.mark.slow
def test_an_ensemble_gets_the_same_weights_or_member_by_member(source, tmp_path):
    begin({**POINTS, "seeds": 3, "seed": 9}, tmp_path / "one", source("points"))
    now = state(tmp_path / "one", 0)["params/D"]
    assert torch.equal(now, state(source("points"), 4)["params/D"].expand(3, -1))
    begin({**POINTS, "seeds": 3, "seed": 9}, tmp_path / "each", source("three"))
    was = state(source("three"), 4)["params/D"]
    assert torch.equal(state(tmp_path / "each", 0)["params/D"], was)
    begin(POINTS, tmp_path / "second", source("three"), member=1)
    assert torch.equal(state(tmp_path / "second", 0)["params/D"], was[1])
    with pytest.raises(UsageError, match=r"an ensemble of 3 runs and this one has 2: set seeds=3"):
        begin({**POINTS, "seeds": 2}, tmp_path / "no", source("three"))
    assert not (tmp_path / "no").exists()


def test_some_players_alone(source, tmp_path):
    """Reg-GAN's encoder is no player of the source."""
    raw = {**POINTS, "game": "reg_gan", "seed": 3}
    with pytest.raises(UsageError, match=r"source has no player E: choose --from-players G,D"):
        begin(raw, tmp_path / "run", source("points"))
    begin(raw, tmp_path / "run", source("points"), players=["G", "D"])
    train.start(parse(raw), tmp_path / "fresh", Console(file=io.StringIO()))
    was, now = state(source("points"), 4), state(tmp_path / "run", 0)
    assert torch.equal(now["params/G"], was["params/G"])
    begin({**POINTS, "seed": 3}, tmp_path / "D", source("points"), players=["D"])
    now = state(tmp_path / "D", 0)
    assert torch.equal(now["params/D"], was["params/D"])
    assert not torch.equal(now["params/G"], was["params/G"])
    with pytest.raises(UsageError, match="this run has no player Q"):
        begin(POINTS, tmp_path / "no", source("points"), players=["Q"])


def test_noise_on_hidden_layers_may_be_added(source, tmp_path):
    begin({**POINTS, "noise": {"D": 0.1}}, tmp_path / "run", source("points"))
    assert torch.equal(state(tmp_path / "run", 0)["params/D"], state(source("points"), 4)["params/D"])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"networks": {"name": "dcgan", "latent": 4, "width": 8, "batch_norm": True}},
            r"G's 0.weight is \[64, 4\] there and \[128, 4\] here: give this run the game and networks of ",
        ),
        (
            {"critic": {"normalization": "spectral_normalized"}},
            r"its D has no 0.parametrizations.weight.original: give this run the game and networks",
        ),
        (
            {"data": {"name": "stacked_digits"}},
            r"trained on images 1x8x8, and these are 3x8x8, so give images of 1x8x8$",
        ),
        (
            {"data": {"name": "images", "path": "FOLDER", "size": 16}},
            r"images 1x8x8, and these are 3x16x16, so give images of 1x8x8 \(data.size=8 resizes those of a folder\)$",
        ),
    ],
)
def test_what_does_not_fit_is_named(changes, sentence, source, tmp_path):
    (tmp_path / "images").mkdir()
    for number in range(9):
        Image.effect_noise((16, 16), 90).convert("RGB").save(tmp_path / "images" / f"{number}.png")
    if changes.get("data", {}).get("path"):
        changes = {"data": {**changes["data"], "path": str(tmp_path / "images")}}
    with pytest.raises(UsageError, match=sentence):
        begin({**DIGITS, **changes}, tmp_path / "run", source("digits"))
    assert not (tmp_path / "run").exists()


def test_the_first_layers_of_the_critic_stay(source, tmp_path, command):
    """FreezeD: two of three linear layers of D keep their weights and biases; the others and G move."""
    begin({**POINTS, "freeze": {"D": 2}}, tmp_path / "run", source("points"))
    was, start, end = state(source("points"), 4), state(tmp_path / "run", 0), state(tmp_path / "run", 4)
    sizes = [2 * 8 + 8, 8 * 8 + 8, 8 + 1]
    assert torch.equal(start["params/D"], was["params/D"][-sizes[-1] :])
    fixed = [name for name in end if name.startswith("buffers/D")]
    assert sum(end[name].numel() for name in fixed) == sum(sizes[:2])
    held = torch.cat([end[f"buffers/D/{i}.{part}"].flatten() for i in (1, 3) for part in ("weight", "bias")])
    assert torch.equal(held, was["params/D"][: sum(sizes[:2])])
    assert not torch.equal(end["params/D"], start["params/D"])
    assert not torch.equal(end["params/G"], start["params/G"])


def test_a_run_records_where_it_began(source, tmp_path, command):
    done = command(
        "train",
        source("points") / "config.yaml",
        "seed=4",
        "--from",
        source("points"),
        "--out",
        tmp_path / "run",
    )
    assert (done.code, done.err) == (0, "")
    meta = json.loads((source("points") / "checkpoints" / "step-00000004" / "meta.json").read_text())
    found = json.loads((tmp_path / "run" / "origin.json").read_text())
    assert found == {
        "folder": str(source("points").resolve()),
        "step": 4,
        "sha256": meta["sha256"],
        "players": "all",
    }
    assert command("report", tmp_path / "run", "--out", tmp_path / "page.html").code == 0
    assert f"at step 4 ({meta['sha256'][:12]})" in (tmp_path / "page.html").read_text()


def test_mistakes_on_the_command_line_are_one_sentence(source, tmp_path, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words, sentence in [
        (["--from", "nowhere"], "nowhere is not a run folder"),
        (["--from", source("points"), "--from-players", ""], "has no player"),
        (["--from-players", "G"], "--from-players and --from-member belong to --from DIR"),
        (["--from", source("points"), "--from-member", "1"], "--from-member 1 does not exist"),
        (["freeze.D=4"], "freeze.D=4 leaves nothing of D to train, which has 4 layers: choose at most 3"),
        (["freeze.E=1"], "freeze.E: known are D, G"),
    ]:
        done = command("train", "ring8-0gp", "steps=1", *words)
        assert done.code == 2, words
        assert sentence in done.err
        assert len(done.err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_averages_go_member_by_member_and_with_g_alone(tmp_path):
    raw = {**POINTS, "seeds": 2, "ema": {"decay": 0.5}}
    train.start(parse(raw), tmp_path / "two", Console(file=io.StringIO()))
    was = state(tmp_path / "two", 4)
    assert not torch.equal(was["average/G/params"][0], was["average/G/params"][1])

    def first(how=(), **changes):
        source = origin(tmp_path / "two", print, **dict(how))
        return started(source, partial(build, parse({**raw, "seed": 9, **changes}), NOTHING)).state

    each, second = first(), first({"member": 1}.items(), seeds=1)
    assert torch.equal(each.average["G"]["params"], was["average/G/params"])
    assert torch.equal(second.average["G"]["params"], was["average/G/params"][1])
    fresh = first({"players": ["D"]}.items())  # G is new, and so is its average
    assert torch.equal(fresh.params["D"], was["params/D"])
    assert torch.equal(fresh.average["G"]["params"], fresh.params["G"])
