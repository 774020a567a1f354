"""The illnesses of a game, each one small function of the flat series of a history.

Thresholds are named constants: where theory gives one it is theory's, else it lies midway (in logarithms) between the
runs with the illness and those without it in the calibration part of `experiments.doctor`, and the margin is told.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from steadygan.diagnostics.history import History
from steadygan.diagnostics.measures import SURE
from steadygan.diagnostics.trends import LATE, Sign, early, known, lasting, late, one_point, swings

__all__ = ["ILLNESSES", "Sick", "diverged"]


class Sick(NamedTuple):
    """An illness, the step since which its signs stand, and sentences with the numbers."""

    name: str
    since: int
    evidence: tuple[str, ...]


STILL = 2.0**-24
"""Parameters that move by less than this share of their norm: half a unit in the last place of a float32."""

FLAT = 0.002
"""Spread of a logistic critic's output, and size of what G is told, below which it is dead: D = .5 +- .0005.

Calibrated: healthy critics near their equilibrium had .017 and more, dead ones .00023 and less; a factor of 8 each way.
"""

COVERED = 0.22
"""Coverage of the reals from which a flat critic is at its equilibrium: it has nothing to tell apart, and is not dead.

Calibrated: under dead critics .16 at most, healthy .3 and more; midway.
"""

PASSED = 0.01
"""Share of the critic's slope that the loss lets through to G: what a logistic loss does where D is 99 % sure."""

SLOPE = 0.01
"""Mean slope between real and fake of a Wasserstein critic: the best one's is 1 (Gulrajani 2017, Proposition 1)."""

GROWTH = 3.5
"""Times the critic's own early slope. Calibrated: healthy 1.8 at most, exploding 7 and more; midway."""

LOUD = 0.4
"""Spread of the logits from which steepness matters. Calibrated: healthy .2 at most, exploding .7 on; midway."""

KNOWN = 0.5
"""r_v of Karras 2020, section 3: at 1/2 held-out samples lie midway between training samples and fakes."""

APART = 0.5
"""Least distance of training samples from held-out ones, in standard deviations of the critic's output, beside r_v."""

COPIED = 0.75
"""P(a fake is nearer to the training set than a new sample): 1/2 without copying, 1 if all are copies; midway."""

TOUCHING = 0.1
"""Share of fakes within a quarter of the usual distance of two neighbouring training samples, from which they copy.

Samples of the data's law have 1 - 2^(-1/4^d): .04 in the plane, less above. Fakes in the middle of data of many
dimensions are nearer to all of it than new samples are, and copy nothing. Copies had .25 and more; midway.
"""

VARIED = 0.5
"""Mean distance of two fakes over that of two reals: 0 when all are one, 1 when they are spread like the data."""

JUMP = 0.5
"""How far the fakes' mean goes between two examinations, over the data's rms radius: half the way across a ring."""

SWUNG = 0.5
"""The last swings of a rotation over the ones before: a spiral that goes inward by more than half is converging."""

TURNS = 64
"""Points of a series below which its swings are not told from chance: 2/sqrt(n/2) is then .35, less than the 1/2."""

SCALE_FREE = {"wasserstein", "indicator"}
"""Losses that have no natural unit of the critic's output: twice the output is twice the loss."""


def diverged(history: History) -> Sick | None:
    """NaN or infinity: told by the trainer, or losses that end in gaps."""
    told = history.facts.get("diverged")
    if told:
        begin, where = told.get("began") or told.get("step") or 0, told.get("tensor") or told.get("where")
        first = f", first in {where}" if where else ""
        return Sick("diverged", int(begin), (f"not finite from step {int(begin):,} on{first}.",))
    for key, series in history.series.items():
        gaps = ~series.values.isfinite()
        if key.startswith("loss/") and len(gaps) and gaps[-1]:
            last = (~gaps).nonzero()
            start = int(series.steps[int(last[-1]) + 1 if len(last) else 0])
            return Sick("diverged", start, (f"{key} is not finite from step {start:,} on.",))
    return None


