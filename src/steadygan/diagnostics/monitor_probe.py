"""Measure the critic of your own loop on a batch, and leave it unchanged."""

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from steadygan.critic_outputs import one_each
from steadygan.diagnostics.measures import Measures, critic_measures
from steadygan.errors import UsageError
from steadygan.penalties import Critic, input_gradient, interpolate

__all__ = ["Told", "measured", "suited", "untouched", "wide"]

Told = Callable[[Tensor, Tensor], Tensor]
"""The loss of G as a function of the logits [N] of its fakes and of as many reals: a scalar."""


@contextmanager
def untouched(device: torch.device) -> Iterator[list[nn.Module]]:
    """Restore the modules that are called inside and the random numbers; yields these modules as a list.

    From its first call on, a module works on copies of its own buffers (running statistics, vectors of a
    spectral norm), even if a function hides it. Its own tensors are not written to, because a graph of the
    loop may hold them. Compiled code runs eagerly.
    """
    own: dict[nn.Module, dict[str, Tensor]] = {}

    def lend(module: nn.Module, inputs: object) -> None:
        if module not in own:
            own[module] = dict(module.named_buffers(recurse=False))
            for name, buffer in own[module].items():
                setattr(module, name, buffer.clone())

    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[device] if device.type == "cuda" else []))
        if "torch._dynamo" in sys.modules:  # else nothing is compiled
            stack.enter_context(torch.compiler.set_stance("force_eager"))
            stack.enter_context(warnings.catch_warnings())  # of hooks that a compiled module calls twice
            warnings.filterwarnings("ignore", "Using `torch.compile")
        stack.callback(register_module_forward_pre_hook(lend).remove)
        called: list[nn.Module] = []
        try:
            yield called
        finally:
            called += own
            for module, buffers in own.items():
                for name, buffer in buffers.items():
                    setattr(module, name, buffer)


def measured(
    critic: Critic, loss: Told | None, real: Tensor, fake: Tensor, held: Tensor | None = None
) -> tuple[Measures, Tensor | None]:
    """Measure a critic at n reals, n fakes and between: `critic_measures`, mean logits, and N dL_G/d fake_i [n, ...].

    The gradient is None without G's `loss`. `held` are held-out samples, read n at a time. Raises UsageError
    for a critic that does not return one logit per sample, and for a loss that is not one number.

    >>> loss = lambda fake, real: -fake.mean()
    >>> measures, told = measured(lambda x: 3 * x[:, 0], loss, torch.ones(2, 1), torch.zeros(2, 1))
    >>> measures["critic/gap"].item(), measures["slope/between"].item(), told.flatten().tolist()
    (3.0, 3.0, [-3.0, -3.0])
    """
    n = len(fake)
    # Evenly between 0 and 1: no draw is needed.
    alpha = (torch.arange(n, device=fake.device, dtype=fake.dtype) + 0.5) / n
    between = interpolate(real, fake, alpha)
    places: dict[str, tuple[Tensor, Tensor]] = {}
    told = None
    for place, x in {"real": real, "between": between, "fake": fake}.items():
        x = x.detach().requires_grad_()
        logits, gradient = input_gradient(critic, x)
        if place == "fake" and loss:
            told = _generator_gradient(loss, x, logits, places["real"][0])
        places[place] = (wide(logits), wide(gradient))
    known = None if held is None else _logits(critic, held, n)
    means = {f"logit/{place}": places[place][0].mean() for place in ("real", "fake")}
    return {**means, **critic_measures(places, known)}, told


def _generator_gradient(loss: Told, fake: Tensor, logits: Tensor, real_logits: Tensor) -> Tensor:
    with torch.enable_grad():
        value = loss(wide(logits, detach=False), real_logits)
        if not isinstance(value, Tensor) or value.numel() != 1:
            shape = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise UsageError(
                f"loss must take fake logits [N] and return one number, not {shape}: end it in .mean()"
            )
        if not value.requires_grad:  # a constant critic
            return torch.zeros_like(fake)
        whole = value.sum() * len(fake)  # before the critic's own, perhaps narrow, type
        (gradient,) = torch.autograd.grad(whole, fake, materialize_grads=True)
    return wide(gradient)


def _logits(critic: Critic, x: Tensor, rows: int) -> Tensor:
    with torch.no_grad():
        return torch.cat([wide(one_each(critic(part.clone()), len(part))) for part in x.split(rows)])


def wide(values: Tensor, *, detach: bool = True) -> Tensor:
    """The values in float32 or wider, detached."""
    values = values.detach() if detach else values
    return values.to(torch.promote_types(values.dtype, torch.float32))


def suited(x: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
    """A copy of samples in the type that a network of these parameters takes; float32 under autocast."""
    types = [p.dtype for p in parameters.values() if p.is_floating_point()]
    auto = torch.is_autocast_enabled(x.device.type)
    return x.detach().to(torch.float32 if auto else types[0] if types else x.dtype, copy=True)
