"""Image networks at the papers' own sizes, their blocks in numbers worked out by hand, what a step asks of them.

Forward passes of whole networks are in test_paper_networks.py, what holds for every network in test_networks.py.
The comment in a test names the wrong implementation it is there to catch.
"""

import math
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from steadygan import config
from steadygan.build import build
from steadygan.config import registry
from steadygan.errors import UsageError
from steadygan.networks import gn_resnet, r3gan
from steadygan.networks._gn import Up
from steadygan.networks._r3gan import Basis, Doubled, Grouped, Halved
from steadygan.networks.blocks import Down, Residual, Same
from steadygan.normalization import check_no_zero_weights, is_piecewise_linear, spectral_normalized
from steadygan.penalties import r1

NETWORKS = {name: part.make for name, part in registry.NETWORKS.items()}


class Row(NamedTuple):
    """A row of spec F9: an architecture, its arguments, and the parameters of G and D."""

    name: str
    side: int
    options: dict[str, Any]
    counts: tuple[int, int]


CONSTANT = {"batch_norm": False, "constant_filters": True}
F9 = [
    Row("mlp", 0, {}, (8_642, 8_577)),
    Row("mlp", 0, {"latent": 16, "width": 16, "depth": 4}, (1_122, 881)),
    Row("mlp", 0, {"width": 512}, (527_874, 527_361)),
    Row("dcgan", 32, {}, (1_187_011, 662_977)),
    Row("far_resnet", 32, {}, (3_627_715, 2_505_793)),
    Row("far_conventional", 32, {}, (8_945_731, 7_053_377)),
    Row("far_conventional", 32, {"image_kernel": 1}, (8_944_195, 7_051_841)),
    Row("far_resnet_deep", 64, {}, (58_332_611, 54_139_329)),
    Row("gn_cnn", 32, {}, (3_813_379, 5_860_865)),
    Row("gn_cnn", 48, {}, (5_134_339, 5_871_105)),
    Row("gn_resnet", 32, {}, (4_276_739, 1_053_825)),
    Row("gn_resnet", 48, {}, (4_878_083, 4_859_073)),
    Row("gn_resnet", 128, {}, (32_150_787, 38_419_137)),
    Row("gn_resnet", 256, {}, (37_135_107, 43_401_409)),
    Row("biggan32", 32, {"classes": 10}, (4_304_387, 4_207_361)),
    Row("numerics_dcgan", 32, {"layers": 3}, (2_081_667, 1_033_345)),
    Row("numerics_dcgan", 32, {}, (4_832_899, 4_308_609)),
    Row("numerics_dcgan", 32, {"batch_norm": False}, (4_832_387, 4_308_609)),
    Row("numerics_dcgan", 32, {**CONSTANT, "layers": 3}, (472_899, 210_817)),
    Row("numerics_dcgan", 32, CONSTANT, (377_987, 312_513)),
    # 2,048 + 1 weights of the last layer make way for (2,048 + 1) 512 and 512 + 1
    Row("numerics_dcgan", 32, {"hidden": 512}, (4_832_899, 4_308_609 - 2_049 + 2_049 * 512 + 513)),
    # conv4's D, and conv3's (F9); their own G
    Row("numerics_dcgan", 32, {**CONSTANT, "hidden": 512}, (377_987, 444_353)),
    Row("numerics_dcgan", 32, {**CONSTANT, "layers": 3, "hidden": 512}, (472_899, 735_105)),
    Row("numerics_conv", 32, {"layers": 3}, (472_899, 735_105)),
    Row("numerics_conv", 32, {"layers": 4}, (575_107, 444_353)),
    Row("numerics_resnet", 64, {}, (2_208_067, 1_979_073)),
]
"""All of spec F9 but the 5x5 kernels of FARGAN's DCGAN, which are not offered."""


def counts(name: str, side: int, **options: Any) -> tuple[int, int]:
    """Parameters of G and D, counted without making them."""
    with torch.device("meta"):
        G, D = NETWORKS[name]((3, side, side) if side else (2,), **options)
    return tuple(sum(p.numel() for p in net.parameters()) for net in (G, D))  # type: ignore[return-value]


@pytest.mark.parametrize("row", F9, ids=lambda row: f"{row.name}-{row.side}-{row.options}")
def test_parameter_counts_are_the_papers(row):
    assert counts(row.name, row.side, **row.options) == row.counts


