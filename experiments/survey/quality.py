"""The critic's estimate of the distance between real and generated images, beside the quality of the samples."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.trained import events, of, opened
from steadygan.data import as_seen
from steadygan.training.sampling import latents, samples

__all__ = ["correlation", "curves", "distance_between", "measured", "pictured"]

SCORE = "kd_pixels8"
Line = dict[str, Any]


def curves(lines: Sequence[Line], index: int) -> dict[str, list[float]]:
    """One member's `steps` of evaluation, the `score` there, and the `estimate`: the mean of -loss/D since the last.

    Step 0 has no estimate and is left out. An evaluation after the run became NaN is left out, too.

    >>> lines = [{"step": 1, "loss/D": [4.0]}, {"step": 2, "loss/D": [2.0], "kd_pixels8": [0.5]}]
    >>> curves(lines, 0)
    {'steps': [2], 'estimate': [-3.0], 'score': [0.5]}
    """
    found: dict[str, list[float]] = {"steps": [], "estimate": [], "score": []}
    since: list[float] = []
    for line in lines:
        value = line.get("loss/D", [None] * (index + 1))[index]
        since += [] if value is None else [-value]
        score = line.get(SCORE, [None] * (index + 1))[index]
        if score is not None and since:
            found["steps"].append(line["step"])
            found["estimate"].append(statistics.fmean(since))
            found["score"].append(score)
            since = []
    return found


def correlation(estimate: Sequence[float], score: Sequence[float]) -> float:
    """Spearman's rank correlation. 1: the estimate falls whenever the kernel distance of the samples does.

    >>> correlation([3.0, 2.0, 1.0], [9.0, 8.0, 0.0])
    1.0
    """
    from scipy.stats import spearmanr

    return float(spearmanr(estimate, score).statistic)


def distance_between(x: Tensor) -> float:
    """The mean distance of two of the images x [n, ...]; near 0 where all are one."""
    return torch.pdist(x.flatten(1).double()).mean().item()


def pictured(folder: Path, index: int, count: int) -> Tensor:
    """The last generated images [count, C, H, W] of one member."""
    run, states = opened(folder)
    state = of(run, states[max(states)], index)
    z = latents(0, "look", count, run.latent, state.params["G"].dtype)
    return samples(run.game.players["G"].network, state, z, seed=0, average=False)


def measured(folder: Path, count: int = 200) -> dict[str, Any]:
    """Every seed's curves, their rank correlation, the last score and how unlike its images are, real ones being 1."""
    lines = events(folder)
    run, states = opened(folder)
    assert run.data.rows is not None
    real = distance_between(as_seen(run.data.rows[:count]))
    found = [curves(lines, index) for index in range(len(run.members))]
    return {
        "steps": max(states),
        "curves": found,
        "correlation": [correlation(one["estimate"], one["score"]) for one in found],
        "score": [statistics.fmean(one["score"][-3:]) for one in found],
        "unlike": [
            distance_between(pictured(folder, index, count)) / real for index in range(len(run.members))
        ],
    }
