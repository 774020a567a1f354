"""The command of a paper: train a figure's runs, keep its values in a .jsonl file, draw it."""

import argparse
import textwrap
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks import script
from experiments import records
from experiments.figures.declared import Curves, Figure, Frames, Line, Panel, Table
from experiments.figures.drawing import at_end, draw, named
from experiments.figures.runs import checked, curves, described, digest_of, lost, place, trained
from experiments.records import Record
from steadygan.errors import UsageError
from steadygan.recipes.catalogue import find_recipe
from steadygan.runs.folder import CHECKPOINTS, SAMPLES
from steadygan.runs.sinks.checkpoints import best_checkpoint

HOW = """
Runs are kept in --runs, each in a folder of its own, and are not trained again; one that was interrupted is resumed.
Beside them FIGURE-SCALE.jsonl has the values of each run, and FIGURE-SCALE.png is the picture. Curves go through the
median of the seeds, and bands reach from the lowest to the highest. Samples are those of the first seed.
All runs are checked before the first one trains.
"""

OTHERS = ("fashion_mnist", "digits")
"""The sets of images that --help offers."""


Run = dict[str, Any]
"""A configuration as plain data."""


def planned(figure: Figure, options: argparse.Namespace) -> dict[str, tuple[Line, Run]]:
    """The runs of a figure by their names. Raises UsageError before the first one trains if one of them cannot."""
    runs = {
        named(panel, line): (line, described(line, figure, options))
        for panel in figure.panels
        for line in panel.lines
    }
    for raw in {digest_of(raw): raw for _, raw in runs.values()}.values():
        checked(raw, options)
    return runs


def measured(line: Line, raw: Run, figure: Figure, options: argparse.Namespace) -> Record:
    """Train a line of a figure unless it is there; its values, its pictures, and what is published of it."""
    folder = place(raw, options.runs)
    trained(raw, folder, options.data_root)
    best = best_checkpoint(folder / CHECKPOINTS)
    end = int(best.name[5:]) if best else raw["steps"]
    return {
        "recipe": line.recipe,
        "changes": [*line.changes, *options.words],
        "scale": options.scale,
        "data": options.data,
        "steps": raw["steps"],
        "end": end,
        "seeds": options.seeds,
        "lost": len(lost(folder)),
        "best": raw.get("keep", {}).get("best"),
        "published": published(line),
        "folder": str(folder),
        "pictures": pictures(figure, folder, end),
        "curves": curves(folder),
    }


def pictures(figure: Figure, folder: Path, end: int) -> list[tuple[int, str]]:
    """The steps and the pictures of a run's samples that a figure shows."""
    if not isinstance(figure.shown, Frames):
        return []
    drawn = [(int(path.stem[5:]), str(path)) for path in sorted((folder / SAMPLES).glob("step-*.png"))]
    return drawn if figure.shown.at else [one for one in drawn if one[0] == end]


def published(line: Line) -> str:
    """What a paper publishes of a line, in words; nothing where it has other settings, or none are published.

    >>> published(Line("FARGAN", "cifar10-far-resnet-fargan"))
    ' (published: IS 6.81, FID 17.82)'
    >>> published(Line("N0 = 8", "cifar10-far-resnet-fargan-n8"))
    ''
    """
    paper = {} if line.changes else find_recipe(line.recipe)[1].get("paper", {})
    known = {"IS": paper.get("inception_score"), "FID": paper.get("fid")}
    first = {key: v[0] if isinstance(v, list) else v for key, v in known.items() if v is not None}
    words = [f"{key} {v:.2f}" if v == round(v, 2) else f"{key} {v:g}" for key, v in first.items()]
    return f" (published: {', '.join(words)})" if words else ""


def told(record: Record, seconds: float) -> str:
    """A run in a line: its last scores, as medians over the seeds."""
    ends = {key: at_end(record, key) for key in record["curves"] if not key.startswith("adversarial")}
    scores = [f"{key} {median(values):.4g}" for key, values in ends.items() if values]
    gone = [f"{record['lost']} of {record['seeds']} seeds lost"] if record["lost"] else []
    return ", ".join([*scores, *gone, f"{seconds:.0f} s"])


def made(name: str, figures: Mapping[str, Figure], options: argparse.Namespace) -> Path:
    """Train and draw one of the figures; the file of its picture."""
    figure = figures[name]
    ending = f"-{options.data}" if options.data else ""
    out = options.runs / f"{name}-{options.scale}{ending}.png"
    found: dict[str, Record] = {}
    for words, (line, raw) in planned(figure, options).items():
        began = time.monotonic()
        found[words] = measured(line, raw, figure, options)
        records.write(out.with_suffix(".jsonl"), found)
        print(f"{words}: {told(found[words], time.monotonic() - began)}", flush=True)
    note = "; ".join(
        [_note(figure, found, options), *repeated(figure.panels, found), *elsewhere(name, figures, options)]
    )
    draw(figure, found, f"{figure.title}{_where(options)}", note, out)
    return out


