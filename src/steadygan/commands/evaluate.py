"""The command `steadygan evaluate`: score cards of a run's checkpoints, or of images that any tool made."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import Progress as Bar
from rich.progress import TimeRemainingColumn
from torch import Tensor, nn

from steadygan.build import Run
from steadygan.config.field_types import spelled
from steadygan.config.registry import DATA
from steadygan.data import Data, image_folder
from steadygan.data.image_files import by
from steadygan.errors import UsageError, nearest
from steadygan.game import State
from steadygan.metrics import Card, Extractor, Protocol, describe, evaluate
from steadygan.metrics.evaluation import Progress
from steadygan.runs import classifiers
from steadygan.runs.folder import CHECKPOINTS, Note, opened, restore_member
from steadygan.runs.score_cards import add, known, show
from steadygan.runs.sinks.checkpoints import best_checkpoint
from steadygan.training import checkpoint, sampling
from steadygan.training.loop import lost_members
from steadygan.training.online_scores import IMAGES, not_looked_at

__all__ = ["evaluate_images", "evaluate_run", "real_images"]

AVERAGES = {"on": (True,), "off": (False,), "both": (True, False)}


def evaluate_run(
    folder: Path,
    protocol: Protocol,
    *,
    which: str,
    average: str,
    member: int | None,
    batch: int,
    root: Path | None,
    weights: Path | None,
    note: Note,
    console: Console,
) -> list[Card]:
    """Score checkpoints of a run folder, print their cards and keep them in its scores.json.

    `which` is newest, best, all or a step; `average` says whether the averaged generator is scored (on), the raw
    one (off) or both; `member` is one of an ensemble, or all when None. What has been scored by this protocol
    before is not scored again. Raises UsageError where the run has no samples, or no such checkpoint.
    """
    settings, run = opened(folder, root)
    if run.game.rest:
        raise UsageError(f"the game of {folder} is solved by hand and has no samples to score")
    if average not in AVERAGES:
        raise UsageError(f"--ema {average!r}: {nearest(average, AVERAGES)}")
    averages = AVERAGES[average] if settings.ema else (False,)
    data, protocol = _of_split(run.data, protocol, settings.evaluation.images)
    protocol = _with_extractor(protocol, run.data, weights, note)
    protocol = replace(protocol, batch_norm=sampling.batch_norm(run.game.players["G"].network))
    members = range(len(run.members)) if member is None else [member]
    made = []
    for path in _checkpoints(folder / CHECKPOINTS, which):
        step, sha256 = int(path.name[5:]), _hash(path)
        for index in members:
            state, seed = restore_member(folder, run, index, note, step)
            if lost_members(state):
                note(f"member {index} is not finite at step {step:,}, so it has no score")
                continue
            subject = {
                "run": folder.resolve().name,
                "step": step,
                "member": index,
                "seed": seed,
                "sha256": sha256,
            }
            for averaged in averages:
                mine = replace(protocol, weights="EMA" if averaged else "raw")
                card = known(folder, subject, describe(mine, data))
                if card is None:
                    made_of = _generate(run, state, seed, mine, averaged)
                    with _shown(console) as progress:
                        card = evaluate(made_of, data, mine, subject=subject, batch=batch, progress=progress)
                    add(folder, card)
                show(card, console)
                made.append(card)
    if not made:
        raise UsageError(
            f"{folder} has diverged: nothing that was asked for is finite; evaluate an earlier --checkpoint"
        )
    return made


def evaluate_images(
    path: Path,
    against: Data,
    protocol: Protocol,
    *,
    batch: int,
    weights: Path | None,
    note: Note,
    console: Console,
) -> Card:
    """Score the images in a folder or zip, made by any tool, against a set's; print the card.

    All of the images count. Raises UsageError where there are none, or of another shape than the set's.
    """
    found = image_folder(path)
    assert found.rows is not None
    rows = _padded(found.rows, against)
    if rows.shape[1:] != against.shape:
        raise UsageError(
            f"the images in {path} are {by(rows.shape[1:])} (channels x height x width) and those of {against.name} "
            f"{by(against.shape)}: convert them, for a score of other images than the generator's would not be its own"
        )
    data, protocol = _of_split(against, protocol)
    protocol = replace(protocol, generated=len(rows), weights="images", batch_norm="images")
    protocol = _with_extractor(protocol, against, weights, note)
    done = 0

    def taken(count: int) -> Tensor:
        nonlocal done
        done += count
        return rows[done - count : done].float() / 127.5 - 1

    with _shown(console) as progress:
        card = evaluate(taken, data, protocol, subject={"images": path.name}, batch=batch, progress=progress)
    show(card, console)
    return card


# ------------------------------------------------------------------------------------------------------- what is scored


def _checkpoints(folder: Path, which: str) -> list[Path]:
    found = checkpoint.checkpoints(folder)
    if not found:
        raise UsageError(f"{folder} holds no checkpoint: train a while first, or name another run folder")
    best = best_checkpoint(folder)
    if which == "best" and best is None:
        raise UsageError(f"{folder} keeps no best checkpoint: name a score in keep.best when training")
    chosen = {"newest": found[-1:], "all": found, "best": [best] if best else []}.get(which)
    if chosen is None:
        chosen = [path for path in found if which.isdigit() and int(path.name[5:]) == int(which)]
    if not chosen:
        steps = ", ".join(str(int(path.name[5:])) for path in found)
        raise UsageError(f"--checkpoint is newest, best, all or one of the steps {steps}, not {which!r}")
    return chosen


def _hash(path: Path) -> str:
    """The checkpoint's own checksum; loading it has compared the two."""
    return str(json.loads((path / "meta.json").read_text())["sha256"])


