"""Images and points as people have them (arrays, lists, Pillow's images), turned to tensors for scores."""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from numbers import Real
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from steadygan.data.decoding import DEEP, picture
from steadygan.data.image_files import shape_text
from steadygan.data.items import sample, split
from steadygan.errors import UsageError

__all__ = ["as_tensor", "black_and_white", "in_range", "looks_like_units", "next_ones"]


def as_tensor(samples: Any) -> Tensor:
    """Samples as a tensor: images [n, C, H, W], or points [n, d].

    `samples` is a tensor, an array, or a list of tensors, arrays or Pillow's images. A list of images has images of one
    shape. In arrays of images the channels come first or last, and grey images may lack them. Tensors are [n, C, H, W].
    Of a DataLoader or a dataset of torch it is the samples, without labels. Raises UsageError for anything
    else.

    >>> as_tensor(np.zeros((5, 8, 8, 3), np.uint8)).shape, as_tensor([Image.new("L", (4, 2))]).shape
    (torch.Size([5, 3, 8, 8]), torch.Size([1, 1, 2, 4]))
    """
    if isinstance(samples, Tensor):
        return samples
    if isinstance(samples, np.ndarray):
        return _channels_first(samples)
    if isinstance(samples, DataLoader):
        return torch.cat(_some([as_tensor(split(batch)[0]) for batch in samples]))
    if isinstance(samples, Dataset):
        iterable = isinstance(samples, IterableDataset) or not hasattr(samples, "__len__")
        items: Any = samples if iterable else map(samples.__getitem__, range(len(samples)))  # type: ignore[arg-type]
        return torch.stack(_some([sample(split(item)[0]) for item in items]))
    if isinstance(samples, Sequence) and not isinstance(samples, str | bytes) and not samples:
        raise UsageError("the list of samples is empty: give one with samples")
    if not isinstance(samples, Sequence) or isinstance(samples, str | bytes):
        raise UsageError(
            f"samples are a tensor, an array, a list of images or a function, not {type(samples).__name__}: convert "
            "them"
        )
    tensors = [isinstance(sample, Tensor) for sample in samples]
    if any(tensors) and not all(tensors):
        raise UsageError("a list of samples holds tensors and others: give all as tensors, or all as arrays")
    found: list[Any] = list(samples) if all(tensors) else [_one(sample) for sample in samples]
    for index, one in enumerate(found):
        if one.shape != found[0].shape or one.dtype != found[0].dtype:
            raise UsageError(
                f"sample {index} is {shape_text(one.shape)} {one.dtype} but sample 0 is {shape_text(found[0].shape)} "
                f"{found[0].dtype}: give all one shape and type"
            )
    return torch.stack(found) if all(tensors) else _channels_first(np.stack(found))


def _some(found: list[Tensor]) -> list[Tensor]:
    if not found:
        raise UsageError("a loader or dataset of samples has none: give one with samples")
    return found


def _one(sample: Any) -> np.ndarray:
    if isinstance(sample, Image.Image):
        if sample.mode in DEEP:
            raise UsageError(
                f"an image has the mode {sample.mode}, of more than 8 bits: give its values in [-1, 1] as an array, "
                "as np.asarray(image) / 32767.5 - 1 of 16 bits"
            )
        pixels = picture(sample)
        return pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
    if not isinstance(sample, np.ndarray):
        raise UsageError(f"a list of samples holds a {type(sample).__name__}: give arrays, tensors or images")
    return sample


def _channels_first(array: np.ndarray) -> Tensor:
    """An array of points [n, d], or of images [n, H, W], [n, H, W, C] or [n, C, H, W], as a tensor with C second."""
    if array.dtype not in (np.uint8, np.float16, np.float32, np.float64):
        raise UsageError(f"samples are uint8 or floating point, not {array.dtype}: convert them")
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4:
        first, last = array.shape[1] in (1, 3), array.shape[3] in (1, 3)
        if first == last:
            raise UsageError(
                f"an array {shape_text(array.shape)} does not say which of its axes are channels: give a tensor "
                "[n, 1 or 3, H, W]"
            )
        array = array if first else array.transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(array))


def black_and_white(value_range: Any) -> tuple[float, float]:
    """A range of values as two numbers. Raises UsageError for anything else.

    >>> black_and_white([0, 1])
    (0, 1)
    """
    with suppress(TypeError, ValueError):
        low, high = value_range
        ends = [end.item() if isinstance(end, Tensor) else end for end in (low, high)]
        if all(isinstance(end, Real) and math.isfinite(end) for end in ends) and ends[0] < ends[1]:
            return ends[0], ends[1]
    raise UsageError(f"value_range is {value_range!r}: give the values of black and white, such as (0, 1)")


def in_range(images: Tensor, value_range: tuple[float, float]) -> Tensor:
    """Floating-point images of a range as images in [-1, 1]. Other tensors stay as they are.

    >>> in_range(torch.tensor([0.0, 0.5, 1.0]), (0, 1))
    tensor([-1.,  0.,  1.])
    """
    low, high = value_range
    if not images.is_floating_point() or (low, high) == (-1, 1):
        return images
    return (images - low) * (2 / (high - low)) - 1


def next_ones(rows: Tensor) -> Callable[[int], Tensor]:
    """The function that returns the next `count` of these rows, as a generator of samples does."""
    done = 0

    def generate(count: int) -> Tensor:
        nonlocal done
        done += count
        return rows[done - count : done]

    return generate


def looks_like_units(low: float, high: float) -> bool:
    """Whether images whose values go from `low` to `high` look as if black were 0 and white 1.

    In [-1, 1] they would have no value darker than a tenth of the way from mid-grey to black. Interpolation may leave
    values a little below 0 or above 1. One value alone says nothing.

    >>> looks_like_units(0.0, 1.0), looks_like_units(-1.0, -0.9), looks_like_units(-0.03, 0.02)
    (True, False, False)
    """
    return low < high <= 2 and low >= -high / 10
