"""Schedules that have come to 0: what would stand still for the rest of a run, and which override moves it again."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch

from steadygan.config.field_types import Strict
from steadygan.config.resolve import schedule_of
from steadygan.errors import UsageError

__all__ = ["AtZero", "at_zero", "check_moves", "sentence"]


class AtZero(NamedTuple):
    """A schedule that is 0 from step `since` to the run's end: its path, and an override after which it is not."""

    path: str
    since: int
    remedy: str


def at_zero(schedules: Mapping[str, Strict], step: int, steps: int) -> list[AtZero]:
    """The schedules, by their paths, that are 0 at the end of the run for more than its last step, and since when.

    >>> from steadygan.config import parse
    >>> from steadygan.config.resolve import scheduled
    >>> rate = {"schedule": "linear", "start": 1, "stop": 0, "over": 6}
    >>> raw = {"data": "ring8", "networks": "mlp", "optimizer": {"name": "sgd", "lr": rate}, "steps": 9}
    >>> at_zero(scheduled(parse(raw)), step=0, steps=9)
    [AtZero(path='optimizer.lr', since=6, remedy='optimizer.lr.over=9')]
    """
    found = []
    for path, model in schedules.items():
        values = schedule_of(model, steps)(torch.arange(step, steps))
        moving = values.nonzero().flatten()
        since = step + (int(moving[-1]) + 1 if len(moving) else 0)
        if since < steps - 1:
            found.append(AtZero(path, since, _remedy(path, model, steps)))
    return found


def sentence(found: AtZero, steps: int) -> str:
    """What is 0, from which step on, and what to do.

    >>> sentence(AtZero("ema.decay", 6, "ema.decay=NUMBER"), 9)
    'ema.decay is 0 from step 6 to the last, 9: for another value, add ema.decay=NUMBER'
    """
    return f"{found.path} is 0 from step {found.since:,} to the last, {steps:,}: for another value, add {found.remedy}"


def check_moves(zeros: Iterable[AtZero], optimizer: Any, step: int) -> None:
    """Raise UsageError where the rates of all players are 0 from `step` on, and a schedule has made one so."""
    still = {found.path: found for found in zeros if found.since == step}
    rates = _rates(optimizer)
    stopped = [path for path in rates if path in still]
    if stopped and all(path in still or rate == 0 for path, rate in rates.items()):
        remedies = " ".join(still[path].remedy for path in stopped)
        names, verb = " and ".join(stopped), "are" if len(stopped) > 1 else "is"
        raise UsageError(
            f"no player would move, because {names} {verb} 0 from step {step:,} on: the schedule is over. "
            f"Resume with another rate, such as {remedies} (to go on without moving: {stopped[0]}=0)"
        )


def _rates(chosen: Any) -> dict[str, Any]:
    each = {f"optimizer.{name}": part for name, part in chosen.items()} if isinstance(chosen, Mapping) else {}
    parts = each or {"optimizer": chosen}
    return {
        f"{path}.{key}": value for path, part in parts.items() for key, value in part if key.endswith("lr")
    }


def _remedy(path: str, model: Any, steps: int) -> str:
    """An override with which the value reaches 0 at the end of the run, or is not 0."""
    inner = getattr(model, "value", None)
    if isinstance(inner, Strict):
        return _remedy(f"{path}.value", inner, steps)
    if getattr(model, "start", 0) and isinstance(model.begin, int) and model.begin < steps:
        return f"{path}.over={steps - model.begin}"
    return f"{path}=NUMBER"
