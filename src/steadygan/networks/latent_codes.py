"""The first layer of a generator where a game's latents are not N(0, I): classes and uniform codes."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from steadygan.errors import UsageError
from steadygan.networks.conditional import one_hot

__all__ = ["Codes", "Uniform", "blocks", "check_codes", "coded", "set_code", "uniform"]


def check_codes(categorical: Sequence[int], continuous: int) -> None:
    """Raise UsageError where there is no code, or a code of fewer than two classes.

    >>> check_codes([1], 0)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    steadygan.errors.UsageError: a latent with codes needs a code: set game.categorical to class counts of 2 ...
    """
    if any(count < 2 for count in categorical) or continuous < 0 or not sum(categorical) + continuous:
        raise UsageError(
            "a latent with codes needs a code: set game.categorical to class counts of 2 or more, or game.continuous "
            f"to 1 or more, not {list(categorical)} and {continuous}"
        )


def uniform(z: Tensor) -> Tensor:
    """Return 2 Phi(z) - 1, uniform on [-1, 1] where z is N(0, 1): any shape.

    >>> uniform(torch.tensor([-torch.inf, 0.0, torch.inf]))
    tensor([-1.,  0.,  1.])
    """
    return torch.erf(z / math.sqrt(2))


def blocks(z: Tensor, categorical: Sequence[int], continuous: int) -> list[Tensor]:
    """Split z [N, m]: K numbers for each categorical code, those of the continuous ones, the rest.

    >>> [part.shape[1] for part in blocks(torch.zeros(1, 20), [10, 3], 2)]
    [10, 3, 2, 5]
    """
    sizes = [*categorical, continuous]
    return list(z.split([*sizes, z.shape[1] - sum(sizes)], dim=1))


def coded(z: Tensor, categorical: Sequence[int] = (), continuous: int = 0) -> Tensor:
    """Turn the first numbers of z [N, m], N(0, I), into codes: one-hots, then numbers uniform on [-1, 1]: [N, m].

    Each categorical code takes as many numbers as it has classes, and is one-hot at the largest of them. So
    every class is equally likely. A continuous code is `uniform` of its number. The rest stays.

    >>> coded(torch.tensor([[0.1, 0.5, -2.0, 0.0, 7.0]]), categorical=[3], continuous=1)
    tensor([[0., 1., 0., 0., 7.]])
    """
    *classes, numbers, rest = blocks(z, categorical, continuous)
    return torch.cat(
        [*(one_hot(p.argmax(1), p.shape[1], p.dtype) for p in classes), uniform(numbers), rest], dim=1
    )


def set_code(z: Tensor, code: int, value: float, categorical: Sequence[int], continuous: int) -> Tensor:
    """Change z [N, m] so that `coded` finds code number `code` (classes first) at `value`, with all else unchanged.

    `value` is a class's number, or a continuous code in [-1, 1]. Raises UsageError where there is no such
    code or value.

    >>> coded(set_code(torch.zeros(1, 4), 1, 0.5, [3], 1), [3], 1)
    tensor([[1.0000, 0.0000, 0.0000, 0.5000]])
    """
    if not 0 <= code < len(categorical) + continuous:
        raise UsageError(
            f"there is no code {code} among {len(categorical) + continuous}: number them from 0, classes first"
        )
    parts = blocks(z, categorical, continuous)
    if code < len(categorical):
        if value not in range(categorical[code]):
            raise UsageError(f"code {code} has the classes 0 to {categorical[code] - 1}, not {value:g}")
        parts[code] = (
            nn.functional.one_hot(torch.tensor(int(value)), categorical[code]).to(z).expand_as(parts[code])
        )
    else:
        if not -1 <= value <= 1:
            raise UsageError(f"code {code} is continuous and has values from -1 to 1, not {value:g}")
        place = torch.arange(continuous, device=z.device) == code - len(categorical)
        normal = math.sqrt(2) * torch.erfinv(torch.tensor(value, dtype=torch.float64)).to(z)
        parts[-2] = torch.where(place, normal, parts[-2])
    return torch.cat(parts, dim=1)


class Codes(nn.Module):
    """`coded` as the first layer of a generator: no parameters, z [N, m] -> [N, m].

    >>> Codes(categorical=[2])(torch.tensor([[3.0, 1.0, -1.0]]))
    tensor([[ 1.,  0., -1.]])
    """

    def __init__(self, categorical: Sequence[int] = (), continuous: int = 0) -> None:
        """Keep the codes: class counts of the categorical ones, and how many continuous ones."""
        super().__init__()
        self.categorical, self.continuous = tuple(categorical), continuous

    def forward(self, z: Tensor) -> Tensor:
        """Return the latent that the generator's own layers get."""
        return coded(z, self.categorical, self.continuous)

    def extra_repr(self) -> str:
        """What `print` shows of it."""
        return f"categorical={list(self.categorical)}, continuous={self.continuous}"


class Uniform(nn.Module):
    """`uniform` as the first layer of a generator: it turns latents N(0, I) into U[-1, 1]; no parameters.

    >>> Uniform()(torch.tensor([0.0, 0.6745, -1.96])).round(decimals=3)
    tensor([ 0.0000,  0.5000, -0.9500])
    """

    def forward(self, z: Tensor) -> Tensor:
        """Return z [N, m] in the same shape."""
        return uniform(z)
