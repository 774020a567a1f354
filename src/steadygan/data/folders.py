"""Sets of image files in a folder or a zip: anybody's own, CelebA-HQ, and categories of LSUN."""

import re
from functools import partial
from pathlib import Path

from steadygan.data.array_cache import load, with_test
from steadygan.data.dataset import Data
from steadygan.data.decoding import Fit, image_source
from steadygan.data.image_files import SUFFIXES, Entry, Listing, list_images
from steadygan.data.sources import DataSet, Source, find, places
from steadygan.errors import UsageError
from steadygan.files import user_path

__all__ = ["CELEBA_HQ", "LSUN", "any_sizes", "celeba_hq", "image_folder", "image_folder_source", "lsun"]

CELEBA_NAMES = ("celeba_hq", "celeba-hq", "CelebA-HQ", "CelebA-HQ-img", "CelebAMask-HQ", "celeba_hq_256")
INSIDE = ("CelebAMask-HQ/CelebA-HQ-img", "CelebA-HQ-img", "")


def image_folder(
    path: str | Path,
    size: int | None = None,
    split: str | None = None,
    filter: str = "lanczos",
    crop: str = "center",
) -> Data:
    """Load every png, jpg, jpeg, webp and bmp file in a folder or zip, subfolders included, sorted by path.

    Grey images give 1 channel, all others 3; transparency is laid over white. With `size` each image is
    cropped to its central square (`crop` "none": the whole is squeezed) and resized by `filter` to size x size;
    without, all must have one size. `split` takes only the images below that subfolder. Hidden files are left out.
    Images that all lie in one level of two subfolders or more have these, by their names' order, for classes.
    Raises UsageError for a source that is missing, empty or unsafe to read, and for images that are damaged or
    unlike each other.

    >>> image_folder("/no/such/folder")
    Traceback (most recent call last):
    steadygan.errors.UsageError: /no/such/folder does not exist; give a folder or a zip of images
    """
    return load(image_folder_source(path, size, split, filter, crop))


def image_folder_source(
    path: str | Path,
    size: int | None = None,
    split: str | None = None,
    filter: str = "lanczos",
    crop: str = "center",
) -> Source:
    """Where a folder's or zip's images are. Raises UsageError where there are none."""
    source = user_path(path).resolve()
    if not source.exists():
        raise UsageError(f"{source} does not exist; give a folder or a zip of images")
    how = Fit(size, filter, crop).check()
    return image_source(source.stem, _listed(source, split), how)


def any_sizes(path: str | Path, split: str | None = None) -> Source:
    """A folder's or zip's images made alike somehow, 3x8x8: for those who ask only whether all decode."""
    source = user_path(path).resolve()
    return image_source(source.stem, _listed(source, split), Fit(8, "nearest", "none", colour=True))


def celeba_hq(
    root: str | Path | None = None,
    split: str = "all",
    size: int = 128,
    filter: str = "lanczos",
    crop: str = "center",
) -> Data:
    """Load CelebA-HQ: 3 x size x size, all 30,000, or the first 27,000 ("train") or last 3,000 ("test") by number.

    `root`, then $STEADYGAN_DATA, is or holds the images as a folder or zip: celeba_hq, CelebA-HQ-img or
    CelebAMask-HQ (of which only the photographs are read). The set has no published split; this one is that of
    GN-GAN's scores at 128. Raises UsageError when it is missing, incomplete or damaged. Source: Karras 2018.

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
    """Where CelebA-HQ is. Raises UsageError where it is not, or holds another number of images."""
    count, total = CELEBA_HQ.count(split), CELEBA_HQ.count("all")
    how = Fit(size, filter, crop, colour=True).check()
    place = find(places(root), [name + suffix for name in CELEBA_NAMES for suffix in ("", ".zip")])
    if place is None:
        raise CELEBA_HQ.missing()
    listing = next((found for below in INSIDE if (found := list_images(place, below)).entries), None)
    held = len(listing.entries) if listing else 0
    if listing is None or held != total:
        raise UsageError(
            f"{place} holds {held} images instead of CelebA-HQ's {total}; copy the whole set again"
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
    """Load a set laid out like LSUN, any number of colour images: 3 x size x size, unlabelled.

    `root`, then $STEADYGAN_DATA, is or holds a folder or zip named lsun; `split` takes only the images below that
    subfolder, such as bedroom_train. LSUN's own databases (.mdb) are to be exported to files first. Raises UsageError
    when it is missing, empty or damaged. Source: Yu 2015.

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
    """Where the images of LSUN's kind are. Raises UsageError where there are none."""
    how = Fit(size, filter, crop, colour=True).check()
    place = find(places(root), ("lsun", "lsun.zip"))
    if place is None:
        raise LSUN.missing()
    return image_source("lsun", _listed(place, split), how, labelled=False)


def _listed(source: Path, split: str | None) -> Listing:
    """The images of a folder or zip, one at least."""
    listing = list_images(source, split or "")
    if not listing.entries:
        below = f" below {split}" if split else ""
        database = source.is_dir() and any(source.rglob("data.mdb"))
        remedy = (
            "export its database (data.mdb) first"
            if database
            else f"it needs files that end in {', '.join(SUFFIXES)}"
        )
        raise UsageError(f"{source} holds no images{below}; {remedy}")
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
    get="take CelebAMask-HQ.zip (about 3 GB; its owners ask for non-commercial use) from that set's home page, or make "
    "a folder or zip celeba_hq of the 30,000 images",
)

LSUN = DataSet(
    "lsun",
    "LSUN",
    lsun,
    lsun_source,
    shape=None,
    classes=0,
    counts={},
    get="take a category (bedroom: 43 GB) from the set's home page, export its database to image files with the set's "
    "own script, and make a folder or zip lsun of them",
)
