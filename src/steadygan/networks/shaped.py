"""Networks of any origin in the shape that a game expects: flat latents, and answers that are logits alone."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

__all__ = ["LogitsOf", "Shaped"]


class LogitsOf(nn.Module):
    """A critic that answers with its logits alone: `logits` takes them out of what D answers.

    >>> import torch
    >>> LogitsOf(nn.Identity(), lambda out: [out, 2 * out])(torch.ones(1))
    [tensor([1.]), tensor([2.])]
    """

    def __init__(self, D: nn.Module, logits: Callable[[Any], Any]) -> None:
        """Wrap D."""
        super().__init__()
        self.D, self.logits = D, logits

    def forward(self, x: Tensor, *more: Tensor) -> Any:
        """The logits of samples x [N, ...]: a tensor, or a list with one for each critic."""
        found = self.logits(self.D(x, *more))
        return list(found) if isinstance(found, tuple) else found


class Shaped(nn.Module):
    """A generator whose latents have a shape, such as [N, 100, 1, 1], as one of flat latents [N, 100].

    G'(z, ...) = G(z reshaped to [N, *shape], ...).

    >>> import torch
    >>> Shaped(nn.Identity(), (4, 1, 1))(torch.zeros(2, 4)).shape
    torch.Size([2, 4, 1, 1])
    """

    def __init__(self, G: nn.Module, shape: tuple[int, ...]) -> None:
        """Wrap G."""
        super().__init__()
        self.G, self.shape = G, shape

    def forward(self, z: Tensor, *more: Tensor) -> Tensor:
        """Samples of the flat latents z [N, prod(shape)]."""
        return self.G(z.unflatten(1, self.shape), *more)
