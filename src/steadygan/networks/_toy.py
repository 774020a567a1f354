"""Networks of a few numbers, for games with a closed-form solution."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from steadygan.errors import UsageError

__all__ = ["Point", "dirac", "point"]


class Point(nn.Module):
    """Bare parameters: it returns the vector itself for any input."""

    def __init__(self, start: Sequence[float]) -> None:
        """Start at these numbers."""
        super().__init__()
        self.value = nn.Parameter(torch.tensor([float(v) for v in start]))

    def forward(self, x: Tensor) -> Tensor:
        """Return the vector [n]; x is ignored."""
        return self.value


class Everywhere(Point):
    """The Dirac-GAN's generator: the same sample theta for every latent."""

    def forward(self, z: Tensor) -> Tensor:
        """Return theta for each row of z, [N, 1]."""
        return self.value.expand(len(z), 1)


class Slope(Point):
    """The Dirac-GAN's discriminator: the line psi x."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits psi x [N] at x [N, 1]."""
        return self.value * x[:, 0]


def point(
    shape: tuple[int, ...], G: Sequence[float] = (1.0,), D: Sequence[float] = (1.0,)
) -> tuple[nn.Module, nn.Module]:
    """Return generator and discriminator that are vectors, starting at `G` and `D`: the players of a quadratic game.

    >>> [net(torch.empty(0)).tolist() for net in point((), G=(1.0, 2.0))]
    [[1.0, 2.0], [1.0]]
    """
    return Point(G), Point(D)


def dirac(shape: tuple[int, ...], theta: float = 1.0, psi: float = 1.0) -> tuple[nn.Module, nn.Module]:
    """Return the Dirac-GAN's networks, one parameter each: G(z) = theta for every z, D(x) = psi x.

    They start at `theta` and `psi`. Raises UsageError unless the data are single numbers. Source: Mescheder
    2018, Definition 2.1.

    >>> G, D = dirac((1,), theta=2.0, psi=3.0)
    >>> D(G(torch.zeros(2, 1))).tolist()
    [6.0, 6.0]
    """
    if tuple(shape) != (1,):
        raise UsageError(
            f"networks.name=dirac takes single numbers, not {list(shape)}: choose data.name=dirac"
        )
    return Everywhere((theta,)), Slope((psi,))
