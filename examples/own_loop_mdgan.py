"""A training loop of your own for MDGAN, with an encoder and two critics: python own_loop_mdgan.py [steps]."""

import sys

import torch
from torch import nn

from steadygan import losses

log_loss = losses.non_saturating


def train(nets, optimizers, batches, weight_mode=0.01):
    D1, G, E, D2 = (nets[name] for name in ("D1", "G", "E", "D2"))

    def step(loss, *names):
        for name in names:
            optimizers[name].zero_grad()
        loss.backward()
        for name in names:
            optimizers[name].step()

    for x, x_next, (x_last, z), z_next in batches:
        with torch.no_grad():
            x_again = G(E(x))
        step(log_loss.discriminator(D1(x), D1(x_again)), "D1")
        x_again = G(E(x_next))
        distance = (x_next - x_again).square().flatten(1).sum(1).mean()
        step(distance + weight_mode * log_loss.generator(D1(x_again)), "G", "E")

        with torch.no_grad():
            x_again, x_fake = G(E(x_last)), G(z)
        step(log_loss.discriminator(D2(x_again), D2(x_fake)), "D2")
        step(log_loss.generator(D2(G(z_next))), "G")


if __name__ == "__main__":
    steps, batch = int(sys.argv[1]) if sys.argv[1:] else 4000, 256
    torch.manual_seed(0)
    angles = torch.arange(8) * torch.pi / 4
    centres = torch.stack([angles.cos(), angles.sin()], 1)

    def net(n):
        return [nn.Linear(2, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, n)]

    def real():
        return centres[torch.randint(8, (batch,))] + 0.02 * torch.randn(batch, 2)

    nets = {name: nn.Sequential(*net(2)) for name in ("G", "E")}
    nets |= {name: nn.Sequential(*net(1), nn.Flatten(0)) for name in ("D1", "D2")}
    optimizers = {name: torch.optim.Adam(n.parameters(), 1e-3, (0.5, 0.99)) for name, n in nets.items()}
    latents = (torch.randn(2, batch, 2) for _ in range(steps))
    train(nets, optimizers, ((real(), real(), (real(), z), z_next) for z, z_next in latents))
    near, mode = torch.cdist(nets["G"](torch.randn(2000, 2)), centres).min(1)
    share = (near < 0.1).float().mean()
    print(f"{mode[near < 0.1].unique().numel()} of 8 modes, {share:.0%} of samples near one")
