"""Images, [n, channels, height, width] uint8: sets that lie on this machine; nothing is downloaded.

Files are looked for in the folder the user names (`root`, the command's --data-root), then in the folder
that the environment variable STEADYGAN_DATA names.
"""

import gzip
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from steadygan.data.contract import Data
from steadygan.data.decoded import SUFFIXES, Listing, by, decode_once, folders, list_images
from steadygan.errors import UsageError, nearest

DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")
FASHION_FILES = {"train": "train-images-idx3-ubyte", "test": "t10k-images-idx3-ubyte"}
FASHION_LABELS = {"train": "train-labels-idx1-ubyte", "test": "t10k-labels-idx1-ubyte"}
FASHION_FOLDERS = ("fashion-mnist", "FashionMNIST/raw", "")
FASHION_COUNTS = {"train": 60_000, "test": 10_000}
CIFAR_COUNTS = {"train": 50_000, "test": 10_000}
CLASSES = 10  # of the digits, of Fashion-MNIST and of CIFAR-10


def digits() -> Data:
    """Load scikit-learn's 1,797 handwritten digits, 1x8x8, their 0..16 scaled to 0..255, labelled 0 to 9.

    Raises UsageError when scikit-learn is not installed. Source: Alpaydin and Kaynak 1998, UCI.

    >>> digits().rows.shape
    torch.Size([1797, 1, 8, 8])
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise UsageError("the digits need scikit-learn: pip install steadygan[digits]") from error
    found = load_digits()
    rows = torch.from_numpy(np.rint(found.images[:, None] * (255 / 16)).astype(np.uint8))
    return _labelled(_finite("digits", rows), torch.from_numpy(found.target.astype(np.int64)), CLASSES)


def fashion_mnist(root: str | Path | None = None, split: str = "train") -> Data:
    """Load Fashion-MNIST, 28x28 grey with a border of two zeros: 1x32x32, 60,000 or 10,000 ("test").

    The files (IDX, plain or .gz) are looked for in `root`, then in $STEADYGAN_DATA (there and in their
    folders fashion-mnist and FashionMNIST/raw), then where Debian's package puts them; the file of labels
    beside that of the images, without which the images are unlabelled. Raises UsageError when
    they are missing, damaged or of another size. Source: Xiao, Rasul and Vollgraf 2017.

    >>> fashion_mnist(split="tests")
    Traceback (most recent call last):
    steadygan.errors.UsageError: Fashion-MNIST has no split 'tests'; did you mean 'test'?
    """
    count = _split_count("Fashion-MNIST", split, FASHION_COUNTS)
    places = [place / folder for place in _places(root) for folder in FASHION_FOLDERS] + [DEBIAN_FASHION]
    file = _plain_or_gz(places, FASHION_FILES[split])
    if file is None:
        raise UsageError(
            f"Fashion-MNIST's {FASHION_FILES[split]} was not found; apt-get install dataset-fashion-mnist, "
            "or name the folder that holds it with --data-root or STEADYGAN_DATA"
        )
    images = read_idx(file)
    if images.shape != (count, 28, 28):
        raise UsageError(
            f"{file} holds {by(images.shape)} values where Fashion-MNIST has {by((count, 28, 28))}; "
            "replace it with the published file"
        )
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    found = _finite("fashion_mnist", torch.from_numpy(padded[:, None]))
    beside = _plain_or_gz([file.parent], FASHION_LABELS[split])
    return _labelled(found, _fashion_labels(beside, count), CLASSES) if beside else found


def _plain_or_gz(places: list[Path], name: str) -> Path | None:
    files = [place / (name + suffix) for place in places for suffix in ("", ".gz")]
    return next((file for file in files if file.is_file()), None)


def _fashion_labels(file: Path, count: int) -> Tensor:
    labels = read_idx(file, dims=1)
    if labels.shape != (count,) or labels.max() >= CLASSES:
        raise UsageError(
            f"{file} holds {len(labels)} labels up to {labels.max(initial=0)} where Fashion-MNIST has {count} of "
            f"0 to {CLASSES - 1}; replace it with the published file"
        )
    return torch.from_numpy(labels.astype(np.int64))


def cifar10(root: str | Path | None = None, split: str = "train") -> Data:
    """Load CIFAR-10 from image files cifar10/{train,test}/CLASS/NNNN.jpg: 3x32x32, 50,000 or 10,000 ("test").

    `root`, then $STEADYGAN_DATA, is a zip of that layout or a folder that holds cifar10-jpeg.zip,
    cifar10.zip or cifar10/. Raises UsageError when it is missing, incomplete or of another size.
    Source: Krizhevsky 2009.

    >>> cifar10(split="tests")
    Traceback (most recent call last):
    steadygan.errors.UsageError: CIFAR-10 has no split 'tests'; did you mean 'test'?
    """
    count = _split_count("CIFAR-10", split, CIFAR_COUNTS)
    source = next((found for found in map(_find_cifar10, _places(root)) if found), None)
    if source is None:
        raise UsageError(
            "CIFAR-10 was not found; name a folder that holds cifar10-jpeg.zip, cifar10.zip or "
            "cifar10/{train,test}/CLASS/NNNN.jpg with --data-root or STEADYGAN_DATA"
        )
    listing = list_images(source, f"cifar10/{split}")
    if len(listing.entries) != count:
        raise UsageError(
            f"cifar10/{split} in {source} holds {len(listing.entries)} images instead of {count}; "
            "unpack or copy the whole set again"
        )
    rows = decode_once(listing)
    if rows.shape[1:] != (3, 32, 32):
        raise UsageError(f"{source} holds {by(rows.shape[1:])} images; CIFAR-10 needs its 3x32x32 originals")
    return _in_folders(_finite("cifar10", rows), listing)


def image_folder(path: str | Path, size: int | None = None, split: str | None = None) -> Data:
    """Load every png, jpg, jpeg, webp and bmp file in a folder or zip, subfolders included, sorted by path.

    Grey images give 1 channel, all others 3; transparency is laid over white. With `size` each image is
    cropped to its central square and resized (Lanczos) to size x size; without, all must have one size.
    `split` takes only the images below that subfolder. Hidden files are left out. Images that all lie in one
    level of two subfolders or more have these, by their names' order, for classes. Raises UsageError for a
    source that is missing, empty or unsafe to read, and for images that are damaged or unlike each other.

    >>> image_folder("/no/such/folder")
    Traceback (most recent call last):
    steadygan.errors.UsageError: /no/such/folder does not exist; give a folder or a zip of images
    """
    source = Path(path).expanduser().resolve()
    if not source.exists():
        raise UsageError(f"{source} does not exist; give a folder or a zip of images")
    if size is not None and (not isinstance(size, int) or size < 1):
        raise UsageError(f"size is {size}; give a whole number, 1 or more")
    listing = list_images(source, split or "")
    if not listing.entries:
        below = f" below {split}" if split else ""
        raise UsageError(f"{source} holds no images{below}; it needs files that end in {', '.join(SUFFIXES)}")
    return _in_folders(_finite(source.stem, decode_once(listing, size)), listing)


def read_idx(path: Path, dims: int = 3) -> np.ndarray:
    """Read one IDX file of images [n, height, width], or of labels [n] (`dims` 1), plain or gzip: uint8.

    The file is the bytes 0 0 8 and `dims`, as many big-endian 32-bit sizes, and one byte a value. Raises
    UsageError when it is anything else. Source: LeCun, Cortes and Burges 1998, the MNIST page.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "images")
    ...     _ = path.write_bytes(struct.pack(">4B3I2B", 0, 0, 8, 3, 1, 1, 2, 7, 9))
    ...     read_idx(path).tolist()
    [[[7, 9]]]
    """
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{path} cannot be read ({error}); download it again") from error
    head = 4 + 4 * dims
    if len(raw) < head or raw[:4] != bytes((0, 0, 8, dims)):
        kind = "images" if dims == 3 else "labels"
        raise UsageError(f"{path} is not an IDX file of {kind}; download it again")
    shape = struct.unpack(f">{dims}I", raw[4:head])
    if len(raw) - head != math.prod(shape):
        raise UsageError(f"{path} holds {len(raw) - head} values instead of {by(shape)}; download it again")
    return np.frombuffer(raw, np.uint8, offset=head).reshape(shape)


def _finite(name: str, rows: Tensor) -> Data:
    return Data(name, tuple(rows.shape[1:]), rows=rows)


def _labelled(data: Data, labels: Tensor, classes: int) -> Data:
    return data._replace(labels=labels, classes=classes)


def _in_folders(data: Data, listing: Listing) -> Data:
    """The data with the folders of their files as classes, where these are such."""
    names = folders(listing)
    if names is None:
        return data
    classes = sorted(set(names))
    number = {name: index for index, name in enumerate(classes)}
    return _labelled(data, torch.tensor([number[name] for name in names]), len(classes))


def _split_count(name: str, split: str, counts: dict[str, int]) -> int:
    if split not in counts:
        raise UsageError(f"{name} has no split {split!r}; {nearest(split, counts)}")
    return counts[split]


def _places(root: str | Path | None) -> list[Path]:
    """Give the user's data folders, most explicit first; one that does not exist is a slip worth an error."""
    places = [Path(place).expanduser() for place in (root, os.environ.get("STEADYGAN_DATA")) if place]
    for place in places:
        if not place.exists():
            raise UsageError(f"the data folder {place} does not exist; correct --data-root or STEADYGAN_DATA")
    return places


def _find_cifar10(place: Path) -> Path | None:
    archives = (place, place / "cifar10-jpeg.zip", place / "cifar10.zip")
    archive = next((path for path in archives if path.is_file()), None)
    return archive or (place if (place / "cifar10").is_dir() else None)
