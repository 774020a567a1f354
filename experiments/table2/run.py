"""Methods for small image GANs, each at its own learning rate: the runs and the figures of docs/results.md.

    python -m experiments.table2 [--only PATTERN] [--minutes N] [--steps 1500] [--data-root DIR]
    python -m experiments.table2 --page
    python -m experiments.table2 --paper [--only PATTERN] [--minutes N] [--data-root DIR]

protocol.md, beside this file, says what is compared with what; it was written before the runs. A table is one set of
images, a number of training images and an architecture. In it each method has a grid of learning rates, of which the
validation split chooses one, and then fresh seeds at that rate. Rates, and seeds, train as one program. A
method that fails trains on these seeds at every rate of its grid, with a diagnosis.

Figures are kept in figures.jsonl: a line for each method's runs, with their configuration, and one for each member.
A run that has its lines is not trained again, and an interrupted one is resumed. --minutes or SIGTERM ends a sitting.
--only selects the runs whose name DATA-IMAGES-NETWORK-METHOD contains the regular expression. --page writes the page
and its pictures from the figures that are there. --paper trains the papers' own rows, at full size, on a GPU.
"""

import argparse
import itertools
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks import script
from experiments import records
from experiments.out_of_time import OutOfTime, ending
from experiments.pages import DOCS
from experiments.table2 import paper
from experiments.table2.figures import ranked, undiagnosed
from experiments.table2.methods import FALLING, RATES, WIDTHS, configured
from experiments.table2.page import written
from experiments.table2.scores import VALIDATION, curves, finals, of_real, seconds_a_step, timed, work
from experiments.table2.tables import TABLES, Table
from steadygan import config
from steadygan.commands.diagnose import events_of
from steadygan.diagnostics import diagnose
from steadygan.errors import UsageError
from steadygan.metrics import Extractor
from steadygan.runs import classifiers, train
from steadygan.runs.folder import CHECKPOINTS, CONFIG, opened
from steadygan.training import checkpoint
from steadygan.training.compile.cpu import threads

FIGURES = Path(__file__).parent / "figures.jsonl"
QUIET, SECONDS = Console(quiet=True), "seconds.jsonl"
STEPS = 1500
LOOKS, SAVED = 4, 20
"""Evaluations of a run after its step 0, and checkpoints."""


