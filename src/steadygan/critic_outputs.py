"""What a critic may answer with, and how its answer becomes one number for each sample.

A critic answers with logits [N], with a map [N, ...] of logits, or with a list of such: several critics, one for
each scale or period. Of a tuple or dict with features, `logits` takes the logits. A high logit means real.

- A loss is the mean over all logits of a critic, summed over critics.
- A gradient needs one number for each sample. `reduce` says which: the sum or the mean of a sample's own logits.
  So does the slope along one direction, which two forward passes give without a gradient.
- A rank among samples is the mean of a sample's own logits, summed over critics.
"""

import functools
import operator
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple, TypedDict

import torch
from torch import Tensor, nn

from steadygan.errors import UsageError

__all__ = [
    "REDUCTIONS",
    "AnyCritic",
    "Asked",
    "Condition",
    "Differentiated",
    "Logits",
    "Reading",
    "Reduction",
    "along",
    "answer",
    "check_floats",
    "check_twice_differentiable",
    "critics",
    "differentiated",
    "each_rank",
    "one_each",
    "paired",
    "ranks",
    "slopes",
    "total",
    "wide",
]

AnyCritic = Callable[..., Any]
"""A critic D(x) or D(x, *y) that answers with whatever this module's docstring lists."""

Logits = Tensor | Sequence[Tensor]
"""The logits of a critic, or those of several."""

Condition = Tensor | Sequence[Tensor]
"""What a critic takes after x: labels, embeddings, images, with the rows of x. Of several the critic is D(x, *y)."""

Reduction = Literal["sum", "mean"]

REDUCTIONS: dict[str, Callable[..., Tensor]] = {"sum": torch.sum, "mean": torch.mean}
"""How a sample's own logits become one number."""


class Reading(TypedDict, total=False):
    """How a critic's answer becomes numbers that can be differentiated: the keywords `logits` and `reduce`."""

    logits: Callable[[Any], Logits]
    reduce: Reduction | None


class Asked(TypedDict, total=False):
    """How a critic is called and its answer read: `logits` and `reduce`, and `y`, what D takes after x."""

    logits: Callable[[Any], Logits]
    reduce: Reduction | None
    y: Condition


def total(values: Iterable[Tensor]) -> Tensor:
    """Return the sum of one or more scalars; that of one is itself, bit for bit.

    >>> total([torch.ones(()), torch.ones(())])
    tensor(2.)
    """
    return functools.reduce(operator.add, values)


def critics(logits: Logits) -> list[Tensor]:
    """Return the logits of each critic: a tensor is one critic, a list or tuple of tensors several.

    Raises UsageError on anything else, on logits without a batch axis, and on a tuple with a part [N, n, ...]: that may
    be features or classes. In a list each part is a critic's.

    >>> len(critics([torch.zeros(4), torch.zeros(4, 1, 6, 6)]))
    2
    """
    each = [logits] if isinstance(logits, Tensor) else logits
    if not isinstance(each, list | tuple) or not each or not all(isinstance(part, Tensor) for part in each):
        raise UsageError(
            f"logits are a tensor, or a list of tensors with one for each critic, not {_kind(logits)}: {_TAKE}"
        )
    for part in each:
        if part.ndim == 0:
            raise UsageError(
                "logits have one row for each sample, shape [N] or [N, ...], but these have shape []: "
                "leave the mean over samples to the loss"
            )
        if isinstance(each, tuple) and part.ndim > 1 and part.shape[1] > 1:
            raise UsageError(
                f"a tuple with a part of shape {list(part.shape)} may hold features or classes beside the logits: pass "
                "the logits alone, such as out[0], or list(out) if each part is a critic's logits"
            )
    return list(each)


_TAKE = "pass the logits alone, such as out[0], or [out[-1] for out in outs] of several critics"


def _kind(value: object) -> str:
    """The type of a value, with the types of its parts or its keys."""
    name = type(value).__name__
    if isinstance(value, dict):
        return f"{name} with {', '.join(map(repr, value))}"
    if isinstance(value, list | tuple):
        return f"{name} of {', '.join(type(part).__name__ for part in value) or 'nothing'}"
    return name


