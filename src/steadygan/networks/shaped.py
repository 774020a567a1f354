"""A generator whose latents have a shape of their own, such as [N, 100, 1, 1], as one of flat latents [N, 100]."""

from torch import Tensor, nn

__all__ = ["Shaped"]


class Shaped(nn.Module):
    """G'(z, ...) = G(z reshaped to [N, *shape], ...).

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
