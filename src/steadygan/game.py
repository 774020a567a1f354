"""A game: players that each minimise a loss of their own, and the pure step that moves them.

Everything that changes is in `State`. A player's parameters are one flat vector, so that an optimizer is a few
operations, the game's vector field is a few vectors, and an ensemble is one more dimension in front.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from steadygan.optim import Moments, Optimizer

__all__ = [
    "Field",
    "Game",
    "Network",
    "Player",
    "Rest",
    "Rule",
    "State",
    "field",
    "flatten",
    "jacobian",
    "jacobian_transpose",
    "move",
    "projected",
    "unflatten",
    "update",
]

Buffers = dict[str, Tensor]
Draw = Mapping[str, Tensor]
Logs = dict[str, Tensor]
Vectors = dict[str, Tensor]


class State(NamedTuple):
    """All that a step changes: nothing else has state. In an ensemble every tensor has a leading [members]."""

    params: dict[str, Tensor]  # player -> flat vector [P]
    buffers: dict[str, Buffers]
    moments: dict[str, Moments]  # player -> what its optimizer, and the update rule, remember
    average: dict[str, dict[str, Tensor]]  # player -> exponential average of its parameters and buffers
    scalars: dict[str, Tensor]  # "step", hyper-parameters that differ between members


@dataclass(frozen=True)
class Network:
    """A module used as a skeleton: its parameters and buffers come from outside at every call."""

    module: nn.Module
    autocast: torch.dtype | None = None
    channels_last: bool = False
    shapes: Mapping[str, torch.Size] = dataclass_field(init=False, repr=False, compare=False)
    tied: bool = dataclass_field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Look once at what every call needs: walking a module costs as much as a small one's forward."""
        every = list(self.module.named_parameters(remove_duplicate=False))
        object.__setattr__(self, "shapes", {name: p.shape for name, p in self.module.named_parameters()})
        object.__setattr__(self, "tied", len(every) > len(self.shapes))

    def __call__(self, params: Tensor, buffers: Buffers, x: Tensor, *more: Tensor) -> Any:
        """Run the skeleton on x with `params` [P]; buffers that it updates are replaced in `buffers`.

        Whatever else its forward takes follows x (labels), and a forward may return a tuple of tensors.
        """
        return self.bound(params, buffers)(x, *more)

    def bound(self, params: Tensor, buffers: Buffers) -> Callable[..., Any]:
        """The skeleton with `params` [P], taken apart once for all the calls that a loss makes."""
        return partial(self._run, _parts(self.shapes, params), buffers)

    def _run(self, parts: Mapping[str, Tensor], buffers: Buffers, x: Tensor, *more: Tensor) -> Any:
        if self.channels_last and x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        # Cloned here, at the innermost transform, because a module may update its buffers in place.
        tensors = {**parts, **{name: b.clone() for name, b in buffers.items()}}
        # Without the weight cache: it keys on leaf tensors, and a pure step has none.
        context = (
            torch.autocast(x.device.type, self.autocast, cache_enabled=False)
            if self.autocast
            else nullcontext()
        )
        with context:
            out = torch.func.functional_call(self.module, tensors, (x, *more), tie_weights=self.tied)
        buffers.update({name: tensors[name] for name in buffers})
        dtype = next(iter(parts.values())).dtype
        return tuple(part.to(dtype) for part in out) if isinstance(out, tuple) else out.to(dtype)


def flatten(module: nn.Module) -> Tensor:
    """A module's parameters as one vector [P], in the order of `named_parameters`.

    >>> flatten(nn.Linear(2, 3)).shape
    torch.Size([9])
    """
    return torch.cat([p.detach().reshape(-1) for p in module.parameters()])


def unflatten(module: nn.Module, vector: Tensor) -> dict[str, Tensor]:
    """The reverse of `flatten`: views of the vector [P] under the parameters' names and shapes.

    >>> {name: list(p.shape) for name, p in unflatten(nn.Linear(2, 3), torch.zeros(9)).items()}
    {'weight': [3, 2], 'bias': [3]}
    """
    return _parts({name: p.shape for name, p in module.named_parameters()}, vector)


def _parts(shapes: Mapping[str, torch.Size], vector: Tensor) -> dict[str, Tensor]:
    parts = vector.split([shape.numel() for shape in shapes.values()])
    # An ensemble's parts lie apart: copied once here, not once for every product that they are in.
    return {name: p.contiguous().view(shape) for (name, shape), p in zip(shapes.items(), parts, strict=True)}


