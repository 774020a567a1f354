"""Noise on the critic's input, and on hidden layers while training.

A perfect critic's gradient vanishes because data and fakes have disjoint supports. Instance noise makes them
overlap. Noise on hidden layers carries its own random stream, so that a step stays a pure function of its
state.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import activation

from steadygan import parallel
from steadygan.errors import UsageError

__all__ = ["HiddenNoise", "instance", "noisy_layers", "normals"]


def instance(x: Tensor, noise: Tensor, sigma: float | Tensor) -> Tensor:
    """Return x + sigma noise, with noise ~ N(0, I) shaped like x.

    Reals and fakes both get it, in D's loss and in G's. Draw new noise for each of them, and anneal sigma to
    0. Raises UsageError on unequal shapes. Source: Sonderby 2017; Arjovsky and Bottou 2017.

    >>> instance(torch.zeros(1, 2), torch.tensor([[1.0, -2.0]]), 0.5)
    tensor([[ 0.5000, -1.0000]])
    """
    if noise.shape != x.shape:
        raise UsageError(f"noise must be shaped like the samples, {list(x.shape)}, not {list(noise.shape)}")
    return x + sigma * noise


WORD = 2**32 - 1


def _mix(x: Tensor) -> Tensor:
    """A 32-bit integer hash, one to one, as int64 in [0, 2^32) that never overflows (Wellons's lowbias32)."""
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & WORD
    x = ((x ^ (x >> 15)) * (0x846CA68B - 2**32)) & WORD
    return x ^ (x >> 16)


def normals(key: Tensor, count: Tensor, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    """Return standard normal numbers of `shape`, each a pure function of (key, count, its index).

    key and count are int64 scalars, 0 <= key < 2^62 and 0 <= count < 2^32. The numbers are the same under any
    of torch's transforms and whatever was drawn before. They are also the same for the first rows of a larger
    shape. Where several processes share a batch, each has the numbers of its place: with equal shares those are the
    numbers of its rows in the whole batch. A number is the normal quantile of one of 2^23 equal steps of (0, 1), so
    none is beyond 5.3.

    >>> a, b = (normals(torch.tensor(7), torch.tensor(count), (2, 3)) for count in (0, 1))
    >>> a.shape, bool((a == b).any())
    (torch.Size([2, 3]), False)
    """
    size = math.prod(shape)
    return _normals(key, count, parallel.processes().rank * size, size, dtype).view(shape)


# One operation for torch.compile: inlined into every use, the hash takes the C++ compiler minutes.
@torch.library.custom_op("steadygan::normals", mutates_args=())
def _normals(key: Tensor, count: Tensor, start: int, size: int, dtype: torch.dtype) -> Tensor:
    """The numbers `start` to `start` + `size` of each key and count [...]: [..., size]."""
    key, count = key[..., None], count[..., None]
    place = torch.arange(start, start + size, device=count.device)
    first = _mix((key & WORD) ^ _mix(count))
    second = _mix((key >> 32) ^ _mix(first ^ 1))
    bits = _mix(second ^ _mix(first ^ place))
    return torch.special.ndtri(((bits >> 9).to(dtype) + 0.5) * 2.0**-23)


@_normals.register_fake
def _(key: Tensor, count: Tensor, start: int, size: int, dtype: torch.dtype) -> Tensor:
    return key.new_empty((*key.shape, size), dtype=dtype)


@_normals.register_vmap
def _(
    info: Any,
    in_dims: tuple[int | None, ...],
    key: Tensor,
    count: Tensor,
    start: int,
    size: int,
    dtype: torch.dtype,
) -> tuple[Tensor, int]:
    """A member's key and count each have its numbers."""
    moved = [t if at is None else t.movedim(at, 0) for t, at in zip((key, count), in_dims)]
    return _normals(*torch.broadcast_tensors(*moved), start, size, dtype), 0


class HiddenNoise(nn.Module):
    """A layer that adds sigma N(0, I) to its input while training, and nothing in evaluation.

    Its randomness is a function of its buffers. `key` is drawn from torch's generator at construction.
    `count` grows by one at each training forward. The game's state carries both, as it does batch norm's
    statistics. So a resumed run continues exactly, and each member of an ensemble has its own stream.

    >>> layer = HiddenNoise(sigma=0.1).eval()
    >>> layer(torch.ones(2))
    tensor([1., 1.])
    """

    key: Tensor
    count: Tensor

    def __init__(self, sigma: float) -> None:
        """Draw a key. Raises UsageError unless sigma is positive and finite."""
        super().__init__()
        if not 0 < sigma < math.inf:
            raise UsageError(
                f"the noise of hidden layers needs a positive sigma, not {sigma}: leave it out for no noise"
            )
        self.sigma = sigma
        self.register_buffer("key", torch.randint(2**62, (), dtype=torch.int64))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` plus the next noise of the stream while training, else `x`."""
        if not self.training:
            return x
        noise = normals(self.key, self.count, tuple(x.shape), torch.promote_types(x.dtype, torch.float32))
        self.count.add_(1)
        return x + self.sigma * noise.to(x.dtype)

    def extra_repr(self) -> str:
        """What `print` shows of it."""
        return f"sigma={self.sigma}"


ACTIVATIONS = tuple(
    getattr(activation, name)
    for name in activation.__all__
    if name not in ("MultiheadAttention", "Softmin", "Softmax", "Softmax2d", "LogSoftmax")
)
"""Torch's activations that work on each number alone (GLU on each pair)."""


def noisy_layers(module: nn.Module, sigma: float) -> nn.Module:
    """Put a `HiddenNoise(sigma)` behind each hidden activation of `module`, in place; return `module`.

    An activation module is hidden when a layer with parameters comes after it, in the order of registration.
    So a generator's final tanh is not. Each becomes Sequential(activation, noise) at its place. Raises
    UsageError where there is no hidden activation module, where noise is in place already, or sigma is not
    positive.

    >>> noisy_layers(nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2), nn.Tanh()), 0.1)[1]
    Sequential(
      (0): ReLU()
      (1): HiddenNoise(sigma=0.1)
    )
    """
    parts = list(module.modules())
    if any(isinstance(part, HiddenNoise) for part in parts):
        raise UsageError("the network's hidden layers have noise already: add it once")
    places = _places(module)
    layers = [
        at for at, (_, _, part) in enumerate(places) if next(part.parameters(recurse=False), None) is not None
    ]
    last = max(layers, default=0)
    hidden = [place for place in places[:last] if isinstance(place[2], ACTIVATIONS)]
    if not hidden:
        raise UsageError(
            "the network has no hidden activation module to put noise behind: build it with modules such as nn.ReLU"
        )
    for parent, name, part in hidden:
        setattr(parent, name, nn.Sequential(part, HiddenNoise(sigma)))
    return module


def _places(module: nn.Module) -> list[tuple[nn.Module, str, nn.Module]]:
    """(parent, name, part) of every part below `module`, depth first; a shared part at each of its places."""
    return [
        place
        for name, part in module._modules.items()
        if part is not None
        for place in ((module, name, part), *_places(part))
    ]
