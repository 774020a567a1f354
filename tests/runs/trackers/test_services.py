"""The three trackers themselves, offline: what a run folder has is read back from their own stores, each step once."""

import itertools
import json
import os
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from PIL import Image

from steadygan.runs.trackers.follower import follow, record_of
from steadygan.runs.trackers.services import SERVICES, Tracker

FIRST = [
    {"step": 2, "images": 16, "wall_s": 0.1, "loss/D": 1.5, "loss/G": 0.5},
    {"step": 6, "images": 48, "wall_s": 0.2, "loss/D": 1.25, "loss/G": None},
]
SCORES = {"step": 6, "images": 48, "wall_s": 0.2, "modes": 3.0}
SECOND = [SCORES, {"step": 8, "images": 64, "wall_s": 0.3, "loss/D": 1.0, "loss/G": 0.75}]
PROTOCOL = {"extractor": "pixels8", "generated": 500, "weights": "EMA"}
VERDICT = {"step": 8, "verdicts": [[["collapse", "collapse: two fakes are alike. Try: use R1"]]]}


def write(folder: Path, lines: list[dict], picture: int, steps: int) -> None:
    (folder / "samples").mkdir(parents=True, exist_ok=True)
    (folder / "trackers").mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(f"name: toy\nsteps: {steps}\noptimizer: {{name: adam, lr: 0.001}}\n")
    (folder / "evaluation.json").write_text(json.dumps(PROTOCOL))
    (folder / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    Image.new("RGB", (12, 9), (200, picture, 0)).save(folder / "samples" / f"step-{picture:08d}.png")


def twice(name: str, folder: Path) -> None:
    """Follow a run up to step 6, and again, resumed, to step 8; the line of step 6 is there both times."""
    about = {"name": "toy", "members": [{"seed": 0}]}
    write(folder, FIRST, 0, steps=6)
    follow(name, folder, iter([{**about, "first": 0}, {"line": 6}]))
    write(folder, FIRST + SECOND, 8, steps=8)
    follow(name, folder, iter([{**about, "first": 6}, {"picture": 8}, VERDICT, {"ended": True}]))


def expected() -> dict[str, list[tuple[int, float | None]]]:
    found: dict[str, list[tuple[int, float | None]]] = {"verdict/collapse": [(8, 1.0)]}
    for line in FIRST + SECOND:
        for key in line.keys() - {"step", "images", "wall_s"}:
            found.setdefault(key, []).append((line["step"], line[key]))
    return found


def finite(value: float | None) -> float | None:
    return None if value is None or value != value else value


def records(file: Path) -> Iterator[bytes]:
    """The records of a run file of wandb: a log of LevelDB in blocks of 32 KiB, after a head of 7 bytes."""
    data, at, parts = file.read_bytes(), 7, b""
    while at + 7 <= len(data):
        _, size, kind = struct.unpack("<IHB", data[at : at + 7])
        if size == kind == 0:
            at += 32768 - at % 32768
            continue
        parts += data[at + 7 : at + 7 + size]
        at += 7 + size
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def noted(monkeypatch) -> list[tuple]:
    """What a tracker that only writes down is given, from now on: numbers and words."""
    found: list[tuple] = []
    tracker = Tracker(
        "id",
        "here",
        lambda step, values: found.append((step, dict(values))),
        lambda step, file: None,
        lambda step, name, words: found.append((step, words)),
        lambda ended: None,
    )
    monkeypatch.setitem(SERVICES, "wandb", lambda about, known: tracker)
    return found


def test_a_divergence_is_told_of_once(tmp_path, monkeypatch):
    found, about = noted(monkeypatch), {"name": "toy", "members": [{}], "first": 0}
    lost = {"step": 8, "diverged": [0], "good_step": 6}
    write(tmp_path, [*FIRST, lost], 0, steps=9)
    for _ in range(2):
        follow("wandb", tmp_path, iter([about]))
    assert [each for each in found if each[0] == 8] == [(8, "diverged after step 6")]
    write(tmp_path, [*FIRST, lost, {"step": 9, "diverged": [0], "good_step": None}], 0, steps=9)
    follow("wandb", tmp_path, iter([about]))
    assert found[-1] == (9, "diverged")


def test_the_reason_for_an_early_stop_is_no_number(tmp_path, monkeypatch):
    found = noted(monkeypatch)
    write(tmp_path, [*FIRST, {"step": 9, "stopped": "loss/D is below 1"}], 0, steps=9)
    follow("wandb", tmp_path, iter([{"name": "toy", "members": [{}], "first": 0}, {"ended": True}]))
    assert [step for step, _ in found] == [2, 6]
    assert record_of(tmp_path, "wandb")["failed"] == ""


@pytest.mark.parametrize("ended", [True, False])
@pytest.mark.parametrize(("name", "words"), [("wandb", (1, 0)), ("mlflow", ("KILLED", "FINISHED"))])
def test_a_run_has_finished_where_it_has_ended_and_not_where_it_was_interrupted(
    name, words, ended, tmp_path, monkeypatch
):
    """The libraries are stand-ins, which write down how a run is closed."""
    closed = []
    monkeypatch.setitem(sys.modules, name, library := MagicMock())
    monkeypatch.setitem(sys.modules, f"{name}.entities", library.entities)
    run, client = library.init.return_value, library.MlflowClient.return_value
    run.id, run.url, client.create_run.return_value.info.run_id = "id", "there", "id"
    run.finish = lambda exit_code: closed.append(exit_code)
    client.set_terminated = lambda id, status: closed.append(status)
    write(tmp_path, FIRST, 0, steps=6)
    told = [{"name": "toy", "members": [{}], "first": 0}, {"line": 6}, *([{"ended": True}] * ended)]
    follow(name, tmp_path, iter(told))
    assert closed == [words[ended]]


BOMB = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}]\n" for a, b in itertools.pairwise("abcdefghijklmnopqrstuvw")
)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "is not a file"),
        ("- 1\n", "holds no keys"),
        (BOMB, "100,000"),
        (" " * 300_000, "more than 262,144 bytes"),
    ],
    ids=["pipe", "list", "bomb", "large"],
)
def test_a_configuration_that_is_damaged_ends_the_tracker_in_a_sentence(
    content, words, tmp_path, monkeypatch
):
    """The tracker follows a folder in which anything may lie."""
    noted(monkeypatch)
    write(tmp_path, FIRST, 0, steps=9)
    file = tmp_path / "config.yaml"
    file.unlink()
    os.mkfifo(file) if content is None else file.write_text(content)
    with pytest.raises(ValueError, match=words):
        follow("wandb", tmp_path, iter([{"name": "toy", "members": [{}], "first": 0}]))
    assert words in record_of(tmp_path, "wandb")["failed"]


