"""Broken files in a run folder: every command passes over them or says in one sentence which file it is."""

import io
import json
import os
import shutil
from pathlib import Path

import pytest
from rich.console import Console

import small
from steadygan import config
from steadygan.errors import DataNote
from steadygan.files import read_json
from steadygan.runs import train
from steadygan.runs.sinks.checkpoints import best_checkpoint
from steadygan.runs.sinks.jsonl import logged, rewind
from steadygan.training.checkpoint import checkpoints

RING = {
    **small.RING,
    "seeds": 2,
    "every": {"log": 1, "score": 3, "checkpoint": 2},
    "keep": {"best": "modes"},
}
CARD = {
    "subject": {"run": "run", "step": 6, "member": 0, "seed": 0},
    "protocol": {"seed": 0, "data_sha256": "0" * 64, "shape": [2]},
    "scores": {"modes": {"value": 1.0, "error": 0.1}},
}
DEEP = "[" * 100_000
JSON = ["{", "[]", DEEP, '{"checkpoint": "abc"}', "\udcff"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    train.start(config.parse(RING), folder, Console(file=io.StringIO()))
    return folder


@pytest.fixture
def folder(tmp_path, monkeypatch, trained) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, "run")
    return Path("run")


def write(file: Path, text: str) -> None:
    file.write_bytes(text.encode(errors="surrogateescape"))


def assert_sentences(done, code: int | None = None) -> None:
    """A command ends with 0, with 1 for verdicts, or with 2 and one sentence; any other error would end the test."""
    assert done.code in (0, 1, 2)
    assert "Traceback" not in done.err
    if done.code == 2:
        assert done.err.startswith("error: ")
    if code is not None:
        assert done.code == code, done.err


@pytest.mark.slow
@pytest.mark.parametrize("text", JSON, ids=lambda text: text[:25])
@pytest.mark.parametrize(
    "name",
    [
        "scores.json",
        "looks.json",
        "evaluation.json",
        "origin.json",
        "spectrum.json",
        "own.json",
        "checkpoints/best.json",
        "checkpoints/step-00000006/meta.json",
    ],
)
def test_a_damaged_json_file_ends_no_command_in_a_traceback(name, text, folder, command):
    write(folder / name, text)
    assert_sentences(command("report", folder))
    assert_sentences(command("resume", folder))
    assert_sentences(command("sample", folder, "-n", "4"))
    assert_sentences(command("evaluate", folder, "-n", "100", "--checkpoint", "best"))
    assert_sentences(command("compare", folder, folder))


LINES = [
    {"step": 4, "wall_s": "soon", "loss/D": 1.0},
    {"step": 4, "wall_s": [1.0], "loss/D": ["a", {}], "images": "many", "modes": "x"},
    {"step": 4, "diverged": "yes", "good_step": "no", "began": [], "tensor": 5},
    {"step": 4, "stopped": 3, "at/D": {"a": 1}},
]


@pytest.mark.parametrize("line", [*map(json.dumps, LINES), '{"step": 4, "wall_s": 1e999, "loss/D": 1e999}'])
def test_a_line_with_other_kinds_of_values_is_no_reason_to_stop(line, folder, command):
    shutil.rmtree(folder / "checkpoints" / "step-00000006")
    kept = (folder / "events.jsonl").read_text().splitlines()
    (folder / "events.jsonl").write_text("\n".join([line, *kept[:3], line]) + "\n")
    assert_sentences(command("report", folder), 0)
    assert_sentences(command("diagnose", folder))
    assert_sentences(command("resume", folder), 0)
    last = json.loads((folder / "events.jsonl").read_text().splitlines()[-1])
    assert 0 < last["wall_s"] < 1e4, "the clock goes on from the last time that is a number"


def test_the_clock_is_read_from_lines_that_have_a_time(tmp_path):
    file = tmp_path / "events.jsonl"
    file.write_text(
        '{"step": 1, "wall_s": 2.5}\n{"step": 2, "wall_s": "3"}\n{"step": 2, "wall_s": Infinity}\n'
    )
    assert rewind(file, 2) == 2.5
    assert logged(file, 2) == {"step": 2}


@pytest.mark.parametrize(
    "name", ["step-²", "step-٣", "step-", "step-7", "step--0000001", "step-" + "9" * 5000]
)
def test_a_folder_that_is_no_checkpoint_is_passed_over(name, tmp_path):
    try:
        (tmp_path / name).mkdir()
    except OSError:
        return  # too long a name for this file system
    (tmp_path / "step-00000002").mkdir()
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000002"]


def test_a_number_that_is_none_is_no_step(folder, command):
    assert_sentences(command("evaluate", folder, "--checkpoint", "²"), 2)


