"""A game: players that each minimise a loss of their own, and the state that a pure step changes.

Everything that changes is in `State`. A player's parameters are one flat vector. So an optimizer is a few
operations, the game's vector field is a few vectors, and an ensemble is one more dimension in front.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._C import _functorch
from torch.utils._pytree import tree_map

from steadygan.game.optimizers import Moments

__all__ = [
    "Buffers",
    "Draw",
    "Field",
    "Game",
    "Logs",
    "Loss",
    "Nets",
    "Network",
    "Player",
    "Rest",
    "Rule",
    "State",
    "Vectors",
    "alive",
    "carried",
    "flatten",
    "trainable",
    "unflatten",
]

Buffers = dict[str, Tensor]
Draw = Mapping[str, Tensor]
Logs = dict[str, Tensor]
Vectors = dict[str, Tensor]


class State(NamedTuple):
    """All that a step changes; nothing else has state. In an ensemble every tensor has a leading [members]."""

    params: dict[str, Tensor]  # player -> flat vector [P]
    buffers: dict[str, Buffers]
    moments: dict[str, Moments]  # player -> moments of its optimizer and of the update rule
    average: dict[str, dict[str, Tensor]]  # player -> exponential average of its parameters and buffers
    scalars: dict[str, Tensor]  # "step", hyper-parameters that differ between members


@dataclass(frozen=True)
class Network:
    """A module used as a skeleton: its parameters and buffers come from outside at every call.

    `params` are the trainable parameters. Frozen ones (requires_grad=False) are among the buffers.

    >>> layer = nn.Linear(2, 1)
    >>> Network(layer)(torch.zeros(3), {}, torch.ones(4, 2)).flatten()
    tensor([0., 0., 0., 0.])
    """

    module: nn.Module
    autocast: torch.dtype | None = None
    channels_last: bool = False
    shapes: Mapping[str, torch.Size] = dataclass_field(init=False, repr=False, compare=False)
    tied: bool = dataclass_field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Collect once what every call needs: walking a module costs as much as a small one's forward."""
        named = (self.module.named_parameters, self.module.named_buffers)
        every, once = ([t for each in named for _, t in each(remove_duplicate=one)] for one in (False, True))
        object.__setattr__(self, "shapes", {name: p.shape for name, p in trainable(self.module).items()})
        object.__setattr__(self, "tied", len(every) > len(once))

    def __call__(self, params: Tensor, buffers: Buffers, x: Tensor, *more: Tensor) -> Any:
        """Run the skeleton on x with `params` [P]; buffers that it updates are replaced in `buffers`.

        Whatever else its forward takes follows x (labels). A forward may return tensors in tuples and lists.
        """
        return self.bound(params, buffers)(x, *more)

    def bound(self, params: Tensor, buffers: Buffers) -> Callable[..., Any]:
        """Return the skeleton with `params` [P], split once for all the calls that a loss makes."""
        return partial(self._run, _parts(self.shapes, params), buffers)

    def _run(self, parts: Mapping[str, Tensor], buffers: Buffers, x: Tensor, *more: Tensor) -> Any:
        if self.channels_last and x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        # Cloned here, at the innermost transform, because a module may update its buffers in place.
        tensors = {**parts, **{name: alive(b).clone() for name, b in buffers.items()}}
        # Without the weight cache: it keys on leaf tensors, and a pure step has none.
        context = (
            torch.autocast(x.device.type, self.autocast, cache_enabled=False)
            if self.autocast
            else nullcontext()
        )
        with context:
            out = torch.func.functional_call(self.module, tensors, (x, *more), tie_weights=self.tied)
        buffers.update({name: tensors[name] for name in buffers})
        if not parts:  # nothing is trained, so nothing has the state's precision
            return out
        dtype = next(iter(parts.values())).dtype
        return out.to(dtype) if isinstance(out, Tensor) else tree_map(lambda part: part.to(dtype), out)


def alive(t: Tensor) -> Tensor:
    """Return a tensor without the wrappers of torch's transforms that have ended: a clone takes only one of them off.

    A buffer has several where a penalty differentiates a critic that is itself normalized by its gradient. Dynamo has
    no such wrappers: it traces transforms as functions.
    """
    if torch.compiler.is_dynamo_compiling():
        return t
    while _functorch.is_dead_tensor_wrapper(t):  # type: ignore[attr-defined]
        t = _functorch.unwrap_if_dead(t)
    return t


def trainable(module: nn.Module) -> dict[str, Tensor]:
    """Return the parameters that training changes: those with `requires_grad`, each once, by name.

    >>> layer = nn.Linear(2, 3)
    >>> layer.bias.requires_grad = False
    >>> list(trainable(layer))
    ['weight']
    """
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


