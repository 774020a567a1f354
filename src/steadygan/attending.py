"""The doctor beside a run: it reads what the run writes, warns once of what is wrong, and says when to stop."""

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from steadygan.config import Config
from steadygan.data import Data
from steadygan.diagnostics import WELL, Events, Verdict, diagnose
from steadygan.sinks.lines import line_of
from steadygan.train import Event, Scored

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
    told: set[str] = set()
    before: set[tuple[int, str]] = set()

    def attend(event: Event) -> Ill | None:
        nonlocal before
        line = line_of(event, images_per_step)
        if line is not None:
            events.add(line)
        if not isinstance(event, Scored):
            return None
        found = {index: diagnose(events.history(index)) for index in range(events.members)}
        now = {(index, v.name): v for index, each in found.items() for v in each if v.name not in WELL}
        sure = {key: v for key, v in now.items() if key in before or v.name == "diverged"}
        before = set(now)
        for name in {name: None for _, name in sure}:
            if name not in told and name != "diverged":  # which is told of as it happens
                told.add(name)
                members = [index for index, other in sure if other == name]
                warn(_sentence(event.step, sure[members[0], name], members, events.members))
        ends = [key for key in sure if key[1] in stop_on]
        lost = {index for index, name in sure if name == "diverged"}
        if ends and {index for index, _ in ends} | lost == set(range(events.members)):
            return Ill(event.step, sure[ends[0]], sorted({index for index, _ in ends}))
        return None

    return attend


def _sentence(step: int, verdict: Verdict, members: list[int], of: int) -> str:
    """What is wrong, of whom, how it shows, and what to try."""
    who = f" in {len(members)} of {of} members" if of > 1 else ""
    name = verdict.name.replace("_", " ")
    return f"step {step:,}: {name}{who}: {verdict.evidence[0]} Try: {verdict.remedy} ({verdict.config})"


def facts_of(settings: Config, data: Data | None = None) -> dict[str, Any]:
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
        "images": data is not None and len(data.shape) == 3,
        "steps": settings.steps,
    }
