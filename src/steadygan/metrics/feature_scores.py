"""Scores of a stream of images from their features, in memory that does not depend on the number of images.

The images are divided into blocks by `block_of`. A block keeps the moments of its features and the sums of
its class probabilities. A random subset of the features is kept too, for the scores by kernels and by nearest
neighbours.
"""

from collections.abc import Mapping
from statistics import pstdev

import torch
from torch import Tensor

from steadygan.errors import UsageError
from steadygan.metrics.extractors.base import Score, over_splits
from steadygan.metrics.frechet import Moments, check_features, distance_to, merge
from steadygan.metrics.hash_sampling import Subset, block_of
from steadygan.metrics.inception import ClassSums
from steadygan.metrics.kernel import kernel_distance
from steadygan.metrics.neighbours import manifold_scores
from steadygan.progress import report

__all__ = ["BLOCKS", "KEPT", "SCORES", "Summary", "frechet", "inception", "kernel", "scores"]

BLOCKS, KEPT = 10, 10_000
SCORES = ("fd", "kd", "is", "precision", "recall", "density", "coverage")
SPLITS, SPLIT = 10, 1000  # of the kernel distance, and the most images in one


class Summary:
    """Statistics of the features [n, d] of a stream of images, and of their logits [n, k] if there are any.

    Add images in parts of any size: the parts change only rounding in the sums of the classes. Memory is 8
    blocks (d^2 + 256 d) + 4 keep d bytes. That is 210 MB at d = 1280, or 67 MB with one block. One block is
    enough for the reals. The features of `keep` random images are kept in float32. The choice depends on
    their numbers in the stream alone.

    >>> stream = Summary(size=3)
    >>> stream.add(torch.zeros(25, 3))
    >>> stream.count, stream.rows.shape
    (25, torch.Size([25, 3]))
    """

    def __init__(self, size: int, *, blocks: int = BLOCKS, keep: int = KEPT) -> None:
        """Start with no images; `size` is the width d of the features."""
        self.size, self.count = size, 0
        self.blocks = [Moments(size) for _ in range(blocks)]
        self.subset = Subset(size, keep)
        self.classes: list[ClassSums] = []

    @property
    def rows(self) -> Tensor:
        """The kept features [min(n, keep), d] float32, in an order that is random and always the same."""
        return self.subset.rows

    def add(self, features: Tensor, logits: Tensor | None = None) -> None:
        """Add the next images. Give logits for all images or for none.

        Raises UsageError on another width, on values that are not finite, and on logits for some images only.
        Nothing is added in that case. All sums are made on the CPU.
        """
        features, logits = features.detach().cpu(), None if logits is None else logits.detach().cpu()
        check_features(features, self.size)
        if self.count and (logits is None) == bool(self.classes):
            raise UsageError("some images came with logits and some without: pass logits for all or for none")
        if logits is not None:
            check_features(
                logits, self.classes[0].chance.numel() if self.classes else logits.shape[-1], "logits"
            )
            if len(logits) != len(features):
                raise UsageError(f"{len(features)} images need as many rows of logits, not {len(logits)}")
        which = block_of(torch.arange(self.count, self.count + len(features)), len(self.blocks))
        for j, block in enumerate(self.blocks):
            block.add(features[which == j])
        if logits is not None:
            more = [ClassSums.of(logits[which == j]) for j in range(len(self.blocks))]
            self.classes = [x.plus(y) for x, y in zip(self.classes, more)] if self.classes else more
        self.subset.add(features, start=self.count)
        self.count += len(features)

    def settled(self) -> list[Moments]:
        """The moments of each block, complete."""
        return [block.settled() for block in self.blocks]

    def tensors(self) -> dict[str, Tensor]:
        """The summary as plain tensors. `of_tensors` restores it with the same scores, bit for bit."""
        blocks, order = self.settled(), self.subset.order
        found = {
            "count": torch.tensor([block.folded for block in blocks]),
            "centre": torch.stack([block.centre for block in blocks]),
            "scatter": torch.stack([block.scatter for block in blocks]),
            "keep": torch.tensor(len(self.subset.priority)),
            "priority": self.subset.priority[order],
            "rows": self.subset.kept[order],
        }
        for name in ClassSums._fields if self.classes else ():
            found[f"classes.{name}"] = torch.stack([getattr(sums, name) for sums in self.classes])
        return found

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor]) -> "Summary":
        """The summary that `tensors` describe. Raises KeyError where one is missing."""
        counts, rows = tensors["count"].tolist(), tensors["rows"]
        made = cls(rows.shape[1], blocks=len(counts), keep=int(tensors["keep"]))
        made.count = sum(counts)
        for block, count, centre, scatter in zip(
            made.blocks, counts, tensors["centre"], tensors["scatter"], strict=True
        ):
            block.folded, block.centre, block.scatter = count, centre.clone(), scatter.clone()
        made.subset.kept[: len(rows)] = rows
        made.subset.priority[: len(rows)] = tensors["priority"]
        if "classes.images" in tensors:
            sums = (tensors[f"classes.{name}"].clone() for name in ClassSums._fields)
            made.classes = [ClassSums(*each) for each in zip(*sums)]
        return made


