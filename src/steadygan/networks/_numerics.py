"""The networks of The Numerics of GANs: 5x5 convolutions of stride 2, padded as TensorFlow's SAME pads them.

On even sides SAME puts one row before and two after. A transposed convolution is its adjoint, so it crops as
much. (torch's own `padding=2, output_padding=1` has the right shape, but two before and one after.) Batch
norm is slim's: it has a shift and no gain, eps 0.001, and the layer before it has no bias. Weights start
Glorot-uniform and biases at 0, as slim's do. On other sides than the paper's 32 (64 for the ResNet), the side
that the linear layers see changes. Source: Mescheder 2017, appendix and code.
"""

from itertools import pairwise

import torch
from torch import nn

from steadygan.errors import UsageError
from steadygan.networks.blocks import Residual, base

__all__ = ["numerics_conv", "numerics_dcgan", "numerics_resnet"]


def numerics_dcgan(
    shape: tuple[int, ...],
    latent: int = 256,
    width: int = 64,
    layers: int = 4,
    batch_norm: bool = True,
    constant_filters: bool = False,
    hidden: int | None = None,
) -> tuple[nn.Module, nn.Module]:
    """Return DCGANs of 3 or 4 stages, for square images whose side is a multiple of 2^layers.

    With `hidden`, D has one more linear layer of so many units before its logit, as in the paper's Fig. 8.
    The channels double with each halving of the side from `width`, or stay there with `constant_filters`.
    `batch_norm` is in G after all but its last layer, and in D after all but its first. No gradient penalty
    works with it. (The layer of `hidden` units has none.) Activations are leaky ReLU 0.2, but ReLU in G of
    three stages without constant filters. G ends in tanh. With three stages, G's first batch norm normalizes
    each unit; with four, each channel. Raises UsageError for other shapes.

    >>> G, D = numerics_dcgan((3, 32, 32))
    >>> [sum(p.numel() for p in net.parameters()) for net in (G, D)]
    [4832899, 4308609]
    >>> sum(p.numel() for p in numerics_dcgan((3, 32, 32), hidden=512)[1].parameters())
    5356161
    """
    channels, side = base(shape, _three_or_four(layers, "numerics_dcgan"), "numerics_dcgan")
    widths = [width if constant_filters else width << k for k in range(layers)]
    top = widths[-1]
    act = nn.ReLU if layers == 3 and not constant_filters else _leaky

    def norm(size: int, flat: bool = False) -> list[nn.Module]:
        return [_shift_norm(size, flat)] if batch_norm else []

    flat, units = layers == 3, top * side**2
    G: list[nn.Module] = [nn.Linear(latent, units, bias=not (batch_norm and flat))]
    shaped = nn.Unflatten(1, (top, side, side))
    G += [*norm(units, flat), shaped, act()] if flat else [shaped, *norm(top), act()]
    for i, o in pairwise(reversed(widths)):
        G += [*_up(i, o, bias=not batch_norm), *norm(o), act()]
    G += [*_up(width, channels), nn.Tanh()]

    D: list[nn.Module] = [*_down(channels, width), _leaky()]
    for i, o in pairwise(widths):
        D += [*_down(i, o, bias=not batch_norm), *norm(o), _leaky()]
    return _made(G, [*D, nn.Flatten(1), *_logit(units, hidden)])


def numerics_conv(
    shape: tuple[int, ...], latent: int = 256, width: int = 64, layers: int = 3, hidden: int = 512
) -> tuple[nn.Module, nn.Module]:
    """Return conv3 and conv4: constant filters, no batch norm, and one more linear layer of `hidden` units.

    D has it before its logit. G has it at its start, but only with 4 layers. Activations are leaky ReLU 0.2.
    Shapes and errors are those of `numerics_dcgan`.

    >>> G, D = numerics_conv((3, 32, 32))
    >>> [sum(p.numel() for p in net.parameters()) for net in (G, D)]
    [472899, 735105]
    """
    channels, side = base(shape, _three_or_four(layers, "numerics_conv"), "numerics_conv")
    units = width * side**2
    G: list[nn.Module] = [nn.Linear(latent, hidden), _leaky()] if layers == 4 else []
    G += [nn.Linear(hidden if layers == 4 else latent, units), _leaky(), nn.Unflatten(1, (width, side, side))]
    D: list[nn.Module] = [*_down(channels, width), _leaky()]
    for _ in range(layers - 1):
        G += [*_up(width, width), _leaky()]
        D += [*_down(width, width), _leaky()]
    G += [*_up(width, channels), nn.Tanh()]
    return _made(G, [*D, nn.Flatten(1), *_logit(units, hidden)])


