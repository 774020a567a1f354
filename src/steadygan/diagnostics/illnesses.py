"""The problems that a game can have. Each one is a small function of the series in a history.

Thresholds are named constants. Where theory gives a threshold, it is theory's. Otherwise it lies midway (in
logarithms) between runs with the problem and runs without it, in the calibration part of
`experiments.doctor`. The margin is stated.
"""

import math
import re
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from steadygan.diagnostics.history import History
from steadygan.diagnostics.measures import SURE
from steadygan.diagnostics.mistakes import MISTAKES, REASONS, SCALE_FREE
from steadygan.diagnostics.trends import (
    LATE,
    Sick,
    Sign,
    at_steps,
    early,
    known,
    lasting,
    late,
    one_point,
    swings,
)

__all__ = ["ILLNESSES", "diverged", "narrow", "unfinished"]


STILL = 2.0**-24
"""Parameters that change by less than this share of their norm: half a unit in the last place of a float32."""

FLAT = 0.002
"""A critic is dead if its output's spread and the gradient that G receives are below this: D = .5 +- .0005.

Calibrated for logistic losses: healthy critics near their equilibrium had .017 and more, dead ones .00023 and
less. That is a factor of 8 each way.
"""

COVERED = 0.22
"""Coverage of the reals from which a flat critic counts as at equilibrium: it has nothing to tell apart.

Calibrated: .16 at most under dead critics, .3 and more in healthy runs; midway.
"""

PASSED = 0.01
"""Share of the critic's slope that reaches G: that of a logistic loss where D is 99 % certain."""

SLOPE = 0.01
"""Mean slope of a Wasserstein critic between real and fake; that of the best one is 1 (Gulrajani 2017, Proposition 1).
"""

GROWTH = 3.5
"""Multiple of the critic's own early slope. Calibrated: healthy 1.8 at most, exploding 7 and more; midway."""

LOUD = 0.4
"""Spread of the logits from which steep slopes matter. Calibrated: healthy .2 at most, exploding .7 and more; midway.
"""

KNOWN = 0.5
"""r_v of Karras 2020, section 3. At 1/2, held-out samples lie midway between training samples and fakes."""

APART = 0.5
"""Least distance of training samples from held-out ones, in standard deviations of the critic's output."""

COPIED = 0.75
"""P(a fake is nearer to the training set than a new sample): 1/2 without copying, 1 if all are copies; midway."""

TOUCHING = 0.1
"""Share of fakes that nearly touch a training sample, from which they count as copies.

Nearly touching is within a quarter of the usual distance of two neighbouring training samples. Samples of the
data's distribution have the share 1 - 2^(-1/4^d): .04 in the plane, and less in more dimensions. Fakes in the
middle of data of many dimensions are nearer to all data than new samples are, but copy nothing. Copies had
.25 and more; midway.
"""

VARIED = 0.5
"""Mean distance of two fakes over that of two reals: 0 when all fakes are equal, 1 when they spread like the data."""

YOUNG = 500
"""Fewest steps of a collapsed run: a G at its start has fakes in one heap too. Healthy tables had it at 200 steps."""

RISING = 0.05
"""Growth of the diversity from one quarter of the passes to the next, above which fakes still spread."""

JUMP = 0.5
"""How far the fakes' mean moves between two diagnostics passes, over the data's rms radius: half way across a ring."""

SWUNG = 0.5
"""The last oscillations over the ones before. A spiral that shrinks by more than half is converging."""

TURNS = 64
"""Fewest points of a series for its oscillations to differ from chance: 2/sqrt(n/2) is then .35, less than the 1/2."""


def diverged(history: History) -> Sick | None:
    """NaN or infinity: reported by the trainer, or losses that end in values that are not finite."""
    told = history.facts.get("diverged")
    if told:
        begin, where = (
            int(told.get("began") or told.get("step") or 0),
            told.get("tensor") or told.get("where"),
        )
        first = f", first in {where}" if where else ""
        good = told.get("good_step")
        kept = (f"the last good state was that of step {good:,}.",) if type(good) is int else ()
        return Sick("diverged", begin, (f"values are not finite from step {begin:,} on{first}.", *kept))
    for key, series in history.series.items():
        gaps = ~series.values.isfinite()
        if key.startswith("loss/") and len(gaps) and gaps[-1]:
            last = (~gaps).nonzero()
            start = int(series.steps[int(last[-1]) + 1 if len(last) else 0])
            return Sick("diverged", start, (f"{key} is not finite from step {start:,} on.",))
    return None


