"""Runs on many processes: the same run as on one, an error said once, and a process that is lost ends all of them."""

import io
import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import yaml
from rich.console import Console
from safetensors.torch import load_file

from paths import ROOT
from small import RING
from steadygan import files
from steadygan.runs import train
from steadygan.training.checkpoint import checkpoints
from tests.runs import team_jobs

pytestmark = pytest.mark.slow

WAIT = 300
"""Seconds after which a process that does not end is a failure; the machine may have other work."""

ENSEMBLES = tuple(name for name in team_jobs.RECIPES if "member" in name)
RUNS = {2: tuple(name for name in team_jobs.RECIPES if name not in ENSEMBLES), 3: ("ring", *ENSEMBLES)}
"""What so many processes train: two share the rows of a run, and three share members, and rows of members."""

each_run = pytest.mark.parametrize(
    ("count", "name"), [(count, name) for count, names in RUNS.items() for name in (*names, "fit/run")]
)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def torchrun(*words: object) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", "--max-restarts", "0", *map(str, words)]


def alone(count: int, *words: object) -> list[str]:
    """The command that starts `count` processes on this machine."""
    return torchrun(
        "--nproc-per-node", count, "--master-addr", "127.0.0.1", "--master-port", free_port(), *words
    )


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}


@pytest.fixture(scope="module")
def teams(tmp_path_factory) -> dict[int, Path]:
    """The folder in which 1, 2 and 3 processes trained their runs.

    What three processes began, two continued after the second step, and one after the fourth. All workers of
    pytest-xdist share the folder.
    """
    root = tmp_path_factory.getbasetemp()
    at = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / "teams"
    folders = {count: at / str(count) for count in (1, 2, 3)}
    with files.alone(at):
        if not (folders[1] / "ended.json").exists():
            train_all(folders)
    return folders


def train_all(folders: dict[int, Path]) -> None:
    script, resumed = team_jobs.__file__, folders[2] / "resumed"
    for count, more in ((3, ()), (2, ("resume from 2", "other data", "errors"))):
        jobs = (*RUNS[count], "fit", *more)
        subprocess.run(
            alone(count, script, folders[count], *jobs), env=environment(), check=True, timeout=WAIT
        )
        if count == 3:
            shutil.copytree(folders[3] / "ring", resumed)
    team_jobs.job("resume from 4", folders[2])
    folders[1].mkdir()
    ended = {name: str(team_jobs.job(name, folders[1])) for name in (*team_jobs.RECIPES, "fit")}
    (folders[1] / "ended.json").write_text(json.dumps(ended))


def events(folder: Path) -> list[dict]:
    lines = (folder / "events.jsonl").read_text().splitlines()
    return [{key: kept for key, kept in json.loads(line).items() if key != "wall_s"} for line in lines]


def close(one: object, other: object) -> bool:
    """Whether two values of events are the same to 1e-9."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(close, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12) or (
            math.isnan(one) and math.isnan(other)
        )
    return one == other


def assert_same_run(one: Path, other: Path) -> None:
    """The same events, checkpoints and protocol."""
    assert len(events(one)) == len(events(other))
    for here, there in zip(events(one), events(other), strict=True):
        assert here.keys() == there.keys()
        assert [key for key in here if not close(here[key], there[key])] == []
    names = [path.name for path in checkpoints(one / "checkpoints")]
    assert names == [path.name for path in checkpoints(other / "checkpoints")]
    for name in names:
        here, there = (load_file(at / "checkpoints" / name / "state.safetensors") for at in (one, other))
        assert here.keys() == there.keys()
        for key in here:
            torch.testing.assert_close(here[key], there[key], rtol=1e-9, atol=1e-12, equal_nan=True)
    assert (one / "evaluation.json").read_bytes() == (other / "evaluation.json").read_bytes()
    assert (one / "config.yaml").read_bytes() == (other / "config.yaml").read_bytes()


@each_run
def test_a_run_is_the_same_on_any_number_of_processes(teams, name, count):
    assert_same_run(teams[1] / name, teams[count] / name)


def test_a_run_that_changes_its_number_of_processes_is_one_that_never_stopped(teams):
    assert_same_run(teams[1] / "ring", teams[2] / "resumed")


@pytest.mark.parametrize("count", [2, 3])
def test_fit_gives_the_trained_weights_to_the_modules_of_every_process(teams, count):
    told = [torch.load(at / "fit" / "modules.pt") for at in (teams[count], *teams[count].glob("rank*"))]
    assert len(told) == count
    for modules in told:
        torch.testing.assert_close(
            modules, torch.load(teams[1] / "fit" / "modules.pt"), rtol=1e-9, atol=1e-12
        )


@pytest.mark.parametrize("count", [2, 3])
def test_all_processes_agree_on_how_a_run_ended(teams, count):
    here = json.loads((teams[1] / "ended.json").read_text())
    assert here["ring"] == "None"
    assert "members=[2]" in here["a member diverges"]
    told = [json.loads(path.read_text()) for path in teams[count].glob("**/ended.json")]
    assert len(told) == count
    wanted = {name: here[name] for name in (*RUNS[count], "fit")}
    for ended in told:
        assert {name: ended[name] for name in wanted} == wanted


def test_the_first_process_alone_writes_in_the_run_folder(teams):
    written = [path.name for at in teams[3].glob("rank*") for path in at.rglob("*") if path.is_file()]
    assert sorted(set(written)) == ["ended.json", "modules.pt"]


def test_an_error_is_said_once(teams):
    told = [json.loads((at / "ended.json").read_text()) for at in (teams[2], teams[2] / "rank1")]
    for name, said in team_jobs.MISTAKES.items():
        first, second = (json.loads(each["errors"])[name] for each in told)
        assert (first["code"], second["code"]) == (2, 2), name
        assert said in first["err"], name
        assert len(first["err"].splitlines()) == 1, name
        assert second["err"] == "", name
    assert not (teams[2] / "small").exists()


def test_processes_with_different_data_are_refused(teams):
    for at in (teams[2], teams[2] / "rank1"):
        assert (
            "process 1 has other training data" in json.loads((at / "ended.json").read_text())["other data"]
        )
        assert not (at / "other data").exists()


# -------------------------------------------------------------------------------------------------- lost processes


def descendants(pid: int) -> list[int]:
    """A process, and those that it and they started."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [pid, *(one for child in text.split() for one in descendants(int(child)))]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def is_first(pid: int) -> bool:
    """Whether this is the first process of a run."""
    return "RANK=0" in Path(f"/proc/{pid}/environ").read_text().split("\0")


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + WAIT
    while not true():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


