"""The papers' image networks: forward passes in plain functional calls, padding, initialisation, wiring in a step.

What holds for every network (counts, shapes, samples apart) is in test_networks.py. The comment in a test names
the wrong implementation it is there to catch.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steadygan import config
from steadygan.build import build
from steadygan.config import registry
from steadygan.errors import UsageError
from steadygan.networks import biggan32, gn_cnn, numerics_dcgan
from steadygan.networks._numerics import _down, _up
from steadygan.normalization import check_piecewise_linear, is_piecewise_linear
from steadygan.penalties import r1
from steadygan.training.compile.compiled_step import vectorised

NETWORKS = {name: part.make for name, part in registry.NETWORKS.items()}


Params = Iterator[Tensor]


class Case(NamedTuple):
    """A small network of a family: its shape, and its options."""

    name: str
    shape: tuple[int, ...]
    options: dict[str, Any]


PLAIN, CONSTANT = {"batch_norm": False}, {"batch_norm": False, "constant_filters": True}

CASES = [
    Case("far_resnet", (1, 8, 8), {"latent": 3, "width": 2}),
    Case("far_resnet", (3, 32, 32), {"latent": 3, "width": 2}),
    Case("far_resnet_deep", (1, 8, 8), {"latent": 3, "width": 2}),
    Case("far_resnet_deep", (3, 16, 16), {"latent": 3, "width": 2}),
    Case("far_conventional", (1, 8, 8), {"latent": 3, "width": 2, "image_kernel": 1}),
    Case("far_conventional", (3, 16, 16), {"latent": 3, "width": 2}),
    Case("gn_resnet", (1, 8, 8), {"latent": 3, "width": 2}),
    Case("gn_resnet", (3, 32, 32), {"latent": 3, "width": 1}),
    Case("gn_resnet", (3, 48, 48), {"latent": 3, "width": 1}),
    Case("gn_resnet", (1, 64, 64), {"latent": 3, "width": 1}),
    Case("gn_resnet", (3, 128, 128), {"latent": 3, "width": 1}),
    Case("gn_resnet", (1, 256, 256), {"latent": 3, "width": 1}),
    Case("r3gan", (1, 8, 8), {"latent": 3, "width": 4, "group": 4}),
    Case("r3gan", (3, 32, 32), {"latent": 3, "width": 4, "group": 2, "widest": 8, "depth": 1}),
    Case("gn_cnn", (1, 8, 8), {"latent": 3, "width": 2}),
    Case("gn_cnn", (3, 48, 48), {"latent": 3, "width": 1}),
    *[
        Case("numerics_dcgan", shape, {"latent": 3, "width": 2, "layers": layers, **kind})
        for shape, layers in (((1, 8, 8), 3), ((3, 32, 32), 3), ((1, 16, 16), 4), ((3, 32, 32), 4))
        for kind in ({}, PLAIN, CONSTANT)
    ],
    *[
        Case("numerics_dcgan", (1, 16, 16), {"latent": 3, "width": 2, "layers": 4, "hidden": 5, **kind})
        for kind in ({}, CONSTANT)
    ],
    *[
        Case("numerics_conv", (1, 16, 16), {"latent": 3, "width": 2, "hidden": 5, "layers": layers})
        for layers in (3, 4)
    ],
    Case("numerics_resnet", (1, 16, 16), {"latent": 3, "width": 4}),
    Case("numerics_resnet", (3, 32, 32), {"latent": 3, "width": 4}),
]

each_case = pytest.mark.parametrize("case", CASES, ids=str)


def made(case: Case) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    G, D = NETWORKS[case.name](case.shape, **case.options)
    return G.double(), D.double()


def inputs(case: Case, count: int = 3) -> tuple[Tensor, Tensor]:
    z, x = torch.randn(count, case.options["latent"]), torch.randn(count, *case.shape)
    return z.double(), x.double()


# --------------------------------------------------------------------------------- forward passes by hand


def leaky(x: Tensor, slope: float = 0.2) -> Tensor:
    return torch.where(x > 0, x, slope * x)


def linear(x: Tensor, p: Params, bias: bool = True) -> Tensor:
    out = x @ next(p).T
    return out + next(p) if bias else out


def add(x: Tensor, bias: Tensor) -> Tensor:
    return x + bias.view(1, -1, *[1] * (x.ndim - 2))


def conv(x: Tensor, p: Params) -> Tensor:
    return F.conv2d(x, next(p), next(p), padding=1)


def standard(x: Tensor, eps: float) -> Tensor:
    """x less its channels' means, over their deviations: batch norm before gain and shift."""
    over = [dim for dim in range(x.ndim) if dim != 1]
    centred = x - x.mean(over, keepdim=True)
    return centred / (centred.square().mean(over, keepdim=True) + eps).sqrt()


