"""What a run with an encoder makes of real samples: pictures of x beside G(E(x))."""

from pathlib import Path

from PIL import Image
from torch import Tensor

from steadygan import generate, pictures
from steadygan.errors import UsageError
from steadygan.folders import Note, opened, restore_member
from steadygan.scoring import reference

__all__ = ["picture", "reconstruct"]


def picture(folder: Path, count: int, *, average: bool, member: int, note: Note) -> tuple[Image.Image, int]:
    """Draw `reconstruct`, images in pairs and points with lines between them; also how many there are."""
    x, again = reconstruct(folder, count, average=average, member=member, note=note)
    image = pictures.pairs(x, again) if x.ndim == 4 else pictures.links(x, again, title=folder.name)
    return image, len(x)


def reconstruct(folder: Path, count: int, *, average: bool, member: int, note: Note) -> tuple[Tensor, Tensor]:
    """Up to `count` real samples x [n, ...] and G(E(x)) of a run folder's newest checkpoint.

    Always the same samples; `average` is of G alone. Raises UsageError where the run has no encoder.
    """
    settings, run = opened(folder)
    players = run.game.players
    if "E" not in players:
        raise UsageError(
            f"the game {settings.game.name} of {folder} has no encoder to reconstruct samples with: leave out "
            "--reconstruct, or train a game that has one (reg_gan, mdgan)"
        )
    state, seed = restore_member(folder, run, member, note)
    x = reference(run.data, count)
    G, E = players["G"].network, players["E"].network
    again = generate.reconstructions(G, E, state, x.to(run.device), seed=seed, average=average)
    return x, again.cpu()
