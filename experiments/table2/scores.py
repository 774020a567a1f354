"""The figures of the members of a run of experiments.table2: curves, final score cards, the critic's gap, seconds."""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.trained import events
from steadygan import config
from steadygan.build import Own, Run, build
from steadygan.commands.step_cost import step_cost
from steadygan.data import Data, as_seen
from steadygan.game import State
from steadygan.metrics import Extractor, Protocol, Score, evaluate
from steadygan.networks import logits_of
from steadygan.rng import generator
from steadygan.runs.folder import restore_member
from steadygan.training.events import Event
from steadygan.training.online_scores import unseen_samples
from steadygan.training.sampling import batch_norm, latents, sampler, weights

BATCH = 500  # images that are scored at once
VALIDATION, FINAL = 1000, 4000
"""Held-out images of the validation split, on which evaluations during training are made, and of the final score, which
are others."""

Curve = list[list[float | None]]
"""Steps, and a score at each; None where it is not finite."""


def curves(folder: Path, score: str, members: int) -> list[Curve]:
    """The evaluations of each member of an ensemble, or of a single run."""
    found = [(line["step"], line[score]) for line in events(folder) if score in line]
    return [
        [
            [step, v if (v := values[index]) is not None and math.isfinite(v) else None]
            for step, values in found
        ]
        for index in range(members)
    ]


def timed(file: Path) -> Callable[[Event], None]:
    """A logger of the processor's seconds between two events of a run; a line for each stretch of steps."""
    since = (0, math.nan)

    def sink(event: Event) -> None:
        nonlocal since
        step, now = event.step, time.process_time()
        steps = step - since[0]
        if steps and not math.isnan(since[1]):
            with file.open("a") as lines:
                lines.write(json.dumps({"steps": steps, "seconds": now - since[1]}) + "\n")
        since = step, time.process_time()

    return sink


def seconds_a_step(file: Path) -> float:
    """The processor's seconds of one step, with its draws, in the quickest stretch that `timed` has seen."""
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return min(line["seconds"] / line["steps"] for line in lines)


def work(raw: dict[str, Any]) -> int:
    """The FLOPs of one step of one member, counted on paper: no images are read."""
    side, channels = 32, 3 if raw["data"]["name"] == "cifar10" else 1
    rows = torch.zeros(1, channels, side, side, dtype=torch.uint8).expand(1000, -1, -1, -1)
    blank = Data("blank", (channels, side, side), rows)
    raw = {**raw, "data": "own", "evaluation": {}, "compile": False}
    return step_cost(build(config.parse(raw), Own(data=blank))).flops


# --------------------------------------------------------------------------------------------------------- final scores


def final_split(data: Data) -> Data:
    """The held-out images that no evaluation during training has used, as data of their own."""
    rows = unseen_samples(data, "test", VALIDATION)
    return data._replace(rows=rows, labels=None, held=None, mapped=None)


def card(x: Tensor, data: Data, look: Extractor, subject: dict[str, Any], norm: str) -> dict[str, Any]:
    """The card of samples x [n, C, H, W] against the final split."""
    parts: Iterator[Tensor] = iter(x.split(BATCH))
    protocol = Protocol(look, len(x), FINAL, "test", 0, subject["weights"], norm)
    made = evaluate(lambda count: next(parts), final_split(data), protocol, subject=subject, batch=BATCH)
    return made.plain()


def of_real(made: Run, look: Extractor, count: int) -> dict[str, Any]:
    """The card of training images: what a perfect generator would have."""
    assert made.data.rows is not None
    x = as_seen(some(made.data.rows, count))
    return {"card": card(x, made.data, look, {"weights": "images"}, "images")}


def finals(
    folder: Path, made: Run, points: Mapping[str, int], look: Extractor, count: int, falling: bool
) -> Iterator[dict[str, Any]]:
    """The final figures of each member of a run at some of its checkpoints: its card and its critic's gap."""
    for index in range(len(made.members)):
        at = {
            step: measured(folder, made, index, step, look, count, falling) for step in set(points.values())
        }
        yield {name: {"step": step, **at[step]} for name, step in points.items()}


def measured(
    folder: Path, made: Run, index: int, step: int, look: Extractor, count: int, falling: bool
) -> dict[str, Any]:
    """A member's card and its critic's gap at a checkpoint; no card where its samples are not finite."""
    state, seed = restore_member(folder, made, index, lambda text: None, step)
    assert made.data.rows is not None
    G = made.game.players["G"].network
    z = latents(seed, "score", count, made.latent, state.params["G"].dtype)
    x, raw = (sampler(G, state, made.latent, seed=seed, average=average)(z) for average in (True, False))
    rows = {"train": some(made.data.rows, 2000), "held": some(final_split(made.data).rows, 2000), "fake": raw}
    subject = {"run": folder.name, "step": step, "seed": seed, "weights": "EMA"}
    found = card(x, made.data, look, subject, batch_norm(G)) if x.isfinite().all() else None
    return {"card": found, "critic": critic_gap(made, state, rows, falling)}


# ----------------------------------------------------------------------------------------------------- the critic's gap


def gap(a: Tensor, b: Tensor, unit: float) -> dict[str, float]:
    """mean a - mean b of logits, in units, with its standard error."""
    error = (a.var() / len(a) + b.var() / len(b)).sqrt().item()
    return Score((a.mean() - b.mean()).item() / unit, error / unit)._asdict()


def critic_gap(made: Run, state: State, rows: dict[str, Tensor], falling: bool) -> dict[str, Any]:
    """How much higher the critic's raw logits are on training images than on held-out ones and on fakes.

    In units of their standard deviation over the held-out images (`spread`): of a critic that has died nothing is left
    but rounding, which is why it is told. The last critic itself, before any normalization of its output.
    """
    network = replace(made.game.players["D"].network, autocast=None)
    network.module.eval()
    params, buffers = weights(state, "D", average=False)
    critic = logits_of(partial(network, params, dict(buffers)))
    sign = -1 if falling else 1
    with torch.no_grad():
        found = {
            name: sign * torch.cat([critic(as_seen(part)) for part in x.split(BATCH)]).double()
            for name, x in rows.items()
        }
    spread = found["held"].std().item()
    unit = spread or math.nan
    return {
        "spread": spread,
        "over_held": gap(found["train"], found["held"], unit),
        "over_fake": gap(found["train"], found["fake"], unit),
    }


def some(rows: Tensor, count: int) -> Tensor:
    """At most `count` rows, always the same ones."""
    return rows[torch.randperm(len(rows), generator=generator("critic's gap"))[:count]]
