"""Symplectic gradient adjustment: correct the field for the rotation of the game."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from steadygan.dynamics.player_steps import move, projected
from steadygan.game import Draw, Game, Logs, Rule, State
from steadygan.game.optimizers import Optimizer
from steadygan.game.vector_field import jacobian, jacobian_transpose
from steadygan.schedules import Number, at

__all__ = ["alignment", "symplectic"]


def symplectic(
    game: Game, optimizers: Mapping[str, Optimizer], *, weight: Number = 1.0, align: bool = True
) -> Rule:
    """x <- x - h (g + lambda A^T g), A = (J - J^T) / 2 the antisymmetric part of the field's Jacobian J.

    A^T g = (J^T g - J g) / 2 is one product with each of J^T and J. |lambda| = `weight`. With `align` the
    sign of lambda is that of `alignment`, so that a stable fixed point attracts more and an unstable one
    repels. Source: Balduzzi 2018, Algorithm 1.
    """
    everyone = tuple(game.players)

    def step(state: State, batch: Sequence[Draw]) -> tuple[State, Logs]:
        (draw,) = batch
        state = projected(game, everyone, state, first=True)
        g, transpose, buffers, logs = jacobian_transpose(game, state, draw)
        up, down = transpose(g), jacobian(game, state, draw)(g)
        turn = {name: (up[name] - down[name]) / 2 for name in everyone}
        scale = at(weight, state.scalars)
        if align:
            whole, length, bend = (torch.cat(list(part.values())) for part in (g, up, turn))
            scale = scale * alignment(whole, length, bend)
        modified = {name: g[name] + scale * turn[name] for name in everyone}
        return move(game, optimizers, modified, state._replace(buffers=buffers)), logs

    return Rule(step, (everyone,))


def alignment(g: Tensor, up: Tensor, turn: Tensor, eps: float = 0.1) -> Tensor:
    """Return sign(<g, J^T g> <A^T g, J^T g> / P + eps), with P the number of parameters.

    J^T g = `up` is the gradient of |g|^2 / 2, and A^T g = `turn`. All are vectors [P]. Source: Balduzzi 2018,
    Algorithm 1.

    >>> alignment(torch.tensor([1.0, 0.0]), torch.tensor([-2.0, 1.0]), torch.tensor([0.0, 1.0]))
    tensor(-1.)
    """
    return torch.sign((g @ up) * (turn @ up) / len(g) + eps)
