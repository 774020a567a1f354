"""The loggers of a run: events.jsonl, pictures, landscapes of the critic, checkpoints and TensorBoard files."""

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from torch import Tensor

from steadygan.build import Run
from steadygan.config.schema import Keep
from steadygan.data.streams import Place
from steadygan.game import State, trainable
from steadygan.game.state import member
from steadygan.runs.folder import BOARD, CHECKPOINTS, EVENTS, SAMPLES
from steadygan.runs.identity import known_runs, to_json
from steadygan.runs.sinks import (
    checkpoint_sink,
    landscape_sink,
    line_sink,
    portrait_sink,
    sample_sink,
    tensorboard_sink,
)
from steadygan.runs.sinks.jsonl import Images, last_good_steps
from steadygan.runs.sinks.landscapes import LANDSCAPES
from steadygan.training import sampling, toy_scores
from steadygan.training.beside import Tree, Write, beside
from steadygan.training.events import Event, Scored, Snapshot
from steadygan.training.online_scores import GRID, reference

__all__ = ["drawn", "facts", "layout", "loggers", "tensorboard"]

Sink = Callable[[Event], None]


@contextmanager
def loggers(
    run: Run,
    places: Callable[[int], list[Place]],
    folder: Path,
    *,
    keep: Keep,
    trackers: Collection[str],
    images: Images,
    first: int,
    wall_s: float,
) -> Iterator[list[Sink]]:
    """Open the loggers of a run's folder, in the order in which they must see an event.

    One thread draws pictures and writes checkpoints, beside training and in the order of their events. So a run that is
    resumed from a checkpoint has all pictures before it. The block ends when all is on disk.

    `places(step)` tells where the streams of all members are before a step that is saved. `first` is the step from
    which the run starts or resumes, `wall_s` the seconds that it had taken by then.
    """
    known = facts(run, folder)
    board = tensorboard(trackers, run, folder, images, first, wall_s)
    with board as board_sink, beside() as writer:
        yield [
            line_sink(folder / EVENTS, images),
            _picture_sink(run, folder, _at_once if trackers else writer()),
            *_landscape_sinks(run, folder),
            checkpoint_sink(
                folder / CHECKPOINTS,
                lambda step: {**known, **stream_place(places(step))},
                writer(),
                last=keep.last,
                best=keep.best,
                good=last_good_steps(folder / EVENTS),
            ),
            board_sink,
        ]


def _at_once(tree: Tree, job: Callable[[Tree], None]) -> None:
    """Run a job before training goes on: trackers read a picture at its event."""
    job(tree)


def _nothing(event: Event) -> None:
    """Ignore an event."""


def tensorboard(
    trackers: Collection[str], run: Run, folder: Path, images: Images, first: int, wall_s: float
) -> AbstractContextManager[Sink]:
    """The logger of TensorBoard files, which begin with the run up to step `first`, where it is one of the trackers."""
    if "tensorboard" not in trackers:
        return nullcontext(_nothing)
    return tensorboard_sink(
        folder / BOARD,
        folder / EVENTS,
        folder / SAMPLES,
        drawn=drawn(run),
        images=images,
        first=first,
        wall_s=wall_s,
    )


def drawn(run: Run) -> type:
    """The event at which a run draws a picture: a toy game draws the path to a state that it saves."""
    return Snapshot if run.game.rest else Scored


def _picture_sink(run: Run, folder: Path, write: Write) -> Callable[[Event], None]:
    """The logger that draws to samples/: samples, or the phase portrait of a toy game (of its first member)."""
    if not run.game.rest:
        target = None if run.data.images else reference(run.data, 4096)
        return sample_sink(folder / SAMPLES, target, write, sampling.columns(GRID, run.classes))
    index = 0 if run.ensemble else None

    def velocities(state: State, points: Tensor) -> Tensor:
        return toy_scores.velocities(run.game, run.draws, member(state, index), points, index)

    def spectrum(state: State) -> toy_scores.Spectrum | None:
        if not run.game.rest or not run.game.rest.still:
            return None
        return toy_scores.spectrum(run.game, run.rule, run.draws, member(state, index), index)

    start = member(run.state, index)  # also in a resumed run, because its folder has the whole path
    return portrait_sink(folder / SAMPLES, folder / EVENTS, start, velocities, spectrum)


def _landscape_sinks(run: Run, folder: Path) -> list[Callable[[Event], None]]:
    """The logger of the critic's landscape, for runs on points in the plane."""
    if run.game.rest or not run.game.critic or run.data.shape != (2,):
        return []
    target, several = reference(run.data, 4096), run.ensemble
    return [landscape_sink(folder / LANDSCAPES, run.game, target, classes=run.classes, ensemble=several)]


def facts(run: Run, folder: Path) -> dict[str, object]:
    """What a checkpoint in a run's folder says beside its tensors.

    It names the run, its members, the layout of the parameters, and the shape and classes of the data.
    """
    return {
        **to_json(known_runs(folder)),
        "members": run.members,
        "layout": layout(run),
        "shape": list(run.data.shape),
        "classes": run.classes,
    }


def stream_place(places: list[Place]) -> dict[str, object]:
    """Where the streams are, for a checkpoint: one place for each seed, or nothing."""
    return {"stream": places} if places else {}


def layout(run: Run) -> dict[str, dict[str, list[int]]]:
    """The layout of each player's parameter vector: names and shapes, in order."""
    return {
        name: {key: list(p.shape) for key, p in trainable(player.network.module).items()}
        for name, player in run.game.players.items()
    }