def _dead_game(history: History) -> Sick | None:
    keys = [key for key in history.series if key.startswith("update/")]
    if len(keys) < 2:
        return None
    steps, _ = known(history, keys[0])
    largest = torch.stack([at_steps(history, key, steps) for key in keys]).amax(0)
    sign = lasting(steps, largest < STILL)
    said = f"a step changes every player's parameters by less than {STILL:.1g} of their norm, below float32 rounding."
    never = [f"{' and '.join(keys)} are exactly 0 at all passes. {REASONS}"] if not largest.any() else []
    return Sick("dead_game", sign.since, (said, *never)) if sign.holds else None


def _dead_critic(history: History) -> Sick | None:
    """Uses the spread and the gradient alone, because a dead critic has the losses of the equilibrium.

    Returns None where the fakes lie among the data, and where all data are one point (Dirac-GAN). At the
    equilibrium a critic is as flat as a dead one, and rightly so.
    """
    if _settled(history) or history.facts.get("loss") in SCALE_FREE:
        return None
    return _flat(history) or _one_flat(history)


def _flat(history: History) -> Sick | None:
    sign = _both(
        history, "critic/spread", "signal/mean", lambda spread, told: (spread < FLAT) & (told < FLAT)
    )
    if not sign.holds:
        return None
    spread, told, loss = (late(history, key) for key in ("critic/spread", "signal/mean", "loss/D"))
    said = [
        f"the critic's output has a spread of {spread:.2g} and G receives a gradient of {told:.2g} per sample, both "
        f"below {FLAT:g}."
    ]
    if abs(loss - 2 * math.log(2)) < 0.01:
        said.append(
            f"loss/D is {loss:.4g}, near 2 log 2: a dead critic has the same loss as a converged game."
        )
    return Sick("dead_critic", sign.since, tuple(said))


def _one_flat(history: History) -> Sick | None:
    """One of several critics is flat, and the others hide it in their sum: its own spread, and its slope at fakes.

    A logistic loss gives G no more than that slope.
    """
    keys = [key for key in history.series if re.fullmatch(r"critic/spread\d+", key)]
    for key in keys:
        index = key.removeprefix("critic/spread")
        slope = f"slope/fake{index}"
        sign = _both(history, key, slope, lambda spread, slope: (spread < FLAT) & (slope < FLAT))
        if sign.holds:
            said = (
                f"critic {index} of 0 to {len(keys) - 1} gives every sample the same output: its spread is "
                f"{late(history, key):.2g} and its slope at fakes {late(history, slope):.2g}, both below {FLAT:g}."
            )
            return Sick("dead_critic", sign.since, (said,))
    return None


def _settled(history: History) -> bool:
    """Whether the critic may be flat because it has nothing to tell apart."""
    return one_point(history) or late(history, "fakes/coverage") >= COVERED


def _vanishing(history: History) -> Sick | None:
    if history.facts.get("loss") in SCALE_FREE:
        if _settled(history):
            return None
        steps, slope = known(history, "slope/between")
        sign = lasting(steps, slope < SLOPE)
        now = late(history, "slope/between")
        said = f"the critic's slope between real and fake samples is {now:.2g}; that of the best critic is 1."
        return Sick("vanishing", sign.since, (said,)) if sign.holds else None
    reference = "slope/fake"
    sign = _both(history, "signal/mean", reference, lambda told, slope: told < PASSED * slope)
    alive = late(history, "critic/spread")
    if not sign.holds or not alive >= FLAT:
        return None
    share = late(history, "signal/mean") / late(history, reference)
    sure = late(history, "critic/saturated")
    said = f"G receives {share:.2g} of the critic's slope at its samples, less than {PASSED:g}."
    more = f"the critic is 99 % certain of {sure:.0%} of the fakes."
    return Sick("vanishing", sign.since, (said, more))


def _overfitted(history: History) -> Sick | None:
    steps, held = known(history, "critic/held")
    gap, spread = at_steps(history, "critic/gap", steps), at_steps(history, "critic/spread", steps)
    sign = lasting(steps, (held > KNOWN) & (held * gap > APART * spread))
    if not sign.holds:
        return None
    way = late(history, "critic/held")
    said = f"the mean logit falls from training to held-out samples by {way:.2g} of its fall to the fakes."
    return Sick("overfitted", sign.since, (said,))


