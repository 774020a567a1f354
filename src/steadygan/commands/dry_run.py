"""What a run would be, before it is run: its configuration, its networks, and what a step costs."""

import math
import os
import statistics
import time
from typing import Any, NamedTuple

from rich.console import Console
from torch import Tensor
from torch.utils._pytree import tree_map

from steadygan import config
from steadygan.build import Run, build
from steadygan.config import Config
from steadygan.game.state import Step, member
from steadygan.training.compile.compiled_step import vectorised
from steadygan.training.compile.cpu import threads
from steadygan.training.flop_meter import Meter

__all__ = ["Cost", "cost", "counted", "parameters", "preview"]

TIMED, QUICK = 5, 1.0
"""How often a step is timed again that takes so few seconds."""

TRIED = 10**12
"""FLOPs of the largest step that a processor is given to try: tens of seconds."""


class Trial(NamedTuple):
    """What a step was found to cost; `seconds` is None where it was too large to be taken."""

    flops: int
    peak: int
    seconds: float | None


def preview(settings: Config, console: Console) -> None:
    """Print the resolved configuration, parameter counts, FLOPs, memory and expected time of a step.

    The cost is that of a real eager step on a real batch, unless this processor would take minutes for it, or more
    memory than there is: then of a step without contents. Nothing is written.
    """
    run = build(settings)
    console.print(config.dump(settings), end="", markup=False, highlight=False, soft_wrap=True)
    same = settings.model_copy(update=_contentless(settings.precision))
    found = _foreseen(run, run if settings.precision == same.precision else build(same)) or _tried(
        run, settings.threads
    )
    most = (
        "at most about " if found.seconds is None else ""
    )  # some operations are not in place without contents
    facts = {
        "parameters": ", ".join(f"{name} {count:,}" for name, count in parameters(run).items()),
        "members": f"{len(run.members)}",
        "a step": f"{found.flops / 1e6:,.1f} MFLOP, {most}{found.peak / 2**20:,.1f} MiB at its peak beside the state",
        "expected time": _expected(found, settings.steps, settings.compile is not False),
    }
    for name, fact in facts.items():
        console.print(f"# {name}: {fact}", markup=False, highlight=False, soft_wrap=True)


def _foreseen(run: Run, same: Run) -> Trial | None:
    """A step's cost, counted on the `same` run without autocast, where a processor is not to try it; else None."""
    if run.device.type != "cpu":
        return None
    meter = counted(same)
    small = meter.flops <= TRIED and meter.peak <= memory() / 2
    return None if small else Trial(meter.flops, meter.peak, None)


def memory() -> float:
    """This machine's memory in bytes, infinite where that is not known."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return math.inf


def _tried(run: Run, count: int | None) -> Trial:
    step = vectorised(run.step) if run.ensemble else run.step
    batch = run.draws(0)
    with threads(count):
        with Meter() as meter:
            times = [_timed(step, run, batch)]
        if times[0] < QUICK:
            times = [_timed(step, run, batch) for _ in range(TIMED)]
    return Trial(meter.flops, meter.peak, statistics.median(times))


def _timed(step: Step, run: Run, batch: Any) -> float:
    began = time.perf_counter()
    step(run.state, batch)
    return time.perf_counter() - began


def _expected(found: Trial, steps: int, compiled: bool) -> str:
    if found.seconds is None:
        total = f"{found.flops * steps:.1e} FLOP in all"
        return f"unknown; {total}, of which this processor is not given a step to try"
    said = f"{_duration(found.seconds * steps)} uncompiled ({found.seconds * 1e3:,.1f} ms a step)"
    return said + (", less when compiled; compiling takes 10 to 60 s" if compiled else "")


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


class Cost(NamedTuple):
    """How many parameters each player of a member has, and the FLOPs of all steps of all members."""

    parameters: dict[str, int]
    flops: int


def cost(config: Config) -> Cost:
    """Count on tensors without contents: matrix products and convolutions, as `train --dry-run` counts them.

    A step is the mean over those after which penalties that are not taken at each step, and the rule, begin anew.
    """
    run = build(config.model_copy(update=_contentless(config.precision)))
    period = math.lcm(run.rule.period, *(term.interval for term in config.critic.penalties))
    flops = sum(counted(run, number).flops for number in range(period))
    return Cost(parameters(run), flops * config.steps // period)


def _contentless(precision: str) -> dict[str, str]:
    """The changes with which tensors without contents can take a step: on the CPU, without autocast."""
    return {"device": "cpu", "precision": "float64" if precision == "float64" else "float32"}


def counted(run: Run, number: int = 0) -> Meter:
    """A meter of one step of all members, taken without computing anything: `flops` and `peak`."""
    state, draws = run.state, run.draws(number)
    if run.ensemble:
        state, draws = member(state, 0), tree_map(lambda leaf: leaf[0], draws)
    with Meter() as meter:
        run.step(_empty(state), _empty(draws))
    meter.flops, meter.peak = meter.flops * len(run.members), meter.peak * len(run.members)
    return meter


def parameters(run: Run) -> dict[str, int]:
    """How many parameters each player has."""
    return {
        name: sum(p.numel() for p in player.network.module.parameters())
        for name, player in run.game.players.items()
    }


def _empty(tree: Any) -> Any:
    return tree_map(lambda leaf: leaf.to("meta") if isinstance(leaf, Tensor) else leaf, tree)
