"""Pictures over time for the page's sliders: grids of samples, and landscapes of critics."""

import io
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, TypeVar

from PIL import Image, features

from steadygan.errors import left_out
from steadygan.files import BINARY, read_whole
from steadygan.plots.landscape_svg import data_url, described, dots, svg
from steadygan.runs.folder import SAMPLES
from steadygan.runs.sinks.landscapes import LANDSCAPES, read_landscape

__all__ = ["Frame", "Landscapes", "landscapes", "samples"]

WHITE = (255, 255, 255)

Any_ = TypeVar("Any_")


class Frame(NamedTuple):
    """A picture of one step as a data URL, its width over its height, and whether it is a plot on white."""

    step: int
    source: str
    ratio: float = 1.0
    plot: bool = False


class Ground(NamedTuple):
    """A landscape of one step as SVG, and in words."""

    step: int
    drawn: str
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
        frame = _picture(path, path.stat().st_mtime_ns, size)
        found += [frame] if frame else []
    return found


def _steps(folder: Path, ending: str) -> list[Path]:
    files = folder.glob(f"step-*.{ending}")
    return sorted(
        (path for path in files if re.fullmatch(r"step-\d+", path.stem)), key=lambda path: int(path.stem[5:])
    )


@lru_cache(maxsize=512)
def _picture(path: Path, changed: int, size: int) -> Frame | None:
    """A picture, unchanged if it is small enough, else shrunk until it is; None if it cannot be read."""
    try:
        whole = read_whole(path, BINARY)
        image = Image.open(io.BytesIO(whole)).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        left_out(path)
        return None
    ends = [(x, y) for x in (0, image.width - 1) for y in (0, image.height - 1)]
    plot = all(image.getpixel(end) == WHITE for end in ends)
    source = data_url("png", whole) if len(whole) <= size else _shrunk(image, size)
    return Frame(int(path.stem[5:]), source, image.width / image.height, plot)


def _shrunk(image: Image.Image, size: int) -> str:
    """The largest copy of a picture within `size` bytes, or else a tenth of its side: means over k x k pixels.

    It tries the small copies first, because they cost least.
    """
    kind = "webp" if features.check("webp") else "jpeg"
    found = b""
    for k in (10, 6, 4, 3, 2, 1):
        stream = io.BytesIO()
        image.reduce(k).save(stream, kind, quality=80, method=2)
        if found and stream.tell() > size:
            break
        found = stream.getvalue()
    return data_url(kind, found)


def landscapes(folder: Path, most: int) -> Landscapes:
    """Up to `most` landscapes of a run folder, drawn; damaged ones are left out."""
    paths = spaced(_steps(folder / LANDSCAPES, "safetensors"), most)
    return [found for path in paths if (found := _ground(path, path.stat().st_mtime_ns))]


@lru_cache(maxsize=512)
def _ground(path: Path, changed: int) -> Ground | None:
    seen = read_landscape(path)
    if seen is None:
        left_out(path)
        return None
    found = seen.landscape
    words = described(found.logits)
    gone = dots(seen.fakes, found.frame)[1]
    words += f"; {gone} of {len(seen.fakes)} fakes outside" if gone else ""
    label = f"Landscape of the critic at step {seen.step:,}: {words}"
    return Ground(seen.step, svg(*found, label=label, reals=seen.reals, fakes=seen.fakes), words)
