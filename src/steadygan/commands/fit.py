"""`steadygan.fit`: train networks of your own, on data of your own, with all that a recipe has."""

import errno
import operator
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, replace
from functools import partial
from html import escape
from itertools import zip_longest
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from steadygan import config
from steadygan.build import Own
from steadygan.build.own import plain
from steadygan.commands.diagnose import events_of
from steadygan.commands.evaluate import evaluate_run
from steadygan.commands.sample import sample as samples_of
from steadygan.config.field_types import spelled, steps_of
from steadygan.config.registry import CRITICS, DATA, GAMES, LOSSES
from steadygan.config.schema import Config, Critic
from steadygan.critic_outputs import ends_in_sigmoid
from steadygan.data import Data
from steadygan.data.given import given
from steadygan.data.reading import with_held
from steadygan.diagnostics import History, Verdicts, diagnose
from steadygan.errors import RunFailed, UsageError, nearest, said
from steadygan.files import user_path
from steadygan.game import unflatten
from steadygan.losses import Loss
from steadygan.metrics import Card, Protocol
from steadygan.report import report
from steadygan.runs import own_code
from steadygan.runs import train as runs
from steadygan.runs.endings import why
from steadygan.runs.export import FORMATS, Exported, export
from steadygan.runs.folder import CONFIG, Note, drop_empty, fresh_folder, opened, read_config, restore_member
from steadygan.runs.load import LIVE, Generator, load
from steadygan.training.cluster import here
from steadygan.training.events import Diverged, StoppedByDiagnosis

__all__ = ["Fitted", "fit"]

Maker = Callable[[], nn.Module]
"""Makes a network with newly initialised weights, such as its class."""

FIXED = ("G", "D", "data", "latent", "loss", "labels", "held", "players", "logits", "out")
"""The arguments of `fit` that are no options: a resumed run keeps them."""

ADAM = {"name": "adam", "lr": 2e-4, "betas": [0.5, 0.999]}
"""The optimizer where none is given: that of DCGAN (Radford 2016)."""


