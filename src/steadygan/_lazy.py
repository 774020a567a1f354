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

    The block is what type checkers and editors read, so it is the only list of the names.

    >>> get, listed = lazy("steadygan.data")
    >>> get("digits").__module__, "cifar10" in listed()
    ('steadygan.data.sklearn_digits', True)
    """
    file = sys.modules[package].__file__
    assert file is not None
    places = _imported(ast.parse(Path(file).read_text(encoding="utf-8")))

    def get(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, attribute = places[name]
        found = importlib.import_module(module)
        value = getattr(found, attribute) if attribute else found
        setattr(sys.modules[package], name, value)
        return value

    return get, lambda: sorted({*vars(sys.modules[package]), *places})


def _imported(tree: ast.Module) -> dict[str, tuple[str, str]]:
    """Each name's module, and its name there; a name that is a module itself has none."""
    blocks = [node for node in tree.body if isinstance(node, ast.If)]
    found = [node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom)]
    return {
        alias.asname or alias.name: (node.module, alias.name)
        for node in found
        for alias in node.names
        if node.module
    }
