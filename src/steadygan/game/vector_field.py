"""A game's vector field, whole or in parts, and the products of its Jacobian with vectors."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from steadygan.game.contracts import Buffers, Draw, Game, Logs, State, Vectors

__all__ = ["accumulated", "everyone", "field", "jacobian", "jacobian_transpose"]


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

    Also returns the buffers after the forward passes and the logs (`loss/NAME` and what the losses add). Of a game
    of several parts all are means over these, and a part meets the buffers that the one before it left.
    """
    gradients: dict[str, Tensor] = {}
    logs: Logs = {}
    buffers = state.buffers
    for name in names:
        sums: list[tuple[Tensor, Logs]] = []
        for part in _split(game, draw):
            own = partial(play, game, name, state._replace(buffers=buffers), part)
            gradient, loss, (extra, buffers) = _gradient(own, state.params[name])
            sums.append((gradient, {f"loss/{name}": loss, **extra}))
        gradients[name], found = _mean(sums)
        logs |= {**found, f"gradient/{name}": gradients[name].norm()}
    return gradients, buffers, {key: value.detach() for key, value in logs.items()}


def _split(game: Game, draw: Draw) -> list[Draw]:
    """The draw's parts: of every field that has rows as many of them, in order."""
    if game.parts == 1:
        return [draw]
    rows = {
        name: t.chunk(game.parts) if game.fields[name].shape else (t,) * game.parts
        for name, t in draw.items()
    }
    return [{name: pieces[index] for name, pieces in rows.items()} for index in range(game.parts)]


def _mean(found: list[tuple[Tensor, Logs]]) -> tuple[Tensor, Logs]:
    """Means of gradients and of logs."""
    (total, logs), *more = found
    for gradient, others in more:
        total = total + gradient
        logs = {key: value + others[key] for key, value in logs.items()}
    return (
        (total / len(found), {key: value / len(found) for key, value in logs.items()}) if more else found[0]
    )


def accumulated(game: Game, parts: int) -> Game:
    """The same game on batches `parts` times as large, its field the mean over the parts: less memory at a time.

    What is relative to a batch (batch norm, DRAGAN's noise, the pull-away term, fake-as-real's choice) is so to a
    part.
    """
    if parts == 1:
        return game
    rows = {
        name: field._replace(shape=(parts * field.shape[0], *field.shape[1:])) if field.shape else field
        for name, field in game.fields.items()
    }
    adapt = game.adapt and partial(_adapted, game.adapt, parts)
    return game._replace(fields=rows, parts=parts, adapt=adapt)


def _adapted(
    adapt: Callable[[Mapping[str, Tensor], Logs, int], dict[str, Tensor]],
    parts: int,
    scalars: Mapping[str, Tensor],
    logs: Logs,
    repeats: int,
) -> dict[str, Tensor]:
    return adapt(scalars, logs, parts * repeats)


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
