"""The command line: exit codes, one sentence for each mistake, and nothing written or lost by one."""

import errno
import io
import json
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
import yaml
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file

from small import RING
from steadygan import config, schedules
from steadygan.cli import analysis, app
from steadygan.commands import dry_run
from steadygan.config import registry
from steadygan.recipes import catalogue
from steadygan.runs import train
from steadygan.training import checkpoint
from steadygan.training.checkpoint import checkpoints
from steadygan.training.compile import compiled_step


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """An empty folder to work in, with a recipe `ring.yaml` in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STEADYGAN_DATA", raising=False)
    (tmp_path / "ring.yaml").write_text(yaml.safe_dump(RING))
    return tmp_path


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    train.start(config.parse(RING), folder, Console(file=io.StringIO()))
    return folder


@pytest.fixture
def folder(place, trained) -> Path:
    """A run folder of one's own, named `run` where the command is."""
    shutil.copytree(trained, place / "run")
    return Path("run")


def tree(at: Path) -> dict[str, bytes | None]:
    return {str(p.relative_to(at)): p.read_bytes() if p.is_file() else None for p in sorted(at.rglob("*"))}


def without_clock(at: Path) -> dict[str, object]:
    """Every file of a run folder, the seconds in its events left out."""
    files: dict[str, object] = dict(tree(at))
    events = [json.loads(line) for line in (at / "events.jsonl").read_text().splitlines()]
    files["events.jsonl"] = [
        {key: kept for key, kept in event.items() if key != "wall_s"} for event in events
    ]
    return files


