"""A configuration resolved once: shares of steps, sweeps, schedules and the machine's defaults become objects.

Each section of `Resolved` holds plain arguments for the builder of that section. A number that changes over training or
differs between the members of an ensemble is a function of the state's scalars (`schedules.Number`).
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch

from steadygan import schedules
from steadygan.config import half, schema
from steadygan.config.field_types import Strict, Sweep, ends, steps_of
from steadygan.config.records import Choice
from steadygan.config.schema import Config
from steadygan.critic_outputs import Reduction
from steadygan.errors import UsageError, short
from steadygan.games import Clip, FakeAsReal, Received
from steadygan.schedules import Number
from steadygan.training.events import Every, Stop

__all__ = [
    "Constraints",
    "Ema",
    "HiddenNoise",
    "Matching",
    "Precision",
    "Resolved",
    "device_of",
    "resolve",
    "schedule_of",
    "scheduled",
    "sweeps",
]


class HiddenNoise(NamedTuple):
    """Standard deviations of the noise after hidden activations, of the critics and of the generator."""

    D: float
    G: float


class Matching(NamedTuple):
    """Feature matching: its weight, its interval, and how many layers of the critic its features have passed."""

    weight: Number
    interval: int
    layer: int | None


class Constraints(NamedTuple):
    """What constrains the critic. `instance_noise` is None where samples never get noise."""

    normalization: Choice
    penalties: tuple[Choice, ...]
    logit_penalties: tuple[Choice, ...]
    consistency: tuple[Choice, ...]
    clip: Clip | None
    received: Received | None
    matching: Matching | None
    reduce: Reduction | None
    piecewise_linear: bool | None
    augment: Choice
    instance_noise: Number | None
    hidden_noise: HiddenNoise
    fake_as_real: FakeAsReal | None

    @property
    def reduction(self) -> Reduction | None:
        """How a sample's logits become one number: any way will do where nothing differentiates the critic."""
        differentiated = self.penalties or self.normalization.name not in ("none", "spectral_normalized")
        return self.reduce if differentiated else self.reduce or "mean"

    @property
    def plain(self) -> bool:
        """Whether neither samples nor logits are changed. Gradient penalties and clipping do not count."""
        noisy = self.instance_noise is not None or any(self.hidden_noise)
        more = self.logit_penalties or self.consistency or self.received or self.matching
        altered = more or self.augment.name != "none" or noisy
        return not altered and self.normalization.name == "none" and self.fake_as_real is None


class Ema(NamedTuple):
    """The exponential moving average of the generator's weights, from step `start` on."""

    decay: Number
    start: int


class Precision(NamedTuple):
    """The type of the parameters, and the type of autocast if there is any."""

    dtype: torch.dtype
    autocast: torch.dtype | None


class Resolved(NamedTuple):
    """The sections of a configuration, ready for their builders.

    `members` are the runs of the ensemble. Each has its seed, and its values of a sweep by their paths.
    """

    game: Choice
    data: Choice
    networks: Choice
    constraints: Constraints
    dynamics: Choice
    optimizers: Choice | dict[str, Choice]
    ema: Ema | None
    freeze: dict[str, int]
    members: list[dict[str, float]]
    batch: int
    accumulate: int
    precision: Precision
    channels_last: bool
    device: torch.device
    every: Every
    stop: Stop | None


PRECISIONS = {
    "float32": Precision(torch.float32, None),
    "float64": Precision(torch.float64, None),
    "bfloat16": Precision(torch.float32, torch.bfloat16),
}
"""bfloat16 means autocast of the networks. Parameters and everything else stay float32."""


