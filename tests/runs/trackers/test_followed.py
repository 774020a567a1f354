"""Trackers follow a run: what they get, each once, and that none of them can change or end it."""

import io
import json
import os
import re
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from steadygan import config
from steadygan.errors import UsageError
from steadygan.runs import train
from steadygan.runs.folder import locked
from steadygan.runs.trackers import check_trackers, services, started

POINTS = {
    "data": "ring8",
    "networks": {"name": "mlp", "width": 8, "depth": 2},
    "optimizer": {"name": "adam", "lr": 2e-3, "betas": [0.5, 0.9]},
    "batch": 8,
    "compile": False,
    "steps": 12,
    "every": {"log": 2, "score": 6, "checkpoint": 3, "diagnostics": 4},
}
TRACKED = {**POINTS, "trackers": ["wandb"]}


@pytest.fixture
def stub(tmp_path, monkeypatch):
    """`stub("middle")`: from now on wandb is the stub, which fails so; returns the file that it writes to."""
    library, book = tmp_path / "library", tmp_path / "book.jsonl"
    library.mkdir()
    shutil.copy(Path(__file__).with_name("stub.py"), library / "wandb.py")
    monkeypatch.syspath_prepend(library)
    monkeypatch.setenv("STUB_BOOK", str(book))

    def chosen(mode: str = "") -> Path:
        monkeypatch.setenv("STUB", mode)
        return book

    return chosen


def entries(book: Path, kind: str) -> list[list]:
    found = map(json.loads, book.read_text().splitlines())
    return [each[1:] for each in found if each[0] == kind]


def scalars(book: Path) -> list[tuple[str, int, str, float]]:
    """Run, step, name and number, as often as they were sent; verdicts and pictures left out."""
    return [
        (id, step, key, value)
        for id, step, values in entries(book, "log")
        for key, value in values.items()
        if key != "samples" and not key.startswith("verdict/")
    ]


def logged(folder: Path) -> list[tuple[int, str, float]]:
    """The same of events.jsonl."""
    found = map(json.loads, (folder / "events.jsonl").read_text().splitlines())
    kept = ("step", "images", "wall_s")
    return [(line["step"], key, value) for line in found for key, value in line.items() if key not in kept]


def pictures(book: Path) -> list[tuple[int, str]]:
    logs = entries(book, "log")
    return [(step, values["samples"]["picture"]) for _, step, values in logs if "samples" in values]


def bits(folder: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in folder.glob("checkpoints/*/state.safetensors")}


@pytest.fixture(scope="module")
def untracked(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("untracked") / "run"
    train.start(config.parse(POINTS), folder, Console(file=io.StringIO()))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("start", r"has failed \(ConnectionError: no network\)"),
        ("middle", r"has failed \(ConnectionError: the line is dead\)"),
        ("hang", r"has not ended within 1 s"),
    ],
)
def test_a_tracker_that_fails_leaves_the_run_as_it_is(mode, words, stub, untracked, tmp_path, monkeypatch):
    """Also one whose server never answers: a tracker in the trainer's thread would wait for it for ever."""
    stub(mode)
    monkeypatch.setattr(started, "PATIENCE", 1.0 if mode == "hang" else 60.0)
    out = io.StringIO()
    assert train.start(config.parse(TRACKED), tmp_path / "run", Console(file=out, width=400)) is None
    assert bits(tmp_path / "run") == bits(untracked)
    assert logged(tmp_path / "run") == logged(untracked)
    notes = [line for line in out.getvalue().splitlines() if "note:" in line]
    assert len(notes) == 1
    assert re.search(rf"the tracker wandb {words}", notes[0])


