"""A training loop of your own for Reg-GAN, with an encoder: python own_loop_reg_gan.py [steps]."""

import sys

import torch
import torch.nn.functional as F
from torch import nn

from steadygan import losses, penalties


def bracket(G, D, E, x_real, weight_distance, weight_mode):
    x_again = G(E(x_real))
    distance = (x_real - x_again).square().flatten(1).sum(1)
    return (weight_distance * distance - weight_mode * F.logsigmoid(D(x_again))).mean()


def train(nets, optimizers, batches, weight=0.1, weight_distance=0.2, weight_mode=0.4):
    G, D, E = (nets[name] for name in "GDE")

    def step(name, loss):
        optimizers[name].zero_grad()
        loss.backward()
        optimizers[name].step()

    for (x_real, z), (x_next, z_next), x_last in batches:
        with torch.no_grad():
            x_fake = G(z)
        loss_D = losses.non_saturating.discriminator(D(x_real), D(x_fake))
        step("D", loss_D + weight * penalties.r1(D, x_real))
        loss_G = losses.non_saturating.generator(D(G(z_next)))
        step("G", loss_G + bracket(G, D, E, x_next, weight_distance, weight_mode))
        step("E", bracket(G, D, E, x_last, weight_distance, weight_mode))


if __name__ == "__main__":
    steps, batch = int(sys.argv[1]) if sys.argv[1:] else 4000, 256
    torch.manual_seed(0)
    angles = torch.arange(8) * torch.pi / 4
    centres = torch.stack([angles.cos(), angles.sin()], 1)

    def net(n):
        return [nn.Linear(2, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, n)]

    nets = {
        "G": nn.Sequential(*net(2)),
        "D": nn.Sequential(*net(1), nn.Flatten(0)),
        "E": nn.Sequential(*net(2)),
    }
    optimizers = {name: torch.optim.Adam(n.parameters(), 1e-3, (0.0, 0.99)) for name, n in nets.items()}

    def real():
        return centres[torch.randint(8, (batch,))] + 0.02 * torch.randn(batch, 2)

    both = (((real(), torch.randn(batch, 2)) for _ in range(2)) for _ in range(steps))
    train(nets, optimizers, ((*two, real()) for two in both))
    near, mode = torch.cdist(nets["G"](torch.randn(2000, 2)), centres).min(1)
    share = (near < 0.1).float().mean()
    print(f"{mode[near < 0.1].unique().numel()} of 8 modes, {share:.0%} of samples near one")
