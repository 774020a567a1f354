"""The logger of events.jsonl: one JSON object per line with flat keys and numbers, or lists in an ensemble."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from steadygan.diagnostics.history import whole
from steadygan.files import fits, sync, write_whole
from steadygan.training.events import (
    Diverged,
    Event,
    Progress,
    Scored,
    Snapshot,
    Statistics,
    Stopped,
    StoppedByDiagnosis,
)

__all__ = [
    "Images",
    "divergences",
    "images_seen",
    "last_good_steps",
    "line_of",
    "line_sink",
    "logged",
    "rewind",
    "whole",
]

Images = Callable[[int], int]
"""How many real samples a run has seen by a step."""


def images_seen(lines: Sequence[Mapping[str, Any]], first: int, per_step: int) -> Images:
    """Count on from the lines of a resumed run: by `first` it has seen what they say, and then `per_step` a step.

    Steps between the last line and `first` had as many samples as the steps before that line.

    >>> images_seen([{"step": 20, "images": 320}], first=20, per_step=64)(30), images_seen([], 0, 16)(2)
    (960, 32)
    """
    known = {
        0: 0,
        **{line["step"]: line["images"] for line in lines if fits(line, {"step": int, "images": int})},
    }
    (step, images), *more = sorted(known.items(), reverse=True)
    each = (images - more[0][1]) / (step - more[0][0]) if more else per_step
    begun = images + round(each * (first - step))
    return lambda step: begun + (step - first) * per_step


def line_sink(path: Path, images: Images) -> Callable[[Event], None]:
    """Append the logs and scores of a run to `path`. Every line has `step`, `images` and `wall_s` (seconds)."""

    def sink(event: Event) -> None:
        line = line_of(event, images)
        if line is not None:
            with path.open("a") as file:
                file.write(json.dumps(line, allow_nan=False) + "\n")
        if isinstance(event, Snapshot) and path.exists():
            sync(path)  # a run that is resumed from this checkpoint does not write these lines again
            sync(path.parent)

    return sink


def line_of(event: Event, images: Images) -> dict[str, Any] | None:
    """The values of an event as plain numbers for a line of JSON, or None if it has none."""
    match event:
        case Progress() | Statistics():
            return {**_when(event, images), **_finite(event.logs)}
        case Scored():
            return {**_when(event, images), **_finite(event.evaluated.scores)}
        case Diverged():
            where = {"began": event.began, "tensor": event.tensor}
            return {"step": event.step, "diverged": event.members, "good_step": event.good_step, **where}
        case Stopped():
            return {"step": event.step, "stopped": f"{event.rule.log} is below {event.rule.below:g}"}
        case StoppedByDiagnosis():
            return {"step": event.step, "stopped": event.verdict.name, "ill": event.members}
    return None


def rewind(path: Path, step: int) -> float:
    """Drop the lines after `step` and an incomplete last line. Returns the seconds that the run had taken by `step`."""
    wall_s, kept = 0.0, []
    for line, values in whole(path):
        if values["step"] <= step:
            kept.append(line + "\n")
            wall_s = values.get("wall_s", wall_s)
    write_whole(path, "".join(kept))
    return wall_s


def logged(path: Path, step: int) -> dict[str, Any]:
    """All values in the lines of `step`, or an empty dict if it has none."""
    return {key: v for _, values in whole(path) if values["step"] == step for key, v in values.items()}


def divergences(path: Path) -> list[dict[str, Any]]:
    """The lines of a log that tell which members have diverged."""
    return [line for _, line in whole(path) if "diverged" in line]


def last_good_steps(path: Path, member: int | None = None) -> list[int]:
    """The steps of the last good states of the members that have diverged, or of one of them."""
    lost = (line for line in divergences(path) if member is None or member in line["diverged"])
    found = [line.get("good_step") for line in lost]
    return [step for step in found if type(step) is int and step >= 0]


def _when(event: Progress | Statistics | Scored, images: Images) -> dict[str, Any]:
    return {"step": event.step, "images": images(event.step), "wall_s": round(event.wall_s, 3)}


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _plain(value) for key, value in values.items() if key != "finite"}


def _plain(value: Tensor | float | list[float]) -> float | list[float | None] | None:
    """Plain numbers for JSON, in which NaN and infinity become null."""
    if isinstance(value, Tensor):
        value = value.tolist()
    if isinstance(value, list):
        return [v if math.isfinite(v) else None for v in value]
    return value if math.isfinite(value) else None
