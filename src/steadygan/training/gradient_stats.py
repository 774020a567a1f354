"""The diagnostics pass during training: statistics of a state's gradients, of its critic and of its fakes."""

import math
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor

from steadygan.critic_outputs import ranks
from steadygan.data import Data, as_seen
from steadygan.diagnostics import (
    closeness,
    compared,
    copies,
    cosine,
    critic_measures,
    fake_measures,
    features,
    ranges,
    signal_measures,
    spectral_norm,
)
from steadygan.game import Draw, Game, Logs, State, unflatten
from steadygan.game.batches import Draws
from steadygan.game.vector_field import field, gradient_and_value
from steadygan.games.critic_batch import labelled
from steadygan.networks import latent_labels, logits_of
from steadygan.penalties import Critic, input_gradient, interpolate, norm
from steadygan.rng import generator
from steadygan.training.compile.cpu import convolutions

__all__ = ["gradient_statistics"]

FAKES, TRAIN = 256, 2048
"""Least number of fakes and of reals that are compared, in whole batches, and the largest of training samples."""

STEP = 0.01
"""Step along each player's gradient, relative to the norm of its parameters, for `field/cosine`."""

Shared = dict[str, Tensor]


def gradient_statistics(
    game: Game,
    data: Data,
    *,
    seeds: list[int],
    ensemble: bool,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    classes: int = 0,
) -> Callable[[State, State], Logs]:
    """Make the diagnostics pass (state before, state) -> scalars by name; in an ensemble each is [members].

    The scalars are those of `diagnostics.signal_measures`, `critic_measures`, `fake_measures`, `ranges`,
    `closeness` and `copies`, as far as the game has them, and:

    - `field/cosine`: between the vector field at the state, and after a step of each player along its gradient by
      a hundredth of its norm;
    - `spectral/NAME`: the spectral norm of each player's weights;
    - `update/NAME`: the length of the last update of a player's parameters, over their norm before it.

    Every pass uses the same draws and the raw weights, so that only the players change. Images are compared as
    8x8-pooled pixels. The pass changes neither the state nor any random generator.
    """
    kept = data._replace(stream=None)  # the same samples in every pass: those that stand for a stream
    draws = Draws(game, (tuple(game.players),), kept, seeds, members=ensemble, dtype=dtype, device=device)
    size = game.fields["x_real"].shape[0] if "x_real" in game.fields else FAKES
    batches = [draws(step)[0] for step in range(math.ceil(FAKES / size))]
    rows = int(ensemble)
    mine: Shared = {
        key: torch.cat([batch[key] for batch in batches], rows)
        for key in ("x_real", "z")
        if key in game.fields
    }
    shared = _shared(data, dtype, device)
    measure = partial(_measured, game, classes)
    # The convolutions of an ensemble have groups, which oneDNN computes at once.
    measured = torch.vmap(measure, in_dims=(0, 0, 0, 0, None)) if ensemble else measure

    def statistics(before: State, state: State) -> Logs:
        with nullcontext() if ensemble else convolutions(game):
            found = measured(before, state, batches[0], mine, shared)
        return {key: value.detach() for key, value in found.items()}

    return statistics


def _shared(data: Data, dtype: torch.dtype, device: str | torch.device) -> Shared:
    """What all members are compared with: training samples, held-out samples, a distance, directions."""
    train = None if data.rows is None else features(as_seen(_some(data.rows, TRAIN)))
    found = compared(train, features(torch.zeros(1, *data.shape)).shape[1])
    if data.held:
        found["held"] = as_seen(_some(data.held(), FAKES))
    return {key: value.to(device, dtype) for key, value in found.items()}


def _some(rows: Tensor, most: int) -> Tensor:
    chosen = torch.randperm(len(rows), generator=generator("examined", len(rows)))[:most]
    return rows[chosen.to(rows.device)].cpu()


def _measured(
    game: Game, classes: int, before: State, state: State, draw: Draw, mine: Shared, shared: Shared
) -> Logs:
    """All scalars of one member, from its batch `draw` and its larger sets `mine` of real samples and latents."""
    here, *_ = field(game, tuple(game.players), state, draw)
    there, *_ = field(game, tuple(game.players), _moved(state, here), draw)
    found = {"field/cosine": cosine(here, there)}
    for name, player in game.players.items():
        old = before.params[name]
        found[f"update/{name}"] = (state.params[name] - old).norm() / old.norm()
        found[f"spectral/{name}"] = spectral_norm(unflatten(player.network.module, state.params[name]))
    if "z" not in mine or "x_real" not in mine:
        return found
    with torch.no_grad():
        fake = _net(game, state, "G")(mine["z"])
    told = _generator_gradient(game, state, draw)
    found |= signal_measures(told)
    if game.critic:
        found |= _critic(game, classes, state, draw, fake[: len(draw["x_real"])], shared)
    seen = features(fake)
    found |= ranges(mine["x_real"], fake)
    found |= fake_measures(seen, features(mine["x_real"]), shared["directions"])
    if "train" in shared:
        found |= closeness(seen[: len(told)], shared["train"], shared["delta"], norm(told))
    if "train" in shared and "held" in shared:
        found |= copies(seen, features(shared["held"]), shared["train"])
    return found


def _moved(state: State, gradients: dict[str, Tensor]) -> State:
    """The state after each player's step against its own gradient, by a hundredth of its norm."""
    return state._replace(
        params={
            name: p - STEP * p.norm() * gradients[name] / gradients[name].norm()
            for name, p in state.params.items()
        }
    )


def _net(game: Game, state: State, name: str) -> Callable[..., Tensor]:
    return game.players[name].network.bound(state.params[name], dict(state.buffers[name]))


def _generator_gradient(game: Game, state: State, draw: Draw) -> Tensor:
    """The gradient that G receives at its samples, N dL_G/dG(z_i) [N, ...], on one draw.

    It is the gradient with respect to a zero shift of G's output. G gets the critic's latents, like every other
    statistic here, and not those of its own larger batch.
    """
    draw = {key: value for key, value in draw.items() if key != "z_G"}
    nets = {name: _net(game, state, name) for name in game.players}
    made = nets["G"](draw["z"])

    def loss(shift: Tensor) -> tuple[Tensor, tuple[()]]:
        shifted = {**nets, "G": lambda z, *more: nets["G"](z, *more) + shift}
        return game.players["G"].loss(shifted, draw, state.scalars)[0], ()

    return gradient_and_value(loss, torch.zeros_like(made))[0] * len(made)


def _critic(game: Game, classes: int, state: State, draw: Draw, fake: Tensor, shared: Shared) -> Logs:
    """The critic, normalized as the losses see it, at the draw's real samples, at fakes, and between them."""
    name = game.critic
    assert name is not None
    x, D = draw["x_real"], _net(game, state, name)
    labels = {"fake": latent_labels(draw["z"], classes), "real": draw["y_real"]} if classes else {}

    def critic(side: str) -> Critic:
        plain = logits_of(labelled(D, labels, side))
        return partial(ranks, game.normalize(plain) if game.normalize else plain)

    # Evenly spaced in (0, 1), so that the points between need no random draw and are the same in every pass.
    alpha = (torch.arange(len(x), device=x.device, dtype=x.dtype) + 0.5) / len(x)
    points = {"real": x, "fake": fake, "between": interpolate(x, fake, alpha)}
    places = {at: input_gradient(critic("fake" if at == "fake" else "real"), p) for at, p in points.items()}
    held = shared.get("held")
    known = critic("real")(held) if held is not None and not classes else None
    return critic_measures(places, known)
