"""A picture of samples of any shape: points, tables, signals, images and video."""

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from steadygan.plots import samples as pictures

__all__ = ["curves", "picture"]

CLIPS = 8  # clips of video in a picture
HIGH, WIDE = 48, 96  # pixels of one signal's curve
APART = 4  # ratio of two columns' spreads from which a common scale would show a line


def picture(samples: Tensor, target: Tensor | None, title: str, columns: int | None = None) -> Image.Image:
    """Draw samples [n, ...]; `target` are real ones, whose extent is the view of points and signals (else their own).

    - [n, d]: a scatter plot over the target, of the first two columns of a table. Where their spreads differ much,
      both are in standard deviations. One column is drawn by its quantiles, over those of the target.
    - [n, C, T]: signals, a curve for each channel.
    - [n, C, H, W]: images, of which the first one or three channels are drawn. [n, C, T, H, W]: a row of frames each.

    >>> picture(torch.zeros(4, 1, 20), torch.randn(9, 1, 20), "signals").mode
    'RGB'
    """
    target = samples if target is None else target
    if samples.ndim == 2:
        return _scatter(samples, target, title)
    if samples.ndim == 3:
        return pictures.grid(curves(samples, target), columns, zoom=1)
    if samples.ndim == 5:
        frames = samples[:CLIPS].transpose(1, 2)
        return pictures.grid(_drawn(frames.flatten(0, 1)), columns=frames.shape[1])
    return pictures.grid(_drawn(samples), columns)


def curves(signals: Tensor, target: Tensor) -> Tensor:
    """Draw signals [n, C, T] as white images [n, 1, 48, 96] with a dark curve for each channel.

    The view reaches from the lowest to the highest value of `target`. A value outside is drawn on the edge. A long
    signal fills what lies between its lowest and highest value in each column.

    >>> curves(torch.tensor([[[0.0, 1.0]]]), torch.tensor([[[0.0, 1.0]]]))[0, 0, [0, -1], [95, 0]]
    tensor([-1., -1.])
    """
    top, bottom = (_rows(values, target) for values in _envelope(signals.cpu().float()))
    left = [torch.cat([row[..., :1], row[..., :-1]], -1) for row in (top, bottom)]
    upper, lower = (
        torch.minimum(top, left[1]),
        torch.maximum(bottom, left[0]),
    )  # no gap to the column on the left
    rows = torch.arange(HIGH)[:, None]
    lines = (rows >= upper[:, :, None]) & (rows <= lower[:, :, None])
    return 1 - 2 * lines.any(1, keepdim=True).float()


def _envelope(x: Tensor) -> tuple[Tensor, Tensor]:
    """The highest and the lowest of the values [n, C, T] that fall on each of the 96 columns."""
    if x.shape[2] <= WIDE:
        x = x[:, :, torch.linspace(0, x.shape[2] - 1, WIDE).round().long()]
        return x, x
    return F.adaptive_max_pool1d(x, WIDE), -F.adaptive_max_pool1d(-x, WIDE)


def _rows(values: Tensor, target: Tensor) -> Tensor:
    """The row of pixels at which a value is drawn: those of the target fill the height."""
    low, high = target.min(), target.max()
    share = ((values - low) / (high - low).clamp_min(1e-12)).nan_to_num().clamp(0, 1)
    return ((1 - share) * (HIGH - 1)).round()


def _scatter(points: Tensor, target: Tensor, title: str) -> Image.Image:
    """Rows [n, d] in a plane, in which both columns of the target have about one spread."""
    points, target = points.cpu().float()[:, :2], target.cpu().float()[:, :2]
    mean, spread = target.mean(0), target.std(0).nan_to_num().clamp_min(1e-12)
    if points.shape[1] == 1:
        points, target = (_quantiles(x, target) for x in (points, target))
        title = f"{title}: quantiles, over those of the target"
    elif spread.max() > APART * spread.min():
        points, target = (points - mean) / spread, (target - mean) / spread
        title = f"{title}: first two columns, in standard deviations"
    return pictures.scatter(points, target, title=title)


def _quantiles(values: Tensor, target: Tensor) -> Tensor:
    """The quantiles of values [n, 1] over the target's, as points [n, 2]; equal distributions give the diagonal.

    >>> _quantiles(torch.tensor([[5.0], [3.0]]), torch.tensor([[0.0], [1.0], [2.0]]))
    tensor([[0.5000, 3.0000],
            [1.5000, 5.0000]])
    """
    share = (torch.arange(len(values)) + 0.5) / len(values)
    return torch.stack([target.flatten().quantile(share), values.flatten().sort().values], 1)


def _drawn(images: Tensor) -> Tensor:
    """The first three channels of images [n, C, H, W], or the first one where there are fewer."""
    return images[:, :3] if images.shape[1] >= 3 else images[:, :1]
