"""The spectrum of a run, if `steadygan spectrum` has written one: eigenvalues in the complex plane."""

from pathlib import Path
from typing import NamedTuple

import torch

from steadygan.errors import left_out
from steadygan.files import fits, read_json
from steadygan.report.axes import Scale, short, ticks
from steadygan.report.comma_separated import written_out

__all__ = ["BOX", "Cloud", "clouds"]

FILE = "spectrum.json"
NAMES = {
    "simultaneous": "simultaneous steps",
    "consensus": "with consensus optimization",
    "momentum": "with momentum",
}
BOX = (46, 10, 386, 260)  # left, top, right, bottom
NEAR = 0.02  # of the greatest modulus: so far from zero the axes are linear


class Cloud(NamedTuple):
    """Eigenvalues as a path of dots, the pixel of zero on both axes, ticks, words, and all of them as CSV."""

    name: str
    dots: str
    zero: tuple[float, float]
    across: list[tuple[float, str]]
    up: list[tuple[float, str]]
    words: str
    csv: str


def clouds(folder: Path) -> tuple[str, list[Cloud]]:
    """The title of the spectrum, and its panels with equal axes; empty if there is none or it is damaged."""
    try:
        raw = read_json(folder / FILE, {"step": int, "P": int, "method": str})
        values = {
            name: torch.tensor(raw[name]["eigenvalues"], dtype=torch.float64).view(-1, 2)
            for name in NAMES
            if name in raw
        }
        signs = {name: raw[name].get("signs") or {} for name in values}
        shares = {
            name: {s: v for s, v in found.items() if fits(v, int | float)} for name, found in signs.items()
        }
        title = f"step {raw['step']:,}, {raw['P']:,} parameters, {raw['method']}"
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError):
        if (folder / FILE).exists():
            left_out(folder / FILE)
        return "", []
    values = {name: v for name, v in values.items() if len(v) and v.isfinite().all()}
    if not values:
        return "", []
    reach = torch.stack([v.abs().amax(0) for v in values.values()]).amax(0).clamp_min(1e-12)
    near = NEAR * reach.max().item()
    left, top, right, bottom = BOX
    x, y = (2 * side.item() for side in reach.clamp_min(near))
    across, up = Scale(-x, x, left, right, near=near), Scale(-y, y, bottom, top, near=near)
    return title, [
        Cloud(
            NAMES[name],
            _dots(across(v[:, 0]), up(v[:, 1])),
            (round((left + right) / 2, 1), round((top + bottom) / 2, 1)),
            [(round(across(torch.tensor(t)).item(), 1), short(t, 2)) for t in ticks(across)],
            [(round(up(torch.tensor(t)).item(), 1), short(t, 2)) for t in ticks(up)],
            _words(v, shares[name]),
            written_out(["real", "imaginary"], [[f"{part:.6g}" for part in each] for each in v.tolist()]),
        )
        for name, v in values.items()
    ]


def _dots(across: torch.Tensor, up: torch.Tensor) -> str:
    places = sorted({(round(u, 1), round(v, 1)) for u, v in zip(across.tolist(), up.tolist())})
    return "".join(f"M{u:g} {v:g}h0" for u, v in places)


def _words(values: torch.Tensor, signs: dict[str, float]) -> str:
    real = values[:, 0]
    text = f"{len(values):,} eigenvalues, real parts {real.min():.3g} to {real.max():.3g}"
    shares = ", ".join(f"{share:.0%} {name}" for name, share in signs.items())
    return f"{text}; {shares}" if shares else text
