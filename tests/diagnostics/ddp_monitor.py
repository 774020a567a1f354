"""One of two processes that train a GAN under DistributedDataParallel, once for each form of a critic for a Monitor.

    python ddp_monitor.py RANK PORT

The first process has the Monitor. Prints for each form the sums of all weights and buffers, to the last digit, and how
many diagnostics passes there were.
"""

import functools
import json
import os
import sys
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from steadygan import Monitor, losses


class Wrapped(nn.Module):
    """A critic whose wrapper is one of its own modules."""

    def __init__(self, D):
        super().__init__()
        self.net = D

    def forward(self, x):
        return self.net(x).squeeze(1)


def call(D, x):
    return D(x).squeeze(1)


FORMS = {
    "none": None,
    "wrapper": lambda D: D,
    "lambda": lambda D: lambda x: D(x).squeeze(1),
    "partial": lambda D: functools.partial(call, D),
    "nested": Wrapped,
    "compiled": lambda D: torch.compile(D, backend="eager"),
}


def trained(rank, form):
    torch.manual_seed(rank)
    net = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))
    D, G = DistributedDataParallel(net), DistributedDataParallel(nn.Linear(3, 2))
    optimizers = [torch.optim.SGD(each.parameters(), 0.1) for each in (D, G)]
    monitor = None
    if rank == 0 and FORMS[form]:
        monitor = Monitor(FORMS[form](D), G, loss="non_saturating", every=2)
    for _ in range(6):
        x_real, z = torch.randn(16, 2), torch.randn(16, 3)
        for optimizer, name in zip(optimizers, "DG"):
            optimizer.zero_grad()
            fake = G(z)
            seen = D(torch.cat([x_real, fake.detach() if name == "D" else fake])).squeeze(1)
            loss = losses.non_saturating
            (
                loss.discriminator(seen[:16], seen[16:]) if name == "D" else loss.generator(seen[16:])
            ).backward()
            optimizer.step()
        if monitor:
            monitor.step(x_real, fake)
    sums = [float(p.double().sum()) for each in (D, G) for p in each.state_dict().values()]
    series = monitor.history().series if monitor else {}
    return {"sums": sums, "passes": len(series["critic/gap"].steps) if series else 0}


if __name__ == "__main__":
    rank = int(sys.argv[1])
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": sys.argv[2]}
    dist.init_process_group("gloo", rank=rank, world_size=2, timeout=timedelta(seconds=60))
    print(json.dumps({form: trained(rank, form) for form in FORMS}), flush=True)
    dist.barrier()
    os._exit(0)  # gloo's own end is a race between its threads
