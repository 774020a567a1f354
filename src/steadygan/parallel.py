"""Several processes that share each batch: sums over them that can be differentiated, and what is relative to a batch.

Each process holds some rows of a batch, and all hold the same parameters. Two linear maps are enough, and each is
the transpose of the other:

- `summed`: numbers that differ between processes become their sum, the same everywhere. `joined` is the same for
  several vectors at once.
- `spread`: numbers that are the same everywhere are used with each process's own rows.

So a gradient in `spread` parameters is the sum over all processes, and so are products with a Jacobian. Both maps
work inside torch.func's transforms, `vmap` included, and in compiled programs. Where one process holds the whole batch
all functions here are what their names say of ordinary tensors.

The share of a process in a loss is its share of the rows: the loss of the batch is the sum of share times the local
loss. What DistributedDataParallel averages is the same for equal shares.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch import distributed as dist
from torch.utils._pytree import tree_map_only

if dist.is_available():
    # Imported while a process group exists, this keeps it alive in its defaults. Its threads then outlive Python.
    import torch.distributed.nn

__all__ = [
    "ALONE",
    "SUM",
    "Processes",
    "by_rows",
    "gathered",
    "joined",
    "largest",
    "mean",
    "mean_row",
    "moments",
    "over",
    "processes",
    "rows",
    "share",
    "split",
    "spread",
    "std",
    "summed",
    "taken",
    "together",
    "whole",
]


class Processes(NamedTuple):
    """The processes that share a batch: this one's `rank` among `size`, and the name of their group."""

    rank: int = 0
    size: int = 1
    group: str = ""


ALONE = Processes()
_GROUPS: dict[str, Any] = {}
_now = ALONE


def processes() -> Processes:
    """Return the processes that share a batch now: `ALONE` outside `over`.

    >>> processes()
    Processes(rank=0, size=1, group='')
    """
    return _now


@contextmanager
def over(group: Any = None) -> Iterator[Processes]:
    """Inside the block, batches are shared by the processes of a `torch.distributed` group, all of them by default.

    `group` may also be `ALONE`: then this process works on whole batches. So it does where no processes are joined
    (`torch.distributed.init_process_group`). Every process must run the same functions in the same order.

    >>> with over() as now:
    ...     now.size
    1
    """
    global _now
    before = _now
    joined = dist.is_available() and dist.is_initialized()
    _now = group if isinstance(group, Processes) else _of(group) if joined else ALONE
    try:
        yield _now
    finally:
        _now = before


def _of(group: Any) -> Processes:
    """The processes of a `torch.distributed` group, under whose name the sums find it."""
    name = "all" if group is None else group.group_name
    _GROUPS[name] = group
    # torch.compile would differentiate an autograd.Function inside torch.func by its forward alone, without a word.
    # Allowed in the graph as they are, these two keep their own backward.
    torch.compiler.allow_in_graph([_summed, _spread])
    return Processes(dist.get_rank(group), dist.get_world_size(group), name)


def split(count: int, size: int) -> list[int]:
    """Return how many of `count` rows each of `size` processes has: equal numbers, the last ones one more.

    >>> split(8, 3)
    [2, 3, 3]
    """
    each, more = divmod(count, size)
    return [each + (rank >= size - more) for rank in range(size)]


def whole(here: int, count: int | None = None) -> int:
    """Return how many rows all processes have: `here` on one, else `count`, or as many as here on each.

    >>> whole(4)
    4
    """
    if _now.size == 1:
        return here
    return here * _now.size if count is None else count


def rows(count: int, among: Processes | None = None) -> range:
    """Return which of `count` rows this process has, `among` those that share a batch now, or among others.

    >>> rows(4), rows(8, Processes(1, 3))
    (range(0, 4), range(2, 5))
    """
    rank, size, _ = among or _now
    sizes = split(count, size)
    first = sum(sizes[:rank])
    return range(first, first + sizes[rank])


def share(count: int) -> float:
    """Return this process's share of `count` rows, the weight of its local mean in the mean of all.

    >>> share(4)
    1.0
    """
    return len(rows(count)) / count if count else 1 / _now.size