@dataclass(frozen=True)
class Fitted:
    """A run that `fit` trains: its folder, and what can be done with it.

    `ended` is None, or why the run failed: it diverged, or a verdict stopped it. Where several processes trained the
    run, each of them calls the same methods, and the first one writes.
    """

    folder: Path
    own: Own = field(repr=False)
    nets: Mapping[str, nn.Module | Maker] = field(repr=False)
    console: Console = field(repr=False)
    ended: Diverged | StoppedByDiagnosis | None = None

    def __post_init__(self) -> None:
        """Let `steadygan.load` find the objects of this folder, while the run is kept."""
        LIVE[self.folder.resolve()] = self

    def sample(self, n: int = 64, *, label: int | None = None, member: int = 0, raw: bool = False) -> Tensor:
        """Return samples [n, ...] of the generator, averaged unless `raw`; with `label` all are of one class."""
        if not isinstance(n, int) or n < 1:
            raise UsageError(f"the number of samples is {n!r}: give a whole number from 1")
        if label is not None and not isinstance(label, SupportsIndex):
            raise UsageError(
                f"label is the class of all samples, not {label!r}: for several, call G(G.latents(n), y) with "
                "G = run.load()"
            )
        return samples_of(
            self.folder,
            n,
            average=not raw,
            member=member,
            note=self._note,
            label=None if label is None else operator.index(label),
            own=self.own,
            sharing=here().sharing,
        )[0]

    def evaluate(self, *, batch: int = 500, raw: bool = False, **protocol: Any) -> list[Card]:
        """Return a score card for each member. `protocol` has the fields of `metrics.Protocol`."""
        known = {each.name for each in fields(Protocol)}
        for key in protocol:
            if key not in known:
                raise UsageError(f"evaluate has no option {key!r}: {nearest(key, known)}")
        return evaluate_run(
            self.folder,
            Protocol(**protocol),
            which="newest",
            average="off" if raw else "on",
            member=None,
            batch=batch,
            root=None,
            weights=None,
            note=self._note,
            console=self.console,
            own=self.own,
            cluster=here(),
        )

    def diagnose(self, member: int = 0) -> Verdicts:
        """Return the verdicts on the run, the cause first."""
        return diagnose(self.history(member))

    def history(self, member: int = 0) -> History:
        """Return every logged scalar by its key in events.jsonl: `run.history().series["loss/D"].values`."""
        return events_of(self.folder).history(member)

    def report(self, out: str | Path | None = None) -> Path:
        """Write the report page to a file or a folder, by default the run folder, and return its path."""
        path = user_path(out) if out else self.folder
        return here().agreed(partial(self._reported, path))

    def _reported(self, path: Path) -> Path:
        path = path / "report.html" if path.is_dir() else path
        report(self.folder).save(path)
        return path

    def _repr_html_(self) -> str:
        """The report, which a notebook shows where it would print the run."""
        try:
            return report(self.folder)._repr_html_()
        except UsageError as error:
            return f"<p>{escape(str(error))}</p>"

    def load(self, *, member: int = 0, raw: bool = False) -> Generator:
        """Return the generator as a module: averaged weights unless `raw`, standing statistics, evaluation mode."""
        return load(self.folder, member=member, average=not raw, use=self.own)

    def save(self, out: str | Path, *, member: int = 0, raw: bool = False) -> Exported:
        """Write the generator to a file that runs without steadygan: .safetensors and .py, .pt2 or .onnx."""
        formats = {suffix: name for name, suffix in FORMATS.items()}
        if Path(out).suffix not in formats:
            raise UsageError(
                f"a generator is saved as {', '.join(formats)}, not {str(out)!r}: choose one of these"
            )
        how = formats[Path(out).suffix]
        options: dict[str, Any] = {"member": member, "average": not raw, "use": self.own}
        return here().agreed(partial(export, self.folder, how, out, **options))

    def resume(self, **options: Any) -> "Fitted":
        """Train on from the newest checkpoint, with other `options` of `fit` from here on, such as steps=20_000."""
        fixed = [key for key in options if key in FIXED]
        if fixed:
            raise UsageError(
                f"resume takes no {fixed[0]}: a run keeps its networks, data and loss, so leave it out"
            )
        return self._changed(options)

    def _changed(self, options: Mapping[str, Any]) -> "Fitted":
        before = read_config(self.folder)
        changed = _placed(options, _game(before))
        for key in {"game", "optimizer"} & changed.keys():
            changed[key] = _kept(before.get(key), changed[key])
        changed = _spans_kept(before, changed, before.get("steps", 0))
        changes = [f"{path}={config.as_text(value)}" for path, value in _flat(changed).items()]
        with _full_disk(self.folder):
            ended = runs.resume(self.folder, changes, self.console, own=self.own)
        self._write_back()
        _warn(ended, self.folder)
        return replace(self, ended=ended)

    def _write_back(self) -> None:
        """Give the caller's modules the newest weights, where their parameters still have these names."""
        mine = {name: net for name, net in self.nets.items() if isinstance(net, nn.Module)}
        newest = here().agreed(partial(self._newest, list(mine)))
        for name, (found, prefix) in newest.items():
            _fill(mine[name], found, prefix)

    def _newest(self, names: list[str]) -> dict[str, tuple[dict[str, Tensor], str]]:
        """The newest tensors of these players, on the CPU, and what precedes their names; none of an ensemble."""
        run = opened(self.folder, own=self.own)[1] if names else None
        if run is None or run.ensemble:
            return {}
        state, _ = restore_member(self.folder, run, 0, self._note)
        modules = {name: run.game.players[name].network.module for name in names}
        found = {
            name: {**unflatten(module, state.params[name]), **state.buffers[name]}
            for name, module in modules.items()
        }
        return {name: (tree_map(Tensor.cpu, found[name]), plain(modules[name])[1]) for name in names}

    def _note(self, text: str) -> None:
        _noter(self.console)(text)


