"""Multi-layer perceptrons for points in the plane (or flattened small images)."""

import math
from itertools import pairwise

from torch import nn

from steadygan.networks.conditional import OneHot

__all__ = ["mlp", "mlp_encoder"]


def mlp(
    shape: tuple[int, ...], latent: int = 2, width: int = 64, depth: int = 3, classes: int = 0
) -> tuple[nn.Module, nn.Module]:
    """Return generator `latent`-width-...-n and discriminator n-width-...-1, `depth` hidden ReLU layers each.

    n is the number of elements of `shape`. There is no output activation. Weights start as torch's default.
    With `classes` they are G(z, y) and D(x, y), which see the label's one-hot row after z and after x.
    Source: Tao and Wang 2020 (FARGAN), Tables 3 and 4: the defaults, 8,642 and 8,577 parameters.

    >>> G, D = mlp((2,))
    >>> [sum(p.numel() for p in net.parameters()) for net in (G, D)]
    [8642, 8577]
    """
    size = math.prod(shape)
    G = nn.Sequential(
        *_hidden(latent + classes, width, depth), nn.Linear(width, size), nn.Unflatten(1, shape)
    )
    D = nn.Sequential(
        nn.Flatten(1), *_hidden(size + classes, width, depth), nn.Linear(width, 1), nn.Flatten(0)
    )
    return (OneHot(G, classes), OneHot(D, classes)) if classes else (G, D)


def mlp_encoder(shape: tuple[int, ...], latent: int = 2, width: int = 64, depth: int = 3) -> nn.Module:
    """Return the encoder n-width-...-`latent` of `mlp`: x [N, *shape] -> z [N, latent].

    It has `depth` hidden ReLU layers and a linear output.

    >>> sum(p.numel() for p in mlp_encoder((2,)).parameters())
    8642
    """
    size = math.prod(shape)
    return nn.Sequential(nn.Flatten(1), *_hidden(size, width, depth), nn.Linear(width, latent))


def _hidden(inputs: int, width: int, depth: int) -> list[nn.Module]:
    sizes = [inputs, *[width] * depth]
    return [layer for i, o in pairwise(sizes) for layer in (nn.Linear(i, o), nn.ReLU())]
