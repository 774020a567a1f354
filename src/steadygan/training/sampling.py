"""Samples from a state, with raw or averaged weights, and with batch norm statistics of these weights."""

import copy
import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from steadygan.game import Buffers, Network, State
from steadygan.game.state import averaged
from steadygan.networks import of_classes
from steadygan.rng import generator

__all__ = [
    "columns",
    "in_rows",
    "latents",
    "reconstructions",
    "sampler",
    "samples",
    "settled",
    "standing_statistics",
]

CHUNK = 512
STANDING_BATCHES, STANDING_BATCH = 16, 64


def latents(seed: int, purpose: str, count: int, size: int, dtype: torch.dtype) -> Tensor:
    """`count` fixed latents [count, size] of N(0, 1) for one purpose: the same in every run with this seed.

    >>> a, b = (latents(0, "grid", 2, 3, torch.float32) for _ in range(2))
    >>> a.shape, torch.equal(a, b)
    (torch.Size([2, 3]), True)
    """
    return torch.randn(count, size, generator=generator(seed, "latents", purpose), dtype=dtype)


def columns(count: int, classes: int) -> int | None:
    """The number of samples per row in a picture of `count` samples with one class per row; None without classes.

    Every class gets a row, and the picture is not wider than high.

    >>> columns(64, 10), columns(64, 3), columns(64, 0)
    (6, 8, None)
    """
    return min(max(1, count // classes), math.ceil(math.sqrt(count))) if classes else None


def in_rows(z: Tensor, classes: int, label: int | None = None) -> Tensor:
    """The latents z [n, classes + latent] with one class per row of `columns`, or all with the same `label`.

    >>> in_rows(torch.zeros(4, 3), 2)[:, :2].argmax(1)
    tensor([0, 0, 1, 1])
    """
    wide = columns(len(z), classes) or 1
    row = torch.arange(len(z), device=z.device) // wide % classes
    return of_classes(z, row if label is None else torch.full_like(row, label), classes)


def weights(state: State, player: str, *, average: bool = True) -> tuple[Tensor, Buffers]:
    """A player's parameters and buffers: the averaged ones if `average` and if there are any, else the raw ones."""
    if average and player in state.average:
        buffers = dict(state.average[player])
        return buffers.pop("params"), buffers
    return state.params[player], state.buffers[player]


def standing_statistics(network: Network, params: Tensor, buffers: Buffers, z: Tensor) -> Buffers:
    """Buffers with new batch norm statistics: means over batches of activations; `z` [batches, batch, latent].

    The running averages of training belong to earlier weights, and not at all to averaged weights. Networks without
    batch norm return `buffers` unchanged.
    """
    names = averaged(network.module)
    if not names:
        return buffers
    module = copy.deepcopy(network.module)
    norms = [p for p in module.modules() if isinstance(p, nn.modules.batchnorm._NormBase) and p.training]
    module.eval()  # as for samples, without hidden noise and dropout, and with spectral norms that do not change
    for part in norms:
        part.train().momentum = 1.0  # running statistics = those of the last batch alone
    total = {name: torch.zeros_like(buffers[name]) for name in names}
    for batch in z:
        seen = {name: b.clone() for name, b in buffers.items()}
        replace(network, module=module)(params, seen, batch)
        total = {name: value + seen[name] for name, value in total.items()}
    return {**buffers, **{name: value / len(z) for name, value in total.items()}}


@torch.no_grad()
def reconstructions(
    G: Network, E: Network, state: State, x: Tensor, *, seed: int = 0, average: bool = True
) -> Tensor:
    """G(E(x)) [n, ...] of real samples x [n, ...], of one member's state: E with raw weights, G as in `samples`."""
    frozen = replace(E, module=copy.deepcopy(E.module).eval())
    params = state.params["E"]
    z = torch.cat([frozen(params, dict(state.buffers["E"]), part) for part in x.to(params).split(CHUNK)])
    return samples(G, state, z, seed=seed, average=average)


def batch_norm(network: Network) -> str:
    """Which batch norm statistics samples are drawn with, in the words of a score's protocol."""
    if not any(isinstance(part, nn.modules.batchnorm._NormBase) for part in network.module.modules()):
        return "none in the generator"
    return f"standing statistics of {STANDING_BATCHES} batches of {STANDING_BATCH}"


@torch.no_grad()
def settled(
    network: Network, state: State, size: int, *, seed: int = 0, average: bool = True
) -> tuple[Tensor, Buffers]:
    """The parameters and buffers that G samples with: averaged or raw, with standing statistics of these weights.

    `size` is the length of a latent.
    """
    params, buffers = weights(state, "G", average=average)
    shape = (STANDING_BATCHES, STANDING_BATCH)
    standing = latents(seed, "standing", math.prod(shape), size, params.dtype).view(*shape, -1)
    return params, standing_statistics(network, params, buffers, standing.to(params.device))


def sampler(
    network: Network, state: State, size: int, *, seed: int = 0, average: bool = True
) -> Callable[[Tensor], Tensor]:
    """G of one member's state as a function of latents z [n, size]: samples [n, ...], float32, in evaluation mode."""
    params, buffers = settled(network, state, size, seed=seed, average=average)
    frozen = replace(network, module=copy.deepcopy(network.module).eval())

    @torch.no_grad()
    def made(z: Tensor) -> Tensor:
        parts = [frozen(params, {n: b.clone() for n, b in buffers.items()}, part) for part in z.split(CHUNK)]
        return torch.cat(parts).float()

    return made


def samples(network: Network, state: State, z: Tensor, *, seed: int = 0, average: bool = True) -> Tensor:
    """Samples [n, ...] of G at latents z [n, latent]; see `sampler`."""
    return sampler(network, state, z.shape[1], seed=seed, average=average)(z)