def newest(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(checkpoints(folder / "checkpoints")[-1] / "state.safetensors")


def assert_one_sentence(err: str) -> None:
    assert len(err.splitlines()) == 1, err
    assert err.startswith("error: ")
    assert "Traceback" not in err


# ---------------------------------------------------------------------------------- train, resume, sample


def test_a_recipe_is_trained_resumed_and_sampled(place, command):
    done = command("train", "ring.yaml", "every.score=3", "--out", "a/b")
    assert (done.code, done.err) == (0, "")
    assert "a/b" in done.out
    assert re.search(r"picture: a/b/samples/step-00000006\.png", done.out)
    assert Path("a/b/samples/step-00000006.png").is_file()
    done = command("resume", "a/b", "steps=9")
    assert (done.code, done.err) == (0, "")
    assert int(newest(Path("a/b"))["scalars/step"]) == 9
    done = command("sample", "a/b", "-n", "9")
    assert (done.code, done.err) == (0, "")
    assert Image.open("a/b/samples.png").size[0] > 100
    done = command("sample", "a/b", "-n", "1", "--out", "new/one.png")
    assert done.code == 0
    assert Path("new/one.png").is_file()
    assert "new/one.png" in done.out


def test_runs_without_a_folder_get_one_each(place, command):
    for name in ("ring", "ring-2", "ring-3"):
        assert command("train", "ring.yaml", "steps=1").code == 0
        assert (place / "runs" / name / "config.yaml").is_file()
    assert command("train", "ring.yaml", "steps=1", "name=other").code == 0
    assert (place / "runs" / "other").is_dir()


def test_overrides_alone_change_the_default_recipe(place, command, monkeypatch):
    seen = []
    monkeypatch.setattr(train, "start", lambda settings, folder, *_: seen.append((settings, folder)))
    assert command("train", "steps=7", "compile=false").code == 0
    assert command("train").code == 0
    (first, folder), (second, _) = seen
    assert (first.name, first.steps, first.compile.when) == (app.DEFAULT, 7, False)
    assert folder == Path("runs") / app.DEFAULT
    assert second == config.parse({"name": app.DEFAULT, **config.load(catalogue.recipe_files()[app.DEFAULT])})


def test_seeds_make_an_ensemble(place, command):
    assert command("train", "ring.yaml", "--seeds", "3", "--out", "out").code == 0
    assert len(newest(Path("out"))["params/G"]) == 3
    assert config.parse(config.load(Path("out/config.yaml"))).seeds == 3


def test_training_a_run_folder_runs_it_again_to_the_same_bits(folder, command):
    assert command("train", "run", "--out", "again").code == 0
    assert without_clock(folder) == without_clock(Path("again"))


def test_a_run_folder_with_changes_is_another_run(folder, command):
    assert command("train", "run", "steps=3", "--out", "again").code == 0
    assert int(newest(Path("again"))["scalars/step"]) == 3


def test_samples_of_images_are_a_grid_of_them(place, command):
    raw = {
        **RING,
        "data": "digits",
        "networks": {"name": "dcgan", "latent": 4, "width": 4},
        "ema": {"decay": 0.5},
    }
    Path("digits.yaml").write_text(yaml.safe_dump(raw))
    assert command("train", "digits.yaml", "optimizer.lr=0.05", "--out", "out").code == 0
    for out, words in {"average.png": [], "raw.png": ["--raw"], "one.png": ["-n", "1"]}.items():
        assert command("sample", "out", "--out", out, *words).code == 0
    average, raw_picture, one = (np.array(Image.open(name)) for name in ("average.png", "raw.png", "one.png"))
    assert average.shape == raw_picture.shape
    assert (average != raw_picture).any(), "--raw is not the average"
    assert one.shape[2] == 3
    cell = len(average) // 8
    for row in range(8):
        for column in range(8):
            tile = average[
                row * cell + 20 : (row + 1) * cell - 20, column * cell + 20 : (column + 1) * cell - 20
            ]
            assert tile.std() > 0, "each of the 64 is there"


def test_a_complete_run_says_so(folder, command):
    before = tree(folder)
    done = command("resume", folder)
    assert (done.code, done.err) == (0, "")
    assert "complete" in done.out
    assert tree(folder) == before


def test_the_data_folder_reaches_data_sets_that_take_one_and_no_others(place, command, monkeypatch):
    seen = []
    monkeypatch.setattr(train, "start", lambda settings, *_: seen.append(settings.data))
    assert command("train", "ring.yaml", "--data-root", "/data").code == 0
    assert command("train", "ring.yaml", "data=cifar10", "--data-root", "/data").code == 0
    assert (
        command("train", "ring.yaml", "data={name: cifar10, root: /mine}", "--data-root", "/data").code == 0
    )
    assert not hasattr(seen[0], "root")
    assert [data.root for data in seen[1:]] == ["/data", "/data"], "the flag is the nearer to the user"


# ---------------------------------------------------------------------------------------- what is refused

REFUSED = {
    "unknown recipe": (["train", "digits-fragan"], ["digits-fragan", "did you mean 'digits-fargan'"]),
    "no such file": (["train", "none.yaml"], ["none.yaml"]),
    "folder that holds no run": (["train", "."], ["config.yaml"]),
    "unknown key": (["train", "ring.yaml", "optimiser.lr=1"], ["optimiser", "did you mean 'optimizer'"]),
    "unknown name": (["train", "ring.yaml", "game.loss=hinje"], ["game.loss", "did you mean 'hinge'"]),
    "negative batch": (["train", "ring.yaml", "batch=-1"], ["batch", "-1"]),
    "steps not a number": (["train", "ring.yaml", "steps=abc"], ["steps", "abc"]),
    "no steps": (["train", "ring.yaml", "steps=0"], ["steps", "0"]),
    "an override without a value": (["train", "ring.yaml", "steps"], ["steps"]),
    "an override that is no YAML": (["train", "ring.yaml", "steps=["], ["steps=["]),
    "an override that breaks YAML": (["train", "ring.yaml", "steps=2024-99-99"], ["steps"]),
    "no seeds": (["train", "ring.yaml", "--seeds", "0"], ["seeds"]),
    "N0 > N": (["train", "ring.yaml", "fake_as_real.count=9"], ["fake_as_real.count", "9", "8"]),
    "N0 > N at the end of a schedule": (
        ["train", "ring.yaml", "fake_as_real.count={schedule: linear, start: 0, stop: 9}"],
        ["fake_as_real.count", "9"],
    ),
    "less data than a batch": (["train", "ring.yaml", "data.size=7"], ["7", "8"]),
    "networks that do not fit the data": (["train", "ring.yaml", "networks=dcgan"], ["networks", "mlp"]),
    "an optimizer for one of two players": (
        ["train", "ring.yaml", "optimizer={G: {name: sgd, lr: 1}}"],
        ["optimizer"],
    ),
    "a seed too large": (
        ["train", "ring.yaml", "data={name: ring8, size: 20, seed: 99999999999999999999}"],
        ["seed"],
    ),
    "unknown device": (["train", "ring.yaml", "device=banana"], ["device", "banana"]),
    "unknown score": (
        ["train", "ring.yaml", "keep.best=moods"],
        ["keep.best", "moods", "did you mean 'modes'"],
    ),
    "data that are not there": (["train", "ring.yaml", "data={name: images, path: nowhere}"], ["nowhere"]),
    "data folder that is not there": (
        ["train", "ring.yaml", "data=cifar10", "--data-root", "nowhere"],
        ["nowhere"],
    ),
    "below a file": (["train", "ring.yaml", "--out", "ring.yaml/run"], ["ring.yaml/run", "--out"]),
    "in place of a file": (["train", "ring.yaml", "--out", "ring.yaml"], ["ring.yaml", "--out"]),
    "where nothing can be written": (["train", "ring.yaml", "--out", "/proc/run"], ["/proc/run", "--out"]),
    "a name too long": (["train", "ring.yaml", "--out", "x" * 300], ["x" * 300]),
    "into a folder that holds a run": (["train", "ring.yaml", "--out", "run"], ["run", "resume", "--out"]),
    "into the folder where one is": (["train", "ring.yaml", "--out", "."], ["--out"]),
    "resume nothing": (["resume", "nowhere"], ["nowhere", "config.yaml"]),
    "resume a file": (["resume", "ring.yaml"], ["ring.yaml", "config.yaml"]),
    "resume with a mistake": (["resume", "run", "steps=abc"], ["steps", "abc"]),
    "resume with other networks": (
        ["resume", "run", "steps=9", "networks.width=9"],
        ["another configuration"],
    ),
    "resume with other optimizers": (
        ["resume", "run", "steps=9", "optimizer.momentum=0.5"],
        ["another configuration"],
    ),
    "resume with more seeds": (["resume", "run", "steps=9", "seeds=2"], ["another configuration"]),
    "sample nothing": (["sample", "nowhere"], ["nowhere", "config.yaml"]),
    "sample a member that is not": (["sample", "run", "--member", "1"], ["member 1"]),
    "sample a negative member": (["sample", "run", "--member", "-1"], ["member -1"]),
    "sample to another kind of picture": (["sample", "run", "--out", "a.jpg"], ["a.jpg", "png"]),
    "sample below a file": (["sample", "run", "--out", "ring.yaml/a.png"], ["ring.yaml"]),
    "an unknown list": (["list", "loses"], ["loses", "did you mean 'losses'"]),
    "an unknown word": (["list", "recipes", "cifr10"], ["no recipe", "cifr10", "did you mean 'cifar10'"]),
    "words that nothing has": (["list", "recipes", "digits", "biggan"], ["'digits' and 'biggan' together"]),
    "a word of another list": (["list", "penalties", "hinge"], ["penalties", "'hinge'"]),
    "an unknown key": (["list", "config", "fake_as_real.cuont"], ["did you mean 'fake_as_real.count'"]),
    "a key like no other": (["list", "config", "qqq.zzz"], ["'qqq.zzz'", "steadygan list config"]),
    "an unknown recipe": (["train", "ring8-dragn"], ["did you mean 'ring8-dragan'"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_mistake_is_one_sentence_and_writes_nothing(name, folder, place, command):
    words, told = REFUSED[name]
    before = tree(place)
    done = command(*words)
    assert done.code == 2
    assert_one_sentence(done.err)
    for word in told:
        assert word in done.err
    assert tree(place) == before


DAMAGE = {
    "empty": "",
    "binary": bytes(range(256)),
    "cut in a line": yaml.safe_dump(RING)[:47],
    "cut between lines": "".join(yaml.safe_dump(RING).splitlines(keepends=True)[:3]),
    "a list": "- 3\n- 4\n",
    "a word": "hello",
    "a date that is none": "steps: 2024-99-99\n",
    "a tab": "steps:\t3\n\tbatch: 3\n",
    "a key too many": yaml.safe_dump({**RING, "stpes": 3}),
    "a loop": "steps: &a [*a]\n",
}


@pytest.mark.parametrize("words", [["resume"], ["sample"], ["train"]], ids=lambda words: words[0])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_configuration_is_refused(damage, words, folder, place, command):
    content = DAMAGE[damage]
    (folder / "config.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    before = tree(place)
    done = command(*words, folder)
    assert done.code == 2
    assert_one_sentence(done.err)
    assert tree(place) == before


@pytest.mark.parametrize(
    "words", [["resume", "run", "steps=9"], ["sample", "run"]], ids=lambda words: words[0]
)
@pytest.mark.parametrize("state", ["truncated", "without meta data", "of other networks"])
def test_a_run_without_a_usable_checkpoint_is_refused(state, words, folder, place, command):
    for path in checkpoints(folder / "checkpoints"):
        file = path / "state.safetensors"
        if state == "truncated":
            file.write_bytes(file.read_bytes()[:-1])
        elif state == "without meta data":
            (path / "meta.json").unlink()
    if state == "of other networks":
        changed = config.override(config.load(folder / "config.yaml"), ["networks.depth=3"])
        (folder / "config.yaml").write_text(yaml.safe_dump(changed))
    before = tree(place)
    done = command(*words)
    assert done.code == 2
    assert_one_sentence(done.err)
    assert "checkpoint" in done.err
    assert tree(place) == before


@pytest.mark.parametrize("lost", ["checkpoints/step-*", "checkpoints"])
def test_a_run_without_any_checkpoint_goes_on_from_its_first_step(lost, folder, trained, command):
    """As one that was killed before it wrote any."""
    for path in folder.glob(lost):
        shutil.rmtree(path)
    done = command("resume", folder)
    assert (done.code, done.err) == (0, "")
    assert "step 0" in done.out
    assert without_clock(folder) == without_clock(trained)


def test_of_two_checkpoints_the_damaged_one_is_told_and_the_other_used(folder, command):
    file = checkpoints(folder / "checkpoints")[-1] / "state.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    done = command("sample", folder)
    assert done.code == 0
    assert "step-00000006" in done.err
    assert "step-00000004" in done.err


def test_a_stop_by_the_keyboard_says_how_to_go_on(place, command, monkeypatch):
    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "start", stop)
    done = command("train", "ring.yaml")
    assert done.code not in (0, 1), "neither done nor diverged"
    assert "steadygan resume" in done.err


def test_a_compiled_step_that_differs_is_told_in_a_sentence(place, command, monkeypatch):
    def wrong(*args, **kwargs):
        raise compiled_step.CompiledStepDiffers("the compiled step differs: run with compile=false")

    monkeypatch.setattr(train, "compiled", wrong)
    done = command("train", "ring.yaml", "compile=true")
    assert done.code not in (0, 1), "it is no divergence"
    assert_one_sentence(done.err)
    assert "compile=false" in done.err


def test_square_brackets_in_a_name_are_not_markup(place, command):
    done = command("train", "ring.yaml", "--out", "[red]run")
    assert done.code == 0
    assert "[red]run" in done.out
    assert "[red]run" in command("resume", "[red]run").out
    assert "[red]run" in command("train", "ring.yaml", "--out", "[red]run").err


# ---------------------------------------------------------------------------------------------- divergence


def test_a_run_that_diverges_exits_with_a_verdict(place, command):
    done = command("train", "ring.yaml", "optimizer.lr=1e30", "--out", "out")
    assert done.code == 1
    assert len(done.err.splitlines()) == 1
    assert re.match(
        r"diverged: the run became NaN or infinite between steps \d+ and \d+, first loss/[DG] at step \d+\. ",
        done.err,
    )
    assert "out/checkpoints" in done.err
    tensors = newest(Path("out"))
    assert all(tensors[f"params/{player}"].isfinite().all() for player in "GD")
    assert command("sample", "out").code == 0


def test_the_verdict_on_an_ensemble_names_the_member(place, command):
    done = command("train", "ring.yaml", "optimizer.lr=[1e-3, 1e30]", "--out", "out")
    assert re.search(r"\bmember 1\b", done.err), done.err
    assert "the run became" not in done.err
    assert newest(Path("out"))["params/G"][0].isfinite().all()


@pytest.mark.slow
def test_the_verdict_on_an_ensemble_names_every_member_that_was_lost(place, command):
    """They go at different times: the second verdict must not hide the first."""
    rates = "optimizer.lr=[1e-3, 1e30, 1e5]"
    done = command("train", "ring.yaml", rates, "steps=40", "every.log=1", "--out", "out")
    lost = [
        e["diverged"]
        for e in map(json.loads, Path("out/events.jsonl").read_text().splitlines())
        if "diverged" in e
    ]
    assert len(lost) == 2, "the rates are chosen so"
    assert all(re.search(rf"\b{member}\b", done.err.partition("between")[0]) for (member,) in lost), done.err


# ----------------------------------------------------------------------------------------------- full disk


def test_a_picture_that_cannot_be_written_is_no_reason_to_resume(place, command):
    assert command("train", "ring.yaml", "--out", "out").code == 0
    Path("file").touch()
    done = command("sample", "out", "--out", "file/x.png")
    assert done.code == 2
    assert_one_sentence(done.err)
    assert "file" in done.err
    assert "resume" not in done.err


def test_help_shows_how_lists_are_written(command):
    assert "Keys with [a, b, ...], log(a, b)" in " ".join(command("sweep", "--help").out.split())


def test_a_full_disk_is_told_in_a_sentence_and_the_run_can_go_on(place, command, monkeypatch):
    assert command("train", "ring.yaml", "--out", "whole").code == 0
    save, count = checkpoint.save_file, iter(range(99))

    def full(tensors, file):
        if next(count) == 2:
            Path(file).write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))
        save(tensors, file)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full)
        done = command("train", "ring.yaml", "--out", "out")
    assert done.code == 2
    assert_one_sentence(done.err)
    assert "No space left" in done.err
    assert "resume" in done.err
    assert [p.name for p in Path("out/checkpoints").iterdir() if p.name.startswith(".")] == []
    assert len(checkpoints(Path("out/checkpoints"))) == 2
    assert command("resume", "out").code == 0
    assert without_clock(Path("out")) == without_clock(Path("whole"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs limits on the size of files")
def test_a_disk_that_is_really_full_loses_nothing(place, command):
    """The system refuses to write a file beyond a limit: a whole command, with its exit code."""
    wide = ("train", "ring.yaml", "networks.width=64")
    assert command(*wide, "--out", "run").code == 0
    before = tree(Path("run"))
    limit = (checkpoints(Path("run/checkpoints"))[-1] / "state.safetensors").stat().st_size - 1

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = subprocess.run(
        [sys.executable, "-m", "steadygan", "resume", "run", "steps=9", "every.score=100"],
        preexec_fn=limited,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    assert_one_sentence(done.stderr)
    assert "resume" in done.stderr
    after = tree(Path("run"))
    assert {name for name in before if before[name] != after.get(name)} <= {"config.yaml", "events.jsonl"}
    assert [name for name in after if "partial" in name] == []
    assert command("resume", "run", "steps=9", "every.score=6").code == 0
    assert command(*wide, "steps=9", "--out", "whole").code == 0
    a, b = newest(Path("run")), newest(Path("whole"))
    assert all(torch.equal(a[name], b[name]) for name in b)


# -------------------------------------------------------------------------------------- dry runs and lists


def millions(out: str) -> float:
    return float(re.search(r"# a step: ([\d,.]+) MFLOP", out)[1].replace(",", ""))


def test_a_dry_run_writes_nothing_and_prints_what_would_run(place, command):
    before = tree(place)
    done = command("train", "ring.yaml", "--dry-run", "batch=4")
    assert (done.code, done.err) == (0, "")
    assert tree(place) == before
    text = "\n".join(line for line in done.out.splitlines() if not line.startswith("#"))
    shown = config.parse(yaml.safe_load(text))
    assert shown == config.parse({"name": "ring", **RING, "batch": 4})


def test_a_dry_run_counts_parameters_and_operations_of_the_papers_synthetic_networks(place, command):
    """FARGAN's Tables 3 and 4: 8,642 and 8,577. Operations: two for each product of a layer, three passes.

    A pass of B samples through G is 2 B 8,448 operations, through D 2 B 8,384. The D step makes fakes (forward
    only) and takes logits of 2 B samples: forward, gradient of the weights, and of the inputs but for the first
    layer's 2 x 64. The G step goes forward through both, back through D to its input, and through G likewise.
    """
    done = command("train", "ring.yaml", "--dry-run", "networks={name: mlp}", "batch=64", "critic={}")
    assert "G 8,642" in done.out
    assert "D 8,577" in done.out
    G, D, first = 2 * 64 + 2 * 64 * 64 + 64 * 2, 2 * 64 + 2 * 64 * 64 + 64, 2 * 64
    d_step = G + 2 * (D + D + D - first)
    g_step = G + D + D + G + (G - first)
    assert millions(done.out) == pytest.approx(2 * 64 * (d_step + g_step) / 1e6, abs=0.06)


def test_a_dry_run_of_fake_as_real_counts_its_candidates(place, command):
    """f N0 more samples go through G and D, forward only: 2 f N0 (8,448 + 8,384) operations more."""
    words = ("train", "ring.yaml", "--dry-run", "networks={name: mlp}", "batch=64", "critic={}")
    without = millions(command(*words).out)
    with_ = millions(command(*words, "fake_as_real={count: 16, pool: 8}").out)
    assert with_ - without == pytest.approx(2 * 128 * (8448 + 8384) / 1e6, abs=0.11)


def test_a_dry_run_counts_the_papers_dcgan(place, command, monkeypatch):
    """FARGAN's Tables 5 and 6 with kernels of 4: 1,187,011 and 662,977 parameters."""
    monkeypatch.setenv("STEADYGAN_CACHE", str(place / "cache"))
    (place / "images").mkdir()
    for index in range(3):
        Image.new("RGB", (32, 32), (index, 0, 0)).save(place / "images" / f"{index}.png")
    done = command(
        "train", "ring.yaml", "--dry-run", "data={name: images, path: images}", "networks=dcgan", "batch=2"
    )
    assert done.code == 0
    assert "G 1,187,011" in done.out
    assert "D 662,977" in done.out


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(("name", "bound"), [("LARGEST", 0), ("memory", lambda: 0)], ids=["FLOPs", "memory"])
def test_a_dry_run_does_not_try_a_step_that_is_too_large(name, bound, precision, place, command, monkeypatch):
    """A step of the largest recipes takes an hour and more memory than most machines have."""
    words = ("train", "ring.yaml", "--dry-run", "fake_as_real={count: 4, pool: 8}", f"precision={precision}")
    tried = command(*words).out
    monkeypatch.setattr(dry_run, name, bound)
    monkeypatch.setattr(dry_run, "_timed", None)
    monkeypatch.setattr(dry_run, "product_speed", lambda: 1e9)
    counted = command(*words)
    assert counted.code == 0
    steps = config.parse({"name": "ring", **RING}).steps
    seconds = millions(counted.out) * 1e6 * steps / 1e9
    assert re.search(rf"# expected time: {seconds:.0f} s at least: \d\.\de\+\d\d FLOP in all", counted.out)
    assert millions(counted.out) == millions(tried)


def test_a_slow_step_is_taken_once(place, command, monkeypatch):
    taken = []
    monkeypatch.setattr(dry_run, "_timed", lambda *_: taken.append(1) or 3600.0)
    assert (
        "# expected time: 4.0 h uncompiled (3,600,000.0 ms a step)"
        in command("train", "ring.yaml", "--dry-run", "steps=4", "compile=false").out
    )
    assert len(taken) == 1


def test_a_dry_run_takes_a_step_whose_networks_need_numbers(place, command):
    """A network that asks for a number cannot be counted on paper. Its FLOPs are those of a linear layer each."""
    (place / "mine.py").write_text(
        "import torch\n"
        "class Asks(torch.nn.Sequential):\n"
        "    def forward(self, x):\n"
        "        return super().forward(x) * (2.0 if float(x.detach().sum()) > 1e9 else 1.0)\n"
        "def networks(shape, latent=2):\n"
        "    return Asks(torch.nn.Linear(2, 2)), Asks(torch.nn.Linear(2, 1))\n"
    )
    words = ("batch=50000", "critic={}", "networks.latent=2")
    done = command("train", "ring.yaml", "--dry-run", "--use", "mine.py", *words)
    assert done.code == 0, done.err
    assert "# parameters: D 3, G 6" in done.out
    one = 2 * 50_000 * 2  # of a product [B, 2] [2, 1]
    d_step = 2 * one + 2 * one + 2 * one  # fakes, logits of both, the weights' gradients
    g_step = 2 * one + one + one + 2 * one  # fakes, logits, back to the fakes, the weights' gradient
    assert millions(done.out) == pytest.approx((d_step + g_step) / 1e6, abs=0.051)
    done = command("train", "ring.yaml", "--dry-run", "--processes", "2", "--use", "mine.py", *words)
    assert done.code == 2
    assert_one_sentence(done.err)
    assert "leave out --processes" in done.err


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (["--processes", "2"], "--dry-run"),
        (["--dry-run", "--bandwidth", "5"], "--processes N"),
        (["--dry-run", "--speed", "5"], "--processes N"),
        (["--dry-run", "--processes", "0"], "--processes"),
        (["--dry-run", "--processes", "2", "--bandwidth", "0"], "--bandwidth must be a positive number"),
        (["--dry-run", "--processes", "2", "--speed", "nan"], "--speed must be a positive number"),
    ],
)
def test_processes_on_paper_that_make_no_sense_are_told_in_a_sentence(words, remedy, place, command):
    before = tree(place)
    done = command("train", "ring.yaml", *words)
    assert done.code == 2
    assert_one_sentence(done.err)
    assert remedy in done.err
    assert tree(place) == before


def test_a_dry_run_tells_a_mistake_as_a_run_does(place, command):
    done = command("train", "ring.yaml", "--dry-run", "fake_as_real.count=9")
    assert done.code == 2
    assert_one_sentence(done.err)


@pytest.mark.parametrize(
    "words",
    [
        "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory",
        "CUDA out of memory. Tried 2 GiB",
    ],
    ids=["processor", "graphics card"],
)
def test_a_run_that_does_not_fit_is_told_in_a_sentence(words, place, command, monkeypatch):
    def full(*_):
        raise RuntimeError(words)

    monkeypatch.setattr(dry_run, "dry_run", full)
    done = command("train", "ring.yaml", "--dry-run")
    assert done.code == 2
    assert_one_sentence(done.err)
    assert "too large for this machine" in done.err


def test_an_error_of_memory_without_words_is_a_sentence_too(place, command, monkeypatch):
    def full(*_):
        raise MemoryError

    monkeypatch.setattr(dry_run, "dry_run", full)
    done = command("train", "ring.yaml", "--dry-run")
    assert done.code == 2
    assert "too large for this machine (out of memory)" in done.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("seeds=1000000000", "less than or equal to 65536"),
        ("seeds=65536 networks.width=4000", "65,536 members need 5"),
        ("data.std=1e39", "data ring8 has points that are too large for float32"),
        ("data.scale=1e39", "data ring8 has points that are too large for float32"),
    ],
)
def test_numbers_that_no_machine_has_are_refused_before_a_folder_is_made(words, told, command, place):
    done = command("train", "ring8-fargan", "steps=1", "compile=false", "--out", "huge", *words.split())
    assert done.code == 2
    assert_one_sentence(done.err)
    assert told in done.err
    assert not Path("huge").exists()


