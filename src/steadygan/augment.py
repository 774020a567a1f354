"""Differentiable augmentations of what D sees, of reals and fakes alike, so that G learns through them too.

Both pipelines take images x [N, C, H, W] in [-1, 1] and their uniform numbers u, a fixed count for each
sample. They treat each sample on its own, and can be differentiated twice in x. D(T(x)) replaces D(x) in the
critic's loss and in the generator's. The numbers are drawn anew for each batch of images.
"""

import math
from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from steadygan.consistency import check_images, pixels, translate
from steadygan.errors import UsageError, nearest

__all__ = ["ADA_NUMBERS", "DIFFAUGMENT", "DIFFAUGMENT_NUMBERS", "ada", "adapt", "check_policy", "diffaugment"]


def _integer(u: Tensor, count: int) -> Tensor:
    """A whole number uniform on 0 .. count - 1, from u uniform in [0, 1). A u that rounding made 1 gives count - 1."""
    return (u * count).floor().clamp(max=count - 1)


# ---------------------------------------------------------------------------------------------- DiffAugment


def _color(x: Tensor, u: Tensor) -> Tensor:
    """Brightness +-1/2, saturation x 0 .. 2 about each pixel's mean, contrast x 1/2 .. 3/2 about the image's."""
    brightness, saturation, contrast = u.view(*u.shape, 1, 1, 1).unbind(1)
    x = x + (brightness - 0.5)
    mean = x.mean(1, keepdim=True)
    x = mean + 2 * saturation * (x - mean)
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (contrast + 0.5) * (x - mean)


def _translation(x: Tensor, u: Tensor) -> Tensor:
    """A shift by whole pixels, up to an eighth of the side each way. Vacated pixels are 0 (mid-grey in [-1, 1])."""
    most = [int(side / 8 + 0.5) for side in x.shape[2:]]
    down, right = (_integer(u[:, i], 2 * most[i] + 1).long() - most[i] for i in (0, 1))
    return translate(x, down, right, 0.0)


def _cutout(x: Tensor, u: Tensor) -> Tensor:
    """A rectangle of half the side each way set to 0, with its centre anywhere in the image."""
    outside = []
    for axis, side in enumerate(x.shape[2:]):
        size = int(side / 2 + 0.5)
        start = _integer(u[:, axis], side + 1 - size % 2) - size // 2
        place = torch.arange(side, device=x.device)
        outside.append((place < start[:, None]) | (place >= start[:, None] + size))
    keep = outside[0][:, :, None] | outside[1][:, None]
    return torch.where(keep[:, None], x, 0.0)


DIFFAUGMENT = {
    "color": (_color, slice(0, 3)),
    "translation": (_translation, slice(3, 5)),
    "cutout": (_cutout, slice(5, 7)),
}
"""Each of DiffAugment's policies, and which of the uniform numbers it uses, always the same ones."""

DIFFAUGMENT_NUMBERS = 7
"""Uniform numbers that `diffaugment` takes for a sample."""


def diffaugment(x: Tensor, u: Tensor, policy: Sequence[str] = ("color", "translation", "cutout")) -> Tensor:
    """Apply the transformations of `policy` in turn to images x [N, C, H, W] in [-1, 1], with u [N, 7] uniform.

    - color: brightness + U(-1/2, 1/2), saturation x U(0, 2), contrast x U(1/2, 3/2).
    - translation: by up to 1/8 of the side, filled with zeros.
    - cutout: 1/2 of the side, set to zero.

    They are always applied, to reals and fakes, in D's loss and G's. Raises UsageError on unknown or repeated
    names in the policy and on other shapes. Source: Zhao 2020 (DiffAugment), ranges of their code.

    >>> x, u = torch.ones(1, 1, 1, 8), torch.tensor([[0.75, 0.5, 0.5, 0.5, 0.9, 0.0, 0.5]])
    >>> diffaugment(x, u, ("color", "translation")).flatten()
    tensor([0.0000, 1.2500, 1.2500, 1.2500, 1.2500, 1.2500, 1.2500, 1.2500])
    """
    check_images(x, u, (DIFFAUGMENT_NUMBERS,))
    check_policy(policy)
    for name in policy:
        augment, own = DIFFAUGMENT[name]
        x = augment(x, u[:, own])
    return x


def check_policy(policy: Sequence[str]) -> None:
    """Raise UsageError where `policy` names a change that DiffAugment does not have, or names one twice.

    >>> check_policy(("color", "cutout"))
    """
    for name in policy:
        if name not in DIFFAUGMENT:
            raise UsageError(f"DiffAugment has no policy {name!r}: {nearest(name, DIFFAUGMENT)}")
    if len(set(policy)) < len(policy):
        raise UsageError(f"DiffAugment's policy must name each change once, not {list(policy)}")


# -------------------------------------------------------------------------------------------------------- ADA


GEOMETRY_NUMBERS, COLOR_NUMBERS = 18, 10

ADA_NUMBERS = GEOMETRY_NUMBERS + COLOR_NUMBERS
"""Uniform numbers that `ada` takes for a sample: whether each transformation is applied, and how large it is."""


