"""Start a run from the weights of another: `steadygan train RECIPE --from DIR`."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from steadygan.build import Run
from steadygan.build.assemble import Fill
from steadygan.errors import UsageError
from steadygan.files import fits, user_path, write_whole
from steadygan.game import trainable
from steadygan.networks.pure import Pure
from steadygan.noise import HiddenNoise
from steadygan.runs.folder import CHECKPOINTS, Note, ownership, read_config
from steadygan.runs.identity import ORIGIN
from steadygan.training import checkpoint

__all__ = ["Origin", "origin", "record", "started"]

Weights = dict[str, Tensor]
"""A player's parameters and buffers by name."""


class Origin(NamedTuple):
    """The weights of another run at its newest checkpoint. Lists have an item for each of its members.

    `players` are those whose weights are taken, or None for all of the new run. `member` is the one that was chosen, or
    None. `average` is that of G, or empty.
    """

    folder: Path
    step: int
    sha256: str
    players: tuple[str, ...] | None
    member: int | None
    weights: list[dict[str, Weights]]
    average: list[Weights]
    shape: tuple[int, ...] | None


def origin(
    folder: str | Path, note: Note, *, players: Sequence[str] | None = None, member: int | None = None
) -> Origin:
    """Read the newest checkpoint of a run folder, without its data. `member` chooses one run of an ensemble.

    Raises UsageError if it is not a run folder, has no checkpoint or no such member.
    """
    folder = user_path(folder)
    read_config(folder)
    own = ownership(folder)

    def read(path: Path) -> tuple[dict[str, Any], Weights]:
        meta, tensors = checkpoint.read(path, own)
        _check_finite(path, meta, tensors, member)
        return meta, tensors

    try:
        meta, tensors = checkpoint.newest(folder / CHECKPOINTS, read, note)
        return _weights(folder, meta, tensors, players, member)
    except UsageError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, RuntimeError) as error:
        raise UsageError(
            f"the meta.json of the newest checkpoint of {folder} is damaged ({type(error).__name__}: {error}): remove "
            "that checkpoint, or name another run"
        ) from error


def _check_finite(path: Path, meta: Mapping[str, Any], tensors: Weights, member: int | None) -> None:
    """Raise UsageError for a checkpoint in which the chosen members have diverged."""
    several = fits(meta.get("members"), [object]) and len(meta["members"]) > 1
    vectors = [t if several else t[None] for name, t in tensors.items() if name.startswith("params/")]
    lost = {m for t in vectors for m in (~t.isfinite()).flatten(1).any(1).nonzero().flatten().tolist()}
    if member in lost or (member is None and lost):
        which = f"member {min(lost) if member is None else member}" if several else "the run"
        raise UsageError(f"{which} has diverged in checkpoint {path}")


def _weights(
    folder: Path,
    meta: Mapping[str, Any],
    tensors: Weights,
    players: Sequence[str] | None,
    member: int | None,
) -> Origin:
    count = len(meta["members"])
    if member is not None and not 0 <= member < count:
        raise UsageError(
            f"--from-member {member} does not exist: {folder} has {count}, so choose 0 to {count - 1}"
        )
    chosen = range(count) if member is None else [member]
    rows = [{k: t[m] if count > 1 else t for k, t in tensors.items()} for m in chosen]
    layout = meta["layout"]
    averaged = any(name.startswith("average/G/") for name in tensors)
    return Origin(
        folder.resolve(),
        int(meta["step"]),
        str(meta["sha256"]),
        tuple(players) if players else None,
        member,
        [
            {name: _named(row, layout[name], f"params/{name}", f"buffers/{name}/") for name in layout}
            for row in rows
        ],
        [_named(row, layout["G"], "average/G/params", "average/G/") for row in rows] if averaged else [],
        tuple(meta["shape"]) if "shape" in meta else None,
    )


def _named(row: Mapping[str, Tensor], layout: Mapping[str, list[int]], vector: str, others: str) -> Weights:
    """The parts of a vector by name, and what is below the path `others`."""
    sizes = [torch.Size(shape).numel() for shape in layout.values()]
    parts = row[vector].split(sizes)
    found = {name: part.view(shape) for (name, shape), part in zip(layout.items(), parts, strict=True)}
    return found | {k.removeprefix(others): t for k, t in row.items() if k.startswith(others) and k != vector}


