"""The kinds of value a recipe's keys take: counts, spans of steps, and numbers that may change or differ."""

from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, Protocol

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    RootModel,
    Tag,
    create_model,
    model_validator,
)
from pydantic_core import PydanticCustomError

from steadygan.errors import nearest
from steadygan.schedules import SCHEDULES

__all__ = [
    "Classes",
    "Count",
    "Natural",
    "Positive",
    "Scheduled",
    "Span",
    "Strict",
    "Sweep",
    "choice",
    "ends",
    "spelled",
    "steps_of",
    "value",
]


class Strict(BaseModel):
    """Frozen, and closed to unknown keys, for which it names the nearest known one."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, raw: Any) -> Any:
        for key in raw if isinstance(raw, dict) else ():
            if key not in cls.model_fields:
                raise PydanticCustomError(
                    "unknown_key",
                    "is not a key here: {hint}",
                    {"key": str(key), "hint": nearest(str(key), cls.model_fields)},
                )
        return raw


class HasOptions(Protocol):
    """An entry of a table: its options as pydantic `(type, default)` pairs."""

    @property
    def options(self) -> Mapping[str, tuple[Any, Any]]:
        """The options by their keys."""


def _no_truth(raw: Any) -> Any:
    if isinstance(raw, bool):
        raise ValueError(f"takes a number, not {raw}")
    return raw


_Number = BeforeValidator(_no_truth)  # YAML reads `yes` and `on` as true, which Python counts as one

Count = Annotated[int, Field(ge=1, lt=2**31), _Number]
Classes = Annotated[int, Field(ge=2, lt=2**31), _Number]
Natural = Annotated[int, Field(ge=0, lt=2**63), _Number]
Real = Annotated[float, _Number]
Positive = Annotated[float, Field(gt=0), _Number]
NonNegative = Annotated[float, Field(ge=0), _Number]
Share = Annotated[float, Field(ge=0, lt=1), _Number]


def _span(least: int) -> Any:
    def read(raw: Any) -> Any:
        wanted = f"takes a number of steps ({least} or more) or a share of the run such as 50%, not {raw!r}"
        if isinstance(raw, str) and raw.endswith("%"):
            try:
                if least / 1e9 <= float(raw[:-1]) <= 100:
                    return raw
            except ValueError:
                pass
            raise ValueError(wanted)
        if isinstance(raw, float) and raw.is_integer():
            raw = int(raw)
        if isinstance(raw, bool) or not isinstance(raw, int) or raw < least:
            raise ValueError(wanted)
        return raw

    return Annotated[int | str, BeforeValidator(read)]


Span: Any = _span(0)
"""A number of steps, or a share of the run such as `50%`."""

Length: Any = _span(1)
"""A span that is not empty; a share of it is at least one step."""


def steps_of(span: int | str, total: int) -> int:
    """How many steps a span is in a run of `total`.

    >>> steps_of("50%", 300), steps_of(7, 300)
    (150, 7)
    """
    return round(float(span[:-1]) / 100 * total) if isinstance(span, str) else span


class Sweep(RootModel[tuple[float, ...]]):
    """A list where a number may stand: one member of the ensemble for each value."""

    model_config = ConfigDict(frozen=True)
    root: Annotated[tuple[Annotated[Real, Field(allow_inf_nan=False)], ...], Field(min_length=1)]


def spelled(name: str, known: Collection[str]) -> str:
    """The known name that `name` is: as it stands, or with underscores for its hyphens.

    >>> spelled("fashion-mnist", ["fashion_mnist"]), spelled("moons", ["fashion_mnist"])
    ('fashion_mnist', 'moons')
    """
    other = name.replace("-", "_")
    return other if name not in known and other in known else name


def tagged(options: dict[str, type[Strict]], key: str, default: str | None = None) -> Any:
    """The union of models told apart by `key`; a plain string stands for a model with its defaults."""

    def tag(raw: Any) -> str | None:
        name = raw.get(key, default) if isinstance(raw, dict) else getattr(raw, key, raw)
        return f"<{spelled(name, options)}>" if isinstance(name, str) else None

    members = tuple(Annotated[model, Tag(f"<{name}>")] for name, model in options.items())
    union: Any = members[0]
    for member in members[1:]:
        union = union | member
    if len(members) == 1:  # a union of one is no union to pydantic, and loses its discriminator
        union = members[0] | Annotated[_Never, Tag("<nothing>")]
    return Annotated[union, Discriminator(tag)]


class _Never(Strict):
    """Nothing validates as this."""


def choice(table: Mapping[str, HasOptions], default: str | None = None) -> Any:
    """The schema of one entry of `table`: `{name: NAME, option: ...}`, or just NAME; `default` when unnamed."""
    models = {name: _model(name, "name", part.options) for name, part in table.items()}
    return tagged(models, "name", default)


def _model(name: str, key: str, options: Mapping[str, tuple[Any, Any]]) -> type[Strict]:
    fields: dict[str, Any] = {key: (str, name), **options}
    model = create_model(name, __base__=_Named, **fields)
    return model


class _Named(Strict):
    """A model that may be written as its bare name, in any spelling of it."""

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, raw: Any) -> Any:
        key, field = next(iter(cls.model_fields.items()))
        if isinstance(raw, str):
            return {key: field.default}
        return {**raw, key: field.default} if isinstance(raw, dict) else raw


_line: dict[str, tuple[Any, Any]] = {
    "start": (Real, ...),
    "stop": (Real, ...),
    "over": (Length, "100%"),
    "begin": (Span, 0),
}
_plain = {
    "constant": _model("constant", "schedule", {"value": (Real, ...)}),
    "linear": _model("linear", "schedule", _line),
    "cosine": _model("cosine", "schedule", _line),
}
_plain_value: Any = Annotated[
    Annotated[Real, Tag("<number>")] | Annotated[tagged(_plain, "schedule"), Tag("<schedule>")],
    Discriminator(lambda raw: "<schedule>" if isinstance(raw, dict | Strict) else "<number>"),
]
_warmup = _model("warmup", "schedule", {"value": (_plain_value, ...), "over": (Length, ...)})
Scheduled: Any = tagged({**_plain, "warmup": _warmup}, "schedule")
"""`{schedule: linear, start: 1, stop: 0, over: 50%, begin: 0}` and its relatives, one for each of SCHEDULES."""


def _kind(raw: Any) -> str | None:
    if isinstance(raw, list | tuple | Sweep):
        return "<sweep>"
    return "<schedule>" if isinstance(raw, dict | Strict) else "<number>"


_Value = Annotated[
    Annotated[Real, Tag("<number>")]
    | Annotated[Sweep, Tag("<sweep>")]
    | Annotated[Scheduled, Tag("<schedule>")],
    Discriminator(_kind),
]


def ends(number: Any) -> list[float]:
    """Every extreme that a number takes over a run or across an ensemble.

    >>> ends(0.1), ends(Sweep((1.0, 2.0)))
    ([0.1], [1.0, 2.0])
    """
    if isinstance(number, Sweep):
        return list(number.root)
    if isinstance(number, Strict):
        parts: Iterator[Any] = (getattr(number, k) for k in ("start", "stop", "value") if hasattr(number, k))
        return [end for part in parts for end in ends(part)]
    return [number]


def value(low: float | None = None, high: float | None = None, *, above: float | None = None) -> Any:
    """The schema of a number that may be a schedule or a sweep, held to low <= v <= high and v > above."""

    def check(number: Any) -> Any:
        for end in ends(number):
            if low is not None and end < low:
                raise ValueError(f"must be at least {low:g}, not {end:g}")
            if above is not None and end <= above:
                raise ValueError(f"must be more than {above:g}, not {end:g}")
            if high is not None and end > high:
                raise ValueError(f"must be at most {high:g}, not {end:g}")
        return number

    return Annotated[_Value, AfterValidator(check)]


assert {*_plain, "warmup"} == SCHEDULES.keys()
