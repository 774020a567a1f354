"""The types of the values of a recipe's keys: counts, spans of steps, and numbers that may change or differ."""

import difflib
import math
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from typing import Annotated, Any, NamedTuple, Protocol

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

from steadygan import schedules
from steadygan.config.records import Option, Options, Part
from steadygan.errors import nearest

__all__ = [
    "SCHEDULES",
    "Classes",
    "Count",
    "Members",
    "Named",
    "Natural",
    "Positive",
    "Scheduled",
    "Span",
    "Strict",
    "Sweep",
    "Threads",
    "Times",
    "Words",
    "bounded",
    "choice",
    "ends",
    "schedule_form",
    "spelled",
    "steps_of",
    "value",
]


LISTED = 20
"""The most keys that an error names."""


class Words(NamedTuple):
    """What the reference calls a type, where the type itself does not say it: `Annotated[TYPE, Words("steps")]`."""

    text: str


def bounded(
    noun: str,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> str:
    """The words for a number with low <= v <= high and above < v < below.

    >>> bounded("number", low=0, high=1), bounded("number")
    ('number >= 0 and <= 1', 'number')
    """
    signs = {">": above, ">=": low, "<=": high, "<": below}
    limits = " and ".join(f"{sign} {end:g}" for sign, end in signs.items() if end is not None)
    return f"{noun} {limits}".strip()


class Strict(BaseModel):
    """Frozen and closed: an unknown key is an error that names the nearest known one.

    The docstring below a key is its meaning, which the reference of all keys prints.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        validate_default=True,
        use_attribute_docstrings=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, raw: Any) -> Any:
        for key in raw if isinstance(raw, dict) else ():
            if key not in cls.model_fields:
                many = "list them with steadygan list config" if len(cls.model_fields) > LISTED else None
                raise PydanticCustomError(
                    "unknown_key",
                    "is not a key here: {hint}",
                    {"key": str(key), "hint": nearest(str(key), cls.model_fields, many)},
                )
        return raw


class Entry(Protocol):
    """An entry of a table: what it is, and its options."""

    @property
    def meaning(self) -> str:
        """What it is, in a sentence."""

    @property
    def options(self) -> Options:
        """The options by their keys."""


def _no_truth(raw: Any) -> Any:
    if isinstance(raw, bool):
        raise ValueError(f"takes a number, not {raw}")
    return raw


_Number = BeforeValidator(_no_truth)  # YAML reads `yes` and `on` as true, which Python counts as one

Count = Annotated[int, Field(ge=1, lt=2**31), _Number]
Members = Annotated[int, Field(ge=1, le=2**16), _Number]
Threads = Annotated[int, Field(ge=1, le=1024), _Number]
Classes = Annotated[int, Field(ge=2, lt=2**31), _Number]
Natural = Annotated[int, Field(ge=0, lt=2**63), _Number]
Real = Annotated[float, _Number]
Positive = Annotated[float, Field(gt=0), _Number]
NonNegative = Annotated[float, Field(ge=0), _Number]
Share = Annotated[float, Field(ge=0, lt=1), _Number]


def _read_span(least: int, raw: Any) -> int | str:
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


def _span(least: int) -> Any:
    read = BeforeValidator(partial(_read_span, least))
    return Annotated[int | str, read, Words(f"steps{' >= 1' * least}, or a share of the run")]


def _read_times(raw: Any) -> int | str | tuple[int | str, ...]:
    if not isinstance(raw, list | tuple):
        return _read_span(1, raw)
    if not raw:
        raise ValueError("takes an interval or a list of one step or more, not an empty list")
    return tuple(_read_span(0, each) for each in raw)


Span: Any = _span(0)
"""A number of steps, or a share of the run such as `50%`."""

Length: Any = _span(1)
"""A span of at least one step."""


Times: Any = Annotated[
    int | str | tuple[int | str, ...],
    BeforeValidator(_read_times),
    Words("steps >= 1, or a share of the run, or a list of steps and shares"),
]
"""An interval: a span of at least one step. Or the steps themselves: a list of spans."""


def steps_of(span: int | str, total: int) -> int:
    """How many steps a span is in a run of `total`.

    >>> steps_of("50%", 300), steps_of(7, 300)
    (150, 7)
    """
    return round(float(span[:-1]) / 100 * total) if isinstance(span, str) else span


class Sweep(RootModel[tuple[float, ...]]):
    """A list in place of a number: one member of the ensemble for each value."""

    model_config = ConfigDict(frozen=True)
    root: Annotated[tuple[Annotated[Real, Field(allow_inf_nan=False)], ...], Field(min_length=1)]


def spelled(name: str, known: Collection[str]) -> str:
    """The known name that is meant by `name`: itself, or with underscores for its hyphens.

    >>> spelled("fashion-mnist", ["fashion_mnist"]), spelled("moons", ["fashion_mnist"])
    ('fashion_mnist', 'moons')
    """
    other = name.replace("-", "_")
    return other if name not in known and other in known else name


def tagged(options: dict[str, type[Strict]], key: str, default: str | None = None) -> Any:
    """A union of models, distinguished by `key`. A plain string means the model of that name with its defaults."""

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
    """A second member of a union of one, which no value fits."""


def choice(table: Mapping[str, Entry], default: str | None = None) -> Any:
    """The type of a key that names one entry of `table`, and `default` where it has no name.

    It is written `{name: NAME, option: ...}`, or just NAME.
    """
    return Annotated[tagged(_models(table, "name"), "name", default), Words("name with options")]


def _model(name: str, key: str, meaning: str, options: Options) -> type[Strict]:
    """The schema of an entry: its name under `key`, and its options."""
    fields: dict[str, Any] = {key: (str, name), **{name: _field(option) for name, option in options.items()}}
    made = create_model(name, __base__=Named, __doc__=meaning, **fields)
    return made


def _field(option: Option) -> tuple[Any, Any]:
    examples = None if option.example is None else [option.example]
    return option.type, Field(option.default, description=option.meaning, examples=examples)


class Named(Strict):
    """An entry of a table, which may be written as its bare name, in any spelling of it."""

    model_config = ConfigDict(use_attribute_docstrings=False)  # its fields have their meanings from the table

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, raw: Any) -> Any:
        key, field = next(iter(cls.model_fields.items()))
        if isinstance(raw, str):
            return {key: field.default}
        return {**raw, key: field.default} if isinstance(raw, dict) else raw


def _models(table: Mapping[str, Entry], key: str) -> dict[str, type[Strict]]:
    return {name: _model(name, key, part.meaning, part.options) for name, part in table.items()}


_line = {
    "start": Option(Real, ..., "First value.", 0.002),
    "stop": Option(Real, ..., "Last value, which then stays.", 0),
    "over": Option(Length, "100%", "How long the change takes.", "50%"),
    "begin": Option(Span, 0, "When the change begins.", "50%"),
}
_plain = {
    "constant": Part(
        schedules.constant, "One value at every step.", {"value": Option(Real, ..., "The value.", 0.001)}
    ),
    "linear": Part(schedules.linear, "A straight line from `start` to `stop`.", _line),
    "cosine": Part(
        schedules.cosine, "Half a cosine from `start` to `stop`: slow at both ends, fast between.", _line
    ),
}
_plain_value: Any = Annotated[
    Annotated[Real, Tag("<number>")]
    | Annotated[tagged(_models(_plain, "schedule"), "schedule"), Tag("<schedule>")],
    Discriminator(lambda raw: "<schedule>" if isinstance(raw, dict | Strict) else "<number>"),
    Words("number, or one of the other schedules"),
]
_warmup = Part(
    schedules.warmup,
    "Rises from nearly 0 to `value` in a straight line, then stays there or follows that schedule.",
    {
        "value": Option(_plain_value, ..., "What is reached.", 0.001),
        "over": Option(Length, ..., "How long the rise takes.", "5%"),
    },
)

SCHEDULES: dict[str, Part] = {**_plain, "warmup": _warmup}
"""Every schedule with its keys: `{schedule: linear, start: 1, stop: 0, over: 50%, begin: 0}` and its relatives."""


def schedule_form(name: str) -> str:
    """How a schedule is written: the one of this name, or one of a name that is close, or a straight line.

    >>> schedule_form("warmup")
    '{schedule: warmup, value: 0.001, over: 5%}'
    """
    close = difflib.get_close_matches(name, SCHEDULES, n=1)
    chosen = close[0] if close else "linear"
    keys = {key: option.example for key, option in SCHEDULES[chosen].options.items() if option.default is ...}
    return f"{{schedule: {chosen}, {', '.join(f'{key}: {value}' for key, value in keys.items())}}}"


Scheduled: Any = tagged(_models(SCHEDULES, "schedule"), "schedule")
"""One of the schedules."""


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
    """Every extreme that a number takes over a run or across an ensemble. A warmup begins next to 0.

    >>> ends(0.1), ends(Sweep((1.0, 2.0)))
    ([0.1], [1.0, 2.0])
    """
    if isinstance(number, Sweep):
        return list(number.root)
    if isinstance(number, Strict):
        parts: Iterator[Any] = (getattr(number, k) for k in ("start", "stop", "value") if hasattr(number, k))
        found = [end for part in parts for end in ends(part)]
        begun = [math.copysign(1e-9, end) for end in found]
        return [*found, *begun] if getattr(number, "schedule", "") == "warmup" else found
    return [number]


def value(
    low: float | None = None,
    high: float | None = None,
    *,
    above: float | None = None,
    below: float | None = None,
) -> Any:
    """The type of a number that may be a schedule or a sweep, all of it within low <= v <= high and v > above.

    v < below is for a number and each of a sweep: a schedule may end there.
    """

    def check(number: Any) -> Any:
        for end in ends(number):
            if low is not None and end < low:
                if getattr(number, "schedule", "") == "warmup" and end > 0:
                    raise ValueError(
                        f"must be at least {low:g}, and a warmup begins next to 0: choose another one"
                    )
                raise ValueError(f"must be at least {low:g}, not {end:g}")
            if above is not None and end <= above:
                raise ValueError(f"must be more than {above:g}, not {end:g}")
            if high is not None and end > high:
                raise ValueError(f"must be at most {high:g}, not {end:g}")
            if below is not None and end >= below and not isinstance(number, Strict):
                raise ValueError(f"must be less than {below:g}, not {end:g}")
        return number

    words = Words(f"{bounded('number', low, high, above, below)}, schedule or list")
    return Annotated[_Value, AfterValidator(check), words]


assert schedules.SCHEDULES.keys() == SCHEDULES.keys()
