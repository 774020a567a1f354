"""The loop: which events it yields and when, and that it stops at the first NaN with the last good state.

The step here is a toy whose state says at any time which steps were done, so every state in an event can be told.
"""

import math
from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from steadygan.game import State
from steadygan.training.advance import advancing
from steadygan.training.divergence import Origin, origin
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
)
from steadygan.training.loop import train


def state(step: int = 0, members: int | None = None) -> State:
    shape = () if members is None else (members,)
    count = torch.full(shape, step, dtype=torch.int64)
    return State(
        params={"G": torch.full((*shape, 1), float(step))},
        buffers={},
        moments={},
        average={},
        scalars={"step": count},
    )


class Toy:
    """A step that adds one to its parameter, or makes it `bad` in member m at step `when[m]`."""

    def __init__(self, when: dict[int, int] | None = None, bad: float = math.nan) -> None:
        self.when, self.bad = when or {}, bad
        self.batches: list[int] = []
        self.logged: list[dict[str, Tensor]] = []

    def draws(self, step: int) -> list[dict[str, Tensor]]:
        self.batches.append(step)
        return []

    def __call__(self, before: State, batch: object) -> tuple[State, dict[str, Tensor]]:
        step = before.scalars["step"] + 1
        params = before.params["G"] + 1
        now = int(step.flatten()[0])
        for member, when in self.when.items():
            if now == when:
                params = params.clone()
                params.view(-1)[member] = self.bad
        finite = params.sum(-1).isfinite().float()
        self.logged.append({"loss/G": params.sum(-1), "finite": finite})
        return before._replace(params={"G": params}, scalars={"step": step}), self.logged[-1]


def look(now: State) -> Evaluated:
    return Evaluated([now.params["G"]], {"score": float(now.params["G"].sum())})


def run(toy: Toy, steps: int, every: Every, start: State | None = None, wall_s: float = 0.0) -> list[Event]:
    began = state() if start is None else start
    return list(
        train(advancing(toy, toy.draws), began, evaluate=look, steps=steps, every=every, wall_s=wall_s)
    )


def kinds(events: list[Event]) -> list[tuple[str, int]]:
    return [(type(event).__name__, event.step) for event in events]


def value(now: State) -> float:
    return now.params["G"].item()


# ----------------------------------------------------------------------------------------- what comes when


def test_every_kind_of_event_comes_at_its_interval_and_all_at_the_end():
    """Lines before scores before checkpoints: what stands in a checkpoint's lines is then never lost."""
    events = run(Toy(), 7, Every(log=2, score=3, checkpoint=4))
    assert kinds(events) == [
        ("Progress", 2),
        ("Scored", 3),
        ("Progress", 4),
        ("Snapshot", 4),
        ("Progress", 6),
        ("Scored", 6),
        ("Progress", 7),
        ("Scored", 7),
        ("Snapshot", 7),
        ("Finished", 7),
    ]


@pytest.mark.parametrize(
    ("score", "evaluated"), [(4, [0, 4, 7]), ((0, 3, 50), [0, 3, 7]), ((3, 5), [3, 5, 7])], ids=str
)
def test_evaluations_come_at_an_interval_from_step_0_on_or_at_chosen_steps(score, evaluated):
    """Step 0 is not evaluated a second time: what was found of it is handed on."""
    first, seen = state(), []

    def evaluate(now: State) -> Evaluated:
        seen.append(int(value(now)))
        return look(now)

    begun, toy = look(first), Toy()
    events = list(
        train(
            advancing(toy, toy.draws),
            first,
            evaluate=evaluate,
            begun=begun,
            steps=7,
            every=Every(9, score, 9),
        )
    )
    scored = [event for event in events if isinstance(event, Scored)]
    assert [event.step for event in scored] == evaluated
    assert all(value(event.state) == event.step for event in scored)
    assert seen == [step for step in evaluated if step]
    assert (scored[0].evaluated is begun) == (evaluated[0] == 0)


def test_a_run_that_goes_on_does_not_evaluate_where_it_starts():
    assert [event.step for event in run(Toy(), 6, Every(9, 2, 9), state(2)) if isinstance(event, Scored)] == [
        4,
        6,
    ]


@pytest.mark.parametrize("every", [Every(1, 1, 1), Every(3, 2, 5), Every(100, 100, 100)], ids=str)
def test_an_event_holds_the_state_of_its_own_step(every):
    for event in run(Toy(), 11, every):
        if isinstance(event, Scored | Snapshot | Finished):
            assert value(event.state) == event.step
        if isinstance(event, Scored):
            assert event.evaluated.scores == {"score": event.step}, "what was looked at is that state"
        if isinstance(event, Progress):
            assert event.logs["loss/G"].item() == event.step


