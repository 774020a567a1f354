"""Charts as plain data (pixels and words), which the page's template draws as SVG."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from steadygan.report.axes import Scale, fitting, ticks, written
from steadygan.report.comma_separated import Column, joined
from steadygan.report.downsampling import Thin, thin

__all__ = ["HEIGHT", "WIDTH", "Chart", "Curve", "Line", "Rule", "chart"]

WIDTH, HEIGHT = 400, 230
LEFT, RIGHT, TOP, BOTTOM = 50, 394, 10, 204  # of the plot's box, in pixels

HUGE = 1e300
"""Beyond this value, and below its inverse, an axis cannot be computed: float ranges and their ratios overflow."""


class Curve(NamedTuple):
    """A series to draw: name, style, steps [n], middles [n], and the lowest and highest values [n] of a band."""

    name: str
    style: int
    steps: Tensor
    middle: Tensor
    low: Tensor | None = None
    high: Tensor | None = None


class Rule(NamedTuple):
    """A level that theory predicts, and its name."""

    value: float
    name: str


class Line(NamedTuple):
    """A curve as drawn: its path, the outlines of its bands, the spans where it is not finite, and a row of numbers."""

    name: str
    style: int
    path: str
    bands: list[str]
    lost: list[tuple[float, float]]
    numbers: dict[str, str]
    thinned: bool


class Chart(NamedTuple):
    """All that is drawn: ticks and rules as (pixel, text), and lines. `log` describes the vertical axis.

    `csv` has the points that are drawn, with columns for the bounds of bands.
    """

    title: str
    note: str
    across: list[tuple[float, str]]
    up: list[tuple[float, str]]
    rules: list[tuple[float, str]]
    lines: list[Line]
    log: bool
    csv: str


def chart(
    title: str,
    curves: Sequence[Curve],
    *,
    buckets: int,
    note: str = "",
    rules: Sequence[Rule] = (),
    linear: bool = False,
) -> Chart:
    """Make a chart of curves over steps in about `buckets` points each. Bands keep the extremes of long curves."""
    steps = torch.cat([curve.steps for curve in curves]).double()
    x = Scale(*_apart(steps.min().item(), steps.max().item()), LEFT, RIGHT)
    y = _vertical(curves, rules, linear)
    points = [_points(curve, buckets) for curve in curves]
    return Chart(
        title,
        note,
        _marks(x),
        _marks(y),
        [(_px(y(torch.tensor(rule.value))), rule.name) for rule in rules],
        [_line(curve, few, x, y) for curve, few in zip(curves, points)],
        y.log,
        joined("step", [column for curve, few in zip(curves, points) for column in _columns(curve, few)]),
    )


def _marks(scale: Scale) -> list[tuple[float, str]]:
    found = ticks(scale)
    return [
        (_px(scale(torch.tensor(t, dtype=torch.float64))), text) for t, text in zip(found, written(found))
    ]


def _apart(low: float, high: float) -> tuple[float, float]:
    return (low, high) if high > low else (low - 1, high + 1)


def _vertical(curves: Sequence[Curve], rules: Sequence[Rule], linear: bool) -> Scale:
    parts = [part for curve in curves for part in (curve.middle, curve.low, curve.high) if part is not None]
    values = torch.cat([*parts, torch.tensor([rule.value for rule in rules])]).double()
    values = values[values.isfinite()].clamp(-HUGE, HUGE)
    values = torch.where(values.abs() < 1 / HUGE, 0.0, values)
    if not len(values):
        return Scale(0.0, 1.0, BOTTOM, TOP)
    low, high = values.min().item(), values.max().item()
    return fitting(low, high, BOTTOM, TOP, positive=None if linear else low)


def _points(curve: Curve, buckets: int) -> Thin:
    """The points of a curve that are drawn, in the order of their steps."""
    order = curve.steps.argsort(stable=True)
    middle = curve.middle[order]
    low, high = (middle if part is None else part[order] for part in (curve.low, curve.high))
    return thin(curve.steps[order], middle, low, high, buckets)


def _banded(curve: Curve, few: Thin) -> bool:
    return len(few.steps) < len(curve.steps) or curve.low is not None


def _columns(curve: Curve, few: Thin) -> list[Column]:
    parts = {"": few.middle} | ({" lowest": few.low, " highest": few.high} if _banded(curve, few) else {})
    return [(curve.name + suffix, few.steps, values) for suffix, values in parts.items()]


def _line(curve: Curve, few: Thin, x: Scale, y: Scale) -> Line:
    across = x(few.steps)
    return Line(
        curve.name,
        curve.style,
        _path(across, y(few.middle)),
        _bands(across, y(few.low), y(few.high)) if _banded(curve, few) else [],
        _lost(x(curve.steps), ~curve.middle.isfinite()),
        _numbers(curve.steps, curve.middle),
        len(few.steps) < len(curve.steps),
    )


def _path(across: Tensor, up: Tensor) -> str:
    """An SVG path through the finite points, with gaps at the others; a single point is a diamond."""
    stretches: list[list[str]] = [[]]
    for px, py in zip(across.tolist(), up.tolist()):
        if math.isfinite(py):
            stretches[-1].append(f"{px:.1f} {py:.1f}")
        elif stretches[-1]:
            stretches.append([])
    return "".join(
        f"M{points[0]}m-3 0l3 -3 3 3 -3 3z" if len(points) == 1 else f"M{'L'.join(points)}"
        for points in stretches
        if points
    )


def _bands(across: Tensor, low: Tensor, high: Tensor) -> list[str]:
    """Outlines of low..high, one for each stretch where both are finite."""
    found: list[str] = []
    stretch: list[tuple[float, float, float]] = []
    corners = zip(across.tolist(), low.tolist(), high.tolist())
    for px, bottom, top in [*corners, (math.nan, math.nan, math.nan)]:
        if math.isfinite(bottom) and math.isfinite(top):
            stretch.append((px, bottom, top))
        elif stretch:
            edge = [(px, top) for px, _, top in stretch] + [(px, low) for px, low, _ in reversed(stretch)]
            found.append("M" + "L".join(f"{px:.1f} {py:.1f}" for px, py in edge) + "z")
            stretch = []
    return found


def _lost(across: Tensor, flag: Tensor) -> list[tuple[float, float]]:
    """The spans in pixels where a curve is not finite: at least one pixel each, merged where they touch."""
    spans: list[tuple[float, float]] = []
    for px in across[flag].round().unique().tolist():
        if spans and px <= spans[-1][1] + 2:
            spans[-1] = (spans[-1][0], px + 1)
        else:
            spans.append((px - 1, px + 1))
    return spans


def _numbers(steps: Tensor, values: Tensor) -> dict[str, str]:
    """The row of a curve in the table of numbers: first, lowest, highest and last value with their steps."""
    order = steps.argsort(stable=True)
    steps, values = steps[order], values[order]
    finite = values.isfinite()
    at, seen = steps[finite], values[finite]
    found = {"points": f"{len(values):,}", "not finite": f"{len(values) - len(seen):,}"}
    if not len(seen):
        return found
    places = {"first": 0, "lowest": int(seen.argmin()), "highest": int(seen.argmax()), "last": -1}
    return found | {name: f"{seen[i].item():.4g} at {int(at[i]):,}" for name, i in places.items()}


def _px(value: Tensor) -> float:
    return round(value.item(), 1)
