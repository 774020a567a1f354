"""A game's vector field, whole or by gradient accumulation, and the products of its Jacobian with vectors."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from steadygan import parallel
from steadygan.errors import UsageError
from steadygan.game.contracts import Buffers, Draw, Game, Logs, State, Vectors, alive

__all__ = [
    "accumulated",
    "everyone",
    "field",
    "gradient_and_value",
    "jacobian",
    "jacobian_transpose",
    "of_all",
]


def play(
    game: Game, name: str, state: State, draw: Draw, own: Tensor
) -> tuple[Tensor, tuple[Logs, dict[str, Buffers]]]:
    """Return one player's loss on one draw at parameters `own` [P]: (loss, (logs, buffers after the passes)).

    Where several processes share the batch, it is this process's part of the loss: its share times its own loss.
    """
    params = {**state.params, name: own}
    fresh = {n: dict(buffers) for n, buffers in state.buffers.items()}
    nets = {n: p.network.bound(params[n], fresh[n]) for n, p in game.players.items()}
    loss, logs = game.players[name].loss(nets, draw, state.scalars)
    weight = _share(game, name)
    if weight != 1:
        loss, logs = loss * weight, {key: value * weight for key, value in logs.items()}
    # Buffers updated inside a penalty's own vjp are still wrapped at its level, which has ended.
    after = {n: {key: alive(b).clone() for key, b in buffers.items()} for n, buffers in fresh.items()}
    return loss, (logs, after)


def _share(game: Game, name: str) -> float:
    """This process's share of the rows that a player's loss averages: those of the first field that has rows."""
    counts = [game.fields[key].shape[0] for key in game.players[name].reads if game.fields[key].shape]
    rows, size = counts[0] // game.parts if counts else 0, parallel.processes().size
    if counts and rows < size:
        raise UsageError(
            f"{size} processes cannot share a batch of {rows} rows: use at most {rows} processes, or a larger batch"
        )
    return parallel.share(rows)


def field(
    game: Game, names: Sequence[str], state: State, draw: Draw
) -> tuple[dict[str, Tensor], dict[str, Buffers], Logs]:
    """Return the vector field on one draw: each named player's gradient [P] of its own loss in its own parameters.

    Also return the buffers after the forward passes, and the logs (`loss/NAME` and what the losses add). In a
    game of several parts all are means over the parts. A part starts from the buffers that the one before it
    left. Where several processes share the batch, gradients and logs are those of the whole batch, on all of them.
    """
    gradients: dict[str, Tensor] = {}
    logs: Logs = {}
    params, buffers = {name: parallel.spread(p) for name, p in state.params.items()}, state.buffers
    for name in names:
        sums: list[tuple[Tensor, Logs]] = []
        for part in _split(game, draw):
            own = partial(play, game, name, state._replace(params=params, buffers=buffers), part)
            gradient, loss, (extra, buffers) = gradient_and_value(own, params[name])
            sums.append((gradient, {f"loss/{name}": loss, **extra}))
        gradients[name], found = _mean(sums)
        logs |= {key: value.detach() for key, value in found.items()}
    gradients, logs = of_all(gradients, logs)
    norms = {f"gradient/{name}": gradient.detach().norm() for name, gradient in gradients.items()}
    return gradients, buffers, {**logs, **norms}


def _split(game: Game, draw: Draw) -> list[Draw]:
    """The parts of a draw: every field that has rows is split into equal parts, in order."""
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


def of_all(gradients: dict[str, Tensor], logs: Logs) -> tuple[dict[str, Tensor], Logs]:
    """Return the sums over processes of their parts of gradients [P] and of logs, sent as one message.

    Logs travel in the gradients' precision. They are not differentiated.
    """
    if parallel.processes().size == 1:
        return gradients, logs
    numbers = torch.stack(list(logs.values())).to(next(iter(gradients.values())).dtype)
    *every, told = parallel.joined(*gradients.values(), numbers)
    # A view of the message would keep all of it alive as long as the log.
    return dict(zip(gradients, every)), dict(zip(logs, told.clone()))


def accumulated(game: Game, parts: int) -> Game:
    """Return the same game on batches `parts` times as large, with gradient accumulation: less memory at a time.

    Its field is the mean over the parts. What is relative to a batch is then relative to a part: batch norm,
    DRAGAN's noise, the pull-away term, fake-as-real's selection.
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


def gradient_and_value(
    function: Callable[[Tensor], tuple[Tensor, Any]], x: Tensor
) -> tuple[Tensor, Tensor, Any]:
    """The gradient of a scalar function at x, its value, and its auxiliary output.

    A plain step uses ordinary autograd. torch.func keeps the whole graph for a second differentiation, and that costs
    as much as a step in page faults. It also loads torch's compiler, which takes seconds. Inside a transform (a
    Jacobian, an ensemble, a compiled program) torch.func is used.
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
    """Return the field g of all players on one draw at parameters `params`; auxiliary output: buffers and logs."""
    gradients, buffers, logs = field(game, tuple(game.players), state._replace(params=params), draw)
    return gradients, (buffers, logs)


def jacobian_transpose(
    game: Game, state: State, draw: Draw
) -> tuple[Vectors, Callable[[Vectors], Vectors], dict[str, Buffers], Logs]:
    """Return the field g of all players on one draw, and the function u -> J^T u with J = dg/dx its whole Jacobian.

    x are the parameters of all players: each player's gradient is also differentiated in the others'
    parameters. Also return the buffers and logs of `field`.
    """
    g, pull, *aside = torch.func.vjp(partial(everyone, game, state, draw), state.params, has_aux=True)
    buffers, logs = aside[0]
    return g, lambda u: _like(g, pull(_like(g, u))[0]), buffers, logs


def jacobian(game: Game, state: State, draw: Draw) -> Callable[[Vectors], Vectors]:
    """Return the function u -> J u, with J = dg/dx the whole Jacobian of the field of all players on one draw.

    It is the transpose of w -> J^T w, in reverse mode alone: forward mode does not support every layer
    (spectral norm).
    """
    nowhere = {name: torch.zeros_like(state.params[name]) for name in game.players}
    _, pull, *_ = torch.func.vjp(partial(_transposed, game, state, draw), nowhere)
    return lambda u: pull(_like(nowhere, u))[0]


def _transposed(game: Game, state: State, draw: Draw, w: Vectors) -> Vectors:
    return jacobian_transpose(game, state, draw)[1](w)


def _like(vectors: Vectors, u: Vectors) -> Vectors:
    """`u` in the order of `vectors`: torch.func needs both sides of a product in one order."""
    return {name: u[name] for name in vectors}
