"""The labelled runs of `benchmarks/doctor.py`: what each is built to suffer from, for calibration and for the test.

The two parts share no seed and no setting: another learning rate, width, data set, loss or penalty each.
"""

import copy
from typing import Any, NamedTuple

from steadygan.config import Config, parse
from steadygan.edits import assigned

__all__ = ["SETTINGS", "Setting", "made"]

_adam = {"name": "adam", "lr": 0.002, "betas": [0.0, 0.99]}
_half = {"name": "adam", "lr": 0.001, "betas": [0.5, 0.99]}
_falling = {**_adam, "lr": {"schedule": "linear", "start": 0.002, "stop": 0}}
_every = {"log": "0.5%", "score": "2.5%", "checkpoint": "100%"}

BASES: dict[str, dict[str, Any]] = {
    "ring": {"data": {"name": "ring8", "std": 0.02}, "networks": {"name": "mlp"}, "steps": 4000},
    "grid": {"data": {"name": "grid25"}, "networks": {"name": "mlp"}, "steps": 4000},
    "finite": {"data": {"name": "gaussian", "size": 50}, "networks": {"name": "mlp"}, "steps": 4000, "batch": 32},
    "digits": {"data": "digits", "networks": {"name": "dcgan", "latent": 16, "width": 16}, "steps": 1200},
    "dirac": {
        "game.loss": "wasserstein",
        "data": "dirac",
        "networks": {"name": "dirac"},
        "precision": "float64",
        "compile": False,
        "steps": 400,
        "batch": 8,
    },
    "bare": {"data": "none", "precision": "float64", "compile": False, "steps": 400},
}


class Setting(NamedTuple):
    """One configuration: the illness it is built to have, the part it belongs to, a base and what differs from it."""

    label: str
    part: str  # "calibration" or "test"
    name: str
    base: str
    changes: dict[str, Any]

    @property
    def path(self) -> str:
        return f"{self.part}-{self.label}-{self.name}"


def made(setting: Setting, seeds: int) -> Config:
    """The setting as a configuration; calibration begins at seed 100, the test at 200."""
    raw = assigned(
        {"game": {"name": "gan"}, "optimizer": dict(_adam), "batch": 64, "threads": 1, "every": dict(_every)},
        copy.deepcopy([*BASES[setting.base].items(), *setting.changes.items()]),
    )
    first = 100 if setting.part == "calibration" else 200
    return parse({**raw, "seed": first, "seeds": 1 if setting.base == "bare" else seeds})


def _of(label: str, part: str, *rows: tuple[str, str, dict[str, Any]]) -> list[Setting]:
    return [Setting(label, part, *row) for row in rows]


def _penalty(name: str, weight: float) -> dict[str, Any]:
    return {"critic.penalties": [{"name": name, "weight": weight}]}


_sgd: dict[str, Any] = {"name": "sgd", "lr": 0.05}
_far = {"fake_as_real": {"count": 16, "pool": 8}}

CALIBRATION = [
    *_of(
        "healthy",
        "calibration",
        ("ring-r1", "ring", {**_penalty("r1", 0.1), "optimizer": _falling}),
        ("ring-far", "ring", {**_penalty("r1", 0.1), "optimizer": _falling, "fake_as_real": {"count": {"schedule": "linear", "start": 16, "stop": 0, "over": "80%"}, "pool": 8}}),
        ("grid-r1", "grid", {**_penalty("r1", 0.1), "optimizer": _falling}),
        ("ring-gp", "ring", {**_penalty("one_centered", 0.1), "game.loss": "wasserstein", "dynamics.n_critic": 3, "optimizer": _falling}),
        ("digits-r1", "digits", {**_penalty("r1", 1.0), "optimizer": {**_adam, "lr": 0.001}}),
    ),
    *_of(
        "vanishing",
        "calibration",
        ("ring-minimax", "ring", {"game.loss": "minimax", "optimizer": _sgd, "dynamics.n_critic": 5}),
        ("ring-clip", "ring", {"game.loss": "wasserstein", "critic.clip": 0.01, "optimizer": {**_sgd, "lr": 0.01}}),
        ("digits-minimax", "digits", {"game.loss": "minimax", "optimizer": {**_sgd, "lr": 0.1}, "dynamics.n_critic": 3}),
    ),
    *_of(
        "exploding",
        "calibration",
        ("finite", "finite", {"data.size": 20, "batch": 16}),
        ("finite-hinge", "finite", {"game.loss": "hinge", "batch": 32}),
        ("ring-indicator", "ring", {"game.loss": "wasserstein", "optimizer": _adam}),
    ),
    *_of(
        "dead_critic",
        "calibration",
        ("ring-far", "ring", {**_penalty("r1", 10), **_far, "optimizer": {"name": "rmsprop", "lr": 0.003}, "data.scale": 10}),
        ("ring-r1", "ring", {**_penalty("r1", 100), "optimizer": {"name": "rmsprop", "lr": 0.003}}),
    ),
    *_of(
        "dead_game",
        "calibration",
        ("ring-tanh", "ring", {"game.loss": "total_variation", "optimizer": _sgd, "data.scale": 10}),
        ("ring-still", "ring", {"optimizer": {**_adam, "lr": {"schedule": "linear", "start": 0.001, "stop": 0, "over": "5%"}}}),
    ),
    *_of(
        "collapse",
        "calibration",
        ("ring-half", "ring", {"optimizer": {**_half, "lr": 0.0002}}),
        ("grid-half", "grid", {"optimizer": {**_half, "lr": 0.0005}}),
        ("ring-far-scale", "ring", {"optimizer": {**_half, "lr": 0.0005}, "data.scale": 6}),
        ("digits-half", "digits", {"optimizer": {**_half, "lr": 0.002}}),
    ),
    *_of(
        "hopping",
        "calibration",
        ("ring-G-fast", "ring", {"optimizer": {"G": {**_half, "lr": 0.005}, "D": {**_half, "lr": 0.002}}}),
        ("ring-both", "ring", {"optimizer": {**_half, "lr": 0.005}}),
    ),
    *_of(
        "overfitted",
        "calibration",
        ("digits-100", "digits", {"data.limit": 100, "steps": 2500}),
        ("digits-60-ns", "digits", {"data.limit": 60, "batch": 32, "optimizer": _half, "steps": 2500}),
    ),
    *_of(
        "rotation",
        "calibration",
        ("dirac-alt", "dirac", {"optimizer": {"name": "sgd", "lr": 0.1}}),
        ("dirac-sim", "dirac", {"optimizer": {"name": "sgd", "lr": 0.05}, "dynamics": "simultaneous"}),
        ("blob", "ring", {"data": {"name": "gaussian", "size": 100}, "optimizer": {**_half, "lr": 0.0005}}),
    ),
    *_of(
        "memorisation",
        "calibration",
        ("finite-r1", "finite", {**_penalty("r1", 0.01), "data.size": 20, "batch": 16, "steps": 6000}),
        ("digits-30", "digits", {**_penalty("r1", 0.1), "data.limit": 30, "batch": 30, "steps": 2500}),
    ),
    *_of(
        "diverged",
        "calibration",
        ("ring-sgd", "ring", {"optimizer": {"name": "sgd", "lr": 5.0}, "game.loss": "wasserstein", "steps": 1000}),
        ("ring-ls", "ring", {"optimizer": {"name": "sgd", "lr": 2.0}, "game.loss": "least_squares", "data.scale": 10, "steps": 1000}),
    ),
]

SETTINGS = CALIBRATION
