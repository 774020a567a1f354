"""Autoencoders as critics: the energy of a sample is its reconstruction error, and losses are made of energies.

An energy is the reverse of a logit: low means real. Energies are [N], one number for each sample. A loss is
the mean over the batch, minimised by the player it is named after. The target of a reconstruction is the
sample itself and is never detached, so G's gradient goes through both. With D(x) = (reconstruction, code),
G's loss is `distance(D(y)[0], y).mean()`.
"""

import torch.nn.functional as F
from torch import Tensor

from steadygan.critic_outputs import wide
from steadygan.errors import UsageError
from steadygan.penalties import norm

__all__ = ["balance", "began_discriminator", "convergence", "distance", "ebgan_discriminator", "mean_error"]


def distance(reconstruction: Tensor, x: Tensor) -> Tensor:
    """Return EBGAN's energy |Dec(Enc(x)) - x| of each sample [N]: the norm over all dimensions, not squared, no mean.

    Its derivative is 0 where the reconstruction is perfect (the root's own is infinite there). Raises
    UsageError unless both have one shape [N, ...]. Source: Zhao 2017, section 2.3. Public implementations
    take the mean square instead, so their margins have another unit.

    >>> import torch
    >>> distance(torch.zeros(2, 2), torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([5., 0.])
    """
    return norm(_error(reconstruction, x))


def mean_error(reconstruction: Tensor, x: Tensor, eta: float | Tensor = 1.0) -> Tensor:
    """Return BEGAN's loss of each sample [N]: the mean over its dimensions of |v - D(v)|^eta.

    Raises UsageError unless both have one shape [N, ...]. Source: Berthelot 2017, section 3.1 (eta 1 or 2).

    >>> import torch
    >>> mean_error(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]])), mean_error(torch.zeros(1, 1), torch.ones(1, 1), 2)
    (tensor([3.5000]), tensor([1.]))
    """
    return (wide(_error(reconstruction, x)).abs() ** eta).flatten(1).mean(1)


def ebgan_discriminator(real: Tensor, fake: Tensor, margin: float | Tensor) -> Tensor:
    """Return mean e(x) + mean max(0, m - e(G(z))): D lowers the energy of reals and raises that of fakes up to m.

    m is the margin. G's loss is mean e(G(z)), Eqn 2. Where p_g = p_data every constant energy in [0, m] is
    best, and this loss is m (their Theorem 1). Source: Zhao 2017, Eqn 1.

    >>> import torch
    >>> ebgan_discriminator(torch.tensor([1.0]), torch.tensor([2.0, 6.0]), margin=5.0)
    tensor(2.5000)
    """
    return _energies(real).mean() + F.relu(margin - _energies(fake)).mean()


def began_discriminator(real: Tensor, fake: Tensor, k: float | Tensor) -> Tensor:
    """Return mean L(x) - k mean L(G(z)), with `mean_error` for L. G's loss is mean L(G(z)).

    Source: Berthelot 2017, section 3.4.

    >>> import torch
    >>> began_discriminator(torch.tensor([1.0]), torch.tensor([0.5]), k=0.5)
    tensor(0.7500)
    """
    return _energies(real).mean() - k * _energies(fake).mean()


def balance(
    k: Tensor,
    real: Tensor,
    fake: Tensor,
    gamma: float | Tensor = 0.5,
    rate: float | Tensor = 0.001,
) -> Tensor:
    """Return the next k: k + rate (gamma L(x) - L(G(z))), clipped to [0, 1].

    `real` and `fake` are the two mean losses. The control makes G's reconstruction error gamma times that of
    the data. Source: Berthelot 2017, section 3.4.

    >>> import torch
    >>> balance(torch.tensor(0.0), torch.tensor(1.0), torch.tensor(0.2))
    tensor(0.0003)
    """
    return (k + rate * (gamma * real - fake)).clamp(0, 1)


def convergence(real: Tensor, fake: Tensor, gamma: float | Tensor = 0.5) -> Tensor:
    """Return M = L(x) + |gamma L(x) - L(G(z))| of two mean losses, which falls as a BEGAN converges.

    Source: Berthelot 2017, section 3.4.1.

    >>> import torch
    >>> convergence(torch.tensor(1.0), torch.tensor(0.2))
    tensor(1.3000)
    """
    return real + (gamma * real - fake).abs()


def _error(reconstruction: Tensor, x: Tensor) -> Tensor:
    if reconstruction.shape != x.shape:
        raise UsageError(
            f"a reconstruction must be shaped like its samples, {list(x.shape)}, not {list(reconstruction.shape)}: "
            "the critic must be an autoencoder, x -> (reconstruction, code)"
        )
    return reconstruction - x


def _energies(energies: Tensor) -> Tensor:
    if energies.ndim != 1:
        raise UsageError(
            f"energies must be one number per sample, shape [N], not {list(energies.shape)}: use distance or "
            "mean_error of the reconstructions"
        )
    return energies