def _generate(
    run: Run, state: State, seed: int, protocol: Protocol, average: bool
) -> Callable[[int], Tensor]:
    """Samples of a state, the protocol's latents one after the other."""
    network = run.game.players["G"].network
    made = sampling.sampler(network, state, run.latent, seed=seed, average=average)
    dtype = state.params["G"].dtype
    left = sampling.latents(protocol.seed, "score", protocol.samples(run.data), run.latent, dtype)

    def next_ones(count: int) -> Tensor:
        nonlocal left
        z, left = left[:count], left[count:]
        return made(z.to(run.device)).cpu()

    return next_ones


def _of_split(data: Data, protocol: Protocol, looks: int = IMAGES) -> tuple[Data, Protocol]:
    """A split of a set, without the images that looks have compared with while a run trained; the protocol says so."""
    if len(data.shape) != 3:
        if protocol.split != "train" or protocol.real is not None:
            raise UsageError("points are drawn anew: --split and --real are for images, so leave them out")
        return data, protocol
    rows = not_looked_at(data, protocol.split, looks)
    left_out = data.held is None or protocol.split == "test"
    held = partial(not_looked_at, data, "test", looks) if data.held and protocol.split == "train" else None
    split = f"{protocol.split}, without the images of looks" if left_out else protocol.split
    return data._replace(rows=rows, held=held), replace(protocol, split=split)


def _with_extractor(protocol: Protocol, data: Data, weights: Path | None, note: Note) -> Protocol:
    """The protocol with its extractor made, which points do without."""
    name = protocol.extractor
    if isinstance(name, Extractor) or len(data.shape) != 3:
        return protocol
    return replace(protocol, extractor=classifiers.look_through(name, data.shape[0], note, weights))


def real_images(name: str, root: Path | None) -> Data:
    """The set of images of this name, with its own options. Raises UsageError where there is none."""
    part = DATA.get(spelled(name, DATA))
    data = part.make(**({"root": str(root)} if root and "root" in part.options else {})) if part else None
    if data is None or len(data.shape) != 3 or data.rows is None:
        raise UsageError(f"--against names a set of images, not {name!r}: fashion_mnist and cifar10 are two")
    return data


def _padded(rows: Tensor, against: Data) -> Tensor:
    known = DATA[against.name].known if against.name in DATA else None
    border = known.padding if known else 0
    bare = (rows.shape[1], *(side + 2 * border for side in rows.shape[2:]))
    return nn.functional.pad(rows, [border] * 4) if border and bare == against.shape else rows


@contextmanager
def _shown(console: Console) -> Iterator[Progress]:
    """A bar for what is read while an evaluation runs."""
    with Bar(*Bar.get_default_columns(), TimeRemainingColumn(), console=console, transient=True) as bar:
        tasks = {}

        def progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(f"{what} samples", total=total)
            bar.update(tasks[what], completed=done)

        yield progress
