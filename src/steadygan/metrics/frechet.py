"""Mean and covariance of a stream of features, and the Fréchet distance between the Gaussians with these moments.

All values are float64. Memory is O(d^2) for features of size d, whatever the number of images.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from steadygan.errors import UsageError

__all__ = ["Moments", "check_features", "distance_to", "frechet_distance"]

ROWS = 512  # images whose features are folded in at once, however they come in
TILE = 256  # columns of a band of the scatter matrix


class Moments:
    """Mean and unbiased covariance of features that come in parts: call `add`, then read `mean` and `covariance`.

    Features are added in chunks of 512, each about its own mean. So the result does not depend on the parts'
    sizes, bit for bit, and a mean far from 0 costs no digits. Source: Chan 1979 (pairwise update of sums of
    squares).

    >>> stream = Moments(2)
    >>> stream.add(torch.tensor([[0.0, 0.0], [2.0, 0.0]]))
    >>> stream.add(torch.tensor([[1.0, 3.0]]))
    >>> stream.mean.tolist(), stream.covariance.tolist()
    ([1.0, 1.0], [[1.0, 0.0], [0.0, 3.0]])
    """

    def __init__(self, size: int) -> None:
        """Start with no images; `size` is d."""
        self.size = size
        self.folded = 0
        self.centre = torch.zeros(size, dtype=torch.float64)
        self.scatter = torch.zeros(
            size, size, dtype=torch.float64
        )  # sum of outer products; the upper triangle
        self.waiting: list[Tensor] = []

    @property
    def count(self) -> int:
        """The number of images added."""
        return self.folded + sum(map(len, self.waiting))

    @property
    def mean(self) -> Tensor:
        """The mean [d] in float64. Raises UsageError without images."""
        self._check(1)
        return self.settled().centre

    @property
    def covariance(self) -> Tensor:
        """The unbiased covariance [d, d] in float64. Raises UsageError with fewer than 2 images."""
        self._check(2)
        scatter = self.settled().scatter
        upper = scatter.triu(1).T  # of which the lower triangle is a mirror image
        return scatter.triu().add_(upper).div_(self.count - 1)

    def add(self, features: Tensor) -> None:
        """Add features [n, d] of any n. Raises UsageError on another width or on features that are not finite."""
        check_features(features, self.size)
        for part in features.detach().cpu().split(ROWS):
            self.waiting.append(part.clone())
            if self.count - self.folded >= ROWS:
                rows = torch.cat(self.waiting)
                self._fold(rows[:ROWS])
                self.waiting = [rows[ROWS:].clone()]

    def settled(self) -> "Moments":
        """The same moments with no features left in the buffer: this object, or a copy."""
        if self.count == self.folded:
            return self
        copy = merge([self])
        copy._fold(torch.cat(self.waiting))
        return copy

    def _fold(self, rows: Tensor) -> None:
        """Add the scatter of rows [r, d] about their mean, and that of both means about the common mean."""
        rows = rows.double()
        n, r = self.folded, len(rows)
        mean = rows.mean(0)
        apart = (mean - self.centre) * (n * r / (n + r)) ** 0.5
        X = torch.cat([rows - mean, apart[None]])
        for i in range(0, self.size, TILE):  # the lower triangle is as good as known
            self.scatter[i : i + TILE, i:].addmm_(X[:, i : i + TILE].T, X[:, i:])
        self.centre += (mean - self.centre) * (r / (n + r))
        self.folded += r

    def _check(self, least: int) -> None:
        if self.count < least:
            raise UsageError(f"moments of {self.count} images are not defined: take {least} or more")


def merge(parts: Sequence[Moments]) -> Moments:
    """The moments of all parts together, which have one width: sum_j S_j + sum_j n_j (m_j - m)(m_j - m)^T."""
    whole = Moments(parts[0].size)
    counts = torch.tensor([part.folded for part in parts], dtype=torch.float64)
    centres = torch.stack([part.centre for part in parts])
    whole.folded = int(counts.sum())
    whole.centre = counts @ centres / max(whole.folded, 1)
    apart = (centres - whole.centre) * counts.sqrt()[:, None]
    whole.scatter.addmm_(apart.T, apart)
    for part in parts:
        whole.scatter += part.scatter
    return whole


def frechet_distance(a: Moments, b: Moments) -> float:
    """The squared Fréchet (2-Wasserstein) distance between the Gaussians with these moments.

        |mu_a - mu_b|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2)

    It is 0 or more, and symmetric in a and b. It uses symmetric eigenvalues only; eigenvalues below 0 by
    rounding count as 0. So covariances of any rank are right, even that of one repeated image. It is cheaper
    where one side has fewer images than features. Raises UsageError on fewer than 2 images or unequal widths.
    Source: Dowson and Landau 1982; Heusel 2017 (FID), section 3.

    >>> a, b = Moments(1), Moments(1)
    >>> a.add(torch.tensor([[-1.0], [0.0], [1.0]]))  # mean 0, deviation 1
    >>> b.add(torch.tensor([[2.0], [5.0], [8.0]]))  # mean 5, deviation 3
    >>> round(frechet_distance(a, b), 12)
    29.0
    """
    first, second = sorted((a, b), key=lambda moments: moments.count)
    return distance_to(first)(second)


def distance_to(a: Moments) -> Callable[[Moments], float]:
    """`frechet_distance` from a. The square root of its covariance, the expensive part, is computed once for all b.

    F [d, r] with F F^T = A replaces A^1/2: the eigenvalues of F^T B F are the nonzero ones of A^1/2 B A^1/2.
    """
    A, mean = a.covariance, a.mean
    values, vectors = torch.linalg.eigh(A)
    kept = values > values[-1].clamp(min=0) * a.size * torch.finfo(torch.float64).eps
    F = vectors[:, kept] * values[kept].sqrt()

    def distance(b: Moments) -> float:
        if b.size != a.size:
            raise UsageError(f"features of size {a.size} and {b.size} cannot be compared: use one extractor")
        B = b.covariance
        root = torch.linalg.eigvalsh(F.T @ B @ F).clamp(min=0).sqrt().sum()
        apart = (mean - b.mean).square().sum()
        return max((apart + A.trace() + B.trace() - 2 * root).item(), 0.0)  # below 0 by rounding alone

    return distance


def check_features(features: Tensor, size: int, name: str = "features") -> None:
    """Raise UsageError unless features are finite floating point numbers [n, size]."""
    if features.ndim != 2 or features.shape[1] != size or not features.is_floating_point():
        raise UsageError(
            f"{name} must be floating point [n, {size}], not {features.dtype} {list(features.shape)}: use one extractor"
        )
    if bad := int((~features.isfinite()).any(1).sum()):
        raise UsageError(
            f"{bad} of {len(features)} images have {name} that are not finite: a diverged run has no score"
        )
