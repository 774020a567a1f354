"""`steadygan runs`: what it says of a run, and that it removes what was selected and nothing else."""

import io
import json
import os
import shutil
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from small import RING
from steadygan import config
from steadygan.commands import runs
from steadygan.diagnostics import Verdict
from steadygan.errors import UsageError
from steadygan.runs import overview, train
from steadygan.runs.folder import _checkpoint, check_free, locked, read_config


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    train.start(config.parse({"name": "ring", **RING}), folder, Console(file=io.StringIO()))
    return folder


@pytest.fixture
def run(tmp_path, monkeypatch, trained) -> Path:
    """The folder of a finished run, runs/a."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, "runs/a")
    return Path("runs/a")


def tree(at: Path) -> dict[str, bytes | None]:
    return {str(p.relative_to(at)): p.read_bytes() if p.is_file() else None for p in sorted(at.rglob("*"))}


def change(folder: Path, **keys: object) -> None:
    raw = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump({**raw, **keys}))


def add_line(folder: Path, **line: object) -> None:
    with (folder / "events.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


def state(folder: Path) -> str:
    return overview.overview(folder).state


def test_a_finished_run_in_one_line(run):
    found = overview.overview(run)
    assert (found.recipe, found.step, found.steps, found.state) == ("ring", 6, 6, "finished")
    lines = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    assert found.score == f"modes {max(line['modes'] for line in lines if 'modes' in line):.4g}"
    assert found.bytes == sum(path.stat().st_size for path in run.rglob("*") if path.is_file())
    assert (found.others, found.note) == ([], "")
    assert found.verdict in overview.VERDICTS


def test_the_states_of_a_run(run):
    with locked(run):
        assert state(run) == "running"
    change(run, steps=9)
    assert state(run) == "stopped"
    add_line(run, step=6, stopped="loss/D is below 1")
    assert state(run) == "finished"  # by its own rule
    add_line(run, step=7, **{"loss/D": 1.0})
    assert state(run) == "stopped"  # it was resumed since
    add_line(run, step=7, diverged=[0], good_step=6, began=None, tensor=None)
    assert (state(run), overview.overview(run).verdict) == ("failed", "diverged")


def test_an_ensemble_has_failed_when_all_members_are_lost(run):
    (run / "events.jsonl").write_text("")
    add_line(run, step=2, **{"loss/D": [1.0, 2.0]})
    add_line(run, step=4, diverged=[1], good_step=2, began=None, tensor=None)
    assert state(run) == "finished"
    assert "1 diverged" in overview.overview(run).verdict
    add_line(run, step=6, diverged=[0], good_step=4, began=None, tensor=None)
    assert state(run) == "failed"


def test_a_run_that_a_verdict_in_stop_on_ended_has_failed_until_it_is_resumed(run, monkeypatch):
    """A verdict alone ends nothing: a run that was interrupted at its first sign can be resumed."""
    monkeypatch.setattr(overview, "diagnose", lambda history: [Verdict("frozen", 0, ("",), "")])
    change(run, steps=9, stop_on=["frozen"])
    assert (state(run), overview.overview(run).verdict) == ("stopped", "frozen")
    add_line(run, step=6, stopped="frozen", ill=[0])
    assert state(run) == "failed"
    add_line(run, step=7, **{"loss/D": 1.0})
    assert state(run) == "stopped"


def test_an_error_of_what_runs_in_a_locked_folder_is_not_taken_for_another_process(run):
    """A fork that the system refuses raises what a lock that is taken raises."""
    with pytest.raises(BlockingIOError, match="no more"), locked(run):
        raise BlockingIOError("no more processes")
    with locked(run), pytest.raises(UsageError, match="another process is training"), locked(run):
        pass


def test_runs_are_found_at_most_three_folders_deep(tmp_path, run):
    for name in ("1", "1/2", "1/2/3", "1/2/3/4"):
        shutil.copytree(run, tmp_path / "deep" / name / "run")
    found = [path.parent.name for path in overview.run_folders(tmp_path / "deep")]
    assert found == ["2", "1"]


def test_only_some_of_a_folders_other_files_are_named():
    assert runs._named("abcde") == "a, b, c, d, e"
    assert runs._named("abcdefg") == "a, b, c, d, e and 2 more"


def test_a_step_without_a_checkpoint_is_answered_with_those_that_have_one(run):
    with pytest.raises(UsageError, match="has no checkpoint of step 7: choose one of 4, 6"):
        _checkpoint(run, 7)


def test_a_file_is_no_folder_for_a_run(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file: choose another --out"):
        check_free(tmp_path / "file")


def test_an_interval_of_0_of_an_older_run_is_each_step(run):
    raw = yaml.safe_load((run / "config.yaml").read_text())
    raw["every"] |= {"log": 0, "diagnostics": 0}
    (run / "config.yaml").write_text(yaml.safe_dump(raw))
    assert state(run) == "finished"
    every = config.parse(read_config(run)).every
    assert (every.log, every.diagnostics) == (1, 1)


def test_a_log_without_a_slash_is_no_score(run):
    (run / "events.jsonl").write_text("")
    add_line(run, step=2, convergence=0.5)
    assert overview.overview(run).score == ""


def test_the_best_score_is_the_kept_one_else_the_best_of_the_first(run):
    add_line(run, step=6, modes=0)
    lines = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    assert overview.overview(run).score == f"modes {max(li['modes'] for li in lines if 'modes' in li):.4g}"
    best = {"checkpoint": "step-00000004", "score": "kd_pixels8", "value": 0.125}
    (run / "checkpoints" / "best.json").write_text(json.dumps(best))
    assert overview.overview(run).score == "kd_pixels8 0.125"


@pytest.mark.parametrize(
    "harm",
    [
        lambda run: (run / "config.yaml").write_text("steps: [}"),
        lambda run: (run / "config.yaml").write_text("steps: no\ndata: ring8\n"),
        lambda run: (run / "config.yaml").write_bytes(b"\xff\xfe"),
        lambda run: (run / "config.yaml").unlink(),
    ],
)
def test_a_damaged_run_is_a_line_with_a_note(run, command, harm):
    harm(run)
    done = command("runs")
    assert (done.code, done.err) == (0, "")
    line = done.out.splitlines()[1]
    assert line.startswith("runs/a ")
    assert " damaged " in line
    assert "config.yaml" in line


@pytest.mark.parametrize("name", ["events.jsonl", "run.json", "checkpoints/best.json", "own.json"])
def test_other_damaged_files_cost_what_they_say_alone(run, command, name):
    (run / name).write_bytes(b'{"step": 1e99, \xff' * 9)
    done = command("runs", "runs")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[1].startswith("runs/a ")


def test_a_run_that_has_not_begun_is_stopped(run, command):
    shutil.rmtree("runs/a")
    Path("runs/b").mkdir()
    Path("runs/b/run.json").write_text(json.dumps({"run": 64 * "a"}))
    assert " stopped " in command("runs").out


@pytest.fixture
def others(run) -> dict[str, bytes | None]:
    """Folders of other programs beside the runs."""
    hydra, notes = Path("runs/hydra"), Path("runs/notes")
    (hydra / "checkpoints" / "step-00000010").mkdir(parents=True)
    (hydra / "config.yaml").write_text("steps: 9\nlr: 0.1\n")
    (hydra / "checkpoints" / "step-00000010" / "meta.json").write_text('{"step": 10}')
    for name in ("project/checkpoints", "thesis"):
        Path("runs", name).mkdir(parents=True)
    Path("runs/project/train.py").write_text("mine")
    Path("runs/thesis/run.json").write_text('{"run": "foreign"}')
    notes.mkdir()
    (notes / "run.txt").write_text("mine")
    return {name: kept for name, kept in tree(Path("runs")).items() if name.split("/")[0] != "a"}


def test_folders_that_are_no_runs_are_not_listed_and_not_removed(run, others, command):
    assert len(command("runs").out.splitlines()) == 2
    assert command("runs", "runs/hydra", "--clean", "--yes").code == 2
    assert command("runs", "--state", "finished", "--state", "damaged", "--clean", "--yes").code == 0
    assert tree(Path("runs")) == others


def test_removal_needs_a_selection_and_a_yes(run, command, monkeypatch):
    before = tree(Path())
    for words in (["--clean"], ["--clean", "--yes"], ["runs", "--clean", "--yes"], ["--yes"]):
        assert command("runs", *words).code == 2
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    done = command("runs", "runs/a", "--clean")
    assert (done.code, "nothing was removed" in done.err) == (2, True)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert command("runs", "runs/a", "--clean").code == 2
    assert tree(Path()) == before
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    (run / "G.onnx").write_text("kept by hand")
    (run / ".half.partial").write_text("left by a kill")
    done = command("runs", "runs/a", "--clean")
    assert done.code == 0
    assert "to remove: runs/a" in done.out
    assert "G.onnx stays" in done.out
    assert [path.name for path in run.iterdir()] == ["G.onnx"]


def test_a_state_that_no_run_has_is_an_answer_and_no_mistake(run, command):
    """So a nightly clean-up of failed runs ends with exit code 0 on a night without one."""
    done = command("runs", "--state", "failed", "--clean", "--yes")
    assert (done.code, done.out.strip()) == (0, "no run in runs is failed")
    assert run.exists()
    assert command("runs", "elsewhere", "--state", "failed").code == 2  # no run at all: a wrong folder


def test_what_lies_in_a_run_folder_stays_also_another_run(run, command):
    """`runs .` from within, and a run that is named twice."""
    shutil.copytree(run, run / "inner")
    os.chdir(run)
    done = command("runs", ".", str(Path.cwd()), "--clean", "--yes")
    os.chdir("../..")
    assert (done.code, done.out.count("to remove"), "removed 1 of 1 run" in done.out) == (0, 1, True)
    assert [path.name for path in run.iterdir()] == ["inner"]
    assert overview.overview(run / "inner").state == "finished"
    os.chdir(run / "inner")
    assert command("runs", ".", "--clean", "--yes").code == 0
    os.chdir("../../..")
    assert not (run / "inner").exists()


def test_a_damaged_run_with_lines_after_its_checkpoint_can_be_removed(run, command):
    add_line(run, step=9, stopped=1)
    (run / "config.yaml").write_text("steps: no\n")
    assert command("runs", "runs/a", "--clean", "--yes").code == 0
    assert not run.exists()


def test_names_are_printed_on_one_line(run, command):
    run.rename("runs/a\nb\x1b")
    assert "runs/a\\nb\\x1b " in command("runs").out


def test_a_run_that_trains_is_never_removed(run, command):
    before = tree(Path())
    with locked(run):
        assert command("runs", "runs/a", "--clean", "--yes").code == 2
        assert command("runs", "--state", "running", "--clean", "--yes").code == 2
        finished = overview.overview(run)._replace(state="finished")
        with pytest.raises(ValueError, match="another process is training"):
            overview.remove(finished)
    assert tree(Path()) == before


def test_a_run_that_went_on_after_it_was_listed_stays(run):
    listed = overview.overview(run)
    add_line(run, step=9, **{"loss/D": 1.0})
    with pytest.raises(ValueError, match="has changed meanwhile"):
        overview.remove(listed)
    assert run.is_dir()


def test_a_link_is_listed_and_left(run, command, tmp_path):
    os.symlink(run.resolve(), "runs/link")
    os.symlink(tmp_path, "runs/loop")
    done = command("runs", "runs/link", "--clean", "--yes")
    assert "is a link, and was left" in done.out
    assert done.code == 2  # nothing was removed
    assert "removed none of 1 run" in done.err
    assert run.is_dir()
    assert len(command("runs").out.splitlines()) == 3


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_removal_that_is_killed_leaves_a_run_that_can_be_removed(run, monkeypatch, after):
    listed, rmtree = overview.overview(run), shutil.rmtree
    left = [True] * after

    def killed(path):
        if not left:
            raise KeyboardInterrupt
        left.pop()
        rmtree(path)

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            overview.remove(listed)
    assert list(overview.run_folders(Path("runs"))) == [run]
    overview.remove(overview.overview(run))
    assert not run.exists()


def test_a_removal_of_some_succeeds(run, command):
    os.symlink(run.resolve(), "runs/link")
    shutil.copytree(run, "runs/b")
    done = command("runs", "runs/link", "runs/b", "--clean", "--yes")
    assert (done.code, done.err, "removed 1 of 2 runs" in done.out) == (0, "", True)
