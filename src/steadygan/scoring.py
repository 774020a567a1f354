"""What is looked at while a run trains: samples from fixed latents, and numbers that need no feature extractor."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from steadygan import metrics
from steadygan.data import Data
from steadygan.draws import generator
from steadygan.game import Game, State
from steadygan.generate import columns, in_rows, latents, member, samples, weights
from steadygan.networks import logits_of
from steadygan.penalties import Critic

__all__ = ["CLASSIFIERS", "GRID", "LOWER_IS_BETTER", "Look", "looker", "score_names"]

POINTS, IMAGES, GRID = 4096, 1000, 64
"""How many samples a look takes, of points and of images, and how many of the latter are pictured."""

STACKED = 5000
"""How many are looked at for the modes of stacked images: perfect ones show 993 of 1,000 and a mode_kl of 0.106."""

CLASSIFIERS = {"stacked_digits": "digits"}
"""The data whose modes are counted by a classifier, and which."""

LOWER_IS_BETTER = frozenset(
    {
        "mode_kl",
        "unbalance",
        "close_pairs",
        "close_gradient",
        "gradient_max",
        "kd_pixels8",
        "distance",
        "radius",
    }
)


class Look(NamedTuple):
    """Samples [n, ...] of each member, and scores under flat names: a number, or a list over members."""

    samples: list[Tensor]
    scores: dict[str, float | list[float]]


def looker(
    game: Game,
    data: Data,
    *,
    latent: int,
    seeds: list[int],
    ensemble: bool,
    device: torch.device,
    classes: int = 0,
    classifier: metrics.Classifier | None = None,
) -> Callable[[State], Look]:
    """Make the function that looks at a state.

    Points: `modes`, `high_quality`, `mode_kl` for a mixture, `unbalance`, `close_pairs`, `close_gradient` for
    a finite set. Images: `kd_pixels8`, the kernel distance of 8x8-pooled pixels between 1,000 samples and 1,000
    real images; with a classifier, `modes` and `mode_kl` of 5,000 stacked images too. The averaged generator is
    looked at where there is one. With `classes` scores are those of labels drawn at random, and the images of a
    look are others, with a class a row.
    """
    wide = columns(GRID, classes) if len(data.shape) == 3 else None
    pictured = GRID // wide * wide if wide else 0  # so that the last row is as long as the others
    target = reference(data, POINTS if len(data.shape) == 1 else IMAGES)
    count = max(len(target), STACKED if classifier else 0)

    def look(state: State) -> Look:
        drawn, scores = [], []
        for index, seed in enumerate(seeds):
            one = member(state, index if ensemble else None)
            z = latents(seed, "look", count, latent, one.params["G"].dtype)
            if pictured:
                z = torch.cat([in_rows(latents(seed, "look", pictured, latent, z.dtype), classes), z])
            found = samples(game.players["G"].network, one, z.to(device), seed=seed)
            drawn.append(found[: pictured or len(target)].cpu())
            found = found[pictured:]
            finite = found.isfinite().all()
            scores.append(_scores(game, data, one, found, target, classifier) if finite else {})
        keys = list(next((s for s in scores if s), {}))
        rows = {key: [s.get(key, float("nan")) for s in scores] for key in keys}
        return Look(drawn, {key: values if ensemble else values[0] for key, values in rows.items()})

    return look


def score_names(data: Data, game: Game) -> tuple[str, ...]:
    """The names of the scores that a look at a game on this kind of data gives."""
    if len(data.shape) == 3:
        return ("kd_pixels8", "modes", "mode_kl") if data.name in CLASSIFIERS else ("kd_pixels8",)
    if data.modes is not None:
        return ("modes", "high_quality", "mode_kl")
    if _is_small(data):
        of_judge = ("close_gradient", "gradient_max") if game.judge else ()
        return ("unbalance", "rows_covered", "close_pairs", *of_judge)
    return ()


def _is_small(data: Data) -> bool:
    return data.rows is not None and len(data.rows) <= 1000


def reference(data: Data, count: int) -> Tensor:
    """Up to `count` real samples, always the same ones, as networks see them."""
    g = generator("reference", data.name)
    if data.rows is None:
        assert data.draw is not None
        return data.draw(g, count)
    rows = data.rows[torch.randperm(len(data.rows), generator=g)[:count]]
    return rows.float() / 127.5 - 1 if rows.dtype == torch.uint8 else rows.float()


def _scores(
    game: Game,
    data: Data,
    state: State,
    found: Tensor,
    target: Tensor,
    classifier: metrics.Classifier | None,
) -> dict[str, float]:
    if len(data.shape) == 3:
        features = metrics.pooled_pixels(found[: len(target)].cpu()), metrics.pooled_pixels(target)
        counted = metrics.stacked_modes(found.cpu(), classifier) if classifier else {}
        return {"kd_pixels8": metrics.kernel_distance(*features), **counted}
    if data.modes is not None:
        return metrics.modes(found.cpu(), data.modes)
    if _is_small(data):
        assert data.rows is not None
        rows = data.rows.to(found.device, state.params["G"].dtype)
        critic = _judge(game, state) if game.judge else None
        return metrics.finite_gaussian(found.to(rows.dtype), rows, critic)
    return {}


def _judge(game: Game, state: State) -> Critic:
    """The critic of the game's samples, as it is at this state."""
    assert game.judge is not None
    params, buffers = weights(state, game.judge, average=False)
    return logits_of(partial(game.players[game.judge].network, params, dict(buffers)))
