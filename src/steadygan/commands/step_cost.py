"""The cost of a step, counted on paper: FLOPs, bytes of memory, and what processes send each other."""

from typing import Any, NamedTuple

from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from steadygan.build import Run
from steadygan.commands.traffic import traffic
from steadygan.game import Logs, State
from steadygan.game.state import member
from steadygan.training.flop_meter import Meter, on_paper
from steadygan.training.scaling import Message, device_peak, largest_share, spread

__all__ = [
    "StepCost",
    "counted",
    "device_bytes",
    "largest_part",
    "nbytes",
    "parameters",
    "state_bytes",
    "step_cost",
]

TEMPORARIES = 4
"""Vectors of all parameters beside the new state that an update needs at once: the gradient, and steps of Adam."""


class StepCost(NamedTuple):
    """The cost of one member's step: FLOPs, peak bytes beside the state, and its collectives by what they carry."""

    flops: int
    peak: int
    messages: dict[str, list[Message]]


def step_cost(run: Run, *, products: int = 0, pool: int = 1) -> StepCost:
    """Count the first step of one member. `products` and `pool` are those of `traffic`."""
    meter, logs = counted(run, 0)
    messages = traffic(run, products=products, pool=pool, channels=meter.channels, logs=logs)
    return StepCost(meter.flops, meter.peak, messages)


def counted(run: Run, number: int) -> tuple[Meter, Logs]:
    """Count step `number` of one member on paper, or while it runs if its networks need the numbers of a tensor."""
    one = 0 if run.ensemble else None
    state, draws = member(run.state, one), run.draws(number)
    draws = tree_map(lambda leaf: leaf[0], draws) if run.ensemble else draws
    try:
        meter, (_, logs) = on_paper(run.step, state, draws)
    except RuntimeError:
        with Meter() as meter:
            _, logs = run.step(state, draws)
    return meter, logs


def state_bytes(state: State) -> dict[str, int]:
    """Bytes of a state by what they are for."""
    return {
        "parameters": nbytes(state.params),
        "moments": nbytes(state.moments),
        "averages": nbytes(state.average),
        "buffers": nbytes((state.buffers, state.scalars)),
    }


def nbytes(tree: Any) -> int:
    """Bytes of all tensors in a tree.

    >>> import torch
    >>> nbytes({"D": torch.zeros(2, 3)})
    24
    """
    return sum(leaf.nbytes for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))


def device_bytes(run: Run, peak: int, processes: int = 1) -> float:
    """Bytes that the device of one of `processes` needs at the peak of a step, without the data: an upper bound.

    `peak` are the bytes beside the state of one member's step with all rows.
    """
    members, sharing = spread(len(run.members), processes)
    share = largest_part(run, sharing)
    state, params = (nbytes(tree) / len(run.members) for tree in (run.state, run.state.params))
    batch = nbytes(run.draws(0)) / len(run.members)
    fixed = min(peak, state + TEMPORARIES * params)
    return members * (state + share * batch + device_peak(peak, fixed, share))


def largest_part(run: Run, processes: int) -> float:
    """The largest share that one of `processes` has of the rows of any field, in one part of the batch."""
    rows = [of.shape[0] // run.game.parts for of in run.game.fields.values() if of.shape]
    return max((largest_share(count, processes) for count in rows), default=1.0)


def parameters(run: Run) -> dict[str, int]:
    """The number of parameters of each player."""
    return {
        name: sum(p.numel() for p in player.network.module.parameters())
        for name, player in run.game.players.items()
    }
