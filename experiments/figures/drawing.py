"""The picture of a figure: curves with bands over seeds, scores at the end of each run, or samples at some steps."""

import itertools
import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from experiments.figures.declared import Curves, Figure, Frames, Line, Panel, Table
from experiments.records import Record
from steadygan.errors import UsageError
from steadygan.plots.axes import GREY, INK, label
from steadygan.training.online_scores import lower_is_better

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")  # Okabe and Ito's
CELL, GAP, MEMBERS = 440, 12, 4  # pixels of a frame and between two; members in a run's own picture
NAMES = {"adversarial/D": "loss of D, no penalty", "adversarial/G": "loss of G, no penalty"}


def named(panel: Panel, line: Line) -> str:
    """The name of a line's record."""
    return f"{panel.title}: {line.label}" if panel.title else line.label


def draw(figure: Figure, found: Mapping[str, Record], title: str, note: str, out: Path) -> None:
    """Write the picture of a figure, of its records by their names."""
    match figure.shown:
        case Curves() as shown:
            _curves(figure.panels, shown, found, title, note, out)
        case Table() as shown:
            _table(figure.panels, shown, found, title, note, out)
        case Frames() as shown:
            _frames(figure.panels, found, title, note).save(out)


def shown_keys(keys: Sequence[str], found: Mapping[str, Record]) -> list[str]:
    """Those of the keys that a run has. Raises UsageError where none has one."""
    there = [key for key in keys if any(key in record["curves"] for record in found.values())]
    if not there:
        raise UsageError(f"none of the runs has {', '.join(keys)}: there is nothing to draw")
    return there


def words_of(key: str) -> str:
    """A key as the words of an axis, and for a score which way is better.

    >>> words_of("fid"), words_of("modes"), words_of("adversarial/D")
    ('fid (lower is better)', 'modes (higher is better)', 'loss of D, no penalty')
    """
    better = "lower" if lower_is_better(key) else "higher"
    return NAMES.get(key, f"{key} ({better} is better)")


# ------------------------------------------------------------------------------------------------------------- curves


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def _curves(
    panels: Sequence[Panel], shown: Curves, found: Mapping[str, Record], title: str, note: str, out: Path
) -> None:
    """A row of axes for each key, a column for each panel."""
    pyplot, keys = _pyplot(), shown_keys(shown.keys, found)
    size = (max(7.5, 3.6 * len(panels)), 2.7 * len(keys) + 1.3)
    shape = {"sharex": "col", "sharey": "row", "squeeze": False}
    sheet, axes = pyplot.subplots(len(keys), len(panels), figsize=size, **shape)
    for row, key in zip(axes, keys):
        for axis, panel in zip(row, panels):
            _panel(axis, panel, found, key, shown.levels.get(key))
        row[0].set_ylabel(words_of(key), fontsize=9)
        if spans_decades([record["curves"].get(key, []) for record in found.values()]):
            row[0].set_yscale("log")
    for top, bottom, panel in zip(axes[0], axes[-1], panels):
        top.set_title(panel.title, fontsize=10)
        bottom.set_xlabel("step", fontsize=9)
        bottom.locator_params(axis="x", nbins=5)
        bottom.xaxis.set_major_formatter(
            lambda step, _: f"{step / 1000:g}k" if step >= 10_000 else f"{step:g}"
        )
    _finished(sheet, title, note, out, *_legend(sheet, axes[-1], panels))


def _panel(axis: Any, panel: Panel, found: Mapping[str, Record], key: str, level: float | None) -> None:
    """The curves of a panel's lines, and a dashed line at the level."""
    for line, colour in zip(panel.lines, COLOURS, strict=False):
        _band(axis, found[named(panel, line)]["curves"].get(key, []), colour)
    if level is not None:
        axis.axhline(level, color="grey", linestyle="--", linewidth=1)
    axis.grid(alpha=0.25)


