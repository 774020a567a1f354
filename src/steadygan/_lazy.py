"""Faces of packages whose names are loaded when they are asked for (PEP 562): import one piece, pay for one piece."""

import ast
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["lazy"]


def lazy(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package, for the names that its `if TYPE_CHECKING:` block imports.

    That block is what type checkers and editors read, so it is the one place where the names' modules stand.

    >>> get, names = lazy("steadygan.data")
    >>> get("digits").__module__, "cifar10" in names()
    ('steadygan.data.sklearn_digits', True)
    """
    module = sys.modules[package]
    places = _imported(ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8")))

    def get(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        place = importlib.import_module(places[name])
        value = getattr(place, name) if place is not module else importlib.import_module(f"{package}.{name}")
        setattr(module, name, value)
        return value

    return get, lambda: sorted({*places, *(name for name in vars(module) if name.startswith("__"))})


def _imported(tree: ast.Module) -> dict[str, str]:
    """The module of each name that is imported under a condition; the package itself for its own modules."""
    blocks = [node for node in tree.body if isinstance(node, ast.If)]
    found = [node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in found for alias in node.names}
