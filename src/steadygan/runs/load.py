"""The generator of a run as an ordinary module: averaged weights, standing statistics, float32, evaluation mode."""

import copy
import math
import warnings
from pathlib import Path
from typing import Protocol
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn

from steadygan.build import NOTHING, Own, Run
from steadygan.errors import UsageError
from steadygan.files import user_path
from steadygan.game import Buffers, Network, unflatten
from steadygan.runs import hub
from steadygan.runs.folder import CHECKPOINTS, CONFIG, opened, ownership, read_config, restore_member
from steadygan.runs.generator import Generator, of_labels, without_data
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


def load(
    folder: str | Path,
    *,
    member: int = 0,
    average: bool = True,
    use: str | Path | Own | None = None,
    trust_code: bool = False,
) -> Generator:
    """Return the generator of a run's newest checkpoint, on the CPU: `G(G.latents(64))` are `steadygan sample`'s 64.

    Weights are averaged ones (EMA) where the run has them, unless `average` is false. Batch norm has standing
    statistics, hidden noise is off. Everything is float32. `steadygan sample` computes in the run's own precision:
    samples of a bfloat16 run differ by its rounding. The data set need not be there. A run of networks of your own
    needs `use`: the file that it was trained with, or the objects. While this process keeps the run that
    `steadygan.fit` returned, it needs nothing.

    A text USER/NAME is a repository of the Hugging Face Hub, made by `steadygan push`, unless there is a folder USER
    here. It holds one generator, so it takes no `member`, `average` or `use`. No code in it is run. `trust_code` runs
    its source file where the network is its author's own.

    Raises UsageError if there is no such run, member, checkpoint or repository, and for a toy game, which has no
    samples.
    """
    if not isinstance(folder, str | Path):
        raise UsageError(
            f"load takes the path of a run folder, or USER/NAME, not {type(folder).__name__}: write load('runs/NAME')"
        )
    named, folder = folder, user_path(folder)
    if isinstance(named, str) and not folder.parent.exists() and ("://" in named or hub.name_in(named)):
        hub.check_name(named)
    far = isinstance(named, str) and hub.is_name(named) and not folder.exists()
    if far and folder.parent.exists():
        raise UsageError(
            f"the folder {folder} does not exist: name one in {folder.parent}, or call this in another folder to load "
            "from the Hub"
        )
    if far or hub.is_published(folder):
        if (member, average, use) != (0, True, None):
            raise UsageError(
                f"{named} is a published generator, not a run: leave out member, average and use"
            )
        return hub.pulled(str(named), trust_code) if far else hub.read(folder, trust_code, str(named))
    run = _without_data(folder, _own(use, folder))
    if run.game.rest:
        raise UsageError(f"{folder} trains a toy game, which has no samples: load a run on points or images")
    state, seed = restore_member(folder, run, member, _warn)
    network = run.game.players["G"].network
    params, buffers = sampling.settled(network, state, run.latent, seed=seed, average=average)
    net = filled(network, params, buffers)
    latent = run.latent - run.classes
    return Generator(of_labels(net, run), latent, run.data.shape, run.classes, seed, params.dtype)


def _without_data(folder: Path, own: Own) -> Run:
    """Build a folder's run without its data, where a checkpoint says their shape."""
    raw, known = read_config(folder), _sizes(folder)
    return (
        opened(folder, own=own)[1] if known is None else without_data(raw, *known, str(folder / CONFIG), own)
    )


def _sizes(folder: Path) -> tuple[tuple[int, ...], int] | None:
    """The shape and the classes of the data of a run of images or points, from its newest checkpoint."""
    own = ownership(folder)
    for path in reversed(checkpoint.checkpoints(folder / CHECKPOINTS)):
        try:
            meta = checkpoint.meta(path, own)
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


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=3)
