"""A run's configuration: every key with its type, default and meaning. It round-trips through YAML."""

import shlex
import warnings
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, ValidationError, model_validator

from steadygan.config import registry
from steadygan.config.field_types import (
    Count,
    Length,
    Members,
    Natural,
    NonNegative,
    Positive,
    Real,
    Share,
    Span,
    Strict,
    Threads,
    Times,
    Words,
    choice,
    schedule_form,
    spelled,
    steps_of,
    value,
)
from steadygan.config.overrides import LONGEST, as_yaml, read_yaml
from steadygan.config.paper import Paper
from steadygan.diagnostics import VERDICTS, WELL
from steadygan.errors import UsageError, nearest, short
from steadygan.files import folder_or_zip, read_text, user_path

__all__ = ["Config", "current", "dump", "in_steps", "load", "of_a_run", "parse", "with_root"]


class Clip(Strict):
    """Clips the critic's weights, as WGAN does. A number alone is the bound."""

    bound: Positive = Field(examples=[0.01])
    """Weights are clipped to [-bound, bound] (Arjovsky et al. 2017)."""

    when: Literal["after", "before"] = "after"
    """Clip after each update of the critic, or before it."""

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, raw: Any) -> Any:
        return {"bound": raw} if isinstance(raw, int | float) and not isinstance(raw, bool) else raw


class GeneratorGradient(Strict):
    """Normalizes the gradient that G receives from D by a running mean of its size over the samples.

    With gradient accumulation each part of a batch has a size of its own.
    """

    norm: value(above=0) = Field(1.0, examples=[0.1])  # type: ignore[valid-type]
    """Size of the gradient of a sample's own loss, to which it is brought."""

    decay: Share = Field(0.99, examples=[0.9])
    """Share of the running mean of its square that a step keeps."""


class FeatureMatching(Strict):
    """Adds to G's loss the squared distance of real and generated samples' mean features in D."""

    weight: value(low=0) = Field(1.0, examples=[0.1])  # type: ignore[valid-type]
    """Factor of the squared distance (Salimans et al. 2016), which is summed over all features."""

    interval: Count = Field(1, examples=[4])
    """Lazy form: taken every this many steps, and then weighted this many times more."""

    layer: Natural | None = Field(None, examples=[2])
    """How many layers of D the features have passed: they are what enters the next one. 0: the samples themselves.

    Counted are layers with weights that samples pass, in the order in which the network holds them. null: all but one.
    """


class Critic(Strict):
    """What constrains the critic: normalization, penalties, consistency, clipping."""

    normalization: choice(registry.NORMALIZATIONS, default="none") = "none"  # type: ignore[valid-type]
    """How the critic's output or its weights are normalized."""

    penalties: tuple[choice(registry.PENALTIES), ...] = ()  # type: ignore[valid-type]
    """Terms of the critic's loss that penalise its gradient with respect to the samples."""

    logit_penalties: tuple[choice(registry.LOGIT_PENALTIES), ...] = ()  # type: ignore[valid-type]
    """Terms of the critic's loss that penalise its logits alone."""

    consistency: tuple[choice(registry.CONSISTENCY), ...] = ()  # type: ignore[valid-type]
    """Terms that pull the logits of a sample and of its slightly changed copy together."""

    reduce: Literal["sum", "mean"] | None = Field(None, examples=["mean"])
    """For critics with several logits for each sample (maps): penalties and normalization take their sum or mean.

    The gradient of a mean is smaller by the number of logits, R1 by its square. null: the critic has one logit each.
    """

    clip: Clip | None = None

    generator_gradient: GeneratorGradient | None = None

    feature_matching: FeatureMatching | None = None

    piecewise_linear: bool | None = Field(None, examples=[False])
    """Whether the critic is piecewise linear: the generator's gradient through a normalized critic is then cheap.

    null: found out from the critic's modules. A true is checked before the run where a normalization makes use of it.
    """


class Noise(Strict):
    """Gaussian noise on samples and on hidden layers."""

    instance: value(low=0) = Field(0, examples=[0.1])  # type: ignore[valid-type]
    """Standard deviation of the noise on all samples before D."""

    D: NonNegative = Field(0, examples=[0.1])
    """Standard deviation of the noise after each hidden activation of D."""

    G: NonNegative = Field(0, examples=[0.1])
    """Standard deviation of the noise after each hidden activation of G."""


