"""The doctor beside a run: it reads what the run writes, warns once of what is wrong, and says when to stop."""

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from steadygan.config import Config
from steadygan.diagnostics import Events, Verdict, diagnose
from steadygan.diagnostics.warnings_once import Teller
from steadygan.runs.sinks.jsonl import line_of
from steadygan.training.events import Event, Scored

__all__ = ["Ill", "attendant", "facts_of"]


class Ill(NamedTuple):
    """A verdict that ends a run: at `step`, of these members of the ensemble."""

    step: int
    verdict: Verdict
    members: list[int]


def attendant(
    events: Events, images_per_step: int, stop_on: Collection[str], warn: Callable[[str], None]
) -> Callable[[Event], Ill | None]:
    """Make the function that takes in a run's events, after those of `events`, and looks at it when it is scored.

    A verdict counts when two looks in a row come to it: then it is told of, once a run, with its first evidence and
    the remedy. The function returns Ill once every member that still trains has a verdict of `stop_on`.
    """
    teller = Teller(warn, lambda v: f"{v.remedy} ({v.config})", "diverged")  # which is told of as it happens

    def attend(event: Event) -> Ill | None:
        line = line_of(event, images_per_step)
        if line is not None:
            events.add(line)
        if not isinstance(event, Scored):
            return None
        sure = teller.sure([diagnose(events.history(index)) for index in range(events.members)])
        teller.tell(event.step, sure, events.members)
        ends = [key for key in sure if key[1] in stop_on]
        lost = {index for index, name in sure if name == "diverged"}
        if ends and {index for index, _ in ends} | lost == set(range(events.members)):
            return Ill(event.step, sure[ends[0]], sorted({index for index, _ in ends}))
        return None

    return attend


def facts_of(settings: Config) -> dict[str, Any]:
    """What a diagnosis takes into account besides numbers, of a run's configuration."""
    count = settings.fake_as_real.count
    return {
        "game": settings.game.name,
        "loss": getattr(getattr(settings.game, "loss", None), "name", None),
        "fake_as_real": count != 0,
        "penalties": [penalty.name for penalty in settings.critic.penalties],
        "normalization": settings.critic.normalization.name,
        "augment": settings.augment.name != "none",
        "dynamics": settings.dynamics.name,
        "images": hasattr(settings.data, "limit"),  # an option of all sets of images and of no others
        "steps": settings.steps,
    }
