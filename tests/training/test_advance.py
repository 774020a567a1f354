"""From one step to a later one: each member takes its own steps, however the members are divided into blocks."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from steadygan.build import build
from steadygan.config import parse
from steadygan.game import State
from steadygan.training.advance import advancing, blocks
from steadygan.training.compile import compiled_step
from steadygan.training.compile.compiled_step import compiled, vectorised

RING = {
    "data": {"name": "ring8", "scale": 2.0},
    "networks": {"name": "mlp", "width": 8, "depth": 1},
    "fake_as_real": {"count": 4, "pool": 2},
    "optimizer": {"name": "adam", "lr": 1e-3},
    "ema": {"decay": 0.9},
    "batch": 8,
    "steps": 200,
    "precision": "float64",
}
MEMBERS = 5


class Toy:
    """x <- x / 2 + d, where member m's draw at step t is d = 10 m + t."""

    def __init__(self) -> None:
        self.drawn: list[int] = []
        self.together: set[int] = set()

    def draws(self, number: int) -> list[dict[str, Tensor]]:
        self.drawn.append(number)
        return [{"d": 10.0 * torch.arange(MEMBERS) + number}]

    def __call__(self, state: State, batch: list[dict[str, Tensor]]) -> tuple[State, dict[str, Tensor]]:
        x = state.params["G"] / 2 + batch[0]["d"][:, None]
        self.together.add(len(x))
        step = state.scalars["step"] + 1
        return state._replace(params={"G": x}, scalars={"step": step}), {"x": x[:, 0]}


def start() -> State:
    x = torch.arange(MEMBERS, dtype=torch.float32)[:, None]
    return State({"G": x}, {}, {}, {}, {"step": torch.zeros(MEMBERS, dtype=torch.int64)})


def expected(steps: int) -> list[float]:
    """x_T = m 2^-T + sum over t < T of (10 m + t) 2^(t + 1 - T)."""
    return [
        m * 2.0**-steps + sum((10 * m + t) * 2.0 ** (t + 1 - steps) for t in range(steps))
        for m in range(MEMBERS)
    ]


@pytest.mark.parametrize("together", [None, 1, 2, 3, 4, 5, 16])
@pytest.mark.parametrize("stretch", [1, 4, 64])
def test_every_member_takes_every_step_with_its_own_draws(together, stretch):
    toy = Toy()
    before, after, logs = advancing(toy, toy.draws, together=together, stretch=stretch)(start(), 0, 10)
    for state, steps in ((before, 9), (after, 10)):
        assert state.params["G"][:, 0].tolist() == pytest.approx(expected(steps), rel=1e-6)
        assert state.scalars["step"].tolist() == [steps] * MEMBERS
    assert logs["x"].tolist() == after.params["G"][:, 0].tolist()
    assert max(toy.together) <= (together or MEMBERS)


def test_the_state_that_was_given_stays_as_it_was():
    toy, given = Toy(), start()
    before, _, _ = advancing(toy, toy.draws, together=2)(given, 0, 1)
    assert_close(given, start(), rtol=0, atol=0)
    assert_close(before, given, rtol=0, atol=0)


def test_draws_that_are_made_together_are_used_by_all_blocks_before_the_next():
    toy = Toy()
    advancing(toy, toy.draws, together=2, stretch=4)(start(), 2, 9)
    assert toy.drawn == [2, 3] * 3 + [4, 5, 6, 7] * 3 + [8] * 3


@given(members=st.integers(1, 300), together=st.integers(1, 40))
def test_blocks_are_of_one_size_and_leave_nobody_out(members, together):
    found = [range(members)[rows] for rows in blocks(members, together)]
    assert sorted({m for block in found for m in block}) == list(range(members))
    assert len({len(block) for block in found}) == 1
    assert len(found[0]) <= together
    assert sum(map(len, found)) < members + len(found), "less than one member a block is computed twice"


@pytest.mark.slow
def test_an_ensemble_in_blocks_is_the_ensemble_and_goes_on_wherever_it_was_interrupted():
    run = build(parse({**RING, "seeds": MEMBERS, "compile": False}))
    step = vectorised(run.step)
    whole = advancing(step, run.draws)(run.state, 0, 90)
    blocked = advancing(step, run.draws, together=2, stretch=run.draws.stretch)
    assert_close(blocked(run.state, 0, 90), whole, rtol=0, atol=1e-9)
    _, parts, _ = blocked(run.state, 0, 37)
    assert_close(blocked(parts, 37, 90), blocked(run.state, 0, 90), rtol=0, atol=0)


def test_all_blocks_run_one_program(monkeypatch):
    """Compiling takes longer than many a run."""
    programs = []

    def made(step: Any, *arguments: Any) -> Any:
        programs.append(step)
        return step, None

    monkeypatch.setattr(compiled_step, "_program", made)
    run = build(parse({**RING, "seeds": MEMBERS}))
    step = compiled(vectorised(run.step), pytest.fail, "float64")
    advancing(step, run.draws, together=2, stretch=run.draws.stretch)(run.state, 0, 70)
    assert len(programs) == 1