def residual(x: Tensor, p: Params, outputs: int) -> Tensor:
    h = conv(leaky(conv(leaky(x), p)), p)
    return (x if x.shape[1] == outputs else F.conv2d(x, next(p))) + 0.1 * h


def pooled(x: Tensor) -> Tensor:
    """Sums over 3x3 windows of stride 2, over nine even where a window reaches over the edge."""
    box = torch.ones(x.shape[1], 1, 3, 3, dtype=x.dtype)
    return F.conv2d(x, box, stride=2, padding=1, groups=x.shape[1]) / 9


def far_resnet_by_hand(case: Case, G: Params, D: Params, z: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    width, side = case.options["width"], case.shape[-1]
    h = linear(z, G).view(len(z), -1, 4, 4)
    while h.shape[-1] < side:
        h = residual(h, G, h.shape[1] // 2)
        h = h.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    fake = torch.tanh(conv(leaky(residual(h, G, width)), G))

    x = conv(x, D)  # no activation of its own
    while x.shape[-1] > 4:
        x = pooled(residual(x, D, 2 * x.shape[1]))
    return fake, linear(leaky(x).flatten(1), D)[:, 0]


def doubled(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def far_resnet_deep_by_hand(case: Case, G: Params, D: Params, z: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """FARGAN's Tables 11 and 12 row by row; a block comes before a side's end in D, after its start in G."""
    width, side = case.options["width"], case.shape[-1]
    h = linear(z, G).view(len(z), -1, 4, 4)
    for _ in range(2):
        h = residual(h, G, h.shape[1])
    while h.shape[-1] < side:
        h = residual(doubled(h), G, h.shape[1] // 2)
        h = residual(h, G, h.shape[1])
    assert h.shape[1] == width
    fake = torch.tanh(conv(leaky(h), G))

    x = conv(x, D)
    while x.shape[-1] > 4:
        x = residual(x, D, x.shape[1])
        x = pooled(residual(x, D, 2 * x.shape[1]))
    for _ in range(2):
        x = residual(x, D, x.shape[1])
    return fake, linear(leaky(x).flatten(1), D)[:, 0]


def mean_of_four(x: Tensor) -> Tensor:
    return (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4


def far_conventional_by_hand(case: Case, G: Params, D: Params, z: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    padding, side = case.options.get("image_kernel", 3) // 2, case.shape[-1]
    h = leaky(linear(z, G))
    # a transposed convolution of a single place: its kernel, weighed by that place
    h = leaky(conv(leaky(add(torch.einsum("nc,cohw->nohw", h, next(G)), next(G))), G))
    while h.shape[-1] < side:
        h = leaky(conv(leaky(conv(doubled(h), G)), G))
    fake = torch.tanh(F.conv2d(h, next(G), next(G), padding=padding))

    x = leaky(F.conv2d(x, next(D), next(D), padding=padding))
    while x.shape[-1] > 4:
        x = mean_of_four(leaky(conv(leaky(conv(x, D)), D)))
    x = leaky(conv(leaky(conv(x, D)), D))
    return fake, linear(x.flatten(1), D)[:, 0]


HALVINGS = {8: 2, 32: 2, 48: 4, 64: 5, 128: 5, 256: 6}
"""Of gn_resnet's critic: the arrows in spec B4, and at 8 and 64 those of 32 and 48."""
BLOCKS = {8: 4, 32: 4, 48: 4, 64: 5, 128: 6, 256: 7}


def gn_resnet_by_hand(case: Case, G: Params, D: Params, z: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    side = case.shape[-1]

    def norm(h: Tensor) -> Tensor:
        return add(standard(h, 1e-5) * next(G).view(1, -1, 1, 1), next(G)).clamp(min=0)

    start = 6 if side == 48 else 4
    h = linear(z, G).view(len(z), -1, start, start)
    while h.shape[-1] < side:
        body = conv(norm(conv(doubled(norm(h)), G)), G)
        h = body + F.conv2d(doubled(h), next(G), next(G))
    fake = torch.tanh(conv(norm(h), G))

    x = mean_of_four(conv(conv(x, D).clamp(min=0), D)) + F.conv2d(mean_of_four(x), next(D), next(D))
    for block in range(1, BLOCKS[side]):
        body = conv(conv(x.clamp(min=0), D).clamp(min=0), D)
        halving = block < HALVINGS[side]
        x = mean_of_four(body + F.conv2d(x, next(D), next(D))) if halving else x + body
    return fake, linear(x.clamp(min=0).mean((2, 3)), D)[:, 0]


def smooth(x: Tensor) -> Tensor:
    """Half the side: out[i] = (x[2i-1] + 3 x[2i] + 3 x[2i+1] + x[2i+2]) / 8, in both directions, zeros outside."""
    f = torch.tensor([1.0, 3, 3, 1], dtype=x.dtype) / 8
    return F.conv2d(x.flatten(0, 1)[:, None], f.outer(f)[None, None], stride=2, padding=1).unflatten(
        0, x.shape[:2]
    )[:, :, 0]


def smooth_up(x: Tensor) -> Tensor:
    """Twice the side, each pixel spread by [1, 3, 3, 1] / 4: four times the adjoint of `smooth`."""
    image = torch.zeros(*x.shape[:2], 2 * x.shape[-1], 2 * x.shape[-1], dtype=x.dtype)
    return 4 * torch.func.vjp(smooth, image)[1](x)[0]


def r3gan_by_hand(case: Case, G: Params, D: Params, z: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    width, group, depth = case.options["width"], case.options["group"], case.options.get("depth", 2)
    widest, side = case.options.get("widest", 32), case.shape[-1]

    def stage(x: Tensor, p: Params) -> Tensor:
        for _ in range(depth):
            h = leaky(F.conv2d(x, next(p), next(p)))
            h = leaky(F.conv2d(h, next(p), next(p), padding=1, groups=h.shape[1] // group))
            x = x + F.conv2d(h, next(p))
        return x

    images, W = next(G), next(G)
    h = stage(torch.einsum("ni,ci,chw->nchw", z, W, images), G)
    while h.shape[-1] < side:
        if h.shape[-1] >= widest:
            h = F.conv2d(h, next(G))
        h = stage(smooth_up(h), G)
    fake = F.conv2d(h, next(G))

    x = F.conv2d(x, next(D))
    while x.shape[-1] > 4:
        x = smooth(stage(x, D))
        if x.shape[-1] >= widest:
            x = F.conv2d(x, next(D))
    assert x.shape[1] == width
    return fake, ((stage(x, D) * next(D)[:, 0]).sum((2, 3)) @ next(D).T)[:, 0]


def gn_cnn_by_hand(case: Case, G: Params, D: Params, z: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    def norm(h: Tensor) -> Tensor:
        return add(standard(h, 1e-5) * next(G).view(1, -1, 1, 1), next(G)).clamp(min=0)

    side = case.shape[-1] // 8
    h = norm(linear(z, G).view(len(z), -1, side, side))
    for _ in range(3):
        h = norm(F.conv_transpose2d(h, next(G), next(G), stride=2, padding=1))
    fake = torch.tanh(F.conv_transpose2d(h, next(G), next(G), padding=1))

    x = leaky(conv(x, D), 0.1)
    for _ in range(3):
        x = leaky(F.conv2d(x, next(D), next(D), stride=2, padding=1), 0.1)
        x = leaky(conv(x, D), 0.1)
    return fake, linear(x.flatten(1), D)[:, 0]


def same(x: Tensor, W: Tensor) -> Tensor:
    """TensorFlow's SAME: out[i] = sum_a W[a] x[2i + a - 1], nothing outside the image. Window by window."""
    n, count = x.shape[-1], x.shape[-1] // 2
    out = torch.zeros(len(x), len(W), count, count, dtype=x.dtype)
    for i in range(count):
        for j in range(count):
            for a in range(max(0, 1 - 2 * i), min(5, n - 2 * i + 1)):
                for b in range(max(0, 1 - 2 * j), min(5, n - 2 * j + 1)):
                    out[:, :, i, j] += x[:, :, 2 * i + a - 1, 2 * j + b - 1] @ W[:, :, a, b].T
    return out


def down(x: Tensor, p: Params, bias: bool = True) -> Tensor:
    out = F.conv2d(F.pad(x, (1, 2, 1, 2)), next(p), stride=2)
    return add(out, next(p)) if bias else out


def up(x: Tensor, p: Params, bias: bool = True) -> Tensor:
    """The adjoint of a SAME convolution twice the size: what TensorFlow's transposed convolution is."""
    W, side = next(p), 2 * x.shape[-1]
    image = torch.zeros(len(x), W.shape[1], side, side, dtype=x.dtype)
    out = torch.func.vjp(lambda y: F.conv2d(F.pad(y, (1, 2, 1, 2)), W, stride=2), image)[1](x)[0]
    return add(out, next(p)) if bias else out


def numerics_dcgan_by_hand(case: Case, G: Params, D: Params, z: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    normed, layers = case.options.get("batch_norm", True), case.options["layers"]
    relu = layers == 3 and not case.options.get("constant_filters")
    side = case.shape[-1] // 2**layers

    def norm(h: Tensor, p: Params) -> Tensor:
        return add(standard(h, 1e-3), next(p)) if normed else h

    def act(h: Tensor) -> Tensor:
        return h.clamp(min=0) if relu else leaky(h)

    h = linear(z, G, bias=not (normed and layers == 3))
    flat, image = h.shape, (len(z), -1, side, side)
    h = norm(h.view(flat if layers == 3 else image), G).view(image)
    for _ in range(layers - 1):
        h = norm(up(act(h), G, bias=not normed), G)
    fake = torch.tanh(up(act(h), G))

    x = leaky(down(x, D))
    for _ in range(layers - 1):
        x = leaky(norm(down(x, D, bias=not normed), D))
    x = x.flatten(1)
    if "hidden" in case.options:
        x = leaky(linear(x, D))
    return fake, linear(x, D)[:, 0]


def numerics_conv_by_hand(case: Case, G: Params, D: Params, z: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    layers, width = case.options["layers"], case.options["width"]
    side = case.shape[-1] // 2**layers
    if layers == 4:
        z = leaky(linear(z, G))
    h = leaky(linear(z, G)).view(len(z), width, side, side)
    for _ in range(layers - 1):
        h = leaky(up(h, G))
    fake = torch.tanh(up(h, G))
    for _ in range(layers):
        x = leaky(down(x, D))
    return fake, linear(leaky(linear(x.flatten(1), D)), D)[:, 0]


def numerics_resnet_by_hand(case: Case, G: Params, D: Params, z: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    width, side = case.options["width"], case.shape[-1] // 16
    h = linear(z, G).view(len(z), width, side, side)
    for _ in range(3):
        h = residual(up(leaky(h), G), G, width)
    fake = torch.tanh(up(leaky(h), G))
    x = residual(down(x, D), D, width)
    for _ in range(3):
        x = residual(down(leaky(x), D), D, width)
    return fake, linear(leaky(x).flatten(1), D)[:, 0]


BY_HAND = {
    "far_resnet": far_resnet_by_hand,
    "far_resnet_deep": far_resnet_deep_by_hand,
    "far_conventional": far_conventional_by_hand,
    "gn_resnet": gn_resnet_by_hand,
    "r3gan": r3gan_by_hand,
    "gn_cnn": gn_cnn_by_hand,
    "numerics_dcgan": numerics_dcgan_by_hand,
    "numerics_conv": numerics_conv_by_hand,
    "numerics_resnet": numerics_resnet_by_hand,
}


@each_case
def test_forward_passes_written_out(case):
    # an activation before the shortcut, pooling before the block, a factor of 1 for 0.1, a 5x5 shifted by one
    G, D = made(case)
    for net in (G, D):
        for p in net.parameters():  # biases that start at 0 and gains at 1 would not be told apart
            p.data += 0.3 * torch.randn_like(p)
    z, x = inputs(case)
    left_G, left_D = (iter([*net.parameters()]) for net in (G, D))
    fake, logits = BY_HAND[case.name](case, left_G, left_D, z, x)
    assert not [*left_G, *left_D], "the pass by hand leaves parameters unused"
    torch.testing.assert_close(G(z), fake, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(D(x), logits, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("side", [2, 4, 6])
def test_convolutions_are_padded_as_tensorflow_pads_them(side):
    # torch's padding=2 puts two rows before; output_padding=1 crops (2, 1)
    torch.manual_seed(0)
    x, y = torch.randn(2, 3, side, side).double(), torch.randn(2, 4, side // 2, side // 2).double()
    convolve = nn.Sequential(*_down(3, 4, bias=False)).double()
    weight = convolve[1].weight
    torch.testing.assert_close(convolve(x), same(x, weight))
    transposed = nn.Sequential(*_up(4, 3, bias=False)).double()
    transposed[0].weight = weight
    assert transposed(y).shape == x.shape
    torch.testing.assert_close((transposed(y) * x).sum(), (y * same(x, weight)).sum())  # the adjoint


# ----------------------------------------------------------------------------- how they start, what they take


@pytest.mark.parametrize(
    ("case", "spread"),
    [
        # N(0, 0.02^2) of GN-GAN
        *[(Case("gn_cnn", (3, 32, 32), {"latent": 128, "width": 16}), lambda W: 0.02)],
        # Kaiming of PGN's text; torch counts a transposed convolution's fan by its outputs
        *[
            (
                Case("gn_cnn", (3, 32, 32), {"latent": 128, "width": 16, "init": "kaiming"}),
                lambda W: (2 / W[0].numel()) ** 0.5,
            )
        ],
        # Kaiming, fan in, of its ResNets
        *[
            (
                Case("gn_resnet", (3, side, side), {"latent": 64, "width": 8}),
                lambda W: (2 / W[0].numel()) ** 0.5,
            )
            for side in (32, 48)
        ],
        # Glorot: variance 2 / (fan in + fan out), a 5x5 kernel counted in both
        *[
            (
                Case(name, (3, 32, 32), {"latent": 64, "width": 32}),
                lambda W: (2 / ((len(W) + W.shape[1]) * W[0, 0].numel())) ** 0.5,
            )
            for name in NETWORKS
            if name.startswith("numerics")
        ],
    ],
    ids=lambda given: getattr(given, "name", ""),
)
def test_initialisation_is_the_papers(case: Case, spread: Callable[[Tensor], float]):
    # torch's own; biases left at theirs; the fans of a transposed convolution's kernel left out
    for net in made(case):
        for name, p in net.named_parameters():
            if p.ndim > 1:
                assert p.mean().abs() <= 5 * spread(p) / p.numel() ** 0.5
                assert p.numel() < 500 or p.std().item() == pytest.approx(spread(p), rel=0.12)
            elif "weight" in name:
                assert (p == 1).all()
            else:
                assert (p == 0).all()


def test_slims_batch_norm_has_no_gain_and_is_state():
    G, _ = NETWORKS["numerics_dcgan"]((1, 8, 8), latent=3, width=2, layers=3)
    norms = [part for part in G if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    assert [type(part) for part in norms] == [nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm2d]
    for part in norms:
        assert [name for name, _ in part.named_parameters()] == ["bias"]
        assert (part.weight == 1).all()
        assert not part.weight.requires_grad


WRONG = [(2,), (32, 32), (3, 32, 64), (3, 20, 20), (3, 0, 0), (1, 3, 32, 32), (3, 33, 33)]


@pytest.mark.parametrize("name", BY_HAND)
@pytest.mark.parametrize("shape", WRONG, ids=str)
def test_other_shapes_are_refused_by_name(name, shape):
    with pytest.raises(UsageError) as caught:
        NETWORKS[name](shape)
    message = str(caught.value)
    assert str(list(shape)) in message
    assert f"networks.name={name}" in message
    assert "mlp" in message


@pytest.mark.parametrize("name", ["numerics_dcgan", "numerics_conv"])
@pytest.mark.parametrize("layers", [2, 5])
def test_the_numerics_have_three_or_four_layers(name, layers):
    with pytest.raises(UsageError, match=f"3 or 4 layers, not {layers}"):
        NETWORKS[name]((3, 32, 32), layers=layers)


# ------------------------------------------------------------------------------------------- differentiated


@each_case
def test_gradients_are_finite_and_reach_every_parameter(case):
    # a layer made and not used, an activation that is dead from the start
    G, D = made(case)
    if case.name == "r3gan":  # whose blocks are the identity at first
        for p in [*G.parameters(), *D.parameters()]:
            p.data += 0.1 * torch.randn_like(p)
    z, x = inputs(case, 8)
    D(G(z)).sum().backward()
    if is_piecewise_linear(D):
        r1(D, x).backward()  # twice through every layer
    for name, p in [*G.named_parameters(), *D.named_parameters()]:
        assert p.grad.isfinite().all(), name
        assert p.grad.norm() > 0 or p.ndim == 1, name  # batch norm takes a bias before it out again


@each_case
def test_critics_are_known_to_be_piecewise_linear(case):
    """But for batch norm, whose statistics bend; generators end in tanh."""
    G, D = made(case)
    straight = case.name != "numerics_dcgan" or not case.options.get("batch_norm", True)
    assert is_piecewise_linear(D) == straight
    assert not is_piecewise_linear(G)
    if straight:
        check_piecewise_linear(D, inputs(case, 8)[1])
        return
    with pytest.raises(UsageError, match="piecewise linear"):
        check_piecewise_linear(D, inputs(case, 8)[1])


@pytest.mark.parametrize("declared", [True, False])
def test_a_block_of_ones_own_may_declare_itself_but_not_its_parts(declared):
    # the attribute taken as said of all that is inside; an attribute of one object for one of its class
    class Block(nn.Module):
        piecewise_linear = declared

        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Tensor:
            return x + 0.1 * self.inner(x)

    assert is_piecewise_linear(Block(nn.ReLU())) == declared
    assert not is_piecewise_linear(Block(nn.Tanh()))


# ---------------------------------------------------------------------------------------------- in a pure step

DIGITS = {
    "data": "digits",
    "optimizer": {"name": "sgd", "lr": 0.01},
    "steps": 10,
    "batch": 4,
    "compile": False,
    "precision": "float64",
}
SMALL = {
    "far_resnet": {"width": 2},
    "far_resnet_deep": {"width": 2},
    "far_conventional": {"width": 2},
    "gn_resnet": {"width": 1},
    "r3gan": {"width": 4, "group": 4, "depth": 1},
    "gn_cnn": {"width": 1},
    "numerics_dcgan": {"width": 2, "layers": 3},
    "numerics_conv": {"width": 2, "layers": 3, "hidden": 4},
}


@pytest.mark.parametrize("name", SMALL)
def test_an_ensembles_step_is_each_members_step(name):
    """Batch norm's buffers go in and come out, under vmap as alone; a gain that were a parameter would move."""
    settings = {**DIGITS, "networks": {"name": name, "latent": 3, **SMALL[name]}}
    both = build(config.parse({**settings, "seeds": 2}))
    state = both.state
    for number in range(2):
        state, _ = vectorised(both.step)(state, both.draws(number))
    for seed in range(2):
        run = build(config.parse({**settings, "seed": seed}))
        own = run.state
        for number in range(2):
            own, _ = run.step(own, run.draws(number))
        for player in ("G", "D"):
            assert not torch.equal(own.params[player], run.state.params[player])
            torch.testing.assert_close(state.params[player][seed], own.params[player])
            for key, buffer in own.buffers[player].items():
                torch.testing.assert_close(state.buffers[player][key][seed], buffer)
                assert torch.equal(buffer, run.state.buffers[player][key]) == key.endswith("weight")


def test_biggans_weights_start_as_the_code_or_as_the_text_says():
    """Glorot uniform has the variance 2 / (fan in + fan out), Kaiming normal 2 / fan in and a tail."""
    for init, spread in (("xavier", lambda W: 1 / len(W)), ("kaiming", lambda W: 2 / W.shape[1])):
        torch.manual_seed(0)
        _, D = biggan32((3, 32, 32), width=64, classes=10, init=init)
        body = [p for p in D.parameters() if p.shape == (64, 64, 3, 3)]
        assert len(body) == 7
        for W in body:
            assert W.var().item() == pytest.approx(spread(W) / 9, rel=0.05)
        wide = max((W.abs().max() / W.std()).item() for W in body)
        assert (wide > 2) == (init == "kaiming")


def test_weights_start_in_a_known_way_only():
    with pytest.raises(UsageError, match=r"'he'.*kaiming"):
        gn_cnn((3, 32, 32), init="he")


def test_slims_batch_norm_has_its_rates():
    G, D = numerics_dcgan((1, 8, 8), latent=3, width=2, layers=3)
    norms = [part for net in (G, D) for part in net if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    assert {(part.eps, part.momentum) for part in norms} == {
        (1e-3, 1e-3)
    }  # slim's epsilon, and 1 - its decay
