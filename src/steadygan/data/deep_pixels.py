"""Pixels of more than 8 bits, read in full: Pillow drops the lower byte of 16-bit colour images."""

import io
import sys
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from steadygan.data.image_files import formats

__all__ = ["CONVERT", "FULL", "Deep", "deep_pixels"]

FULL = 65_535
"""The largest value of 16 bits."""

BITS, PHOTOMETRIC, PLANES = 258, 262, 284
"""Numbers of TIFF's tags BitsPerSample, PhotometricInterpretation and PlanarConfiguration."""

CONVERT = "convert it with magick mogrify -depth 8"


class Deep(NamedTuple):
    """Values [height, width] or [height, width, channels] of an image in Pillow's `mode`, of which `white` is white."""

    values: np.ndarray
    mode: str
    white: float

    @property
    def brightest(self) -> int:
        """The largest value, alpha aside."""
        alpha = self.mode.endswith("A")
        return int((self.values[..., :-1] if alpha else self.values).max())

    def eight(self, white: float, clear: int | tuple[int, ...] | None = None) -> Image.Image:
        """The image in 8 bits: 255 v / white, rounded. `white` counts where the file has no white of its own.

        Pixels of the value `clear` are transparent.
        """
        alpha, own = self.mode.endswith("A"), self.white if self.white != FULL else white
        scale = np.full(self.values.shape[2:], own, np.float32)
        if alpha:
            scale[-1] = FULL
        small = np.rint(self.values.astype(np.float32) * (255 / scale)).clip(0, 255).astype(np.uint8)
        height, width = small.shape[:2]
        image = Image.frombytes(self.mode, (width, height), small.tobytes())
        if clear is not None and not alpha:
            kept = (self.values.reshape(height, width, -1) != np.array(clear)).any(2)
            image.putalpha(Image.fromarray((255 * kept).astype(np.uint8)))
        return image


def deep_pixels(image: Image.Image, raw: bytes) -> Deep | None:
    """The pixels of an opened image of more than 8 bits, whose file is `raw`, or None for one of 8 bits.

    Grey has 16 bits, or is floating point from 0 to 1. Raises ValueError for values of another range, and for a kind
    that cannot be read in full.
    """
    if image.mode == "F":
        return _grey(image, 1, 1)
    if image.mode == "I" or image.mode.startswith("I;"):
        return _grey(image, FULL, _grey_white(image))
    if image.format == "JPEG2000" and _jpeg2000_bits(raw) > 8:
        raise ValueError(f"more than 8 bits per channel; {CONVERT}")
    tiles = list(getattr(image, "tile", ()))
    if image.format == "PPM" and tiles and tiles[0][0] == "ppm" and image.mode == "RGB":
        return _ppm(image, raw)
    raws = {_raw_mode(tile[3]) for tile in tiles}
    if not any(";16" in mode for mode in raws) and _tiff(image, BITS, 8) <= 8:
        return None
    if len(raws) > 1 or _tiff(image, PLANES, 1) == 2:  # Pillow reads some of these wrongly
        raise ValueError(f"16 bits per channel in separate planes; {CONVERT}")
    return _both_bytes(image, raw, raws.pop())


def _grey(image: Image.Image, most: float, white: float) -> Deep:
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= most):  # not for NaN either
        raise ValueError(f"values from {low:g} to {high:g}, of which only 0 to {most:g} is read; {CONVERT}")
    white_is_zero = _tiff(image, PHOTOMETRIC, 1) == 0  # Pillow turns these round in 8 bits alone
    return Deep(most - values if white_is_zero else values, "L", white)


def _grey_white(image: Image.Image) -> float:
    """White of a 16-bit grey image. TIFF has files of 12 bits too."""
    bits = _tiff(image, BITS, 16)
    return 2**bits - 1 if bits < 16 else FULL


def _tiff(image: Image.Image, tag: int, default: int) -> int:
    """A tag of a TIFF file: its first value."""
    found = getattr(image, "tag_v2", {}).get(tag, default)
    return int(found[0] if isinstance(found, tuple) else found)


def _jpeg2000_bits(raw: bytes) -> int:
    """Bits of the first component, in the segment SIZ of the codestream (ISO 15444-1, A.5.1)."""
    start = raw.find(b"\xff\x4f\xff\x51")
    return (raw[start + 42] & 0x7F) + 1 if start >= 0 and len(raw) > start + 42 else 8


def _ppm(image: Any, raw: bytes) -> Deep:
    """Binary PPM with two bytes a value, whose header says which value is white."""
    _, _, start, white = image.tile[0]
    white = white[-1] if isinstance(white, tuple) else white
    width, height = image.size
    kind, count = (">u2", 2) if white > 255 else ("u1", 1)
    if len(raw) < start + count * 3 * width * height:
        raise ValueError("truncated file")
    values = np.frombuffer(raw, kind, 3 * width * height, start).reshape(height, width, 3)
    return Deep(values, "RGB", white)


def _raw_mode(args: Any) -> str:
    first = args[0] if isinstance(args, tuple) and args else args
    return first if isinstance(first, str) else ""


def _both_bytes(image: Image.Image, raw: bytes, raw_mode: str) -> Deep:
    """Decode twice: once as the file says, for the high bytes, and once with the bytes swapped, for the low ones."""
    high = np.asarray(image)
    if raw_mode == "LA;16B":  # Pillow knows it in this order alone: take the four bytes as they are
        bytes_ = np.asarray(_with_raw_mode(raw, raw_mode, "RGBA")).astype(np.uint16)
        values = bytes_[..., [0, 2]] * 256 + bytes_[..., [1, 3]]
        return Deep(values, "LA", FULL)
    big = raw_mode.endswith("B") or (raw_mode.endswith("N") and sys.byteorder == "big")
    low = np.asarray(_with_raw_mode(raw, raw_mode, raw_mode[:-1] + ("L" if big else "B")))
    return Deep(high.astype(np.uint16) * 256 + low, image.mode, FULL)


def _with_raw_mode(raw: bytes, old: str, new: str) -> Image.Image:
    image: Any = Image.open(io.BytesIO(raw), formats=formats())
    image.tile = [_with_args(tile, _replaced(tile[3], new)) for tile in image.tile]
    image.load()
    return image


def _with_args(tile: Any, args: Any) -> Any:
    """A tile is a tuple, and since Pillow 11 a named one."""
    return tile._replace(args=args) if hasattr(tile, "_replace") else (*tile[:3], args)


def _replaced(args: Any, new: str) -> Any:
    return (new, *args[1:]) if isinstance(args, tuple) else new