def _exploding(history: History) -> Sick | None:
    steps, slope = known(history, "slope/max")
    first, last = early(history, "slope/max"), late(history, "slope/max")
    sign = lasting(steps, slope > GROWTH * first)
    grown = late(history, "signal/max") > early(history, "signal/max")
    if not (sign.holds and grown and _loud(history)):
        return None
    said = [
        f"the critic's steepest slope grew from {first:.2g} to {last:.2g}, and the largest gradient that G receives "
        f"from {early(history, 'signal/max'):.2g} to {late(history, 'signal/max'):.2g}."
    ]
    pairs = early(history, "close/pairs"), late(history, "close/pairs")
    signals = early(history, "close/signal"), late(history, "close/signal")
    if pairs[1] > pairs[0] and signals[1] > signals[0]:
        said.append(
            f"fakes close to training samples went from {pairs[0]:.0%} to {pairs[1]:.0%} while G's gradient there rose "
            f"from {signals[0]:.2g} to {signals[1]:.2g}: the vicious circle of the FARGAN paper."
        )
    return Sick("exploding", sign.since, tuple(said))


def _loud(history: History) -> bool:
    """Whether the logits spread too. Fakes in one heap are easy to tell from the data: then past 99 % certainty."""
    heap = late(history, "fakes/diversity") < VARIED
    return late(history, "critic/spread") > (SURE if heap else LOUD)


def _memorisation(history: History) -> Sick | None:
    """Nearer to the training set than new samples, and near to it if that is known: a blurred fake is not near."""
    steps, share = known(history, "fakes/copies")
    seen = "close/pairs" in history.series
    near = at_steps(history, "close/pairs", steps) if seen else torch.ones_like(share)
    sign = lasting(steps, (share > COPIED) & (near > TOUCHING))
    said = f"a fake is nearer to the training set than a new sample in {late(history, 'fakes/copies'):.0%} of cases."
    return Sick("memorisation", sign.since, (said,)) if sign.holds else None


def narrow(history: History) -> Sign:
    """Whether the fakes are much less diverse than the data, be it that G is not trained yet, and since when."""
    steps, varied = known(history, "fakes/diversity")
    return lasting(steps, varied < VARIED)


def unfinished(history: History) -> str:
    """Why fakes of little diversity may be those of a G that is not trained yet; an empty string if they may not."""
    steps, varied = known(history, "fakes/diversity")
    last = int(steps[-1]) if len(steps) else 0
    if last < YOUNG:
        return f"too early: {last:,} steps. The fakes are less diverse than the data, as at the start of any training."
    quarter = max(1, len(varied) // LATE)
    before, now = varied[-2 * quarter : -quarter].median().item(), varied[-quarter:].median().item()
    if now - before > RISING:
        return f"too early: {last:,} steps. The diversity of the fakes still rises, from {before:.2g} to {now:.2g}."
    return ""


def _collapse(history: History) -> Sick | None:
    sign = narrow(history)
    if not sign.holds or unfinished(history):
        return None
    apart, covered = late(history, "fakes/diversity"), late(history, "fakes/coverage")
    said = f"two fakes are {apart:.2g} times as far apart as two reals; {covered:.0%} of the reals have a fake nearby."
    return Sick("collapse", sign.since, (said,))


def _hopping(history: History) -> Sick | None:
    series = [known(history, f"fakes/at{i}") for i in range(3)]
    present = [each for each in series if len(each.values) > 1]
    if not present or len({len(each.values) for each in present}) != 1:
        return None
    at = torch.stack([each.values for each in present])
    moved = at.diff(dim=1).norm(dim=0)
    sign = lasting(present[0].steps[1:], _smooth(moved > JUMP))
    if not sign.holds:
        return None
    far = moved[moved > JUMP].median()
    said = f"between two diagnostics passes the mean of the fakes moves by {far:.2g} of the data's radius."
    return Sick("hopping", sign.since, (said,))


def _smooth(flags: Tensor) -> Tensor:
    """A flag counts for its neighbours too: fakes that hop rest in between."""
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
            said = (
                f"{key} oscillates {periods} times in the last half without decay (correlation {match:.2f})."
            )
            return Sick("rotation", int(steps[len(values) // 2]), (said,))
    return None


def _circling(history: History) -> Iterator[tuple[str, tuple[Tensor, Tensor]]]:
    for key in ("fakes/at0", "fakes/at1", "logit/fake", "loss/G", "loss/D"):
        found = known(history, key)
        if len(found.values) >= TURNS:
            yield key, (found.steps, found.values)


def _both(history: History, one: str, other: str, test: Callable[[Tensor, Tensor], Tensor]) -> Sign:
    """Whether a test of two series holds lastingly, at the steps that both have."""
    steps, values = known(history, one)
    return lasting(steps, test(values, at_steps(history, other, steps)))


ILLNESSES = (
    *MISTAKES,
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
"""The mistakes in the set-up, then the rest. Each returns what it finds, or None if its signs do not hold."""
