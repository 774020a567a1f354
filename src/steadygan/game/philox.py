"""Counter-based random numbers, Philox 4x64-10: any part of a stream is computed alone, on any device.

Source: Salmon et al. 2011.
"""

import hashlib
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

__all__ = ["normal", "philox", "stream", "uniform"]

MULTIPLIERS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
WEYL = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
"""The constants of Philox 4x64: two factors of a round, and what a round adds to the two words of the key."""

CHUNK = 2**15
"""Numbers that are transformed at a time on a CPU, few enough for its cache."""


def stream(*key: object) -> Tensor:
    """Return the two words of the Philox key that belongs to `key`: int64 [2].

    >>> stream(7, "z").shape, torch.equal(stream(7, "z"), stream(8, "z"))
    (torch.Size([2]), False)
    """
    digest = hashlib.blake2b(repr(key).encode(), digest_size=16).digest()
    return torch.from_numpy(np.frombuffer(digest, dtype="<i8").astype(np.int64))


def uniform(
    keys: Tensor, block: int, first: int, count: int, dtype: torch.dtype = torch.float64, blocks: int = 1
) -> Tensor:
    """Return numbers of U[0, 1): those from `first` on in each of some blocks of each key, [n, blocks, count].

    The first block is `block`. `keys` [n, 2] lie where the numbers are to be. A number is the upper 53 bits of its
    word. None becomes 1 by rounding to `dtype`.

    >>> torch.equal(uniform(stream("u")[None], 0, 2, 3), uniform(stream("u")[None], 0, 0, 5)[..., 2:])
    True
    """
    below = 1 - torch.finfo(dtype).eps / 2
    return _numbers(keys, block, first, count, dtype, blocks, lambda u: u).clamp_(max=below)


def normal(
    keys: Tensor, block: int, first: int, count: int, dtype: torch.dtype = torch.float64, blocks: int = 1
) -> Tensor:
    """Return numbers of N(0, 1): those from `first` on in each of some blocks of each key, [n, blocks, count].

    The first block is `block`. `keys` [n, 2] lie where the numbers are to be. Numbers 2i and 2i + 1 are
    sqrt(-2 log(1 - u_2i)) times the cosine and the sine of 2 pi u_(2i+1). They are computed in float64, so every device
    gives the same ones up to rounding. Source: Box and Muller 1958.

    >>> torch.equal(normal(stream("z")[None], 0, 2, 3), normal(stream("z")[None], 0, 0, 5)[..., 2:])
    True
    """
    return _numbers(keys, block, first, count, dtype, blocks, _box_muller)


def philox(keys: Tensor, block: int, first: int, groups: int, blocks: int = 1) -> Tensor:
    """Return the words of Philox 4x64-10, int64 [n, blocks, 4 groups].

    Counters are (first .. first + groups - 1, b, 0, 0) for b = block .. block + blocks - 1. `keys` are int64 [n, 2]. A
    word is the bits of a signed integer. Source: Salmon et al. 2011, section 3.3.

    >>> hex(philox(torch.zeros(1, 2, dtype=torch.int64), 0, 0, 1)[0, 0, 0])
    '0x16554d9eca36314c'
    """
    x0 = torch.arange(first, first + groups, device=keys.device).expand(len(keys), blocks, -1)
    x1 = torch.arange(block, block + blocks, device=keys.device)[:, None].expand_as(x0)
    x2 = x3 = torch.zeros_like(x0)
    k0, k1 = keys[:, None, :1], keys[:, None, 1:]
    for _ in range(10):
        (high0, low0), (high2, low2) = _product(MULTIPLIERS[0], x0), _product(MULTIPLIERS[1], x2)
        x0, x1, x2, x3 = high2 ^ x1 ^ k0, low2, high0 ^ x3 ^ k1, low0
        k0, k1 = k0 + _signed(WEYL[0]), k1 + _signed(WEYL[1])
    return torch.stack([x0, x1, x2, x3], -1).flatten(2)


def _product(factor: int, x: Tensor) -> tuple[Tensor, Tensor]:
    """The upper and the lower 64 bits of factor * x, both unsigned, from products of their 32-bit halves."""
    high, low = factor >> 32, factor & 0xFFFFFFFF
    x_high, x_low = _upper(x), x & 0xFFFFFFFF
    cross, other = high * x_low, low * x_high
    carried = _upper(low * x_low) + (cross & 0xFFFFFFFF) + (other & 0xFFFFFFFF)
    return high * x_high + _upper(cross) + _upper(other) + (carried >> 32), x * _signed(factor)


def _upper(x: Tensor) -> Tensor:
    """The upper 32 bits of 64 without a sign."""
    return (x >> 32) & 0xFFFFFFFF


def _signed(word: int) -> int:
    """The signed number with the bits of an unsigned word: torch has no arithmetic of unsigned ones."""
    return word - (word >> 63 << 64)


def _numbers(
    keys: Tensor,
    block: int,
    first: int,
    count: int,
    dtype: torch.dtype,
    blocks: int,
    transform: Callable[[Tensor], Tensor],
) -> Tensor:
    """Numbers `first` .. of each key's blocks, by a `transform` of uniform ones, four from each counter."""
    start, groups = first // 4, -(-(first % 4 + count) // 4)
    if keys.device.type == "cpu":
        numbers = range(block, block + blocks)
        each = [_on_cpu(key, number, start, groups, dtype, transform) for key in keys for number in numbers]
        found = (torch.stack(each) if len(each) > 1 else each[0]).view(len(keys), blocks, -1)
    else:
        words = philox(keys, block, start, groups, blocks)
        found = transform(((words >> 11) & (2**53 - 1)).double() * 2.0**-53).to(dtype)
    return found[..., first % 4 : first % 4 + count]


def _on_cpu(
    key: Tensor,
    block: int,
    start: int,
    groups: int,
    dtype: torch.dtype,
    transform: Callable[[Tensor], Tensor],
) -> Tensor:
    """The same numbers [4 groups] of one key, with numpy's Philox, which adds 1 to its counter before each group."""
    counter = ((block << 64) + start - 1) % 2**256
    source = np.random.Generator(np.random.Philox(key=key.numpy().view(np.uint64), counter=counter))
    found = torch.empty(4 * groups, dtype=dtype)
    for part in found.split(CHUNK):
        part.copy_(transform(torch.from_numpy(source.random(len(part)))))
    return found


def _box_muller(u: Tensor) -> Tensor:
    """Normal numbers from uniform ones [..., 2 m], pair by pair."""
    first, second = u.unflatten(-1, (-1, 2)).unbind(-1)
    radius, angle = torch.log1p(-first).mul_(-2).sqrt_(), second * (2 * math.pi)
    return torch.stack([angle.cos().mul_(radius), angle.sin().mul_(radius)], -1).flatten(-2)
