"""How the players' parameters move: each along its gradient, by its own optimizer, within its own projection."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from steadygan.game import Draw, Game, Logs, State
from steadygan.game.optimizers import Optimizer
from steadygan.game.vector_field import field

__all__ = ["move", "projected", "update"]


def move(
    game: Game, optimizers: Mapping[str, Optimizer], gradients: Mapping[str, Tensor], state: State
) -> State:
    """Let each player that has a gradient [P] take one step of its own optimizer along it."""
    params, moments = dict(state.params), dict(state.moments)
    for name, gradient in gradients.items():
        params[name], new = optimizers[name].update(gradient, moments[name], params[name], state.scalars)
        moments[name] = {**moments[name], **new}  # keeps the rule's own entries
    return projected(game, tuple(gradients), state._replace(params=params, moments=moments))


def projected(game: Game, names: Sequence[str], state: State, *, first: bool = False) -> State:
    """Return the state after the projection that each named player has after its step, or (`first`) before it."""
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