@pytest.fixture
def agents(tmp_path) -> Iterator[Callable[[int, list[str]], list[subprocess.Popen]]]:
    """`agents(2, torchrun(...))`: that many agents of a run in `run` that does not end by itself, in mid-run."""
    recipe = {**RING, "steps": 10**6, "every": {"log": 20, "score": 10**6, "checkpoint": 20}}
    (tmp_path / "ring.yaml").write_text(yaml.safe_dump(recipe))
    started: list[subprocess.Popen] = []

    def start(count: int, words: list[str]) -> list[subprocess.Popen]:
        words = [*words, "-m", "steadygan", "train", "ring.yaml", "--out", "run"]
        for number in range(count):
            with (tmp_path / f"{number}.err").open("wb") as err:
                started.append(subprocess.Popen(words, cwd=tmp_path, env=environment(), stderr=err))
        until(lambda: len(checkpoints(tmp_path / "run" / "checkpoints")) > 1)
        return started

    yield start
    for agent in started:
        for pid in descendants(agent.pid):
            os.kill(pid, signal.SIGKILL)
        agent.wait(WAIT)


def errors(file: Path) -> list[str]:
    return [line for line in file.read_text().splitlines() if line.startswith("error: ")]


@pytest.mark.timeout(3 * WAIT)
def test_the_processes_that_are_left_say_so_when_the_first_one_is_killed(agents, tmp_path):
    [agent] = agents(1, alone(2))
    left = descendants(agent.pid)
    os.kill(next(pid for pid in left if is_first(pid)), signal.SIGKILL)
    assert agent.wait(WAIT) != 0
    assert not [pid for pid in left if alive(pid)]
    [told] = errors(tmp_path / "0.err")
    assert "another process of this run has ended" in told or "interrupted: resume from" in told


def bits(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(checkpoints(folder / "checkpoints")[-1] / "state.safetensors")


@pytest.mark.timeout(3 * WAIT)
def test_a_machine_that_is_lost_ends_the_run_and_one_machine_resumes_it(agents, tmp_path):
    folder = tmp_path / "run"
    endpoint = ("--rdzv-backend", "c10d", "--rdzv-id", "ring", "--rdzv-endpoint", f"127.0.0.1:{free_port()}")
    nodes = agents(2, torchrun("--nnodes", 2, "--nproc-per-node", 1, *endpoint))
    first = next(number for number in range(2) if any(map(is_first, descendants(nodes[number].pid))))
    left = descendants(nodes[first].pid)
    for pid in descendants(nodes[1 - first].pid):
        os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    assert nodes[first].wait(WAIT) != 0
    print(f"ended after {time.monotonic() - began:.1f} s")
    assert not [pid for pid in left if alive(pid)]
    [told] = errors(tmp_path / f"{first}.err")
    # torchrun may see it first, and then interrupts the process that is left.
    assert "another process of this run has ended" in told or "interrupted: resume from" in told
    step = int(checkpoints(folder / "checkpoints")[-1].name[5:])
    shutil.copytree(folder, tmp_path / "copy")
    for at, ends in ((tmp_path / "copy", (40,)), (folder, (20, 40))):
        for more in ends:
            train.resume(at, [f"steps={step + more}"], Console(file=io.StringIO()))
    here, there = bits(folder), bits(tmp_path / "copy")
    assert here.keys() == there.keys()
    assert all(torch.equal(here[key], there[key]) for key in here)