class FakeAsReal(Strict):
    """Fake-as-real training: some generated samples count as real (FARGAN: Tao and Wang 2020)."""

    count: value(low=0) = Field(0, examples=[8])  # type: ignore[valid-type]
    """N0: how many rows of the real batch are replaced by generated samples. 0 turns it off."""

    pool: Count = 8
    """f: the N0 samples with the lowest logits are taken out of f N0 candidates."""

    weight: value(low=0) = Field(1, examples=[0.5])  # type: ignore[valid-type]
    """lambda: how much a generated sample that counts as real weighs in D's loss, where a real one weighs 1.

    The real part stays a weighted mean. Penalties count all N rows alike.
    """

    scoring: Literal["same", "bfloat16"] = "same"
    """Precision in which candidates are made and scored: that of the run, or bfloat16, which is cheaper."""


class Average(Strict):
    """Exponential moving average of the generator's weights, used for samples and scores."""

    decay: value(low=0, below=1) = Field(0.999, examples=[0.99])  # type: ignore[valid-type]
    """Share of the average that a step keeps."""

    start: Span = Field(0, examples=["10%"])
    """Step at which averaging begins."""


class Gpu(Strict):
    """How a GPU computes the training step. Runs on other devices do not use it."""

    tf32: bool = Field(False, examples=[True])
    """Round the factors of float32 products and convolutions to TF32 (10 bits instead of 23): faster, less exact."""

    autotune: bool = Field(False, examples=[True])
    """Let cudnn time its algorithms and take the fastest. Another run may take others, which round differently."""

    graphs: bool = Field(True, examples=[False])
    """Replay the compiled step as a CUDA graph, in runs of one process. It needs a second copy of state and batch."""


_flag_or_auto = Annotated[
    Annotated[bool, Tag("<flag>")] | Annotated[Literal["auto"], Tag("<auto>")],
    Discriminator(lambda raw: "<auto>" if raw == "auto" else "<flag>"),
]


class Compile(Strict):
    """Whether and how the training step is compiled with torch.compile. A value alone says whether."""

    when: _flag_or_auto = Field("auto", examples=[False])
    """true, false, or auto: where that saves time in this run."""

    passes: bool = Field(True, examples=[False])
    """Rewrite the graph of the compiled step so that it takes less time. Uses parts of torch that may change."""

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, raw: Any) -> Any:
        return raw if isinstance(raw, dict | Compile) else {"when": raw}


class Every(Strict):
    """Steps between log lines, evaluations, checkpoints, diagnostics passes. The last step has all of them."""

    log: Length = Field("0.5%", examples=[100])
    """Lines of losses and gradient norms in events.jsonl."""

    score: Times = Field("5%", examples=[[0, 500, "50%"]])
    """Evaluation during training, with a picture of samples: at step 0 and at this interval, or at the listed steps."""

    checkpoint: Length = Field("10%", examples=[1000])
    """Checkpoints."""

    diagnostics: Length = Field("5%", examples=[1000])
    """Gradient statistics."""


class Keep(Strict):
    """Which checkpoints stay."""

    last: Count = 2
    """How many of the newest checkpoints stay."""

    best: str | None = Field(None, examples=["kd_pixels8"])
    """Name of a score. The checkpoint with its best value stays too."""


class Evaluation(Strict):
    """How images are scored during training. The kernel distance of pooled pixels is always logged."""

    extractor: str = Field("pixels8", examples=["lite0"])
    """Feature extractor: pixels8, lite0, inception, or the name of a labelled data set, for its classifier."""

    images: Annotated[int, Field(ge=100)] = 1000
    """Generated images of an evaluation, and real ones where they are held out."""

    reference: Literal["held_out", "train"] = Field("held_out", examples=["train"])
    """Real images of an evaluation: some that final scores leave out, or all training images, as for FID (train)."""


class Stop(Strict):
    """Early stopping: the run ends when a logged scalar is small enough."""

    log: str = Field(examples=["convergence"])
    """Name of a logged scalar, as in events.jsonl."""

    below: Real = Field(examples=[0.05])
    """The run ends when the scalar is less than this."""

    after: Span = Field("10%", examples=["25%"])
    """Step from which the rule counts."""


