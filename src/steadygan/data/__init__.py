"""Real samples: finite sets held in memory, or streams drawn on demand."""

from steadygan.data.contract import Data, Modes, as_seen
from steadygan.data.images import (
    celeba_hq,
    cifar10,
    cifar100,
    digits,
    emoji,
    fashion_mnist,
    image_folder,
    imagenet64,
    lsun,
    stl10,
)
from steadygan.data.stacked import stacked_digits
from steadygan.data.subset import subset
from steadygan.data.synthetic import dirac, gaussian, grid, nothing, ring, swissroll

__all__ = [
    "Data",
    "Modes",
    "as_seen",
    "celeba_hq",
    "cifar10",
    "cifar100",
    "digits",
    "dirac",
    "emoji",
    "fashion_mnist",
    "gaussian",
    "grid",
    "image_folder",
    "imagenet64",
    "lsun",
    "nothing",
    "ring",
    "stacked_digits",
    "stl10",
    "subset",
    "swissroll",
]
