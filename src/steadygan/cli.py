"""The command line. Heavy imports wait until a command needs them, so that help answers at once."""

import json
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from steadygan.catalogue import find_recipe, listed
from steadygan.data_command import data
from steadygan.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from steadygan.theory import Verdict
    from steadygan.train import Diverged

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
console = Console()
errors = Console(stderr=True)

DEFAULT = "ring8-fargan"

Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="e.g. steps=1000 optimizer.lr=1e-4")
]
DataRoot = Annotated[Path | None, typer.Option(help="Folder of image data sets; else STEADYGAN_DATA.")]

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
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would run and what it costs.")
    ] = False,
) -> None:
    """Train RECIPE (ring8-fargan when not given) and leave a run folder with samples and checkpoints."""
    from steadygan import config, run

    assignments = list(overrides or [])
    if recipe and "=" in recipe:
        assignments.insert(0, recipe)
        recipe = None
    if seeds is not None:
        assignments.append(f"seeds={seeds}")
    source, raw = find_recipe(recipe or DEFAULT)
    raw = config.with_root(config.override({"name": source, **raw}, assignments), data_root)
    settings = config.parse(raw, source)
    if dry_run:
        from steadygan.preview import preview

        preview(settings, console)
        return
    folder = out or run.fresh_folder(settings.name)
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
    from steadygan import run

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
    from steadygan import drawn

    kind: dict[str, Any] = {"label": label, "reconstruct": reconstruct, "traverse": traverse}
    line = drawn.draw(folder, n, out, average=not raw, member=member, note=_note, **kind)
    console.print(line, soft_wrap=True, markup=False)


@app.command()
def spectrum(
    folder: Annotated[Path, typer.Argument(help="A run folder.")],
    batches: Annotated[int, typer.Option(min=1, help="Average the field over this many batches.")] = 10,
    member: Annotated[int, typer.Option(help="Which member of an ensemble.")] = 0,
    gamma: Annotated[float, typer.Option(min=0, help="Consensus: J - gamma J^T J.")] = 10.0,
    friction: Annotated[float | None, typer.Option(help="Momentum too: x'' = v - friction x'.")] = None,
    checkpoint: Annotated[str, typer.Option(help="newest, or a step that has one.")] = "newest",
    out: Annotated[
        Path | None,
        typer.Option(
            help="The picture, and its numbers beside it; spectrum.png in the run folder when not given."
        ),
    ] = None,
) -> None:
    """Eigenvalues of a run's vector field, before and after consensus: spectrum.json and a picture."""
    from steadygan import clouds

    clouds.spectrum(folder, batches, member, gamma, friction, checkpoint, out, console, _note)


probe = typer.Typer(no_args_is_help=True, help="Measure for a few hundred steps what a recipe wants.")
app.add_typer(probe, name="probe")
app.add_typer(data, name="data")


@probe.callback()
def probing() -> None:
    """Measure for a few hundred steps what a recipe wants."""


@probe.command("gamma")
def probe_gamma(
    recipe: Annotated[str, typer.Argument(help="A recipe's name, a run folder or a YAML file.")] = DEFAULT,
    overrides: Overrides = None,
    steps: Annotated[int, typer.Option(min=10, help="Steps with each of five weights.")] = 300,
    data_root: DataRoot = None,
) -> None:
    """Recommend the weight (no 1/2) of a recipe's r1, r2 or zero_centered penalty, with its reason."""
    from steadygan import config, probe

    source, raw = find_recipe(recipe)
    raw = config.with_root(config.override({"name": source, **raw}, overrides or []), data_root)
    probe.probe_gamma(raw, source, steps, console)


