"""Images, [n, channels, height, width] uint8: sets that lie on this machine; nothing is downloaded.

Files are looked for in the folder the user names (`root`, the command's --data-root), then in the folder
that the environment variable STEADYGAN_DATA names. Each family of files has a module of its own.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from steadygan.data.cifar import cifar10, cifar100
from steadygan.data.contract import Data
from steadygan.data.folders import celeba_hq, image_folder, lsun
from steadygan.data.idx import DEBIAN_FASHION, fashion_mnist, read_idx
from steadygan.data.imagenet import imagenet64
from steadygan.data.prepared import load
from steadygan.data.sheet import emoji
from steadygan.data.sources import Block, Source, split_count
from steadygan.data.stl import stl10
from steadygan.errors import UsageError

__all__ = [
    "DEBIAN_FASHION",
    "celeba_hq",
    "cifar10",
    "cifar100",
    "digits",
    "digits_source",
    "emoji",
    "fashion_mnist",
    "image_folder",
    "imagenet64",
    "lsun",
    "read_idx",
    "stl10",
]


def digits() -> Data:
    """Load scikit-learn's 1,797 handwritten digits, 1x8x8, their 0..16 scaled to 0..255, labelled 0 to 9.

    Raises UsageError when scikit-learn is not installed. Source: Alpaydin and Kaynak 1998, UCI.

    >>> digits().rows.shape
    torch.Size([1797, 1, 8, 8])
    """
    return load(digits_source())


def digits_source(root: str | Path | None = None, split: str = "train") -> Source:
    """Where the digits are: inside scikit-learn, whatever the `root`. Raises UsageError where that is not installed."""
    count = split_count("digits", split)
    try:
        import sklearn.datasets as sets
    except ImportError as error:
        raise UsageError("the digits need scikit-learn: pip install steadygan[digits]") from error

    def blocks(skip: bool) -> Iterator[Block]:
        found = sets.load_digits()
        rows = np.rint(found.images[:, None] * (255 / 16)).astype(np.uint8)
        yield Block(rows, found.target.astype(np.int64))

    place = Path(sets.__file__).parent
    return Source("digits", place, [], count, blocks, {"split": split}, classes=10, direct=True)
