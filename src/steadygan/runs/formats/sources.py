"""The source text of classes and of all that their methods use, in an order in which it runs without their package."""

import ast
import inspect
import math
import symtable
import sys
import textwrap
from collections.abc import Iterable
from functools import partial
from itertools import chain
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import torch
from torch import nn

from steadygan.errors import UsageError

__all__ = ["collected", "is_library", "literal"]

OTHERWISE = "choose --to torch-export or onnx, or simplify the network"


def collected(classes: Iterable[type], taken: Iterable[str]) -> tuple[list[str], list[str]]:
    """The import lines, and the definitions in order, that these classes need: methods, but not `__init__`.

    `taken` are names that the definitions must not use. Raises UsageError if the source of something is not found, or
    two things have one name.
    """
    found = _Found(dict.fromkeys(taken))
    for cls in classes:
        found.add(cls.__name__, cls)
    return sorted(found.imports), found.definitions


def is_library(module: str) -> bool:
    """Whether a module comes with Python or from a package that is installed. steadygan's own do not count.

    >>> [is_library(name) for name in ("torch.nn", "math", "steadygan.noise")]
    [True, True, False]
    """
    top = module.partition(".")[0]
    if top == "steadygan" or module == "__main__":
        return False
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    return (
        top in sys.stdlib_module_names
        or top == "torch"
        or any(part in file for part in ("site-packages", "dist-packages"))
    )


def literal(value: Any) -> str | None:
    """Python text that evaluates to a plain value or to a thing of torch, or None. It may need functools.

    >>> from torch.nn.functional import relu
    >>> literal((0.2, "nearest")), literal(relu), literal(object())
    ("(0.2, 'nearest')", 'torch.nn.functional.relu', None)
    >>> literal([partial(relu, inplace=True), torch.tanh])
    '[functools.partial(torch.nn.functional.relu, inplace=True), torch.tanh]'
    """
    if type(value) in (list, tuple, dict, partial):
        return _container(value)
    if isinstance(value, FunctionType | type) and value.__module__.startswith("torch."):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, BuiltinFunctionType):
        homes = [home for home in (torch, nn.functional) if getattr(home, value.__name__, None) is value]
        return f"{homes[0].__name__}.{value.__name__}" if homes else None
    if isinstance(value, float) and not math.isfinite(value):
        return f"float('{value}')"
    text = repr(value)
    try:
        same = eval(text, {"__builtins__": {}, "torch": torch}) == value
    except Exception:  # not Python, as most objects' text
        return None
    return text if same is True else None


def _container(value: Any) -> str | None:
    """Python text of a list, a tuple, a dictionary or a functools.partial, or None."""
    if isinstance(value, partial):
        parts = [value.func, *value.args, *value.keywords.values()]
    else:
        parts = list(chain(*value.items()) if isinstance(value, dict) else value)
    texts = [text for part in parts if (text := literal(part)) is not None]
    if len(texts) < len(parts):
        return None
    if isinstance(value, partial):
        first = len(texts) - len(value.keywords)
        named = [f"{key}={text}" for key, text in zip(value.keywords, texts[first:])]
        return f"functools.partial({', '.join([*texts[:first], *named])})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {text}" for key, text in zip(texts[::2], texts[1::2])) + "}"
    inner = ", ".join(texts)
    return f"[{inner}]" if isinstance(value, list) else f"({inner}{',' * (len(texts) == 1)})"


