"""What a labelled run of `experiments.doctor.run` is made of."""

import copy
from typing import Any, NamedTuple

from steadygan.config import Config, parse
from steadygan.config.overrides import assigned

adam = {"name": "adam", "lr": 0.002, "betas": [0.0, 0.99]}
half = {"name": "adam", "lr": 0.001, "betas": [0.5, 0.99]}
falling = {**adam, "lr": {"schedule": "linear", "start": 0.002, "stop": 0}}
_every = {"log": "0.5%", "score": "2.5%", "checkpoint": "100%"}

BASES: dict[str, dict[str, Any]] = {
    "ring": {"data": {"name": "ring8", "std": 0.02}, "networks": {"name": "mlp"}, "steps": 4000},
    "grid": {"data": {"name": "grid25"}, "networks": {"name": "mlp"}, "steps": 4000},
    "finite": {
        "data": {"name": "gaussian", "size": 50},
        "networks": {"name": "mlp"},
        "steps": 4000,
        "batch": 32,
    },
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
        """The name of its folder."""
        return f"{self.part}-{self.label}-{self.name}"


def made(setting: Setting, seeds: int) -> Config:
    """The setting as a configuration; calibration begins at seed 100, the test at 200. What draws nothing has one."""
    raw = assigned(
        {"game": {"name": "gan"}, "optimizer": dict(adam), "batch": 64, "threads": 1, "every": dict(_every)},
        copy.deepcopy([*BASES[setting.base].items(), *setting.changes.items()]),
    )
    first = 100 if setting.part == "calibration" else 200
    return parse({**raw, "seed": first, "seeds": 1 if setting.base in ("bare", "dirac") else seeds})


def rows(part: str, label: str, *given: tuple[str, str, dict[str, Any]]) -> list[Setting]:
    """Settings of one part and label."""
    return [Setting(label, part, *row) for row in given]


def penalty(name: str, weight: float) -> dict[str, Any]:
    return {"critic.penalties": [{"name": name, "weight": weight}]}


sgd: dict[str, Any] = {"name": "sgd", "lr": 0.05}
slow, fast = {**sgd, "lr": 0.01}, {**sgd, "lr": 0.1}
rmsprop = {"name": "rmsprop", "lr": 0.003}
far = {"fake_as_real": {"count": 16, "pool": 8}}

fading: dict[str, Any] = {"schedule": "linear", "start": 16, "stop": 0, "over": "80%"}


def uneven(lr_G: float, lr_D: float, beta: float = 0.5) -> dict[str, Any]:
    return {name: {**half, "lr": lr, "betas": [beta, 0.99]} for name, lr in (("G", lr_G), ("D", lr_D))}


def ending(start: float, over: str) -> dict[str, Any]:
    return {"schedule": "linear", "start": start, "stop": 0, "over": over}
