"""The command line. Heavy imports wait until a command needs them, so that `--help` answers at once."""

import math
import os
import platform
import re
import signal
import sys
import time
import traceback
import warnings
from contextlib import suppress
from functools import partial
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steadygan import __version__
from steadygan.cli import analysis, completion
from steadygan.cli import report as pages
from steadygan.cli.analysis import (
    DEFAULT,
    DEFAULT_IMAGES,
    MOST,
    DataRoot,
    OneMember,
    Overrides,
    Raw,
    RunFolder,
    Use,
    brought,
    console,
    errors,
    named_recipe,
    note,
)
from steadygan.cli.bars import bars
from steadygan.cli.data import data
from steadygan.cli.export import export
from steadygan.cli.hub import push
from steadygan.cli.init import init
from steadygan.cli.runs import runs
from steadygan.cli.streams import unbroken
from steadygan.cli.sweep import ended, sweep
from steadygan.cli.wrong_turns import right_form
from steadygan.errors import SaidByFirst, UsageError, command_line, printable
from steadygan.recipes.listing import listed

if TYPE_CHECKING:
    from collections.abc import Callable

    from steadygan.commands.dry_run import Processes
    from steadygan.runs.origin import Origin
    from steadygan.training.events import Diverged, StoppedByDiagnosis

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


CommandLineError: Any = typer.BadParameter.__mro__[2]
"""The base class of typer's usage errors, which typer does not export."""


NO_MEMORY = (
    "allocate memory|calculation overflowed|out of memory|bad_alloc|create a primitive|start new thread"
)
"""What the errors of torch, oneDNN and threads say where memory is short."""

SPREAD = ("train", "resume", "sample", "evaluate")
"""The commands that several processes can do together."""


def _version(wanted: bool) -> None:
    """Print the versions of steadygan, torch and Python."""
    if wanted:
        torch, python = metadata.version("torch"), platform.python_version()
        console.print(f"steadygan {__version__}, torch {torch}, Python {python}", highlight=False)
        raise typer.Exit


@app.callback()
def steadygan(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_version,
            is_eager=True,
            help="Print the versions of steadygan, torch and Python.",
        ),
    ] = False,
) -> None:
    """Train generative adversarial networks whose gradients behave.

    Start with: steadygan train, then steadygan report DIR. List the recipes with: steadygan list.
    """
    several = "RANK" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1"
    if several and context.invoked_subcommand not in SPREAD:
        raise UsageError(
            f"steadygan {context.invoked_subcommand} is for one process: start it without torchrun, which is for "
            f"{', '.join(SPREAD)}"
        )


