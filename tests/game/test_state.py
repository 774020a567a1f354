"""A state counts as finite exactly while each of its numbers is, however large they are."""

import pytest
import torch
from torch import Tensor, nn

from steadygan.game import State
from steadygan.game.state import averaged, finite

LARGEST = torch.finfo(torch.float32).max


def state(weights: Tensor, moments: dict[str, dict[str, Tensor]]) -> State:
    return State({"G": torch.ones(3), "D": weights}, {}, moments, {}, {})


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("place", [0, 7, 99])
def test_one_number_that_is_not_finite_is_found_among_weights_and_moments(bad, place):
    vector = torch.linspace(-3, 3, 100)
    broken = vector.clone()
    broken[place] = bad
    assert finite(state(vector, {"D": {"square": vector}})) == 1
    assert finite(state(broken, {"D": {"square": vector}})) == 0
    assert finite(state(vector, {"D": {"square": broken}})) == 0


@pytest.mark.parametrize(
    "vector", [torch.full((9,), LARGEST), torch.tensor([LARGEST, -LARGEST] * 4), torch.zeros(0)]
)
def test_large_numbers_whose_sum_would_overflow_are_finite_and_so_is_nothing(vector):
    assert finite(state(vector, {})) == 1


def test_infinities_that_would_cancel_are_found():
    assert finite(state(torch.tensor([torch.inf, -torch.inf, 0.0]), {})) == 0


def test_members_of_an_ensemble_are_told_apart():
    weights = torch.ones(3, 5)
    weights[1, 2] = torch.nan
    given = {"G": torch.ones(3, 4), "D": weights}
    assert torch.vmap(lambda params: finite(State(params, {}, {}, {}, {})))(given).tolist() == [1, 0, 1]


def test_statistics_of_a_layer_that_is_frozen_are_not_averaged():
    assert averaged(nn.BatchNorm1d(2).eval()) == set()
    assert averaged(nn.BatchNorm1d(2)) == {"running_mean", "running_var"}
