"""The command `steadygan sweep`: its help texts and options. `steadygan.commands.sweep` does the work."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steadygan.cli import completion
from steadygan.cli.analysis import DataRoot, Recipe, Seed, console, named_recipe
from steadygan.errors import UsageError, command_line

if TYPE_CHECKING:
    from steadygan.runs.sweeps.record import Row

__all__ = ["ended", "sweep"]

Values = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUES",
        help="Keys with \\[a, b, ...], log(a, b) or uniform(a, b), and keys with one value.",
        autocompletion=completion.keys,
    ),
]


def sweep(
    recipe: Recipe,
    values: Values = None,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Runs to draw where a key has a range. Lists alone make a grid.")
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="Score that sorts the runs. Default: the first score of the recipe.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to create. Default: runs/NAME-sweep.")] = None,
    seed: Seed = 0,
    data_root: DataRoot = None,
) -> None:
    """Train a recipe with many values of its keys, and compare the runs.

    Numbers that an ensemble can sweep are trained as one program, everything else as whole runs.
    The exit code is 1 if no run has a score.
    """
    from steadygan.commands import sweep as command
    from steadygan.runs.folder import drop_empty, fresh_folder
    from steadygan.runs.sweeps.record import check_no_sweep

    check_no_sweep(Path(recipe))
    source, raw = named_recipe(recipe)
    raw = {"name": source, **raw}
    how: dict[str, Any] = {"samples": samples, "by": by, "seed": seed, "source": source, "root": data_root}
    folder = out or fresh_folder(f"{raw['name']}-sweep")
    try:
        ended(folder, lambda: command.sweep(raw, values or [], folder, console, **how))
    finally:
        if out is None:  # a sweep that did not start leaves no folder
            drop_empty(folder)


def ended(folder: Path, job: "Callable[[], list[Row]]") -> None:
    """Run the job, say how to go on if it is interrupted, and give exit code 1 if no run has a score."""
    try:
        rows = job()
    except KeyboardInterrupt:
        raise UsageError(f"interrupted: continue the sweep with {command_line('resume', folder)}") from None
    if all(row.score is None for row in rows):
        raise typer.Exit(1)
