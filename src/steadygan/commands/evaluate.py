"""The command `steadygan evaluate`: score cards of a run's checkpoints, or of images from any tool."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from torch import Tensor, nn

from steadygan.build import NOTHING, Own, Run
from steadygan.config.field_types import spelled
from steadygan.config.registry import DATA
from steadygan.config.resolve import device_of
from steadygan.data import Data, image_folder
from steadygan.data.dataset import split_name
from steadygan.data.image_files import shape_text
from steadygan.errors import UsageError, nearest
from steadygan.files import user_path
from steadygan.game import State
from steadygan.metrics import Card, Extractor, Protocol, describe, evaluate
from steadygan.parallel import Processes, by_rows
from steadygan.runs import classifiers
from steadygan.runs.folder import CHECKPOINTS, EVENTS, Note, check_members, locked, member_of, opened, restore
from steadygan.runs.score_cards import add, known, print_card
from steadygan.runs.sinks.checkpoints import best_checkpoint
from steadygan.runs.sinks.jsonl import last_good_steps
from steadygan.runs.trackers import SERVICES, followed
from steadygan.training import checkpoint, sampling
from steadygan.training.cluster import ONE, Cluster
from steadygan.training.compile import gpu
from steadygan.training.events import Scored
from steadygan.training.loop import lost_members
from steadygan.training.online_scores import IMAGES, unseen_samples

__all__ = ["evaluate_images", "evaluate_run", "is_folder", "real_images"]

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
    own: Own = NOTHING,
    cluster: Cluster = ONE,
) -> list[Card]:
    """Score checkpoints of a run folder, print the score cards and keep them in its scores.json.

    `which` is newest, best, all or a step. `average` selects the averaged generator (on), the raw one (off) or both.
    `member` is one member of an ensemble, or None for all. A checkpoint that has a card with this protocol is not
    scored again. The processes of a `cluster` make samples and read their features together, and the first one writes.
    Raises UsageError if the run has no samples or no such checkpoint.
    """
    settings, run = opened(folder, root, own)
    if run.game.rest:
        raise UsageError(f"{folder} trains a toy game, which has no samples to score: evaluate another run")
    if average not in AVERAGES:
        raise UsageError(f"--ema is on, off or both, not {average!r}: {nearest(average, AVERAGES)}")
    averages = AVERAGES[average] if settings.ema else (False,)
    held_out = settings.evaluation.reference == "held_out"
    data, protocol = _of_split(run.data, protocol, settings.evaluation.images if held_out else 0)
    protocol = _with_extractor(protocol, run.data, weights, note, run.device)
    protocol = replace(protocol, batch_norm=sampling.batch_norm(run.game.players["G"].network))
    members = range(len(run.members)) if member is None else [member]
    check_members(run, members)
    made = []
    for subject in _subjects(folder, run, which, members, averages, note):
        card, kept = _card(folder, run, subject, data, protocol, batch, cluster)
        made.append(card)
        print_card(card, console)  # first: the folder may be one in which nobody can write
        if cluster.first and not kept:
            add(folder, card)
    if not made:
        raise UsageError(
            f"{folder} has diverged, and its parameters are NaN or infinite: evaluate an earlier --checkpoint"
        )
    if cluster.first:
        _send(settings.trackers, run, folder, note)
    return made


class _Subject(NamedTuple):
    """A generator that is scored: a member's state, whether its weights are averaged, and what its card calls it."""

    state: State
    seed: int
    average: bool
    named: dict[str, Any]


def _subjects(
    folder: Path, run: Run, which: str, members: Iterable[int], averages: Sequence[bool], note: Note
) -> Iterator[_Subject]:
    """The generators of the chosen checkpoints. A lost member has none, which is noted."""
    for path, found in _intact(folder, run, which, note):
        step, sha256 = int(path.name[5:]), checkpoint.meta(path)["sha256"]
        for member in members:
            state, seed = member_of(run, found, member)
            if lost_members(state):
                note(
                    f"member {member} has NaN or infinite parameters at step {step:,} and gets no score"
                    + _remedy(folder, member)
                )
                continue
            named = {
                "run": folder.resolve().name,
                "step": step,
                "member": member,
                "seed": seed,
                "sha256": sha256,
            }
            yield from (_Subject(state, seed, average, named) for average in averages)