Nets = Mapping[str, Callable[..., Any]]
Loss = Callable[[Nets, Draw, Mapping[str, Tensor]], tuple[Tensor, Logs]]


class Player(NamedTuple):
    """A network and the loss it minimises: `loss(nets, draw, scalars) -> (scalar, logs)`.

    `reads` names the fields of a draw that the loss uses; `critic` players are those that `n_critic` repeats.
    `project` is applied to the parameters after each of the player's steps, or before it (weight clipping).
    """

    network: Network
    loss: Loss
    reads: tuple[str, ...]
    critic: bool = False
    project: Callable[[Tensor], Tensor] | None = None
    project_first: bool = False


class Field(NamedTuple):
    """One field of a draw: `kind` is `real` (samples of the data), `label`, `normal`, `uniform` or `due`.

    `shape` has the batch first. Labels are int64, those of the very samples in the same draw. A field with
    `every` > 1 is in the draws of every so many steps only, and `due`, a zero, says nothing but that.
    """

    kind: str
    shape: tuple[int, ...]
    every: int = 1


class Rest(NamedTuple):
    """Where each player's parameters rest, and v' [P, P] there, the critic's rows first, if it is known.

    Not `still` is a point which they would rest at but for what else is in the game: the field is not zero there.
    """

    point: dict[str, Tensor]
    velocity: Tensor | None = None
    still: bool = True


class Game(NamedTuple):
    """Players by name, and what a draw of the game holds.

    `scalars` are numbers that the game keeps in the state, at their start; `adapt(scalars, logs, repeats)` gives
    the next ones after a step in which the critics had `repeats` turns. `rest` is known for games
    that are solved by hand. `turns` says who moves after whom in an alternating step, where that is not the
    critics and then each other player; a player's loss in a turn may be a part of its loss in the game. `judge` is the
    player whose logits tell samples of G from real ones, None where nobody has such logits.
    """

    players: dict[str, Player]
    fields: dict[str, Field]
    scalars: Mapping[str, float] = MappingProxyType({})
    adapt: Callable[[Mapping[str, Tensor], Logs, int], dict[str, Tensor]] | None = None
    rest: Rest | None = None
    turns: tuple[Mapping[str, Player], ...] = ()
    judge: str | None = "D"


def _nothing(params: Tensor) -> Moments:
    return {}


class Rule(NamedTuple):
    """An update rule made ready: a pure `step(state, batch)`, whose batch has one draw for each of `rounds`.

    A round is the names of those who move in it, or a turn of the game's own, which may read less than they do.
    `init(parameters) -> moments` is what the rule itself remembers of a player (a previous gradient, slow
    weights) before the first step; it is kept beside the optimizer's moments, under names of its own.
    `period` is after how many steps the rule begins anew.
    """

    step: Callable[[State, Sequence[Draw]], tuple[State, Logs]]
    rounds: tuple[Collection[str], ...]
    init: Callable[[Tensor], Moments] = _nothing
    period: int = 1


def play(
    game: Game, name: str, state: State, draw: Draw, own: Tensor
) -> tuple[Tensor, tuple[Logs, dict[str, Buffers]]]:
    """One player's loss on one draw, were its parameters `own` [P]: (loss, (logs, buffers after the passes))."""
    params = {**state.params, name: own}
    fresh = {n: dict(buffers) for n, buffers in state.buffers.items()}
    nets = {n: p.network.bound(params[n], fresh[n]) for n, p in game.players.items()}
    loss, logs = game.players[name].loss(nets, draw, state.scalars)
    # Buffers that a penalty's own vjp updated still wear its level, which is over: a clone takes it off.
    return loss, (logs, {n: {key: b.clone() for key, b in buffers.items()} for n, buffers in fresh.items()})


def field(
    game: Game, names: Sequence[str], state: State, draw: Draw
) -> tuple[dict[str, Tensor], dict[str, Buffers], Logs]:
    """The vector field on one draw: for each named player the gradient [P] of its own loss in its own parameters.

    Also returns the buffers after the forward passes and the logs (`loss/NAME` and what the losses add).
    """
    gradients: dict[str, Tensor] = {}
    logs: Logs = {}
    buffers = state.buffers
    for name in names:
        own = partial(play, game, name, state._replace(buffers=buffers), draw)
        gradient, loss, (extra, buffers) = _gradient(own, state.params[name])
        gradients[name] = gradient
        logs |= {f"loss/{name}": loss, f"gradient/{name}": gradient.norm(), **extra}
    return gradients, buffers, {key: value.detach() for key, value in logs.items()}


