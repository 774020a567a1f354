"""The pictures of docs/results.md: scores over steps, with a band over the seeds, a picture for each question."""

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.table2.figures import Figures, finals, untrained
from experiments.table2.methods import METHODS
from experiments.table2.tables import Table, described

__all__ = ["draw_critics", "draw_scores"]

BLUE, RED, GREEN, PINK, YELLOW, BLACK = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#000000"
COLOURS = {
    **{"nsgan": BLUE, "0gp": RED, "sn": BLACK},
    **{"fargan": GREEN, "fargan-f1": PINK, "fargan-n75": YELLOW},
    **{"gn": BLUE, "pgn": GREEN, "pgn-proof": PINK, "pgn-scalar": YELLOW},
    **{"nsgan-nobn": RED, "consensus": GREEN, "consensus-bn": PINK},
    **{"r3gan": GREEN, "wgan-gp": PINK},
}
"""Okabe and Ito's, different within a panel."""


def draw_scores(figures: Figures, methods: Sequence[str], tables: Sequence[Table], out: Path) -> None:
    """The validation score of some methods over steps, a panel for each table: median and range of the seeds."""
    pyplot = _pyplot()
    columns = min(3, len(tables))
    rows = math.ceil(len(tables) / columns)
    figure, axes = pyplot.subplots(rows, columns, figsize=(4 * columns, 3.2 * rows), squeeze=False)
    for axis, table in zip(axes.flatten(), tables):
        for method in methods:
            _band(axis, [line["curve"] for line in finals(figures, str(table)).get(method, ())], method)
        start = statistics.fmean(untrained(figures, str(table)))
        axis.axhline(start, color="grey", linestyle="--", linewidth=1)
        axis.set_title(described(table), fontsize=9)
        axis.set_ylim(0, 1.5 * start)
        axis.grid(alpha=0.2)
    for axis in axes.flatten()[len(tables) :]:
        axis.set_visible(False)
    for axis in axes[:, 0]:
        axis.set_ylabel("kernel distance, lower is better", fontsize=8)
    axes[0, 0].legend(fontsize=8, loc="lower left")
    figure.supxlabel("steps", fontsize=9)
    figure.tight_layout()
    figure.savefig(out, dpi=90)
    pyplot.close(figure)


def draw_critics(figures: Figures, table: str, out: Path) -> None:
    """The critic's gap, the spread of its logits and the score over steps, on few images."""
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(1, 3, figsize=(12, 4))
    titles = (
        "critic's gap: training over held-out images",
        "spread of the critic's logits",
        "kernel distance",
    )
    for axis, title, key in zip(axes, titles, ("gap", "spread", "score")):
        for method, lines in finals(figures, table).items():
            rows = [[[p["step"], _value(p, key)] for p in line["at"].values()] for line in lines]
            _band(axis, [line["curve"] for line in lines] if key == "score" else rows, method)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("steps")
        axis.grid(alpha=0.2, which="both")
        if key == "spread":
            axis.set_yscale("log")
    axes[0].axhline(0, color="grey", linewidth=1)
    axes[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(out, dpi=90)
    pyplot.close(figure)


def _value(point: dict[str, Any], key: str) -> float:
    critic = point["critic"]
    return critic["spread"] if key == "spread" else critic["over_held"]["value"]


def _band(axis: Any, curves: Sequence[Any], method: str) -> None:
    """The median of curves of (step, value), and a band from the lowest to the highest; a None ends a curve."""
    if not curves:
        return
    by_step: dict[int, list[float]] = {}
    for curve in curves:
        for step, value in curve:
            if value is not None and value == value:
                by_step.setdefault(step, []).append(value)
    steps = sorted(by_step)
    middle = [statistics.median(by_step[step]) for step in steps]
    colour = COLOURS[method]
    axis.plot(steps, middle, color=colour, label=METHODS[method].name, linewidth=1.5)
    ends = ([min(by_step[step]) for step in steps], [max(by_step[step]) for step in steps])
    axis.fill_between(steps, *ends, color=colour, alpha=0.15, linewidth=0)


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot
