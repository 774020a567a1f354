"""A sweep on Ray: two nodes of which one is killed, ASHA, and going on. And what a run reports, without Ray."""

import json
import math
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from small import RING
from steadygan.commands import sweep as module
from steadygan.commands.sweep import resume_sweep, sweep
from steadygan.recipes.catalogue import find_recipe
from steadygan.runs import train
from steadygan.runs.sweeps import ray_tune
from steadygan.training import checkpoint

STORE = 100 * 2**20
"""Bytes of a node's object store, which a sweep hardly uses."""


@pytest.fixture
def cluster(monkeypatch):
    """Two nodes with a processor each, on this machine."""
    ray = pytest.importorskip("ray", reason="the extra `ray` is not installed: pip install 'steadygan[ray]'")
    from ray.cluster_utils import Cluster

    small = {"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=small)
    made.add_node(**small)
    monkeypatch.setenv("RAY_ADDRESS", made.address)  # as a user names a cluster
    yield made
    ray.shutdown()
    made.shutdown()


def newest(folder):
    return load_file(checkpoint.checkpoints(folder / "checkpoints")[-1] / "state.safetensors")


def step_of(folder):
    lines = (folder / "events.jsonl").read_text().splitlines()[:-1]  # the last one may be torn
    return json.loads(lines[-1])["step"] if lines else 0


def held_by(parent: int, folder: Path) -> list[Path]:
    """The run folders of a sweep that the children of a process have locked."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if int((process / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                found += [link.resolve() for link in (process / "fd").iterdir()]
        except OSError:  # it has ended
            continue
    return [path for path in found if path.parent == folder]


def killer(cluster, folder: Path, steps: int, caught: list) -> None:
    """Kill the second node as soon as it is in the middle of a run that has a checkpoint."""
    node = cluster.worker_nodes.copy().pop()
    raylet = node.all_processes["raylet"][0].process.pid
    until = time.monotonic() + 240
    while time.monotonic() < until and not caught:
        for run in held_by(raylet, folder):
            if checkpoint.checkpoints(run / "checkpoints") and step_of(run) < steps // 2:
                cluster.remove_node(node, allow_graceful=False)
                caught.append(run)
                return
        time.sleep(0.02)


RAW = {**RING, "threads": 1, "every": {"log": 1, "score": 2, "checkpoint": 2}}


@pytest.fixture
def reports(monkeypatch):
    """What is reported to Ray Tune, which need not be there."""
    found: list[dict] = []
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(tune=SimpleNamespace(report=found.append)))
    return found


def scored(folder):
    lines = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return [(line["step"], line["mode_kl"]) for line in lines if "mode_kl" in line]


def test_a_run_reports_its_evaluations_and_at_the_end_its_state(reports, tmp_path):
    ray_tune._trial(str(tmp_path / "r"), RAW, "mode_kl", True)
    assert [(each["step"], each["score"]) for each in reports] == scored(tmp_path / "r")
    assert [each["step"] for each in reports] == [0, 2, 4, 6]
    assert [each.get("state") for each in reports] == [None, None, None, "done"]


def test_a_run_that_goes_on_reports_what_it_had_and_then_what_is_new(reports, tmp_path, quiet):
    train.start(train.config.parse({**RAW, "steps": 4}), tmp_path / "r", quiet)
    text = (tmp_path / "r" / "config.yaml").read_text()
    (tmp_path / "r" / "config.yaml").write_text(text.replace("steps: 4", "steps: 6"))  # as if it was killed
    ray_tune._trial(str(tmp_path / "r"), RAW, "mode_kl", True)
    assert [each["step"] for each in reports] == [0, 2, 4, 6]
    assert [(each["step"], each["score"]) for each in reports] == scored(tmp_path / "r")


def test_a_run_that_has_ended_only_reports(reports, tmp_path, quiet):
    train.start(train.config.parse(RAW), tmp_path / "r", quiet)
    before = (tmp_path / "r" / "events.jsonl").read_bytes()
    ray_tune._trial(str(tmp_path / "r"), RAW, "mode_kl", False)
    assert [each["step"] for each in reports] == [0, 2, 4, 6]
    assert (tmp_path / "r" / "events.jsonl").read_bytes() == before


@pytest.mark.parametrize(("by", "worst"), [("mode_kl", math.inf), ("modes", -math.inf)])
def test_a_run_without_a_score_reports_the_worst_one(reports, tmp_path, by, worst):
    raw = {**RAW, "stop": {"log": "no/such/log", "below": 1}}
    ray_tune._trial(str(tmp_path / "r"), raw, by, True)
    assert [(each["step"], each["score"]) for each in reports] == [(0, worst)]
    assert reports[0]["state"].startswith("failed: stop.log")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
@pytest.mark.timeout(600)
def test_a_node_is_killed_and_all_runs_end_as_in_a_sweep_without_ray(cluster, tmp_path, quiet, monkeypatch):
    steps = 400
    raw = {
        **RING,
        "steps": steps,
        "threads": 1,
        "every": {"log": 10, "score": steps, "checkpoint": 30, "diagnostics": 200},
    }
    how = [
        "batch=[4, 8]",
        "optimizer=[{name: sgd, lr: 0.01}, {name: adam, lr: 0.01}]",
    ]
    caught: list[Path] = []
    folder = tmp_path / "ray"
    watcher = threading.Thread(target=killer, args=(cluster, folder, steps, caught))
    watcher.start()
    found = sweep(raw, how, folder, quiet, by="mode_kl")
    watcher.join()
    assert len(caught) == 1, "no run was caught in the middle"
    assert not cluster.worker_nodes
    monkeypatch.setattr(module, "_ray_is_here", lambda: False)
    wanted = sweep(raw, how, tmp_path / "plain", quiet, by="mode_kl")
    assert {row.state for row in found} == {"done"}
    assert len(found) == 4
    assert [row._replace(seconds=0) for row in found] == [row._replace(seconds=0) for row in wanted]
    for row in found:
        mine, plain = (newest(tmp_path / place / row.run) for place in ("ray", "plain"))
        assert mine.keys() == plain.keys()
        assert [name for name in mine if not torch.equal(mine[name], plain[name])] == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_asha_ends_the_worst_early_and_a_sweep_that_goes_on_keeps_what_ended(cluster, tmp_path, quiet):
    """The Dirac-GAN with R1: below the critical damping a larger rate is nearer the equilibrium at every rung."""
    raw = {**find_recipe("dirac-r1")[1], "steps": 90, "threads": 1, "compile": False}
    raw |= {"every": {"log": 10, "score": 10, "checkpoint": 10}}
    rates = (0.1, 0.05, 1e-3, 5e-4, 2e-4)
    how = ["optimizer=[" + ", ".join(f"{{name: sgd, lr: {rate}}}" for rate in rates) + "]"]
    found = sweep(raw, how, tmp_path / "s", quiet, by="distance")
    assert (found[0].state, found[0].step) == ("done", 90)
    assert found[0].point["optimizer"]["lr"] in rates[:2]
    halted = [row for row in found if row.state == "stopped by ASHA"]
    assert halted
    assert {row.step for row in halted} <= {10, 30}
    table = tmp_path / "s" / "table.json"
    raw_table = json.loads(table.read_text())
    raw_table["rows"] = [
        row for row in raw_table["rows"] if row["run"] != found[0].run
    ]  # killed before its row
    table.write_text(json.dumps(raw_table))
    again = resume_sweep(tmp_path / "s", quiet)
    assert [row._replace(seconds=0) for row in again] == [row._replace(seconds=0) for row in found]
