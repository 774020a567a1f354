"""A run in its folder: started, resumed, looked into."""

import fcntl
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from torch import Tensor

from steadygan import checkpoint, classifiers, config, generate, portrait
from steadygan.build import Run, build
from steadygan.config import Config
from steadygan.errors import UsageError, nearest
from steadygan.files import write_whole
from steadygan.game import State
from steadygan.processor import products, threads, work
from steadygan.program import compiled, vectorised
from steadygan.scoring import CLASSIFIERS, GRID, Look, looker, reference, score_names
from steadygan.sinks import checkpoint_sink, console_sink, line_sink, portrait_sink, sample_sink
from steadygan.sinks.lines import logged, rewind
from steadygan.train import Diverged, Event, Stop, lost_members, stops, train
from steadygan.values import steps_of

__all__ = ["fresh_folder", "opened", "read_config", "restore", "restore_member", "resume", "sample", "start"]

Note = Callable[[str], None]
CONFIG, EVENTS, CHECKPOINTS, SAMPLES = "config.yaml", "events.jsonl", "checkpoints", "samples"


def start(settings: Config, folder: Path, console: Console) -> Diverged | None:
    """Train from the first step in `folder`, which must be new or empty. Returns how it diverged, if it did."""
    run = build(settings)
    _check_score(settings, run)
    _check_stop(settings, run)
    look = _looker(run, _noter(console))
    look(run.state)  # what cannot be scored is told before anything is written
    _claim(folder)
    with _locked(folder):
        write_whole(folder / CONFIG, config.dump(config.resolved(settings)))
        return _go(settings, run, run.state, look, folder, 0.0, console)


def resume(
    folder: Path, assignments: list[str], console: Console, root: Path | None = None
) -> Diverged | None:
    """Go on from the newest whole checkpoint in `folder`, exactly as if the run had never stopped.

    `assignments` (key=value) change the configuration from here on, `root` where its data lie. Raises
    UsageError when the folder holds no run, or none that fits its configuration.
    """
    raw = config.override(read_config(folder), assignments)
    settings = config.parse(config.with_root(raw, root), str(folder / CONFIG))
    run = build(settings)
    _check_score(settings, run)
    _check_stop(settings, run)
    with _locked(folder):
        begun = bool(checkpoint.checkpoints(folder / CHECKPOINTS))  # else it was stopped before its first one
        state = restore(folder, run, _noter(console)) if begun else run.state
        step = int(state.scalars["step"].flatten()[0])
        if step >= settings.steps:
            text = f"{folder} is complete: step {step:,} of {settings.steps:,}; resume it with steps=... to go on"
            console.print(text, markup=False, soft_wrap=True)
            return None
        rule = _stop(settings)
        if rule and stops(rule, step, logged(folder / EVENTS, step).get(rule.log)):
            text = (
                f"{folder} has ended by its rule at step {step:,} of {settings.steps:,}: {rule.log} is below "
                f"{rule.below:g}; resume it with stop=null, or another stop.below, to go on"
            )
            console.print(text, markup=False, soft_wrap=True)
            return None
        if assignments or root:
            write_whole(folder / CONFIG, config.dump(config.resolved(settings)))
        wall_s = rewind(folder / EVENTS, step)
        console.print(f"going on from step {step:,} of {settings.steps:,}", markup=False)
        look = _looker(run, _noter(console))
        return _go(settings, run, state, look, folder, wall_s, console)


def restore(folder: Path, run: Run, note: Note, step: int | None = None) -> State:
    """The newest whole checkpoint of a run folder, or that of `step`, with the configuration's swept values."""
    if step is None:
        state = checkpoint.load_newest(folder / CHECKPOINTS, run.state, note)
    else:
        state = checkpoint.load(_checkpoint(folder, step), run.state)
    swept = {path: run.state.scalars[path] for path in run.members[0] if path != "seed"}
    return state._replace(scalars={**state.scalars, **swept})


