"""Pictures of eigenvalues in the complex plane: of a game that is solved by hand, and of a run's, a panel per set."""

import math
from collections.abc import Mapping

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from steadygan.errors import UsageError
from steadygan.plots.axes import (
    BOX,
    FAKES,
    GREY,
    INK,
    LEFT,
    LETTERS,
    TARGET,
    Tick,
    axes,
    blank,
    box,
    finished,
    header,
    label,
    place,
)
from steadygan.plots.samples import strip

__all__ = ["draw_clouds", "plane"]

COLOURS = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
)  # Okabe and Ito's, unlike to every eye
STABLE = (46, 125, 50, 15)
FARTHEST = 1e150  # beyond, squares overflow
NEAR = 0.02  # of the first set's greatest modulus: up to here the axes are linear
BANNER = 60  # pixels above the panels
AXES = "across: real part, growth per unit of step size; up: imaginary part, rotation; shaded: stable"
TICKS = 3  # powers of ten that are written on either side of 0, at most


def plane(field: Tensor, step: Tensor, title: str = "", size: int = 720) -> Image.Image:
    """Draw eigenvalues in the complex plane: of the field's Jacobian v' [n] and of one step [m], with the unit circle.

    The field converges if its eigenvalues are left of the imaginary axis. A step converges if its eigenvalues
    are inside the circle.

    >>> plane(torch.tensor([1j]), torch.tensor([0.5]), size=360).size
    (360, 360)
    """
    points = {TARGET: _pairs(field), FAKES: _pairs(step)}
    half = 1.25 * max([1.0, *(p.abs().max().item() for p in points.values() if len(p))])
    sheet, draw = blank()
    axes(draw, (torch.zeros(2), half), LETTERS)
    draw.line([place(-1, 0), place(1, 0)], GREY, 2)
    draw.line([place(0, -1), place(0, 1)], GREY, 2)
    draw.ellipse([place(-1 / half, 1 / half), place(1 / half, -1 / half)], None, INK, 5)
    for colour, found in points.items():
        for u, v in (found / half).tolist():
            draw.circle(place(u, v), 18, colour)
    header(
        draw, title, {"target": "eigenvalues of v'", "fakes": "of a step", "centres": "unit circle"}, LETTERS
    )
    return finished(sheet, size)


def draw_clouds(clouds: Mapping[str, Tensor], title: str = "", size: int = 640) -> Image.Image:
    """Draw sets of eigenvalues (complex [n] each) in one panel each, under their headings, as an RGB picture.

    All panels have the same axes: linear near zero and logarithmic beyond. The outermost eigenvalues lie some
    hundred times as far out as the median. The stable half-plane is shaded. A step of size h multiplies the
    distance along an eigenvector by 1 + h lambda. A heading's first line is set in bold size, the others below it.
    Raises UsageError on no sets, on empty ones, on NaN, and on moduli above 1e150.

    >>> draw_clouds({"before": torch.tensor([1j]), "after": torch.tensor([-1.0 + 0j])}, size=360).size
    (720, 420)
    """
    near_enough = (bool((v.to(torch.complex128).abs() <= FARTHEST).all()) for v in clouds.values() if len(v))
    if not clouds or not all(len(v) for v in clouds.values()) or not all(near_enough):
        raise UsageError(
            f"the plot needs one or more eigenvalues of modulus up to {FARTHEST:g} per panel: pass some"
        )
    points = {heading: _pairs(values) for heading, values in clouds.items()}
    near = NEAR * next(iter(points.values())).norm(dim=1).max().item() or 1.0
    reach = 2 * torch.cat(list(points.values())).abs().amax(0).clamp_min(near)
    colours = COLOURS * len(points)
    panels = [_panel(*each, near, reach, size) for each in zip(points, points.values(), colours)]
    sheet = Image.new("RGB", (size * len(panels), size + BANNER), "white")
    sheet.paste(strip(panels), (0, BANNER))
    draw = ImageDraw.Draw(sheet)
    label(draw, (16, 30), title, 20, sheet.width - 32)
    label(draw, (16, 52), AXES, 13, sheet.width - 32, GREY)
    return sheet


def _panel(
    heading: str, points: Tensor, colour: tuple[int, int, int], near: float, reach: Tensor, size: int
) -> Image.Image:
    sheet, draw = blank()
    x0, _ = place(0, 0)
    draw.rectangle((*place(-1, 1), x0, place(0, -1)[1]), STABLE)
    draw.line([place(-1, 0), place(1, 0)], GREY, 2)
    draw.line([(x0, place(0, 1)[1]), (x0, place(0, -1)[1])], INK, 3)
    limit = symlog(reach, near)
    for u, v in (symlog(points, near) / limit).tolist():
        draw.circle(place(u, v), 8, (*colour, 128))
    across, up = (_ticks(near, far) for far in reach.tolist())
    box(draw, across, up, 0.8 * LETTERS)
    first, *more = heading.split("\n")
    label(draw, (LEFT, 78), first, 21 * LETTERS, BOX)
    label(draw, (LEFT, 150), ", ".join(more), 14 * LETTERS, BOX, GREY)
    return finished(sheet, size)


def symlog(values: Tensor, near: float) -> Tensor:
    """Values on an axis that is linear up to `near`, which lies at 1, and has a unit for each power of 10 beyond.

    >>> symlog(torch.tensor([-100.0, -0.5, 10.0]), 1.0)
    tensor([-3.0000, -0.5000,  2.0000])
    """
    scaled = values / near
    far = scaled.abs().clamp_min(1)
    return torch.where(scaled.abs() <= 1, scaled, scaled.sign() * (1 + far.log10()))


def _ticks(near: float, far: float) -> list[Tick]:
    """Zero and powers of ten between `near` and `far`, on both sides."""
    powers = range(math.ceil(math.log10(near)), math.floor(math.log10(far)) + 1)
    shown = [10.0**power for power in list(powers)[:: max(1, math.ceil(len(powers) / TICKS))]]
    numbers = [-n for n in reversed(shown)] + [0.0] + shown
    places = symlog(torch.tensor(numbers, dtype=torch.float64), near)
    whole = symlog(torch.tensor(far, dtype=torch.float64), near)
    return [Tick(at, f"{n:.3g}") for at, n in zip((places / whole).tolist(), numbers)]


def _pairs(values: Tensor) -> Tensor:
    """Numbers [n], complex or not, as points [n, 2]."""
    return torch.view_as_real(values.to(torch.complex128))
