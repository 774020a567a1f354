"""Recipes that train in a moment: one for tests of commands and run folders, one for tests of steps."""

from steadygan.build import Run, build
from steadygan.config import parse
from steadygan.game import State
from steadygan.training.compile.compiled_step import vectorised

RING = {
    "data": "ring8",
    "networks": {"name": "mlp", "width": 8, "depth": 2},
    "critic": {"penalties": ["r1"]},
    "optimizer": {"name": "sgd", "lr": 0.01},
    "batch": 8,
    "steps": 6,
    "compile": False,
    "every": {"log": 1, "score": 6, "checkpoint": 2},
}

FLOAT64 = {
    "data": "ring8",
    "networks": {"name": "mlp", "width": 8, "depth": 2},
    "optimizer": {"name": "sgd", "lr": 0.1},
    "batch": 7,
    "steps": 6,
    "precision": "float64",
    "compile": False,
}
"""The same, for tests that compare its pure steps with a loop written out."""


def stepped(settings: dict) -> tuple[Run, State, list[dict]]:
    """A run, its state after all of its steps, and the logs of each."""
    run = build(parse(settings))
    step, state, logs = vectorised(run.step) if run.ensemble else run.step, run.state, []
    for number in range(settings["steps"]):
        state, log = step(state, run.draws(number))
        logs.append(log)
    return run, state, logs
