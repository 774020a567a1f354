"""One of several processes that hold shards of a critic (FSDP2) and penalise its gradient: python run_fsdp.py.

Each layer is sharded. Two orders of a loss and its penalties are trained, and compared with whole batches and ordinary
modules. Prints, as JSON, how far the weights are apart.
"""

import json
import os
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from steadygan import losses, parallel, penalties

STEPS, BATCH = 5, 12


def critic() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 8), nn.Softplus(), nn.Linear(8, 8), nn.Softplus(), nn.Linear(8, 1))


def loss_first(D: nn.Module, x_real: Tensor, x_fake: Tensor, alpha: Tensor) -> Tensor:
    loss = losses.hinge.discriminator(D(x_real), D(x_fake))
    return loss + penalties.r1(D, x_real) + penalties.max_gradient(D, x_real, x_fake, alpha)


def one_pass(D: nn.Module, x_real: Tensor, x_fake: Tensor, alpha: Tensor) -> Tensor:
    real_logits, r1 = penalties.value_and(penalties.r1, D, x_real)
    return losses.hinge.discriminator(real_logits, D(x_fake)) + r1


def train(D: nn.Module, loss: Any) -> dict[str, Tensor]:
    optimizer = torch.optim.Adam(D.parameters(), 0.01)
    for step in range(STEPS):
        random = torch.Generator().manual_seed(step)
        draws = [torch.randn(BATCH, 2, generator=random) for _ in range(2)]
        here = parallel.rows(BATCH)
        rows = [x[here.start : here.stop] for x in (*draws, torch.rand(BATCH, generator=random))]
        optimizer.zero_grad()
        loss(D, *rows).backward()
        for part in D.modules():
            if isinstance(part, FSDPModule):
                part.reshard()
        optimizer.step()
    return {name: getattr(p, "full_tensor", lambda p=p: p)().detach() for name, p in D.named_parameters()}


def main() -> None:
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    dist.init_process_group("gloo", timeout=timedelta(seconds=200))
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    found = {}
    for loss in (loss_first, one_pass):
        D = critic()
        for part in (*(part for part in D if isinstance(part, nn.Linear)), D):
            fully_shard(part, mesh=mesh)
        D.set_reshard_after_backward(False)
        wanted = train(critic(), loss)
        with parallel.over():
            weights = train(D, loss)
        found[loss.__name__] = max((weights[name] - p).abs().max().item() for name, p in wanted.items())
    print(json.dumps(found), flush=True)
    dist.barrier()
    os._exit(0)  # gloo's own end is a race between its threads


if __name__ == "__main__":
    main()
