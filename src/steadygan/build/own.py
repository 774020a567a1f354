"""What a run takes from its caller instead of from the registry: networks, data and a loss of one's own."""

import copy
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_leaves

from steadygan.config.registry import CRITICS
from steadygan.critic_outputs import Reduction, answer, critics, one_each
from steadygan.data.dataset import Data
from steadygan.data.seeding import seeded_globals
from steadygan.errors import UsageError, said
from steadygan.game import trainable
from steadygan.losses import Loss
from steadygan.networks.conditional import Classed
from steadygan.networks.pure import Pure, draws_random_numbers, needs_purity
from steadygan.networks.shaped import LogitsOf, Shaped

__all__ = ["NOTHING", "Own", "counting", "own_modules", "plain", "size", "unseeded"]


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
    plain_nets = {name: _checked(name, found[name]) for name in roles}
    _check_apart(plain_nets)
    made = {name: _training(_copied(name, net).cpu()) for name, net in plain_nets.items()}
    for name, role in roles.items():
        if role not in TRIED:
            continue
        inputs = _typed(made[name], _inputs(role, data, classes, latent))
        net = LogitsOf(made[name], own.logits) if own.logits and role in CRITICS else made[name]
        answered = _tried(name, role, net, *inputs)
        _check_attributes(name, net, inputs)
        _check_gradient(name, net, inputs)
        made[name] = Pure(net) if needs_purity(net, *inputs) else net
        if role == "informed critic":
            _check_informed(name, answered)
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
    return [
        name
        for name, given in _tries(roles, data, classes, latent).items()
        if draws_random_numbers(nets[name], *_typed(nets[name], given))
    ]


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


def counting(
    nets: Mapping[str, nn.Module], roles: Mapping[str, str], data: Data, classes: int, latent: int
) -> list[str]:
    """The plain attributes, as `G.count`, that the players' forwards change: a resumed run does not know them."""
    return [
        f"{name}.{key}"
        for name, given in _tries(roles, data, classes, latent).items()
        for key in changing(nets[name], *_typed(nets[name], given))
    ]


def _tries(roles: Mapping[str, str], data: Data, classes: int, latent: int) -> dict[str, tuple[Tensor, ...]]:
    """Inputs of each player that can be tried; a generator's are flat latents."""
    inputs = {name: _inputs(role, data, classes, latent) for name, role in roles.items() if role in TRIED}
    flat = {name: (torch.randn(2, classes + latent),) for name, role in roles.items() if role == "generator"}
    return {**inputs, **flat}


TRIED = ("generator", "critic", "informed critic", "encoder", "autoencoder")
"""The roles whose networks take latents or samples, so that they can be tried before a run."""


def _checked(name: str, net: object) -> nn.Module:
    """The plain module. Raises UsageError for what cannot be trained."""
    if isinstance(net, nn.DataParallel | nn.parallel.DistributedDataParallel):
        net = net.module
    if isinstance(net, torch.jit.ScriptModule):
        raise UsageError(f"the network {name} is compiled by torch.jit: give the plain module")
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
    for key, weight in net.named_parameters():
        if weight.requires_grad and not bool(weight.isfinite().all()):
            raise UsageError(
                f"the weights {key} of the network {name} are NaN or infinite: initialise them again"
            )
    if not trainable(net):
        raise UsageError(
            f"no parameter of the network {name} can be trained: set requires_grad on some of them, or leave it out"
        )
    return net


def _check_apart(nets: Mapping[str, nn.Module]) -> None:
    """Raise UsageError where two players train one weight: a step moves the players apart from each other."""
    owners: dict[int, str] = {}
    for name, net in nets.items():
        for key, p in trainable(net).items():
            if owners.setdefault(id(p), f"{name}.{key}").partition(".")[0] != name:
                raise UsageError(
                    f"{owners[id(p)]} and {name}.{key} are one weight, but each player is trained for itself: give "
                    "each its own layers, such as a copy.deepcopy, or freeze what they share"
                )


def _training(net: nn.Module) -> nn.Module:
    """The network in training mode. Parts that are in evaluation mode inside one in training mode stay so."""
    return net if net.training else net.train()


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
        raise UsageError(
            f"the network {name} fails on an input of shape {shapes} ({said(error)}): {_remedy(role, inputs, error)}"
        ) from error
    if found is None:
        raise UsageError(f"the network {name} returns nothing: let its forward return a tensor")
    return found


def _remedy(role: str, inputs: Sequence[Tensor], error: Exception) -> str:
    """What to change where a network does not take the inputs of its role."""
    if len(inputs) > 1 and re.search("index out of range in self|out of bounds", str(error)):
        most = int(inputs[1].max())
        return f"labels go from 0 to {most}, so number them from 0, and let an embedding have {most + 1} rows"
    if isinstance(error, TypeError) and "required positional argument" in str(error) and len(inputs) == 1:
        return (
            "where its forward takes labels, set conditional=True (on the command line game.conditional=true)"
        )
    labels = ", and labels y [N] after it, because the game is conditional" if len(inputs) > 1 else ""
    if role != "generator":
        return f"it takes samples of the data [N, ...]{labels}"
    numbers = " x ".join(str(n) for n in inputs[0].shape[1:])
    return (
        f"it is given latents of {numbers} numbers{labels}; set latent to what it takes, as latent=64 or "
        "latent=(100, 1, 1) (on the command line networks.latent=64), and give G before D"
    )


