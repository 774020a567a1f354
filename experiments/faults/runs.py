"""The small runs that are tried: their recipes, and all that a finished one holds, to compare it bit for bit."""

import hashlib
import json
from pathlib import Path
from typing import Any

__all__ = ["LAST", "RECIPES", "differ", "held", "recipe", "tree"]

SINGLE: dict[str, Any] = {
    "data": "ring8",
    "networks": {"name": "mlp", "width": 8, "depth": 2},
    "critic": {"penalties": ["r1"]},
    "optimizer": {"name": "adam", "lr": 0.01},
    "ema": {"decay": 0.9},
    "batch": 8,
    "steps": 12,
    "compile": False,
    "evaluation": {"images": 100},
    "every": {"log": 1, "score": 4, "checkpoint": 2, "diagnostics": 6},
    "keep": {"last": 2},
}
LAST = "step-00000008"
"""The last checkpoint of a run of 8 steps."""

RECIPES: dict[str, dict[str, Any]] = {
    "single": SINGLE,
    "ensemble": {**SINGLE, "seeds": 2},
    "best": {**SINGLE, "keep": {"last": 1, "best": "modes"}, "every": {**SINGLE["every"], "score": 1}},
    "lost": {**SINGLE, "optimizer": {"name": "sgd", "lr": [0.01, 1e30]}},
    "digits": {
        **SINGLE,
        "data": "digits",
        "networks": {"name": "dcgan", "latent": 4, "width": 4},
        "steps": 8,
        "every": {"log": 1, "score": 4, "checkpoint": 2},
    },
}
"""Runs of one second: a single one, two members, the best state kept, a member that is lost, and images."""


def recipe(name: str, folder: Path) -> str:
    """Write a recipe to a file in `folder` and return its path. JSON is YAML."""
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(RECIPES[name]))
    return str(path)


def tree(folder: Path) -> list[str]:
    """The names of all that is in a folder, hidden files too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def held(folder: Path) -> dict[str, str]:
    """The digest of each file in a run folder, without what tells of the time that the run took."""
    return {str(p.relative_to(folder)): _digest(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def _digest(path: Path) -> str:
    content = path.read_bytes()
    if path.name == "events.jsonl":
        lines = [json.loads(line) for line in content.splitlines()]
        content = json.dumps([{k: v for k, v in line.items() if k != "wall_s"} for line in lines]).encode()
    return hashlib.sha256(content).hexdigest()


def differ(wanted: dict[str, str], found: dict[str, str]) -> str:
    """The first way in which a folder is not the wanted one, or "".

    >>> differ({"a": "1", "b": "2"}, {"a": "3", "b": "2"})
    'a differs'
    """
    if missing := sorted(wanted.keys() - found.keys()):
        return f"lacks {missing[0]}"
    if left := sorted(found.keys() - wanted.keys()):
        return f"leaves {left[0]}"
    return next((f"{name} differs" for name in sorted(wanted) if wanted[name] != found[name]), "")
