"""`steadygan sweep`: one program or whole runs, their table and page, what ends one run only, and how it goes on."""

import csv
import json
import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file

from small import RING
from steadygan.commands import sweep as module
from steadygan.commands.sweep import resume_sweep, sweep
from steadygan.errors import DataNote, UsageError
from steadygan.game import batches
from steadygan.runs import train
from steadygan.training import checkpoint

RAW = {**RING, "threads": 1, "every": {"log": 1, "score": 3, "checkpoint": 2}}


@pytest.fixture(autouse=True)
def _without_ray(monkeypatch):
    """Runs go one after the other, whether Ray is installed or not."""
    monkeypatch.setattr(module, "_ray_is_here", lambda: False)


def events(folder):
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def newest(folder):
    return load_file(checkpoint.checkpoints(folder / "checkpoints")[-1] / "state.safetensors")


def assert_same_states(found, wanted):
    assert found.keys() == wanted.keys()
    assert [name for name in found if not torch.equal(found[name], wanted[name])] == []


@pytest.fixture
def ring(tmp_path):
    """The file of a recipe."""
    file = tmp_path / "ring.yaml"
    file.write_text(yaml.safe_dump(RAW))
    return file


@pytest.mark.slow
def test_whole_runs_are_ordinary_runs_in_a_table_with_the_best_first(tmp_path, quiet):
    found = sweep(RAW, ["batch=[4, 8]", "networks.width=[8, 16]"], tmp_path / "s", quiet, by="mode_kl")
    assert {(r.point["batch"], r.point["networks.width"]) for r in found} == {
        (4, 8),
        (4, 16),
        (8, 8),
        (8, 16),
    }
    for row in found:
        folder = tmp_path / "s" / row.run
        assert row.score == events(folder)[-1]["mode_kl"]
        assert (row.state, row.step) == ("done", 6)
        settings = yaml.safe_load((folder / "config.yaml").read_text())
        assert (settings["batch"], settings["networks"]["width"]) == tuple(row.point.values())
    assert [r.score for r in found] == sorted(r.score for r in found)
    raw = {**RAW, "batch": 4, "networks": {**RAW["networks"], "width": 16}}
    train.start(train.config.parse(raw), tmp_path / "alone", quiet)
    run = next(r.run for r in found if tuple(r.point.values()) == (4, 16))
    assert_same_states(newest(tmp_path / "s" / run), newest(tmp_path / "alone"))


def test_the_table_is_there_as_csv_and_json_with_a_page_of_all_runs(tmp_path, quiet):
    found = sweep(RAW, ["batch=[4, 8]"], tmp_path / "s", quiet, by="mode_kl")
    with (tmp_path / "s" / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["run"], row["batch"], float(row["mode_kl"])) for row in rows] == [
        (row.run, str(row.point["batch"]), row.score) for row in found
    ]
    table = json.loads((tmp_path / "s" / "table.json").read_text())
    assert [row["score"] for row in table["rows"]] == [row.score for row in found]
    page = (tmp_path / "s" / "report.html").read_text()
    assert "2 runs compared" in page
    assert "run-000" in page
    assert "run-001" in page


@pytest.mark.slow
def test_numbers_are_members_of_one_program_and_each_is_the_run_of_its_point(tmp_path, quiet):
    """In float64 a member is the single run with its numbers and its seed, up to rounding."""
    raw = {**RAW, "precision": "float64", "seeds": 2, "every": {**RAW["every"], "score": 6}}
    how = ["optimizer.lr=log(0.01, 0.1)", "critic.penalties.0.weight=[1, 10]"]
    found = sweep(raw, how, tmp_path / "s", quiet, samples=3, by="mode_kl")
    assert {(row.run, tuple(row.members)) for row in found} == {
        ("run-000", (2 * k, 2 * k + 1)) for k in range(3)
    }
    scores = events(tmp_path / "s" / "run-000")[-1]["mode_kl"]
    state = newest(tmp_path / "s" / "run-000")
    for row in found:
        assert row.score == pytest.approx(sum(scores[m] for m in row.members) / 2)
        for seed, member in enumerate(row.members):
            single = {
                **raw,
                "seed": seed,
                "seeds": 1,
                "optimizer": {"name": "sgd", "lr": row.point["optimizer.lr"]},
            }
            single["critic"] = {
                "penalties": [{"name": "r1", "weight": row.point["critic.penalties.0.weight"]}]
            }
            alone = tmp_path / f"{member}"
            train.start(train.config.parse(single), alone, quiet)
            torch.testing.assert_close(
                state["params/G"][member], newest(alone)["params/G"], rtol=1e-9, atol=1e-12
            )


