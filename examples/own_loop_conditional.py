"""A training loop of your own with labels and an R1 penalty: python own_loop_conditional.py [steps]."""

import sys
from functools import partial

import torch
from torch import nn

from steadygan import losses, penalties


def train(G, D, optimizer_G, optimizer_D, batches, weight=1.0):
    for x_real, y_real, z, y, z_next, y_next in batches:
        with torch.no_grad():
            x_fake = G(z, y)
        loss_D = losses.non_saturating.discriminator(D(x_real, y_real), D(x_fake, y))
        loss_D = loss_D + weight * penalties.r1(partial(D, y=y_real), x_real)
        optimizer_D.zero_grad()
        loss_D.backward()
        optimizer_D.step()

        loss_G = losses.non_saturating.generator(D(G(z_next, y_next), y_next))
        optimizer_G.zero_grad()
        loss_G.backward()
        optimizer_G.step()


class Conditional(nn.Sequential):
    """A network that sees the label's one-hot row after x."""

    def forward(self, x, y):
        """What it says of x [N, 2] with labels y [N]."""
        return super().forward(torch.cat([x, nn.functional.one_hot(y, 8)], 1))


def labels(batch):
    return torch.randint(8, (batch,))


if __name__ == "__main__":
    steps, batch = int(sys.argv[1]) if sys.argv[1:] else 2000, 256
    torch.manual_seed(0)
    angles = torch.arange(8) * torch.pi / 4
    centres = torch.stack([angles.cos(), angles.sin()], 1)
    nets = [
        [nn.Linear(10, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, n)] for n in (2, 1)
    ]
    G, D = Conditional(*nets[0]), Conditional(*nets[1], nn.Flatten(0))
    optimizers = [torch.optim.Adam(net.parameters(), 1e-3, (0.0, 0.99)) for net in (G, D)]
    reals = ((centres[y] + 0.02 * torch.randn(batch, 2), y) for y in (labels(batch) for _ in range(steps)))
    fakes = ((torch.randn(batch, 2), labels(batch)) for _ in range(2 * steps))
    train(G, D, *optimizers, ((*real, *next(fakes), *next(fakes)) for real in reals))
    y = labels(2000)
    near = (G(torch.randn(2000, 2), y) - centres[y]).norm(dim=1)  # to the mode that it is labelled as
    share = (near < 0.1).float().mean()
    print(f"{y[near < 0.1].unique().numel()} of 8 modes, {share:.0%} of samples near one")