_players = {name for part in registry.GAMES.values() for name in part.players}
_one: Any = choice(registry.OPTIMIZERS)
_optimizer = Annotated[
    Annotated[_one, Tag("<one>")] | Annotated[dict[str, _one], Tag("<each>")],
    Discriminator(
        lambda raw: "<each>" if isinstance(raw, dict) and raw and raw.keys() <= _players else "<one>"
    ),
    Words("name with options, or one for each player"),
]


_illness: Any = Literal[tuple(name for name in VERDICTS if name not in WELL)]


class Config(Strict):
    """Everything that determines a run. The config.yaml of a run folder is one, with every key."""

    name: str = Field("custom", pattern=r"^\w[\w.-]{0,99}$", examples=["mine"])
    """Name of the run, and of its folder in runs/: at most 100 letters, digits, `_`, `.` and `-`."""

    paper: Paper | None = None

    game: choice(registry.GAMES, default="gan") = "gan"  # type: ignore[valid-type]
    """Which players there are, and their losses."""

    data: choice(registry.DATA)  # type: ignore[valid-type]
    """The data set."""

    networks: choice(registry.NETWORKS)  # type: ignore[valid-type]
    """The architecture of generator and critic."""

    critic: Critic = Critic()

    augment: choice(registry.AUGMENTATIONS, default="none") = "none"  # type: ignore[valid-type]
    """Random changes of all images before the critic sees them."""

    noise: Noise = Noise()

    fake_as_real: FakeAsReal = FakeAsReal()

    dynamics: choice(registry.DYNAMICS, default="alternating") = "alternating"  # type: ignore[valid-type]
    """How the players' gradients move their parameters."""

    optimizer: _optimizer = Field(examples=[{"name": "adam", "lr": 0.001}])
    """How a player's gradient becomes a step: for all players, or for each by name, as `optimizer.G`."""

    ema: Average | None = None

    freeze: Annotated[dict[str, Natural], Words("mapping of players to numbers of layers")] = Field(
        default_factory=dict, examples=[{"D": 1}]
    )
    """How many of a player's first layers keep their weights. For D, after `train --from`: FreezeD (Mo et al. 2020).

    Layers with weights are counted, in the order in which the network holds them.
    """

    steps: Count = Field(examples=[1000])
    """Length of the run."""

    batch: Count = 64
    """Real samples in an update of the critic (N)."""

    accumulate: Count = 1
    """Gradient accumulation: how many parts a batch is split into, to save memory."""

    seed: Natural = 0
    """Seed of all random numbers: weights, data, latents."""

    seeds: Members = Field(1, examples=[4])
    """Runs of one ensemble, trained as one program with seeds from `seed` on."""

    sweep: Literal["grid", "paired"] = "grid"
    """How several lists in place of numbers combine, in an ensemble: each value with each, or place by place.

    paired: the lists have one length, and a member takes the numbers of one place.
    """

    compile: Compile = Field(Compile(), examples=[False])

    precision: Literal["auto", "float32", "bfloat16", "float64"] = Field("float32", examples=["auto"])
    """Precision. bfloat16: mixed precision (autocast) with float32 parameters.

    auto: bfloat16 on a device with units for it, else float32; decided once, when the run starts.
    """

    channels_last: bool = False
    """Keep images in the channels-last memory layout."""

    device: str = Field("auto", examples=["cpu"])
    """auto (cuda where there is one, else cpu), cpu, cuda, cuda:1, mps or xpu."""

    threads: Threads | None = Field(None, examples=[2])
    """CPU threads of the run. null: as many as torch takes."""

    gpu: Gpu = Gpu()

    every: Every = Every()

    evaluation: Evaluation = Evaluation()

    keep: Keep = Keep()

    stop: Stop | None = None

    stop_on: tuple[_illness, ...] = Field((), examples=[["collapse", "dead_critic"]])
    """Early stopping: the run ends when two evaluations in a row give one of these verdicts."""

    trackers: tuple[Literal["tensorboard", "wandb", "mlflow", "trackio"], ...] = Field(
        (), examples=[["tensorboard"]]
    )
    """Where to log besides the run folder: TensorBoard, Weights & Biases, MLflow or Trackio.

    wandb needs `pip install 'steadygan[wandb]'`, and the others the extras of their names.
    """

    scale: Annotated[dict[str, dict[str, Any]], Words("mapping of names to overrides")] = Field(
        default_factory=dict, examples=[{"small": {"networks.width": 16, "steps": 500}}]
    )
    """Presets that shrink the recipe, for `train --scale NAME`."""