@app.command()
def train(
    recipe: Annotated[
        str | None,
        typer.Argument(
            metavar="RECIPE",
            help=f"Recipe name, run folder or YAML file. Default: {DEFAULT}; with --images, {DEFAULT_IMAGES}.",
            autocompletion=completion.recipe_or_key,
        ),
    ] = None,
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="Run folder to create. Default: runs/NAME.")] = None,
    seeds: Annotated[
        int | None, typer.Option(help="Number of seeds to train as one ensemble. Default: the recipe's.")
    ] = None,
    data_root: DataRoot = None,
    images: Annotated[Path | None, typer.Option(help="Folder or zip of your own images to train on.")] = None,
    size: Annotated[
        int | None,
        typer.Option(min=1, help="Side in pixels to which --images are resized. Default: their own."),
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(help="Preset that shrinks the recipe: tiny, or one that it names. Default: full size."),
    ] = None,
    use: Use = None,
    from_: Annotated[
        Path | None,
        typer.Option("--from", metavar="DIR", help="Run folder whose weights to start from. Default: none."),
    ] = None,
    from_players: Annotated[
        str | None, typer.Option(metavar="G,D", help="Players that start from --from. Default: all.")
    ] = None,
    from_member: Annotated[
        int | None, typer.Option(help="Ensemble member of --from. Default: all, member by member.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the configuration and its cost, and train nothing.")
    ] = False,
    processes: Annotated[
        int | None,
        typer.Option(min=1, help="With --dry-run: also the cost of this many processes. Default: one."),
    ] = None,
    bandwidth: Annotated[
        float | None,
        typer.Option(metavar="GB/s", help="Bytes between two of --processes, each way. Default: 10."),
    ] = None,
    speed: Annotated[
        float | None,
        typer.Option(
            metavar="TFLOP/s", help="What each of --processes achieves. Default: what this machine does."
        ),
    ] = None,
) -> None:
    """Train a recipe into a run folder with samples, scores and checkpoints.

    The exit code is 1 if the run diverged or a verdict in stop_on ended it.
    """
    from steadygan import config
    from steadygan.build import NOTHING, build
    from steadygan.commands.own_images import check_images, on_images
    from steadygan.config.presets import scaled
    from steadygan.config.resolve import resolve
    from steadygan.runs import train as run
    from steadygan.runs.folder import drop_empty, fresh_folder
    from steadygan.runs.own_code import keep, own_file
    from steadygan.training.cluster import here

    shared = _processes(dry_run, processes, bandwidth, speed)
    assignments = list(overrides or [])
    if recipe and "=" in recipe:
        assignments.insert(0, recipe)
        recipe = None
    if seeds is not None:
        assignments.append(f"seeds={seeds}")
    if recipe == "":
        raise UsageError("the recipe's name is empty: name one, or leave it out for the default recipe")
    if images and any(one.partition("=")[0] in ("data", "data.name", "data.path") for one in assignments):
        raise UsageError("--images names the data already: leave out data=, data.name= and data.path=")
    if size is not None and images is None:
        raise UsageError("--size is for --images: set data.size for another data set")
    source, raw = named_recipe(recipe or (DEFAULT_IMAGES if images else DEFAULT))
    own_set = on_images(raw, source, images, size) if images else None
    raw = scaled(own_set.raw if own_set else {"name": source, **raw}, scale, source)
    file = own_file(use) if use else None
    raw = config.override(file.named(raw) if file else raw, assignments)
    own = file.own(raw, note) if file else NOTHING
    settings = config.parse(config.with_root(raw, data_root), source)
    if own_set:
        check_images(resolve(settings), own_set.side)
        note(own_set.told(source))
    if file:
        loss = getattr(getattr(settings.game, "loss", None), "name", "own")
        for left_out in file.unused(
            {"networks": settings.networks.name, "data": settings.data.name, "loss": loss}
        ):
            note(left_out)
    begun = _origin(from_, from_players, from_member)
    if dry_run:
        from steadygan.commands import dry_run as dry
        from steadygan.runs.origin import started

        for one in begun:
            started(one, partial(build, settings, own))  # what does not fit is said here too

        dry.dry_run(settings, console, own, shared)
        return
    cluster = here()
    folder = out or cluster.agreed(lambda: fresh_folder(settings.name))
    try:
        _train(
            folder, lambda: run.start(settings, folder, console, own, lambda place: keep(place, file), *begun)
        )
    finally:
        if out is None and cluster.first:  # a run that did not start leaves no folder
            drop_empty(folder)


@app.command()
def resume(
    folder: RunFolder,
    overrides: Overrides = None,
    data_root: DataRoot = None,
    use: Use = None,
) -> None:
    """Resume a run from its newest complete checkpoint, or what is left of a sweep.

    The result is the same, bit for bit, as if the run had not been interrupted.
    """
    from steadygan.runs import train as run
    from steadygan.runs.sweeps.record import SWEEP

    if (folder / SWEEP).exists():
        from steadygan.commands.sweep import resume_sweep

        if overrides or data_root or use:
            raise UsageError(f"{folder} is a sweep, which keeps its settings: give its folder alone")
        return ended(folder, lambda: resume_sweep(folder, console))

    own = brought(use, folder)
    _train(folder, lambda: run.resume(folder, list(overrides or []), console, data_root, own))


