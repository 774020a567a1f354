"""The logger of checkpoints/: the newest states, and the state with the best score."""

import json
import math
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

from steadygan.files import make_folder, read_json, write_whole
from steadygan.game import State
from steadygan.training import checkpoint
from steadygan.training.beside import Write
from steadygan.training.events import Diverged, Event, Scored, Snapshot
from steadygan.training.online_scores import lower_is_better

__all__ = ["best_checkpoint", "best_score", "checkpoint_sink", "thin"]

BEST = "best.json"


def checkpoint_sink(
    folder: Path,
    facts: Callable[[int], dict[str, object]],
    write: Write,
    *,
    last: int,
    best: str | None,
    good: Collection[int] = (),
) -> Callable[[Event], None]:
    """Save snapshots beside training, with a function of `beside`.

    The newest `last` are kept, and the state with the best value of the score `best`. `facts(step)` is what a
    checkpoint says beside its tensors. In an ensemble the score is the mean over members. folder/best.json names the
    best checkpoint. The last good state of a member that diverged is kept too, also those of the steps `good` before a
    resume. A disk that is full is an OSError.
    """
    lost = list(good)
    make_folder(folder)
    record = folder / BEST

    def newest(step: int, about: dict[str, object], state: State) -> None:
        checkpoint.save(folder, state, about)
        thin(folder, step, last, lost)

    def better(step: int, score: str, value: float, about: dict[str, object], state: State) -> None:
        name = checkpoint.name(step)
        if _improves(value, record, score, name):
            # The record first: after a kill in between, the resumed run writes this checkpoint at the same step.
            write_whole(record, json.dumps({"checkpoint": name, "score": score, "value": value}))
            checkpoint.save(folder, state, about)

    def sink(event: Event) -> None:
        if isinstance(event, Snapshot):
            write(event.state, partial(newest, event.step, facts(event.step)))
        elif isinstance(event, Diverged):
            lost.append(event.good_step)
        elif isinstance(event, Scored) and best:
            write(event.state, partial(better, event.step, best, _score(event, best), facts(event.step)))

    return sink


def thin(folder: Path, step: int, last: int, good: Collection[int]) -> None:
    """Keep the newest `last` checkpoints up to `step`, the best one, and those of the steps `good`."""
    best = best_checkpoint(folder)
    kept = [folder / checkpoint.name(each) for each in good]
    checkpoint.prune(folder, step, last, [*kept, *([best] if best else [])])


def _score(event: Scored, name: str) -> float:
    """The score, or the mean over the members that have one. NaN if there is none."""
    value = event.evaluated.scores.get(name, math.nan)
    values = [v for v in (value if isinstance(value, list) else [value]) if math.isfinite(v)]
    return sum(values) / len(values) if values else math.nan


def _improves(value: float, record: Path, score: str, name: str) -> bool:
    if not math.isfinite(value):
        return False
    old = _read(record)
    if old is None or old["score"] != score or old["checkpoint"] == name:
        return True
    return value < old["value"] if lower_is_better(score) else value > old["value"]


def best_checkpoint(folder: Path) -> Path | None:
    """The checkpoint with the best score, or None if the folder keeps none."""
    old = _read(folder / BEST)
    return folder / old["checkpoint"] if old else None


def best_score(folder: Path) -> tuple[str, float] | None:
    """The name and the value of the score that the best checkpoint has, or None if the folder keeps none."""
    old = _read(folder / BEST)
    return (old["score"], float(old["value"])) if old else None


def _read(record: Path) -> dict[str, Any] | None:
    """The record of the best checkpoint, or None if it is missing or damaged."""
    try:
        found: dict[str, Any] = read_json(record, {"checkpoint": str, "score": str, "value": float | int})
    except ValueError:
        return None
    return found if checkpoint.is_name(found["checkpoint"]) else None
