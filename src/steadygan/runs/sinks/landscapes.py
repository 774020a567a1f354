"""The logger of landscapes/: the critic's logits on a grid at each evaluation, for runs on points in the plane."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from torch import Tensor

from steadygan.critic_outputs import ranks
from steadygan.diagnostics.landscape import Landscape, around, landscape
from steadygan.files import BINARY, clear_partial, parse_json, read_whole, write_whole
from steadygan.game import Game, State
from steadygan.game.state import member
from steadygan.networks import logits_of
from steadygan.penalties import Critic
from steadygan.training.events import Event, Scored

__all__ = [
    "LANDSCAPES",
    "SavedLandscape",
    "evaluation_critic",
    "landscape_sink",
    "read_landscape",
    "write_landscape",
]

LANDSCAPES = "landscapes"
SHOWN = 400  # the most generated and the most real samples in a file


class SavedLandscape(NamedTuple):
    """A landscape at a step, with generated samples [n, 2] and real samples [m, 2]."""

    step: int
    landscape: Landscape
    fakes: Tensor
    reals: Tensor


def landscape_sink(
    folder: Path, game: Game, reals: Tensor, *, classes: int = 0, ensemble: bool = False
) -> Callable[[Event], None]:
    """Write folder/step-XXXXXXXX.safetensors at each evaluation, less than 20 kB. An ensemble writes its first member.

    A conditional run writes the mean of the critic's logits over the classes.
    """
    frame = around(reals)
    clear_partial(folder)

    def sink(event: Event) -> None:
        if not isinstance(event, Scored) or not event.evaluated.samples:
            return
        state = member(event.state, 0 if ensemble else None)
        params = state.params[game.critic or "D"]
        found = landscape(evaluation_critic(game, state, classes), frame, params)
        saved = SavedLandscape(event.step, found, event.evaluated.samples[0][:SHOWN], reals[:SHOWN])
        write_landscape(folder, saved)

    return sink


def evaluation_critic(game: Game, state: State, classes: int = 0) -> Critic:
    """The critic at one member's state, in evaluation mode and normalized as in its losses."""
    assert game.critic is not None
    network, params = game.players[game.critic].network, state.params[game.critic]
    buffers = state.buffers[game.critic]
    frozen = replace(network, module=copy.deepcopy(network.module).eval())

    def answers(*labels: Tensor) -> Critic:
        def plain(x: Tensor) -> Tensor:
            own = {name: b.clone() for name, b in buffers.items()}  # a forward pass may write to them
            return logits_of(lambda x: frozen(params, own, x, *labels))(x)

        return game.normalize(plain) if game.normalize else plain

    def critic(x: Tensor) -> Tensor:
        sides = [[torch.full((len(x),), c, device=x.device)] for c in range(classes)] or [[]]
        return torch.stack([ranks(answers(*labels), x) for labels in sides]).mean(0)

    return critic


def write_landscape(folder: Path, saved: SavedLandscape) -> None:
    """Write folder/step-XXXXXXXX.safetensors, completely or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{saved.step:08d}.safetensors"
    tensors = {
        "logits": saved.landscape.logits,
        "gradient": saved.landscape.gradient,
        "fakes": saved.fakes.float(),
        "reals": saved.reals.float(),
    }
    # One entry, because safetensors writes several entries in a different order each time.
    facts = {"seen": json.dumps({"step": saved.step, "frame": saved.landscape.frame})}
    write_whole(path, safetensors.torch.save({k: t.contiguous() for k, t in tensors.items()}, facts))


def read_landscape(path: Path) -> SavedLandscape | None:
    """Read a file of `landscape_sink`. Returns None if it is damaged or another kind of file."""
    try:
        raw = read_whole(path, BINARY)
        facts, tensors = _facts(raw), safetensors.torch.load(raw)
        x, y, half = (float(v) for v in facts["frame"])
        found = Landscape((x, y, half), tensors["logits"], tensors["gradient"])
        return SavedLandscape(int(facts["step"]), found, tensors["fakes"], tensors["reals"])
    except (KeyError, TypeError, ValueError, safetensors.SafetensorError):
        return None


def _facts(raw: bytes) -> dict[str, Any]:
    """What `write_landscape` wrote beside the tensors: a file begins with the length of its header, which is JSON."""
    header = parse_json(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    found: dict[str, Any] = parse_json(header["__metadata__"]["seen"])
    return found
