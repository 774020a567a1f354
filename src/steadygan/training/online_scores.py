"""Evaluation during training: samples from fixed latents, and scores that need no feature extractor."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from steadygan import metrics
from steadygan.critic_outputs import ranks
from steadygan.data import Data, as_seen
from steadygan.errors import UsageError
from steadygan.game import Game, State
from steadygan.game.state import member
from steadygan.metrics.evaluation import real_summary
from steadygan.metrics.feature_scores import BLOCKS, KEPT
from steadygan.metrics.kernel import kernel_distance_to
from steadygan.metrics.transport import sliced_wasserstein2
from steadygan.networks import logits_of
from steadygan.parallel import ALONE, Processes, by_rows
from steadygan.penalties import Critic
from steadygan.rng import generator
from steadygan.training.compile import cpu, gpu
from steadygan.training.events import Evaluated
from steadygan.training.sampling import columns, in_rows, latents, sampler, weights

__all__ = [
    "GRID",
    "evaluation_samples",
    "generated",
    "lower_is_better",
    "make_evaluator",
    "score_names",
    "unseen_samples",
]

POINTS, IMAGES, GRID = 4096, 1000, 64
"""Samples of one evaluation, for points and for images, and the number of images in a picture."""

STACKED = 5000
"""Samples for the modes of stacked images: real images show 993 of 1,000 modes and a mode_kl of 0.106."""

COMPARED = 1000
"""Samples of the sliced distance, which scores what are neither images nor points of a mixture."""

FALLING = {
    "sliced_w2",
    "mode_kl",
    "unbalance",
    "close_pairs",
    "close_gradient",
    "gradient_max",
    "distance",
    "radius",
}


def lower_is_better(score: str) -> bool:
    """Whether a lower score is better.

    >>> [lower_is_better(name) for name in ("kd_lite0", "fid", "kid", "recall_lite0")]
    [True, True, True, False]
    """
    return score in FALLING or score.partition("_")[0] in {"fd", "kd", "fid", "kid"}


def make_evaluator(
    game: Game,
    data: Data,
    *,
    latent: int,
    seeds: list[int],
    ensemble: bool,
    device: torch.device,
    classes: int = 0,
    classifier: metrics.Classifier | None = None,
    extractor: metrics.Extractor | None = None,
    images: int = IMAGES,
    against_training: bool = False,
    sharing: Processes = ALONE,
) -> Callable[[State], Evaluated]:
    """Make the function that evaluates a state: its samples and its scores.

    - Points of a mixture: `modes`, `high_quality`, `mode_kl`. Points of a finite set: `unbalance`, `rows_covered`,
      `close_pairs`, and with a critic that takes no labels `close_gradient` and `gradient_max`.
    - Other samples, such as signals, video and tables: `sliced_w2`, the sliced distance between their values.
    - Images: `kd_pixels8`, the kernel distance of 8x8-pooled pixels between `images` samples and as many real
      images of `evaluation_samples`.
    - With an extractor: all `metrics.scores` of its features, under the names of `metrics.score_name`. With a
      classifier: `modes` and `mode_kl` of 5,000 stacked images.

    `against_training` compares `images` samples with all training images, and up to 10,000 of both by their pixels.

    The averaged generator is used where there is one. With `classes`, the scores are those of random labels; the
    pictured samples are others, with one class per row. Processes that are `sharing` the run make its samples
    together, and read their features.
    """
    wide = columns(GRID, classes) if data.images else None
    pictured = GRID // wide * wide if wide else 0  # only whole rows
    target = _target(data, images, against_training)
    made = images if against_training and data.images else len(target)
    count = max(made, STACKED if classifier else 0)
    distance = kernel_distance_to(metrics.pooled_pixels(target)) if data.images else None
    with gpu.options(device):
        seen = _summary(data, target, extractor, against_training, sharing) if extractor else None
    if extractor:
        extractor = _shared(extractor, sharing)

    def look(one: State, seed: int) -> tuple[Tensor, dict[str, float]]:
        z = latents(seed, "look", count, latent, one.params["G"].dtype)
        if pictured:
            z = torch.cat([in_rows(latents(seed, "look", pictured, latent, z.dtype), classes), z])
        G = sampler(game.players["G"].network, one, latent, seed=seed)
        with cpu.convolutions(game):
            found = by_rows(G, z.to(device), sharing)
        shown, found = found[: pictured or len(target)].cpu(), found[pictured:]
        if not found.isfinite().all():
            return shown, {}
        if distance:
            counted = metrics.stacked_modes(found, classifier) if classifier else {}
            scores = {"kd_pixels8": distance(metrics.pooled_pixels(found[: len(target)])), **counted}
        else:
            scores = _scores(game, data, one, found, target)
        if extractor and seen:
            fake = metrics.summarised(found[:made], extractor, blocks=BLOCKS)
            through = metrics.scores(fake, seen)
            scores |= {metrics.score_name(key, extractor.name): s.value for key, s in through.items()}
        return shown, scores

    def evaluate(state: State) -> Evaluated:
        with gpu.options(device):  # in full float32: scores are compared between machines
            looks = [look(member(state, i if ensemble else None), seed) for i, seed in enumerate(seeds)]
        drawn, scores = map(list, zip(*looks))
        keys = list(next((s for s in scores if s), {}))
        rows = {key: [s.get(key, float("nan")) for s in scores] for key in keys}
        return Evaluated(drawn, {key: values if ensemble else values[0] for key, values in rows.items()})

    return evaluate


def _target(data: Data, images: int, against_training: bool) -> Tensor:
    """The real samples that are compared one by one."""
    if not data.images:
        return reference(data, generated(data))
    return (
        reference(data, min(images, KEPT)) if against_training else as_seen(evaluation_samples(data, images))
    )


def _summary(
    data: Data, target: Tensor, extractor: metrics.Extractor, against_training: bool, sharing: Processes
) -> metrics.Summary:
    """The features of the real images: of `target`, or of all training images.

    Those of the training images are kept in the cache folder, where final scores find them. So each process reads them
    alone: its machine may have them already.
    """
    if against_training:
        return real_summary(data, None, extractor)
    return metrics.summarised(target, _shared(extractor, sharing))


def _shared(extractor: metrics.Extractor, sharing: Processes) -> metrics.Extractor:
    return extractor._replace(read=partial(by_rows, extractor.read, sharing=sharing))


def score_names(data: Data, game: Game, extractor: str | None = None) -> tuple[str, ...]:
    """The names of the scores of an evaluation for this data and game, with this extractor's included."""
    if data.images:
        through = (
            tuple(metrics.score_name(key, extractor.replace("-", "_")) for key in metrics.SCORES)
            if extractor
            else ()
        )
        return ("kd_pixels8", *(("modes", "mode_kl") if data.mode_classifier else ()), *through)
    if data.modes is not None:
        return ("modes", "high_quality", "mode_kl")
    if _is_small(data):
        of_critic = ("close_gradient", "gradient_max") if _sloped(game) else ()
        return ("unbalance", "rows_covered", "close_pairs", *of_critic)
    return ("sliced_w2",)


