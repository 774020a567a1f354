"""What the figures of experiments.table2.run say, in sentences: who wins, and by how much."""

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
"""Whose papers say that they win, and over what above all."""

JUDGE = "kd_lite0"
Curve = list[list[float]]
Figures = Mapping[str, dict[str, Any]]
"""The study's records by their names."""
Found = dict[str, list[dict[str, Any]]]
"""The figures of each method's runs that are there, by seed."""


# -------------------------------------------------------------------------------------------------------------- figures


def chosen(figures: Figures, regime: str, data: str, methods: Sequence[str], seeds: int) -> Found:
    """The figures that are there of one table's runs."""
    names = {m: [f"{regime}-{data}-{m}-s{seed}" for seed in range(seeds)] for m in methods}
    return {m: [figures[name] for name in each if name in figures] for m, each in names.items()}


def those_at(runs: list[dict[str, Any]], at: str) -> list[dict[str, Any]]:
    """The runs that got there, which those that diverged may not have."""
    return [run for run in runs if at in run["at"]]


def cards_at(runs: list[dict[str, Any]], at: str, score: str) -> list[Card]:
    """The card of each run that has this score."""
    found = [read_card(card) for run in those_at(runs, at) for card in run["at"][at]["cards"]]
    return [card for card in found if score in card.scores]


def best(curve: Curve) -> tuple[int, float]:
    """The step of the lowest value of a curve, and that value."""
    step, value = min(curve, key=lambda look: look[1])
    return int(step), value


def has_turned(curve: Curve) -> bool:
    """Whether the last three looks lie above the lowest three in a row by twice what looks scatter by.

    A look's scatter is the standard deviation of differences between neighbours in the second half, over sqrt(2).

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
    """How far apart two groups are, in words."""
    if not math.isfinite(found.apart):
        return "without a known error"
    noise = "more than the noise" if found.exceeds else "within the noise"
    return f"{found.apart:.1f} standard errors apart, {noise}"


def against(groups: dict[str, list[Card]], one: str, other: str) -> Comparison:
    """Two methods by the score that judges."""
    return next(c for c in compare(groups[one], groups[other]) if c.name == JUDGE)


def numbers(found: Comparison) -> str:
    return f"{1000 * found.one.value:.1f} against {1000 * found.other.value:.1f}"


def verdict(claimant: str, found: Found, at: str) -> str:
    """Whether a method has the lowest mean of all that have been run, and how it does against its own rivals."""
    groups = {m: cards for m, runs in found.items() if (cards := cards_at(runs, at, JUDGE))}
    name = NAMES[claimant]
    if claimant not in groups:
        gone = found[claimant] and all(run["diverged"] is not None for run in found[claimant])
        return f"{name} has {'no figures, for it diverged' if gone else 'not been run yet'}."
    rivals = [m for m in groups if m != claimant]
    if not rivals:
        return f"{name} has been run alone so far."
    compared = {m: against(groups, claimant, m) for m in rivals}
    leader = min(rivals, key=lambda m: compared[m].other.value)
    first = compared[leader]
    if first.one.value < first.other.value:
        text = f"**{name} wins** among the {len(groups)} methods that have been run: its {JUDGE} (x 1000) is "
        text += f"{numbers(first)} of the next, {NAMES[leader]} ({said(first)})."
    else:
        text = f"**{name} does not win**: its {JUDGE} (x 1000) is {numbers(first)} of {NAMES[leader]} ({said(first)})."
    for rival in CLAIMS[claimant]:
        if rival in compared and rival != leader:
            each = compared[rival]
            word = "lower" if each.one.value < each.other.value else "not lower"
            text += f" Against {NAMES[rival]} it is {word}: {numbers(each)} ({said(each)})."
    return text + "".join(f" {lost}" for m in (claimant, leader) if (lost := unscored(m, found)))


def unscored(method: str, found: Found) -> str:
    """How many of a method's runs became NaN, if any did: its mean is that of the others."""
    lost, all_of = sum(run["diverged"] is not None for run in found[method]), len(found[method])
    return f"Of {NAMES[method]} {lost} of {all_of} runs became NaN." if lost else ""


def turned(found: Found) -> str:
    """Whether the penalty alone has passed its best score, without which nothing is said of late training."""
    runs = [run for run in found["0gp"] if run["curve"]]
    if not runs:
        return "0GP-sample has not been run yet, so nothing says whether this regime is long enough."
    seen = {"`kd_pixels8` (x 1000)": [[[step, 1000 * kd] for step, kd in run["curve"]] for run in runs]}
    if all("own_curve" in run for run in runs):
        seen["the distance through the set's classifier"] = [run["own_curve"] for run in runs]
    count = sum(any(map(has_turned, each)) for each in zip(*seen.values()))
    text = f"0GP-sample has turned on {count} of {len(runs)} seeds."
    for name, curves in seen.items():
        parts = [
            f"{value:.1f} at step {step:,} and {curve[-1][1]:.1f} at the end"
            for curve in curves
            for step, value in [best(curve)]
        ]
        text += f" By {name} it has on {sum(map(has_turned, curves))}: its best {'; '.join(parts)}."
    return text


def overfitting(found: Found, at: str) -> str:
    """How much higher FARGAN's and the penalty's critics hold training images than held-out ones."""
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
        f"FARGAN's critic tells training images from held-out ones {word} that of 0GP-sample: "
        f"{mean['fargan']:.2f} against {mean['0gp']:.2f} standard deviations."
    )
    if mean["0gp"] < 2 * error["0gp"]:
        text += (
            " **0GP-sample's critic does not know its images by heart**: where it has turned, that is not overfitting; "
            "how far its logits spread says what is left of it."
        )
    return text