def numerics_resnet(
    shape: tuple[int, ...], latent: int = 256, width: int = 128
) -> tuple[nn.Module, nn.Module]:
    """Return ResNets of constant `width`, for square images whose side is a multiple of 16 (the paper's: 64).

    - G: linear to side/16. Then three times leaky ReLU, transposed convolution and `Residual`. Then leaky
      ReLU, transposed convolution, tanh.
    - D: four times convolution and `Residual`, with leaky ReLU between them. Then leaky ReLU and a linear
      layer.

    A block's hidden channels are half the width, but all of it in D's first, as in the paper's code. Raises
    UsageError for any other shape.

    >>> G, D = numerics_resnet((3, 64, 64))
    >>> [sum(p.numel() for p in net.parameters()) for net in (G, D)]
    [2208067, 1979073]
    """
    channels, side = base(shape, 4, "numerics_resnet")
    units, half = width * side**2, max(1, width // 2)
    G: list[nn.Module] = [nn.Linear(latent, units), nn.Unflatten(1, (width, side, side))]
    D: list[nn.Module] = [*_down(channels, width), Residual(width, width, width)]
    for _ in range(3):
        G += [_leaky(), *_up(width, width), Residual(width, width, half)]
        D += [_leaky(), *_down(width, width), Residual(width, width, half)]
    G += [_leaky(), *_up(width, channels), nn.Tanh()]
    return _made(G, [*D, _leaky(), nn.Flatten(1), nn.Linear(units, 1)])


def _three_or_four(layers: int, name: str) -> int:
    if layers not in (3, 4):
        raise UsageError(f"networks.name={name} has 3 or 4 layers, not {layers}")
    return layers


def _logit(units: int, hidden: int | None) -> list[nn.Module]:
    """The last layer of D, after one of `hidden` units where there is one."""
    if hidden is None:
        return [nn.Linear(units, 1)]
    return [nn.Linear(units, hidden), _leaky(), nn.Linear(hidden, 1)]


def _leaky() -> nn.Module:
    return nn.LeakyReLU(0.2)


def _down(inputs: int, outputs: int, bias: bool = True) -> list[nn.Module]:
    return [nn.ZeroPad2d((1, 2, 1, 2)), nn.Conv2d(inputs, outputs, 5, 2, bias=bias)]


def _up(inputs: int, outputs: int, bias: bool = True) -> list[nn.Module]:
    """2n + 1 rows with one cropped at each end, and then the last."""
    return [nn.ConvTranspose2d(inputs, outputs, 5, 2, 1, bias=bias), nn.ZeroPad2d((0, -1, 0, -1))]


def _shift_norm(size: int, flat: bool) -> nn.Module:
    """Batch norm without a gain: its weight is a buffer of ones, which no optimizer sees."""
    kind = nn.BatchNorm1d if flat else nn.BatchNorm2d
    norm = kind(size, eps=1e-3, momentum=1e-3)
    del norm.weight
    norm.register_buffer("weight", torch.ones(size))
    return norm


def _made(G: list[nn.Module], D: list[nn.Module]) -> tuple[nn.Module, nn.Module]:
    """Both networks, initialised. D returns [N]."""
    nets = nn.Sequential(*G), nn.Sequential(*D, nn.Flatten(0))
    for net in nets:
        for part in net.modules():
            if isinstance(part, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                nn.init.xavier_uniform_(part.weight)
                if part.bias is not None:
                    nn.init.zeros_(part.bias)
    return nets
