"""Random numbers of torch, numpy and Python inside a block are a function of its key, and go on after it."""

import random

import numpy as np
import pytest
import torch

from steadygan.data.seeding import seeded_globals


def numbers():
    return random.random(), np.random.rand(), torch.rand(()).item()


def test_the_numbers_of_all_three_are_functions_of_the_key_and_go_on_afterwards():
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    plain = [numbers() for _ in range(2)]
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    seen = [numbers()]
    inside = []
    for key in (7, 7, 8):
        with seeded_globals(key, "forward"):
            inside.append(numbers())
    with pytest.raises(KeyError), seeded_globals(7):
        raise KeyError
    assert [*seen, numbers()] == plain
    assert inside[0] == inside[1]
    assert not set(inside[0]) & set(inside[2])