def fit(
    G: nn.Module | Maker,
    D: nn.Module | Maker,
    data: Any,
    *,
    latent: int | Sequence[int] = 128,
    loss: "str | Loss | tuple[Callable[..., Tensor], Callable[..., Tensor]] | None" = None,
    labels: Any = None,
    held: Any = None,
    players: Mapping[str, nn.Module | Maker] | None = None,
    logits: Callable[[Any], Any] | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    quiet: bool = False,
    **options: Any,
) -> Fitted:
    """Train the generator G and the discriminator D on `data`, and return the run.

        run = steadygan.fit(G, D, images, latent=100, loss="hinge", penalties=[{"name": "r1", "weight": 5}], ema=0.999)

    - `G`, `D`: modules z [N, latent] -> samples [N, ...] and samples -> logits. Or functions that make them: each
      member of an ensemble then starts from weights of its own. `players` has further networks by name, for games
      such as reg_gan. With conditional=True they are G(z, y) and D(x, y).
    - `data`: a tensor, a numpy array, a dataset of torch, a folder or zip of images, or the name of a data set with
      its options. `labels` [n] and `held`, held-out samples, belong to tensors and arrays. uint8 is scaled to [-1, 1].
    - `latent`: the dimension of z, or its shape, such as (100, 1, 1).
    - `loss`: a name of `losses.LOSSES` (by default non_saturating), a `losses.Loss`, or the pair
      discriminator(real, fake), generator(fake).
    - `logits`: takes the logits out of what D answers, where that is a tuple or a dictionary.
    - `out`: the run folder, by default runs/custom. With `resume` a run in this folder is taken up again.
    - `options`: every key of a recipe, such as steps, batch, seeds, ema, dynamics, precision. Those of the critic's
      section and of the game may stand alone: penalties, normalization, consistency, clip, reduce, conditional.

    The default optimizer is Adam with a rate of 0.0002 and betas 0.5 and 0.999; steps are 10,000. Afterwards G and D
    have the trained weights, without averaging, except in an ensemble. Whatever cannot be compiled or resumed exactly
    is said in a sentence, and runs uncompiled. A run that fails ends with a warning, RunFailed, and the reason is in
    its attribute `ended`. Under torchrun all processes train one run, from the weights of the first. Raises UsageError
    for parts that do not fit each other.
    """
    cluster = here()
    out = user_path(out) if out else None
    console = Console(quiet=quiet or not cluster.first)
    note = _noter(console)
    nets = {"G": G, "D": D, **(players or {})}
    if "D1" in nets:  # MDGAN has two critics, and none of the name D
        nets.pop("D")
    chosen = "non_saturating" if loss is None else loss
    own, raw = _own(nets, data, labels, held, chosen, logits, note)
    if resume and out and cluster.agreed((out / CONFIG).is_file):
        options |= _resumed_loss(out, loss, note)
        return Fitted(out, own, nets, console)._changed(options)
    raw = _with_loss({"steps": 10_000, "optimizer": ADAM, **raw, **_placed(options)}, chosen)
    raw["optimizer"] = _filled(raw["optimizer"])
    raw["networks"] = {"name": "own", "latent": _whole(latent)}
    settings = config.parse(raw, "fit")
    if settings.seeds > 1 and any(isinstance(net, nn.Module) for net in nets.values()):
        note(
            f"all {settings.seeds} members start from the weights of the given modules: give functions that make them, "
            "such as their classes, for others"
        )
    if labels is not None and not getattr(settings.game, "conditional", False):
        known = hasattr(settings.game, "conditional")
        remedy = "set conditional=True for that" if known else "this game has no use for them"
        note(f"no network is given the labels: {remedy}")
    if own.loss is None and own.logits is None:
        own = own._replace(networks=_watched(nets, settings.game.name, note))
    if resume and not out:
        raise UsageError(
            f"resume=True needs the folder of the run: give out=, such as out='runs/{settings.name}'"
        )
    folder = out or cluster.agreed(lambda: fresh_folder(settings.name))
    begun = cluster.agreed((folder / CONFIG).is_file)
    if begun:
        raise UsageError(f"{folder} has a run already: give resume=True to train it on, or another out=")
    about = {"networks": {name: _described(net) for name, net in nets.items()}}
    try:
        with _full_disk(folder):
            ended = runs.start(
                settings, folder, console, own, lambda place: own_code.keep(place, None, about)
            )
    finally:
        if not out and cluster.first:
            drop_empty(folder)
    fitted = Fitted(folder, own, nets, console, ended)
    fitted._write_back()
    _warn(ended, folder)
    return fitted


