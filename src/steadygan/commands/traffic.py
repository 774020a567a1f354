"""What the processes of a data-parallel step send each other: its collectives by purpose, from the run's own parts."""

import math
from collections.abc import Mapping, Sequence

from torch import Tensor

from steadygan.build import Run
from steadygan.game.state import member
from steadygan.training.flop_meter import on_paper
from steadygan.training.scaling import Message

__all__ = ["traffic"]


def traffic(
    run: Run, *, products: int, pool: int, channels: Sequence[int], logs: Mapping[str, Tensor]
) -> dict[str, list[Message]]:
    """The collectives of one member's step, by what they carry.

    - Each update reduces the flat gradient [P] of each player that moves in it, and after it as many `products` of the
      Jacobian with a vector.
    - Fake-as-real gathers the scores of all candidates and the selected samples, 1 / `pool` of them.
    - A pass of a batch norm reduces two vectors of its `channels`, forward or backward.
    - Pull-away gathers the codes of all fakes.
    - Each update reduces its `logs`.
    """
    number = next(iter(run.state.params.values())).element_size()
    found = {
        "gradients": _gradients(run, products, number),
        "fake-as-real": _fake_as_real(run, pool, number),
        "batch norm": [Message(2 * count * number) for count in channels],
        "pull-away": _codes(run, number) if "pull_away" in logs else [],
        "logs": [Message(len(logs) / len(run.rule.rounds) * number, len(run.rule.rounds))],
    }
    return {name: messages for name, messages in found.items() if messages}


def _gradients(run: Run, products: int, number: int) -> list[Message]:
    moves = [name for names in run.rule.rounds for name in names]
    return [Message(run.state.params[name].shape[-1] * number, 1 + products) for name in moves]


def _fake_as_real(run: Run, pool: int, number: int) -> list[Message]:
    """Two gathers for each part of the batch in each update that reads candidates."""
    if "z_pool" not in run.game.fields:
        return []
    gathers = run.game.parts * sum("z_pool" in names for names in run.draws.reads)
    candidates = run.game.fields["z_pool"].shape[0] // run.game.parts
    sample = math.prod(run.data.shape) * number
    return [Message(candidates * number, gathers, True), Message(candidates // pool * sample, gathers, True)]


def _codes(run: Run, number: int) -> list[Message]:
    """One gather for each part of the batch, in G's update, of as many numbers as the critic's code has."""
    state, draw = member(run.state, 0 if run.ensemble else None), run.draws(0)[0]
    x_real = draw["x_real"][0] if run.ensemble else draw["x_real"]
    D = run.game.players["D"].network
    _, (_, codes) = on_paper(D, state.params["D"], state.buffers["D"], x_real)
    return [Message(codes.numel() // run.game.parts * number, run.game.parts, True)]
