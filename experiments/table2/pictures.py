"""The pictures of docs/results.md: scores over steps, with a band over the seeds, a picture for each question."""

import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from experiments.table2.figures import CONTROL, Figures, Tried, begun, ended, finals, untrained
from experiments.table2.methods import METHODS
from experiments.table2.tables import CR, TABLES, Table, described

__all__ = ["draw_critics", "draw_rates", "draw_scores"]

BLUE, RED, GREEN, PINK, YELLOW, BLACK = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#000000"
COLOURS = {
    **{"nsgan": BLUE, "0gp": RED, "sn": BLACK},
    **{"fargan": GREEN, "fargan-f1": PINK, "fargan-n75": YELLOW},
    **{"gn": BLUE, "pgn": GREEN, "pgn-proof": PINK, "pgn-scalar": YELLOW},
    **{"nsgan-nobn": RED, "consensus": GREEN, "consensus-bn": PINK},
    **{"r3gan": GREEN, "wgan-gp": PINK},
    **{"sn-cr": BLACK, "gn-cr": BLUE, "pgn-cr": GREEN},
}
"""Okabe and Ito's, different within a panel. Lines with consistency are dashed."""


def draw_scores(figures: Figures, methods: Sequence[str], tables: Sequence[Table], out: Path) -> None:
    """The validation score of some methods over steps, a panel for each table: median and range of the seeds."""
    with _panels(len(tables), out) as axes:
        for axis, table in zip(axes, tables):
            runs = {m: lines for m, lines in finals(figures, str(table)).items() if m in methods}
            for method in sorted(runs, key=methods.index):
                _band(axis, [line["curve"] for line in runs[method]], method)
            starts = {
                norm: statistics.fmean(v) for norm, v in untrained(figures, str(table), methods).items()
            }
            _frame(axis, described(table), starts)
            _scale(axis, min(map(_ending, runs.values())), 1.5 * max(starts.values()), whole=True)


def draw_rates(tried: Sequence[Tried], out: Path) -> None:
    """The validation score over steps of runs with a diagnosis, a panel for each method at each rate.

    The panels of a method in a table have the same axis.
    """
    places = {method: place for place, method in enumerate(METHODS)}
    # Whole rows of rates; the control, which has one rate, comes last.
    parts = sorted(
        tried, key=lambda t: (t.method == CONTROL, TABLES.index(t.table), places[t.method], t.rate)
    )
    with _panels(len(parts), out, columns=4) as axes:
        for axis, (table, method, rate, runs) in zip(axes, parts):
            for line in runs:
                steps, values = zip(*((step, value) for step, value in line["curve"] if value is not None))
                axis.plot(steps, values, color=BLUE, linewidth=1, marker=".")
            title = f"{METHODS[method].name}, {rate:g}\n{described(table)}"
            _frame(axis, title, {True: begun(runs)})
            scores = _scores(each for each in tried if (each.table, each.method) == (table, method))
            _scale(axis, min(scores) / 1.05, max(scores) * 1.05)


def _scores(tried: Iterable[Tried]) -> list[float]:
    """All scores of some runs, from before training on."""
    return [value for each in tried for line in each.runs for _, value in line["curve"] if value is not None]


@contextmanager
def _panels(count: int, out: Path, columns: int = 3) -> Iterator[Sequence[Any]]:
    """The panels of a picture of scores over steps, in rows, with the legend of the first above them, if it has one."""
    pyplot = _pyplot()
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    size = (4 * columns, 3.2 * rows) if count > 1 else (8, 4)
    figure, axes = pyplot.subplots(rows, columns, figsize=size, squeeze=False)
    yield axes.flatten()[:count]
    for axis in axes.flatten()[count:]:
        axis.set_visible(False)
    for axis in axes[:, 0]:
        axis.set_ylabel("kernel distance, lower is better", fontsize=8)
    figure.supxlabel("steps", fontsize=9)
    figure.tight_layout()
    lines, names = axes[0, 0].get_legend_handles_labels()
    if lines:
        columns_of_names = min(len(names), 3 * columns) if count > 1 else 3
        figure.legend(
            lines, names, fontsize=8, ncols=columns_of_names, loc="lower center", bbox_to_anchor=(0.5, 1)
        )
    figure.savefig(out, dpi=90, bbox_inches="tight")
    pyplot.close(figure)


def _ending(runs: Sequence[dict[str, Any]]) -> float:
    """The median of some runs' scores at the last step; infinity where none has one."""
    found = [value for line in runs if math.isfinite(value := ended(line))]
    return statistics.median(found) if found else math.inf


def _scale(axis: Any, low: float, high: float, whole: bool = False) -> None:
    """The range of a panel's axis, or from 0 on if `whole`; logarithmic where the ends differ more than eightfold."""
    far = high > 8 * low
    axis.set_ylim(low / 1.2 if far and whole else 0 if whole else low, high)
    if far:
        axis.set_yscale("log")
        axis.yaxis.get_major_locator().set_params(subs=(1, 3))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter("")


def _frame(axis: Any, title: str, starts: dict[bool, float]) -> None:
    """A panel's title, and the score of untrained generators with and without batch norm."""
    for batch_norm, start in starts.items():
        axis.axhline(start, color="grey", linestyle="--" if batch_norm else ":", linewidth=1)
    axis.set_title(title, fontsize=9)
    axis.grid(alpha=0.2)


def draw_critics(figures: Figures, table: str, out: Path) -> None:
    """The critic's gap, the spread of its logits and the score over steps, on few images."""
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(1, 3, figsize=(12, 4))
    titles = (
        "critic's gap: training over held-out images",
        "spread of the critic's logits",
        "kernel distance, validation split",
    )
    for axis, title, key in zip(axes, titles, ("gap", "spread", "score")):
        for method, lines in finals(figures, table).items():
            # On few images seconds are not compared.
            rows = [
                [[p["step"], _value(p, key)] for name, p in line["at"].items() if name != "equal seconds"]
                for line in lines
            ]
            drawn = [line["curve"] for line in lines] if key == "score" else rows
            _band(axis, drawn, method)
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
    colour, style = COLOURS[method], "--" if method in CR else "-"
    axis.plot(steps, middle, style, color=colour, label=METHODS[method].name, linewidth=1.5)
    ends = ([min(by_step[step]) for step in steps], [max(by_step[step]) for step in steps])
    axis.fill_between(steps, *ends, color=colour, alpha=0.15, linewidth=0)


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot
