"""The GPU benchmark: its clock measures what it says, and all of its rows run on a CPU, very small."""

import json
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch
from torch.autograd import DeviceType

from benchmarks import gpu, gpu_clock

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("spans", "length"),
    [
        ([], 0),
        ([(0, 2), (3, 4)], 3),
        ([(3, 4), (0, 2), (1, 3.5)], 4),  # of several streams
        ([(0, 9), (1, 2), (3, 4)], 9),
        ([(0, 1), (0, 1)], 1),
    ],
)
def test_time_that_two_kernels_share_counts_once(spans, length):
    assert gpu_clock.covered(spans) == length


def test_a_call_of_ten_milliseconds_takes_ten():
    found = gpu_clock.milliseconds(lambda: time.sleep(0.01), CPU, 0.1)
    assert 10 <= found < 30


class Event(NamedTuple):
    """What torch.profiler says of one activity, in microseconds."""

    name: str
    start: float
    end: float
    device_type: DeviceType = DeviceType.CUDA
    is_user_annotation: bool = False

    @property
    def time_range(self) -> "Event":
        return self


def test_only_kernels_count_as_work_of_the_gpu(monkeypatch):
    """Two kernels of one call run for 3 and 2 ms, half a millisecond of it together: 9 ms of two calls."""
    events = [
        Event("gemm", 0, 3000),
        Event("relu", 2500, 4500),
        Event("gemm", 10_000, 13_000),
        Event("relu", 12_500, 14_500),
        Event("Memcpy HtoD (Pageable -> Device)", 20_000, 29_000),
        Event("Torch-Compiled Region", 0, 50_000, is_user_annotation=True),
        Event("aten::mm", 0, 60_000, DeviceType.CPU),
    ]

    @contextmanager
    def profile(activities: object) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(events=lambda: events)

    monkeypatch.setattr(gpu_clock, "profile", profile)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    assert gpu_clock.kernel_milliseconds(lambda: None, CUDA, calls=2) == 4.5


def test_waits_are_the_warnings_of_the_sync_debug_mode_and_the_mode_comes_back(monkeypatch):
    modes = ["default"]
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: modes[-1])
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)

    def iteration() -> None:
        assert modes[-1] == "warn"
        for _ in range(3):
            warnings.warn("called a synchronizing CUDA operation", UserWarning, stacklevel=1)
        warnings.warn("something else", UserWarning, stacklevel=1)

    assert gpu_clock.waits(iteration, CUDA, calls=4) == 3
    assert modes[-1] == "default"


def test_a_cpu_has_neither_kernels_nor_waits():
    assert gpu_clock.kernel_milliseconds(lambda: None, CPU) is None
    assert gpu_clock.waits(lambda: None, CPU) is None


def printed(monkeypatch, capsys, *words: object) -> list[str]:
    monkeypatch.setattr(sys, "argv", ["gpu", "--tiny", *map(str, words)])
    gpu.main()
    return capsys.readouterr().out.splitlines()


def test_rows_that_no_time_is_left_for_are_named(monkeypatch, capsys):
    """A row that takes for ever is stopped in the middle."""
    monkeypatch.setattr(gpu, "measured", lambda *given: time.sleep(60))
    lines = printed(monkeypatch, capsys, "--budget", 0.5)
    named = [
        f"left out: {task.title}: {how} (no time was left)" for task in gpu.tasks(True) for how in task.hows
    ]
    assert lines[-len(named) :] == named


def test_a_row_that_fails_is_named_with_the_reason_and_the_next_one_runs(monkeypatch, capsys):
    """A card with too little memory for one row still measures the others."""
    task = gpu.tasks(True)[1]._replace(hows=("naive eager", "ours eager"))
    monkeypatch.setattr(gpu, "tasks", lambda tiny: [task])

    def fails(*args: object, **options: object) -> None:
        raise torch.OutOfMemoryError("out of memory\nand more")

    monkeypatch.setattr(gpu, "naive", fails)
    lines = printed(monkeypatch, capsys)
    assert lines[-1] == f"left out: {task.title}: naive eager (OutOfMemoryError: out of memory)"
    assert lines[-2].startswith("1 rows in ")


@pytest.mark.slow
def test_every_row_runs_on_a_cpu_and_the_figures_are_written(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    lines = printed(monkeypatch, capsys, "--budget", 300, "--out", tmp_path / "figures.json")
    found = json.loads((tmp_path / "figures.json").read_text())
    wanted = [(task.title, how) for task in gpu.tasks(True) for how in task.hows]
    assert [(row["task"], row["how"]) for row in found["rows"]] == wanted
    assert found["left_out"] == {}
    assert {"card", "driver", "torch", "cuda", "seconds"} < set(found)
    for row in found["rows"]:
        assert set(row) == {*gpu.COLUMNS, "notes"}
        assert row["ms"] > 0
        assert row["draw_ms"] > 0
        assert row["kernels"] is None
    for title in {task.title for task in gpu.tasks(True)}:
        mine = [row for row in found["rows"] if row["task"] == title]
        assert all(row["times"] == mine[0]["ms"] / row["ms"] for row in mine)
    table = lines[2 : 2 + len(wanted)]
    assert [text[:71].split("  ")[0].strip() for text in table] == [title for title, _ in wanted]
    assert {len(text) for text in lines[1 : 2 + len(wanted)]} == {len(lines[1])}


def test_the_table_has_what_is_asked_of_it():
    """Naive loops, ours, graphs, ensembles of 16, R1 on the ResNet, GN's iteration in bfloat16 at both batches."""
    tasks = {task.title: task for task in gpu.tasks(False)}
    resnet = tasks["ResNet + R1, float32"]
    assert {"naive eager", "naive compiled", "ours compiled", "ours, graphs"} < set(resnet.hows)
    assert {"ours, graphs, 16 members"} <= set(tasks["ring MLP, FARGAN"].hows) & set(
        tasks["DCGAN, FARGAN"].hows
    )
    for batch in (64, 512):
        settings = tasks[f"GN's CNN, 5 D + 1 G, bfloat16, batch {batch}"].settings
        assert settings.get("batch", 64) == batch
        assert settings["dynamics"]["n_critic"] == 5
        assert settings["precision"] == "bfloat16"
