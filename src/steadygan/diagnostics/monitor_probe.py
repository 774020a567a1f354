"""Measure the critic of your own loop on a batch, and leave it unchanged."""

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple, Unpack

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from steadygan.critic_outputs import (
    AnyCritic,
    Differentiated,
    Logits,
    Reading,
    answer,
    critics,
    differentiated,
    one_each,
    total,
)
from steadygan.critic_outputs import wide as in_float32
from steadygan.diagnostics.measures import Measures, critic_measures, spread
from steadygan.errors import UsageError
from steadygan.penalties import interpolate, norm

__all__ = ["WRAPPERS", "Shown", "Told", "check_whole", "measured", "suited", "untouched", "wide"]

Told = Callable[[Any, Any], Tensor]
"""The loss of G as a function of the logits of its fakes and of as many reals, as the critic gives them: a scalar."""

WRAPPERS = (nn.parallel.DistributedDataParallel, nn.DataParallel)
"""Wrappers of parallel training whose network is their attribute `module`."""


class Shown(NamedTuple):
    """Samples x [N, ...], and what the critic takes after them: labels or conditions with the same rows."""

    x: Tensor
    y: tuple[Tensor, ...] | None = None

    def rows(self, part: slice) -> "Shown":
        """These rows of the samples and of their labels."""
        return Shown(self.x[part], None if self.y is None else tuple(each[part] for each in self.y))


@contextmanager
def untouched(device: torch.device) -> Iterator[list[nn.Module]]:
    """Restore the modules that are called inside and the random numbers; yields these modules as a list.

    From its first call on, a module works on copies of its buffers and of its parts' (running statistics, vectors of
    a spectral norm), even if a function hides it. Its own tensors are not written to, because a graph of the
    loop may hold them. Compiled code runs eagerly. A wrapper of parallel training calls its network alone, and a
    synchronized batch norm uses the batch of this process: the other processes do not take part. Raises UsageError
    for a network that is sharded over them.
    """
    own: dict[nn.Module, dict[str, Tensor]] = {}

    def lend(called: nn.Module, inputs: object) -> None:
        # Its parts too: a forward may write to their buffers without calling them.
        for module in called.modules() if called not in own else ():
            if module not in own:
                check_whole(module)
                own[module] = dict(module.named_buffers(recurse=False))
                for name, buffer in own[module].items():
                    setattr(module, name, buffer.clone())

    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[device] if device.type == "cuda" else []))
        if "torch._dynamo" in sys.modules:  # else nothing is compiled
            stack.enter_context(torch.compiler.set_stance("force_eager"))
            stack.enter_context(warnings.catch_warnings())  # of hooks that a compiled module calls twice
            warnings.filterwarnings("ignore", "Using `torch.compile")
        for kind, forward in _ALONE.items():
            stack.callback(setattr, kind, "forward", kind.forward)
            setattr(kind, "forward", forward)  # noqa: B010
        stack.callback(register_module_forward_pre_hook(lend).remove)
        called: list[nn.Module] = []
        try:
            yield called
        finally:
            called += own
            for module, buffers in own.items():
                for name, buffer in buffers.items():
                    setattr(module, name, buffer)


def _alone(wrapper: Any, *given: Any, **named: Any) -> Any:
    return wrapper.module(*given, **named)


_ALONE: dict[type[nn.Module], Callable[..., Any]] = {
    **dict.fromkeys(WRAPPERS, _alone),
    nn.SyncBatchNorm: nn.BatchNorm2d.forward,
}
"""Forward passes in one process of modules whose own forward passes wait for the other processes."""


def check_whole(module: nn.Module) -> None:
    """Raise UsageError for a network whose parameters are spread over several processes (FSDP)."""
    fsdp = sys.modules.get("torch.distributed.fsdp")
    kinds = [getattr(fsdp, name, None) for name in ("FullyShardedDataParallel", "FSDPModule")]
    if isinstance(module, tuple(kind for kind in kinds if kind)):
        raise UsageError(
            "a network that FSDP shards cannot be measured in one process, because its forward pass waits for all of "
            "them: give the Monitor a whole copy, or use DistributedDataParallel"
        )


