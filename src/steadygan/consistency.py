"""Consistency regularization: a critic should give a sample and its slightly changed copy the same logit.

Transformations take their uniform or normal numbers as arguments, and treat each sample on its own. They are
linear in the images, so a term built on them can be differentiated as often as a penalty needs. A critic is
any callable x [N, ...] -> logits [N]. Terms are unweighted.

Of a critic with a map of logits, or of several critics, a term is the mean over all logits of a critic, summed over
critics. `logits=lambda out: out[0]` takes the logits out of a tuple or dict. `y=labels` calls D(x, y).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from steadygan.critic_outputs import AnyCritic, Condition, Logits, answer, paired, total, wide
from steadygan.errors import UsageError

__all__ = [
    "bcr",
    "check_images",
    "cr",
    "disagreement",
    "flip",
    "flip_and_shift",
    "jitter",
    "pixels",
    "shift",
    "translate",
    "zcr_discriminator",
    "zcr_generator",
]


def check_images(x: Tensor, u: Tensor, numbers: tuple[int, ...]) -> None:
    """Raise UsageError unless x is a batch of images [N, C, H, W] and u has its `numbers`: [N, *numbers].

    >>> check_images(torch.zeros(2, 3, 4, 4), torch.zeros(2, 5), (5,))
    """
    if x.ndim != 4:
        raise UsageError(f"images must be [N, C, H, W], not {list(x.shape)}: for points use `jitter`")
    if u.shape != (len(x), *numbers):
        raise UsageError(f"{len(x)} images need uniform numbers {[len(x), *numbers]}, not {list(u.shape)}")


def flip(x: Tensor, u: Tensor) -> Tensor:
    """Mirror images x [N, C, H, W] left to right where u [N], uniform in [0, 1), is below 1/2.

    Raises UsageError on other shapes.

    >>> flip(torch.tensor([[[[1.0, 2.0]]], [[[1.0, 2.0]]]]), torch.tensor([0.4, 0.6])).flatten(1)
    tensor([[2., 1.],
            [1., 2.]])
    """
    check_images(x, u, ())
    return torch.where((u < 0.5).view(-1, 1, 1, 1), x.flip(-1), x)


def pixels(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return images made of the pixels of x [N, C, H, W] at `rows` and `columns`, both int64 [N, h, w].

    >>> pixels(torch.arange(4.0).view(1, 1, 2, 2), torch.tensor([[[1]]]), torch.tensor([[[0]]])).item()
    2.0
    """
    channels, width = x.shape[1], x.shape[3]
    index = (rows * width + columns).flatten(1)
    picked = x.flatten(2).gather(2, index[:, None].expand(-1, channels, -1))
    return picked.unflatten(2, rows.shape[1:])


def translate(x: Tensor, down: Tensor, right: Tensor, fill: float) -> Tensor:
    """Shift images x [N, C, H, W] by `down` and `right` whole pixels, int64 [N]. Vacated pixels are `fill`.

    >>> translate(torch.ones(1, 1, 2, 2), torch.tensor([1]), torch.tensor([0]), 0.0)[0, 0]
    tensor([[0., 0.],
            [1., 1.]])
    """
    height, width = x.shape[2:]
    rows = (torch.arange(height, device=x.device) - down[:, None])[:, :, None]
    columns = (torch.arange(width, device=x.device) - right[:, None])[:, None]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    moved = pixels(x, *torch.broadcast_tensors(rows.clamp(0, height - 1), columns.clamp(0, width - 1)))
    return torch.where(inside[:, None], moved, fill)


def shift(x: Tensor, u: Tensor, share: float = 0.2, fill: float = -1.0) -> Tensor:
    """Shift images x [N, C, H, W] by round((2 u - 1) * share * side) pixels down (u[:, 0]) and right (u[:, 1]).

    u [N, 2] is uniform in [0, 1). Vacated pixels are `fill`, black in [-1, 1]. That is the zero fill of 8-bit
    images in GN-GAN's code, as is the default share of the side. Raises UsageError on other shapes.

    >>> shift(torch.tensor([[[[1.0, 2.0, 3.0, 4.0, 5.0]]]]), torch.tensor([[0.5, 1.0]])).flatten()
    tensor([-1.,  1.,  2.,  3.,  4.])
    """
    check_images(x, u, (2,))
    down, right = ((2 * u[:, i] - 1) * share * x.shape[2 + i] for i in (0, 1))
    return translate(x, down.round().long(), right.round().long(), fill)


def flip_and_shift(x: Tensor, u: Tensor, share: float = 0.2, fill: float = -1.0) -> Tensor:
    """Apply CR's transformation to images x [N, C, H, W]: `flip` by u[:, 0], then `shift` by u[:, 1:].

    u [N, 3] is uniform in [0, 1). Raises UsageError on other shapes. Source: Zhang 2020 (flips, and shifts by
    a few pixels). The share is that of GN-GAN's and PGN's code.

    >>> flip_and_shift(torch.arange(5.0).view(1, 1, 1, 5), torch.tensor([[0.0, 0.5, 0.0]])).flatten()
    tensor([ 3.,  2.,  1.,  0., -1.])
    """
    check_images(x, u, (3,))
    return shift(flip(x, u[:, 0]), u[:, 1:], share, fill)


