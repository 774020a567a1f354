"""What is looked at in the games that are solved by hand: where they are, how far from rest, at which rate."""

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
from steadygan.training.events import Look

__all__ = ["Spectrum", "portrait", "score_names", "spectrum", "velocities"]

HELD = ("square", "count")  # moments that precondition a step, and do not rest


class Spectrum(NamedTuple):
    """Eigenvalues at the equilibrium: of the velocity field v', and of one step (of a cycle of `period` steps)."""

    field: Tensor
    step: Tensor
    radius: float


def score_names(rest: Rest) -> tuple[str, ...]:
    """What is told of a game beside where it is: nothing that has no meaning where the field is not zero."""
    return ("distance", "radius") if rest.still else ()


def portrait(
    game: Game, rule: Rule, draws: Draws, *, members: int, ensemble: bool, closed: float | None
) -> Callable[[State], Look]:
    """Make the function that looks at a state of a game with a known equilibrium.

    `distance` to it, `radius`: the spectral radius of a step there, `radius/closed_form` where that is known, and
    `at/NAME`, each player's first parameter, which is all where the field at the point is not zero. A look has no
    samples.
    """
    assert game.rest is not None
    rest, still = game.rest.point, game.rest.still

    def look(state: State) -> Look:
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
        return Look([], {key: values if ensemble else values[0] for key, values in found.items()})

    return look


def spectrum(game: Game, rule: Rule, draws: Draws, state: State, index: int | None = None) -> Spectrum:
    """The eigenvalues at the equilibrium, by differentiating a whole step there, in float64.

    The step is taken over all that the rule carries along, with the hyper-parameters of one member's `state`;
    an optimizer's moments are at rest too. Its squares and its count stay what they are in `state`, as a
    preconditioner of the step: they are no coordinates, or the radius would be that of their own decay.
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
    """The velocity [k, 2] of D's and G's first parameter where these are `points` [k, 2], all others at rest."""
    assert game.rest is not None
    batch, state = _batch(draws, int(state.scalars["step"]), index), _double(state)
    rest = {name: game.rest.point[name].to(p) for name, p in state.params.items()}
    places = {name: slot for slot, name in zip(_firsts(rest), rest)}
    velocity = _velocity(game, state, batch)

    def seen(at: Tensor) -> Tensor:
        parts = [torch.cat([at["DG".index(name)].view(1), p[1:]]) for name, p in rest.items()]
        moved = velocity(torch.cat(parts))
        return torch.stack([moved[places[name]] for name in "DG"])

    return torch.vmap(seen)(points.double())


def _velocity(game: Game, state: State, batch: list[dict[str, Tensor]]) -> Callable[[Tensor], Tensor]:
    """v = -g as a function of one long vector, the players in the order of the state."""
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
    """Where each player begins in the long vector."""
    return list(accumulate((len(p) for p in list(rest.values())[:-1]), initial=0))


def _eigenvalues(matrix: Tensor) -> Tensor:
    """None where an entry is not finite, which would end the process."""
    return torch.linalg.eigvals(matrix) if matrix.isfinite().all() else torch.empty(0, dtype=torch.complex128)
