"""Extractors by name, and the names of the scores computed with them."""

import importlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from steadygan.errors import UsageError, nearest
from steadygan.metrics.extractors.base import Extractor, Read, check_images, checked, in_bytes
from steadygan.metrics.extractors.classifier import Classifier
from steadygan.metrics.extractors.lite0 import lite0
from steadygan.metrics.kernel import pooled_pixels

__all__ = ["EXTRACTORS", "extractor", "inception", "of_classifier", "pixels8", "score_name"]

EXTRACTORS = ("pixels8", "lite0", "inception")
"""The names of the extractors. `of_classifier` makes another one of a data set's own classifier."""

INCEPTION_SCORES = {"fd": "fid", "kd": "kid", "is": "inception_score"}
"""The names that papers use. They are reserved for the Inception network."""

URL = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
CHUNK = 32  # images that go through Inception at once


def extractor(
    name: str, *, weights: Path | None = None, channels: int = 3, device: str | torch.device = "cpu"
) -> Extractor:
    """The extractor of this name, one of EXTRACTORS.

    `weights` is a file for the network of lite0 or inception; by default the installed or downloaded file is
    used. `channels` are those of the images, which set the size of pixels8. A network computes on `device`. Raises
    UsageError on an unknown name or a missing part.

    >>> extractor("pixels8", channels=1).size
    64
    >>> extractor("inceptoin")
    Traceback (most recent call last):
    steadygan.errors.UsageError: there is no extractor 'inceptoin': did you mean 'inception'?
    """
    if name not in EXTRACTORS:
        raise UsageError(f"there is no extractor {name!r}: {nearest(name, EXTRACTORS)}")
    if name in ("lite0", "inception"):
        return (lite0 if name == "lite0" else inception)(weights, device)
    no_weights(name, weights)
    return pixels8(channels)


def no_weights(name: str, weights: Path | None) -> None:
    """Raise UsageError if a file of weights is given to an extractor without weights."""
    if weights is not None:
        raise UsageError(f"only lite0 and inception take a file of weights, not {name}: leave out {weights}")


def score_name(metric: str, extractor: str) -> str:
    """The name of a metric's score with this extractor: metric_extractor, or the name that papers use.

    >>> score_name("fd", "lite0"), score_name("fd", "inception"), score_name("precision", "inception")
    ('fd_lite0', 'fid', 'precision_inception')
    """
    known = INCEPTION_SCORES if extractor == "inception" else {}
    return known.get(metric, f"{metric}_{extractor}")


# ---------------------------------------------------------------------------------------------------------- pixels


def pixels8(channels: int = 3) -> Extractor:
    """Images averaged over an 8 x 8 grid, with no network: 64 features for each of the `channels`."""
    read = partial(_pooled, channels)
    return Extractor(
        "pixels8", read, 64 * channels, "none", "averaged over a grid of 8 x 8 cells; no network"
    )


def _pooled(channels: int, images: Tensor) -> Read:
    if (found := check_images(images)).shape[1] != channels:
        raise UsageError(
            f"pixels8 was made for images of {channels} channels, not {found.shape[1]}: "
            f"make it with channels={found.shape[1]}"
        )
    return Read(pooled_pixels(found))


# ------------------------------------------------------------------------------------------------------ classifiers


def of_classifier(classifier: Classifier) -> Extractor:
    """The extractor made of a data set's classifier: features of its last hidden layer, and its logits.

    It is named after its set, with _ for -. `preprocessing` states its accuracy. Raises UsageError if its
    card lacks the accuracy or the classifier was not saved. `read` raises UsageError on images of another
    shape than the set's.
    """
    try:
        card = classifier.card
        name, sha256, held = card["name"], card["sha256"], card["split"]["held_out"]
        right = f"{card['accuracy']:.1%} ± {card['accuracy_error']:.1%} of {held:,} held-out images right"
    except KeyError as missing:
        raise UsageError(
            f"the classifier's card has no {missing}: train it with steadygan classifier"
        ) from None
    size = classifier.module[1].in_features
    assert isinstance(size, int)
    how = f"none; the classifier of {name}, {right}"
    return Extractor(name.replace("-", "_"), partial(_classified, classifier), size, sha256, how)


def _classified(classifier: Classifier, images: Tensor) -> Read:
    features = classifier.features(check_images(images))
    return Read(features, classifier.module[1](features))


# -------------------------------------------------------------------------------------------------------- inception


def inception(weights: Path | None = None, device: str | torch.device = "cpu") -> Extractor:
    """The Inception network that defines FID, from torch-fidelity (`pip install 'steadygan[fid]'`).

    Features [n, 2048] are its last pooling layer. Logits [n, 1008] are without bias, as the Inception score
    takes them. Both are computed on `device` and returned on the CPU. `weights` is its file; without it
    torch-fidelity downloads the file once into torch's cache. Raises UsageError if the package cannot be
    imported, or if the file is missing, cannot be downloaded or is another.

    Source: Salimans 2016, Heusel 2017; Obukhov 2020 (torch-fidelity).
    """
    module = _torch_fidelity()
    cached = Path(torch.hub.get_dir()) / "checkpoints" / URL.rpartition("/")[2]
    remedy = f"download {URL} to {cached}, or pass the file as weights"
    place = weights or cached
    if weights or place.exists():
        checked(place, SHA256, remedy)
    try:
        net = module.FeatureExtractorInceptionV3(
            "inception-v3-compat",
            ["2048", "logits_unbiased"],
            feature_extractor_weights_path=str(place) if place.exists() else None,
        )
    except OSError as error:
        raise UsageError(f"Inception's weights cannot be downloaded ({error}): {remedy}") from error
    checked(place, SHA256, remedy)
    net = net.to(device).eval()
    how = "clamped, rounded to 0..255, grey repeated to 3 channels; resized to 299 x 299 as TensorFlow 1 does"
    return Extractor("inception", partial(_incepted, net, device), 2048, SHA256, how)


def _torch_fidelity() -> Any:
    """The module of the package. Raises UsageError if it is missing, or if torchvision does not fit torch."""
    try:
        return importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
    except (ImportError, RuntimeError) as error:
        raise UsageError(
            f"the extractor inception needs torch-fidelity ({error}): pip install 'steadygan[fid]', or choose lite0"
        ) from error


def _incepted(
    net: Callable[[Tensor], tuple[Tensor, ...]], device: str | torch.device, images: Tensor
) -> Read:
    whole = in_bytes(check_images(images)).to(device)
    parts = [_bytes_seen(net, part) for part in whole.split(CHUNK)]
    features, logits = (torch.cat(part).cpu() for part in zip(*parts, strict=True))
    return Read(features, logits)


@torch.inference_mode()
def _bytes_seen(net: Callable[[Tensor], tuple[Tensor, ...]], part: Tensor) -> tuple[Tensor, ...]:
    return tuple(found.float() for found in net(part.expand(-1, 3, -1, -1)))
