"""The training loop: a Python generator of events. It does not know who reads them."""

import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from steadygan.game import Logs, State
from steadygan.game.state import finite
from steadygan.training.advance import Advance
from steadygan.training.cluster import WHOLE, Place
from steadygan.training.early_stopping import stops
from steadygan.training.events import (
    Diverged,
    Evaluated,
    Event,
    Every,
    Finished,
    Progress,
    Scored,
    Snapshot,
    Statistics,
    Stop,
    Stopped,
    coming,
    due,
)

__all__ = ["lost_members", "train"]


def train(
    advance: Advance,
    state: State,
    *,
    evaluate: Callable[[State], Evaluated],
    begun: Evaluated | None = None,
    statistics: Callable[[State, State], Logs] | None = None,
    trace: Callable[[State, int, int], tuple[int, str] | None] | None = None,
    steps: int,
    every: Every,
    wall_s: float = 0.0,
    stop: Stop | None = None,
    place: Place = WHOLE,
) -> Iterator[Event]:
    """Advance from the state's own step counter up to `steps`, and yield an event for everything that happens.

    `evaluate(state)` evaluates a state. `begun` is what it has returned for the first state of a run, and makes the
    first event if that step is to be evaluated. `statistics(before, state)` is the diagnostics pass, and also gets the
    previous state. `trace(good, until, member)` finds the step and the tensor at which a member diverged: `good` is the
    last finite state, `until` the step at which NaN was seen. `wall_s` is the time spent before a resume.

    The run ends early in two ways. `stop` can end it: its last step then has all events of a last step. A NaN or
    infinite parameter also ends it, after a Snapshot of the last finite state. An ensemble yields such a Snapshot when
    a member is lost, and ends when no member is finite.

    Where several processes train the run, `state` is that of the whole run, and so are the events on all of them.
    `advance`, `evaluate`, `statistics` and `trace` are of this process's members at its `place`.
    """
    began = time.perf_counter() - wall_s
    first = int(state.scalars["step"].flatten()[0])
    diverged, state = lost_members(state), place.mine(state)
    good = (first, state)
    if begun and due(first, every.score):
        yield Scored(first, time.perf_counter() - began, place.state(state), place.evaluated(begun))
    while good[0] < steps:
        done = _next(good[0], every, steps)
        before, state, logs = advance(state, good[0], done)
        log = done == steps or done % every.log == 0
        logs = place.agreed(logs)
        # Logs stay on the device: reading one waits for it, so `stop` is tested only where the step is logged anyway.
        stopped = log and done < steps and stop is not None and stops(stop, done, logs.get(stop.log))
        last = done == steps or stopped
        # Before the other events: a run that has NaN is neither evaluated nor saved.
        new = _not_finite(logs["finite"]) - diverged
        if new:
            diverged |= new
            yield Snapshot(good[0], place.state(good[1]))
            yield Diverged(
                done, good[0], sorted(new), *(trace(good[1], done, min(new)) or () if trace else ())
            )
            if len(diverged) == logs["finite"].numel():
                return
        good = (done, state)
        if log:
            yield Progress(done, time.perf_counter() - began, logs)
        if statistics and (last or (every.diagnostics and done % every.diagnostics == 0)):
            yield Statistics(done, time.perf_counter() - began, place.logs(statistics(before, state)))
        if last or due(done, every.score):
            found = place.evaluated(evaluate(state))
            yield Scored(done, time.perf_counter() - began, place.state(state), found)
        if last or done % every.checkpoint == 0:
            yield Snapshot(done, place.state(state))
        if stopped and stop:
            yield Stopped(done, stop)
            steps = done
            break
    yield Finished(steps, time.perf_counter() - began, place.state(state))


def _next(done: int, every: Every, steps: int) -> int:
    """The next step that has an event."""
    return min([steps, *(step for each in every if each for step in coming(done, each))])


def lost_members(state: State) -> set[int]:
    """The members of an ensemble whose state has NaN or infinity; a single run is member 0."""
    ensemble = state.scalars["step"].ndim == 1
    return _not_finite(torch.vmap(finite)(state) if ensemble else finite(state))


def _not_finite(finite: Tensor) -> set[int]:
    return set(torch.nonzero(finite.detach().cpu().reshape(-1) != 1).flatten().tolist())