def changing(net: nn.Module, *inputs: Tensor) -> dict[str, Any]:
    """The plain attributes that a forward changes, by name: no checkpoint holds them.

    >>> changing(nn.BatchNorm1d(2), torch.randn(3, 2))
    {}
    """
    tried = copy.deepcopy(net)
    before = _attributes(tried)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        tried(*inputs)
    after = _attributes(tried)
    return {key: value for key, value in after.items() if key not in before or not _same(before[key], value)}


def _attributes(net: nn.Module) -> dict[str, Any]:
    """The attributes that are numbers, words or tensors, without those that old-style hooks compute anew."""
    kinds = (int, float, str, bool, tuple, Tensor)
    hooked = {f"{path}.{key}".lstrip(".") for path, part in net.named_modules() for key in _hooked(part)}
    return {
        f"{path}.{key}".lstrip("."): value.clone() if isinstance(value, Tensor) else value
        for path, part in net.named_modules()
        for key, value in vars(part).items()
        if not key.startswith("_") and isinstance(value, kinds) and f"{path}.{key}".lstrip(".") not in hooked
    }


def _hooked(part: nn.Module) -> list[str]:
    """The weights that torch's old spectral norm and weight norm compute before each forward."""
    return [key.removesuffix(end) for key in part._parameters for end in ("_orig", "_g") if key.endswith(end)]


def _same(a: Any, b: Any) -> bool:
    return (
        torch.equal(a, b)
        if isinstance(a, Tensor) and isinstance(b, Tensor)
        else type(a) is type(b) and bool(a == b)
    )


def _check_attributes(name: str, net: nn.Module, inputs: Sequence[Tensor]) -> None:
    """Raise UsageError where a forward changes a tensor that is a plain attribute: a pure step would lose it."""
    found = [key for key, value in changing(net, *inputs).items() if isinstance(value, Tensor)]
    if found:
        raise UsageError(
            f"the forward of {name} changes the tensor {found[0]}, which is a plain attribute: make it a buffer with "
            f"register_buffer({found[0].rpartition('.')[2]!r}, ...), so that checkpoints hold it"
        )


def _check_gradient(name: str, net: nn.Module, inputs: Sequence[Tensor]) -> None:
    """Raise UsageError where a step would have another gradient than the network with these weights.

    A forward that runs once more in the backward pass (torch.utils.checkpoint) finds the weights of the module there,
    and not those that the step has given it.
    """
    weights = {
        key: (1.1 * p + 0.01).detach().requires_grad_(p.requires_grad) for key, p in net.named_parameters()
    }
    held = {key: t.clone() for key, t in net.named_buffers()}

    def ordinary() -> list[Tensor]:
        tried = copy.deepcopy(net)
        for key, p in tried.named_parameters():
            p.data = weights[key].detach()
        return _gradient(lambda: tried(*(x.clone() for x in inputs)), trainable(tried))

    try:
        wanted, again = ordinary(), ordinary()
    except Exception:  # of a function that has no gradient: the step itself will say so
        return
    if not all(map(torch.equal, wanted, again)):  # numbers that nobody can seed
        return
    pure, own = copy.deepcopy(net), {key: weights[key] for key in trainable(net)}
    try:
        found = _gradient(
            lambda: functional_call(pure, {**weights, **held}, tuple(x.clone() for x in inputs)), own
        )
    except Exception:
        found = [torch.full_like(each, math.nan) for each in wanted]
    if all(each.isfinite().all() for each in wanted) and not _alike(found, wanted):
        raise UsageError(
            f"the gradient of {name} is another one where a step gives it its weights, as with torch.utils.checkpoint, "
            "which runs a forward once more in the backward pass: call the layers themselves"
        )


def _gradient(forward: Callable[[], Any], weights: Mapping[str, Tensor]) -> list[Tensor]:
    """The gradient of the sum of squares of all that a forward returns, in each of the weights."""
    with seeded_globals("gradient"), torch.enable_grad():
        parts = [t for t in tree_leaves(forward()) if isinstance(t, Tensor) and t.is_floating_point()]
        total = torch.stack([part.double().square().sum() for part in parts]).sum()
        found = torch.autograd.grad(total, list(weights.values()), allow_unused=True)
    return [torch.zeros_like(w) if g is None else g for g, w in zip(found, weights.values())]


def _alike(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> bool:
    """Whether each gradient is the one that is wanted, to rounding. That of one layer may be small beside others."""
    most = max(float(w.norm()) for w in wanted)
    part = max(1e-3, 10 * torch.finfo(wanted[0].dtype).eps)
    return all(
        float((f - w).norm()) <= part * float(w.norm()) + 1e-3 * part * most for f, w in zip(found, wanted)
    )


def _check_informed(name: str, found: Any) -> None:
    """Raise UsageError unless a critic answers logits and features, from which Q reads the codes."""
    if not (isinstance(found, tuple) and len(found) == 2):
        raise UsageError(
            f"the critic {name} of this game returns (logits [N], features [N, n]), and Q reads the features: let its "
            f"forward return both, and not {type(found).__name__}"
        )


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