@pytest.mark.parametrize("name", ["RANK", "WORLD_SIZE", "LOCAL_RANK"])
def test_a_malformed_variable_of_torchrun_is_named(name, command, monkeypatch):
    for each in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.setenv(each, "abc" if each == name else "1")
    done = command("list", "losses")
    assert done.code == 2
    assert_one_sentence(done.err)
    assert f"variable {name} of the environment takes a whole number" in done.err


def test_other_launchers_variables_are_none_of_torchrun(command, monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setenv("LOCAL_RANK", "-1")
    monkeypatch.setenv("RANK", "captain")
    assert command("list", "losses").code == 0


LISTS = {
    "losses": registry.LOSSES,
    "penalties": registry.PENALTIES,
    "optimizers": registry.OPTIMIZERS,
    "networks": registry.NETWORKS,
    "data": registry.DATA,
    "games": registry.GAMES,
    "dynamics": registry.DYNAMICS,
    "schedules": schedules.SCHEDULES,
}


@pytest.mark.parametrize("what", LISTS)
def test_a_list_has_every_name(what, place, command):
    done = command("list", what)
    assert (done.code, done.err) == (0, "")
    head, *rows = done.out.splitlines()
    assert head.split() == [what, "meaning", "and", "options"]
    assert max(map(len, rows)) <= 100
    names = [row.split()[0] for row in rows if not row.startswith(" ")]
    assert names == list(LISTS[what])
    first = min(LISTS[what], key=len)
    assert first in {row.split()[0] for row in command("list", what, first).out.splitlines()[1:]}


def test_recipes_are_what_is_listed_when_nothing_is_named(place, command, monkeypatch):
    monkeypatch.setenv("STEADYGAN_CACHE", str(place / "cache"))
    out = command("list").out
    assert out == command("list", "recipes").out
    assert len(out.splitlines()) > len(catalogue.recipe_names())


def test_the_list_of_keys_has_every_key_in_100_columns(place, command):
    done = command("list", "config")
    assert (done.code, done.err) == (0, "")
    shown = {line.split(" ")[0] for line in done.out.splitlines()}
    assert {"seed", "critic.clip.bound", "every.diagnostics", "networks", "scale"} <= shown
    wide = [
        key
        for key in ("game", "networks", "data", "critic")
        for line in command("list", "config", key).out.splitlines()
        if len(line) > 100 and "example:" not in line
    ]
    assert wide == []
    assert max(map(len, done.out.splitlines())) <= 100


def test_a_part_of_the_configuration_is_shown_whole(place, command):
    out = command("list", "config", "critic.penalties").out
    for name, part in registry.PENALTIES.items():
        assert re.search(rf"^{name} ", out, re.M)
        assert all(re.search(rf"^  {key} ", out, re.M) for key in part.options)
    assert re.search(r'^example: steadygan train \S+ "critic.penalties=\[r1\]"$', out, re.M)
    one = command("list", "config", "fake_as_real.count", "ema.decay").out.split("\n\n")
    assert [part.splitlines()[0] for part in one] == ["fake_as_real.count", "ema.decay"]
    assert "type: number >= 0, schedule or list; default: 0" in one[0]
    assert '"fake_as_real.count=8"' in one[0]


def test_a_list_of_recipes_needs_no_torch(place):
    """`steadygan list` answers in a second, its measurement of the processor included."""
    code = (
        "import sys; sys.argv = ['steadygan', 'list', 'recipes', 'ring8-fargan']\n"
        "try:\n    from steadygan.cli import main; main()\n"
        "finally:\n    print('torch' in sys.modules)"
    )
    environment = {**os.environ, "STEADYGAN_CACHE": str(place / "cache")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout.splitlines()[-1] == "False", done.stderr
    assert "ring8-fargan " in done.stdout
    assert list((place / "cache").iterdir()) == [place / "cache" / "product-speed.json"]


def test_a_name_that_is_an_override_trains_with_a_note(place, command):
    """The very configuration that its recipe has with the override, under the old name."""
    done = command("train", "ring8-r2", "--dry-run", "compile=false")
    assert done.code == 0
    instead = "ring8-0gp 'critic.penalties=[{name: r2, weight: 0.1}]'"
    assert done.err == f"note: ring8-r2 stands for an override of another recipe: {instead}\n"
    whole = command("train", *shlex.split(instead), "--dry-run", "compile=false")
    assert whole.err == ""
    assert done.out.replace("ring8-r2", "ring8-0gp").splitlines()[:-1] == whole.out.splitlines()[:-1]


COMMANDS = {
    f"{group} {name}".strip(): command
    for group, table in {
        "": typer.main.get_command(app.app).commands,
        "data": typer.main.get_command(app.data).commands,
        "probe": typer.main.get_command(analysis.probe).commands,
    }.items()
    for name, command in table.items()
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_has_a_help_text(name):
    """A command's first sentence fits one line of `steadygan --help` at 100 columns; an option's says its default."""
    command = COMMANDS[name]
    first = command.help.split("\n\n")[0]
    assert first.endswith(".")
    assert len(first) <= 84
    for option in command.params:
        assert option.help.endswith("."), option.name
        assert option.help[0].isupper(), option.name


def test_help_needs_no_torch():
    """`steadygan --help` answers at once: the heavy imports wait."""
    code = (
        "import sys; sys.argv = ['steadygan', '--help']\n"
        "try:\n    from steadygan.cli import main; main()\n"
        "finally:\n    print('torch' in sys.modules, 'pydantic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False False", done.stderr
    assert "train" in done.stdout


def test_an_empty_name_is_no_default_and_a_full_folder_is_found_before_any_work(place, command):
    told = command("train", "", "steps=1")
    assert (told.code, "the recipe's name is empty" in told.err) == (2, True)
    Path("full").mkdir()
    Path("full/file").touch()
    told = command("train", "ring.yaml", "--out", "full", "compile=auto")
    assert told.code == 2
    assert "not compiled" not in told.out


def test_a_command_for_one_process_is_refused_under_torchrun(command, folder, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    before = tree(folder)
    found = command("report", folder)
    assert found.code == 2
    assert_one_sentence(found.err)
    assert "steadygan report is for one process" in found.err
    assert tree(folder) == before


def test_bandwidth_and_speed_are_in_billions_and_million_millions():
    assert app._processes(True, 2, None, 346.0) == dry_run.Processes(2, 1e10, 3.46e14)
    assert app._processes(True, 2, 450.0, None) == dry_run.Processes(2, 4.5e11, None)
