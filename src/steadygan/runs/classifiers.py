"""Classifiers of the labelled data sets: trained once, kept in the user's cache folder, and used by scores."""

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
from steadygan.files import alone, cache_folder
from steadygan.metrics.extractors.base import Extractor
from steadygan.metrics.extractors.classifier import Classifier, accuracy, train
from steadygan.metrics.extractors.classifier_file import CARD, load_classifier, save_classifier
from steadygan.metrics.extractors.registry import EXTRACTORS, extractor, no_weights, of_classifier
from steadygan.rng import generator
from steadygan.training.compile.cpu import threads

__all__ = [
    "SETS",
    "Labelled",
    "accuracy_text",
    "classifier",
    "classifier_folder",
    "labelled",
    "load_or_train",
    "make",
    "named_extractor",
]


class Labelled(NamedTuple):
    """A labelled data set: rows [n, C, H, W] uint8 and labels [n] int64 to train on, and held-out ones."""

    rows: Tensor
    labels: Tensor
    held_rows: Tensor
    held_labels: Tensor
    classes: list[str]
    split: str


SETS = {name: part.known for name, part in DATA.items() if part.known and part.known.classifier}
"""The data sets that have a classifier."""


def labelled(name: str, root: str | Path | None = None) -> Labelled:
    """Load the labelled data set of this name and hold out its test split, or a random fifth if it has none.

    Raises UsageError if the data set is unknown or not on this machine.
    """
    known = SETS.get(spelled(name, SETS))
    if known is None:
        raise UsageError(f"there is no classifier for {name!r}: {nearest(name, SETS)}")
    rows, labels = _labelled_rows(load(known.source(root, "train")))
    if "test" in known.counts:
        held = _labelled_rows(load(known.source(root, "test")))
        return Labelled(rows, labels, *held, list(known.labels), "the published test set is held out")
    order = torch.randperm(len(rows), generator=generator("held out", known.name))
    fifth, rest = order.split([len(rows) // 5, len(rows) - len(rows) // 5])
    split = "a random fifth is held out, the same one for every seed"
    return Labelled(rows[rest], labels[rest], rows[fifth], labels[fifth], list(known.labels), split)


def _labelled_rows(data: Data) -> tuple[Tensor, Tensor]:
    """The rows and labels of a data set. Raises UsageError if it has no labels."""
    if data.rows is None or data.labels is None:
        raise UsageError(
            f"a classifier needs labels, but {data.name} has none: put its label files beside the image files"
        )
    return data.rows, data.labels


# ----------------------------------------------------------------------------------------------------- classifiers


def classifier_folder(name: str) -> Path:
    """The default folder for the classifier of this data set, in the user's cache."""
    kept = cache_folder() / "classifiers"
    first = kept / name.replace("_", "-")  # the spelling of the first version
    return first if first.is_dir() else kept / spelled(name, SETS)


def make(
    name: str, folder: Path, *, seed: int = 0, steps: int | None = None, root: str | Path | None = None
) -> Classifier:
    """Train the classifier of a data set on one thread, measure its accuracy and save it in `folder`.

    The accuracy is that on the held-out split. Raises UsageError if the data set is unknown or missing, or if the
    folder cannot be written.
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
            f"the classifier cannot be written to {folder} ({error.strerror}): choose another --out"
        ) from error


def _digest(found: Labelled) -> str:
    """SHA-256 of the images and labels, the training ones first."""
    digest = hashlib.sha256()
    for part in (found.rows, found.labels, found.held_rows, found.held_labels):
        digest.update(part.numpy().tobytes())
    return digest.hexdigest()


def load_or_train(name: str, note: Callable[[str], None], device: str | torch.device = "cpu") -> Classifier:
    """Load the classifier of this data set from the user's cache folder, and train it first if it is missing.

    It is trained on the CPU and then moved to `device`. `note` gets a line on either, with the accuracy. Raises
    UsageError if it is damaged or cannot be trained.
    """
    folder = classifier_folder(name)
    if not (folder / CARD).exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with alone(folder):
            if not (folder / CARD).exists():  # no other process made it meanwhile
                note(f"training the classifier of {name} first, once for all runs: {folder}")
                make(name, folder)
    found = load_classifier(folder)
    note(f"scores use the classifier of {name} in {folder}, {accuracy_text(found)}")
    found.module.to(device)
    return found


def named_extractor(
    name: str,
    channels: int,
    note: Callable[[str], None],
    weights: Path | None = None,
    *,
    device: str | torch.device = "cpu",
) -> Extractor:
    """The feature extractor of this name for images with `channels` channels, on this device.

    A labelled data set's name gives its classifier, which is trained first if it is missing. Raises UsageError for
    another name.
    """
    known = spelled(name, SETS)
    if known in SETS:
        no_weights(known, weights)
        return of_classifier(load_or_train(known, note, device))
    if name not in EXTRACTORS:
        raise UsageError(f"there is no extractor {name!r}: {nearest(name, (*EXTRACTORS, *SETS))}")
    return extractor(name, weights=weights, channels=channels, device=device)


def accuracy_text(found: Classifier) -> str:
    """The accuracy of a classifier as text. Raises UsageError if its card does not have it."""
    try:
        card = found.card
        share, error, count = card["accuracy"], card["accuracy_error"], card["split"]["held_out"]
    except (KeyError, TypeError) as missing:
        raise UsageError(
            f"the classifier's card lacks {missing}: train the classifier again with steadygan classifier"
        ) from None
    return f"{share:.1%} ± {error:.1%} accuracy on {count:,} held-out images"


def classifier(
    name: str, folder: Path | None, seed: int, steps: int | None, root: Path | None, console: Console
) -> None:
    """The command `steadygan classifier`: train it, and print its accuracy and its folder."""
    began = time.perf_counter()
    folder = folder or classifier_folder(name)
    made = make(name, folder, seed=seed, steps=steps, root=root)
    seconds = time.perf_counter() - began
    text = f"{name}: {accuracy_text(made)} after {made.card['steps']:,} steps in {seconds:.0f} s: {folder}"
    console.print(text, soft_wrap=True, markup=False, highlight=False)
