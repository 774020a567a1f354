"""What became of a labelled run, measured from its states and not by the diagnosis: modes, distances, ranks."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from steadygan.build import Run
from steadygan.data import as_seen
from steadygan.game import State
from steadygan.game.state import member
from steadygan.metrics import modes, pooled_pixels
from steadygan.networks import logits_of
from steadygan.rng import generator
from steadygan.training.sampling import latents, samples, weights

__all__ = ["outcome", "ranked"]

COUNT = 512


def ranked(high: Tensor, low: Tensor) -> float:
    """P(a random one of `high` is above a random one of `low`), ties half: the area under the ROC curve.

    >>> ranked(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 2.0]))
    0.625
    """
    gap = high[:, None] - low[None]
    return ((gap > 0).double() + 0.5 * (gap == 0).double()).mean().item()


def nearest(a: Tensor, b: Tensor, *, own: bool = False) -> Tensor:
    """Distance from each row of a to the nearest of b, of b's others if they are the same rows."""
    d = torch.cdist(a.double(), b.double())
    return (d.fill_diagonal_(math.inf) if own else d).min(1).values


def fresh(run: Run) -> Tensor | None:
    """Samples of the law that the run has not trained on, if there are any but the ones it draws anew each step."""
    if run.data.held is None:
        return None
    rows = as_seen(run.data.held())
    return rows[torch.randperm(len(rows), generator=generator("doctor", "held"))[:COUNT]]


def outcome(run: Run, state: State, before: State | None) -> list[dict[str, Any]]:
    """Facts of each member's state; `before` is the state that was looked at last."""
    indices = range(len(run.members)) if run.ensemble else [None]
    return [_of(run, member(state, i), before and member(before, i)) for i in indices]


def _of(run: Run, state: State, before: State | None) -> dict[str, Any]:
    facts = {
        f"moved/{name}": _moved(p, before.params[name]) for name, p in state.params.items() if before
    } | {"finite": all(bool(p.isfinite().all()) for p in state.params.values())}
    if run.game.rest or not facts["finite"]:
        if run.game.rest:
            facts["distance"] = _distance(run.game.rest.point, state.params)
        return facts
    z = latents(1, "doctor", COUNT, run.latent, state.params["G"].dtype)
    fakes = samples(run.game.players["G"].network, state, z, average=False)
    rows = run.data.rows
    g = generator("doctor", "train")
    reals = (
        run.data.draw(g, COUNT)
        if rows is None
        else as_seen(rows[torch.randperm(len(rows), generator=g)[:COUNT]])
    )
    return facts | _points(run, fakes) | _critic(run, state, reals, fakes, fresh(run))


def _moved(new: Tensor, old: Tensor) -> float:
    return float((new - old).norm() / new.norm().clamp_min(1e-30))


def _distance(point: Mapping[str, Tensor], params: Mapping[str, Tensor]) -> float:
    return math.sqrt(sum(float((params[n] - point[n].to(params[n])).square().sum()) for n in params))


def _points(run: Run, fakes: Tensor) -> dict[str, Any]:
    if len(run.data.shape) == 3:
        fakes = pooled_pixels(fakes).float()
    facts: dict[str, Any] = {
        "mean": fakes.mean(0).tolist() if fakes.shape[1] == 2 else [],
        "std": fakes.std(0).norm().item(),
    }
    if run.data.modes:
        centre = torch.cdist(fakes.double(), run.data.modes.centres.double())
        shares = torch.bincount(centre.argmin(1), minlength=len(run.data.modes.centres)).double() / len(fakes)
        facts |= modes(fakes, run.data.modes)
        facts |= {"top": int(shares.argmax()), "share": shares.max().item(), "shares": shares.tolist()}
    return facts


def _critic(run: Run, state: State, reals: Tensor, fakes: Tensor, held: Tensor | None) -> dict[str, float]:
    params, buffers = weights(state, "D", average=False)
    D = logits_of(partial(run.game.players["D"].network, params, dict(buffers)))
    with torch.no_grad():
        real, fake = D(reals), D(fakes)
        between = torch.stack(
            [D(torch.lerp(reals[: len(fakes)], fakes[: len(reals)], t)) for t in torch.linspace(0, 1, 33)]
        )
        g = generator("doctor", "box")
        box = torch.rand(2048, *reals.shape[1:], generator=g) * (reals.amax() - reals.amin()) + reals.amin()
        facts = {
            "rank/fake": ranked(real, fake),
            "steepest": (between.diff(dim=0).abs().amax() * 32).item(),  # logits over a path's whole length
            "gap": (real.mean() - fake.mean()).item(),
            "box": D(box).std().item(),
        }
        if held is not None:
            facts["rank/held"] = ranked(real, D(held))
            as_rows = partial(torch.flatten, start_dim=1)
            facts["near/fake"] = nearest(as_rows(fakes), as_rows(reals)).median().item()
            facts["near/held"] = nearest(as_rows(held), as_rows(reals)).median().item()
    return facts
