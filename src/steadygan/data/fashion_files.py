"""Fashion-MNIST, from IDX files."""

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from steadygan.data.array_cache import load, with_test
from steadygan.data.dataset import Data
from steadygan.data.image_files import LARGEST, Entry, shape_text
from steadygan.data.sources import Block, ClassifierPlan, DataSet, Source, places
from steadygan.errors import UsageError

__all__ = ["DEBIAN_FASHION", "FASHION_MNIST", "fashion_mnist", "read_idx"]

DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")
FASHION_FILES = {"train": "train-images-idx3-ubyte", "test": "t10k-images-idx3-ubyte"}
FASHION_LABELS = {"train": "train-labels-idx1-ubyte", "test": "t10k-labels-idx1-ubyte"}
FASHION_FOLDERS = ("fashion-mnist", "FashionMNIST/raw", "")


def fashion_mnist(root: str | Path | None = None, split: str = "train") -> Data:
    """Load Fashion-MNIST: 60,000 ("train") or 10,000 ("test") grey images 1x32x32, 28x28 with a border of 2 zeros.

    The IDX files, plain or .gz, are searched in `root`, then in $STEADYGAN_DATA, then in the folder of Debian's
    package. They may be in a subfolder fashion-mnist or FashionMNIST/raw. The label file is beside the image file.
    Without it the images have no labels. Raises UsageError if the files are missing, damaged or of another size.
    Source: Xiao, Rasul and Vollgraf 2017.

    >>> fashion_mnist(split="tests")
    Traceback (most recent call last):
    steadygan.errors.UsageError: Fashion-MNIST has no split 'tests'; did you mean 'test'?
    """
    return with_test(
        load(fashion_mnist_source(root, split)), split, partial(fashion_mnist_source, root, "test")
    )


def fashion_mnist_source(root: str | Path | None = None, split: str = "train") -> Source:
    """Find the files of Fashion-MNIST. Raises UsageError if they are missing."""
    count = FASHION_MNIST.count(split)
    folders = [place / folder for place in places(root) for folder in FASHION_FOLDERS] + [DEBIAN_FASHION]
    file = _plain_or_gz(folders, FASHION_FILES[split])
    if file is None:
        raise FASHION_MNIST.missing()
    beside = _plain_or_gz([file.parent], FASHION_LABELS[split])
    found = [part for part in (file, beside) if part]
    entries = [Entry(part.name, part.stat().st_size, part.stat().st_mtime_ns) for part in found]

    def blocks(skip: bool) -> Iterator[Block]:
        yield Block(_padded(file, count), _labels(beside, count) if beside else None)

    classes = FASHION_MNIST.classes if beside else 0
    options = {"split": split}
    return Source("fashion_mnist", file.parent, entries, count, blocks, options, classes, direct=True)


def _plain_or_gz(places: list[Path], name: str) -> Path | None:
    files = [place / (name + suffix) for place in places for suffix in ("", ".gz")]
    return next((file for file in files if file.is_file()), None)


def _padded(file: Path, count: int) -> np.ndarray:
    images = read_idx(file)
    if images.shape != (count, 28, 28):
        raise UsageError(
            f"{file} has {shape_text(images.shape)} values instead of {shape_text((count, 28, 28))}; "
            "replace it with the published file of Fashion-MNIST"
        )
    border = (FASHION_MNIST.padding, FASHION_MNIST.padding)
    return np.pad(images, ((0, 0), border, border))[:, None]


def _labels(file: Path, count: int) -> np.ndarray:
    labels, classes = read_idx(file, dims=1), FASHION_MNIST.classes
    if labels.shape != (count,) or labels.max() >= classes:
        raise UsageError(
            f"{file} has {len(labels)} labels up to {labels.max(initial=0)} instead of {count} from 0 to "
            f"{classes - 1}; replace it with the published file of Fashion-MNIST"
        )
    return labels.astype(np.int64)


def read_idx(path: Path, dims: int = 3) -> np.ndarray:
    """Read one IDX file, plain or gzip: images [n, height, width] uint8, or labels [n] uint8 with `dims` 1.

    The file has the bytes 0 0 8 and `dims`, then `dims` big-endian 32-bit sizes, then one byte per value. Raises
    UsageError for any other file. Source: LeCun, Cortes and Burges 1998, the MNIST page.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "images")
    ...     _ = path.write_bytes(struct.pack(">4B3I2B", 0, 0, 8, 3, 1, 1, 2, 7, 9))
    ...     read_idx(path).tolist()
    [[[7, 9]]]
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            head = file.read(4 + 4 * dims)
            if len(head) < 4 + 4 * dims or head[:4] != bytes((0, 0, 8, dims)):
                kind = "images" if dims == 3 else "labels"
                raise UsageError(f"{path} is not an IDX file of {kind}; download it again")
            shape = struct.unpack(f">{dims}I", head[4:])
            raw = file.read(min(math.prod(shape), LARGEST) + 1)  # no more than the header says
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{path} cannot be read ({error}); download it again") from error
    if len(raw) != math.prod(shape) or 0 in shape:  # with a 0, other sizes may be too large for an array
        more = "more" if len(raw) > math.prod(shape) else f"{len(raw)}"
        raise UsageError(f"{path} has {more} values instead of {shape_text(shape)}; download it again")
    return np.frombuffer(raw, np.uint8).reshape(shape)


FASHION_MNIST = DataSet(
    "fashion_mnist",
    "Fashion-MNIST",
    fashion_mnist,
    fashion_mnist_source,
    shape=(1, 32, 32),
    classes=10,
    counts={"train": 60_000, "test": 10_000},
    get="install it with apt-get install dataset-fashion-mnist, or download its four IDX files (31 MB) from its home "
    "page",
    files={  # the published .gz files, and their contents, because Debian's package compresses them again
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
    labels=(
        "T-shirt",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    ),
    padding=2,
    classifier=ClassifierPlan(steps=4000, width=16),
)
