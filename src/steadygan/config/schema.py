"""A run's configuration: frozen plain data that round-trips through YAML, and says what is wrong with it."""

import re
import warnings
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Discriminator, Field, Tag, ValidationError, model_validator

from steadygan.config import registry
from steadygan.config.field_types import (
    Count,
    Natural,
    NonNegative,
    Positive,
    Real,
    Span,
    Strict,
    choice,
    spelled,
    steps_of,
    value,
)
from steadygan.config.overrides import read_yaml
from steadygan.config.paper import Paper
from steadygan.diagnostics import VERDICTS, WELL
from steadygan.errors import UsageError, nearest
from steadygan.files import user_path

__all__ = ["Config", "current", "dump", "in_steps", "load", "parse", "with_root"]


class Clip(Strict):
    """The critic's weights held to [-bound, bound], after each of its steps or before; may be given as a number."""

    bound: Positive
    when: Literal["after", "before"] = "after"

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, raw: Any) -> Any:
        return {"bound": raw} if isinstance(raw, int | float) and not isinstance(raw, bool) else raw


class Critic(Strict):
    """What constrains the critic: its output or weights normalized, penalties, consistency, weights clipped.

    `piecewise_linear` lets the generator's step use the cheap gradient of a normalized critic; when not given
    it is found out from the critic's modules, and a declaration is checked.
    """

    normalization: choice(registry.NORMALIZATIONS, default="none") = "none"  # type: ignore[valid-type]
    penalties: tuple[choice(registry.PENALTIES), ...] = ()  # type: ignore[valid-type]
    consistency: tuple[choice(registry.CONSISTENCY), ...] = ()  # type: ignore[valid-type]
    clip: Clip | None = None
    piecewise_linear: bool | None = None


class Noise(Strict):
    """Standard deviations: of the noise on samples before D, and after each hidden activation of D and of G."""

    instance: value(low=0) = 0  # type: ignore[valid-type]
    D: NonNegative = 0
    G: NonNegative = 0


class FakeAsReal(Strict):
    """N0 (`count`, which may change over training) and f (`pool`); count 0 turns fake-as-real off.

    `scoring` is the precision in which candidates are made and scored: the run's, or bfloat16, which is cheaper;
    what is chosen is made again in the run's.
    """

    count: value(low=0) = 0  # type: ignore[valid-type]
    pool: Count = 8
    scoring: Literal["same", "bfloat16"] = "same"


class Average(Strict):
    """An exponential moving average of the generator, from step `start` on."""

    decay: value(low=0, high=1) = 0.999  # type: ignore[valid-type]
    start: Span = 0


class Every(Strict):
    """Steps between logged lines, scores with sample pictures, checkpoints, and gradient statistics."""

    log: Span = "0.5%"
    score: Span = "5%"
    checkpoint: Span = "10%"
    diagnostics: Span = "5%"


class Keep(Strict):
    """How many checkpoints stay: the `last` ones, and the one with the best value of the score named `best`."""

    last: Count = 2
    best: str | None = None


class Evaluation(Strict):
    """How images are scored while a run trains: `images` samples against as many real ones.

    The kernel distance of pooled pixels is always logged. Another extractor is a name of `metrics.EXTRACTORS`, or a
    labelled data set, whose classifier it then is.
    """

    extractor: str = "pixels8"
    images: Annotated[int, Field(ge=100)] = 1000


class Stop(Strict):
    """The run ends early when the scalar `log`, as it is logged, is less than `below`, from step `after` on."""

    log: str
    below: Real
    after: Span = "10%"


_players = {name for part in registry.GAMES.values() for name in part.players}
_one: Any = choice(registry.OPTIMIZERS)
_optimizer = Annotated[
    Annotated[_one, Tag("<one>")] | Annotated[dict[str, _one], Tag("<each>")],
    Discriminator(
        lambda raw: "<each>" if isinstance(raw, dict) and raw and raw.keys() <= _players else "<one>"
    ),
]


_illness: Any = Literal[tuple(name for name in VERDICTS if name not in WELL)]


class Config(Strict):
    """Everything that determines a run; a run folder's config.yaml is one, resolved."""

    name: str = Field("custom", pattern=r"^\w[\w.-]*$")
    paper: Paper | None = None
    game: choice(registry.GAMES, default="gan") = "gan"  # type: ignore[valid-type]
    data: choice(registry.DATA)  # type: ignore[valid-type]
    networks: choice(registry.NETWORKS)  # type: ignore[valid-type]
    critic: Critic = Critic()
    augment: choice(registry.AUGMENTATIONS, default="none") = "none"  # type: ignore[valid-type]
    noise: Noise = Noise()
    fake_as_real: FakeAsReal = FakeAsReal()
    dynamics: choice(registry.DYNAMICS, default="alternating") = "alternating"  # type: ignore[valid-type]
    optimizer: _optimizer
    ema: Average | None = None
    steps: Count
    batch: Count = 64
    accumulate: Count = 1
    seed: Natural = 0
    seeds: Count = 1
    compile: bool | Literal["auto"] = "auto"
    precision: Literal["float32", "bfloat16", "float64"] = "float32"
    channels_last: bool = False
    device: str = "auto"
    threads: Count | None = None
    every: Every = Every()
    evaluation: Evaluation = Evaluation()
    keep: Keep = Keep()
    stop: Stop | None = None
    stop_on: tuple[_illness, ...] = ()
    tensorboard: bool = False
    scale: dict[str, dict[str, Any]] = Field(default_factory=dict)


