"""The image sets that have a name here: what is known of each, where it comes from, and what that costs."""

from typing import NamedTuple

__all__ = ["KNOWN", "Facts"]


class Facts(NamedTuple):
    """A set's published facts: shape (None where it is chosen), classes, images by split, and MD5 of files by name.

    `get` says in words how to come by it, after "was not found;".
    """

    title: str
    shape: tuple[int, int, int] | None
    classes: int
    counts: dict[str, int]
    get: str
    files: dict[str, str]


_cifar10 = {
    "cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a",
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
_cifar100 = {
    "cifar-100-python.tar.gz": "eb9058c3a382ffc7106e4002c42a8d85",
    "train": "16019d7e3df5f24257cddd939b257f8d",
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
}
_stl10 = {
    "stl10_binary.tar.gz": "91f7769df0f17e558f3565bffb0c7dfb",
    "unlabeled_X.bin": "5242ba1fed5e4be9e1e742405eb56ca4",
    "train_X.bin": "918c2871b30a85fa023e0c44e0bee87f",
    "train_y.bin": "5a34089d4802c674881badbb80307741",
    "test_X.bin": "7f263ba9f9e0b06b93213547f721ac82",
    "test_y.bin": "36f9794fa4beb8a2c72628de14fa638e",
}
_fashion = {  # the .gz as published, and what Debian's package, packed anew, has inside
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
}
_emoji = {
    "emoji-datasource-google-16.0.0.tgz": "afdb2b1eb6e038ffd8c59dd6f654720f",
    "emoji.json": "7e30bda40874fcf27782e58a438784ea",
    "img/google/sheets/64.png": "4bdab20d8e4906f1d4bb55a8116125a5",
}

KNOWN = {
    "digits": Facts(
        "the digits",
        (1, 8, 8),
        10,
        {"train": 1797},
        "they lie in scikit-learn: pip install steadygan[digits]",
        {},
    ),
    "fashion-mnist": Facts(
        "Fashion-MNIST",
        (1, 32, 32),
        10,
        {"train": 60_000, "test": 10_000},
        "apt-get install dataset-fashion-mnist, or take its four IDX files (31 MB) from the set's home page",
        _fashion,
    ),
    "cifar10": Facts(
        "CIFAR-10",
        (3, 32, 32),
        10,
        {"train": 50_000, "test": 10_000},
        "take cifar-10-python.tar.gz (170 MB) from the set's home page, or image files as cifar10-jpeg.zip, "
        "cifar10.zip or cifar10/{train,test}/CLASS/NNNN.jpg",
        _cifar10,
    ),
    "cifar100": Facts(
        "CIFAR-100",
        (3, 32, 32),
        100,
        {"train": 50_000, "test": 10_000},
        "take cifar-100-python.tar.gz (169 MB) from the set's home page",
        _cifar100,
    ),
    "stl10": Facts(
        "STL-10",
        (3, 96, 96),
        10,
        {"unlabeled": 100_000, "train": 5000, "test": 8000},
        "take stl10_binary.tar.gz (2.6 GB) from the set's home page",
        _stl10,
    ),
    "celeba_hq": Facts(
        "CelebA-HQ",
        None,
        0,
        {"all": 30_000, "train": 27_000, "test": 3000},
        "take CelebAMask-HQ.zip (about 3 GB; its owners ask for non-commercial use) from that set's home page, or make "
        "a folder or zip celeba_hq of the 30,000 images",
        {},
    ),
    "imagenet64": Facts(
        "ImageNet-64",
        (3, 64, 64),
        1000,
        {"train": 1_281_167, "test": 50_000},
        "take the npz batches of 64x64 (about 13 GB, after registering) from ImageNet's home page and unpack "
        "train_data_batch_1.npz to _10.npz and val_data.npz, or make a folder imagenet64/{train,val}/CLASS of images",
        {},
    ),
    "emoji": Facts(
        "the emoji sheet",
        (3, 64, 64),
        10,
        {"train": 3786},
        "npm pack emoji-datasource-google@16.0.0 fetches it (74 MB)",
        _emoji,
    ),
    "lsun": Facts(
        "LSUN",
        None,
        0,
        {},
        "take a category (bedroom: 43 GB) from the set's home page, export its database to image files with the set's "
        "own script, and make a folder or zip lsun of them",
        {},
    ),
}
"""What `steadygan data` knows, by the names that a recipe gives the sets."""
