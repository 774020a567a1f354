"""InfoGAN, the information maximizing GAN: codes in the latent, and a third player that reads them from samples."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from steadygan import information
from steadygan.errors import UsageError
from steadygan.game import Draw, Game, Logs, Loss, Nets, Network, Player
from steadygan.games._gan import gan
from steadygan.losses import Loss as Objective
from steadygan.networks.code_critic import logits_of
from steadygan.networks.latent_codes import blocks, check_codes, coded
from steadygan.schedules import Number, at

__all__ = ["infogan"]


def infogan(
    G: Network,
    D: Network,
    Q: Network,
    loss: Objective,
    *,
    shape: tuple[int, ...],
    batch: int,
    latent: int,
    categorical: Sequence[int] = (10,),
    continuous: int = 2,
    weight: Number = 1.0,
    **constraints: Any,
) -> Game:
    """Build the game: D and G minimise what they do in `gan`, plus `weight` L_I. Q minimises L_I.

    L_I = -(E log Q(c | G(z)) + H(c)). It is the negative of a lower bound of the mutual information I(c;
    G(z)), in nats, with c = `coded`(z). `categorical` holds class counts (cross-entropy). `continuous` counts
    codes uniform on [-1, 1], for which Q is a Gaussian of standard deviation 1.

    D returns (logits, features), and Q takes features. So they share D's trunk, which D trains for both, as
    the reference implementation's discriminator loss does. Q moves its own head alone, together with D. G
    begins with `networks.Codes` of the same codes.

    The logs `information`, `information/categorical` and `information/continuous` are the bound and its
    parts. `constraints` are those of `gan` and apply to D's logits. Q reads samples without noise or
    augmentation. Raises UsageError where there is no code or `latent` is too small, and what `gan` raises.
    Source: Chen 2016, Eqns 3 to 6; openai/InfoGAN, infogan_trainer.py.

    >>> from functools import partial
    >>> from steadygan.losses import non_saturating
    >>> from steadygan.networks import code_head, informed_critic, mlp
    >>> G, D = mlp((2,), latent=12)[0], informed_critic(mlp, (2,))
    >>> nets = [Network(net) for net in (G, D, code_head(mlp, (2,), [8], 0))]
    >>> list(infogan(*nets, non_saturating, shape=(2,), batch=64, latent=12, categorical=[8], continuous=0).players)
    ['D', 'G', 'Q']
    """
    codes = _Codes(tuple(categorical), continuous)
    _check(codes, latent)
    if constraints.get("matching"):
        raise UsageError(
            "infogan has no feature matching, because G and Q share D's pass: leave critic.feature_matching out, or "
            "choose the game gan"
        )
    if constraints.get("batch_G"):
        raise UsageError(
            "infogan has no batch_G, because G and Q read the codes of D's batch: leave it out, or choose the game gan"
        )
    base = gan(G, D, loss, shape=shape, batch=batch, latent=latent, **constraints)
    players = {
        name: player._replace(loss=partial(_with_information, name, player.loss, weight, codes))
        for name, player in base.players.items()
    }
    players["Q"] = Player(Q, partial(_reader, codes), ("z",), critic=True)
    return base._replace(players=players)


@dataclass(frozen=True)
class _Codes:
    """Which of a latent's numbers are codes."""

    categorical: tuple[int, ...]
    continuous: int


def _check(codes: _Codes, latent: int) -> None:
    need = sum(codes.categorical) + codes.continuous
    check_codes(codes.categorical, codes.continuous)
    if latent < need:
        raise UsageError(
            f"networks.latent is {latent}, but the codes alone take {need} numbers (one per class, one per "
            f"continuous code): choose at least {need}, more for noise beside them"
        )


def _with_information(
    name: str,
    base: Loss,
    weight: Number,
    codes: _Codes,
    nets: Nets,
    draw: Draw,
    scalars: Mapping[str, Tensor],
) -> tuple[Tensor, Logs]:
    """A player's loss in the two-player game, where the critic is D's logits, plus weight * L_I."""
    z = draw["z"]
    x_fake = nets["G"](z)
    logits, features = nets["D"](x_fake)
    known = {
        "G": partial(_unless, z, x_fake, nets["G"]),
        "D": partial(_unless, x_fake, logits, logits_of(nets["D"])),
    }
    total, logs = base({**nets, **known}, draw, scalars)
    bound = sum(_bounds(codes, nets["Q"](features), z).values())
    return total - at(weight, scalars) * bound, {f"adversarial/{name}": total, **logs}


def _reader(codes: _Codes, nets: Nets, draw: Draw, scalars: Mapping[str, Tensor]) -> tuple[Tensor, Logs]:
    """L_I, which Q minimises, with the bound in the logs. Q takes only the gradient of its own head."""
    _, features = nets["D"](nets["G"](draw["z"]))
    bounds = _bounds(codes, nets["Q"](features), draw["z"])
    bound = sum(bounds.values(), draw["z"].new_zeros(()))
    return -bound, {"information": bound, **{f"information/{kind}": part for kind, part in bounds.items()}}


def _bounds(codes: _Codes, answer: Tensor, z: Tensor) -> dict[str, Tensor]:
    """The bound of I(c; G(z)) by kind of code, from Q's answers [N, codes] to the samples of z [N, latent]."""
    sizes = codes.categorical, codes.continuous
    *guesses, means, _ = blocks(answer, *sizes)
    *classes, numbers, _ = blocks(coded(z, *sizes), *sizes)
    found = {}
    if classes:
        terms = [
            information.categorical(guess, code).mean() for guess, code in zip(guesses, classes, strict=True)
        ]
        found["categorical"] = sum(terms[1:], terms[0])
    if codes.continuous:
        found["continuous"] = information.continuous(means, numbers).mean()
    return found


def _unless(at: Tensor, answer: Tensor, net: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`net`(x), or the known `answer` where x is the very tensor `at` that it belongs to."""
    return answer if x is at else net(x)
