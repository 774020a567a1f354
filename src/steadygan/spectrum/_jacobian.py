"""The Jacobian of a game's vector field: as a matrix for small games, as an operator for any."""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from steadygan.errors import UsageError
from steadygan.game import Draw, Game, State
from steadygan.game.vector_field import field
from steadygan.progress import report
from steadygan.rng import generator

__all__ = ["Operator", "adjoint_gap", "ascent_field", "game_jacobian", "jacobian", "operator"]

VectorField = Callable[[Tensor], Tensor]
CHUNK = 32  # columns at once: the activations of as many batches are in memory together


def jacobian(field: VectorField, x: Tensor, chunk: int = CHUNK) -> Tensor:
    """Return J[i, j] = d field(x)_i / d x_j of any field [n] -> [m] at x [n]: a matrix [m, n].

    It uses forward mode over whatever `field` does inside, gradients included, with `chunk` columns at a time
    under vmap. Raises UsageError unless x and field(x) are vectors.

    >>> jacobian(lambda x: torch.stack([x[0] * x[1], x[1] ** 2]), torch.tensor([2.0, 3.0]))
    tensor([[3., 2.],
            [0., 6.]])
    """
    if x.ndim != 1:
        raise UsageError(f"a Jacobian is taken at a vector [n], not at {list(x.shape)}: flatten it")

    def column(direction: Tensor) -> Tensor:
        value, change, *_ = torch.func.jvp(field, (x,), (direction,))
        if value.ndim != 1:
            raise UsageError(f"a field must return a vector [m], not {list(value.shape)}: flatten it")
        return change

    eye, found = torch.eye(len(x), dtype=x.dtype, device=x.device), []
    for done, part in enumerate(eye.split(chunk)):
        report("columns of the Jacobian", done * chunk, len(x), "columns")
        found.append(torch.vmap(column, out_dims=1)(part))
    report("columns of the Jacobian", len(x), len(x), "columns")
    return torch.cat(found, dim=1)


def ascent_field(
    game: Game, state: State, draws: Draw | Sequence[Draw], names: Sequence[str] | None = None
) -> VectorField:
    """Return v(x) [P] as a function of x [P]: minus each player's gradient of its own loss, averaged over draws.

    x is the named players' parameters end to end: every player's, in the game's order, unless `names` says
    otherwise. All else is as in `state`, whose buffers are read and not advanced. Raises UsageError on
    unknown names and on no draws.
    """
    listed, every = _names(game, names), _draws(draws)
    sizes = [len(state.params[name]) for name in listed]

    def v(x: Tensor) -> Tensor:
        params = dict(zip(listed, x.split(sizes), strict=True))
        return torch.stack([_ascent(game, listed, state, draw, params) for draw in every]).mean(0)

    return v


def _ascent(game: Game, listed: list[str], state: State, draw: Draw, moved: dict[str, Tensor]) -> Tensor:
    gradients = field(game, listed, state._replace(params={**state.params, **moved}), draw)[0]
    return -torch.cat([gradients[name] for name in listed])


def game_jacobian(
    game: Game,
    state: State,
    draws: Draw | Sequence[Draw],
    names: Sequence[str] | None = None,
    chunk: int = CHUNK,
) -> Tensor:
    """Return J = v' [P, P], the exact Jacobian of the ascent field, averaged over one or more draws.

    v holds *minus* the gradients of the players' losses. So eigenvalues with a negative real part mean local
    stability of simultaneous gradient steps. Rows and columns are the players' parameters end to end, in the
    game's order or that of `names`.

    It costs P forward derivatives of the field for each draw, and 2 P^2 numbers. It is meant for some
    thousands of parameters; see `operator` for more. Use float64 where the signs of small real parts matter.
    It is exact as long as the losses detach nothing that the parameters move. So build a game with gradient
    normalization without its cheap generator step. Source: Mescheder 2017, Eqn 5.

    >>> from steadygan.game import Network
    >>> from steadygan.game.optimizers import sgd
    >>> from steadygan.game.state import initial
    >>> from steadygan.games import quadratic
    >>> from steadygan.networks import point
    >>> G, D = point(())
    >>> game = quadratic(Network(G), Network(D), torch.tensor([[-1.0, 2.0], [-2.0, -1.0]]))
    >>> game_jacobian(game, initial({"D": D, "G": G}, {"D": sgd(0.1), "G": sgd(0.1)}), {})
    tensor([[-1.,  2.],
            [-2., -1.]])
    """
    listed, every = _names(game, names), _draws(draws)

    def columns(draw: Draw, name: str) -> Tensor:  # of one player, so that the others' carry no derivatives
        return jacobian(
            lambda own: _ascent(game, listed, state, draw, {name: own}), state.params[name], chunk
        )

    each = (torch.cat([columns(draw, name) for name in listed], 1) for draw in every)
    return reduce(torch.add, each) / len(every)


class Operator(NamedTuple):
    """A matrix [size, size] known by its products: `forward(w)` is J w and `transpose(w)` is J^T w."""

    forward: Callable[[Tensor], Tensor]
    transpose: Callable[[Tensor], Tensor]
    like: Tensor  # [size], of the dtype and on the device of what it takes


def operator(
    game: Game, state: State, draws: Draw | Sequence[Draw], names: Sequence[str] | None = None
) -> Operator:
    """Return J of `game_jacobian` as an operator: a forward derivative of the averaged field for J w, a vjp for J^T w.

    Neither builds the matrix, so it works for any number of parameters. Some losses hold a tensor constant,
    as spectral norm does the vectors of its power iteration. The transpose then holds it constant too, so J^T
    is not exact for such critics.
    """
    listed = _names(game, names)
    x = torch.cat([state.params[name] for name in listed])
    fields = [ascent_field(game, state, draw, listed) for draw in _draws(draws)]

    def forward(w: Tensor) -> Tensor:
        return torch.stack([torch.func.jvp(v, (x,), (w,))[1] for v in fields]).mean(0)

    def transpose(w: Tensor) -> Tensor:
        return torch.stack([torch.func.vjp(v, x)[1](w)[0] for v in fields]).mean(0)

    return Operator(forward, transpose, x)


def adjoint_gap(J: Operator) -> float:
    """Return |w . J u - J^T w . u| / (|w| |J u|) at one random u and w: zero but for rounding where J^T is exact.

    >>> adjoint_gap(Operator(lambda w: w.flip(0), lambda w: w.flip(0), torch.zeros(3))) < 1e-5
    True
    """
    u, w = (torch.randn(len(J.like), generator=generator("adjoint", name)).to(J.like) for name in "uw")
    forward = J.forward(u)
    gap = (w @ forward - J.transpose(w) @ u).abs() / (w.norm() * forward.norm()).clamp_min(1e-30)
    return gap.item()


def _names(game: Game, names: Sequence[str] | None) -> list[str]:
    listed = list(game.players if names is None else names)
    if not listed or len(set(listed)) < len(listed) or not set(listed) <= set(game.players):
        raise UsageError(f"names is {listed}, but the players are {', '.join(game.players)}: name each once")
    return listed


def _draws(draws: Draw | Sequence[Draw]) -> list[Draw]:
    every = [draws] if isinstance(draws, Mapping) else list(draws)
    if not every:
        raise UsageError("a Jacobian is averaged over draws, but there are none: pass one or more")
    return every
