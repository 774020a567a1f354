"""From a config to a run: every object that it names, made and put together."""

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from steadygan import noise, normalization
from steadygan.build import closed_form
from steadygan.build.arguments import DTYPES, make, members, number, options
from steadygan.build.critic import constraints
from steadygan.config.field_types import steps_of
from steadygan.config.registry import (
    CONSTRAINED,
    CRITICS,
    DATA,
    DYNAMICS,
    GAMES,
    GIVEN,
    LATENTS,
    LOSSES,
    NETWORKS,
    OPTIMIZERS,
    PLAYERS,
)
from steadygan.data import Data, subset
from steadygan.data.dataset import check_labels
from steadygan.errors import UsageError
from steadygan.game import Game, Network, Rule, State, optimizers
from steadygan.game.batches import Draws
from steadygan.game.state import Step, complete, initial, stack
from steadygan.game.vector_field import accumulated
from steadygan.networks import CONDITIONAL, ROLES, Classed
from steadygan.rng import generator
from steadygan.training.events import Every

if TYPE_CHECKING:
    from steadygan.config import Config

__all__ = ["Run", "build"]


class Run(NamedTuple):
    """All that a training run is made of, before it is made one program."""

    game: Game
    rule: Rule
    data: Data
    step: Step
    draws: Draws
    state: State
    members: list[dict[str, float]]  # each one's seed and swept values; a single run has one
    ensemble: bool
    latent: int  # of z; in a conditional game its first `classes` numbers are the label
    every: Every
    device: torch.device
    radius: float | None = None  # of a step at the equilibrium, for games that are solved by hand
    classes: int = 0


def build(config: "Config") -> Run:
    """Make every object that `config` names. Raises UsageError where the pieces do not fit."""
    device = _device(config.device)
    data = _data(config)
    _check_independent(config, data)
    dtype = DTYPES[config.precision]
    nets = _modules(config, data)
    classes = _classes(config, data)
    latent = classes + getattr(config.networks, "latent", 1)
    game = _game(config, data, nets, latent)
    rule = make(
        DYNAMICS, config.dynamics, "dynamics", config, game=game, optimizers=_optimizers(config, game)
    )
    decay = number(config.ema.decay, "ema.decay", config) if config.ema else 0.0
    step = complete(rule, game, decay, steps_of(config.ema.start, config.steps) if config.ema else 0)
    listed = members(config)
    ensemble = len(listed) > 1
    draws = Draws(
        game,
        rule.rounds,
        data,
        [int(m["seed"]) for m in listed],
        members=ensemble,
        dtype=dtype,
        device=device,
    )
    states = [_initial(config, data, game, rule, member, dtype) for member in listed]
    state = _moved(stack(states) if ensemble else states[0], device)
    spans = config.every.model_dump()
    closed = closed_form.closed_radius(config, game)
    every = Every(**{kind: max(1, steps_of(span, config.steps)) for kind, span in spans.items()})
    return Run(game, rule, data, step, draws, state, listed, ensemble, latent, every, device, closed, classes)


def _classes(config: "Config", data: Data) -> int:
    """How many classes the game tells apart, 0 for none. Raises UsageError where data or networks have none."""
    if not getattr(config.game, "conditional", False):
        return 0
    check_labels(data)
    if config.networks.name not in CONDITIONAL:
        raise UsageError(
            f"networks.name={config.networks.name} takes no labels: choose {' or '.join(CONDITIONAL)}, or "
            "game.conditional=false"
        )
    return data.classes


def _pair(config: "Config", data: Data) -> tuple[nn.Module, nn.Module]:
    """Generator and critic as the architecture has them, the former a function of z alone."""
    classes = _classes(config, data)
    if not classes:
        return make(NETWORKS, config.networks, "networks", config, shape=data.shape)
    G, D = make(NETWORKS, config.networks, "networks", config, shape=data.shape, classes=classes)
    return Classed(G, classes), D


def _data(config: "Config") -> Data:
    given = options(config.data, "data", config)
    flip, limit, limit_seed = given.pop("flip", False), given.pop("limit", None), given.pop("limit_seed", 0)
    return subset(DATA[config.data.name].make(**given), limit, limit_seed)._replace(flip=flip)


def _check_independent(config: "Config", data: Data) -> None:
    """Raise UsageError where samples that hang together are debiased as if each were drawn alone."""
    strata = data.rows is None and getattr(config.data, "stratified", False)
    if strata and getattr(config.dynamics, "debiased", False):
        raise UsageError(
            "dynamics.debiased takes out the noise of samples that are drawn independently, and stratified ones "
            "take the modes in turn: use data.stratified=false, or dynamics.debiased=false"
        )