def test_logs_are_handed_on_as_they_are():
    """A sink that wants none of them must not make the device wait: no copy, no number is read."""
    toy = Toy()
    (event,) = [e for e in run(toy, 3, Every(3, 9, 9)) if isinstance(e, Progress)]
    assert event.logs is toy.logged[-1]


def test_each_step_is_done_once_with_its_own_batch():
    toy = Toy()
    run(toy, 5, Every(2, 2, 2))
    assert toy.batches == [0, 1, 2, 3, 4]


def test_a_loop_without_a_consumer_trains_all_the_same():
    toy = Toy()
    assert not deque(
        train(advancing(toy, toy.draws), state(), evaluate=look, steps=9, every=Every(1, 1, 1)), maxlen=0
    )
    assert len(toy.logged) == 9


def test_nothing_runs_ahead_of_its_consumer():
    """A consumer that stops for good at an event leaves no step half told."""
    toy = Toy()
    events = train(advancing(toy, toy.draws), state(), evaluate=look, steps=9, every=Every(2, 9, 9))
    assert toy.logged == []
    next(events)
    assert len(toy.logged) == 2
    events.close()
    assert len(toy.logged) == 2


def test_a_look_is_taken_only_when_it_is_time():
    """It costs as much as a hundred steps."""
    looked = []

    def seen(now: State) -> Evaluated:
        looked.append(value(now))
        return look(now)

    toy = Toy()
    deque(train(advancing(toy, toy.draws), state(), evaluate=seen, steps=10, every=Every(1, 4, 1)), maxlen=0)
    assert looked == [4, 8, 10]


# ------------------------------------------------------------------------------------------------ resuming


@pytest.mark.parametrize("at", range(0, 12))
def test_a_run_taken_up_at_any_step_yields_what_was_still_to_come(at):
    every = Every(2, 3, 4)
    whole = kinds(run(Toy(), 11, every))
    toy = Toy()
    rest = kinds(run(toy, 11, every, state(at)))
    assert rest == [event for event in whole if event[1] > at or event[0] == "Finished"]
    assert toy.batches == list(range(at, 11))


def test_a_complete_run_does_no_step():
    toy = Toy()
    assert kinds(run(toy, 5, Every(1, 1, 1), state(5))) == [("Finished", 5)]
    assert toy.batches == []


def test_the_clock_goes_on_from_the_time_spent_before():
    times = [
        event.wall_s for event in run(Toy(), 6, Every(1, 2, 3), wall_s=1000.0) if hasattr(event, "wall_s")
    ]
    assert times == sorted(times)
    assert 1000 <= times[0] <= times[-1] < 1100


# ---------------------------------------------------------------------------------------------- divergence


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("interval", [1, 3, 4])
@pytest.mark.parametrize("when", [1, 2, 3, 4, 5, 7, 12])
def test_a_run_that_turns_bad_is_ended_at_the_next_look_with_its_last_good_state(bad, interval, when):
    """Every (step at which it happens, interval) pair: off by one in either and the state saved is a bad one."""
    toy = Toy({0: when}, bad)
    events = run(toy, 12, Every(interval, 100, 100))
    found = math.ceil(when / interval) * interval
    good = (when - 1) // interval * interval
    snapshot, diverged = events[-2:]
    assert isinstance(snapshot, Snapshot)
    assert (snapshot.step, value(snapshot.state), int(snapshot.state.scalars["step"])) == (good, good, good)
    assert diverged == Diverged(step=found, good_step=good, members=[0])
    assert len(toy.logged) == found, "not one step more"
    assert [event.step for event in events[:-2]] == list(range(interval, found, interval)), (
        "none of a bad state"
    )


def test_a_run_that_turns_bad_between_looks_of_another_kind_is_seen_by_any_look():
    events = run(Toy({0: 5}), 20, Every(log=100, score=4, checkpoint=100))
    assert kinds(events) == [("Scored", 4), ("Snapshot", 4), ("Diverged", 8)]


def test_a_run_that_turns_bad_after_it_was_resumed_leaves_the_state_it_was_resumed_from():
    events = run(Toy({0: 8}), 20, Every(5, 5, 5), state(7))
    assert kinds(events) == [("Snapshot", 7), ("Diverged", 10)]
    assert events[1] == Diverged(10, 7, [0])


def test_an_ensemble_goes_on_without_the_member_that_turned_bad_and_names_it():
    events = run(Toy({1: 3}), 8, Every(2, 100, 4), state(members=3))
    assert kinds(events) == [
        ("Progress", 2),
        ("Snapshot", 2),  # the last state in which the member is finite
        ("Diverged", 4),
        ("Progress", 4),
        ("Snapshot", 4),
        ("Progress", 6),
        ("Progress", 8),
        ("Scored", 8),
        ("Snapshot", 8),
        ("Finished", 8),
    ]
    assert events[2] == Diverged(step=4, good_step=2, members=[1])
    assert events[-1].state.params["G"][[0, 2]].flatten().tolist() == [8, 8]


