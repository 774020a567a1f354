"""The command line. Heavy imports wait until a command needs them, so that help answers at once."""

import re
import sys
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steadygan.cli import analysis
from steadygan.cli import report as pages
from steadygan.cli.analysis import DEFAULT, DataRoot, Overrides, console, errors, named_recipe, note
from steadygan.cli.data import data
from steadygan.errors import UsageError
from steadygan.recipes.listing import listed

if TYPE_CHECKING:
    from collections.abc import Callable

    from steadygan.runs.live_diagnosis import Ill
    from steadygan.training.events import Diverged

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


CommandLineError: Any = typer.BadParameter.__mro__[2]
"""The base of all that is wrong with a command line, which typer raises and does not export."""


@app.callback()
def steadygan() -> None:
    """Train generative adversarial networks whose gradients behave."""


@app.command()
def train(
    recipe: Annotated[
        str | None, typer.Argument(help="A recipe's name, a run folder or a YAML file.")
    ] = None,
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="The run folder; runs/NAME when not given.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Train this many seeds as one program.")] = None,
    data_root: DataRoot = None,
    scale: Annotated[
        str | None, typer.Option(help="A preset that shrinks the recipe: tiny, or one of its own.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would run and what it costs.")
    ] = False,
) -> None:
    """Train RECIPE (ring8-fargan when not given) and leave a run folder with samples and checkpoints."""
    from steadygan import config
    from steadygan.config.presets import scaled
    from steadygan.runs import folder as folders
    from steadygan.runs import train as run

    assignments = list(overrides or [])
    if recipe and "=" in recipe:
        assignments.insert(0, recipe)
        recipe = None
    if seeds is not None:
        assignments.append(f"seeds={seeds}")
    source, raw = named_recipe(recipe or DEFAULT)
    raw = config.override(scaled({"name": source, **raw}, scale, source), assignments)
    settings = config.parse(config.with_root(raw, data_root), source)
    if dry_run:
        from steadygan.commands.dry_run import preview

        preview(settings, console)
        return
    folder = out or folders.fresh_folder(settings.name)
    try:
        _go(folder, lambda: run.start(settings, folder, console))
    finally:
        if out is None:  # a run that did not begin leaves nothing
            for path in (folder, folder.parent):
                with suppress(OSError):
                    path.rmdir()


@app.command()
def resume(
    folder: Annotated[Path, typer.Argument(help="A run folder.")],
    overrides: Overrides = None,
    data_root: DataRoot = None,
) -> None:
    """Go on with a run from its newest whole checkpoint, as if it had never stopped."""
    from steadygan.runs import train as run

    _go(folder, lambda: run.resume(folder, list(overrides or []), console, data_root))


@app.command()
def sample(
    folder: Annotated[Path, typer.Argument(help="A run folder.")],
    n: Annotated[int, typer.Option("-n", min=1, help="How many samples.")] = 64,
    out: Annotated[
        Path | None, typer.Option(help="The picture; samples.png in the run folder when not given.")
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="The generator itself, not its average.")] = False,
    member: Annotated[int, typer.Option(help="Which member of an ensemble.")] = 0,
    label: Annotated[
        int | None, typer.Option(help="The class of all, of a conditional run; a class a row when not given.")
    ] = None,
    reconstruct: Annotated[
        bool, typer.Option("--reconstruct", help="Real samples with what G makes of their encodings.")
    ] = False,
    traverse: Annotated[
        int | None, typer.Option(metavar="CODE", help="The same noise under each value of a code, from 0 on.")
    ] = None,
) -> None:
    """Draw samples of a run's newest checkpoint."""
    from steadygan.commands import sample as drawn

    kind: dict[str, Any] = {"label": label, "reconstruct": reconstruct, "traverse": traverse}
    line = drawn.draw(folder, n, out, average=not raw, member=member, note=note, **kind)
    console.print(line, soft_wrap=True, markup=False)


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(help="recipes, config, losses, penalties, ...")] = "recipes",
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[WORD]...", help="What must match, as cifar10 fargan; of config: keys."),
    ] = None,
) -> None:
    """List recipes, the keys of a configuration, or what a recipe may name.

    Names: losses, penalties, normalizations, consistency, augmentations, dynamics, optimizers, networks, data, games,
    schedules.
    """
    for line in listed(what, words or []):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


