"""Whether a network may keep its images in channels-last on a device."""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["suits_channels_last"]


def suits_channels_last(module: nn.Module, device: torch.device) -> bool:
    """Whether torch computes the module's gradients in channels-last as in the plain layout.

    On a GPU, torch before 2.14 does not where average pooling has padding: PyTorch's issue 188344. On MPS pooling may
    end the process: its pull request 189233.

    >>> suits_channels_last(nn.AvgPool2d(3, 2, 1), torch.device("cpu"))
    True
    """
    pools = [part for part in module.modules() if isinstance(part, nn.AvgPool2d)]
    if device.type == "mps":
        return not pools
    return device.type == "cpu" or not any(_padded(pool) for pool in pools) or _pools_right(device)


def _padded(pool: nn.AvgPool2d) -> bool:
    padding = pool.padding if isinstance(pool.padding, tuple) else (pool.padding,)
    return any(padding)


@cache
def _pools_right(device: torch.device) -> bool:
    """Whether padded average pooling has one gradient in both layouts: tried, because it depends on torch's version."""
    plain, other = (_gradient(device, layout) for layout in (torch.contiguous_format, torch.channels_last))
    return torch.allclose(plain, other)


def _gradient(device: torch.device, layout: torch.memory_format) -> Tensor:
    """The gradient of a sum, weighted by place, of a pooled image."""
    x = torch.zeros(1, 2, 5, 5, device=device).contiguous(memory_format=layout).requires_grad_()
    with torch.enable_grad():
        pooled = F.avg_pool2d(x, 3, 2, 1)
        weights = torch.arange(1.0, pooled.numel() + 1, device=device).view_as(pooled)
        (found,) = torch.autograd.grad(pooled, x, weights.contiguous(memory_format=layout))
    return found
