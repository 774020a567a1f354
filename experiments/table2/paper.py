"""The papers' own rows at full size: what each is expected to take, and the command that trains them."""

import argparse
import json
import re
from collections.abc import Iterator
from typing import NamedTuple

from experiments import fargan, pgn, records
from experiments.figures.command import published
from experiments.figures.declared import Line
from experiments.figures.drawing import at_end
from experiments.figures.runs import curves, described, lost, place, trained
from experiments.out_of_time import OutOfTime, ending
from steadygan.errors import UsageError
from steadygan.recipes.catalogue import COSTS
from steadygan.runs.folder import CHECKPOINTS
from steadygan.runs.sinks.checkpoints import best_checkpoint

__all__ = ["SPEED", "Row", "expected_hours", "rows", "sitting"]

SPEED = 100e12
"""FLOPs a second that a GPU is taken to reach in training, for the expected hours: an assumption."""

TABLES = {
    "FARGAN, Table 2": fargan.FIGURES["table2"],
    "PGN, Table II": pgn.FIGURES["table2"],
    "PGN, Table IV": pgn.FIGURES["table4"],
    "PGN, Table V": pgn.FIGURES["table5"],
    "PGN, Table VI": pgn.FIGURES["table6"],
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
        for table, figure in TABLES.items()
        for panel in figure.panels
        for line in sorted(panel.lines, key=expected_hours)
    ]


def expected_hours(line: Line) -> float:
    """The hours of one seed of a row on one GPU: the FLOPs of its recipe over SPEED.

    >>> 0.1 < expected_hours(Line("PGN-GAN", "cifar10-gn-cnn-pgn")) < 1
    True
    """
    return json.loads(COSTS.read_text())[line.recipe]["flops"] / SPEED / 3600


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


def made(row: Row, options: argparse.Namespace) -> records.Record:
    """Train a row; its scores at the end or at its best checkpoint, as its recipe says."""
    given = argparse.Namespace(scale="paper", data=None, seeds=1, words=[])
    raw = described(row.line, TABLES[row.table], given)
    folder = place(raw, options.runs / "paper")
    trained(raw, folder, options.data_root)
    best = best_checkpoint(folder / CHECKPOINTS)
    found = {"curves": curves(folder), "end": int(best.name[5:]) if best else raw["steps"]}
    ends = {key: at_end(found, key) for key in found["curves"] if not key.startswith("adversarial")}
    return {
        "part": "paper",
        "recipe": row.line.recipe,
        "steps": raw["steps"],
        "scored_at": found["end"],
        "seed": raw.get("seed", 0),
        "lost": len(lost(folder)),
        "published": published(row.line).strip(" ()"),
        "scores": {key: values[0] for key, values in ends.items() if values},
    }