def carried(module: nn.Module) -> dict[str, Tensor]:
    """Return what a state carries beside the trainable parameters: buffers, and parameters that are frozen.

    >>> list(carried(nn.BatchNorm1d(2).requires_grad_(False)))
    ['weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked']
    """
    frozen = {name: p for name, p in module.named_parameters() if not p.requires_grad}
    return {**frozen, **dict(module.named_buffers())}


def flatten(module: nn.Module) -> Tensor:
    """Return a module's trainable parameters as one vector [P], in the order of `named_parameters`.

    >>> flatten(nn.Linear(2, 3)).shape
    torch.Size([9])
    """
    parts = [p.detach().reshape(-1) for p in trainable(module).values()]
    return torch.cat(parts) if parts else torch.zeros(0)


def unflatten(module: nn.Module, vector: Tensor) -> dict[str, Tensor]:
    """Return the reverse of `flatten`: views of the vector [P] under the parameters' names and shapes.

    >>> {name: list(p.shape) for name, p in unflatten(nn.Linear(2, 3), torch.zeros(9)).items()}
    {'weight': [3, 2], 'bias': [3]}
    """
    return _parts({name: p.shape for name, p in trainable(module).items()}, vector)


def _parts(shapes: Mapping[str, torch.Size], vector: Tensor) -> dict[str, Tensor]:
    parts = vector.split([shape.numel() for shape in shapes.values()])
    return {name: p.view(shape) for (name, shape), p in zip(shapes.items(), parts, strict=True)}


Nets = Mapping[str, Callable[..., Any]]
Loss = Callable[[Nets, Draw, Mapping[str, Tensor]], tuple[Tensor, Logs]]


class Player(NamedTuple):
    """A network and the loss it minimises: `loss(nets, draw, scalars) -> (scalar, logs)`.

    `reads` names the fields of a draw that the loss uses. `critic` players are those that `n_critic` repeats.
    `project` is applied to the parameters after each of the player's steps, or before it (weight clipping).
    """

    network: Network
    loss: Loss
    reads: tuple[str, ...]
    critic: bool = False
    project: Callable[[Tensor], Tensor] | None = None
    project_first: bool = False


class Field(NamedTuple):
    """One field of a draw: `kind` is `real` (samples of the data), `label`, `normal`, `uniform` or `due`.

    `shape` has the batch first. Labels are int64, those of the samples in the same draw. A field with `every`
    > 1 is in the draws of every `every`-th step only. A `due` field is zero, and only its presence means
    something.
    """

    kind: str
    shape: tuple[int, ...]
    every: int = 1


class Rest(NamedTuple):
    """Where each player's parameters rest, and v' [P, P] there if it is known, with the critic's rows first.

    `still` is false where other terms of the game keep the field from being zero at that point.
    """

    point: dict[str, Tensor]
    velocity: Tensor | None = None
    still: bool = True


class Game(NamedTuple):
    """Players by name, and what a draw of the game holds.

    - `scalars` are numbers that the game keeps in the state, at their start. `adapt(scalars, logs, repeats)`
      returns the next ones after a step in which the critics had `repeats` updates.
    - `rest` is known for games with a closed-form solution.
    - `turns` is the order of updates in an alternating step, where it is not the critics and then each other
      player. A player's loss in one of them may be a part of its loss in the game.
    - `critic` is the discriminator: the player whose logits tell samples of G from real ones. It is None where
      nobody has such logits. `normalize` is what the others see of it.
    - The field of a draw is the mean over its `parts`, computed one after the other (gradient accumulation).
    """

    players: dict[str, Player]
    fields: dict[str, Field]
    scalars: Mapping[str, float] = MappingProxyType({})
    adapt: Callable[[Mapping[str, Tensor], Logs, int], dict[str, Tensor]] | None = None
    rest: Rest | None = None
    turns: tuple[Mapping[str, Player], ...] = ()
    critic: str | None = "D"
    normalize: Callable[[Callable[[Tensor], Tensor]], Callable[[Tensor], Tensor]] | None = None
    parts: int = 1


def _nothing(params: Tensor) -> Moments:
    return {}


class Rule(NamedTuple):
    """An update rule that is ready to run: a pure `step(state, batch)`, whose batch has one draw for each of `rounds`.

    A round is the names of the players that move in it, or an update that the game defines, which may read
    less than they do. `init(parameters) -> moments` is what the rule itself keeps of a player before the
    first step, such as a previous gradient or slow weights. It is stored beside the optimizer's moments,
    under names of its own. After `period` steps the rule starts its cycle again.
    """

    step: Callable[[State, Sequence[Draw]], tuple[State, Logs]]
    rounds: tuple[Collection[str], ...]
    init: Callable[[Tensor], Moments] = _nothing
    period: int = 1
