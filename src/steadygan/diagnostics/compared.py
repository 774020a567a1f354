"""What samples are compared by, and what all examinations of a run share."""

import torch
from torch import Tensor

from steadygan.diagnostics.measures import distances
from steadygan.draws import generator
from steadygan.metrics import pooled_pixels

__all__ = ["compared", "directions", "features"]


def features(x: Tensor) -> Tensor:
    """What samples [n, ...] are compared by: images by 8x8-pooled pixels [n, 64 C], others as they are, [n, d].

    In float32 at least, and a copy.

    >>> features(torch.zeros(2, 3, 32, 32)).shape, features(torch.zeros(2, 5)).shape
    (torch.Size([2, 192]), torch.Size([2, 5]))
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    pooled = x.ndim == 4 and min(x.shape[2:]) >= 8
    return pooled_pixels(wide) if pooled else wide.reshape(len(x), -1).clone()


def directions(dimension: int, count: int = 3) -> Tensor:
    """Orthonormal directions [dimension, up to count]: the axes where they suffice, else always the same ones.

    >>> directions(2)
    tensor([[1., 0.],
            [0., 1.]])
    """
    if dimension <= count:
        return torch.eye(dimension)
    return torch.linalg.qr(torch.randn(dimension, count, generator=generator("directions"))).Q


def compared(train: Tensor | None, dimension: int) -> dict[str, Tensor]:
    """The `directions` of features [n, dimension]; of training samples [m, dimension] these, as `train`, and `delta`.

    delta is a quarter of the median distance between a training sample and the nearest other one: what is closer
    is a close pair.

    >>> compared(torch.tensor([[0.0], [4.0], [4.0], [8.0]]), 1)["delta"].item()
    1.0
    """
    found = {"directions": directions(dimension)}
    if train is None:
        return found
    apart = distances(train, train)
    near = torch.where(apart > 0, apart, torch.inf).min(1).values  # of distinct ones
    return {**found, "train": train, "delta": near.median() / 4}
