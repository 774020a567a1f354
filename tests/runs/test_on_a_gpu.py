"""Whole runs on a GPU: compiled and under CUDA graphs without a note, resumed there and on a CPU, and scored alike."""

import json
import re
from pathlib import Path

import pytest
import torch

from steadygan.training.checkpoint import checkpoints, read

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]

RUNS = {
    "ring8-fargan": [],
    "digits-fargan": ["seeds=3"],
    "digits-gn": [],
    "digits-pgn": ["precision=auto"],
    "digits-ada": [],
    "ring8-consensus": ["seeds=2"],
    "grid25-conditional": [],
    "dirac-consensus": [],
    "quadratic-simultaneous": ["seeds=2"],
    "digits-0gp": ["networks={name: far_resnet, width: 8}", "channels_last=true"],
    "digits-r3gan": ["gpu.tf32=true", "gpu.autotune=true"],
}


def last(folder: Path, key: str) -> float:
    lines = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return [line[key] for line in lines if key in line][-1]


@pytest.mark.parametrize("compiles", ["true", "false"])
@pytest.mark.parametrize("name", RUNS)
def test_a_run_is_compiled_and_recorded_without_a_note(name, compiles, tmp_path, command):
    words = [*RUNS[name], "steps=40", f"compile={compiles}", "--out", tmp_path / "run"]
    done = command("train", name, *words)
    assert done.code == 0, done.err
    assert not re.search("uncompiled|without CUDA graphs|without passes|only slower", done.out + done.err), (
        done
    )


def test_a_run_of_a_gpu_goes_on_there_and_on_a_cpu(tmp_path, command):
    """The state after as many steps is the same up to rounding, wherever the second half was trained."""
    ends = {}
    for device in ("cuda", "cpu"):
        folder = tmp_path / device
        words = ["steps=20", "compile=false", "precision=float64", "optimizer.lr=1e-3", "--out", folder]
        assert command("train", "ring8-fargan", *words).code == 0
        assert command("resume", folder, "steps=30", f"device={device}").code == 0
        ends[device] = read(checkpoints(folder / "checkpoints")[-1])[1]
    for player in ("params/G", "params/D"):
        torch.testing.assert_close(ends["cuda"][player], ends["cpu"][player], rtol=1e-6, atol=1e-9)


def test_scores_and_statistics_are_those_of_a_cpu(tmp_path, command):
    found = {}
    for device in ("cuda", "cpu"):
        words = ["steps=20", "compile=false", "precision=float64", f"device={device}", "every.score=20"]
        assert command("train", "digits-fargan", *words, "--out", tmp_path / device).code == 0
        found[device] = {
            key: last(tmp_path / device, key)
            for key in ("kd_pixels8", "slope/between", "signal/median", "fakes/diversity")
        }
    assert found["cuda"] == pytest.approx(found["cpu"], rel=1e-3)
