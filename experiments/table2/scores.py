"""The figures of a run of experiments.table2.run: seconds, score cards, the critic's gap, memorisation."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from steadygan import config
from steadygan.build import Run, build
from steadygan.data import Data, as_seen
from steadygan.game import State
from steadygan.metrics import Extractor, Protocol, Score, evaluate, memorisation, pooled_pixels
from steadygan.networks import logits_of
from steadygan.rng import generator
from steadygan.runs.folder import restore_member
from steadygan.training.compile.compiled_step import compiled
from steadygan.training.sampling import latents, sampler, weights

BATCH = 500  # images that are scored at once


def seconds_a_step(raw: dict[str, Any], stretches: int = 8, each: int = 5) -> float:
    """The processor's seconds of one step with its draws, in the quickest of some stretches."""
    made = build(config.parse(raw))
    step = compiled(made.step, print, raw["precision"]) if raw["compile"] else made.step
    state, taken, done = made.state, [], 0
    for stretch in range(stretches + 1):  # the first one compiles
        began = time.process_time()
        for done in range(stretch * each, (stretch + 1) * each):
            state, _ = step(state, made.draws(done))
        taken.append((time.process_time() - began) / each)
    return min(taken[1:])


def cards(x: Tensor, held: Data, looks: Sequence[Extractor], subject: dict[str, Any]) -> list[dict]:
    """A card through each extractor, of samples x [n, C, H, W] against held-out images."""
    found = []
    for look in looks:
        parts: Iterator[Tensor] = iter(x.split(BATCH))
        protocol = Protocol(look, len(x), None, "test", 0, subject["weights"], "none in the generator")
        card = evaluate(lambda count, parts=parts: next(parts), held, protocol, subject=subject, batch=BATCH)
        found.append(card.plain())
    return found


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


def some(rows: Tensor, count: int = 10_000) -> Tensor:
    """At most `count` rows, always the same ones."""
    return rows[torch.randperm(len(rows), generator=generator("critic's gap"))[:count]]


def measured(
    folder: Path, made: Run, step: int, looks: Sequence[Extractor], count: int, falling: bool
) -> dict[str, Any]:
    """All figures of a run at one of its checkpoints: of the averaged generator, and of the critic as it is.

    `falling` says that the critic's raw output is low on real images.
    """
    state, seed = restore_member(folder, made, 0, lambda text: None, step)
    assert made.data.rows is not None
    assert made.data.held is not None
    rows, held = made.data.rows, made.data.held()
    z = latents(0, "score", count, made.latent, state.params["G"].dtype)
    G = made.game.players["G"].network
    x, raw = (sampler(G, state, made.latent, seed=seed, average=average)(z) for average in (True, False))
    subject = {"run": folder.name, "step": step, "seed": seed, "weights": "EMA"}
    against = made.data._replace(rows=held, labels=None, held=None, mapped=None)
    features = [
        torch.cat([pooled_pixels(as_seen(p)) for p in part.split(BATCH)]) for part in (x, some(rows), held)
    ]
    return {
        "steps": step,
        "cards": cards(x, against, looks, subject),
        "critic": critic_gap(made, state, {"train": some(rows), "held": held, "fake": raw}, falling),
        "memorised_pixels8": memorisation(*features)._asdict(),
    }


def real(data: Data, looks: Sequence[Extractor], count: int) -> list[dict]:
    """The cards of as many training images as a run is scored by: what a perfect generator would have."""
    assert data.rows is not None
    assert data.held is not None
    x = as_seen(some(data.rows, count))
    against = data._replace(rows=data.held(), labels=None, held=None, mapped=None)
    return cards(x, against, looks, {"images": "training images", "weights": "images"})
