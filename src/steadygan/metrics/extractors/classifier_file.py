"""A classifier stored in a folder: weights in safetensors, and a JSON card that describes and checks them."""

import hashlib
import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_of
from safetensors.torch import save as bytes_of

from steadygan.errors import UsageError
from steadygan.files import BINARY, fits, partial_of, read_json, read_whole, write_whole
from steadygan.metrics.extractors.classifier import Classifier, cnn

__all__ = ["CARD", "WEIGHTS", "load_classifier", "save_classifier"]

FORMAT = 1
CARD, WEIGHTS = "classifier.json", "classifier.safetensors"
SHAPE = {"format": int, "sha256": str, "architecture": {"shape": [int], "classes": list, "width": int}}
MEASURED = {
    "name": str,
    "accuracy": int | float,
    "accuracy_error": int | float,
    "split": {"held_out": int},
}
"""What a card of `steadygan classifier` has, too."""


def save_classifier(classifier: Classifier, folder: Path) -> Classifier:
    """Write both files to `folder`; return the classifier with the SHA-256 of its weights on its card.

    The old card is removed first and the new card is written last. So a reader sees a whole classifier or
    none. Raises OSError.
    """
    raw = bytes_of({name: t.detach().contiguous() for name, t in classifier.module.state_dict().items()})
    card = {"format": FORMAT, **classifier.card, "sha256": hashlib.sha256(raw).hexdigest()}
    folder.mkdir(parents=True, exist_ok=True)
    partial = partial_of(folder / WEIGHTS)
    try:
        partial.write_bytes(raw)
        (folder / CARD).unlink(missing_ok=True)
        os.replace(partial, folder / WEIGHTS)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    write_whole(folder / CARD, json.dumps(card, indent=1) + "\n")
    return Classifier(classifier.module, card)


def load_classifier(folder: Path) -> Classifier:
    """Read the classifier in `folder`. Raises UsageError if it is missing, damaged or of another kind.

    >>> load_classifier(Path("/no/such/folder"))
    Traceback (most recent call last):
    steadygan.errors.UsageError: /no/such/folder has no classifier.json: make one with steadygan classifier
    """
    if not (folder / CARD).is_file():
        raise UsageError(f"{folder} has no {CARD}: make one with steadygan classifier")
    try:
        card = read_json(folder / CARD, SHAPE)
        if card["format"] != FORMAT:
            raise UsageError(
                f"the classifier in {folder} has format {card['format']}, but this version reads {FORMAT}: "
                "make it again with steadygan classifier"
            )
        if not fits(card, {key: kind for key, kind in MEASURED.items() if key in card}):
            raise ValueError(f"{CARD} is damaged")
        raw = read_whole(folder / WEIGHTS, BINARY)
        if hashlib.sha256(raw).hexdigest() != card["sha256"]:
            raise UsageError(
                f"{folder / WEIGHTS} is truncated or changed, because its checksum is not that of {CARD}: "
                "make it again with steadygan classifier"
            )
        made = card["architecture"]
        with torch.device("meta"):  # draws no weights
            net = cnn(tuple(made["shape"]), len(made["classes"]), made["width"])
        net.load_state_dict(tensors_of(raw), assign=True)
    except UsageError:
        raise
    except (ValueError, RuntimeError, SafetensorError) as error:
        raise UsageError(
            f"the classifier in {folder} cannot be read ({type(error).__name__}: {str(error).splitlines()[0]}): "
            "make it again with steadygan classifier"
        ) from error
    return Classifier(net.eval().requires_grad_(False), card)