def _dead_game(history: History) -> Sick | None:
    keys = [key for key in history.series if key.startswith("update/")]
    series = [known(history, key) for key in keys]
    if not series or len({len(each.steps) for each in series}) != 1:
        return None
    largest = torch.stack([each.values for each in series]).amax(0)
    sign = lasting(series[0].steps, largest < STILL)
    said = f"a step moves every player by less than {STILL:.1g} of its parameters' norm, which rounding swallows."
    return Sick("dead_game", sign.since, (said,)) if sign.holds else None


def _dead_critic(history: History) -> Sick | None:
    """Spread and signal alone: the losses of a dead critic are those of the equilibrium.

    Not where the fakes lie among the data, nor where all data are one point (the Dirac-GAN): at the equilibrium the
    critic is as flat as a dead one, and rightly so.
    """
    if _settled(history) or history.facts.get("loss") in SCALE_FREE:
        return None
    sign = _both(
        history, "critic/spread", "signal/mean", lambda spread, told: (spread < FLAT) & (told < FLAT)
    )
    if not sign.holds:
        return None
    spread, told, loss = (late(history, key) for key in ("critic/spread", "signal/mean", "loss/D"))
    said = [
        f"the critic's output spreads by {spread:.2g} and G is told {told:.2g} a sample, both under {FLAT:g}."
    ]
    if abs(loss - 2 * math.log(2)) < 0.01:
        said.append(f"loss/D is {loss:.4g}, 2 log 2: an equilibrium's, and a dead critic's just so.")
    return Sick("dead_critic", sign.since, tuple(said))


def _settled(history: History) -> bool:
    """Whether a critic may be flat: it has nothing to tell apart."""
    return one_point(history) or late(history, "fakes/coverage") >= COVERED


def _vanishing(history: History) -> Sick | None:
    if history.facts.get("loss") in SCALE_FREE:
        if _settled(history):
            return None
        steps, slope = known(history, "slope/between")
        sign = lasting(steps, slope < SLOPE)
        now = late(history, "slope/between")
        said = f"the critic's slope between real and fake is {now:.2g}, where the best one's is 1."
        return Sick("vanishing", sign.since, (said,)) if sign.holds else None
    reference = "slope/fake"
    sign = _both(history, "signal/mean", reference, lambda told, slope: told < PASSED * slope)
    alive = late(history, "critic/spread")
    if not sign.holds or not alive >= FLAT:
        return None
    share = late(history, "signal/mean") / late(history, reference)
    sure = late(history, "critic/saturated")
    said = f"G is told {share:.2g} of the critic's slope at its samples, less than {PASSED:g}."
    more = f"the critic is 99 % sure of {sure:.0%} of the fakes."
    return Sick("vanishing", sign.since, (said, more))


def _overfitted(history: History) -> Sick | None:
    steps, held = known(history, "critic/held")
    gap, spread = _on(history, "critic/gap", steps), _on(history, "critic/spread", steps)
    sign = lasting(steps, (held > KNOWN) & (held * gap > APART * spread))
    if not sign.holds:
        return None
    way = late(history, "critic/held")
    said = f"from training samples to held-out ones the critic falls by {way:.2g} of the way to the fakes."
    return Sick("overfitted", sign.since, (said,))


def _exploding(history: History) -> Sick | None:
    steps, slope = known(history, "slope/max")
    first, last = early(history, "slope/max"), late(history, "slope/max")
    sign = lasting(steps, slope > GROWTH * first)
    grown = late(history, "signal/max") > early(history, "signal/max")
    if not (sign.holds and grown and _loud(history)):
        return None
    said = [
        f"the critic's steepest slope grew from {first:.2g} to {last:.2g}, and what G is told at most from "
        f"{early(history, 'signal/max'):.2g} to {late(history, 'signal/max'):.2g}."
    ]
    pairs = early(history, "close/pairs"), late(history, "close/pairs")
    signals = early(history, "close/signal"), late(history, "close/signal")
    if pairs[1] > pairs[0] and signals[1] > signals[0]:
        said.append(
            f"fakes close to training samples went from {pairs[0]:.0%} to {pairs[1]:.0%} while the signal there rose "
            f"from {signals[0]:.2g} to {signals[1]:.2g}: FARGAN's vicious circle."
        )
    return Sick("exploding", sign.since, tuple(said))