def paired(*logits: Logits) -> list[tuple[Tensor, ...]]:
    """Return for each critic its logits of each argument, such as real and fake. Raises UsageError on unlike counts.

    >>> [(len(real), len(fake)) for real, fake in paired([torch.zeros(4)], [torch.zeros(3)])]
    [(4, 3)]
    """
    each = [critics(one) for one in logits]
    if len({len(one) for one in each}) > 1:
        counts = " and ".join(str(len(one)) for one in each)
        raise UsageError(
            f"the two arguments hold logits of {counts} critics: pass the logits of the same critics in both"
        )
    return list(zip(*each, strict=True))


def ends_in_sigmoid(critic: object) -> bool:
    """Whether the last module that a critic defines is a sigmoid, as in the first GANs: it returns no logits.

    >>> ends_in_sigmoid(nn.Sequential(nn.Linear(2, 1), nn.Sigmoid())), ends_in_sigmoid(nn.Linear(2, 1))
    (True, False)
    """
    return isinstance(critic, nn.Module) and isinstance([*critic.modules()][-1], nn.Sigmoid)


def answer(
    critic: AnyCritic,
    x: Tensor,
    *,
    y: Condition | None = None,
    logits: Callable[[Any], Logits] | None = None,
) -> Tensor | list[Tensor]:
    """Return the critic's logits at x, of D(x) or D(x, *y): a tensor, or a list with one for each critic.

    `logits` takes them out of the critic's output. Raises UsageError where the output is a tuple or dict and
    `logits` is not given, and where y has not the rows of x.

    >>> answer(lambda x, y: (x + y, None), torch.ones(2), y=torch.ones(2), logits=lambda out: out[0])
    tensor([2., 2.])
    """
    output = critic(x, *_rows_of(x, y))
    found = logits(output) if logits else output
    if logits is None and not isinstance(found, Tensor) and not _is_list_of_tensors(found):
        raise UsageError(
            f"the critic returned {_kind(found)}: say which of it are the logits, such as "
            f"logits=lambda out: {_example(found)}"
        )
    chosen = logits and isinstance(found, tuple) and _is_list_of_tensors(list(found))
    each = critics(list(found) if chosen else found)
    return each[0] if isinstance(found, Tensor) else each


def _rows_of(x: Tensor, y: Condition | None) -> Sequence[Tensor]:
    further: Sequence[Any] = [] if y is None else y if isinstance(y, tuple | list) else [y]
    for part in further:
        if not isinstance(part, Tensor):
            raise UsageError(f"y is a tensor, or a tuple of tensors for D(x, *y), not {_kind(y)}: convert it")
        if part.shape[:1] != x.shape[:1]:
            raise UsageError(
                f"y has one row for each sample of x, {len(x)}, but its shape is {list(part.shape)}: "
                "pass the labels or conditions of these samples"
            )
    return further


def _is_list_of_tensors(output: Any) -> bool:
    return isinstance(output, list) and all(isinstance(part, Tensor) for part in output)


def _example(output: Any) -> str:
    if isinstance(output, dict):
        return f"out[{next(iter(output), 'logits')!r}]"
    if isinstance(output, list):
        return "[scale[-1] for scale in out]"
    return "out[0]" if isinstance(output, tuple) else "out.logits"


def one_each(logits: Tensor, samples: int, reduce: Reduction | None = None) -> Tensor:
    """Return one number for each sample [N]: the logit, or the sum or mean of a sample's own logits [N, ...].

    [N] comes back as it is. Raises UsageError on another number of rows than `samples`, on an unknown
    `reduce`, and where a sample has several logits and `reduce` is None.

    >>> one_each(torch.ones(2, 1, 3, 3), 2, reduce="sum"), one_each(torch.ones(2, 1), 2)
    (tensor([9., 9.]), tensor([1., 1.]))
    """
    if reduce is not None and reduce not in REDUCTIONS:
        raise UsageError(f"reduce must be 'sum' or 'mean' of a sample's own logits, not {reduce!r}")
    if logits.shape[:1] != (samples,):
        raise UsageError(
            f"a critic must return one row of logits per sample, shape [{samples}] or [{samples}, ...], but this one "
            f"returned shape {list(logits.shape)}: do not average over samples. A packed critic has packs for "
            "samples: pass x as [packs, rows, ...] and lambda x: D(x.flatten(0, 1))"
        )
    if logits.ndim == 1:
        return logits
    flat = logits.reshape(samples, -1) if samples else logits.flatten(1)
    count = flat.shape[1]
    if count == 1:
        return flat.squeeze(1)
    if reduce is None:
        raise UsageError(
            f"a gradient needs one number per sample, but this critic returned {count} logits per sample, shape "
            f"{list(logits.shape)}: pass reduce='sum' for the gradient of their sum, or reduce='mean' for that of "
            f"their mean, {count} times smaller (R1: {count**2} times)"
        )
    return REDUCTIONS[reduce](flat, 1)