def summed(x: Tensor) -> Tensor:
    """Return the sum of x over the processes, which all get it. Its transpose is `spread`.

    >>> summed(torch.ones(2))
    tensor([1., 1.])
    """
    return x if _now.size == 1 else _summed(_now.group, x)


def joined(*parts: Tensor) -> list[Tensor]:
    """Return the sums of several x [..., n_i] of one dtype over the processes, which travel as one message.

    >>> joined(torch.ones(2), torch.zeros(1))
    [tensor([1., 1.]), tensor([0.])]
    """
    if _now.size == 1:
        return list(parts)
    return list(_summed(_now.group, *parts).split([x.shape[-1] for x in parts], -1))


def spread(x: Tensor) -> Tensor:
    """Return x, which is the same on all processes, for use with this one's rows: its gradient is the sum of theirs.

    >>> spread(torch.ones(2))
    tensor([1., 1.])
    """
    return x if _now.size == 1 else _spread(x, _now.group)


def together(x: Tensor) -> Tensor:
    """Return the sum of x over the processes for use with each one's rows: a statistic of the whole batch.

    >>> together(torch.ones(2))
    tensor([1., 1.])
    """
    return spread(summed(x))


def mean(x: Tensor) -> Tensor:
    """Return the mean of all entries of x [...] on all processes.

    >>> mean(torch.tensor([1.0, 3.0]))
    tensor(2.)
    """
    if _now.size == 1:
        return x.mean()
    wide = x.to(torch.promote_types(x.dtype, torch.float32))  # which counts all rows
    total, count = together(torch.stack([wide.sum(), wide.new_full((), x.numel())])).unbind()
    return (total / count).to(x.dtype)


def mean_row(x: Tensor) -> Tensor:
    """Return the mean of the rows of x [n, ...] on all processes, which may have unlike numbers of them.

    >>> mean_row(torch.tensor([[1.0, 0.0], [3.0, 4.0]]))
    tensor([2., 2.])
    """
    if _now.size == 1:
        return x.mean(0)
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    told = together(torch.cat([wide.sum(0).flatten(), wide.new_full((1,), len(x))]))
    return (told[:-1] / told[-1]).view(x.shape[1:]).to(x.dtype)


def std(x: Tensor) -> Tensor:
    """Return the standard deviation of all entries of x [...] on all processes, without Bessel's correction.

    >>> std(torch.tensor([1.0, 3.0]))
    tensor(1.)
    """
    if _now.size == 1:
        return x.std(correction=0)
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return moments(wide.reshape(1, -1))[1].squeeze(0).sqrt().to(x.dtype)


def moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the means [k] and variances [k] of the rows of x [k, n] over all processes, and their entries' number.

    Each process sends (mean, sum of squared deviations, count), put together without loss of precision: one message.
    Source: Chan 1983.

    >>> moments(torch.tensor([[1.0, 3.0]]))
    (tensor([2.]), tensor([1.]), tensor(2.))
    """
    own = x.sum(1) / max(x.shape[1], 1)
    told = torch.cat([own, (x - own.unsqueeze(1)).square().sum(1), own.new_full((1,), x.shape[1])])
    means, squares, counts = gathered(told.unsqueeze(0), _now.size).split([len(own), len(own), 1], dim=1)
    total = counts.sum()
    mean = (counts * means).sum(0) / total
    variance = (squares + counts * (means - mean).square()).sum(0) / total
    return mean, variance, total


def largest(x: Tensor) -> Tensor:
    """Return the largest entry of x [...] on all processes. Where several are equal they share its gradient.

    >>> largest(torch.tensor([1.0, 3.0]))
    tensor(3.)
    """
    if _now.size == 1:
        return torch.amax(x)
    top = x.detach().amax()
    hit = x == top
    told = torch.stack([top, torch.where(hit, x, 0.0).sum(), hit.sum().to(x.dtype)])
    tops, totals, counts = gathered(told.unsqueeze(0), _now.size).unbind(1)
    first = tops == tops.amax()
    return torch.where(first, totals, 0.0).sum() / torch.where(first, counts, 0.0).sum()


def gathered(x: Tensor, count: int | None = None) -> Tensor:
    """Return the rows of all processes, in their order: [count, ...] from the `rows(count)` x [n, ...] of each.

    By default every process has as many rows as this one.

    >>> gathered(torch.ones(2)).shape
    torch.Size([2])
    """
    if _now.size == 1:
        return x
    count = whole(len(x), count)
    here = rows(count)
    before, after = (x.new_zeros(n, *x.shape[1:]) for n in (here.start, count - here.stop))
    return together(torch.cat([before, x, after]))


def taken(x: Tensor, index: Tensor, count: int | None = None) -> Tensor:
    """Return the rows `index` [m] of the whole batch, of which x [n, ...] are the `rows(count)` here: [m, ...].

    Only these m rows travel. By default every process has as many rows as this one.

    >>> taken(torch.tensor([5.0, 6.0]), torch.tensor([1]))
    tensor([6.])
    """
    if _now.size == 1:
        return x[index]
    here = rows(whole(len(x), count))
    # A row of zeros for what others have. So a process without rows calls the same sums backward, too.
    padded = torch.cat([x, x.new_zeros(1, *x.shape[1:])])
    inside = (index >= here.start) & (index < here.stop)
    return together(padded[torch.where(inside, index - here.start, len(x))])


def by_rows(function: Callable[[Tensor], Any], x: Tensor, sharing: Processes) -> Any:
    """Return function(x) of x [n, ...], one or several tensors [n, ...]. Each process computes its rows alone.

    >>> by_rows(torch.neg, torch.ones(2), ALONE)
    tensor([-1., -1.])
    """
    here = rows(len(x), sharing)
    with over(ALONE):
        mine = function(x[here.start : here.stop])
    with over(sharing):
        return tree_map_only(Tensor, lambda part: gathered(part, len(x)), mine)


@torch.library.custom_op("steadygan::summed", mutates_args=())
def _all_reduce(parts: list[Tensor], group: str) -> Tensor:
    """The sum over the processes of a group, as one operator that compiled programs call and do not look into."""
    total = _message(parts)
    dist.all_reduce(total, group=_GROUPS[group])
    return total


@_all_reduce.register_fake
def _(parts: list[Tensor], group: str) -> Tensor:
    return _message(parts)


def _message(parts: list[Tensor]) -> Tensor:
    """A copy of one tensor of any shape, or of several [..., n_i] end to end: in new memory, and only one copy."""
    return torch.cat(parts, -1) if len(parts) > 1 else parts[0].clone(memory_format=torch.contiguous_format)


SUM = torch.ops.steadygan.summed.default
"""The operator of all that processes tell each other, for those who count it."""


class _Summed(torch.autograd.Function):
    """The sum over processes of one tensor, or of several end to end. Members of an ensemble are summed at once."""

    @staticmethod
    def forward(group: str, *parts: Tensor) -> Tensor:
        return _all_reduce(list(parts), group)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.group, *parts = inputs
        ctx.sizes = [part.shape[-1] for part in parts] if len(parts) > 1 else None

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        whole = _Spread.apply(gradient, ctx.group)
        return None, *(whole.split(ctx.sizes, -1) if ctx.sizes else [whole])

    @staticmethod
    def vmap(info: Any, in_dims: Any, group: str, *parts: Tensor) -> tuple[Tensor, int]:
        members = [
            part.expand(info.batch_size, *part.shape) if dim is None else part.movedim(dim, 0)
            for part, dim in zip(parts, in_dims[1:])
        ]
        return _Summed.apply(group, *members), 0


class _Spread(torch.autograd.Function):
    """The same numbers, whose gradient is summed over processes."""

    @staticmethod
    def forward(x: Tensor, group: str) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, str], output: Tensor) -> None:
        ctx.group = inputs[1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Summed.apply(ctx.group, gradient), None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, None], x: Tensor, group: str) -> tuple[Tensor, int | None]:
        return _Spread.apply(x, group), in_dims[0]


def _summed(group: str, *parts: Tensor) -> Tensor:
    return _Summed.apply(group, *parts)


def _spread(x: Tensor, group: str) -> Tensor:
    return _Spread.apply(x, group)