def scores(fake: Summary, real: Summary) -> dict[str, Score]:
    """All scores of the fakes against the reals: `fd`, `kd`, `is`, `precision`, `recall`, `density`, `coverage`.

    `is` needs fakes with logits. `fd` and `is` use all features, the others the kept features. The formulas
    and errors are documented at `frechet`, `kernel`, `inception` and `manifold_scores`. Every score is
    defined for constant images too: covariances are then 0, balls have radius 0, and density counts
    duplicates. Raises UsageError on unequal widths, on fewer than 20 images of either kind, and on fewer than
    2 blocks of fakes.
    """
    if fake.size != real.size:
        raise UsageError(
            f"features of size {fake.size} and {real.size} cannot be compared: use one extractor"
        )
    _check_enough("scores", fake, real)
    found = {"fd": frechet(fake, real), "kd": kernel(fake, real)}
    if fake.classes:
        found["is"] = inception(fake)
    return found | manifold_scores(fake.rows, real.rows)


def frechet(fake: Summary, real: Summary) -> Score:
    """The Fréchet distance (`frechet_distance`) of all fakes to all reals, with a jackknife error over blocks of fakes.

        error = sqrt((b - 1) / b sum_j (FD_-j - mean)^2),    FD_-j = the distance without block j of b

    The error covers the sampling of the fakes. The reals are taken as fixed. The error does not cover the
    bias of a finite sample, which is upwards and falls as 1 / n: compare scores at equal n. Source: Efron and
    Stein 1981 (jackknife); Chong 2020 (bias).
    """
    _check_enough("the Fréchet distance", fake, real)
    blocks = fake.settled()
    if len(blocks) < 2:
        raise UsageError(
            "the error of the Fréchet distance needs 2 or more blocks of fakes: make their Summary with 10"
        )
    distance = distance_to(merge(real.settled()))
    left = []
    for j in range(len(blocks)):
        report("Fréchet distances", j, len(blocks), "distances")
        left.append(distance(merge(blocks[:j] + blocks[j + 1 :])))
    report("Fréchet distances", len(blocks), len(blocks), "distances")
    error = pstdev(left) * (len(blocks) - 1) ** 0.5
    return Score(distance(merge(blocks)), error)


def kernel(fake: Summary, real: Summary) -> Score:
    """The mean and standard error of `kernel_distance` over 10 disjoint pairs of splits of the kept features.

    A split has a tenth of the kept features, at most 1,000. Each value is unbiased, and so is their mean. The
    error covers the sampling of fakes and reals. Source: Binkowski 2018 (KID), section 4.
    """
    _check_enough("the kernel distance", fake, real)
    # the reals' splits in reverse: both subsets are chosen by place, and copies in order would meet their originals
    pairs = zip(fake.rows.tensor_split(SPLITS), reversed(real.rows.tensor_split(SPLITS)))
    return over_splits([kernel_distance(a[:SPLIT], b[:SPLIT]) for a, b in pairs])


def inception(fake: Summary) -> Score:
    """`inception_score` of all fakes, with the blocks as splits. Raises UsageError without logits."""
    if not fake.classes or fake.count < len(fake.classes):
        raise UsageError(f"the Inception score needs logits of {len(fake.blocks)} or more images: add them")
    return over_splits([sums.score() for sums in fake.classes])


def _check_enough(what: str, *summaries: Summary) -> None:
    least = 2 * SPLITS
    if any(min(summary.count, len(summary.rows)) < least for summary in summaries):
        fake, real = (summary.count for summary in summaries)
        raise UsageError(
            f"{what} of {fake} fake and {real} real images means nothing: take {least} or more of each"
        )
