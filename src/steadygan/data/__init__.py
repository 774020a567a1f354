"""Real samples: finite sets held in memory, or streams drawn on demand."""

from steadygan.data.contract import Data, Modes, as_seen
from steadygan.data.images import cifar10, digits, fashion_mnist, image_folder
from steadygan.data.stacked import stacked_digits
from steadygan.data.subset import subset
from steadygan.data.synthetic import dirac, gaussian, grid, nothing, ring, swissroll

__all__ = [
    "Data",
    "Modes",
    "as_seen",
    "cifar10",
    "digits",
    "dirac",
    "fashion_mnist",
    "gaussian",
    "grid",
    "image_folder",
    "nothing",
    "ring",
    "stacked_digits",
    "subset",
    "swissroll",
]
