"""Plain data as read from YAML, and overrides of it: `a.b=value`."""

import re
from collections.abc import Iterable
from typing import Any

import yaml

from steadygan.errors import UsageError, short

__all__ = ["LONGEST", "as_text", "as_yaml", "assigned", "override", "read_yaml", "split", "value_of"]


LONGEST = 2**18
"""Characters of the longest text that is read as YAML: a second's work. A recipe has some 1,500."""

MOST = 100_000
"""Most values of a configuration. A recipe has some 50."""

DIGITS = 18
"""Most digits of a whole number, so that a tensor can hold it."""

UNREADABLE = (
    yaml.YAMLError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    OverflowError,
    RecursionError,
)
"""What the reader of YAML raises, also for values that are not of the type that their tag says, as `!!int x`."""


class _Loader(yaml.SafeLoader):
    """Reads numbers of at most 64 characters: Python refuses to read or to print some longer ones."""

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        if node.tag.endswith((":int", ":float")) and len(node.value) > 64:
            raise yaml.YAMLError("a number has more than 64 characters")
        return super().construct_scalar(node)


class _Dumper(yaml.SafeDumper):
    """Writes text that `_Loader` would take for a number in quotes."""


for _each in (_Loader, _Dumper):
    # YAML 1.1 reads 1e-3 as text, and people mean the number. In quotes it stays text.
    _each.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$"),
        list("-+.0123456789"),
    )

SHORT_FORMS = {"compile": "when", "clip": "bound"}
"""Keys whose value may stand for one of their own keys."""


def override(raw: dict[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """`raw` with `a.b=value` assignments applied, values read as YAML.

    >>> override({"data": {"name": "ring8"}, "steps": 5}, ["steps=7", "data.scale=1.5"])
    {'data': {'name': 'ring8', 'scale': 1.5}, 'steps': 7}
    """
    pairs = (split(assignment) for assignment in assignments)
    return assigned(raw, [(path, value_of(path, text)) for path, text in pairs])


def value_of(path: str, text: str) -> Any:
    """The value of `path=text`, read as YAML."""
    return read_yaml(text, f"the value of {short(f'{path}={text}', 60)!r}")


def split(assignment: str) -> tuple[str, str]:
    """The path and the text of `a.b=value`. Raises UsageError for what is none.

    >>> split("optimizer.lr=1e-3")
    ('optimizer.lr', '1e-3')
    """
    path, equals, text = assignment.partition("=")
    if not equals or not path:
        raise UsageError(short(f"{assignment!r} is not an override: write key=value, such as steps=1000"))
    if not all(path.split(".")):
        raise UsageError(short(f"{path!r} in {assignment!r} is no key: write a.b=value"))
    return path, text


def assigned(raw: dict[str, Any], changes: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """`raw` with each value put at its path `a.b`, in turn. Raises UsageError where there is no such place.

    >>> assigned({"data": "ring8", "steps": 5}, [("data.scale", 1.5)])
    {'data': {'name': 'ring8', 'scale': 1.5}, 'steps': 5}
    """
    tree = _copy(raw)
    for path, new in changes:
        if not all(path.split(".")):
            raise UsageError(short(f"{path!r} is no key: write a.b=value"))
        _assign(tree, path.split("."), new, path)
    return tree


def as_text(value: Any) -> str:
    """A value as it is written in an override, in a line.

    >>> as_text({"name": "adam", "betas": [0, 0.99]}), as_text(None)
    ('{name: adam, betas: [0, 0.99]}', 'null')
    """
    text = as_yaml(value, default_flow_style=True, width=10_000)
    return text.removesuffix("...\n").strip()


def as_yaml(value: Any, **how: Any) -> str:
    """Plain data as YAML, which `read_yaml` reads as the same.

    >>> as_yaml({"name": "1e-3", "lr": 0.001})
    "name: '1e-3'\\nlr: 0.001\\n"
    """
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, **how)


def read_yaml(text: str, source: str) -> Any:
    """YAML as plain data.

    Raises UsageError for text that is not YAML, or longer than 262,144 characters, and for a document that contains
    itself or unfolds to more than 100,000 values.
    """
    if len(text) > LONGEST:
        raise UsageError(f"{source} has more than {LONGEST:,} characters: write a smaller file")
    try:
        loader = _Loader(text)
        document = loader.get_single_node()
        if _unfolded(document, {}) > MOST:
            raise UsageError(
                f"{source} unfolds to more than {MOST:,} values: write a smaller file, without repeated anchors (&)"
            )
        return None if document is None else _checked(loader.construct_document(document))
    except UsageError:
        raise
    except UNREADABLE as error:
        reason = short(str(error) or type(error).__name__, 120)
        raise UsageError(f"{source} is not YAML ({reason}): quote or correct it") from None


def _unfolded(node: yaml.Node | None, known: dict[int, int]) -> int:
    """The number of values of a YAML node if each alias is written out. `known` has the numbers of shared nodes."""
    if id(node) not in known:
        parts = node.value if isinstance(node, yaml.CollectionNode) else ()
        below = [part for pair in parts for part in (pair if isinstance(pair, tuple) else (pair,))]
        known[id(node)] = 1 + sum(_unfolded(part, known) for part in below)
    return known[id(node)]


def _copy(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _copy(part) for key, part in tree.items()}
    return [_copy(part) for part in tree] if isinstance(tree, list) else tree


def _checked(new: Any) -> Any:
    """Plain data as they are. Raises ValueError for a whole number that is too long."""
    if type(new) is int and abs(new) >= 10**DIGITS:
        raise ValueError(f"a whole number has more than {DIGITS} digits")
    for part in new.values() if isinstance(new, dict) else new if isinstance(new, list) else ():
        _checked(part)
    return new


def _assign(tree: Any, keys: list[str], new: Any, path: str) -> None:
    for depth, key in enumerate(keys):
        last = depth == len(keys) - 1
        if isinstance(tree, list):
            if not key.isdecimal() or int(key) >= len(tree):
                raise UsageError(
                    short(f"{path}: there is no item {key!r}: it has {len(tree)}, numbered from 0")
                )
            index: Any = int(key)
        elif isinstance(tree, dict):
            index = key
        else:
            raise UsageError(short(f"{path}: {'.'.join(keys[:depth])} has no keys of its own"))
        if last:
            tree[index] = new
            return
        below = tree.get(index) if isinstance(tree, dict) else tree[index]
        if below is not None and not isinstance(below, dict | list) and index in SHORT_FORMS:
            below = {SHORT_FORMS[index]: below}
        if isinstance(below, str):  # a bare name: make room for its options
            below = {"name": below}
        tree[index] = {} if below is None else below
        tree = tree[index]