def _watched(
    nets: Mapping[str, nn.Module | Maker], game: str, note: Note
) -> Callable[[tuple[int, ...]], Mapping[str, nn.Module]]:
    """What makes the networks, with a note on the first critic that ends in a sigmoid."""
    told: list[str] = []

    def made(shape: tuple[int, ...]) -> Mapping[str, nn.Module]:
        found = _made(nets)
        for name, role in GAMES[game].players.items():
            if role in CRITICS and not told and ends_in_sigmoid(found.get(name)):
                told.append(name)
                note(f"{name} seems to end in a sigmoid, and losses take logits: leave it out")
        return found

    return made


@contextmanager
def _full_disk(folder: Path) -> Iterator[None]:
    """Report a full disk in one sentence. What was written whole before is kept."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL or "space left" in str(error) or "File too large" in str(error):
            raise UsageError(
                f"{error.filename or folder} cannot be written ({error.strerror or error}): free some space, and call "
                f"fit again with out={str(folder)!r}, resume=True"
            ) from error
        raise


FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
"""The errors of a disk, or of what a process may write, that is full."""


def _warn(ended: Diverged | StoppedByDiagnosis | None, folder: Path) -> None:
    """Warn where a run failed, once for all processes."""
    if ended and here().first:
        warnings.warn(
            why(ended, folder, ("run.diagnose()", "run.resume(stop_on=[])")), RunFailed, stacklevel=3
        )


def _own(
    nets: Mapping[str, nn.Module | Maker],
    data: Any,
    labels: Any,
    held: Any,
    loss: Any,
    logits: Callable[[Any], Any] | None,
    note: Note,
) -> tuple[Own, dict[str, Any]]:
    """The caller's objects, and the configuration's key `data`."""
    mine = None if isinstance(loss, str) else own_code.as_loss(loss)
    named = _named(data)
    if named and (labels is not None or held is not None):
        raise UsageError(
            "labels and held belong to tensors and arrays: leave them out where data is a name or a folder"
        )
    if labels is not None and isinstance(data, Data):
        raise UsageError("labels belong to tensors and arrays: a Data has its own, so leave them out")
    rows = None
    if not named:
        rows = with_held(data, held) if isinstance(data, Data) else given(data, labels, held=held, note=note)
    return Own(lambda shape: _made(nets), rows, mine, logits), {"data": named or {"name": "own"}}


def _named(data: Any) -> dict[str, Any] | None:
    """The configuration of data that are named: a data set, with or without options, or a folder or zip of images."""
    if isinstance(data, Mapping):
        return dict(data)
    if isinstance(data, str) and spelled(data, DATA) in DATA:
        return {"name": data}
    if isinstance(data, str | os.PathLike):
        place = user_path(os.fspath(data))
        if not place.exists():
            raise UsageError(
                f"data {str(data)!r} is neither a data set nor a folder or zip that exists: "
                f"{nearest(str(data), [name for name in DATA if name not in ('none', 'own')])}"
            )
        return {"name": "images", "path": str(place.resolve())}
    return None


def _made(nets: Mapping[str, nn.Module | Maker]) -> dict[str, nn.Module]:
    return {name: net if isinstance(net, nn.Module) else _called(name, net) for name, net in nets.items()}


def _called(name: str, make: Maker) -> nn.Module:
    if not callable(make):
        raise UsageError(
            f"the network {name} must be a torch.nn.Module, or a function that makes one, not {type(make).__name__}: "
            "give one of these"
        )
    try:
        return make()
    except Exception as error:  # whatever the caller's function raises
        raise UsageError(
            f"the function that makes the network {name} fails ({said(error)}): it is called "
            "without arguments"
        ) from error


def _whole(latent: Any) -> int | list[int]:
    """The dimension of z as an int, or its shape as a list of them. Raises UsageError for anything else.

    >>> import numpy as np
    >>> _whole(np.int64(4)), _whole((100, 1, 1))
    (4, [100, 1, 1])
    """
    try:
        shape = [operator.index(n) for n in latent] if np.ndim(latent) else operator.index(latent)
    except TypeError:
        shape = []
    if (
        not shape
        or isinstance(latent, bool)
        or (isinstance(shape, list) and min(shape) < 1)
        or (isinstance(shape, int) and shape < 1)
    ):
        raise UsageError(f"latent is {latent!r}: give a whole number from 1, or a shape such as (100, 1, 1)")
    return shape


def _section(part: Any) -> dict[str, Any]:
    """A section that may be a name alone, as a dictionary."""
    return dict(part) if isinstance(part, Mapping) else {"name": part}


def _named_alike(part: Any, other: Any) -> bool:
    """Whether two sections have one name. A section without a name has only changes."""
    names = [_section(each).get("name") for each in (part, other)]
    return names[0] is not None and names[0] == names[1]


def _kept(before: Any, changed: Any) -> Any:
    """A section, or one of each player, with what is not given again as it was. Another name is a new section."""
    if _named_alike(before, changed):
        return {**_section(before), **_section(changed)}
    if isinstance(before, Mapping) and isinstance(changed, Mapping) and "name" not in {*before, *changed}:
        return {key: _kept(before.get(key), part) for key, part in changed.items()}
    return changed


def _spans_kept(before: Any, changed: Any, steps: int) -> Any:
    """Settings in which a schedule that is given again lasts as long as it did in a run of `steps`.

    A span that is left out, or a share, stands for the whole run or a part of it: of the run as it was.
    """
    if isinstance(before, list) and isinstance(changed, list):
        pairs = zip_longest(before[: len(changed)], changed)
        return [_spans_kept(old, part, steps) for old, part in pairs]
    if isinstance(before, Mapping) and isinstance(changed, Mapping):
        if "schedule" in changed and changed["schedule"] == before.get("schedule"):
            spans = {key: before[key] for key in ("over", "begin") if key in before}
            given = {key: changed.get(key, "") for key in spans}
            shares = {key for key, span in given.items() if isinstance(span, str)}
            same = {k: spans[k] for k in shares if not given[k] or _share_of(given[k], steps) == spans[k]}
            changed = {**changed, **same}
        # One section of all players, which each of them has its own of from here on.
        shared = before if "name" in before and "name" not in changed else {}
        return {key: _spans_kept(before.get(key, shared), part, steps) for key, part in changed.items()}
    return changed


def _share_of(span: str, steps: int) -> int | None:
    """How many of `steps` a share such as 50% is; None for what is no share, which the schema refuses."""
    with suppress(ValueError):
        return steps_of(span, steps)
    return None


def _filled(optimizer: Any) -> Any:
    """Adam with what it lacks of `ADAM`: its usual betas have a momentum of 0.9, from which GANs suffer."""
    if isinstance(optimizer, Mapping) and "name" not in optimizer:  # one of each player
        return {key: _filled(part) for key, part in optimizer.items()}
    return {**ADAM, **_section(optimizer)} if _named_alike(optimizer, ADAM) else optimizer


def _resumed_loss(folder: Path, loss: Any, note: Note) -> dict[str, Any]:
    """The option for the loss of a run that is taken up again: none where it stays. Raises UsageError if it is lost."""
    known = _section(_section(read_config(folder).get("game", "gan")).get("loss", "non_saturating"))["name"]
    given = known if loss is None else spelled(loss, LOSSES) if isinstance(loss, str) else "own"
    if loss is None and known == "own":
        raise UsageError(f"{folder} was trained with a loss of your own: give loss= again, or another out=")
    if given != known:
        note(f"the loss of {folder} was {known} so far, and is {given} from here on")
    return {} if given == known else {"loss": given}


def _game(raw: Mapping[str, Any]) -> str:
    """The name of a configuration's game."""
    return str(_section(raw.get("game", "gan")).get("name", "gan"))


