"""Event files, read back with TensorBoard's own reader: what events.jsonl says, each step once, and the pictures."""

import io
import json
import math
from pathlib import Path

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from steadygan import config
from steadygan.runs import train
from steadygan.runs.sinks import tensorboard_sink
from steadygan.training.events import Progress

POINTS = {
    "data": "ring8",
    "networks": {"name": "mlp", "width": 8, "depth": 2},
    "optimizer": {"name": "adam", "lr": 2e-3, "betas": [0.5, 0.9]},
    "batch": 8,
    "compile": False,
    "steps": 12,
    "every": {"log": 2, "score": 6, "checkpoint": 3, "diagnostics": 4},
    "trackers": ["tensorboard"],
}


def accumulated(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    found.Reload()
    return found


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    found = accumulated(folder)
    return {tag: [(s.step, s.value) for s in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def lines(folder: Path, member: int | None = None) -> dict[str, list[tuple[int, float]]]:
    """The same of events.jsonl."""
    found: dict[str, list[tuple[int, float]]] = {}
    for line in map(json.loads, (folder / "events.jsonl").read_text().splitlines()):
        for key, value in line.items():
            if key not in ("step", "images", "wall_s"):
                number = value if member is None else value[member]
                found.setdefault(key, []).append((line["step"], math.nan if number is None else number))
    return found


def check(board: Path, folder: Path, member: int | None = None) -> None:
    found, expected = scalars(board), lines(folder, member)
    assert found.keys() == expected.keys()
    for key, series in expected.items():
        assert [step for step, _ in found[key]] == [step for step, _ in series]
        assert [v for _, v in found[key]] == pytest.approx([v for _, v in series], rel=1e-6, nan_ok=True)


def pictures(folder: Path) -> dict[int, bytes]:
    """The samples of a run's event files by step: sizes are those of the pictures."""
    found = {}
    for image in accumulated(folder / "tensorboard").Images("samples"):
        assert image.step not in found
        found[image.step] = image.encoded_image_string
        assert Image.open(io.BytesIO(image.encoded_image_string)).size == (image.width, image.height)
    return found


def files(folder: Path) -> dict[int, bytes]:
    return {int(path.stem[5:]): path.read_bytes() for path in (folder / "samples").glob("*.png")}


def test_a_run_writes_what_its_lines_say(tmp_path, quiet):
    train.start(config.parse(POINTS), tmp_path / "run", quiet)
    check(tmp_path / "run" / "tensorboard", tmp_path / "run")
    assert pictures(tmp_path / "run") == files(tmp_path / "run")
    assert files(tmp_path / "run").keys() == {0, 6, 12}


def test_an_ensemble_is_a_run_for_each_member(tmp_path, quiet):
    train.start(config.parse({**POINTS, "seeds": 2}), tmp_path / "run", quiet)
    for member in range(2):
        check(tmp_path / "run" / "tensorboard" / f"member-{member}", tmp_path / "run", member)
    assert pictures(tmp_path / "run") == files(tmp_path / "run")


def test_resume_has_each_step_once(tmp_path, quiet):
    folder = tmp_path / "run"
    train.start(config.parse(POINTS), folder, quiet)
    for path in (folder / "checkpoints").glob("step-00000012"):  # as if it had been killed before
        for part in path.iterdir():
            part.unlink()
        path.rmdir()
    train.resume(folder, ["steps=18"], quiet)
    check(folder / "tensorboard", folder)
    steps = [step for step, _ in scalars(folder / "tensorboard")["loss/D"]]
    assert steps == sorted(set(steps)) == [2, 4, 6, 8, 10, 12, 14, 16, 18]
    assert pictures(folder) == files(folder)
    assert files(folder).keys() == {0, 6, 12, 18}


@pytest.mark.parametrize("more", [["steps=18"], []], ids=["longer", "complete"])
def test_event_files_may_come_late(more, tmp_path, quiet):
    folder = tmp_path / "run"
    train.start(config.parse({**POINTS, "trackers": []}), folder, quiet)
    assert not (folder / "tensorboard").exists()
    train.resume(folder, [*more, "trackers=[tensorboard]"], quiet)
    check(folder / "tensorboard", folder)
    assert pictures(folder) == files(folder)


def test_a_picture_of_a_future_that_was_undone_is_not_shown(tmp_path, quiet):
    """Only what was drawn up to the step that is gone on from; what lies there of later ones is drawn anew."""
    samples, events = tmp_path / "samples", tmp_path / "events.jsonl"
    samples.mkdir()
    for step in (2, 4):
        Image.new("RGB", (step, 3)).save(samples / f"step-{step:08d}.png")
    events.write_text('{"step": 2, "x": 1.0}\n{"step": 4, "x": null}\n')
    with tensorboard_sink(
        tmp_path / "tensorboard",
        events,
        samples,
        drawn=Progress,
        images=lambda step: step,
        first=3,
        wall_s=0.0,
    ):
        pass
    assert pictures(tmp_path).keys() == {2}
    assert scalars(tmp_path / "tensorboard")["x"] == [(2, 1.0), (4, pytest.approx(math.nan, nan_ok=True))]


def test_a_game_solved_by_hand_shows_its_portraits(tmp_path, quiet):
    raw = {
        "game": "bilinear",
        "data": "none",
        "networks": "point",
        "optimizer": {"name": "sgd", "lr": 0.1},
        "steps": 6,
        "compile": False,
        "every": {"log": 1, "score": 3, "checkpoint": 3, "diagnostics": 3},
        "trackers": ["tensorboard"],
    }
    train.start(config.parse(raw), tmp_path / "run", quiet)
    assert pictures(tmp_path / "run") == files(tmp_path / "run")
    assert files(tmp_path / "run")


def test_times_are_those_of_the_run(tmp_path, quiet):
    train.start(config.parse(POINTS), tmp_path / "run", quiet)
    walls = [
        json.loads(line)["wall_s"] for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()
    ]
    of_losses = [s.wall_time for s in accumulated(tmp_path / "run" / "tensorboard").Scalars("loss/D")]
    assert of_losses == sorted(of_losses)
    assert of_losses[-1] - of_losses[0] <= walls[-1] - walls[0] + 1e-3
