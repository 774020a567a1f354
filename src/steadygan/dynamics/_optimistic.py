"""Optimism: step as if the gradient will change again as it did last time."""

from collections.abc import Mapping, Sequence

import torch

from steadygan.dynamics.player_steps import projected
from steadygan.game import Draw, Game, Logs, Rule, State
from steadygan.game.optimizers import Optimizer
from steadygan.game.vector_field import field

__all__ = ["optimistic"]


def optimistic(game: Game, optimizers: Mapping[str, Optimizer]) -> Rule:
    """x <- x + 2 d - d_before, all players at once, with d the step that a player's optimizer makes of g(x).

    With SGD it is optimistic mirror descent, x <- x - 2 h g_t + h g_(t-1). With Adam it is optimistic Adam.
    d_0 = 0. Source: Daskalakis 2018, Eqn 6 and Algorithm 1.
    """
    everyone = tuple(game.players)

    def step(state: State, batch: Sequence[Draw]) -> tuple[State, Logs]:
        (draw,) = batch
        state = projected(game, everyone, state, first=True)
        gradients, buffers, logs = field(game, everyone, state, draw)
        params, moments = dict(state.params), dict(state.moments)
        for name, g in gradients.items():
            x, before = params[name], moments[name]["previous"]
            to, new = optimizers[name].update(g, moments[name], x, state.scalars)
            params[name] = to + ((to - x) - before)
            moments[name] = {**moments[name], **new, "previous": to - x}
        state = state._replace(params=params, moments=moments, buffers=buffers)
        return projected(game, everyone, state), logs

    return Rule(step, (everyone,), lambda params: {"previous": torch.zeros_like(params)})
