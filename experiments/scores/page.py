"""What experiments.scores.run measured, as tables for docs/scores.md and as its picture."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.scores.damages import CLAIMS, DAMAGES, SCORES, exceptions

Curve = dict[str, Any]

# --------------------------------------------------------------------------------------------------- tables, page


def number(value: float, error: float) -> str:
    """A value to two digits of its error.

    >>> number(12.345, 0.67), number(0.5, 0.0123)
    ('12.35 ± 0.67', '0.500 ± 0.012')
    """
    digits = 0 if error >= 9.95 else 1 - math.floor(math.log10(error)) if error else 3
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def curves(figures: Mapping[str, Curve]) -> list[Curve]:
    """The curves among the records."""
    return [record for name, record in figures.items() if name.startswith("curve ")]


def tables(figures: Mapping[str, Curve]) -> str:
    """What the untouched images score, what of fewer of them, and which curves did not answer as they must."""
    shown = curves(figures)
    fewer = [record for name, record in figures.items() if name.startswith("fewer ")]
    broken = exceptions(shown)
    starts: dict[tuple[str, str], dict[str, str]] = {}
    for curve in shown:
        row = starts.setdefault((curve["set"], curve["extractor"]), {})
        row[curve["score"]] = number(curve["values"][0], curve["errors"][0])
    rows = [f"| set, extractor | {' | '.join(SCORES)} |", "|---" * (1 + len(SCORES)) + "|"]
    for (name, through), row in starts.items():
        rows.append(f"| {name}, `{through}` | {' | '.join(row.get(score, '') for score in SCORES)} |")
    counts = list(fewer[0]["fd"])
    rows += ["", f"| fd of fewer | {' | '.join(counts)} images |", "|---" * (1 + len(counts)) + "|"]
    for each in fewer:
        cells = [number(*each["fd"][count]) for count in counts]
        rows.append(f"| {each['set']}, `{each['extractor']}` | {' | '.join(cells)} |")
    rows += ["", "| damage | score | set, extractor | claim | measured |", "|---" * 5 + "|"]
    for each in broken:
        where = f"{each['set']}, `{each['extractor']}`"
        rows.append(f"| {each['damage']} | {each['score']} | {where} | {each['claim']} | {each['how']} |")
    held = sum(len(CLAIMS[c["damage"]].keys() & {c["score"]}) for c in shown)
    count, images = len(broken), figures["settings"]["images"]
    note = f"{images:,} images; {held - count} of {held} claims hold, these {count} do not"
    return "\n".join([*rows, "", f"*{note}. Level 0 is the untouched set.*"])


# --------------------------------------------------------------------------------------------------------- picture

COLOURS = ("#0072B2", "#D55E00")
"""Of the sets, told apart by every eye."""
STYLES = {"lite0": ("-", "o"), "own": ("--", "s"), "pixels8": (":", "^")}
"""Of the extractors: line and marker."""
MUST = {
    "rises": "must rise",
    "falls": "must fall",
    "stays": "must stay",
    "never rises": "must not rise",
    "never falls": "must not fall",
}


def draw(shown: Sequence[Curve], out: Path) -> None:
    """A column a damage, a row a score, a line a set and extractor; a cross ends one that breaks its claim."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = list(dict.fromkeys(curve["set"] for curve in shown))
    figure, axes = pyplot.subplots(
        len(SCORES), len(DAMAGES), figsize=(9, 13), sharey="row", sharex="col", layout="constrained"
    )
    for curve in shown:
        axis = axes[SCORES.index(curve["score"])][list(DAMAGES).index(curve["damage"])]
        _line(axis, curve, _scale(shown, curve), COLOURS[names.index(curve["set"]) % len(COLOURS)])
    for row, score in zip(axes, SCORES):
        row[0].set_ylabel(f"{score} / largest" if score in SCALED else score)
        for axis, (name, damage) in zip(row, DAMAGES.items()):
            claim = MUST.get(CLAIMS[name].get(score, ""), "no claim")
            axis.set_title(claim, fontsize=8, color="#555555", loc="right", pad=2)
            axis.set_xticks(range(len(damage.levels)), [f"{level:g}" for level in damage.levels])
            axis.grid(alpha=0.25)
            axis.set_xlim(-0.25, len(damage.levels) + 0.15)
            axis.tick_params(labelsize=8)
            if score in SCALED:
                axis.set_yscale("function", functions=(_root, _square))
                axis.set_yticks([0, 0.1, 0.5, 1])
    for axis, damage in zip(axes[-1], DAMAGES.values()):
        axis.set_xlabel(damage.what, fontsize=9)
    _legend(figure, names)
    figure.savefig(out, dpi=110)
    pyplot.close(figure)


SCALED = ("fd", "kd")
"""Scores whose unit is the features': drawn over their largest value, on a scale of signed roots."""


def _scale(shown: Sequence[Curve], curve: Curve) -> float:
    if curve["score"] not in SCALED:
        return 1.0
    same = (c for c in shown if all(c[k] == curve[k] for k in ("set", "extractor", "score")))
    return max(value for each in same for value in each["values"])


def _root(x: Any) -> Any:
    return abs(x) ** 0.5 * (2 * (x >= 0) - 1)


def _square(x: Any) -> Any:
    return abs(x) * x


def _line(axis: Any, curve: Curve, scale: float, colour: str) -> None:
    line, marker = STYLES[curve["extractor"]]
    values, errors = ([each / scale for each in curve[key]] for key in ("values", "errors"))
    axis.errorbar(
        range(len(values)), values, errors, color=colour, ls=line, marker=marker, ms=3.5, lw=1.2, capsize=1.5
    )
    if exceptions([curve]):
        place = len(values) - 0.7 + 0.22 * (2 * (line == "--") + COLOURS.index(colour))
        axis.plot(place, values[-1], "x", color=colour, ms=6, mew=1.8)


def _legend(figure: Any, names: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=colour, lw=2, label=name) for name, colour in zip(names, COLOURS)]
    handles += [
        Line2D([], [], color="black", ls=line, marker=marker, ms=4, label=name)
        for name, (line, marker) in STYLES.items()
    ]
    handles.append(Line2D([], [], color="black", marker="x", ls="", ms=6, mew=1.8, label="breaks its claim"))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False, fontsize=9)
