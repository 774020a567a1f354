"""One of several processes that check sums and statistics over all of them: python run_sums.py.

Each process has `rows(10)` of the same ten rows, unequal numbers of them. What it finds with the others is compared
with the whole batch: by closed forms, plain loops, and torch's own layers. Prints, as JSON, the relative differences.
Names that begin with "wrong:" are programs with a known mistake.
"""

import json
import math
import os
from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import timedelta
from unittest.mock import patch

import torch
import torch.distributed as dist
from torch import Tensor, nn

from steadygan import fake_as_real, losses, parallel, penalties
from steadygan.networks.global_batch_norm import GlobalBatchNorm, globally_normalized

COUNT = 10
Found = Iterator[tuple[str, float]]


def whole(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(COUNT, *shape, generator=torch.Generator().manual_seed(seed))


def mine(x: Tensor) -> Tensor:
    here = parallel.rows(len(x))
    return x[here.start : here.stop]


def gap(found: Tensor, wanted: Tensor) -> float:
    assert found.shape == wanted.shape, (found.shape, wanted.shape)
    return ((found - wanted).norm() / wanted.norm()).item()


def over_all(gradient: Tensor) -> Tensor:
    """The sum over processes, by torch alone."""
    total = gradient.clone()
    dist.all_reduce(total)
    return total


def derivatives() -> Found:
    """The loss of process r is r^3 sum w^2, so that of all has the gradient 2 w s with s = sum of r^3."""
    size, number = dist.get_world_size(), dist.get_rank() + 1
    s = sum(r**3 for r in range(1, size + 1))
    w = torch.tensor([1.0, -2.0, 3.0])

    def loss(w: Tensor) -> Tensor:
        return number * (number * parallel.spread(w)).square().sum()

    def gradient(w: Tensor) -> Tensor:
        return torch.func.grad(loss)(w)

    def product(w: Tensor) -> Tensor:
        g, pull = torch.func.vjp(gradient, w)
        return pull(g)[0]

    def statistic(w: Tensor) -> Tensor:  # (sum over rows of r w_i)^2 / 2, which every process has
        return torch.func.grad(lambda w: parallel.summed(number * parallel.spread(w).sum()).square() / 2)(w)

    def shared(w: Tensor) -> Tensor:  # the same statistic, as a part of each process's own loss
        def own(w: Tensor) -> Tensor:
            return parallel.together(number * parallel.spread(w).sum()).square() / 2 * parallel.share(COUNT)

        return torch.func.grad(own)(w)

    def joined(
        w: Tensor,
    ) -> Tensor:  # the gradient of r^3 sum w^2 travels with numbers that have no derivative
        def own(w: Tensor) -> Tensor:
            return number**3 * w.square().sum()

        def field(w: Tensor) -> Tensor:
            g, told = parallel.joined(torch.func.grad(own)(parallel.spread(w)), torch.ones(2, dtype=w.dtype))
            return g + told.sum() - 2 * size

        g, pull = torch.func.vjp(field, w)
        return pull(g)[0]

    t = size * (size + 1) / 2
    wanted = {
        gradient: 2 * w * s,
        product: 4 * w * s * s,
        joined: 4 * w * s * s,
        statistic: (t * t * w.sum()).expand(3),
        shared: (t * t * w.sum()).expand(3),
    }
    for function, value in wanted.items():
        name = function.__name__
        yield name, gap(function(w), value)
        yield f"{name}, compiled", gap(compiled(function)(w), value)
    for function, value in ((gradient, 2 * w * s), (product, 4 * w * s * s), (joined, 4 * w * s * s)):
        name = function.__name__
        yield f"{name} of members", gap(torch.vmap(function)(w.view(3, 1)), value.view(3, 1))
        members = compiled(torch.vmap(function))
        yield f"{name} of members, compiled", gap(members(w.view(3, 1)), value.view(3, 1))
    with patch.multiple(parallel, _summed=parallel._Summed.apply, _spread=parallel._Spread.apply):
        yield "wrong: a function that torch.compile looks into", gap(compiled(gradient)(w), 2 * w * s)


def compiled(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    torch._dynamo.reset()
    return torch.compile(function, backend="aot_eager", fullgraph=True)


def statistics() -> Found:
    x = whole(3)
    yield "mean", gap(parallel.mean(mine(x)), x.sum() / x.numel())
    yield "mean of rows", gap(parallel.mean_row(mine(whole(2, 3))), sum(whole(2, 3)) / COUNT)
    yield "deviation", gap(parallel.std(mine(x)), ((x - x.mean()) ** 2).mean().sqrt())
    yield "largest", gap(parallel.largest(mine(x)), x.max())
    yield "gathered", gap(parallel.gathered(mine(x), COUNT), x)
    index = torch.tensor([9, 0, 4, 4])
    yield "taken", gap(parallel.taken(mine(x), index, COUNT), x[index])
    few = torch.arange(4.0)[:1].view(1, 1) + 5  # one row, which the last process has
    yield "taken where some have none", gap(parallel.taken(mine(few), torch.tensor([0, 0]), 1), few[[0, 0]])
    w = torch.ones((), requires_grad=True)
    parallel.largest(mine(x) * parallel.spread(w)).mul(parallel.share(COUNT)).backward()
    yield "largest's gradient", gap(w.grad, x.max())
    tied = torch.zeros(COUNT)
    tied[[0, 9]] = 2.0  # the first and the last process's
    w = torch.ones((), requires_grad=True)
    parallel.largest(mine(tied) * parallel.spread(w)).mul(parallel.share(COUNT)).backward()
    yield "largest's gradient where two are equal", gap(w.grad, torch.tensor(2.0))
    tied[1] = 2.0  # two of one process, one of another
    each = torch.ones(COUNT, requires_grad=True)
    parallel.largest(mine(tied * parallel.spread(each))).mul(parallel.share(COUNT)).backward()
    yield "largest's gradient where one process has two of three", gap(each.grad, tied / 3)
    half = torch.full((COUNT * 301,), 0.1).bfloat16()  # more rows than bfloat16 can count
    yield "deviation in bfloat16", float(parallel.std(mine(half)).abs() > 1e-2)
    yield (
        "mean of rows in bfloat16",
        float(abs(parallel.mean_row(mine(half[:, None])).item() / 0.1 - 1) > 1e-2),
    )
    yield "mean in bfloat16", float(abs(parallel.mean(mine(half)).item() / 0.1 - 1) > 1e-2)


def normalized() -> Found:
    """Batch norm against hand-derived values, and against torch's on the whole batch."""
    x = torch.tensor([3.0 * n for n in range(COUNT)]).view(COUNT, 1)  # 0, 3, ..., 27
    layer = GlobalBatchNorm(1, eps=0.0)
    out = layer(mine(x))
    yield "batch norm by hand", gap(out.detach(), mine((x - 13.5) / math.sqrt(74.25)))
    yield "running mean by hand", gap(layer.running_mean, torch.tensor([1.35]))
    yield "running variance by hand", gap(layer.running_var, torch.tensor([0.9 + 0.1 * 74.25 * 10 / 9]))
    for kind, shape in ((nn.BatchNorm1d, (3,)), (nn.BatchNorm2d, (3, 4, 4))):
        torch.manual_seed(1)
        of_torch = kind(3)
        nn.init.normal_(of_torch.weight)
        ours, x, u = globally_normalized(deepcopy(of_torch)), whole(*shape, seed=2), whole(*shape, seed=3)
        for name, (found, wanted) in passes(ours, of_torch, x, u).items():
            yield f"{kind.__name__}: {name}", gap(found, wanted)
    far_off = 1e4 + whole(3).float()
    variance = GlobalBatchNorm(3, momentum=1.0).float()
    variance(mine(far_off))
    yield (
        "variance far from 0 in float32",
        float(gap(variance.running_var.double(), far_off.double().var(0)) > 1e-3),
    )
    local = nn.BatchNorm1d(3)
    yield "wrong: batch norm of own rows", gap(local(mine(whole(3))), mine(nn.BatchNorm1d(3)(whole(3))))


def passes(ours: nn.Module, of_torch: nn.Module, x: Tensor, u: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Output, first and second derivatives of sum u . f(x), and the running statistics: (ours, torch's)."""
    with parallel.over(parallel.ALONE):
        full = x.clone().requires_grad_()
        y = of_torch(full)
        first = torch.autograd.grad((u * y**2).sum(), full, create_graph=True)[0]
        second = torch.autograd.grad(first.square().sum(), [full, of_torch.weight])
    rows, weight = mine(x).requires_grad_(), ours.weight
    with patch.object(ours, "_parameters", {**ours._parameters, "weight": parallel.spread(weight)}):
        out = ours(rows)
        own = torch.autograd.grad((mine(u) * out**2).sum(), rows, create_graph=True)[0]
        twice = torch.autograd.grad(own.square().sum(), [rows, weight])
    return {
        "output": (out, mine(y)),
        "gradient": (own, mine(first)),
        "gradient of the gradient": (twice[0], mine(second[0])),
        "gradient of the gradient in the weight": (twice[1], second[1]),
        "running mean": (ours.running_mean, of_torch.running_mean),
        "running variance": (ours.running_var, of_torch.running_var),
    }


def selection() -> Found:
    """Fake-as-real and pull-away, by plain loops over the whole batch."""
    candidates, reals = whole(2, seed=4), whole(2, seed=5)
    order = sorted(range(COUNT), key=lambda row: candidates[row, 0].item())

    def critic(x: Tensor) -> Tensor:
        return x[:, 0]

    chosen = fake_as_real.lowest(critic, mine(candidates), 4, total=COUNT)
    yield "lowest", float(chosen.tolist() != order[:4])
    shown = fake_as_real.mix(mine(reals), candidates[order[:4]], 4, COUNT)
    yield "mixed", gap(shown, mine(torch.cat([reals[:6], candidates[order[:4]]])))
    numbers = torch.arange(COUNT)
    for labels in (numbers, numbers > 4, numbers.float()):
        taken = parallel.taken(mine(labels), torch.tensor(order[:4]), COUNT)
        yield f"labels of {labels.dtype}", float(not torch.equal(taken, labels[order[:4]]))
    codes = whole(5, seed=6)
    cosines = [
        (torch.dot(a, b) / a.norm() / b.norm()) ** 2
        for i, a in enumerate(codes)
        for j, b in enumerate(codes)
        if i != j
    ]
    own = losses.pull_away(mine(codes), COUNT)
    yield "pull-away", gap(over_all(own * parallel.share(COUNT)), torch.stack(cosines).mean())
    yield "wrong: pull-away of own rows", gap(own_pull_away(mine(codes)), torch.stack(cosines).mean())
    noise, alpha = whole(2, seed=7), torch.full((COUNT,), 0.5)
    moved = penalties.perturb(mine(reals), mine(noise), mine(alpha))
    deviation = ((reals - reals.mean()) ** 2).mean().sqrt()
    yield "DRAGAN's points", gap(moved, mine(reals + 0.25 * deviation * noise))


def own_pull_away(codes: Tensor) -> Tensor:
    with parallel.over(parallel.ALONE):
        return losses.pull_away(codes)


def main() -> None:
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    with parallel.over():
        parts = (derivatives, statistics, normalized, selection)
        found = dict(pair for part in parts for pair in part())
    print(json.dumps(found), flush=True)
    dist.barrier()
    os._exit(0)  # gloo's own end is a race between its threads


if __name__ == "__main__":
    main()
