"""FARGAN's residual networks for images: no normalization, so that each sample's gradient is its own."""

from itertools import pairwise

from torch import nn

from steadygan.networks.blocks import Residual, stages

__all__ = ["far_resnet", "far_resnet_deep"]


def far_resnet(shape: tuple[int, ...], latent: int = 128, width: int = 64) -> tuple[nn.Module, nn.Module]:
    """Residual generator and discriminator for square images (channels, 4 x 2^k, 4 x 2^k).

    G: linear to 4x4 with 2^k `width` channels; k times a block that halves the channels, then nearest
    upsampling; one block at full size, leaky ReLU 0.2, convolution 3x3, tanh. D: convolution 3x3 to `width`
    channels; k times a block that doubles them, then average pooling (3x3, stride 2, the padding counted);
    leaky ReLU 0.2, linear to one logit. A block is `Residual` with min(in, out) hidden channels.

    At (3, 32, 32) these are FARGAN's Tables 7 and 8, which differ from the public code of Mescheder 2018 in
    D: there is no block before the first doubling, and pooling comes after a block. Other sides drop or add
    stages at the 4x4 end (the paper's network for ImageNet at 64 is `far_resnet_deep`). torch's default
    initialisation. Raises UsageError for any other shape.

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
    """Two residual blocks a side instead of one, for square images (channels, 4 x 2^k, 4 x 2^k).

    G: linear to 4x4 with 2^k `width` channels and two blocks that keep them; k times nearest upsampling, a block
    that halves them and one that keeps them; then as `far_resnet`. D: convolution 3x3 to `width` channels; k
    times a block that keeps them, one that doubles them, and average pooling; two blocks that keep them at 4x4;
    then as `far_resnet`, with its blocks and pooling.

    At (3, 64, 64) these are FARGAN's Tables 11 and 12 for ImageNet, with latents of 256: the pattern of Mescheder
    2018's deeper network, one stage shorter. torch's default initialisation. Raises UsageError for any other
    shape.

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
    """G with its image, and D, which has come down to 4x4, with its logit; an activation goes before both."""
    G = [*G, nn.LeakyReLU(0.2), nn.Conv2d(width, channels, 3, 1, 1), nn.Tanh()]
    D = [*D, nn.LeakyReLU(0.2), nn.Flatten(1), nn.Linear(top * 16, 1), nn.Flatten(0)]
    return nn.Sequential(*G), nn.Sequential(*D)
