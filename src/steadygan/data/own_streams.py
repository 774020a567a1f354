"""Datasets of torch and of Hugging Face that are read while training goes on."""

import copy
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any

import torch

from steadygan.data.dataset import Data
from steadygan.data.items import LABELS, check_dataset, indexed, item_error, sample, split
from steadygan.data.reading import ARRAYS, with_held
from steadygan.data.seeding import seeded_globals
from steadygan.data.stream_data import REFERENCE, SHUFFLE, streamed, warned
from steadygan.data.streams import Opened, Stream, permuted
from steadygan.errors import UsageError, said
from steadygan.rng import generator

__all__ = ["chosen", "stream", "stream_of"]

TRIED = 3
"""Items that are read twice, to see whether a dataset gives the same ones again."""

Note = Callable[[str], None]


def stream(
    dataset: Any,
    *,
    classes: int | None = None,
    reference: int = REFERENCE,
    shuffle: int = SHUFFLE,
    held: Any = None,
    note: Note = warned,
) -> Data:
    """The data set of a dataset, of torch or of Hugging Face, that is read while training goes on.

    - `classes`: how many classes the labels of its pairs (sample, label) have. None: those that the dataset itself
      tells, by `features` or `classes`. Without any, labels are left out.
    - `reference`: how many samples are kept in memory. They stand for the stream in scores and pictures: the first
      ones, or those of a map-style dataset chosen at random.
    - `shuffle`: how many samples of an iterable dataset are read at a time and put into a random order. 1 keeps the
      dataset's own. A map-style dataset is read in a new random order every epoch.
    - `held`: samples held out of training, as a tensor, an array or a dataset.

    The order is a function of (seed, epoch). An iterable dataset must begin anew with each iter(); its method
    set_epoch(epoch) is called if it has one. With state_dict() and load_state_dict() a resumed run does not read again
    what it has read. `note` gets a sentence where resume is not exact, by default as a DataNote (a warning). Raises
    UsageError for a dataset whose items are no samples.

    >>> class Numbers(torch.utils.data.IterableDataset):
    ...     def __iter__(self):
    ...         return (torch.full((2,), float(n)) for n in range(100))
    >>> found = stream(Numbers(), reference=10)
    >>> found.shape, len(found.rows)
    ((2,), 10)
    """
    if reference < 2 or shuffle < 1:
        raise UsageError("a stream keeps 2 samples or more as reference, and shuffles 1 or more at a time")
    check_dataset(dataset)
    if isinstance(dataset, (*ARRAYS, Iterator)):
        raise UsageError(
            f"data of type {type(dataset).__name__} are no stream: give a dataset of torch that begins anew with each "
            "iter()"
        )
    data = stream_of(dataset, classes=classes, reference=reference, shuffle=shuffle, note=note)
    return with_held(data, held)


def stream_of(
    dataset: Any,
    first: list[Any] | None = None,
    *,
    classes: int | None = None,
    reference: int = REFERENCE,
    shuffle: int = SHUFFLE,
    note: Note,
) -> Data:
    """The same for a dataset that is known to be one. `first` are its first items, where they have been read."""
    known = _classes(dataset) if classes is None else classes
    if indexed(dataset):
        source = Stream(
            partial(permuted, len(dataset)), partial(_item, dataset), block=SHUFFLE, random="decode"
        )
        one: Iterable[Any] = chosen(len(dataset), reference)
    else:
        source = _iterable(dataset, shuffle, note)
        one = _items(source) if first is None else first
    with seeded_globals("data"):
        return streamed("own", source, source.decode, one, classes=known, reference=reference, note=note)


def chosen(length: int, count: int) -> list[int]:
    """The indices of `count` samples of a map-style dataset, chosen at random and always the same, in random order.

    >>> sorted(chosen(3, 5))
    [0, 1, 2]
    """
    return torch.randperm(length, generator=generator("reference", "stream"))[:count].tolist()


def _parts(item: Any) -> tuple[Any, ...]:
    first, *label = split(item)
    return sample(first), *label


def _classes(dataset: Any) -> int:
    """The number of classes that a dataset tells by its `features` or `classes`, 0 if it tells none."""
    features, names = (getattr(dataset, key, None) for key in ("features", "classes"))
    if isinstance(features, Mapping):
        return next((n for key in LABELS if (n := getattr(features.get(key), "num_classes", 0))), 0)
    return len(names) if isinstance(names, list | tuple) else 0


