"""Which recipes there are: files, names that stand for an override of one, and where a recipe is found."""

import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from steadygan.errors import UsageError, nearest
from steadygan.files import folder_or_zip

__all__ = [
    "COSTS",
    "GPU_SPEED",
    "KEYS",
    "OVERRIDES",
    "RECIPES",
    "Override",
    "find_recipe",
    "key_paths",
    "overrides",
    "paper_of",
    "plain_name",
    "recipe_files",
    "recipe_names",
    "run_below",
    "spelled_out",
]

RECIPES = Path(__file__).parent
"""A folder for each source, with a YAML file for each recipe."""

OVERRIDES = RECIPES / "overrides.yaml"
"""The names that stand for another recipe with a key changed."""

COSTS = RECIPES / "costs.json"
"""Parameters and FLOPs of each file, counted beforehand: making its networks takes too long for a list."""

GPU_SPEED = 30e12
"""FLOPs a second that a GPU is taken to reach with small networks in batches of 64: an assumption."""


KEYS = RECIPES / "keys.txt"
"""The keys of a configuration as overrides name them, one a line: the schema itself takes torch and seconds."""


class Override(NamedTuple):
    """A name that stands for a recipe with overrides: `steadygan train RECIPE ASSIGNMENTS`."""

    recipe: str
    assignments: list[str]
    what: str = ""


@cache
def recipe_files() -> dict[str, Path]:
    """The file of each packaged recipe, by its name, in the order of names.

    >>> recipe_files()["ring8-fargan"].parent.name
    'fargan'
    """
    return {file.stem: file for file in sorted(RECIPES.glob("*/*.yaml"), key=lambda file: file.stem)}


@cache
def overrides() -> dict[str, Override]:
    """The recipes that are an override of a file, by their names.

    >>> overrides()["ring8-r2"][:2]
    ('ring8-0gp', ['critic.penalties=[{name: r2, weight: 0.1}]'])
    """
    import yaml

    table = yaml.safe_load(OVERRIDES.read_text())
    return {
        name: Override(recipe, entry["override"], entry.get("what", ""))
        for recipe, entries in table.items()
        for name, entry in entries.items()
    }


def recipe_names() -> list[str]:
    """The names of all packaged recipes: files and overrides."""
    return sorted([*recipe_files(), *overrides()])


@cache
def key_paths() -> tuple[str, ...]:
    """The keys of a configuration as overrides name them; options of a name stand below its key.

    >>> {"steps", "optimizer.lr", "networks.width"} <= set(key_paths())
    True
    """
    return tuple(KEYS.read_text().split())


def spelled_out(name: str) -> str | None:
    """What to write instead of a name that stands for an override; None for every other name.

    >>> spelled_out("ring8-r2")
    "ring8-0gp 'critic.penalties=[{name: r2, weight: 0.1}]'"
    """
    found = None if name in recipe_files() else overrides().get(name)
    return shlex.join([found.recipe, *found.assignments]) if found else None


def paper_of(text: str) -> dict[str, Any]:
    """The `paper` of a recipe, which has a line of its own; nothing where a recipe repeats none.

    >>> paper_of("paper: {source: Xia 2023, row: Table V}\\nsteps: 5\\n")
    {'source': 'Xia 2023', 'row': 'Table V'}
    """
    import yaml

    line = re.search(r"^paper: (.*)$", text, re.MULTILINE)
    return yaml.safe_load(line[1]) if line else {}


def find_recipe(name: str) -> tuple[str, dict[str, Any]]:
    """The name and the plain data of a packaged recipe, a run folder's configuration or a YAML file."""
    from steadygan import config

    packaged = recipe_files()
    if name in packaged:
        return name, config.load(packaged[name])
    if name in overrides():
        return name, _overridden(overrides()[name])
    path = Path(name)
    if (path / "config.yaml").is_file():
        return plain_name(path.resolve().name), config.of_a_run(config.load(path / "config.yaml"))
    if folder_or_zip(name):
        raise UsageError(f"{path} is no recipe and no run folder (no config.yaml): {_instead(path)}")
    if path.suffix in (".yaml", ".yml"):
        return plain_name(path.stem), config.load(path)
    hint = nearest(name, recipe_names(), otherwise="steadygan list recipes shows all")
    raise UsageError(f"there is no recipe {name!r}: {hint}")


def _instead(path: Path) -> str:
    """What to write instead of a folder or zip that is no run folder."""
    if found := run_below(path):
        return f"name a run folder in it, such as {found}"
    place = shlex.quote(str(path))
    return f"write steadygan train --images {place} where these are your own images, or name a run folder"


def run_below(folder: Path) -> Path | None:
    """The first run folder in a folder, as an example; None without one."""
    return next((file.parent for file in sorted(folder.glob("*/config.yaml"))), None)


def _overridden(found: Override) -> dict[str, Any]:
    """The override's data. The paper's row is its file's, of which a changed key makes something else."""
    from steadygan import config

    raw = config.load(recipe_files()[found.recipe])
    return config.override({key: part for key, part in raw.items() if key != "paper"}, found.assignments)


def plain_name(name: str) -> str:
    """A name for a run from a file's, which may hold anything."""
    return re.sub(r"[^\w.-]", "-", name).lstrip(".-") or "custom"
