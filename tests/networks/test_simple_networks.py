"""Networks against the parameter counts of the papers' tables and forward passes written out by hand.

The comment in a test names the wrong implementation it is there to catch. Everything runs over `NETWORKS`:
an architecture without cases here fails with a KeyError under its name.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steadygan.config import registry
from steadygan.errors import UsageError
from steadygan.networks import code_head, dcgan, mlp

NETWORKS = {name: part.make for name, part in registry.NETWORKS.items() if name != "own"}


Params = list[Tensor]


class Case(NamedTuple):
    """Arguments of an architecture, and how many parameters its generator and discriminator have."""

    shape: tuple[int, ...]
    options: dict[str, Any]
    counts: tuple[int, int]


CASES = {
    "mlp": [
        Case((2,), {}, (8_642, 8_577)),  # FARGAN's synthetic networks (spec F9)
        Case((2,), {"width": 512}, (527_874, 527_361)),  # WGAN-GP's toy networks (spec F9)
        # Numerics' toy networks: G 16-16x4-2, D 2-16x4-1 (spec F9)
        Case((2,), {"latent": 16, "width": 16, "depth": 4}, (1_122, 881)),
        Case((1, 8, 8), {"latent": 5, "width": 7, "depth": 1}, (5 * 7 + 7 + 7 * 64 + 64, 64 * 7 + 7 + 7 + 1)),
    ],
    "dcgan": [
        Case((3, 32, 32), {}, (1_187_011, 662_977)),  # FARGAN's DCGAN-like networks (spec F9)
        # one stage: G 5 -> 6 x 4 x 4 -> 1 x 8 x 8, D 1 -> 6 -> 1
        Case((1, 8, 8), {"latent": 5, "width": 6}, (6 * 96 + 6 * 16 + 1, 16 * 6 + 6 + 97)),
        # batch norm has a gain and a bias for each of the channels 12, 6 of G, and none in D
        Case(
            (1, 16, 16),
            {"latent": 5, "width": 6, "batch_norm": True},
            (6 * 192 + (12 * 6 * 16 + 6) + (6 * 16 + 1) + 2 * 18, (16 * 6 + 6) + (6 * 12 * 16 + 12) + 193),
        ),
        Case(
            (1, 32, 32), {"latent": 4, "width": 4}, (4 * 256 + 256 + 2056 + 516 + 65, 68 + 520 + 2064 + 257)
        ),
        Case(
            (3, 64, 64),
            {"latent": 4, "width": 2},
            (1280 + 2056 + 516 + 130 + 99, 98 + 132 + 520 + 2064 + 257),
        ),
    ],
    "mlp_dcgan": [
        # G of Arjovsky 2017, Figure 7: 128-512x4-1024; D is that of dcgan
        Case((1, 32, 32), {}, (128 * 512 + 512 + 3 * (512 * 512 + 512) + 513 * 1024, 660_929)),
        # G 5-7-64, D 1 -> 6 -> 1
        Case(
            (1, 8, 8),
            {"latent": 5, "width": 6, "hidden": 7, "depth": 1},
            (5 * 7 + 7 + 7 * 64 + 64, 16 * 6 + 6 + 97),
        ),
    ],
    "far_resnet": [
        Case((3, 32, 32), {}, (3_627_715, 2_505_793)),  # FARGAN's Tables 7 and 8 (spec F9)
        # one stage. G: linear 5 -> 4 x 16; block 4 -> 2 -> 2 and its shortcut; block 2 -> 2 -> 2; 2 -> 1.
        # D: 1 -> 2; block 2 -> 2 -> 4 and its shortcut; linear 64 -> 1
        Case(
            (1, 8, 8),
            {"latent": 5, "width": 2},
            (6 * 64 + (74 + 38 + 8) + 2 * 38 + 19, 20 + (38 + 76 + 8) + 65),
        ),
        # four stages: blocks between h and 2h channels, h = 1, 2, 4, 8, of 29 h^2 + 2 h in G and + 3 h in D
        Case(
            (3, 64, 64),
            {"latent": 2, "width": 1},
            (768 + 29 * 85 + 2 * 15 + 20 + 30, 28 + 29 * 85 + 3 * 15 + 257),
        ),
    ],
    "far_conventional": [  # FARGAN's Tables 9 and 10 (spec F9), at both kernels of the layers next to the image
        Case((3, 32, 32), {}, (8_945_731, 7_053_377)),
        Case((3, 32, 32), {"image_kernel": 1}, (8_944_195, 7_051_841)),
        # one stage of 2 and 4 channels. G: 5 -> 4, 4 -> 4 x 16 and a bias each, then 4-4-2-2-1. D: 1-2-2-4, 4-4-4
        Case(
            (1, 8, 8),
            {"latent": 5, "width": 2},
            (24 + (256 + 4) + 148 + 74 + 38 + 19, 20 + 38 + 76 + 2 * 148 + 65),
        ),
    ],
    "far_resnet_deep": [  # the paper's own is in test_residual_networks.py: it is too large to be made often
        # one stage of 2 and 4 channels. A block h -> h has 18 h^2 + 2 h, h -> 2h 29 h^2 + 3 h, 2h -> h 29 h^2 + 2 h
        Case(
            (1, 8, 8),
            {"latent": 5, "width": 2},
            (6 * 64 + 2 * 296 + 120 + 76 + 19, 20 + 76 + 122 + 2 * 296 + 65),
        ),
    ],
    "gn_resnet": [
        Case((3, 32, 32), {}, (4_276_739, 1_053_825)),  # GN-GAN's ResNet-32 and ResNet-48 (spec F9)
        Case((3, 48, 48), {}, (4_878_083, 4_859_073)),
        # constant: G 3 -> 4 x 16, a block 4 -> 4 and its two norms, norm, 4 -> 1. D 1 -> 2, 2 -> 2 with shortcuts
        Case(
            (1, 8, 8),
            {"latent": 3, "width": 1},
            (256 + (2 * 148 + 20 + 16) + 8 + 37, (20 + 38 + 4) + (2 * 38 + 6) + 2 * 76 + 3),
        ),
        # one doubling from side 6: G 3 -> 2 x 36, a block 2 -> 1, norm, 1 -> 1. D 1 -> 1, 1 -> 2
        Case(
            (1, 12, 12),
            {"latent": 3, "width": 1},
            (288 + (4 + 19 + 2 + 10 + 3) + 2 + 10, (10 + 10 + 2) + (20 + 38 + 4) + 3),
        ),
    ],
    "r3gan": [  # the paper's own are in test_residual_networks.py
        # two stages of one block, 2 -> 4 in 2 groups -> 2: 8 + 4 weights and biases, 72 + 4, 8
        Case(
            (1, 8, 8),
            {"latent": 3, "width": 2, "depth": 1, "group": 2},
            (2 * 3 + 2 * 16 + 2 * 96 + 2, 2 + 2 * 96 + 2 * 16 + 2),
        ),
        # the stages at 8 and 16 have half and a quarter of 4 channels; one group where there are fewer than 16
        Case(
            (3, 16, 16),
            {"latent": 3, "width": 4, "depth": 1, "widest": 4},
            (
                (12 + 64) + (64 + 576 + 16) + 8 + (16 + 144 + 8) + 2 + (4 + 36 + 4) + 3,
                3 + (4 + 36 + 4) + 2 + (16 + 144 + 8) + 8 + (64 + 576 + 16) + (64 + 4),
            ),
        ),
    ],
    "gn_cnn": [
        Case((3, 32, 32), {}, (3_813_379, 5_860_865)),  # GN-GAN's CNN-32 and CNN-48 (spec F9)
        Case((3, 48, 48), {}, (5_134_339, 5_871_105)),
        # side 1: G 5 -> 8, three stages 8 -> 4 -> 2 -> 1 -> 1 with 2 x 15 gains and shifts; D the reverse
        Case(
            (1, 8, 8),
            {"latent": 5, "width": 1},
            (48 + (516 + 130 + 33 + 10) + 30, 10 + (34 + 38) + (132 + 148) + (520 + 584) + 9),
        ),
        Case((1, 32, 32), {"latent": 3, "width": 1}, (512 + 689 + 30, 10 + 72 + 280 + 1104 + 129)),
    ],
    "numerics_dcgan": [  # all at 3 x 32 x 32 from spec F9
        Case((3, 32, 32), {}, (4_832_899, 4_308_609)),
        Case((3, 32, 32), {"batch_norm": False}, (4_832_387, 4_308_609)),
        Case((3, 32, 32), {"batch_norm": False, "constant_filters": True}, (377_987, 312_513)),
        Case((3, 32, 32), {"layers": 3}, (2_081_667, 1_033_345)),
        Case((3, 32, 32), {"layers": 3, "batch_norm": False}, (2_081_667, 1_033_345)),
        Case((3, 32, 32), {"layers": 3, "batch_norm": False, "constant_filters": True}, (472_899, 210_817)),
        Case(
            (1, 8, 8),
            {"layers": 3, "latent": 5, "width": 2},
            (48 + (804 + 202 + 51), (52 + 204 + 808) + 9),
        ),
    ],
    "numerics_conv": [
        Case((3, 32, 32), {}, (472_899, 735_105)),  # conv3 and conv4 (spec F9)
        Case((3, 32, 32), {"layers": 4}, (575_107, 444_353)),
        Case(
            (1, 16, 16),
            {"layers": 4, "latent": 5, "width": 2, "hidden": 3},
            (18 + 8 + 3 * 102 + 51, 52 + 3 * 102 + 9 + 4),
        ),
    ],
    "numerics_resnet": [
        Case((3, 64, 64), {}, (2_208_067, 1_979_073)),  # CelebA's resnet_cf (spec F9)
        # blocks 4 -> 2 -> 4, D's first 4 -> 4 -> 4
        Case(
            (1, 16, 16),
            {"latent": 5, "width": 4},
            (24 + 3 * (404 + 74 + 76) + 101, 104 + 148 + 148 + 3 * (404 + 74 + 76) + 5),
        ),
    ],
}

OTHERS = ("dirac", "point", "biggan32")
"""Numbers instead of networks, and the pair that always takes labels (test_conditional.py)."""

each_case = pytest.mark.parametrize(
    ("name", "case"),
    [(name, case) for name in NETWORKS if name not in OTHERS for case in CASES[name]],
    ids=str,
)


def made(name: str, case: Case) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    G, D = NETWORKS[name](case.shape, **case.options)
    return G.double(), D.double()


def latents(case: Case, name: str, count: int = 3) -> Tensor:
    default = {"mlp": 2, "r3gan": 64}.get(name, 256 if name.startswith("numerics") else 128)
    return torch.randn(count, case.options.get("latent", default), dtype=torch.float64)


# --------------------------------------------------------------------------------- forward passes by hand


def through(x: Tensor, params: Params, last: Callable[[Tensor], Tensor]) -> Tensor:
    """x through ReLU layers and one linear layer, from weights and biases alone."""
    *hidden, (weight, bias) = zip(params[::2], params[1::2], strict=True)
    for W, b in hidden:
        x = (x @ W.T + b).clamp(min=0)
    return last(x @ weight.T + bias)


def mlp_by_hand(case: Case, G: Params, D: Params, z: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    fake = through(z, G, lambda out: out.view(-1, *case.shape))  # no output activation
    return fake, through(x.flatten(1), D, lambda out: out[:, 0])


def dcgan_by_hand(case: Case, G: Params, D: Params, z: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Kernel 4, stride 2, padding 1; [batch norm] ReLU in G and tanh at its end, leaky 0.2 in D."""
    params = iter(G)

    def norm(h: Tensor) -> Tensor:
        if not case.options.get("batch_norm"):
            return h
        gain, bias = (next(params).view(1, -1, 1, 1) for _ in range(2))
        centred = h - h.mean((0, 2, 3), keepdim=True)
        return gain * centred / (centred.square().mean((0, 2, 3), keepdim=True) + 1e-5).sqrt() + bias

    fake = norm((z @ next(params).T + next(params)).view(len(z), -1, 4, 4))
    while fake.shape[-1] < case.shape[-1]:
        fake = F.conv_transpose2d(F.relu(fake), next(params), next(params), stride=2, padding=1)
        fake = norm(fake) if fake.shape[-1] < case.shape[-1] else torch.tanh(fake)
    *layers, (weight, bias) = zip(D[::2], D[1::2], strict=True)
    for W, b in layers:
        x = F.conv2d(x, W, b, stride=2, padding=1)
        x = torch.where(x > 0, x, 0.2 * x)
    return fake, (x.flatten(1) @ weight.T + bias)[:, 0]


