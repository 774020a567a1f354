"""The cost of a step, counted on paper: FLOPs, bytes of memory, and what processes tell each other."""

from collections import Counter
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from steadygan.build import Run
from steadygan.errors import UsageError
from steadygan.game import Draws, State
from steadygan.game.state import member
from steadygan.networks.global_batch_norm import globally_normalized
from steadygan.parallel import Processes, over
from steadygan.runs.team import check_rows
from steadygan.training.flop_meter import Meter, on_paper
from steadygan.training.scaling import Message

__all__ = ["StepCost", "nbytes", "parameters", "state_bytes", "step_cost"]


class StepCost(NamedTuple):
    """The cost of one member's step on one process: FLOPs, bytes of state and draw, and beside them at the peak.

    `messages` are what it tells the processes that share the rows.
    """

    flops: int
    state: int
    batch: int
    peak: int
    messages: list[Message]

    @property
    def memory(self) -> int:
        """Bytes that the device needs at the peak of the step, without the data."""
        return self.state + self.batch + self.peak


def step_cost(run: Run, number: int = 0, processes: int = 1) -> StepCost:
    """Count step `number` of one member. Of `processes` that share its rows, it is one with most of them.

    The step itself is counted, on paper, and runs nowhere. Only a step whose networks need the numbers of a tensor is
    counted while it runs. Raises UsageError for such a one on several processes, and for processes without rows.
    """
    check_rows(run, processes)
    if processes > 1:
        for player in run.game.players.values():
            globally_normalized(player.network.module)
    state = member(run.state, 0 if run.ensemble else None)
    draws = _draws(run, number, processes)
    try:
        with over(Processes(processes - 1, processes, "on paper")):
            meter, _ = on_paper(run.step, state, draws)
    except RuntimeError as error:
        if processes > 1:
            raise UsageError(
                "the networks need the numbers of a tensor, so what several processes do cannot be counted: leave out "
                "--processes"
            ) from error
        with Meter() as meter:
            run.step(state, draws)
    messages = [Message(size, times) for size, times in Counter(meter.sums).items()]
    return StepCost(meter.flops, nbytes(state), nbytes(draws), meter.peak, messages)


def _draws(run: Run, number: int, processes: int) -> list[dict[str, Tensor]]:
    """One member's draws of a step, of which the last of `processes` has as many rows as any."""
    if processes == 1:
        draws = run.draws(number)
        return tree_map(lambda leaf: leaf[0], draws) if run.ensemble else draws
    seeds, share = run.draws.seeds[:1], Processes(processes - 1, processes)
    last = Draws(
        run.game, run.rule.rounds, run.data, seeds, members=False, dtype=run.draws.dtype, share=share
    )
    return last(number)


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


def parameters(run: Run) -> dict[str, int]:
    """The number of parameters of each player."""
    return {
        name: sum(p.numel() for p in player.network.module.parameters())
        for name, player in run.game.players.items()
    }
