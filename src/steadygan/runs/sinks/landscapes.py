"""landscapes/: what the critic of a run on points in the plane says of every place, at every look."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import safetensors.torch
import torch
from torch import Tensor

from steadygan.diagnostics.landscape import Landscape, around, landscape
from steadygan.files import write_whole
from steadygan.game import Game, State
from steadygan.game.state import member
from steadygan.networks import logits_of
from steadygan.penalties import Critic
from steadygan.training.events import Event, Scored

__all__ = ["LANDSCAPES", "Seen", "judge", "landscape_sink", "read_landscape", "write_landscape"]

LANDSCAPES = "landscapes"
SHOWN = 400  # fakes, and real samples


class Seen(NamedTuple):
    """A landscape at a step, with fakes [n, 2] of that look and real samples [m, 2]."""

    step: int
    landscape: Landscape
    fakes: Tensor
    reals: Tensor


def landscape_sink(
    folder: Path, game: Game, reals: Tensor, *, classes: int = 0, ensemble: bool = False
) -> Callable[[Event], None]:
    """Write folder/step-XXXXXXXX.safetensors at each look, under 20 kB: of an ensemble, the first member's.

    Of a conditional run, the mean of the critic's answers over the classes.
    """
    frame = around(reals)

    def sink(event: Event) -> None:
        if not isinstance(event, Scored) or not event.look.samples:
            return
        state = member(event.state, 0 if ensemble else None)
        params = state.params[game.judge or "D"]
        found = landscape(judge(game, state, classes), frame, params)
        write_landscape(folder, Seen(event.step, found, event.look.samples[0][:SHOWN], reals[:SHOWN]))

    return sink


def judge(game: Game, state: State, classes: int = 0) -> Critic:
    """The critic of the game's samples at one member's state, in evaluation mode, normalized as in its losses."""
    assert game.judge is not None
    network, params = game.players[game.judge].network, state.params[game.judge]
    buffers = state.buffers[game.judge]
    frozen = replace(network, module=copy.deepcopy(network.module).eval())

    def answers(*labels: Tensor) -> Critic:
        def plain(x: Tensor) -> Tensor:
            own = {name: b.clone() for name, b in buffers.items()}  # asking changes nothing
            return logits_of(lambda x: frozen(params, own, x, *labels))(x)

        return game.normalize(plain) if game.normalize else plain

    def critic(x: Tensor) -> Tensor:
        sides = [[torch.full((len(x),), c, device=x.device)] for c in range(classes)] or [[]]
        return torch.stack([answers(*labels)(x) for labels in sides]).mean(0)

    return critic


def write_landscape(folder: Path, seen: Seen) -> None:
    """Write folder/step-XXXXXXXX.safetensors, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{seen.step:08d}.safetensors"
    tensors = {
        "logits": seen.landscape.logits,
        "gradient": seen.landscape.gradient,
        "fakes": seen.fakes.float(),
        "reals": seen.reals.float(),
    }
    # One entry: safetensors writes several in an order of its own, another each time.
    facts = {"seen": json.dumps({"step": seen.step, "frame": seen.landscape.frame})}
    write_whole(path, safetensors.torch.save({k: t.contiguous() for k, t in tensors.items()}, facts))


def read_landscape(path: Path) -> Seen | None:
    """What `landscape_sink` wrote; None where the file is damaged or of another kind."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            facts = json.loads(file.metadata()["seen"])
            tensors = {name: file.get_tensor(name) for name in ("logits", "gradient", "fakes", "reals")}
            x, y, half = (float(v) for v in facts["frame"])
            found = Landscape((x, y, half), tensors["logits"], tensors["gradient"])
            return Seen(int(facts["step"]), found, tensors["fakes"], tensors["reals"])
    except (OSError, KeyError, TypeError, ValueError, safetensors.SafetensorError):
        return None
