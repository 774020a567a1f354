"""Image files in a folder or a zip: your own, CelebA-HQ, and LSUN."""

import re
from functools import partial
from pathlib import Path

from steadygan.data.array_cache import load, with_test
from steadygan.data.dataset import Data
from steadygan.data.decoding import Fit, image_source
from steadygan.data.deep_pixels import FULL
from steadygan.data.image_files import AS_ARRAY, Entry, Listing, list_images, named
from steadygan.data.sources import DataSet, Source, find, places
from steadygan.errors import UsageError, printable
from steadygan.files import user_path

__all__ = [
    "CELEBA_HQ",
    "LSUN",
    "any_sizes",
    "celeba_hq",
    "image_folder",
    "image_folder_source",
    "lsun",
    "own_images",
]

CELEBA_NAMES = ("celeba_hq", "celeba-hq", "CelebA-HQ", "CelebA-HQ-img", "CelebAMask-HQ", "celeba_hq_256")
INSIDE = ("CelebAMask-HQ/CelebA-HQ-img", "CelebA-HQ-img", "")


def image_folder(
    path: str | Path,
    size: int | None = None,
    split: str | None = None,
    filter: str = "lanczos",
    crop: str = "center",
    colour: str | None = None,
    white: int | None = None,
    cut: int | None = None,
) -> Data:
    """Load all images that Pillow can read in a folder or zip, including subfolders, sorted by path.

    Grey images have 1 channel, all others 3; `colour` "rgb" or "grey" turns all to one kind. Transparent images get a
    white background. With `size` each image is cropped to its central square and resized by `filter` to size x size.
    With `crop` "pad" the whole image gets black borders instead, and with "none" it is squeezed to a square. Without
    `size` all images must have one size. `split` takes only the images in that subfolder. `cut` first cuts out the
    central square of that side, as CelebA's 160 pixels.

    The value v of a 16-bit image becomes 255 v / `white`, rounded (default 65535). If no 16-bit image reaches a quarter
    of 65535, `white` must be given. Floating point from 0 to 1 becomes 0 to 255.

    If all images are in two or more subfolders of one level, the subfolders are the classes, in alphabetical order.
    A DataNote (a warning) names the files that are not images, the images that cannot be decoded, and the files that
    keep the others from having labels. Raises UsageError if the source is missing, empty or unsafe to read, and if
    images differ in shape.

    >>> image_folder("/no/such/folder")
    Traceback (most recent call last):
    steadygan.errors.UsageError: /no/such/folder does not exist; give a folder or a zip of images
    """
    return load(image_folder_source(path, size, split, filter, crop, colour, white, cut))


def image_folder_source(
    path: str | Path,
    size: int | None = None,
    split: str | None = None,
    filter: str = "lanczos",
    crop: str = "center",
    colour: str | None = None,
    white: int | None = None,
    cut: int | None = None,
) -> Source:
    """Find the images of a folder or zip. Raises UsageError if there are none."""
    how = Fit(size, filter, crop, colour, white, cut).check()
    listing = own_images(path, split)
    return image_source(listing.source.stem, listing, how, forgiving=True)


def own_images(path: str | Path, split: str | None = None) -> Listing:
    """List the images of a folder or zip. Raises UsageError if there are none."""
    given = user_path(path)
    if not _exists(given):
        raise UsageError(
            f"{printable(str(given.absolute()))} does not exist; give a folder or a zip of images"
        )
    return _listed(given.resolve(), split)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that is too long, or that no file can have
        return False


def any_sizes(path: str | Path, split: str | None = None) -> Source:
    """The images of a folder or zip, all resized to 3x8x8, to check only whether they can be decoded."""
    source = user_path(path).resolve()
    return image_source(source.stem, _listed(source, split), Fit(8, "nearest", "none", "rgb", FULL))


def celeba_hq(
    root: str | Path | None = None,
    split: str = "all",
    size: int = 128,
    filter: str = "lanczos",
    crop: str = "center",
) -> Data:
    """Load CelebA-HQ: all 30,000 images 3 x size x size, the first 27,000 ("train") or the last 3,000 ("test").

    The images are searched in `root` and then in $STEADYGAN_DATA. Either is or contains a folder or zip celeba_hq,
    CelebA-HQ-img or CelebAMask-HQ, of which only the photographs are read. The data set has no published split: this
    one, by number, is that of GN-GAN's scores at 128. Raises UsageError if the data set is missing, incomplete or
    damaged. Source: Karras 2018.

    >>> celeba_hq(split="tests")
    Traceback (most recent call last):
    steadygan.errors.UsageError: CelebA-HQ has no split 'tests'; did you mean 'test'?
    """
    found = load(celeba_hq_source(root, split, size, filter, crop))
    return with_test(found, split, partial(celeba_hq_source, root, "test", size, filter, crop))