def restore_member(
    folder: Path, run: Run, member: int, note: Note, step: int | None = None
) -> tuple[State, int]:
    """One member's state at a checkpoint, as a single run's, and its seed. Raises UsageError if there is none."""
    if not 0 <= member < len(run.members):
        raise UsageError(
            f"member {member} is not among this run's {len(run.members)}: choose 0 to {len(run.members) - 1}"
        )
    state = generate.member(restore(folder, run, note, step), member if run.ensemble else None)
    return state, int(run.members[member]["seed"])


def _checkpoint(folder: Path, step: int) -> Path:
    path = folder / CHECKPOINTS / checkpoint.name(step)
    if not path.is_dir():
        steps = [str(int(p.name[5:])) for p in checkpoint.checkpoints(folder / CHECKPOINTS)]
        raise UsageError(f"{folder} holds no checkpoint of step {step}: it has {', '.join(steps) or 'none'}")
    return path


def read_config(folder: Path) -> dict:
    """A run folder's configuration as plain data. Raises UsageError when the folder holds no run."""
    if not (folder / CONFIG).is_file():
        raise UsageError(
            f"{folder} holds no {CONFIG}, so it is no run folder: name one that steadygan train made"
        )
    return config.load(folder / CONFIG)


def opened(folder: Path) -> tuple[Config, Run]:
    """A run folder's configuration and all that it names. Raises UsageError when the folder holds no run."""
    settings = config.parse(read_config(folder), str(folder / CONFIG))
    return settings, build(settings)


def sample(
    folder: Path, count: int, *, average: bool, member: int, note: Note, label: int | None = None
) -> tuple[Tensor, Tensor, int | None]:
    """`count` samples of a run folder's newest checkpoint, real ones beside them (points only), and grid columns.

    Of a conditional run all samples have the class `label`, or each row of the grid its own, in turn.
    """
    _, run = opened(folder)
    if run.game.rest:
        raise UsageError(
            f"the game of {folder} has no samples to draw: its pictures are in {folder / SAMPLES}"
        )
    if label is not None and not 0 <= label < run.classes:
        raise UsageError(
            f"--label is 0 to {run.classes - 1}, one of this run's classes, not {label}"
            if run.classes
            else f"the game of {folder} is not conditional: leave out --label"
        )
    state, seed = restore_member(folder, run, member, note)
    z = generate.latents(seed, "look", count, run.latent, state.params["G"].dtype).to(run.device)
    z = generate.in_rows(z, run.classes, label) if run.classes else z
    found = generate.samples(run.game.players["G"].network, state, z, seed=seed, average=average)
    columns = generate.columns(count, run.classes) if label is None else None
    return found.cpu(), reference(run.data, max(count, 4096)), columns


def fresh_folder(name: str) -> Path:
    """Make runs/NAME, or the first runs/NAME-2, runs/NAME-3, ... that nobody has, and return it, empty."""
    for number in itertools.count(1):
        folder = Path("runs") / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise UsageError(f"cannot write to {folder} ({error.strerror}): choose an --out") from None
        return folder
    raise AssertionError("there is always a next number")


def _check_score(settings: Config, run: Run) -> None:
    name, known = (
        settings.keep.best,
        portrait.score_names(run.game.rest) if run.game.rest else score_names(run.data, run.game),
    )
    if name and name not in known:
        hint = nearest(name, known) if known else "it has none"
        raise UsageError(f"keep.best: a run on {run.data.name} has no score {name!r}: {hint}")


def _stop(settings: Config) -> Stop | None:
    rule = settings.stop
    return Stop(rule.log, rule.below, steps_of(rule.after, settings.steps)) if rule else None


def _check_stop(settings: Config, run: Run) -> None:
    """Refuse a rule on what is not logged: a step is taken to see what is."""
    if settings.stop:
        step = vectorised(run.step) if run.ensemble else run.step
        with threads(settings.threads):
            _, logs = step(run.state, run.draws(0))
        if settings.stop.log not in logs:
            raise UsageError(
                f"stop.log: this run logs no {settings.stop.log!r}: {nearest(settings.stop.log, logs)}"
            )


