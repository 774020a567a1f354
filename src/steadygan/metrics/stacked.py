"""Mode counts of stacked images: a classifier labels each channel, so three digits have 1,000 modes."""

import math

import torch
from torch import Tensor

from steadygan.errors import UsageError
from steadygan.metrics.extractors.classifier import Classifier
from steadygan.metrics.points import kl_to_uniform

__all__ = ["SAMPLES", "expected_kl", "expected_modes", "stacked_modes"]

SAMPLES = 26_000
"""Samples of the final score in the literature (Metz 2017)."""


def stacked_modes(images: Tensor, classifier: Classifier) -> dict[str, float]:
    """Count the modes that images [n, C, H, W] in [-1, 1] show, and how evenly they spread over all modes.

    The class of a channel is that of its largest logit. The mode of an image is the tuple of its C classes.
    `modes` is the number of modes seen at least once, of K^C for K classes.

        mode_kl = sum_j p_j log(K^C p_j) nats,    p = histogram of the images over the modes

    It is 0 when even and log K^C for a single mode. Both scores depend on n: `expected_modes` and
    `expected_kl` give the values of perfect samples. A wrong class counts as a mode too, so `modes` of a
    collapsed generator is an upper bound. Raises UsageError on images that are not finite or that the
    classifier does not take. Source: Metz 2017 (unrolled GAN), section 3.3.1, and Srivastava 2017 (VEEGAN),
    with 26,000 samples.
    """
    if images.ndim != 4 or not len(images):
        raise UsageError(f"stacked images must be [n, C, H, W] with n at least 1, not {list(images.shape)}")
    if bad := int((~images.isfinite()).flatten(1).any(1).sum()):
        raise UsageError(f"{bad} of {len(images)} images are not finite: a diverged run has no score")
    logits = classifier.logits(images.flatten(0, 1)[:, None])
    channels, count = images.shape[1], logits.shape[1]
    places = count ** torch.arange(channels - 1, -1, -1)
    mode = (logits.argmax(1).view(-1, channels) * places).sum(1)
    counts = torch.bincount(mode, minlength=count**channels)
    return {"modes": float((counts > 0).sum()), "mode_kl": kl_to_uniform(counts)}


def expected_modes(n: int, m: int = 1000) -> float:
    """The mean number of modes that n perfect samples of m equally likely modes show: m (1 - (1 - 1/m)^n).

    This is the coupon collector's count. Source: Feller 1968, volume 1, section IX.3.

    >>> round(expected_modes(1000), 3), round(expected_modes(26_000), 8)
    (632.305, 999.99999999)
    """
    return m * -math.expm1(n * math.log1p(-1 / m))


def expected_kl(n: int, m: int = 1000) -> float:
    """The mean of `mode_kl` over n perfect samples of m equally likely modes: about (m - 1) / 2n.

        log m + m E[(K / n) log(K / n)],    K ~ binomial(n, 1/m)

    The value is exact: a sum over all n + 1 values of K.

    >>> round(expected_kl(26_000), 5), round(999 / 52_000, 5)
    (0.01934, 0.01921)
    """
    k = torch.arange(n + 1, dtype=torch.float64)
    ways = math.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
    chance = (ways - k * math.log(m) + (n - k) * math.log1p(-1 / m)).exp()
    return math.log(m) + m * (chance * torch.xlogy(k / n, k / n)).sum().item()
