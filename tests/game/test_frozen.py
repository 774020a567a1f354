"""Parameters with requires_grad=False keep their values; the others move as in a loop that trains them alone."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from steadygan.data.dataset import Data
from steadygan.dynamics import alternating
from steadygan.errors import UsageError
from steadygan.game import Draws, Network, carried, flatten, unflatten
from steadygan.game.optimizers import adam
from steadygan.game.state import complete, initial
from steadygan.games import gan
from steadygan.losses import non_saturating


def pair():
    torch.manual_seed(0)
    G = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    D = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1), nn.Flatten(0)).double()
    D[0].requires_grad_(False)
    G[2].bias.requires_grad_(False)
    return {"G": G, "D": D}


def test_a_network_without_a_trainable_parameter_keeps_its_precision():
    frozen = nn.Linear(2, 3).half().requires_grad_(False)
    network = Network(frozen)
    x = torch.ones(4, 2, dtype=torch.float16)
    found = network(torch.zeros(0), carried(frozen), x)
    assert torch.equal(found, frozen(x))
    assert found.dtype == torch.float16


@pytest.mark.parametrize("counts", [(0, 1), (-3, 1), (1, 0), (2, 2)])
def test_counts_of_steps_that_train_nothing_are_refused(counts):
    nets = pair()
    game = gan(Network(nets["G"]), Network(nets["D"]), non_saturating, shape=(2,), batch=16, latent=3)
    with pytest.raises(UsageError, match=r"choose 1 or more|set one of"):
        alternating(game, {name: adam(lr=0.01) for name in nets}, n_critic=counts[0], n_generator=counts[1])


def test_frozen_parameters_stay_and_the_others_move_as_in_a_plain_loop():
    nets, plain = pair(), pair()
    data = Data("rows", (2,), rows=torch.randn(50, 2, dtype=torch.float64))
    game = gan(Network(nets["G"]), Network(nets["D"]), non_saturating, shape=(2,), batch=16, latent=3)
    optimizers = {name: adam(lr=0.01) for name in nets}
    rule = alternating(game, optimizers)
    draws = Draws(game, rule.rounds, data, [0], members=False, dtype=torch.float64)
    state = initial(copy.deepcopy(nets), optimizers, ("G",), dtype=torch.float64, rule=rule)
    step = complete(rule, game, 0.5)
    torch_rules = {
        name: torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=0.01)
        for name, net in plain.items()
    }
    G, D = plain["G"], plain["D"]
    for number in range(5):
        for_D, for_G = draws(number)
        state, _ = step(state, draws(number))
        torch_rules["D"].zero_grad()
        loss = F.softplus(-D(for_D["x_real"])).mean() + F.softplus(D(G(for_D["z"]).detach())).mean()
        loss.backward()
        torch_rules["D"].step()
        torch_rules["G"].zero_grad()
        F.softplus(-D(G(for_G["z"]))).mean().backward()
        torch_rules["G"].step()
    for name, net in plain.items():
        moved = unflatten(nets[name], state.params[name])
        assert {*moved, *carried(nets[name])} == {key for key, _ in net.named_parameters()}
        for key, p in net.named_parameters():
            found = moved[key] if p.requires_grad else state.buffers[name][key]
            torch.testing.assert_close(found, p.detach(), rtol=1e-10, atol=1e-12)
            assert p.requires_grad or torch.equal(found, dict(nets[name].named_parameters())[key])
    assert torch.equal(state.average["G"]["2.bias"], G[2].bias.detach())


def test_a_module_without_trainable_parameters_is_an_empty_vector():
    assert flatten(nn.Linear(2, 2).requires_grad_(False)).shape == (0,)
