"""Mistakes in the set-up of a game, which no training repairs. Each one is a small function of a history.

A mistake is there from the first diagnostics pass on, so most signs must hold at every pass. Each threshold says its
margin to the healthy runs of `experiments.doctor`.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from steadygan.diagnostics.history import History
from steadygan.diagnostics.measures import SURE
from steadygan.diagnostics.trends import Sick, at_steps, known, lasting, late, one_point, rank_correlation
from steadygan.losses import LOSSES, total_variation

__all__ = ["MISTAKES", "REASONS", "SCALE_FREE"]

SCALE_FREE = {"wasserstein", "indicator"}
"""Losses without a natural unit of the critic's output: twice the output is twice the loss."""

INTERVALS = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))
"""The usual ranges of samples: those of a sigmoid, of a tanh, and of bytes."""

NEAR, BEYOND = 0.1, 0.2
"""G is at its bound if it comes this near to it, as a share of the bound. Reals this far past it are out of reach."""

LARGE = 16.0
"""Ratio of two ranges that differ where no bound is reached. Bytes are 128 times the range of a tanh."""

BELOW = -0.5
"""Beside reals in 0..1, a tanh that comes this far below 0 fills half of the range that has no data."""

REVERSED = 0.5
"""Rank correlation of loss/D with critic/gap. By theory it is negative where a high logit means real.

Calibrated without penalties: .17 at most in healthy runs, .89 and more in reversed ones; midway. A penalty that falls
can correlate by 1 in a healthy run, so loss/D has to be impossible as well, see `_least_loss`.
"""

HALVED = 0.5
"""A loop may average D's loss over its two halves. Without a penalty the correlation alone is evidence of that."""

ROUNDING = 2.0**-20
"""A constant critic's logits vary by less than this share of a logit of 1; float32 rounds to 2^-24 of it.

Calibrated: the logits of critics that died or vanished had varied by 7e-5 and more before, healthy ones by .04.
"""

LOST = 2.0**-9
"""Slope times the range of the data, over the spread of the logits: by theory 1 / sqrt(dimensions) or more.

Calibrated: healthy runs had 2.6 and more, batch norms before a last layer .0012 and less in float32.
"""


REASONS = (
    "likely reasons: the optimizer's step is not called; the optimizer has other parameters; its learning rate is 0; "
    "the loss is detached from the parameters."
)
"""Why parameters stay exactly as they are."""


def _frozen(history: History) -> Sick | None:
    """A player whose update is exactly 0 at every diagnostics pass, while another moves or is not known.

    A generator without any gradient to follow is no mistake of its own: its critic is dead. Healthy runs had
    updates of .005 and more at some pass. A player that moves between the measured steps has gaps.
    """
    moves = {key[7:]: known(history, key) for key in history.series if key.startswith("update/")}
    moves = {name: series for name, series in moves.items() if len(series.steps)}
    told = known(history, "signal/max").values
    deaf = {"G"} if len(told) and not told.any() else set()
    still = [name for name, series in moves.items() if not series.values.any() and _gapless(history, name)]
    if not set(still) - deaf or len(still) == len(moves) > 1:
        return None
    steps = moves[still[0]].steps
    others = _and(f"{name}'s" for name in moves if name not in still)
    whose, keys = _and(f"{name}'s" for name in still), _and(f"update/{name}" for name in still)
    said = (
        f"{whose} parameters do not change{f' while {others} do' if others else ''}: {keys} is exactly 0 at all "
        f"{len(steps)} diagnostics passes."
    )
    return Sick("frozen", int(steps[0]), (said, REASONS))


def _gapless(history: History, player: str) -> bool:
    """Whether the player's update is known at all passes from the first on at which it is."""
    steps = known(history, f"update/{player}").steps
    passes = [known(history, key).steps for key in history.series if key.startswith(("update/", "spectral/"))]
    return set(torch.cat(passes)[torch.cat(passes) >= steps[0]].tolist()) == set(steps.tolist())


def _and(words: Iterable[str]) -> str:
    return " and ".join(words)


class _Ranges(NamedTuple):
    """The ends of the reals and of the fakes at each diagnostics pass."""

    low: Tensor
    high: Tensor
    fake_low: Tensor
    fake_high: Tensor

    @property
    def bounded(self) -> bool:
        """Whether no fake ever left the range of a tanh."""
        return bool(torch.maximum(self.fake_high, -self.fake_low).amax() <= 1)


