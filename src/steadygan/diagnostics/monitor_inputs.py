"""The inputs of a Monitor, checked and converted: networks, a loss, samples, scalars, a file."""

import json
import math
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from steadygan.critic_outputs import REDUCTIONS, Condition, Reading
from steadygan.diagnostics.history import FACTS, Events, is_fact, whole
from steadygan.diagnostics.monitor_probe import WRAPPERS, Shown, Told, check_whole
from steadygan.errors import UsageError, nearest
from steadygan.files import write_whole
from steadygan.losses import LOSSES, Loss
from steadygan.penalties import PAIRED, PENALTIES
from steadygan.rng import generator as stream

__all__ = [
    "bare",
    "begun",
    "check",
    "check_labels",
    "check_samples",
    "finite",
    "key_of",
    "numbers",
    "objective",
    "picklable",
    "plain",
    "reading",
    "shown",
    "some",
]

FAMILIES = ("gradient", "logit", "loss", "penalty", "update")
"""Scalars named loss_D are written as loss/D, and likewise for these."""

OURS = ("step", "images", "wall_s", "diverged")


def check(critic: object, generator: object, every: object, start: object, facts: Mapping[str, Any]) -> None:
    """Raise UsageError for arguments that a Monitor cannot use."""
    if not callable(critic):
        raise UsageError(
            f"critic must be a module or a function of samples [N, ...], not {type(critic).__name__}"
        )
    if generator is not None and not isinstance(generator, nn.Module):
        raise UsageError(f"generator must be a module or left out, not {type(generator).__name__}")
    for name, value, least in (("every", every, 1), ("start", start, 0)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise UsageError(f"{name} must be a number of steps, {least} or more, not {value!r}")
    for name, value in facts.items():
        if name not in FACTS:
            raise UsageError(f"a Monitor knows no {name!r}: {nearest(name, FACTS)}")
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            raise UsageError(f"{name} must be a plain value that JSON can hold, not {value!r}") from None
        if not is_fact(name, value):
            kinds = {"penalties": "a list of names: penalties=['r1']", "steps": "a number"}
            raise UsageError(f"{name} must be {kinds.get(name, 'a name')}, not {value!r}")
    for name in facts.get("penalties") or ():
        if name not in PENALTIES | PAIRED:
            raise UsageError(
                f"steadygan has no penalty {name!r}, {nearest(name, PENALTIES | PAIRED)}; leave out a penalty that is "
                "none of these"
            )


def objective(loss: str | Loss | Callable[[Tensor], Tensor] | None) -> tuple[str | None, Told | None]:
    """The name of a loss, if it has one, and G's loss as a function of fake and real logits.

    >>> objective("hinge")[1](torch.ones(3), torch.zeros(3))
    tensor(-1.)
    """
    if loss is None:
        return None, None
    if isinstance(loss, str):
        if loss not in LOSSES:
            raise UsageError(f"there is no loss {loss!r}: {nearest(loss, LOSSES)}")
        return loss, LOSSES[loss].generator
    if isinstance(loss, Loss):
        return next((name for name, known in LOSSES.items() if known is loss), None), loss.generator
    if not callable(loss):
        raise UsageError(
            f"loss must be a name, a losses.Loss or a function of G's logits, not {type(loss).__name__}"
        )
    return None, lambda fake, real: loss(fake)


def reading(logits: object, reduce: object) -> Reading:
    """How the critic's answer is read: these keywords, as far as they are given."""
    if logits is not None and not callable(logits):
        raise UsageError(f"logits must be a function of the critic's output, not {type(logits).__name__}")
    if reduce is not None and reduce not in REDUCTIONS:
        raise UsageError(f"reduce must be 'sum' or 'mean' of a sample's own logits, not {reduce!r}")
    found = {"logits": logits, "reduce": reduce}
    return cast(Reading, {name: value for name, value in found.items() if value is not None})


def bare(module: Any) -> Any:
    """A network without the wrapper of parallel training, whose forward pass expects a backward pass."""
    if isinstance(module, nn.Module):
        check_whole(module)
    return bare(module.module) if isinstance(module, WRAPPERS) else module


def shown(x: Any, y: Condition | None, name: str) -> Shown:
    """Samples with the labels that the critic takes after them. Raises UsageError for other rows than the samples'."""
    if y is None:
        return Shown(x)
    parts = y if isinstance(y, tuple) else (y,)
    for part in parts:
        if not isinstance(part, Tensor) or part.shape[:1] != x.shape[:1]:
            given = f"shape {list(part.shape)}" if isinstance(part, Tensor) else type(part).__name__
            raise UsageError(
                f"{name} must be a tensor with one row for each of {len(x)} samples, or a tuple of those, not {given}"
            )
    return Shown(x, tuple(part.detach() for part in parts))


def check_labels(real: Shown, fake: Shown, held: Shown | None) -> None:
    """Raise UsageError unless all samples that the critic is shown have labels, or none."""
    labels = [None if each.y is None else len(each.y) for each in (real, fake)]
    if labels[0] != labels[1]:
        raise UsageError("pass y_real and y_fake, both or neither, with the same number of parts")
    if held is not None and (None if held.y is None else len(held.y)) != labels[0]:
        word = "without" if held.y is not None else "with"
        raise UsageError(f"step has samples {word} labels: pass held= {word} them, as {_HELD[word]}")


_HELD = {"with": "held=(samples, labels)", "without": "held=samples"}


def check_samples(x_real: Tensor, x_fake: Tensor, sets: Mapping[str, Shown]) -> None:
    """Raise UsageError for samples that cannot be compared."""
    for name, x in (("x_real", x_real), ("x_fake", x_fake)):
        if not isinstance(x, Tensor) or x.ndim < 2 or not x.numel():
            shape = list(x.shape) if isinstance(x, Tensor) else type(x).__name__
            raise UsageError(f"{name} must be a batch of one or more samples [N, ...], not {shape}")
        if not x.is_floating_point():
            raise UsageError(f"{name} must be floating point, as the critic sees it, not {x.dtype}")
    for name, x in (("x_fake", x_fake), *((name, each.x) for name, each in sets.items())):
        if x.shape[1:] != x_real.shape[1:]:
            raise UsageError(
                f"samples of {name} have shape {list(x.shape[1:])} and those of x_real {list(x_real.shape[1:])}: pass "
                "both as the critic sees them"
            )


def some(given: Any, most: int, name: str) -> Shown:
    """At most `most` of the rows of samples, or of (samples, labels, ...), always the same ones."""
    rows, *labels = given if isinstance(given, tuple) and given else (given,)
    if not isinstance(rows, Tensor) or rows.ndim < 2 or len(rows) < 2 or not rows.is_floating_point():
        raise UsageError(
            "train and held must be floating point tensors of two or more samples [m, ...], or (samples, labels)"
        )
    if not bool(rows.isfinite().all()):
        raise UsageError(
            f"{name} has samples that are not finite, from which nothing has a distance: leave them out"
        )
    found = shown(rows.detach(), tuple(labels) or None, name)
    chosen = torch.randperm(len(rows), generator=stream("examined", len(rows)))[:most]
    return Shown(found.x[chosen], None if found.y is None else tuple(part[chosen] for part in found.y))


def picklable(value: Any) -> bool:
    """Whether pickle can store this; a lambda is one that it cannot. Modules are not tried, because they are large."""
    if isinstance(value, nn.Module):
        return True
    try:
        pickle.dumps(value)
    except (pickle.PicklingError, AttributeError, TypeError):
        return False
    return True


def key_of(name: str) -> str:
    """The flat key of a scalar's name.

    >>> key_of("loss_D"), key_of("high_quality")
    ('loss/D', 'high_quality')
    """
    family, _, rest = name.partition("_")
    if name in OURS:
        raise UsageError(f"every line has its own {name!r}: give the scalar another name")
    return f"{family}/{rest}" if family in FAMILIES and rest else name


def finite(value: Any) -> bool:
    """Whether a scalar is finite, as far as that is known without waiting for another device."""
    if isinstance(value, Tensor):
        return not value.is_cpu or math.isfinite(value.item())
    return math.isfinite(value)


def numbers(scalars: Mapping[str, Any]) -> dict[str, float]:
    """Scalars as floats under their flat keys. Raises UsageError for anything that is not one number."""
    return {key_of(name): _number(name, value) for name, value in scalars.items()}


def _number(name: str, value: Any) -> float:
    try:
        return float(value.item() if isinstance(value, Tensor) else value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        given = f"shape {list(value.shape)}" if isinstance(value, Tensor) else repr(value)
        raise UsageError(f"{name} must be one number per step, not {given}") from None


def plain(value: Any) -> Any:
    """A number for JSON. NaN and infinity become null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _check_ours(file: Path) -> None:
    """Raise UsageError for a file that is not a Monitor's, which would lose its lines."""
    with file.open("rb") as lines:
        begin = next((line for line in lines if line.strip()), b'{"facts"')
    if not begin.startswith(b'{"facts"'):
        raise UsageError(f"{file} is not a Monitor's file, whose first line has its facts: name another file")


def begun(file: Path | None, start: int, events: Events) -> dict[str, Any]:
    """Start a Monitor's file with the facts and its old lines up to step `start`, which `events` take in.

    Returns the last of these lines, or an empty dict. Raises UsageError if it cannot write, or if the file
    has lines already at step 0.
    """
    if file is None:
        return {}
    try:
        if not start and file.exists() and file.read_bytes().strip():
            raise UsageError(
                f"{file} has lines already: name another file, or pass the step after which this loop resumes as "
                "start=..."
            )
        if start and file.exists():
            _check_ours(file)
        kept = [(line, values) for line, values in whole(file) if 0 < values["step"] <= start]
        first = json.dumps({"facts": events.facts})
        write_whole(file, "\n".join([first, *(line for line, _ in kept)]) + "\n")
    except OSError as error:
        raise UsageError(f"cannot write to {file} ({error.strerror}): name another file") from None
    for _, values in kept:
        events.add(values)
    return kept[-1][1] if kept else {}
