"""The logger of samples/: a picture at each evaluation, of points and their target or of a grid of images."""

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from steadygan.plots import samples as pictures
from steadygan.training.events import Event, Scored
from steadygan.training.online_scores import GRID

__all__ = ["picture", "sample_name", "sample_sink"]

MEMBERS = 4


def sample_sink(folder: Path, target: Tensor | None, columns: int | None = None) -> Callable[[Event], None]:
    """Draw the samples of each evaluation to folder/step-XXXXXXXX.png. An ensemble draws its first four members."""
    folder.mkdir(parents=True, exist_ok=True)

    def sink(event: Event) -> None:
        if isinstance(event, Scored):
            parts = [
                picture(samples, target, f"step {event.step:,}", columns)
                for samples in event.evaluated.samples[:MEMBERS]
            ]
            image = parts[0] if len(parts) == 1 else pictures.strip(parts)
            pictures.save(image, folder / sample_name(event.step))

    return sink


def sample_name(step: int) -> str:
    """The file name of the picture drawn at `step`.

    >>> sample_name(250)
    'step-00000250.png'
    """
    return f"step-{step:08d}.png"


def picture(
    samples: Tensor, target: Tensor | None, title: str, columns: int | None = None
) -> "pictures.Image.Image":
    """Draw points [n, 2] as a scatter over their target, or images [n, C, H, W], which have no target, as a grid."""
    if target is not None:
        return pictures.scatter(samples, target, title=title)
    return pictures.grid(samples[:GRID], columns)