def _mismatched(history: History) -> Sick | None:
    """Reals that G cannot reach, or fakes in a range that holds no data.

    Bad fakes alone do not count: those of a G without a bound pass through any bound. No healthy run of the
    study has such a sign at a single pass.
    """
    steps, low = known(history, "data/min")
    if not len(steps):
        return None
    ranges = _Ranges(low, *(at_steps(history, key, steps) for key in ("data/max", "fakes/min", "fakes/max")))
    sign = lasting(steps, _out_of_reach(ranges) | _wider(ranges) | _larger(ranges))
    if not sign.holds:
        return None
    real, fake = _shown(ranges.low, ranges.high), _shown(ranges.fake_low, ranges.fake_high)
    now = [f"{late(history, key):.3g}" for key in ("data/min", "data/max", "fakes/min", "fakes/max")]
    more = f"the last passes saw reals from {now[0]} to {now[1]} and fakes from {now[2]} to {now[3]}."
    return Sick(
        "mismatched_ranges",
        sign.since,
        (f"reals lie in {real}, fakes in {fake}: scale the data.", more),
        {"reals": (ranges.low.amin().item(), ranges.high.amax().item()), "tanh": _like_tanh(ranges)},
    )


def _like_tanh(ranges: _Ranges) -> bool:
    """Whether no fake leaves -1..1 while some are negative: the output of a tanh."""
    return ranges.bounded and bool((ranges.fake_low < 0).any())


def _out_of_reach(ranges: _Ranges) -> Tensor:
    """Fakes that never leave a usual range and press against an end of it, and reals beyond this end."""
    found = torch.zeros_like(ranges.low, dtype=torch.bool)
    for low, high in INTERVALS:
        if bool(((ranges.fake_low >= low) & (ranges.fake_high <= high)).all()):
            found |= (ranges.fake_high > (1 - NEAR) * high) & (ranges.high > (1 + BEYOND) * high)
            found |= (ranges.fake_low < low + NEAR) & (ranges.low < low - BEYOND)
    return found


def _wider(ranges: _Ranges) -> Tensor:
    """Fakes of a tanh beside reals in 0..1, or beside reals in a very small range."""
    empty = torch.zeros_like(ranges.low, dtype=torch.bool)
    if not ranges.bounded:
        return empty
    unit = (ranges.low >= 0) & (ranges.high <= 1)
    filled = (ranges.fake_high > 1 - NEAR) | (ranges.fake_low < -1 + NEAR)
    extent, fakes = ranges.high - ranges.low, ranges.fake_high - ranges.fake_low
    return (unit & filled & (ranges.fake_low < BELOW)) | ((extent > 0) & (LARGE * extent < fakes))


def _larger(ranges: _Ranges) -> Tensor:
    """Bytes beside fakes of order 1, or fakes in the range of bytes beside reals of order 1."""
    small = (ranges.fake_high <= 1) & (ranges.fake_low >= -1)
    bytes_ = (ranges.low >= 0) & (ranges.high > LARGE) & small
    positive = bool((ranges.fake_low >= 0).all() and (ranges.fake_high <= 255).all())
    unit = (ranges.high <= 1) & (ranges.low >= -1)
    return bytes_ | (unit & (ranges.fake_high > LARGE) if positive else torch.zeros_like(bytes_))


def _shown(low: Tensor, high: Tensor) -> str:
    """The usual range in which all values lie and of which they fill half, else the range that was measured."""
    least, most = low.nan_to_num(0).amin().item(), high.nan_to_num(0).amax().item()
    for a, b in INTERVALS:
        if a <= least and most <= b and most - least > (b - a) / 2:
            return f"{a:g}..{b:g}"
    return f"{least:.3g}..{most:.3g}"


