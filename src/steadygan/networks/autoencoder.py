"""Autoencoding critics (EBGAN, BEGAN), made of a generator's and a critic's own layers."""

from torch import Tensor, nn

from steadygan.networks._dcgan import dcgan
from steadygan.networks._mlp import mlp

__all__ = ["Autoencoder", "dcgan_autoencoder", "mlp_autoencoder"]


class Autoencoder(nn.Module):
    """x [N, ...] -> (reconstruction like x, code [N, c]).

    >>> import torch
    >>> [out.shape for out in Autoencoder(nn.Linear(4, 2), nn.Linear(2, 4))(torch.zeros(5, 4))]
    [torch.Size([5, 4]), torch.Size([5, 2])]
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        """Chain encoder and decoder."""
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return Dec(Enc(x)), and Enc(x)."""
        code = self.encoder(x)
        return self.decoder(code), code


def mlp_autoencoder(shape: tuple[int, ...], latent: int = 2, width: int = 64, depth: int = 3) -> Autoencoder:
    """Return encoder n-width-...-c and decoder c-width-...-n of `mlp`, `depth` hidden ReLU layers each, c = `latent`.

    >>> import torch
    >>> [out.shape for out in mlp_autoencoder((2,))(torch.zeros(5, 2))]
    [torch.Size([5, 2]), torch.Size([5, 2])]
    """
    return _autoencoder(mlp(shape, latent, width, depth), latent)


def dcgan_autoencoder(
    shape: tuple[int, ...], latent: int = 128, width: int = 64, batch_norm: bool = False
) -> Autoencoder:
    """Return `dcgan`'s critic up to a linear code of `latent` numbers, with its generator as decoder.

    Activations are those of `dcgan`, not ELU. `batch_norm` is for the generator only and changes nothing
    here: an energy is of one sample alone.

    >>> import torch
    >>> [out.shape for out in dcgan_autoencoder((1, 8, 8), 16, 4)(torch.zeros(5, 1, 8, 8))]
    [torch.Size([5, 1, 8, 8]), torch.Size([5, 16])]
    """
    return _autoencoder(dcgan(shape, latent, width), latent)


def _autoencoder(pair: tuple[nn.Module, nn.Module], code: int) -> Autoencoder:
    """Make the autoencoder of a pair: G's latents have the code's size, and D ends in a linear logit, flattened."""
    decoder, critic = pair
    *layers, logit, _ = critic.children()
    assert isinstance(logit, nn.Linear)
    return Autoencoder(nn.Sequential(*layers, nn.Linear(logit.in_features, code)), decoder)
