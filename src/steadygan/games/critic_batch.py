"""Which rows a critic is shown as real and as fake, and their labels in a conditional game."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from steadygan import fake_as_real, parallel
from steadygan.critic_outputs import ranks
from steadygan.game import Draw, Nets
from steadygan.networks import latent_labels
from steadygan.penalties import Critic
from steadygan.schedules import Number, at

__all__ = ["FakeAsReal", "Labels", "Rows", "labelled", "same_classes", "shown"]

Labels = Mapping[str, Tensor]
"""The labels [N] of each side's rows. It is empty in a game without classes."""


@dataclass(frozen=True)
class FakeAsReal:
    """`count` (N0) of the N real rows are fakes, the lowest of `pool` (f) x `most` candidates.

    `most` is the largest value of `count`. They differ when the count follows a schedule. With `scoring`,
    candidates are made and scored in that precision, and the selected ones are made again in the run's own. `weight`
    (lambda) is how much a selected fake weighs in the critic's loss, where a real row weighs 1.
    """

    count: Number
    most: int
    pool: int
    scoring: torch.dtype | None = None
    weight: Number = 1.0


class Rows(NamedTuple):
    """The rows that D is shown as real and as fake. Of the whole batch's, the first `kept` are truly real.

    `weights` [N] are those of the real rows in the loss. None: all weigh 1.
    """

    real: Tensor
    fake: Tensor
    kept: float | Tensor
    labels: Labels
    weights: Tensor | None = None


def labelled(D: Callable[..., Tensor], labels: Labels, *sides: str) -> Critic:
    """Return D as a critic of x alone: the rows of these sides, end to end, each with its label if there are any."""
    if not labels:
        return D
    y = [labels[side] for side in sides]
    return partial(_with_labels, D, torch.cat(y) if len(y) > 1 else y[0])


def _with_labels(D: Callable[..., Tensor], y: Tensor, x: Tensor) -> Tensor:
    return D(x, y)


def same_classes(G: Critic, z: Tensor, classes: int) -> Critic:
    """Return G for latents near z [N, classes + latent]: with the classes of z, whatever the latents' own are."""
    return partial(_with_classes, G, z[:, :classes], classes) if classes else G


def _with_classes(G: Critic, first: Tensor, classes: int, z: Tensor) -> Tensor:
    return G(torch.cat([first, z[:, classes:]], 1))


def shown(
    nets: Nets,
    draw: Draw,
    scalars: Mapping[str, Tensor],
    far: FakeAsReal | None,
    normalize: Callable[[Critic], Critic] | None,
    classes: int = 0,
    batch: int | None = None,
) -> Rows:
    """Return the rows of one draw, with fake-as-real where `far` says so. The selected fakes keep their labels.

    Where several processes share a batch of `batch` rows, the selected ones are those of all processes' candidates.
    """
    G, x_real = nets["G"], draw["x_real"]
    labels = {"real": draw["y_real"], "fake": latent_labels(draw["z"], classes)} if classes else {}
    if not far:
        return Rows(x_real, G(draw["z"]), parallel.whole(len(x_real), batch), labels)
    z, pool = draw["z"], draw["z_pool"]
    count, candidates_in_all = fake_as_real.rounded(at(far.count, scalars), far.most), far.pool * far.most
    theirs = {"pool": latent_labels(pool, classes)} if classes else {}
    D = labelled(nets["D"], theirs, "pool")
    first = parallel.rows(candidates_in_all).start
    D = _among_first(normalize(D) if normalize else D, far.pool * count - first)
    if far.scoring:
        with torch.no_grad(), torch.autocast(pool.device.type, far.scoring, cache_enabled=False):
            lowest = fake_as_real.lowest(D, G(pool), far.most, total=candidates_in_all)
        share = parallel.rows(far.most)
        latents = parallel.taken(pool, lowest, candidates_in_all)
        mine = latents[share.start : share.stop]
        x_fake, again = G(torch.cat([z, mine])).split([len(z), len(mine)])
        selected = parallel.gathered(again, far.most)
    else:
        x_fake, candidates = G(torch.cat([z, pool])).split([len(z), len(pool)])
        lowest = fake_as_real.lowest(D, candidates, far.most, total=candidates_in_all)
        # Not detached: their dependence on G is part of the field's Jacobian, but of no player's own gradient.
        selected = parallel.taken(candidates, lowest, candidates_in_all)
    rows = fake_as_real.mix(x_real, selected, count, batch)
    if classes:
        theirs_taken = parallel.taken(theirs["pool"], lowest, candidates_in_all)
        labels["real"] = fake_as_real.mix(labels["real"], theirs_taken, count, batch)
    weight = at(far.weight, scalars)
    even = not isinstance(weight, Tensor) and weight == 1
    weights = None if even else fake_as_real.weights(x_real, count, weight, batch)
    return Rows(rows, x_fake, parallel.whole(len(x_real), batch) - count, labels, weights)


def _among_first(critic: Critic, count: float | Tensor) -> Critic:
    """The critic, with infinite logits for all but the first `count` samples: only f x N0 of them are candidates."""

    def ranked(x: Tensor) -> Tensor:
        outside = torch.arange(len(x), device=x.device) >= count
        return ranks(critic, x).masked_fill(outside, torch.inf)

    return ranked