def _legend(sheet: Any, axes: Sequence[Any], panels: Sequence[Panel]) -> tuple[float, float]:
    """One legend at the foot where all panels have the same lines, else one under each; the inches of both."""
    from matplotlib.transforms import ScaledTranslation

    labels = [[line.label for line in panel.lines] for panel in panels]
    if all(each == labels[0] for each in labels):
        sheet.legend(handles=_marks(panels[0]), loc="lower center", ncols=4, fontsize=9, frameon=False)
        return 0.28 * math.ceil(len(labels[0]) / 4), 0
    below_words = ScaledTranslation(0, -0.45, sheet.dpi_scale_trans)
    for axis, panel in zip(axes, panels):
        under = {"bbox_to_anchor": (0.5, 0), "bbox_transform": axis.transAxes + below_words}
        legend = axis.legend(
            handles=_marks(panel), loc="upper center", fontsize=8, ncols=3, frameon=False, **under
        )
        legend.set_in_layout(False)
    return 0, 0.2 * max(math.ceil(len(each) / 3) for each in labels)


def _finished(sheet: Any, title: str, note: str, out: Path, below: float = 0, above: float = 0) -> None:
    """Write the sheet with a title and a note, with so many inches of legend below the note and above it."""
    across, up = sheet.get_figwidth(), sheet.get_figheight() + above
    sheet.set_figheight(up)
    lines = textwrap.wrap(note, int(15 * across), break_on_hyphens=False)
    sheet.suptitle(textwrap.fill(title, int(11 * across)), fontsize=11)
    sheet.text(0.5, (below + 0.1) / up, "\n".join(lines), ha="center", fontsize=8, color="grey")
    sheet.tight_layout(rect=(0, (below + 0.16 + 0.14 * len(lines) + above) / up, 1, 1))
    sheet.savefig(out, dpi=120)
    _pyplot().close(sheet)


def spans_decades(curves: Sequence[Any]) -> bool:
    """Whether all values of some curves are positive, and the highest is over ten times the lowest.

    >>> spans_decades([[(0, [3.0, 0.2])], []]), spans_decades([[(0, [3.0, -0.2])]])
    (True, False)
    """
    values = [value for rows in curves for _, found in rows for value in found]
    return bool(values) and min(values) > 0 and max(values) > 10 * min(values)


def _marks(panel: Panel) -> list[Any]:
    """The legend of a panel."""
    from matplotlib.lines import Line2D

    return [Line2D([], [], color=c, label=line.label) for line, c in zip(panel.lines, COLOURS, strict=False)]


def _band(axis: Any, rows: Sequence[Any], colour: str) -> None:
    """A line through the medians, and a band from the lowest to the highest value."""
    rows = [(step, values) for step, values in rows if values]
    steps = [step for step, _ in rows]
    axis.plot(steps, [median(values) for _, values in rows], color=colour, linewidth=1.4)
    lows, highs = [min(values) for _, values in rows], [max(values) for _, values in rows]
    axis.fill_between(steps, lows, highs, color=colour, alpha=0.18, linewidth=0)


# -------------------------------------------------------------------------------------------------------------- table


def at_end(record: Record, key: str) -> list[float]:
    """The values of all seeds at the end of a run, or at its best checkpoint where a score chooses one."""
    rows = record["curves"].get(key) or [(0, [])]
    return list(min(rows, key=lambda row: abs(row[0] - record["end"]))[1])


def _table(
    panels: Sequence[Panel], shown: Table, found: Mapping[str, Record], title: str, note: str, out: Path
) -> None:
    """A column of axes for each key, a row for each line under the title of its panel."""
    pyplot, keys = _pyplot(), shown_keys(shown.keys, found)
    rows = len(panels) + sum(len(panel.lines) for panel in panels)
    size = (3.6 + 3.2 * len(keys), 0.3 * rows + 1.6)
    sheet, axes = pyplot.subplots(1, len(keys), figsize=size, sharey=True, squeeze=False)
    for axis, key in zip(axes[0], keys):
        ticks = _rows_of(axis, panels, found, key)
        axis.set_yticks(list(ticks), ticks.values(), fontsize=8)
        axis.set_ylim(0.4 - rows, 0.7)
        axis.set_xlabel(words_of(key), fontsize=9)
        axis.grid(axis="x", alpha=0.25)
    _finished(sheet, title, note, out)


