"""A multi-layer perceptron as the generator of images, against a convolutional critic."""

from torch import nn

from steadygan.networks._dcgan import dcgan
from steadygan.networks._mlp import mlp

__all__ = ["mlp_dcgan"]


def mlp_dcgan(
    shape: tuple[int, ...], latent: int = 128, width: int = 64, hidden: int = 512, depth: int = 4
) -> tuple[nn.Module, nn.Module]:
    """Return the generator of `mlp`, with `depth` hidden layers of `hidden` units, and the discriminator of `dcgan`.

    Shapes are those of `dcgan`: images (channels, 4 x 2^k, 4 x 2^k). G has no output activation. Raises
    UsageError for any other shape. Source: Arjovsky 2017, Figure 7: 4 layers of 512. Its released code has 3.

    >>> G, D = mlp_dcgan((1, 32, 32))
    >>> [sum(p.numel() for p in net.parameters()) for net in (G, D)]
    [1379328, 660929]
    """
    G, _ = mlp(shape, latent, hidden, depth)
    _, D = dcgan(shape, latent, width)
    return G, D