def _reversed(history: History) -> Sick | None:
    """Reals have the lower logits, and D's loss falls as this gap grows, or is lower than it can be.

    A critic that lags behind G has lower logits for reals too, but its loss is high there: the correlation is
    negative. A penalty in D's loss may fall as the gap grows, but it does not make the loss lower than it can be.
    """
    steps, gap = known(history, "critic/gap")
    if not len(steps) or not gap.median() < 0:
        return None
    loss = at_steps(history, "loss/D", steps)
    both = loss.isfinite()
    agreement = rank_correlation(gap[both], loss[both])
    if agreement > REVERSED and _too_low(history, steps[both], loss[both]):
        more = f"loss/D falls as this gap grows (rank correlation {agreement:.2f})"
    elif _impossible(history):
        more = f"loss/D is {late(history, 'loss/D'):.3g}, less than it can be if a high logit means real"
    else:
        return None
    means = [
        f"{key} is {late(history, key):.3g}, "
        for key in ("logit/real", "logit/fake")
        if key in history.series
    ]
    said = f"{''.join(means)}the logits of reals lie {-gap.median():.2g} below those of fakes, and {more}."
    why = "a high logit has to mean real: fake-as-real would select the most real fakes, and other verdicts err."
    return Sick("reversed_sign", int(steps[0]), (said, why))


def _too_low(history: History, steps: Tensor, loss: Tensor) -> bool:
    """Whether D's loss is mostly lower than it can be, or, where the least loss is not known, no penalty is in it."""
    penalised = bool(history.facts.get("penalties"))
    excess = loss - (HALVED if penalised else 1) * _least_loss(history, steps)
    known_excess = excess[excess.isfinite()]
    return bool(known_excess.median() < 0) if len(known_excess) else not penalised


def _least_loss(history: History, steps: Tensor) -> Tensor:
    """D's loss at the mean logits: by Jensen's inequality its mean over samples is no less, with any penalty on top.

    Logits are summed over critics, and so are losses: the least sum is that of critics that are all alike. NaN where
    the loss has no known name or is not convex, and where the logits are not known.
    """
    named = LOSSES.get(history.facts.get("loss") or "")
    if named is None or named is total_variation:
        return torch.full_like(steps, torch.nan)
    critics = sum(key.removeprefix("critic/spread").isdecimal() for key in history.series) or 1
    real, fake = (at_steps(history, key, steps)[:, None] / critics for key in ("logit/real", "logit/fake"))
    pairs = [named.discriminator([r] * critics, [f] * critics) for r, f in zip(real, fake)]
    return torch.stack(pairs) if pairs else steps


def _impossible(history: History) -> bool:
    """Whether D's loss contradicts its logits. If it is not known, a critic that is certain of the wrong side does.

    Where D is 99 % certain of the wrong side, each half of a logistic loss is log 100 or more, and a hinge or least
    squares loss is more than that. Logits without a unit say nothing.
    """
    wrong = late(history, "logit/real") < -SURE and late(history, "logit/fake") > SURE
    return wrong and not late(history, "loss/D") >= SURE and history.facts.get("loss") not in SCALE_FREE


def _cancelled(history: History) -> Sick | None:
    """The critic's input gradient is rounding error from the first pass on.

    Either the logits are constant, as behind an instance norm right before an average over the same pixels. Or
    they vary and the gradient of their sum does not, as behind a batch norm. A critic that died had slopes before.
    """
    steps, spread = known(history, "critic/spread")
    places = [
        at_steps(history, key, steps)
        for key in ("slope/real", "slope/fake", "slope/between")
        if key in history.series
    ]
    if not places or not len(steps) or one_point(history):
        return None
    slope = torch.stack(places).amax(0)
    change = slope * (at_steps(history, "data/max", steps) - at_steps(history, "data/min", steps))
    unit = _unit(history)
    constant = bool(((spread < ROUNDING * unit) & (change < ROUNDING * unit)).all())
    cancels = bool((change < spread).all()) and bool((change < LOST * spread).double().mean() > 0.5)
    if not (constant or cancels):
        return None
    said = (
        f"the critic's slope is {slope.median():.2g} since the first diagnostics pass: across the data it changes the "
        f"logits by {change.median():.2g}, no more than rounding."
    )
    logits = (
        f"the logits vary by {spread.median():.2g} only: the critic gives every sample the same output."
        if constant
        else f"yet the logits vary by {spread.median():.2g}: the gradient of their sum over the batch cancels."
    )
    return Sick("cancelled_gradient", int(steps[0]), (said, logits))


def _unit(history: History) -> float:
    """The size of a logit that matters: 1, or the largest mean logit where the loss sets no unit."""
    if history.facts.get("loss") not in SCALE_FREE:
        return 1.0
    means = [known(history, key).values.abs() for key in ("logit/real", "logit/fake")]
    return max((each.amax().item() for each in means if len(each)), default=0.0)


MISTAKES = (_frozen, _mismatched, _reversed, _cancelled)
"""Each returns what it finds, or None if its signs do not hold."""
