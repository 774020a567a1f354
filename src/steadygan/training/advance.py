"""From one step of a run to a later one: what the training loop does between two events.

A large ensemble trains in blocks of members. Each block takes all steps up to the next event before the next block
begins. So its numbers stay in the processor's cache, and one compiled program serves all blocks.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from steadygan.game import Draw, Logs, State
from steadygan.game.state import Step

__all__ = ["TOGETHER", "Advance", "advancing", "blocks"]

TOGETHER = 16
"""Members in a block of a compiled ensemble on a CPU. Fewer share less of a call, and more leave the cache: a run of
FARGAN's MLPs costs 1.4 times as much in one block of 64, and 1.9 times in one of 256."""

Advance = Callable[[State, int, int], tuple[State, State, Logs]]
"""`advance(state, first, last) -> (before, state, logs)`: from the state after `first` steps to the states after
`last - 1` and `last` steps, and to the logs of the last one."""


def advancing(
    step: Step, draws: Callable[[int], Sequence[Draw]], *, together: int | None = None, stretch: int = 1
) -> Advance:
    """Take one step after the other, each with its own draw.

    At most `together` members of an ensemble advance as one block (None: all do). A block takes at most `stretch` steps
    before the next block begins: those whose draws are made together.
    """

    def steps(state: State, first: int, last: int) -> tuple[State, State, Logs]:
        for number in range(first, last):
            before = state
            state, logs = step(before, draws(number))
        return before, state, logs

    def block(state: State, first: int, last: int, rows: slice) -> tuple[State, State, Logs]:
        # A copy: the rounding of a library's product may depend on where a matrix begins in memory.
        state = tree_map(lambda t: t[rows].clone(), state)
        for number in range(first, last):
            before, batch = state, draws(number)
            state, logs = step(before, [{name: t[rows] for name, t in draw.items()} for draw in batch])
        return before, state, logs

    def advance(state: State, first: int, last: int) -> tuple[State, State, Logs]:
        members = state.scalars["step"].numel()
        if together is None or members <= together:
            return steps(state, first, last)
        each = blocks(members, together)
        for start, end in _stretches(first, last, stretch):
            before, state, logs = _joined([block(state, start, end, rows) for rows in each], members)
        return before, state, logs

    return advance


def blocks(members: int, together: int) -> list[slice]:
    """Return blocks of equal size that cover all members: the last one may begin within the one before.

    >>> blocks(40, 16)
    [slice(0, 14, None), slice(14, 28, None), slice(26, 40, None)]
    """
    count = -(-members // together)
    size = -(-members // count)
    return [slice(start, start + size) for start in (min(k * size, members - size) for k in range(count))]


def _stretches(first: int, last: int, length: int) -> Iterator[tuple[int, int]]:
    """The steps from `first` to `last`, up to each multiple of `length`, where the next draws are made."""
    while first < last:
        end = min(last, first - first % length + length)
        yield first, end
        first = end


def _joined(parts: list[tuple[State, State, Logs]], members: int) -> tuple[State, State, Logs]:
    """The blocks' results as one. Of the last block only the rows that no other block has."""

    def whole(*each: Tensor) -> Tensor:
        *full, last = each
        return torch.cat([*full, last[sum(map(len, [*full, last])) - members :]])

    return tree_map(whole, *parts)
