"""Consistency terms of a game: the critic should give a sample and its slightly changed copy the same logit."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

from steadygan import consistency
from steadygan.critic_outputs import Logits
from steadygan.game import Draw, Field
from steadygan.penalties import Critic
from steadygan.schedules import Number, at

__all__ = ["MOVES", "Agreement", "Seen", "bcr", "cr", "zcr"]

Scalars = Mapping[str, Tensor]


class Seen(NamedTuple):
    """One side's samples [N, ...] with their instance noise, the critic as it sees them, and its logits there.

    `noisy` gives other samples of that side the same noise.
    """

    x: Tensor
    critic: Critic
    logits: Logits
    noisy: Callable[[Tensor], Tensor]


class Move(NamedTuple):
    """A small change of samples: `apply(x, u)`, and the kind and shape (a sample's) of the random numbers u."""

    apply: Callable[[Tensor, Tensor], Tensor]
    kind: str
    shape: Callable[[tuple[int, ...]], tuple[int, ...]]
    images: bool


MOVES = {
    "flip_and_shift": Move(consistency.flip_and_shift, "uniform", lambda shape: (3,), images=True),
    "jitter": Move(consistency.jitter, "normal", lambda shape: shape, images=False),
}
"""Changes that leave a sample what it is: of images, and of points."""


class Agreement(NamedTuple):
    """A consistency term: what it needs of a draw, and what it adds to each player's loss.

    `fields(shape, batch, latent)`; `D(real, fake, G, draw, scalars)`; `G(x_fake, G, draw, scalars)` or None.
    `images` says that its change of samples works on images only.
    """

    name: str
    fields: Callable[[tuple[int, ...], int, int], dict[str, Field]]
    D: Callable[[Seen, Seen, Critic, Draw, Scalars], Tensor]
    G: Callable[[Tensor, Critic, Draw, Scalars], Tensor] | None = None
    images: bool = False


def cr(weight: Number = 10.0, move: str = "flip_and_shift") -> Agreement:
    """Consistency regularization on real samples (CR-GAN).

    Source: Zhang 2020.

    >>> cr(10.0, "jitter").fields((2,), batch=64, latent=2)["move/real"].shape
    (64, 2)
    """
    return _balanced("cr", {"real": weight}, MOVES[move])


def bcr(weight: Number = 10.0, weight_fake: Number = 10.0, move: str = "flip_and_shift") -> Agreement:
    """Balanced consistency regularization, on real and on generated samples (bCR).

    Source: Zhao 2021.

    >>> list(bcr(move="jitter").fields((2,), batch=64, latent=2))
    ['move/real', 'move/fake']
    """
    return _balanced("bcr", {"real": weight, "fake": weight_fake}, MOVES[move])


def _balanced(name: str, weights: Mapping[str, Number], move: Move) -> Agreement:
    def fields(shape: tuple[int, ...], batch: int, latent: int) -> dict[str, Field]:
        return {f"move/{side}": Field(move.kind, (batch, *move.shape(shape))) for side in weights}

    def D(real: Seen, fake: Seen, G: Critic, draw: Draw, scalars: Scalars) -> Tensor:
        total = real.x.new_zeros(())
        for side, seen in (("real", real), ("fake", fake)):
            if side in weights:
                moved = seen.critic(move.apply(seen.x, draw[f"move/{side}"]))
                total = total + at(weights[side], scalars) * consistency.disagreement(seen.logits, moved)
        return total

    return Agreement(name, fields, D, images=move.images)


def zcr(weight: Number = 5.0, weight_G: Number = 0.5, sigma: float = 0.03) -> Agreement:
    """Latent consistency regularization (zCR): D agrees on G(z) and G(z + sigma e), and G makes them differ.

    Source: Zhao 2021.

    >>> zcr().fields((2,), batch=64, latent=8)["z_step"].shape
    (64, 8)
    """

    def fields(shape: tuple[int, ...], batch: int, latent: int) -> dict[str, Field]:
        return {"z_step": Field("normal", (batch, latent))}

    def near(G: Critic, draw: Draw) -> Tensor:
        return G(draw["z"] + sigma * draw["z_step"])

    def D(real: Seen, fake: Seen, G: Critic, draw: Draw, scalars: Scalars) -> Tensor:
        return at(weight, scalars) * consistency.disagreement(
            fake.logits, fake.critic(fake.noisy(near(G, draw)))
        )

    def loss_G(x_fake: Tensor, G: Critic, draw: Draw, scalars: Scalars) -> Tensor:
        return at(weight_G, scalars) * consistency.zcr_generator(x_fake, near(G, draw))

    return Agreement("zcr", fields, D, loss_G)
