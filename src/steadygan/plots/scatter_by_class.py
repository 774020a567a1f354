"""A scatter plot of points in groups: one colour per group, with its name above its median."""

import colorsys
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from steadygan.errors import UsageError
from steadygan.plots.axes import LETTERS, TARGET, axes, blank, finished, header, place, view

__all__ = ["coloured"]


def coloured(
    groups: Sequence[Tensor], names: Sequence[str], target: Tensor, title: str = "", size: int = 720
) -> Image.Image:
    """Draw the points [n, 2] of each group in its colour over the target [m, 2], in the view of `samples.scatter`.

    Colours follow the colour wheel in the order of the groups. Points outside the view or not finite are left
    out. Raises UsageError on other shapes, on no group or finite target, and unless each group has a name.

    >>> import torch
    >>> coloured([torch.zeros(3, 2), torch.ones(3, 2)], ["0", "1"], torch.randn(9, 2), size=360).size
    (360, 360)
    """
    if (
        not groups
        or len(names) != len(groups)
        or any(g.ndim != 2 or g.shape[1] != 2 for g in (*groups, target))
    ):
        raise UsageError(
            "a coloured scatter plot needs one or more groups of points [n, 2], each with a name"
        )
    frame = view(target)
    sheet, draw = blank()
    axes(draw, frame, LETTERS)
    _dots(draw, _unit(target, frame), (*TARGET, 60))
    units = [_unit(points, frame) for points in groups]
    colours = [colorsys.hls_to_rgb(index / len(units), 0.42, 0.85) for index in range(len(units))]
    inks = [tuple(round(255 * part) for part in colour) for colour in colours]
    for unit, ink in zip(units, inks, strict=True):
        _dots(draw, unit, (*ink, 200))
    font = ImageFont.load_default(17 * LETTERS)
    for name, unit, ink in zip(names, units, inks, strict=True):
        if len(unit):
            u, v = unit.median(0).values.tolist()
            draw.text((place(u, v)[0], place(u, v)[1] - 60), name, ink, font, "mm")
    header(draw, " ".join(title.split()), {"target": "target; samples by code"}, LETTERS)
    return finished(sheet, size)


def _unit(points: Tensor, frame: tuple[Tensor, float]) -> Tensor:
    unit = (points.detach().cpu().double() - frame[0]) / frame[1]
    return unit[(unit.abs() <= 1).all(1)]  # NaN is not


def _dots(draw: ImageDraw.ImageDraw, unit: Tensor, colour: tuple[int, ...]) -> None:
    for u, v in unit.tolist():
        draw.circle(place(u, v), 9, colour)
