"""The global generators of torch, numpy and Python, seeded for a block of other people's code."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from steadygan.rng import generator

__all__ = ["seeded_globals"]


@contextmanager
def seeded_globals(*key: object) -> Iterator[None]:
    """Inside the block the numbers of torch, numpy and Python are functions of `key`. Afterwards all go on as before.

    >>> with seeded_globals(7, "forward"):
    ...     a = random.random()
    >>> with seeded_globals(7, "forward"):
    ...     a == random.random()
    True
    """
    g, before = generator(*key), (random.getstate(), np.random.get_state())
    with torch.random.fork_rng(devices=[]):
        torch.random.set_rng_state(g.get_state())
        random.seed(g.initial_seed())
        np.random.seed(g.initial_seed() % 2**32)
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])
