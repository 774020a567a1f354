"""Random subsets and blocks of a stream, chosen by a hash of the samples' numbers in the stream."""

import torch
from torch import Tensor

__all__ = ["Subset", "block_of", "chosen", "priorities"]

LAST = torch.iinfo(torch.int64).max


class Subset:
    """At most `keep` rows [d] of a stream in float32: those with the lowest `priorities` (a bottom-k sketch).

    The choice and the order depend on the length of the stream, never on the parts it comes in. The order is
    random, so any slice of `rows` is a random subset. Source: Cohen and Kaplan 2007.

    >>> small = Subset(1, keep=2)
    >>> small.add(torch.tensor([[0.0], [1.0], [2.0]]), start=0)
    >>> small.rows.tolist()
    [[0.0], [2.0]]
    """

    def __init__(self, size: int, keep: int) -> None:
        """Start empty."""
        self.priority = torch.full((keep,), LAST)
        self.kept = torch.zeros(keep, size)

    @property
    def order(self) -> Tensor:
        """The used slots, in order of priority."""
        return self.priority.argsort()[: int((self.priority < LAST).sum())]

    @property
    def rows(self) -> Tensor:
        """The kept rows [k, d], in order of priority."""
        return self.kept[self.order]

    def add(self, rows: Tensor, start: int) -> None:
        """Add the rows with the numbers start, start + 1, ... of the stream."""
        keep = len(self.priority)
        priority = priorities(torch.arange(start, start + len(rows)))
        chosen = torch.cat([self.priority, priority]).topk(keep, largest=False).indices
        fresh = chosen[chosen >= keep] - keep
        gone = torch.ones(keep, dtype=torch.bool)
        gone[chosen[chosen < keep]] = False
        self.kept[gone] = rows[fresh].float()
        self.priority[gone] = priority[fresh]


def priorities(numbers: Tensor) -> Tensor:
    """A random-looking, distinct int64 [n] for each number: the output of SplitMix64 with seed 0.

    Source: Steele 2014 (fast splittable pseudorandom number generators).

    >>> [hex(number % 2**64) for number in priorities(torch.arange(2)).tolist()]
    ['0xe220a8397b1dcdaf', '0x6e789e6aa1b965f4']
    """
    z = (numbers + 1) * _signed(0x9E3779B97F4A7C15)
    z = (z ^ _shifted(z, 30)) * _signed(0xBF58476D1CE4E5B9)
    z = (z ^ _shifted(z, 27)) * _signed(0x94D049BB133111EB)
    return z ^ _shifted(z, 31)


def chosen(total: int, count: int) -> Tensor:
    """Which of `total` samples of a stream are in its random subset of at most `count`: bool [total].

    >>> chosen(3, 2)
    tensor([ True, False,  True])
    """
    order = priorities(torch.arange(total))
    return order <= order.sort().values[:count].max()


def block_of(numbers: Tensor, blocks: int) -> Tensor:
    """The block [n] of each number of a stream: i % blocks, with a random shift for each run of `blocks` numbers.

    Block sizes differ by at most one. Labels that repeat in a cycle are spread over all blocks.

    >>> block_of(torch.arange(12), 3).view(4, 3)
    tensor([[0, 1, 2],
            [0, 1, 2],
            [1, 2, 0],
            [0, 1, 2]])
    """
    return (numbers + priorities(numbers // blocks) % blocks) % blocks


def _signed(number: int) -> int:
    return number - 2**64 if number >= 2**63 else number


def _shifted(z: Tensor, by: int) -> Tensor:
    """z >> by, filled with zeros as for unsigned numbers."""
    return (z >> by) & (2 ** (64 - by) - 1)
