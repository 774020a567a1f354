"""BEGAN, the boundary equilibrium GAN: an autoencoding critic whose losses on data and fakes keep a fixed ratio."""

from collections.abc import Mapping
from functools import partial

from torch import Tensor

from steadygan.energies import balance, began_discriminator, convergence, mean_error
from steadygan.errors import UsageError
from steadygan.game import Draw, Field, Game, Logs, Nets, Network, Player
from steadygan.schedules import Number, Scalars, at

__all__ = ["began"]

K, M = "began/k", "convergence"
"""Scalars that the game keeps in the state: the weight of the fakes in D's loss, and the convergence measure."""


def began(
    G: Network,
    D: Network,
    *,
    gamma: Number = 0.5,
    rate: Number = 0.001,
    eta: Number = 1.0,
    shape: tuple[int, ...],
    batch: int,
    latent: int,
) -> Game:
    """Build the BEGAN game of L(v), the mean of |v - D(v)|^eta, with D: x -> (reconstruction, code).

    D minimises L(x) - k L(G(z_D)), G minimises L(G(z_G)). k starts at 0, and after each step becomes
    `clip_[0,1](k + rate (gamma L(x) - L(G(z_G))))`. The logs have `began/k`, and M = L(x) + |gamma L(x) -
    L(G(z_G))| of the same step as `convergence`. Latents are N(0, I) as everywhere. For the paper's U[-1, 1],
    start G with `networks.Uniform`.

    Raises UsageError for gamma outside [0, 1], a rate below 0 or eta below 1. Source: Berthelot 2017, section
    3.4.

    >>> from steadygan.networks import mlp, mlp_autoencoder
    >>> G, D = Network(mlp((2,))[0]), Network(mlp_autoencoder((2,)))
    >>> began(G, D, shape=(2,), batch=64, latent=2).scalars
    {'began/k': 0.0, 'convergence': 0.0}
    """
    _within("gamma", gamma, 0, 1)
    _within("rate", rate, 0)
    _within("eta", eta, 1)
    fields = {"x_real": Field("real", (batch, *shape)), "z": Field("normal", (batch, latent))}
    return Game(
        players={
            "D": Player(D, partial(_discriminator, eta), ("x_real", "z"), critic=True),
            "G": Player(G, partial(_generator, eta), ("z",)),
        },
        fields=fields,
        scalars={K: 0.0, M: 0.0},
        adapt=partial(_adapt, gamma, rate),
        critic=None,
    )


def _within(name: str, number: Number, low: float, high: float = float("inf")) -> None:
    if not callable(number) and not low <= number <= high:
        bounds = f"at least {low}" if high == float("inf") else f"between {low} and {high}"
        raise UsageError(f"BEGAN's {name} must be {bounds}, not {number}: choose another game.{name}")


def _discriminator(eta: Number, nets: Nets, draw: Draw, scalars: Scalars) -> tuple[Tensor, Logs]:
    x_real, x_fake, power = draw["x_real"], nets["G"](draw["z"]), at(eta, scalars)
    real, fake = (mean_error(nets["D"](x)[0], x, power) for x in (x_real, x_fake))
    logs = {"energy/real": real.mean(), "energy/fake": fake.mean()}
    return began_discriminator(real, fake, scalars[K]), logs


def _generator(eta: Number, nets: Nets, draw: Draw, scalars: Scalars) -> tuple[Tensor, Logs]:
    x_fake = nets["G"](draw["z"])
    return mean_error(nets["D"](x_fake)[0], x_fake, at(eta, scalars)).mean(), {}


def _adapt(
    gamma: Number, rate: Number, scalars: Mapping[str, Tensor], logs: Logs, repeats: int
) -> dict[str, Tensor]:
    ratio, real, fake = at(gamma, scalars), logs["energy/real"], logs["loss/G"]
    return {
        K: balance(scalars[K], real, fake, ratio, at(rate, scalars)),
        M: convergence(real, fake, ratio),
    }
