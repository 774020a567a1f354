"""What a figure is: panels of lines, each of which is a recipe with overrides, and how they are shown."""

import math
from collections.abc import Mapping
from typing import NamedTuple

LEVELS = {"adversarial/D": 2 * math.log(2), "adversarial/G": math.log(2)}
"""The losses of D and G, without penalties, at D = 1/2."""

SCORES = (
    "inception_score",
    "fid",
    "fd_lite0",
    "kd_pixels8",
    "modes",
    "high_quality",
    "unbalance",
    "rows_covered",
)
"""The scores that are kept of each run, where it has them; a picture has a row or a column for each."""


class Line(NamedTuple):
    """A run of a figure: its name in the picture, its recipe, and what it overrides."""

    label: str
    recipe: str
    changes: tuple[str, ...] = ()


class Panel(NamedTuple):
    """Runs that are compared with each other."""

    title: str
    lines: tuple[Line, ...]


class Curves(NamedTuple):
    """Values over steps, with a row for each key, and a dashed line at its level."""

    keys: tuple[str, ...] = SCORES
    levels: Mapping[str, float] = {}


class Frames(NamedTuple):
    """Samples at these steps, which are shares of a run; at its end, or its best checkpoint, where none are given."""

    at: tuple[str, ...] = ()


class Table(NamedTuple):
    """The scores at the end of each run, beside what is published."""

    keys: tuple[str, ...] = SCORES


class Figure(NamedTuple):
    """A figure or a table of a paper.

    `tiny` are overrides that stand for the preset tiny: points need longer runs. `scored` are overrides of all runs, so
    that those in one column are scored alike.
    """

    title: str
    panels: tuple[Panel, ...]
    shown: Curves | Frames | Table = Curves()
    tiny: tuple[str, ...] = ()
    scored: tuple[str, ...] = ()


LOSSES = Curves(tuple(LEVELS), LEVELS)
"""The losses of D and G without penalties."""


def varied(recipe: str, key: str, values: tuple[str, ...], *changes: str) -> tuple[Line, ...]:
    """A line for each value of a key.

    >>> varied("ring8-0gp", "batch", ("8", "16"))[1]
    Line(label='16', recipe='ring8-0gp', changes=('batch=16',))
    """
    return tuple(Line(value, recipe, (*changes, f"{key}={value}")) for value in values)