class _Found:
    """The definitions found so far. A name stands for one thing in the whole file."""

    def __init__(self, names: dict[str, Any]) -> None:
        self.names, self.imports, self.definitions = names, set[str](), list[str]()

    def add(self, name: str, thing: Any) -> None:
        """Add a thing under the name by which it is used, after all that it needs."""
        if name in self.names:
            if self.names[name] is not thing:
                raise UsageError(f"two things of this network are named {name}: rename one, or {OTHERWISE}")
            return
        self.names[name] = thing
        home = getattr(thing, "__module__", None)
        if isinstance(thing, ModuleType):
            self._import(thing.__name__, f"import {thing.__name__} as {name}")
        elif isinstance(thing, FunctionType | type) and home and is_library(home):
            self._import(home, f"from {home} import {thing.__name__} as {name}")
        elif isinstance(thing, FunctionType | type):
            self._define(thing)
        elif (text := literal(thing)) is not None:
            self.definitions.append(f"{name} = {text}")
        elif home and is_library(home) and hasattr(thing, "__name__"):  # a builtin of a library
            self._import(home, f"from {home} import {thing.__name__} as {name}")
        else:
            instead = (
                "a layer of the network" if isinstance(thing, nn.Module) else "a function or a plain value"
            )
            raise UsageError(
                f"{name} is a {type(thing).__name__} outside of the network, which cannot be written as Python: make "
                f"it {instead}, or {OTHERWISE}"
            )

    def _import(self, module: str, line: str) -> None:
        if not is_library(module):
            raise UsageError(
                f"the network uses the module {module} as a whole, so it cannot be one file: {OTHERWISE}"
            )
        self.imports.add(line)

    def _define(self, thing: Any) -> None:
        text = _text(thing)
        scope = _scope(thing)
        for name in _names(text):
            if name in scope and scope[name] is not thing:
                self.add(name, scope[name])
        self.definitions.append(text)


def _text(thing: Any) -> str:
    """The source of a function, or of a class without its `__init__`."""
    try:
        text = textwrap.dedent(inspect.getsource(thing)).rstrip()
    except (OSError, TypeError):
        raise UsageError(
            f"the source of {thing.__qualname__} is not in a file, so it cannot be exported: put it into one, or "
            f"{OTHERWISE}"
        ) from None
    try:
        (tree,) = ast.parse(text).body
    except (SyntaxError, ValueError):  # a lambda among other things, or text that dedent cannot move
        raise UsageError(
            f"the source of {thing.__qualname__} cannot be read by itself: make it a function or a class at the top "
            f"of a file, or {OTHERWISE}"
        ) from None
    return _without_init(text, tree) if isinstance(tree, ast.ClassDef) else text


def _without_init(text: str, tree: ast.ClassDef) -> str:
    """The source of a class without its `__init__`, and without the empty line below it."""
    lines = text.split("\n")
    inits = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "__init__"]
    for node in reversed(inits):
        first = min([node.lineno, *(part.lineno for part in node.decorator_list)])
        last = node.end_lineno or node.lineno
        del lines[first - 1 : last + (not "".join(lines[last : last + 1]).strip())]
    left = "\n".join(lines).rstrip()
    return f"{left}\n    pass" if len(inits) == len(tree.body) else left


def _scope(thing: Any) -> dict[str, Any]:
    """The global names that a function sees, or the methods of a class."""
    return vars(sys.modules[thing.__module__]) if isinstance(thing, type) else thing.__globals__


def _names(text: str) -> list[str]:
    """The global names that run when the definition is used: annotations do not, and what a function binds is its own.

    >>> _names("def f(x, n=N):\\n    y: Tensor = g(x)\\n    return [y + z for z in x]")
    ['N', 'g']
    """
    tree, found = ast.parse(text), dict[str, None]()

    def visit(node: ast.AST) -> None:
        for field, value in ast.iter_fields(node):
            if field in ("annotation", "returns"):
                continue
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load):
                    found[part.id] = None
                if isinstance(part, ast.AST):
                    visit(part)

    visit(tree)
    outer = _global(symtable.symtable(text, "source", "exec"))
    return [name for name in found if name in outer]


def _global(table: symtable.SymbolTable) -> set[str]:
    """The names that a piece of source reads from its module. A class body may do so before it binds one itself."""
    of_class = table.get_type() == "class"
    here = {s.get_name() for s in table.get_symbols() if s.is_referenced() and (of_class or s.is_global())}
    return here.union(*map(_global, table.get_children()))
