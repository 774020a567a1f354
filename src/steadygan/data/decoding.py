"""Decode, crop and resize image files to uint8 [channels, height, width], with 1 channel (grey) or 3."""

import io
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from steadygan.data.deep_pixels import CONVERT, FULL, deep_pixels
from steadygan.data.image_files import (
    LARGEST,
    Entry,
    Listing,
    folders,
    formats,
    has_signature,
    named,
    outside_classes,
    reader,
    shape_text,
)
from steadygan.data.sources import BLOCK, Block, Source
from steadygan.errors import UsageError, nearest, printable

__all__ = [
    "COLOURS",
    "CROPS",
    "DEEP",
    "FILTERS",
    "Fit",
    "decode",
    "fit",
    "fit_all",
    "image_source",
    "picture",
    "shapes",
]

THREADS = 2
NAMED = 50  # the most corrupt images that an error names
DARK = 2**14  # 16-bit images whose values are all below this use a quarter of their range

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
"""Pillow's filters, all antialiased but nearest. Scores depend on the filter, so the manifest records it."""

CROPS = ("center", "none", "pad")
"""Take the central square, squeeze the whole image to a square, or add black borders to it."""

COLOURS = ("rgb", "grey")
"""What images of mixed kinds are all turned to. Grey is the luma .299 R + .587 G + .114 B (ITU-R BT.601)."""


DEEP = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")
"""The modes of Pillow's images of more than 8 bits."""


LARGEST_SIDE = 8192
"""Pixels along a side of the largest images. Several are decoded at once, and each then has 200 MB."""


class Fit(NamedTuple):
    """How images get one shape: cropped and resized to size x size, unless `size` is None.

    `colour` is the kind that all are turned to, one of COLOURS, or None. `white` is the value of 16-bit images that
    becomes 255, or None for 65535. `cut` is the side of the central square that is cut out first, or None.
    """

    size: int | None = None
    filter: str = "lanczos"
    crop: str = "center"
    colour: str | None = None
    white: int | None = None
    cut: int | None = None

    def check(self) -> "Fit":
        """Returns itself. Raises UsageError for a size, cut or white out of range, and for unknown names.

        >>> Fit(8, filter="cubic").check()
        Traceback (most recent call last):
        steadygan.errors.UsageError: there is no filter 'cubic'; did you mean 'bicubic'?
        """
        for side in ("size", "cut"):
            given = getattr(self, side)
            if given is not None and (not isinstance(given, int) or not 1 <= given <= LARGEST_SIDE):
                raise UsageError(f"{side} is {given}; give a whole number from 1 to {LARGEST_SIDE}")
        if self.white is not None and (not isinstance(self.white, int) or not 1 <= self.white <= FULL):
            raise UsageError(f"white is {self.white}; give a whole number from 1 to {FULL}")
        known = {"filter": FILTERS, "crop": CROPS} | ({"colour": COLOURS} if self.colour is not None else {})
        for name, names in known.items():
            if (value := getattr(self, name)) not in names:
                raise UsageError(f"there is no {name} {value!r}; {nearest(str(value), names)}")
        return self

    def of(self, side: int) -> "Fit":
        """The same for images that are all side x side: it resizes nothing if they have the size already.

        >>> Fit(8).of(8).size, Fit(8).of(9).size
        (None, 8)
        """
        return self._replace(size=None) if self.size == side else self

    def options(self) -> dict[str, Any]:
        """The options as a manifest records them. Filter and crop are None where nothing is resized."""
        used = self.size is not None
        resized = {"filter": self.filter if used else None, "crop": self.crop if used else None}
        cut = {} if self.cut is None else {"cut": self.cut}  # what was prepared without one keeps its name
        return {"size": self.size, **resized, "colour": self.colour, "white": self.white, **cut}