def measured(
    critic: AnyCritic,
    loss: Told | None,
    real: Shown,
    fake: Shown,
    held: Shown | None = None,
    **how: Unpack[Reading],
) -> tuple[Measures, Tensor | None]:
    """Measure a critic at n reals, n fakes and between: `critic_measures`, mean logits, and N dL_G/d fake_i [n, ...].

    Between them the critic takes the labels of the reals. Of several critics the sum is measured, and for each
    one `critic/spreadI` and `slope/fakeI`. The gradient is None without G's `loss`. `held` are held-out samples,
    read n at a time. Raises UsageError where a sample has several logits and no `reduce`, and for a loss that is
    not one number.

    >>> loss = lambda fake, real: -fake.mean()
    >>> ones, zeros = Shown(torch.ones(2, 1)), Shown(torch.zeros(2, 1))
    >>> measures, told = measured(lambda x: 3 * x[:, 0], loss, ones, zeros)
    >>> measures["critic/gap"].item(), measures["slope/between"].item(), told.flatten().tolist()
    (3.0, 3.0, [-3.0, -3.0])
    """
    n = len(fake.x)
    # Evenly between 0 and 1: no draw is needed.
    alpha = (torch.arange(n, device=fake.x.device, dtype=fake.x.dtype) + 0.5) / n
    between = Shown(interpolate(real.x, fake.x, alpha), real.y)
    seen = {}
    told = None
    for place, shown in {"real": real, "between": between, "fake": fake}.items():
        x = shown.x.detach().requires_grad_()
        seen[place] = _seen(critic, Shown(x, shown.y), how)
        if place == "fake" and loss:
            told = _generator_gradient(loss, x, seen["fake"].raw, seen["real"].raw)
    places = {place: (wide(total(each.logits)), wide(total(each.gradients))) for place, each in seen.items()}
    known = None if held is None else _logits(critic, held, n, how)
    means = {f"logit/{place}": places[place][0].mean() for place in ("real", "fake")}
    apart = zip(seen["real"].logits, seen["fake"].logits, seen["fake"].gradients)
    return {**means, **critic_measures(places, known), **_each(list(apart))}, told


def _seen(critic: AnyCritic, shown: Shown, how: Reading) -> Differentiated:
    try:
        return differentiated(critic, shown.x, y=shown.y, **how)
    except TypeError as error:
        if shown.y is None and "positional argument" in str(error):
            raise UsageError(
                f"the critic takes more than samples ({error}): pass step(x_real, x_fake, y_real=..., y_fake=...)"
            ) from error
        raise


def _each(apart: list[tuple[Tensor, Tensor, Tensor]]) -> Measures:
    """The spread and the mean slope at fakes of each of several critics, from real and fake logits and the gradient."""
    found = {}
    for index, (real, fake, gradient) in enumerate(apart if len(apart) > 1 else ()):
        found[f"critic/spread{index}"] = spread(wide(real), wide(fake))
        found[f"slope/fake{index}"] = norm(wide(gradient)).mean()
    return found


def _generator_gradient(loss: Told, fake: Tensor, logits: Logits, real_logits: Logits) -> Tensor:
    with torch.enable_grad():
        value = loss(_wide_all(logits, detach=False), _wide_all(real_logits))
        if not isinstance(value, Tensor) or value.numel() != 1:
            shape = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise UsageError(
                f"loss must take the logits of fakes and return one number, not {shape}: end it in .mean()"
            )
        if not value.requires_grad:  # a constant critic
            return torch.zeros_like(fake)
        whole = value.sum() * len(fake)  # before the critic's own, perhaps narrow, type
        (gradient,) = torch.autograd.grad(whole, fake, materialize_grads=True)
    return wide(gradient)


def _wide_all(logits: Logits, *, detach: bool = True) -> Logits:
    each = [wide(part, detach=detach) for part in critics(logits)]
    return each[0] if isinstance(logits, Tensor) else each


def _logits(critic: AnyCritic, held: Shown, rows: int, how: Reading) -> Tensor:
    """The logits of held-out samples, in whole batches of `rows` if there is one: some critics take no other."""
    starts = range(0, max(1, len(held.x) - rows + 1), rows)
    parts = [held.rows(slice(start, start + rows)) for start in starts]
    try:
        with torch.no_grad():
            found = [answer(critic, part.x.clone(), y=part.y, logits=how.get("logits")) for part in parts]
            summed = [
                total(wide(one_each(logits, len(part.x), how.get("reduce"))) for logits in critics(each))
                for part, each in zip(parts, found)
            ]
    except UsageError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise UsageError(
            f"the critic cannot take {len(parts[0].x)} held-out samples {list(held.x.shape[1:])} "
            f"({str(error).splitlines()[0]}): give held= a batch or more of samples, with their labels if it takes "
            "labels: held=(samples, labels)"
        ) from error
    return torch.cat(summed)


def wide(values: Tensor, *, detach: bool = True) -> Tensor:
    """The values in float32 or wider, detached."""
    return in_float32(values.detach() if detach else values)


def suited(x: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
    """A copy of samples in the type that a network of these parameters takes; float32 under autocast."""
    types = [p.dtype for p in parameters.values() if p.is_floating_point()]
    auto = torch.is_autocast_enabled(x.device.type)
    return x.detach().to(torch.float32 if auto else types[0] if types else x.dtype, copy=True)
