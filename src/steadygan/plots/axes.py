"""Axes of the pictures in files, drawn with pillow alone: a box with ticks, a title, a legend."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from steadygan.errors import UsageError

__all__ = [
    "CANVAS",
    "FAKES",
    "GREY",
    "INK",
    "LETTERS",
    "TARGET",
    "Tick",
    "axes",
    "blank",
    "box",
    "finished",
    "finite",
    "header",
    "label",
    "linear",
    "place",
    "view",
]

CANVAS, LEFT, TOP, BOX = 2160, 144, 186, 1872  # pixels of a scatter, and of its box, before it is shrunk
LETTERS = 3  # the size of type, of a picture that is shrunk to a third

INK, GREY, FRAME = (33, 37, 46), (98, 106, 120), (190, 196, 206)
TARGET, FAKES = (132, 152, 180), (213, 94, 0)  # grey-blue, Okabe and Ito's vermillion: unlike to every eye
REAL, FAKE = (205, 224, 243), (253, 226, 205)
FILLS = {"target": TARGET, "fakes": FAKES, "centres": None, "real": REAL, "fake": FAKE}  # of the legend
OUTLINES = {"centres": INK, "real": FRAME, "fake": FRAME}


class Tick(NamedTuple):
    """A mark on an axis that runs from -1 to 1, and what is written at it."""

    at: float
    text: str


def blank() -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """An empty canvas, three times as large as the picture that `finished` makes of it."""
    sheet = Image.new("RGB", (CANVAS, CANVAS), "white")
    return sheet, ImageDraw.Draw(sheet, "RGBA")


def finished(sheet: Image.Image, size: int) -> Image.Image:
    """The canvas shrunk to size x size pixels, which smooths its edges."""
    # averaged by whole pixels first: LANCZOS over all of the canvas takes ten times as long
    return sheet.resize((size, size), Image.Resampling.LANCZOS, reducing_gap=1)


def finite(points: Tensor) -> Tensor:
    """The points [n, 2] that are finite, in float64. Raises UsageError for another shape, and for no points."""
    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        raise UsageError(f"a scatter plot needs points [n, 2], not {list(points.shape)}: pass one or more")
    points = points.detach().cpu().double()
    return points[points.isfinite().all(1)]


def view(target: Tensor) -> tuple[Tensor, float]:
    """The centre [2] of the visible square of some target points [m, 2], and half its side.

    Raises UsageError where none of them is finite.
    """
    if not len(seen := finite(target)):
        raise UsageError("no target point is finite, so the view is not defined: check the data")
    low, high = seen.amin(0), seen.amax(0)
    return (low + high) / 2, 0.75 * (high - low).max().item() or 1.0


def place(u: float, v: float) -> tuple[float, float]:
    """The pixel at the point (u, v) of the visible square [-1, 1]^2."""
    return LEFT + (1 + u) / 2 * BOX, TOP + (1 - v) / 2 * BOX


def axes(draw: ImageDraw.ImageDraw, frame: tuple[Tensor, float], letters: float) -> None:
    """Draw the box with ticks at round numbers; `frame` is the centre [2] of the view and half its side."""
    across, up = (linear(middle, frame[1]) for middle in frame[0].tolist())
    box(draw, across, up, letters)


def linear(middle: float, half: float) -> list[Tick]:
    """3 to 9 ticks at round numbers of an axis from middle - half to middle + half.

    >>> [tick.text for tick in linear(0.0, 1.0)]
    ['-1', '-0.5', '0', '0.5', '1']
    """
    power = 10 ** math.floor(math.log10(half / 4))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= half / 4)
    numbers = range(math.ceil((middle - half) / step), math.floor((middle + half) / step) + 1)
    return [Tick((i * step - middle) / half, f"{i * step:.6g}") for i in numbers]


def box(draw: ImageDraw.ImageDraw, across: Sequence[Tick], up: Sequence[Tick], letters: float) -> None:
    """Draw the box of the axes, with these ticks below it and at its left."""
    low = TOP + BOX
    for tick in across:
        x, _ = place(tick.at, 0)
        draw.line((x, low, x, low + 15), FRAME, 4)
        draw.text((x, low + 24), tick.text, GREY, _font(tick.text, 13 * letters, LEFT - 33), "ma")
    for tick in up:
        _, y = place(0, tick.at)
        draw.line((LEFT - 15, y, LEFT, y), FRAME, 4)
        draw.text((LEFT - 27, y), tick.text, GREY, _font(tick.text, 13 * letters, LEFT - 33), "rm")
    draw.rectangle((LEFT, TOP, LEFT + BOX, low), None, FRAME, 4)


def label(
    draw: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    size: float,
    most: float,
    ink: tuple[int, int, int] = INK,
) -> None:
    """Write a line whose left end of the baseline is `at`, in smaller type where it would be wider than `most`."""
    draw.text(at, text, ink, _font(text, size, most), "ls")


def header(draw: ImageDraw.ImageDraw, title: str, texts: dict[str, str], letters: float) -> None:
    """Write the title and the legend: a mark of FILLS and its words each."""
    label(draw, (LEFT, 78), title, 21 * letters, BOX)
    font, x = _font("".join(texts.values()), 14 * letters, BOX - 100 * len(texts)), LEFT + 15.0
    for mark, text in texts.items():
        draw.circle((x, 132), 15, FILLS[mark], OUTLINES.get(mark), 4)
        draw.text((x + 30, 132), text, GREY, font, "lm")
        x += 100 + font.getlength(text)


def _font(text: str, size: float, most: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """A font of this size, or a smaller one in which the text is at most `most` wide."""
    width = ImageFont.load_default(size).getlength(text)
    return ImageFont.load_default(size * min(1, 0.94 * most / max(1, width)))