def mlp_dcgan_by_hand(case: Case, G: Params, D: Params, z: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    fake = through(z, G, lambda out: out.view(-1, *case.shape))
    *layers, (weight, bias) = zip(D[::2], D[1::2], strict=True)
    for W, b in layers:
        x = F.leaky_relu(F.conv2d(x, W, b, stride=2, padding=1), 0.2)
    return fake, (x.flatten(1) @ weight.T + bias)[:, 0]


BY_HAND = {"mlp": mlp_by_hand, "dcgan": dcgan_by_hand, "mlp_dcgan": mlp_dcgan_by_hand}
"""The others' are in test_paper_networks.py."""


@pytest.mark.parametrize(
    ("name", "case"), [(name, case) for name in BY_HAND for case in CASES[name]], ids=str
)
def test_forward_passes_written_out(name, case):
    # another activation or none, an output activation on the logit, a stage too many, stride before width
    G, D = made(name, case)
    for p in G.parameters():  # batch norm's gains and biases start at 1 and 0, and would not be told apart
        p.data += 0.05 * torch.randn_like(p)
    z, x = latents(case, name), torch.randn(3, *case.shape, dtype=torch.float64)
    fake, logits = BY_HAND[name](case, list(G.parameters()), list(D.parameters()), z, x)
    torch.testing.assert_close(G(z), fake, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(D(x), logits, rtol=1e-10, atol=1e-12)


@each_case
def test_parameter_counts_are_the_tables(name, case):
    # a bias left out beside batch norm, a width that doubles once too often, kernel 5 for 4
    assert tuple(sum(p.numel() for p in net.parameters()) for net in made(name, case)) == case.counts


# --------------------------------------------------------------------------------------- for every network


@each_case
def test_samples_look_like_data_and_the_critic_gives_one_logit_each(name, case):
    # squeeze() without a dimension turns a batch of one into a scalar
    G, D = made(name, case)
    for count in (1, 3):
        fake = G.eval()(latents(case, name, count))
        assert fake.shape == (count, *case.shape)
        assert D.eval()(fake).shape == (count,)
        assert name in ("mlp", "mlp_dcgan", "r3gan") or fake.abs().max() <= 1


@each_case
def test_the_critic_treats_samples_apart(name, case):
    """What a per-sample gradient penalty needs: batch norm stands in G only, the Numerics' own DCGAN aside."""
    _, D = made(name, case)
    if name == "numerics_dcgan" and case.options.get("batch_norm", True):
        assert any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in D.modules())
        return
    x = torch.randn(4, *case.shape, dtype=torch.float64)
    alone = torch.cat([D(x[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(D(x), alone, rtol=1e-10, atol=1e-12)
    assert not any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in D.modules())


@pytest.mark.parametrize(
    ("name", "case"),
    [
        (name, case)
        for name in ("mlp", "dcgan", "mlp_dcgan", "far_conventional", "far_resnet", "far_resnet_deep")
        for case in CASES[name]
    ],
    ids=str,
)
def test_initialisation_is_torchs_default(name, case):
    """U(-1, 1) / sqrt(fan in) for weights and biases: the paper of these networks names no other."""
    for net in made(name, case):
        for part in net.modules():
            if isinstance(part, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                fan_in = part.weight[0].numel()
                bound = 1 / math.sqrt(fan_in)
                assert part.weight.abs().max() <= bound
                assert part.weight.numel() < 50 or part.weight.abs().max() > 0.9 * bound
                assert part.weight.numel() < 50 or part.weight.std().item() == pytest.approx(
                    bound / 3**0.5, rel=0.2
                )


# --------------------------------------------------------------------------------------------------- dcgan


@pytest.mark.parametrize(("shape", "latent"), [((1, 8, 8), 3), ((1, 32, 32), 3), ((3, 64, 64), 3)])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_dcgans_images_stay_within_one(shape, latent, batch_norm):
    torch.manual_seed(0)
    G, D = dcgan(shape, latent=latent, width=4, batch_norm=batch_norm)
    fake = G(100 * torch.randn(8, latent))
    assert fake.shape == (8, *shape)
    assert fake.abs().max() <= 1
    assert fake.abs().max() > 0.9 or batch_norm  # pushed hard, tanh reaches its ends
    sizes = []
    for part in D:
        if isinstance(part, nn.Conv2d):
            part.register_forward_hook(lambda _, given, out: sizes.append(out.shape[-1]))
    D(fake)
    assert sizes == [shape[-1] >> k for k in range(1, len(sizes) + 1)]
    assert sizes[-1] == 4


@pytest.mark.parametrize(
    "shape", [(2,), (32, 32), (3, 4, 4), (3, 32, 64), (3, 24, 24), (3, 0, 0), (1, 3, 32, 32), (3, 33, 33)]
)
def test_dcgan_refuses_other_shapes_by_name(shape):
    with pytest.raises(UsageError) as caught:
        dcgan(shape)
    assert str(list(shape)) in str(caught.value)
    assert "mlp" in str(caught.value)


# --------------------------------------------------------------------------------------------------- mlp


def test_mlp_has_neither_bounds_nor_steps():
    """Scaling the last layer scales the output: no activation follows it, in G or in D."""
    torch.manual_seed(0)
    for net, size in zip(mlp((2,)), (2, 2), strict=True):
        x = torch.randn(5, size)
        before = net(x)
        last = [part for part in net.modules() if isinstance(part, nn.Linear)][-1]
        with torch.no_grad():
            last.weight.mul_(100)
            last.bias.mul_(100)
        torch.testing.assert_close(net(x), 100 * before)


def test_the_code_head_by_hand():
    head, h = code_head(mlp, (2,), [3], 1, width=4), torch.randn(5, 4)
    W, b, V, c = head.parameters()
    hidden = h @ W.T + b
    torch.testing.assert_close(head(h), torch.where(hidden > 0, hidden, 0.2 * hidden) @ V.T + c)
