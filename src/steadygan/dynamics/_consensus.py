"""Consensus optimization: every player also minimises the norm of the game's whole vector field."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from steadygan import parallel
from steadygan.dynamics.player_steps import move, projected
from steadygan.errors import UsageError
from steadygan.game import Buffers, Draw, Field, Game, Logs, Network, Rule, State
from steadygan.game.optimizers import Optimizer
from steadygan.game.vector_field import field, jacobian_transpose, of_all
from steadygan.schedules import Number, at

__all__ = ["consensus", "debiased_norm"]

Vectors = dict[str, Tensor]
NUMBERS = 2**25  # in all samples' fields when a game is tested: 256 MB


def consensus(
    game: Game, optimizers: Mapping[str, Optimizer], *, gamma: Number = 10.0, debiased: bool = False
) -> Rule:
    """x <- x - h (g + gamma J^T g): all players share L = |g|^2 / 2, whose gradient J^T g is one vjp of the field.

    g is every player's gradient of its own loss, J = dg/dx in all parameters of all players. Each optimizer
    preconditions the modified gradient of its player. With `debiased` L is estimated without the noise of the
    batch, from each sample's field (Huszar's correction). That needs networks without buffers, and losses
    that are means over samples.

    The rows that fake-as-real selects move with G like every other fake. The selection itself has no
    derivative. Raises UsageError for `debiased` where a sample's field depends on other samples, and for a
    batch of one. Source: Mescheder 2017 (Numerics of GANs), Algorithm 2.
    """
    everyone = tuple(game.players)
    if debiased:
        _check_apart(game)
    regularised = _debiased if debiased else _plain

    def step(state: State, batch: Sequence[Draw]) -> tuple[State, Logs]:
        (draw,) = batch
        state = projected(game, everyone, state, first=True)
        gradients, slope, buffers, logs = regularised(game, state, draw)
        weight = at(gamma, state.scalars)
        modified = {name: g + weight * slope[name] for name, g in gradients.items()}
        return move(game, optimizers, modified, state._replace(buffers=buffers)), logs

    return Rule(step, (everyone,))


def debiased_norm(fields: Tensor, total: int | None = None) -> Tensor:
    """Return |E v|^2 / 2 from per-sample fields v_i [B, P], B >= 2: 1/2 1/(B (B-1)) sum over i != j of v_i . v_j.

    Its mean over batches is exact, where |mean v|^2 / 2 is too large by Var[v] / 2B. So it may be negative.
    It equals |mean v|^2 / 2 - S / (2B - 2) with S the 1/B variance. Inside `parallel.over`, `fields` are those of this
    process's samples, of `total` (as many on each process unless given). Raises UsageError for B = 1. Source:
    Mescheder 2017, Lemma 15.

    >>> debiased_norm(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    tensor(-0.5000)
    """
    count = parallel.whole(len(fields), total)
    if count < 2:
        raise UsageError(f"the bias of a batch of {count} cannot be estimated: use at least 2 samples")
    whole, squares = parallel.joined(fields.sum(0), fields.square().sum().view(1))
    return (whole.square().sum() - squares.squeeze()) / (2 * count * (count - 1))


def _plain(game: Game, state: State, draw: Draw) -> tuple[Vectors, Vectors, dict[str, Buffers], Logs]:
    gradients, transpose, buffers, logs = jacobian_transpose(game, state, draw)
    return gradients, transpose(gradients), buffers, logs


def _debiased(game: Game, state: State, draw: Draw) -> tuple[Vectors, Vectors, dict[str, Buffers], Logs]:
    loss = torch.func.grad(partial(_debiased_loss, game, state, draw), has_aux=True)
    slope, (gradients, logs) = loss(state.params)
    norms = {f"gradient/{name}": g.norm() for name, g in gradients.items()}
    return gradients, slope, state.buffers, {**logs, **norms}


def _debiased_loss(
    game: Game, state: State, draw: Draw, params: Vectors
) -> tuple[Tensor, tuple[Vectors, Logs]]:
    rows = next(iter(game.fields.values())).shape[0]
    mine = {name: parallel.spread(own) for name, own in params.items()}
    with parallel.over(parallel.ALONE):
        each, logs = _each(game, state._replace(params=mine), draw)
    weight = parallel.share(rows)
    mean, logs = of_all(
        {name: weight * v.mean(0) for name, v in each.items()}, {key: weight * v for key, v in logs.items()}
    )
    return debiased_norm(torch.cat(list(each.values()), dim=1), rows), (mean, logs)


def _each(game: Game, state: State, draw: Draw) -> tuple[Vectors, Logs]:
    """Each sample's own field [B, P], from draws of one row, and the means of what each logs."""
    rows = {name: values.unsqueeze(1) for name, values in draw.items()}
    gradients, logs = torch.vmap(partial(_one, game, state))(rows)
    return gradients, {key: value.mean(0) for key, value in logs.items()}


def _one(game: Game, state: State, row: Draw) -> tuple[Vectors, Logs]:
    gradients, _, logs = field(game, tuple(game.players), state, row)
    return gradients, logs


def _check_apart(game: Game) -> None:
    """Refuse a game whose field on a batch is not the mean of its fields on each row, tested on random numbers."""
    if game.parts > 1:
        raise UsageError(
            "dynamics.debiased compares all samples of a batch, which gradient accumulation does not have at once: "
            "use accumulate=1, or dynamics.debiased=false"
        )
    shapes = [f.shape for f in game.fields.values()]
    modules = [player.network.module for player in game.players.values()]
    joined = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for net in modules for m in net.modules())
    joined = joined or any(True for net in modules for _ in net.buffers())
    alike = len({shape[:1] for shape in shapes}) == 1 and () not in shapes
    if alike and shapes[0][0] < 2:
        raise UsageError("dynamics.debiased compares the samples of a batch: choose a batch of at least 2")
    if not alike or joined or not _is_mean(game):
        raise UsageError(
            "dynamics.debiased needs the field of each sample alone, but this game mixes samples (batch norm or "
            "other buffers, fake-as-real, DRAGAN, a maximum, lazy penalties, pull-away) or reads none: use "
            "dynamics.debiased=false, or remove these"
        )