def parse(raw: Any, source: str = "the configuration") -> Config:
    """Plain data checked against the schema. Raises UsageError: one sentence with the key and the remedy."""
    if not isinstance(raw, dict):
        raise UsageError(
            f"{source} must be a mapping of keys such as steps and data, not {type(raw).__name__}"
        )
    try:
        return Config.model_validate(current(raw))
    except ValidationError as error:
        raise UsageError(f"{source}: {short(_sentence(error))}") from None


def current(raw: dict[str, Any]) -> dict[str, Any]:
    """`raw` with the keys of the first version under their present names. Each gives a warning.

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
    if isinstance(made.get("tensorboard"), bool):
        chosen, others = made.pop("tensorboard"), made.get("trackers", [])
        if chosen:  # without a warning where it is false: every config.yaml used to say so
            _warn_of("tensorboard=true", "trackers=[tensorboard]")
            made["trackers"] = [*others, *({"tensorboard"} - {*others})]
    return made


def of_a_run(raw: dict[str, Any]) -> dict[str, Any]:
    """`raw` of a run that an older version trained, which took an interval of 0 for each step.

    >>> of_a_run({"every": {"log": 0, "score": [0, 5]}})
    {'every': {'log': 1, 'score': [0, 5]}}
    """
    every = raw.get("every")
    if not isinstance(every, dict):
        return raw
    return {**raw, "every": {key: 1 if steps == 0 else steps for key, steps in every.items()}}


def _warn_of(old: str, new: str) -> None:
    text = f"the configuration key {old} is now {new}: the old name works for one more version"
    warnings.warn(text, FutureWarning, stacklevel=3)


def load(file: Path) -> dict[str, Any]:
    """A YAML file as plain data, under the present names. Raises UsageError when it is missing or not YAML."""
    try:
        text = read_text(file, LONGEST)
    except ValueError as error:
        raise UsageError(f"{error}: name a recipe, a run folder or a YAML file") from None
    raw = read_yaml(text, str(file))
    if not isinstance(raw, dict):
        raise UsageError(f"{file} must hold keys such as steps and data, not {type(raw).__name__}")
    return current(raw)


def dump(config: Config) -> str:
    """The configuration as YAML that parses to the same configuration.

    >>> config = parse({"data": "ring8", "networks": "mlp", "optimizer": {"name": "sgd", "lr": 0.1}, "steps": 9})
    >>> parse(read_yaml(dump(config), "a file")) == config
    True
    """
    return as_yaml(config.model_dump(mode="json"))


def with_root(raw: dict[str, Any], root: Path | None) -> dict[str, Any]:
    """`raw` with the folder `root` as the option of its data set, where it takes one."""
    data = raw.get("data")
    data = dict(data) if isinstance(data, dict) else {"name": data}
    part = registry.DATA.get(spelled(str(data.get("name")), registry.DATA))
    if root is None or part is None or "root" not in part.options:
        return raw
    return {**raw, "data": {**data, "root": str(user_path(root).resolve())}}


TEXTS = {("keep", "best"), ("stop", "log"), ("evaluation", "extractor")}
"""Keys with a name, which is no share of the run. Nor are names, paths, options of networks, and what a paper says."""


def in_steps(config: Config) -> Config:
    """The same configuration with every share of the run (50%) as a number of steps. Presets keep their shares.

    A run that is resumed with more steps then keeps its schedules.
    """

    def steps(tree: Any, path: tuple[str, ...] = ()) -> Any:
        key = path[-1] if path else ""
        if key in ("data", "networks", "name", "paper") or path in TEXTS:
            return tree
        if isinstance(tree, dict):
            return {name: steps(part, (*path, name)) for name, part in tree.items()}
        if isinstance(tree, list):
            return [steps(part, path) for part in tree]
        if isinstance(tree, str) and _is_share(tree):
            return max(steps_of(tree, config.steps), int(key in ("over", *Every.model_fields)))
        return tree

    made = Config.model_validate(steps(config.model_dump(mode="json", exclude={"scale"})))
    return made.model_copy(update={"scale": config.scale})


def _is_share(text: str) -> bool:
    """Whether a text is a share of the run, as the schema reads one.

    >>> [_is_share(text) for text in ("50%", " 5e1 %", "fifty%", "50")]
    [True, True, False, False]
    """
    try:
        return text.endswith("%") and 0 <= float(text[:-1]) <= 100
    except ValueError:
        return False


def _sentence(error: ValidationError) -> str:
    try:
        first = error.errors(include_url=False)[0]
    except UnicodeEncodeError:  # pydantic takes such text from Python, and cannot give it back
        return "a key is no text in UTF-8: correct it"
    kind, context, given = first["type"], first.get("ctx", {}), first["input"]
    path = _path(first["loc"])
    if kind == "unknown_key":
        key = context["key"] if context["key"].isprintable() else repr(context["key"])
        return f"{_join(path, key)} {first['msg']}"
    if kind == "union_tag_invalid":
        tags = [t.strip("<>'\" ") for t in context["expected_tags"].split(",") if "nothing" not in t]
        named = context["tag"].strip("<>")
        if path == "data" and folder_or_zip(named):
            place = shlex.quote(named)
            return (
                f"data: {named!r} is a folder or zip: write --images {place} with steadygan train, or data=images "
                f"data.path={place}"
            )
        return f"{path}: {named!r} is not known: {nearest(named, [t for t in tags if t])}"
    if kind == "union_tag_not_found":
        if first["loc"][-1] == "<schedule>":
            whole = f"{path}={schedule_form('linear')}"
            return (
                f"{path} needs a schedule: write {path}.schedule=..., or all of it as {whole} (not {given!r})"
            )
        return f"{path} needs a name: write {path}.name=... (not {given!r})"
    if kind == "missing" and "<schedule>" in first["loc"]:
        form = schedule_form(str(first["loc"][-2]).strip("<>"))
        return f"{path} is missing: write {path.rpartition('.')[0]}={form}"
    if kind == "missing":
        return f"{path} is missing: add it{_as_in(path)}"
    if first["msg"].startswith("Value error, "):
        return f"{path} {first['msg'].removeprefix('Value error, ')}"
    if kind == "float_parsing":
        form = f"; a schedule is written {path}={schedule_form(given)}" if "<number>" in first["loc"] else ""
        return f"{path} takes a number, not {given!r}{form}"
    if kind in WRONG_TYPES:
        return _typed(path, given)
    _, should, rest = first["msg"].partition(" should ")  # pydantic's subject is the type; ours is the key
    reason = f"{path} should {rest}" if should else f"{path}: {first['msg'][:1].lower()}{first['msg'][1:]}"
    return f"{reason.replace(' tuple', ' list')}, not {given!r}"


WRONG_TYPES = {
    *("int_parsing", "int_type", "int_from_float", "float_type", "bool_parsing", "bool_type", "string_type"),
    *("model_type", "model_attributes_type", "dict_type", "tuple_type", "list_type", "too_short"),
    "string_pattern_mismatch",
}
"""pydantic's kinds of errors whose words speak of Python's types. The reference of keys has better ones."""


def _typed(path: str, given: Any) -> str:
    """What a key takes, with an example, where it was given something else."""
    from steadygan.config.reference import find

    key = find(path)[0]
    value = "nothing" if given is None else repr(given)
    if key.type == "section":
        return f"{path} is a section with keys of its own{_as_in(path)}, and cannot be {value}"
    kind = "at most 100 letters, digits, _, . and -" if path == "name" else key.type
    return f"{path} takes: {kind}{_as_in(path)}, not {value}"


def _as_in(path: str) -> str:
    """An example of an override that sets a key, in brackets; nothing for a key that has no entry of its own."""
    from steadygan.config.reference import find

    try:
        return f" (as in {find(path)[0].example})"
    except UsageError:
        return ""


def _path(location: tuple[int | str, ...]) -> str:
    """The dotted path that the user wrote. pydantic's location also has the tags of unions."""
    return ".".join(str(key) for key in location if not (isinstance(key, str) and key.startswith("<")))


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