def resolve(config: Config) -> Resolved:
    """Every section of `config` as arguments. Raises UsageError for a device that this machine does not have."""
    device = device_of(config.device)
    precision = PRECISIONS[half.chosen(config.precision, device)]
    numbers = _Numbers(config.steps, precision.dtype)
    critic, noise, chosen = config.critic, config.noise, config.optimizer
    one = not isinstance(chosen, dict)
    return Resolved(
        game=numbers.choice(config.game, "game"),
        data=numbers.choice(config.data, "data"),
        networks=numbers.choice(config.networks, "networks"),
        constraints=Constraints(
            normalization=numbers.choice(critic.normalization, "critic.normalization"),
            penalties=numbers.choices(critic.penalties, "critic.penalties"),
            logit_penalties=numbers.choices(critic.logit_penalties, "critic.logit_penalties"),
            consistency=numbers.choices(critic.consistency, "critic.consistency"),
            clip=Clip(critic.clip.bound, critic.clip.when) if critic.clip else None,
            received=_received(critic.generator_gradient, numbers),
            matching=_matching(critic.feature_matching, numbers),
            reduce=critic.reduce,
            piecewise_linear=critic.piecewise_linear,
            augment=numbers.choice(config.augment, "augment"),
            instance_noise=(
                numbers.number(noise.instance, "noise.instance") if max(ends(noise.instance)) > 0 else None
            ),
            hidden_noise=HiddenNoise(noise.D, noise.G),
            fake_as_real=_fake_as_real(config.fake_as_real, config.batch, config.accumulate, numbers),
        ),
        dynamics=numbers.choice(config.dynamics, "dynamics"),
        optimizers=(
            numbers.choice(chosen, "optimizer")
            if one
            else {name: numbers.choice(part, f"optimizer.{name}") for name, part in chosen.items()}
        ),
        ema=(
            Ema(numbers.number(config.ema.decay, "ema.decay"), numbers.steps(config.ema.start))
            if config.ema
            else None
        ),
        freeze=dict(config.freeze),
        members=_members(sweeps(config), range(config.seed, config.seed + config.seeds), config.sweep),
        batch=config.batch,
        accumulate=config.accumulate,
        precision=precision,
        channels_last=config.channels_last,
        device=device,
        every=Every(
            log=max(1, numbers.steps(config.every.log)),
            score=numbers.times(config.every.score),
            checkpoint=max(1, numbers.steps(config.every.checkpoint)),
            diagnostics=max(1, numbers.steps(config.every.diagnostics)),
        ),
        stop=(
            Stop(config.stop.log, config.stop.below, numbers.steps(config.stop.after))
            if config.stop
            else None
        ),
    )


def schedule_of(model: Strict, steps: int) -> schedules.Schedule:
    """The schedule that a model of the configuration describes, in a run of so many steps."""
    return _Numbers(steps, torch.float64).schedule(model)


class _Numbers(NamedTuple):
    """Turns the values of a configuration into arguments, for a run of `total` steps with parameters of `dtype`."""

    total: int
    dtype: torch.dtype

    def steps(self, span: int | str) -> int:
        return steps_of(span, self.total)

    def times(self, given: int | str | tuple[int | str, ...]) -> int | tuple[int, ...]:
        """An interval of at least one step, or the listed steps."""
        if isinstance(given, tuple):
            return tuple(self.steps(span) for span in given)
        return max(1, self.steps(given))

    def choices(self, chosen: tuple[Any, ...], path: str) -> tuple[Choice, ...]:
        return tuple(self.choice(each, f"{path}.{index}") for index, each in enumerate(chosen))

    def choice(self, chosen: Any, path: str) -> Choice:
        """An entry of a table. An option that names an entry itself (a game's loss) becomes a Choice as well."""
        options = {
            key: self.value(getattr(chosen, key), f"{path}.{key}")
            for key in type(chosen).model_fields
            if key != "name"
        }
        return Choice(chosen.name, options)

    def value(self, raw: Any, path: str) -> Any:
        if isinstance(raw, Strict) and "name" in type(raw).model_fields:
            return self.choice(raw, path)
        return self.number(raw, path)

    def number(self, raw: Any, path: str) -> Any:
        """A float as it is, a sweep as the value of one member, a schedule as a function of the step."""
        if isinstance(raw, Sweep):
            return lambda scalars: scalars[path]
        if isinstance(raw, Strict):
            schedule, dtype = self.schedule(raw), self.dtype
            return lambda scalars: schedule(scalars["step"]).to(dtype)
        return raw

    def schedule(self, raw: Any) -> schedules.Schedule:
        given = {key: getattr(raw, key) for key in type(raw).model_fields if key != "schedule"}
        if "begin" in given:
            given["begin"] = self.steps(given["begin"])
        if "over" in given:
            given["over"] = max(1, self.steps(given["over"]))
        if isinstance(given.get("value"), Strict):
            given["value"] = self.schedule(given["value"])
        make: Callable[..., schedules.Schedule] = schedules.SCHEDULES[raw.schedule]
        return make(**given)


