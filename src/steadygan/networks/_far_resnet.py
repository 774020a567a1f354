"""FARGAN's residual networks for images: no normalization, so that each sample's gradient is its own."""

from itertools import pairwise

from torch import nn

from steadygan.networks.blocks import Residual, stages

__all__ = ["far_resnet", "far_resnet_deep"]


def far_resnet(shape: tuple[int, ...], latent: int = 128, width: int = 64) -> tuple[nn.Module, nn.Module]:
    """Return residual generator and discriminator for square images (channels, 4 x 2^k, 4 x 2^k).

    - G: linear to 4x4 with 2^k `width` channels. Then k times a block that halves the channels, and nearest
      upsampling. Then one block at full size, leaky ReLU 0.2, convolution 3x3, tanh.
    - D: convolution 3x3 to `width` channels. Then k times a block that doubles them, and average pooling
      (3x3, stride 2, the padding counted). Then leaky ReLU 0.2, and linear to one logit.

    A block is `Residual` with min(in, out) hidden channels. Other sides than 32 drop or add stages at the 4x4
    end. The paper's network for ImageNet at 64 is `far_resnet_deep`. Weights start as torch's default. Raises
    UsageError for any other shape.

    Source: Tao and Wang 2020 (FARGAN), Tables 7 and 8, at (3, 32, 32). D differs from the public code of
    Mescheder 2018. There is no block before the first doubling, and pooling comes after a block.

    >>> G, D = far_resnet((3, 32, 32))
    >>> [sum(p.numel() for p in net.parameters()) for net in (G, D)]
    [3627715, 2505793]
    """
    channels, count = stages(shape, "far_resnet")
    widths = [width << k for k in range(count + 1)]
    top = widths[-1]

    G: list[nn.Module] = [nn.Linear(latent, top * 16), nn.Unflatten(1, (top, 4, 4))]
    for i, o in pairwise(reversed(widths)):
        G += [_block(i, o), nn.Upsample(scale_factor=2)]
    G += [_block(width, width)]

    D: list[nn.Module] = [nn.Conv2d(channels, width, 3, 1, 1)]
    for i, o in pairwise(widths):
        D += [_block(i, o), nn.AvgPool2d(3, 2, 1)]
    return _ended(G, D, top, width, channels)


def far_resnet_deep(
    shape: tuple[int, ...], latent: int = 256, width: int = 64
) -> tuple[nn.Module, nn.Module]:
    """Return G and D with two residual blocks for each side, for square images (channels, 4 x 2^k, 4 x 2^k).

    - G: linear to 4x4 with 2^k `width` channels, and two blocks that keep them. Then k times nearest
      upsampling, a block that halves them and one that keeps them. The end is that of `far_resnet`.
    - D: convolution 3x3 to `width` channels. Then k times a block that keeps them, one that doubles them, and
      average pooling. Then two blocks that keep them at 4x4. The end, blocks and pooling are those of
      `far_resnet`.

    Weights start as torch's default. Raises UsageError for any other shape. Source: Tao and Wang 2020
    (FARGAN), Tables 11 and 12 for ImageNet, at (3, 64, 64) with latents of 256. This is the pattern of
    Mescheder 2018's deeper network, one stage shorter.

    >>> import torch
    >>> with torch.device("meta"):  # counted, not made
    ...     G, D = far_resnet_deep((3, 64, 64))
    >>> [sum(p.numel() for p in net.parameters()) for net in (G, D)]
    [58332611, 54139329]
    """
    channels, count = stages(shape, "far_resnet_deep")
    widths = [width << k for k in range(count + 1)]
    top = widths[-1]

    G: list[nn.Module] = [nn.Linear(latent, top * 16), nn.Unflatten(1, (top, 4, 4))]
    G += [_block(top, top), _block(top, top)]
    for i, o in pairwise(reversed(widths)):
        G += [nn.Upsample(scale_factor=2), _block(i, o), _block(o, o)]

    D: list[nn.Module] = [nn.Conv2d(channels, width, 3, 1, 1)]
    for i, o in pairwise(widths):
        D += [_block(i, i), _block(i, o), nn.AvgPool2d(3, 2, 1)]
    D += [_block(top, top), _block(top, top)]
    return _ended(G, D, top, width, channels)


def _block(inputs: int, outputs: int) -> nn.Module:
    return Residual(inputs, outputs, min(inputs, outputs))


def _ended(
    G: list[nn.Module], D: list[nn.Module], top: int, width: int, channels: int
) -> tuple[nn.Module, nn.Module]:
    """G with its image, and D, which is at 4x4, with its logit. An activation goes before both."""
    G = [*G, nn.LeakyReLU(0.2), nn.Conv2d(width, channels, 3, 1, 1), nn.Tanh()]
    D = [*D, nn.LeakyReLU(0.2), nn.Flatten(1), nn.Linear(top * 16, 1), nn.Flatten(0)]
    return nn.Sequential(*G), nn.Sequential(*D)
