"""events.jsonl: one JSON object a line, flat keys, numbers (lists in an ensemble)."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from steadygan.files import write_whole
from steadygan.train import Diverged, Event, Examined, Progress, Scored, Stopped

__all__ = ["line_sink", "logged", "rewind"]


def line_sink(path: Path, images_per_step: int) -> Callable[[Event], None]:
    """Append what a run logs and scores to `path`; every line holds `step`, `images` and `wall_s`."""

    def sink(event: Event) -> None:
        if isinstance(event, Progress | Examined):
            _append(path, {**_when(event, images_per_step), **_finite(event.logs)})
        elif isinstance(event, Scored):
            _append(path, {**_when(event, images_per_step), **_finite(event.look.scores)})
        elif isinstance(event, Diverged):
            where = {"began": event.began, "tensor": event.tensor}
            _append(
                path, {"step": event.step, "diverged": event.members, "good_step": event.good_step, **where}
            )
        elif isinstance(event, Stopped):
            _append(path, {"step": event.step, "stopped": f"{event.rule.log} is below {event.rule.below:g}"})

    return sink


def rewind(path: Path, step: int) -> float:
    """Drop the lines after `step` (and a torn last one) and return the seconds that the run had then taken."""
    wall_s, kept = 0.0, []
    for line, values in _whole(path):
        if values["step"] <= step:
            kept.append(line + "\n")
            wall_s = values.get("wall_s", wall_s)
    write_whole(path, "".join(kept))
    return wall_s


def logged(path: Path, step: int) -> dict[str, Any]:
    """All that the lines of `step` say; nothing where it has none."""
    return {key: v for _, values in _whole(path) if values["step"] == step for key, v in values.items()}


def _whole(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each line that is whole and belongs to a step, and what it says."""
    for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
        try:
            values = json.loads(line)
        except ValueError:
            continue
        if isinstance(values, dict) and isinstance(values.get("step"), int):
            yield line, values


def _when(event: Progress | Examined | Scored, images_per_step: int) -> dict[str, Any]:
    return {"step": event.step, "images": event.step * images_per_step, "wall_s": round(event.wall_s, 3)}


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _plain(value) for key, value in values.items() if key != "finite"}


def _plain(value: Tensor | float | list[float]) -> float | list[float | None] | None:
    """Numbers for JSON, which has no NaN and no infinity: those become null."""
    if isinstance(value, Tensor):
        value = value.tolist()
    if isinstance(value, list):
        return [v if math.isfinite(v) else None for v in value]
    return value if math.isfinite(value) else None


def _append(path: Path, values: dict[str, Any]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(values, allow_nan=False) + "\n")
