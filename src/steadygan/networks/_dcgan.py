"""FARGAN's DCGAN-like networks: strided convolutions, no normalization in the discriminator."""

from itertools import pairwise

from torch import nn

from steadygan.networks.blocks import stages
from steadygan.networks.conditional import ClassBatchNorm, Labelled, OneHot, Projection

__all__ = ["dcgan", "dcgan_encoder"]


def dcgan(
    shape: tuple[int, ...], latent: int = 128, width: int = 64, batch_norm: bool = False, classes: int = 0
) -> tuple[nn.Module, nn.Module]:
    """Return generator and discriminator for square images (channels, 4 x 2^k, 4 x 2^k), k stages of stride 2.

    G: linear to 4x4, then k transposed convolutions (kernel 4, stride 2, padding 1) with ReLU, and tanh at
    the end. D: k convolutions of the same kind with leaky ReLU 0.2, then linear to one logit. The channels
    double with each halving of the side, from `width`. `batch_norm` is in G only.

    With `classes` they are G(z, y) and D(x, y), a projection critic. G's batch norm then has gains and shifts
    for each class. Without batch norm, y's one-hot row follows z. Raises UsageError for any other shape.
    Source: Tao and Wang 2020 (FARGAN), Tables 5 and 6, at (3, 32, 32).

    >>> G, D = dcgan((3, 32, 32))
    >>> [sum(p.numel() for p in net.parameters()) for net in (G, D)]
    [1187011, 662977]
    """
    channels, count = stages(shape, "dcgan")
    widths = [width << k for k in range(count)]
    top = widths[-1]
    hot = 0 if batch_norm else classes

    def norm(size: int) -> list[nn.Module]:
        if not batch_norm:
            return []
        return [ClassBatchNorm(size, classes) if classes else nn.BatchNorm2d(size)]

    G: list[nn.Module] = [
        nn.Linear(latent + hot, top * 16),
        nn.Unflatten(1, (top, 4, 4)),
        *norm(top),
        nn.ReLU(),
    ]
    for i, o in pairwise(reversed(widths)):
        G += [nn.ConvTranspose2d(i, o, 4, 2, 1), *norm(o), nn.ReLU()]
    G += [nn.ConvTranspose2d(widths[0], channels, 4, 2, 1), nn.Tanh()]

    convolutions = _convolutions(channels, widths)
    if classes:
        made = Labelled(G) if batch_norm else OneHot(nn.Sequential(*G), classes)
        return made, Projection(nn.Sequential(*convolutions, nn.Flatten(1)), top * 16, classes)
    D = [*convolutions, nn.Flatten(1), nn.Linear(top * 16, 1), nn.Flatten(0)]
    return nn.Sequential(*G), nn.Sequential(*D)


def dcgan_encoder(
    shape: tuple[int, ...], latent: int = 128, width: int = 64, batch_norm: bool = False
) -> nn.Module:
    """Return the encoder of `dcgan`, x [N, *shape] -> z [N, latent]: its discriminator's convolutions, then linear.

    `batch_norm` is for the generator and changes nothing here. Shapes and errors are those of `dcgan`.

    >>> sum(p.numel() for p in dcgan_encoder((3, 32, 32)).parameters())
    1183296
    """
    channels, count = stages(shape, "dcgan")
    widths = [width << k for k in range(count)]
    return nn.Sequential(*_convolutions(channels, widths), nn.Flatten(1), nn.Linear(widths[-1] * 16, latent))


def _convolutions(channels: int, widths: list[int]) -> list[nn.Module]:
    """One convolution of stride 2 for each width, with leaky ReLU 0.2."""
    layers: list[nn.Module] = []
    for i, o in pairwise([channels, *widths]):
        layers += [nn.Conv2d(i, o, 4, 2, 1), nn.LeakyReLU(0.2)]
    return layers
