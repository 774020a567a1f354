"""Every packaged recipe: what its header says, what it costs, and that it runs, at full size and tiny.

The images need not be here: random ones of their shapes stand in. `python tests/test_recipes.py` counts anew what
recipes cost and writes src/steadygan/recipes/costs.json (`python tests/test_recipes.py NAME...` these only).
"""

import json
import sys
from typing import Any

import torch

from steadygan import config, tables
from steadygan.catalogue import RECIPES
from steadygan.costs import cost
from steadygan.data import Data

FILES = sorted(RECIPES.glob("*.yaml"))
NAMES = [file.stem for file in FILES]
COSTS = RECIPES / "costs.json"

SIDES = {
    "cifar10": 32,
    "cifar100": 32,
    "stl10": 48,
    "imagenet64": 64,
    "celeba_hq": 128,
    "lsun": 256,
    "images": 64,
}
SHAPES = {name: (3, side, side) for name, side in SIDES.items()} | {"fashion-mnist": (1, 32, 32)}


def stand_in(name: str, count: int = 1200) -> Any:
    """What makes random images, labelled with ten classes, of the shape that the set of this name has."""

    def make(size: int | None = None, **_: Any) -> Data:
        channels, *sides = SHAPES[name]
        shape = (channels, size, size) if size else (channels, *sides)
        g = torch.Generator().manual_seed(0)
        rows = torch.randint(256, (count, *shape), dtype=torch.uint8, generator=g)
        return Data(name, shape, rows, labels=torch.arange(count) % 10, classes=10)

    return make


def stand_ins(count: int = 1200) -> dict[str, Any]:
    return {name: tables.DATA[name]._replace(make=stand_in(name, count)) for name in SHAPES}


def settings(name: str) -> config.Config:
    return config.parse({"name": name, **config.load(RECIPES / f"{name}.yaml")}, name)


def counted(name: str) -> dict[str, Any]:
    """What costs.json says of a recipe."""
    found = cost(settings(name))
    return {"parameters": found.parameters, "flops": found.flops}


def write(names: list[str]) -> None:
    tables.DATA.update(stand_ins(640))
    kept = json.loads(COSTS.read_text()) if COSTS.exists() and names else {}
    for name in names or NAMES:
        kept[name] = counted(name)
        print(name, kept[name], flush=True)
    lines = [f"  {json.dumps(name)}: {json.dumps(kept[name])}" for name in sorted(kept) if name in NAMES]
    COSTS.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    write(sys.argv[1:])
