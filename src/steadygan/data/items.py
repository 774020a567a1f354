"""The items of a dataset as samples and labels: tensors, arrays, pictures, pairs and dictionaries."""

import copy
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from steadygan.data.decoding import DEEP, Fit, decode, picture
from steadygan.errors import UsageError, said

__all__ = [
    "LABELS",
    "SAMPLES",
    "check_dataset",
    "check_numbers",
    "indexed",
    "item_error",
    "items",
    "label",
    "rewound",
    "rows",
    "sample",
    "size_of",
    "split",
    "stacked",
    "tensor",
]

SAMPLES = (
    "image",
    "img",
    "picture",
    "jpg",
    "jpeg",
    "png",
    "webp",
    "ppm",
    "bmp",
    "gif",
    "tif",
    "tiff",
    "x",
    "sample",
)
LABELS = ("label", "labels", "fine_label", "cls", "y")
"""Under which keys a dictionary has its sample and its label: those of Hugging Face and of WebDataset."""

AS_IT_IS = Fit()
"""Encoded images keep their size and colour."""

Note = Callable[[str], None]


def rows(samples: Any, note: Note) -> Tensor:
    """Samples as one tensor [n, ...] on the CPU: uint8, or floating point and finite. Raises UsageError for others."""
    if isinstance(samples, list | tuple):
        samples = stacked(sample(x) if _is_picture(x) or isinstance(x, np.ndarray) else x for x in samples)
    channels_last = isinstance(samples, np.ndarray) and _has_channels_last(samples.shape)
    x = tensor(samples, "data").detach().cpu()
    if x.ndim < 2 or len(x) < 2 or not x.numel():
        raise UsageError(
            f"data must be two or more samples [n, ...], not of shape {list(x.shape)}: give one row each"
        )
    check_numbers(x)
    if channels_last:
        note(f"images of shape {list(x.shape[1:])} are read as height x width x channels")
        x = x.movedim(-1, 1).contiguous()
    if x.ndim == 4 and x.is_floating_point() and x.min() >= 0:
        note(
            f"the images lie in [{x.min():.3g}, {x.max():.3g}], and a generator that ends in tanh makes [-1, 1]: give "
            "them as uint8, or scale them to the range of your generator"
        )
    return x


def check_numbers(x: Tensor) -> None:
    """Raise UsageError unless samples are uint8, or floating point and finite."""
    if x.dtype != torch.uint8 and not x.is_floating_point():
        raise UsageError(
            f"data of type {x.dtype} are neither images (uint8, 0..255) nor numbers as the critic sees them (floating "
            "point): convert them"
        )
    if x.is_floating_point() and not bool(x.isfinite().all()):
        raise UsageError("the data hold NaN or infinite numbers: leave those samples out")


def tensor(values: Any, what: str) -> Tensor:
    """Numbers of torch, numpy or lists as a tensor. Raises UsageError for anything else."""
    try:
        if isinstance(values, Tensor):
            return values if values.layout == torch.strided else values.to_dense()
        array = np.ascontiguousarray(values)
        return torch.as_tensor(array.astype(array.dtype.newbyteorder("="), copy=False)).view(np.shape(values))
    except (TypeError, ValueError) as error:
        raise UsageError(f"{what} cannot be made a tensor ({said(error)}): give numbers") from None


