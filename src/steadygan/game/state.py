"""The state at the start, and what every rule's step is wrapped in: averages, scalars, the counter, a check."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

from steadygan.game.contracts import Buffers, Draw, Game, Logs, Rule, State, carried, flatten
from steadygan.game.optimizers import Optimizer
from steadygan.schedules import Number, at

__all__ = ["averaged", "blend", "complete", "finite", "initial", "member", "stack"]

Step = Callable[[State, Sequence[Draw]], tuple[State, Logs]]


def initial(
    modules: dict[str, nn.Module],
    optimizers: dict[str, Optimizer],
    averaged: Sequence[str] = (),
    scalars: dict[str, float] | None = None,
    dtype: torch.dtype = torch.float32,
    rule: Rule | None = None,
) -> State:
    """Return the state before the first step, from freshly initialised modules.

    `averaged` names the players with an exponential moving average. What a `rule` keeps between steps (past
    gradients, slow weights) is among the moments.
    """
    params = {name: flatten(module).to(dtype) for name, module in modules.items()}
    buffers: dict[str, Buffers] = {
        name: {
            key: (b.to(dtype) if b.is_floating_point() else b).detach().clone()
            for key, b in carried(module).items()
        }
        for name, module in modules.items()
    }
    return State(
        params=params,
        buffers=buffers,
        moments={
            name: {**optimizers[name].init(p), **(rule.init(p) if rule else {})} for name, p in params.items()
        },
        average={
            name: {key: t.clone() for key, t in {"params": params[name], **buffers[name]}.items()}
            for name in averaged
        },
        scalars={
            "step": torch.zeros((), dtype=torch.int64),
            **{name: torch.tensor(value, dtype=dtype) for name, value in (scalars or {}).items()},
        },
    )


def stack(states: Sequence[State]) -> State:
    """Stack members' states into one, every tensor with a leading [members]."""
    leaves, layout = zip(*(tree_flatten(state) for state in states), strict=True)
    return tree_unflatten([torch.stack(leaf) for leaf in zip(*leaves)], layout[0])


def averaged(module: nn.Module) -> set[str]:
    """Return the names of a module's buffers that an average blends: running statistics of a normalization that trains.

    All others are copied: counters, and the vectors of a spectral norm's power iteration. The average of such
    vectors is no longer a singular vector.

    >>> sorted(averaged(nn.Sequential(nn.BatchNorm1d(2))))
    ['0.running_mean', '0.running_var']
    """
    return {
        f"{path}.{name}".lstrip(".")
        for path, part in module.named_modules()
        if isinstance(part, nn.modules.batchnorm._NormBase) and part.training
        for name in ("running_mean", "running_var")
        if getattr(part, name) is not None
    } & {name for name, _ in module.named_buffers()}  # a shared one has its first name


def blend(
    module: nn.Module, average: dict[str, Tensor], new: dict[str, Tensor], decay: float | Tensor
) -> dict:
    """average <- decay average + (1 - decay) new, for parameters and running statistics. Other buffers are copied."""
    kinds = {"params", *averaged(module)}
    return {
        key: decay * average[key] + (1 - decay) * value if key in kinds else value
        for key, value in new.items()
    }


def finite(state: State) -> Tensor:
    """Return 1 while every parameter and moment of one run's state is finite, else 0."""
    held = [t for t in tree_leaves((state.params, state.moments)) if t.numel()]
    largest = torch.stack(
        [torch.linalg.vector_norm(t, torch.inf) for t in held]
    ).amax()  # NaN is larger than any
    return largest.isfinite().to(largest.dtype)


def complete(rule: Rule, game: Game, decay: Number = 0.0, start: int = 0) -> Step:
    """Wrap a rule's step with all that happens around it: averages, the game's scalars and the counter follow.

    Before `start` steps the average is the player itself. The log `finite` is 1 while every parameter and
    moment is finite. An infinite moment would freeze its parameter. Nothing is repaired; the trainer stops.
    """

    repeats = sum(any(game.players[name].critic for name in names) for names in rule.rounds)

    def step(state: State, batch: Sequence[Draw]) -> tuple[State, Logs]:
        state, logs = rule.step(state, batch)
        now = state.scalars["step"] + 1
        average = {
            name: blend(
                game.players[name].network.module,
                old,
                {"params": state.params[name], **state.buffers[name]},
                _kept(now > start, at(decay, state.scalars), state.params[name].dtype),
            )
            for name, old in state.average.items()
        }
        logs = {**logs, "finite": finite(state)}
        adapted = game.adapt(state.scalars, logs, repeats) if game.adapt else {}
        adapted = {key: value.to(state.scalars[key].dtype) for key, value in adapted.items()}
        logs |= adapted
        return state._replace(average=average, scalars={**state.scalars, **adapted, "step": now}), logs

    return step


def _kept(started: Tensor, decay: float | Tensor, dtype: torch.dtype) -> Tensor:
    """The decay of an average, which is 0 before its start."""
    return (started.to(dtype) * decay).to(dtype)


def member(state: State, index: int | None) -> State:
    """Return one member's state out of an ensemble's, or the state itself when `index` is None.

    >>> rows = torch.tensor([[1.0], [2.0]])
    >>> member(State({"G": rows}, {}, {}, {}, {}), 1).params
    {'G': tensor([2.])}
    """
    return state if index is None else tree_map(lambda t: t[index], state)
