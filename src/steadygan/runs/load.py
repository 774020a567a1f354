"""The generator of a run as an ordinary module: averaged weights, standing statistics, float32, evaluation mode."""

import copy
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Protocol
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn

from steadygan import config
from steadygan.build import NOTHING, Own, Run, build
from steadygan.data import Data, Modes
from steadygan.errors import UsageError
from steadygan.files import user_path
from steadygan.game import Buffers, Network, unflatten
from steadygan.networks import Classed
from steadygan.runs.folder import CHECKPOINTS, CONFIG, opened, read_config, restore_member
from steadygan.runs.own_code import check_same, own_file
from steadygan.training import checkpoint, sampling

__all__ = ["LIVE", "Generator", "load"]


class HasOwn(Protocol):
    """A run of this process that has the objects of its caller."""

    @property
    def own(self) -> Own:
        """The objects."""


LIVE: WeakValueDictionary[Path, HasOwn] = WeakValueDictionary()
"""The runs of `steadygan.fit` in this process by their folders, while somebody keeps them."""


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


def load(
    folder: str | Path, *, member: int = 0, average: bool = True, use: str | Path | Own | None = None
) -> Generator:
    """Return the generator of a run's newest checkpoint, on the CPU: `G(G.latents(64))` are `steadygan sample`'s 64.

    Weights are averaged ones (EMA) where the run has them, unless `average` is false. Batch norm has standing
    statistics, hidden noise is off. Everything is float32. `steadygan sample` computes in the run's own precision:
    samples of a bfloat16 run differ by its rounding. The data set need not be there. A run of networks of your own
    needs `use`: the file that it was trained with, or the objects. While this process keeps the run that
    `steadygan.fit` returned, it needs nothing.

    Raises UsageError if there is no such run, member or checkpoint, and for a toy game, which has no samples.
    """
    folder = user_path(folder)
    run = _without_data(folder, _own(use, folder))
    if run.game.rest:
        raise UsageError(f"{folder} trains a toy game, which has no samples: load a run on points or images")
    state, seed = restore_member(folder, run, member, _warn)
    network = run.game.players["G"].network
    params, buffers = sampling.settled(network, state, run.latent, seed=seed, average=average)
    net = filled(network, params, buffers)
    latent = run.latent - run.classes
    return Generator(_of_labels(net, run), latent, run.data.shape, run.classes, seed, params.dtype)


def _without_data(folder: Path, own: Own) -> Run:
    """Build a folder's run on stand-ins of its data, where a checkpoint says their shape: a generator needs no more."""
    raw, known = read_config(folder), _sizes(folder)
    if known is None:
        return opened(folder, own=own)[1]
    shape, classes = known
    modes = Modes(torch.zeros(classes, math.prod(shape)), 1.0) if classes else None
    stand_in = Data("stand-in", shape, draw=_zeros(shape), modes=modes, classes=classes)
    settings = config.parse({**raw, "data": {"name": "own"}}, str(folder / CONFIG))
    return build(settings, own._replace(data=stand_in))


def _zeros(shape: tuple[int, ...]) -> Callable[[torch.Generator, int], Tensor]:
    return lambda generator, count: torch.zeros(count, *shape)


def _sizes(folder: Path) -> tuple[tuple[int, ...], int] | None:
    """The shape and the classes of the data of a run of images or points, from its newest checkpoint."""
    for path in reversed(checkpoint.checkpoints(folder / CHECKPOINTS)):
        try:
            meta = checkpoint.meta(path)
            shape, classes = tuple(map(int, meta["shape"])), int(meta["classes"])
        except (UsageError, ValueError, KeyError, TypeError, OverflowError):
            continue
        return (shape, classes) if math.prod(shape) > 1 else None
    return None


def _own(use: str | Path | Own | None, folder: Path) -> Own:
    if isinstance(use, str | Path):
        file = own_file(Path(use))
        check_same(folder, file, _warn)
        return file.own(read_config(folder), _warn)
    live = LIVE.get(folder.resolve())
    return use or (live.own if live else NOTHING)


def filled(network: Network, params: Tensor, buffers: Buffers) -> nn.Module:
    """A copy of the network's module that holds these parameters and buffers, as float32 on the CPU.

    >>> filled(Network(nn.Linear(2, 1)), torch.zeros(3), {})(torch.ones(1, 2)).tolist()
    [[0.0]]
    """
    module = copy.deepcopy(network.module)
    with torch.no_grad():
        values = {**unflatten(module, params), **buffers}
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            tensor.copy_(values[name])
    return module.float().cpu()


def _of_labels(net: nn.Module, run: Run) -> nn.Module:
    """G(z, y) itself, where the game has made it a function of latents that hold the label."""
    return net.G if run.classes and isinstance(net, Classed) else net


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=3)
