"""What the trainer adds to the steps of a run: logs, diagnostics, evaluations and checkpoints.

    python -m benchmarks.overhead [RECIPE ...] [--threads 1] [--data-root DIR]

Each recipe is trained for a few steps with every kind of event several times, and the seconds of each event are
measured. The share is the seconds of all events of the whole run, as often as the recipe has them, in those of all its
steps. Checkpoints are written beside training, on another core where there is one: what training waits for is counted.
Settings are the recipe's own, compiled; the steps alone are measured as `benchmarks.step` measures them.
"""

import statistics
import tempfile
import time
from collections import defaultdict
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
KINDS = {Progress: "log", Statistics: "diagnostics", Scored: "score", Snapshot: "checkpoint"}
TIMES = 3
"""How often each kind of event comes."""


def costs(raw: dict[str, Any], folder: Path, gap: int, bare: float) -> dict[str, float]:
    """Median seconds of each kind of event, in a run that has all of them every `gap` steps of `bare` seconds."""
    every = dict.fromkeys(KINDS.values(), gap)
    settings = config.parse({**raw, "steps": gap * TIMES, "every": every})
    found: dict[str, list[float]] = defaultdict(list)
    before = time.perf_counter()

    def seen(event: Event) -> None:
        nonlocal before
        now = time.perf_counter()
        if type(event) in KINDS:
            steps = (
                gap * bare if isinstance(event, Progress) else 0.0
            )  # a log line is the first event after steps
            found[KINDS[type(event)]].append(max(0.0, now - before - steps))
        before = time.perf_counter()

    start(settings, folder, Console(quiet=True), sinks=[seen])
    # The first ones wait for the compiler, or load what an evaluation needs.
    return {kind: statistics.median(seconds[1:]) for kind, seconds in found.items()}


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
        each = costs(raw, Path(folder) / "run", max(2, int(0.1 / bare)), bare)
    seconds = {kind: each[kind] * (whole.steps // int(getattr(whole.every, kind))) for kind in each}
    shares = {kind: value / (whole.steps * bare) for kind, value in seconds.items()}
    parts = "   ".join(f"{kind} {share:.2%} ({each[kind] * 1e3:.1f} ms)" for kind, share in shares.items())
    print(f"{name:22} a step {bare * 1e3:.2f} ms, all events {sum(shares.values()):.2%}: {parts}", flush=True)


def main() -> None:
    parser = script.parser(__doc__)
    parser.add_argument("recipes", nargs="*", default=RECIPES)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--data-root", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name in options.recipes:
        raw = {**find_recipe(name)[1], "threads": options.threads}
        try:
            report(name, with_root(raw, options.data_root), options.repeats)
        except UsageError as error:
            print(f"{name} is left out: {error}")
