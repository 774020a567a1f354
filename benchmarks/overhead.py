"""What the trainer adds to the steps of a run: logs, diagnostics, evaluations and checkpoints.

    python -m benchmarks.overhead [RECIPE ...] [--threads 1] [--data-root DIR]

Each recipe is trained for a few steps with every kind of event several times, and the seconds of each event are
measured, by the processor's time of the thread that trains. The share is the seconds of all events of the whole run, as
often as the recipe has them, in those of all its steps. Another thread draws pictures and writes checkpoints, which is
not counted. Settings are the recipe's own, compiled. The steps alone are measured as `benchmarks.step` measures them.
"""

import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks import script
from benchmarks.step import interleaved, ours
from steadygan import config
from steadygan.config.schema import with_root
from steadygan.errors import UsageError
from steadygan.recipes.catalogue import find_recipe
from steadygan.runs.train import start
from steadygan.training.events import Event, Progress, Scored, Snapshot, Statistics

RECIPES = ("ring8-fargan-paper", "digits-fargan", "fashion-mnist-fargan", "cifar10-gn-cnn-gn")
KINDS: dict[type, str] = {Statistics: "diagnostics", Scored: "score", Snapshot: "checkpoint"}
TIMES = 3
"""How often each kind of event comes."""


def run(raw: dict[str, Any], folder: Path, steps: int, every: dict[str, int]) -> list[tuple[Event, float]]:
    """The events of a run, with the processor's seconds at which training went on after each."""
    seen: list[tuple[Event, float]] = []
    settings = config.parse({**raw, "steps": steps, "every": every})
    start(
        settings, folder, Console(quiet=True), sinks=[lambda event: seen.append((event, time.thread_time()))]
    )
    return seen


def costs(raw: dict[str, Any], folder: Path, gap: int) -> dict[str, float]:
    """Median seconds of each kind of event but a log, in a run that has all of them every `gap` steps.

    The first ones wait for the compiler, or load what an evaluation needs.
    """
    found: dict[str, list[float]] = {kind: [] for kind in KINDS.values()}
    events = run(raw, folder, gap * TIMES, dict.fromkeys(("log", *found), gap))
    for (_, before), (event, after) in pairwise(events):
        if type(event) in KINDS:
            found[KINDS[type(event)]].append(after - before)
    return {kind: statistics.median(seconds[1:]) for kind, seconds in found.items()}


def of_a_log(raw: dict[str, Any], folder: Path, half: int) -> float:
    """Seconds of a log: what `half` steps take with a log each, less what they take with one."""
    total = {}
    for each in (1, half):
        every = {"log": each, **dict.fromkeys(KINDS.values(), 2 * half)}
        events = run(raw, folder / str(each), 2 * half, every)
        first, last = [
            at for event, at in events if isinstance(event, Progress) and event.step in (half, 2 * half)
        ]
        total[each] = last - first
    return max(0.0, total[1] - total[half]) / (half - 1)


def report(name: str, raw: dict[str, Any], repeats: int) -> None:
    """Print the share of a recipe's events, and of each kind, in the whole run."""
    whole = config.in_steps(config.parse(raw))
    raw = {**raw, "compile": True}
    step = ours(raw, 1)[0]
    began = time.perf_counter()
    step.iteration()
    calls = max(1, int(0.5 / (time.perf_counter() - began)))
    bare = interleaved({name: step._replace(calls=calls)}, repeats)[name] / 1e3
    with tempfile.TemporaryDirectory() as folder:
        few = min(max(3, int(0.5 / bare)), 500)
        each = {"log": of_a_log(raw, Path(folder), few), **costs(raw, Path(folder) / "run", few)}
    seconds = {kind: each[kind] * (whole.steps // int(getattr(whole.every, kind))) for kind in each}
    shares = {kind: value / (whole.steps * bare) for kind, value in seconds.items()}
    parts = "   ".join(f"{kind} {share:.2%} ({each[kind] * 1e3:.1f} ms)" for kind, share in shares.items())
    print(f"{name:22} a step {bare * 1e3:.2f} ms, all events {sum(shares.values()):.2%}: {parts}", flush=True)


def main() -> None:
    parser = script.parser(__doc__)
    parser.add_argument("recipes", nargs="*", default=RECIPES)
    parser.add_argument("--threads", type=script.positive, default=1)
    parser.add_argument("--repeats", type=script.positive, default=5)
    parser.add_argument("--data-root", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name in options.recipes:
        raw = {**find_recipe(name)[1], "threads": options.threads}
        try:
            report(name, with_root(raw, options.data_root), options.repeats)
        except UsageError as error:
            print(f"{name} is left out: {error}")


if __name__ == "__main__":
    script.run(main)
