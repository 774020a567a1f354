"""How the machine is used while steps run: its threads, which library multiplies matrices, and freed memory."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from steadygan.game import Game

__all__ = ["keep_memory", "products", "threads", "work"]

LARGE = 2**20
"""Multiplications in a product from which oneDNN's longer way into each call is made up for."""


TRIM_THRESHOLD, MMAP_THRESHOLD, FAST = -1, -3, 1
"""What glibc's mallopt calls the sizes from which freed memory goes back to the system, and up to which it is set aside
in lists that every large request clears away."""


def keep_memory() -> bool:
    """Have the C library keep what is freed, for the rest of the process; whether it does (glibc alone can).

    A step frees the same large tensors as the one before it asked for. By default their pages go back to the system
    and are faulted in again: up to a sixth of a step's time. The process stays as large as it ever was.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    kept = mallopt(TRIM_THRESHOLD, 2**31 - 1) and mallopt(MMAP_THRESHOLD, 2**31 - 1)
    return bool(kept and mallopt(FAST, 0))


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Use `count` threads inside the block; torch's own choice when None."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def work(game: Game, rows: int) -> int:
    """Multiplications in the largest matrix product that a batch of `rows` meets: rows times a layer's weights."""
    shapes = [s for player in game.players.values() for s in player.network.shapes.values() if len(s) == 2]
    return rows * max((shape.numel() for shape in shapes), default=0)


@contextmanager
def products(largest: int) -> Iterator[None]:
    """Inside the block, let oneDNN multiply float32 matrices, where that is as exact and there is enough to do.

    torch leaves them to MKL, which keeps to half the width of the vector units of processors that are not
    Intel's; oneDNN does not, but torch only asks it when it may round to bfloat16. Without matrix units
    (AMX) it never rounds, which is looked at before it is trusted. Nothing changes below a `largest` product of
    2^20 multiplications, nor on another device than the CPU.
    """
    setting = getattr(torch.backends.mkldnn, "matmul", None)  # since torch 2.9
    if setting is None or largest < LARGE or setting.fp32_precision != "none":
        yield
        return
    setting.fp32_precision = "bf16"
    try:
        if not _exact():
            setting.fp32_precision = "none"
        yield
    finally:
        setting.fp32_precision = "none"


def _exact() -> bool:
    """Whether products of numbers that bfloat16 has not are right: 1 + 2^-10, which it would round to 1."""
    sizes = [(64, 64, 64), (256, 512, 256), (8, 64, 64, 64)]
    pairs = ((torch.full((*b, m, k), 1 + 2.0**-10), torch.ones(*b, k, n)) for *b, m, k, n in sizes)
    return all(bool((a @ ones == a.shape[-1] * (1 + 2.0**-10)).all()) for a, ones in pairs)