def test_a_tracker_gets_all_of_a_run_once_also_when_it_is_resumed(stub, tmp_path, quiet):
    """The second part repeats steps 10 to 12, because the last checkpoint is lost: a kill leaves a run so."""
    book, folder = stub(), tmp_path / "run"
    train.start(config.parse(TRACKED), folder, quiet)
    shutil.rmtree(folder / "checkpoints" / "step-00000012")
    train.resume(folder, ["steps=18"], quiet)
    sent = scalars(book)
    assert [each[1:] for each in sent] == logged(folder)
    assert len({id for id, *_ in sent}) == 1
    assert pictures(book) == [(step, f"step-{step:08d}.png") for step in (0, 6, 12, 18)]
    (_, first), (_, second) = entries(book, "init")
    assert first["id"] == second["id"]
    assert first["config"]["optimizer"]["lr"] == 2e-3
    assert (first["config"]["steps"], second["config"]["steps"]) == (12, 18)
    assert first["config"]["protocol"] == json.loads((folder / "evaluation.json").read_text())
    assert {words.split(":")[0] for _, key, words in entries(book, "summary") if key == "verdict"} == {
        "undecided"
    }
    assert [code for _, code in entries(book, "finish")] == [0, 0]


def test_a_complete_run_sends_what_a_tracker_lacks(stub, untracked, tmp_path, quiet):
    """The line died after step 4, and the run has ended: what the note says of resume is so."""
    book, folder = stub("middle"), tmp_path / "run"
    shutil.copytree(untracked, folder)
    train.resume(folder, ["trackers=[wandb]"], quiet)
    assert {step for _, step, *_ in scalars(book)} == {0, 2, 4}
    stub()
    train.resume(folder, ["trackers=[wandb]"], quiet)
    assert [each[1:] for each in scalars(book)] == logged(folder)
    assert [step for step, _ in pictures(book)] == [0, 6, 12]


@pytest.mark.slow
def test_score_cards_of_a_later_evaluation_reach_the_run_of_their_member_once(stub, tmp_path, command):
    """Those of a run that still trains are left to its own trackers, which would send them again."""
    book, folder = stub(), tmp_path / "run"
    words = ["networks={name: dcgan, width: 2, latent: 4}", "seeds=2", "steps=2", "compile=false", "batch=8"]
    made = command("train", "digits-0gp", "trackers=[wandb]", *words, "--out", folder)
    assert made.code == 0, made.err
    ids = [options["id"] for _, options in entries(book, "init")]
    asked = ["evaluate", folder, "-n", "50", "--real", "50", "--extractor", "pixels8"]
    with locked(folder):
        assert command(*asked, "--ema", "off", "--member", "1").code == 0
    assert [key for _, key, _ in entries(book, "summary") if "card" in key] == []
    for _ in range(2):
        assert command(*asked, "--ema", "off").code == 0
    sent = [(id, key, json.loads(said)) for id, key, said in entries(book, "summary") if "card" in key]
    kept = json.loads((folder / "scores.json").read_text())["cards"]
    wanted = [
        (ids[card["subject"]["member"]], "score card, step 2, raw", card["scores"], card["protocol"])
        for card in kept
    ]
    assert [(id, key, said["scores"], said["protocol"]) for id, key, said in sent] == wanted
    assert [card["subject"]["member"] for card in kept] == [1, 0], "in the order in which they were made"


@pytest.mark.slow
def test_a_tracker_that_comes_late_gets_what_was_before(stub, tmp_path, quiet):
    """Two members here, each a run of its own with its own numbers."""
    book, folder = stub(), tmp_path / "run"
    train.start(config.parse({**POINTS, "seeds": 2}), folder, quiet)
    train.resume(folder, ["steps=14", "trackers=[wandb]"], quiet)
    runs = dict(entries(book, "init"))
    assert [each["name"] for each in runs.values()] == ["run-member-0", "run-member-1"]
    assert {each["group"] for each in runs.values()} == {"run"}
    assert [each["config"]["member"]["seed"] for each in runs.values()] == [0, 1]
    for index, id in enumerate(runs):
        mine = [(step, key, value) for one, step, key, value in scalars(book) if one == id]
        assert mine == [(step, key, values[index]) for step, key, values in logged(folder)]
    assert [step for step, _ in pictures(book)] == [0, 6, 12, 14]


