"""Evaluation of games with a known equilibrium: parameters, distance to it, and rate of convergence."""

from collections.abc import Callable
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from steadygan.dynamics.linear import radius
from steadygan.game import Game, Rest, Rule, State
from steadygan.game.batches import Draws
from steadygan.game.optimizers import Moments
from steadygan.game.state import Step, complete, member
from steadygan.game.vector_field import field
from steadygan.training.events import Evaluated

__all__ = ["Spectrum", "make_toy_evaluator", "score_names", "spectrum", "velocities"]

HELD = ("square", "count")  # moments that only scale a step: they have no equilibrium


class Spectrum(NamedTuple):
    """Eigenvalues at the equilibrium: of v' and of a step (or cycle of `period` steps); and its spectral radius.

    They are on the CPU.
    """

    field: Tensor
    step: Tensor
    radius: float


def score_names(rest: Rest) -> tuple[str, ...]:
    """The scores of a game besides its parameters; none where the field at the point is not zero."""
    return ("distance", "radius") if rest.still else ()


def make_toy_evaluator(
    game: Game, rule: Rule, draws: Draws, *, members: int, ensemble: bool, closed: float | None
) -> Callable[[State], Evaluated]:
    """Make the function that evaluates a state of a game with a known equilibrium. It returns no samples.

    - `at/NAME`: the first parameter of each player.
    - `distance`: the distance to the equilibrium.
    - `radius`: the spectral radius of a step at the equilibrium; below 1 the step converges.
    - `radius/closed_form`: the same from a formula, where one is known.

    Only `at/NAME` is given where the field is not zero at the point.
    """
    assert game.rest is not None
    rest, still = game.rest.point, game.rest.still

    def evaluate(state: State) -> Evaluated:
        rows = []
        for index in range(members):
            one = member(state, index if ensemble else None)
            scores = {f"at/{name}": one.params[name][0].item() for name in rest}
            if still:
                gaps = [
                    one.params[name].cpu() - p.to(one.params[name].dtype).cpu() for name, p in rest.items()
                ]
                scores = {"distance": torch.cat(gaps).norm().item(), **scores}
                scores["radius"] = spectrum(game, rule, draws, one, index if ensemble else None).radius
            rows.append(scores | ({"radius/closed_form": closed} if still and closed is not None else {}))
        found = {key: [row[key] for row in rows] for key in rows[0]}
        return Evaluated([], {key: values if ensemble else values[0] for key, values in found.items()})

    return evaluate


def spectrum(game: Game, rule: Rule, draws: Draws, state: State, index: int | None = None) -> Spectrum:
    """The eigenvalues at the equilibrium, from the derivative of a whole step, in float64.

    The coordinates are the parameters and the optimizer's moments, at their equilibrium values. The
    hyper-parameters are those of one member's `state`. Squares and counts of an optimizer keep their values in
    `state`, because they only scale the step. As coordinates they would add their own decay to the eigenvalues.
    """
    assert game.rest is not None
    first = int(state.scalars["step"]) // rule.period * rule.period
    state = _double(state)
    point = {name: game.rest.point[name].to(p) for name, p in state.params.items()}
    moments = {n: {k: _at_rest(k, m, point[n]) for k, m in ms.items()} for n, ms in state.moments.items()}
    step = torch.full_like(state.scalars["step"], first)
    state = state._replace(params=point, moments=moments, scalars={**state.scalars, "step": step})
    batches = [_batch(draws, first + i, index) for i in range(rule.period)]
    matrix = _step_matrix(complete(rule, game), state, batches)
    velocity = torch.func.jacrev(_velocity(game, state, batches[0]))(torch.cat(list(point.values())))
    return Spectrum(_eigenvalues(velocity), _eigenvalues(matrix), radius(matrix, rule.period))


def velocities(game: Game, draws: Draws, state: State, points: Tensor, index: int | None = None) -> Tensor:
    """The velocity [k, 2] of the first parameters of D and G at `points` [k, 2], all others at the equilibrium.

    It lies where the points do.
    """
    assert game.rest is not None
    batch, state = _batch(draws, int(state.scalars["step"]), index), _double(state)
    rest = {name: game.rest.point[name].to(p) for name, p in state.params.items()}
    places = {name: slot for slot, name in zip(_firsts(rest), rest)}
    velocity = _velocity(game, state, batch)

    def seen(at: Tensor) -> Tensor:
        parts = [torch.cat([at["DG".index(name)].view(1), p[1:]]) for name, p in rest.items()]
        moved = velocity(torch.cat(parts))
        return torch.stack([moved[places[name]] for name in "DG"])

    device = state.scalars["step"].device
    return torch.vmap(seen)(points.to(device, torch.float64)).to(points.device)


def _velocity(game: Game, state: State, batch: list[dict[str, Tensor]]) -> Callable[[Tensor], Tensor]:
    """v = -g as a function of one vector of all players, in the order of the state."""
    draw = {name: values for turn in batch for name, values in turn.items()}
    sizes = {name: len(p) for name, p in state.params.items()}

    def velocity(vector: Tensor) -> Tensor:
        params = dict(zip(sizes, vector.split(list(sizes.values())), strict=True))
        gradients, _, _ = field(game, tuple(game.players), state._replace(params=params), draw)
        return -torch.cat([gradients[name] for name in sizes])

    return velocity


def _step_matrix(step: Step, start: State, batches: list[list[dict[str, Tensor]]]) -> Tensor:
    leaves, layout = tree_flatten((start.params, _moving(start.moments)))
    sizes = [leaf.numel() for leaf in leaves]

    def whole(vector: Tensor) -> Tensor:
        parts = [part.view(leaf.shape) for part, leaf in zip(vector.split(sizes), leaves, strict=True)]
        params, moving = tree_unflatten(parts, layout)
        state = start._replace(params=params, moments={n: {**start.moments[n], **moving[n]} for n in moving})
        for batch in batches:
            state, _ = step(state, batch)
        return torch.cat(
            [leaf.reshape(-1) for leaf in tree_flatten((state.params, _moving(state.moments)))[0]]
        )

    return torch.func.jacrev(whole)(torch.cat([leaf.reshape(-1) for leaf in leaves]))


def _moving(moments: dict[str, Moments]) -> dict[str, Moments]:
    return {name: {key: m for key, m in own.items() if key not in HELD} for name, own in moments.items()}


def _at_rest(name: str, moment: Tensor, point: Tensor) -> Tensor:
    if name == "slow":
        return point
    return moment if name in HELD else torch.zeros_like(moment)


def _batch(draws: Draws, step: int, index: int | None) -> list[dict[str, Tensor]]:
    return [
        {name: (v if index is None else v[index]).double() for name, v in turn.items()}
        for turn in draws(step)
    ]


def _double(state: State) -> State:
    return tree_map(lambda t: t.double() if t.is_floating_point() else t, state)


def _firsts(rest: dict[str, Tensor]) -> list[int]:
    """The index of each player's first parameter in the vector of all."""
    return list(accumulate((len(p) for p in list(rest.values())[:-1]), initial=0))


def _eigenvalues(matrix: Tensor) -> Tensor:
    """The eigenvalues; none if an entry is not finite, because torch would then end the process."""
    matrix = matrix.cpu()
    return torch.linalg.eigvals(matrix) if matrix.isfinite().all() else torch.empty(0, dtype=torch.complex128)