def _fake_as_real(given: schema.FakeAsReal, batch: int, parts: int, numbers: _Numbers) -> FakeAsReal | None:
    """Fake-as-real for one gradient. With gradient accumulation each part of the batch takes its share of the count."""
    most = round(max(ends(given.count)))
    fixed = [] if isinstance(given.count, Strict) else ends(given.count)
    for count in fixed:
        if count % 1:
            raise UsageError(f"fake_as_real.count is a number of fakes, not {count:g}: choose a whole one")
    if not most:
        return None
    for count in fixed or [most]:
        if count % parts:
            raise UsageError(
                f"accumulate={parts} does not divide the {count:g} fakes of fake_as_real.count, and each part of the "
                "batch takes an equal share of them: choose one that does"
            )
    if most == batch and min(ends(given.weight)) == 0:
        raise UsageError(
            f"fake_as_real.weight falls to 0 while all {batch} rows of the real batch are fakes, so nothing is left in "
            "the real part of the loss: choose a weight above 0, or a smaller count"
        )
    number: Number = numbers.number(given.count, "fake_as_real.count")
    if parts > 1:
        number = _share(number, parts)
    scoring = torch.bfloat16 if given.scoring == "bfloat16" else None
    return FakeAsReal(
        number, most // parts, given.pool, scoring, numbers.number(given.weight, "fake_as_real.weight")
    )


def _received(given: schema.GeneratorGradient | None, numbers: _Numbers) -> Received | None:
    if not given:
        return None
    path = "critic.generator_gradient"
    return Received(numbers.number(given.norm, f"{path}.norm"), numbers.number(given.decay, f"{path}.decay"))


def _matching(given: schema.FeatureMatching | None, numbers: _Numbers) -> Matching | None:
    if not given:
        return None
    weight = numbers.number(given.weight, "critic.feature_matching.weight")
    return Matching(weight, given.interval, given.layer)


def _share(count: Number, parts: int) -> Number:
    return (lambda scalars: count(scalars) / parts) if callable(count) else count / parts


def sweeps(model: Strict) -> dict[str, tuple[float, ...]]:
    """Every sweep (a list in place of a number): its path and its values."""
    return {path: item.root for path, item in inside(model) if isinstance(item, Sweep)}


def scheduled(model: Strict) -> dict[str, Strict]:
    """Every schedule in place of a number, by its path."""
    found = {path: item for path, item in inside(model) if isinstance(item, Strict)}
    return {path: item for path, item in found.items() if "schedule" in type(item).model_fields}


def inside(model: Strict, path: str = "") -> Iterator[tuple[str, Strict | Sweep]]:
    """Every model inside another one, by its path; of a schedule and of a sweep, not what is inside."""
    for key in type(model).model_fields:
        for inner, item in _parts(getattr(model, key)):
            here = ".".join(str(name) for name in (path, key, inner) if name != "")
            if isinstance(item, Strict | Sweep):
                yield here, item
            if isinstance(item, Strict) and "schedule" not in type(item).model_fields:
                yield from inside(item, here)


def _parts(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, tuple) else [("", value)]


def _members(swept: dict[str, tuple[float, ...]], seeds: range, how: str) -> list[dict[str, float]]:
    """The members of the ensemble: every point of the sweep, each with every seed. `how` is grid or paired.

    >>> _members({"a": (1, 2), "b": (3, 4)}, range(1), "paired")
    [{'a': 1, 'b': 3, 'seed': 0}, {'a': 2, 'b': 4, 'seed': 0}]
    """
    lengths = {path: len(values) for path, values in swept.items()}
    if how == "paired" and len(set(lengths.values())) > 1:
        told = ", ".join(f"{path} has {length}" for path, length in lengths.items())
        raise UsageError(f"sweep=paired takes lists of one length, but {told}: give each as many values")
    points = (
        zip(*swept.values(), strict=True) if how == "paired" and swept else itertools.product(*swept.values())
    )
    return [dict(zip([*swept, "seed"], (*point, seed), strict=True)) for point in points for seed in seeds]


DEVICES = ("cpu", "cuda", "mps", "xpu")
"""The kinds of devices on which a run can be computed."""


def device_of(name: str) -> torch.device:
    """The device of a name or `auto`. Raises UsageError for one that this machine does not have."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.partition(":")[0] not in DEVICES:
        raise UsageError(
            f"device {short(name, 80)!r} is not known: choose auto, {', '.join(DEVICES)} or one by number, as cuda:1"
        )
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"device {short(name)!r} cannot be used here ({str(error).splitlines()[0]}): try device=cpu"
        ) from None
    return torch.device(name)
