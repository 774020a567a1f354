"""Pictures of eigenvalues in the complex plane, one panel per set, side by side."""

import io
from collections.abc import Mapping
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from steadygan.errors import UsageError

__all__ = ["check_matplotlib", "draw_clouds"]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")  # Okabe and Ito's, unlike to every eye
FARTHEST = 1e150  # beyond, the axes' own arithmetic overflows
NEAR = 0.02  # of the first cloud's greatest modulus: so far from zero the axes are linear


def draw_clouds(clouds: Mapping[str, Tensor], title: str = "") -> Image.Image:
    """Draw sets of eigenvalues (complex [n] each) in one panel each, under their headings, as an RGB picture.

    All panels have the same axes: linear near zero and logarithmic beyond. The outermost eigenvalues lie some
    hundred times as far out as the median. The stable half-plane is shaded. A step of size h multiplies the
    distance along an eigenvector by 1 + h lambda. Raises UsageError on no sets, on empty ones, on NaN, on
    moduli above 1e150, and without matplotlib.
    """
    check_matplotlib()
    from matplotlib.figure import Figure

    near_enough = (bool((v.to(torch.complex128).abs() <= FARTHEST).all()) for v in clouds.values() if len(v))
    if not clouds or not all(len(v) for v in clouds.values()) or not all(near_enough):
        raise UsageError(
            f"the plot needs one or more eigenvalues of modulus up to {FARTHEST:g} per panel: pass some"
        )
    figure = Figure(figsize=(5.5 * len(clouds) + 0.5, 5.6), dpi=110, layout="constrained")
    figure.suptitle(title, fontsize=13, fontweight="bold")
    panels = figure.subplots(1, len(clouds), squeeze=False)[0]
    reach = [(_reach(values.real), _reach(values.imag)) for values in clouds.values()]
    near = NEAR * next(iter(clouds.values())).abs().max().item() or 1.0
    for axes, (heading, values), colour in zip(panels, clouds.items(), COLOURS * len(clouds)):
        _scale(axes, near, max(x for x, _ in reach), max(y for _, y in reach))
        _panel(axes, values, colour)
        axes.set_title(heading, fontsize=10, loc="left")
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return Image.open(stream).convert("RGB")


def check_matplotlib() -> None:
    """Raise UsageError if matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UsageError("plots of eigenvalues need matplotlib: pip install steadygan[plots]") from error


def _reach(part: Tensor) -> float:
    return part.abs().max().item()


def _scale(axes: Any, near: float, x: float, y: float) -> None:
    """The same axes in all panels: linear to `near` and logarithmic beyond, a little farther than x and y."""
    axes.set_xscale("symlog", linthresh=near)
    axes.set_yscale("symlog", linthresh=near)
    axes.set_xlim(-2 * max(x, near), 2 * max(x, near))
    axes.set_ylim(-2 * max(y, near), 2 * max(y, near))


def _panel(axes: Any, values: Tensor, colour: str) -> None:
    x, y = torch.view_as_real(values.to(torch.complex128)).T.tolist()
    axes.axvspan(axes.get_xlim()[0], 0, color="#2E7D32", alpha=0.06, linewidth=0, zorder=0)
    axes.axhline(0, color="#BBBBBB", linewidth=0.6, zorder=0)
    axes.axvline(0, color="#333333", linewidth=0.8)
    axes.scatter(x, y, s=9, color=colour, alpha=0.5, linewidths=0)
    axes.set_xlabel("real part: growth per unit of step size")
    axes.set_ylabel("imaginary part: rotation")