def fit(image: Image.Image, how: Fit) -> Image.Image:
    """The image, cropped and resized. An image that has the size already is unchanged, bit for bit.

    Raises ValueError for an image smaller than the square that is cut out.

    >>> fit(Image.new("L", (8, 4)), Fit(2)).size
    (2, 2)
    """
    if how.cut is not None:
        image = _central(image, how.cut)
    if how.size is None:
        return image
    size = (how.size, how.size)
    if how.crop == "center":
        return ImageOps.fit(image, size, FILTERS[how.filter])
    return _padded(image, how) if how.crop == "pad" else image.resize(size, FILTERS[how.filter])


def _central(image: Image.Image, side: int) -> Image.Image:
    width, height = image.size
    if min(width, height) < side:
        raise ValueError(f"{width}x{height} pixels, smaller than the {side}x{side} of data.cut")
    left, top = (width - side) // 2, (height - side) // 2
    return image.crop((left, top, left + side, top + side))


def _padded(image: Image.Image, how: Fit) -> Image.Image:
    assert how.size is not None
    longer, side = max(image.size), how.size
    width, height = (max(1, round(part * side / longer)) for part in image.size)
    square = Image.new(image.mode, (side, side))
    resized = image.resize((width, height), FILTERS[how.filter])
    square.paste(resized, ((side - width) // 2, (side - height) // 2))
    return square


def fit_all(images: np.ndarray, how: Fit) -> np.ndarray:
    """Crop and resize images [k, 3, height, width] uint8 to [k, 3, size, size].

    >>> fit_all(np.full((1, 3, 4, 4), 7, np.uint8), Fit(1)).tolist()
    [[[[7]], [[7]], [[7]]]]
    """
    if how.size is None or images.shape[2:] == (how.size, how.size):
        return images
    turned = (Image.fromarray(image) for image in np.ascontiguousarray(images.transpose(0, 2, 3, 1)))
    return np.stack([np.asarray(fit(image, how)) for image in turned]).transpose(0, 3, 1, 2)


def decode(raw: bytes, how: Fit) -> np.ndarray:
    """Decode one image file, upright and with white behind transparency. Raises Pillow's errors and ValueError.

    Of several frames it is the first. Values of more than 8 bits are read in full: v becomes 255 v / white, rounded.

    >>> stream = io.BytesIO()
    >>> Image.new("L", (2, 1), 9).save(stream, "PNG")
    >>> decode(stream.getvalue(), Fit(colour="rgb")).tolist()
    [[[9, 9]], [[9, 9]], [[9, 9]]]
    """
    return _decoded(raw, how).image


class _Decoded(NamedTuple):
    """An image uint8 [channels, height, width], and the brightest value of its file if that has 16 bits, else 0."""

    image: np.ndarray
    brightest: int = 0


def _decoded(raw: bytes, how: Fit) -> _Decoded:
    image: Image.Image = Image.open(io.BytesIO(raw), formats=formats())
    found = deep_pixels(image, raw)
    mode = _kind(found.mode if found else image.mode, how.colour)
    orientation = image.getexif().get(TURNED)
    if found is not None:
        image = found.eight(how.white or FULL, clear=image.info.get("transparency"))
        if orientation:
            image.getexif()[TURNED] = orientation
    image = ImageOps.exif_transpose(image)
    pixels = _pixels(fit(_on_white(image).convert(mode), how))
    return _Decoded(pixels, found.brightest if found and found.white == FULL else 0)


def picture(image: Image.Image) -> np.ndarray:
    """An image of Pillow as uint8 [channels, height, width], with white behind transparency: grey, or else RGB.

    >>> picture(Image.new("LA", (2, 1), (9, 0))).tolist()
    [[[255, 255]]]
    """
    return _pixels(_on_white(image).convert(_kind(image.mode)))


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    if image.mode in ("La", "RGBa"):  # whose colours are multiplied by alpha
        image = image.convert(image.mode.upper())
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA"))


def _pixels(image: Image.Image) -> np.ndarray:
    return np.atleast_3d(np.array(image)).transpose(2, 0, 1)


TURNED = 0x0112
"""The number of the tag that says how a photograph is turned."""


def _kind(mode: str, colour: str | None = None) -> str:
    """The mode that images of Pillow's `mode` are decoded to: grey ("L") or RGB."""
    if colour:
        return "RGB" if colour == "rgb" else "L"
    return "L" if mode in ("1", "L", "LA", "La", "I", "F") or mode.startswith("I;") else "RGB"


def shapes(listing: Listing) -> Counter[tuple[int, int, int]]:
    """How many of the listed images have each shape (channels, height, width), read off their headers.

    Files that are no images are left out.
    """
    folder = listing.source if listing.source.is_dir() else None
    with reader(listing.source) as read, ThreadPoolExecutor(THREADS) as pool:
        found = pool.map(partial(_shape, read=read, folder=folder), listing.entries)
        return Counter(shape for shape in found if shape)


def _shape(entry: Entry, read: Callable[[str], bytes], folder: Path | None) -> tuple[int, int, int] | None:
    try:
        file = folder / entry.name if folder else io.BytesIO(_bytes(entry, read))
        with Image.open(file, formats=formats()) as image:
            channels = 1 if _kind(image.mode) == "L" else 3
            width, height = image.size
            turned = width != height and image.getexif().get(TURNED, 1) >= 5  # for which a PNG is decoded
    except MemoryError:
        raise
    except Exception:  # pillow and zipfile raise a dozen types
        return None
    return (channels, width, height) if turned else (channels, height, width)


def image_source(
    name: str, listing: Listing, how: Fit, *, labelled: bool = True, forgiving: bool = False
) -> Source:
    """The listed images as a source. If `labelled`, their folders are the classes, in alphabetical order.

    A `forgiving` source leaves corrupt images out, with a note.
    """
    names = folders(listing) if labelled else None
    number = {name: index for index, name in enumerate(sorted(set(names or ())))}
    labels = np.array([number[name] for name in names], np.int64) if names else None

    def blocks(skip: bool) -> Iterator[Block]:
        return decoded(listing, how, labels, skip)

    options = {"below": listing.below, **how.options()}
    count = len(listing.entries)
    source = Source(name, listing.source, listing.entries, count, blocks, options, len(number))
    return source._replace(forgiving=forgiving, notes=_notes(listing, labelled))


def _notes(listing: Listing, labelled: bool) -> tuple[str, ...]:
    """What a user should know of the files before their images are decoded."""
    notes, others, strays = [], listing.others, outside_classes(listing) if labelled else []
    if others:
        files = "1 file that is" if len(others) == 1 else f"{len(others):,} files that are"
        notes.append(
            f"left out {files} not {'an image' if len(others) == 1 else 'images'} in {listing.source}: {named(others)}"
        )
    if strays:
        notes.append(
            f"the images in {listing.source} get no labels, because {len(strays):,} of {len(listing.entries):,} lie "
            f"outside the class folders, or deeper in one: {named(strays)}; move them right into one, or remove them"
        )
    return tuple(notes)


def decoded(listing: Listing, how: Fit, labels: np.ndarray | None, skip: bool) -> Iterator[Block]:
    """Decode the listed images in order, one block at a time, on a few threads.

    Raises UsageError for an image whose shape is not that of the first, and for corrupt images unless `skip` is set. It
    is also raised if all 16-bit images use less than a quarter of their range, unless `white` is given.
    """
    entries = listing.entries
    starts = range(0, len(entries), BLOCK)
    wrong: list[tuple[str, str]] = []
    first: tuple[str, tuple[int, ...]] | None = None
    brightest = 0
    with reader(listing.source) as read, ThreadPoolExecutor(THREADS) as pool:

        def block(start: int) -> list[_Decoded | str]:
            return [_decoded_or_why(entry, read, how) for entry in entries[start : start + BLOCK]]

        for i in range(0, len(starts), THREADS):  # decode no further ahead, in case writing is slow
            for start, found in zip(starts[i : i + THREADS], pool.map(block, starts[i : i + THREADS])):
                good = [k for k, image in enumerate(found) if not isinstance(image, str)]
                images = [one for one in found if not isinstance(one, str)]
                corrupt = [
                    (entries[start + k].name, why) for k, why in enumerate(found) if isinstance(why, str)
                ]
                wrong += corrupt
                for k, one in zip(good, images):
                    name, shape, brightest = (
                        entries[start + k].name,
                        one.image.shape,
                        max(brightest, one.brightest),
                    )
                    first = first or (name, shape)
                    if shape != first[1]:
                        raise (
                            _corrupt(listing, wrong)
                            if wrong and not skip
                            else _unlike(listing, name, shape, *first)
                        )
                stacked = (
                    np.stack([one.image for one in images]) if images else np.empty((0, 1, 1, 1), np.uint8)
                )
                yield Block(stacked, None if labels is None else labels[start:][good], corrupt)
    if wrong and not skip:
        raise _corrupt(listing, wrong)
    if 0 < brightest < DARK and how.white is None:
        raise _dark(listing, brightest)


def _decoded_or_why(entry: Entry, read: Callable[[str], bytes], how: Fit) -> _Decoded | str:
    raw = b""
    try:
        raw = _bytes(entry, read)
        return _decoded(raw, how)
    except UnidentifiedImageError:
        return (
            f"damaged, or a kind that is not read; {CONVERT}" if has_signature(raw[:16]) else "not an image"
        )
    except MemoryError:  # the image may be well
        raise MemoryError(f"no memory to decode {printable(entry.name)}") from None
    except Exception as error:  # pillow and zipfile raise a dozen types; the user needs the file's name
        return printable(str(error) or type(error).__name__).rstrip(".")


def _bytes(entry: Entry, read: Callable[[str], bytes]) -> bytes:
    if entry.size > LARGEST:
        raise ValueError(f"{entry.size:,} bytes")
    if not entry.size:
        raise ValueError("empty file")
    return read(entry.name)


def _corrupt(listing: Listing, wrong: list[tuple[str, str]]) -> UsageError:
    """The error that names the corrupt images, up to a number."""
    if len(wrong) == 1:
        name, why = wrong[0]
        text, it = f"{printable(name)} in {listing.source} cannot be decoded ({why})", "it"
    else:
        shown = ", ".join(f"{printable(name)} ({why})" for name, why in wrong[:NAMED])
        more = f" and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
        count = len(listing.entries)
        text, it = (
            f"{len(wrong)} of {count} images in {listing.source} cannot be decoded: {shown}{more}",
            "them",
        )
    return UsageError(
        f"{text}; replace or remove {it}, or leave {it} out with steadygan data prepare --skip-corrupt"
    )


def _unlike(
    listing: Listing, name: str, shape: tuple[int, ...], first: str, alike: tuple[int, ...]
) -> UsageError:
    """The error for an image of another shape: what kinds there are, and the options that make them one."""
    found = shapes(listing)
    grey = sum(count for (channels, *_), count in found.items() if channels == 1)
    sides = sorted({(height, width) for _, height, width in found})
    remedies = []
    if shape[1:] != alike[1:] and sides:
        of = f"{len(sides):,} sizes from {shape_text(sides[0])} to {shape_text(sides[-1])}"
        remedies.append(f"give a size to resize all of them to, such as data.size=64 or --size 64 ({of})")
    if shape[0] != alike[0]:
        remedies.append(
            "turn all of them to colour or to grey with data.colour=rgb or grey (evaluate and data prepare: "
            f"--colour), for {grey:,} are grey and {found.total() - grey:,} in colour"
        )
    return UsageError(
        f"{printable(name)} in {listing.source} is {shape_text(shape)} but {printable(first)} is {shape_text(alike)} "
        f"(channels x height x width); {', and '.join(remedies)}"
    )


def _dark(listing: Listing, brightest: int) -> UsageError:
    """The error for 16-bit images that use a small part of their range, so that all would be nearly black."""
    white = 2 ** brightest.bit_length() - 1
    return UsageError(
        f"the 16-bit images in {listing.source} reach only {brightest:,} of {FULL:,} and would be nearly black; if "
        f"{white:,} is white, set data.white={white}, or convert them with magick mogrify -level "
        f"0,{100 * white / FULL:.4g}% -depth 8, and if they are dark, set data.white={FULL}"
    )