@pytest.mark.parametrize("name", ["abc", "../../run", "step-²", ""])
def test_a_best_checkpoint_has_the_name_of_one(name, tmp_path):
    (tmp_path / "best.json").write_text(json.dumps({"checkpoint": name, "score": "modes", "value": 1}))
    assert best_checkpoint(tmp_path) is None


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("protocol", "data_sha256", None),
        ("protocol", "data_sha256", [1]),
        ("protocol", "shape", ["a", None]),
        ("subject", "step", None),
        ("scores", "modes", {"value": 10**400, "error": 1}),
        ("scores", "modes", {"value": float("inf"), "error": 1}),
    ],
)
def test_a_score_card_with_other_kinds_of_values_is_compared_or_refused(part, key, value, folder, command):
    cards = [{**CARD, part: {**CARD[part], key: value}}] * 2
    write(folder / "scores.json", json.dumps({"format": 1, "cards": cards}))
    shutil.copytree(folder, "other")
    assert_sentences(command("compare", folder, "other"))
    assert_sentences(command("report", folder))


@pytest.mark.parametrize("text", [DEEP, "", "\udcff", "{"], ids=lambda text: text[:9])
def test_json_that_cannot_be_read_is_a_value_error(text, tmp_path):
    write(tmp_path / "file.json", text)
    with pytest.raises(ValueError):
        read_json(tmp_path / "file.json")


@pytest.mark.parametrize("facts", [{"layout": None}, {"members": [{}] * 3}], ids=["no layout", "members"])
def test_the_weights_of_a_run_with_damaged_facts_are_refused(facts, folder, command):
    for path in checkpoints(folder / "checkpoints"):
        meta = json.loads((path / "meta.json").read_text())
        (path / "meta.json").write_text(json.dumps({**meta, **facts}))
    assert_sentences(command("train", "run", "--from", folder, "--out", "new"), 2)
    assert not Path("new").exists()


READ = ["looks.json", "evaluation.json", "origin.json", "spectrum.json", "checkpoints/best.json"]


def as_pipes(folder: Path, names: list[str]) -> None:
    for name in names:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)


def test_pipes_in_a_run_folder_keep_no_command_waiting(folder, command):
    pictures = [f"samples/{path.name}" for path in (folder / "samples").glob("*.png")]
    as_pipes(folder, [*READ, "run.json", *pictures])
    assert_sentences(command("report", folder), 0)
    assert_sentences(command("diagnose", folder))
    as_pipes(folder, ["checkpoints/step-00000006/meta.json", "checkpoints/step-00000004/state.safetensors"])
    assert_sentences(command("sample", folder, "-n", "4"), 0)
    as_pipes(folder, ["events.jsonl", "scores.json"])
    assert_sentences(command("report", folder), 2)
    assert_sentences(command("diagnose", folder), 2)
    as_pipes(folder, ["config.yaml"])
    assert_sentences(command("resume", folder), 2)


SHOWN = ["evaluation.json", "origin.json", "spectrum.json", "samples/step-00000004.png"]


def left_out(told) -> list[str]:
    return [str(each.message) for each in told if issubclass(each.category, DataNote)]


@pytest.mark.parametrize("name", SHOWN)
def test_a_report_notes_what_it_leaves_out(name, folder, command, recwarn):
    (folder / name).unlink(missing_ok=True)
    assert_sentences(command("report", folder), 0)
    assert left_out(recwarn) == [], "what is not there is not missed"
    write(folder / name, "{")
    assert_sentences(command("report", folder), 0)
    assert left_out(recwarn) == [f"left out, because it is damaged: {folder / name}"]


@pytest.mark.parametrize("word", ["report", "diagnose"])
def test_a_damaged_line_is_noted_and_one_that_is_being_written_is_not(word, folder, command, recwarn):
    for more, told in ((b'{"step": 9, "loss/D": 1', []), (b"\0\n{}\n", ["run/events.jsonl (lines: 1)"])):
        with (folder / "events.jsonl").open("ab") as file:
            file.write(more)
        assert_sentences(command(word, folder))
        assert left_out(recwarn) == [f"left out, because it is damaged: {each}" for each in told]


@pytest.mark.parametrize(
    "text", ['{"file": "mine.py", "sha2', '{"file": []}', '{"file": {}}', '{"file": null}']
)
def test_a_damaged_record_of_own_objects_is_not_taken_for_none(text, folder, command):
    write(folder / "own.json", text)
    assert command("runs", folder).code == 0
    for words in ("resume", "sample", "evaluate"):
        done = command(words, folder)
        assert_sentences(done, 2)
        assert "own.json is damaged: name the file of this run with --use" in done.err


def test_a_long_configuration_is_refused_before_it_is_parsed(folder, command):
    """PyYAML needs 19 s for a megabyte of `[1,1,...]`."""
    (folder / "config.yaml").write_text("a: [" + "1," * 5_000_000 + "1]")
    assert_sentences(command("resume", folder), 2)
    assert_sentences(command("report", folder), 2)


@pytest.mark.parametrize("words", [["report"], ["resume"], ["evaluate"]], ids=lambda words: words[0])
def test_a_folder_of_runs_is_told_the_name_of_one(words, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    Path("runs/a").mkdir(parents=True)
    done = command(*words, "runs")
    assert "name a folder made by steadygan train" in done.err
    Path("runs/b").mkdir()
    Path("runs/b/config.yaml").touch()
    done = command(*words, "runs")
    assert_sentences(done, 2)
    assert done.err.endswith(": name a run folder in it, such as runs/b\n")