def _intact(folder: Path, run: Run, which: str, note: Note) -> Iterator[tuple[Path, State]]:
    """The chosen checkpoints and their states. Damaged ones are left out with a note, where others are chosen too."""
    chosen = _checkpoints(folder / CHECKPOINTS, which)
    damaged = []
    for path in chosen:
        try:
            state = restore(folder, run, note, int(path.name[5:]))
        except UsageError as error:
            damaged.append(error)
            if len(damaged) == len(chosen):
                raise damaged[0] from None
            note(f"{error}; it has no score")
            continue
        yield path, state
        if which == "newest":
            break


def _card(
    folder: Path, run: Run, subject: _Subject, data: Data, protocol: Protocol, batch: int, cluster: Cluster
) -> tuple[Card, bool]:
    """The card of a generator, and whether it is one that the run folder has."""
    protocol = replace(protocol, weights="EMA" if subject.average else "raw")
    card = cluster.agreed(partial(known, folder, subject.named, describe(protocol, data)))
    if card is not None:
        return card, True
    generate = _generate(run, subject.state, subject.seed, protocol, subject.average, cluster.sharing)
    options: Any = {"subject": subject.named, "batch": batch, "sharing": cluster.sharing}
    with gpu.options(run.device):
        return evaluate(generate, data, protocol, value_range=(-1, 1), **options), False


def _send(trackers: Sequence[str], run: Run, folder: Path, note: Note) -> None:
    """Let the run's trackers send its new score cards. Those of a run that still trains do that at its end."""
    names = [name for name in trackers if name in SERVICES]
    if not names:
        return
    with suppress(UsageError), locked(folder):
        last = int(checkpoint.checkpoints(folder / CHECKPOINTS)[-1].name[5:])
        with followed(names, folder, run.members, drawn=Scored, first=last, note=note):
            pass


def evaluate_images(
    path: Path,
    against: Data,
    protocol: Protocol,
    *,
    batch: int,
    weights: Path | None,
    note: Note,
    console: Console,
    size: int | None = None,
    colour: str | None = None,
    whole: bool = False,
) -> Card:
    """Score the images in a folder or zip against a data set or those in another, and print the score card.

    All images of the folder are used, turned to `size` and `colour`. `against` is used without the images that
    evaluation during training takes, unless `whole`. Raises UsageError if there are no images, or if those of the two
    sides differ in shape.
    """
    found = image_folder(path, size, colour=colour)
    assert found.rows is not None
    if not against.images:
        raise UsageError(
            f"the images of {against.name} are {shape_text(against.shape)} (channels x height x width), too small for "
            "scores: enlarge both sides with --size 8 or more"
        )
    rows = _padded(found.rows, against)
    if rows.shape[1:] != against.shape:
        raise UsageError(_unlike(path, rows.shape[1:], against, size))
    data, protocol = (against, replace(protocol, split="all")) if whole else _of_split(against, protocol)
    protocol = replace(protocol, weights="images", batch_norm="images")
    device = device_of("auto")
    protocol = _with_extractor(protocol, against, weights, note, device)
    with gpu.options(device):
        card = evaluate(rows, data, protocol, subject={"images": path.name}, batch=batch)
    print_card(card, console)
    return card


# ------------------------------------------------------------------------------------------------------- what is scored


def _remedy(folder: Path, member: int) -> str:
    """How to score a lost member's last good state, if it is kept."""
    kept = [step for step in last_good_steps(folder / EVENTS, member) if _is_kept(folder, step)]
    return f": for its last good state, add --checkpoint {kept[-1]}" if kept else ""


def _is_kept(folder: Path, step: int) -> bool:
    return (folder / CHECKPOINTS / checkpoint.name(step)).is_dir()


def _checkpoints(folder: Path, which: str) -> list[Path]:
    found = checkpoint.checkpoints(folder)
    if not found:
        raise UsageError(f"{folder} has no checkpoint yet: train longer, or name another run folder")
    best = best_checkpoint(folder)
    if which == "best" and best is None:
        raise UsageError(f"{folder} has no best checkpoint: set keep.best to a score when training")
    chosen = {"newest": found[::-1], "all": found, "best": [best] if best else []}.get(which)
    if chosen is None:
        chosen = [path for path in found if which.isdecimal() and int(path.name[5:]) == int(which)]
    if not chosen:
        steps = ", ".join(str(int(path.name[5:])) for path in found)
        raise UsageError(f"--checkpoint is newest, best, all or one of the steps {steps}, not {which!r}")
    return chosen


