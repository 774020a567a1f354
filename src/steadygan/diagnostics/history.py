"""What a run has written of itself, as series of numbers: of one member of an ensemble, or of a single run."""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from steadygan.errors import UsageError

__all__ = ["Events", "History", "Series", "read"]


class Series(NamedTuple):
    """One scalar over a run: the steps it was written at and its values, float64 [n]; what was not finite is NaN."""

    steps: Tensor
    values: Tensor


class History(NamedTuple):
    """Every scalar of one run or member by its flat name, and `facts`: what is known of it besides numbers.

    `facts` may hold `loss`, `game`, `fake_as_real`, `penalties`, `normalization`, `steps` (planned) and `diverged`.
    """

    series: dict[str, Series]
    facts: dict[str, Any]


class Events:
    """The lines of a run as they come, and at any time the history of one of its members.

    >>> events = Events({"loss": "hinge"})
    >>> events.add({"step": 1, "loss/D": [0.5, None]})
    >>> events.history(member=1).series["loss/D"].values
    tensor([nan], dtype=torch.float64)
    """

    def __init__(self, facts: Mapping[str, Any] | None = None) -> None:
        """Begin with no lines."""
        self.facts = dict(facts or {})
        self.columns: dict[str, tuple[list[int], list[Any]]] = {}
        self.diverged: list[dict[str, Any]] = []

    def add(self, line: Mapping[str, Any]) -> None:
        """Take in one line: its numbers, or that and where the run diverged. A line without a step says nothing."""
        step = line.get("step")
        if not isinstance(step, int) or isinstance(step, bool):
            return
        if "diverged" in line:
            if _are_members(line["diverged"]):
                self.diverged.append(dict(line))
            return
        for key, value in line.items():
            if key != "step" and (value is None or isinstance(value, int | float | list)):
                steps, values = self.columns.setdefault(key, ([], []))
                steps.append(step)
                values.append(value)

    @property
    def members(self) -> int:
        """How many members the lines tell of; 1 of a single run."""
        listed = (len(v) for _, values in self.columns.values() for v in values[:1] if isinstance(v, list))
        lost = (1 + max(line["diverged"], default=0) for line in self.diverged)  # before anything was logged
        return max((*listed, *lost), default=1)

    def history(self, member: int = 0) -> History:
        """One member's history. Raises UsageError for a member that there is not."""
        if not 0 <= member < self.members:
            raise UsageError(
                f"member {member} is not among this run's {self.members}: choose 0 to {self.members - 1}"
            )
        series = {
            key: Series(
                torch.tensor(steps, dtype=torch.float64),
                torch.tensor([_number(v, member) for v in values], dtype=torch.float64),
            )
            for key, (steps, values) in self.columns.items()
        }
        ended = [line for line in self.diverged if member in line["diverged"]]
        return History(series, {**self.facts, **({"diverged": ended[0]} if ended else {})})


def _are_members(value: Any) -> bool:
    """Whether this tells of members, as the trainer's lines do; another program's "diverged": true does not."""
    return isinstance(value, list) and all(type(index) is int and index >= 0 for index in value)


def _number(value: Any, member: int) -> float:
    one = (value[member] if member < len(value) else None) if isinstance(value, list) else value
    return float(one) if isinstance(one, int | float) and math.isfinite(one) else math.nan


def read(lines: Iterable[str] | Path, facts: Mapping[str, Any] | None = None) -> Events:
    """The events in the lines of a run's events.jsonl, or of a Monitor's file; a torn line is passed over.

    A line {"facts": {...}} adds to `facts`. Raises UsageError for a file that is not there, or that holds no event.

    >>> read(['{"step": 1, "loss/D": 1.4}', '{"step": 2, "lo']).history().series["loss/D"].values
    tensor([1.4000], dtype=torch.float64)
    """
    name = str(lines) if isinstance(lines, Path) else "the lines"
    if isinstance(lines, Path):
        try:
            lines = lines.read_text(errors="replace").splitlines()
        except OSError as error:
            raise UsageError(f"cannot read {lines} ({error.strerror}): name a run's events.jsonl") from None
    events = Events(facts)
    for line in lines:
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict) and isinstance(found.get("facts"), dict):
            events.facts |= found["facts"]
        elif isinstance(found, dict):
            events.add(found)
    if not events.columns and not events.diverged:
        raise UsageError(f"{name} holds no event of a run: name an events.jsonl, or a Monitor's file")
    return events