@pytest.mark.parametrize(
    ("side", "options", "widths"),
    [
        (32, {}, [768] * 4),
        (64, {}, [768] * 4 + [384]),
        (256, {}, [768] * 4 + [384, 192, 96]),
        (64, {"width": 1536, "group": 32, "widest": 64}, [1536] * 5),
    ],
    ids=["cifar10", "ffhq64", "ffhq256", "imagenet64"],
)
def test_r3gans_parameters_are_those_of_the_codes_presets(side, options, widths):
    """Two blocks a stage, twice the channels inside, one bias a channel there; groups as said in the presets."""
    group = options.get("group", 16)
    blocks = 2 * sum(w * 2 * w + 2 * w * group * 9 + 2 * w * w + 2 * (2 * w) for w in widths)
    changes = sum(a * b for a, b in pairwise(widths) if a != b)
    image = 3 * widths[-1]
    expected = (
        64 * widths[0] + 16 * widths[0] + blocks + changes + image,
        image + blocks + changes + 16 * widths[0] + widths[0],
    )
    assert counts("r3gan", side, **options) == expected


# ------------------------------------------------------------------------------------- blocks worked out by hand


def filled(block: nn.Module, *values: float) -> nn.Module:
    """`block` in float64 with each parameter constant, in the order of registration; kernels in their middle only."""
    parameters = [*block.double().parameters()]
    for p, value in zip(parameters, values, strict=True):
        nn.init.zeros_(p)
        middle = p[..., p.shape[-2] // 2, p.shape[-1] // 2] if p.ndim == 4 else p
        with torch.no_grad():
            middle.fill_(value)
    return block


def pixels(*values: float) -> Tensor:
    """An image of one channel and 2 x 2 places."""
    return torch.tensor(values, dtype=torch.float64).view(1, 1, 2, 2)


def test_fargans_block_by_hand():
    """x = -1: act -.2, conv 3(-.2) + 1 = .4, act .4, conv 5(.4) - 4 = -2; out = -1 - .2. x = 2: 2 + 3.1, and so on."""
    block = filled(Residual(1, 1, 1), 3, 1, 5, -4)
    # x = 2: 3(2) + 1 = 7, 5(7) - 4 = 31; x = -2: 3(-.4) + 1 = -.2, act -.04, -4.2; x = 0: 1, 1
    assert block(pixels(-1, 2, -2, 0)).flatten().tolist() == pytest.approx([-1.2, 5.1, -2.42, 0.1])


def test_fargans_shortcut_is_linear_in_the_block_s_input():
    # an activation before the shortcut, a bias on it, the tenth taken of both
    block = filled(Residual(1, 2, 1), 3, 1, 5, -4, 7)
    assert block(pixels(-1, 2, -2, 0))[0, 1].flatten().tolist() == pytest.approx([-7.2, 17.1, -14.42, 0.1])


def test_halving_blocks_by_hand():
    """Of the pixels -1, 2, -2, 4. Residual: relu, 2t + 1, relu, 3t - 2, mean. Shortcut: 5t + 6, mean."""
    x = pixels(-1, 2, -2, 4)
    # relu 0 2 0 4 -> 1 5 1 9 -> 1 13 1 25, mean 10; shortcut 5 (3/4) + 6 = 9.75
    assert filled(Down(1, 1), 2, 1, 3, -2, 5, 6)(x).item() == pytest.approx(19.75)
    # without the first relu: -1 5 -3 9 -> relu 0 5 0 9 -> -2 13 -2 25, mean 8.5
    assert filled(Down(1, 1, first=True), 2, 1, 3, -2, 5, 6)(x).item() == pytest.approx(18.25)
    # no factor of 0.1, no shortcut convolution
    assert filled(Same(1), 2, 1, 3, -2)(x).flatten().tolist() == pytest.approx([0, 15, -1, 29])


def test_the_first_halving_block_pools_its_shortcut_before_the_convolution():
    """Both orders agree for a 1x1 kernel; the order is the cheaper one."""
    first, other = ([type(part) for part in block.shortcut] for block in (Down(1, 2, first=True), Down(1, 2)))
    assert first == [nn.AvgPool2d, nn.Conv2d]
    assert other == first[::-1]


def test_the_doubling_block_by_hand():
    """Batch norm at evaluation, with statistics 0 and 1, is the identity up to eps; nearest upsampling repeats."""
    block = filled(Up(1, 1), 1, 0, 2, 1, 1, 0, 3, -2, 5, 6).eval()
    # x = -1: relu 0 -> 1 -> 1, and 5 (-1) + 6 = 1. x = 2: 5 -> 13, 16
    out = block(pixels(-1, 2, -1, 2))[0, 0]
    assert out.shape == (4, 4)
    expected = torch.tensor([2.0, 2, 29, 29], dtype=torch.float64).expand(4, 4)
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-4)


