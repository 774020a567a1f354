"""Closed-form results for toy games: the equilibrium, and the spectral radius of a step there."""

from collections import defaultdict
from itertools import product

import torch
from torch import Tensor

from steadygan.config.records import Choice
from steadygan.config.registry import GAMES
from steadygan.config.resolve import Constraints
from steadygan.dynamics.linear import MATRICES, radius
from steadygan.errors import UsageError
from steadygan.game import Game, Rest, State
from steadygan.game.vector_field import field
from steadygan.games import dirac_equilibrium

__all__ = ["check_bare", "closed_radius", "dirac_rest"]


def check_bare(game: str, networks: str, data: str) -> None:
    """Raise UsageError unless a game of bare vectors, and no other game, has the networks `point` and no data."""
    bare = [name for name, part in GAMES.items() if part.bare]
    if {game in bare} != {networks == "point", data == "none"}:
        given = f"game.name={game} does not fit networks.name={networks} and data.name={data}"
        raise UsageError(
            f"{given}: set networks.name=point and data.name=none"
            if game in bare
            else f"{given}: choose other networks and data, or the game {' or '.join(bare)} with point and none"
        )


def dirac_rest(loss: str, settings: Constraints, game: Game) -> Rest:
    """The equilibrium of the Dirac-GAN. It is linearised if the game has constant penalty weights and nothing else."""
    each = [(chosen.name, chosen.options) for chosen in settings.penalties]
    plain = settings.plain and all(isinstance(o["weight"], float) and o["interval"] == 1 for _, o in each)
    plain = plain and all(o.get("of", "logit") == "logit" for _, o in each)
    weights = [(name, o["weight"]) for name, o in each] if plain else []
    rest = dirac_equilibrium.rest(loss if plain else "", weights)
    return rest._replace(still=_is_still(game, rest.point))


def _is_still(game: Game, point: dict[str, Tensor]) -> bool:
    """Whether the vector field goes to zero continuously at a point, from all quadrants.

    It is evaluated beside the point: at a kink (|psi| under WGAN-GP) autograd returns the derivative of one side.
    """
    g = torch.Generator().manual_seed(0)
    draw = {name: _drawn(of.kind, of.shape, g) for name, of in game.fields.items()}
    anything: dict[str, Tensor] = defaultdict(lambda: torch.ones(()))
    modules = {name: player.network.module for name, player in game.players.items()}
    buffers = {
        n: {k: b.double() if b.is_floating_point() else b for k, b in m.named_buffers()}
        for n, m in modules.items()
    }

    def largest(far: float) -> float:
        sizes = []
        for signs in product((-far, far), repeat=len(point)):
            params = {n: p.double() + sign for (n, p), sign in zip(point.items(), signs, strict=True)}
            found = field(game, tuple(point), State(params, buffers, {}, {}, anything), draw)[0]
            sizes += [v.abs().max().item() for v in found.values()]
        return max(sizes)

    return largest(1e-8) <= 1e-2 * largest(1e-4) + 1e-12


def _drawn(kind: str, shape: tuple[int, ...], g: torch.Generator) -> Tensor:
    """One field of a draw of the Dirac-GAN, whose data are zeros."""
    make = {"normal": torch.randn, "uniform": torch.rand}.get(kind)
    return make(shape, generator=g, dtype=torch.float64) if make else torch.zeros(shape, dtype=torch.float64)


def closed_radius(rest: Rest | None, optimizer: Choice | dict[str, Choice], dynamics: Choice) -> float | None:
    """The spectral radius of one step at the equilibrium, for SGD without momentum and with constant settings."""
    if rest is None or rest.velocity is None or not isinstance(optimizer, Choice) or optimizer.name != "sgd":
        return None
    given, lr = dynamics.options, optimizer.options["lr"]
    stays = all(isinstance(v, int | float | str) for v in [lr, *given.values()])
    if optimizer.options["momentum"] or not stays or dynamics.name not in MATRICES:
        return None
    return radius(*MATRICES[dynamics.name](rest.velocity, len(rest.point["D"]), lr, **given))
