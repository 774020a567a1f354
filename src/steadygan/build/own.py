"""What a run takes from its caller instead of from the registry: networks, data and a loss of one's own."""

import copy
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from steadygan.config.registry import CRITICS
from steadygan.critic_outputs import Reduction, answer, critics, one_each
from steadygan.data.dataset import Data
from steadygan.errors import UsageError, said
from steadygan.game import trainable
from steadygan.losses import Loss
from steadygan.networks.conditional import Classed
from steadygan.networks.pure import Pure, draws_random_numbers, needs_purity
from steadygan.networks.shaped import LogitsOf, Shaped
from steadygan.rng import generator

__all__ = ["NOTHING", "Own", "own_modules", "plain", "seeded_globals", "size", "unseeded"]


class Own(NamedTuple):
    """Objects that stand for the name `own` in a configuration.

    `networks(shape)` makes the modules of the players, by name, with newly initialised weights. It is called for each
    member of an ensemble, with that member's random numbers. `logits` takes the logits out of what a critic answers.
    """

    networks: Callable[[tuple[int, ...]], Mapping[str, nn.Module]] | None = None
    data: Data | None = None
    loss: Loss | None = None
    logits: Callable[[Any], Any] | None = None


NOTHING = Own()
"""A run of the registry's parts alone."""


def size(latent: int | Sequence[int]) -> int:
    """How many numbers a latent has, given its dimension or its shape.

    >>> size(128), size((100, 1, 1))
    (128, 100)
    """
    return latent if isinstance(latent, int) else math.prod(latent)


def own_modules(
    own: Own,
    roles: Mapping[str, str],
    data: Data,
    classes: int,
    latent: int | Sequence[int],
    reduce: Reduction | None = "mean",
) -> dict[str, nn.Module]:
    """The caller's module of each player, ready for a pure step. Raises UsageError where one does not fit.

    A generator becomes one of flat latents [N, classes + latent]. A module that draws random numbers gets a stream of
    its own (`Pure`). `reduce` is None where a critic with several logits for each sample needs one and has none.
    """
    assert own.networks is not None
    found = own.networks(data.shape)
    if set(found) != set(roles):
        raise UsageError(
            f"the game has the players {', '.join(roles)}, but the networks given are {', '.join(found)}: give one "
            "network for each player, by its name"
        )
    made = {name: _copied(name, _checked(name, found[name])).cpu().train() for name in roles}
    for name, role in roles.items():
        if role not in TRIED:
            continue
        inputs = _typed(made[name], _inputs(role, data, classes, latent))
        net = LogitsOf(made[name], own.logits) if own.logits and role in CRITICS else made[name]
        answered = _tried(name, role, net, *inputs)
        made[name] = Pure(net) if needs_purity(net, *inputs) else net
        if role == "critic":
            _check_logits(answered, len(inputs[0]), reduce)
        if role == "generator":
            _check_samples(name, answered, data)
            made[name] = _of_flat_latents(made[name], classes, latent)
    return made


def _of_flat_latents(G: nn.Module, classes: int, latent: int | Sequence[int]) -> nn.Module:
    """G as a generator of latents [N, classes + latent]."""
    G = G if isinstance(latent, int) else Shaped(G, tuple(latent))
    return Classed(G, classes) if classes else G


def unseeded(
    nets: Mapping[str, nn.Module], roles: Mapping[str, str], data: Data, classes: int, latent: int
) -> list[str]:
    """The players whose forward takes numbers from torch's generator in spite of `Pure`: their step cannot compile."""
    inputs = {name: _inputs(role, data, classes, latent) for name, role in roles.items() if role in TRIED}
    flat = {name: (torch.randn(2, classes + latent),) for name, role in roles.items() if role == "generator"}
    return [
        name
        for name, given in {**inputs, **flat}.items()
        if draws_random_numbers(nets[name], *_typed(nets[name], given))
    ]


@contextmanager
def seeded_globals(*key: object) -> Iterator[None]:
    """Inside the block the numbers of torch, numpy and Python are functions of `key`. Afterwards all go on as before.

    >>> with seeded_globals(7, "forward"):
    ...     a = random.random()
    >>> with seeded_globals(7, "forward"):
    ...     a == random.random()
    True
    """
    g, before = generator(*key), (random.getstate(), np.random.get_state())
    with torch.random.fork_rng(devices=[]):
        torch.random.set_rng_state(g.get_state())
        random.seed(g.initial_seed())
        np.random.seed(g.initial_seed() % 2**32)
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])


