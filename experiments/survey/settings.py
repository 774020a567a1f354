"""Which recipes the study trains, for how long and with how many seeds."""

from pathlib import Path
from typing import NamedTuple

from experiments.trained import train_once
from steadygan.recipes.catalogue import find_recipe

__all__ = ["GENERATORS", "LOSSES", "ORDERS", "SCALES", "Scale", "recipes", "trained"]

ORDERS = {"ring8-min-max": "D in the inner loop", "ring8-max-min": "G in the inner loop"}
LOSSES = {"wgan": "WGAN", "gan": "GAN"}
GENERATORS = {"bn": "DCGAN", "nobn": "DCGAN, no batch norm", "mlp": "MLP"}
FRAMES = 100
"""Checkpoints of a run on the ring: the modes are counted at each."""


class Scale(NamedTuple):
    """The sets of images and how many seeds each has, the seeds on the ring, and the divisor of all steps."""

    seeds: dict[str, int]
    shorter: int = 1
    compiled: bool = True


SCALES = {
    "full": Scale({"ring8": 5, "digits": 5, "fashion-mnist": 3}),
    "tiny": Scale({"ring8": 2, "digits": 2}, 100),
}


def recipes(data: str) -> list[str]:
    """The recipes of one data set.

    >>> recipes("digits")[:3]
    ['digits-wgan-bn', 'digits-wgan-nobn', 'digits-wgan-mlp']
    """
    if data == "ring8":
        return list(ORDERS)
    return [f"{data}-{loss}-{generator}" for loss in LOSSES for generator in GENERATORS]


def trained(recipe: str, data: str, scale: Scale, runs: Path) -> Path:
    """The folder of a finished run of the recipe, all its seeds as one ensemble."""
    raw = find_recipe(recipe)[1]
    steps = raw["steps"] // scale.shorter
    every = dict(raw["every"])
    if data == "ring8":
        every["checkpoint"] = max(1, steps // FRAMES)
    each = {key: max(1, number // scale.shorter) for key, number in every.items() if key != "checkpoint"}
    each["checkpoint"] = every["checkpoint"] if data == "ring8" else steps
    words = [f"every.{key}={number}" for key, number in each.items()]
    words += [f"keep.last={2 * FRAMES}"]
    words += [] if scale.compiled else ["compile=false"]
    return train_once(recipe, runs / recipe, scale.seeds[data], steps, *words)