def started(source: Origin, make: Callable[[Fill | None], Run]) -> Run:
    """`make` a run whose first state has the source's weights: parameters, buffers, and the average of G.

    Optimizers start fresh, at step 0. Every member gets the same weights, or member by member where there are as many.
    Raises UsageError if a tensor does not fit.
    """
    many = len(source.weights)

    def fill(index: int, nets: dict[str, nn.Module]) -> None:
        for name in source.players or nets:
            _check_player(source, name, nets)
            _fill(nets[name], source.weights[index % many][name], name, source)

    try:
        run = make(fill)
    except _Unlike as error:
        raise UsageError(f"{error}: {_remedy(source, make(None))}") from None
    if many not in (1, len(run.members)):
        raise UsageError(
            f"{source.folder} is an ensemble of {many} runs and this one has {len(run.members)}: set seeds={many}, or "
            "choose one of them with --from-member"
        )
    return run._replace(state=run.state._replace(average=_average(run, source)))


class _Unlike(Exception):
    """A tensor of the source that does not fit its player."""


def _check_player(source: Origin, name: str, nets: Mapping[str, nn.Module]) -> None:
    there = source.weights[0]
    if name in nets and name in there:
        return
    shared = ",".join(player for player in nets if player in there)
    where = "this run" if name not in nets else str(source.folder)
    raise UsageError(f"{where} has no player {name}: choose --from-players {shared}")


def _fill(net: nn.Module, weights: Weights, player: str, source: Origin) -> None:
    """Copy the weights into the network. The counters of its noise are its own."""
    own = _streams(net)
    wanted = {k: t for k, t in [*net.named_parameters(), *net.named_buffers()] if k not in own}
    for name, tensor in wanted.items():
        if name not in weights:
            raise _Unlike(f"{source.folder} does not fit: its {player} has no {name}")
        if weights[name].shape != tensor.shape:
            there, here = list(weights[name].shape), list(tensor.shape)
            raise _Unlike(f"{source.folder} does not fit: {player}'s {name} is {there} there and {here} here")
    for name in weights.keys() - wanted.keys() - own:
        if weights[name].is_floating_point():
            raise _Unlike(f"{source.folder} does not fit: its {player} also has {name}")
    net.to(next(t.dtype for t in weights.values() if t.is_floating_point()))
    with torch.no_grad():
        for name, tensor in [*net.named_parameters(), *net.named_buffers()]:
            if name in wanted:
                tensor.copy_(weights[name])


def _streams(net: nn.Module) -> set[str]:
    """The names of the buffers that say which noise comes next."""
    layers = [name for name, part in net.named_modules() if isinstance(part, HiddenNoise | Pure)]
    return {f"{name}.{key}".lstrip(".") for name in layers for key in ("key", "count")}


def _remedy(source: Origin, run: Run) -> str:
    """What to change where the weights do not fit."""
    here, there = run.data.shape, source.shape
    if there is None or here == there or len(here) != 3 or len(there) != 3:
        return f"give this run the game and networks of {source.folder / 'config.yaml'}, or choose --from-players"
    was, now = ("x".join(map(str, shape)) for shape in (there, here))
    resized = f" (data.size={there[-1]} resizes those of a folder)" if here[1:] != there[1:] else ""
    return f"it was trained on images {was}, and these are {now}, so give images of {was}{resized}"


def _average(run: Run, source: Origin) -> dict[str, dict[str, Tensor]]:
    """The average at the start: the source's, where both runs have one and G's weights are taken."""
    if "G" not in run.state.average or not source.average or "G" not in (source.players or ("G",)):
        return run.state.average
    order, old = trainable(run.game.players["G"].network.module), run.state.average["G"]
    each = []
    for index in range(len(run.members)):
        found = source.average[index % len(source.average)]
        kept = {name: t[index] if run.ensemble else t for name, t in old.items()}
        vector = torch.cat([found[name].reshape(-1) for name in order])
        each.append(
            {name: found.get(name, t).to(t) for name, t in kept.items()}
            | {"params": vector.to(kept["params"])}
        )
    joined = {name: torch.stack([one[name] for one in each]) for name in old} if run.ensemble else each[0]
    return {**run.state.average, "G": joined}


def record(folder: Path, source: Origin) -> None:
    """Write to a run folder where its first weights came from."""
    facts = {
        "folder": str(source.folder),
        "step": source.step,
        "sha256": source.sha256,
        "players": list(source.players) if source.players else "all",
        **({} if source.member is None else {"member": source.member}),
    }
    write_whole(folder / ORIGIN, json.dumps(facts, indent=1) + "\n")
