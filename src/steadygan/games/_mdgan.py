"""MDGAN, the manifold-diffusion GAN: an encoder moves G onto the data's manifold, then samples spread over it."""

from collections.abc import Mapping
from functools import partial

from torch import Tensor

from steadygan.critic_outputs import each_rank
from steadygan.errors import UsageError
from steadygan.game import Draw, Field, Game, Logs, Nets, Network, Player
from steadygan.games._reg_gan import reconstruct, squared_distance
from steadygan.losses import non_saturating
from steadygan.schedules import Number, at

__all__ = ["mdgan"]


def mdgan(
    D1: Network,
    G: Network,
    E: Network,
    D2: Network,
    *,
    shape: tuple[int, ...],
    batch: int,
    latent: int,
    weight_mode: Number = 0.01,
) -> Game:
    """Build the game of two critics with four updates in turn: manifold (D1, then G with E), diffusion (D2, then G).

    - D1 minimises -log D1(x) - log(1 - D1(G(E(x)))).
    - G and E minimise -l log D1(G(E(x))) + |x - G(E(x))|^2, l = `weight_mode`.
    - D2 minimises -log D2(G(E(x))) - log(1 - D2(G(z))).
    - G minimises -log D2(G(z)).

    D is the sigmoid of the logit. Each is a batch mean, with the distance summed over a sample's dimensions.
    Every update has a draw of its own, and moves only its own players. So the diffusion updates leave E where
    it is, and D2's also G. Under rules that do not alternate, G minimises the sum of its two losses.

    The diffusion critic is to see G(z); the survey prints D2(z). Raises UsageError for a negative weight.
    Source: Che 2017 (Mode regularized GANs), Algorithm 1.

    >>> from steadygan.networks import mlp, mlp_encoder
    >>> nets = [Network(net) for net in (mlp((2,))[1], mlp((2,))[0], mlp_encoder((2,)), mlp((2,))[1])]
    >>> [list(turn) for turn in mdgan(*nets, shape=(2,), batch=64, latent=2).turns]
    [['D1'], ['G', 'E'], ['D2'], ['G']]
    """
    if not callable(weight_mode) and not weight_mode >= 0:
        raise UsageError(f"weight_mode must be at least 0, not {weight_mode:g}")
    manifold = partial(_manifold, weight_mode)
    players = {
        "D1": Player(D1, _manifold_critic, ("x_real",), critic=True),
        "G": Player(G, partial(_both, weight_mode), ("x_real", "z")),
        "E": Player(E, manifold, ("x_real",)),
        "D2": Player(D2, _diffusion_critic, ("x_real", "z"), critic=True),
    }
    return Game(
        players=players,
        fields={"x_real": Field("real", (batch, *shape)), "z": Field("normal", (batch, latent))},
        turns=(
            {"D1": players["D1"]},
            {"G": Player(G, manifold, ("x_real",)), "E": players["E"]},
            {"D2": players["D2"]},
            {"G": Player(G, _diffusion, ("z",))},
        ),
        critic="D2",
    )


def _manifold_critic(nets: Nets, draw: Draw, scalars: Mapping[str, Tensor]) -> tuple[Tensor, Logs]:
    D, x = nets["D1"], draw["x_real"]
    return non_saturating.discriminator(D(x), D(reconstruct(nets, x))), {}


def _manifold(weight: Number, nets: Nets, draw: Draw, scalars: Mapping[str, Tensor]) -> tuple[Tensor, Logs]:
    x_again = reconstruct(nets, draw["x_real"])
    distance = squared_distance(draw["x_real"], x_again).mean()
    missed = non_saturating.generator(nets["D1"](x_again))
    return at(weight, scalars) * missed + distance, {"reconstruction": distance}


def _diffusion_critic(nets: Nets, draw: Draw, scalars: Mapping[str, Tensor]) -> tuple[Tensor, Logs]:
    # Not detached: G(E(x)) is part of the field's Jacobian, but not of D2's own gradient.
    real_logits, fake_logits = nets["D2"](reconstruct(nets, draw["x_real"])), nets["D2"](nets["G"](draw["z"]))
    return non_saturating.discriminator(real_logits, fake_logits), {
        "logit/real": each_rank(real_logits, len(draw["x_real"])).mean(),
        "logit/fake": each_rank(fake_logits, len(draw["z"])).mean(),
    }


def _diffusion(nets: Nets, draw: Draw, scalars: Mapping[str, Tensor]) -> tuple[Tensor, Logs]:
    return non_saturating.generator(nets["D2"](nets["G"](draw["z"]))), {}


def _both(weight: Number, nets: Nets, draw: Draw, scalars: Mapping[str, Tensor]) -> tuple[Tensor, Logs]:
    """The sum of G's two losses, for rules in which all players move at once."""
    manifold, logs = _manifold(weight, nets, draw, scalars)
    diffusion, _ = _diffusion(nets, draw, scalars)
    return manifold + diffusion, {"adversarial/G": diffusion, **logs}
