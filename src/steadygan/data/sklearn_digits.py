"""scikit-learn's handwritten digits, [n, 1, 8, 8] uint8, and stacks of three of them, a test of mode coverage."""

from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor

from steadygan.data.array_cache import load
from steadygan.data.dataset import Data
from steadygan.data.sources import Block, ClassifierPlan, DataSet, Source
from steadygan.errors import UsageError

__all__ = ["DIGITS", "digits", "stacked_digits"]


def digits() -> Data:
    """Load scikit-learn's 1,797 handwritten digits, 1x8x8, with labels 0 to 9. Values 0..16 are scaled to 0..255.

    Raises UsageError if scikit-learn is not installed. Source: Alpaydin and Kaynak 1998, UCI.

    >>> digits().rows.shape
    torch.Size([1797, 1, 8, 8])
    """
    return load(digits_source())


def digits_source(root: str | Path | None = None, split: str = "train") -> Source:
    """Find the digits, which are part of scikit-learn. Raises UsageError if it is not installed. `root` is not used."""
    count, place = DIGITS.count(split), _folder()

    def blocks(skip: bool) -> Iterator[Block]:
        images, labels = _read()
        yield Block(np.rint(images[:, None] * (255 / 16)).astype(np.uint8), labels.astype(np.int64))

    return Source("digits", place, [], count, blocks, {"split": split}, DIGITS.classes, direct=True)


def stacked_digits(size: int = 51_200, seed: int = 0) -> Data:
    """Make `size` fixed images of three digits each, [size, 3, 8, 8] uint8. The 1,000 modes are the triples of classes.

    Each thousand images have every triple once, in a new order. So the modes are equally frequent up to one image: 51
    or 52 of the 51,200. (Independent digits would be as frequent as their classes, 174 to 183 of 1,797.) For each class
    an image is chosen uniformly. A sample's mode is 100 a + 10 b + c, with the classes a, b, c in the order of the
    channels. Raises UsageError for a size below 1, or without scikit-learn. Source: Che 2017 (mode regularized GAN) and
    Metz 2017 (unrolled GAN), who stack MNIST; the 8x8 digits are ours.

    >>> stacked_digits(size=7).rows.shape
    torch.Size([7, 3, 8, 8])
    """
    if not isinstance(size, int) or size < 1:
        raise UsageError(f"size is {size}; give a whole number, 1 or more")
    g = Generator().manual_seed(seed)
    turns = torch.rand(-(-size // 1000), 1000, generator=g, dtype=torch.float64)
    mode = turns.argsort(1).flatten()[:size]
    classes = torch.stack([mode // 100, mode // 10 % 10, mode % 10], 1)
    rows = digits().rows
    assert rows is not None
    return Data("stacked_digits", (3, 8, 8), rows=rows[_one_of_each(classes, g), 0], mode_classifier="digits")


def _one_of_each(classes: Tensor, g: Generator) -> Tensor:
    """Row numbers, with the shape of `classes`, of digits that are chosen uniformly from these classes."""
    labels = torch.from_numpy(_read()[1])
    counts = torch.bincount(labels)
    first = counts.cumsum(0) - counts
    share = torch.rand(classes.shape, generator=g, dtype=torch.float64)
    return labels.argsort(stable=True)[first[classes] + (share * counts[classes]).long()]


@cache
def _read() -> tuple[np.ndarray, np.ndarray]:
    """Images [1797, 8, 8] of 0 to 16, and their labels. scikit-learn keeps them as text, 64 pixels and a label a line.

    Its own function would load all of scikit-learn, which takes as long as torch.
    """
    rows = np.loadtxt(_folder() / "data" / "digits.csv.gz", delimiter=",")
    return rows[:, :-1].reshape(-1, 8, 8), rows[:, -1].astype(np.int64)


def _folder() -> Path:
    """The folder of scikit-learn's data sets. Raises UsageError if it is not installed."""
    found = find_spec("sklearn")
    if found is None or found.origin is None:
        raise UsageError("the digits need scikit-learn: pip install 'steadygan[digits]'")
    return Path(found.origin).parent / "datasets"


DIGITS = DataSet(
    "digits",
    "the digits",
    digits,
    digits_source,
    shape=(1, 8, 8),
    classes=10,
    counts={"train": 1797},
    get="install scikit-learn, which has them, with pip install 'steadygan[digits]'",
    labels=tuple(str(n) for n in range(10)),
    classifier=ClassifierPlan(steps=1000, width=32),
)
