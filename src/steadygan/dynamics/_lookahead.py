"""Lookahead-minimax: every few steps of another rule, return part of the way to the slow weights."""

from collections.abc import Callable, Mapping, Sequence

import torch

from steadygan.dynamics._alternating import alternating
from steadygan.errors import UsageError
from steadygan.game import Draw, Game, Logs, Rule, State
from steadygan.game.optimizers import Optimizer
from steadygan.schedules import Number, at

__all__ = ["lookahead"]


def lookahead(
    game: Game,
    optimizers: Mapping[str, Optimizer],
    *,
    steps: int = 5,
    alpha: Number = 0.5,
    inner: Callable[[Game, Mapping[str, Optimizer]], Rule] = alternating,
) -> Rule:
    """After each `steps` of the `inner` rule: x <- slow + alpha (x - slow), slow <- x, for all players jointly.

    The optimizers' moments are not changed. Raises UsageError unless steps is at least 1. Source: Chavdarova
    2021, Algorithm 1.
    """
    if steps < 1:
        raise UsageError(f"lookahead returns to its slow weights after 1 step or more, not after {steps}")
    fast = inner(game, optimizers)

    def step(state: State, batch: Sequence[Draw]) -> tuple[State, Logs]:
        due = (state.scalars["step"] + 1) % steps == 0
        share = at(alpha, state.scalars)
        state, logs = fast.step(state, batch)
        params, moments = dict(state.params), dict(state.moments)
        for name, x in state.params.items():
            slow = moments[name]["slow"]
            params[name] = torch.where(due, slow + share * (x - slow), x)
            moments[name] = {**moments[name], "slow": torch.where(due, params[name], slow)}
        return state._replace(params=params, moments=moments), logs

    return Rule(step, fast.rounds, lambda params: {**fast.init(params), "slow": params.clone()}, steps)
