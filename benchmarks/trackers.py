"""What trackers add to a run: seconds from its first log to its last one, with a tracker and without, in turn.

    python -m benchmarks.trackers [NAME ...] [--recipe ring8-fargan] [--steps 3000] [--pairs 5]

Offline: wandb with WANDB_MODE=offline, MLflow and Trackio in a new folder. A run logs 200 times, as recipes do.
Both the seconds that pass and the processor's seconds of the process that trains are compared. Starting a tracker and
closing it lie before and after, and are printed alone.
"""

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from benchmarks import script
from steadygan import config
from steadygan.recipes.catalogue import find_recipe
from steadygan.runs.train import start
from steadygan.training.events import Progress

NAMES = ("wandb", "mlflow", "trackio")


class Seconds(NamedTuple):
    """Of a run between its first log and its last one, by the clock and of the processor; and of all."""

    clock: float
    processor: float
    all: float


def timed(raw: dict[str, Any], trackers: list[str], folder: Path) -> Seconds:
    """Train a run in a folder."""
    seen: list[tuple[float, float]] = []

    def sink(event: object) -> None:
        if isinstance(event, Progress):
            seen.append((time.perf_counter(), time.process_time()))

    began = time.perf_counter()
    settings = config.parse({**raw, "trackers": trackers})
    start(settings, folder, Console(quiet=True), sinks=[sink])
    ended = time.perf_counter()
    return Seconds(seen[-1][0] - seen[0][0], seen[-1][1] - seen[0][1], ended - began)


def main() -> None:
    """Print a line for each tracker: the medians of the ratios of runs that follow each other."""
    parser = script.parser(__doc__)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--recipe", default="ring8-fargan")
    parser.add_argument("--steps", type=script.positive, default=3000)
    parser.add_argument("--pairs", type=script.positive, default=5)
    asked = parser.parse_args()
    changes = [f"steps={asked.steps}", "compile=false", "threads=1"]
    raw = config.override(find_recipe(asked.recipe)[1], changes)
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {
            "WANDB_MODE": "offline",
            "MLFLOW_TRACKING_URI": f"sqlite:///{home}/mlflow.db",
            "TRACKIO_DIR": f"{home}/trackio",
        }
        for name in asked.names:
            rows = [
                [timed(raw, trackers, Path(home, f"{name}-{i}-{len(trackers)}")) for trackers in ([], [name])]
                for i in range(asked.pairs)
            ]
            clock, processor = (statistics.median(b[k] / a[k] for a, b in rows) for k in range(2))
            more = statistics.median(b.all - b.clock - (a.all - a.clock) for a, b in rows)
            per_step = 1000 * statistics.median(a.clock for a, _ in rows) / asked.steps
            print(
                f"{name:8} clock x{clock:.3f}  processor x{processor:.3f}  of {per_step:.2f} ms a step; "
                f"start and end {more:+.1f} s",
                flush=True,
            )


if __name__ == "__main__":
    script.run(main)
