"""Extragradient: compute the gradient at an extrapolated point, then step along it from the present point."""

from collections.abc import Mapping, Sequence

import torch

from steadygan.dynamics.player_steps import move, projected
from steadygan.game import Draw, Game, Logs, Rule, State
from steadygan.game.optimizers import Optimizer
from steadygan.game.vector_field import field

__all__ = ["extragradient"]


def extragradient(game: Game, optimizers: Mapping[str, Optimizer], *, past: bool = False) -> Rule:
    """y = x - h g(x); x <- x - h g(y): all players at once, each gradient on a draw of its own.

    With `past`, y = x - h g(y_before), so that a step takes one gradient. The first extrapolation then stays
    at x. The optimizer makes both steps, and updates its moments (and Adam its count) at each: ExtraSGD and
    ExtraAdam.

    Source: Korpelevich 1976; Popov 1980; Gidel 2019, Algorithms 2 to 4.
    """
    everyone = tuple(game.players)

    def correct(ahead: State, state: State, draw: Draw) -> tuple[State, Logs]:
        ahead = projected(game, everyone, ahead, first=True)
        gradients, buffers, logs = field(game, everyone, ahead, draw)
        back = ahead._replace(params=state.params, buffers=buffers)
        moved = move(game, optimizers, gradients, back)
        if not past:
            return moved, logs
        moments = {name: {**old, "previous": gradients[name]} for name, old in moved.moments.items()}
        return moved._replace(moments=moments), logs

    def step(state: State, batch: Sequence[Draw]) -> tuple[State, Logs]:
        here, there = batch
        state = projected(game, everyone, state, first=True)
        gradients, buffers, _ = field(game, everyone, state, here)
        ahead = move(game, optimizers, gradients, state._replace(buffers=buffers))
        return correct(ahead, state, there)

    def past_step(state: State, batch: Sequence[Draw]) -> tuple[State, Logs]:
        (draw,) = batch
        state = projected(game, everyone, state, first=True)
        previous = {name: state.moments[name]["previous"] for name in everyone}
        return correct(move(game, optimizers, previous, state), state, draw)

    if past:
        return Rule(past_step, (everyone,), lambda params: {"previous": torch.zeros_like(params)})
    return Rule(step, (everyone, everyone))
