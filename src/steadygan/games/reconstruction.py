"""What an encoder adds to a game: real samples made again by the generator, and how far off they are."""

from torch import Tensor

from steadygan.game import Nets

__all__ = ["reconstruct", "squared_distance"]


def reconstruct(nets: Nets, x_real: Tensor) -> Tensor:
    """G(E(x)) [N, ...] at x [N, ...]."""
    return nets["G"](nets["E"](x_real))


def squared_distance(x: Tensor, y: Tensor) -> Tensor:
    """|x - y|^2 [N] of samples [N, ...]: a sum over all dimensions, no root and no 1/2.

    >>> import torch
    >>> squared_distance(torch.zeros(2, 1, 2), torch.tensor([[[3.0, 4.0]], [[0.0, 1.0]]]))
    tensor([25.,  1.])
    """
    return (x - y).square().flatten(1).sum(1)
