"""Simultaneous gradient steps: every player moves from the same point."""

from collections.abc import Mapping, Sequence

from steadygan.dynamics.player_steps import update
from steadygan.game import Draw, Game, Logs, Rule, State
from steadygan.game.optimizers import Optimizer

__all__ = ["simultaneous"]


def simultaneous(game: Game, optimizers: Mapping[str, Optimizer]) -> Rule:
    """x <- x + h v(x): every player steps against its own gradient, v = -g, all on one draw.

    Source: Mescheder 2017 (SimGA).
    """
    everyone = tuple(game.players)

    def step(state: State, batch: Sequence[Draw]) -> tuple[State, Logs]:
        (draw,) = batch
        return update(game, optimizers, everyone, state, draw)

    return Rule(step, (everyone,))
