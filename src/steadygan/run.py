"""A run in its folder: started, resumed, looked into."""

import fcntl
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from steadygan import checkpoint, config, generate, portrait
from steadygan.build import Run, build
from steadygan.config import Config
from steadygan.errors import UsageError, nearest
from steadygan.files import write_whole
from steadygan.game import State
from steadygan.program import compiled, vectorised
from steadygan.scoring import Look, looker, reference, score_names
from steadygan.sinks import checkpoint_sink, console_sink, line_sink, portrait_sink, sample_sink
from steadygan.sinks.lines import rewind
from steadygan.train import Diverged, Event, lost_members, train

__all__ = ["fresh_folder", "read_config", "restore", "restore_member", "resume", "sample", "start", "threads"]

Note = Callable[[str], None]
CONFIG, EVENTS, CHECKPOINTS, SAMPLES = "config.yaml", "events.jsonl", "checkpoints", "samples"


def start(settings: Config, folder: Path, console: Console) -> Diverged | None:
    """Train from the first step in `folder`, which must be new or empty. Returns how it diverged, if it did."""
    run = build(settings)
    _check_score(settings, run)
    _looker(run)(run.state)  # what cannot be scored is told before anything is written
    _claim(folder)
    with _locked(folder):
        write_whole(folder / CONFIG, config.dump(config.resolved(settings)))
        return _go(settings, run, run.state, folder, 0.0, console)


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
    with _locked(folder):
        begun = bool(checkpoint.checkpoints(folder / CHECKPOINTS))  # else it was stopped before its first one
        state = restore(folder, run, _noter(console)) if begun else run.state
        step = int(state.scalars["step"].flatten()[0])
        if step >= settings.steps:
            text = f"{folder} is complete: step {step:,} of {settings.steps:,}; resume it with steps=... to go on"
            console.print(text, markup=False, soft_wrap=True)
            return None
        if assignments or root:
            write_whole(folder / CONFIG, config.dump(config.resolved(settings)))
        wall_s = rewind(folder / EVENTS, step)
        console.print(f"going on from step {step:,} of {settings.steps:,}", markup=False)
        return _go(settings, run, state, folder, wall_s, console)


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


def sample(folder: Path, count: int, *, average: bool, member: int, note: Note) -> tuple[Tensor, Tensor]:
    """`count` samples of a run folder's newest checkpoint, and real ones beside them (points only)."""
    settings = config.parse(read_config(folder), str(folder / CONFIG))
    run = build(settings)
    if run.game.rest:
        raise UsageError(
            f"the game of {folder} has no samples to draw: its pictures are in {folder / SAMPLES}"
        )
    state, seed = restore_member(folder, run, member, note)
    z = generate.latents(seed, "look", count, run.latent, state.params["G"].dtype).to(run.device)
    found = generate.samples(run.game.players["G"].network, state, z, seed=seed, average=average)
    return found.cpu(), reference(run.data, max(count, 4096))


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
        portrait.score_names(run.game.rest) if run.game.rest else score_names(run.data),
    )
    if name and name not in known:
        hint = nearest(name, known) if known else "it has none"
        raise UsageError(f"keep.best: a run on {run.data.name} has no score {name!r}: {hint}")


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


def _looker(run: Run) -> Callable[[State], Look]:
    if run.game.rest:
        members, ensemble = len(run.members), run.ensemble
        return portrait.portrait(
            run.game, run.rule, run.draws, members=members, ensemble=ensemble, closed=run.radius
        )
    seeds = [int(m["seed"]) for m in run.members]
    return looker(
        run.game, run.data, latent=run.latent, seeds=seeds, ensemble=run.ensemble, device=run.device
    )


def _go(
    settings: Config, run: Run, state: State, folder: Path, wall_s: float, console: Console
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
    with threads(settings.threads), show as shown:
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
            look=_looker(run),
            steps=settings.steps,
            every=run.every,
            wall_s=wall_s,
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
        return sample_sink(folder / SAMPLES, target)
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


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Use `count` threads inside the block; torch's own choice when None."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _noter(console: Console) -> Note:
    return lambda text: console.print(f"note: {text}", style="yellow", markup=False, soft_wrap=True)
