"""Which run a checkpoint belongs to: of another run none is taken, and of its own run each is."""

import io
import json
import shutil
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

import small
from steadygan import config, load
from steadygan.build import build
from steadygan.config import Config, parse
from steadygan.errors import UsageError
from steadygan.recipes.catalogue import find_recipe, recipe_names
from steadygan.runs import train
from steadygan.runs.folder import ownership, restore, runs_in
from steadygan.runs.identity import (
    MEANS,
    Run,
    check_own,
    continued,
    fit_settings,
    known_runs,
    runs_of,
    to_json,
)
from steadygan.runs.origin import origin
from steadygan.runs.own_code import OwnFile, keep
from steadygan.training import checkpoint

RING: dict[str, Any] = {**small.RING, "keep": {"last": 9}}
LR = {"optimizer": {"name": "sgd", "lr": 0.02}}
SEED = {"seed": 1}
QUIET = Console(quiet=True)


def plain(settings: Config) -> dict[str, Any]:
    return config.in_steps(settings).model_dump(mode="json")


RAW, RAW_LR = plain(parse(RING)), plain(parse({**RING, **LR}))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Runs of the same shapes: `a`, one of another seed, one of another rate, and `a` resumed from step 2 with it."""
    place = tmp_path_factory.mktemp("made")
    for name, change in {"a": {}, "seed": SEED, "rate": LR}.items():
        train.start(parse({**RING, **change}), place / name, QUIET)
    shutil.copytree(place / "a", place / "resumed")
    for step in (4, 6):
        shutil.rmtree(newest(place / "resumed").with_name(checkpoint.name(step)))
    train.resume(place / "resumed", ["optimizer.lr=0.02"], QUIET)
    return place


def newest(run: Path) -> Path:
    return checkpoint.checkpoints(run / "checkpoints")[-1]


def replaced(run: Path, other: Path, step: int = 6) -> None:
    """Put another run's checkpoint in the place of a run's own."""
    name = Path("checkpoints", checkpoint.name(step))
    shutil.rmtree(run / name, ignore_errors=True)
    shutil.copytree(other / name, run / name)


def parameters(run: Path) -> bytes:
    return (newest(run) / "state.safetensors").read_bytes()


# ------------------------------------------------------------------------------------------------ what a run is


def test_a_resume_with_other_settings_is_another_run_from_its_step_on():
    first = continued((), RAW, None, 0)
    second = continued(first, RAW_LR, None, 4)
    assert [run.start for run in second] == [0, 4]
    assert second[0] == first[0]
    assert fit_settings(second, RAW_LR, None)
    assert not fit_settings(second, RAW, None)
    assert continued(second, RAW_LR, None, 6) == second
    assert continued(second, RAW_LR, None, 4) == second  # killed before its first checkpoint
    assert continued(second, RAW, None, 4) == first  # and resumed with the settings as they were
    assert [run.start for run in continued(second, RAW_LR, None, 2)] == [0, 2]  # newer ones were damaged
    assert [run.start for run in continued(second, RAW, None, 6)] == [0, 4, 6]


def test_two_runs_have_the_same_hash_only_where_their_steps_are_the_same():
    first = continued((), RAW, None, 0)
    hashes = {
        continued((), RAW, None, 0)[-1].sha256,
        continued((), RAW, 64 * "0", 0)[-1].sha256,  # other first weights
        continued((), RAW_LR, None, 0)[-1].sha256,
        continued(first, RAW_LR, None, 2)[-1].sha256,
        continued(first, RAW_LR, None, 4)[-1].sha256,
    }
    assert len(hashes) == 5
    longer = plain(parse({**RING, "steps": 99, "keep": {"last": 1}, "device": "cpu"}))
    assert continued((), longer, None, 0) == first


@pytest.mark.parametrize(
    ("sha256", "step", "own"),
    [("a", 0, True), ("a", 4, True), ("a", 5, False), ("b", 3, False), ("b", 4, True), ("b", 9, True), ("c", 4, False)],
)  # fmt: skip
def test_a_checkpoint_is_of_the_run_that_its_folder_was_at_its_step(sha256, step, own):
    """Of the run a up to step 4, and of b from there. The state at step 4 is the same in both."""
    runs, said = (Run("a", 0), Run("b", 4)), {"run": sha256, "step": step}
    if own:
        return check_own(Path("x"), said, runs)
    with pytest.raises(UsageError, match="checkpoint x belongs to another run: remove it"):
        check_own(Path("x"), said, runs)


def test_what_a_folder_says_of_its_runs_is_read_back_and_nothing_else():
    runs = (Run(64 * "a", 0), Run(64 * "b", 4), Run(64 * "c", 6))
    assert runs_of(json.loads(json.dumps(to_json(runs)))) == runs
    assert runs_of(to_json(runs[:1])) == runs_of({"run": 64 * "a"}) == runs[:1]  # as older versions wrote it
    for wrong in (
        {"run": 5},
        {"run": "a"},
        {"run": 64 * "a", "before": 4},
        {"run": 64 * "a", "before": [{"run": 64 * "b"}]},
        {"run": 64 * "a", "before": [{"run": "b", "until": 4}]},
    ):
        assert runs_of(wrong) == ()


@pytest.mark.slow
@pytest.mark.parametrize("name", recipe_names()[::5])
def test_config_yaml_has_the_settings_of_the_run(name):
    """What says which run it is where run.json is lost."""
    settings = parse(find_recipe(name)[1])
    read = parse(yaml.safe_load(config.dump(config.in_steps(settings))))
    assert fit_settings(continued((), plain(settings), None, 0), plain(read), None)


# -------------------------------------------------------------------------------- what is of another run is not taken


def test_a_configuration_of_another_seed_is_noted(made, tmp_path, command):
    """Samples are then drawn with that seed, and a score card says it."""
    run = shutil.copytree(made / "a", tmp_path / "a")
    assert "was saved with" not in command("sample", run).err
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("\nseed: 0\n", "\nseed: 7\n"))
    done = command("sample", run)
    assert done.code == 0
    assert (
        f"{newest(run)} was saved with seed 0, and the settings have seed 7: the latter is used" in done.err
    )


@pytest.mark.parametrize("told", ["run.json", "config.yaml"])
@pytest.mark.parametrize("other", ["seed", "rate", "resumed"])
def test_a_checkpoint_of_another_run_is_passed_over(other, told, made, tmp_path):
    run = shutil.copytree(made / "a", tmp_path / "run")
    replaced(run, made / other)
    if told == "config.yaml":
        (run / "run.json").unlink()
    with pytest.warns(UserWarning, match=r"step-00000006 belongs to another run.* step-00000004 is used"):
        load(run)
    notes: list[str] = []
    assert origin(run, notes.append).step == 4
    assert "belongs to another run" in notes[0]
    words = io.StringIO()
    train.resume(run, [], Console(file=words, width=500))
    assert "belongs to another run" in words.getvalue()
    assert parameters(run) == parameters(made / "a")
    assert known_runs(run) == known_runs(made / "a")  # a resume writes it again


@pytest.mark.parametrize("told", ["run.json", "config.yaml"])
def test_a_resumed_run_does_not_take_what_its_former_settings_made_later(told, made, tmp_path):
    run = shutil.copytree(made / "resumed", tmp_path / "run")
    replaced(run, made / "a")
    if told == "config.yaml":
        (run / "run.json").unlink()
    with pytest.warns(UserWarning, match="belongs to another run"):
        load(run)


@pytest.mark.parametrize("other", ["seed", "rate", "resumed"])
def test_a_folder_with_nothing_but_foreign_checkpoints_is_refused(other, made, tmp_path, command):
    run = shutil.copytree(made / "a", tmp_path / "run")
    shutil.rmtree(run / "checkpoints")
    shutil.copytree(made / other / "checkpoints", run / "checkpoints")
    for step in (2, 4):
        shutil.rmtree(run / "checkpoints" / checkpoint.name(step), ignore_errors=True)
    (run / "run.json").unlink()
    for words in (
        ("sample", run),
        ("evaluate", run),
        ("resume", run),
        ("spectrum", run),
        ("train", "ring8-fargan", "--from", run),
    ):
        done = command(*words)
        assert done.code == 2
        assert "has other settings than config.yaml, or began otherwise" in done.err
        assert "put this run's run.json back" in done.err


def test_a_checkpoint_that_says_its_run_does_not_belong_to_a_folder_that_never_did(made, tmp_path):
    run = unmarked(shutil.copytree(made / "a", tmp_path / "run"))
    replaced(run, made / "rate")
    with pytest.warns(UserWarning, match="has other settings than config.yaml"):
        load(run)


# ------------------------------------------------------------------------------------------- what is its own is taken


def unmarked(run: Path) -> Path:
    """As versions left it that did not say which run a checkpoint is of."""
    (run / "run.json").unlink()
    for path in checkpoint.checkpoints(run / "checkpoints"):
        meta = json.loads((path / "meta.json").read_text())
        del meta["run"]
        (path / "meta.json").write_text(json.dumps(meta))
    return run


def assert_own(run: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(run)
    for path in checkpoint.checkpoints(run / "checkpoints"):
        checkpoint.meta(path, ownership(run))


@pytest.mark.parametrize("lost", [[], ["run.json"]], ids=["", "run.json"])
@pytest.mark.parametrize("name", ["a", "resumed"])
def test_a_run_that_is_copied_or_renamed_keeps_its_checkpoints(name, lost, made, tmp_path):
    run = shutil.copytree(made / name, tmp_path / "run")
    for each in lost:
        (run / each).unlink()
    assert_own(run)
    assert_own(run.rename(tmp_path / "elsewhere"))


def test_a_resume_with_other_settings_keeps_the_checkpoints_before_it(tmp_path):
    run = tmp_path / "run"
    train.start(parse(RING), run, QUIET)
    for changes in (["steps=8"], ["steps=10", "optimizer.lr=0.02"], ["steps=12", "seed=3"], ["steps=14"]):
        train.resume(run, changes, QUIET)
        assert_own(run)
    assert [run.start for run in known_runs(run)] == [0, 8, 10]
    assert len(checkpoint.checkpoints(run / "checkpoints")) == 7
    before = runs_in(run)
    (run / "run.json").unlink()
    assert runs_in(run) == before
    assert_own(run)
    train.resume(run, ["steps=16"], QUIET)
    assert known_runs(run) == before


@pytest.mark.slow
def test_a_run_that_began_otherwise_is_another_and_is_itself_without_run_json(made, tmp_path):
    train.start(parse({**RING, "seeds": 2}), tmp_path / "two", QUIET)
    ways: dict[str, dict[str, Any]] = {"seed": {}}
    for players in (None, ["G"], ["D"]):
        ways[f"weights of {players}"] = {"source": origin(made / "seed", print, players=players)}
    for member in (0, 1):
        ways[f"member {member}"] = {"source": origin(tmp_path / "two", print, member=member)}
    for text in (b"one", b"two"):
        ways[str(text)] = {"keep_own": partial(keep, file=OwnFile("mine.py", text, {}))}
    for name, way in ways.items():
        train.start(parse(RING), tmp_path / name, QUIET, **way)
    assert len({known_runs(tmp_path / name) for name in ways}) == len(ways)
    for name in ways:
        (tmp_path / name / "run.json").unlink()
        checkpoint.meta(newest(tmp_path / name), ownership(tmp_path / name))


def test_a_run_that_started_from_anothers_weights_is_itself_without_run_json(made, tmp_path):
    run = tmp_path / "run"
    train.start(parse(RING), run, QUIET, source=origin(made / "seed", print))
    (run / "run.json").unlink()
    assert_own(run)
    train.resume(run, ["steps=8"], QUIET)
    assert_own(run)


def test_a_folder_that_does_not_say_which_run_it_is_is_resumed(made, tmp_path):
    run = unmarked(shutil.copytree(made / "a", tmp_path / "run"))
    train.resume(run, ["steps=8", "optimizer.lr=0.02"], QUIET)
    assert newest(run).name == "step-00000008"
    assert_own(run)
    assert not (run / "run.json").exists()


@pytest.mark.parametrize(
    "key",
    [
        "ema",
        "precision",
        "freeze",
        "noise",
        "batch",
        "accumulate",
        "seed",
        "seeds",
        "dynamics",
        "augment",
        "networks",
        "critic",
        "game",
        "data",
        "fake_as_real",
        "sweep",
    ],
)
def test_whatever_moves_a_step_makes_another_run(key):
    """One key at a time, as `config.yaml` has it. The others say how long a run is, what it keeps and where it runs."""
    first = continued((), RAW, None, 0)
    assert continued((), {**RAW, key: {"name": "another"}}, None, 0) != first
    assert set(RAW) - set(MEANS) >= {"steps", "every", "keep", "device", "threads"}


def test_a_swept_value_that_is_changed_at_a_resume_holds(tmp_path):
    """A checkpoint has those of before."""
    before, after = (
        build(parse({"name": "it", **RING, "optimizer": {"name": "sgd", "lr": [0.01, lr]}}))
        for lr in (0.02, 0.5)
    )
    checkpoint.save(tmp_path / "checkpoints", before.state, {})
    found = restore(tmp_path, after, print)
    assert found.scalars["optimizer.lr"].tolist() == pytest.approx([0.01, 0.5])