@app.command()
def classifier(
    name: Annotated[str, typer.Argument(help="A labelled set: digits or fashion-mnist.")],
    out: Annotated[Path | None, typer.Option(help="Its folder; else that of the user's cache.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1)] = 0,
    steps: Annotated[int | None, typer.Option(min=1, help="The set's own number when not given.")] = None,
    data_root: DataRoot = None,
) -> None:
    """Train a classifier of NAME, for scores in its domain, and say how good it is on held-out images."""
    from steadygan import classifiers

    classifiers.classifier(name, out, seed, steps, data_root, console)


@app.command("list")
def list_(what: Annotated[str, typer.Argument(help="recipes, losses, penalties, ...")] = "recipes") -> None:
    """List what a recipe may name: recipes, losses, penalties, dynamics, optimizers, networks, data, games."""
    for line in listed(what):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


@app.command()
def verify(
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Draws the random cases.")] = 0,
    json_: Annotated[bool, typer.Option("--json", help="Print a JSON list instead of a table.")] = False,
    page: Annotated[Path | None, typer.Option(help="Write the page of docs/theory.md here too.")] = None,
) -> None:
    """Check every statement of the source papers on random cases: claim, measured, verdict."""
    from steadygan.theory import statements

    began = time.perf_counter()
    verdicts = statements.verify(seed)
    if json_:
        pairs = zip(verdicts, statements.STATEMENTS, strict=True)
        typer.echo(json.dumps([{**v._asdict(), "expected": s.expected} for v, s in pairs], indent=1))
    else:
        _table(verdicts)
        count, seconds = sum(v.cases for v in verdicts), time.perf_counter() - began
        console.print(f"{len(verdicts)} statements on {count:,} cases in {seconds:.0f} s, seed {seed}")
    if page:
        page.write_text(statements.page(verdicts, seed), encoding="utf-8")
    unexpected = statements.surprises(verdicts)
    for sentence in unexpected:
        errors.print(f"unexpected: {sentence}", soft_wrap=True, markup=False, highlight=False)
    if unexpected:
        raise typer.Exit(1)


def _table(verdicts: "list[Verdict]") -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(show_lines=True, expand=True)
    for name, ratio in {"statement": 3, "claim": 4, "measured": 5, "verdict": 2}.items():
        table.add_column(name, ratio=ratio)
    for v in verdicts:
        table.add_row(*map(Text, (f"{v.name}\n{v.source}", v.claim, v.measured, v.verdict)))
    console.print(table)


def _go(folder: Path, job: "Callable[[], Diverged | None]") -> None:
    """Do the job, and say where its results are and how it ended."""
    from steadygan.program import CompiledStepDiffers

    began = time.perf_counter()
    try:
        diverged = job()
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
    if diverged:
        who = _lost(folder, diverged.members)
        errors.print(
            f"diverged: {who} became NaN or infinite between steps {diverged.good_step:,} and {diverged.step:,}; "
            f"the last good checkpoint is in {folder / 'checkpoints'}; a lower optimizer.lr or a penalty is "
            "the first thing to try",
            soft_wrap=True,
            markup=False,
        )
        raise typer.Exit(1)
    console.print(f"done in {seconds:.0f} s: {folder}", soft_wrap=True, markup=False)


def _lost(folder: Path, members: list[int]) -> str:
    """Who diverged, in words: the run, or which members of an ensemble."""
    from steadygan import bind, config, run

    if len(bind.members(config.parse(run.read_config(folder)))) == 1:
        return "the run"
    return f"member{'s' if len(members) > 1 else ''} {', '.join(str(member) for member in members)}"


def _note(text: str) -> None:
    errors.print(f"note: {text}", soft_wrap=True, markup=False)


def main() -> None:
    """Run the command line: exit code 2 and one sentence for bad usage or input."""
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
        if isinstance(error, RuntimeError) and "allocate memory" not in str(error):
            raise
        sentence = (
            f"the run is too large for this machine ({str(error).splitlines()[0]}): choose a smaller one"
        )
    errors.print(f"error: {' '.join(sentence.split())}", markup=False, soft_wrap=True, highlight=False)
    sys.exit(2)


if __name__ == "__main__":
    main()
