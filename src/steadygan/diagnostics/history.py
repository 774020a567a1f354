"""The scalars that a run has written, as series: for a single run, or for one member of an ensemble."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from statistics import mode
from typing import Any, NamedTuple, TypeGuard

import torch
from torch import Tensor

from steadygan.errors import UsageError, left_out
from steadygan.files import lines as lines_of
from steadygan.files import parse_json

__all__ = ["FACTS", "Events", "History", "Series", "is_fact", "is_score", "read", "whole"]

FACTS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("dynamics", "game", "loss", "normalization"), str),
    **dict.fromkeys(("augment", "fake_as_real", "images"), object),
    **{"penalties": (list, tuple), "steps": (int, float)},
}
"""What may be known of a run besides its scalars, with the type of each; None where it is not known."""

MOST = 10_000
"""Most members that a line on divergence may name. A larger index belongs to a line of another program."""


class Series(NamedTuple):
    """One scalar over a run: its steps and values, float64 [n]. Values that are not finite are NaN."""

    steps: Tensor
    values: Tensor


NO_SCORES = frozenset(
    {"step", "images", "wall_s", "diverged", "good_step", "began", "tensor", "stopped", "ill", "convergence"}
)
"""Keys of a line that have no slash and are no scores: the last one is a log of BEGAN."""


def is_score(key: str) -> bool:
    """Whether a key of a line is a score of an evaluation.

    >>> is_score("kd_pixels8"), is_score("loss/D"), is_score("convergence")
    (True, False, False)
    """
    return "/" not in key and key not in NO_SCORES


class History(NamedTuple):
    """Every scalar of one run or member by its flat name, and `facts`: what is known besides scalars.

    `facts` may hold the names of `FACTS` (`steps` is the planned number) and `diverged`.
    """

    series: dict[str, Series]
    facts: dict[str, Any]


class Events:
    """The lines of a run as they are written, and at any time the history of one member.

    >>> events = Events({"loss": "hinge"})
    >>> events.add({"step": 1, "loss/D": [0.5, None]})
    >>> events.history(member=1).series["loss/D"].values
    tensor([nan], dtype=torch.float64)
    """

    def __init__(self, facts: Mapping[str, Any] | None = None) -> None:
        """Start with no lines."""
        self.facts = dict(facts or {})
        self.columns: dict[str, tuple[list[int], list[Any]]] = {}
        self.diverged: list[dict[str, Any]] = []

    def take(self, line: str | bytes) -> bool:
        """Add one line as it was written: facts or an event. Return False if it is incomplete or no JSON object."""
        found = _parsed(line)
        if found is None:
            return False
        if isinstance(found.get("facts"), dict):
            self.facts |= {name: fact for name, fact in found["facts"].items() if is_fact(name, fact)}
        else:
            self.add(found)
        return True

    def add(self, line: Mapping[str, Any]) -> None:
        """Add one parsed line: its numbers, or where the run diverged. Others are ignored."""
        step = line.get("step")
        if not _is_step(step) or isinstance(line.get("stopped"), str):
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
        """The number of members in the lines; 1 for a single run. Most keys decide: one may be damaged."""
        firsts = (values[0] for key, (_, values) in self.columns.items() if key not in ("images", "wall_s"))
        if logged := [len(v) if isinstance(v, list) else 1 for v in firsts]:
            return max(1, mode(logged))
        lost = (1 + max(line["diverged"], default=0) for line in self.diverged)  # before anything was logged
        return max([1, *lost])

    def history(self, member: int = 0) -> History:
        """The history of one member. Raises UsageError for a member that does not exist."""
        if not 0 <= member < self.members:
            remedy = (
                f"choose 0 to {self.members - 1}"
                if self.members > 1
                else "it is not an ensemble, so leave it out"
            )
            raise UsageError(f"this run has no member {member}: {remedy}")
        series = {
            key: Series(
                torch.tensor(steps, dtype=torch.float64),
                torch.tensor([_number(v, member) for v in values], dtype=torch.float64),
            )
            for key, (steps, values) in self.columns.items()
        }
        ended = [line for line in self.diverged if member in line["diverged"]]
        return History(series, {**self.facts, **({"diverged": ended[0]} if ended else {})})


def _is_step(value: Any) -> TypeGuard[int]:
    return type(value) is int and abs(value) < 10**15  # a larger one is no step, and float64 would round it


def _are_members(value: Any) -> bool:
    """Whether this names members, as the trainer's lines do; "diverged": true of another program does not."""
    return isinstance(value, list) and all(type(index) is int and 0 <= index < MOST for index in value)


def is_fact(name: str, value: Any) -> bool:
    """Whether a fact is one of `FACTS` with the right type; penalties must be names.

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
    """The content of a line. None if it is incomplete, no JSON object, or no valid text (half a surrogate pair)."""
    text = line if isinstance(line, str) else line.decode(errors="replace")
    try:
        found = parse_json(text)
        if "\\u" in text:
            json.dumps(found, ensure_ascii=False).encode()
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def whole(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each complete line of a file that has a step, with its content. Yields nothing where there is no file.

    What a run does not write is left out of the content: text for a number, a time that is not finite.
    """
    for line in lines_of(path):
        text = line.decode(errors="replace").removesuffix("\n")
        values = _parsed(text)
        if values is not None and _is_step(values.get("step")):
            yield text, {key: value for key, value in values.items() if _is_written(key, value)}


def _is_written(key: str, value: Any) -> bool:
    """Whether a run writes such a value under this key.

    >>> _is_written("wall_s", 3.5), _is_written("wall_s", math.inf), _is_written("loss/D", [0.5, None])
    (True, False, True)
    """
    if key == "wall_s":
        return isinstance(value, int | float) and math.isfinite(value)
    if key == "diverged":
        return _are_members(value)
    if key in ("stopped", "tensor"):
        return value is None or isinstance(value, str)
    listed = value if isinstance(value, list) else [value]
    return all(each is None or isinstance(each, int | float) for each in listed)


def read(lines: Iterable[str | bytes] | Path | str, facts: Mapping[str, Any] | None = None) -> Events:
    """The events in a run's events.jsonl or a Monitor's file, or in their lines. Incomplete lines are skipped.

    A line {"facts": {...}} adds to `facts`. The last line needs no newline if it is complete. Raises
    UsageError if the file is missing or holds no event.

    >>> read(['{"step": 1, "loss/D": 1.4}', '{"step": 2, "lo']).history().series["loss/D"].values
    tensor([1.4000], dtype=torch.float64)
    """
    lines = Path(lines) if isinstance(lines, str) else lines
    name = str(lines) if isinstance(lines, Path) else "the list of lines"
    events, damaged = Events(facts), 0
    try:
        if isinstance(lines, Path):
            lines.stat()  # raises where nothing is there; what is no ordinary file has no lines
        for line in lines_of(lines) if isinstance(lines, Path) else lines:
            whole = line[-1:] in ("\n", b"\n")  # the last one may be half written
            damaged += not events.take(line) and whole
    except OSError as error:
        remedy = "name" if isinstance(error, FileNotFoundError) else "make it readable, or name"
        raise UsageError(
            f"cannot read {name} ({error.strerror}): {remedy} a run folder, or its events.jsonl"
        ) from None
    if not events.columns and not events.diverged:
        raise UsageError(f"{name} has no event of a run: name an events.jsonl or a Monitor's file")
    if damaged:
        left_out(f"{name} (lines: {damaged:,})")
    return events
