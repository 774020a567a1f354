"""A loop under Accelerate, run as one of several processes: python accelerate_loop.py OUT.

A process of W takes every W-th row, so its last rows, which fakes replace, are among the last of the whole batch.
"""

import sys
from typing import Any

import torch
from torch import Tensor, nn

from steadygan import Monitor, fake_as_real, losses, penalties

STEPS, BATCH, COUNT, LATENT, WEIGHT, RATE = 10, 16, 4, 3, 0.5, 1e-2
BETAS = (0.5, 0.9)
SELECTIONS = ("none", "rank", "all")


def pair() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    G = nn.Sequential(nn.Linear(LATENT, 8), nn.Tanh(), nn.Linear(8, 2))
    D = nn.Sequential(nn.Linear(2, 8), nn.Softplus(), nn.Linear(8, 1))
    return G.double(), D.double()


def draws(step: int) -> list[Tensor]:
    """Of the whole batch: the reals, the latents of D's fakes, those of the candidates, and those of G's step."""
    torch.manual_seed(step)
    shapes = ((BATCH, 2), (BATCH, LATENT), (2 * BATCH, LATENT), (BATCH, LATENT))
    return [torch.randn(shape, dtype=torch.float64) for shape in shapes]


def train(selection: str) -> dict[str, Any]:
    """Train on this process's rows; fake-as-real selects of its own candidates (rank), of all, or not at all (none)."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    rank, world = accelerator.process_index, accelerator.num_processes
    G, D = pair()
    optimizers = [torch.optim.Adam(net.parameters(), RATE, BETAS) for net in (G, D)]
    G, D, step_G, step_D = accelerator.prepare(G, D, *optimizers)
    kinds = [type(net).__name__ for net in (G, D)]
    monitor = Monitor(lambda x: D(x).squeeze(1), G, every=5) if accelerator.is_main_process else None
    for step in range(STEPS):
        x_real, z, z_pool, z_G = (rows[rank::world] for rows in draws(step))
        x_fake = G(z).detach()
        shown = x_real
        if selection != "none":
            pool, count = G(z_pool).detach(), COUNT // world
            if selection == "all":  # every process ranks all candidates, and shows its share
                selected = fake_as_real.select(D, accelerator.gather(pool), COUNT)[rank::world]
            else:
                selected = fake_as_real.select(D, pool, count)
            shown = fake_as_real.mix(x_real, selected, count)
        real_logits, r1 = penalties.value_and(penalties.r1, D, shown)
        loss_D = losses.non_saturating.discriminator(real_logits, D(x_fake)) + WEIGHT * r1
        step_D.zero_grad()
        accelerator.backward(loss_D)
        step_D.step()
        loss_G = losses.non_saturating.generator(D(G(z_G)))
        step_G.zero_grad()
        accelerator.backward(loss_G)
        step_G.step()
        if monitor:
            monitor.step(x_real, x_fake, loss_D=loss_D, loss_G=loss_G)
    passes = len(monitor.history().series["loss/D"].values) if monitor else 0
    bare = nn.ModuleDict({"G": accelerator.unwrap_model(G), "D": accelerator.unwrap_model(D)})
    return {"weights": bare.state_dict(), "kinds": kinds, "rank": rank, "passes": passes}


if __name__ == "__main__":
    torch.save({selection: train(selection) for selection in SELECTIONS}, sys.argv[1])
    torch.distributed.destroy_process_group()
