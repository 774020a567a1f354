"""EBGAN, the energy-based GAN: the critic is an autoencoder, and a sample's reconstruction error is its energy."""

from functools import partial

from torch import Tensor

from steadygan.energies import distance, ebgan_discriminator
from steadygan.errors import UsageError
from steadygan.game import Draw, Field, Game, Logs, Nets, Network, Player
from steadygan.losses import pull_away as pulled_away
from steadygan.schedules import Number, Scalars, at

__all__ = ["ebgan"]


def ebgan(
    G: Network,
    D: Network,
    *,
    margin: Number,
    pull_away: Number = 0.0,
    shape: tuple[int, ...],
    batch: int,
    latent: int,
) -> Game:
    """Build the game of energies e(x) = |Dec(Enc(x)) - x|, with D: x -> (reconstruction, code [N, c]).

    D minimises mean e(x) + mean max(0, margin - e(G(z))). G minimises mean e(G(z)) + pull_away PT, with PT
    the pull-away term of the fakes' codes. The norm is over all dimensions of a sample. So a margin depends
    on the data's size and number of dimensions.

    Raises UsageError for a margin that is not positive, a weight below 0, or pull-away in a batch of one.
    Source: Zhao 2017, Eqns 1 and 2, sections 2.3 and 2.4.

    >>> from steadygan.networks import mlp, mlp_autoencoder
    >>> G, D = Network(mlp((2,))[0]), Network(mlp_autoencoder((2,)))
    >>> list(ebgan(G, D, margin=1.0, shape=(2,), batch=64, latent=2).players)
    ['D', 'G']
    """
    if not callable(margin) and not margin > 0:
        raise UsageError(f"EBGAN's margin must be positive, not {margin}: choose game.margin above 0")
    if not callable(pull_away) and not pull_away >= 0:
        raise UsageError(f"the weight of the pull-away term must be at least 0, not {pull_away}")
    pulls = callable(pull_away) or pull_away > 0
    if pulls and batch < 2:
        raise UsageError("the pull-away term compares the fakes of a batch: choose batch at least 2")
    fields = {"x_real": Field("real", (batch, *shape)), "z": Field("normal", (batch, latent))}
    return Game(
        players={
            "D": Player(D, partial(_discriminator, margin), ("x_real", "z"), critic=True),
            "G": Player(G, partial(_generator, pull_away if pulls else None, batch), ("z",)),
        },
        fields=fields,
        critic=None,
    )


def _discriminator(margin: Number, nets: Nets, draw: Draw, scalars: Scalars) -> tuple[Tensor, Logs]:
    x_real, x_fake = draw["x_real"], nets["G"](draw["z"])
    real, fake = (distance(nets["D"](x)[0], x) for x in (x_real, x_fake))
    logs = {"energy/real": real.mean(), "energy/fake": fake.mean()}
    return ebgan_discriminator(real, fake, at(margin, scalars)), logs


def _generator(
    weight: Number | None, batch: int, nets: Nets, draw: Draw, scalars: Scalars
) -> tuple[Tensor, Logs]:
    x_fake = nets["G"](draw["z"])
    reconstruction, codes = nets["D"](x_fake)
    total = distance(reconstruction, x_fake).mean()
    if weight is None:
        return total, {}
    pulled = pulled_away(codes, batch)
    return total + at(weight, scalars) * pulled, {"adversarial/G": total, "pull_away": pulled}