def test_the_follower_takes_no_memory_of_torchs():
    code = "import sys, steadygan.runs.trackers.follower; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(
    "wrong", [{"keys": 3}, {"keys": [3]}, {"picture": "a"}, {"place": None}, {"failed": 1}, {"cards": 3}]
)
def test_a_damaged_record_is_that_of_a_tracker_which_has_nothing(wrong, tmp_path):
    (tmp_path / "trackers").mkdir()
    good = {"ids": ["a"], "place": "", "step": 3, "keys": ["x"], "picture": 2, "failed": ""}
    file = tmp_path / "trackers" / "wandb.json"
    file.write_text(json.dumps(good))
    assert record_of(tmp_path, "wandb") == {**good, "cards": []}, (
        "one that was written before there were cards"
    )
    file.write_text(json.dumps({**good, **wrong}))
    assert record_of(tmp_path, "wandb")["step"] == -1


@pytest.mark.slow
def test_wandb_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "settings"))
    twice("wandb", tmp_path / "run")
    from wandb.proto.wandb_internal_pb2 import Record

    found: dict[str, list[tuple[int, float | None]]] = {}
    ids, configs, summary, pictures = set(), {}, {}, []
    for file in sorted((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb")):
        for record in map(Record.FromString, records(file)):
            if record.HasField("run"):
                ids.add(record.run.run_id)
                configs |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
            for item in record.summary.update:
                summary[item.key] = json.loads(item.value_json)
            if record.HasField("history"):
                items = record.history.item
                row = {i.key or ".".join(i.nested_key): json.loads(i.value_json) for i in items}
                step = record.history.step.num
                if "samples.width" in row:
                    pictures.append((step, row["samples.width"], row["samples.height"]))
                for key in [key for key in row if not key.startswith(("samples.", "_"))]:
                    found.setdefault(key, []).append((step, finite(None if row[key] == "NaN" else row[key])))
    assert len(ids) == 1
    assert found == expected()
    assert pictures == [(0, 12, 9), (8, 12, 9)]
    assert configs["optimizer"]["lr"] == 0.001
    assert configs["steps"] == 8
    assert configs["protocol"] == PROTOCOL
    assert summary["verdict"] == VERDICT["verdicts"][0][0][1]


@pytest.mark.slow
def test_mlflow_in_a_local_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # for the artifacts
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    twice("mlflow", tmp_path / "run")
    from mlflow import MlflowClient

    client = MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("steadygan").experiment_id])
    id, want = run.info.run_id, expected()
    assert run.data.metrics.keys() == want.keys()
    for key, series in want.items():
        assert [(m.step, finite(m.value)) for m in client.get_metric_history(id, key)] == series
    assert run.info.status == "FINISHED"
    assert run.data.params["optimizer.lr"] == "0.001"
    assert run.data.params["protocol.generated"] == "500"
    assert run.data.tags["verdict"] == VERDICT["verdicts"][0][0][1]
    names = [file.path for file in client.list_artifacts(id, "images") if file.path.endswith(".png")]
    assert sorted(int(name.split("step")[1].strip("+%").split("+")[0].split("%")[0]) for name in names) == [
        0,
        8,
    ]
    assert "steps: 8" in Path(client.download_artifacts(id, "config.yaml")).read_text()


@pytest.mark.slow
def test_trackio_in_its_local_database(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    twice("trackio", tmp_path / "run")
    (database,) = (tmp_path / "trackio").glob("*.db")
    with sqlite3.connect(database) as connection:
        rows = connection.execute("SELECT run_name, step, metrics FROM metrics ORDER BY id").fetchall()
        configs = [json.loads(each) for (each,) in connection.execute("SELECT config FROM configs")]
    found: dict[str, list[tuple[int, float | None]]] = {}
    for _, step, metrics in rows:
        for key, value in json.loads(metrics).items():
            if key not in ("samples", "verdict"):
                found.setdefault(key, []).append((step, finite(None if value == "NaN" else value)))
    assert len({name for name, *_ in rows}) == 1
    assert found == expected()
    shown = [(step, json.loads(metrics)) for _, step, metrics in rows]
    assert [step for step, row in shown if "samples" in row] == [0, 8]
    assert [row["verdict"] for _, row in shown if "verdict" in row] == [VERDICT["verdicts"][0][0][1]]
    assert configs[0]["optimizer"]["lr"] == 0.001
    assert configs[0]["protocol"] == PROTOCOL