def _loud(history: History) -> bool:
    """Whether the logits spread as well: past 99 % sure where the fakes are one heap, which is told from the data."""
    heap = late(history, "fakes/diversity") < VARIED
    return late(history, "critic/spread") > (SURE if heap else LOUD)


def _memorisation(history: History) -> Sick | None:
    """Nearer than new samples, and, where that is known, near: a blurred fake is the one without the other."""
    steps, share = known(history, "fakes/copies")
    seen = "close/pairs" in history.series
    near = _on(history, "close/pairs", steps) if seen else torch.ones_like(share)
    sign = lasting(steps, (share > COPIED) & (near > TOUCHING))
    said = f"{late(history, 'fakes/copies'):.0%} of the time a fake is nearer to the training set than a new sample."
    return Sick("memorisation", sign.since, (said,)) if sign.holds else None


def _collapse(history: History) -> Sick | None:
    steps, varied = known(history, "fakes/diversity")
    sign = lasting(steps, varied < VARIED)
    apart, covered = late(history, "fakes/diversity"), late(history, "fakes/coverage")
    said = f"two fakes are {apart:.2g} as far apart as two reals, and {covered:.0%} of the reals have a fake near."
    return Sick("collapse", sign.since, (said,)) if sign.holds else None


def _hopping(history: History) -> Sick | None:
    series = [known(history, f"fakes/at{i}") for i in range(3)]
    present = [each for each in series if len(each.values) > 1]
    if not present or len({len(each.values) for each in present}) != 1:
        return None
    at = torch.stack([each.values for each in present])
    moved = at.diff(dim=1).norm(dim=0)
    sign = lasting(present[0].steps[1:], _smooth(moved > JUMP))
    far = moved[-max(1, len(moved) // LATE) :].median()
    said = f"from one examination to the next the fakes' mean moves by {far:.2g} of the data's radius."
    return Sick("hopping", sign.since, (said,)) if sign.holds else None


def _smooth(flags: Tensor) -> Tensor:
    """A flag stands for its neighbours as well: those who hop rest in between."""
    padded = torch.cat([flags[:1], flags, flags[-1:]])
    return padded[:-2] | padded[1:-1] | padded[2:]


def _rotation(history: History) -> Sick | None:
    for key, series in _circling(history):
        steps, values = series
        half = values[len(values) // 2 :]
        periods, match = swings(half)
        if not periods:
            continue
        quarter = len(half) // 2
        first, last = (part.std() for part in (half[:quarter], half[quarter:]))
        if last > SWUNG * first:
            said = f"{key} swings {periods} times in the last half and does not calm down (correlation {match:.2f})."
            return Sick("rotation", int(steps[len(values) // 2]), (said,))
    return None


def _circling(history: History) -> Iterator[tuple[str, tuple[Tensor, Tensor]]]:
    for key in ("fakes/at0", "fakes/at1", "logit/fake", "loss/G", "loss/D"):
        found = known(history, key)
        if len(found.values) >= TURNS:
            yield key, (found.steps, found.values)


def _both(history: History, one: str, other: str, test: Callable[[Tensor, Tensor], Tensor]) -> Sign:
    """Whether a test of two series lasts, at the steps that both have."""
    steps, values = known(history, one)
    return lasting(steps, test(values, _on(history, other, steps)))


def _on(history: History, key: str, steps: Tensor) -> Tensor:
    """A series at these steps; NaN, of which no comparison holds, where it has none."""
    known_steps, values = known(history, key)
    places = {float(step): float(value) for step, value in zip(known_steps, values)}
    return torch.tensor([places.get(float(step), torch.nan) for step in steps], dtype=torch.float64)


ILLNESSES = (
    _dead_game,
    _dead_critic,
    _vanishing,
    _overfitted,
    _exploding,
    _memorisation,
    _hopping,
    _collapse,
    _rotation,
)
"""Each returns what it finds, or None where its signs do not stand."""