def _placed(options: Mapping[str, Any], resumed: str = "") -> dict[str, Any]:
    """Options at their places in a configuration: those of the critic's section and of the game may stand alone.

    `resumed` is the game of a run that is resumed. Its other options stay as they are.
    """
    keys = (Config.model_fields.keys() | {"tensorboard"}) - {"networks", "data"}  # the older name of trackers
    raw = {key: options[key] for key in options if key in keys}
    part = GAMES.get(_game({"game": resumed or "gan", **raw}))
    homes = {"critic": Critic.model_fields.keys(), "game": part.options.keys() if part else ()}
    for key in options.keys() - raw.keys():
        home = next((home for home, keys in homes.items() if key in keys), None)
        if home is None:
            known = {*Config.model_fields, *(name for keys in homes.values() for name in keys)} - {
                "networks",
                "data",
            }
            raise UsageError(f"fit has no option {key!r}: {HINTS.get(key) or nearest(key, known)}")
        raw[home] = _joined(
            raw.get(home, {} if home == "critic" or resumed else "gan"), home, key, options[key]
        )
    if isinstance(raw.get("ema"), int | float) and not isinstance(raw["ema"], bool):
        raw["ema"] = {"decay": raw["ema"]}
    return raw


HINTS = {
    **dict.fromkeys(("lr", "learning_rate"), 'write optimizer={"name": "adam", "lr": 0.0002}'),
    **dict.fromkeys(
        ("betas", "beta1"), 'write optimizer={"name": "adam", "lr": 0.0002, "betas": [0.5, 0.999]}'
    ),
    **dict.fromkeys(("n_critic", "d_steps"), 'write dynamics={"name": "alternating", "n_critic": 5}'),
    **dict.fromkeys(("amp", "fp16", "bf16"), 'write precision="bfloat16"'),
    **dict.fromkeys(("epochs", "num_epochs", "max_epochs", "iterations", "max_steps"), "write steps=10_000"),
    **dict.fromkeys(
        ("lr_schedule", "lr_scheduler", "scheduler"),
        'write optimizer={"name": "adam", "lr": {"schedule": "cosine", "start": 0.0002, "stop": 0}}',
    ),
    "batch_size": "write batch=64",
    "num_workers": "leave it out: images are decoded beside training",
    "verbose": "write quiet=False",
    "gradient_penalty": 'write penalties=[{"name": "r1", "weight": 10}]',
}
"""What to write for options that other trainers have."""