def ada(x: Tensor, p: Tensor, u: Tensor) -> Tensor:
    """Apply each transformation of ADA with probability p to each sample of x [N, C, H, W]; u [N, 28] is uniform.

    These are blit, geometry and colour ("bgc") of Karras 2020 (adaptive discriminator augmentation), in their
    order and ranges:

    - mirror, quarter turn, shift by up to 1/8 of the side;
    - scale 2^N(0, 0.2^2), rotation, stretch 2^N(0, 0.2^2), rotation, shift N(0, 1/8^2) of the side;
    - brightness N(0, 0.2^2), contrast 2^N(0, 1/2^2), luma flip, hue rotation, saturation 2^N(0, 1).

    They are one affine map with one bilinear resampling, and one colour matrix. The resampling reflects about
    the border pixels. Images have 3 channels, or 1, which has no hue and saturation. The original upsamples
    through a wavelet filter before and after, so this one blurs a little more. At p = 0 it is the identity,
    bit for bit.

    The resampling is four gathers, because grid_sample has a second derivative only in recent versions of
    torch. Raises UsageError on other shapes or numbers of channels.

    >>> x = torch.rand(2, 3, 8, 8)
    >>> torch.equal(ada(x, torch.tensor(0.0), torch.rand(2, ADA_NUMBERS)), x)
    True
    """
    check_images(x, u, (ADA_NUMBERS,))
    if x.shape[1] not in (1, 3):
        raise UsageError(f"ADA takes images of 1 or 3 channels, not {x.shape[1]}")
    wide = torch.promote_types(x.dtype, torch.float32)
    p = torch.as_tensor(p, dtype=wide, device=x.device)
    geometry, color = u.to(wide).split([GEOMETRY_NUMBERS, COLOR_NUMBERS], 1)
    moved = _resample(x.to(wide), _geometry(p, geometry, *x.shape[2:]))
    return _colored(moved, _color_matrix(p, color)).to(x.dtype)


def adapt(
    p: Tensor, sign_real: Tensor, images: int | Tensor, target: float = 0.6, over: float = 500_000
) -> Tensor:
    """Return p + sign(sign_real - target) * images / over, clipped to [0, 1]: ADA's control of the probability p.

    sign_real is the mean of sign(D(x)) over reals since the last call. `images` is how many reals were shown
    since then. So p goes from 0 to 1 in no less than `over` images. Source: Karras 2020 (ADA), every 4 steps.
    Their code has no upper bound. There p above 1 changes nothing, but takes longer to come back. A difference below
    1e-6 counts as none. It may be rounding alone, and that depends on how many processes share a batch.

    >>> adapt(torch.tensor(0.5), torch.tensor(0.7), 50_000)
    tensor(0.6000)
    """
    excess = sign_real - target
    direction = torch.where(excess.abs() < 1e-6, 0.0, excess.sign())
    return (p + direction * images / over).clamp(0, 1)


def _normal(u: Tensor) -> Tensor:
    """N(0, 1) from u uniform in [0, 1). u is clamped, so that 0 does not give infinity."""
    return torch.special.ndtri(u.clamp(1e-7, 1 - 1e-7))


def _matrices(like: Tensor, *rows: Sequence[Tensor | float]) -> Tensor:
    """Square matrices [N, n, n] from rows of entries, each a number or a tensor like `like` [N]."""
    zero = torch.zeros_like(like)
    return torch.stack([torch.stack([entry + zero for entry in row], -1) for row in rows], -2)


def _scaling(across: Tensor, down: Tensor) -> Tensor:
    return _matrices(across, (across, 0, 0), (0, down, 0), (0, 0, 1))


def _turning(cos: Tensor, sin: Tensor) -> Tensor:
    return _matrices(cos, (cos, -sin, 0), (sin, cos, 0), (0, 0, 1))


def _moving(across: Tensor, down: Tensor) -> Tensor:
    return _matrices(across, (1, 0, across), (0, 1, down), (0, 0, 1))


def _geometry(p: Tensor, u: Tensor, height: int, width: int) -> Tensor:
    """The affine map [N, 3, 3] from a pixel of the output to the pixel of the input that it shows, about the centre.

    It is the inverse of the transformation. So each step stands inverted, and the first step leftmost.
    """
    whether, how = u[:, :8], u[:, 8:]
    either = (
        1 - (1 - p).clamp(0, 1).sqrt()
    )  # so that at least one of the two rotations comes with probability p
    chance = torch.stack([p, p, p, p, either, p, either, p])
    mirror, quarter, shift, scale, turn, stretch, turn_again, slide = (whether < chance).unbind(1)

    def when(applied: Tensor, value: Tensor, otherwise: float = 0.0) -> Tensor:
        return torch.where(applied, value, otherwise)

    flipped = when(mirror, 1 - 2 * _integer(how[:, 0], 2), 1.0)
    quarters = when(quarter, _integer(how[:, 1], 4))
    right, down = (when(shift, ((2 * how[:, i] - 1) * s / 8).round()) for i, s in ((2, width), (3, height)))
    size = when(scale, torch.exp2(0.2 * _normal(how[:, 4])), 1.0)
    angles = [when(on, (2 * how[:, i] - 1) * math.pi) for on, i in ((turn, 5), (turn_again, 7))]
    ratio = when(stretch, torch.exp2(0.2 * _normal(how[:, 6])), 1.0)
    slid = [when(slide, _normal(how[:, i]) / 8 * s) for i, s in ((8, width), (9, height))]
    return reduce(
        torch.matmul,
        [
            _scaling(flipped, torch.ones_like(flipped)),
            _turning(*(((quarters == a).to(u) - (quarters == b).to(u)) for a, b in ((0, 2), (1, 3)))),
            _moving(-right, -down),
            _scaling(1 / size, 1 / size),
            _turning(angles[0].cos(), angles[0].sin()),
            _scaling(1 / ratio, ratio),
            _turning(angles[1].cos(), angles[1].sin()),
            _moving(-slid[0], -slid[1]),
        ],
    )


