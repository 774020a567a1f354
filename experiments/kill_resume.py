"""Kill a run again and again, resume it each time, and see whether its bits are those of a run left in peace.

    python -m experiments.kill_resume [--kills 20] [--steps 2000] [--no-compile] [--out FOLDER]

Every kill is a SIGKILL to a real `steadygan train` or `steadygan resume` of digits-fargan. A third of them come at
a random moment of the process's life (imports and compiling included), a third at a random step, a third at the
moment when a checkpoint is being written. Exit code 0 when every tensor of the last checkpoint and every logged
number are equal to those of the run that nobody killed.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file

from benchmarks import script

KINDS = ("any moment", "at a step", "while saving")


def main() -> int:
    options = parse()
    folder = Path(options.out or tempfile.mkdtemp(prefix="kill-resume-"))
    changes = [
        f"steps={options.steps}",
        f"compile={'true' if options.compile else 'false'}",
        f"every.log={max(1, options.steps // 400)}",
        "every.score=25%",
        f"every.checkpoint={max(1, options.steps // 200)}",
        "threads=1",
    ]
    chance = random.Random(options.seed)
    print(f"{options.kills} kills, {options.steps} steps, seed {options.seed}, in {folder}")

    began = time.perf_counter()
    run(["train", "digits-fargan", *changes, "--out", str(folder / "whole")]).wait()
    peace = time.perf_counter() - began
    print(f"left in peace: {peace:.0f} s")

    killed = folder / "killed"
    targets = sorted(chance.sample(range(1, options.steps * 95 // 100), options.kills))
    command = ["train", "digits-fargan", *changes, "--out", str(killed)]
    print(
        f"{'kill':>4}  {'aimed at':14}{'seconds':>8}{'last line':>10}{'newest':>8}  half-written checkpoint"
    )
    for number, target in enumerate(targets, 1):
        # The first process must live to its first checkpoint: before that there is nothing to resume.
        kind = "at a step" if number == 1 else KINDS[chance.randrange(3)]
        done = kill(
            command, killed, kind, max(target, options.steps // 100) if number == 1 else target, chance, peace
        )
        if done is None:
            print(f"{number:>4}  {kind:14}the process ended before it could be killed")
            break
        partial = sorted(p.name for p in (killed / "checkpoints").glob(".*"))
        print(
            f"{number:>4}  {kind:14}{done:>8.1f}{last_step(killed):>10}{newest_step(killed):>8}  "
            f"{', '.join(partial) or '-'}",
            flush=True,
        )
        command = ["resume", str(killed)]
    if run(command).wait():
        print("the last resume failed")
        return 1
    return verdict(folder)


def parse() -> argparse.Namespace:
    parser = script.parser(__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--no-compile", dest="compile", action="store_false")
    parser.add_argument(
        "--seed", type=int, default=time.time_ns() % 10**6, help="of the moments of the kills"
    )
    parser.add_argument("--out", help="an empty folder; a temporary one when not given")
    return parser.parse_args()


def run(words: list[str]) -> subprocess.Popen:
    """A real command, its output thrown away but for what it says of errors."""
    return subprocess.Popen([sys.executable, "-m", "steadygan", *words], stdout=subprocess.DEVNULL)


def kill(
    command: list[str], folder: Path, kind: str, target: int, chance: random.Random, peace: float
) -> float | None:
    """Start `command` and kill it as `kind` says; return how long it lived, None when it ended by itself."""
    began = time.perf_counter()
    process = run(command)
    if kind == "any moment":
        limit = began + chance.uniform(0, peace / 2)
        further = max(target, last_step(folder) + 1)  # at most: steps have to be left for the kills that come
        reached: Callable[[], bool] = lambda: time.perf_counter() >= limit or last_step(folder) >= further  # noqa: E731
    elif kind == "at a step":
        late, target = chance.uniform(0, 0.05), max(target, last_step(folder) + 1)
        reached = lambda: last_step(folder) >= target and newest_step(folder) >= 0 and not time.sleep(late)  # noqa: E731
    else:
        late = chance.uniform(0, 0.004)
        reached = lambda: saving(folder, process.pid, began) and not time.sleep(late)  # noqa: E731
    while not reached():
        if process.poll() is not None:
            return None
        time.sleep(0.0002 if kind == "while saving" else 0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return None if process.returncode == 0 else time.perf_counter() - began


def saving(folder: Path, pid: int, began: float) -> bool:
    """Whether a checkpoint is being written by this process: a folder of that kind younger than it."""
    born = time.time() - (time.perf_counter() - began)
    for partial in (folder / "checkpoints").glob(".*.partial"):
        try:
            if partial.stat().st_mtime >= born:
                return True
        except OSError:
            pass  # it was finished in between
    return False


def last_step(folder: Path) -> int:
    try:
        with (folder / "events.jsonl").open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4000))
            whole = [line for line in file.read().splitlines()[1:] if line.endswith(b"}")]
        return json.loads(whole[-1])["step"] if whole else 0
    except OSError:
        return 0


def newest_step(folder: Path) -> int:
    steps = [int(path.name[5:]) for path in (folder / "checkpoints").glob("step-*")]
    return max(steps, default=-1)


def verdict(folder: Path) -> int:
    last = [max((folder / name / "checkpoints").glob("step-*")) for name in ("whole", "killed")]
    whole, killed = (load_file(path / "state.safetensors") for path in last)
    differ = [name for name in whole if name not in killed or not torch.equal(whole[name], killed[name])]
    lines = [events(folder / name) for name in ("whole", "killed")]
    alike = "equal" if lines[0] == lines[1] else "NOT equal"
    print(f"{last[0].name} and {last[1].name}: {len(whole)} tensors, {len(differ)} differ {differ[:3] or ''}")
    print(f"{len(lines[0])} and {len(lines[1])} lines of events, {alike} but for the time")
    same = (
        last[0].name == last[1].name and not differ and whole.keys() == killed.keys() and lines[0] == lines[1]
    )
    print("bit for bit the run that nobody killed" if same else "NOT the run that nobody killed")
    if same:
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if same else 1


def events(folder: Path) -> list[dict]:
    found = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return [{key: value for key, value in event.items() if key != "wall_s"} for event in found]


if __name__ == "__main__":
    script.run(main)
