"""The weight that a zero-centered penalty (r1, r2, zero_centered) needs: measured on a critic, or by rule.

Let real logits lie gap / 2 above zero and fake ones gap / 2 below. Let the critic climb that gap over the
`distance` = gap / slope, in the data's units. A critic that is free to change its scale comes to rest where
l(gap) + weight (gap / distance)^2 is least, with l D's loss of two such logits. So each weight has its gap. A
useful critic is neither sure (then its pull on the fakes is gone) nor unable to tell them apart. That choice
of gap gives the weight.
"""

import torch
from torch import Tensor

from steadygan.errors import UsageError
from steadygan.losses import Loss

__all__ = ["gap_at", "pull", "rescaled", "weight_for"]


def pull(loss: Loss, gap: float) -> float:
    """Return -dl/dgap: how much D still gains by separating logits that lie `gap` apart, symmetric about zero.

    For the logistic losses it is sigmoid(-gap / 2): 1/2 for a critic that tells nothing apart, 0 for a sure
    one.

    >>> from steadygan.losses import non_saturating
    >>> pull(non_saturating, 0.0)
    0.5
    """
    apart = torch.tensor(gap, dtype=torch.float64, requires_grad=True)
    value: Tensor = loss.discriminator(apart[None] / 2, -apart[None] / 2)
    (slope,) = torch.autograd.grad(value, apart)
    return -slope.item()


def gap_at(loss: Loss, share: float) -> float:
    """Return the gap at which only `share` of the pull at gap 0 is left, by bisection.

    Raises UsageError for a loss whose pull does not fall smoothly (wasserstein, hinge). There no gap differs
    from another. Also for a share below 1e-9, and for 1 or more.

    >>> from steadygan.losses import non_saturating
    >>> round(gap_at(non_saturating, 0.3), 3)
    3.469
    """
    if not 1e-9 <= share < 1:
        raise UsageError(
            f"share is the part of the pull that is left, from 1e-9 to below 1, not {share}: take 0.3"
        )
    wanted = share * pull(loss, 0.0)
    low, high = 0.0, 1.0
    while pull(loss, high) > wanted and high < 64:
        high *= 2
    if pull(loss, high) > wanted or pull(loss, 1e-3) >= pull(loss, 0.0):
        raise UsageError(
            "the weight follows from how far the critic's loss is saturated, but this loss does not saturate "
            "gradually: probe with game.loss=non_saturating"
        )
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if pull(loss, middle) > wanted else (low, middle)
    return (low + high) / 2


def weight_for(loss: Loss, gap: float, distance: float) -> float:
    """Return the weight (no 1/2) under which a free critic rests at `gap`: pull distance^2 / (2 gap).

    For the logistic losses and a small gap that is distance^2 / (4 gap). Raises UsageError unless the gap is
    positive.

    >>> from steadygan.losses import non_saturating
    >>> round(weight_for(non_saturating, 0.01, distance=2.0), 1)
    99.8
    """
    if not gap > 0:
        raise UsageError(f"a critic that tells reals from fakes rests at a positive gap, not {gap}")
    return pull(loss, gap) * distance**2 / (2 * gap)


def rescaled(weight: float, pixels: int, batch: int, new_pixels: int, new_batch: int) -> float:
    """Scale a weight that worked at one resolution and batch size to another: as pixels / batch.

    Squared distances between images grow with the number of pixels, and the weight with them. Small batches
    make noisier critics. Raises UsageError for counts below 1. Source: Karras 2020 (StyleGAN2-ADA), the
    automatic setting: gamma = 0.0002 pixels / batch, with the 1/2.

    >>> rescaled(1.0, 32 * 32, 64, 64 * 64, 64)
    4.0
    """
    if min(pixels, batch, new_pixels, new_batch) < 1:
        raise UsageError("pixels and batch sizes must be 1 or more")
    return weight * (new_pixels / pixels) * (batch / new_batch)