def generated(data: Data) -> int:
    """How many samples that are no images an evaluation takes. A thousand videos are much, and enough for `sliced_w2`.

    >>> generated(Data("own", (3, 9), rows=torch.zeros(5000, 3, 9)))
    1000
    """
    if data.modes is not None or _is_small(data):
        return POINTS
    return COMPARED if data.rows is None else min(COMPARED, len(data.rows))


def _is_small(data: Data) -> bool:
    return data.rows is not None and not data.stream and len(data.rows) <= 1000 and len(data.shape) == 1


def _sloped(game: Game) -> bool:
    """Whether the slope of the game's critic is scored: not where it takes labels, which points between rows lack."""
    return game.critic is not None and all(field.kind != "label" for field in game.fields.values())


def reference(data: Data, count: int) -> Tensor:
    """Up to `count` real samples in the range that networks see; always the same ones."""
    if data.rows is None:
        assert data.draw is not None
        return data.draw(generator("reference", data.name), count)
    return as_seen(data.rows[_order(data, data.rows)[:count]])


def evaluation_samples(data: Data, count: int = IMAGES) -> Tensor:
    """The real images of every evaluation: `count` or half of them; held-out images where the data has some."""
    rows = data.held() if data.held else data.rows
    assert rows is not None
    return rows[_order(data, rows)[: min(count, len(rows) // 2)]]


def unseen_samples(data: Data, split: str, count: int = IMAGES) -> Tensor:
    """The images of a split that no evaluation during training has used.

    A checkpoint that was chosen by its evaluation needs other images for its final score. Raises UsageError for a
    split that the data does not have.
    """
    if split not in ("train", "test"):
        raise UsageError(f"a split is train or test, not {split!r}")
    if split == "test" and not data.held:
        raise UsageError(f"{data.name} has no published test images: choose the split train")
    rows = data.held() if split == "test" and data.held else data.rows
    assert rows is not None
    if split == "train" and data.held:
        return rows
    return rows[_order(data, rows)[min(count, len(rows) // 2) :].sort().values]


def _order(data: Data, rows: Tensor) -> Tensor:
    return torch.randperm(len(rows), generator=generator("reference", data.name))


def _scores(game: Game, data: Data, state: State, found: Tensor, target: Tensor) -> dict[str, float]:
    """The scores of samples that are no images."""
    if data.modes is not None:
        return metrics.modes(found.cpu(), data.modes)
    if _is_small(data):
        assert data.rows is not None
        rows = data.rows.to(found.device, state.params["G"].dtype)
        critic = _critic_of(game, state) if _sloped(game) else None
        return metrics.finite_gaussian(found.to(rows.dtype), rows, critic)
    return {"sliced_w2": sliced_wasserstein2(found.cpu().flatten(1), target.flatten(1))}


def _critic_of(game: Game, state: State) -> Critic:
    """The game's critic of samples, with the weights of this state."""
    assert game.critic is not None
    params, buffers = weights(state, game.critic, average=False)
    return partial(ranks, logits_of(partial(game.players[game.critic].network, params, dict(buffers))))
