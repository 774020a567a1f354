"""Feature matching: the critic's features, and which of its layers make them."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from torch import Tensor, nn

from steadygan.penalties import Critic
from steadygan.schedules import Number

__all__ = ["FeatureMatching", "inputs_of", "passed"]


@dataclass(frozen=True)
class FeatureMatching:
    """weight * interval * |E f(x) - E f(G(z))|^2 in G's loss on every `interval`-th step.

    f(x) is what enters `layer`, a module of the critic. Source: Salimans 2016, section 3.1, which has it in place of
    G's loss, on every step.
    """

    layer: nn.Module
    weight: Number = 1.0
    interval: int = 1


@contextmanager
def inputs_of(layer: nn.Module) -> Iterator[list[Tensor]]:
    """Inside the block, the list gets the first argument of every call of `layer`.

    >>> import torch
    >>> net = nn.Sequential(nn.ReLU(), nn.Linear(1, 1))
    >>> with inputs_of(net[1]) as seen:
    ...     _ = net(torch.tensor([[-2.0]])), net(torch.tensor([[3.0]]))
    >>> [x.item() for x in seen]
    [0.0, 3.0]
    """
    seen: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, given: seen.extend(given[:1]))
    try:
        yield seen
    finally:
        hook.remove()


def passed(D: Critic, layers: Sequence[nn.Module], x: Tensor) -> list[nn.Module]:
    """Return those of the critic's layers that the samples x [N, ...] pass once. A layer of labels is none.

    >>> import torch
    >>> net = nn.Sequential(nn.Linear(1, 2), nn.Linear(2, 1))
    >>> [layer.in_features for layer in passed(net, [*net, nn.Linear(3, 3)], torch.zeros(1, 1))]
    [1, 2]
    """
    with ExitStack() as stack:
        seen = [stack.enter_context(inputs_of(layer)) for layer in layers]
        D(x.detach().requires_grad_())
    return [
        layer
        for layer, inputs in zip(layers, seen, strict=True)
        if len(inputs) == 1 and isinstance(inputs[0], Tensor) and inputs[0].requires_grad
    ]
