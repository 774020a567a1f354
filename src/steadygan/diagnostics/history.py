"""What a run has written of itself, as series of numbers: of one member of an ensemble, or of a single run."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from steadygan.errors import UsageError

__all__ = ["FACTS", "Events", "History", "Series", "is_fact", "read", "whole"]

FACTS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("dynamics", "game", "loss", "normalization"), str),
    **dict.fromkeys(("augment", "fake_as_real", "images"), object),
    **{"penalties": (list, tuple), "steps": (int, float)},
}
"""What may be known of a run besides numbers, and of which type it is; None where it is not known."""

MOST = 10_000
"""Members that a run can have as far as a line on divergence alone tells; a larger index is a foreign program's."""


class Series(NamedTuple):
    """One scalar over a run: the steps it was written at and its values, float64 [n]; what was not finite is NaN."""

    steps: Tensor
    values: Tensor


class History(NamedTuple):
    """Every scalar of one run or member by its flat name, and `facts`: what is known of it besides numbers.

    `facts` may hold what `FACTS` names (`steps` are those planned), and `diverged`.
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

    def take(self, line: str | bytes) -> bool:
        """Take in one line as it is written, facts or an event; False where it is torn or no JSON object."""
        found = _parsed(line)
        if found is None:
            return False
        if isinstance(found.get("facts"), dict):
            self.facts |= {name: fact for name, fact in found["facts"].items() if is_fact(name, fact)}
        else:
            self.add(found)
        return True

    def add(self, line: Mapping[str, Any]) -> None:
        """Take in one line: its numbers, or that and where the run diverged. A line without a step says nothing."""
        step = line.get("step")
        if type(step) is not int:
            return
        if "diverged" in line:
            if _are_members(line["diverged"]) and isinstance(line.get("began"), int | None):
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
        firsts = (values[0] for key, (_, values) in self.columns.items() if key not in ("images", "wall_s"))
        logged = [len(v) if isinstance(v, list) else 1 for v in firsts]
        lost = (1 + max(line["diverged"], default=0) for line in self.diverged)  # before anything was logged
        return max([1, *(logged or lost)])

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
    return isinstance(value, list) and all(type(index) is int and 0 <= index < MOST for index in value)


def is_fact(name: str, value: Any) -> bool:
    """Whether a fact is one of `FACTS`, of its type; penalties are named.

    >>> is_fact("loss", "hinge"), is_fact("penalties", ["r1"]), is_fact("penalties", 3), is_fact("colour", "red")
    (True, True, False, False)
    """
    if name not in FACTS or value is None:
        return name in FACTS
    names = value if name == "penalties" and isinstance(value, list | tuple) else ()
    return isinstance(value, FACTS[name]) and all(isinstance(each, str) for each in names)


def _number(value: Any, member: int) -> float:
    one = (value[member] if member < len(value) else None) if isinstance(value, list) else value
    return float(one) if isinstance(one, int | float) and math.isfinite(one) else math.nan


def _parsed(line: str | bytes) -> dict[str, Any] | None:
    """What a line says; None where it is torn, no JSON object, or no text, as with half a surrogate pair."""
    text = line if isinstance(line, str) else line.decode(errors="replace")
    try:
        found = json.loads(text, parse_int=_integer)
        if "\\u" in text:
            json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) < 16 else float(digits)  # which may be infinite


def whole(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each line of a file that is whole and belongs to a step, and what it says; none where there is no file."""
    for line in path.read_bytes().decode(errors="replace").split("\n") if path.exists() else ():
        values = _parsed(line)
        if values is not None and type(values.get("step")) is int:
            yield line, values


def read(lines: Iterable[str | bytes] | Path, facts: Mapping[str, Any] | None = None) -> Events:
    """The events in the lines of a run's events.jsonl, or of a Monitor's file; a torn line is passed over.

    A line {"facts": {...}} adds to `facts`; the last line needs no end if it is whole. Raises UsageError for a file
    that is not there, or that holds no event.

    >>> read(['{"step": 1, "loss/D": 1.4}', '{"step": 2, "lo']).history().series["loss/D"].values
    tensor([1.4000], dtype=torch.float64)
    """
    name = str(lines) if isinstance(lines, Path) else "the lines"
    if isinstance(lines, Path):
        try:
            lines = lines.read_bytes().split(b"\n")
        except OSError as error:
            raise UsageError(f"cannot read {lines} ({error.strerror}): name a run's events.jsonl") from None
    events = Events(facts)
    for line in lines:
        events.take(line)
    if not events.columns and not events.diverged:
        raise UsageError(f"{name} holds no event of a run: name an events.jsonl, or a Monitor's file")
    return events
