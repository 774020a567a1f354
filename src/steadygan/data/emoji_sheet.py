"""The emoji of the npm package emoji-datasource-google: 3,786 colour images, 64x64, cut from one sheet."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from steadygan.data.archives import contents, reading
from steadygan.data.array_cache import load
from steadygan.data.dataset import Data
from steadygan.data.decoding import Fit, fit_all
from steadygan.data.sources import Block, DataSet, Source, find, places, stat
from steadygan.errors import UsageError
from steadygan.files import BINARY, LARGEST, parse_json

__all__ = ["EMOJI", "emoji"]

TABLE, SHEET = "emoji.json", "img/google/sheets/64.png"
PLACES = (
    "emoji-datasource-google-16.0.0.tgz",
    "emoji-datasource-google",
    "node_modules/emoji-datasource-google",
)
SIDE, PITCH = 64, 66  # pixels of an image, without and with its border
SHEET_PIXELS = 10_000**2  # more than any published sheet has


class Cell(NamedTuple):
    """An image's file name, its place in the sheet and its category. Cells are sorted by file name."""

    name: str
    column: int
    row: int
    category: str


def emoji(root: str | Path | None = None, size: int = 64, filter: str = "lanczos") -> Data:
    """Load the 3,786 emoji, skin tones included: images 3x64x64 on white, in 10 categories.

    The package is searched in `root` and then in $STEADYGAN_DATA. Either is or contains the file
    emoji-datasource-google-16.0.0.tgz of `npm pack`, or its folder emoji-datasource-google (also in node_modules).
    Images are in the order of their file names, and labels in that of the categories' names. `filter` resizes the
    images to another `size`. Raises UsageError if the package is missing, damaged or another version. Source: iamcal's
    emoji-data 16.0.0, with the images of Google's Noto Emoji.

    >>> emoji(size=0)
    Traceback (most recent call last):
    steadygan.errors.UsageError: size is 0; give a whole number from 1 to 8192
    """
    return load(emoji_source(root, "train", size, filter))


def emoji_source(
    root: str | Path | None = None, split: str = "train", size: int = 64, filter: str = "lanczos"
) -> Source:
    """Find the emoji. Raises UsageError if they are missing, and for an unknown size or filter."""
    count, how = EMOJI.count(split), Fit(size, filter, "none").check().of(SIDE)
    place = _find(places(root))
    if place is None:
        raise EMOJI.missing()
    classes = EMOJI.classes

    def blocks(skip: bool) -> Iterator[Block]:
        with reading(place, "package") as read:
            cells = read_table(contents(read(TABLE), f"{TABLE} in {place}", LARGEST), place)
            pixels = _over_white(contents(read(SHEET), f"{SHEET} in {place}", BINARY), place)
        categories = sorted({cell.category for cell in cells})
        if len(cells) != count or len(categories) != classes:
            raise UsageError(
                f"{place} lists {len(cells)} images in {len(categories)} categories instead of {count} in {classes}; "
                "use version 16.0.0"
            )
        labels = np.array([categories.index(cell.category) for cell in cells])
        yield Block(fit_all(cut(pixels, cells, place), how), labels)

    options = {"split": split, **how.options()}
    return Source("emoji", place, stat(place, [TABLE, SHEET]), count, blocks, options, classes)


def _find(folders: list[Path]) -> Path | None:
    """The package, or a folder with any name into which it was unpacked."""
    unpacked = (place for place in folders if (place / TABLE).is_file() and (place / SHEET).is_file())
    return find(folders, PLACES) or next(unpacked, None)


def read_table(raw: bytes, place: Path) -> list[Cell]:
    """The images that emoji.json lists in Google's sheet, skin tones included, sorted by their file names.

    Raises UsageError for another kind of file.
    """
    try:
        whole = [
            (one, emoji["category"])
            for emoji in parse_json(raw)
            for one in (emoji, *emoji.get("skin_variations", {}).values())
        ]
        cells = [_cell(one, category) for one, category in whole if one["has_img_google"]]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"{TABLE} in {place} is not the file of emoji-datasource-google; download the package again"
        ) from error
    return sorted(cells)


def _cell(one: dict[str, Any], category: str) -> Cell:
    column, row = one["sheet_x"], one["sheet_y"]
    if type(column) is not int or type(row) is not int or min(column, row) < 0:
        raise ValueError("no position in the sheet")
    return Cell(str(one["image"]), column, row, str(category))


def cut(pixels: np.ndarray, cells: list[Cell], place: Path) -> np.ndarray:
    """Cut the cells out of a sheet [height, width, 3]: [n, 3, 64, 64]. Raises UsageError for a cell outside it."""
    rows, columns = pixels.shape[0] // PITCH, pixels.shape[1] // PITCH
    outside = [cell.name for cell in cells if cell.row >= rows or cell.column >= columns]
    if outside:
        raise UsageError(f"{SHEET} in {place} ends before {outside[0]}; download the package again")
    corners = [(cell.row * PITCH + 1, cell.column * PITCH + 1) for cell in cells]
    return np.stack([pixels[y : y + SIDE, x : x + SIDE] for y, x in corners]).transpose(0, 3, 1, 2)


def _over_white(raw: bytes, place: Path) -> np.ndarray:
    """The pixels [height, width, 3] of a PNG, with white behind transparency."""
    try:
        image: Image.Image = Image.open(io.BytesIO(raw), formats=("PNG",))
        if image.width * image.height > SHEET_PIXELS:
            raise ValueError(f"{image.width} x {image.height} pixels")
        image = image.convert("RGBA")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UsageError(
            f"{SHEET} in {place} cannot be decoded ({reason}); download the package again"
        ) from error
    return np.asarray(Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB"))


EMOJI = DataSet(
    "emoji",
    "the emoji sheet",
    emoji,
    emoji_source,
    shape=(3, 64, 64),
    classes=10,
    counts={"train": 3786},
    get="download it (74 MB) with npm pack emoji-datasource-google@16.0.0",
    files={
        "emoji-datasource-google-16.0.0.tgz": "afdb2b1eb6e038ffd8c59dd6f654720f",
        "emoji.json": "7e30bda40874fcf27782e58a438784ea",
        "img/google/sheets/64.png": "4bdab20d8e4906f1d4bb55a8116125a5",
    },
)
