"""Data-parallel training on paper: bytes on the wire, seconds of a step, and efficiency.

The model has no overlap: a step is the arithmetic of the slowest process, and after it every message in turn. A message
is an all-reduce, by recursive halving and doubling (Thakur, Rabenseifner and Gropp 2005, section 4.5). A ring sends the
same bytes.
"""

from collections.abc import Iterable
from typing import NamedTuple

__all__ = [
    "LATENCY",
    "Link",
    "Message",
    "Spread",
    "communication",
    "efficiency",
    "most_sharing",
    "sent",
    "spread",
]


LATENCY = 1e-5
"""Seconds before the first byte of a collective's round arrives: usual in one node, and over InfiniBand."""


class Message(NamedTuple):
    """An all-reduce of `size` bytes, so many `times` in a step."""

    size: float
    times: int = 1


class Link(NamedTuple):
    """What connects a process to the others: bytes a second each way, and seconds before the first byte arrives."""

    bandwidth: float
    latency: float


class Spread(NamedTuple):
    """The most members of an ensemble that a process has, and the fewest processes that share the rows of one."""

    members: int
    processes: int


def spread(members: int, processes: int) -> Spread:
    """How an ensemble is spread: by members first, then by rows.

    >>> spread(16, 2), spread(3, 2), spread(1, 8), spread(3, 8)
    (Spread(members=8, processes=1), Spread(members=2, processes=1), Spread(members=1, processes=8), \
Spread(members=1, processes=2))
    """
    return Spread(-(-members // processes), max(1, processes // members))


def most_sharing(members: int, processes: int) -> int:
    """How many processes share the rows of a member, where they are most.

    >>> most_sharing(16, 2), most_sharing(3, 8)
    (1, 3)
    """
    return -(-processes // members)


def sent(messages: Iterable[Message], processes: int) -> float:
    """Bytes that each of W processes sends in a step, and receives: the sum of 2 (W - 1) / W size.

    >>> sent([Message(100.0)], 2), sent([Message(100.0, times=3)], 4)
    (100.0, 450.0)
    """
    return 2 * sum(m.times * m.size for m in messages) * (processes - 1) / processes


def communication(messages: Iterable[Message], processes: int, link: Link) -> float:
    """Seconds of a step's messages among W processes: the sum of 2 (ceil(log2 W) a + (W - 1) / W size / b).

    a is the latency and b the bandwidth of the link.

    >>> communication([Message(100.0)], 2, Link(bandwidth=50.0, latency=0.5))
    3.0
    >>> communication([Message(100.0)], 1, Link(bandwidth=50.0, latency=0.5))
    0.0
    """
    messages = list(messages)
    rounds = (processes - 1).bit_length()  # ceil(log2 W)
    waits = 2 * sum(m.times for m in messages) * rounds * link.latency
    return waits + sent(messages, processes) / link.bandwidth


def efficiency(alone: float, together: float, processes: int) -> float:
    """T_1 / (W T_W): the share of W processes' time that one process alone would need for the same steps.

    >>> efficiency(alone=8.0, together=2.5, processes=4)
    0.8
    """
    return alone / (processes * together)
