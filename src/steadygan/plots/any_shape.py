"""A picture of samples of any shape: points, tables, signals, images and video."""

import torch
from PIL import Image
from torch import Tensor

from steadygan.plots import samples as pictures

__all__ = ["curves", "picture"]

CLIPS = 8  # clips of video in a picture
HIGH, WIDE = 48, 96  # pixels of one signal's curve


def picture(samples: Tensor, target: Tensor | None, title: str, columns: int | None = None) -> Image.Image:
    """Draw samples [n, ...]; `target` are real ones, whose extent is the view of points and signals (else their own).

    - [n, d]: a scatter plot over the target, of the first two columns of a table.
    - [n, C, T]: signals, a curve for each channel.
    - [n, C, H, W]: images, of which the first one or three channels are drawn. [n, C, T, H, W]: a row of frames each.

    >>> picture(torch.zeros(4, 1, 20), torch.randn(9, 1, 20), "signals").mode
    'RGB'
    """
    target = samples if target is None else target
    if samples.ndim == 2:
        return pictures.scatter(_planar(samples), _planar(target), title=title)
    if samples.ndim == 3:
        return pictures.grid(curves(samples, target), columns, zoom=1)
    if samples.ndim == 5:
        frames = samples[:CLIPS].transpose(1, 2)
        return pictures.grid(_drawn(frames.flatten(0, 1)), columns=frames.shape[1])
    return pictures.grid(_drawn(samples), columns)


def curves(signals: Tensor, target: Tensor) -> Tensor:
    """Draw signals [n, C, T] as white images [n, 1, 48, 96] with a dark curve for each channel.

    The view reaches from the lowest to the highest value of `target`. A value outside is drawn on the edge.

    >>> curves(torch.tensor([[[0.0, 1.0]]]), torch.tensor([[[0.0, 1.0]]]))[0, 0, [0, -1], [95, 0]]
    tensor([-1., -1.])
    """
    low, high = target.min(), target.max()
    place = torch.linspace(0, signals.shape[2] - 1, WIDE).round().long()
    share = (
        ((signals.cpu().float()[:, :, place] - low) / (high - low).clamp_min(1e-12)).nan_to_num().clamp(0, 1)
    )
    row = ((1 - share) * (HIGH - 1)).round()
    before = torch.cat([row[:, :, :1], row[:, :, :-1]], 2)
    rows = torch.arange(HIGH)[:, None]
    lines = (rows >= torch.minimum(row, before)[:, :, None]) & (
        rows <= torch.maximum(row, before)[:, :, None]
    )
    return 1 - 2 * lines.any(1, keepdim=True).float()


def _planar(points: Tensor) -> Tensor:
    """Points [n, d] as [n, 2]: the first two columns, or a second one of zeros."""
    return torch.cat([points, torch.zeros_like(points)], 1)[:, :2] if points.shape[1] == 1 else points[:, :2]


def _drawn(images: Tensor) -> Tensor:
    """The first three channels of images [n, C, H, W], or the first one where there are fewer."""
    return images[:, :3] if images.shape[1] >= 3 else images[:, :1]
