"""What a run takes from its caller instead of from the registry: networks, data and a loss of one's own."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from steadygan.config.registry import CRITICS
from steadygan.critic_outputs import Reduction, answer, critics, one_each
from steadygan.data.dataset import Data
from steadygan.errors import UsageError
from steadygan.game import trainable
from steadygan.losses import Loss
from steadygan.networks.conditional import Classed
from steadygan.networks.pure import Pure, draws_random_numbers, needs_purity
from steadygan.networks.shaped import LogitsOf, Shaped

__all__ = ["NOTHING", "Own", "own_modules", "plain", "size", "unseeded"]


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
    made = {}
    for name, role in roles.items():
        net = copy.deepcopy(_checked(name, found[name])).cpu().train()
        if role in TRIED:
            inputs = [
                x.to(next(net.parameters()).dtype) if x.is_floating_point() else x
                for x in _inputs(role, data, classes, latent)
            ]
            net = LogitsOf(net, own.logits) if own.logits and role in CRITICS else net
            found_there = _tried(name, net, *inputs)
            net = Pure(net) if needs_purity(net, *inputs) else net
        if role == "critic":
            _check_logits(found_there, len(inputs[0]), reduce)
        if role == "generator":
            _check_samples(name, found_there, data)
            net = net if isinstance(latent, int) else Shaped(net, tuple(latent))
            net = Classed(net, classes) if classes else net
        made[name] = net
    return made


def unseeded(
    nets: Mapping[str, nn.Module], roles: Mapping[str, str], data: Data, classes: int, latent: int
) -> list[str]:
    """The players whose forward takes numbers from torch's generator in spite of `Pure`: their step cannot compile."""
    inputs = {name: _inputs(role, data, classes, latent) for name, role in roles.items() if role in TRIED}
    flat = {name: (torch.randn(2, classes + latent),) for name, role in roles.items() if role == "generator"}
    return [name for name, given in {**inputs, **flat}.items() if draws_random_numbers(nets[name], *given)]


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
    if not trainable(net):
        raise UsageError(
            f"no parameter of the network {name} can be trained: set requires_grad on some of them, or leave it out"
        )
    return net


def _inputs(role: str, data: Data, classes: int, latent: int | Sequence[int]) -> tuple[Tensor, ...]:
    """Two inputs of a network in this role."""
    labels = (torch.arange(2) % classes,) if classes and role in ("generator", "critic") else ()
    shape = (latent,) if isinstance(latent, int) else tuple(latent)
    return (torch.randn(2, *(shape if role == "generator" else data.shape)), *labels)


def _tried(name: str, net: nn.Module, *inputs: Tensor) -> Any:
    """What a copy of the network answers. Raises UsageError with its own words where it fails."""
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            return copy.deepcopy(net)(*inputs)
    except Exception as error:  # whatever the caller's forward raises
        shapes = " and ".join(str(list(x.shape)) for x in inputs)
        raise UsageError(
            f"the network {name} fails on an input of shape {shapes} ({type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else 'no text'}): it must take a batch [N, ...] of that kind"
        ) from error


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
