"""A stock GAN loop that collapses, what a Monitor says, and the line that heals it: python own_loop_monitor.py."""

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from steadygan import Monitor, penalties

ANGLES = torch.arange(8) * torch.pi / 4
CENTRES = torch.stack([ANGLES.cos(), ANGLES.sin()], 1)


def bce(logits, target):
    return binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def train(healed=False, steps=1500, seed=0, batch=128, file=None):
    torch.manual_seed(seed)
    nets = [[nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, n)] for n in (2, 1)]
    G, D = nn.Sequential(*nets[0]), nn.Sequential(*nets[1], nn.Flatten(0))
    optimizer_G, optimizer_D = [torch.optim.Adam(net.parameters(), 2e-3, (0.7, 0.999)) for net in (G, D)]
    monitor = Monitor(D, G, loss="non_saturating", every=25, file=file, penalties=["r1"] if healed else [])

    for _ in range(steps):
        x_real = CENTRES[torch.randint(8, (batch,))] + 0.02 * torch.randn(batch, 2)
        x_fake = G(torch.randn(batch, 2))
        loss_D = bce(D(x_real), 1.0) + bce(D(x_fake.detach()), 0.0)
        if healed:
            loss_D = loss_D + penalties.r1(D, x_real)  # the line that the Monitor names
        optimizer_D.zero_grad()
        loss_D.backward()
        optimizer_D.step()

        loss_G = bce(D(x_fake), 1.0)
        optimizer_G.zero_grad()
        loss_G.backward()
        optimizer_G.step()

        monitor.step(x_real, x_fake, loss_D=loss_D, loss_G=loss_G)
    return G, monitor


def modes(G):
    """How many of the eight have a hundredth of the samples within five of their standard deviations."""
    with torch.no_grad():
        near, mode = torch.cdist(G(torch.randn(4000, 2)), CENTRES).min(1)
    return int((mode[near < 0.1].bincount(minlength=8) >= 40).sum())


if __name__ == "__main__":
    for healed in (False, True):
        G, monitor = train(healed)
        verdicts = ", ".join(verdict.name for verdict in monitor.verdicts)
        print(f"{'with' if healed else 'without'} R1: {modes(G)} of 8 modes; the Monitor says: {verdicts}")
