"""CPU settings while steps run: threads, the library that multiplies matrices, and freed memory."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from steadygan.game import Game

__all__ = ["convolutions", "keep_memory", "products", "threads", "work"]

LARGE = 2**20
"""Multiplications in a matrix product from which oneDNN is faster in spite of its longer call."""

FEW = 4
"""Most channels on one side of a convolution for which oneDNN, with its blocks of 16 channels, is slow."""

TRIM_THRESHOLD, MMAP_THRESHOLD, FAST = -1, -3, 1
"""Parameters of glibc's mallopt. The first two set the size from which freed memory returns to the system. The third
sets the size up to which freed blocks go to lists that every large request has to clear."""


OLDER = 2**25
"""The largest threshold that older versions of glibc accept."""


def keep_memory() -> bool:
    """Make the C library keep freed memory, for the rest of the process. Returns whether it does (only glibc can).

    Every step allocates and frees the same large tensors. By default their pages return to the system and are mapped
    again, up to a sixth of a step's time. The price: the process never shrinks.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    kept = any(mallopt(MMAP_THRESHOLD, most) for most in (2**31 - 1, OLDER))
    # The first call that succeeds ends the growth of the other threshold: each alone would be slower than none.
    return bool(kept and mallopt(TRIM_THRESHOLD, 2**31 - 1) and mallopt(FAST, 0))


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Use `count` threads inside the block; None: torch's own choice."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def work(game: Game, rows: int) -> int:
    """Multiplications in the largest matrix product for a batch of `rows`: rows times the weights of a layer."""
    shapes = [s for player in game.players.values() for s in player.network.shapes.values() if len(s) == 2]
    return rows * max((shape.numel() for shape in shapes), default=0)


@contextmanager
def products(largest: int) -> Iterator[None]:
    """Inside the block, oneDNN multiplies float32 matrices, if it is as exact and the matrices are large enough.

    By default torch calls MKL, which uses only half the vector width on processors of other makers than Intel.
    oneDNN uses the full width. But torch calls it only with permission to round to bfloat16. Without matrix units
    (AMX) it never rounds: a test product checks this first. Nothing changes if the `largest` product has less than
    2^20 multiplications, or on other devices than the CPU.
    """
    setting = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    if largest < LARGE or setting.fp32_precision != "none":
        yield
        return
    setting.fp32_precision = "bf16"
    try:
        if not _exact():
            setting.fp32_precision = "none"
        yield
    finally:
        setting.fp32_precision = "none"


@contextmanager
def convolutions(game: Game) -> Iterator[None]:
    """Inside the block torch computes convolutions, and oneDNN does not, if each has few channels on one side.

    That is so in networks of one stage: it takes oneDNN four times as long to make images of one channel. Results are
    the same up to rounding. It is for what is not compiled: a compiled step has a graph pass instead. In bfloat16
    torch's own convolutions are slow.
    """
    flags: Any = torch.backends.mkldnn
    networks = [player.network for player in game.players.values()]
    kernels = [shape[:2] for network in networks for shape in network.shapes.values() if len(shape) == 4]
    few = kernels and all(min(sides) <= FEW for sides in kernels)
    if not few or any(network.autocast for network in networks) or not flags.enabled:
        yield
        return
    flags.enabled = False
    try:
        yield
    finally:
        flags.enabled = True


def _exact() -> bool:
    """Whether products of 1 + 2^-10 are exact: bfloat16 would round this number to 1."""
    sizes = [(64, 64, 64), (256, 512, 256), (8, 64, 64, 64)]
    pairs = ((torch.full((*b, m, k), 1 + 2.0**-10), torch.ones(*b, k, n)) for *b, m, k, n in sizes)
    return all(bool((a @ ones == a.shape[-1] * (1 + 2.0**-10)).all()) for a, ones in pairs)
