"""From a config's values to arguments: schedules and swept numbers become functions of the state's scalars."""

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from steadygan import schedules
from steadygan.config.field_types import Part, Strict, Sweep, steps_of

if TYPE_CHECKING:
    from steadygan.config import Config

__all__ = ["DTYPES", "make", "members", "number", "options", "sweeps"]

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.float32}
"""What parameters are kept in; bfloat16 means autocast of the networks, everything else stays float32."""


def make(table: Mapping[str, Part], chosen: Any, path: str, config: "Config", **given: Any) -> Any:
    """The object that `chosen` names in `table`, its options and what is `given` handed over as arguments."""
    return table[chosen.name].make(**given, **options(chosen, path, config))


def options(chosen: Strict, path: str, config: "Config") -> dict[str, Any]:
    """A part's options as arguments: numbers that change become functions of the state's scalars."""
    fields = {key: getattr(chosen, key) for key in type(chosen).model_fields if key != "name"}
    return {key: number(v, f"{path}.{key}", config) for key, v in fields.items()}


def number(raw: Any, path: str, config: "Config") -> Any:
    """A float as it is; a sweep as this member's value; a schedule as a function of the step."""
    if isinstance(raw, Sweep):
        return lambda scalars: scalars[path]
    if isinstance(raw, Strict) and "schedule" in type(raw).model_fields:
        schedule = _schedule(raw, config.steps)
        dtype = DTYPES[config.precision]
        return lambda scalars: schedule(scalars["step"]).to(dtype)
    return raw


def _schedule(raw: Any, steps: int) -> schedules.Schedule:
    given = {key: getattr(raw, key) for key in type(raw).model_fields if key != "schedule"}
    if "begin" in given:
        given["begin"] = steps_of(given["begin"], steps)
    if "over" in given:
        given["over"] = max(1, steps_of(given["over"], steps))
    if isinstance(given.get("value"), Strict):
        given["value"] = _schedule(given["value"], steps)
    return schedules.SCHEDULES[raw.schedule](**given)


def sweeps(model: Strict, path: str = "") -> dict[str, tuple[float, ...]]:
    """Every list that stands where a number may: its path and its values."""
    found = {}
    for key in type(model).model_fields:
        part = getattr(model, key)
        parts = (
            part.items()
            if isinstance(part, dict)
            else enumerate(part)
            if isinstance(part, tuple)
            else [("", part)]
        )
        for inner, item in parts:
            here = ".".join(str(name) for name in (path, key, inner) if name != "")
            if isinstance(item, Sweep):
                found[here] = item.root
            elif isinstance(item, Strict):
                found |= sweeps(item, here)
    return found


def members(config: "Config") -> list[dict[str, float]]:
    """The members of the ensemble: every combination of swept values, each with every seed."""
    lists = sweeps(config)
    grid = itertools.product(*lists.values(), range(config.seed, config.seed + config.seeds))
    return [dict(zip([*lists, "seed"], values, strict=True)) for values in grid]
