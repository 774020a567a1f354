"""A part of a finite set, always the same one: the small-data regime, and quick runs."""

import hashlib

import torch

from steadygan.data.contract import Data
from steadygan.errors import UsageError

__all__ = ["subset"]


def subset(data: Data, count: int | None, seed: int = 0) -> Data:
    """At most `count` rows of a finite set, drawn at random by `seed`, in their order, with their labels.

    A smaller part lies within a larger one of the same seed. What is held out stays whole; of a set without published
    test samples, all that is not taken is held out. Raises UsageError for a stream.

    >>> from steadygan.data import gaussian
    >>> len(subset(gaussian(size=100), 10).rows)
    10
    """
    if count is None:
        return data
    if data.rows is None:
        raise UsageError(
            f"data {data.name} is a stream and has no rows to take {count} of: leave out data.limit"
        )
    if count >= len(data.rows):
        return data
    key = hashlib.blake2b(repr((seed, "limit", data.name)).encode(), digest_size=8).digest()
    g = torch.Generator().manual_seed(int.from_bytes(key, "big") >> 1)
    rows, order = data.rows, torch.randperm(len(data.rows), generator=g)
    chosen = order[:count].sort().values
    labels = None if data.labels is None else data.labels[chosen]
    held = data.held or (lambda: rows[order[count:].sort().values])
    return data._replace(rows=rows[chosen], labels=labels, mapped=None, held=held)