def repeated(panels: Sequence[Panel], found: Mapping[str, Record]) -> list[str]:
    """A sentence for each panel whose runs all stand in an earlier one: on the same images they are the same."""
    folders = [{found[named(panel, line)]["folder"] for line in panel.lines} for panel in panels]
    first = [next(j for j, earlier in enumerate(folders) if mine <= earlier) for mine in folders]
    return [
        f"{panel.title}: the same runs as {panels[j].title}"
        for i, (panel, j) in enumerate(zip(panels, first))
        if j < i
    ]


def elsewhere(name: str, figures: Mapping[str, Figure], options: argparse.Namespace) -> list[str]:
    """A sentence that names the figures which show the same runs under another name: only their images differ."""
    if not options.data:
        return []
    of_figure = {
        key: _recipes(one, options) for key, one in figures.items() if one.shown == figures[name].shown
    }
    mine = of_figure.pop(name)
    others = [
        key
        for key, its in of_figure.items()
        if any(not its[digest] & mine[digest] for digest in its.keys() & mine.keys())
    ]
    return [f"on {options.data} the same runs are in {', '.join(others)}"] if others else []


def _recipes(figure: Figure, options: argparse.Namespace) -> dict[str, set[Line]]:
    """The lines of each run of a figure, without their labels, by the digest of its settings."""
    found: dict[str, set[Line]] = {}
    for line in (line for panel in figure.panels for line in panel.lines):
        found.setdefault(digest_of(described(line, figure, options)), set()).add(line._replace(label=""))
    return found


def _where(options: argparse.Namespace) -> str:
    """What is not as in the paper, for the title."""
    scale = f", at the scale {options.scale}" if options.scale != "paper" else ""
    data = f", on {options.data} instead of its own images" if options.data else ""
    words = f", {' '.join(options.words)}" if options.words else ""
    return f"{scale}{data}{words}"


def _note(figure: Figure, found: Mapping[str, Record], options: argparse.Namespace) -> str:
    """What is drawn of the seeds, and which were lost."""
    gone = sum(record["lost"] for record in found.values())
    told = f"; {gone} of {options.seeds * len(found)} members became NaN and are left out" if gone else ""
    seeds, best = "one seed", sorted({record["best"] for record in found.values() if record["best"]})
    told += (
        f"; at the best checkpoint by {', '.join(best)}"
        if best and not isinstance(figure.shown, Curves)
        else ""
    )
    if isinstance(figure.shown, Frames):
        return f"{f'the first of {options.seeds} seeds' if options.seeds > 1 else seeds}{told}"
    one, all_ = ("dots", "bars") if isinstance(figure.shown, Table) else ("lines", "bands")
    if options.seeds > 1:
        seeds = f"{one}: median of {options.seeds} seeds; {all_}: from the lowest to the highest"
    level = "; dashed: both players at D = 1/2" if getattr(figure.shown, "levels", {}) else ""
    return f"{seeds}{level}{told}"


def arguments(
    text: str | None, paper: str, figures: Mapping[str, Figure], others: Sequence[str] = OTHERS
) -> argparse.ArgumentParser:
    shown = "\n".join(
        textwrap.fill(f"{name:8}{figure.title}", 118, subsequent_indent=" " * 8)
        for name, figure in figures.items()
    )
    parser = script.parser(f"{text}\n{shown}\n{HOW}")
    parser.add_argument("figure", choices=list(figures), metavar="FIGURE", help="one of those above")
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE", help="overrides of all its runs")
    parser.add_argument("--scale", default="paper", help="paper (full size, default), or a preset: tiny")
    parser.add_argument("--seeds", type=script.positive, default=3)
    parser.add_argument(
        "--data", metavar="SET", help=f"another set of images for all its runs, as {' or '.join(others)}"
    )
    parser.add_argument("--data-root", type=Path, default=None, help="folder of the images")
    parser.add_argument("--threads", type=script.positive, default=1)
    parser.add_argument("--runs", type=Path, default=Path("runs") / paper)
    return parser


def main(text: str | None, paper: str, figures: Mapping[str, Figure], others: Sequence[str] = OTHERS) -> None:
    """Make the figure that the command line names. `others` are sets of images that fit the networks of all figures."""
    options = arguments(text, paper, figures, others).parse_intermixed_args()
    if strange := [word for word in options.words if "=" not in word]:
        raise UsageError(f"an override is KEY=VALUE, not {strange[0]!r}: one figure is made at a time")
    torch.set_num_threads(options.threads)
    print(made(options.figure, figures, options))
