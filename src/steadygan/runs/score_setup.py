"""How a run is looked at while it trains: through which extractor, at which real images, by which protocol."""

from collections.abc import Callable

from steadygan.build import Run
from steadygan.config import Config
from steadygan.game import State
from steadygan.metrics import Extractor, Protocol, describe
from steadygan.runs import classifiers
from steadygan.runs.folder import Note
from steadygan.training import sampling, toy_scores
from steadygan.training.events import Look
from steadygan.training.online_scores import CLASSIFIERS, POINTS, looked_at, looker

__all__ = ["look_of", "protocol_of", "through"]


def look_of(settings: Config, run: Run, note: Note) -> Callable[[State], Look]:
    """The function that looks at a run's states. Raises UsageError where what it looks through is not there."""
    if run.game.rest:
        members, ensemble = len(run.members), run.ensemble
        return toy_scores.portrait(
            run.game, run.rule, run.draws, members=members, ensemble=ensemble, closed=run.radius
        )
    seeds = [int(m["seed"]) for m in run.members]
    needed = CLASSIFIERS.get(run.data.name)
    return looker(
        run.game,
        run.data,
        latent=run.latent,
        seeds=seeds,
        ensemble=run.ensemble,
        device=run.device,
        classes=run.classes,
        classifier=classifiers.ready(needed, note) if needed else None,
        extractor=_extractor(settings, run, note),
        images=settings.looks.images,
    )


def through(settings: Config) -> str | None:
    """The extractor of a run's looks besides pooled pixels."""
    name = settings.looks.extractor
    return None if name == "pixels8" else name


def _extractor(settings: Config, run: Run, note: Note) -> Extractor | None:
    name = through(settings)
    return classifiers.look_through(name, run.data.shape[0], note) if name else None


def protocol_of(settings: Config, run: Run, note: Note) -> dict[str, object]:
    """How the scores in events.jsonl are made."""
    data, images = run.data, len(run.data.shape) == 3
    if images:
        data = data._replace(rows=looked_at(data, settings.looks.images))
    protocol = Protocol(
        extractor=_extractor(settings, run, note) or "pixels8",
        generated=len(data.rows) if images and data.rows is not None else POINTS,
        split="test" if images and data.held else "train",
        weights="EMA" if settings.ema else "raw",
        batch_norm=sampling.batch_norm(run.game.players["G"].network),
    )
    described = describe(protocol, data) | {"seed": [int(m["seed"]) for m in run.members]}
    if not images:
        return {key: value for key, value in described.items() if key not in ("real", "data_sha256", "exact")}
    return described | {"depth": "not rounded"}
