"""Build a run from a configuration: make every object that it names and put them together."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map

from steadygan.build import closed_form
from steadygan.build.critic import constraints
from steadygan.build.own import NOTHING, Own, counting, size, unseeded
from steadygan.build.players import class_count, frozen, modules
from steadygan.build.sizes import check_size
from steadygan.config import Config
from steadygan.config.records import Choice, make
from steadygan.config.registry import DATA, DYNAMICS, GAMES, LOSSES, OPTIMIZERS
from steadygan.config.resolve import Resolved, resolve
from steadygan.data.dataset import Data, subset
from steadygan.data.seeding import seeded_globals
from steadygan.errors import UsageError
from steadygan.files import memory
from steadygan.game import Draw, Draws, Game, Logs, Network, Player, Rule, State, Step
from steadygan.game.optimizers import Optimizer
from steadygan.game.state import complete, initial, stack
from steadygan.game.vector_field import accumulated
from steadygan.losses import Loss
from steadygan.networks.layout import suits_channels_last
from steadygan.parallel import processes
from steadygan.penalties import PAIRED
from steadygan.rng import generator
from steadygan.training.events import Every, Stop

__all__ = ["Fill", "Run", "build"]


class Run(NamedTuple):
    """All parts of a training run, before its step is vectorised and compiled."""

    game: Game
    rule: Rule
    data: Data
    step: Step
    draws: Draws
    state: State
    members: list[
        dict[str, float]
    ]  # the seed and the swept values of each member; a single run has one member
    ensemble: bool
    latent: int  # dimension of z, whose first `classes` numbers are the label in a conditional game
    every: Every
    device: torch.device
    radius: float | None = None  # spectral radius of a step at the equilibrium, for toy games
    classes: int = 0
    stop: Stop | None = None
    eager: str = ""  # why the step cannot be compiled, in a sentence; empty where it can


Fill = Callable[[int, dict[str, nn.Module]], None]
"""Puts weights into the new networks of one member, given its number."""


def build(config: Config, own: Own = NOTHING, fill: Fill | None = None) -> Run:
    """Build every object that `config` names. Raises UsageError if the parts do not fit each other.

    `own` has the objects for which `config` says `own`. `fill` may replace the initial weights, from which the
    optimizers' moments then start.
    """
    parts = resolve(config)
    closed_form.check_bare(parts.game.name, parts.networks.name, parts.data.name)
    data = _data(parts.data, own)
    _check_independent(data, parts)
    classes = class_count(parts.game, parts.networks, data)
    latent = classes + size(parts.networks.options.get("latent", 1))
    fresh = _maker(parts, data, classes, own)
    made = fresh()
    eager = _reason_to_stay_eager(parts, made, data, classes, latent) if parts.networks.name == "own" else ""
    ensemble, averaged = len(parts.members) > 1, ("G",) if parts.ema else ()
    game = _whole_game(parts, made, data, classes, latent, own.loss)
    optimizers = _optimizers(parts.optimizers, game.players)
    rule = make(DYNAMICS, parts.dynamics, game=game, optimizers=optimizers)
    dtype, device = parts.precision.dtype, parts.device
    states: list[State] = []
    for index, m in enumerate(parts.members):
        states.append(
            _initial(partial(_filled, fresh, index, fill), optimizers, game, rule, m, averaged, dtype)
        )
        if not index:
            _check_memory(states[0], len(parts.members))
    seeds = [int(m["seed"]) for m in parts.members]
    step = complete(rule, game, *(parts.ema or ()))
    return Run(
        game=game,
        rule=rule,
        data=data,
        step=_seeded(step, seeds[0]) if eager else step,
        draws=Draws(game, rule.rounds, data, seeds, members=ensemble, dtype=dtype, device=device),
        state=tree_map(lambda t: t.to(device), stack(states) if ensemble else states[0]),
        members=parts.members,
        ensemble=ensemble,
        latent=latent,
        every=parts.every,
        device=device,
        radius=closed_form.closed_radius(game.rest, parts.optimizers, parts.dynamics),
        classes=classes,
        stop=parts.stop,
        eager=eager,
    )


def _maker(parts: Resolved, data: Data, classes: int, own: Own) -> Callable[[], dict[str, nn.Module]]:
    """The function that makes a newly initialised network for each player."""
    if parts.networks.name != "own":
        check_size(parts.networks, parts.data, data.shape, classes)
    settings = parts.constraints
    spectral = settings.normalization.name == "spectral_normalized"

    def fresh() -> dict[str, nn.Module]:
        made = modules(
            parts.game,
            parts.networks,
            data,
            classes,
            settings.hidden_noise,
            own,
            spectral=spectral,
            reduce=settings.reduction,
        )
        return frozen(made, parts.freeze)

    return fresh


def _whole_game(
    parts: Resolved, made: dict[str, nn.Module], data: Data, classes: int, latent: int, loss: Loss | None
) -> Game:
    """The game of these networks, with the critic's constraints and, for the Dirac-GAN, its equilibrium."""
    layout = parts.channels_last and len(parts.members) == 1  # vmap does not support memory formats
    nets = {
        name: Network(net, parts.precision.autocast, layout and suits_channels_last(net, parts.device))
        for name, net in made.items()
    }
    constrained = constraints(
        parts.constraints,
        data,
        nets,
        game=parts.game.name,
        labels=classes > 0,
        averaged=parts.ema is not None,
        tangent=not DYNAMICS[parts.dynamics.name].second_order and parts.networks.name != "dirac",
    )
    game = _game(parts.game, nets, constrained, data, latent, parts.batch, parts.accumulate, loss)
    if parts.networks.name != "dirac":
        return game
    name = parts.game.options["loss"].name
    return game._replace(rest=closed_form.dirac_rest(name, parts.constraints, game))


