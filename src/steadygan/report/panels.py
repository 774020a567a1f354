"""Which scalars are drawn together, under which heading, and what a reader should know of them."""

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
"""What is read against 1, or another whole: never on a logarithmic axis."""

COUNTS = {"images", "wall_s"}
"""Written in every line, and no measurement."""


class Panel(NamedTuple):
    """A chart to be: its heading, its title, the names of its scalars, and a note."""

    section: str
    title: str
    keys: tuple[str, ...]
    note: str = ""


CRITIC, TOLD, FAKES, GAME, PLACE = (
    "The critic",
    "What G is told",
    "The fakes",
    "The game",
    "Where the players are",
)

KNOWN = (
    Panel(FIRST, "losses", ("loss/*",), "what each player minimises, penalties included"),
    Panel(FIRST, "gradients", ("gradient/*",), "norm of each player's parameter gradient"),
    Panel(FIRST, "update ratios", ("update/*",), "|parameters moved| / |parameters| of a step"),
    Panel(CRITIC, "mean logits", ("logit/real", "logit/fake"), "high is real"),
    Panel(CRITIC, "spread of logits", ("logit/spread",), "near 0 the critic says the same of everything"),
    Panel(CRITIC, "gap and spread", ("critic/gap", "critic/spread"), "reals less fakes, on fixed samples"),
    Panel(CRITIC, "saturated", ("critic/saturated",), "share of fakes of which D is 99 % sure"),
    Panel(
        CRITIC, "held-out gap", ("critic/held",), "0: held-out samples look real; 1: like fakes (overfitted)"
    ),
    Panel(CRITIC, "slopes", ("slope/*",), "norm of the critic's input gradient"),
    Panel(TOLD, "signal", ("signal/mean", "signal/median", "signal/max"), "norm of N dL_G/dG(z), per sample"),
    Panel(TOLD, "largest share", ("signal/top",), "of the signal, in one sample"),
    Panel(TOLD, "close pairs", ("close/pairs",), "share of fakes that nearly touch a training sample"),
    Panel(TOLD, "signal at close pairs", ("close/signal",), "rising with their share: the vicious circle"),
    Panel(FAKES, "diversity", ("fakes/diversity",), "pairwise distance of fakes over that of reals"),
    Panel(FAKES, "coverage", ("fakes/coverage",), "share of reals that have a fake near"),
    Panel(FAKES, "copies", ("fakes/copies",), "0.5: training samples are no nearer than held-out ones"),
    Panel(
        FAKES, "place", ("fakes/at0", "fakes/at1", "fakes/at2"), "of the fakes' mean; it travels if G hops"
    ),
    Panel(GAME, "turning", ("field/cosine",), "cosine of the field here and a small step on: 1 is straight"),
    Panel(GAME, "spectral norms", ("spectral/*",), "the largest of each player's weight matrices"),
    Panel(GAME, "penalties", ("penalty/*",), "unweighted"),
    Panel(PLACE, "players", ("at/*",), "each player's first parameter"),
    Panel(PLACE, "spectral radius", ("radius", "radius/closed_form"), "of a step at rest: stable below 1"),
)


def panels(keys: Iterable[str], apart: bool) -> list[Panel]:
    """What to draw of these scalars, in order; each `apart` in a chart of its own where several runs are compared.

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
    """A scalar of a run, or the median and the range over an ensemble's members; None where it has none."""
    series = [history.series[key] for history in histories if key in history.series]
    if not series:
        return None
    steps, values = series[0].steps, torch.stack([each.values for each in series])
    if len(values) == 1:
        return Curve(name, style, steps, values[0])
    gone = values.isnan()
    low, high = (torch.where(gone, bound, values) for bound in (math.inf, -math.inf))
    return Curve(name, style, steps, values.nanmedian(0).values, _finite(low.amin(0)), _finite(high.amax(0)))


def _finite(values: Tensor) -> Tensor:
    return torch.where(values.isfinite(), values, math.nan)


def rules(panel: Panel, facts: Sequence[dict[str, Any]]) -> list[Rule]:
    """Theory's lines: where a logistic critic that says 1/2 of everything has its losses. Goodfellow 2014, Eqn 4.

    >>> rules(Panel(FIRST, "losses", ("loss/D",)), [{"game": "gan", "loss": "minimax"}])
    [Rule(value=1.3862943611198906, name='2 log 2')]
    """
    logistic = {each.get("loss") for each in facts if each.get("game") == "gan"}
    found = []
    if "loss/D" in panel.keys and logistic & {"non_saturating", "minimax"}:
        found.append(Rule(2 * math.log(2), "2 log 2"))
    if "loss/G" in panel.keys and "non_saturating" in logistic:
        found.append(Rule(math.log(2), "log 2"))
    if "loss/G" in panel.keys and "minimax" in logistic:
        found.append(Rule(-math.log(2), "−log 2"))
    return found