def test_members_that_do_not_fit_the_memory_are_whole_runs(tmp_path, quiet, monkeypatch):
    monkeypatch.setattr(module, "fits", lambda run, count: False)
    made = module.plan(RAW, ["optimizer.lr=[0.01, 0.1]"], by="modes")
    assert not made.one
    assert [raw["optimizer"]["lr"] for raw in made.runs] == [0.01, 0.1]


def test_a_run_that_diverges_or_fails_is_a_row_at_the_end(tmp_path, quiet):
    bad = "{name: sgd, lr: 1e30}"
    stops = "[null, {log: no/such/log, below: 1}]"
    found = sweep(
        RAW, [f"optimizer=[{{name: sgd, lr: 0.01}}, {bad}]", f"stop={stops}"], tmp_path / "s", quiet
    )
    states = {row.run: (row.state.partition(":")[0], row.score is None) for row in found}
    assert states == {
        "run-000": ("done", False),
        "run-001": ("failed", True),
        "run-002": ("diverged", True),
        "run-003": ("failed", True),
    }
    assert found[0].run == "run-000"
    failed = next(row.state for row in found if row.run == "run-001")
    assert failed.startswith("failed: stop.log: this run does not log 'no/such/log'")


def test_a_member_that_diverges_is_a_row_without_a_score(tmp_path, quiet):
    found = sweep(RAW, ["optimizer.lr=[1e30, 0.01]"], tmp_path / "s", quiet)
    assert [(row.members, row.state, row.score is None) for row in found] == [
        ([1], "done", False),
        ([0], "diverged", True),
    ]


class Killed(BaseException):
    """Ends a process between two steps."""


@pytest.mark.slow
def test_a_sweep_that_was_killed_goes_on_where_it_was(tmp_path, quiet, monkeypatch):
    """Killed in run 1, after its checkpoint of step 4: run 0 is kept, run 1 resumed, run 2 started."""
    how = ["batch=[4, 8, 16]"]
    wanted = sweep(RAW, how, tmp_path / "whole", quiet, by="mode_kl")
    draw = batches.Draws.__call__

    def call(self, number):
        if number == 5 and (tmp_path / "s" / "run-001").exists():
            raise Killed
        return draw(self, number)

    with monkeypatch.context() as patched:
        patched.setattr(batches.Draws, "__call__", call)
        with pytest.raises(Killed):
            sweep(RAW, how, tmp_path / "s", quiet, by="mode_kl")
    before = (tmp_path / "s" / "run-000" / "events.jsonl").read_bytes()
    assert not (tmp_path / "s" / "run-002").exists()
    found = resume_sweep(tmp_path / "s", quiet)
    assert [row._replace(seconds=0) for row in found] == [row._replace(seconds=0) for row in wanted]
    assert (tmp_path / "s" / "run-000" / "events.jsonl").read_bytes() == before
    for number in range(3):
        folders = (tmp_path / place / f"run-{number:03d}" for place in ("s", "whole"))
        assert_same_states(*map(newest, folders))


def test_a_run_that_failed_is_tried_again(tmp_path, quiet, monkeypatch):
    def start(*arguments, **more):
        raise RuntimeError("out of memory. And more")

    with monkeypatch.context() as patched:
        patched.setattr(train, "start", start)
        found = sweep(RAW, ["batch=[4, 8]"], tmp_path / "s", quiet)
    assert {row.state for row in found} == {"failed: RuntimeError: out of memory"}
    assert {row.state for row in resume_sweep(tmp_path / "s", quiet)} == {"done"}


@pytest.mark.slow
def test_a_run_killed_before_its_first_step_starts_again(tmp_path, quiet):
    sweep(RAW, ["batch=[4, 8]"], tmp_path / "s", quiet)
    (tmp_path / "s" / "table.json").unlink()
    shutil.rmtree(tmp_path / "s" / "run-001")
    (tmp_path / "s" / "run-001").mkdir()
    (tmp_path / "s" / "run-001" / "run.json").write_text(json.dumps({"run": 64 * "0"}))
    assert {row.state for row in resume_sweep(tmp_path / "s", quiet)} == {"done"}


