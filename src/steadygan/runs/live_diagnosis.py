"""Diagnostics while a run trains: it warns once about each verdict, and stops the run early if asked to."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from steadygan.config import Config
from steadygan.config.field_types import ends
from steadygan.diagnostics import WELL, Events, Verdict, diagnose
from steadygan.diagnostics.history import is_score
from steadygan.diagnostics.warnings_once import WarnOnce
from steadygan.runs.sinks.jsonl import Images, line_of
from steadygan.training.events import Event, Scored, StoppedByDiagnosis

__all__ = ["early_stopping", "facts_of", "taken_up"]


def early_stopping(
    events: Events,
    images: Images,
    stop_on: Collection[str],
    warn: Callable[[str], None],
    judged: Callable[[int, Sequence[Sequence[Verdict]]], None] = lambda step, found: None,
    before: Sequence[list[Verdict]] = (),
) -> Callable[[Event], StoppedByDiagnosis | None]:
    """Make the callback that adds a run's events to `events` and diagnoses the run at each evaluation.

    A verdict counts after two evaluations in a row. Then `warn` gets it once per run, with its first evidence and the
    remedy. `judged` gets, at each evaluation, the verdicts on each member that count. Of a resumed run, `before` are
    the verdicts at its last evaluation (`taken_up`). The callback returns StoppedByDiagnosis when each member that
    still trains has a verdict in `stop_on`.
    """
    # Divergence is not warned about here: it is reported as it happens.
    warnings = WarnOnce(warn, lambda v: f"{v.remedy} ({v.config})" if v.config else v.remedy, "diverged")

    warnings.sure(before)

    def callback(event: Event) -> StoppedByDiagnosis | None:
        line = line_of(event, images)
        if line is not None:
            events.add(line)
        if not isinstance(event, Scored):
            return None
        found = [diagnose(events.history(index)) for index in range(events.members)]
        sure = warnings.sure(found)
        judged(
            event.step,
            [[v for v in each if v.name in WELL or (i, v.name) in sure] for i, each in enumerate(found)],
        )
        warnings.tell(event.step, sure, events.members)
        ends = [key for key in sure if key[1] in stop_on]
        lost = {index for index, name in sure if name == "diverged"}
        if ends and {index for index, _ in ends} | lost == set(range(events.members)):
            return StoppedByDiagnosis(event.step, sure[ends[0]], sorted({index for index, _ in ends}))
        return None

    return callback


def taken_up(events: Events, lines: Sequence[Mapping[str, Any]]) -> list[list[Verdict]]:
    """Add the lines of a resumed run to `events`. Returns the verdicts on each member at its last evaluation."""
    # A toy game is evaluated by its place alone.
    evaluated = [p for p, line in enumerate(lines) if any(is_score(k) or k.startswith("at/") for k in line)]
    found: list[list[Verdict]] = []
    for place, line in enumerate(lines):
        events.add(line)
        if evaluated and place == evaluated[-1]:
            found = [diagnose(events.history(index)) for index in range(events.members)]
    return found


def facts_of(settings: Config) -> dict[str, Any]:
    """The facts of a run's configuration that a diagnosis takes into account."""
    count = settings.fake_as_real.count
    return {
        "game": settings.game.name,
        "loss": getattr(getattr(settings.game, "loss", None), "name", None),
        "fake_as_real": count != 0,
        "penalties": [penalty.name for penalty in settings.critic.penalties],
        "penalty_weight": max(
            (end for penalty in settings.critic.penalties for end in ends(getattr(penalty, "weight", 0.0))),
            default=0.0,
        ),
        "normalization": settings.critic.normalization.name,
        "augment": settings.augment.name != "none",
        "dynamics": settings.dynamics.name,
        # All image data sets have one of these options, and no others.
        "images": hasattr(settings.data, "limit") or hasattr(settings.data, "filter"),
        "steps": settings.steps,
        "adam_rate": _adam_rate(settings.optimizer),
    }


def _adam_rate(chosen: Any) -> float | None:
    """The largest learning rate of all players at any step, where all have Adam or one of its kin."""
    parts = list(chosen.values()) if isinstance(chosen, dict) else [chosen]
    kin = all(part.name.startswith("adam") for part in parts)
    return max((rate for part in parts for rate in ends(part.lr)), default=None) if kin else None
