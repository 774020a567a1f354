"""A traced step is the step: the same results in the same trees, whatever is passed on or given twice."""

from typing import Any

import pytest
import torch

from steadygan.build import build
from steadygan.config import parse
from steadygan.game import State
from steadygan.training.compile.program import as_step, leaves, traced

A, B, X = torch.tensor([1.0, 2.0]), torch.tensor([5.0]), torch.tensor([[3.0, 4.0]])


def start(**fields: Any) -> State:
    return State(
        **{"params": {"D": A}, "buffers": {}, "moments": {"D": {}}, "average": {}, "scalars": {}, **fields}
    )


def run(step: Any, state: State, batch: list) -> tuple[State, dict, Any]:
    graph, form = traced(step, state, batch)
    return *as_step(lambda tensors: graph(*tensors), form)(state, batch), form


def test_results_are_in_their_places_and_empty_trees_stay():
    def step(state: State, batch: Any) -> Any:
        (draw,) = batch
        moved = state.params["D"] + draw["x"].sum()
        return state._replace(params={"D": moved}, scalars={"step": draw["n"] + 1}), {"loss": moved[0] * 2}

    after, logs, _ = run(step, start(), [{"x": X, "n": torch.tensor(6)}])
    assert after.params["D"].tolist() == [8.0, 9.0]
    assert after.scalars["step"].item() == 7
    assert (after.buffers, after.moments, after.average) == ({}, {"D": {}}, {})
    assert logs["loss"].item() == 16


def test_what_a_step_passes_on_is_the_tensor_that_it_got_and_no_result_is_made_twice():
    def step(state: State, batch: Any) -> Any:
        new = state.params["D"] * 3
        return state._replace(params={"D": new}, average={"D": {"params": new, "count": B}}), {"old": A}

    graph_state = start(buffers={"D": {"count": B}})

    def passing(state: State, batch: Any) -> Any:
        after, _ = step(state, batch)
        return after._replace(average={"D": {"params": after.params["D"], **state.buffers["D"]}}), {}

    after, _, form = run(passing, graph_state, [])
    assert after.buffers["D"]["count"] is B
    assert after.average["D"]["count"] is B
    assert after.average["D"]["params"] is after.params["D"]
    assert form.outputs == 1


def test_a_tensor_that_is_given_twice_is_two_inputs():
    """So the program also takes two tensors there."""

    def step(state: State, batch: Any) -> Any:
        return state._replace(params={"D": state.params["D"] + state.average["D"]["params"]}), {}

    after, _, form = run(step, start(average={"D": {"params": A}}), [])
    assert after.params["D"].tolist() == [2.0, 4.0]
    assert form.outputs == 1
    assert form.state["average"] == {"D": {"params": 1}}


def test_code_that_asks_whether_it_is_compiled_hears_yes_while_it_is_traced_only():
    asked = []

    def step(state: State, batch: Any) -> Any:
        asked.append(torch.compiler.is_compiling())
        return state._replace(params={"D": -state.params["D"]}), {}

    traced(step, start(), [])
    step(start(), [])
    assert asked == [True, False]


def test_a_step_that_needs_a_number_is_not_traced():
    def step(state: State, batch: Any) -> Any:
        return state._replace(params={"D": state.params["D"] * (1 if state.params["D"].sum() > 0 else 2)}), {}

    with pytest.raises(RuntimeError):
        traced(step, start(), [])


@pytest.mark.parametrize("seeds", [1, 2])
def test_a_traced_step_of_a_run_is_the_step(seeds):
    made = build(
        parse(
            {
                "data": "ring8",
                "networks": {"name": "mlp", "width": 8, "depth": 2},
                "critic": {"penalties": [{"name": "r1", "weight": 1}]},
                "fake_as_real": {"count": 4, "pool": 2},
                "optimizer": {"name": "adam", "lr": 0.01},
                "ema": {"decay": 0.5},
                "precision": "float64",
                "batch": 8,
                "steps": 10,
                "seeds": seeds,
            }
        )
    )
    step = torch.vmap(made.step) if seeds > 1 else made.step
    found, logs, _ = run(step, made.state, made.draws(0))
    wanted, told = step(made.state, made.draws(0))
    for one, other in zip(leaves((*found, logs)), leaves((*wanted, told)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)
