"""The sentences of docs/results.md, made from the figures: which method wins, and by how much."""

import math
import statistics
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from steadygan.metrics import compare, read_card
from steadygan.metrics.score_card import Card, Comparison

NAMES = {
    "nsgan": "NSGAN",
    "0gp": "0GP-sample",
    "fargan": "FARGAN (f = 8)",
    "fargan-f1": "FARGAN, f = 1",
    "gn": "GN",
    "pgn": "PGN (elementwise)",
    "pgn-proof": "PGN (proof)",
    "sn": "SN",
    "wgan-gp": "WGAN-GP",
    "r3gan": "R3GAN",
}
CLAIMS = {"fargan": ("0gp", "fargan-f1"), "pgn": ("gn", "sn"), "pgn-proof": ("gn",)}
"""Methods whose papers claim that they win, and the methods that they are compared with there."""

JUDGE = "kd_lite0"
Curve = list[list[float]]
Figures = Mapping[str, dict[str, Any]]
"""The records of the study, by name."""
Found = dict[str, list[dict[str, Any]]]
"""The figures of each method's finished runs, by seed."""


# -------------------------------------------------------------------------------------------------------------- figures


def chosen(figures: Figures, regime: str, data: str, methods: Sequence[str], seeds: int) -> Found:
    """The figures of the finished runs of one table."""
    names = {m: [f"{regime}-{data}-{m}-s{seed}" for seed in range(seeds)] for m in methods}
    return {m: [figures[name] for name in each if name in figures] for m, each in names.items()}


def those_at(runs: list[dict[str, Any]], at: str) -> list[dict[str, Any]]:
    """The runs that reached this point; a run that diverged may not have."""
    return [run for run in runs if at in run["at"]]


def cards_at(runs: list[dict[str, Any]], at: str, score: str) -> list[Card]:
    """The score card of each run that has this score."""
    found = [read_card(card) for run in those_at(runs, at) for card in run["at"][at]["cards"]]
    return [card for card in found if score in card.scores]


def best(curve: Curve) -> tuple[int, float]:
    """The step of the lowest value of a curve, and that value."""
    step, value = min(curve, key=lambda look: look[1])
    return int(step), value


