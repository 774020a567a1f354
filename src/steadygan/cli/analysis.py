"""Commands that measure runs and images and do not change them. Heavy imports wait until they are needed."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steadygan.cli import completion
from steadygan.cli.streams import Screen
from steadygan.errors import UsageError
from steadygan.recipes.catalogue import find_recipe, spelled_out

if TYPE_CHECKING:
    from steadygan.build import Own
    from steadygan.theory import Verdict

__all__ = [
    "DEFAULT",
    "DEFAULT_IMAGES",
    "DataRoot",
    "Overrides",
    "RunFolder",
    "Use",
    "brought",
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

DEFAULT_IMAGES = "emoji64-fargan"
"""For own images: it trains well on few of them, of every size 8, 16, 32, ..., in minutes on a laptop at 64."""

console = Screen()
errors = Screen(stderr=True)

Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE",
        help="Configuration keys to change, e.g. steps=1000 optimizer.lr=1e-4.",
        autocompletion=completion.keys,
    ),
]
DataRoot = Annotated[
    Path | None, typer.Option(help="Folder with the image data sets. Default: $STEADYGAN_DATA.")
]
Use = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Python file of your own with networks(shape), data() or loss(). It is run."
    ),
]
RunFolder = Annotated[Path, typer.Argument(metavar="DIR", help="Run folder.")]
Member = Annotated[int | None, typer.Option(help="Ensemble member. Default: all members.")]
OneMember = Annotated[int, typer.Option(help="Ensemble member.")]
Raw = Annotated[bool, typer.Option("--raw", help="Use the raw generator. Default: its moving average (EMA).")]
Recipe = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE", help="Recipe name, run folder or YAML file.", autocompletion=completion.recipes
    ),
]


MOST = 2**31 - 1
"""The largest number of samples, or of those in a batch."""


def _checked_seed(value: int) -> int:
    if not 0 <= value < 2**63:
        raise UsageError(f"--seed is {value}: give a whole number from 0 to 2^63 - 1")
    return value


Seed = Annotated[int, typer.Option(callback=_checked_seed, help="Random seed.")]


def note(text: str) -> None:
    """Print a note to the error stream."""
    errors.print(f"note: {text}", soft_wrap=True, markup=False)


def named_recipe(name: str) -> tuple[str, dict[str, Any]]:
    """The recipe of this name, with a note on what to write instead of a name that stands for an override."""
    if instead := spelled_out(name):
        note(f"{name} stands for an override of another recipe: {instead}")
    return find_recipe(name)


def brought(use: Path | None, folder: Path) -> "Own":
    """What a file of one's own brings for a run folder: nothing without a file."""
    from steadygan.build import NOTHING
    from steadygan.runs.folder import read_config
    from steadygan.runs.own_code import check_named, check_same, own_file

    if use is None:
        check_named(folder)
        return NOTHING
    file = own_file(use)
    check_same(folder, file, note)
    return file.own(read_config(folder), note)


def evaluate(
    folder: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="Run folder. Leave it out with --images.")
    ] = None,
    checkpoint: Annotated[
        str, typer.Option(help="Checkpoint to score: newest, best, all or a step number.")
    ] = "newest",
    ema: Annotated[str, typer.Option(help="Generator to score: averaged (on), raw (off) or both.")] = "on",
    member: Member = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder or zip of images to score, instead of a run.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="Data set to compare --images with, or another folder or zip.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=1, help="Side in pixels to which both sides' images are resized.")
    ] = None,
    colour: Annotated[
        str | None,
        typer.Option(help="Turn the images of folders to colour (rgb) or to grey. Default: as they are."),
    ] = None,
    extractor: Annotated[
        str,
        typer.Option(
            help="Feature extractor: lite0, pixels8, inception, or a data set's name for its classifier."
        ),
    ] = "lite0",
    generated: Annotated[
        int | None,
        typer.Option(
            "-n", min=2, max=MOST, help="Generated samples. Default: 10,000 images or 2,000 points."
        ),
    ] = None,
    real: Annotated[int | None, typer.Option(min=2, max=MOST, help="Real images. Default: all.")] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="Weights file of lite0 or inception. Default: the installed or downloaded file."),
    ] = None,
    split: Annotated[
        str, typer.Option(help="Split of real images to compare with: train or test.")
    ] = "train",
    seed: Seed = 0,
    batch: Annotated[
        int, typer.Option(min=1, max=MOST, help="Images generated at once. Does not change the scores.")
    ] = 500,
    data_root: DataRoot = None,
    use: Use = None,
) -> None:
    """Score a run's generator, or a folder of images, and print the protocol.

    The score cards of a run are kept in scores.json in its folder.
    """
    from steadygan.commands.evaluate import evaluate_images, evaluate_run, is_folder, real_images
    from steadygan.metrics import Protocol
    from steadygan.training.cluster import here

    protocol = Protocol(extractor, generated, real, split, seed)
    if (folder is None) == (images is None):
        raise UsageError("evaluate scores one of two things: give a run folder, or --images with --against")
    if images is not None:
        if (checkpoint, ema, member, generated) != ("newest", "on", None, None):
            raise UsageError(
                "--images scores all images of the folder: leave out --checkpoint, --ema, --member and -n"
            )
        if against is None:
            raise UsageError(
                "--images needs images to compare with: add --against with a folder, a zip or a data set's name, such "
                "as fashion_mnist"
            )
        whole = is_folder(against)
        if whole and split != "train":
            raise UsageError("--split is for data sets: leave it out to compare with all images of a folder")
        how: dict[str, Any] = {"size": size, "colour": colour, "whole": whole, "batch": batch}
        data = real_images(against, data_root, size, colour)
        evaluate_images(images, data, protocol, **how, weights=weights, note=note, console=console)
        return
    assert folder is not None
    if against is not None:
        raise UsageError("a run is compared with its own data set: leave out --against")
    if size is not None or colour is not None:
        raise UsageError("--size and --colour are for --images: leave them out with a run folder")
    kind: dict[str, Any] = {
        "which": checkpoint,
        "average": ema,
        "member": member,
        "batch": batch,
        "weights": weights,
    }
    own = brought(use, folder)
    evaluate_run(
        folder, protocol, **kind, root=data_root, note=note, console=console, own=own, cluster=here()
    )


