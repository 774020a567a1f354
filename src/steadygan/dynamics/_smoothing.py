"""The smoothing optimizer: consensus optimization's term for the critics alone."""

from collections.abc import Mapping, Sequence

import torch

from steadygan.dynamics.player_steps import move, projected
from steadygan.errors import UsageError
from steadygan.game import Draw, Game, Logs, Rule, State
from steadygan.game.optimizers import Optimizer
from steadygan.game.vector_field import jacobian_transpose
from steadygan.schedules import Number, at

__all__ = ["READINGS", "smoothing"]

READINGS = ("generator", "full")


def smoothing(
    game: Game, optimizers: Mapping[str, Optimizer], *, gamma: Number = 10.0, reading: str = "generator"
) -> Rule:
    """phi <- phi - h (g_D + gamma dR/dphi), theta <- theta - h g_G, all on one draw: critics also minimise R.

    `reading` "generator" is R = |g_G|^2 / 2, of the generator's gradient alone, as in the published code.
    "full" is R = |g|^2 / 2 of all gradients, as the text says. Raises UsageError on another reading. Source:
    Mescheder 2017 (Numerics of GANs), supplement.
    """
    if reading not in READINGS:
        raise UsageError(f"smoothing's reading must be {' or '.join(READINGS)}, not {reading!r}")
    everyone = tuple(game.players)
    critics = {name for name, player in game.players.items() if player.critic}

    def step(state: State, batch: Sequence[Draw]) -> tuple[State, Logs]:
        (draw,) = batch
        state = projected(game, everyone, state, first=True)
        gradients, transpose, buffers, logs = jacobian_transpose(game, state, draw)
        silent = critics if reading == "generator" else set()
        slope = transpose({n: torch.zeros_like(g) if n in silent else g for n, g in gradients.items()})
        weight = at(gamma, state.scalars)
        modified = {n: g + weight * slope[n] if n in critics else g for n, g in gradients.items()}
        return move(game, optimizers, modified, state._replace(buffers=buffers)), logs

    return Rule(step, (everyone,))