def described(table: Table, method: str, rates: Sequence[float], seeds: range, steps: int) -> dict[str, Any]:
    """The configuration of a method's runs: an ensemble of these rates, each with these seeds."""
    total = steps * table.longer
    data = {"name": table.data} | ({"limit": table.images} if table.images else {})
    return {
        "name": f"{table}-{method}",
        "data": data,
        **configured(method, table.network, 32, WIDTHS[table.network]),
        "optimizer": {"name": "adam", "lr": [*rates], "betas": [0.0, 0.9]},
        "steps": total,
        "seed": seeds.start,
        "seeds": len(seeds),
        "every": {
            "log": max(1, total // 20),
            "score": max(1, total // LOOKS),
            "checkpoint": max(1, total // SAVED),
            "diagnostics": total,
        },
        "keep": {"last": SAVED + 1},
        "evaluation": evaluated(table),
        "compile": True,
        "threads": 1,
    }


def evaluated(table: Table) -> dict[str, Any]:
    """Evaluation during training: on the validation split."""
    return {"extractor": table.data, "images": VALIDATION}


# ---------------------------------------------------------------------------------------------------------------- runs


def trained(raw: dict[str, Any], folder: Path) -> None:
    """Train the runs of a configuration in `folder`, or go on there, unless they have all their steps."""
    if (folder / CHECKPOINTS / checkpoint.name(raw["steps"])).exists():
        return
    if (folder / CONFIG).exists():
        train.resume(folder, [], QUIET, sinks=[timed(folder / SECONDS)])
    else:
        train.start(config.parse(raw), folder, QUIET, sinks=[timed(folder / SECONDS)])


def extractor(table: Table) -> Extractor:
    """The classifier of the table's images."""
    channels = 3 if table.data == "cifar10" else 1
    return classifiers.named_extractor(table.data, channels, lambda text: None)


def grid(table: Table, method: str, seeds: range, options: argparse.Namespace) -> None:
    """Train a method at every rate of the grid; a line for each run, scored on the validation split."""
    raw = described(table, method, RATES, seeds, options.steps)
    later = from_seed(seeds, table.tuning[0])
    folder = options.runs / f"{raw['name']}-grid{later}"
    trained(config.with_root(raw, options.data_root), folder)
    runs = list(itertools.product(RATES, seeds))
    for (rate, seed), curve in zip(runs, curves(folder, table.score, len(runs)), strict=True):
        record = {**about(table, method, raw), "part": "grid", "rate": rate, "seed": seed, "curve": curve}
        records.put(options.figures, f"{raw['name']}-grid-{rate:g}{f'-{seed}' if later else ''}", record)
    whole = {**about(table, method, raw), "part": "config", "config": raw}
    records.put(options.figures, f"{raw['name']}-grid{later}", whole)


def fresh(table: Table, method: str, rate: float, seeds: range, options: argparse.Namespace) -> None:
    """Train a method on fresh seeds at its rate; a line for each seed, scored on the final split.

    Runs at that rate that had a diagnosis are the same runs, and are not made again.
    """
    raw = described(table, method, [rate], seeds, options.steps)
    known = records.read(options.figures)
    lines = [known.get(f"{raw['name']}-diagnosis-{rate:g}-{seed}", {}) for seed in seeds]
    if not all(line.get("steps") == raw["steps"] for line in lines):
        lines = unexamined(table, method, raw, seeds, known, options)
    for line in lines:
        record = {**{key: line[key] for key in line if key != "verdicts"}, "part": "final", "rate": rate}
        records.put(options.figures, f"{raw['name']}-final-{line['seed']}", record)
    whole = {**about(table, method, raw), "part": "config", "config": raw}
    records.put(options.figures, f"{raw['name']}-final{from_seed(seeds, table.seeds)}", whole)


def unexamined(
    table: Table,
    method: str,
    raw: dict[str, Any],
    seeds: range,
    known: Mapping[str, records.Record],
    options: argparse.Namespace,
) -> list[records.Record]:
    """Train a method on fresh seeds without a diagnosis.

    Seeds that come later than the first ones, or at another rate, have the seconds of those and are scored at their
    steps: the seconds of a step do not depend on its rate.
    """
    rate = raw["optimizer"]["lr"][0]
    folder = options.runs / f"{raw['name']}-final-{rate:g}{from_seed(seeds, table.seeds)}"
    trained(config.with_root(raw, options.data_root), folder)
    first = known.get(f"{raw['name']}-final-{table.seeds.start}", {})
    if first.get("steps") == raw["steps"]:
        each, points = first["seconds_a_step"], {name: at["step"] for name, at in first["at"].items()}
    else:
        each, points = timing(table, raw["steps"], folder, len(seeds), known)
    more = {**about(table, method, raw), "seconds_a_step": each}
    return [{**line, **more} for line in measured(table, method, folder, seeds, points, options)]


def from_seed(seeds: range, first: range) -> str:
    """The end of a folder's name: nothing for runs that begin with the first seeds."""
    return "" if seeds.start == first.start else f"-from-{seeds.start}"


def examined(table: Table, method: str, rate: float, seeds: range, options: argparse.Namespace) -> None:
    """Train a method on fresh seeds at a rate, with a diagnosis of each run."""
    raw = described(table, method, [rate], seeds, options.steps)
    raw["every"] = {**raw["every"], "diagnostics": raw["every"]["log"]}
    folder = options.runs / f"{raw['name']}-diagnosis-{rate:g}{from_seed(seeds, table.seeds)}"
    trained(config.with_root(raw, options.data_root), folder)
    each, points = timing(table, raw["steps"], folder, len(seeds), records.read(options.figures))
    history = events_of(folder)
    for index, record in enumerate(measured(table, method, folder, seeds, points, options)):
        record |= {**about(table, method, raw), "part": "diagnosis", "rate": rate, "seconds_a_step": each}
        record["verdicts"] = [verdict.name for verdict in diagnose(history.history(index))]
        records.put(options.figures, f"{raw['name']}-diagnosis-{rate:g}-{record['seed']}", record)


def timing(
    table: Table, steps: int, folder: Path, members: int, figures: Mapping[str, records.Record]
) -> tuple[float, dict[str, int]]:
    """The seconds of a member's step, and the checkpoints that have a final score."""
    each = seconds_a_step(folder / SECONDS) / members
    return each, scored_at(steps, each, budget(table, figures), table.longer > 1)


def measured(
    table: Table,
    method: str,
    folder: Path,
    seeds: range,
    points: Mapping[str, int],
    options: argparse.Namespace,
) -> Iterator[dict[str, Any]]:
    """The seed, the curve and the final figures of each member of a run."""
    made = opened(folder, options.data_root)[1]
    scored = finals(folder, made, points, extractor(table), options.images, method in FALLING)
    for seed, curve, found in zip(seeds, curves(folder, table.score, len(seeds)), scored, strict=True):
        yield {"seed": seed, "curve": curve, "at": found}


def budget(table: Table, figures: Mapping[str, records.Record]) -> float:
    """The seconds of the first method's whole run, which set the equal seconds; infinite before it has run."""
    first = figures.get(f"{table}-{table.methods[0]}-final-1")
    return first["steps"] * first["seconds_a_step"] if first else math.inf


def scored_at(steps: int, each: float, seconds: float, curve: bool) -> dict[str, int]:
    """The checkpoints that have a final score: the last one, the last that the seconds allow, and all of a curve.

    >>> scored_at(500, 0.02, 5.0, curve=False)
    {'equal steps': 500, 'equal seconds': 250}
    """
    every = max(1, steps // SAVED)
    affordable = (
        min(steps, max(every, math.floor(seconds / each / every) * every)) if seconds < math.inf else steps
    )
    looks = {f"step {step}": step for step in range(steps // LOOKS, steps, steps // LOOKS)} if curve else {}
    return {"equal steps": steps, "equal seconds": affordable, **looks}


def about(table: Table, method: str, raw: dict[str, Any]) -> dict[str, Any]:
    return {
        "data": table.data,
        "images": table.images,
        "network": table.network,
        "longer": table.longer,
        "table": str(table),
        "method": method,
        "steps": raw["steps"],
    }


def missing(options: argparse.Namespace) -> Iterator[tuple[str, Callable[[], None]]]:
    """What is wanted and has no figures yet, by name; each is made before the next one is looked for."""
    for table in TABLES:
        for method in table.methods:
            name = f"{table}-{method}"
            if not re.search(options.only, name):
                continue
            grids = {f"{name}-grid{from_seed(seeds, table.tuning[0])}": seeds for seeds in table.tuning}
            for part, seeds in grids.items():
                if not there(part, table, options):
                    yield part, lambda t=table, m=method, s=seeds: grid(t, m, s, options)
            if not all(there(part, table, options) for part in grids):
                continue  # it could not be run
            rates = ranked(records.read(options.figures), str(table), method)
            gone = [seed for seed in table.seeds if rates and not tried(name, seed, rates[0], table, options)]
            if gone:
                left = range(gone[0], table.seeds.stop)
                yield (
                    f"{name}-final",
                    lambda t=table, m=method, r=rates[0], s=left: fresh(t, m, r, s, options),
                )
        yield from diagnoses(table, options)
        real = f"{table}-real"
        if there(f"{table}-nsgan-final-{table.seeds[-1]}", table, options) and real not in records.read(
            options.figures
        ):
            yield real, lambda table=table, real=real: reals(table, real, options)


def diagnoses(table: Table, options: argparse.Namespace) -> Iterator[tuple[str, Callable[[], None]]]:
    """The runs of a table that need a diagnosis, of the methods that are wanted."""
    for method, rate, first in undiagnosed(records.read(options.figures), str(table)):
        name, seeds = f"{table}-{method}", range(first, table.seeds.stop)
        if re.search(options.only, name):
            yield (
                f"{name}-diagnosis-{rate:g}",
                lambda m=method, r=rate, s=seeds: examined(table, m, r, s, options),
            )


def reals(table: Table, name: str, options: argparse.Namespace) -> None:
    folder = next(options.runs.glob(f"{table}-nsgan-final-*"))
    found = of_real(opened(folder, options.data_root)[1], extractor(table), options.images)
    records.put(options.figures, name, {"table": str(table), "part": "real", **found})


def counted(options: argparse.Namespace) -> None:
    """Count the FLOPs of a member's step of all runs, for the hours that are still needed; once."""
    known = records.read(options.figures)
    for table in TABLES:
        for method in table.methods:
            raw = described(table, method, RATES[:1], range(1), options.steps)
            name, steps = f"{raw['name']}-cost", raw["steps"]
            if known.get(name, {}).get("steps") != steps:
                cost = {
                    "part": "cost",
                    "table": str(table),
                    "method": method,
                    "steps": steps,
                    "flops": work(raw),
                }
                records.put(options.figures, name, cost)


def tried(name: str, seed: int, rate: float, table: Table, options: argparse.Namespace) -> bool:
    """Whether a fresh seed has its figures at the rate that its method's grid chooses."""
    known = records.read(options.figures).get(f"{name}-final-{seed}", {})
    return (known.get("steps"), known.get("rate")) == (options.steps * table.longer, rate)


def there(name: str, table: Table, options: argparse.Namespace) -> bool:
    """Whether runs have their figures, for as many steps as they are to have."""
    return records.read(options.figures).get(name, {}).get("steps") == options.steps * table.longer


def sitting(options: argparse.Namespace) -> list[str]:
    """Run what is missing until the time is over; the names of what was finished."""
    done: list[str] = []
    try:
        with ending(options.minutes), threads(1):
            for name, make in missing(options):
                print(time.strftime("%H:%M:%S"), name, flush=True)
                if told(name, make):
                    done.append(name)
    except OutOfTime:
        print(f"out of time after {len(done)} of the runs; the same command goes on", flush=True)
    return done


def told(name: str, make: Callable[[], None]) -> bool:
    """Whether runs could be made; their error is printed, and the others go on without them."""
    try:
        make()
    except (UsageError, RuntimeError) as error:
        print(f"{name} failed, {type(error).__name__}: {error}", flush=True)
        return False
    return True


def arguments() -> argparse.ArgumentParser:
    parser = script.parser(__doc__)
    parser.add_argument("--data-root", type=Path, default=None, help="where CIFAR-10 lies")
    parser.add_argument("--only", default="", help="a part of the names of the runs that are wanted")
    parser.add_argument("--minutes", type=float, default=None, help="end the sitting after so long")
    parser.add_argument("--images", type=script.positive, default=2000, help="samples of a final score")
    parser.add_argument("--steps", type=script.positive, default=STEPS, help="of all runs")
    parser.add_argument("--runs", type=Path, default=Path("runs/results"))
    parser.add_argument("--figures", type=Path, default=FIGURES, help="where figures are kept")
    parser.add_argument("--paper", action="store_true", help="the papers' own rows at full size, on a GPU")
    parser.add_argument("--page", action="store_true", help="only write the page, from what is there")
    parser.add_argument("--out", type=Path, default=DOCS / "results.md")
    return parser


def main() -> None:
    options = arguments().parse_args()
    try:
        re.compile(options.only)
    except re.error as error:
        raise UsageError(f"--only {options.only!r} is no regular expression: {error}") from None
    if options.steps != STEPS and options.figures == FIGURES:
        raise UsageError(f"the page's figures are of {STEPS:,} steps: give another --figures and --out")
    torch.set_num_threads(1)
    if options.paper:
        paper.sitting(options)
    elif not options.page:
        counted(options)
        sitting(options)
    written(records.read(options.figures), options.out)
