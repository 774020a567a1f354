"""What `train --dry-run` prints: the configuration, the number of parameters, and the cost of a step."""

import math
import os
import statistics
import time
from typing import Any, NamedTuple

import torch
from rich.console import Console
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from steadygan import config
from steadygan.build import NOTHING, Own, Run, build
from steadygan.config import Config
from steadygan.game.state import Step, member
from steadygan.training.compile.compiled_step import vectorised
from steadygan.training.compile.cpu import threads
from steadygan.training.flop_meter import Meter

__all__ = ["Cost", "cost", "count_flops", "dry_run", "fits", "parameters"]

TIMED, QUICK = 5, 1.0
"""A step that takes less than QUICK seconds is timed TIMED more times."""

LARGEST = 10**12
"""FLOPs of the largest step that is run on a CPU to time it: it takes tens of seconds."""


class StepCost(NamedTuple):
    """The cost of one step: FLOPs, peak memory in bytes, and seconds, or None if the step was too large to run."""

    flops: int
    peak: int
    seconds: float | None


def dry_run(settings: Config, console: Console, own: Own = NOTHING) -> None:
    """Print the resolved configuration, the number of parameters, and FLOPs, memory and time of a step.

    The cost is measured on one eager step with a real batch. A step that would take minutes on the CPU, or more
    memory than the machine has, is counted on meta tensors instead. Nothing is written.
    """
    run = build(settings, own)
    console.print(config.dump(settings), end="", markup=False, highlight=False, soft_wrap=True)
    same = settings.model_copy(update=_meta_settings(settings.precision))
    found = _too_large(run, run if settings.precision == same.precision else build(same, own)) or _measured(
        run, settings.threads
    )
    # An upper bound on meta tensors, where some operations are not done in place.
    most = "at most about " if found.seconds is None else ""
    facts = {
        "parameters": ", ".join(f"{name} {count:,}" for name, count in parameters(run).items()),
        "members": f"{len(run.members)}",
        "a step": f"{found.flops / 1e6:,.1f} MFLOP, {most}{found.peak / 2**20:,.1f} MiB peak memory beside the state",
        "expected time": _expected(found, settings.steps, settings.compile is not False),
    }
    for name, fact in facts.items():
        console.print(f"# {name}: {fact}", markup=False, highlight=False, soft_wrap=True)


def _too_large(run: Run, same: Run) -> StepCost | None:
    """The cost of a step that is too large to run on this CPU, counted on the `same` run without autocast."""
    if run.device.type != "cpu":
        return None
    meter = count_flops(same)
    small = meter.flops <= LARGEST and meter.peak <= memory() / 2
    return None if small else StepCost(meter.flops, meter.peak, None)


def memory() -> float:
    """This machine's memory in bytes, or infinity where it is unknown."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return math.inf


def _measured(run: Run, count: int | None) -> StepCost:
    step = vectorised(run.step) if run.ensemble else run.step
    batch = run.draws(0)
    with threads(count):
        with Meter() as meter:
            times = [_timed(step, run, batch)]
        if times[0] < QUICK:
            times = [_timed(step, run, batch) for _ in range(TIMED)]
    return StepCost(meter.flops, meter.peak, statistics.median(times))


def _timed(step: Step, run: Run, batch: Any) -> float:
    began = time.perf_counter()
    step(run.state, batch)
    return time.perf_counter() - began


def _expected(found: StepCost, steps: int, compiled: bool) -> str:
    if found.seconds is None:
        return (
            f"unknown; {found.flops * steps:.1e} FLOP in all, and one step is too large to time on this CPU"
        )
    text = f"{_duration(found.seconds * steps)} uncompiled ({found.seconds * 1e3:,.1f} ms a step)"
    return text + (", less when compiled; compiling takes 10 to 60 s" if compiled else "")


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


class Cost(NamedTuple):
    """The number of parameters of each player of one member, and the FLOPs of all steps of all members."""

    parameters: dict[str, int]
    flops: int


def cost(config: Config) -> Cost:
    """Count the FLOPs of a whole run on meta tensors: matrix products and convolutions.

    The cost of a step is the mean over one period, after which lazy penalties and the update rule repeat.
    """
    run = build(config.model_copy(update=_meta_settings(config.precision)))
    period = math.lcm(run.rule.period, *(term.interval for term in config.critic.penalties))
    flops = sum(count_flops(run, number).flops for number in range(period))
    return Cost(parameters(run), flops * config.steps // period)


def _meta_settings(precision: str) -> dict[str, str]:
    """The changes with which a step runs on meta tensors: on the CPU, without autocast."""
    return {"device": "cpu", "precision": "float64" if precision == "float64" else "float32"}


def count_flops(run: Run, number: int = 0) -> Meter:
    """Count `flops` and `peak` memory in bytes of one step of all members, on meta tensors."""
    state, draws = run.state, run.draws(number)
    if run.ensemble:
        state, draws = member(state, 0), tree_map(lambda leaf: leaf[0], draws)
    with Meter() as meter:
        run.step(_on_meta(state), _on_meta(draws))
    meter.flops, meter.peak = meter.flops * len(run.members), meter.peak * len(run.members)
    return meter


def fits(run: Run, count: int) -> bool:
    """Whether `count` runs like this one, as members of one ensemble, take at most half of the memory.

    It is that of the GPU where there is one, else of the machine. The state of a run and the peak of a step count.
    """
    held = sum(leaf.nbytes for leaf in tree_leaves(run.state) if isinstance(leaf, Tensor))
    most = torch.cuda.mem_get_info()[1] if torch.cuda.is_available() else memory()
    return count * (held + count_flops(run).peak) <= most / 2


def parameters(run: Run) -> dict[str, int]:
    """The number of parameters of each player."""
    return {
        name: sum(p.numel() for p in player.network.module.parameters())
        for name, player in run.game.players.items()
    }


def _on_meta(tree: Any) -> Any:
    return tree_map(lambda leaf: leaf.to("meta") if isinstance(leaf, Tensor) else leaf, tree)
