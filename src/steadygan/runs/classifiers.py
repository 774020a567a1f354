"""Classifiers of the labelled sets: made by name, kept in the user's cache folder, and there when a score needs one."""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from torch import Tensor

import steadygan
from steadygan.config.field_types import spelled
from steadygan.config.registry import DATA
from steadygan.data.array_cache import load
from steadygan.data.dataset import Data
from steadygan.errors import UsageError, nearest
from steadygan.files import cache_folder
from steadygan.metrics.extractors.base import Extractor
from steadygan.metrics.extractors.classifier import Classifier, accuracy, train
from steadygan.metrics.extractors.classifier_file import CARD, load_classifier, save_classifier
from steadygan.metrics.extractors.registry import EXTRACTORS, extractor, no_weights, of_classifier
from steadygan.rng import generator
from steadygan.training.compile.cpu import threads

__all__ = ["SETS", "Labelled", "classifier", "labelled", "look_through", "make", "place", "ready"]


class Labelled(NamedTuple):
    """A set with classes: rows [n, C, H, W] uint8 and labels [n] int64 to train on, and others held out."""

    rows: Tensor
    labels: Tensor
    held_rows: Tensor
    held_labels: Tensor
    classes: list[str]
    split: str


SETS = {name: part.known for name, part in DATA.items() if part.known and part.known.classifier}
"""The data sets that have a classifier."""


def labelled(name: str, root: str | Path | None = None) -> Labelled:
    """The labelled set of this name, its published test set held out; where there is none, a random fifth.

    Raises UsageError where it is unknown or not on this machine.
    """
    known = SETS.get(spelled(name, SETS))
    if known is None:
        raise UsageError(f"no classifier can be made of {name!r}: {nearest(name, SETS)}")
    rows, labels = _labelled_rows(load(known.source(root, "train")))
    if "test" in known.counts:
        held = _labelled_rows(load(known.source(root, "test")))
        return Labelled(rows, labels, *held, list(known.labels), "the published test set is held out")
    order = torch.randperm(len(rows), generator=generator("held out", known.name))
    fifth, rest = order.split([len(rows) // 5, len(rows) - len(rows) // 5])
    split = "a random fifth is held out, the same one for every seed"
    return Labelled(rows[rest], labels[rest], rows[fifth], labels[fifth], list(known.labels), split)


def _labelled_rows(data: Data) -> tuple[Tensor, Tensor]:
    """A set's rows and labels. Raises UsageError where it has none."""
    if data.rows is None or data.labels is None:
        raise UsageError(
            f"a classifier needs labels, and {data.name} was found without: put their file beside it"
        )
    return data.rows, data.labels


# ----------------------------------------------------------------------------------------------------- classifiers


def place(name: str) -> Path:
    """The folder where the classifier of this name is kept unless another is named."""
    kept = cache_folder() / "classifiers"
    first = kept / name.replace("_", "-")  # as the first version spelled it
    return first if first.is_dir() else kept / spelled(name, SETS)


def make(
    name: str, folder: Path, *, seed: int = 0, steps: int | None = None, root: str | Path | None = None
) -> Classifier:
    """Train the classifier of a set on one thread, measure it on the held-out split, and save it in `folder`.

    Raises UsageError for a set that is unknown or missing, or a folder that cannot be written.
    """
    found = labelled(name, root)
    shape, count = list(found.rows.shape[1:]), len(found.classes)
    name = spelled(name, SETS)
    plan = SETS[name].classifier
    assert plan is not None
    steps, width = steps or plan.steps, plan.width
    with threads(1):  # the weights depend on their number
        net = train(found.rows, found.labels, count, steps=steps, seed=seed, width=width)
    card: dict[str, Any] = {
        "name": name,
        "data_sha256": _digest(found),
        "split": {"train": len(found.rows), "held_out": len(found.held_rows), "how": found.split},
        "architecture": {"name": "cnn", "shape": shape, "classes": found.classes, "width": width},
        "seed": seed,
        "steps": steps,
        "steadygan": steadygan.__version__,
        "torch": torch.__version__,
    }
    made = Classifier(net, card)
    card["accuracy"], card["accuracy_error"] = accuracy(made, found.held_rows, found.held_labels)
    try:
        return save_classifier(made, folder)
    except OSError as error:
        raise UsageError(
            f"the classifier cannot be written to {folder} ({error.strerror}): choose an --out"
        ) from error


def _digest(found: Labelled) -> str:
    """SHA-256 of the images and labels, those to train on first."""
    digest = hashlib.sha256()
    for part in (found.rows, found.labels, found.held_rows, found.held_labels):
        digest.update(part.numpy().tobytes())
    return digest.hexdigest()


def ready(name: str, note: Callable[[str], None]) -> Classifier:
    """The classifier of this name from the user's cache folder; made there first if it is not.

    Either is told to `note`, with the accuracy. Raises UsageError where it is damaged or cannot be made.
    """
    folder = place(name)
    if not (folder / CARD).exists():
        note(f"training the classifier of {name} first, once for all runs: {folder}")
        make(name, folder)
    found = load_classifier(folder)
    note(f"scores look through the classifier of {name} in {folder}, {right(found)}")
    return found


def look_through(
    name: str, channels: int, note: Callable[[str], None], weights: Path | None = None
) -> Extractor:
    """The extractor of this name for so many channels; a labelled set's classifier is made if it is not there.

    Raises UsageError for another name.
    """
    known = spelled(name, SETS)
    if known in SETS:
        no_weights(known, weights)
        return of_classifier(ready(known, note))
    if name not in EXTRACTORS:
        raise UsageError(f"there is no extractor {name!r}: {nearest(name, (*EXTRACTORS, *SETS))}")
    return extractor(name, weights=weights, channels=channels)


def right(found: Classifier) -> str:
    """How good a classifier is, in words. Raises UsageError where its card does not say."""
    try:
        card = found.card
        share, error, count = card["accuracy"], card["accuracy_error"], card["split"]["held_out"]
    except (KeyError, TypeError) as missing:
        raise UsageError(
            f"the classifier's card does not say {missing}: make it again with steadygan classifier"
        ) from None
    return f"{share:.1%} ± {error:.1%} of {count:,} held-out images right"


def classifier(
    name: str, folder: Path | None, seed: int, steps: int | None, root: Path | None, console: Console
) -> None:
    """The command `steadygan classifier`: make it, and say how good it is and where it lies."""
    began = time.perf_counter()
    folder = folder or place(name)
    made = make(name, folder, seed=seed, steps=steps, root=root)
    seconds = time.perf_counter() - began
    text = f"{name}: {right(made)} after {made.card['steps']:,} steps in {seconds:.0f} s: {folder}"
    console.print(text, soft_wrap=True, markup=False, highlight=False)
