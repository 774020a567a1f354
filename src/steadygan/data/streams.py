"""Samples that are read while training goes on, in an order that is a function of (seed, epoch).

A stream is read in blocks, and a block is shuffled as a whole. So the sample of a number is found by arithmetic: the
step is the whole position, and a place in the stream only saves reading what lies before it.
"""

import hashlib
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from operator import length_hint
from threading import Lock
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from steadygan.data.seeding import seeded_globals
from steadygan.errors import DataNote, UsageError
from steadygan.rng import generator

__all__ = ["Opened", "Place", "Reader", "Stream", "permuted"]

KEPT = 64
"""Places that a reader remembers, the newest ones: a diverged run goes back by a few blocks."""

LONG = 10.0
"""Seconds from which a search for a sample is mentioned."""

Sample = tuple[Tensor, int]
"""A sample, and its label: 0 where there are no classes."""


class Opened(NamedTuple):
    """The raw items of an epoch, and the function that returns the source's state after those that were taken.

    The state is plain data that JSON keeps, or None where the source has no such state.
    """

    items: Iterator[Any]
    state: Callable[[], Any] = lambda: None


class Stream(NamedTuple):
    """A source of samples, epoch after epoch.

    - `start(seed, epoch, state)` begins an epoch, or goes on in it from a `state` that the source has given. The items
      of an epoch must be the same, in the same order, whenever it is begun.
    - `decode(item)` makes a sample of a raw item. It is called for the samples of this process alone.
    - `block` items are read at a time. With `shuffled` their order is a function of (seed, epoch, block).
    - `random` says what may draw from the generators of torch, numpy and Python: reading `items`, or `decode`. They are
      seeded for it.
    """

    start: Callable[[int, int, Any], Opened]
    decode: Callable[[Any], Sample]
    block: int = 1
    shuffled: bool = False
    random: Literal["", "items", "decode"] = ""


class Place(NamedTuple):
    """Where a block begins: the number of its first sample, the epoch, the number at which that began, the state.

    `seen` is a hash of some of the block's samples, where it is known.
    """

    number: int = 0
    epoch: int = 0
    began: int = 0
    state: Any = None
    seen: str = ""


def permuted(length: int, seed: int, epoch: int, state: Any = None) -> Opened:
    """The indices of a source of known length, in the order in which finite data are read. The state counts them.

    >>> opened = permuted(3, 0, 0)
    >>> sorted(opened.items), opened.state(), list(permuted(3, 0, 0, state=3).items)
    ([0, 1, 2], 3, [])
    """
    order = torch.randperm(length, generator=generator(seed, "epoch", epoch))
    left = iter(range(state or 0, length))
    return Opened((int(order[place]) for place in left), lambda: length - length_hint(left))


