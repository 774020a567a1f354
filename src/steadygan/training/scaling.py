"""Data-parallel training on paper: bytes on the wire, memory of a device, seconds of a step, and efficiency.

The model has no overlap: a step is the arithmetic of the slowest process, and after it every collective in turn.
Each collective costs what recursive halving and doubling costs (Thakur, Rabenseifner and Gropp 2005, sections 4.1 and
4.5). A ring sends the same bytes.
"""

from collections.abc import Iterable
from typing import NamedTuple

__all__ = [
    "LATENCY",
    "Link",
    "Message",
    "Spread",
    "communication",
    "device_peak",
    "efficiency",
    "largest_share",
    "sent",
    "spread",
]


LATENCY = 1e-5
"""Seconds before the first byte of a collective's round arrives: usual in one node, and over InfiniBand."""


class Message(NamedTuple):
    """`times` collectives in a step: an all-reduce of `size` bytes, or with `gather` an all-gather to `size` bytes."""

    size: float
    times: int = 1
    gather: bool = False

    @property
    def passes(self) -> int:
        """How often the bytes travel: an all-reduce is a reduce-scatter and an all-gather."""
        return 1 if self.gather else 2


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


def largest_share(rows: int, processes: int) -> float:
    """The share of `rows` that the process with most of them has: ceil(rows / W) / rows. Without rows it is 1.

    >>> largest_share(64, 4), largest_share(3, 2), largest_share(0, 4)
    (0.25, 0.6666666666666666, 1.0)
    """
    return -(-rows // processes) / rows if rows else 1.0


def sent(messages: Iterable[Message], processes: int) -> float:
    """Bytes that each of W processes sends in a step, and receives: the sum of c (W - 1) / W size.

    c is 2 for an all-reduce and 1 for an all-gather.

    >>> sent([Message(100.0)], 2), sent([Message(100.0, times=3)], 4), sent([Message(100.0, gather=True)], 2)
    (100.0, 450.0, 50.0)
    """
    return sum(m.times * m.passes * m.size for m in messages) * (processes - 1) / processes


def communication(messages: Iterable[Message], processes: int, link: Link) -> float:
    """Seconds of a step's collectives among W processes: the sum of c (ceil(log2 W) a + (W - 1) / W size / b).

    a is the latency and b the bandwidth of the link. c is that of `sent`.

    >>> communication([Message(100.0)], 2, Link(bandwidth=50.0, latency=0.5))
    3.0
    >>> communication([Message(100.0)], 1, Link(bandwidth=50.0, latency=0.5))
    0.0
    """
    messages = list(messages)
    rounds = (processes - 1).bit_length()  # ceil(log2 W)
    waits = sum(m.times * m.passes for m in messages) * rounds * link.latency
    return waits + sent(messages, processes) / link.bandwidth


def efficiency(alone: float, together: float, processes: int) -> float:
    """T_1 / (W T_W): the share of W processes' time that one process alone would need for the same steps.

    >>> efficiency(alone=8.0, together=2.5, processes=4)
    0.8
    """
    return alone / (processes * together)


def device_peak(peak: float, fixed: float, share: float) -> float:
    """An upper bound of a step's peak memory with a `share` of the rows: share peak + (1 - share) fixed.

    `peak` bytes are needed with all rows, and `fixed` bytes without any. Each moment of a step needs bytes that are
    linear in the rows, so the peak is convex in them and lies below the chord.

    >>> device_peak(peak=100.0, fixed=20.0, share=0.25)
    40.0
    """
    return share * peak + (1 - share) * fixed
