"""R3GAN's residual networks: grouped convolutions, smooth resampling, no normalization."""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from steadygan.errors import UsageError
from steadygan.networks.blocks import stages

__all__ = ["Grouped", "r3gan"]

GAIN = math.sqrt(2 / (1 + 0.2**2))
"""The gain that keeps the variance through leaky ReLU 0.2."""


def r3gan(
    shape: tuple[int, ...],
    latent: int = 64,
    width: int = 768,
    depth: int = 2,
    group: int = 16,
    widest: int = 32,
) -> tuple[nn.Module, nn.Module]:
    """Return a residual generator and its mirror image as critic, for square images (channels, 4 x 2^k, 4 x 2^k).

    Each side 4, 8, ... has a stage of `depth` blocks `Grouped`. It has `width` channels up to the side
    `widest`, and half as many for each doubling above. Only the blocks have biases.

    - G: `Basis`, then the stages. Between them stand a 1x1 convolution (where the channels change) and smooth
      upsampling. Then a 1x1 convolution to the image. It has no tanh, so samples are not bounded to [-1, 1].
    - D: the reverse, with smooth downsampling before the 1x1 convolution. At 4x4 it has one 4x4 convolution
      for each channel alone, then linear to one logit.

    Weights start N(0, 1 / fan in), in the blocks as `Grouped` says. A block's last convolution starts at 0,
    which spectral norm cannot divide. Raises UsageError for any other shape, and for widths that groups do
    not divide.

    Source: Huang 2024 (R3GAN), section 4, and their code. (3, 32, 32) is CIFAR-10's; (3, 64, 64) and (3, 256,
    256) are FFHQ's. ImageNet at 32 and 64 has width=1536, group=32, widest=64. Labels are not supported here.
    Their ImageNet networks have them, and CIFAR-10's may.

    >>> G, D = r3gan((3, 32, 32))
    >>> [sum(p.numel() for p in net.parameters()) for net in (G, D)]
    [20732160, 20683776]
    """
    channels, count = stages(shape, "r3gan")
    widths = [width * widest // max(widest, 4 << k) for k in range(count + 1)]
    _check_groups(widths, group, width)
    blocks = depth * len(widths)

    def stage(kept: int) -> list[nn.Module]:
        return [Grouped(kept, group, blocks) for _ in range(depth)]

    G: list[nn.Module] = [Basis(latent, widths[0]), *stage(widths[0])]
    for i, o in pairwise(widths):
        G += [*_between(i, o), Doubled(), *stage(o)]
    G += [_convolution(widths[-1], channels)]

    D: list[nn.Module] = [_convolution(channels, widths[-1])]
    for i, o in pairwise(reversed(widths)):
        D += [*stage(i), Halved(), *_between(i, o)]
    last = _started(nn.Conv2d(width, width, 4, groups=width, bias=False))
    D += [*stage(width), last, nn.Flatten(1), _started(nn.Linear(width, 1, bias=False)), nn.Flatten(0)]
    return nn.Sequential(*G), nn.Sequential(*D)


class Grouped(nn.Module):
    """x + conv(act(gconv(act(conv(x))))): 1x1 to 2 `width` channels, 3x3 in groups of `group`, 1x1 back.

    act(t) is leaky ReLU 0.2 of t plus a bias. The last convolution has no bias. The first two start N(0, s^2
    / fan in) with s = sqrt(2 / 1.04) `blocks`^(-1/4), for `blocks` in the whole network. The last starts at
    0, so that a block is the identity at first. Source: Zhang 2019 (FixUp) for three layers; Huang 2024
    (R3GAN).

    >>> x = torch.randn(1, 8, 4, 4)
    >>> torch.equal(Grouped(8, group=4, blocks=2)(x), x)
    True
    """

    piecewise_linear = True

    def __init__(self, width: int, group: int, blocks: int) -> None:
        """Make the three convolutions; fewer channels than `group` are one group."""
        super().__init__()
        inner, gain = 2 * width, GAIN * blocks**-0.25
        self.body = nn.Sequential(
            _started(nn.Conv2d(width, inner, 1), gain),
            nn.LeakyReLU(0.2),
            _started(nn.Conv2d(inner, inner, 3, 1, 1, groups=max(1, inner // group)), gain),
            nn.LeakyReLU(0.2),
            _started(nn.Conv2d(inner, width, 1, bias=False), 0.0),
        )

    def forward(self, x: Tensor) -> Tensor:
        """x [N, width, H, W] to the same shape."""
        return x + self.body(x)


class Basis(nn.Module):
    """(W z)_c B_c: a learned 4x4 image B_c for each channel c, times a linear function of the latent.

    >>> Basis(3, 8)(torch.zeros(2, 3)).shape
    torch.Size([2, 8, 4, 4])
    """

    def __init__(self, latent: int, width: int) -> None:
        """Start the images at N(0, 1), W at N(0, 1 / latent)."""
        super().__init__()
        self.images = nn.Parameter(torch.randn(width, 4, 4))
        self.linear = _started(nn.Linear(latent, width, bias=False))

    def forward(self, z: Tensor) -> Tensor:
        """z [N, latent] to [N, width, 4, 4]."""
        return self.linear(z)[:, :, None, None] * self.images


class Doubled(nn.Module):
    """Twice the side: each pixel is spread by the filter [1, 3, 3, 1] / 4 in both directions, with zeros outside.

    >>> Doubled()(torch.ones(1, 1, 2, 2))[0, 0, 0]
    tensor([0.5625, 0.7500, 0.7500, 0.5625])
    """

    piecewise_linear = True

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] to [N, C, 2H, 2W]."""
        return nn.functional.conv_transpose2d(x, 4 * _filter(x), stride=2, padding=1, groups=x.shape[1])


class Halved(nn.Module):
    """Half the side: weighted by the filter [1, 3, 3, 1] / 8 in both directions, a quarter of `Doubled`'s adjoint.

    >>> Halved()(torch.ones(1, 1, 6, 6))[0, 0, 0]
    tensor([0.7656, 0.8750, 0.7656])
    """

    piecewise_linear = True

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W], both even, to [N, C, H/2, W/2]."""
        return nn.functional.conv2d(x, _filter(x), stride=2, padding=1, groups=x.shape[1])


def _filter(x: Tensor) -> Tensor:
    """The outer product of [1, 3, 3, 1] / 8 with itself for each channel of x: [C, 1, 4, 4].

    It is applied as a convolution. torch.compile takes minutes over slices. It fails at the second derivative
    of average pooling where windows overlap twice.
    """
    place = torch.arange(4, dtype=x.dtype, device=x.device)
    line = (1 + place * (3 - place)) / 8  # 1 3 3 1; a list would be copied to a GPU at every step
    return line.outer(line).expand(x.shape[1], 1, 4, 4)


def _between(inputs: int, outputs: int) -> list[nn.Module]:
    return [] if inputs == outputs else [_convolution(inputs, outputs)]


def _convolution(inputs: int, outputs: int) -> nn.Module:
    return _started(nn.Conv2d(inputs, outputs, 1, bias=False))


def _started(layer: nn.Linear | nn.Conv2d, gain: float = 1.0) -> nn.Module:
    """Weights at N(0, gain^2 / fan in), biases at 0."""
    nn.init.normal_(layer.weight, std=gain / math.sqrt(layer.weight[0].numel()))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _check_groups(widths: list[int], group: int, width: int) -> None:
    for inner in (2 * kept for kept in widths):
        if not inner or (inner > group and inner % group):
            raise UsageError(
                f"networks.name=r3gan has grouped convolutions of {inner} channels at networks.width={width}, which "
                f"groups of {group} do not divide: choose another networks.width or networks.group"
            )