def test_r3gans_block_by_hand():
    """Two inner channels, each alone in its group: act(2t + 1), act(3t - 4), summed 5 times, on top of t."""
    block = filled(Grouped(1, group=1, blocks=1), 2, 1, 3, -4, 5)
    # t = 1: 3 -> 5, 2 * 25 + 1. t = -1: -1, act -.2 -> -4.6, act -.92, 2 * -4.6 - 1. t = -3: -5, -1, -7, -1.4, -17
    assert block(pixels(1, -1, -3, 0)).flatten().tolist() == pytest.approx([51, -10.2, -17, -2])


def test_groups_do_not_mix():
    # one group for all, or `group` taken for the number of groups
    x = torch.randn(1, 6, 4, 4).double().requires_grad_()
    block = Grouped(6, group=4, blocks=1).double()
    inner = block.body[2]
    assert inner.groups == 3
    assert inner.weight.shape == (12, 4, 3, 3)
    h = torch.randn(1, 12, 4, 4).double().requires_grad_()
    reached = torch.autograd.grad(inner(h)[:, :4].sum(), h)[0].abs().sum((0, 2, 3)) > 0
    assert reached.tolist() == [True] * 4 + [False] * 8
    assert block(x).shape == x.shape


def test_smooth_resampling_spreads_one_pixel_by_1_3_3_1():
    # nearest or bilinear with repeated edges, a filter shifted by a pixel, a mean that is not kept
    up, down = Doubled(), Halved()
    one = torch.zeros(1, 1, 4, 4).double()
    one[0, 0, 1, 2] = 1
    f = torch.tensor([1.0, 3, 3, 1]).double()
    spread = torch.zeros(8, 8).double()
    spread[1:5, 3:7] = f.outer(f) / 16
    torch.testing.assert_close(up(one)[0, 0], spread)
    x, y = torch.randn(1, 1, 4, 4).double(), torch.randn(1, 1, 8, 8).double()
    torch.testing.assert_close((up(x) * y).sum(), 4 * (x * down(y)).sum())  # its adjoint
    inside = down(torch.ones(1, 1, 8, 8).double())[0, 0, 1:-1, 1:-1]
    torch.testing.assert_close(inside, torch.ones_like(inside))


def test_the_basis_is_linear_in_the_latent_and_has_an_image_for_each_channel():
    basis = Basis(2, 3).double()
    with torch.no_grad():
        basis.linear.weight.copy_(torch.tensor([[1.0, 0], [0, 2], [3, -1]]))
    out = basis(torch.tensor([[5.0, 7]]).double())[0]
    torch.testing.assert_close(out, torch.tensor([5.0, 14, 8]).double()[:, None, None] * basis.images)


# ------------------------------------------------------------------------------------------------ how they start


def test_r3gan_starts_as_fixup_says():
    # the gain of all blocks but one network's, fan in taken of all groups, a bias or a last layer that is not 0
    torch.manual_seed(0)
    for side, stages in ((8, 2), (32, 4)):
        for net in r3gan((3, side, side), width=64, depth=2):
            blocks = [part for part in net if isinstance(part, Grouped)]
            assert len(blocks) == 2 * stages
            gain = math.sqrt(2 / 1.04) * (2 * stages) ** -0.25
            for block in blocks:
                first, _, middle, _, last = block.body
                assert first.weight.std().item() == pytest.approx(gain / 8, rel=0.05)
                assert middle.weight.std().item() == pytest.approx(
                    gain / 12, rel=0.05
                )  # 16 channels of 3 x 3
                assert (last.weight == 0).all()
                assert last.bias is None
                assert (first.bias == 0).all()
                assert (middle.bias == 0).all()
    G, D = r3gan((3, 32, 32), latent=32, width=256, depth=1)
    assert G[0].images.std().item() == pytest.approx(1, rel=0.05)
    assert G[0].linear.weight.std().item() == pytest.approx(32**-0.5, rel=0.05)
    assert G[-1].weight.std().item() == pytest.approx(1 / 16, rel=0.1)
    assert D[0].weight.std().item() == pytest.approx(3**-0.5, rel=0.1)
    *_, alone, _, logit, _ = D
    assert alone.weight.shape == (256, 1, 4, 4)
    assert alone.weight.std().item() == pytest.approx(1 / 4, rel=0.05)
    assert logit.weight.std().item() == pytest.approx(1 / 16, rel=0.2)
    assert alone.bias is None
    assert logit.bias is None


