"""What `train --dry-run` prints: the configuration, the number of parameters, and the cost of a step."""

import math
import statistics
import time
from typing import Any, NamedTuple

import torch
from rich.console import Console

from steadygan import config
from steadygan.build import NOTHING, Own, Run, build
from steadygan.commands.step_cost import StepCost, parameters, state_bytes, step_cost
from steadygan.config import Config
from steadygan.config.registry import DATA
from steadygan.config.resolve import resolve
from steadygan.data import Data
from steadygan.data.sources import NotFound
from steadygan.files import memory
from steadygan.game.state import Step
from steadygan.recipes.speed import product_speed
from steadygan.runs.folder import plain_settings
from steadygan.runs.team import check_rows
from steadygan.training.compile.compiled_step import vectorised
from steadygan.training.compile.cpu import threads
from steadygan.training.scaling import LATENCY, Link, communication, efficiency, most_sharing, sent, spread

__all__ = ["Cost", "Processes", "cost", "dry_run", "fits"]

TIMED, QUICK = 5, 0.2
"""A step that takes less than QUICK seconds is timed TIMED more times."""

LARGEST = 5 * 10**10
"""FLOPs of the largest step that is run on a CPU to time it: it takes about a second."""

MOST = 10_000
"""Steps that are looked at for the kinds that there are."""


class Processes(NamedTuple):
    """Processes that share a run: their number, bytes a second between them each way, and FLOPs a second, if given."""

    number: int
    bandwidth: float
    speed: float | None = None


def dry_run(
    settings: Config, console: Console, own: Own = NOTHING, processes: Processes | None = None
) -> None:
    """Print the resolved configuration, the number of parameters, and FLOPs, memory and time of a step.

    With `processes` also what each of them holds and sends, and their efficiency. FLOPs and memory are those of an
    eager step, counted without running it. A step of about a second or less is also run, to time it. A named set of
    images need not be there: black images of its size stand for it. Nothing is written beside the cache.
    """
    data = None
    try:
        run = build(settings, own)
    except NotFound as missing:
        data = stand_in(settings, missing)
        run = build(config.parse({**plain_settings(settings), "data": "own"}), own._replace(data=data))
    if processes:
        check_rows(run, most_sharing(len(run.members), processes.number))
    for line in config.dump(settings).splitlines():
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    costs, members = _costs(run), len(run.members)
    step = costs[0][0]  # the largest: all lazy terms are due
    flops, peak = round(members * _mean_flops(costs)), members * step.peak
    seconds = _seconds(run, members * step.flops, peak, settings.threads)
    mean = " on average" if len(costs) > 1 else ""
    facts = {"data": f"{data.name} is not on this machine: its published size is taken"} if data else {}
    facts |= {
        "parameters": ", ".join(f"{name} {count:,}" for name, count in parameters(run).items()),
        "members": f"{members}",
        "a step": f"{flops / 1e6:,.1f} MFLOP{mean}, {peak / 2**20:,.1f} MiB peak memory beside the state",
        "memory": _memory(run, members * step.memory),
        "expected time": _expected(flops, seconds, settings.steps, settings.compile.when is not False),
    }
    if processes:
        known = None if processes.speed and flops else seconds
        alone = known or flops / (processes.speed or product_speed())
        facts |= _shared(run, flops / members, processes, alone)
    for name, fact in facts.items():
        console.print(f"# {name}: {fact}", markup=False, highlight=False, soft_wrap=True)


def stand_in(settings: Config, missing: NotFound) -> Data:
    """Black images as many and as large as those of the named data set, which take no memory.

    Raises `missing` where it is not published how many there are.
    """
    chosen = resolve(settings).data
    known, options = DATA[chosen.name].known, chosen.options
    count = known.counts.get(options.get("split", "train")) if known else None
    shape = (3, options["size"], options["size"]) if "size" in options else known and known.shape
    if not (known and count and shape):
        raise missing
    rows = torch.zeros(1, *shape, dtype=torch.uint8).expand(min(count, options["limit"] or count), *shape)
    labelled = known.classes and options.get("split") != "unlabeled"
    labels = torch.zeros(len(rows), dtype=torch.int64) if labelled else None
    return Data(known.title, shape, rows, labels=labels, classes=known.classes)


def _memory(run: Run, whole: int) -> str:
    state = ", ".join(f"{name} {_size(count)}" for name, count in state_bytes(run.state).items() if count)
    rows = run.data.rows
    data = f"; data {_size(rows.nbytes)} more where they are on the device" if rows is not None else ""
    return f"{_size(whole)} with the state ({state}) and a batch{data}"


