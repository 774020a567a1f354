"""What there is to train: the packaged recipes, where a recipe is found, and what one may name."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from steadygan.errors import UsageError, nearest

__all__ = ["RECIPES", "find_recipe", "listed"]

RECIPES = Path(__file__).parent / "recipes"


def listed(what: str) -> Iterator[str]:
    """The lines of `steadygan list WHAT`: recipes with what they are, or names of a table with their options.

    Raises UsageError where there is no such list.
    """
    if what == "recipes":
        for file in sorted(RECIPES.glob("*.yaml")):
            first = file.read_text().splitlines()[0].lstrip("# ")
            yield f"{file.stem:28} {first}"
        return
    from steadygan import tables

    known: dict[str, Any] = {
        "losses": tables.LOSSES,
        "penalties": tables.PENALTIES,
        "normalizations": tables.NORMALIZATIONS,
        "consistency": tables.CONSISTENCY,
        "augmentations": tables.AUGMENTATIONS,
        "dynamics": tables.DYNAMICS,
        "optimizers": tables.OPTIMIZERS,
        "networks": tables.NETWORKS,
        "data": tables.DATA,
        "games": tables.GAMES,
        "schedules": tables.SCHEDULES,
    }
    if what not in known:
        raise UsageError(f"there is no list of {what!r}: {nearest(what, [*known, 'recipes'])}")
    for name, part in known[what].items():
        yield f"{name:20} {' '.join(part.options)}"


def find_recipe(name: str) -> tuple[str, dict[str, Any]]:
    """The name and the plain data of a packaged recipe, a run folder's configuration or a YAML file."""
    from steadygan import config

    packaged = RECIPES / f"{name}.yaml"
    if os.sep not in name and packaged.is_file():
        return name, config.load(packaged)
    path = Path(name)
    if (path / "config.yaml").is_file():
        return _plain(path.resolve().name), config.load(path / "config.yaml")
    if path.is_dir():
        raise UsageError(
            f"{path} holds no config.yaml, so it is no run folder: name one that steadygan train made"
        )
    if path.suffix in (".yaml", ".yml"):
        return _plain(path.stem), config.load(path)
    raise UsageError(
        f"there is no recipe {name!r}: {nearest(name, [file.stem for file in RECIPES.glob('*.yaml')])}"
    )


def _plain(name: str) -> str:
    """A name for a run from a file's, which may hold anything."""
    return re.sub(r"[^\w.-]", "-", name).lstrip(".-") or "custom"