def _generate(
    run: Run, state: State, seed: int, protocol: Protocol, average: bool, sharing: Processes
) -> Callable[[int], Tensor]:
    """The function that returns the next `count` samples of a state, from the protocol's latents in order."""
    network = run.game.players["G"].network
    made = sampling.sampler(network, state, run.latent, seed=seed, average=average)
    dtype = state.params["G"].dtype
    left = sampling.latents(protocol.seed, "score", protocol.samples(run.data), run.latent, dtype)

    def next_ones(count: int) -> Tensor:
        nonlocal left
        z, left = left[:count], left[count:]
        return by_rows(made, z.to(run.device), sharing)

    return next_ones


def _of_split(data: Data, protocol: Protocol, seen: int = IMAGES) -> tuple[Data, Protocol]:
    """A split of a data set without the `seen` images of evaluation during training. The protocol records that."""
    if not data.images:
        if protocol.split != "train" or protocol.real is not None:
            raise UsageError(
                "--split and --real are for images, but this run's data are points: leave them out"
            )
        return data, replace(protocol, split=split_name(data, protocol.split))
    rows = unseen_samples(data, protocol.split, seen)
    left_out = seen and (data.held is None or protocol.split == "test")
    held = partial(unseen_samples, data, "test", seen) if data.held and protocol.split == "train" else None
    split = split_name(data, protocol.split)
    split = f"{split}, without the images of evaluation during training" if left_out else split
    return data._replace(rows=rows, held=held), replace(protocol, split=split)


def _with_extractor(
    protocol: Protocol, data: Data, weights: Path | None, note: Note, device: torch.device
) -> Protocol:
    """The protocol with its extractor built on this device. Points need none."""
    name = protocol.extractor
    if isinstance(name, Extractor) or not data.images:
        return protocol
    made = classifiers.named_extractor(name, data.shape[0], note, weights, device=device)
    return replace(protocol, extractor=made)


def is_folder(against: str) -> bool:
    """Whether --against names a folder or a zip: it has a slash, or it is there and no data set has its name."""
    known = spelled(against, DATA) in DATA
    return not known and ("/" in against or user_path(against).exists())


def real_images(name: str, root: Path | None, size: int | None = None, colour: str | None = None) -> Data:
    """Load the image data set of this name with its default options, or the images of a folder or zip.

    `size` is used where images are resized, `colour` for those of a folder. Raises UsageError for another name.
    """
    if is_folder(name):
        if root is not None:
            raise UsageError("--data-root is for named data sets: leave it out with a folder as --against")
        return image_folder(name, size, colour=colour)
    part = DATA.get(spelled(name, DATA))
    if part and "path" in part.options:
        raise UsageError(
            f"--against {name} does not say which: give their folder or zip, such as --against DIR"
        )
    given: dict[str, Any] = {"root": str(root)} if part and root and "root" in part.options else {}
    given |= {"size": size} if part and size and "filter" in part.options else {}
    data = part.make(**given) if part else None
    if data is None or not data.images or data.rows is None:
        raise UsageError(
            f"--against {name!r} is not an image data set: name one, such as fashion_mnist or cifar10, or a folder or "
            "zip of images"
        )
    return data


def _unlike(path: Path, shape: Sequence[int], real: Data, size: int | None) -> str:
    """The error for two sides of unlike shapes, with the options that make them alike."""
    needed = []
    if tuple(shape[1:]) != real.shape[1:] and size != real.shape[-1]:
        needed.append(f"--size {real.shape[-1]}")
    if shape[0] != real.shape[0]:
        needed.append(f"--colour {'rgb' if real.shape[0] == 3 else 'grey'}")
    return (
        f"the images in {path} are {shape_text(tuple(shape))} (channels x height x width), but those of "
        f"{real.name} are {shape_text(real.shape)}: convert them{' with ' * bool(needed)}{' '.join(needed)}"
    )


def _padded(rows: Tensor, against: Data) -> Tensor:
    """The images with the border of zeros that the data set has, if that gives them its shape."""
    known = DATA[against.name].known if against.name in DATA else None
    border = known.padding if known else 0
    padded = (rows.shape[1], *(side + 2 * border for side in rows.shape[2:]))
    return nn.functional.pad(rows, [border] * 4) if border and padded == against.shape else rows
