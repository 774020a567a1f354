"""What is known beforehand of the games that are solved by hand: where they rest, and how fast they get there."""

from collections import defaultdict
from itertools import product
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from steadygan.config.field_types import ends
from steadygan.dynamics.linear import MATRICES, radius
from steadygan.errors import UsageError
from steadygan.game import Game, Rest, State
from steadygan.game.vector_field import field
from steadygan.games import dirac_equilibrium

if TYPE_CHECKING:
    from steadygan.config import Config

__all__ = ["closed_radius", "dirac_rest", "is_bare", "is_plain"]


def is_bare(config: "Config") -> bool:
    """Whether the game is one of bare vectors. Raises UsageError where it is given what it has no use for."""
    game, critic = config.game.name, config.critic
    bare = game in ("bilinear", "quadratic")
    if {bare} != {config.networks.name == "point", config.data.name == "none"}:
        raise UsageError(
            "the games bilinear and quadratic, and no others, take networks.name=point and data.name=none: here "
            f"game.name={game}, networks.name={config.networks.name} and data.name={config.data.name}"
        )
    if bare and (critic.penalties or critic.clip or config.ema or not is_plain(config)):
        raise UsageError(
            f"the game {game} has no critic and no samples: leave out critic, augment, noise, fake_as_real and ema"
        )
    return bare


def is_plain(config: "Config") -> bool:
    """Whether the critic sees the samples as they are, and answers as it is."""
    noises = (max(ends(config.noise.instance)), config.noise.D, config.noise.G)
    altered = config.critic.consistency or config.augment.name != "none" or any(noises)
    return (
        not altered
        and config.critic.normalization.name == "none"
        and not max(ends(config.fake_as_real.count))
    )


def dirac_rest(config: "Config", game: Game) -> Rest:
    """The Dirac-GAN's equilibrium; linearised where weights are plain numbers and nothing else is in the game."""
    terms = config.critic.penalties
    plain = all(isinstance(t.weight, float) and t.interval == 1 for t in terms)
    plain = plain and all(getattr(t, "of", "logit") == "logit" for t in terms)
    plain = plain and is_plain(config)
    weights = [(t.name, t.weight) for t in terms] if plain else []
    rest = dirac_equilibrium.rest(config.game.loss.name if plain else "", weights)
    return rest._replace(still=_is_still(game, rest.point))


def _is_still(game: Game, point: dict[str, Tensor]) -> bool:
    """Whether the field falls to zero towards a point, from all quarters, and does not jump there.

    Looked at beside the point: at it autograd takes one side of a kink (|psi| under WGAN-GP) for the whole.
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
    """A field of a draw of the Dirac-GAN, whose data are zeros."""
    make = {"normal": torch.randn, "uniform": torch.rand}.get(kind)
    return make(shape, generator=g, dtype=torch.float64) if make else torch.zeros(shape, dtype=torch.float64)


def closed_radius(config: "Config", game: Game) -> float | None:
    """The spectral radius of one step at the equilibrium, for plain gradient steps with numbers that stay."""
    chosen = config.optimizer
    if game.rest is None or game.rest.velocity is None or isinstance(chosen, dict) or chosen.name != "sgd":
        return None
    given = {
        key: getattr(config.dynamics, key) for key in type(config.dynamics).model_fields if key != "name"
    }
    if chosen.momentum or not all(isinstance(v, int | float | str) for v in [chosen.lr, *given.values()]):
        return None
    n = len(game.rest.point["D"])
    return radius(*MATRICES[config.dynamics.name](game.rest.velocity, n, chosen.lr, **given))
