"""One of several processes under DistributedDataParallel, with what is relative to a batch: python run_ddp.py.

Three loops of one's own: the largest gradient and DRAGAN's noise; batch norm in G; EBGAN's pull-away term. Each is
trained on this process's rows, and then on whole batches by ordinary modules. The critic's Monitor is in the first
process. Prints, as JSON, how far the weights are apart, relative to how far they moved, and what the Monitors saw.
"""

import json
import os
from copy import deepcopy
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from steadygan import Monitor, losses, parallel, penalties
from steadygan.networks import GlobalBatchNorm

BATCH, STEPS = 12, 20
Nets = dict[str, nn.Module]


def networks() -> Nets:
    first = nn.Linear(2, 8, bias=False)  # batch norm would subtract a bias, so its gradient is rounding
    return {
        "G": nn.Sequential(first, GlobalBatchNorm(8), nn.Softplus(), nn.Linear(8, 2)),
        "D": nn.Sequential(nn.Linear(2, 8), nn.Softplus(), nn.Linear(8, 1)),
    }


def draws(step: int) -> dict[str, Tensor]:
    """Of the whole batch."""
    random = torch.Generator().manual_seed(step)
    numbers = {name: torch.randn(BATCH, 2, generator=random) for name in ("x_real", "z", "z_G")}
    noise = torch.rand(BATCH, 3, generator=random)
    return {**numbers, "noise": noise[:, :2], "alpha": noise[:, 2]}


def mine(x: Tensor) -> Tensor:
    here = parallel.rows(len(x))
    return x[here.start : here.stop]


def critic_loss(nets: Nets, draw: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        x_fake = nets["G"](draw["z"])

    def D(x: Tensor) -> Tensor:
        return nets["D"](x).squeeze(1)

    x_real = draw["x_real"]
    return (
        losses.wasserstein.discriminator(D(x_real), D(x_fake))
        + penalties.max_gradient(D, x_real, x_fake, draw["alpha"])
        + penalties.dragan(D, x_real, draw["noise"], draw["alpha"])
    )


def generator_loss(nets: Nets, draw: dict[str, Tensor]) -> Tensor:
    x_fake = nets["G"](draw["z_G"])
    return losses.wasserstein.generator(nets["D"](x_fake)) + losses.pull_away(x_fake)


def train(nets: Nets, monitor: Monitor | None, *, every_row: bool) -> None:
    """Train on this process's rows. With `every_row` the Monitor gets those of all processes."""
    optimizers = {name: torch.optim.Adam(net.parameters(), 0.01, (0.0, 0.9)) for name, net in nets.items()}
    for step in range(STEPS):
        draw = {name: mine(x) for name, x in draws(step).items()}
        for name, loss in (("D", critic_loss), ("G", generator_loss)):
            optimizers[name].zero_grad()
            loss(nets, draw).backward()
            optimizers[name].step()
        with torch.no_grad():
            seen = [draw["x_real"], nets["G"](draw["z"])]
            seen = [parallel.gathered(x) for x in seen] if every_row else seen
        if monitor:
            monitor.step(*seen)


class CriticLoss(nn.Module):
    """The critic's loss as the module that is wrapped and compiled."""

    def __init__(self, D: nn.Module) -> None:
        super().__init__()
        self.D = D

    def forward(self, x_real: Tensor, x_fake: Tensor, alpha: Tensor) -> Tensor:
        def D(x: Tensor) -> Tensor:
            return self.D(x).squeeze(1)

        loss = losses.wasserstein.discriminator(D(x_real), D(x_fake))
        return loss + penalties.r1(D, x_real) + penalties.max_gradient(D, x_real, x_fake, alpha)


def compiled_gradients(D: nn.Module) -> dict[str, float]:
    """How far the gradients of a compiled loss on shared rows are from those of the whole batch."""
    whole, shared = CriticLoss(deepcopy(D)), CriticLoss(deepcopy(D))
    draw = [draws(0)[name] for name in ("x_real", "z", "alpha")]
    whole(*draw).backward()
    shared.compile(backend="aot_eager")
    wrapped = DistributedDataParallel(shared)
    with parallel.over():
        wrapped(*map(mine, draw)).backward()
    wanted = {name: p.grad for name, p in whole.named_parameters()}
    found = {name: p.grad for name, p in shared.named_parameters()}
    return {name: (found[name] - g).abs().max().item() for name, g in wanted.items()}


def watched(nets: Nets) -> Monitor:
    return Monitor(nets["D"], nets["G"], loss="wasserstein", every=5)


def numbers(monitor: Monitor) -> dict[str, list[float]]:
    return {key: series.values.tolist() for key, series in monitor.history().series.items()}


def gaps(found: Nets, wanted: Nets, start: Nets) -> dict[str, float]:
    """Of every tensor of the networks, relative to how far it moved."""
    return {
        f"{name}.{key}": ((found[name].state_dict()[key] - x).double().norm() / (1e-3 + moved)).item()
        for name, net in wanted.items()
        for key, x in net.state_dict().items()
        for moved in [(x - start[name].state_dict()[key]).double().norm()]
    }


def main() -> None:
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    dist.init_process_group("gloo", timeout=timedelta(seconds=200))
    torch.manual_seed(0)
    start = networks()
    whole = deepcopy(start)
    alone = watched(whole)
    train(whole, alone, every_row=False)
    shared = {name: DistributedDataParallel(deepcopy(net)) for name, net in start.items()}
    monitor = watched(dict(shared)) if dist.get_rank() == 0 else None
    with parallel.over():
        train(dict(shared), monitor, every_row=True)
    found: dict[str, Any] = {"gaps": gaps({name: net.module for name, net in shared.items()}, whole, start)}
    found["compiled"] = compiled_gradients(start["D"])
    found["seen"] = [numbers(alone), numbers(monitor)] if monitor else []
    print(json.dumps(found), flush=True)
    dist.barrier()
    os._exit(0)  # gloo's own end is a race between its threads


if __name__ == "__main__":
    main()