def _claim(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: choose another --out")
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(
            f"{folder} is not empty: steadygan resume {folder} goes on with a run, or choose another --out"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {folder} ({error.strerror}): choose another --out") from None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a run folder against other processes that would write to it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise UsageError(
            f"another process is training in {folder}: wait for it, or choose another folder"
        ) from None
    finally:
        os.close(handle)


def _looker(run: Run, note: Note) -> Callable[[State], Look]:
    if run.game.rest:
        members, ensemble = len(run.members), run.ensemble
        return portrait.portrait(
            run.game, run.rule, run.draws, members=members, ensemble=ensemble, closed=run.radius
        )
    seeds = [int(m["seed"]) for m in run.members]
    needed = CLASSIFIERS.get(run.data.name)
    return looker(
        run.game,
        run.data,
        latent=run.latent,
        seeds=seeds,
        ensemble=run.ensemble,
        device=run.device,
        classes=run.classes,
        classifier=classifiers.ready(needed, note) if needed else None,
    )


def _go(
    settings: Config,
    run: Run,
    state: State,
    look: Callable[[State], Look],
    folder: Path,
    wall_s: float,
    console: Console,
) -> Diverged | None:
    step = vectorised(run.step) if run.ensemble else run.step
    if settings.compile:
        console.print("compiling the step ...")
        step = compiled(step, _noter(console), settings.precision)
    images = settings.batch * sum("x_real" in reads for reads in run.draws.reads)
    first = int(state.scalars["step"].flatten()[0])
    facts: dict[str, object] = {"members": run.members, "layout": layout(run)}
    show = console_sink(console, steps=settings.steps, first=first, images_per_step=images * len(run.members))
    lost = lost_members(state)
    diverged = Diverged(first, first, sorted(lost)) if lost else None
    largest = work(run.game, settings.batch * len(run.members))
    with threads(settings.threads), products(largest), show as shown:
        sinks = [
            line_sink(folder / EVENTS, images),
            _picture_sink(run, folder),
            checkpoint_sink(folder / CHECKPOINTS, facts, last=settings.keep.last, best=settings.keep.best),
            shown,
        ]
        for event in train(
            step,
            run.draws,
            state,
            look=look,
            steps=settings.steps,
            every=run.every,
            wall_s=wall_s,
            stop=_stop(settings),
        ):
            for sink in sinks:
                sink(event)
            if isinstance(event, Diverged):
                earlier = diverged.members if diverged else []
                diverged = event._replace(members=sorted({*earlier, *event.members}))
    return diverged


def _picture_sink(run: Run, folder: Path) -> Callable[[Event], None]:
    """What is drawn to samples/: samples, or the portrait of a game that is solved by hand (of its first member)."""
    if not run.game.rest:
        target = reference(run.data, 4096) if len(run.data.shape) == 1 else None
        return sample_sink(folder / SAMPLES, target, generate.columns(GRID, run.classes))
    index = 0 if run.ensemble else None

    def velocities(state: State, points: Tensor) -> Tensor:
        return portrait.velocities(run.game, run.draws, generate.member(state, index), points, index)

    def spectrum(state: State) -> portrait.Spectrum | None:
        if not run.game.rest or not run.game.rest.still:
            return None
        return portrait.spectrum(run.game, run.rule, run.draws, generate.member(state, index), index)

    start = generate.member(run.state, index)  # a resumed run's too: its folder has the whole path
    return portrait_sink(folder / SAMPLES, folder / EVENTS, start, velocities, spectrum)


def layout(run: Run) -> dict[str, dict[str, list[int]]]:
    """How each player's parameter vector is laid out: names and shapes, in order."""
    return {
        name: {key: list(p.shape) for key, p in player.network.module.named_parameters()}
        for name, player in run.game.players.items()
    }


def _noter(console: Console) -> Note:
    return lambda text: console.print(f"note: {text}", style="yellow", markup=False, soft_wrap=True)
