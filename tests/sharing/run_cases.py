"""One of several processes that share the batches of every case: python run_cases.py [compiled | twins].

Each case runs on one process first, without a word of the others. Then all processes run it together, and the process
that knows the first run compares every tensor of the state and every log at each step. Prints, as JSON, the largest
difference of each case that this process compared, and how far the processes' states are apart.
"""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from recipes.test_golden import batch, float64_on_one_thread
from sharing.cases import CASES, COMPILED, STEPS
from sharing.twins import TWINS, Twin
from steadygan import config, parallel
from steadygan.build import Run, build
from steadygan.game import Draw, Game, Logs, State
from steadygan.game.state import Step
from steadygan.networks.global_batch_norm import globally_normalized
from steadygan.training.checkpoint import tensors
from steadygan.training.compile.compiled_step import vectorised

Raw = dict[str, Any]
Trace = list[dict[str, Tensor]]


def made(raw: Raw, *, normalized: bool = False) -> Run:
    """The run of a recipe, with batch norm over all processes where `normalized`."""
    run = build(config.parse(raw))
    players = [*run.game.players.values(), *(each for turn in run.game.turns for each in turn.values())]
    for player in players if normalized else ():
        globally_normalized(player.network.module)
    return run


def own_rows(game: Game, draw: Draw, *, members: bool) -> Draw:
    """This process's rows of a whole draw: of each part of a batch its share."""
    return {
        name: own_part(t, game.parts, int(members)) if game.fields[name].shape else t
        for name, t in draw.items()
    }


def own_part(t: Tensor, parts: int, dim: int) -> Tensor:
    return torch.cat(
        [
            part.narrow(dim, mine.start, len(mine))
            for part in t.chunk(parts, dim)
            for mine in [parallel.rows(part.shape[dim])]
        ],
        dim,
    )


def steps(run: Run, step: Step) -> Iterator[tuple[State, Logs]]:
    """The states and logs of some steps, on this process's rows."""
    state = run.state
    for number in range(STEPS):
        draws = [own_rows(run.game, draw, members=run.ensemble) for draw in batch(run, number)]
        state, logs = step(state, draws)
        yield state, logs


def numbers(state: State, logs: Logs) -> dict[str, Tensor]:
    return {**tensors(state), **{f"logs/{key}": value for key, value in logs.items()}}


def alone(raw: Raw) -> Trace:
    """What one process finds that has never heard of others."""
    assert parallel.processes() == parallel.ALONE
    run = made(raw)
    step = vectorised(run.step) if run.ensemble else run.step
    return [numbers(*found) for found in steps(run, step)]


def together(raw: Raw, *, compile_it: bool = False, normalized: bool = True) -> Iterator[dict[str, Tensor]]:
    """What the processes find together, step by step."""
    run = made(raw, normalized=normalized)
    step = vectorised(run.step) if run.ensemble else run.step
    if compile_it:
        torch._dynamo.reset()
        step = torch.compile(step, backend="aot_eager", fullgraph=True)
    with parallel.over():
        yield from (numbers(*found) for found in steps(run, step))


def difference(wanted: dict[str, Tensor], found: dict[str, Tensor]) -> float:
    """The largest relative difference of two sets of tensors."""
    assert wanted.keys() == found.keys(), wanted.keys() ^ found.keys()
    gaps = [
        ((found[key] - x).double().norm() / (x.double().norm() + 1e-3)).item() for key, x in wanted.items()
    ]
    return max((gap if gap == gap else float("inf")) for gap in gaps)  # NaN is no agreement


def apart(last: dict[str, Tensor]) -> float:
    """How far the processes' last states are from one another, at most."""
    mine = torch.cat([t.double().flatten() for t in last.values()])
    most, least = mine.clone(), mine.clone()
    dist.all_reduce(most, dist.ReduceOp.MAX)
    dist.all_reduce(least, dist.ReduceOp.MIN)
    return (most - least).norm().item()


def compared(found: Iterator[dict[str, Tensor]], wanted: Trace | None) -> list[float]:
    """The largest difference from a run alone, where this process knows it, and that between processes."""
    gaps, last = [0.0], {}
    for number, last in enumerate(found):
        gaps += [difference(wanted[number], last)] if wanted else []
    return [max(gaps), apart(last)]


def main(words: Sequence[str]) -> None:
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    of_twins = words == ["twins"]
    work = TWINS if of_twins else {name: Twin(name, nullcontext) for name in CASES}
    work = {name: work[name] for name in COMPILED} if words == ["compiled"] else work
    cases = list(dict.fromkeys(twin.case for twin in work.values()))
    references = {case: alone(CASES[case]) for case in cases[rank::size]}
    dist.init_process_group("gloo", timeout=timedelta(seconds=200))
    found: dict[str, list[float]] = {}
    for name, twin in work.items():
        with twin.changed():
            compile_it = words == ["compiled"]
            trace = together(CASES[twin.case], compile_it=compile_it, normalized=twin.normalized)
            gaps = compared(trace, references.get(twin.case))
        if twin.case in references:
            found[name] = gaps
            print(name, gaps, flush=True)
    print(json.dumps(found), flush=True)
    dist.barrier()
    os._exit(0)  # gloo's own end is a race between its threads


if __name__ == "__main__":
    with float64_on_one_thread():
        main(sys.argv[1:])
