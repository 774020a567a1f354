"""Convolutions from or to images of a few channels on a CPU, where oneDNN computes blocks of 16 channels, most empty.

The last layer of most generators has one or three channels. One product makes all that each place adds to its
neighbourhood, and `fold` adds it up: two to seven times as fast.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

__all__ = ["FEW", "MANY", "ByProducts", "few_channels", "own_convolutions"]

FEW, MANY = 4, 16
"""Most channels of the result, and fewest channels of the source, for which the product is the faster way."""


class ByProducts(TorchFunctionMode):
    """Inside the block, such layers are products: in float32 on a CPU, and the same up to rounding.

    >>> layer, x = torch.nn.ConvTranspose2d(16, 1, 4, 2, 1), torch.randn(2, 16, 3, 3)
    >>> with ByProducts():
    ...     made = layer(x)
    >>> torch.allclose(made, layer(x), atol=1e-5)
    True
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute a layer that has few channels, and leave the rest to torch."""
        if func is torch.conv_transpose2d and not kwargs and len(args) == 8 and _pays(*args):
            return _product(*args[:6])
        return func(*args, **(kwargs or {}))


def _pays(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Sequence[int],
) -> bool:
    plain = x.ndim == 4 and groups == 1 and tuple(dilation) == (1, 1)
    here = x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return plain and here and weight.shape[1] <= FEW and weight.shape[0] >= MANY


def _product(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    output_padding: Sequence[int],
) -> Tensor:
    kernel = weight.shape[2:]
    size = tuple(
        (n - 1) * s - 2 * p + k + more
        for n, s, p, k, more in zip(x.shape[2:], stride, padding, kernel, output_padding)
    )
    columns = weight.flatten(1).T @ x.flatten(2)
    image = F.fold(columns, size, kernel, padding=tuple(padding), stride=tuple(stride))
    return image if bias is None else image + bias[:, None, None]


def few_channels(modules: Sequence[nn.Module]) -> bool:
    """Whether there are convolutions, and a side of each has a few channels: then torch's own ones are the faster way.

    >>> few_channels([nn.Conv2d(1, 32, 4)]), few_channels([nn.Conv2d(1, 32, 4), nn.Conv2d(32, 64, 4)])
    (True, False)
    """
    kinds = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
    every = [part for module in modules for part in module.modules() if isinstance(part, kinds)]
    return bool(every) and all(min(part.in_channels, part.out_channels) <= FEW for part in every)


@contextmanager
def own_convolutions() -> Iterator[None]:
    """Inside the block, convolutions and their gradients are torch's own on a CPU, and not those of oneDNN."""
    mkldnn: Any = torch.backends.mkldnn
    before, mkldnn.enabled = mkldnn.enabled, False
    try:
        yield
    finally:
        mkldnn.enabled = before