@pytest.mark.slow
def test_a_row_of_a_run_that_the_sweep_does_not_have_is_left_out(tmp_path, quiet):
    sweep(RAW, ["batch=[4, 8]"], tmp_path / "s", quiet)
    table = tmp_path / "s" / "table.json"
    rows = json.loads(table.read_text())["rows"]
    rows[1]["run"] = "run-999"
    table.write_text(json.dumps({"format": 1, "by": "mode_kl", "rows": rows}))
    with pytest.warns(DataNote, match=r"the row of run-999 in .*, which is no run of this sweep"):
        found = resume_sweep(tmp_path / "s", quiet)
    assert sorted(row.run for row in found) == ["run-000", "run-001"]


def test_the_command_trains_and_resume_says_it_is_complete_by_its_table(command, ring, tmp_path):
    done = command("sweep", ring, "batch=[4, 8]", "--by", "mode_kl", "--out", tmp_path / "s")
    assert done.code == 0
    table = done.out[done.out.index("run      batch  mode_kl") :]
    again = command("resume", tmp_path / "s")
    assert again.code == 0
    assert again.out.strip() == table.strip()


def test_the_exit_code_is_1_where_no_run_has_a_score(command, ring, tmp_path):
    done = command("sweep", ring, "optimizer.lr=[1e30, 1e31]", "--out", tmp_path / "s")
    assert done.code == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "nothing is swept: give a key several values"),
        (["optimiser.lr=[1, 2]"], "optimiser is not a key here: did you mean 'optimizer'?"),
        (["optimizer.lr=[1, -2]"], "optimizer.lr must be at least 0, not -2"),
        (["batch=[8, few]"], "batch takes: whole number"),
        (["critic.penalties=[r1, r2]"], "one that is a list is written [[a, b]]"),
        (
            ["batch=[4, 8]", "--by", "mode_kll"],
            "--by: a run on ring8 has no score 'mode_kll': did you mean 'mode_kl'?",
        ),
        (["data=[ring8, swissroll]", "--by", "modes"], "--by: a run on swissroll has no score 'modes'"),
        (["optimizer.lr=log(1, 2)"], "optimizer.lr is a range: say how many draws with --samples"),
        (["batch=[4, 8]", "--samples", "2"], "--samples is for ranges"),
        (["batch=[4, 8]", "ema={decay: [0.5, 0.9]}"], "has several values of ema.decay in each run"),
        (["batch=[4, 8]", "accumulate=3", "fake_as_real.count=4"], "accumulate=3 does not divide"),
    ],
)
def test_what_cannot_be_swept_is_one_sentence_and_nothing_is_written(
    command, ring, tmp_path, words, sentence, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for more in ([], ["--out", tmp_path / "s"]):
        done = command("sweep", ring, *words, *more)
        assert done.code == 2
        assert sentence in done.err
        assert sorted(path.name for path in tmp_path.iterdir()) == ["ring.yaml"]


def test_a_folder_that_is_taken_stays_as_it_is(command, ring, tmp_path):
    command("sweep", ring, "batch=[4, 8]", "--out", tmp_path / "s")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    done = command("sweep", ring, "batch=[4, 8]", "--out", tmp_path / "s")
    assert done.code == 2
    assert "is a sweep already: continue it with steadygan resume" in done.err
    assert command("sweep", ring, "batch=[4, 8]", "--out", tmp_path / "s" / "run-000").code == 2
    assert "continue it with steadygan resume" in command("sweep", tmp_path / "s").err
    assert command("resume", tmp_path / "s", "steps=9").code == 2
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_damaged_record_is_one_sentence(tmp_path, quiet):
    (tmp_path / "sweep.json").write_text("{")
    with pytest.raises(UsageError, match=r"sweep.json is not JSON .*: start a new sweep"):
        resume_sweep(tmp_path, quiet)


def test_an_interrupted_sweep_says_how_to_go_on(command, ring, tmp_path, monkeypatch):
    def interrupt(*arguments, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "start", interrupt)
    done = command("sweep", ring, "batch=[4, 8]", "--out", tmp_path / "s")
    assert done.code == 2
    assert f"interrupted: continue the sweep with steadygan resume {tmp_path / 's'}" in done.err


def test_a_sweep_under_torchrun_is_refused_before_anything_is_written(tmp_path, quiet, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="without torchrun"):
        sweep(RAW, ["batch=[4, 8]"], tmp_path / "s", quiet)
    assert not (tmp_path / "s").exists()


def test_a_score_that_one_of_the_runs_lacks_sorts_no_sweep():
    from steadygan.commands import sweep as module
    from steadygan.errors import UsageError

    with pytest.raises(UsageError, match="--by: a run on digits has no score 'modes'"):
        module.plan({**RING, "networks": "mlp"}, ["data=[digits, ring8]"], by="modes")
