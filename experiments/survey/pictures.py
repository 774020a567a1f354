"""The pictures of docs/survey.md."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.records import Record
from experiments.survey.hopping import drawn
from experiments.survey.quality import pictured
from experiments.survey.settings import GENERATORS, LOSSES, ORDERS
from experiments.trained import of, opened

__all__ = ["draw_curves", "draw_images", "draw_modes", "draw_ring"]

COLOURS = {"bn": "C0", "nobn": "C1", "mlp": "C2"}
SHOWN = 6
"""Steps at which the ring is shown, the first and the last among them: 0, 5k, ... 25k."""


def plots() -> Any:
    """pyplot, for files."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def saved(figure: Any, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=90)
    plots().close(figure)


def draw_ring(folders: Mapping[str, Path], file: Path) -> None:
    """The data, and seed 0's samples from step 0 to the last, a row for each order."""
    figure, axes = plots().subplots(
        len(folders), SHOWN + 1, figsize=(11, 1.9 * len(folders)), layout="constrained", squeeze=False
    )
    for row, (name, folder) in zip(axes, folders.items()):
        run, states = opened(folder)
        assert run.data.modes is not None
        steps = sorted(states)
        chosen = [steps[round(i * (len(steps) - 1) / (SHOWN - 1))] for i in range(SHOWN)]
        noise = torch.randn(1000, 2, generator=torch.Generator().manual_seed(0))
        centres = run.data.modes.centres[torch.arange(1000) % 8]
        frames = {"target": centres + run.data.modes.std * noise}
        frames |= {f"step {step:,}": drawn(run, of(run, states[step], 0)) for step in chosen}
        for axis, (title, x) in zip(row, frames.items()):
            axis.scatter(x[:, 0], x[:, 1], s=1.5, linewidths=0)
            axis.set(xlim=(-2.1, 2.1), ylim=(-2.1, 2.1), aspect="equal", xticks=[], yticks=[])
            axis.set_title(title, fontsize=9)
        row[0].set_ylabel(ORDERS[name], fontsize=8)
    saved(figure, file)


def draw_modes(found: Mapping[str, Record], file: Path) -> None:
    """The number of covered modes over the steps, a line for each seed."""
    shape = {"sharey": True, "squeeze": False, "layout": "constrained"}
    figure, (axes,) = plots().subplots(1, len(found), figsize=(11, 2.4), **shape)
    for axis, (name, one) in zip(axes, found.items()):
        for modes in one["modes"]:
            axis.plot(one["steps"], modes, linewidth=0.9)
        axis.set(title=ORDERS[name], xlabel="step", ylim=(-0.3, 8.3))
    axes[0].set_ylabel("covered modes of 8")
    saved(figure, file)


def grid(images: Tensor, columns: int) -> Tensor:
    """One image [H, W, C] in 0..1 of the images [n, C, h, w] in -1..1, row by row, each with a grey edge.

    >>> grid(torch.ones(6, 1, 2, 2), 3).shape
    torch.Size([6, 9, 1])
    """
    edged = torch.nn.functional.pad(images.clamp(-1, 1).add(1).div(2), (0, 1, 0, 1), value=0.5)
    rows = edged.unflatten(0, (-1, columns))
    return rows.permute(0, 3, 1, 4, 2).flatten(0, 1).flatten(1, 2)


def draw_images(folders: Mapping[str, Path], file: Path, columns: int = 8, rows: int = 4) -> None:
    """The last samples of seed 0: WGAN above, GAN below, a column for each generator."""
    figure, axes = plots().subplots(len(LOSSES), len(GENERATORS), figsize=(10, 3.9), layout="constrained")
    for axis in axes.flatten():
        axis.axis("off")
    for axis, (name, folder) in zip(axes.flatten(), folders.items()):
        axis.imshow(grid(pictured(folder, 0, columns * rows), columns), cmap="gray", vmin=0, vmax=1)
        axis.set_title(title(name), fontsize=9)
    saved(figure, file)


def title(recipe: str) -> str:
    """What a recipe of images is called in a picture.

    >>> title("fashion-mnist-gan-nobn")
    'GAN, DCGAN, no batch norm'
    """
    loss, generator = recipe.split("-")[-2:]
    return f"{LOSSES[loss]}, {GENERATORS[generator]}"


def draw_curves(found: Mapping[str, Record], file: Path) -> None:
    """The critic's estimate above and the score of the samples below, a line for each seed."""
    figure, axes = plots().subplots(2, len(LOSSES), figsize=(10, 4.6), sharex=True, layout="constrained")
    for (above, below), loss in zip(axes.T, LOSSES):
        for generator, colour in COLOURS.items():
            for name, one in found.items():
                if name.endswith(f"-{loss}-{generator}"):
                    lines(above, one["curves"], "estimate", colour, GENERATORS[generator])
                    lines(below, one["curves"], "score", colour, GENERATORS[generator])
        above.set_title(f"{LOSSES[loss]}: -loss/D, the critic's estimate", fontsize=9)
        below.set_title("kd_pixels8 of the samples", fontsize=9)
        below.set(xlabel="step", yscale="log")
    axes[0, 0].legend(fontsize=8)
    saved(figure, file)


def lines(axis: Any, seeds: Sequence[Mapping[str, Any]], key: str, colour: str, label: str) -> None:
    for number, one in enumerate(seeds):
        axis.plot(one["steps"], one[key], colour, linewidth=0.9, label=label if number == 0 else None)
