"""What a code in the latent does: pictures of samples with the same noise under every value of one code."""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from steadygan import generate, pictures
from steadygan.build import Run
from steadygan.coloured import coloured
from steadygan.errors import UsageError
from steadygan.folders import Note, opened, restore_member
from steadygan.networks import Codes
from steadygan.networks.latent import set_code
from steadygan.scoring import reference

__all__ = ["picture", "traverse"]

COLUMNS = 10
"""Values at which a continuous code is looked at."""


def picture(
    folder: Path, code: int, count: int, *, average: bool, member: int, note: Note
) -> tuple[Image.Image, int]:
    """Draw `traverse`, images in a row for each noise, points in a colour for each value; and how many there are."""
    _, run = opened(folder)
    values, found = traverse(run, folder, code, count, average=average, member=member, note=note)
    rows, columns = found.shape[:2]
    if len(run.data.shape) == 3:
        return pictures.grid(found.flatten(0, 1), columns=columns), rows * columns
    names = [f"{value:.2g}" for value in values]
    title = f"{folder.name}: code {code}"
    return coloured(list(found.unbind(1)), names, reference(run.data, 4096), title), rows * columns


def traverse(
    run: Run, folder: Path, code: int, count: int, *, average: bool, member: int, note: Note
) -> tuple[list[float], Tensor]:
    """The values of a code, and samples [rows, values, ...] of the newest checkpoint: noise by row, value by column.

    All classes of a categorical code, ten values from -1 to 1 of a continuous one; `count` samples in all, or as
    many as fill whole rows. Raises UsageError where the run has no codes, or none of that number.
    """
    codes = _codes(run, folder)
    state, seed = restore_member(folder, run, member, note)
    values = _values(codes, code)
    z = generate.latents(seed, "look", max(1, count // len(values)), run.latent, state.params["G"].dtype)
    each = [set_code(z, code, value, codes.categorical, codes.continuous) for value in values]
    latents = torch.stack(each, 1).flatten(0, 1).to(run.device)
    found = generate.samples(run.game.players["G"].network, state, latents, seed=seed, average=average)
    return values, found.cpu().unflatten(0, (len(z), len(values)))


def _codes(run: Run, folder: Path) -> Codes:
    parts = run.game.players["G"].network.module.modules()
    found = next((part for part in parts if isinstance(part, Codes)), None)
    if found is None:
        raise UsageError(
            f"the latent of {folder} has no codes to traverse: leave out --traverse, or train a game that has "
            "them (infogan)"
        )
    return found


def _values(codes: Codes, code: int) -> list[float]:
    total = len(codes.categorical) + codes.continuous
    if not 0 <= code < total:
        raise UsageError(
            f"--traverse {code}: this run has the codes 0 to {total - 1}, of which the first "
            f"{len(codes.categorical)} are classes"
        )
    if code < len(codes.categorical):
        return [float(value) for value in range(codes.categorical[code])]
    return torch.linspace(-1, 1, COLUMNS, dtype=torch.float64).tolist()