def compare(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR", help="Two or more run folders that have been evaluated.")
    ],
) -> None:
    """Show which scores of two or more runs differ by more than the noise.

    Scores with different protocols are not compared.
    """
    from steadygan.runs.score_cards import compare_runs

    if len(folders) < 2:
        raise UsageError("compare needs at least two run folders: name another one")
    compare_runs(folders, console)


def diagnose(
    path: Annotated[Path, typer.Argument(metavar="DIR|FILE", help="Run folder, or the file of a Monitor.")],
    member: Member = None,
) -> None:
    """Print what is wrong with a run: verdicts, evidence and remedies.

    The run may still be training. The exit code is 1 if anything is wrong.
    """
    from steadygan.commands.diagnose import print_diagnosis

    if print_diagnosis(path, member, console):
        raise typer.Exit(1)


def spectrum(
    folder: RunFolder,
    batches: Annotated[int, typer.Option(min=1, help="Batches to average the vector field over.")] = 10,
    member: OneMember = 0,
    gamma: Annotated[float, typer.Option(min=0, help="Weight gamma of consensus, J - gamma J^T J.")] = 10.0,
    friction: Annotated[
        float | None,
        typer.Option(help="Friction of momentum, x'' = v - friction x'. Default: momentum is not shown."),
    ] = None,
    checkpoint: Annotated[str, typer.Option(help="Checkpoint: newest or a step number.")] = "newest",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Output picture, with the numbers as .json beside it. Default: spectrum.png in the run folder."
        ),
    ] = None,
) -> None:
    """Compute the eigenvalues of a run's vector field, before and after consensus.

    Writes a picture and a JSON file with the numbers.
    """
    from steadygan.commands.spectrum import spectrum as run_spectrum

    run_spectrum(folder, batches, member, gamma, friction, checkpoint, out, console, note)


probe = typer.Typer(no_args_is_help=True)


@probe.callback()
def probe_group() -> None:
    """Recommend a setting of a recipe from short training runs."""


@probe.command("gamma")
def probe_gamma(
    recipe: Recipe = DEFAULT,
    overrides: Overrides = None,
    steps: Annotated[int, typer.Option(min=10, help="Training steps for each of the five weights.")] = 300,
    data_root: DataRoot = None,
) -> None:
    """Recommend the weight of a recipe's r1, r2 or zero_centered penalty.

    The weight multiplies the whole penalty, without a factor of 1/2.
    """
    from steadygan import config
    from steadygan.commands import probe

    source, raw = named_recipe(recipe)
    for key in (word.partition("=")[0] for word in overrides or []):
        if key in ("steps", "seeds", "compile"):
            raise UsageError(f"the probe trains one seed, uncompiled, for --steps: leave out {key}=")
    raw = config.with_root(config.override({"name": source, **raw}, overrides or []), data_root)
    probe.probe_gamma(raw, source, steps, console)


def classifier(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Labelled data set: digits, fashion_mnist or cifar10.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Output folder. Default: a folder in the user's cache.")
    ] = None,
    seed: Seed = 0,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Training steps. Default: depends on the data set.")
    ] = None,
    data_root: DataRoot = None,
) -> None:
    """Train a classifier of a data set, for scores, and print its accuracy.

    The accuracy is measured on held-out images.
    """
    from steadygan.runs import classifiers

    classifiers.classifier(name, out, seed, steps, data_root, console)


def verify(
    seed: Seed = 0,
    json_: Annotated[bool, typer.Option("--json", help="Print a JSON list instead of a table.")] = False,
    page: Annotated[
        Path | None, typer.Option(help="File for the page docs/theory.md. Default: no page is written.")
    ] = None,
) -> None:
    """Check the propositions and lemmas of the source papers on random cases.

    Prints the claim, what was measured and the verdict. The exit code is 1 if a verdict is unexpected.
    """
    from steadygan.files import user_path, write_whole
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
        write_whole(user_path(page), statements.page(verdicts, seed))
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
