"""Which rows of a batch a process has, where several take a step together."""

from typing import NamedTuple

import torch
from torch import Tensor

from steadygan.parallel import split

__all__ = ["WHOLE", "Share"]


class Share(NamedTuple):
    """The place of a process among `size` that share the rows of every draw. The shares differ by at most one row."""

    rank: int = 0
    size: int = 1

    def ranges(self, count: int, parts: int = 1) -> list[range]:
        """Return this rank's rows of each of the `parts` equal parts of `count` rows.

        >>> Share(1, 3).ranges(8), Share(1, 2).ranges(8, parts=2)
        ([range(2, 5)], [range(2, 4), range(6, 8)])
        """
        each = count // parts
        sizes = split(each, self.size)
        low = sum(sizes[: self.rank])
        high = low + sizes[self.rank]
        return [range(part * each + low, part * each + high) for part in range(parts)]

    def of(self, count: int, parts: int = 1) -> Tensor:
        """Return the indices of this rank's rows, in the order of its draws: int64 [rows].

        >>> Share(1, 2).of(8, parts=2)
        tensor([2, 3, 6, 7])
        """
        return torch.cat([torch.arange(rows.start, rows.stop) for rows in self.ranges(count, parts)])


WHOLE = Share()
"""The share of a process that is alone."""
