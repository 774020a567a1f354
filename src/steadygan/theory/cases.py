"""Random cases for the checks. All of them are float64, and depend on a generator alone."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Generator, Tensor

from steadygan.errors import UsageError

__all__ = [
    "distances",
    "eye",
    "generator",
    "integers",
    "log_uniform",
    "negative",
    "network",
    "normal",
    "skew",
    "spectral_radius",
    "stable",
    "symmetric",
    "uniform",
]


def generator(seed: int) -> Generator:
    """A random generator with this seed; UsageError unless 0 <= seed < 2^63.

    >>> float(normal(generator(0), 1)) == float(normal(generator(0), 1))
    True
    """
    if not 0 <= seed < 2**63:
        raise UsageError(f"a seed is an integer from 0 to 2^63 - 1, not {seed}")
    return Generator().manual_seed(seed)


def distances(a: Tensor, b: Tensor) -> Tensor:
    """|a_i - b_j| [n, m], from differences: from products, small ones of many points would be lost."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def normal(g: Generator, *shape: int) -> Tensor:
    """Draws of N(0, 1), of that shape."""
    return torch.randn(shape, generator=g, dtype=torch.float64)


def uniform(g: Generator, low: float, high: float, *shape: int) -> Tensor:
    """Draws of U[low, high], of that shape."""
    return low + (high - low) * torch.rand(shape, generator=g, dtype=torch.float64)


def log_uniform(g: Generator, low: float, high: float, *shape: int) -> Tensor:
    """Draws between low and high, uniform in the logarithm, of that shape."""
    return low * (high / low) ** uniform(g, 0, 1, *shape)


def integers(g: Generator, low: int, high: int) -> int:
    """One integer from low to high, both included."""
    return int(torch.randint(low, high + 1, (), generator=g))


def symmetric(g: Generator, *shape: int) -> Tensor:
    """Symmetric matrices [..., n, n] with normal entries."""
    draw = normal(g, *shape)
    return (draw + draw.mT) / 2


def skew(g: Generator, *shape: int) -> Tensor:
    """Skew-symmetric matrices [..., n, n] with normal entries."""
    draw = normal(g, *shape)
    return (draw - draw.mT) / 2


def negative(g: Generator, *shape: int, rank: int | None = None) -> Tensor:
    """Symmetric negative semi-definite matrices [..., n, n] of the given rank (n if None)."""
    factor = normal(g, *shape[:-1], shape[-1] if rank is None else rank)
    return -factor @ factor.mT / shape[-1]


def stable(g: Generator, *shape: int) -> Tensor:
    """Matrices [..., n, n] whose eigenvalues all have real part at most -0.3, most of them complex."""
    draw = normal(g, *shape)
    shift = torch.linalg.eigvals(draw).real.amax(-1) + uniform(g, 0.3, 1.0, *shape[:-2])
    return draw - shift[..., None, None] * torch.eye(shape[-1], dtype=torch.float64)


def eye(n: int) -> Tensor:
    """The identity in float64."""
    return torch.eye(n, dtype=torch.float64)


def spectral_radius(matrix: Tensor) -> Tensor:
    """The largest modulus of the eigenvalues of matrices [..., n, n].

    >>> round(float(spectral_radius(torch.tensor([[0.0, 2.0], [-2.0, 0.0]]))), 4)
    2.0
    """
    return torch.linalg.eigvals(matrix).abs().amax(-1)


def network(
    g: Generator, sizes: Sequence[int], activation: Callable[[Tensor], Tensor] = torch.relu, gain: float = 1.5
) -> Callable[[Tensor], Tensor]:
    """A random multi-layer perceptron x [N, sizes[0]] -> [N, sizes[-1]], or [N] where sizes ends in 1."""
    layers = [(gain * normal(g, i, o) / i**0.5, normal(g, o) / 2) for i, o in pairwise(sizes)]

    def run(x: Tensor) -> Tensor:
        for weight, bias in layers[:-1]:
            x = activation(x @ weight + bias)
        weight, bias = layers[-1]
        out = x @ weight + bias
        return out.squeeze(-1) if sizes[-1] == 1 else out

    return run