def _joined(section: Any, home: str, key: str, value: Any) -> Any:
    """A section of the configuration with one more option. What is no section stays: the schema says what is wrong."""
    section = {"name": section} if isinstance(section, str) else section
    if not isinstance(section, Mapping):
        return section
    if key in section:
        raise UsageError(f"{key} is given twice, alone and in {home}: give it once")
    return {**section, key: value}


def _with_loss(raw: dict[str, Any], loss: Any) -> dict[str, Any]:
    """The configuration with its game's loss, where the game has one."""
    game = _section(raw.get("game", "gan"))
    part = GAMES.get(str(game.get("name", "gan")))
    if part and "loss" in part.options and "loss" not in game:
        game["loss"] = loss if isinstance(loss, str) else "own"
    return {**raw, "game": game}


def _described(net: nn.Module | Maker) -> str:
    return repr(net) if isinstance(net, nn.Module) else getattr(net, "__qualname__", repr(net))


def _fill(net: nn.Module, found: Mapping[str, Tensor], prefix: str) -> None:
    """Copy tensors into a module's parameters and buffers of the same names; other modules stay as they are."""
    mine = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    if all(prefix + key in found for key in mine):
        with torch.no_grad():
            for key, tensor in mine.items():
                tensor.copy_(found[prefix + key])


def _flat(raw: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Nested settings by their paths; what has a name, and lists, stay whole."""
    found: dict[str, Any] = {}
    for key, value in raw.items():
        here = f"{path}.{key}" if path else key
        inner = isinstance(value, Mapping) and "name" not in value and "schedule" not in value
        found |= _flat(value, here) if inner else {here: value}
    return found


def _noter(console: Console) -> Note:
    errors = Console(stderr=True, quiet=console.quiet)
    return lambda text: errors.print(f"note: {text}", style="yellow", markup=False, soft_wrap=True)
