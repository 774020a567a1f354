"""How fast a training step of images is on a CPU: naive loops, ours with and without graph passes, bfloat16.

    python -m benchmarks.images [--repeats 5] [--width 64] [--only TASK ...] [--recipes] [--out FILE]

One iteration is the critic's updates, then one of G, on random images and one thread. All candidates of a task take
turns in each repeat, so that load hits all alike. Times are medians in milliseconds; `times` is against the naive loop
in float32. The naive loops are what one writes by hand: modules, `.backward()`, `torch.optim`. Compiled, they have
torch.compile on G, and on D where its gradient is not differentiated again, which torch.compile cannot do. `gap` is the
largest difference of a player's first update from the uncompiled step, relative to that update. Rows in bfloat16 are
left out on processors without units for it.

`--recipes` times the first steps of each recipe that leaves its precision to the machine, in that precision and in
float32, uncompiled.
"""

import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks import gpu, script
from benchmarks.gpu import Task
from benchmarks.step import FASHION, Candidate, interleaved
from steadygan import config
from steadygan.build import Own, build
from steadygan.config import half
from steadygan.data import Data
from steadygan.errors import UsageError
from steadygan.game import State, Step
from steadygan.recipes.catalogue import find_recipe, recipe_names
from steadygan.training.compile.compiled_step import compiled

CPU = torch.device("cpu")
THREE = (3, 32, 32)
DCGAN = {**FASHION, "data": "own"}


def tasks(width: int) -> dict[str, Task]:
    """The tasks by name."""
    dcgan = {"name": "dcgan", "width": width}
    plain = {key: value for key, value in DCGAN.items() if key != "fake_as_real"}
    zero = {**plain, "networks": dcgan, "critic": {"penalties": [{"name": "zero_centered", "weight": 10}]}}
    return {
        "dcgan": Task("DCGAN with R1, 1x32x32", {**plain, "networks": dcgan}, "r1", (1, 32, 32), ()),
        "gn": Task(
            "GN's CNN, 5 D + 1 G, 3x32x32",
            {**gpu.GN, "networks": {"name": "gn_cnn", "width": width}},
            "gn",
            THREE,
            (),
        ),
        "resnet": Task(
            "FARGAN's ResNet with R1, 3x32x32",
            {**gpu.RESNET, "networks": {"name": "far_resnet", "width": width}},
            "r1",
            THREE,
            (),
        ),
        "0gp": Task("FARGAN's DCGAN with 0GP, 3x32x32", zero, "zero_centered", THREE, ()),
        "far": Task(
            "the same with fake-as-real, N0 = 32, f = 8",
            {**zero, "fake_as_real": {"count": 32, "pool": 8}},
            "zero_centered",
            THREE,
            (),
        ),
    }


def naive(task: Task, *, channels_last: bool = False, compiles: bool = False) -> Candidate:
    """The loop that one writes by hand, in float32."""
    settings = {**task.settings, "precision": "float32", "channels_last": channels_last}
    return Candidate(gpu.naive(task._replace(settings=settings), CPU, compiles=compiles).iteration, 1)


def ours(task: Task, precision: str, *, passes: bool) -> tuple[Candidate, float]:
    """Our compiled step with its own draws, and the difference of its first update from the uncompiled step."""
    settings = {**task.settings, "precision": precision, "channels_last": True}
    run = build(
        config.parse(settings), Own(data=Data("random", task.shape, rows=gpu.images(task.shape or THREE)))
    )
    step = compiled(run.step, print, precision, passes=passes)
    state, number = run.state, 0

    def iteration() -> None:
        nonlocal state, number
        state, _ = step(state, run.draws(number))
        number += 1

    return Candidate(iteration, 1), gap(run.state, step, run.step, run.draws(0))


def gap(state: State, fast: Step, eager: Step, draws: Any) -> float:
    """The largest relative difference of the gradients' first moments, or of the updates where there are none."""
    found, wanted = fast(state, draws)[0], eager(state, draws)[0]
    sizes = []
    for name, start in state.params.items():
        pairs = [(found.moments[name][key], wanted.moments[name][key]) for key in wanted.moments[name]]
        pairs = [pair for pair in pairs if pair[1].numel() > 1] or [
            (found.params[name] - start, wanted.params[name] - start)
        ]
        sizes += [float((mine - theirs).norm() / theirs.norm()) for mine, theirs in pairs]
    return max(sizes)


def table(task: Task, repeats: int) -> dict[str, Any]:
    """Medians of a task's candidates, and the differences of ours from the uncompiled step."""
    candidates: dict[str, Candidate] = {}
    gaps: dict[str, float] = {}
    if task.twin != "zero_centered":  # for the rows with fake-as-real, ours without it is the baseline
        candidates = {
            "naive loop": naive(task),
            "naive loop, channels-last": naive(task, channels_last=True),
            "naive loop, compiled": naive(task, compiles=True),
        }
    hows = {"ours, without passes": ("float32", False), "ours": ("float32", True)}
    if half.has_units(CPU):
        hows["ours, bfloat16"] = "bfloat16", True
    for how, (precision, passes) in hows.items():
        candidates[how], gaps[how] = ours(task, precision, passes=passes)
    medians = interleaved(candidates, repeats)
    return {"task": task.title, "ms": medians, "gap": gaps}


def show(found: dict[str, Any]) -> None:
    """Print a task's medians."""
    print(f"\n{found['task']}, one iteration, {torch.get_num_threads()} thread(s)")
    first = next(iter(found["ms"].values()))
    for how, value in found["ms"].items():
        gap = f"   gap {found['gap'][how]:.1e}" if how in found["gap"] else ""
        print(f"{how:28} {value:9.1f} ms   {first / value:5.2f}x{gap}", flush=True)


def recipes() -> None:
    """Print what the precision that the machine takes is worth, for each recipe that leaves it to the machine."""
    taken = half.chosen("auto", CPU)
    print(f"{'recipe':28} {taken:>12} ms   float32 ms   times")
    for name in recipe_names():
        raw = {**find_recipe(name)[1], "compile": False, "device": "cpu"}
        if raw.get("precision") == "auto":
            try:
                fast, plain = first_steps(raw, taken)
            except UsageError as error:
                print(f"{name} is left out: {error}")
                continue
            print(f"{name:28} {fast * 1e3:15.1f} {plain * 1e3:12.1f} {plain / fast:7.2f}", flush=True)


def first_steps(raw: dict[str, Any], taken: str, steps: int = 3) -> tuple[float, float]:
    """Seconds of an uncompiled step in a precision and in float32, which take turns: medians, without the first."""
    runs = [build(config.parse({**raw, "precision": precision})) for precision in (taken, "float32")]
    times: tuple[list[float], list[float]] = [], []
    for number in range(steps + 1):
        for run, own in zip(runs, times, strict=True):
            began = time.perf_counter()
            run.step(run.state, run.draws(number))
            own.append(time.perf_counter() - began)
    fast, plain = (statistics.median(own[1:]) for own in times)
    return fast, plain


def main() -> None:
    parser = script.parser(__doc__)
    parser.add_argument("--repeats", type=script.positive, default=5)
    parser.add_argument("--width", type=script.positive, default=64)
    parser.add_argument("--only", nargs="*", choices=list(tasks(64)))
    parser.add_argument("--recipes", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.recipes:
        return recipes()
    chosen = tasks(options.width)
    found = []
    for name in options.only or chosen:
        found.append(table(chosen[name], options.repeats))
        show(found[-1])
        if options.out:
            options.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    script.run(main)
