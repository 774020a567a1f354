"""Fake-as-real (FARGAN) under DistributedDataParallel: torchrun --nproc-per-node 2 ddp_fake_as_real.py [steps].

Each process has its rows of every batch. Inside `parallel.over` the fakes that count as real are the lowest of all
processes' candidates. So the losses are those of one process with whole batches: python ddp_fake_as_real.py [steps].
"""

import gc
import os
import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from steadygan import fake_as_real, losses, parallel, penalties

BATCH, COUNT, POOL = 48, 12, 8


def draws(step):
    """Reals on a ring of eight Gaussians, and latents for fakes, candidates and G's step: of the whole batch."""
    random = torch.Generator().manual_seed(step)
    angles = torch.randint(8, (BATCH,), generator=random) * torch.pi / 4
    x_real = torch.stack([angles.cos(), angles.sin()], 1) + 0.02 * torch.randn(BATCH, 2, generator=random)
    return x_real, *(torch.randn(n, 2, generator=random) for n in (BATCH, POOL * COUNT, BATCH))


def mine(x):
    rows = parallel.rows(len(x))
    return x[rows.start : rows.stop]


def train(G, D, optimizer_G, optimizer_D, steps):
    for step in range(steps):
        x_real, z, z_pool, z_next = map(mine, draws(step))
        with torch.no_grad():
            x_fake, candidates = G(torch.cat([z, z_pool])).split([len(z), len(z_pool)])
        x_real = fake_as_real.mix(x_real, fake_as_real.select(D, candidates, COUNT), COUNT)
        loss_D = losses.non_saturating.discriminator(D(x_real), D(x_fake)) + penalties.r1(D, x_real)
        optimizer_D.zero_grad()
        loss_D.backward()
        optimizer_D.step()

        loss_G = losses.non_saturating.generator(D(G(z_next)))
        optimizer_G.zero_grad()
        loss_G.backward()
        optimizer_G.step()
        yield parallel.mean(loss_D.detach()).item(), parallel.mean(loss_G.detach()).item()


def main(steps, several):
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)  # so that all digits of the losses are equal
    nets = [[nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, n)] for n in (2, 1)]
    G, D = nn.Sequential(*nets[0]), nn.Sequential(*nets[1], nn.Flatten(0))
    G, D = (DistributedDataParallel(net) if several else net for net in (G, D))
    optimizers = [torch.optim.Adam(net.parameters(), 1e-3, (0.0, 0.99)) for net in (G, D)]
    with parallel.over():
        found = list(train(G, D, *optimizers, steps))
        if parallel.processes().rank == 0:
            print("\n".join(f"{loss_D:.9f} {loss_G:.9f}" for loss_D, loss_G in found[-20:]))


if __name__ == "__main__":
    several = "RANK" in os.environ  # torchrun sets it
    if several:
        dist.init_process_group("gloo")  # "nccl" on GPUs
    main(int(sys.argv[1]) if sys.argv[1:] else 500, several)
    if several:
        gc.collect()  # the networks hold the group, whose threads must end before Python does
        dist.destroy_process_group()
