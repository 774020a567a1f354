"""The labelled runs that nothing was calibrated on: other seeds, from 200, and other settings than calibration's."""

from functools import partial

from experiments.doctor.healthy import HEALTHY
from experiments.doctor.settings import (
    adam,
    ending,
    half,
    penalty,
    rmsprop,
    rows,
    sgd,
    uneven,
)

__all__ = ["HELD_OUT"]

_of = partial(rows, "test")

HELD_OUT = [
    *HEALTHY,
    *_of(
        "vanishing",
        (
            "grid-minimax",
            "grid",
            {
                "game.loss": "minimax",
                "optimizer": {**sgd, "lr": 0.03},
                "dynamics.n_critic": 4,
                "networks.width": 96,
                "data.scale": 6,
                "steps": 3000,
            },
        ),
        (
            "grid-clip",
            "grid",
            {
                "game.loss": "wasserstein",
                "critic.clip": 0.02,
                "networks.depth": 4,
                "optimizer": {"name": "rmsprop", "lr": 0.00005},
                "steps": 3000,
            },
        ),
        (
            "grid-tanh",
            "grid",
            {
                "game.loss": "total_variation",
                "optimizer": {**sgd, "lr": 0.1},
                "data.scale": 12,
                "steps": 2000,
            },
        ),
        (
            "ring-minimax",
            "ring",
            {
                "game.loss": "minimax",
                "optimizer": {**sgd, "lr": 0.02},
                "dynamics.n_critic": 3,
                "networks.width": 96,
                "data.scale": 5,
                "steps": 2000,
            },
        ),
        (
            "ring-clip",
            "ring",
            {
                "game.loss": "indicator",
                "critic.clip": 0.02,
                "networks.depth": 4,
                "optimizer": {**sgd, "lr": 0.005},
                "steps": 2000,
            },
        ),
    ),
    *_of(
        "exploding",
        (
            "grid-indicator",
            "grid",
            {"game.loss": "indicator", "optimizer": {**adam, "lr": 0.001}, "steps": 2000},
        ),
        (
            "ring-hinge",
            "ring",
            {"game.loss": "hinge", "optimizer": {**half, "lr": 0.0003}, "networks.width": 96, "steps": 2000},
        ),
        (
            "ring-pairs",
            "ring",
            {
                "game.loss": "relativistic",
                "optimizer": {**adam, "lr": 0.0005},
                "data.scale": 3,
                "steps": 2000,
            },
        ),
    ),
    *_of(
        "dead_critic",
        (
            "grid-far",
            "grid",
            {
                **penalty("r1", 20),
                "fake_as_real": {"count": 32, "pool": 4},
                "optimizer": {**rmsprop, "lr": 0.002},
                "data.scale": 8,
                "steps": 2000,
            },
        ),
        (
            "ring-between",
            "ring",
            {
                **penalty("zero_centered", 200),
                "optimizer": {**adam, "lr": 0.003},
                "networks.width": 48,
                "steps": 2000,
            },
        ),
    ),
    *_of(
        "dead_game",
        ("grid-still", "grid", {"optimizer": {**half, "lr": ending(0.0005, "20%")}, "steps": 2000}),
        (
            "grid-sure",
            "grid",
            {
                "game.loss": "total_variation",
                "optimizer": {**half, "lr": 0.02},
                "data.scale": 20,
                "steps": 2000,
            },
        ),
    ),
    *_of(
        "collapse",
        (
            "grid-began",
            "grid",
            {"game": {"name": "began", "gamma": 0.3}, "optimizer": {**half, "lr": 0.0005}, "steps": 3000},
        ),
        (
            "ring-began-wide",
            "ring",
            {
                "game": {"name": "began", "gamma": 0.7},
                "optimizer": adam,
                "networks.width": 96,
                "steps": 2000,
            },
        ),
    ),
    *_of(
        "hopping",
        ("grid-G-fast", "grid", {**penalty("r1", 0.05), "optimizer": uneven(0.004, 0.0001), "steps": 2000}),
        (
            "ring-hinge-G-fast",
            "ring",
            {
                **penalty("r1", 0.2),
                "game.loss": "hinge",
                "optimizer": uneven(0.008, 0.0002),
                "data.scale": 3,
                "steps": 2000,
            },
        ),
    ),
    *_of(
        "overfitted",
        (
            "digits-hinge",
            "digits",
            {"data.limit": 120, "game.loss": "hinge", "networks.width": 24, "steps": 1500},
        ),
        (
            "digits-pairs",
            "digits",
            {
                "data.limit": 80,
                "batch": 32,
                "game.loss": "relativistic",
                "optimizer": {**adam, "lr": 0.001},
                "steps": 1500,
            },
        ),
    ),
    *_of(
        "memorisation",
        (
            "finite-hinge",
            "finite",
            {
                **penalty("r1", 0.02),
                "data.size": 25,
                "data.seed": 5,
                "batch": 20,
                "game.loss": "hinge",
                "steps": 3000,
            },
        ),
        (
            "finite-pairs",
            "finite",
            {
                **penalty("r1", 0.01),
                "data.size": 16,
                "data.scale": 2,
                "batch": 8,
                "game.loss": "relativistic",
                "steps": 3000,
            },
        ),
    ),
    *_of(
        "rotation",
        (
            "bilinear",
            "bare",
            {
                "game": "bilinear",
                "networks": {"name": "point", "G": [1.0], "D": [0.5]},
                "optimizer": {"name": "sgd", "lr": 0.2},
            },
        ),
        ("dirac-ns", "dirac", {"game.loss": "non_saturating", "optimizer": {"name": "sgd", "lr": 0.3}}),
        (
            "dirac-sim",
            "dirac",
            {"optimizer": {"name": "sgd", "lr": 0.08}, "networks.theta": 0.5, "dynamics": "simultaneous"},
        ),
    ),
    *_of(
        "diverged",
        (
            "grid-ls",
            "grid",
            {"optimizer": {"name": "sgd", "lr": 3.0}, "game.loss": "least_squares", "steps": 1000},
        ),
        (
            "grid-indicator",
            "grid",
            {
                "optimizer": {"name": "sgd", "lr": 1.0, "momentum": 0.9},
                "game.loss": "indicator",
                "steps": 1000,
            },
        ),
    ),
]
