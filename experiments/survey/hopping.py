"""Which modes of the ring a generator covers, and how its samples move from mode to mode during training."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.trained import of, opened
from steadygan.build import Run
from steadygan.data import Modes
from steadygan.game import State
from steadygan.metrics.distances import nearest
from steadygan.training.sampling import latents, samples

__all__ = ["drawn", "hopping", "measured", "shares"]

COUNT = 1000
"""Samples of one checkpoint. A mode is covered if it has a tenth of its uniform share, as in `metrics.modes`."""


def shares(x: Tensor, modes: Modes) -> Tensor:
    """Return the share of the samples x [n, 2] within 3 std of each centre: [m].

    >>> shares(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.9, 0.0], [5.0, 0.0]]), Modes(torch.eye(2) - 0.0, 0.1))
    tensor([0.5000, 0.0000], dtype=torch.float64)
    """
    distance, centre = nearest(x, modes.centres)
    counts = torch.bincount(centre[distance <= 3 * modes.std], minlength=len(modes.centres))
    return counts.double() / len(x)


def hopping(found: Tensor) -> dict[str, Any]:
    """Measures of the shares [t, m] of m modes at t checkpoints of one run.

    - `modes`: how many are covered, with 1 / 10m of the samples or more, at each checkpoint.
    - `changed`: the share of neighbouring checkpoints, of the second half, whose sets of covered modes differ.
    - `moved`: the mean total variation of shares, sum |p - q| / 2, between the same neighbours.

    >>> hopping(torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]))
    {'modes': [1, 1, 1, 1, 1], 'changed': 0.5, 'moved': 0.5}
    """
    covered = found >= 1 / (10 * found.shape[1])
    late, seen = found[len(found) // 2 :], covered[len(found) // 2 :]
    return {
        "modes": covered.sum(1).tolist(),
        "changed": (seen[1:] != seen[:-1]).any(1).double().mean().item(),
        "moved": ((late[1:] - late[:-1]).abs().sum(1) / 2).mean().item(),
    }


def drawn(run: Run, state: State) -> Tensor:
    """Samples [n, 2] of one member's generator, of the same latents at every checkpoint."""
    z = latents(0, "look", COUNT, run.latent, state.params["G"].dtype)
    return samples(run.game.players["G"].network, state, z, seed=0, average=False)


def measured(folder: Path) -> dict[str, Any]:
    """The measures of every seed of a run, as lists over seeds."""
    run, states = opened(folder)
    assert run.data.modes is not None
    steps = sorted(states)
    found = []
    for index in range(len(run.members)):
        each = [drawn(run, of(run, states[step], index)) for step in steps]
        found.append(hopping(torch.stack([shares(x, run.data.modes) for x in each])))
    return {"steps": steps, **{key: [one[key] for one in found] for key in found[0]}}