def _is_mean(game: Game) -> bool:
    """Whether the field on a batch is the mean over its rows, to rounding in float64.

    The weights are random, and the rows have many sizes. So a piecewise linear network is tested on many of
    its pieces.
    """
    g = torch.Generator().manual_seed(0)
    nets = {name: Network(player.network.module) for name, player in game.players.items()}  # no autocast
    plain = game._replace(players={n: p._replace(network=nets[n]) for n, p in game.players.items()})
    params = {name: _random(net, g) for name, net in nets.items()}
    rows = max(8, min(64, NUMBERS // sum(map(len, params.values()))))
    draw = {name: _rows(f, rows, g) for name, f in game.fields.items()}
    anything: dict[str, Tensor] = defaultdict(lambda: torch.ones(()))
    state = State(params, {name: {} for name in params}, {}, {}, anything)
    whole, _, _ = field(plain, tuple(params), state, draw)
    try:
        each, _ = _each(plain, state, draw)
    except UsageError:  # a term that one sample has no value for
        return False
    gaps = [(each[name].mean(0) - whole[name]).norm() / (1e-30 + whole[name].norm()) for name in params]
    return bool((torch.stack(gaps) <= 1e-9).all())


def _random(network: Network, g: torch.Generator) -> Tensor:
    """Random weights [P] that keep the scale of activations, whatever the module's own are."""
    each = [torch.randn(shape.numel(), generator=g, dtype=torch.float64) for shape in network.shapes.values()]
    shares = [max(1, shape[1:].numel()) ** -0.5 for shape in network.shapes.values()]
    return torch.cat([weights * share for weights, share in zip(each, shares, strict=True)])


def _rows(of: Field, rows: int, g: torch.Generator) -> Tensor:
    """Numbers for a field of a draw: uniform ones as they are, all others of sizes from .3 to 10 by row."""
    shape = (rows, *of.shape[1:])
    if of.kind == "label":
        return torch.zeros(shape, dtype=torch.int64)
    if of.kind == "uniform":
        return torch.rand(shape, generator=g, dtype=torch.float64)
    sizes = torch.logspace(-0.5, 1, rows, dtype=torch.float64).view(-1, *[1] * (len(shape) - 1))
    return sizes * torch.randn(shape, generator=g, dtype=torch.float64)
