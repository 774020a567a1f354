"""What there is to train: the packaged recipes, where a recipe is found, and what one may name."""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from steadygan.errors import UsageError, nearest

__all__ = ["COSTS", "RECIPES", "find_recipe", "listed", "paper_of", "recipe_files", "words"]

RECIPES = Path(__file__).parent
COSTS = RECIPES / "costs.json"
"""Parameters and FLOPs of each recipe, counted beforehand: making its networks takes too long for a list."""


def listed(what: str) -> Iterator[str]:
    """The lines of `steadygan list WHAT`: recipes with what they are, or names of a table with their options.

    Recipes have their cost, their networks' parameters and the numbers that a paper publishes of them.
    Raises UsageError where there is no such list.
    """
    if what == "recipes":
        yield from _recipes()
        return
    from steadygan.config import registry

    known: dict[str, Any] = {
        "losses": registry.LOSSES,
        "penalties": registry.PENALTIES,
        "normalizations": registry.NORMALIZATIONS,
        "consistency": registry.CONSISTENCY,
        "augmentations": registry.AUGMENTATIONS,
        "dynamics": registry.DYNAMICS,
        "optimizers": registry.OPTIMIZERS,
        "networks": registry.NETWORKS,
        "data": registry.DATA,
        "games": registry.GAMES,
        "schedules": registry.SCHEDULES,
    }
    if what not in known:
        raise UsageError(f"there is no list of {what!r}: {nearest(what, [*known, 'recipes'])}")
    for name, part in known[what].items():
        yield f"{name:20} {' '.join(part.options)}"


def recipe_files() -> dict[str, Path]:
    """The file of each packaged recipe, by its name, in the order of names.

    >>> recipe_files()["ring8-fargan"].name
    'ring8-fargan.yaml'
    """
    return {file.stem: file for file in sorted(RECIPES.rglob("*.yaml"), key=lambda file: file.stem)}


def _recipes() -> Iterator[str]:
    costs = json.loads(COSTS.read_text())
    for file in recipe_files().values():
        text = file.read_text()
        paper, known = paper_of(text), costs.get(file.stem, {"parameters": {}, "flops": 0})
        nets = sorted(known["parameters"].items(), reverse=True)  # G, then its critic
        sizes = " ".join(f"{name} {words(count)}" for name, count in nets)
        found = " ".join(
            f"{label} {_figure(figure)}"
            for label, key in (("IS", "inception_score"), ("FID", "fid"))
            if (figure := paper.get(key)) is not None
        )
        what = f"{paper['source']}, {paper['row']}" if paper else text.splitlines()[0].lstrip("# ")
        yield f"{file.stem:42} ≈ {words(known['flops'])}FLOP".ljust(56) + f" {sizes:20} {found:34} {what}"


def _figure(found: float | list[float]) -> str:
    """A published number, in as many digits as what stands after its ±."""
    if not isinstance(found, list):
        return str(found)
    digits = max(len(str(number).partition(".")[2]) for number in found)
    return f"{found[0]:.{digits}f} ± {found[1]}"


def paper_of(text: str) -> dict[str, Any]:
    """The `paper` of a recipe, which has a line of its own; nothing where a recipe repeats none.

    >>> paper_of("paper: {source: Xia 2023, row: Table V}\\nsteps: 5\\n")
    {'source': 'Xia 2023', 'row': 'Table V'}
    """
    import yaml

    line = re.search(r"^paper: (.*)$", text, re.MULTILINE)
    return yaml.safe_load(line[1]) if line else {}


def words(count: float) -> str:
    """A large number in two digits or three, with its prefix.

    >>> words(26e15), words(1187011), words(0)
    ('26 P', '1.2 M', '0 ')
    """
    power = int(math.log10(count) // 3) if count >= 1 else 0
    return f"{count / 1000**power:.{1 if count / 1000**power < 9.95 and power else 0}f} {' kMGTPEZY'[power].strip()}"


def find_recipe(name: str) -> tuple[str, dict[str, Any]]:
    """The name and the plain data of a packaged recipe, a run folder's configuration or a YAML file."""
    from steadygan import config

    packaged = recipe_files()
    if name in packaged:
        return name, config.load(packaged[name])
    path = Path(name)
    if (path / "config.yaml").is_file():
        return _plain(path.resolve().name), config.load(path / "config.yaml")
    if path.is_dir():
        raise UsageError(
            f"{path} holds no config.yaml, so it is no run folder: name one that steadygan train made"
        )
    if path.suffix in (".yaml", ".yml"):
        return _plain(path.stem), config.load(path)
    raise UsageError(f"there is no recipe {name!r}: {nearest(name, packaged)}")


def _plain(name: str) -> str:
    """A name for a run from a file's, which may hold anything."""
    return re.sub(r"[^\w.-]", "-", name).lstrip(".-") or "custom"
