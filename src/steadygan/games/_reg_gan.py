"""Reg-GAN, the regularized GAN: an encoder finds the latent of every real sample, and G learns to reconstruct it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from steadygan.errors import UsageError
from steadygan.game import Draw, Game, Logs, Nets, Network, Player
from steadygan.games._gan import bufferless, gan
from steadygan.games.critic_view import PLAIN, View
from steadygan.losses import Loss, non_saturating
from steadygan.schedules import Number, at

__all__ = ["reconstruct", "reg_gan", "squared_distance"]


def reg_gan(
    G: Network,
    D: Network,
    E: Network,
    loss: Loss,
    *,
    weight_distance: Number = 0.2,
    weight_mode: Number = 0.4,
    paper_sign: bool = False,
    view: View = PLAIN,
    cheap: bool = False,
    **constraints: Any,
) -> Game:
    """Build the game: `gan`'s, plus a term that G shares with an encoder E (x [N, ...] -> z [N, latent]).

    T_E = E[l1 |x - G(E(x))|^2 - l2 log sigmoid(D(G(E(x))))], T_G = loss.generator + T_E. D's loss is `gan`'s.

    l1 is `weight_distance`, l2 `weight_mode`. The distance is summed over a sample's dimensions. The paper
    prints + l2 log D. Minimised, that asks for reconstructions that D calls fake. `paper_sign` selects it.
    All arguments of `gan` are accepted here, but for `classes`.

    The term sees D as G's loss does: through `view` with the fakes' noise and augmentation of the draw, and
    on the tangent plane where `cheap` is set. It is log sigmoid whatever the loss. Raises UsageError for a
    negative weight, and as `gan` does. Source: Che 2017 (Mode regularized GANs), section 3.1.

    >>> from steadygan.networks import mlp, mlp_encoder
    >>> nets = [Network(net) for net in (*mlp((2,)), mlp_encoder((2,)))]
    >>> list(reg_gan(*nets, non_saturating, shape=(2,), batch=64, latent=2).players)
    ['D', 'G', 'E']
    """
    for name, weight in (("weight_distance", weight_distance), ("weight_mode", weight_mode)):
        if not callable(weight) and not weight >= 0:
            raise UsageError(
                f"{name} must be at least 0, not {weight:g}: paper_sign=true changes the sign of weight_mode"
            )
    if constraints.get("classes"):
        raise UsageError(
            "reg_gan has no classes, because E gives a sample's latent without its label: leave them out, or choose gan"
        )
    game = gan(G, D, loss, view=view, cheap=cheap, **constraints)
    sign = -1.0 if paper_sign else 1.0
    bracket = partial(
        _bracket, _Weights(weight_distance, weight_mode, sign), view, cheap and bufferless(D.module)
    )
    reads = tuple(name for name in game.fields if name in ("x_real", "instance/fake", "augment/fake"))
    own = game.players["G"]
    both = tuple(name for name in game.fields if name in {*own.reads, *reads})
    players = {
        **game.players,
        "G": own._replace(loss=partial(_generator, own, bracket), reads=both),
        "E": Player(E, bracket, reads),
    }
    return game._replace(players=players)


@dataclass(frozen=True)
class _Weights:
    distance: Number
    mode: Number
    sign: float  # 1 is for reconstructions that D takes for real


def _bracket(
    weights: _Weights, view: View, cheap: bool, nets: Nets, draw: Draw, scalars: Mapping[str, Tensor]
) -> tuple[Tensor, Logs]:
    x_again = reconstruct(nets, draw["x_real"])
    distance = squared_distance(draw["x_real"], x_again).mean()
    critic = view.critic(nets["D"], "fake", draw, scalars, cheap=cheap)
    missed = non_saturating.generator(critic(view.samples(x_again, "fake", draw, scalars)))  # -log D
    total = at(weights.distance, scalars) * distance + weights.sign * at(weights.mode, scalars) * missed
    return total, {"reconstruction": distance}


def _generator(
    own: Player, bracket: Any, nets: Nets, draw: Draw, scalars: Mapping[str, Tensor]
) -> tuple[Tensor, Logs]:
    total, logs = own.loss(nets, draw, scalars)
    more, new = bracket(nets, draw, scalars)
    return total + more, {"adversarial/G": total, **logs, **new}


def reconstruct(nets: Nets, x_real: Tensor) -> Tensor:
    """Return G(E(x)) [N, ...] at x [N, ...]."""
    return nets["G"](nets["E"](x_real))


def squared_distance(x: Tensor, y: Tensor) -> Tensor:
    """Return |x - y|^2 [N] of samples [N, ...]: a sum over all dimensions, no root and no 1/2.

    >>> import torch
    >>> squared_distance(torch.zeros(2, 1, 2), torch.tensor([[[3.0, 4.0]], [[0.0, 1.0]]]))
    tensor([25.,  1.])
    """
    return (x - y).square().flatten(1).sum(1)
