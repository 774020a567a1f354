"""The folder of a sweep: sweep.json says which runs it has, table.json and table.csv how they ended."""

import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from steadygan.config.overrides import as_text
from steadygan.errors import UsageError, command_line
from steadygan.files import read_json, write_whole
from steadygan.runs.folder import EVENTS, check_free
from steadygan.runs.sinks.jsonl import whole
from steadygan.training.online_scores import lower_is_better

__all__ = [
    "FAILED",
    "SWEEP",
    "TABLE",
    "Row",
    "Sweep",
    "check_new",
    "check_no_sweep",
    "keep",
    "mean",
    "ranked",
    "read",
    "rows",
    "rows_of",
    "run_name",
    "scores",
    "write",
]

SWEEP, TABLE, FORMAT = "sweep.json", "table.json", 1

FAILED = "failed"
"""The first word of the state of a run that could not be trained. It is tried again when the sweep is resumed."""


class Sweep(NamedTuple):
    """A sweep: the recipe, the score `by` which runs are sorted, the points, and a configuration for each run.

    Run k has point k. A sweep that is one program has a single run, an ensemble, with all points.
    """

    recipe: str
    by: str
    points: list[dict[str, Any]]
    runs: list[dict[str, Any]]

    @property
    def one(self) -> bool:
        """Whether the sweep is one program."""
        return len(self.runs) == 1


ROW: dict[str, Any] = {
    **{"run": str, "members": [int], "point": {}, "score": float | int | None},
    **{"state": str, "step": int, "seconds": float | int},
}
"""The shape of a row in table.json."""


class Row(NamedTuple):
    """How a point ended: the folder of its run, its members in an ensemble, and its last score, None without one."""

    run: str
    members: list[int]
    point: dict[str, Any]
    score: float | None
    state: str
    step: int
    seconds: float


def run_name(number: int) -> str:
    """The folder of a run in that of its sweep.

    >>> run_name(7)
    'run-007'
    """
    return f"run-{number:03d}"


def check_new(folder: Path) -> None:
    """Raise UsageError if a new sweep cannot take this folder."""
    check_no_sweep(folder)
    check_free(folder)


def check_no_sweep(folder: Path) -> None:
    """Raise UsageError if a folder is that of a sweep."""
    if (folder / SWEEP).exists():
        raise UsageError(
            f"{folder} is a sweep already: continue it with {command_line('resume', folder)}, or name another folder"
        )


def write(folder: Path, sweep: Sweep) -> None:
    """Write to a folder which runs a sweep has."""
    write_whole(folder / SWEEP, json.dumps({"format": FORMAT, **sweep._asdict()}, indent=1) + "\n")


def read(folder: Path) -> Sweep:
    """The sweep of a folder. Raises UsageError if it has none."""
    raw = _read(folder / SWEEP, {"recipe": str, "by": str, "points": [{}], "runs": [{}]})
    sweep = Sweep(*(raw[name] for name in Sweep._fields))
    if not sweep.points or len(sweep.runs) not in (1, len(sweep.points)):
        raise UsageError(f"{folder / SWEEP} is damaged: start a new sweep")
    return sweep


def rows(folder: Path) -> list[Row]:
    """The rows of the runs that have ended so far."""
    if not (folder / TABLE).exists():
        return []
    return [
        Row(*(row[name] for name in Row._fields)) for row in _read(folder / TABLE, {"rows": [ROW]})["rows"]
    ]


def _read(file: Path, shape: dict[str, Any]) -> Any:
    try:
        raw = read_json(file, {"format": int, **shape})
    except ValueError as error:
        raise UsageError(f"{error}: start a new sweep") from error
    if raw["format"] != FORMAT:
        raise UsageError(f"{file} has another format version: start a new sweep")
    return raw


def keep(folder: Path, by: str, ended: Sequence[Row]) -> None:
    """Write the rows, the best first, to table.json and table.csv."""
    found = ranked(ended, by)
    listed = [row._asdict() for row in found]
    write_whole(folder / TABLE, json.dumps({"format": FORMAT, "by": by, "rows": listed}, indent=1) + "\n")
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["run", "members", *(found[0].point if found else ()), by, "state", "step", "seconds"])
    for row in found:
        members = " ".join(map(str, row.members))
        point = map(as_text, row.point.values())
        lines.writerow([row.run, members, *point, row.score, row.state, row.step, row.seconds])
    write_whole((folder / TABLE).with_suffix(".csv"), text.getvalue())


def ranked(found: Sequence[Row], by: str) -> list[Row]:
    """Rows with the best score first, and those without a score last.

    >>> [row.score for row in ranked([Row("", [], {}, s, "", 0, 0) for s in (2.0, None, 3.0)], "kd_pixels8")]
    [2.0, 3.0, None]
    """
    sign = 1 if lower_is_better(by) else -1
    return sorted(found, key=lambda row: (row.score is None, sign * (row.score or 0), row.run, row.members))


def scores(folder: Path, by: str) -> list[tuple[int, list[float | None]]]:
    """The step of each evaluation of a run, and its score for each member."""
    found = [(line["step"], line[by]) for _, line in whole(folder / EVENTS) if by in line]
    return [(step, value if isinstance(value, list) else [value]) for step, value in found]


def mean(values: Sequence[float | None]) -> float | None:
    """The mean of the values that are numbers; None without one.

    >>> mean([1.0, None, 3.0]), mean([None])
    (2.0, None)
    """
    found = [value for value in values if value is not None and math.isfinite(value)]
    return fmean(found) if found else None


def rows_of(folder: Path, sweep: Sweep, number: int, state: str) -> list[Row]:
    """The rows of a run that has ended in this state, from its events: a row for each of its points.

    The score is that of the last evaluation, the mean over the members of a point. A point whose members have all
    diverged has none.
    """
    name = run_name(number)
    lines = [line for _, line in whole(folder / name / EVENTS)]
    lost = {member for line in lines for member in line.get("diverged") or ()}
    step = max((line["step"] for line in lines), default=0)
    seconds = max((line.get("wall_s", 0.0) for line in lines), default=0.0)
    last = (scores(folder / name, sweep.by) or [(0, [])])[-1][1]
    points = sweep.points if sweep.one else [sweep.points[number]]
    each = max(1, len(last) // len(points))
    made = []
    for index, point in enumerate(points):
        mine = list(range(index * each, index * each + each))
        left = [m for m in mine if m not in lost]
        failed = state.startswith(FAILED)
        score = None if failed else mean([last[m] for m in left if m < len(last)])
        ended = state if left or failed else "diverged"
        shown = mine if len(last) > 1 else []
        made.append(Row(name, shown, point, score, ended, step, round(seconds, 1)))
    return made
