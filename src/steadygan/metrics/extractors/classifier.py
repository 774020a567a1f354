"""A small convolutional classifier of a data set's own classes: logits, and features for scores on that data set.

Images [n, C, H, W] are floating point in [-1, 1], as a generator makes them. The weights depend only on the
data, the seed and the number of threads.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steadygan.errors import UsageError
from steadygan.metrics.extractors.base import Score, share
from steadygan.progress import report

__all__ = ["Classifier", "accuracy", "cnn", "train"]

CHUNK = 1024  # images that go through the network at once
FEATURES = 128


def cnn(shape: tuple[int, ...], classes: int, width: int = 32) -> nn.Sequential:
    """Make an untrained classifier of images of `shape` (channels, height, width of 8 or more): trunk and head.

    The trunk repeats a 3x3 convolution, ReLU and 2x2 max pooling until a side is 4 to 7. Channels double from
    `width` up to 4 `width`. Then come one more convolution and ReLU, a linear layer to 128 features, ReLU,
    and dropout of one half. The head is linear, with one logit per class. There is no batch norm, so the
    logits of an image do not depend on the batch. Raises UsageError on another shape.

    >>> trunk, head = cnn((1, 8, 8), classes=10)
    >>> head(trunk(torch.zeros(2, 1, 8, 8))).shape
    torch.Size([2, 10])
    """
    if len(shape) != 3 or min(shape[1:]) < 8:
        raise UsageError(f"a classifier needs images [C, H, W] of 8 x 8 pixels or more, not {list(shape)}")
    halvings = int(math.log2(min(shape[1:]))) - 2
    widths = [shape[0], *(min(width << k, 4 * width) for k in range(halvings + 1))]
    trunk: list[nn.Module] = []
    for number, (i, o) in enumerate(pairwise(widths)):
        trunk += [nn.Conv2d(i, o, 3, 1, 1), nn.ReLU()]
        if number < halvings:
            trunk.append(nn.MaxPool2d(2))
    sides = [side >> halvings for side in shape[1:]]
    trunk += [nn.Flatten(), nn.Linear(widths[-1] * math.prod(sides), FEATURES), nn.ReLU(), nn.Dropout()]
    return nn.Sequential(nn.Sequential(*trunk), nn.Linear(FEATURES, classes))


@dataclass(frozen=True)
class Classifier:
    """A trained network with its card: data, split, accuracy, architecture, seed and steps.

    It computes on the device of its module, and returns what it finds on the CPU.
    """

    module: nn.Sequential
    card: dict[str, Any]

    def features(self, images: Tensor) -> Tensor:
        """The activations [n, 128] of the last hidden layer, detached. Raises UsageError on images of another shape."""
        return self._through(self.module[0], images)

    def logits(self, images: Tensor) -> Tensor:
        """The logits [n, classes], detached. Raises UsageError on images of another shape."""
        return self._through(self.module, images)

    def probabilities(self, images: Tensor) -> Tensor:
        """The class probabilities [n, classes], detached. Raises UsageError on images of another shape."""
        return self.logits(images).softmax(1)

    def _through(self, net: nn.Module, images: Tensor) -> Tensor:
        shape = self.card["architecture"]["shape"]
        if list(images.shape[1:]) != list(shape) or not images.is_floating_point():
            raise UsageError(
                f"the classifier of {self.card['name']} takes images {['n', *shape]} in [-1, 1], not "
                f"{images.dtype} {list(images.shape)}"
            )
        device = next(self.module.parameters()).device
        with torch.no_grad():
            return torch.cat([net(part.float()) for part in images.to(device).split(CHUNK)]).cpu()


def train(
    rows: Tensor, labels: Tensor, classes: int, *, steps: int, seed: int = 0, width: int = 32, batch: int = 64
) -> nn.Sequential:
    """Train `cnn` on images rows [n, C, H, W] uint8 and labels [n] int64; return it in evaluation mode.

    The loss is cross entropy. The optimizer is Adam at 0.002, falling linearly to 0, without weight decay.
    Batches are drawn with replacement. Raises UsageError where images and labels do not fit.

    >>> rows = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 1, 8, 8)
    >>> net = train(rows, torch.tensor([0, 1]), 2, steps=20, width=8)
    >>> net(rows / 127.5 - 1).argmax(1).tolist()
    [0, 1]
    """
    if labels.shape != rows.shape[:1] or labels.min() < 0 or labels.max() >= classes:
        raise UsageError(
            f"{len(rows)} images need as many labels from 0 to {classes - 1}, not {list(labels.shape)} "
            f"from {labels.min()} to {labels.max()}"
        )
    g = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):  # for weights and dropout
        torch.manual_seed(seed)
        net = cnn(tuple(rows.shape[1:]), classes, width)
        optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
        for step in range(steps):
            drawn = torch.randint(len(rows), (batch,), generator=g)
            loss = F.cross_entropy(net(rows[drawn].float() / 127.5 - 1), labels[drawn])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            report("training the classifier", (step + 1) * batch, steps * batch)
    return net.eval().requires_grad_(False)


def accuracy(classifier: Classifier, rows: Tensor, labels: Tensor) -> Score:
    """The share p of images rows [n, C, H, W] uint8 that are classified correctly, and its binomial error."""
    logits = torch.cat([classifier.logits(part.float() / 127.5 - 1) for part in rows.split(CHUNK)])
    return share((logits.argmax(1) == labels).double().mean().item(), len(rows))
