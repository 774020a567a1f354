"""The papers' own rows at full size: what each is expected to take, and the command that trains them."""

import argparse
import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from experiments import fargan, pgn, records
from experiments.figures.command import published
from experiments.figures.declared import Line
from experiments.figures.drawing import at_end
from experiments.figures.runs import curves, described, lost, place, trained
from experiments.out_of_time import OutOfTime, ending
from steadygan.errors import UsageError
from steadygan.recipes.catalogue import COSTS, GPU_SPEED
from steadygan.runs.folder import CHECKPOINTS
from steadygan.runs.sinks.checkpoints import best_checkpoint

__all__ = ["Row", "expected_hours", "rows", "sitting"]

INCEPTION = ("evaluation.extractor=inception", "evaluation.reference=train")
FAR = (*INCEPTION, "evaluation.images=10000", "every.score=10%")
PGN = (*INCEPTION, "evaluation.images=50000", "keep.best=fid")
"""How the rows of a paper are scored: all rows of a table alike. PGN's paper reports the best checkpoint by FID."""

TABLES = {
    "FARGAN, Table 2": (fargan.FIGURES["table2"], FAR),
    "PGN, Table II": (pgn.FIGURES["table2"], PGN),
    "PGN, Table IV": (pgn.FIGURES["table4"], PGN),
    "PGN, Table V": (pgn.FIGURES["table5"], PGN),
    "PGN, Table VI": (pgn.FIGURES["table6"], PGN),
}


class Row(NamedTuple):
    """A row of a paper's table: where it stands there, and the recipe that repeats it."""

    table: str
    place: str
    line: Line

    def __str__(self) -> str:
        return f"paper: {self.table}: {self.place}"


def rows() -> list[Row]:
    """All rows, those that take the least time first within a table."""
    return [
        Row(table, f"{panel.title}, {line.label}", line)
        for table, (figure, _) in TABLES.items()
        for panel in figure.panels
        for line in sorted(panel.lines, key=expected_hours)
    ]


def expected_hours(line: Line) -> float:
    """The hours of one seed of a row on one GPU: the FLOPs of its recipe over GPU_SPEED.

    >>> 0.5 < expected_hours(Line("PGN-GAN", "cifar10-gn-cnn-pgn")) < 2
    True
    """
    return json.loads(COSTS.read_text())[line.recipe]["flops"] / GPU_SPEED / 3600


def missing(options: argparse.Namespace) -> Iterator[Row]:
    """The rows that are wanted and have no figures yet."""
    for row in rows():
        if re.search(options.only, str(row)) and str(row) not in records.read(options.figures):
            yield row


def sitting(options: argparse.Namespace) -> None:
    """Train the rows that are missing, one after the other; a run that was interrupted is resumed."""
    try:
        with ending(options.minutes):
            for row in missing(options):
                print(
                    f"{row}, {row.line.recipe}: about {expected_hours(row.line):.1f} hours on a GPU",
                    flush=True,
                )
                try:
                    records.put(options.figures, str(row), made(row, options))
                except UsageError as error:
                    print(f"failed: {error}", flush=True)
    except OutOfTime:
        print("out of time; the same command goes on", flush=True)


def configuration(row: Row) -> dict[str, Any]:
    """A row's recipe, scored as its table is."""
    figure, words = TABLES[row.table]
    return described(row.line, figure, argparse.Namespace(scale="paper", data=None, seeds=1, words=words))


def made(row: Row, options: argparse.Namespace) -> records.Record:
    """Train a row; its scores at the end or at its best checkpoint, as its recipe says."""
    raw = configuration(row)
    folder = place(raw, options.runs / "paper")
    trained(raw, folder, options.data_root)
    best = best_checkpoint(folder / CHECKPOINTS)
    found = {"curves": curves(folder), "end": int(best.name[5:]) if best else raw["steps"]}
    ends = {key: at_end(found, key) for key in found["curves"] if not key.startswith("adversarial")}
    return {
        "part": "paper",
        "recipe": row.line.recipe,
        "overrides": list(TABLES[row.table][1]),
        "steps": raw["steps"],
        "scored_at": found["end"],
        "seed": raw.get("seed", 0),
        "lost": len(lost(folder)),
        "published": published(row.line).strip(" ()"),
        "scores": {key: values[0] for key, values in ends.items() if values},
    }