def ranks(
    critic: AnyCritic, x: Tensor, *, y: Condition | None = None, logits: Callable[[Any], Logits] | None = None
) -> Tensor:
    """Return how real each sample is to the critic, [N]: the mean of its own logits, summed over critics.

    This is what a loss sees of a sample. Raises UsageError unless the answer has one row for each sample.

    >>> ranks(lambda x: [x, 2 * x], torch.tensor([[1.0, 3.0], [0.0, 2.0]]))
    tensor([6., 3.])
    """
    return each_rank(answer(critic, x, y=y, logits=logits), len(x))


def each_rank(logits: Logits, samples: int) -> Tensor:
    """Return the mean of each sample's own logits, summed over critics: [N]. Logits [N] come back as they are.

    >>> each_rank([torch.ones(2, 1, 4, 4), torch.ones(2)], 2)
    tensor([2., 2.])
    """
    return total(one_each(part, samples, "mean") for part in critics(logits))


def wide(x: Tensor) -> Tensor:
    """Return x in float32 or wider: sums of squares of half-precision numbers overflow, or round to nothing.

    >>> wide(torch.ones(2, dtype=torch.float16)).dtype, wide(torch.ones(2, dtype=torch.float64)).dtype
    (torch.float32, torch.float64)
    """
    return x.to(torch.promote_types(x.dtype, torch.float32))


class Differentiated(NamedTuple):
    """A critic's logits as it gave them, and for each critic one number [N] a sample and its gradient like x."""

    raw: Tensor | list[Tensor]
    logits: list[Tensor]
    gradients: list[Tensor]

    def shaped(self, values: list[Any]) -> Any:
        """Return values, one for each critic, in the shape of the answer: the value alone for a single critic."""
        return values if isinstance(self.raw, list) else values[0]


def differentiated(
    critic: AnyCritic,
    x: Tensor,
    *,
    y: Condition | None = None,
    logits: Callable[[Any], Logits] | None = None,
    reduce: Reduction | None = None,
) -> Differentiated:
    """Return what the critic answers at x [N, ...], and the gradients, which can be differentiated again.

    One forward pass, and a backward pass for each critic. In a pure step (torch.func, torch.compile) it is a
    vjp, otherwise ordinary autograd. Errors are those of `answer` and `one_each`. It also raises UsageError for
    samples that are not of floating point, and in torch.inference_mode.

    >>> differentiated(lambda x: [x[:, 0], 2 * x[:, 1]], torch.zeros(1, 2)).gradients
    [tensor([[1., 0.]]), tensor([[0., 2.]])]
    """
    check_floats(x)

    def at(x: Tensor) -> Tensor | list[Tensor]:
        return answer(critic, x.clone(), y=y, logits=logits)  # a clone: the first layer may work in place

    if torch.compiler.is_compiling() or torch._C._functorch.maybe_current_level() is not None:
        return _pulled_back(at, x, reduce)
    if torch.is_inference_mode_enabled():
        raise UsageError(
            "torch.inference_mode computes no gradients, but this critic needs its own: use torch.no_grad"
        )
    with torch.enable_grad():
        x = x if x.requires_grad else x.detach().requires_grad_()
        raw = at(x)
        each = [one_each(part, len(x), reduce) for part in critics(raw)]
        return Differentiated(raw, each, [_slope(part, x) for part in each])


def check_floats(x: Tensor) -> None:
    """Raise UsageError for samples that have no gradient, such as bytes."""
    if not x.is_floating_point():
        raise UsageError(f"a critic's gradient needs samples of floating point, not {x.dtype}: convert them")