def jitter(x: Tensor, noise: Tensor, sigma: float = 0.05) -> Tensor:
    """Return x + sigma noise, with noise ~ N(0, I) shaped like x: a small change of points, which have no mirror image.

    Raises UsageError on unequal shapes. Zhang 2020 tried it on images as well, where it helped less than
    flips and shifts.

    >>> jitter(torch.zeros(1, 2), torch.tensor([[1.0, -2.0]]))
    tensor([[ 0.0500, -0.1000]])
    """
    _same_shape(x, noise)
    return x + sigma * noise


def disagreement(logits: Logits, moved_logits: Logits) -> Tensor:
    """Return mean_i (moved_i - logit_i)^2 of two sets of logits, over all of a critic, summed over critics.

    Raises UsageError on unequal shapes.

    >>> disagreement(torch.tensor([1.0, 0.0]), torch.tensor([3.0, 0.0])).item()
    2.0
    """
    return total([_disagreement(*pair) for pair in paired(logits, moved_logits)])


def _disagreement(logits: Tensor, moved: Tensor) -> Tensor:
    _same_shape(logits, moved)
    return (wide(moved) - wide(logits)).square().mean()


def cr(
    critic: AnyCritic,
    x_real: Tensor,
    x_moved: Tensor,
    *,
    y: Condition | None = None,
    logits: Callable[[Any], Logits] | None = None,
) -> Tensor:
    """Return mean_i (D(T x_i) - D(x_i))^2 with x_moved = T x_real: a scalar for D's loss, with gradients through both.

    `y` and `logits` are this module's. Raises UsageError on unequal shapes. Source: Zhang 2020 (consistency
    regularization, CR-GAN), on the last layer alone (weight 10; 5 in GN-GAN's and PGN's code).

    >>> x = torch.zeros(4, 2)
    >>> cr(lambda x: 3 * x[:, 0], x, x + 1)
    tensor(9.)
    """
    _same_shape(x_real, x_moved)
    # Clones: the first layer may work in place.
    return disagreement(*(answer(critic, x.clone(), y=y, logits=logits) for x in (x_real, x_moved)))


def bcr(
    critic: AnyCritic,
    x_real: Tensor,
    moved_real: Tensor,
    x_fake: Tensor,
    moved_fake: Tensor,
    weight_fake: float = 1.0,
    *,
    y: Condition | None = None,
    y_fake: Condition | None = None,
    logits: Callable[[Any], Logits] | None = None,
) -> Tensor:
    """Return `cr` on the reals plus weight_fake times `cr` on the fakes: balanced consistency, a scalar for D's loss.

    CR on reals alone lets the transformations leak into the samples. `y` is that of the reals, `y_fake` that of the
    fakes. Raises UsageError on one of them alone. Source: Zhao 2021 (improved consistency regularization, ICR),
    bCR (10 for both parts).

    >>> x = torch.zeros(4, 2)
    >>> bcr(lambda x: x[:, 0], x, x + 1, x, x + 2, weight_fake=0.5)
    tensor(3.)
    """
    if (y is None) != (y_fake is None):
        raise UsageError("bcr needs the y of the reals and that of the fakes: pass both y and y_fake")
    real = cr(critic, x_real, moved_real, y=y, logits=logits)
    return real + weight_fake * cr(critic, x_fake, moved_fake, y=y_fake, logits=logits)


def zcr_discriminator(
    critic: AnyCritic,
    x_fake: Tensor,
    x_near: Tensor,
    *,
    y: Condition | None = None,
    logits: Callable[[Any], Logits] | None = None,
) -> Tensor:
    """Return mean_i (D(G(z_i)) - D(G(z_i + dz_i)))^2, dz ~ N(0, sigma^2 I): latent consistency, a scalar for D's loss.

    x_near are the fakes of the moved latents `jitter(z, noise, sigma)`. `y` and `logits` are this module's. Source:
    Zhao 2021 (ICR), zCR.

    >>> zcr_discriminator(lambda x: x[:, 0], torch.zeros(4, 2), torch.ones(4, 2))
    tensor(1.)
    """
    return cr(critic, x_fake, x_near, y=y, logits=logits)


def zcr_generator(x_fake: Tensor, x_near: Tensor) -> Tensor:
    """Return -mean (G(z) - G(z + dz))^2 over the batch and every input dimension: it rewards G for unlike samples.

    G minimises it. It is unbounded below, so its weight must be small beside the loss. Zhao 2021 (ICR), zCR,
    prints a squared norm. This is its mean over the pixels, so that one weight serves every resolution.
    Others reproduced it so (Karras 2020's comparison in their code). Raises UsageError on unequal shapes.

    >>> zcr_generator(torch.zeros(4, 3, 8, 8), torch.full((4, 3, 8, 8), 2.0))
    tensor(-4.)
    """
    _same_shape(x_fake, x_near)
    return -(wide(x_near) - wide(x_fake)).square().mean()


def _same_shape(x: Tensor, moved: Tensor) -> None:
    if x.shape != moved.shape:
        raise UsageError(
            f"consistency compares each sample with its moved copy, but the shapes are {list(x.shape)} and "
            f"{list(moved.shape)}: pass the same number of each"
        )