def _reason_to_stay_eager(
    parts: Resolved, nets: dict[str, nn.Module], data: Data, classes: int, latent: int
) -> str:
    """A sentence where a network draws random numbers that no buffer can stand for, or counts; else nothing.

    Raises UsageError for an ensemble of such networks.
    """
    tried = (nets, GAMES[parts.game.name].players, data, classes, latent - classes)
    found = unseeded(*tried)
    if not found and (counted := counting(*tried)):
        return (
            f"a forward changes {' and '.join(counted)}, of which checkpoints know nothing: the step runs uncompiled, "
            "and a resumed run is not the same as one that never stopped; make it a buffer (register_buffer)"
        )
    if not found:
        return ""
    who = f"the forward of {' and '.join(found)} draws random numbers of a kind that a compiled step cannot repeat"
    if len(parts.members) > 1:
        raise UsageError(f"{who}, so its runs cannot be trained as one program: train one seed at a time")
    return (
        f"{who}: the step runs uncompiled, with torch's, numpy's and Python's numbers seeded by seed and step"
    )


def _seeded(step: Step, seed: int) -> Step:
    """The step with all global generators seeded by (seed, step), so that a resumed run repeats its numbers."""

    def seeded(state: State, batch: Sequence[Draw]) -> tuple[State, Logs]:
        rank = [processes().rank] if processes().size > 1 else []  # each process draws for rows of its own
        with seeded_globals(seed, "forward", int(state.scalars["step"]), *rank):
            return step(state, batch)

    return seeded


def _data(chosen: Choice, own: Own) -> Data:
    if chosen.name == "own" and own.data:
        return own.data
    given = dict(chosen.options)
    flip, limit, limit_seed = given.pop("flip", False), given.pop("limit", None), given.pop("limit_seed", 0)
    return subset(DATA[chosen.name].make(**given), limit, limit_seed)._replace(flip=flip)


