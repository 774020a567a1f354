"""The command `steadygan probe gamma`: which weight a recipe's zero-centered penalty should have."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from steadygan import config, gamma
from steadygan.build import build
from steadygan.config.records import make
from steadygan.config.registry import GAMES, LOSSES
from steadygan.config.resolve import resolve, sweeps
from steadygan.errors import UsageError
from steadygan.losses import Loss
from steadygan.progress import report
from steadygan.training.compile.cpu import threads

__all__ = ["Reading", "measure", "probe_gamma", "recommend"]

ZERO_CENTERED = ("r1", "r2", "zero_centered")
FACTORS = (0.01, 0.1, 1.0, 10.0, 100.0)
SATURATED, UNDECIDED = 0.3, 0.98
"""The usable range of a critic, as shares of the gradient that G receives from an undecided critic. Below SATURATED the
gradient vanishes. Above UNDECIDED the critic does not tell real from fake. The values are a choice: with the logistic
losses, D is right with mean probability .85 and .51."""


class Reading(NamedTuple):
    """What a few hundred steps with one weight showed, as means over the second half of the steps."""

    weight: float
    gap: float  # mean logit of real samples minus that of fake samples
    slope: float  # root of the mean squared gradient of the critic, in logits per unit of the data
    gradient: float  # norm of G's gradient
    terms: int = 1  # number of penalties with this weight


def probe_gamma(raw: dict[str, Any], source: str, steps: int, console: Console) -> None:
    """Train `raw` for `steps` with its weight times 1/100 to 100, print the readings and recommend a range.

    Raises UsageError for a recipe without a zero-centered penalty.
    """
    settings = config.parse(raw, source)
    places = [i for i, p in enumerate(settings.critic.penalties) if p.name in ZERO_CENTERED]
    start = _start(
        settings.game.name, [settings.critic.penalties[i] for i in places], sweeps(settings), source
    )
    loss = make(LOSSES, resolve(settings).game.options["loss"])
    gamma.gap_at(loss, SATURATED)  # a loss without such a gap is refused before anything runs
    readings = [measure(raw, source, places, start * factor, steps) for factor in FACTORS]
    console.print(_table(readings, loss), markup=False)
    console.print(recommend(readings, loss), markup=False, soft_wrap=True)
    shape, batch = build(settings).data.shape, settings.batch
    if len(shape) == 3:
        pixels = shape[1] * shape[2]
        console.print(
            f"The weight scales with pixels / batch: multiply it by "
            f"{gamma.rescaled(1, pixels, batch, 4 * pixels, batch):g} for {2 * shape[1]}x{2 * shape[2]} images, and by "
            f"{gamma.rescaled(1, pixels, batch, pixels, 2 * batch):g} for twice the batch.",
            soft_wrap=True,
        )


def _start(game: str, penalties: Sequence[Any], swept: Mapping[str, Any], source: str) -> float:
    """The weight to start from: that of the first of the `penalties`. Raises UsageError if none can be probed."""
    if not GAMES[game].constrained:
        able = sorted(name for name, part in GAMES.items() if part.constrained)
        raise UsageError(
            f"the game {game} of {source} takes no critic penalty: probe a recipe with the game {' or '.join(able)}"
        )
    if not penalties:
        raise UsageError(
            f"{source} has none of the penalties {', '.join(ZERO_CENTERED)}: add critic.penalties=[{{name: r1}}]"
        )
    if any(penalty.of == "probability" for penalty in penalties):
        raise UsageError(
            f"{source} penalises the gradient of the probability, but the rule is for that of the logit: set of=logit "
            "in the penalty"
        )
    if swept:
        raise UsageError(f"{source} sweeps {', '.join(swept)}: give one value for each key")
    weight = penalties[0].weight
    return weight if isinstance(weight, float) and weight > 0 else 1.0


def measure(raw: dict[str, Any], source: str, places: Sequence[int], weight: float, steps: int) -> Reading:
    """Train a recipe for `steps`, uncompiled, with this weight on the penalties at `places`, and average its logs."""
    assignments = [
        f"critic.penalties.{i}.{key}" for i in places for key in (f"weight={weight!r}", "interval=1")
    ]
    fixed = ["seeds=1", "compile=false", f"steps={steps}"]
    settings = config.parse(config.override(raw, [*assignments, *fixed]), source)
    run = build(settings)
    names = sorted({f"penalty/{settings.critic.penalties[i].name}" for i in places})
    state, seen = run.state, []
    with threads(settings.threads):
        for step in range(steps):
            state, logs = run.step(state, run.draws(step))
            report(f"weight {weight:g}", step + 1, steps, "steps")
            if step >= steps // 2:
                gap = (logs["logit/real"] - logs["logit/fake"]).item()
                square = sum(logs[name].item() for name in names) / len(places)
                seen.append((gap, square, logs["gradient/G"].item()))
    gap, square, gradient = (statistics.fmean(values) for values in zip(*seen, strict=True))
    return Reading(weight, gap, math.sqrt(square), gradient, len(places))


def recommend(readings: Sequence[Reading], loss: Loss) -> str:
    """The range of weights that keeps the critic between undecided and saturated, as text with the reason."""
    low, high = gamma.gap_at(loss, UNDECIDED), gamma.gap_at(loss, SATURATED)
    usable = [r for r in readings if r.gap > 0 and 0 < r.slope < math.inf]
    if not any(math.isfinite(r.gap) for r in readings):
        return "no recommendation: the run diverged with every weight. Use a lower optimizer.lr"
    if not usable:
        return (
            "no recommendation: the critic did not learn to tell real from fake with any weight. Use more --steps or "
            "a higher optimizer.lr"
        )
    nearest = min(usable, key=lambda r: abs(math.log(r.gap / math.sqrt(low * high))))
    distance = nearest.gap / nearest.slope
    # Several penalties with one weight act like one penalty with the sum of the weights.
    least, most = (gamma.weight_for(loss, gap, distance) / nearest.terms for gap in (high, low))
    return (
        f"recommended weight: {least:.2g} to {most:.2g}. The critic separates real from fake samples over a distance "
        f"of {distance:.3g} (gap {nearest.gap:.2g} / slope {nearest.slope:.2g} at weight {nearest.weight:g}). A lower "
        "weight saturates the critic, and the gradient that G receives vanishes. With a higher weight the critic "
        "hardly tells real from fake."
    )


def _table(readings: Sequence[Reading], loss: Loss) -> Table:
    low, high = gamma.gap_at(loss, UNDECIDED), gamma.gap_at(loss, SATURATED)
    table = Table("weight", "gap of logits", "slope", "gradient of G", "critic")
    for r in readings:
        verdict = "saturated" if r.gap > high else "in range" if r.gap >= low else "undecided"
        if not math.isfinite(r.gap + r.slope):
            verdict = "diverged"
        elif r.gap < -low:
            verdict = "reversed"
        table.add_row(f"{r.weight:g}", f"{r.gap:.3g}", f"{r.slope:.3g}", f"{r.gradient:.3g}", verdict)
    return table