for command in (
    analysis.spectrum,
    analysis.classifier,
    analysis.verify,
    analysis.evaluate,
    analysis.compare,
    analysis.diagnose,
):
    app.command()(command)
for command in (pages.report, pages.watch):
    app.command()(command)
app.add_typer(analysis.probe, name="probe")
app.add_typer(data, name="data")


def _go(folder: Path, job: "Callable[[], Diverged | Ill | None]") -> None:
    """Do the job, and say where its results are and how it ended."""
    from steadygan.runs.live_diagnosis import Ill
    from steadygan.training.compile.compiled_step import CompiledStepDiffers

    began = time.perf_counter()
    try:
        ended = job()
    except KeyboardInterrupt:
        raise UsageError(
            f"stopped: steadygan resume {folder} goes on from the last whole checkpoint"
        ) from None
    except CompiledStepDiffers as error:
        raise UsageError(str(error)) from None
    pictures = sorted((folder / "samples").glob("step-*.png"))
    seconds = time.perf_counter() - began
    if pictures:
        console.print(f"picture: {pictures[-1]}", soft_wrap=True, markup=False)
    if isinstance(ended, Ill):
        errors.print(
            f"stopped at step {ended.step:,} by stop_on: {ended.verdict.name.replace('_', ' ')} in "
            f"{_lost(folder, ended.members)}; steadygan diagnose {folder} tells more, and steadygan resume {folder} "
            f"stop_on=[] goes on",
            soft_wrap=True,
            markup=False,
        )
        raise typer.Exit(1)
    if ended:
        who = _lost(folder, ended.members)
        first = f", first {ended.tensor} at step {ended.began:,}" if ended.began else ""
        errors.print(
            f"diverged: {who} became NaN or infinite between steps {ended.good_step:,} and {ended.step:,}"
            f"{first}; "
            f"the last good checkpoint is in {folder / 'checkpoints'}; a lower optimizer.lr or a penalty is "
            "the first thing to try",
            soft_wrap=True,
            markup=False,
        )
        raise typer.Exit(1)
    console.print(f"done in {seconds:.0f} s: {folder}", soft_wrap=True, markup=False)


def _lost(folder: Path, members: list[int]) -> str:
    """Who diverged, in words: the run, or which members of an ensemble."""
    from steadygan import config
    from steadygan.config.resolve import resolve
    from steadygan.runs import folder as folders

    if len(resolve(config.parse(folders.read_config(folder))).members) == 1:
        return "the run"
    return f"member{'s' if len(members) > 1 else ''} {', '.join(str(member) for member in members)}"


def main() -> None:
    """Run the command line: exit code 2 and one sentence for bad usage or input."""
    warnings.formatwarning = lambda message, *_, **__: f"note: {message}\n"
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except UsageError as error:
        sentence = str(error)
    except CommandLineError as error:
        sentence = f"{error.format_message()} (steadygan --help tells more)"
    except OSError as error:
        reason = f"{error.strerror or error} ({error.filename or 'while writing the run'})"
        sentence = f"{reason}: make room or choose another place; steadygan resume goes on with a run"
    except (MemoryError, OverflowError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not re.search("allocate memory|out of memory", str(error)):
            raise
        sentence = (
            f"the run is too large for this machine ({str(error).splitlines()[0]}): choose a smaller one"
        )
    errors.print(f"error: {' '.join(sentence.split())}", markup=False, soft_wrap=True, highlight=False)
    sys.exit(2)


if __name__ == "__main__":
    main()
