"""What a run would be, before it is run: its configuration, its networks, and what a step costs."""

import statistics
import time

from rich.console import Console

from steadygan import config
from steadygan.build import Run, build
from steadygan.config import Config
from steadygan.meter import Meter
from steadygan.processor import threads
from steadygan.program import vectorised

__all__ = ["preview"]

TIMED = 5


def preview(settings: Config, console: Console) -> None:
    """Print the resolved configuration, parameter counts, FLOPs, memory and expected time of a step.

    The cost is that of a real eager step on a real batch; nothing is written.
    """
    run = build(settings)
    console.print(config.dump(settings), end="", markup=False, highlight=False, soft_wrap=True)
    step = vectorised(run.step) if run.ensemble else run.step
    batch = run.draws(0)
    times = []
    with threads(settings.threads):
        with Meter() as meter:
            step(run.state, batch)
        for _ in range(TIMED):
            began = time.perf_counter()
            step(run.state, batch)
            times.append(time.perf_counter() - began)
    seconds = statistics.median(times)
    facts = {
        "parameters": ", ".join(f"{name} {count:,}" for name, count in parameters(run).items()),
        "members": f"{len(run.members)}",
        "a step": f"{meter.flops / 1e6:,.1f} MFLOP, {meter.peak / 2**20:,.1f} MiB at its peak beside the state",
        "expected time": f"{_duration(seconds * settings.steps)} uncompiled ({seconds * 1e3:,.1f} ms a step)",
    }
    if settings.compile:
        facts["expected time"] += ", less when compiled; compiling takes 10 to 60 s"
    for name, fact in facts.items():
        console.print(f"# {name}: {fact}", markup=False, highlight=False, soft_wrap=True)


def parameters(run: Run) -> dict[str, int]:
    """How many parameters each player has."""
    return {
        name: sum(p.numel() for p in player.network.module.parameters())
        for name, player in run.game.players.items()
    }


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
