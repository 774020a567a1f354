"""The origin of a divergence: the step, and the first tensor that was not finite."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from steadygan.game import Game, Logs, State, unflatten
from steadygan.game.state import member
from steadygan.training.advance import Advance

__all__ = ["Origin", "origin"]


class Origin(NamedTuple):
    """The step, counted from 1, and the tensor: a log (`loss/D`), a parameter or an optimizer moment."""

    step: int
    tensor: str


def origin(
    game: Game,
    advance: Advance,
    good: State,
    until: int,
    index: int | None,
) -> Origin | None:
    """Repeat the steps from the state `good` up to `until`, and name the first tensor of a member that is not finite.

    A step depends on its state and its batch alone, so the divergence repeats exactly. The result is None if all
    tensors stay finite. Within a step, logs come first, in the order of their computation. Then come parameters by
    name, then moments.
    """
    state = good
    for number in range(int(good.scalars["step"].flatten()[0]), until):
        _, state, logs = advance(state, number, number + 1)
        now = {key: value if index is None else value[index] for key, value in logs.items()}
        if now["finite"] != 1:
            names = _not_finite(game, member(state, index), now)
            return Origin(number + 1, next(names, "the sum of all parameters and moments"))
    return None


def _not_finite(game: Game, state: State, logs: Logs) -> Iterator[str]:
    def bad(t: Tensor) -> bool:
        return not bool(torch.isfinite(t).all())

    yield from (key for key, value in logs.items() if key != "finite" and bad(value))
    for name, player in game.players.items():
        named = unflatten(player.network.module, state.params[name])
        yield from (f"{key} of {name}" for key, value in named.items() if bad(value))
    for name, moments in state.moments.items():
        yield from (f"the optimizer's {key} of {name}" for key, value in moments.items() if bad(value))
