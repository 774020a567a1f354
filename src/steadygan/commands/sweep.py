"""The command `steadygan sweep`: many runs of one recipe, as one program or as whole runs, and their table."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from steadygan import config
from steadygan.build import Run, build
from steadygan.commands.dry_run import fits
from steadygan.config.overrides import as_text, assigned
from steadygan.config.resolve import resolve, sweeps
from steadygan.config.sweep import as_ensemble, points, read, swept, with_whole
from steadygan.errors import UsageError, left_out, nearest
from steadygan.files import write_whole
from steadygan.report.page import page
from steadygan.report.run_summary import Reader
from steadygan.runs.folder import CONFIG, claimed, locked
from steadygan.runs.score_setup import extra_extractor, scores_of
from steadygan.runs.sweeps import record
from steadygan.runs.sweeps.ray_tune import on_ray
from steadygan.runs.sweeps.record import FAILED, TABLE, Row, Sweep, run_name
from steadygan.runs.sweeps.trial import one_after_another

__all__ = ["plan", "resume_sweep", "sweep"]

REPORT = "report.html"


def sweep(
    raw: dict[str, Any],
    assignments: Sequence[str],
    folder: Path,
    console: Console,
    *,
    samples: int | None = None,
    by: str | None = None,
    seed: int = 0,
    source: str = "the recipe",
    root: Path | None = None,
) -> list[Row]:
    """Train a recipe at every point of a sweep, and return the rows of its table, the best first.

    `assignments` are overrides whose values may be lists of choices, or ranges `log(a, b)` and `uniform(a, b)`. Lists
    make a grid; with ranges there are `samples` draws, which are functions of `seed`. `by` is the score that sorts the
    rows, by default the first of the run. Numbers that an ensemble can have as members are trained as one program;
    everything else as whole runs: on Ray Tune where it is installed, else one after the other. A run that fails or
    diverges is a row. Raises UsageError, before anything is written, for keys, values and scores that are not known.
    """
    _check_alone()
    record.check_new(folder)
    made = plan(raw, assignments, samples=samples, by=by, seed=seed, source=source, root=root)
    with claimed(folder):
        record.write(folder, made)
        return _train(folder, made, console)


def resume_sweep(folder: Path, console: Console) -> list[Row]:
    """Go on with a sweep: runs that ended are kept, those that were interrupted are resumed, missing ones start.

    A run that failed is tried again. Returns the rows of the table, the best first.
    """
    _check_alone()
    made = record.read(folder)
    with locked(folder):
        return _train(folder, made, console)


def _check_alone() -> None:
    """Raise UsageError among processes of torchrun: each would claim the folder, and all but one would fail."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise UsageError(
            "a sweep is started once, without torchrun: with Ray its runs are trained side by side"
        )


def plan(
    raw: dict[str, Any],
    assignments: Sequence[str],
    *,
    samples: int | None = None,
    by: str | None = None,
    seed: int = 0,
    source: str = "the recipe",
    root: Path | None = None,
) -> Sweep:
    """The runs of a sweep, as `sweep` trains them. Raises UsageError as it does."""
    values = read(assignments)
    several = swept(values)
    chosen = points(with_whole(raw, values, source), samples, seed)
    runs = [config.with_root(assigned(raw, point.items()), root) for point in chosen]
    for each in runs:
        _check(each, source)
    first, by = _built(runs[0]), _score(runs, by)
    together = as_ensemble(raw, several, chosen)
    if together and fits(first, len(chosen)):
        runs = [config.with_root(together, root)]
    shown = [{path: point[path] for path in several} for point in chosen]
    return Sweep(source, by, shown, runs)


def _check(raw: dict[str, Any], source: str) -> None:
    """Raise UsageError for a run that its configuration alone forbids."""
    try:
        settings = config.parse(raw, source)
    except UsageError as error:
        raise UsageError(
            f"{error} (in a sweep, [a, b] are two values; one that is a list is written [[a, b]])"
        ) from None
    resolve(settings)
    if found := sweeps(settings):
        raise UsageError(
            f"{source} has several values of {', '.join(found)} in each run: give one, or sweep it"
        )


def _built(raw: dict[str, Any]) -> Run:
    """A run as it is counted: on the CPU and without autocast."""
    precision = "float64" if config.parse(raw).precision == "float64" else "float32"
    return build(config.parse(assigned(raw, [("device", "cpu"), ("precision", precision)])))


def _score(runs: Sequence[dict[str, Any]], by: str | None) -> str:
    """The name of the score that sorts the runs. Raises UsageError where one of the runs does not have it."""
    kinds = {
        json.dumps([raw.get(key) for key in ("game", "data", "evaluation", "networks")]): raw for raw in runs
    }
    for raw in kinds.values():
        run = _built(raw)
        known = scores_of(run, extra_extractor(config.parse(raw).evaluation))
        if not known:
            raise UsageError(f"a run on {run.data.name} has no score, so that a sweep cannot sort its runs")
        by = by or known[0]
        if by not in known:
            raise UsageError(f"--by: a run on {run.data.name} has no score {by!r}: {nearest(by, known)}")
    assert by
    return by


def _train(folder: Path, made: Sweep, console: Console) -> list[Row]:
    """Train what is left of a sweep, and write its table and its report."""
    names = [run_name(number) for number in range(len(made.runs))]
    known = record.rows(folder)
    for row in known:
        if row.run not in names:
            left_out(f"the row of {row.run} in {folder / TABLE}, which is no run of this sweep")
    ended = [row for row in known if row.run in names and not row.state.startswith(FAILED)]
    kept = {row.run for row in ended}
    todo = [number for number, name in enumerate(names) if name not in kept]

    def done(number: int, state: str) -> None:
        ended.extend(record.rows_of(folder, made, number, state))
        record.keep(folder, made.by, ended)
        if not made.one:
            console.print(_line(ended[-1], made.by), markup=False, highlight=False, soft_wrap=True)

    if todo:
        train = one_after_another if made.one or not _ray_is_here() else on_ray
        train(folder, made, todo, done, console)
    if {row.run for row in ended} != {*names}:
        raise KeyboardInterrupt  # Ray Tune ends quietly
    found = record.ranked(ended, made.by)
    console.print(_table(found, made.by))
    _report(folder, found, console)
    return found


def _ray_is_here() -> bool:
    try:
        import ray.tune  # noqa: F401
    except ImportError:
        return False
    return True


def _line(row: Row, by: str) -> str:
    point = " ".join(f"{path}={as_text(value)}" for path, value in row.point.items())
    return f"{row.run}  {point}  {by} {_number(row.score)}  {row.state}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _table(found: Sequence[Row], by: str) -> Table:
    table = Table(box=None, pad_edge=False)
    several = any(row.members for row in found)
    for name in ("run", *(["members"] if several else []), *found[0].point, by, "step", "state"):
        table.add_column(name)
    for row in found:
        members = [", ".join(map(str, row.members))] if several else []
        values = map(as_text, row.point.values())
        table.add_row(row.run, *members, *values, _number(row.score), f"{row.step:,}", row.state)
    return table


def _report(folder: Path, found: Sequence[Row], console: Console) -> None:
    """Write the page of all runs that have events, the best first."""
    names = [name for name in dict.fromkeys(row.run for row in found) if (folder / name / CONFIG).exists()]
    told = [run for run in (Reader(folder / name).read() for name in names) if run.keys or run.diverged]
    if told:
        write_whole(folder / REPORT, page(told))
    for name in ("table.csv", *([REPORT] if told else [])):
        console.print(f"{folder / name}", markup=False, highlight=False, soft_wrap=True)
