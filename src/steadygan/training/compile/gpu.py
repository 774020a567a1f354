"""GPU settings while steps run: the rounding of float32 products, and cudnn's choice of algorithms."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["options", "rounding"]


@contextmanager
def options(device: torch.device, *, tf32: bool = False, autotune: bool = False) -> Iterator[None]:
    """Inside the block, products on a GPU are in TF32 or in full float32, and cudnn times its algorithms or does not.

    torch has other defaults: convolutions in TF32, matrix products in float32. Nothing changes on other devices, and
    nothing of the rounding where a program has set it through `fp32_precision` itself.
    """
    if device.type != "cuda":
        yield
        return
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    timed, rounded = cudnn.benchmark, _rounded()
    cudnn.benchmark = autotune
    if rounded:
        matmul.allow_tf32 = cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        cudnn.benchmark = timed
        if rounded:
            matmul.allow_tf32, cudnn.allow_tf32 = rounded


def _rounded() -> tuple[bool, bool] | None:
    """Whether matrix products and convolutions may be in TF32; None where `fp32_precision` says that."""
    try:
        return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    except RuntimeError:  # torch allows one of the two ways of setting it
        return None


def rounding(precision: str, device: torch.device, *, tf32: bool) -> str:
    """The precision in which the products of a step are rounded: `tf32` for a float32 run with TF32 on a GPU.

    >>> rounding("float32", torch.device("cuda"), tf32=True), rounding("float32", torch.device("cpu"), tf32=True)
    ('tf32', 'float32')
    """
    return "tf32" if tf32 and precision == "float32" and device.type == "cuda" else precision