def celeba_hq_source(
    root: str | Path | None = None,
    split: str = "all",
    size: int = 128,
    filter: str = "lanczos",
    crop: str = "center",
) -> Source:
    """Find CelebA-HQ. Raises UsageError if it is missing or has another number of images."""
    count, total = CELEBA_HQ.count(split), CELEBA_HQ.count("all")
    how = Fit(size, filter, crop, colour="rgb").check()
    place = find(places(root), [name + suffix for name in CELEBA_NAMES for suffix in ("", ".zip")])
    if place is None:
        raise CELEBA_HQ.missing()
    listing = next((found for below in INSIDE if (found := list_images(place, below)).entries), None)
    held = len(listing.entries) if listing else 0
    if listing is None or held != total:
        raise UsageError(
            f"{place} has {held} images instead of the {total} of CelebA-HQ; copy the data set again"
        )
    ordered = sorted(listing.entries, key=_by_number)
    part = ordered[-count:] if split == "test" else ordered[:count]
    source = image_source("celeba_hq", listing._replace(entries=part), how, labelled=False)
    return source._replace(options={"split": split, **source.options})


def lsun(
    root: str | Path | None = None,
    split: str | None = None,
    size: int = 256,
    filter: str = "lanczos",
    crop: str = "center",
) -> Data:
    """Load LSUN, or a data set with its layout: colour images 3 x size x size without labels.

    A folder or zip named lsun is searched in `root` and then in $STEADYGAN_DATA. `split` takes only the images in that
    subfolder, such as bedroom_train. LSUN's databases (.mdb) must be exported to image files first. Raises UsageError
    if the data set is missing, empty or damaged. Source: Yu 2015.

    >>> lsun(filter="cubic")
    Traceback (most recent call last):
    steadygan.errors.UsageError: there is no filter 'cubic'; did you mean 'bicubic'?
    """
    return load(lsun_source(root, split, size, filter, crop))


def lsun_source(
    root: str | Path | None = None,
    split: str | None = None,
    size: int = 256,
    filter: str = "lanczos",
    crop: str = "center",
) -> Source:
    """Find the images of LSUN. Raises UsageError if there are none."""
    how = Fit(size, filter, crop, colour="rgb").check()
    place = find(places(root), ("lsun", "lsun.zip"))
    if place is None:
        raise LSUN.missing()
    return image_source("lsun", _listed(place, split), how, labelled=False)


def _listed(source: Path, split: str | None) -> Listing:
    """The images of a folder or zip. Raises UsageError if there are none."""
    listing = list_images(source, split or "")
    if not listing.entries:
        below = f" below {split}" if split else ""
        database = source.is_dir() and any(source.rglob("data.mdb"))
        remedy = "it needs image files, such as .png or .jpg"
        if database:
            remedy = "export its database (data.mdb) to image files first"
        elif source.suffix == ".npz":
            remedy = f"score its array from Python: {AS_ARRAY}"
        others = f" (other files: {named(listing.others)})" if listing.others else ""
        raise UsageError(f"{source} has no images{below}{others}; {remedy}")
    return listing


def _by_number(entry: Entry) -> list[tuple[int, str]]:
    """A key that sorts 9.jpg before 10.jpg."""
    return [(int(part or 0), text) for text, part in re.findall(r"(\D*)(\d*)", entry.name)]


CELEBA_HQ = DataSet(
    "celeba_hq",
    "CelebA-HQ",
    celeba_hq,
    celeba_hq_source,
    shape=None,
    classes=0,
    counts={"all": 30_000, "train": 27_000, "test": 3000},
    get="download CelebAMask-HQ.zip (about 3 GB, for non-commercial use only) from its home page, or make a folder or "
    "zip celeba_hq of the 30,000 images",
)

LSUN = DataSet(
    "lsun",
    "LSUN",
    lsun,
    lsun_source,
    shape=None,
    classes=0,
    counts={},
    get="download a category (bedroom: 43 GB) from its home page, export its database to image files with LSUN's "
    "script, and make a folder or zip lsun of them",
)
