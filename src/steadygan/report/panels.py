"""Panels: which scalars are drawn together, under which section, and a note on each."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from steadygan.diagnostics import History
from steadygan.report.charts import Curve, Rule
from steadygan.training.online_scores import lower_is_better

__all__ = ["FIRST", "SHARES", "Panel", "curve", "panels", "rules"]

FIRST = "Losses and gradients"

SHARES = {
    "modes",
    "high_quality",
    "signal/top",
    "critic/saturated",
    "close/pairs",
    "fakes/diversity",
    "fakes/coverage",
    "fakes/copies",
}
"""Scalars to read against 1 or another whole; their axis is never logarithmic."""

COUNTS = {"images", "wall_s"}
"""Counters in every line, which are not drawn."""


class Panel(NamedTuple):
    """A chart to make: its section, its title, the names of its scalars, and a note."""

    section: str
    title: str
    keys: tuple[str, ...]
    note: str = ""


CRITIC, TOLD, FAKES, GAME, PLACE = (
    "The critic",
    "The gradient that G receives",
    "The fakes",
    "The game",
    "Parameters and convergence",
)

KNOWN = (
    Panel(
        FIRST,
        "losses",
        ("loss/*", "adversarial/*"),
        "what each player minimises; adversarial: without penalties",
    ),
    Panel(FIRST, "gradients", ("gradient/*",), "norm of the gradient of each player's parameters"),
    Panel(FIRST, "update ratios", ("update/*",), "norm of a step over norm of the parameters"),
    Panel(CRITIC, "mean logits", ("logit/real", "logit/fake"), "high means real"),
    Panel(CRITIC, "gap and spread", ("critic/gap", "critic/spread"), "reals less fakes, on fixed samples"),
    Panel(CRITIC, "saturated", ("critic/saturated",), "share of fakes for which D is 99 % certain"),
    Panel(CRITIC, "held-out gap", ("critic/held",), "0: held-out samples score as reals, 1: as fakes"),
    Panel(CRITIC, "slopes", ("slope/*",), "norm of the critic's input gradient"),
    Panel(
        TOLD,
        "norms",
        ("signal/mean", "signal/median", "signal/max", "signal/rms"),
        "|N dL_G/dG(z)| per sample",
    ),
    Panel(TOLD, "largest share", ("signal/top",), "of the gradient, in one sample"),
    Panel(TOLD, "close pairs", ("close/pairs",), "share of fakes that nearly touch a training sample"),
    Panel(TOLD, "norms at close pairs", ("close/signal",), "both rising: FARGAN's vicious circle"),
    Panel(FAKES, "diversity", ("fakes/diversity",), "mean distance of two fakes over that of two reals"),
    Panel(FAKES, "coverage", ("fakes/coverage",), "share of reals with a fake nearby"),
    Panel(FAKES, "copies", ("fakes/copies",), "0.5: no copying; 1: all fakes are copies"),
    Panel(FAKES, "mean", ("fakes/at0", "fakes/at1", "fakes/at2"), "position; it moves if G hops"),
    Panel(
        FAKES,
        "ranges",
        ("data/min", "data/max", "fakes/min", "fakes/max"),
        "least and largest entry of reals and of fakes",
    ),
    Panel(GAME, "rotation", ("field/cosine",), "cosine of the field before and after a step; 1: straight"),
    Panel(GAME, "spectral norms", ("spectral/*",), "largest over each player's weight matrices"),
    Panel(GAME, "penalties", ("penalty/*",), "unweighted"),
    Panel(PLACE, "players", ("at/*",), "each player's first parameter"),
    Panel(
        PLACE, "spectral radius", ("radius", "radius/closed_form"), "of a step at equilibrium; stable below 1"
    ),
)


def panels(keys: Iterable[str], apart: bool) -> list[Panel]:
    """The panels for these scalars, in order; with `apart`, one scalar per panel, to compare several runs.

    >>> [panel.title for panel in panels(["modes", "loss/D", "loss/G"], apart=False)]
    ['losses', 'modes']
    """
    left = [key for key in dict.fromkeys(keys) if key not in COUNTS]
    found = []
    for panel in KNOWN:
        own = tuple(key for key in left if any(_matches(key, pattern) for pattern in panel.keys))
        left = [key for key in left if key not in own]
        found += [panel._replace(keys=own)] if own else []
    for key in left:
        family = key.partition("/")[0]
        better = "lower is better" if lower_is_better(key) else ""
        found.append(
            Panel("Other", key, (key,)) if family != key else Panel("Scores over time", key, (key,), better)
        )
    if apart:
        found = [panel._replace(title=key, keys=(key,)) for panel in found for key in panel.keys]
    order = [FIRST, "Scores over time", CRITIC, TOLD, FAKES, GAME, PLACE, "Other"]
    return sorted(found, key=lambda panel: order.index(panel.section))


def _matches(key: str, pattern: str) -> bool:
    return key.startswith(pattern[:-1]) if pattern.endswith("*") else key == pattern


def curve(name: str, style: int, histories: Sequence[History], key: str) -> Curve | None:
    """A scalar of a run; for an ensemble the median and the range over its members; None if it has none."""
    series = [history.series[key] for history in histories if key in history.series]
    if not series:
        return None
    steps, values = series[0].steps, torch.stack([each.values for each in series])
    if len(values) == 1:
        return Curve(name, style, steps, values[0])
    gone = values.isnan()
    low, high = (torch.where(gone, bound, values) for bound in (math.inf, -math.inf))
    return Curve(name, style, steps, values.nanquantile(0.5, 0), _finite(low.amin(0)), _finite(high.amax(0)))


def _finite(values: Tensor) -> Tensor:
    return torch.where(values.isfinite(), values, math.nan)


def rules(panel: Panel, facts: Sequence[dict[str, Any]]) -> list[Rule]:
    """The losses that theory predicts for a logistic critic that outputs 1/2 for everything. Goodfellow 2014, Eqn 4.

    >>> rules(Panel(FIRST, "losses", ("loss/D",)), [{"game": "gan", "loss": "minimax"}])
    [Rule(value=1.3862943611198906, name='2 log 2')]
    """
    logistic = {each.get("loss") for each in facts if each.get("game") == "gan"}
    D, G = ({f"loss/{name}", f"adversarial/{name}"} & set(panel.keys) for name in "DG")
    found = []
    if D and logistic & {"non_saturating", "minimax"}:
        found.append(Rule(2 * math.log(2), "2 log 2"))
    if G and "non_saturating" in logistic:
        found.append(Rule(math.log(2), "log 2"))
    if G and "minimax" in logistic:
        found.append(Rule(-math.log(2), "−log 2"))
    return found
