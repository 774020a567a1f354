"""A small Table 2 (FARGAN) and Table II (PGN-GAN): ten methods on CIFAR-10 and Fashion-MNIST, in three regimes.

    python -m experiments.table2.run [--data-root DIR] [--only PATTERN] [--minutes N] [--seeds 3] [--page]

Every run is trained in its own folder under --runs. A run that is trained and scored has a line in figures.jsonl, and
is not run again. An interrupted run resumes from its last checkpoint, so the table can be made in parts: --minutes (or
SIGTERM) ends a part. --only selects runs whose name REGIME-SET-METHOD-sSEED contains the regular expression. Seed 0 of
every set and method in each regime comes first, then the next seed.

full    all images; 1,250 steps. Scored there, and at the step that takes the seconds of NSGAN's 1,250
few     1,000 images, 3,000 steps
late    1,000 images, 6,000 steps of half the batch at four times the rate: long enough for the score of the penalty
        alone to pass its best and get worse

Seconds are processor seconds of a compiled step on one thread: the quickest of eight short stretches. They are measured
once for each set, method and batch, and kept in figures.jsonl, so that a busy machine changes no budget. Scores are
against the published test images. --page writes docs/results.md from the finished runs. On one core a run takes 1 to 6
minutes and its scores half a minute. The first run of a set also trains its classifier, for some minutes.
"""

import argparse
import json
import math
import re
import shutil
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console

from benchmarks import script
from experiments import records
from experiments.out_of_time import OutOfTime, ending
from experiments.pages import DOCS
from experiments.table2.methods import FALLING, METHODS, configured
from experiments.table2.page import page
from experiments.table2.scores import measured, real, seconds_a_step
from steadygan import config
from steadygan.errors import UsageError
from steadygan.metrics import Extractor
from steadygan.runs import classifiers, train
from steadygan.runs.folder import CHECKPOINTS, CONFIG, EVENTS, opened
from steadygan.training import checkpoint
from steadygan.training.compile.cpu import threads

FIGURES = Path(__file__).parent / "figures.jsonl"
SETS = ("cifar10", "fashion-mnist")
QUIET = Console(quiet=True)


class Regime(NamedTuple):
    """How many images there are to train on (None: all), how long, in which batches and at which learning rate.

    `own`: evaluations during training use the set's own classifier, too.
    """

    limit: int | None
    steps: int
    batch: int
    rate: float
    own: bool


REGIMES = {
    "full": Regime(None, 1250, 64, 1e-3, False),
    "few": Regime(1000, 3000, 64, 1e-3, False),
    "late": Regime(1000, 6000, 32, 4e-3, True),
}
CHECKPOINT = 250  # about how many steps a run that is interrupted loses


class Job(NamedTuple):
    """One run of the tables."""

    regime: str
    data: str
    method: str
    seed: int

    def __str__(self) -> str:
        return f"{self.regime}-{self.data}-{self.method}-s{self.seed}"


def jobs(seeds: int) -> list[Job]:
    """All runs, in an order in which a part of them makes a table that is fair to every method."""
    return [
        Job(regime, data, method, seed)
        for seed in range(seeds)
        for regime in REGIMES
        for data in SETS
        for method in METHODS
    ]


def lasting(job: Job, options: argparse.Namespace) -> int:
    return options.steps or REGIMES[job.regime].steps


def described(job: Job, options: argparse.Namespace, every: int) -> dict[str, Any]:
    """A run's configuration, with a checkpoint `every` so many steps."""
    limit, _, batch, rate, own = REGIMES[job.regime]
    steps = lasting(job, options)
    return {
        "name": str(job),
        "data": {"name": job.data} | ({"limit": limit} if limit else {}),
        **configured(job.method, options, options.batch or batch, rate),
        "steps": steps,
        "seed": job.seed,
        "every": {"log": min(50, steps), "score": min(250, steps), "checkpoint": every},
        "keep": {"last": steps},
        **({"evaluation": {"extractor": job.data}} if own else {}),
    }