def plain(module: nn.Module) -> tuple[nn.Module, str]:
    """The module inside all wrappers of a step, and what these put before the names of its parameters.

    >>> plain(Classed(Pure(nn.Identity()), 2))
    (Identity(), 'G.net.')
    """
    prefix = ""
    while inner := next((name for kind, name in WRAPPERS.items() if isinstance(module, kind)), ""):
        module, prefix = getattr(module, inner), f"{prefix}{inner}."
    return module, prefix


WRAPPERS: dict[type[nn.Module], str] = {Classed: "G", Shaped: "G", Pure: "net", LogitsOf: "D"}
"""What a step wraps a network in, and the name under which the network is in it."""

TRIED = ("generator", "critic", "informed critic", "encoder", "autoencoder")
"""The roles whose networks take latents or samples, so that they can be tried before a run."""


def _checked(name: str, net: object) -> nn.Module:
    if not isinstance(net, nn.Module):
        raise UsageError(
            f"the network {name} must be a torch.nn.Module, not {type(net).__name__}: give a module"
        )
    if any(nn.parameter.is_lazy(p) for p in (*net.parameters(), *net.buffers())):
        raise UsageError(
            f"the network {name} has lazy layers without weights: call it once on a batch before"
        )
    if any(t.is_meta for t in (*net.parameters(), *net.buffers())):
        raise UsageError(f"the network {name} is on the meta device, without weights: make it on the CPU")
    if not trainable(net):
        raise UsageError(
            f"no parameter of the network {name} can be trained: set requires_grad on some of them, or leave it out"
        )
    return net


def _copied(name: str, net: nn.Module) -> nn.Module:
    """A copy of the network. torch's old weight norm leaves a tensor that cannot be copied."""
    try:
        return copy.deepcopy(net)
    except Exception as error:  # whatever a part of the module raises
        raise UsageError(
            f"the network {name} cannot be copied ({said(error)}): keep tensors in "
            "parameters and buffers, and use torch.nn.utils.parametrizations.weight_norm instead of the old one"
        ) from error


def _typed(net: nn.Module, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Inputs in the precision of the network's parameters; labels stay whole numbers."""
    dtype = next(net.parameters()).dtype
    return tuple(x.to(dtype) if x.is_floating_point() else x for x in inputs)


def _inputs(role: str, data: Data, classes: int, latent: int | Sequence[int]) -> tuple[Tensor, ...]:
    """Two inputs of a network in this role."""
    labels = (torch.tensor([0, classes - 1]),) if classes and role in ("generator", "critic") else ()
    shape = (latent,) if isinstance(latent, int) else tuple(latent)
    return (torch.randn(2, *(shape if role == "generator" else data.shape)), *labels)


def _tried(name: str, role: str, net: nn.Module, *inputs: Tensor) -> Any:
    """What a copy of the network answers. Raises UsageError with its own words where it fails."""
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            tensors = {**dict(net.named_parameters()), **dict(net.named_buffers())}
            found = functional_call(
                copy.deepcopy(net), {key: t.clone() for key, t in tensors.items()}, inputs
            )
    except Exception as error:  # whatever the caller's forward raises
        shapes = " and ".join(str(list(x.shape)) for x in inputs)
        latent = (
            ", or give latent the shape that it takes, such as (100, 1, 1)" if role == "generator" else ""
        )
        raise UsageError(
            f"the network {name} fails on an input of shape {shapes} ({said(error)}): it must take a batch "
            f"[N, ...] of that kind{latent}"
        ) from error
    if found is None:
        raise UsageError(f"the network {name} returns nothing: let its forward return a tensor")
    return found


def _check_logits(found: Any, samples: int, reduce: Reduction | None) -> None:
    """Raise UsageError unless a critic's answer is logits of these samples, which `reduce` makes one number each."""
    for part in critics(answer(lambda x: found, torch.zeros(samples))):
        one_each(part, samples, reduce)


def _check_samples(name: str, x: Any, data: Data) -> None:
    """Raise UsageError unless a generator's samples have the shape of the data."""
    if not isinstance(x, Tensor) or x.shape[1:] != data.shape or not x.is_floating_point():
        found = f"{list(x.shape[1:])} of {x.dtype}" if isinstance(x, Tensor) else type(x).__name__
        raise UsageError(
            f"the network {name} makes samples of shape {found}, but those of the data have shape {list(data.shape)}: "
            "change the network's last layer, or the data"
        )
