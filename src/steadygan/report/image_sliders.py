"""Pictures over time for the page's sliders: grids of samples, and landscapes of critics."""

import base64
import io
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from PIL import Image, features
from torch import Tensor

from steadygan.files import BINARY, read_whole
from steadygan.runs.folder import SAMPLES
from steadygan.runs.sinks.landscapes import LANDSCAPES, SavedLandscape, read_landscape

__all__ = ["SIDE", "Frame", "Landscapes", "landscapes", "samples"]

SIDE = 400
"""Side of a drawn landscape in SVG units."""

FAKE, MIDDLE, REAL, NONE = (244, 177, 124), (255, 255, 255), (126, 173, 222), (160, 160, 160)
"""Colours of the critic's lowest logit, the middle of its range, its highest logit, and of no finite logit."""

Any_ = TypeVar("Any_")


class Frame(NamedTuple):
    """A picture of one step as a data URL, and its width over its height."""

    step: int
    source: str
    ratio: float = 1.0


class Ground(NamedTuple):
    """A landscape of one step: the logits as a picture, the paths over it, and words."""

    step: int
    source: str
    arrows: str
    reals: str
    fakes: str
    words: str


Landscapes = list[Ground]


def spaced(found: Sequence[Any_], most: int) -> list[Any_]:
    """At most `most` of these, evenly spaced, with the first and the last.

    >>> spaced(range(10), 4)
    [0, 3, 6, 9]
    """
    if len(found) <= most:
        return list(found)
    return [found[round(i * (len(found) - 1) / (most - 1))] for i in range(most)]


def samples(folder: Path, most: int, size: int) -> list[Frame]:
    """Up to `most` pictures of a run folder's samples/, each in about `size` bytes; damaged ones are left out."""
    found = []
    for path in spaced(_steps(folder / SAMPLES, "png"), most):
        source, ratio = _picture(path, path.stat().st_mtime_ns, size)
        found += [Frame(int(path.stem[5:]), source, ratio)] if source else []
    return found


def _steps(folder: Path, ending: str) -> list[Path]:
    files = folder.glob(f"step-*.{ending}")
    return sorted(
        (path for path in files if re.fullmatch(r"step-\d+", path.stem)), key=lambda path: int(path.stem[5:])
    )


@lru_cache(maxsize=512)
def _picture(path: Path, changed: int, size: int) -> tuple[str, float]:
    """A picture unchanged if it is small enough, else shrunk until it is; empty if it cannot be read."""
    try:
        whole = read_whole(path, BINARY)
        image = Image.open(io.BytesIO(whole)).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return "", 1.0
    ratio = image.width / image.height
    if len(whole) <= size:
        return _address("png", whole), ratio
    kind = "webp" if features.check("webp") else "jpeg"
    for scale in (1.0, 0.8, 0.6, 0.45, 0.3, 0.2, 0.1):
        box = [max(1, round(side * scale)) for side in image.size]
        stream = io.BytesIO()
        image.resize((box[0], box[1]), Image.Resampling.LANCZOS).save(stream, kind, quality=80)
        if stream.tell() <= size:
            break
    return _address(kind, stream.getvalue()), ratio


def _address(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def landscapes(folder: Path, most: int) -> Landscapes:
    """Up to `most` landscapes of a run folder, drawn; damaged ones are left out."""
    paths = spaced(_steps(folder / LANDSCAPES, "safetensors"), most)
    return [found for path in paths if (found := _ground(path, path.stat().st_mtime_ns))]


@lru_cache(maxsize=512)
def _ground(path: Path, changed: int) -> Ground | None:
    seen = read_landscape(path)
    if seen is None:
        return None
    reals, _ = _dots(seen.reals, seen)
    fakes, gone = _dots(seen.fakes, seen)
    logits = seen.landscape.logits
    finite = logits[logits.isfinite()]
    words = "no finite logits"
    if len(finite):
        words = f"logits from {finite.min():.3g} (orange) to {finite.max():.3g} (blue)"
    words += f"; {gone} of {len(seen.fakes)} fakes outside" if gone else ""
    return Ground(seen.step, _address("png", _tint(logits)), _arrows(seen), reals, fakes, words)


def _tint(logits: Tensor) -> bytes:
    """The logits [c, c] as a picture, first row at the bottom; the colours span the frame's own range."""
    finite = logits.isfinite()
    low, high = (logits[finite].min(), logits[finite].max()) if finite.any() else (0.0, 1.0)
    lean = ((logits - low) / max(float(high - low), 1e-30) * 2 - 1)[..., None]
    ends = torch.where(lean > 0, torch.tensor(REAL), torch.tensor(FAKE))
    colours = torch.tensor(MIDDLE) + lean.abs() * (ends - torch.tensor(MIDDLE))
    colours = torch.where(finite[..., None], colours, torch.tensor(NONE, dtype=torch.float32))
    image = Image.fromarray(colours.flip(0).round().byte().numpy())
    stream = io.BytesIO()
    image.save(stream, "png", optimize=True)
    return stream.getvalue()


def _pixels(points: Tensor, seen: SavedLandscape) -> Tensor:
    x, y, half = seen.landscape.frame
    unit = (points.double() - torch.tensor([x, y])) / half
    return (unit * torch.tensor([1.0, -1.0]) + 1) * SIDE / 2


def _dots(points: Tensor, seen: SavedLandscape) -> tuple[str, int]:
    """A path of dots at points [n, 2], and the number of points outside the square."""
    at = _pixels(points, seen)
    inside = at[((at >= 0) & (at <= SIDE)).all(1)]
    return "".join(f"M{u:.0f} {v:.0f}h0" for u, v in inside.tolist()), len(points) - len(inside)


def _arrows(seen: SavedLandscape) -> str:
    """Arrows along the gradient, in which fakes are pushed. Length is the root of the norm, so that all are visible."""
    gradient = seen.landscape.gradient.double()
    cells = len(gradient)
    norm = gradient.norm(dim=-1)
    most = norm[norm.isfinite()].max().item() if norm.isfinite().any() else 0.0
    if not most:
        return ""
    reach = 0.85 * SIDE / cells
    turned = gradient / norm.clamp_min(1e-300)[..., None] * (norm / most).sqrt()[..., None] * reach
    line = (torch.arange(cells, dtype=torch.float64) + 0.5) * SIDE / cells
    found = []
    for row in range(cells):
        for column in range(cells):
            dx, dy = turned[row, column, 0].item(), -turned[row, column, 1].item()
            if dx * dx + dy * dy >= 1:  # NaN is not
                x, y = line[column].item() - dx / 2, SIDE - line[row].item() - dy / 2
                head = [(-0.35 * dx + s * 0.22 * dy, -0.35 * dy - s * 0.22 * dx) for s in (1, -1)]
                (a, b), (c, d) = head
                found.append(
                    f"M{x:.0f} {y:.0f}l{dx:.1f} {dy:.1f}l{a:.1f} {b:.1f}m{-a:.1f} {-b:.1f}l{c:.1f} {d:.1f}"
                )
    return "".join(found)
