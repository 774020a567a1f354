"""Fake-as-real training: the critic is shown as real those fakes that it is surest are fake (FARGAN, Algorithm 1)."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from steadygan import parallel
from steadygan.critic_outputs import AnyCritic, Condition, Logits, ranks, wide
from steadygan.errors import UsageError

__all__ = ["lowest", "mix", "rounded", "select", "weights"]


def select(
    critic: AnyCritic,
    candidates: Tensor,
    count: int,
    *,
    y: Condition | None = None,
    logits: Callable[[Any], Logits] | None = None,
) -> Any:
    """Return the `count` candidates with the lowest logits, lowest first, detached: [count, ...].

    `candidates` [n, ...] are fakes other than those that the critic scores as fake. Scoring them leaves no
    gradient. A critic with dropout ranks by its draw of it, unless it is in eval mode. Low means fake here, so a
    critic with the opposite sign would select the wrong ones. With y, for a critic D(x, y), the result is (x, y)
    of the selected ones. Inside `parallel.over`, candidates are those of all processes, n on each, and all processes
    get the same selected ones. Raises UsageError if `count` exceeds their number. Source: Tao and Wang 2020
    (FARGAN), Algorithm 1.

    >>> select(lambda x: x[:, 0], torch.tensor([[3.0], [1.0], [2.0]]), 2)
    tensor([[1.],
            [2.]])
    """
    chosen = lowest(critic, candidates, count, y=y, logits=logits)
    x = parallel.taken(candidates, chosen).detach()
    if y is None:
        return x
    return x, (
        parallel.taken(y, chosen).detach()
        if isinstance(y, Tensor)
        else tuple(parallel.taken(part, chosen).detach() for part in y)
    )


def lowest(
    critic: AnyCritic,
    candidates: Tensor,
    count: int,
    *,
    y: Condition | None = None,
    logits: Callable[[Any], Logits] | None = None,
    total: int | None = None,
) -> Tensor:
    """Return the indices [count] of the candidates [n, ...] with the lowest logits, lowest first.

    A candidate with several logits is ranked by what a loss sees: their mean, summed over critics. `logits` takes
    them out of a tuple or dict, and y is what D(x, y) takes after x. `candidates[lowest(...)]` are the selected
    ones, still as functions of the generator's parameters. No step needs that, but the Jacobian of the game's
    vector field does. Inside `parallel.over` the indices are those of all processes' candidates, `total` of them (n on
    each unless given). Raises UsageError if `count` exceeds their number.

    >>> lowest(lambda x: x[:, 0], torch.tensor([[3.0], [1.0], [2.0]]), 2)
    tensor([1, 2])
    """
    total = parallel.whole(len(candidates), total)
    if not 0 <= count <= total:
        raise UsageError(f"cannot select {count} of {total} candidates: draw at least as many as you select")
    with torch.no_grad():
        found = ranks(critic, candidates.clone(), y=y, logits=logits)  # the first layer may work in place
        return parallel.gathered(found, total).topk(count, largest=False).indices


def mix(x_real: Tensor, selected: Tensor, count: float | Tensor, total: int | None = None) -> Tensor:
    """Replace the last `count` of the real rows x_real [N, ...] by the first `count` of `selected` [m, ...].

    N - count real rows stay, so the critic's real part keeps N rows whatever the count. `count` may be a
    tensor that changes from step to step. It is then rounded, and clipped to at most m. Inside `parallel.over`,
    x_real are this process's rows of the N = `total` real rows (as many on each process unless given). Raises
    UsageError if m > N, and for samples of two shapes.

    >>> mix(torch.zeros(3, 1), torch.ones(2, 1), torch.tensor(1.0)).flatten()
    tensor([0., 0., 1.])
    """
    total = parallel.whole(len(x_real), total)
    if len(selected) > total:
        raise UsageError(
            f"{len(selected)} selected fakes cannot replace rows of {total} reals: select at most {total}"
        )
    if selected.shape[1:] != x_real.shape[1:]:
        raise UsageError(
            f"selected fakes of shape {list(selected.shape[1:])} cannot replace reals of shape "
            f"{list(x_real.shape[1:])}: give both one shape"
        )
    place = parallel.rows(total).start + torch.arange(len(x_real), device=x_real.device)
    first = total - rounded(count, len(selected))
    if len(selected) == 0:
        return x_real
    taken = selected[(place - first).clamp(0, len(selected) - 1).long()]
    return torch.where((place >= first).view(-1, *[1] * (x_real.ndim - 1)), taken, x_real)


def weights(
    x_real: Tensor, count: float | Tensor, weight: float | Tensor, total: int | None = None
) -> Tensor:
    """Return how much each of the mixed rows x_real [N, ...] weighs in the critic's loss: [N], of mean 1.

    The last `count` (N0) rows are selected fakes and weigh `weight` (lambda) times as much as a real one. All are
    divided by their mean (N - N0 + lambda N0) / N. So the real part of the loss stays a mean, and D = 1/2 stays the
    equilibrium, whatever lambda is. 1 is Algorithm 1. 0 leaves the mean over the N - N0 real rows. Penalties do not
    take these weights: in Eqn 8 lambda multiplies the logarithm alone.

    `count` and `weight` may be tensors that change from step to step, and `total` is as in `mix`. Raises UsageError
    for a negative weight, and where nothing weighs anything. Source: Tao and Wang 2020 (FARGAN), Eqn 8.

    >>> weights(torch.zeros(4, 2), 2, 0.5)
    tensor([1.3333, 1.3333, 0.6667, 0.6667])
    """
    total = parallel.whole(len(x_real), total)
    fakes = rounded(count, total)
    mean = (total - fakes + weight * fakes) / total
    known = [(value, least) for value, least in ((weight, 0), (mean, 1e-12)) if not isinstance(value, Tensor)]
    if not all(value >= least for value, least in known):
        raise UsageError(
            f"{fakes} of {total} rows are fakes of weight {weight}: choose a weight of 0 or more, and above 0 where no "
            "row is real"
        )
    place = parallel.rows(total).start + torch.arange(len(x_real), device=x_real.device)
    ones = torch.ones(len(x_real), dtype=wide(x_real[:0]).dtype, device=x_real.device)
    return torch.where(place >= total - fakes, weight * ones, ones) / mean


def rounded(count: float | Tensor, most: float = math.inf) -> float | Tensor:
    """Round a count to a whole number of at most `most`. A plain number stays one, so nothing is moved to a device.

    Raises UsageError for a plain number below 0.

    >>> rounded(2.6), rounded(torch.tensor(7.2), most=5)
    (3, tensor(5.))
    """
    if not isinstance(count, Tensor) and count < 0:
        raise UsageError(f"the number of selected fakes is {count}: choose 0 or more")
    return count.round().clamp(max=most) if isinstance(count, Tensor) else min(round(count), most)
