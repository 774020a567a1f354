"""The logger of samples/ for toy games: phase portraits, and the eigenvalues at the equilibrium."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from steadygan.files import clear_partial
from steadygan.game import State
from steadygan.plots import eigenvalues, phase_portrait, samples
from steadygan.runs.sinks.jsonl import whole
from steadygan.runs.sinks.samples import sample_name
from steadygan.training.events import Event, Snapshot
from steadygan.training.toy_scores import Spectrum

__all__ = ["portrait_sink"]


def portrait_sink(
    folder: Path,
    events: Path,
    start: State,
    velocities: Callable[[State, Tensor], Tensor],
    spectrum: Callable[[State], Spectrum | None],
) -> Callable[[Event], None]:
    """Draw folder/step-XXXXXXXX.png at each checkpoint: the path from `start` through the points in the file `events`.

    An ensemble draws its first member, to which `start`, `velocities(state, points)` and `spectrum(state)` belong.
    Without a spectrum only the path is drawn, and no equilibrium.
    """
    folder.mkdir(parents=True, exist_ok=True)
    clear_partial(folder)
    first = torch.stack([start.params[name][0].double().cpu() for name in "DG"]).view(1, 2)

    def sink(event: Event) -> None:
        if isinstance(event, Snapshot):
            path = torch.cat([first, _path(events)])
            found = spectrum(event.state)
            arrows = velocities(event.state, phase_portrait.grid(phase_portrait.extent(path)))
            panels = [phase_portrait.phase(path, arrows, f"step {event.step:,}", rest=found is not None)]
            if found:
                title = f"spectral radius of a step {found.radius:.6g}"
                panels.append(eigenvalues.plane(found.field, found.step, title))
            samples.save(samples.strip(panels), folder / sample_name(event.step))

    return sink


def _path(events: Path) -> Tensor:
    """The first parameters of D and G at each logged step, [t, 2], of the first member. NaN where not finite."""
    places = []
    for _, values in whole(events):
        if "at/D" in values and values["step"]:  # the path begins at the start anyway
            each = [values["at/D"], values["at/G"]]
            firsts = [v[0] if isinstance(v, list) else v for v in each]
            places.append([float("nan") if v is None else v for v in firsts])
    return torch.tensor(places, dtype=torch.float64).view(-1, 2)