def _rows_of(axis: Any, panels: Sequence[Panel], found: Mapping[str, Record], key: str) -> dict[int, str]:
    """Draw a score of all lines, from the top down; the words at the left of each row, by its place."""
    places, ticks = itertools.count(), {}
    for panel in panels:
        heading = -next(places)
        axis.text(0.01, heading, panel.title, transform=axis.get_yaxis_transform(), va="center", fontsize=9)
        for line in panel.lines:
            record, place = found[named(panel, line)], -next(places)
            ticks[place] = f"{line.label}{record['published']}"
            _dot(axis, at_end(record, key), place)
    return ticks


def _dot(axis: Any, values: Sequence[float], place: float) -> None:
    """A dot at the median, and a line from the lowest to the highest value."""
    if values:
        axis.plot([min(values), max(values)], [place, place], color=COLOURS[0], linewidth=3, alpha=0.4)
        axis.plot([median(values)], [place], "o", color=COLOURS[0], markersize=5)


# ------------------------------------------------------------------------------------------------------------- frames


def _frames(panels: Sequence[Panel], found: Mapping[str, Record], title: str, note: str) -> Image.Image:
    """A row for each panel and step, a column for each line; of a single line, a column for each step."""
    rows = [row for panel in panels for row in _rows(panel, found)]
    if len(panels) == 1 and len(panels[0].lines) == 1:
        rows = [[row[0] for row in rows]]
    across, head = max(len(row) for row in rows), 40
    wide = across * (CELL + GAP) + GAP
    heading = [
        (words, *style)
        for text, style in ((title, (20, INK)), (note, (14, GREY)))
        for words in wrapped(text, style[0], wide - 2 * GAP)
    ]
    top = 26 + 24 * len(heading)
    sheet = Image.new("RGB", (wide, len(rows) * (CELL + head + GAP) + top + GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for i, (words, letters, ink) in enumerate(heading):
        label(pen, (GAP, 30 + 24 * i), words, letters, wide - 2 * GAP, ink)
    for i, row in enumerate(rows):
        for j, (words, picture) in enumerate(row):
            x, y = GAP + j * (CELL + GAP), top + i * (CELL + head + GAP)
            label(pen, (x, y + 26), words, 16, CELL, INK)
            sheet.paste(picture, (x, y + head))
    return sheet


def wrapped(text: str, letters: float, most: float) -> list[str]:
    """The words of a text in lines of at most so many pixels, which need no smaller letters.

    >>> wrapped("samples of CIFAR-10 at the end of each run", 20, 220)
    ['samples of CIFAR-10', 'at the end of each run']
    """
    font, lines = ImageFont.load_default(letters), [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        lines = [*lines[:-1], longer] if font.getlength(longer) <= 0.94 * most else [*lines, word]
    return lines


def _rows(panel: Panel, found: Mapping[str, Record]) -> list[list[tuple[str, Image.Image]]]:
    """For each step the words and the picture of each line."""
    records = {name: found[name] for name in (named(panel, line) for line in panel.lines)}
    count = max(1, *(len(record["pictures"]) for record in records.values()))
    return [
        [(f"{name}, {_when(record, i)}", _cell(record, i)) for name, record in records.items()]
        for i in range(count)
    ]


def _when(record: Record, index: int) -> str:
    """The step of a picture, or that the run had none."""
    pictures = record["pictures"]
    return f"step {pictures[index][0]:,}" if index < len(pictures) else "diverged before"


def _cell(record: Record, index: int) -> Image.Image:
    """The samples of the first seed, as large as a cell is; an empty one where there are none."""
    sheet = Image.new("RGB", (CELL, CELL), "white")
    if index < len(record["pictures"]):
        with Image.open(record["pictures"][index][1]) as drawn:
            members = min(MEMBERS, record["seeds"])
            one = drawn.convert("RGB").crop((0, 0, drawn.width // members, drawn.height))
        one.thumbnail((CELL, CELL), Image.Resampling.LANCZOS)
        sheet.paste(one, (0, 0))
    return sheet
