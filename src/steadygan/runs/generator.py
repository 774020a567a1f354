"""A generator as an ordinary module, and a run that is built for its networks alone, without its data."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from steadygan import config
from steadygan.build import NOTHING, Own, Run, build
from steadygan.data import Data, Modes
from steadygan.errors import UsageError
from steadygan.networks import Classed
from steadygan.training import sampling

__all__ = ["Generator", "of_labels", "without_data"]


class Generator(nn.Module):
    """A generator and its latents: z [N, latent] -> samples [N, *shape]; in a conditional run (z, y), y int64 [N].

    `net` does the work, in evaluation mode. `classes` is 0 without labels. The other laws of a game (InfoGAN's codes,
    uniform latents) are layers of `net`, so z is N(0, I) always.

    >>> G = Generator(nn.Linear(3, 2), latent=3, shape=(2,))
    >>> G(G.latents(5)).shape
    torch.Size([5, 2])
    """

    def __init__(
        self,
        net: nn.Module,
        latent: int,
        shape: tuple[int, ...],
        classes: int = 0,
        seed: int = 0,
        drawn: torch.dtype = torch.float32,
    ) -> None:
        """Keep the network. Latents are drawn from `seed`, in the precision `drawn`, and then made float32."""
        super().__init__()
        self.net, self.latent, self.shape, self.classes = net, latent, tuple(shape), classes
        self.seed, self.drawn = seed, drawn
        self.eval()

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the samples. Raises UsageError unless there are labels exactly where there are classes."""
        if (y is None) == bool(self.classes):
            raise UsageError(
                f"this generator is conditional: call G(z, y) with labels y of 0 to {self.classes - 1}"
                if self.classes
                else "this generator takes no labels: call G(z)"
            )
        return self.net(z) if y is None else self.net(z, y)

    def latents(self, count: int, seed: int | None = None) -> Tensor:
        """Return `count` latents of N(0, I) [count, latent]: those of `steadygan sample`, or those of another seed."""
        size, seed = self.classes + self.latent, self.seed if seed is None else seed
        return sampling.latents(seed, "look", count, size, self.drawn)[:, self.classes :].float()


def without_data(
    raw: Mapping[str, Any], shape: tuple[int, ...], classes: int, source: str, own: Own = NOTHING
) -> Run:
    """Build the run of a configuration on stand-ins of its data, of this shape: a generator needs no more."""
    modes = Modes(torch.zeros(classes, math.prod(shape)), 1.0) if classes else None
    stand_in = Data("stand-in", shape, draw=_zeros(shape), modes=modes, classes=classes)
    return build(config.parse({**raw, "data": {"name": "own"}}, source), own._replace(data=stand_in))


def _zeros(shape: tuple[int, ...]) -> Callable[[torch.Generator, int], Tensor]:
    return lambda generator, count: torch.zeros(count, *shape)


def of_labels(net: nn.Module, run: Run) -> nn.Module:
    """G(z, y) itself, where the game has made it a function of latents that hold the label."""
    return net.G if run.classes and isinstance(net, Classed) else net
