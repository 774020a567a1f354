"""What a second process is worth: one process against two of one thread each, on the same global batch.

    python -m benchmarks.parallel [--repeats 7] [--eager] [--tiny]

One process and both take turns in each repeat, so that load hits all alike. Times are medians over the repeats, in
milliseconds for an iteration. The efficiency is T1 / (2 T2): 1 if the second process halves the time. Steps are
compiled, as in a long run, which takes minutes first. Images are random. --tiny has small networks and few calls: to
see that all runs.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import distributed as dist

from benchmarks import script
from benchmarks.step import FASHION, RING
from steadygan import config
from steadygan.build import NOTHING, Own, build
from steadygan.data.given import given
from steadygan.parallel import over
from steadygan.recipes.catalogue import find_recipe
from steadygan.runs.team import Team, team_of
from steadygan.training.advance import TOGETHER, advancing
from steadygan.training.cluster import ONE, Cluster, here
from steadygan.training.compile.compiled_step import compiled
from steadygan.training.compile.cpu import keep_memory, products, work

PROCESSES = 2
SMALL = {"dcgan": {"name": "dcgan", "width": 4}, "gn_cnn": {"name": "gn_cnn", "latent": 128, "width": 4}}
"""The networks of --tiny."""


class Case(NamedTuple):
    """A step to time: its settings, the shape of its images, calls in a repeat, and the efficiency to reach."""

    title: str
    settings: dict[str, Any]
    shape: tuple[int, int, int] | None
    calls: int
    goal: float


def cases() -> list[Case]:
    """The three steps."""
    gn_cnn = find_recipe("cifar10-gn-cnn-gn")[1]
    own = {"data": {"name": "own"}}
    five = {**own, "dynamics": {"name": "alternating", "n_critic": 5}, "game": {"name": "gan"}}
    members = 16
    return [
        Case("FARGAN's DCGAN on 1x32x32", {**FASHION, **own}, (1, 32, 32), 3, 0.85),
        Case("GN's CNN on 3x32x32, 5 D + 1 G", {**gn_cnn, **five}, (3, 32, 32), 1, 0.85),
        Case(f"ensemble of {members} MLPs on a ring", {**RING, "seeds": members}, None, 40, 0.95),
    ]


def tiny(case: Case) -> Case:
    """The same step with small networks."""
    named = case.settings["networks"]
    networks = SMALL.get(named["name"], named) if isinstance(named, dict) else named
    return case._replace(settings={**case.settings, "networks": networks}, calls=1)


def team(case: Case, cluster: Cluster) -> Team:
    """This process's part of a case's run."""
    made = torch.Generator().manual_seed(0)
    images = case.shape and torch.randint(0, 256, (512, *case.shape), generator=made, dtype=torch.uint8)
    own = NOTHING if images is None else Own(None, data=given(images))
    return team_of(build(config.parse(case.settings), own), cluster)


def ready(case: Case, cluster: Cluster, compiles: bool) -> Callable[[], float]:
    """The function that takes a case's calls, as the trainer does, and returns milliseconds for each."""
    part = team(case, cluster)
    run = part.mine
    largest = work(run.game, 64 * len(run.members))
    state, number = run.state, 0
    step = compiled(part.step, print, device=run.device) if compiles else part.step

    advance = advancing(step, part.draws, together=TOGETHER, stretch=part.draws.stretch)

    def timed() -> float:
        nonlocal state, number
        began = time.perf_counter()
        with products(largest), over(part.place.sharing):
            _, state, _ = advance(state, number, number + case.calls)
        number += case.calls
        return (time.perf_counter() - began) / case.calls * 1e3

    for _ in range(3):  # the first ones compile
        timed()
    return timed


def measured(case: Case, cluster: Cluster, repeats: int, compiles: bool) -> tuple[float, float]:
    """Median times of one process, and of all together. The other processes sleep while the first one is alone."""
    alone = ready(case, ONE, compiles) if cluster.first else None
    dist.barrier()
    together = ready(case, cluster, compiles)
    times: list[tuple[float, float]] = []
    for _ in range(repeats):
        one = alone() if alone else 0.0
        dist.barrier()
        times.append((one, together()))
    return statistics.median(one for one, _ in times), statistics.median(all_ for _, all_ in times)


def report(repeats: int, compiles: bool, small: bool) -> None:
    """Print the table, from the first process."""
    cluster = here()
    keep_memory()
    torch.set_num_threads(1)
    if cluster.first:
        print(f"batch 64, {PROCESSES} processes of one thread, {'compiled' if compiles else 'eager'}")
    for case in map(tiny, cases()) if small else cases():
        one, both = measured(case, cluster, repeats, compiles)
        if cluster.first:
            efficiency = one / (PROCESSES * both)
            print(
                f"{case.title:34} one {one:9.3f} ms   two {both:9.3f} ms   efficiency {efficiency:.2f} "
                f"(goal {case.goal})",
                flush=True,
            )


def main() -> int:
    """Start this script on two processes; in one of them, measure."""
    parser = script.parser(__doc__)
    parser.add_argument("--repeats", type=script.positive, default=7)
    parser.add_argument("--eager", action="store_true", help="do not compile the steps")
    parser.add_argument("--tiny", action="store_true", help="small networks and few calls")
    chosen = parser.parse_args()
    if "RANK" in os.environ:
        report(1 if chosen.tiny else chosen.repeats, not chosen.eager, chosen.tiny)
        return 0
    words = ["--standalone", "--nproc-per-node", str(PROCESSES), "-m", "benchmarks.parallel", *sys.argv[1:]]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-m", "torch.distributed.run", *words], env=environment).returncode


if __name__ == "__main__":
    script.run(main)