def test_r3gans_critic_starts_linear_and_without_an_offset():
    """Every block is the identity, so it adds up; whatever bends comes from training."""
    torch.manual_seed(0)
    _, D = r3gan((3, 16, 16), width=16)
    x, y = torch.randn(2, 5, 3, 16, 16).double()
    D = D.double()
    torch.testing.assert_close(D(2 * x - y), 2 * D(x) - D(y))


# ------------------------------------------------------------------------------------------- which sides they have


@pytest.mark.parametrize(
    ("side", "rising", "falling", "ends"),
    [
        (8, [4, 4], [2, 2, 2, 2], 2),
        (16, [4, 4, 4], [2, 2, 2, 2], 4),
        (32, [4, 4, 4, 4], [2, 2, 2, 2], 8),
        (48, [8, 4, 2, 1], [1, 2, 4, 8], 3),
        (64, [16, 8, 4, 2, 1], [1, 2, 4, 8, 16], 2),
        (128, [16, 16, 8, 4, 2, 1], [1, 2, 4, 8, 16, 16], 4),
        (256, [16, 16, 8, 8, 4, 2, 1], [1, 2, 4, 8, 8, 16, 16], 4),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_gn_resnets_channels_and_sides_are_the_codes(channels, side, rising, falling, ends):
    # D's last block at 128 and 256 halving too, at 48 not; a stage too many
    G, D = gn_resnet((channels, side, side), latent=2, width=1)
    ups = [part for part in G if isinstance(part, Up)]
    assert [ups[0].body[3].in_channels, *(part.body[3].out_channels for part in ups)] == rising
    blocks = [part for part in D if isinstance(part, Down | Same)]
    assert [
        next(p for p in reversed([*b.body]) if isinstance(p, nn.Conv2d)).out_channels for b in blocks
    ] == falling
    fake = G(torch.randn(2, 2))
    assert fake.shape == (2, channels, side, side)
    x = fake
    for block in blocks:
        x = block(x)
    assert x.shape[2:] == (ends, ends)


@pytest.mark.parametrize("side", [4, 6, 20, 28, 40, 80, 512, 768])
def test_gn_resnet_refuses_other_sides(side):
    with pytest.raises(UsageError, match=rf"gn_resnet takes square images.*\[3, {side}, {side}\]"):
        gn_resnet((3, side, side))


@pytest.mark.parametrize(("width", "group"), [(25, 16), (768, 10), (2, 3)])
def test_r3gan_refuses_channels_that_groups_do_not_divide(width, group):
    with pytest.raises(UsageError, match=rf"networks\.width={width}.*groups of {group}.*choose another"):
        r3gan((3, 32, 32), width=width, group=group)


def test_r3gan_refuses_a_width_that_halves_to_nothing():
    with pytest.raises(UsageError, match="0 channels"):
        r3gan((3, 32, 32), width=1, widest=4)


# ------------------------------------------------------------------------------------- what a step asks of them

SMALL: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "far_conventional": ((3, 32, 32), {"width": 4}),
    "far_resnet_deep": ((3, 32, 32), {"width": 4}),
    "gn_resnet": ((3, 48, 48), {"width": 4}),
    "r3gan": ((3, 32, 32), {"width": 16, "widest": 16}),
}

each_critic = pytest.mark.parametrize("name", SMALL)


def critic(name: str) -> tuple[nn.Module, Tensor]:
    """A small critic, its zeros moved, and a batch for it."""
    torch.manual_seed(0)
    shape, options = SMALL[name]
    _, D = NETWORKS[name](shape, latent=4, **options)
    for p in D.parameters():
        p.data += 0.05 * torch.randn_like(p)
    return D, torch.randn(4, *shape)


@each_critic
def test_the_penaltys_gradient_is_the_derivative_of_the_penalty(name):
    """Twice through every layer, against differences of r1 along one direction of the parameters, in float64."""
    D, x = critic(name)
    D, x = D.double(), x.double()
    r1(D, x).backward()
    moved = [p for p in D.parameters() if p.grad is not None]  # all but the last bias
    direction = [torch.randn_like(p) for p in moved]
    slope = sum((p.grad * d).sum() for p, d in zip(moved, direction, strict=True))
    values = []
    for step in (1e-7, -2e-7):
        for p, d in zip(moved, direction, strict=True):
            p.data += step * d
        values.append(r1(D, x).item())
    assert slope.item() == pytest.approx((values[0] - values[1]) / 2e-7, rel=1e-3)


@each_critic
def test_critics_agree_in_channels_last_and_nearly_in_bfloat16(name):
    D, x = critic(name)
    expected = D(x).detach()
    last = D.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(last, expected, rtol=1e-4, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        half = D(x).float()
        r1(D, x).backward()
    assert (half - expected).abs().max() < 0.05 * expected.abs().max() + 0.05
    assert all(
        p.grad.isfinite().all() for p in D.parameters() if p.grad is not None
    )  # the last bias has none


@each_critic
@pytest.mark.parametrize("what", ["none", "gradient_normalized"])
def test_an_alternating_step_moves_both_players(name, what):
    """Through the tables: options are named as the architecture's arguments; the normalized one on the tangent."""
    options = {**SMALL[name][1], "latent": 4}
    raw = {
        "data": "digits",
        "networks": {"name": name, **options},
        "critic": {"normalization": what, "penalties": [{"name": "r1"}] if what == "none" else []},
        "optimizer": {"name": "sgd", "lr": 0.01},
        "steps": 1,
        "batch": 4,
        "compile": False,
    }
    run = build(config.parse(raw))
    state, logs = run.step(run.state, run.draws(0))
    assert logs["finite"] == 1
    for player in "GD":
        assert not torch.equal(state.params[player], run.state.params[player])


@pytest.mark.parametrize("name", ["far_conventional", "far_resnet_deep", "gn_resnet"])
def test_spectral_twins_have_layers_of_norm_one(name):
    """SN's rows of PGN's tables: every weight of D over its largest singular value, and still piecewise linear."""
    D, x = critic(name)
    D = spectral_normalized(D)
    assert is_piecewise_linear(D)
    for _ in range(50):
        D(x)
    D.eval()
    for part in D.modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            assert torch.linalg.matrix_norm(part.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.02)


def test_spectral_norm_is_refused_where_weights_start_at_zero():
    # 0 / 0 in every branch: u and v stay zero for good, and the first gradient is 1 / eps
    raw = {
        "data": "digits",
        "networks": {"name": "r3gan", "width": 16},
        "critic": {"normalization": "spectral_normalized"},
        "optimizer": {"name": "sgd", "lr": 0.01},
        "steps": 1,
    }
    with pytest.raises(UsageError, match=r"starts at zero.*critic\.normalization"):
        build(config.parse(raw))
    check_no_zero_weights(gn_resnet((3, 32, 32), width=1)[1])


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_upsampling_is_linear(mode):
    assert is_piecewise_linear(nn.Sequential(nn.Upsample(scale_factor=2, mode=mode), nn.ReLU()))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "side", "options"),
    [
        ("far_conventional", 8, {"width": 4}),
        ("far_resnet", 8, {"width": 4}),  # the blocks of far_resnet_deep, which only repeats them
        ("gn_resnet", 12, {"width": 4}),
        ("r3gan", 16, {"width": 16, "depth": 1, "widest": 8}),
    ],
    ids=["far_conventional", "far_resnet", "gn_resnet", "r3gan"],
)
def test_compiled_gradients_agree(name, side, options):
    """Of D's loss and its penalty at what G makes, in the weights of both: one graph with each derivative.

    Overlapping average pooling, one after another, does not compile. One network has its kernels too.
    """
    torch.manual_seed(0)
    G, D = NETWORKS[name]((3, side, side), latent=4, **options)
    params = tuple(
        {key: p.detach() + 0.05 * torch.randn_like(p) for key, p in net.named_parameters()} for net in (G, D)
    )

    def loss(params: tuple[dict[str, Tensor], ...], z: Tensor) -> Tensor:
        buffers = {key: b.clone() for key, b in G.named_buffers()}
        fake = torch.func.functional_call(G, {**params[0], **buffers}, (z,))

        def critic(x: Tensor) -> Tensor:
            return torch.func.functional_call(D, params[1], (x,))

        return r1(critic, fake) + critic(fake).mean()

    gradient, z = torch.func.grad(loss), torch.randn(4, 4)
    expected = gradient(params, z)
    backend = "inductor" if name == "far_resnet" else "aot_eager"
    found = torch.compile(gradient, fullgraph=True, dynamic=False, backend=backend)(params, z)
    for mine, theirs in zip(found, expected, strict=True):
        for key, value in theirs.items():
            torch.testing.assert_close(
                mine[key], value, rtol=1e-3, atol=1e-4 * value.abs().max().item() + 1e-7
            )