def parse(raw: Any, source: str = "the configuration") -> Config:
    """Check plain data against the schema. Raises UsageError: one sentence that names the key and the remedy."""
    if not isinstance(raw, dict):
        raise UsageError(
            f"{source} must be a mapping of keys such as steps and data, not {type(raw).__name__}"
        )
    try:
        return Config.model_validate(current(raw))
    except ValidationError as error:
        raise UsageError(f"{source}: {_sentence(error, raw)}") from None


def current(raw: dict[str, Any]) -> dict[str, Any]:
    """`raw` with the keys of the first version under their present names; each is warned of.

    >>> import warnings
    >>> with warnings.catch_warnings(action="ignore"):
    ...     current({"every": {"examine": 5}, "looks": {"images": 100}})
    {'every': {'diagnostics': 5}, 'evaluation': {'images': 100}}
    """
    made = {key: dict(part) if isinstance(part, dict) else part for key, part in raw.items()}
    every = made.get("every")
    if isinstance(every, dict) and "examine" in every:
        _warn_of("every.examine", "every.diagnostics")
        every["diagnostics"] = every.pop("examine")
    if "looks" in made:
        _warn_of("looks", "evaluation")
        old, new = made.pop("looks"), made.get("evaluation")
        made["evaluation"] = {**new, **old} if isinstance(old, dict) and isinstance(new, dict) else old
    return made


def _warn_of(old: str, new: str) -> None:
    text = f"the configuration key {old} is now {new}: the old name works for one more version"
    warnings.warn(text, FutureWarning, stacklevel=3)


def load(file: Path) -> dict[str, Any]:
    """Read a YAML file as plain data. Raises UsageError when it is missing or not YAML."""
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"cannot read {file} ({error}): name a recipe, a run folder or a YAML file"
        ) from None
    raw = read_yaml(text, str(file))
    if not isinstance(raw, dict):
        raise UsageError(f"{file} must hold keys such as steps and data, not {type(raw).__name__}")
    return raw


def dump(config: Config) -> str:
    """The configuration as YAML that parses to the same configuration.

    >>> config = parse({"data": "ring8", "networks": "mlp", "optimizer": {"name": "sgd", "lr": 0.1}, "steps": 9})
    >>> parse(yaml.safe_load(dump(config))) == config
    True
    """
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def with_root(raw: dict[str, Any], root: Path | None) -> dict[str, Any]:
    """`raw` with the folder `root` named where its data set takes one."""
    data = raw.get("data")
    data = dict(data) if isinstance(data, dict) else {"name": data}
    part = registry.DATA.get(spelled(str(data.get("name")), registry.DATA))
    if root is None or part is None or "root" not in part.options:
        return raw
    return {**raw, "data": {**data, "root": str(user_path(root).resolve())}}


def in_steps(config: Config) -> Config:
    """The same configuration with every share of the run (50%) as a number of steps.

    So a run that is resumed for longer keeps the schedules that it had. Presets keep their shares.
    """

    def steps(tree: Any, key: str = "") -> Any:
        if isinstance(tree, dict):
            return {name: steps(part, name) for name, part in tree.items()}
        if isinstance(tree, list):
            return [steps(part) for part in tree]
        if isinstance(tree, str) and re.fullmatch(r"[\d.]+%", tree):
            return max(steps_of(tree, config.steps), int(key in ("over", *Every.model_fields)))
        return tree

    made = Config.model_validate(steps(config.model_dump(mode="json", exclude={"scale"})))
    return made.model_copy(update={"scale": config.scale})


def _sentence(error: ValidationError, raw: Any) -> str:
    first = error.errors(include_url=False)[0]
    kind, context, given = first["type"], first.get("ctx", {}), first["input"]
    path = _path(first["loc"], raw)
    if kind == "unknown_key":
        key = context["key"] if context["key"].isprintable() else repr(context["key"])
        return f"{_join(path, key)} {first['msg']}"
    if kind == "union_tag_invalid":
        tags = [t.strip("<>'\" ") for t in context["expected_tags"].split(",") if "nothing" not in t]
        named = context["tag"].strip("<>")
        return f"{path}: {named!r} is not known: {nearest(named, [t for t in tags if t])}"
    if kind == "union_tag_not_found":
        key = "schedule" if first["loc"][-1] == "<schedule>" else "name"
        return f"{path} needs a {key}: write {path}.{key}=... (not {given!r})"
    if kind == "missing":
        return f"{path} is missing: add it"
    if first["msg"].startswith("Value error, "):
        return f"{path} {first['msg'].removeprefix('Value error, ')}"
    _, should, rest = first["msg"].partition(" should ")  # pydantic's subject is the type; ours is the key
    reason = f"{path} should {rest}" if should else f"{path}: {first['msg'][:1].lower()}{first['msg'][1:]}"
    return f"{reason.replace(' tuple', ' list')}, not {given!r}"


def _path(location: tuple[int | str, ...], raw: Any) -> str:
    """The dotted path that the user wrote; pydantic's also holds the tags of unions."""
    return ".".join(str(key) for key in location if not (isinstance(key, str) and key.startswith("<")))


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