def _gradient(function: Callable[[Tensor], tuple[Tensor, Any]], x: Tensor) -> tuple[Tensor, Tensor, Any]:
    """The gradient [P] of a scalar function at x [P], its value, and what it returns aside.

    Ordinary autograd in a plain step: torch.func keeps the whole graph to be differentiated again, which costs a
    step of its own in page faults. torch.func inside a transform (a Jacobian, an ensemble, a compiled program).
    """
    if torch.compiler.is_compiling() or torch._C._functorch.maybe_current_level() is not None:
        gradient, (value, aside) = torch.func.grad_and_value(function, has_aux=True)(x)
        return gradient, value, aside
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        value, aside = function(x)
        gradient = torch.zeros_like(x)
        if value.requires_grad:  # else a loss without this player in it
            (gradient,) = torch.autograd.grad(value, x, materialize_grads=True)
    return gradient, value.detach(), tree_map(Tensor.detach, aside)


# Inner functions of a step are module-level ones with `partial`: torch.compile cannot evaluate their annotations.


def everyone(
    game: Game, state: State, draw: Draw, params: Vectors
) -> tuple[Vectors, tuple[dict[str, Buffers], Logs]]:
    """The field g of all players on one draw, were their parameters `params`; aside, buffers and logs."""
    gradients, buffers, logs = field(game, tuple(game.players), state._replace(params=params), draw)
    return gradients, (buffers, logs)


def jacobian_transpose(
    game: Game, state: State, draw: Draw
) -> tuple[Vectors, Callable[[Vectors], Vectors], dict[str, Buffers], Logs]:
    """The field g of all players on one draw, and the function u -> J^T u with J = dg/dx its whole Jacobian.

    x are the parameters of all players: each player's gradient is also differentiated in the others'
    parameters. Also returns the buffers and logs of `field`.
    """
    g, pull, *aside = torch.func.vjp(partial(everyone, game, state, draw), state.params, has_aux=True)
    buffers, logs = aside[0]
    return g, lambda u: _like(g, pull(_like(g, u))[0]), buffers, logs


def jacobian(game: Game, state: State, draw: Draw) -> Callable[[Vectors], Vectors]:
    """The function u -> J u, J = dg/dx the whole Jacobian of the field of all players on one draw.

    As the transpose of w -> J^T w, in reverse mode alone: forward mode does not know every layer (spectral norm).
    """
    nowhere = {name: torch.zeros_like(state.params[name]) for name in game.players}
    _, pull, *_ = torch.func.vjp(partial(_transposed, game, state, draw), nowhere)
    return lambda u: pull(_like(nowhere, u))[0]


def _transposed(game: Game, state: State, draw: Draw, w: Vectors) -> Vectors:
    return jacobian_transpose(game, state, draw)[1](w)


def _like(vectors: Vectors, u: Vectors) -> Vectors:
    """`u` in the order of `vectors`: torch.func wants the two sides of a product laid out alike."""
    return {name: u[name] for name in vectors}


def move(
    game: Game, optimizers: Mapping[str, Optimizer], gradients: Mapping[str, Tensor], state: State
) -> State:
    """Let each player that has a gradient [P] take one step of its own optimizer along it."""
    params, moments = dict(state.params), dict(state.moments)
    for name, gradient in gradients.items():
        params[name], new = optimizers[name].update(gradient, moments[name], params[name], state.scalars)
        moments[name] = {**moments[name], **new}  # what the rule itself remembers stays
    return projected(game, tuple(gradients), state._replace(params=params, moments=moments))


def projected(game: Game, names: Sequence[str], state: State, *, first: bool = False) -> State:
    """The state with the projection that each named player has after its step, or (`first`) before it."""
    params = dict(state.params)
    for name in names:
        player = game.players[name]
        if player.project and player.project_first == first:
            params[name] = player.project(params[name])
    return state._replace(params=params)


def update(
    game: Game, optimizers: Mapping[str, Optimizer], names: Sequence[str], state: State, draw: Draw
) -> tuple[State, Logs]:
    """Move the named players at once, each along its own gradient at the present point."""
    state = projected(game, names, state, first=True)
    gradients, buffers, logs = field(game, names, state, draw)
    return move(game, optimizers, gradients, state._replace(buffers=buffers)), logs
