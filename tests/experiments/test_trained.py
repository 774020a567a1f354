"""What studies share: runs that are trained once, their events, and the end of a sitting."""

import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from experiments import trained
from experiments.out_of_time import OutOfTime, ending
from experiments.scores.run import Kept
from experiments.survey import claims
from steadygan.errors import UsageError
from steadygan.metrics import Extractor, Read

POINTS = ("every.log=5", "every.score=10", "every.diagnostics=100%", "compile=false", "batch=8")


@pytest.mark.parametrize("seeds", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_events_have_a_number_for_each_member_also_of_one(seeds, tmp_path):
    folder = trained.train_once("ring8-simultaneous", tmp_path / "run", seeds, 10, *POINTS)
    lines = trained.events(folder)
    losses = [line["loss/G"] for line in lines if "loss/G" in line]
    assert [len(each) for each in losses] == 2 * [seeds]
    assert [line["step"] for line in lines if "modes" in line] == [0, 10]
    assert [len(line["modes"]) for line in lines if "modes" in line] == 2 * [seeds]
    assert all(isinstance(line["wall_s"], float) for line in lines)
    assert claims.scores(folder).keys() == {"modes", "high_quality"}
    run, states = trained.opened(folder)
    for index in range(seeds):
        assert trained.of(run, states[10], index).params["G"].ndim == 1


def test_a_run_is_trained_once_for_its_steps_seeds_and_overrides(tmp_path, monkeypatch):
    begun = []

    def fake(command, **how):
        begun.append(command)
        folder = Path(command[command.index("--out") + 1])
        (folder / trained.CHECKPOINTS / "step-00000010").mkdir(parents=True)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(trained.subprocess, "run", fake)
    for words, count in ((("batch=8",), 1), (("batch=8",), 1), (("batch=16",), 2), ((), 3), ((), 3)):
        trained.train_once("ring8-simultaneous", tmp_path / "run", 2, 10, *words)
        assert len(begun) == count
    trained.train_once("ring8-simultaneous", tmp_path / "run", 3, 10)
    assert len(begun) == 4


# ---------------------------------------------------------------------------------------------- the end of a sitting


@pytest.mark.parametrize("minutes", [0, -1.0])
def test_a_sitting_without_time_is_over_at_once(minutes):
    with pytest.raises(OutOfTime), ending(minutes):
        pytest.fail("it began")


def test_a_sitting_ends_in_time_and_leaves_no_timer():
    before = (
        signal.getsignal(signal.SIGALRM),
        signal.getitimer(signal.ITIMER_REAL)[0],
    )  # a test may have one, too
    with pytest.raises(OutOfTime), ending(0.05 / 60):
        time.sleep(30)
    with ending(10):
        pass
    with ending(None):
        pass
    after = signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)[0]
    assert after[0] == before[0]
    assert after[1] == pytest.approx(before[1], abs=60)


# ------------------------------------------------------------------------------------------------------ what is gone


def test_pictures_of_runs_that_are_gone_are_named(tmp_path):
    folders = {name: tmp_path / name for name in "ab"}
    folders["a"].mkdir()
    with pytest.raises(
        UsageError, match=f"the pictures of ring8 also show b, not in {tmp_path}: train without"
    ):
        trained.existing(folders, "ring8")


def test_features_that_were_cut_off_are_read_again(tmp_path):
    calls = []

    def read(x: torch.Tensor) -> Read:
        calls.append(len(x))
        return Read(x.flatten(1).double(), None)

    look = Extractor("sums", read, 4, "0" * 64, "none")
    x = torch.arange(12.0).view(3, 1, 2, 2)
    Kept(look, tmp_path).read(x)
    Kept(look, tmp_path).read(x)
    assert calls == [3]
    [file] = (tmp_path / "sums-00000000").iterdir()
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(SafetensorError):
        load_file(file)
    assert torch.equal(Kept(look, tmp_path).read(x).features, x.flatten(1).double())
    assert calls == [3, 3]
