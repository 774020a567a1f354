"""The networks of a game's players, with noise in hidden layers and spectral normalization."""

from collections.abc import Mapping

from torch import nn

from steadygan import noise, normalization
from steadygan.build.own import NOTHING, Own, own_modules
from steadygan.config.records import Choice, make
from steadygan.config.registry import CRITICS, GAMES, NETWORKS
from steadygan.config.resolve import HiddenNoise
from steadygan.critic_outputs import Reduction
from steadygan.data.dataset import Data, check_labels
from steadygan.errors import UsageError, nearest
from steadygan.networks import Classed

__all__ = ["class_count", "frozen", "modules", "weighted_layers"]


def modules(
    game: Choice,
    networks: Choice,
    data: Data,
    classes: int,
    hidden_noise: HiddenNoise,
    own: Own = NOTHING,
    *,
    spectral: bool,
    reduce: Reduction | None = "mean",
) -> dict[str, nn.Module]:
    """A newly initialised network for each player. With `spectral`, critics get spectral normalization.

    Raises UsageError if the chosen architecture has no network for a role, or does not fit the data.
    """
    part = GAMES[game.name]
    made: dict[str, nn.Module] = {}
    for name, net in _networks(game, networks, data, classes, own, reduce).items():
        role = part.players[name]
        if role in CRITICS and spectral:
            normalization.check_no_zero_weights(net)
            net = normalization.spectral_normalized(net)
        std = hidden_noise.G if role == "generator" else hidden_noise.D if role in CRITICS else 0
        made[name] = noise.noisy_layers(net, std) if std else net
        if role == "generator" and part.latent_law:
            made[name] = nn.Sequential(part.latent_law(**_given(game, role)), made[name])
    return made


def _networks(
    game: Choice, networks: Choice, data: Data, classes: int, own: Own, reduce: Reduction | None
) -> dict[str, nn.Module]:
    """The network of each player: the caller's own, or those of the architecture."""
    roles = GAMES[game.name].players
    if networks.name == "own" and own.networks:
        return own_modules(own, roles, data, classes, networks.options["latent"], reduce)
    pair = dict(zip(("generator", "critic"), _pair(networks, data, classes)))
    return {
        name: pair.pop(role) if role in pair else _of_role(role, game, networks, data, classes)
        for name, role in roles.items()
    }


def frozen(nets: dict[str, nn.Module], layers: Mapping[str, int]) -> dict[str, nn.Module]:
    """The networks, of which training does not change the first layers: `layers` has the numbers by player.

    Counted are layers with a weight of at least two dimensions, in the order in which the network holds them. What
    lies before the last of them is fixed too (its biases, a norm's gains). Raises UsageError for an unknown player,
    and where nothing of a player would be left to train. Source: Mo 2020 (FreezeD).

    >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    >>> [p.requires_grad for p in frozen({"D": net}, {"D": 1})["D"].parameters()]
    [False, False, True, True]
    """
    for player, count in layers.items():
        if player not in nets:
            raise UsageError(f"freeze.{player}: {nearest(player, nets)}")
        owned, weighted = _by_layer(nets[player]), weighted_layers(nets[player])
        if count >= len(weighted):
            raise UsageError(
                f"freeze.{player}={count} leaves nothing of {player} to train, which has {len(weighted)} layers: "
                f"choose at most {len(weighted) - 1}"
            )
        first = list(owned)[: list(owned).index(weighted[count - 1]) + 1] if count else []
        for parameter in (p for name in first for p in owned[name]):
            parameter.requires_grad_(False)
    return nets


def weighted_layers(net: nn.Module) -> list[str]:
    """The names of the layers with a weight of at least two dimensions, in the order in which the network holds them.

    >>> weighted_layers(nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.Linear(3, 1)))
    ['0', '2']
    """
    return [name for name, parts in _by_layer(net).items() if any(p.ndim > 1 for p in parts)]


def _by_layer(net: nn.Module) -> dict[str, list[nn.Parameter]]:
    """The parameters of each layer, by the layer's name. Those of a parametrization are its layer's."""
    found: dict[str, list[nn.Parameter]] = {}
    for name, parameter in net.named_parameters():
        layer = (
            name.partition("parametrizations.")[0].rstrip(".")
            if "parametrizations." in name
            else name.rpartition(".")[0]
        )
        found.setdefault(layer, []).append(parameter)
    return found


def class_count(game: Choice, networks: Choice, data: Data) -> int:
    """The number of classes of a conditional game, else 0. Raises UsageError if data or networks have no labels."""
    if not game.options.get("conditional", False):
        return 0
    check_labels(data)
    if not NETWORKS[networks.name].conditional:
        able = " or ".join(name for name, part in NETWORKS.items() if part.conditional)
        raise UsageError(
            f"networks.name={networks.name} does not take labels: choose {able}, or set game.conditional=false"
        )
    return data.classes


def _pair(networks: Choice, data: Data, classes: int) -> tuple[nn.Module, nn.Module]:
    """Generator and critic of the architecture. In a conditional game the generator gets the label as part of z."""
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
            f"the game {game.name} needs a network for the role {role}, which networks.name={networks.name} lacks: "
            f"choose {able}"
        )
    return makers[role](data.shape, **networks.options, **_given(game, role))


def _given(game: Choice, role: str) -> dict[str, object]:
    """The options of the game that the network of a role takes."""
    return {key: game.options[key] for key in GAMES[game.name].given.get(role, ())}
