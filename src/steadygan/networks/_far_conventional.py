"""FARGAN's conventional networks for images: plain convolutions as in progressive growing, no normalization."""

from itertools import pairwise

from torch import nn

from steadygan.networks.blocks import stages

__all__ = ["far_conventional"]


def far_conventional(
    shape: tuple[int, ...], latent: int = 128, width: int = 64, image_kernel: int = 3
) -> tuple[nn.Module, nn.Module]:
    """Return G and D with two convolutions for each side, for square images (channels, 4 x 2^k, 4 x 2^k).

    Leaky ReLU 0.2 follows each layer.

    - G: linear to 2^k `width` channels, a transposed convolution to 4x4, and a convolution, both with as many
      channels. Then k times nearest upsampling, a convolution that halves the channels and one that keeps
      them. At the end a convolution to the image, and tanh.
    - D: a convolution to `width` channels. Then k times one that keeps them, one that doubles them, and
      average pooling by 2. Then two that keep them at 4x4, and linear to one logit.

    Kernels are 3x3, those next to the image `image_kernel`. Weights start as torch's default. Raises
    UsageError for any other shape.

    Source: Tao and Wang 2020 (FARGAN), Tables 9 and 10, at (3, 32, 32). The tables give the channels only.
    Kernels, activations and pooling are this package's reading. The transposed convolutions of stride 1 in
    the tables are convolutions. Karras 2018 (progressive growing), whom the paper follows, has 1x1 kernels
    next to the image.

    >>> G, D = far_conventional((3, 32, 32))
    >>> [sum(p.numel() for p in net.parameters()) for net in (G, D)]
    [8945731, 7053377]
    """
    channels, count = stages(shape, "far_conventional")
    widths = [width << k for k in range(count + 1)]
    top = widths[-1]

    G: list[nn.Module] = [nn.Linear(latent, top), nn.LeakyReLU(0.2), nn.Unflatten(1, (top, 1, 1))]
    G += [nn.ConvTranspose2d(top, top, 4), nn.LeakyReLU(0.2), *_layer(top, top)]
    for i, o in pairwise(reversed(widths)):
        G += [nn.Upsample(scale_factor=2), *_layer(i, o), *_layer(o, o)]
    G += [nn.Conv2d(width, channels, image_kernel, padding=image_kernel // 2), nn.Tanh()]

    D = _layer(channels, width, image_kernel)
    for i, o in pairwise(widths):
        D += [*_layer(i, i), *_layer(i, o), nn.AvgPool2d(2)]
    D += [*_layer(top, top), *_layer(top, top), nn.Flatten(1), nn.Linear(top * 16, 1), nn.Flatten(0)]
    return nn.Sequential(*G), nn.Sequential(*D)


def _layer(inputs: int, outputs: int, kernel: int = 3) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), nn.LeakyReLU(0.2)]