def _shared(run: Run, whole: float, processes: Processes, alone: float) -> dict[str, str]:
    """What each of the processes holds and sends, and their efficiency where one alone needs `alone` seconds a step.

    `whole` are the mean FLOPs of a member's step there. What they hold and send is that of the largest step.
    """
    total, (members, sharing) = len(run.members), spread(len(run.members), processes.number)
    costs = _costs(run, sharing)
    mine, flops = costs[0][0], _mean_flops(costs)
    work = alone * members / total * (flops / whole if whole else 1.0)
    talk = communication(mine.messages, sharing, Link(processes.bandwidth, LATENCY))
    wire, times = sent(mine.messages, sharing), sum(m.times for m in mine.messages)
    return {
        f"each of {processes.number} processes": f"{members} of {total} members, "
        f"{members * flops / 1e6:,.1f} MFLOP a step, {_size(members * mine.memory)} of memory without the data",
        "on the wire": f"{_size(wire)} sent and received by a process in a step, in {times} sums"
        if wire
        else "nothing",
        "expected efficiency": f"{efficiency(alone, work + talk, processes.number):.0%}: a step takes "
        f"{alone * 1e3:,.1f} ms on one process, and {work * 1e3:,.1f} ms + {talk * 1e3:,.1f} ms of communication at "
        f"{processes.bandwidth / 1e9:g} GB/s",
    }


def _size(count: float) -> str:
    """Bytes in a unit that fits.

    >>> _size(512), _size(3 * 2**20)
    ('0.5 KiB', '3.0 MiB')
    """
    power = min(4, max(1, (int(count).bit_length() - 1) // 10))
    return f"{count / 2 ** (10 * power):,.1f} {' KMGT'[power]}iB"


def _seconds(run: Run, flops: int, peak: int, count: int | None) -> float | None:
    """Mean seconds of an uncompiled step of all members, or None if its largest is too large to run on this CPU."""
    if run.device.type == "cpu" and (flops > LARGEST or peak > memory() / 2):
        return None
    step = vectorised(run.step) if run.ensemble else run.step
    with threads(count):
        return sum(share * _median(step, run, run.draws(number)) for number, share in _kinds(run))


def _kinds(run: Run) -> list[tuple[int, float]]:
    """The number of one step of each kind, which other lazy terms are due at, and the share of all steps."""
    every = {name: field.every for name, field in run.game.fields.items() if field.every > 1}
    period = math.lcm(*every.values())
    found: dict[frozenset[str], list[int]] = {}
    for number in range(min(period, MOST)):
        found.setdefault(frozenset(name for name, each in every.items() if number % each == 0), []).append(
            number
        )
    return [(numbers[0], len(numbers) / min(period, MOST)) for numbers in found.values()]


def _costs(run: Run, processes: int = 1) -> list[tuple[StepCost, float]]:
    """The cost of one member's step of each kind, and the share of all steps; the first step's kind comes first.

    Of `processes` that share its rows, it is that of the slowest.
    """
    return [(step_cost(run, number, processes), share) for number, share in _kinds(run)]


def _mean_flops(costs: list[tuple[StepCost, float]]) -> float:
    return sum(share * cost.flops for cost, share in costs)


def _median(step: Step, run: Run, batch: Any) -> float:
    """Seconds of a step: the median of some, if it is quick."""
    times = [_timed(step, run, batch)]
    if times[0] < QUICK:
        times = [_timed(step, run, batch) for _ in range(TIMED)]
    return statistics.median(times)


def _timed(step: Step, run: Run, batch: Any) -> float:
    began = time.perf_counter()
    _, logs = step(run.state, batch)
    logs["finite"].cpu()  # on a device the step is done only when a result of it is here
    return time.perf_counter() - began


def _expected(flops: int, seconds: float | None, steps: int, compiled: bool) -> str:
    if seconds is None:
        speed = product_speed()
        return (
            f"{_duration(flops * steps / speed)} at least: {flops * steps:.1e} FLOP in all, at the "
            f"{speed / 1e9:,.0f} GFLOP/s of this processor's matrix products"
        )
    text = f"{_duration(seconds * steps)} uncompiled ({seconds * 1e3:,.1f} ms a step)"
    return text + (", less when compiled; compiling takes 10 to 60 s" if compiled else "")


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"


class Cost(NamedTuple):
    """The number of parameters of each player of one member, and the FLOPs of all steps of all members."""

    parameters: dict[str, int]
    flops: int


def cost(config: Config) -> Cost:
    """Count the FLOPs of a whole run on paper: matrix products and convolutions.

    The cost of a step is the mean over one period, after which lazy terms repeat.
    """
    run = build(config)
    return Cost(parameters(run), round(len(run.members) * config.steps * _mean_flops(_costs(run))))


def fits(run: Run, count: int) -> bool:
    """Whether `count` runs like this one, as members of one ensemble, take at most half of the memory.

    It is that of the GPU where there is one, else of the machine. The state of a run and the peak of a step count.
    """
    most = torch.cuda.mem_get_info()[1] if torch.cuda.is_available() else memory()
    return count * step_cost(run).memory <= most / 2
