"""Which precision a run takes where its configuration leaves that to the machine."""

import time

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["chosen", "has_units", "slower"]


def has_units(device: torch.device) -> bool:
    """Whether a device multiplies matrices in bfloat16 by units of its own, and not by emulation.

    A CPU has them with AVX-512's bfloat16 instructions or with AMX, a CUDA device from compute capability 8 on.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    if device.type != "cpu" or not torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        return False
    found = (
        getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )
    return any(supported() for supported in found if supported)


def chosen(precision: str, device: torch.device) -> str:
    """The precision that `auto` means on a device; any other is itself.

    >>> chosen("float64", torch.device("cpu"))
    'float64'
    """
    if precision != "auto":
        return precision
    return "bfloat16" if has_units(device) else "float32"


def slower(device: torch.device) -> float:
    """How many times as long a convolution takes in bfloat16 as in float32 on this device: the median of three."""
    x, weight = torch.randn(16, 32, 16, 16, device=device), torch.randn(32, 32, 3, 3, device=device)
    pairs = [[_seconds(x.to(kind), weight.to(kind)) for kind in TYPES] for _ in range(3)]
    return sorted(half / full for full, half in pairs)[1]


TYPES = (torch.float32, torch.bfloat16)


def _seconds(x: Tensor, weight: Tensor, calls: int = 3) -> float:
    F.conv2d(x, weight).sum().item()  # what is made once, and on a device a wait
    began = time.perf_counter()
    for _ in range(calls):
        found = F.conv2d(x, weight)
    found.sum().item()
    return time.perf_counter() - began