def _pulled_back(
    at: Callable[[Tensor], Tensor | list[Tensor]], x: Tensor, reduce: Reduction | None
) -> Differentiated:
    """A vjp for each critic. The others' logits get zeros there, so each of these passes goes through all critics."""
    raw, pull_back, *_ = torch.func.vjp(at, x)
    every = critics(raw)
    each = [one_each(part, len(x), reduce) for part in every]
    share = [1.0 if reduce != "mean" else len(x) / max(part.numel(), 1) for part in every]
    gradients = []
    for chosen, part in enumerate(every):
        ones = torch.ones_like(part) if share[chosen] == 1 else torch.full_like(part, share[chosen])
        if isinstance(raw, Tensor):
            gradients += pull_back(ones)
        else:
            gradients += pull_back(
                [ones if i == chosen else torch.zeros_like(p) for i, p in enumerate(every)]
            )
    return Differentiated(raw, each, gradients)


def _slope(logits: Tensor, x: Tensor) -> Tensor:
    if not logits.requires_grad:  # a constant critic
        return torch.zeros_like(x)
    try:
        (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True, materialize_grads=True)
    except RuntimeError as error:
        if "donated buffer" in str(error):  # torch's word for what a compiled program frees in its backward
            raise UsageError(_COMPILED) from error
        raise
    return gradient


def along(
    critic: AnyCritic,
    x: Tensor,
    direction: Tensor,
    sigma: float,
    *,
    y: Condition | None = None,
    logits: Callable[[Any], Logits] | None = None,
    reduce: Reduction | None = None,
) -> Differentiated:
    """Return what the critic answers at x [N, ...], with the slopes along `direction` [N, 1] in place of gradients.

    One pass of 2 N rows, x and x + sigma direction. So both see the same weights, also under spectral norm, whose
    every pass changes them. The rows of y come twice. Errors are those of `answer` and `slopes`. It also raises
    UsageError for a direction of another shape than x.

    >>> along(lambda x: x.square().sum(1), torch.ones(1, 2), torch.tensor([[1.0, 0.0]]), sigma=0.5).gradients
    [tensor([[2.5000]])]
    """
    if direction.shape != x.shape:
        raise UsageError(
            f"a direction is shaped like the samples, {list(x.shape)}, not {list(direction.shape)}: draw one a sample"
        )
    twice = None if y is None else tuple(torch.cat([part, part]) for part in _rows_of(x, y))
    both = answer(critic, torch.cat([x, x + sigma * direction]), y=twice, logits=logits)
    for part in critics(both):
        one_each(part, 2 * len(x), "mean")  # says which critic lost its rows
    here, there = ([part[rows] for part in critics(both)] for rows in (slice(len(x)), slice(len(x), None)))
    if isinstance(both, Tensor):
        return slopes(here[0], there[0], sigma, reduce)
    return slopes(here, there, sigma, reduce)


def slopes(here: Logits, there: Logits, sigma: float, reduce: Reduction | None = None) -> Differentiated:
    """Return (D(x') - D(x)) / sigma [N, 1] for each critic, from its logits `here` at x and `there` at x'.

    Raises UsageError as `one_each` does.

    >>> slopes(torch.zeros(2), torch.tensor([1.0, 2.0]), sigma=0.5).gradients
    [tensor([[2.],
            [4.]])]
    """
    rows = len(critics(here)[0])
    each = [one_each(part, rows, reduce) for part in critics(here)]
    moved = [one_each(part, rows, reduce) for part in critics(there)]
    found = [((b - a) / sigma).unsqueeze(1) for a, b in zip(each, moved, strict=True)]
    return Differentiated(here if isinstance(here, Tensor) else list(here), each, found)


_COMPILED = (
    "a critic that torch.compile made cannot be differentiated twice: pass the plain module, or compile the function "
    "that computes the whole loss, penalty included"
)


def check_twice_differentiable(gradients: Iterable[Tensor]) -> None:
    """Raise UsageError where a compiled program computed part of a gradient: only .backward() would, without a remedy.

    Where gradients are off, as under torch.no_grad, nothing is differentiated again.

    >>> check_twice_differentiable([torch.zeros(2)])
    """
    if torch.compiler.is_compiling() or "torch._functorch.aot_autograd" not in sys.modules:
        return
    if torch.is_grad_enabled() and any(_is_of_a_compiled_program(gradient) for gradient in gradients):
        raise UsageError(_COMPILED)


def _is_of_a_compiled_program(gradient: Tensor) -> bool:
    seen, todo = set(), [gradient.grad_fn]
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        if type(node).__name__ == "CompiledFunctionBackwardBackward":
            return True
        seen.add(node)
        todo += [before for before, _ in node.next_functions]
    return False