def has_turned(curve: Curve) -> bool:
    """Whether a score got worse after its best: the last mean of three values is above the lowest one.

    "Above" means by two standard deviations of such a difference. The scatter of one value is the standard deviation
    of differences between neighbours in the second half, over sqrt(2).

    >>> has_turned([[k, abs(k - 5.0) + 0.01 * (k % 2)] for k in range(20)])
    True
    >>> has_turned([[k, 1.0 / (k + 1)] for k in range(20)])
    False
    """
    values = [value for _, value in curve]
    if len(values) < 6:
        return False
    smooth = [statistics.fmean(values[k : k + 3]) for k in range(len(values) - 2)]
    late = values[len(values) // 2 :]
    scatter = statistics.stdev(b - a for a, b in pairwise(late)) / math.sqrt(2)
    return smooth[-1] - min(smooth) > 2 * scatter * math.sqrt(2 / 3)


# ------------------------------------------------------------------------------------------------------------ sentences


def said(found: Comparison) -> str:
    """The difference of two groups in standard errors, and whether it exceeds the noise."""
    if not math.isfinite(found.apart):
        return "without a known error"
    noise = "more than the noise" if found.exceeds else "within the noise"
    return f"{found.apart:.1f} standard errors apart, {noise}"


def against(groups: dict[str, list[Card]], one: str, other: str) -> Comparison:
    """The comparison of two methods by the score JUDGE."""
    return next(c for c in compare(groups[one], groups[other]) if c.name == JUDGE)


def verdict(claimant: str, found: Found, at: str) -> str:
    """Whether a method has the lowest mean of all finished methods, and how it compares with its own rivals."""
    groups = {m: cards for m, runs in found.items() if (cards := cards_at(runs, at, JUDGE))}
    name = NAMES[claimant]
    if claimant not in groups:
        gone = found[claimant] and all(run["diverged"] is not None for run in found[claimant])
        return f"{name} has {'no score, because it diverged' if gone else 'not been run yet'}."
    rivals = [m for m in groups if m != claimant]
    if not rivals:
        return f"{name} is the only method that has been run yet."
    compared = {m: against(groups, claimant, m) for m in rivals}
    leader = min(rivals, key=lambda m: compared[m].other.value)
    first = compared[leader]
    own, other = 1000 * first.one.value, 1000 * first.other.value
    if own < other:
        text = f"**{name} wins**: its {JUDGE} (x 1000) of {own:.1f} is the lowest of {len(groups)} methods. "
        text += f"{NAMES[leader]} is next with {other:.1f} ({said(first)})."
    else:
        text = f"**{name} does not win**: its {JUDGE} (x 1000) is {own:.1f}. "
        text += f"{NAMES[leader]} has the lowest, {other:.1f} ({said(first)})."
    for rival in CLAIMS[claimant]:
        if rival in compared and rival != leader:
            each = compared[rival]
            word = "lower" if each.one.value < each.other.value else "not lower"
            text += f" {own:.1f} is {word} than the {1000 * each.other.value:.1f} of {NAMES[rival]} ({said(each)})."
    return text + "".join(f" {lost}" for m in (claimant, leader) if (lost := unscored(m, found)))


def unscored(method: str, found: Found) -> str:
    """How many runs of a method became NaN, if any. The mean is that of the other runs."""
    lost, all_of = sum(run["diverged"] is not None for run in found[method]), len(found[method])
    return f"{lost} of {all_of} runs of {NAMES[method]} became NaN." if lost else ""


def turned(found: Found) -> str:
    """Whether the score of the penalty alone got worse after its best: without that the regime is too short."""
    runs = [run for run in found["0gp"] if run["curve"]]
    if not runs:
        return "0GP-sample has not been run yet, so it is unknown whether this regime is long enough."
    seen = {"`kd_pixels8` (x 1000)": [[[step, 1000 * kd] for step, kd in run["curve"]] for run in runs]}
    if all("own_curve" in run for run in runs):
        seen["the distance through the set's classifier"] = [run["own_curve"] for run in runs]
    count = sum(any(map(has_turned, each)) for each in zip(*seen.values()))
    text = f"0GP-sample got worse after its best on {count} of {len(runs)} seeds."
    for name, curves in seen.items():
        parts = [
            f"{value:.1f} at step {step:,}, then {curve[-1][1]:.1f}"
            for curve in curves
            for step, value in [best(curve)]
        ]
        text += f" By {name} it did on {sum(map(has_turned, curves))}. Best and last of each seed: {'; '.join(parts)}."
    return text


def overfitting(found: Found, at: str) -> str:
    """How far the critics of FARGAN and of the penalty alone separate training images from held-out images."""
    gaps = {
        m: [run["at"][at]["critic"]["over_held"] for run in runs]
        for m in ("fargan", "0gp")
        if (runs := those_at(found[m], at))
    }
    if len(gaps) < 2:
        return ""
    mean = {m: statistics.fmean(gap["value"] for gap in each) for m, each in gaps.items()}
    error = {m: math.hypot(*(gap["error"] for gap in each)) / len(each) for m, each in gaps.items()}
    apart = mean["fargan"] - mean["0gp"]
    word = "less than" if apart < 0 else "more than"
    if abs(apart) < 2 * math.hypot(*error.values()):
        word = "as much, within the noise, as"
    text = (
        f"The critic of FARGAN separates training images from held-out images {word} that of 0GP-sample: "
        f"{mean['fargan']:.2f} against {mean['0gp']:.2f} standard deviations."
    )
    if mean["0gp"] < 2 * error["0gp"]:
        text += (
            " **The critic of 0GP-sample has not memorised the training images.** Where a score got worse after its "
            "best, the cause is not overfitting. `spread of D` shows how much the critic still distinguishes."
        )
    return text
