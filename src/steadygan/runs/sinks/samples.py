"""The logger of samples/: a picture at each evaluation, of points and their target or of a grid of images."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from torch import Tensor

from steadygan.files import clear_partial
from steadygan.plots.any_shape import picture
from steadygan.plots.samples import save, strip
from steadygan.training.beside import Write
from steadygan.training.events import Event, Scored
from steadygan.training.online_scores import GRID

__all__ = ["sample_name", "sample_sink"]

MEMBERS = 4


def sample_sink(
    folder: Path, target: Tensor | None, write: Write, columns: int | None = None
) -> Callable[[Event], None]:
    """Draw the samples of each evaluation to folder/step-XXXXXXXX.png, with a function of `beside`.

    An ensemble draws its first four members.
    """
    folder.mkdir(parents=True, exist_ok=True)
    clear_partial(folder)

    def draw(step: int, drawn: list[Tensor]) -> None:
        parts = [picture(samples, target, f"step {step:,}", columns) for samples in drawn]
        save(parts[0] if len(parts) == 1 else strip(parts), folder / sample_name(step))

    def sink(event: Event) -> None:
        if isinstance(event, Scored):
            shown = event.evaluated.samples[:MEMBERS]
            write([x if x.ndim == 2 else x[:GRID] for x in shown], partial(draw, event.step))

    return sink


def sample_name(step: int) -> str:
    """The file name of the picture drawn at `step`.

    >>> sample_name(250)
    'step-00000250.png'
    """
    return f"step-{step:08d}.png"
