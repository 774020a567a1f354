"""Training data that change between stop and resume are noticed, whatever stays the same."""

import json

import pytest
import torch

from steadygan.data import Data, ring
from steadygan.runs.data_changes import changed, training_data

ROWS = torch.arange(24, dtype=torch.uint8).reshape(2, 3, 2, 2)
SET = Data("set", (3, 2, 2), rows=ROWS, labels=torch.tensor([0, 1]), classes=2)


def kept(folder, data):
    (folder / "evaluation.json").write_text(json.dumps(training_data(data)))


@pytest.mark.parametrize(
    ("now", "sentence"),
    [
        (SET._replace(rows=ROWS.flip(0)), "2 rows then, 2 now"),
        (SET._replace(rows=ROWS[:1], labels=SET.labels[:1]), "2 rows then, 1 now"),
        (SET._replace(labels=torch.tensor([1, 0])), "2 rows then, 2 now"),
    ],
)
def test_other_rows_or_labels_are_noticed(now, sentence, tmp_path):
    kept(tmp_path, SET)
    assert sentence in changed(tmp_path, training_data(now))


def test_the_same_contents_elsewhere_are_the_same(tmp_path):
    kept(tmp_path, SET)
    assert changed(tmp_path, training_data(SET._replace(name="moved", rows=ROWS.clone()))) is None
    assert training_data(ring(size=None)) == {}
    assert changed(tmp_path, {}) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"training_rows": 2}', "[" * 100_000])
def test_what_is_not_known_is_not_told(text, tmp_path):
    (tmp_path / "evaluation.json").write_text(text)
    assert changed(tmp_path, training_data(SET)) is None
    assert changed(tmp_path / "gone", training_data(SET)) is None


def test_resume_says_so_once(tmp_path, command, monkeypatch):
    from PIL import Image

    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def pictures(first: int) -> None:
        (tmp_path / "set").mkdir(exist_ok=True)
        for index in range(8):
            Image.new("RGB", (8, 8), (first + index,) * 3).save(tmp_path / "set" / f"{index}.png")

    quick = ["compile=false", "batch=4", "networks.width=8", "fake_as_real.count=2", "precision=float32"]
    quick.append("optimizer.lr=1e-4")  # a schedule would be over at the first end
    pictures(0)
    assert command("train", "--images", "set", "--out", "run", "steps=2", *quick).code == 0
    told = command("resume", "run", "steps=4")
    assert "changed" not in told.out + told.err
    pictures(100)
    told = command("resume", "run", "steps=6")
    assert "the training data have changed since this run stopped (8 rows then, 8 now)" in told.out + told.err
    told = command("resume", "run", "steps=8")
    assert "changed" not in told.out + told.err
