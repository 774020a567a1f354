"""Whether a labelled run has what it was built to have, by its outcome, which the diagnosis does not see."""

import statistics
from collections.abc import Callable
from itertools import pairwise
from typing import Any

__all__ = ["confirmed"]

Looks = list[dict[str, Any]]


def confirmed(label: str, looks: Looks) -> bool:
    """Whether the outcome, look by look, is that of the label."""
    if label == "diverged":
        return not looks or not looks[-1]["finite"]
    return bool(looks) and looks[-1]["finite"] and _CONFIRMED[label](looks)


def _late(looks: Looks, key: str, default: float = float("nan")) -> float:
    return statistics.median(look.get(key, default) for look in looks[-len(looks) // 4 :])


def _top(looks: Looks) -> list[int]:
    """The mode with the most fakes, at the looks of the last half."""
    return [look["top"] for look in looks[len(looks) // 2 :] if "top" in look]


def _changes(looks: Looks) -> float:
    top = _top(looks)
    return sum(a != b for a, b in pairwise(top)) / max(1, len(top) - 1)


def _healthy(looks: Looks) -> bool:
    """Most modes hit by most samples; images of the data's spread; or, solved by hand, an equilibrium approached."""
    last = looks[-1]
    if "distance" in last:
        return last["distance"] < 0.1 * looks[0]["distance"] or last["distance"] < 1e-6
    if "modes" in last:
        return _late(looks, "modes") >= 0.8 * len(last["shares"]) and _late(looks, "high_quality") > 0.35
    return 3.5 < _late(looks, "std") < 5.0 and _late(looks, "rank/fake") < 0.85


def _vanishing(looks: Looks) -> bool:
    """Fakes that hit a quarter of the modes at most stand still; the critic ranks them, or has no slope at all."""
    stuck = max(look["moved/G"] for look in looks[-len(looks) // 4 :]) < 0.01
    knows = _late(looks, "rank/fake") > 0.9 or _late(looks, "steepest") < 0.01
    missed = _late(looks, "modes", 0.0) <= len(looks[-1].get("shares", ())) / 4
    return stuck and knows and missed and _late(looks, "moved/D") > 0


def _exploding(looks: Looks) -> bool:
    """At its steepest the logit would change by 20 along a path from fake to real, and 4 times what it did early."""
    early = statistics.median(look["steepest"] for look in looks[3:8])
    return _late(looks, "steepest") > max(20.0, 4 * early)


def _dead_critic(looks: Looks) -> bool:
    """The critic's output over a box around the data is flat, and the fakes are not the data."""
    return _late(looks, "box") < 0.005 and _late(looks, "high_quality") < 0.35


def _dead_game(looks: Looks) -> bool:
    """No player's parameters have changed over the last quarter of the looks."""
    return all(_late(looks, f"moved/{name}") < 1e-6 for name in "GD")


def _collapse(looks: Looks) -> bool:
    """At most a quarter of the modes are hit, nearly always by way of the same one."""
    few = _late(looks, "modes") <= len(looks[-1]["shares"]) / 4
    return few and _late(looks, "share") > 0.5 and _changes(looks) < 0.5


def _hopping(looks: Looks) -> bool:
    """Most fakes are at one mode, which is another one at every second look or more often."""
    return _late(looks, "share") > 0.4 and _changes(looks) >= 0.5


def _overfitted(looks: Looks) -> bool:
    """The critic ranks a training sample above a new one two times in three."""
    return _late(looks, "rank/held") > 2 / 3 and not _memorisation(looks)


def _memorisation(looks: Looks) -> bool:
    """The typical fake is nearer to the training set than half of what a new sample is."""
    return _late(looks, "near/fake") < 0.5 * _late(looks, "near/held")


def _rotation(looks: Looks) -> bool:
    """The distance to the equilibrium does not fall over the last half of the run, nor does the state stand still."""
    half = looks[len(looks) // 2]["distance"]
    return looks[-1]["distance"] > 0.5 * half and _late(looks, "moved/D") > 0.01


_CONFIRMED: dict[str, Callable[[Looks], bool]] = {
    "healthy": _healthy,
    "vanishing": _vanishing,
    "exploding": _exploding,
    "dead_critic": _dead_critic,
    "dead_game": _dead_game,
    "collapse": _collapse,
    "hopping": _hopping,
    "overfitted": _overfitted,
    "memorisation": _memorisation,
    "rotation": _rotation,
}
