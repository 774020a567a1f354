"""Which rows of a draw a process has, where several take a step together."""

import torch
from torch import Tensor

from steadygan.parallel import Processes, rows

__all__ = ["indices", "ranges"]


def ranges(among: Processes, count: int, parts: int = 1) -> list[range]:
    """Return a process's rows of each of the `parts` equal parts of `count` rows.

    >>> ranges(Processes(1, 3), 8), ranges(Processes(1, 2), 8, parts=2)
    ([range(2, 5)], [range(2, 4), range(6, 8)])
    """
    each = count // parts
    here = rows(each, among)
    return [range(part * each + here.start, part * each + here.stop) for part in range(parts)]


def indices(among: Processes, count: int, parts: int = 1) -> Tensor:
    """Return the indices of a process's rows, in the order of its draws: int64 [rows].

    >>> indices(Processes(1, 2), 8, parts=2)
    tensor([2, 3, 6, 7])
    """
    return torch.cat([torch.arange(part.start, part.stop) for part in ranges(among, count, parts)])
