"""Autoencoding critics (EBGAN, BEGAN), made of a pair's own layers, and a generator whose latents are uniform."""

import math

import torch
from torch import Tensor, nn

from steadygan.networks.dcgan import dcgan
from steadygan.networks.mlp import mlp

__all__ = [
    "Autoencoder",
    "Uniform",
    "dcgan_autoencoder",
    "dcgan_uniform",
    "mlp_autoencoder",
    "mlp_uniform",
]


class Autoencoder(nn.Module):
    """x [N, ...] -> (reconstruction like x, code [N, c])."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        """Put the two behind each other."""
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Dec(Enc(x)), and Enc(x)."""
        code = self.encoder(x)
        return self.decoder(code), code


class Uniform(nn.Module):
    """Turns standard normal numbers into uniform ones on [-1, 1]: 2 Phi(z) - 1 = erf(z / sqrt 2), without parameters.

    In front of a generator, so that whoever draws N(0, I) gives it U[-1, 1].

    >>> Uniform()(torch.tensor([0.0, 0.6745, -1.96])).round(decimals=3)
    tensor([ 0.0000,  0.5000, -0.9500])
    """

    def forward(self, z: Tensor) -> Tensor:
        """z [N, latent] to the same shape."""
        return torch.erf(z * math.sqrt(0.5))


def mlp_autoencoder(shape: tuple[int, ...], latent: int = 2, width: int = 64, depth: int = 3) -> Autoencoder:
    """Encoder n-width-...-c and decoder c-width-...-n of `mlp`, `depth` hidden ReLU layers each, c = `latent`.

    >>> [out.shape for out in mlp_autoencoder((2,))(torch.zeros(5, 2))]
    [torch.Size([5, 2]), torch.Size([5, 2])]
    """
    return _autoencoder(mlp(shape, latent, width, depth), latent)


def dcgan_autoencoder(
    shape: tuple[int, ...], latent: int = 128, width: int = 64, batch_norm: bool = False
) -> Autoencoder:
    """`dcgan`'s critic up to a linear code, and its generator as decoder; activations are the family's own, no ELU.

    `batch_norm` is for the generator only: an energy is of one sample alone. The code has `latent` numbers.

    >>> [out.shape for out in dcgan_autoencoder((1, 8, 8), 16, 4)(torch.zeros(5, 1, 8, 8))]
    [torch.Size([5, 1, 8, 8]), torch.Size([5, 16])]
    """
    return _autoencoder(dcgan(shape, latent, width), latent)


def mlp_uniform(shape: tuple[int, ...], latent: int = 2, width: int = 64, depth: int = 3) -> nn.Module:
    """`mlp`'s generator behind `Uniform`."""
    return nn.Sequential(Uniform(), mlp(shape, latent, width, depth)[0])


def dcgan_uniform(
    shape: tuple[int, ...], latent: int = 128, width: int = 64, batch_norm: bool = False
) -> nn.Module:
    """`dcgan`'s generator behind `Uniform`."""
    return nn.Sequential(Uniform(), dcgan(shape, latent, width, batch_norm)[0])


def _autoencoder(pair: tuple[nn.Module, nn.Module], code: int) -> Autoencoder:
    """Of a pair whose generator has latents of the code's size, and whose critic ends in a linear logit, flattened."""
    decoder, critic = pair
    *layers, logit, _ = critic.children()
    assert isinstance(logit, nn.Linear)
    return Autoencoder(nn.Sequential(*layers, nn.Linear(logit.in_features, code)), decoder)