def test_messages_wait_in_memory_where_a_tracker_does_not_read(stub, tmp_path):
    """A pipe holds 64 KiB. A blocking write of more would stop the training."""
    stub()
    (tmp_path / "config.yaml").write_text("steps: 1\n")
    said: list[str] = []
    about = {"name": "run", "members": [{}], "first": 0}
    one = started._Follower("wandb", tmp_path, about, said.append)
    os.kill(one.process.pid, signal.SIGSTOP)
    began = time.monotonic()
    for step in range(10_000):
        one.tell({"picture": step})
    assert time.monotonic() - began < 30
    waiting = len(one.left)
    assert waiting > 50_000
    one.tell({"line": 10_000})  # each of those that wait has it look at the lines, too
    assert len(one.left) == waiting
    os.kill(one.process.pid, signal.SIGCONT)
    one.end(time.monotonic() + 30)
    one.wait(time.monotonic() + 30)
    assert said[-1:] == [
        f"wandb: http://stub/{json.loads((tmp_path / 'trackers/wandb.json').read_text())['ids'][0]}"
    ]


def opened(folder: Path) -> list[str]:
    """What is said of two trackers that follow a folder while nothing happens."""
    said: list[str] = []
    with started.followed(["wandb", "trackio"], folder, [{}], drawn=int, first=0, note=said.append):
        pass
    return said


def test_a_run_that_breaks_off_has_not_ended(stub, tmp_path):
    book = stub()
    (tmp_path / "config.yaml").write_text("steps: 1\n")
    with (
        pytest.raises(KeyboardInterrupt),
        started.followed(["wandb"], tmp_path, [{}], drawn=int, first=0, note=lambda words: None),
    ):
        raise KeyboardInterrupt
    assert [code for _, code in entries(book, "finish")] == [1]


def test_a_tracker_that_cannot_start_costs_a_note(tmp_path):
    (tmp_path / "trackers").write_text("a file")
    said = opened(tmp_path)
    assert [re.sub(r" \(.*\)", "", each) for each in said] == [
        f"the tracker {name} cannot start, and the run goes on without it" for name in ("wandb", "trackio")
    ]
    assert "FileExistsError" in said[0]


def test_the_first_tracker_is_ended_where_the_second_cannot_start(tmp_path, monkeypatch):
    made, popen = [], started.subprocess.Popen

    def once(*words: object, **options: object) -> object:
        if made:
            raise BlockingIOError("no more processes")
        made.append(popen([sys.executable, "-S", "-c", "input()"], stdin=-1, stderr=-3))
        return made[0]

    monkeypatch.setattr(started.subprocess, "Popen", once)
    assert "the tracker trackio cannot start (BlockingIOError: no more processes)" in opened(tmp_path)[0]
    assert made[0].returncode == 0


def test_a_file_of_the_working_folder_is_no_tracker(tmp_path, monkeypatch):
    """A script may be called trackio.py. `python -m` and a notebook put its folder on the path."""
    found = []

    def refused(words: list[str], env: dict[str, str], **options: object) -> None:
        found.append((words, env["PYTHONPATH"].split(os.pathsep)))
        raise OSError("enough")

    (tmp_path / "trackio.py").write_text("")
    monkeypatch.chdir(tmp_path)
    for here in ("", ".", str(tmp_path)):
        monkeypatch.syspath_prepend(here)
    monkeypatch.setattr(started.subprocess, "Popen", refused)
    opened(tmp_path)
    (words, places), _ = found
    assert words[1] == "-P"  # without it, -m puts the folder there again
    assert not any(Path(place).resolve() == tmp_path for place in places)
    assert str(Path(started.__file__).parents[3]) in places


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow", "trackio"])
def test_a_missing_package_is_told_of_with_its_extra(name, monkeypatch):
    monkeypatch.setattr(services, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=rf"pip install 'steadygan\[{name}\]'"):
        check_trackers([name])


def test_a_folder_of_the_name_of_a_package_is_none(tmp_path, monkeypatch):
    """wandb writes to a folder ./wandb, which Python takes for a package without a file."""
    (tmp_path / "no_such_package").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match="needs the package no_such_package"):
        check_trackers(["no_such_package"])


def test_a_missing_package_ends_the_command_before_it_writes(command, tmp_path, monkeypatch):
    monkeypatch.setattr(services, "find_spec", lambda name: None)
    overrides = ["steps=2", "compile=false", "trackers=[wandb]"]
    ended = command("train", "ring8-fargan", *overrides, "--out", tmp_path / "run")
    assert ended.code == 2
    assert "pip install 'steadygan[wandb]'" in ended.err
    assert not (tmp_path / "run").exists()
