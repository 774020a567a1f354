"""The runs of a figure: each in a folder of its own, trained once, and its scores and losses over steps."""

import argparse
import hashlib
import json
import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments.figures.declared import LEVELS, SCORES, Figure, Frames, Line
from steadygan import config
from steadygan.build import build
from steadygan.config import registry
from steadygan.config.presets import scaled
from steadygan.config.resolve import sweeps
from steadygan.diagnostics.history import whole
from steadygan.errors import UsageError, nearest
from steadygan.recipes.catalogue import find_recipe
from steadygan.runs import train
from steadygan.runs.folder import CHECKPOINTS, CONFIG, EVENTS
from steadygan.runs.score_setup import extractor_of
from steadygan.runs.team import team_of
from steadygan.training import checkpoint
from steadygan.training.cluster import here

QUIET = Console(quiet=True)
POINTS = 400  # of a curve, at most
SMALL = ("every.score=10%", "every.diagnostics=100%")
"""What presets lack: enough evaluations for a curve. The diagnostics passes would take more time than the steps."""


def described(line: Line, figure: Figure, options: argparse.Namespace) -> dict[str, Any]:
    """The configuration of a line at the scale that is wanted.

    First the recipe with the line's overrides and the figure's scores, then the scale, then what the figure draws, then
    the caller's.
    """
    name, raw = find_recipe(line.recipe)
    raw = config.override({"name": name, **raw}, [*line.changes, *figure.scored])
    if options.data:
        raw = substituted(raw, options.data)
    small = () if options.scale == "paper" else SMALL
    if options.scale == "tiny" and figure.tiny:
        small += figure.tiny
    elif small:
        raw = scaled(raw, options.scale, name)
    return config.override(raw, [*small, *frames(figure), f"seeds={options.seeds}", *options.words])


def frames(figure: Figure) -> tuple[str, ...]:
    """What lets a run draw its samples at the steps of a figure. It does so at its end anyway."""
    at = figure.shown.at if isinstance(figure.shown, Frames) else ()
    return (f"every.score=[{', '.join(at)}]",) if at else ()


def substituted(raw: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A recipe on other images, flipped where its own are. It is no row of a paper any more; points stay.

    >>> substituted({"data": {"name": "stl10", "flip": True, "size": 48}}, "fashion_mnist")
    {'data': {'name': 'fashion_mnist', 'flip': True}}
    """
    data = raw["data"] if isinstance(raw["data"], dict) else {"name": raw["data"]}
    sets = [key for key, part in registry.DATA.items() if "limit" in part.options]
    if data["name"] not in sets:
        return {**raw}
    if name not in sets:
        raise UsageError(f"--data names a set of images, not {name!r}: {nearest(name, sets)}")
    kept = {key: data[key] for key in ("flip",) if key in data and key in registry.DATA[name].options}
    return {**{key: part for key, part in raw.items() if key != "paper"}, "data": {"name": name, **kept}}


def place(raw: Mapping[str, Any], runs: Path) -> Path:
    """The folder of a run: figures, and recipes on other images, share what they have in common.

    Its name ends in a digest of its settings, so another number of steps or seeds is another run.
    """
    digest = digest_of(raw)
    return next(runs.glob(f"*-{digest}"), runs / f"{raw['name']}-{digest}")


def digest_of(raw: Mapping[str, Any]) -> str:
    """Eight letters that two runs share where their settings are the same."""
    settings = {key: part for key, part in raw.items() if key not in ("name", "paper")}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]


def checked(raw: dict[str, Any], options: argparse.Namespace) -> None:
    """Raise UsageError for a run that cannot begin: for its settings, its data, or what scores it."""
    with _named(raw):
        settings = config.parse(config.with_root(raw, options.data_root))
        if settings.seeds != options.seeds or sweeps(settings):
            raise UsageError(
                "a run of a figure has a member for each seed: give their number as --seeds N, and each key one value"
            )
        if not finished(place(raw, options.runs), raw):
            team = team_of(build(settings), here())
            train.check(team, settings.keep.best, settings.evaluation, settings.threads, settings.trackers)
            extractor_of(team.run, settings.evaluation, QUIET.print)


@contextmanager
def _named(raw: Mapping[str, Any]) -> Iterator[None]:
    """Inside the block, an error names its run, and says what else helps where images are missing."""
    try:
        yield
    except UsageError as error:
        others = " (--data NAME trains a figure on other images)" if "was not found" in str(error) else ""
        raise UsageError(f"{raw['name']}: {error}{others}") from None


def trained(raw: dict[str, Any], folder: Path, root: Path | None) -> None:
    """Train a run, or go on with it, unless it is there to its end."""
    if finished(folder, raw):
        return
    with _named(raw):
        if (folder / CONFIG).exists():
            train.resume(folder, [], QUIET, root)
        else:
            shutil.rmtree(folder, ignore_errors=True)  # it was stopped before its first step
            train.start(config.parse(config.with_root(raw, root)), folder, QUIET)


def finished(folder: Path, raw: Mapping[str, Any]) -> bool:
    """Whether a run has all of its steps, or has lost all of its members on the way."""
    last = folder / CHECKPOINTS / checkpoint.name(raw["steps"])
    return last.exists() or len(lost(folder)) == raw["seeds"]


def lost(folder: Path) -> set[int]:
    """The members of a run that became NaN or infinite."""
    return {member for _, line in whole(folder / EVENTS) for member in line.get("diverged", [])}


def curves(folder: Path) -> dict[str, list[tuple[int, list[float]]]]:
    """Scores, and losses without penalties, by their names: steps, and the values of all seeds that have one.

    A player without penalties logs its whole loss alone.
    """
    found: dict[str, list[tuple[int, list[float]]]] = {}
    for _, line in whole(folder / EVENTS):
        for key in (*SCORES, *LEVELS):
            value = line.get(key, line.get(key.replace("adversarial", "loss")))
            if value is not None:
                values = value if isinstance(value, list) else [value]
                found.setdefault(key, []).append((line["step"], [v for v in values if v is not None]))
    return {key: thinned(rows) for key, rows in found.items()}


def thinned(rows: list[Any]) -> list[Any]:
    """Every so many rows, so that at most POINTS stay; the last one is among them.

    >>> len(thinned([*range(1001)])), thinned([*range(1001)])[-1], thinned([1, 2])
    (334, 1000, [1, 2])
    """
    return rows[:: -max(1, math.ceil(len(rows) / POINTS))][::-1]
