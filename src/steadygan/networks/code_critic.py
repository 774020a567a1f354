"""A critic that also returns the features of its trunk, and the head that reads a sample's code from them."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from steadygan.networks.latent_codes import check_codes

__all__ = ["Informed", "code_head", "informed_critic", "logits_of"]

Pair = Callable[..., tuple[nn.Module, nn.Module]]

HIDDEN = 128
"""Units of the code head's hidden layer, as many as in InfoGAN's own code for MNIST."""


class Informed(nn.Module):
    """A critic in two parts, x -> (logits [N], features [N, F]): `trunk` makes the features, `last` the logits."""

    piecewise_linear = True  # where its parts are

    def __init__(self, trunk: nn.Module, last: nn.Module) -> None:
        """Keep the two parts."""
        super().__init__()
        self.trunk, self.last = trunk, last

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits [N] of x [N, ...], and the features [N, F] that they are linear in."""
        features = self.trunk(x)
        return self.last(features), features


def informed_critic(pair: Pair, shape: tuple[int, ...], **options: object) -> nn.Module:
    """Return the critic of an architecture `pair(shape, **options) -> (G, D)`, which also returns its last features.

    >>> from steadygan.networks import mlp
    >>> [list(part.shape) for part in informed_critic(mlp, (2,), width=16)(torch.zeros(5, 2))]
    [[5], [5, 16]]
    """
    trunk, last = _parts(pair, shape, options)
    return Informed(trunk, last)


def code_head(
    pair: Pair, shape: tuple[int, ...], categorical: Sequence[int], continuous: int, **options: object
) -> nn.Module:
    """Return InfoGAN's Q without the trunk that it shares: features [N, F] -> code parameters [N, K1 + K2 + ... + n].

    It has one hidden layer of 128 units with leaky ReLU 0.2. The outputs are logits of each categorical code
    in turn, then the means of the n continuous ones. `pair` and `options` are those of the critic that makes
    the features. Raises UsageError where there is no code. Source: Chen 2016, appendix C.1, and their code
    (there with batch norm).

    >>> from steadygan.networks import mlp
    >>> sum(p.numel() for p in code_head(mlp, (2,), categorical=[8], continuous=1, width=16).parameters())
    3337
    """
    check_codes(categorical, continuous)
    with torch.device("meta"):  # only a size is needed
        last = _parts(pair, shape, options)[1]
    features = next(part.in_features for part in last.modules() if isinstance(part, nn.Linear))
    outputs = sum(categorical) + continuous
    return nn.Sequential(nn.Linear(features, HIDDEN), nn.LeakyReLU(0.2), nn.Linear(HIDDEN, outputs))


def logits_of(critic: Callable[..., Any]) -> Callable[[Tensor], Tensor]:
    """Return the critic x -> logits [N] of one that may also return features: the first of its outputs.

    >>> logits_of(lambda x: (x[:, 0], x))(torch.ones(2, 3))
    tensor([1., 1.])
    """
    return partial(_first, critic)


def _first(critic: Callable[..., Any], x: Tensor) -> Tensor:
    answer = critic(x)
    return answer[0] if isinstance(answer, tuple) else answer


def _parts(
    pair: Pair, shape: tuple[int, ...], options: dict[str, object]
) -> tuple[nn.Sequential, nn.Sequential]:
    """The critic of an architecture that ends in a linear layer and Flatten(0), split before the linear layer."""
    *trunk, linear, flat = pair(shape, **options)[1].children()
    return nn.Sequential(*trunk), nn.Sequential(linear, flat)