@app.command()
def sample(
    folder: RunFolder,
    n: Annotated[int, typer.Option("-n", min=1, max=MOST, help="Number of samples.")] = 64,
    out: Annotated[
        Path | None, typer.Option(help="Output picture. Default: samples.png in the run folder.")
    ] = None,
    raw: Raw = False,
    member: OneMember = 0,
    label: Annotated[int | None, typer.Option(help="Class to sample. Default: one class per row.")] = None,
    reconstruct: Annotated[
        bool, typer.Option("--reconstruct", help="Show real samples x beside reconstructions G(E(x)).")
    ] = False,
    traverse: Annotated[
        int | None,
        typer.Option(
            help="Number of a latent code, from 0. Shows each noise vector with every value of the code."
        ),
    ] = None,
    use: Use = None,
) -> None:
    """Draw samples from a run's newest checkpoint."""
    from steadygan.commands.sample import draw
    from steadygan.training.cluster import here

    kind: dict[str, Any] = {"label": label, "reconstruct": reconstruct, "traverse": traverse}
    own = brought(use, folder)
    line = draw(folder, n, out, average=not raw, member=member, note=note, own=own, cluster=here(), **kind)
    console.print(line, soft_wrap=True, markup=False)


@app.command("list")
def list_(
    what: Annotated[
        str, typer.Argument(metavar="KIND", help="What to list: recipes, config, losses, data, ...")
    ] = "recipes",
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="WORD",
            help="Words that must match, e.g. cifar10 fargan, or keys of config. Default: list all.",
        ),
    ] = None,
) -> None:
    """List the recipes, the configuration keys, or the names that a recipe may use.

    KIND is recipes, config, losses, penalties, logit_penalties, normalizations, consistency,
    augmentations, dynamics, optimizers, networks, data, games or schedules.
    """
    for line in listed(what, words or []):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


for command in (
    init,
    runs,
    sweep,
    export,
    push,
    analysis.evaluate,
    analysis.compare,
    pages.report,
    pages.watch,
    analysis.diagnose,
    analysis.spectrum,
    analysis.verify,
    analysis.classifier,
):
    app.command()(command)
app.add_typer(analysis.probe, name="probe")
app.add_typer(data, name="data")


def _origin(folder: Path | None, players: str | None, member: int | None) -> "list[Origin]":
    """The weights that a run starts from, if any, as the options --from, --from-players and --from-member say."""
    if folder is None:
        if players is not None or member is not None:
            raise UsageError("--from-players and --from-member belong to --from DIR: name the run folder")
        return []
    from steadygan.runs.origin import origin

    names = [name.strip() for name in players.split(",")] if players is not None else None
    return [origin(folder, note, players=names, member=member)]


def _processes(
    dry_run: bool, count: int | None, bandwidth: float | None, speed: float | None
) -> "Processes | None":
    """The processes whose cost --dry-run is to print, if any."""
    if count is None and (bandwidth, speed) != (None, None):
        raise UsageError("--bandwidth and --speed belong to --processes: say how many with --processes N")
    if count is None:
        return None
    if not dry_run:
        raise UsageError(
            "--processes belongs to --dry-run, which prints their cost; torchrun starts processes"
        )
    for flag, value in {"--bandwidth": bandwidth, "--speed": speed}.items():
        if value is not None and not 0 < value < math.inf:
            raise UsageError(f"{flag} must be a positive number, not {value:g}")
    from steadygan.commands.dry_run import Processes

    return Processes(count, 1e9 * (bandwidth or 10.0), speed and 1e12 * speed)


def _train(folder: Path, job: "Callable[[], Diverged | StoppedByDiagnosis | None]") -> None:
    """Run the job and print where its results are and how it ended."""
    from steadygan.runs.endings import why
    from steadygan.training.cluster import here
    from steadygan.training.compile.compiled_step import CompiledStepDiffers

    if "RANK" in os.environ:  # torchrun's way to end what is left, perhaps before the loss is seen
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.perf_counter()
    try:
        ended = job()
    except KeyboardInterrupt:
        raise UsageError(
            f"interrupted: resume from the last complete checkpoint with {command_line('resume', folder)}"
        ) from None
    except CompiledStepDiffers as error:
        raise UsageError(str(error)) from None
    if not here().first:  # the first process tells of it
        raise typer.Exit(1 if ended else 0)
    pictures = sorted((folder / "samples").glob("step-*.png"))
    seconds = time.perf_counter() - began
    if pictures:
        console.print(f"picture: {pictures[-1]}", soft_wrap=True, markup=False)
    if ended:
        commands = command_line("diagnose", folder), command_line("resume", folder, "stop_on=[]")
        errors.print(why(ended, folder, commands), soft_wrap=True, markup=False)
        raise typer.Exit(1)
    console.print(f"done in {seconds:.0f} s: {folder}", soft_wrap=True, markup=False)


