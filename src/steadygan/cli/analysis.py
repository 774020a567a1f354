"""Commands that measure: they look at runs and images, and leave them as they are. Heavy imports wait until needed."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from steadygan.errors import UsageError
from steadygan.recipes.catalogue import find_recipe, spelled_out

if TYPE_CHECKING:
    from steadygan.theory import Verdict

__all__ = [
    "DEFAULT",
    "DataRoot",
    "Overrides",
    "classifier",
    "compare",
    "console",
    "diagnose",
    "errors",
    "evaluate",
    "named_recipe",
    "note",
    "probe",
    "spectrum",
    "verify",
]

DEFAULT = "ring8-fargan"

console = Console()
errors = Console(stderr=True)

Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="e.g. steps=1000 optimizer.lr=1e-4")
]
DataRoot = Annotated[Path | None, typer.Option(help="Folder of image data sets; else STEADYGAN_DATA.")]


def note(text: str) -> None:
    """Print a remark to the error stream."""
    errors.print(f"note: {text}", soft_wrap=True, markup=False)


def named_recipe(name: str) -> tuple[str, dict[str, Any]]:
    """The recipe of this name, with a note on what to write instead of a name that stands for an override."""
    if instead := spelled_out(name):
        note(f"{name} is an override of another recipe: from now on, write {instead}")
    return find_recipe(name)


def evaluate(
    folder: Annotated[Path | None, typer.Argument(help="A run folder.")] = None,
    checkpoint: Annotated[str, typer.Option(help="newest, best, all, or a step that has one.")] = "newest",
    ema: Annotated[str, typer.Option(help="The averaged generator (on), the raw one (off), or both.")] = "on",
    member: Annotated[int | None, typer.Option(help="One member of an ensemble; all when not given.")] = None,
    images: Annotated[Path | None, typer.Option(help="Score a folder or zip of images instead.")] = None,
    against: Annotated[str | None, typer.Option(help="The set that --images are compared with.")] = None,
    extractor: Annotated[
        str, typer.Option(help="lite0, pixels8, inception, or a labelled set's classifier.")
    ] = "lite0",
    generated: Annotated[
        int | None, typer.Option("-n", min=2, help="Samples; 10,000 images or 2,000 points when not given.")
    ] = None,
    real: Annotated[int | None, typer.Option(min=2, help="Real images; all when not given.")] = None,
    weights: Annotated[Path | None, typer.Option(help="The file of lite0's or inception's weights.")] = None,
    split: Annotated[str, typer.Option(help="train, or test: what is compared with.")] = "train",
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Draws the latents.")] = 0,
    batch: Annotated[int, typer.Option(min=1, help="Images made at a time; changes no score.")] = 500,
    data_root: DataRoot = None,
) -> None:
    """Score a run's generator, or a folder of images, with the protocol beside the numbers."""
    from steadygan.commands import evaluate as evaluated
    from steadygan.metrics import Protocol

    protocol = Protocol(extractor, generated, real, split, seed)
    if (folder is None) == (images is None):
        raise UsageError("name a run folder, or --images and what they are --against")
    if images is not None:
        if (checkpoint, ema, member, generated) != ("newest", "on", None, None):
            raise UsageError(
                "--images are scored as they are, all of them: leave out --checkpoint, --ema, --member and -n"
            )
        if against is None:
            raise UsageError("--images need a set to be compared with: --against fashion-mnist, for one")
        data = evaluated.real_images(against, data_root)
        evaluated.evaluate_images(
            images, data, protocol, batch=batch, weights=weights, note=note, console=console
        )
        return
    assert folder is not None
    if against is not None:
        raise UsageError("a run is compared with its own data: leave out --against")
    kind: dict[str, Any] = {
        "which": checkpoint,
        "average": ema,
        "member": member,
        "batch": batch,
        "weights": weights,
    }
    evaluated.evaluate_run(folder, protocol, **kind, root=data_root, note=note, console=console)


def compare(
    folders: Annotated[list[Path], typer.Argument(help="Two run folders or more, each with scores.")],
) -> None:
    """Say which scores of two or more runs differ by more than the noise; unlike protocols are refused."""
    from steadygan.runs import score_cards

    if len(folders) < 2:
        raise UsageError("compare takes two run folders or more")
    score_cards.compared(folders, console)


def diagnose(
    path: Annotated[Path, typer.Argument(help="A run folder, running or not, or a Monitor's file.")],
    member: Annotated[int | None, typer.Option(help="One member of an ensemble; all when not given.")] = None,
) -> None:
    """Say what is wrong with a run, since when, by which numbers, and what to try; exit code 1 if anything is."""
    from steadygan.commands.diagnose import diagnosed

    if diagnosed(path, member, console):
        raise typer.Exit(1)


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
    from steadygan.commands import spectrum as clouds

    clouds.spectrum(folder, batches, member, gamma, friction, checkpoint, out, console, note)


probe = typer.Typer(no_args_is_help=True, help="Measure for a few hundred steps what a recipe wants.")


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
    from steadygan import config
    from steadygan.commands import probe

    source, raw = named_recipe(recipe)
    raw = config.with_root(config.override({"name": source, **raw}, overrides or []), data_root)
    probe.probe_gamma(raw, source, steps, console)


def classifier(
    name: Annotated[str, typer.Argument(help="A labelled set: digits, fashion-mnist or cifar10.")],
    out: Annotated[Path | None, typer.Option(help="Its folder; else that of the user's cache.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1)] = 0,
    steps: Annotated[int | None, typer.Option(min=1, help="The set's own number when not given.")] = None,
    data_root: DataRoot = None,
) -> None:
    """Train a classifier of NAME, for scores in its domain, and say how good it is on held-out images."""
    from steadygan.runs import classifiers

    classifiers.classifier(name, out, seed, steps, data_root, console)


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