def test_an_ensemble_ends_when_its_last_member_has_turned_bad():
    toy = Toy({0: 2, 2: 2, 1: 5})
    events = run(toy, 20, Every(1, 100, 100), state(members=3))
    assert [e for e in events if isinstance(e, Diverged)] == [Diverged(2, 1, [0, 2]), Diverged(5, 4, [1])]
    first, snapshot = [e for e in events if isinstance(e, Snapshot)]
    assert first.step == 1
    assert snapshot.step == 4
    assert snapshot.state.params["G"][1].item() == 4, "the last good state of the one that lasted"
    assert isinstance(events[-1], Diverged)
    assert len(toy.logged) == 5


def test_a_member_that_was_bad_before_a_resume_is_not_told_again():
    """N steps, stop, M steps tell what N + M steps tell."""
    whole = run(Toy({1: 2}), 8, Every(2, 4, 4), state(members=2))
    middle = next(event.state for event in whole if isinstance(event, Snapshot) and event.step == 4)
    toy = Toy()
    rest = run(toy, 8, Every(2, 4, 4), middle)
    assert kinds(rest) == [event for event in kinds(whole) if event[1] > 4]


# -------------------------------------------------------------------------------------------------- on a device


class Reads(TorchDispatchMode):
    """Counts the operations by which the host reads numbers of a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        names = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal")
        self.count += any(name in str(func) for name in names)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("members", [None, 3])
def test_between_events_the_loop_reads_no_number(members):
    """Each read waits until a GPU has done all that it was given."""
    seen = {}

    def step(before: State, batch: object) -> tuple[State, dict[str, Tensor]]:
        now = before.scalars["step"] + 1
        params = before.params["G"] + 1
        return before._replace(params={"G": params}, scalars={"step": now}), {
            "finite": params.sum(-1) * 0 + 1
        }

    def draws(number: int) -> list[dict[str, Tensor]]:
        seen[number] = reads.count
        return []

    with Reads() as reads:
        every = Every(log=10, score=20, checkpoint=20, diagnostics=20)
        events = list(
            train(
                advancing(step, draws),
                state(members=members),
                evaluate=look,
                steps=40,
                every=every,
                stop=Stop("loss/G", 0),
            )
        )
    assert len(events) > 4
    assert seen[10] > seen[9], "an event reads"
    for number in range(1, 40):
        assert number % 10 == 0 or seen[number] == seen[number - 1]


def test_statistics_come_at_their_interval_and_at_the_end():
    toy, seen = Toy(), []

    def statistics(before, now):
        seen.append((int(before.scalars["step"]), int(now.scalars["step"])))
        return {}

    every = Every(log=2, score=100, checkpoint=100, diagnostics=3)
    events = list(
        train(advancing(toy, toy.draws), state(), evaluate=look, statistics=statistics, steps=7, every=every)
    )
    assert [e.step for e in events if isinstance(e, Statistics)] == [3, 6, 7]
    assert seen == [(2, 3), (5, 6), (6, 7)]


def test_the_first_of_the_lost_members_is_traced_from_the_last_good_state():
    toy, asked = Toy({2: 4, 1: 4}), []

    def trace(good, until, member):
        asked.append((int(good.scalars["step"][0]), until, member))
        return 4, "loss/D"

    events = list(
        train(
            advancing(toy, toy.draws),
            state(members=3),
            evaluate=look,
            trace=trace,
            steps=5,
            every=Every(3, 100, 100),
        )
    )
    assert asked == [(3, 5, 1)]
    assert next(e for e in events if isinstance(e, Diverged)) == Diverged(5, 3, [1, 2], 4, "loss/D")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_the_origin_is_the_first_tensor_of_the_member_that_is_not_finite(bad):
    """Member 1 at step 4: its loss of D before its loss of G. Of the others nothing is told."""

    def step(now, batch):
        count = now.scalars["step"] + 1
        hit = torch.tensor([False, int(count[0]) >= 4, False])
        loss = torch.zeros(3).masked_fill(hit, bad)
        logs = {"accuracy": torch.zeros(3), "loss/D": loss, "loss/G": loss, "finite": (~hit).float()}
        return now._replace(scalars={"step": count}), logs

    game, advance = SimpleNamespace(players={}), advancing(step, lambda number: [])
    assert origin(game, advance, state(2, 3), 6, 1) == Origin(4, "loss/D")
    assert origin(game, advance, state(2, 3), 6, 0) is None
