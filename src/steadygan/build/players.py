"""The players' networks: of the roles that a game has, with noise in hidden layers and spectral normalization."""

from torch import nn

from steadygan import noise, normalization
from steadygan.config.records import Choice, make
from steadygan.config.registry import CRITICS, GAMES, NETWORKS
from steadygan.config.resolve import HiddenNoise
from steadygan.data.dataset import Data, check_labels
from steadygan.errors import UsageError
from steadygan.networks import Classed

__all__ = ["class_count", "modules"]


def modules(
    game: Choice, networks: Choice, data: Data, classes: int, hidden_noise: HiddenNoise, *, spectral: bool
) -> dict[str, nn.Module]:
    """Each player's network, freshly initialised; with `spectral` the weights of critics are normalized.

    Raises UsageError where the chosen architecture has no network of a role, or does not take the data.
    """
    part = GAMES[game.name]
    pair = dict(zip(("generator", "critic"), _pair(networks, data, classes)))
    made: dict[str, nn.Module] = {}
    for name, role in part.players.items():
        net = pair.pop(role) if role in pair else _of_role(role, game, networks, data, classes)
        if role in CRITICS and spectral:
            normalization.check_no_zero_weights(net)
            net = normalization.spectral_normalized(net)
        std = hidden_noise.G if role == "generator" else hidden_noise.D if role in CRITICS else 0
        made[name] = noise.noisy_layers(net, std) if std else net
        if role == "generator" and part.latent_law:
            made[name] = nn.Sequential(part.latent_law(**_given(game, role)), made[name])
    return made


def class_count(game: Choice, networks: Choice, data: Data) -> int:
    """How many classes the game tells apart, 0 for none. Raises UsageError where data or networks have none."""
    if not game.options.get("conditional", False):
        return 0
    check_labels(data)
    if not NETWORKS[networks.name].conditional:
        able = " or ".join(name for name, part in NETWORKS.items() if part.conditional)
        raise UsageError(
            f"networks.name={networks.name} takes no labels: choose {able}, or game.conditional=false"
        )
    return data.classes


def _pair(networks: Choice, data: Data, classes: int) -> tuple[nn.Module, nn.Module]:
    """Generator and critic as the architecture has them, the former a function of z alone."""
    if not classes:
        return make(NETWORKS, networks, shape=data.shape)
    G, D = make(NETWORKS, networks, shape=data.shape, classes=classes)
    return Classed(G, classes), D


def _of_role(role: str, game: Choice, networks: Choice, data: Data, classes: int) -> nn.Module:
    if role == "critic":  # a second one
        return _pair(networks, data, classes)[1]
    makers = NETWORKS[networks.name].roles
    if role not in makers:
        able = " or ".join(name for name, part in NETWORKS.items() if role in part.roles)
        raise UsageError(
            f"the game {game.name} needs a network in the role of {role}, which networks.name={networks.name} has not: "
            f"choose {able}"
        )
    return makers[role](data.shape, **networks.options, **_given(game, role))


def _given(game: Choice, role: str) -> dict[str, object]:
    """What a role's network is given of the game's options."""
    return {key: game.options[key] for key in GAMES[game.name].given.get(role, ())}
