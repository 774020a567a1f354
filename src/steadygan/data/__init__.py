"""Real samples: finite sets held in memory, or streams drawn on demand."""

from steadygan.data.dataset import Data, Modes, as_seen, subset
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
    stacked_digits,
    stl10,
)
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
