"""Evaluation during training: its extractor, its real images and its protocol."""

from collections.abc import Callable

from steadygan.build import Run
from steadygan.config.schema import Evaluation
from steadygan.data import Data
from steadygan.data.dataset import split_name
from steadygan.errors import UsageError
from steadygan.game import State
from steadygan.metrics import Extractor, Protocol, describe
from steadygan.parallel import ALONE, Processes
from steadygan.runs import classifiers
from steadygan.runs.folder import Note
from steadygan.training import sampling, toy_scores
from steadygan.training.events import Evaluated
from steadygan.training.online_scores import evaluation_samples, generated, make_evaluator, score_names

__all__ = ["evaluator", "extra_extractor", "extractor_of", "protocol_of", "scores_of"]


def scores_of(run: Run, extractor: str | None) -> tuple[str, ...]:
    """The names of the scores of a run's evaluations, with those of an extra extractor."""
    rest = run.game.rest
    return toy_scores.score_names(rest) if rest else score_names(run.data, run.game, extractor)


def evaluator(
    run: Run, evaluation: Evaluation, note: Note, sharing: Processes = ALONE
) -> Callable[[State], Evaluated]:
    """Make the function that scores a run's state. Raises UsageError if its extractor is missing.

    Processes that are `sharing` the run make its samples together.
    """
    if run.game.rest:
        members, ensemble = len(run.members), run.ensemble
        return toy_scores.make_toy_evaluator(
            run.game, run.rule, run.draws, members=members, ensemble=ensemble, closed=run.radius
        )
    seeds = [int(m["seed"]) for m in run.members]
    needed = run.data.mode_classifier
    return make_evaluator(
        run.game,
        run.data,
        latent=run.latent,
        seeds=seeds,
        ensemble=run.ensemble,
        device=run.device,
        classes=run.classes,
        classifier=classifiers.load_or_train(needed, note, run.device) if needed else None,
        extractor=extractor_of(run, evaluation, note),
        images=evaluation.images,
        against_training=evaluation.reference == "train",
        sharing=sharing,
    )


def extra_extractor(evaluation: Evaluation) -> str | None:
    """The name of the extractor that evaluation during training uses besides pooled pixels, if any."""
    return None if evaluation.extractor == "pixels8" else evaluation.extractor


def extractor_of(run: Run, evaluation: Evaluation, note: Note) -> Extractor | None:
    """The extra extractor of a run's evaluations, if any. Raises UsageError where it is missing."""
    name = extra_extractor(evaluation)
    if name is None:
        return None
    try:
        return classifiers.named_extractor(name, run.data.shape[0], note, device=run.device)
    except UsageError as error:
        if name != "inception":
            raise
        raise UsageError(
            f"{error}; to train without it, add evaluation.extractor=lite0 keep.best=fd_lite0"
        ) from error


def _generated(data: Data, evaluation: Evaluation) -> int:
    if not data.images:
        return generated(data)
    assert data.rows is not None
    return evaluation.images if evaluation.reference == "train" else len(data.rows)


def protocol_of(run: Run, evaluation: Evaluation, note: Note, *, weights: str) -> dict[str, object]:
    """The protocol of the scores in events.jsonl, with these `weights` of the generator (EMA or raw)."""
    data, images, trained = run.data, run.data.images, evaluation.reference == "train"
    if images and not trained:
        data = data._replace(rows=evaluation_samples(data, evaluation.images), held=None)
    protocol = Protocol(
        extractor=extractor_of(run, evaluation, note) or "pixels8",
        generated=_generated(data, evaluation),
        split="test" if images and run.data.held and not trained else split_name(run.data, "train"),
        weights=weights,
        batch_norm=sampling.batch_norm(run.game.players["G"].network),
    )
    described = describe(protocol, data) | {"seed": [int(m["seed"]) for m in run.members]}
    if not images:
        return {key: value for key, value in described.items() if key not in ("real", "data_sha256", "exact")}
    return described | {"depth": "not rounded"}
