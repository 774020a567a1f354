"""How a run is looked at while it trains: through which extractor, at which real images, by which protocol."""

from collections.abc import Callable

from steadygan.build import Run
from steadygan.config.schema import Evaluation
from steadygan.game import State
from steadygan.metrics import Extractor, Protocol, describe
from steadygan.runs import classifiers
from steadygan.runs.folder import Note
from steadygan.training import sampling, toy_scores
from steadygan.training.events import Look
from steadygan.training.online_scores import POINTS, looked_at, looker

__all__ = ["look_of", "protocol_of", "through"]


def look_of(run: Run, evaluation: Evaluation, note: Note) -> Callable[[State], Look]:
    """The function that looks at a run's states. Raises UsageError where what it looks through is not there."""
    if run.game.rest:
        members, ensemble = len(run.members), run.ensemble
        return toy_scores.portrait(
            run.game, run.rule, run.draws, members=members, ensemble=ensemble, closed=run.radius
        )
    seeds = [int(m["seed"]) for m in run.members]
    needed = run.data.mode_classifier
    return looker(
        run.game,
        run.data,
        latent=run.latent,
        seeds=seeds,
        ensemble=run.ensemble,
        device=run.device,
        classes=run.classes,
        classifier=classifiers.ready(needed, note) if needed else None,
        extractor=_extractor(run, evaluation, note),
        images=evaluation.images,
    )


def through(evaluation: Evaluation) -> str | None:
    """The extractor of the evaluation during training besides pooled pixels."""
    return None if evaluation.extractor == "pixels8" else evaluation.extractor


def _extractor(run: Run, evaluation: Evaluation, note: Note) -> Extractor | None:
    name = through(evaluation)
    return classifiers.look_through(name, run.data.shape[0], note) if name else None


def protocol_of(run: Run, evaluation: Evaluation, note: Note, *, weights: str) -> dict[str, object]:
    """How the scores in events.jsonl are made, of these `weights` of the generator (EMA or raw)."""
    data, images = run.data, len(run.data.shape) == 3
    if images:
        data = data._replace(rows=looked_at(data, evaluation.images))
    protocol = Protocol(
        extractor=_extractor(run, evaluation, note) or "pixels8",
        generated=len(data.rows) if images and data.rows is not None else POINTS,
        split="test" if images and data.held else "train",
        weights=weights,
        batch_norm=sampling.batch_norm(run.game.players["G"].network),
    )
    described = describe(protocol, data) | {"seed": [int(m["seed"]) for m in run.members]}
    if not images:
        return {key: value for key, value in described.items() if key not in ("real", "data_sha256", "exact")}
    return described | {"depth": "not rounded"}