class Reader:
    """Callable `reader(numbers) -> samples`: those samples of a stream that have these numbers under one seed.

    Samples are numbered through all epochs. The reader keeps the raw items of one block. Numbers that grow are read on;
    a smaller one is searched from the nearest place that is known. A DataNote says where a source does not go on as it
    did before. Raises UsageError if the first epoch has fewer than `least` samples.
    """

    def __init__(self, stream: Stream, seed: int, least: int = 1) -> None:
        """Read nothing yet."""
        self.stream, self.seed, self.least = stream, seed, least
        self.places: deque[Place] = deque(maxlen=KEPT)
        self.resumed: Place | None = None  # marked by another reader, and not reached yet
        self.trusted = True  # the source's own state
        self.place: Place | None = None
        self.items: list[Any] = []
        self.order: Sequence[int] = ()
        self.opened = Opened(iter(()))
        self.lock = Lock()  # samples may be read ahead in another thread

    def __call__(self, numbers: Iterable[int]) -> list[Sample]:
        """Return the samples of these numbers, in their order."""
        with self.lock:
            return [self._sample(number) for number in numbers]

    def place_of(self, number: int) -> Place | None:
        """The nearest known place at or before a number, if there is one."""
        known = [place for place in self.places if place.number <= number]
        return max(known, key=lambda place: place.number, default=None)

    def mark(self, number: int) -> Place:
        """The place at or before a number from which another reader of this stream and seed can resume."""
        with self.lock:
            found = self.place_of(number) or Place()
            here = self.place is not None and found.number == self.place.number
            return found._replace(seen=self._seen()) if here else found

    def resume(self, place: Place) -> None:
        """Go on from a place that another reader of this stream and seed has marked."""
        with self.lock:
            self.resumed = place
            self.places.append(place)

    def _sample(self, number: int) -> Sample:
        began = self._begin(number)
        raw = self.items[self.order[number - began]]
        with self._seeded("decode", number):
            return self.stream.decode(raw)

    def _begin(self, number: int) -> int:
        """Read the block that has this number. Returns the number of its first sample."""
        best = self.place_of(number) or Place()
        if self.place is None or not best.number <= self.place.number <= number:
            self._open(best)
        began, blocks = time.monotonic(), 0
        while number >= self._place().number + len(self.items):
            self._read_on()
            blocks += 1
        if blocks > 1 and time.monotonic() - began > LONG:
            _warn(
                f"sample {number:,} of the stream was found after {time.monotonic() - began:.0f} s, because those "
                "before it had to be read: a dataset with state_dict() and load_state_dict() resumes at once"
            )
        return self._place().number

    def _place(self) -> Place:
        assert self.place is not None
        return self.place

    def _open(self, place: Place) -> None:
        """Begin at a place, or at the beginning of its epoch where the source has no state."""
        if place.state is None:
            place = place._replace(number=place.began)
        self.place, self.items = place, []
        with self._seeded("items", place.epoch):
            self.opened = self.stream.start(self.seed, place.epoch, place.state)

    def _read_on(self) -> None:
        """Read the next block, which may be the first of the next epoch."""
        here = self._place()
        number = here.number + len(self.items)
        place = here if not self.items else Place(number, here.epoch, here.began, self._state())
        items = self._block(place)
        if not items:
            self._check_length(here.epoch, number - here.began)
            place = Place(number, here.epoch + 1, number)
            self._open(place)
            items = self._block(place)
            self._check_length(place.epoch, len(items))
        self.place, self.items, self.order = place, items, self._order(place, len(items))
        if self.resumed and place.number == self.resumed.number:
            self._check_resumed(self.resumed)
        elif not self.places or place.number > self.places[-1].number:
            self.places.append(place)

    def _state(self) -> Any:
        return self.opened.state() if self.trusted else None

    def _check_resumed(self, known: Place) -> None:
        """Compare the block with that of the reader that marked its place. A state that loses samples is dropped."""
        self.resumed = None
        if known.seen in ("", self._seen()):
            return
        if known.state is None:
            _warn(
                "the stream gives other samples than before the stop, so the run is not the same as one without it"
            )
            return
        _warn(
            "the stream's own state leads to other samples than before: its epoch is read again from the beginning"
        )
        self.trusted, self.resumed = False, known._replace(state=None)
        self.places.clear()
        self._open(self.resumed)

    def _seen(self) -> str:
        """A hash of up to four samples of the block."""
        digest = hashlib.sha256()
        for place in range(0, len(self.items), -(-len(self.items) // 4)):
            with self._seeded("decode", -1):
                x, y = self.stream.decode(self.items[place])
            digest.update(x.contiguous().view(torch.uint8).numpy().tobytes() + str(y).encode())
        return digest.hexdigest()[:32]

    def _block(self, place: Place) -> list[Any]:
        with self._seeded("items", place.epoch, place.number - place.began):
            return list(islice(self.opened.items, self.stream.block))

    def _order(self, place: Place, count: int) -> Sequence[int]:
        if not self.stream.shuffled:
            return range(count)
        g = generator(self.seed, "block", place.epoch, place.number - place.began)
        return torch.randperm(count, generator=g).tolist()

    def _check_length(self, epoch: int, count: int) -> None:
        """Raise UsageError for an epoch without samples, and for a first epoch with fewer than a step takes."""
        if not count:
            raise UsageError(
                f"the stream has no samples in epoch {epoch}: it must begin anew with each iter()"
            )
        if epoch == 0 and count < self.least:
            raise UsageError(
                f"the stream has {count} samples, fewer than the {self.least} that a step takes: choose a smaller batch"
            )

    def _seeded(self, what: str, *key: int) -> AbstractContextManager[None]:
        return seeded_globals(self.seed, what, *key) if self.stream.random == what else nullcontext()


def _warn(text: str) -> None:
    warnings.warn(text, DataNote, stacklevel=2)
