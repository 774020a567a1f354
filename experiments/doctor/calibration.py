"""The labelled runs that thresholds were calibrated on; seeds from 100."""

from functools import partial

from experiments.doctor.settings import (
    adam,
    ending,
    fading,
    falling,
    far,
    fast,
    half,
    penalty,
    rmsprop,
    rows,
    sgd,
    slow,
    uneven,
)

__all__ = ["CALIBRATION"]

_of = partial(rows, "calibration")

CALIBRATION = [
    *_of(
        "healthy",
        ("ring-r1", "ring", {**penalty("r1", 0.1), "optimizer": falling}),
        (
            "ring-far",
            "ring",
            {**penalty("r1", 0.1), "optimizer": falling, "fake_as_real": {"count": fading, "pool": 8}},
        ),
        ("grid-r1", "grid", {**penalty("r1", 0.1), "optimizer": falling}),
        (
            "ring-gp",
            "ring",
            {
                **penalty("one_centered", 0.1),
                "game.loss": "wasserstein",
                "dynamics.n_critic": 3,
                "optimizer": falling,
            },
        ),
        ("digits-r1", "digits", {**penalty("r1", 1.0), "optimizer": {**adam, "lr": 0.001}}),
    ),
    *_of(
        "vanishing",
        ("ring-minimax", "ring", {"game.loss": "minimax", "optimizer": sgd, "dynamics.n_critic": 5}),
        ("ring-clip", "ring", {"game.loss": "wasserstein", "critic.clip": 0.01, "optimizer": slow}),
        ("ring-tanh", "ring", {"game.loss": "total_variation", "optimizer": sgd, "data.scale": 10}),
        ("digits-minimax", "digits", {"game.loss": "minimax", "optimizer": fast, "dynamics.n_critic": 3}),
    ),
    *_of(
        "exploding",
        ("ring-indicator", "ring", {"game.loss": "wasserstein"}),
        ("ring-half", "ring", {"optimizer": {**half, "lr": 0.0002}}),
        ("grid-half", "grid", {"optimizer": {**half, "lr": 0.0005}}),
        ("ring-apart", "ring", {"optimizer": {**half, "lr": 0.0005}, "data.scale": 6}),
    ),
    *_of(
        "dead_critic",
        ("ring-far", "ring", {**penalty("r1", 10), **far, "optimizer": rmsprop, "data.scale": 10}),
        ("ring-r1", "ring", {**penalty("r1", 100), "optimizer": rmsprop}),
    ),
    *_of(
        "dead_game",
        ("ring-still", "ring", {"optimizer": {**adam, "lr": ending(0.001, "5%")}}),
        (
            "ring-sure",
            "ring",
            {"game.loss": "total_variation", "optimizer": {**adam, "lr": 0.01}, "data.scale": 10},
        ),
    ),
    *_of(
        "collapse",
        ("ring-began", "ring", {"game": {"name": "began"}, "optimizer": half}),
    ),
    *_of(
        "hopping",
        ("ring-G-fast", "ring", {**penalty("r1", 0.1), "optimizer": uneven(0.005, 0.0001)}),
        ("ring-heavy", "ring", {**penalty("r1", 0.1), "optimizer": uneven(0.003, 0.0003, 0.9)}),
    ),
    *_of(
        "overfitted",
        ("digits-100", "digits", {"data.limit": 100, "steps": 2500}),
        ("digits-60-ns", "digits", {"data.limit": 60, "batch": 32, "optimizer": half, "steps": 2500}),
    ),
    *_of(
        "memorisation",
        ("finite-r1", "finite", {**penalty("r1", 0.01), "data.size": 20, "batch": 16, "steps": 6000}),
        ("finite", "finite", {"data.size": 20, "batch": 16}),
    ),
    *_of(
        "rotation",
        ("dirac-alt", "dirac", {"optimizer": {"name": "sgd", "lr": 0.1}}),
        ("dirac-sim", "dirac", {"optimizer": {"name": "sgd", "lr": 0.05}, "dynamics": "simultaneous"}),
    ),
    *_of(
        "diverged",
        (
            "ring-sgd",
            "ring",
            {"optimizer": {"name": "sgd", "lr": 5.0}, "game.loss": "wasserstein", "steps": 1000},
        ),
        (
            "ring-ls",
            "ring",
            {
                "optimizer": {"name": "sgd", "lr": 2.0},
                "game.loss": "least_squares",
                "data.scale": 10,
                "steps": 1000,
            },
        ),
    ),
]
