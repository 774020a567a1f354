"""Programs that are wrong in one thing: each should differ from one process by far more than rounding."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor

from steadygan import parallel
from steadygan.dynamics import _consensus
from steadygan.game import vector_field
from steadygan.games import _gan, critic_batch

__all__ = ["TWINS", "Twin"]


class Twin(NamedTuple):
    """The case that a wrong program runs, and what makes it wrong."""

    case: str
    changed: Callable[[], AbstractContextManager[Any]]
    normalized: bool = True


def _of_own_candidates(nets: Any, draw: Any, scalars: Any, far: Any, *rest: Any) -> Any:
    """Each process selects its share of N0 of its own candidates. Its own last rows are replaced."""
    with parallel.over():
        most = len(parallel.rows(far.most))
    own = critic_batch.FakeAsReal(most, most, far.pool, far.scoring)
    with parallel.over(parallel.ALONE):
        return critic_batch.shown(nets, draw, scalars, own, *rest[:2], len(draw["x_real"]))


def _backwards(x: Tensor, count: int | None = None) -> Tensor:
    """The rows of all processes, the last process's first."""
    count = parallel.whole(len(x), count)
    here = parallel.rows(count)
    after, before = (x.new_zeros(n, *x.shape[1:]) for n in (here.start, count - here.stop))
    return parallel.together(torch.cat([before, x, after]))


def _own_mean(x: Tensor) -> Tensor:
    return x.mean()


def _own_std(x: Tensor) -> Tensor:
    return x.std(correction=0)


def _equal_share(game: Any, name: str) -> float:
    return 1 / parallel.processes().size


def _own_fields_slope(game: Any, state: Any, draw: Any) -> Any:
    """J^T g of each process's own field, averaged, where the field is that of all."""
    g, _, buffers, logs = vector_field.jacobian_transpose(game, state, draw)
    share = parallel.share(game.fields["x_real"].shape[0])
    with parallel.over(parallel.ALONE):
        own, pull, *_ = vector_field.jacobian_transpose(game, state, draw)
        slope = pull(own)
    return g, {name: parallel.summed(share * u) for name, u in slope.items()}, buffers, logs


def _alone_in_vmap(info: Any, in_dims: Any, group: str, *parts: Tensor) -> Any:
    """What a collective without a rule of its own does: each process keeps its numbers."""
    return torch.cat([part.movedim(dim, 0) for part, dim in zip(parts, in_dims[1:])], -1), 0


TWINS = {
    "fakes selected of each process's own candidates": Twin(
        "fake-as-real", partial(patch.object, _gan, "shown", _of_own_candidates)
    ),
    "processes in reversed order": Twin(
        "fake-as-real", partial(patch.object, parallel, "gathered", _backwards)
    ),
    "batch norm of own rows": Twin("fake-as-real, batch norm", nullcontext, normalized=False),
    "largest gradient of own rows": Twin(
        "critic: max_gradient", partial(patch.object, parallel, "largest", torch.amax)
    ),
    "deviation of own rows": Twin("critic: dragan", partial(patch.object, parallel, "std", _own_std)),
    "critic's sureness from own fakes": Twin(
        "fake-as-real, ADA", partial(patch.object, parallel, "mean", _own_mean)
    ),
    "processes of unequal rows weigh the same": Twin(
        "loss: non_saturating", partial(patch.object, vector_field, "_share", _equal_share)
    ),
    "product with the Jacobian of own field": Twin(
        "dynamics: consensus", partial(patch.object, _consensus, "_plain", _own_fields_slope)
    ),
    "no sum over processes inside vmap": Twin(
        "ensemble", partial(patch.object, parallel._Summed, "vmap", staticmethod(_alone_in_vmap))
    ),
}
"""Wrong programs by what is wrong in them."""