def _has_channels_last(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[3] in (1, 3) and shape[1] not in (1, 3)


def stacked(samples: Iterable[Any]) -> Tensor:
    """Samples of one shape and type as one tensor. Raises UsageError where they differ."""
    try:
        return torch.stack([tensor(x, "a sample") for x in samples])
    except (RuntimeError, TypeError) as error:
        raise UsageError(
            f"samples cannot be put into one tensor ({said(error)}): give all of them one shape and type"
        ) from None


def check_dataset(dataset: Any) -> None:
    """Raise UsageError for what has no items that are samples."""
    if isinstance(dataset, DataLoader):
        raise UsageError(
            "data are samples, and a DataLoader gives batches: give its dataset (loader.dataset)"
        )
    if isinstance(dataset, str | bytes | Mapping) or not (indexed(dataset) or isinstance(dataset, Iterable)):
        raise UsageError(
            f"data of type {type(dataset).__name__} cannot be read: give a tensor, an array, a torch Dataset, a folder "
            "or zip of images, or the name of a data set"
        )


def indexed(dataset: Any) -> bool:
    """Whether a dataset is map-style: it has a length, and gives an item for a number."""
    return hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")


def items(dataset: Any) -> Iterator[Any]:
    """The items of a dataset, map-style or iterable. Raises UsageError where there are none, or one fails."""
    check_dataset(dataset)
    try:
        yield from (dataset[i] for i in range(len(dataset))) if indexed(dataset) else dataset
    except Exception as error:  # whatever the caller's dataset raises
        raise item_error(dataset, error) from error


@contextmanager
def rewound(dataset: Any) -> Iterator[None]:
    """After the block, a dataset that keeps its own place is at the place where it was before."""
    fresh = copy.deepcopy(dataset.state_dict()) if hasattr(dataset, "load_state_dict") else None
    try:
        yield
    finally:
        if hasattr(dataset, "load_state_dict"):
            dataset.load_state_dict(fresh)


def item_error(dataset: Any, error: Exception) -> UsageError:
    """The error for a dataset whose item cannot be read."""
    return UsageError(
        f"the {type(dataset).__name__} cannot be read item by item ({said(error)}): give a "
        "dataset of torch, or an array, such as a table's .to_numpy()"
    )


def split(item: Any) -> tuple[Any, ...]:
    """An item as (sample,) or (sample, label).

    >>> split({"__key__": "0001", "jpg": 7, "cls": b"3"}), split((7, 3)), split(7)
    ((7, 3), (7, 3), (7,))
    """
    if isinstance(item, Mapping):
        return _of_keys(item)
    parts = tuple(item) if isinstance(item, tuple | list) else (item,)
    if len(parts) not in (1, 2):
        raise UsageError(
            f"an item of the dataset has {len(parts)} parts: its items must be samples, or pairs (sample, label)"
        )
    return parts


def _of_keys(item: Mapping[str, Any]) -> tuple[Any, ...]:
    """A dictionary's sample and label, by its keys."""
    found, labels = ([key for key in known if key in item] for known in (SAMPLES, LABELS))
    if len(found) != 1:
        raise UsageError(
            f"an item of the dataset has the keys {', '.join(map(str, item))}: its items must be samples, or pairs "
            "(sample, label), or have the sample under one key such as image, jpg or x, and the label under label, cls "
            "or y"
        )
    return (item[found[0]], *(_digits(item[key]) for key in labels[:1]))


def _digits(y: Any) -> Any:
    """A label in the bytes of a file as a number; other labels as they are."""
    return int(y) if isinstance(y, bytes | str) and y.strip().isdigit() else y


def label(y: Any) -> int:
    """A label as a whole number. Raises UsageError for anything else.

    >>> label(torch.tensor(3)), label(np.int64(3))
    (3, 3)
    """
    try:
        return operator.index(y)
    except TypeError:
        raise UsageError(
            f"a label of the dataset is {y!r:.40}: labels must be whole numbers, one for each sample"
        ) from None


def sample(x: Any, how: Fit = AS_IT_IS) -> Tensor:
    """A sample as a tensor. Encoded images (bytes) are decoded as `how` says. Pictures become [channels, H, W]."""
    if isinstance(x, Tensor):
        return x
    if isinstance(x, bytes):
        return torch.from_numpy(_decoded(x, how))
    if _is_picture(x) and x.mode not in DEEP:
        return torch.from_numpy(np.ascontiguousarray(picture(x)))
    array = np.array(x) if _is_picture(x) else np.asarray(x)  # pillow's memory cannot be written
    if array.dtype == object:
        raise UsageError(
            f"an item of the dataset is {type(x).__name__}: its items must be samples, or pairs (sample, label)"
        )
    if array.ndim == 2 and _is_picture(x):  # grey, of more than 8 bits
        array = array[:, :, None]
    pixels_last = array.ndim == 3 and array.shape[2] in (1, 3) and array.shape[0] not in (1, 3)
    return tensor(array.transpose(2, 0, 1) if pixels_last else array, "an item of the dataset")


def _is_picture(x: Any) -> bool:
    return isinstance(x, Image.Image)


def size_of(x: Tensor) -> int:
    """The bytes of a sample, at least 1.

    >>> size_of(torch.zeros(3))
    12
    """
    return max(1, x.numel() * x.element_size())


def _decoded(raw: bytes, how: Fit) -> np.ndarray:
    try:
        return np.array(decode(raw, how), order="C")
    except Exception as error:  # pillow raises a dozen types
        reason = said(error).split(" <_io.")[0]  # pillow names the bytes by their address
        raise UsageError(f"an image of the dataset cannot be decoded ({reason}): leave it out") from error
