"""Real samples: finite data sets in memory, new points without end, or streams that are read while training goes on.

Nothing is downloaded. The files of image data sets are searched in the user's folder (`root`, or --data-root on the
command line), and then in the folder of the environment variable STEADYGAN_DATA.
"""

from typing import TYPE_CHECKING

from steadygan._lazy import lazy

if TYPE_CHECKING:
    from steadygan.data.cifar import cifar10, cifar100
    from steadygan.data.dataset import Data, Modes, as_seen, subset
    from steadygan.data.emoji_sheet import emoji
    from steadygan.data.fashion_files import fashion_mnist
    from steadygan.data.folders import celeba_hq, image_folder, lsun
    from steadygan.data.hugging_face_sets import hugging_face
    from steadygan.data.imagenet import imagenet64
    from steadygan.data.own_streams import stream
    from steadygan.data.shards import webdataset
    from steadygan.data.sklearn_digits import digits, stacked_digits
    from steadygan.data.stl import stl10
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
    "hugging_face",
    "image_folder",
    "imagenet64",
    "lsun",
    "nothing",
    "ring",
    "stacked_digits",
    "stl10",
    "stream",
    "subset",
    "swissroll",
    "webdataset",
]

__getattr__, __dir__ = lazy(__name__)