def _check_independent(data: Data, parts: Resolved) -> None:
    """Raise UsageError if a debiased rule, which needs the terms of independent samples, gets others."""
    if not parts.dynamics.options.get("debiased", False):
        return
    if any(chosen.name in PAIRED for chosen in parts.constraints.penalties):
        raise UsageError(
            "dynamics.debiased needs the field of each sample alone, but the penalty difference compares samples: set "
            "dynamics.debiased=false, or leave it out"
        )
    if data.rows is None and parts.data.options.get("stratified", False):
        raise UsageError(
            "dynamics.debiased needs independent samples, but data.stratified takes the modes in turn: set "
            "data.stratified=false or dynamics.debiased=false"
        )


def _game(
    chosen: Choice,
    nets: dict[str, Network],
    constrained: dict[str, Any],
    data: Data,
    latent: int,
    batch: int,
    accumulate: int,
    own_loss: Loss | None,
) -> Game:
    """The game on one part of the batch, with gradient accumulation over the parts."""
    part, options = GAMES[chosen.name], dict(chosen.options)
    if part.bare:
        return make(GAMES, chosen, **nets)
    if "loss" in options:
        given = own_loss if options["loss"].name == "own" else None
        options["loss"] = given or make(LOSSES, options["loss"])
    if options.pop("conditional", False):
        options["classes"] = data.classes
    if options.get("batch_G"):
        options["batch_G"] = _share(options["batch_G"], accumulate, "game.batch_G")
    rows = _share(batch, accumulate, "batch")
    made = part.make(**nets, **options, **constrained, shape=data.shape, batch=rows, latent=latent)
    return accumulated(made, accumulate)


def _share(batch: int, parts: int, key: str) -> int:
    """The number of rows in one part of a batch. Raises UsageError if the parts are not equal."""
    if batch % parts:
        raise UsageError(f"accumulate={parts} does not divide {key}={batch}: choose a divisor of it")
    return batch // parts


def _optimizers(chosen: Choice | dict[str, Choice], players: Mapping[str, Player]) -> dict[str, Optimizer]:
    each = dict.fromkeys(players, chosen) if isinstance(chosen, Choice) else chosen
    if set(each) != set(players):
        raise UsageError(
            f"optimizer names {', '.join(each)}: give one optimizer for each of the players {', '.join(players)}"
        )
    return {name: _optimizer(part, players[name].network) for name, part in each.items()}


def _optimizer(chosen: Choice, network: Network) -> Optimizer:
    given = {"shapes": network.shapes.values()} if OPTIMIZERS[chosen.name].shaped else {}
    return make(OPTIMIZERS, chosen, **given)


def _filled(fresh: Callable[[], dict[str, nn.Module]], index: int, fill: Fill | None) -> dict[str, nn.Module]:
    nets = fresh()
    if fill:
        fill(index, nets)
    return nets


def _check_memory(one: State, members: int) -> None:
    """Raise UsageError if the states of all members, each like `one`, are more than this machine's memory."""
    needed = members * sum(t.nbytes for t in tree_leaves(one))
    if needed > memory():
        raise UsageError(
            f"{members:,} members need {needed / 2**30:,.0f} GiB for their weights and moments, and this machine has "
            f"{memory() / 2**30:,.0f}: take fewer seeds or values, or smaller networks"
        )


def _initial(
    fresh: Callable[[], dict[str, nn.Module]],
    optimizers: dict[str, Optimizer],
    game: Game,
    rule: Rule,
    member: dict[str, float],
    averaged: tuple[str, ...],
    dtype: torch.dtype,
) -> State:
    """One member's state, with networks that are initialised from its seed."""
    with torch.random.fork_rng(devices=[]):
        torch.random.set_rng_state(generator(int(member["seed"]), "init").get_state())
        nets = fresh()
    swept = {path: value for path, value in member.items() if path != "seed"}
    return initial(nets, optimizers, averaged, {**game.scalars, **swept}, dtype, rule)