# ------------------------------------------------------------------------------------------------------------ seconds


def seconds(job: Job, options: argparse.Namespace) -> float:
    """A method's seconds a step on a set; measured once."""
    batch = options.batch or REGIMES[job.regime].batch
    name = f"seconds-{job.data}-{job.method}-{batch}"
    known = records.read(options.figures).get(name)
    if known is None:
        taken = seconds_a_step(config.with_root(described(job, options, 1), options.data_root))
        known = {"data": job.data, "method": job.method, "batch": batch, "seconds_a_step": taken}
        records.put(options.figures, name, known)
    return known["seconds_a_step"]


def fitting(steps: int, first: float, each: float, least: int) -> tuple[int, int]:
    """How many of a method's steps take the seconds of `steps` of the first; a checkpoint interval that meets them.

    At most `steps`, and rounded down to a multiple of the interval, which is about `least`: by under one in `least`.

    >>> [fitting(2500, *cost, 250) for cost in ((0.05, 0.1), (0.05, 0.04), (0.053, 0.089))]
    [(1250, 250), (2500, 250), (1488, 248)]
    """
    wanted = max(1, min(steps, math.floor(steps * first / each + 1e-9)))
    parts = math.ceil(wanted / least)
    return parts * (wanted // parts), wanted // parts


# ----------------------------------------------------------------------------------------------------------- training


def trained(folder: Path, raw: dict[str, Any], wanted: Collection[int]) -> int | None:
    """Train in `folder`, or go on there; the step at which it was found to have diverged, if it has.

    A run that has passed a wanted step without a checkpoint, when it had other ends, is begun again.
    """
    there = reached(folder)
    if any(step not in there and step < max(there, default=0) for step in wanted):
        shutil.rmtree(folder)
    if (folder / CONFIG).exists():
        words = [
            f"steps={raw['steps']}",
            f"keep.last={raw['steps']}",
            f"every.checkpoint={raw['every']['checkpoint']}",
        ]
        lost = train.resume(folder, words, QUIET)
    else:
        lost = train.start(config.parse(raw), folder, QUIET)
    return lost.step if lost else None


def reached(folder: Path) -> set[int]:
    """The steps of a run's checkpoints."""
    return {int(path.name[5:]) for path in checkpoint.checkpoints(folder / CHECKPOINTS)}


def curve(folder: Path, score: str) -> list[list[float]]:
    """The looks of a run: steps, and a score against held-out images."""
    lines = [json.loads(line) for line in (folder / EVENTS).read_text().splitlines()]
    return [[line["step"], line[score]] for line in lines if score in line]


# --------------------------------------------------------------------------------------------------------------- runs


Looks = Callable[[str, int], Sequence[Extractor]]
"""The extractors of a set, of so many channels."""


def extractors(data: str, channels: int) -> list[Extractor]:
    return [classifiers.named_extractor(name, channels, print) for name in ("lite0", data)]


def finish(job: Job, options: argparse.Namespace, looks: Looks) -> dict[str, Any]:
    """Train and score one run; its figures, which are also kept."""
    steps, folder = lasting(job, options), options.runs / str(job)
    each, first = seconds(job, options), seconds(job._replace(method=next(iter(METHODS))), options)
    shorter, every = fitting(steps, first, each, CHECKPOINT)
    wanted = {"equal steps": steps, "equal seconds": shorter}
    if job.regime != "full":
        wanted, every = {"end": steps}, min(CHECKPOINT, steps)
    raw = described(job, options, every)
    lost = trained(folder, config.with_root(raw, options.data_root), wanted.values())
    _, made = opened(folder, options.data_root)
    seen = looks(job.data, made.data.shape[0])
    reals = f"real-{job.data}"
    if job.regime == "full" and reals not in records.read(options.figures):
        of_real = {"data": job.data, "cards": real(made.data, seen, options.images)}
        records.put(options.figures, reals, of_real)
    steps_there = sorted(reached(folder) & set(wanted.values()))
    at = {
        step: measured(folder, made, step, seen, options.images, job.method in FALLING)
        for step in steps_there
    }
    figures = {
        **job._asdict(),
        "images": None if made.data.rows is None else len(made.data.rows),
        "steps": steps,
        "seconds_a_step": each,
        "diverged": lost,
        "curve": curve(folder, "kd_pixels8"),
        **(
            {"own_curve": curve(folder, f"kd_{job.data.replace('-', '_')}")}
            if REGIMES[job.regime].own
            else {}
        ),
        "at": {name: at[step] for name, step in wanted.items() if step in at},
        "config": raw,
    }
    records.put(options.figures, str(job), figures)
    checkpoint.prune(folder / CHECKPOINTS, raw["steps"], 1, [])
    return figures


def is_done(job: Job, options: argparse.Namespace) -> bool:
    """Whether a run has its figures, for as many steps as it is to have."""
    return records.read(options.figures).get(str(job), {}).get("steps") == lasting(job, options)


def sitting(options: argparse.Namespace, looks: Looks = extractors) -> list[Job]:
    """Run what is wanted and not there yet, until the time is over; what was finished. A run that fails is told of."""
    done: list[Job] = []
    try:
        with ending(options.minutes), threads(options.threads):
            for job in jobs(options.seeds):
                if re.search(options.only, str(job)) and not is_done(job, options):
                    print(time.strftime("%H:%M"), job, flush=True)
                    if told(job, partial(finish, job, options, looks)):
                        done.append(job)
    except OutOfTime:
        print(f"out of time after {len(done)} runs; run the command again to continue", flush=True)
    return done


def told(job: Job, make: Callable[[], dict[str, Any]]) -> bool:
    """Whether a run could be made; its figures or its error are printed."""
    found: list[str] = []
    try:
        found = [brief(at) for at in make()["at"].values()]
    except (UsageError, RuntimeError) as error:  # the others can do without it
        found = [f"failed, {type(error).__name__}: {error}"]
        return False
    finally:
        print(time.strftime("%H:%M"), job, *found, flush=True)
    return True


def brief(at: dict[str, Any]) -> str:
    """The kernel distances of a run at a step, for the log."""
    scores = {name: s["value"] for card in at["cards"] for name, s in card["scores"].items()}
    shown = ", ".join(f"{name} {v:.4f}" for name, v in scores.items() if name.startswith(("kd", "is")))
    return f"step {at['steps']:,}: {shown};"


def arguments() -> argparse.ArgumentParser:
    parser = script.parser(__doc__)
    parser.add_argument("--data-root", type=Path, default=None, help="where CIFAR-10 lies")
    parser.add_argument("--only", default="", help="a part of the names of the runs that are wanted")
    parser.add_argument("--minutes", type=float, default=None, help="end the sitting after so long")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--images", type=int, default=1000, help="samples that are scored")
    parser.add_argument("--steps", type=int, default=None, help="for trying it out: not the regime's own")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch", type=int, default=None, help="for trying it out: not the regime's own")
    parser.add_argument("--no-compile", dest="compile", action="store_false")
    parser.add_argument("--runs", type=Path, default=Path("runs/results"))
    parser.add_argument("--figures", type=Path, default=FIGURES, help="where figures are kept")
    parser.add_argument("--page", action="store_true", help="only write the page, from what is there")
    parser.add_argument("--out", type=Path, default=DOCS / "results.md")
    return parser


def main() -> None:
    options = arguments().parse_args()
    torch.set_num_threads(options.threads)
    if not options.page:
        sitting(options)
    options.out.write_text(page(records.read(options.figures), list(SETS), list(METHODS), options.seeds))


if __name__ == "__main__":
    script.run(main)
