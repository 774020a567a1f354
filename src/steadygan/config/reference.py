"""The reference of every configuration key: type, default, meaning and an example, all read off the schema."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from steadygan.config.field_types import Named, Scheduled, Strict, Words, bounded, spelled
from steadygan.config.overrides import as_text
from steadygan.config.schema import Config
from steadygan.errors import UsageError, nearest

__all__ = ["NAME", "RECIPE", "Key", "alike", "every_key", "find", "override_paths", "reference", "schedules"]

NAME = "name"
"""The type of what is no key, but a name that a key takes."""

RECIPE = "digits-fargan"
"""The recipe of which every example is an override."""

LIMITLESS = 2**31
"""A number below this or more is said to have no upper limit."""


class Key(NamedTuple):
    """A key: its path, type, default and meaning in words, and an example of an override that sets it.

    `below` are the keys of a section. For a key that takes a name they are the names (of the type NAME), and below a
    name are its options.
    """

    path: str
    type: str
    default: str
    meaning: str
    example: str
    below: tuple["Key", ...] = ()

    @property
    def name(self) -> str:
        """The last part of the path.

        >>> find("fake_as_real.count")[0].name
        'count'
        """
        return self.path.rpartition(".")[2]

    @property
    def named(self) -> bool:
        """Whether it takes a name that has options."""
        return bool(self.below) and self.below[0].type == NAME


Wrap = Callable[[Any], str]
"""Makes an override out of a value."""


@cache
def reference() -> tuple[Key, ...]:
    """The keys of a configuration, in the order of the schema."""
    return tuple(_keys(Config, "", lambda key, value: f"{key}={as_text(value)}"))


@cache
def schedules() -> Key:
    """The schedules with their keys, as if they were the names that a key takes."""
    below = tuple(
        _name(model, "schedule", lambda value: f"optimizer.lr={as_text(value)}")
        for model in _models(Scheduled)
    )
    return Key("schedule", "name", "", "How a number changes over the run.", below[1].example, below)


def every_key(keys: Sequence[Key] | None = None) -> Iterator[Key]:
    """Every key and name, those below after the one above.

    >>> [key.path for key in every_key() if key.path.startswith("noise")]
    ['noise', 'noise.instance', 'noise.D', 'noise.G']
    """
    for key in (*reference(), schedules()) if keys is None else keys:
        yield key
        yield from every_key(key.below)


def override_paths() -> list[str]:
    """The keys as overrides name them: an option of a name stands below the name's key.

    >>> [path for path in override_paths() if path.startswith("ema")]
    ['ema', 'ema.decay', 'ema.start']
    """
    return list(dict.fromkeys(_override_paths(reference(), "")))


def _override_paths(keys: Sequence[Key], above: str) -> Iterator[str]:
    for key in keys:
        path = above if key.type == NAME else f"{above}.{key.name}".removeprefix(".")
        if key.type != NAME:
            yield path
        if not key.type.startswith("list of"):  # an item of a list has no path of its own
            yield from _override_paths(key.below, path)


def find(path: str) -> list[Key]:
    """The key of this path, or all keys that end in it: `networks.dcgan.width`, `n_critic`, `networks.width`.

    Numbers of items are left out (`critic.penalties.0`). Raises UsageError, naming the nearest, where there is none.

    >>> [key.path for key in find("n_critic")]
    ['dynamics.alternating.n_critic', 'dynamics.lookahead.n_critic']
    """
    known = {key.path: key for key in every_key()}
    parts = [spelled(part, known) for part in path.split(".") if not part.isdecimal()]
    if ".".join(parts) in known:
        return [known[".".join(parts)]]
    found = [key for key in known.values() if _ends(key.path.split("."), parts)]
    if not found:
        names = {*known, *(key.name for key in known.values())}
        hint = nearest(".".join(parts), names, otherwise="steadygan list config shows all")
        raise UsageError(f"there is no key {path!r}: {hint}")
    return found


def _ends(path: list[str], parts: list[str]) -> bool:
    """Whether a path ends in these parts, some left out between them: networks.dcgan.width in networks.width."""
    rest = iter(path)
    return path[-1] == parts[-1] and all(part in rest for part in parts)


def alike(keys: Sequence[Key]) -> list[list[Key]]:
    """Keys that differ in their paths and examples only, together.

    >>> [len(group) for group in alike(find("n_critic"))]
    [2]
    """
    groups: dict[tuple[str, ...], list[Key]] = {}
    for key in keys:
        groups.setdefault((key.name, key.type, key.default, key.meaning), []).append(key)
    return list(groups.values())


# ------------------------------------------------------------------------------------------------- the schema


def _keys(model: type[Strict], path: str, wrap: Callable[[str, Any], str]) -> Iterator[Key]:
    """The keys of a model at `path`; `wrap(key, value)` is the override that sets one of them."""
    for name, field in model.model_fields.items():
        if not (issubclass(model, Named) and name == _tag(model)):
            below = f"{path}.{name}" if path else name
            yield _key(field, below, lambda value, name=name: wrap(name, value))  # type: ignore[misc]


def _key(field: FieldInfo, path: str, wrap: Wrap) -> Key:
    kind = words(field.annotation, field.metadata)
    default = "required" if field.is_required() else _default(field)
    models = [model for model in _models(field.annotation) if _tag(model) != "schedule"]
    if not models:
        return Key(path, kind, default, _text(field.description), wrap(_example(field)))
    if not issubclass(models[0], Named):
        below = tuple(_section(models[0], path, wrap))
        return Key(path, kind, default, _text(models[0].__doc__), below[0].example, below)
    items = get_origin(field.annotation) is tuple
    names = tuple(_name(model, path, (lambda v: wrap([v])) if items else wrap) for model in models)
    return Key(path, kind, default, _text(field.description), wrap(_example(field)), names)


def _section(model: type[Strict], path: str, wrap: Wrap) -> Iterator[Key]:
    required = _required(model)
    if required:
        return _keys(model, path, lambda key, value: wrap({**required, key: value}))
    return _keys(model, path, lambda key, value: f"{path}.{key}={as_text(value)}")


def _name(model: type[Strict], path: str, wrap: Wrap) -> Key:
    """A name that a key takes, with its options."""
    tag = _tag(model)
    name = model.model_fields[tag].default
    least = {tag: name, **_required(model)}
    path = f"{path}.{name}"
    below = tuple(_keys(model, path, lambda key, value: wrap({**least, key: value})))
    return Key(path, NAME, "", _text(model.__doc__), wrap(least if len(least) > 1 else name), below)


def _models(kind: Any) -> list[type[Strict]]:
    """The models that a type is made of, each once."""
    if isinstance(kind, type) and issubclass(kind, Strict):
        return [kind] if kind.model_fields else []
    return list(dict.fromkeys(model for part in get_args(kind) for model in _models(part)))


def _tag(model: type[Strict]) -> str:
    """The key under which a named model has its name; none for a section."""
    return next(iter(model.model_fields)) if issubclass(model, Named) else ""


def _required(model: type[Strict]) -> dict[str, Any]:
    return {name: _example(field) for name, field in model.model_fields.items() if field.is_required()}


# ---------------------------------------------------------------------------------------------- types, values


def words(kind: Any, metadata: Sequence[Any] = ()) -> str:
    """A type in words.

    >>> words(int | None), words(Literal["a", "b"]), words(tuple[bool, ...])
    ('whole number, or null', 'one of a, b', 'list of: true or false')
    """
    told = next((part.text for part in metadata if isinstance(part, Words)), None)
    if told:
        return told
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return words(parts[0], [inner for part in parts[1:] for inner in getattr(part, "metadata", [part])])
    if origin in (Union, UnionType):
        return ", or ".join(words(part) for part in parts)
    if origin is Literal:
        names = ", ".join(str(part) for part in parts)
        return f"one of {names}" if len(parts) > 1 else names
    if origin is tuple:
        each = [words(part) for part in parts if part is not ...]
        return f"list of{'' if ... in parts else f' {len(each)}'}: {each[0]}"
    return _simple(kind, metadata)


def _simple(kind: type, metadata: Sequence[Any]) -> str:
    if kind in (int, float):
        low, high, above, below = (
            next((getattr(part, sign) for part in metadata if isinstance(part, bound)), None)
            for bound, sign in ((Ge, "ge"), (Le, "le"), (Gt, "gt"), (Lt, "lt"))
        )
        limit = below if below and below < LIMITLESS else None
        return bounded("whole number" if kind is int else "number", low, high, above, limit)
    return {bool: "true or false", str: "text", NoneType: "null"}.get(kind, "section")


def _default(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    return "" if isinstance(default, Strict) else as_text(default)


def _example(field: FieldInfo) -> Any:
    """A value other than the default: the one that stands with the key, else one that its type and default suggest."""
    if field.examples:
        return field.examples[0]
    kind, default = field.annotation, field.default
    named = [model for model in _models(kind) if _tag(model) == "name"]
    if named:
        return _chosen(named, default, items=get_origin(kind) is tuple)
    if get_origin(kind) is Literal:
        return next(value for value in get_args(kind) if value != default)
    if isinstance(default, bool):
        return not default
    return default / 2 if isinstance(default, float) else 2 * default or 1


def _chosen(models: list[type[Strict]], default: Any, *, items: bool) -> Any:
    """The first name that is not the default, with the options that it needs."""
    model = next(model for model in models if model.model_fields[_tag(model)].default != default)
    required, name = _required(model), model.model_fields[_tag(model)].default
    value = {_tag(model): name, **required} if required else name
    return [value] if items else value


def _text(documented: str | None) -> str:
    """A docstring in a line."""
    return " ".join(inspect.cleandoc(documented or "").split())
