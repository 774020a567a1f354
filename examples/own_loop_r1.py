"""A training loop of your own with an R1 penalty: python own_loop_r1.py [steps]."""

import sys

import torch
from torch import nn

from steadygan import losses, penalties


def train(G, D, optimizer_G, optimizer_D, batches, weight=1.0):
    for x_real, z, z_next in batches:
        with torch.no_grad():
            x_fake = G(z)
        real_logits, r1 = penalties.value_and(penalties.r1, D, x_real)  # one forward pass for both
        loss_D = losses.non_saturating.discriminator(real_logits, D(x_fake)) + weight * r1
        optimizer_D.zero_grad()
        loss_D.backward()
        optimizer_D.step()

        loss_G = losses.non_saturating.generator(D(G(z_next)))
        optimizer_G.zero_grad()
        loss_G.backward()
        optimizer_G.step()


if __name__ == "__main__":
    steps, batch = int(sys.argv[1]) if sys.argv[1:] else 2000, 256
    torch.manual_seed(0)
    angles = torch.arange(8) * torch.pi / 4
    centres = torch.stack([angles.cos(), angles.sin()], 1)
    nets = [[nn.Linear(2, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, n)] for n in (2, 1)]
    G, D = nn.Sequential(*nets[0]), nn.Sequential(*nets[1], nn.Flatten(0))
    optimizers = [torch.optim.Adam(net.parameters(), 1e-3, (0.0, 0.99)) for net in (G, D)]
    reals = (centres[torch.randint(8, (batch,))] + 0.02 * torch.randn(batch, 2) for _ in range(steps))
    train(G, D, *optimizers, ((x, *torch.randn(2, batch, 2)) for x in reals))
    near, mode = torch.cdist(G(torch.randn(2000, 2)), centres).min(1)
    share = (near < 0.1).float().mean()
    print(f"{mode[near < 0.1].unique().numel()} of 8 modes, {share:.0%} of samples near one")