def _modules(config: "Config", data: Data) -> dict[str, nn.Module]:
    """Each player's network, by its role, with noise in its hidden layers and a critic's weights normalized."""
    pair = dict(zip(("generator", "critic"), _pair(config, data)))
    made: dict[str, nn.Module] = {}
    for name, role in PLAYERS[config.game.name].items():
        net = pair.pop(role) if role in pair else _module(role, config, data)
        if role in CRITICS and config.critic.normalization.name == "spectral_normalized":
            normalization.check_no_zero_weights(net)
            net = normalization.spectral_normalized(net)
        std = config.noise.G if role == "generator" else config.noise.D if role in CRITICS else 0
        made[name] = noise.noisy_layers(net, std) if std else net
        if role == "generator" and config.game.name in LATENTS:
            law = LATENTS[config.game.name](**_given(config, role))
            made[name] = nn.Sequential(law, made[name])
    return made


def _given(config: "Config", role: str) -> dict[str, Any]:
    """What a role's network is given of the game's options."""
    return {key: getattr(config.game, key) for key in GIVEN.get((config.game.name, role), ())}


def _module(role: str, config: "Config", data: Data) -> nn.Module:
    """A network of any role. Raises UsageError where the chosen architecture has none of it."""
    if role == "critic":  # a second one
        return _pair(config, data)[1]
    makers = ROLES[role]
    if config.networks.name not in makers:
        raise UsageError(
            f"the game {config.game.name} needs a network in the role of {role}, which "
            f"networks.name={config.networks.name} has not: choose {' or '.join(makers)}"
        )
    given = {**options(config.networks, "networks", config), **_given(config, role)}
    return makers[config.networks.name](data.shape, **given)


def _game(config: "Config", data: Data, nets: dict[str, nn.Module], latent: int) -> Game:
    autocast = torch.bfloat16 if config.precision == "bfloat16" else None
    layout = (
        config.channels_last and len(members(config)) == 1
    )  # vmap knows no memory formats, and needs none
    wrapped = {name: Network(net, autocast, layout) for name, net in nets.items()}
    if closed_form.is_bare(config):
        return make(GAMES, config.game, "game", config, **wrapped)
    game = options(config.game, "game", config)
    if hasattr(config.game, "loss"):
        game["loss"] = make(LOSSES, config.game.loss, "game.loss", config)
    if game.pop("conditional", False):
        game["classes"] = data.classes
    if game.get("batch_G"):
        game["batch_G"] = _part(config, game["batch_G"], "game.batch_G")
    if config.game.name in CONSTRAINED:
        game |= constraints(config, data, nets["D"], labels=bool(_classes(config, data)))
    elif not closed_form.is_plain(config) or config.critic.penalties or config.critic.clip:
        raise UsageError(
            f"the game {config.game.name} takes none of critic, augment, noise and fake_as_real: leave them out"
        )
    made = GAMES[config.game.name].make(
        **wrapped, **game, shape=data.shape, batch=_part(config, config.batch, "batch"), latent=latent
    )
    made = accumulated(made, config.accumulate)
    return (
        made._replace(rest=closed_form.dirac_rest(config, made)) if config.networks.name == "dirac" else made
    )


def _part(config: "Config", batch: int, key: str) -> int:
    """The rows of a part of a batch, whose gradients are added up."""
    if batch % config.accumulate:
        raise UsageError(
            f"accumulate={config.accumulate} does not divide the {key} of {batch}: choose one that does"
        )
    return batch // config.accumulate


def _optimizers(config: "Config", game: Game) -> dict[str, optimizers.Optimizer]:
    chosen = config.optimizer
    if not isinstance(chosen, dict):
        one = make(OPTIMIZERS, chosen, "optimizer", config)
        return dict.fromkeys(game.players, one)
    if set(chosen) != set(game.players):
        raise UsageError(
            f"optimizer names {', '.join(chosen)}, but the players are {', '.join(game.players)}"
        )
    return {name: make(OPTIMIZERS, part, f"optimizer.{name}", config) for name, part in chosen.items()}


def _initial(
    config: "Config", data: Data, game: Game, rule: Rule, member: dict[str, float], dtype: torch.dtype
) -> State:
    """One member's state, its networks initialised from its own seed."""
    with torch.random.fork_rng(devices=[]):
        torch.random.set_rng_state(generator(int(member["seed"]), "init").get_state())
        modules = _modules(config, data)
    swept: dict[str, float] = {path: v for path, v in member.items() if path != "seed"}
    return initial(
        modules,
        _optimizers(config, game),
        ("G",) if config.ema else (),
        {**game.scalars, **swept},
        dtype,
        rule,
    )


def _moved(state: State, device: torch.device) -> State:
    def move(tree: Any) -> Any:
        return (
            tree.to(device) if isinstance(tree, Tensor) else {key: move(part) for key, part in tree.items()}
        )

    return State(*(move(part) for part in state))


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        if torch.device(name).type not in ("cpu", "cuda", "mps", "xpu"):
            raise RuntimeError("it computes nothing")
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"device {name!r} cannot be used here ({str(error).splitlines()[0]}): try device=cpu"
        ) from None
    return torch.device(name)
