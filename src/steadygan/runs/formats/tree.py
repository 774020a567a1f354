"""A tree of modules as the Python expression that makes it."""

import ast
import re
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from steadygan.errors import UsageError
from steadygan.runs.formats.sources import OTHERWISE, is_library, literal

__all__ = ["expression", "missed", "own_classes"]

STANDARD = frozenset(vars(nn.Module()))
PLAIN = (nn.Sequential, nn.ModuleList)
FLAT = ("_flat_weights", "_flat_weight_refs")
"""The second lists of weights that nn.RNNBase has. Its `__setattr__` fills the first."""


def own_classes(module: nn.Module) -> list[type]:
    """The classes of the tree whose source has to travel with it, in the order in which they appear."""
    return list(
        dict.fromkeys(type(part) for part in module.modules() if not is_library(type(part).__module__))
    )


def expression(module: nn.Module, indent: str = "    ") -> str:
    """Python for a module of the same layers, tensors and settings: constructors of torch, and `made` for the others.

    >>> print(expression(nn.Sequential(nn.Linear(2, 4), nn.ReLU())))
    nn.Sequential(
        nn.Linear(in_features=2, out_features=4),
        nn.ReLU(),
    )
    """
    _check_hooks(module)
    if type(module) in PLAIN and list(module._modules) == [str(i) for i in range(len(module._modules))]:
        parts = [expression(part, indent) for part in module.children()]
        many = type(module) is nn.ModuleList
        return f"nn.{type(module).__name__}({_listed(parts, indent, '[' * many, ']' * many)})"
    if (text := _constructor(module)) is not None:
        return text
    kind = type(module)
    name = f"nn.{kind.__name__}" if getattr(nn, kind.__name__, None) is kind else _qualified(kind)
    parts = [
        f"{key}={text}" if key.isidentifier() else f"**{{{key!r}: {text}}}"
        for key, text in _parts(module, indent)
    ]
    return f"made({_listed([name, *parts], indent)})"


def missed(module: nn.Module, reason: str) -> str | None:
    """The sentence for an error of the written file, if an attribute is missing that is no literal."""
    for part in module.modules():
        kind = type(part)
        found = re.search(rf"'{kind.__name__}' object has no attribute '(\w+)'", reason)
        left = {k: v for k, v in vars(part).items() if k not in STANDARD and literal(v) is None}
        # torch names the property in whose code an attribute is missing, and not that attribute
        if found and isinstance(getattr(kind, found[1], None), property):
            names = list(left)
        else:
            names = [name for name in left if found and name == found[1]]
        if names:
            listed = ", ".join(f"{name}: {type(left[name]).__name__}" for name in names)
            return (
                f"{kind.__name__} has attributes that cannot be written as Python ({listed}), so nothing was written: "
                f"make them layers, methods or plain values, or {OTHERWISE}"
            )
    return None


def _qualified(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}" if is_library(kind.__module__) else kind.__name__


def _listed(parts: list[str], indent: str, begin: str = "", end: str = "") -> str:
    """The arguments of a call, on one line if they are short."""
    short = f"{begin}{', '.join(parts)}{end}"
    if (
        len(short) < 60
        and "\n" not in short
        and not begin
        and len(parts) < 3
        and "nn." not in "".join(parts[:-1])
    ):
        return short
    inner = "".join(f"{indent}{part},\n".replace("\n", f"\n{indent}").rstrip(" ") for part in parts)
    return f"{begin}\n{inner}{end}"


def _constructor(module: nn.Module) -> str | None:
    """The shortest constructor call that makes the same layer, out of what torch prints of it; None if none does."""
    kind = type(module)
    if getattr(nn, kind.__name__, None) is not kind:
        return None
    unprinted = f", nonlinearity={module.nonlinearity!r}" if kind is nn.RNN else ""
    try:
        call = ast.parse(f"nn.{kind.__name__}({module.extra_repr()}{unprinted})", mode="eval")
    except SyntaxError:
        return None
    assert isinstance(call.body, ast.Call)
    if not _makes(call, module):
        return None
    for keyword in list(call.body.keywords):  # defaults, of which another version of torch may have fewer
        call.body.keywords.remove(keyword)
        if not _makes(call, module):
            call.body.keywords.append(keyword)
    return ast.unparse(call)


def _makes(call: ast.Expression, module: nn.Module) -> bool:
    try:
        with torch.device("meta"), warnings.catch_warnings(action="ignore"):
            return _same(module, eval(compile(call, "<layer>", "eval"), {"nn": nn, "torch": torch}))
    except Exception:  # not enough arguments
        return False


def _same(a: nn.Module, b: nn.Module) -> bool:
    """Whether two modules have the same settings, and tensors of the same names and shapes. Training mode is none."""
    shapes = [{name: t.shape for name, t in _tensors(m).items()} for m in (a, b)]
    settings = [{k: v for k, v in vars(m).items() if k not in STANDARD and k not in FLAT} for m in (a, b)]
    return shapes[0] == shapes[1] and settings[0] == settings[1] and not a._modules


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {k: t for k, t in {**module._parameters, **module._buffers}.items() if t is not None}


def _parts(module: nn.Module, indent: str) -> Iterator[tuple[str, str]]:
    """Settings, layers, parameters and buffers of a module as Python. Settings that are no literals are left out."""
    flat = (
        dict.fromkeys(FLAT, [None] * len(module._flat_weights_names))
        if isinstance(module, nn.RNNBase)
        else {}
    )
    for name, value in {**vars(module), **flat}.items():
        if name not in STANDARD and (text := literal(value)) is not None:
            yield name, text
    for name, child in module._modules.items():
        yield name, "None" if child is None else expression(child, indent)
    for name, tensor in {**module._parameters, **module._buffers}.items():
        yield name, "None" if tensor is None else _empty(tensor, name in module._parameters)


def _empty(tensor: Tensor, parameter: bool) -> str:
    kind = "" if tensor.dtype == torch.float32 else f", dtype={tensor.dtype}"
    text = f"torch.empty({tuple(tensor.shape)}{kind})"
    return f"nn.Parameter({text})" if parameter else text


def _check_hooks(module: nn.Module) -> None:
    hooks: list[Any] = [module._forward_hooks, module._forward_pre_hooks]
    if any(hooks):
        raise UsageError(
            f"a {type(module).__name__} of the network has forward hooks, which a file cannot hold: {OTHERWISE}"
        )
