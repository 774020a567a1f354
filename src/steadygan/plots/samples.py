"""Pictures of samples, drawn with pillow alone: a grid of images, a scatter plot of points, a strip of pictures."""

import math
import zlib
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from steadygan.critic_outputs import one_each
from steadygan.errors import UsageError
from steadygan.files import partial_of
from steadygan.penalties import Critic
from steadygan.plots.axes import (
    BOX,
    CANVAS,
    FAKES,
    FRAME,
    GREY,
    INK,
    LEFT,
    TARGET,
    TOP,
    axes,
    blank,
    finished,
    finite,
    header,
    place,
    view,
)

__all__ = ["grid", "links", "pairs", "save", "scatter", "strip"]

WIDTH, GAP = 900, 2  # pixels: a grid's greatest width, and the space between its images
CELLS = 120  # a scatter asks its critic at CELLS x CELLS points

REAL, FAKE, MAGENTA = (205, 224, 243), (253, 226, 205), (255, 0, 255)
SLATE = (118, 126, 140)


def grid(images: Tensor, columns: int | None = None, zoom: int | None = None) -> Image.Image:
    """Draw images [n, 1 or 3, H, W] in [-1, 1] in rows, as an RGB picture; each pixel is a square of `zoom` pixels.

    -1 is black and 1 is white in every grid. Values outside are clamped. Nothing is stretched to the range of
    the batch. Stretching would hide a washed-out generator, and make one sample depend on its neighbours. It
    would also show images that differ from the scored ones. Pixels that are not finite are magenta. By
    default `columns` is sqrt(n) rounded up, and `zoom` the largest that fits 900 pixels of width.

    Raises UsageError on other shapes, on no images, on whole numbers, and on columns or zoom below 1.

    >>> grid(torch.zeros(6, 1, 8, 8), columns=3, zoom=2).size
    (56, 38)
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in images.shape:
        raise UsageError(f"a grid needs images [n, 1 or 3, H, W], not {list(images.shape)}: pass one or more")
    if not images.is_floating_point():
        raise UsageError(f"a grid needs values in [-1, 1], not {images.dtype}: map 0..255 by x / 127.5 - 1")
    n, _, height, width = images.shape
    columns = math.ceil(math.sqrt(n)) if columns is None else columns
    fitting = (WIDTH - GAP * (columns + 1)) // (max(columns, 1) * width)
    zoom = max(1, fitting) if zoom is None else zoom
    if columns < 1 or zoom < 1:
        raise UsageError(f"columns is {columns} and zoom is {zoom}, but a grid needs 1 or more of each")
    down, across = height * zoom + GAP, width * zoom + GAP
    sheet = Image.new("RGB", (columns * across + GAP, math.ceil(n / columns) * down + GAP), SLATE)
    for i, tile in enumerate(_bytes(images).repeat_interleave(zoom, 1).repeat_interleave(zoom, 2)):
        sheet.paste(Image.fromarray(tile.numpy()), (GAP + i % columns * across, GAP + i // columns * down))
    return sheet


def _bytes(images: Tensor) -> Tensor:
    values = images.detach().cpu().float().permute(0, 2, 3, 1)
    grey = (values.nan_to_num().clamp(-1, 1) * 127.5 + 127.5).round().byte()
    return torch.where(values.isfinite().all(-1, keepdim=True), grey, grey.new_tensor(MAGENTA))


def pairs(left: Tensor, right: Tensor) -> Image.Image:
    """Draw pairs of images [n, 1 or 3, H, W] in a `grid`: each of `left` beside its own of `right`.

    >>> pairs(torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 8, 8)).size[0] > 0
    True
    """
    if left.shape != right.shape:
        raise UsageError(
            f"both images of a pair need one shape, not {list(left.shape)} and {list(right.shape)}"
        )
    columns = 2 * math.ceil(math.sqrt(len(left) / 2))
    return grid(torch.stack([left, right], 1).flatten(0, 1), columns=columns)


def strip(pictures: Sequence[Image.Image]) -> Image.Image:
    """Put pictures side by side on white, aligned at the top, as RGB. Raises UsageError if there is none.

    >>> strip([Image.new("L", (30, 20)), Image.new("L", (10, 40))]).size
    (40, 40)
    """
    if not pictures:
        raise UsageError("a strip of no pictures cannot be drawn: pass one or more")
    ends = list(accumulate(picture.width for picture in pictures))
    sheet = Image.new("RGB", (ends[-1], max(picture.height for picture in pictures)), "white")
    for picture, end in zip(pictures, ends):
        sheet.paste(picture, (end - picture.width, 0))
    return sheet


def save(image: Image.Image, path: str | Path) -> Path:
    """Write `image` to `path` as PNG, replacing an old file in one step; return the path.

    Makes folders as needed. Raises UsageError unless the name ends in .png, and OSError if it cannot write.

    >>> save(Image.new("L", (8, 8)), "picture.jpg")
    Traceback (most recent call last):
    steadygan.errors.UsageError: pictures are written as PNG: end the name picture.jpg in .png
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise UsageError(f"pictures are written as PNG: end the name {path.name} in .png")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_of(path)
    try:
        # Runs alone: a third less time, for files of at most a fifth more.
        image.save(partial, "PNG", compress_type=zlib.Z_RLE)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def scatter(
    fakes: Tensor,
    target: Tensor,
    title: str = "",
    centres: Tensor | None = None,
    critic: Critic | None = None,
    size: int = 720,
) -> Image.Image:
    """Draw fakes [n, 2] over target points [m, 2] in size x size pixels, y upwards, with equal axes.

    The view is the target's extent and 25 % more on each side, so pictures of one target can be compared.
    Fakes outside are triangles on its frame. The legend counts them and those that are not finite. `centres`
    [k, 2] are circled. `critic`, points [k, 2] -> logits [k], colours the background by sigmoid(logit): blue
    for real, white at 1/2, orange for fake, grey for NaN.

    Raises UsageError on other shapes, on no points, on no finite target, on a critic that does not return
    [k], and on a size not in 300..2160.

    >>> scatter(torch.zeros(1, 2), torch.randn(50, 2), title="step 0", size=360).size
    (360, 360)
    """
    if not 300 <= size <= CANVAS:
        raise UsageError(f"size is {size}, but a scatter plot has 300 to {CANVAS} pixels")
    frame = view(target)
    letters = 3 * min(1.4, max(1, math.sqrt(720 / size)))  # small pictures keep their words readable
    sheet, draw = blank()
    if critic is not None:
        sheet.paste(_ground(critic, frame, fakes), (LEFT, TOP))
    axes(draw, frame, letters)
    _points(draw, _unit(target, frame), (*TARGET, 150))
    _points(draw, _unit(fakes, frame), (*FAKES, 165))
    for u, v in () if centres is None else _unit(centres, frame).tolist():
        draw.circle(place(u, v), 30, None, INK, 4)
    texts = legend(fakes, target, centres is not None, critic is not None)
    header(draw, " ".join(title.split()), texts, letters)
    return finished(sheet, size)