@contextmanager
def _own_words(dataset: Any) -> Iterator[None]:
    """Inside the block the caller's dataset is read: what it raises becomes a UsageError with its words."""
    try:
        yield
    except UsageError:
        raise
    except Exception as error:  # whatever the caller's dataset raises
        raise item_error(dataset, error) from error


# ------------------------------------------------------------------------------------------------------- map-style


def _item(dataset: Any, index: int) -> tuple[Any, ...]:
    with _own_words(dataset):
        return _parts(dataset[index])


# -------------------------------------------------------------------------------------------------------- iterable


def _iterable(dataset: Any, shuffle: int, note: Note) -> Stream:
    """An iterable dataset as a source, with its own state where that is exact."""
    source = Stream(_starts(dataset), _parts, block=shuffle, shuffled=shuffle > 1, random="items")
    plain = source._replace(
        start=lambda seed, epoch, state: source.start(seed, epoch, None)._replace(state=_none)
    )
    once, again = (_some(plain)[0] for _ in range(2))
    if not again:
        raise UsageError(
            f"{type(dataset).__name__} has no items, or none when it is read again: its __iter__ must begin anew every "
            "time"
        )
    if not _alike(once, again):
        note(
            f"{type(dataset).__name__} gives other samples when it is read again: resume is not exact, and several "
            "processes do not share one batch; leave shuffling to shuffle=, or seed it by set_epoch(epoch)"
        )
    return source if _resumes(source, dataset, note) else plain


def _items(source: Stream) -> Iterator[Any]:
    """The items of the first epoch, which begins when they are asked for."""
    yield from source.start(0, 0, None).items


def _none() -> None:
    """No state."""


def _starts(dataset: Any) -> Callable[[int, int, Any], Opened]:
    """The function that begins an epoch of the dataset."""
    fresh = copy.deepcopy(dataset.state_dict()) if hasattr(dataset, "load_state_dict") else None
    newest: list[object] = []

    def start(seed: int, epoch: int, state: Any) -> Opened:
        with _own_words(dataset):
            if hasattr(dataset, "set_epoch"):
                dataset.set_epoch(epoch)
            if hasattr(dataset, "load_state_dict"):
                dataset.load_state_dict(copy.deepcopy(fresh if state is None else state))
            found = iter(dataset)
            if state is not None and hasattr(found, "load_state_dict"):
                found.load_state_dict(state)
        holder = next((each for each in (found, dataset) if hasattr(each, "state_dict")), None)
        newest[:] = [found]
        # A dataset has the state of its newest iterator alone.
        return Opened(_guarded(dataset, found), lambda: _plain(holder) if newest == [found] else None)

    return start


def _guarded(dataset: Any, found: Iterator[Any]) -> Iterator[Any]:
    with _own_words(dataset):
        yield from found


def _plain(holder: Any) -> Any:
    """The state of a dataset as plain data, None where it has none or JSON cannot keep it."""
    try:
        return json.loads(json.dumps(holder.state_dict())) if holder is not None else None
    except (TypeError, ValueError):
        return None


def _resumes(source: Stream, dataset: Any, note: Note) -> bool:
    """Whether a dataset goes on where its own state says. A shuffle buffer, for one, is not in the state."""
    if not hasattr(dataset, "state_dict") and not hasattr(iter(dataset), "state_dict"):
        return False
    try:
        _, opened = _some(source)
        state = opened.state()
        with seeded_globals("next"):
            expected = list(islice(opened.items, TRIED))
        if state is not None and _alike(expected, _some(source, state)[0]):
            return True
        why = "it is no plain data" if state is None else "other samples follow"
    except UsageError as error:
        why = said(error)
    note(
        f"the state of {type(dataset).__name__} is not used ({why}): a resumed run reads again what it has read, and "
        "is exact"
    )
    return False


def _some(source: Stream, state: Any = None) -> tuple[list[Any], Opened]:
    """The first items after a state, or of the first epoch, with the same random numbers every time."""
    with seeded_globals("start"):
        opened = source.start(0, 0, state)
    with seeded_globals("next"):
        return list(islice(opened.items, TRIED)), opened


def _alike(some: list[Any], others: list[Any]) -> bool:
    """Whether two lists have the same samples."""
    pairs = [(_parts(a), _parts(b)) for a, b in zip(some, others)]
    return len(some) == len(others) and all(
        torch.equal(a[0], b[0]) and len(a) == len(b) and str(a[1:]) == str(b[1:]) for a, b in pairs
    )
