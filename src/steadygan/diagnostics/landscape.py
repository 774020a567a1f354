"""The landscape of a critic of points in the plane: its logits on a grid, and the direction of its gradient."""

from typing import NamedTuple

import torch
from torch import Tensor

from steadygan.errors import UsageError
from steadygan.penalties import Critic, input_gradient
from steadygan.plots.landscape_svg import described, svg

__all__ = ["ARROWS", "CELLS", "Landscape", "around", "centres", "landscape"]

CELLS, ARROWS = 48, 16
"""Cells per side for the logits and for the gradient."""

MARGIN = 1.25
"""Half the side of the view over half the extent of its points, as in the pictures of samples."""


class Landscape(NamedTuple):
    """Logits [c, c] and gradients [a, a, 2] at the `centres` of a square's cells, float32.

    x runs along columns, and y runs upwards along rows. `frame` is (middle x, middle y, half side).
    """

    frame: tuple[float, float, float]
    logits: Tensor
    gradient: Tensor

    def _repr_html_(self) -> str:
        """The landscape as a picture, which a notebook shows."""
        words = described(self.logits)
        return f'<div style="max-width: 400px">{svg(*self, label=words)}<p>{words}</p></div>'


def around(points: Tensor) -> tuple[float, float, float]:
    """The square around points [n, 2] with a margin of a quarter of their extent: (middle x, middle y, half side).

    Raises UsageError on other shapes, and if no point is finite.

    >>> around(torch.tensor([[0.0, 0.0], [4.0, 2.0]]))
    (2.0, 1.0, 2.5)
    """
    if points.ndim != 2 or points.shape[1] != 2:
        raise UsageError(f"a landscape needs points [n, 2], not {list(points.shape)}")
    finite = points[points.isfinite().all(1)].double()
    if not len(finite):
        raise UsageError("a landscape needs a finite point as its centre: pass real samples")
    low, high = finite.amin(0), finite.amax(0)
    x, y = ((low + high) / 2).tolist()
    return x, y, MARGIN * (high - low).max().item() / 2 or 1.0


def centres(frame: tuple[float, float, float], cells: int) -> Tensor:
    """The centres [cells, cells, 2] of a square's cells, float64, by row (y upwards) and column (x).

    >>> centres((0.0, 0.0, 1.0), 2)[1]
    tensor([[-0.5000,  0.5000],
            [ 0.5000,  0.5000]], dtype=torch.float64)
    """
    x, y, half = frame
    line = ((torch.arange(cells, dtype=torch.float64) + 0.5) / cells * 2 - 1) * half
    return torch.stack(torch.meshgrid(line + x, line + y, indexing="xy"), dim=-1)


def landscape(
    critic: Critic, frame: tuple[float, float, float], like: Tensor, cells: int = CELLS, arrows: int = ARROWS
) -> Landscape:
    """The landscape of a critic over the square `frame`: logits at cells x cells points, dD/dx at arrows x arrows.

    The points have the type and device of `like`.

    >>> found = landscape(lambda x: 3 * x[:, 1], (0.0, 0.0, 1.0), torch.empty(0), cells=2, arrows=1)
    >>> found.logits, found.gradient
    (tensor([[-1.5000, -1.5000],
            [ 1.5000,  1.5000]]), tensor([[[0., 3.]]]))
    """
    with torch.enable_grad():
        logits, _ = input_gradient(critic, centres(frame, cells).view(-1, 2).to(like))
        _, gradient = input_gradient(critic, centres(frame, arrows).view(-1, 2).to(like))
    found = logits.detach().float().cpu(), gradient.detach().float().cpu()
    return Landscape(frame, found[0].view(cells, cells), found[1].view(arrows, arrows, 2))
