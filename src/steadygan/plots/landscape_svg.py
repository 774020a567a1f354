"""A critic's landscape as SVG: its logits as colours that suit light and dark pages, and arrows along its gradient."""

import base64
import io
from html import escape

import torch
from PIL import Image
from torch import Tensor

__all__ = ["SIDE", "data_url", "described", "dots", "svg"]

SIDE = 400
"""Side of the picture in SVG units."""

FAKE, REAL, NONE = (244, 177, 124), (126, 173, 222), (160, 160, 160)
"""Colours of the critic's lowest logit, its highest logit, and of no finite logit. The middle is the page's own."""

Square = tuple[float, float, float]
"""Middle x, middle y and half side."""


def svg(
    frame: Square,
    logits: Tensor,
    gradient: Tensor,
    *,
    label: str,
    reals: Tensor | None = None,
    fakes: Tensor | None = None,
) -> str:
    """Draw logits [c, c] and gradients [a, a, 2] over the square `frame`, and points [n, 2] on them.

    A style sheet may set other strokes for the classes arrows, reals and fakes. Raises nothing.

    >>> text = svg((0.0, 0.0, 1.0), torch.eye(2), torch.ones(1, 1, 2), label="D < 1")
    >>> text.startswith('<svg viewBox="0 0 400 400" role="img" aria-label="D &lt; 1">')
    True
    """
    points = [("reals", reals, "currentColor", 3.4), ("fakes", fakes, "#d5340b", 4.6)]
    drawn = [
        f'<path class="dots {name}" data-mark="{name}" fill="none" stroke="{colour}" stroke-width="{width}" '
        f'stroke-linecap="round" d="{dots(some, frame)[0]}"/>'
        for name, some, colour, width in points
        if some is not None
    ]
    picture = data_url("png", _tint(logits))
    return "".join(
        [
            f'<svg viewBox="0 0 {SIDE} {SIDE}" role="img" aria-label="{escape(label)}">',
            f'<image href="{picture}" width="{SIDE}" height="{SIDE}" preserveAspectRatio="none"/>',
            '<path class="arrows" data-mark="gradient" fill="none" stroke="currentColor" stroke-opacity=".6" '
            f'd="{_arrows(gradient)}"/>',
            *drawn,
            "</svg>",
        ]
    )


def described(logits: Tensor) -> str:
    """The range of the finite logits, in words.

    >>> described(torch.tensor([[-1.0, 2.5]]))
    'logits from -1 (orange) to 2.5 (blue)'
    """
    finite = logits[logits.isfinite()]
    if not len(finite):
        return "no finite logits"
    return f"logits from {finite.min():.3g} (orange) to {finite.max():.3g} (blue)"


def dots(points: Tensor, frame: Square) -> tuple[str, int]:
    """A path of dots at points [n, 2], and the number of points outside the square."""
    x, y, half = frame
    unit = (points.double() - torch.tensor([x, y])) / half
    at = (unit * torch.tensor([1.0, -1.0]) + 1) * SIDE / 2
    inside = at[((at >= 0) & (at <= SIDE)).all(1)]
    return "".join(f"M{u:.0f} {v:.0f}h0" for u, v in inside.tolist()), len(points) - len(inside)


def data_url(kind: str, content: bytes) -> str:
    """The address of a picture that holds the picture itself.

    >>> data_url("png", b"abc")
    'data:image/png;base64,YWJj'
    """
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _tint(logits: Tensor) -> bytes:
    """The logits [c, c] as a picture, first row at the bottom; the colours span the frame's own range.

    The middle of the range is transparent, so it has the page's own ground.
    """
    finite = logits.isfinite()
    low, high = (logits[finite].min(), logits[finite].max()) if finite.any() else (0.0, 1.0)
    lean = ((logits - low) / max(float(high - low), 1e-30) * 2 - 1)[..., None]
    colours = torch.where(lean > 0, torch.tensor(REAL), torch.tensor(FAKE))
    cells = torch.cat([colours, lean.abs() * 255], -1)
    cells = torch.where(finite[..., None], cells, torch.tensor([*NONE, 255.0]))
    stream = io.BytesIO()
    Image.fromarray(cells.flip(0).round().byte().numpy()).save(stream, "png", optimize=True)
    return stream.getvalue()


def _arrows(gradient: Tensor) -> str:
    """Arrows along the gradient, in which fakes are pushed. Length is the root of the norm, so that all are visible."""
    gradient = gradient.double()
    cells = len(gradient)
    norm = gradient.norm(dim=-1)
    most = norm[norm.isfinite()].max().item() if norm.isfinite().any() else 0.0
    if not most:
        return ""
    reach = 0.85 * SIDE / cells
    turned = gradient / norm.clamp_min(1e-300)[..., None] * (norm / most).sqrt()[..., None] * reach
    line = ((torch.arange(cells, dtype=torch.float64) + 0.5) * SIDE / cells).tolist()
    return "".join(
        _arrow(line[column], SIDE - line[row], dx, -dy)
        for row, across in enumerate(turned.tolist())
        for column, (dx, dy) in enumerate(across)
    )


def _arrow(x: float, y: float, dx: float, dy: float) -> str:
    """An arrow (dx, dy) with its middle at (x, y), in pixels; nothing where it is too short, or not finite."""
    if not dx * dx + dy * dy >= 1:  # NaN is not
        return ""
    (a, b), (c, d) = [(-0.35 * dx + s * 0.22 * dy, -0.35 * dy - s * 0.22 * dx) for s in (1, -1)]
    return f"M{x - dx / 2:.0f} {y - dy / 2:.0f}l{dx:.1f} {dy:.1f}l{a:.1f} {b:.1f}m{-a:.1f} {-b:.1f}l{c:.1f} {d:.1f}"
