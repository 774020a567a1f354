"""The command `steadygan sample`: pictures of samples, reconstructions or a latent traversal."""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from steadygan.build import NOTHING, Own, Run
from steadygan.errors import UsageError
from steadygan.networks import Codes
from steadygan.networks.latent_codes import set_code
from steadygan.parallel import ALONE, Processes, by_rows
from steadygan.plots import samples
from steadygan.plots.any_shape import picture
from steadygan.plots.scatter_by_class import coloured
from steadygan.runs.folder import SAMPLES, Note, opened, restore_member
from steadygan.training import sampling
from steadygan.training.cluster import ONE, Cluster
from steadygan.training.online_scores import reference

__all__ = ["draw", "reconstruct", "sample", "traverse"]


def draw(
    folder: Path,
    count: int,
    out: Path | None,
    *,
    average: bool,
    member: int,
    note: Note,
    label: int | None = None,
    reconstruct: bool = False,
    traverse: int | None = None,
    own: Own = NOTHING,
    cluster: Cluster = ONE,
) -> str:
    """Draw one picture of about `count` samples to `out`, or into the run folder, and return a line on it.

    The processes of a `cluster` make plain samples together, and the first one writes the picture. Raises UsageError if
    more than one of `label`, `reconstruct` and `traverse` is given.
    """
    if sum((label is not None, reconstruct, traverse is not None)) > 1:
        raise UsageError("--label, --reconstruct and --traverse cannot be combined: give one of them")
    if reconstruct:
        name, what = "reconstructions", "reconstructions"
        image, count = reconstruction_picture(
            folder, count, average=average, member=member, note=note, own=own
        )
    elif traverse is not None:
        name, what = f"traversal-{traverse}", f"samples by code {traverse}"
        image, count = traversal_picture(
            folder, traverse, count, average=average, member=member, note=note, own=own
        )
    else:
        name, what = "samples", "samples"
        found, real, columns = sample(
            folder,
            count,
            average=average,
            member=member,
            note=note,
            label=label,
            own=own,
            sharing=cluster.sharing,
        )
        image = picture(found, real, folder.name, columns)
    target = out or folder / f"{name}.png"
    if cluster.first:
        samples.save(image, target)
    return f"{count} {what}: {target}"


def sample(
    folder: Path,
    count: int,
    *,
    average: bool,
    member: int,
    note: Note,
    label: int | None = None,
    own: Own = NOTHING,
    sharing: Processes = ALONE,
) -> tuple[Tensor, Tensor, int | None]:
    """Generate `count` samples [count, ...] with the newest checkpoint of a run folder.

    Returns the samples, real ones to draw beside them (points only), and the columns of the grid. In a conditional run
    all samples have the class `label`, or the rows of the grid have one class each. Raises UsageError for a game
    without samples and for a label that is not a class of the run.
    """
    _, run = opened(folder, own=own)
    if run.game.rest:
        raise UsageError(
            f"{folder} trains a toy game, which has no samples to draw: see its phase portraits in {folder / SAMPLES}"
        )
    if label is not None and not 0 <= label < run.classes:
        raise UsageError(
            f"--label {label} is not a class of this run: choose 0 to {run.classes - 1}"
            if run.classes
            else f"the game of {folder} is not conditional: leave out --label"
        )
    state, seed = restore_member(folder, run, member, note)
    z = sampling.latents(seed, "look", count, run.latent, state.params["G"].dtype).to(run.device)
    z = sampling.in_rows(z, run.classes, label) if run.classes else z
    made = sampling.sampler(run.game.players["G"].network, state, run.latent, seed=seed, average=average)
    found = by_rows(made, z, sharing)
    columns = sampling.columns(count, run.classes) if label is None else None
    return found.cpu(), reference(run.data, max(count, 4096)), columns


