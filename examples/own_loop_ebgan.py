"""A training loop of your own for EBGAN with its pull-away term: python own_loop_ebgan.py [steps]."""

import sys

import torch
from torch import nn

from steadygan import energies, losses


def train(G, D, optimizer_G, optimizer_D, batches, margin=1.0, weight=0.1):
    for x_real, z, z_next in batches:
        with torch.no_grad():
            x_fake = G(z)
        real, fake = (energies.distance(D(x)[0], x) for x in (x_real, x_fake))
        loss_D = energies.ebgan_discriminator(real, fake, margin)
        optimizer_D.zero_grad()
        loss_D.backward()
        optimizer_D.step()

        x_fake = G(z_next)  # not detached where it is the target: both of its places have a gradient
        reconstruction, codes = D(x_fake)
        loss_G = energies.distance(reconstruction, x_fake).mean() + weight * losses.pull_away(codes)
        optimizer_G.zero_grad()
        loss_G.backward()
        optimizer_G.step()


class Autoencoder(nn.Module):
    """x -> (reconstruction, code)."""

    def __init__(self, encoder, decoder):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, x):
        """Both at once."""
        code = self.encoder(x)
        return self.decoder(code), code


def layers(inputs, outputs):
    hidden = [nn.Linear(inputs, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU()]
    return nn.Sequential(*hidden, nn.Linear(64, outputs))


if __name__ == "__main__":
    steps, batch = int(sys.argv[1]) if sys.argv[1:] else 2000, 256
    torch.manual_seed(0)
    angles = torch.arange(8) * torch.pi / 4
    centres = torch.stack([angles.cos(), angles.sin()], 1)
    G, D = layers(2, 2), Autoencoder(layers(2, 2), layers(2, 2))
    optimizers = [torch.optim.Adam(net.parameters(), 1e-3, (0.5, 0.99)) for net in (G, D)]
    reals = (centres[torch.randint(8, (batch,))] + 0.02 * torch.randn(batch, 2) for _ in range(steps))
    train(G, D, *optimizers, ((x, *torch.randn(2, batch, 2)) for x in reals))
    near, mode = torch.cdist(G(torch.randn(2000, 2)), centres).min(1)
    share = (near < 0.1).float().mean()
    print(f"{mode[near < 0.1].unique().numel()} of 8 modes, {share:.0%} of samples near one")
