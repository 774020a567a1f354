"""Pictures of games in closed form: the phase portrait (path over the vector field), and eigenvalues of a step."""

import math

import torch
from PIL import Image
from torch import Tensor

from steadygan.errors import UsageError
from steadygan.plots.axes import FAKES, GREY, INK, LETTERS, TARGET, axes, blank, finished, header, place

__all__ = ["phase"]

REACH = 0.055  # of the longest arrow, in units of half the box


def grid(half: float, cells: int = 17) -> Tensor:
    """The points [cells^2, 2] of a square with half side `half`, at which `phase` draws arrows.

    >>> grid(1.0, 3)[:2]
    tensor([[-0.9000, -0.9000],
            [-0.9000,  0.0000]], dtype=torch.float64)
    """
    line = torch.linspace(-0.9 * half, 0.9 * half, cells, dtype=torch.float64)
    return torch.cartesian_prod(line, line)


def extent(path: Tensor) -> float:
    """Half the side of the square around 0 that contains a path [t, 2].

    >>> extent(torch.tensor([[3.0, -4.0]]))
    5.0
    """
    finite = path[path.isfinite().all(1)]
    return 1.25 * finite.abs().max().item() or 1.0 if len(finite) else 1.0


def phase(path: Tensor, arrows: Tensor, title: str = "", size: int = 720, rest: bool = True) -> Image.Image:
    """Draw a phase portrait: a path [t, 2] over the velocities `arrows` [k, 2] at the points `grid(extent(path))`.

    Both axes have the same scale, y upwards. The length of an arrow grows as the root of its speed, so that
    slow arrows are visible. A circle marks the equilibrium 0, unless `rest` is False. Raises UsageError on
    other shapes.

    >>> phase(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.ones(17 * 17, 2), size=360).size
    (360, 360)
    """
    cells = math.isqrt(len(arrows)) if arrows.ndim else 0
    if path.shape[1:] != (2,) or arrows.shape != (cells**2, 2) or not cells:
        raise UsageError(
            "a phase portrait needs a path [t, 2] and arrows [k^2, 2] at a square grid, "
            f"not {list(path.shape)} and {list(arrows.shape)}"
        )
    half = extent(path)
    starts = grid(half, cells) / half
    sheet, draw = blank()
    axes(draw, (torch.zeros(2), half), LETTERS)
    speed = arrows.norm(dim=1, keepdim=True)
    tips = starts + REACH * arrows / (speed * speed.max()).sqrt().clamp_min(1e-300)
    for start, tip in zip(starts.tolist(), tips.tolist()):
        a, b = place(*start), place(*tip)
        draw.line([a, b], GREY, 4)
        draw.circle(b, 7, GREY)
    legend = {"target": "start", "fakes": "path of (D, G)"}
    if rest:
        draw.circle(place(0, 0), 24, None, INK, 5)
        legend["centres"] = "equilibrium"
    shown = [place(*point) for point in (path[path.isfinite().all(1)] / half).tolist()]
    if len(shown) > 1:
        draw.line(shown, FAKES, 7, joint="curve")
    for point, colour in zip(shown[:1] + shown[-1:], (TARGET, FAKES)):
        draw.circle(point, 17, colour)
    header(draw, title, legend, LETTERS)
    return finished(sheet, size)