def links(starts: Tensor, ends: Tensor, title: str = "", size: int = 720) -> Image.Image:
    """Draw real points [n, 2], their reconstructions [n, 2], and a line for each pair; all are in view.

    Pairs that are not finite are left out, and the legend counts them. Raises UsageError as `scatter` does.

    >>> links(torch.randn(9, 2), torch.randn(9, 2), size=360).size
    (360, 360)
    """
    if starts.shape != ends.shape:
        raise UsageError(
            f"both points of a pair need one shape, not {list(starts.shape)} and {list(ends.shape)}"
        )
    whole = (starts.isfinite() & ends.isfinite()).all(1)
    starts, ends, lost = starts[whole], ends[whole], int((~whole).sum())
    if not len(starts):
        raise UsageError("no pair is finite, so there is nothing to draw: use an earlier checkpoint")
    frame = view(torch.cat([starts, ends]))
    letters = 3 * min(1.4, max(1, math.sqrt(720 / size)))
    sheet, draw = blank()
    axes(draw, frame, letters)
    a, b = _unit(starts, frame), _unit(ends, frame)
    for start, end in zip(a.tolist(), b.tolist()):
        draw.line([place(*start), place(*end)], (*GREY, 160), 4)
    _points(draw, a, (*TARGET, 220))
    _points(draw, b, (*FAKES, 220))
    words = f"reconstruction ({lost} not finite)" if lost else "reconstruction"
    header(draw, " ".join(title.split()), {"target": "real", "fakes": words}, letters)
    return finished(sheet, size)


def legend(fakes: Tensor, target: Tensor, centres: bool = False, critic: bool = False) -> dict[str, str]:
    """The words of a scatter plot's legend for each mark, with counts of the points that are not shown.

    >>> legend(torch.tensor([[9.0, 0.0], [0.0, math.nan]]), torch.zeros(5, 2))
    {'target': 'target', 'fakes': 'generated (1 outside, 1 not finite)'}
    """
    texts = {}
    for mark, name, points in (("target", "target", target), ("fakes", "generated", fakes)):
        unit = _unit(points, view(target))
        counts = {"outside": int((unit.abs() > 1).any(1).sum()), "not finite": len(points) - len(unit)}
        notes = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        texts[mark] = f"{name} ({notes})" if notes else name
    texts |= {"centres": "mode"} if centres else {}
    return texts | ({"real": "critic: real", "fake": "critic: fake"} if critic else {})


def _unit(points: Tensor, frame: tuple[Tensor, float]) -> Tensor:
    """The finite points, in axes where the visible square is [-1, 1]^2."""
    return ((finite(points) - frame[0]) / frame[1]).clamp(-1e300, 1e300)


def _ground(critic: Critic, frame: tuple[Tensor, float], like: Tensor) -> Image.Image:
    line = (torch.arange(CELLS, dtype=torch.float64) + 0.5) / CELLS * 2 - 1
    unit = torch.cartesian_prod(-line, line).flip(1)  # row by row from the top, as a picture's pixels
    with torch.no_grad():
        logits = one_each(critic((frame[0] + frame[1] * unit).to(like)), CELLS**2)
    lean = 2 * logits.cpu().float().sigmoid()[:, None] - 1
    tint = torch.where(lean > 0, torch.tensor(REAL), torch.tensor(FAKE))
    colours = torch.where(lean.isnan(), torch.tensor(FRAME), 255 + lean.abs() * (tint - 255))
    cells = Image.fromarray(colours.round().byte().view(CELLS, CELLS, 3).numpy())
    return cells.resize((BOX, BOX), Image.Resampling.BICUBIC)


def _points(draw: ImageDraw.ImageDraw, unit: Tensor, colour: tuple[int, ...]) -> None:
    radius = min(12, max(5, 210 / math.sqrt(max(1, len(unit)))))
    for u, v in unit.tolist():
        if (far := max(abs(u), abs(v))) <= 1:
            draw.circle(place(u, v), radius, colour)
        else:  # on the frame, pointing out of it
            turn = (0 if v > 0 else 180) if far == abs(v) else (90 if u < 0 else 270)
            draw.regular_polygon((*place(u / far, v / far), 18), 3, turn, colour)
