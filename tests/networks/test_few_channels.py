"""Layers that make a few channels, by products: torch's own results, and its own layers wherever they do not pay."""

import pytest
import torch
from torch import nn

from steadygan.networks.few_channels import FEW, MANY, ByProducts, few_channels, own_convolutions

LAYERS = {
    "G's last layer": lambda: nn.ConvTranspose2d(MANY, 3, 4, 2, 1),
    "no bias": lambda: nn.ConvTranspose2d(MANY, 1, 4, 2, 1, bias=False),
    "a larger image": lambda: nn.ConvTranspose2d(MANY, FEW, 3, 2, 1, output_padding=1),
    "uneven": lambda: nn.ConvTranspose2d(MANY, 2, (3, 5), (2, 1), (0, 2), output_padding=(1, 0)),
}
OTHERS = {
    "many channels": lambda: nn.ConvTranspose2d(MANY, FEW + 1, 4, 2, 1),
    "a narrow source": lambda: nn.ConvTranspose2d(MANY - 1, 1, 4, 2, 1),
    "groups": lambda: nn.ConvTranspose2d(2 * MANY, 2, 4, 2, 1, groups=2),
    "dilation": lambda: nn.ConvTranspose2d(MANY, 1, 4, 2, 1, dilation=2),
    "float64": lambda: nn.ConvTranspose2d(MANY, 1, 4, 2, 1).double(),
}


def folds(layer: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, int]:
    """What a layer makes of x inside the block, and how many sums over neighbourhoods it takes for that."""
    with ByProducts(), torch.profiler.profile() as seen:
        made = layer(x)
    return made, sum(event.name == "aten::col2im" for event in seen.events())


@pytest.mark.parametrize("name", LAYERS)
def test_a_product_makes_what_torchs_layer_makes(name):
    torch.manual_seed(0)
    layer = LAYERS[name]()
    x = torch.randn(3, layer.in_channels, 5, 4)
    made, count = folds(layer, x)
    assert count > 0
    torch.testing.assert_close(made.double(), layer.double()(x.double()), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", OTHERS)
def test_all_other_layers_are_torchs_own(name):
    torch.manual_seed(0)
    layer = OTHERS[name]()
    x = torch.randn(3, layer.in_channels, 5, 4).to(layer.weight)
    made, count = folds(layer, x)
    assert count == 0
    assert torch.equal(made, layer(x))


def test_autocast_stays_in_bfloat16():
    layer, x = nn.ConvTranspose2d(MANY, 1, 4, 2, 1), torch.randn(2, MANY, 3, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert folds(layer, x)[0].dtype == torch.bfloat16


def test_a_network_has_few_channels_if_each_of_its_convolutions_has():
    wide, thin = nn.Conv2d(FEW + 1, FEW + 1, 3), nn.Conv2d(FEW, 64, 3)
    assert few_channels([nn.Sequential(thin, nn.Linear(3, 3))])
    assert not few_channels([thin, wide])
    assert not few_channels([nn.Linear(3, 3)])


def test_own_convolutions_end_with_the_block_also_after_an_error():
    before = torch.backends.mkldnn.enabled
    with own_convolutions():
        assert not torch.backends.mkldnn.enabled
    with pytest.raises(KeyError), own_convolutions():
        raise KeyError
    assert torch.backends.mkldnn.enabled == before
