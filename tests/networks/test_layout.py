"""Channels-last is left where torch's gradients differ from those in the plain layout."""

import pytest
import torch
from torch import nn

from steadygan import config
from steadygan.build import build
from steadygan.networks import layout
from steadygan.networks.layout import suits_channels_last

CPU, CUDA, MPS = (torch.device(name) for name in ("cpu", "cuda", "mps"))
PADDED, PLAIN = nn.Sequential(nn.Conv2d(1, 1, 3), nn.AvgPool2d(3, 2, 1)), nn.Sequential(nn.AvgPool2d(2))


@pytest.fixture(params=[True, False], ids=["right", "wrong"])
def right(request, monkeypatch) -> bool:
    """What a GPU's padded pooling would be found to be."""
    monkeypatch.setattr(layout, "_pools_right", lambda device: request.param)
    return request.param


def test_only_padded_pooling_of_a_gpu_that_has_it_wrong_is_left_out(right):
    assert suits_channels_last(PADDED, CUDA) == right
    assert suits_channels_last(nn.AvgPool2d(3, padding=(0, 1)), CUDA) == right
    for module, device in ((PLAIN, CUDA), (nn.MaxPool2d(3, 2, 1), CUDA), (PADDED, CPU), (nn.ReLU(), MPS)):
        assert suits_channels_last(module, device)
    assert not suits_channels_last(PLAIN, MPS), "its pooling ends the process"


def test_the_trial_sees_a_gradient_that_is_shifted_by_the_padding(monkeypatch):
    """As torch's kernel for a GPU was wrong: it took a pixel's place in the image for its place in the padded one."""
    assert layout._pools_right.__wrapped__(CPU)
    plain = layout._gradient

    def shifted(device, memory):
        found = plain(device, memory)
        return found.roll((1, 1), (2, 3)) if memory == torch.channels_last else found

    monkeypatch.setattr(layout, "_gradient", shifted)
    assert not layout._pools_right.__wrapped__(CPU)


def test_the_gradient_of_the_trial_is_that_by_hand():
    """Of 25 pixels, each in one, two or four of the nine windows whose weights are 1 to 9."""
    found = layout._gradient(CPU, torch.channels_last)[0, 0] * 9
    first = [[1, 1 + 2, 2, 2 + 3, 3], [1 + 4, 1 + 2 + 4 + 5, 2 + 5, 2 + 3 + 5 + 6, 3 + 6]]
    torch.testing.assert_close(found[:2], torch.tensor(first).float())


@pytest.mark.parametrize("networks", ["far_resnet", "dcgan"])
def test_a_run_leaves_it_to_the_networks_that_suit(networks, right, monkeypatch):
    monkeypatch.setattr(
        "steadygan.build.assemble.suits_channels_last",
        lambda module, device: suits_channels_last(module, CUDA),
    )
    made = {
        "data": "digits",
        "networks": {"name": networks, "width": 2},
        "channels_last": True,
        "optimizer": {"name": "sgd", "lr": 0.1},
        "steps": 1,
    }
    players = build(config.parse(made)).game.players
    found = {name: player.network.channels_last for name, player in players.items()}
    assert found == {"G": True, "D": right or networks == "dcgan"}
