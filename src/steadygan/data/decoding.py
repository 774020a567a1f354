"""Decode, crop and resize image files to uint8 [channels, height, width], with 1 channel (grey) or 3."""

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from steadygan.data.image_files import Listing, folders, reader, shape_text
from steadygan.data.sources import BLOCK, Block, Source
from steadygan.errors import UsageError, nearest

__all__ = ["CROPS", "FILTERS", "Fit", "decode", "fit", "fit_all", "image_source"]

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
THREADS = 2
NAMED = 50  # the most corrupt images that an error names

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
"""Pillow's filters, all antialiased but nearest. Scores depend on the filter, so the manifest records it."""

CROPS = ("center", "none")
"""Take the central square, or squeeze the whole image to a square."""


class Fit(NamedTuple):
    """How images get one shape: cropped and resized to size x size, unless `size` is None. `colour` converts to RGB."""

    size: int | None = None
    filter: str = "lanczos"
    crop: str = "center"
    colour: bool = False

    def check(self) -> "Fit":
        """Returns itself. Raises UsageError for a size below 1 and for an unknown filter or crop.

        >>> Fit(8, filter="cubic").check()
        Traceback (most recent call last):
        steadygan.errors.UsageError: there is no filter 'cubic'; did you mean 'bicubic'?
        """
        if self.size is not None and (not isinstance(self.size, int) or self.size < 1):
            raise UsageError(f"size is {self.size}; give a whole number, 1 or more")
        for name, value, known in (("filter", self.filter, FILTERS), ("crop", self.crop, CROPS)):
            if value not in known:
                raise UsageError(f"there is no {name} {value!r}; {nearest(value, known)}")
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
        return {"size": self.size, **resized, "colour": self.colour}


def fit(image: Image.Image, how: Fit) -> Image.Image:
    """The image, cropped and resized. An image that has the size already is unchanged, bit for bit.

    >>> fit(Image.new("L", (8, 4)), Fit(2)).size
    (2, 2)
    """
    if how.size is None:
        return image
    size = (how.size, how.size)
    if how.crop == "center":
        return ImageOps.fit(image, size, FILTERS[how.filter])
    return image.resize(size, FILTERS[how.filter])


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

    >>> stream = io.BytesIO()
    >>> Image.new("L", (2, 1), 9).save(stream, "PNG")
    >>> decode(stream.getvalue(), Fit(colour=True)).tolist()
    [[[9, 9]], [[9, 9]], [[9, 9]]]
    """
    image: Image.Image = Image.open(io.BytesIO(raw), formats=FORMATS)
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        raise ValueError("more than 8 bits per channel")
    mode = "L" if image.mode in ("1", "L", "LA") and not how.colour else "RGB"
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    image = fit(image.convert(mode), how)
    return np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)


def image_source(name: str, listing: Listing, how: Fit, *, labelled: bool = True) -> Source:
    """The listed images as a source. If `labelled`, their folders are the classes, in alphabetical order."""
    names = folders(listing) if labelled else None
    number = {name: index for index, name in enumerate(sorted(set(names or ())))}
    labels = np.array([number[name] for name in names], np.int64) if names else None

    def blocks(skip: bool) -> Iterator[Block]:
        return decoded(listing, how, labels, skip)

    options = {"below": listing.below, **how.options()}
    count = len(listing.entries)
    return Source(name, listing.source, listing.entries, count, blocks, options, len(number))


def decoded(listing: Listing, how: Fit, labels: np.ndarray | None, skip: bool) -> Iterator[Block]:
    """Decode the listed images in order, one block at a time, on a few threads.

    Raises UsageError for an image whose shape is not that of the first, and for corrupt images unless `skip` is set.
    """
    names = [entry.name for entry in listing.entries]
    starts = range(0, len(names), BLOCK)
    wrong: list[tuple[str, str]] = []
    first: tuple[str, tuple[int, ...]] | None = None
    with reader(listing.source) as read, ThreadPoolExecutor(THREADS) as pool:

        def one(name: str) -> np.ndarray | str:
            return _decoded_or_why(name, read, how)

        def block(start: int) -> list[np.ndarray | str]:
            return [one(name) for name in names[start : start + BLOCK]]

        for i in range(0, len(starts), THREADS):  # decode no further ahead, in case writing is slow
            for start, found in zip(starts[i : i + THREADS], pool.map(block, starts[i : i + THREADS])):
                good = [k for k, image in enumerate(found) if not isinstance(image, str)]
                images = [image for image in found if not isinstance(image, str)]
                corrupt = [(names[start + k], why) for k, why in enumerate(found) if isinstance(why, str)]
                wrong += corrupt
                for k, image in zip(good, images):
                    first = first or (names[start + k], image.shape)
                    if image.shape != first[1]:
                        raise (
                            _corrupt(listing, wrong)
                            if wrong and not skip
                            else _unlike(listing, names[start + k], image.shape, *first)
                        )
                stacked = np.stack(images) if images else np.empty((0, 1, 1, 1), np.uint8)
                yield Block(stacked, None if labels is None else labels[start:][good], corrupt)
    if wrong and not skip:
        raise _corrupt(listing, wrong)


def _decoded_or_why(name: str, read: Callable[[str], bytes], how: Fit) -> np.ndarray | str:
    try:
        return decode(read(name), how)
    except Exception as error:  # pillow and zipfile raise a dozen types; the user needs the file's name
        return "not an image" if isinstance(error, UnidentifiedImageError) else str(error).rstrip(".")


def _corrupt(listing: Listing, wrong: list[tuple[str, str]]) -> UsageError:
    """The error that names the corrupt images, up to a number."""
    if len(wrong) == 1:
        name, why = wrong[0]
        text, it = f"{name} in {listing.source} cannot be decoded ({why})", "it"
    else:
        shown = ", ".join(f"{name} ({why})" for name, why in wrong[:NAMED])
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
    return UsageError(
        f"{name} in {listing.source} is {shape_text(shape)} but {first} is {shape_text(alike)} (channels x height x "
        "width); give a size to resize all images to, or convert all to grey or all to colour"
    )