def _rank() -> int:
    """The number of this process among several, as torchrun gives it."""
    if "WORLD_SIZE" not in os.environ:
        return 0
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        if not os.environ.get(name, "0").isdecimal():
            told = f"error: the variable {name} of the environment takes a whole number, as torchrun sets it: unset it"
            errors.print(told, markup=False, soft_wrap=True, highlight=False)
            sys.exit(2)
    return int(os.environ.get("RANK", 0))


def main() -> None:
    """Run the command line. Bad usage or input prints one sentence and gives exit code 2."""
    warnings.formatwarning = lambda message, *_, **__: f"note: {printable(' '.join(str(message).split()))}\n"
    sys.excepthook = _print_traceback
    sys.stdout, sys.stderr = unbroken(sys.stdout), unbroken(sys.stderr)
    rank = _rank()
    console.quiet = errors.quiet = rank > 0  # of several processes, the first one speaks
    if "WORLD_SIZE" in os.environ:  # torch reports a lost connection with its stack
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    try:
        with bars(console):
            sys.exit(app(prog_name="steadygan", standalone_mode=False) or 0)
    except UsageError as error:
        if rank and isinstance(error, SaidByFirst):
            sys.exit(2)
        sentence = str(error)
    except CommandLineError as error:
        sentence = _misused(error)
    except OSError as error:
        reason = f"{error.strerror or error} ({error.filename2 or error.filename or 'while writing the run'})"
        taken = isinstance(error, IsADirectoryError | NotADirectoryError | FileExistsError)
        remedy = "move away what has that name" if taken else "free some space or choose another folder"
        trains = sys.argv[1:2] in (["train"], ["resume"], ["sweep"])
        sentence = f"{reason}: {remedy}{', then continue with steadygan resume' if trains else ''}"
    except (MemoryError, OverflowError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not re.search(NO_MEMORY, str(error)):
            raise
        reason = str(error).partition("\n")[0] or "out of memory"
        remedy = "use fewer samples, a smaller batch, smaller networks or images"
        sentence = f"this is too large for this machine ({reason}): {remedy}"
    with suppress(OSError):  # where stderr is full, the exit code still says it
        _say(" ".join(sentence.split()), rank)
    sys.exit(2)


def _print_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an error that is our mistake, as Python does."""
    errors.quiet = False
    for line in "".join(traceback.format_exception(kind, error, trace)).rstrip().split("\n"):
        errors.print(line, soft_wrap=True, highlight=False)


def _misused(error: Any) -> str:
    """The sentence for typer's own error: what to write instead where that is known, and the command's help."""
    command = error.ctx.command_path if getattr(error, "ctx", None) else "steadygan"
    option = error.option_name if type(error).__name__ == "NoSuchOption" else ""
    form = right_form(command.removeprefix("steadygan "), option, sys.argv[1:]) if option else ""
    told = f"{command} has no option {option}: write {form}" if form else error.format_message()
    if not told:  # a group of commands alone, whose help is printed
        told = f"{command} needs a command: {', '.join(error.ctx.command.list_commands(error.ctx))}"
    return f"{told.rstrip('.')} (see {command} --help)"


def _say(sentence: str, rank: int) -> None:
    """Print an error once, where several processes may end with it."""
    if "WORLD_SIZE" in os.environ:
        from steadygan.training.cluster import said_by_first

        if said_by_first(sentence):
            return
    who = f"process {rank}: " if rank else ""
    errors.quiet = False
    errors.print(f"error: {who}{sentence}", markup=False, soft_wrap=True, highlight=False)


if __name__ == "__main__":
    main()