def _resample(x: Tensor, inverse: Tensor) -> Tensor:
    """Images whose pixel at (column, row) from the centre is x at `inverse` [N, 3, 3] of it, bilinear, reflected."""
    height, width = x.shape[2:]
    rows = torch.arange(height, dtype=x.dtype, device=x.device) - (height - 1) / 2
    columns = torch.arange(width, dtype=x.dtype, device=x.device) - (width - 1) / 2
    down, across = torch.broadcast_tensors(rows[:, None], columns)
    there = inverse @ torch.stack([across, down, torch.ones_like(down)]).flatten(1)
    column = there[:, 0].view(-1, height, width) + (width - 1) / 2
    row = there[:, 1].view(-1, height, width) + (height - 1) / 2
    left, top = column.floor(), row.floor()
    to_right, to_bottom = (column - left)[:, None], (row - top)[:, None]

    def at(below: int, beside: int) -> Tensor:
        return pixels(x, _reflected(top.long() + below, height), _reflected(left.long() + beside, width))

    upper = (1 - to_right) * at(0, 0) + to_right * at(0, 1)
    lower = (1 - to_right) * at(1, 0) + to_right * at(1, 1)
    return (1 - to_bottom) * upper + to_bottom * lower


def _reflected(place: Tensor, side: int) -> Tensor:
    """Indices beyond the border, reflected about the border pixel as often as necessary."""
    period = max(1, 2 * (side - 1))
    place = place.remainder(period)
    return torch.where(place < side, place, period - place)


AROUND_GREY: list[list[float]] = [
    [0, -(3**-0.5), 3**-0.5, 0],
    [3**-0.5, 0, -(3**-0.5), 0],
    [-(3**-0.5), 3**-0.5, 0, 0],
    [0] * 4,
]
"""The cross product with the unit vector along grey. It generates rotations of the hue."""


def _color_matrix(p: Tensor, u: Tensor) -> Tensor:
    """The matrix [N, 4, 4] on (red, green, blue, 1): brightness, contrast, luma flip, hue, saturation in this order."""
    lighten, contrast, invert, turn, saturate = (u[:, :5] < p).unbind(1)
    light, strength, flip, angle, color = u[:, 5:].unbind(1)
    light = torch.where(lighten, 0.2 * _normal(light), 0.0)
    strength = torch.where(contrast, torch.exp2(0.5 * _normal(strength)), 1.0)
    flip = torch.where(invert, _integer(flip, 2), 0.0)
    angle = torch.where(turn, (2 * angle - 1) * math.pi, 0.0)
    color = torch.where(saturate, torch.exp2(_normal(color)), 1.0)

    # Constants are made of plain numbers: a list would be copied to a GPU at every step, and the step would wait.
    eye = torch.eye(4, dtype=u.dtype, device=u.device)
    grey = 1 - eye[3]
    luma = grey.outer(grey) / 3  # onto the grey axis
    chroma = grey.diag() - luma
    around = _matrices(eye[0, :1], *AROUND_GREY)
    saturated = eye + (color - 1).view(-1, 1, 1) * chroma
    turned = eye + (angle.cos() - 1).view(-1, 1, 1) * chroma + angle.sin().view(-1, 1, 1) * around
    inverted = eye - 2 * flip.view(-1, 1, 1) * luma
    s, b = strength, light
    scaled = _matrices(s, (s, 0, 0, 0), (0, s, 0, 0), (0, 0, s, 0), (0, 0, 0, 1))
    lightened = _matrices(b, (1, 0, 0, b), (0, 1, 0, b), (0, 0, 1, b), (0, 0, 0, 1))
    return saturated @ turned @ inverted @ scaled @ lightened


def _colored(x: Tensor, matrix: Tensor) -> Tensor:
    """Pixels mapped by `matrix` [N, 4, 4]. One channel is mapped as a grey of three, and averaged."""
    linear, offset = matrix[:, :3, :3], matrix[:, :3, 3:]
    if x.shape[1] == 1:
        linear, offset = linear.sum(2, keepdim=True).mean(1, keepdim=True), offset.mean(1, keepdim=True)
    return (linear @ x.flatten(2) + offset).view_as(x)