def reconstruction_picture(
    folder: Path, count: int, *, average: bool, member: int, note: Note, own: Own = NOTHING
) -> tuple[Image.Image, int]:
    """Draw pairs of samples and their reconstructions. Returns the picture and the number of pairs.

    Images are drawn side by side, points with a line between the two.
    """
    x, again = reconstruct(folder, count, average=average, member=member, note=note, own=own)
    image = samples.pairs(x, again) if x.ndim == 4 else samples.links(x, again, title=folder.name)
    return image, len(x)


def reconstruct(
    folder: Path, count: int, *, average: bool, member: int, note: Note, own: Own = NOTHING
) -> tuple[Tensor, Tensor]:
    """Up to `count` real samples x [n, ...], and G(E(x)) with the newest checkpoint of a run folder.

    The samples are always the same. `average` applies to G, not to E. Raises UsageError if the run has no encoder.
    """
    settings, run = opened(folder, own=own)
    players = run.game.players
    if "E" not in players:
        raise UsageError(
            f"the game {settings.game.name} of {folder} has no encoder: leave out --reconstruct, or train a game "
            "that has one (reg_gan, mdgan)"
        )
    state, seed = restore_member(folder, run, member, note)
    x = reference(run.data, count)
    G, E = players["G"].network, players["E"].network
    again = sampling.reconstructions(G, E, state, x.to(run.device), seed=seed, average=average)
    return x, again.cpu()


COLUMNS = 10
"""Number of values of a continuous code that a traversal shows."""


def traversal_picture(
    folder: Path, code: int, count: int, *, average: bool, member: int, note: Note, own: Own = NOTHING
) -> tuple[Image.Image, int]:
    """Draw a traversal of a latent code. Returns the picture and the number of samples.

    Images have a row for each noise vector, points a colour for each value of the code.
    """
    _, run = opened(folder, own=own)
    values, found = traverse(run, folder, code, count, average=average, member=member, note=note)
    rows, columns = found.shape[:2]
    if run.data.images:
        return samples.grid(found.flatten(0, 1), columns=columns), rows * columns
    names = [f"{value:.2g}" for value in values]
    title = f"{folder.name}: code {code}"
    return coloured(list(found.unbind(1)), names, reference(run.data, 4096), title), rows * columns


def traverse(
    run: Run,
    folder: Path,
    code: int,
    count: int,
    *,
    average: bool,
    member: int,
    note: Note,
) -> tuple[list[float], Tensor]:
    """The values of a latent code, and samples [rows, values, ...]: one noise vector per row, one value per column.

    A categorical code takes all its classes, a continuous one ten values from -1 to 1. There are about `count` samples
    in whole rows. Raises UsageError if the run has no codes, or none with that number.
    """
    codes = _codes(run, folder)
    state, seed = restore_member(folder, run, member, note)
    values = _values(codes, code)
    z = sampling.latents(seed, "look", max(1, count // len(values)), run.latent, state.params["G"].dtype)
    each = [set_code(z, code, value, codes.categorical, codes.continuous) for value in values]
    latents = torch.stack(each, 1).flatten(0, 1).to(run.device)
    found = sampling.samples(run.game.players["G"].network, state, latents, seed=seed, average=average)
    return values, found.cpu().unflatten(0, (len(z), len(values)))


def _codes(run: Run, folder: Path) -> Codes:
    parts = run.game.players["G"].network.module.modules()
    found = next((part for part in parts if isinstance(part, Codes)), None)
    if found is None:
        raise UsageError(
            f"the latent vector of {folder} has no codes: leave out --traverse, or train a game that has them (infogan)"
        )
    return found


def _values(codes: Codes, code: int) -> list[float]:
    total = len(codes.categorical) + codes.continuous
    if not 0 <= code < total:
        raise UsageError(
            f"--traverse {code} is not a code of this run: choose 0 to {total - 1}, of which the first "
            f"{len(codes.categorical)} are categorical"
        )
    if code < len(codes.categorical):
        return [float(value) for value in range(codes.categorical[code])]
    return torch.linspace(-1, 1, COLUMNS, dtype=torch.float64).tolist()
