"""Damaged files of the cache, through the commands that read them: made again, refused, noted, or the same result.

There are decoded images with their labels and manifest, features of real images, a classifier, and a speed. Compiled
programs are a kind of their own.
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

from PIL import Image

from experiments.faults import runs
from experiments.faults.commands import Ended, call, judged
from experiments.faults.damage import damage_file
from experiments.faults.damaged import limited
from experiments.faults.results import Result, alike, result
from experiments.faults.trials import Outcome

__all__ = ["caches"]

IMAGES, SIDE, STEPS = 300, 8, 6

READERS = {
    **dict.fromkeys((".npy", ".json"), ("train", "resume", "evaluate", "info")),
    **dict.fromkeys(("statistics", "classifiers"), ("evaluate",)),
    "product-speed.json": ("list",),
}
"""The commands that read a file of the cache, by its folder, its name, or its ending."""

SHOWN = {".npy": ("train", "evaluate", "resume"), "classifiers": ("evaluate",)}
"""The commands that believe a file without a checksum: pixels and labels, and the accuracy of a classifier."""

TOLD = ("info", "list")
"""The commands that tell of the cache itself. They are only judged."""

MADE = {
    "train": "new/checkpoints/step-00000002/state.safetensors",
    "resume": f"run/checkpoints/step-{STEPS:08}/state.safetensors",
}
"""The file that is the result of a command. That of the others is what they print."""


class Base(NamedTuple):
    """An interrupted run on images of a folder, its cache, and what the commands made of them when they were whole."""

    run: Path
    cache: Path
    wanted: dict[str, Result]


def base(folder: Path) -> Base:
    """Make a folder of grey images in two classes, train on it, and fill a cache by all that reads one."""
    for number in range(IMAGES):
        place = folder / "images" / "ab"[number % 2] / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((SIDE, SIDE), 90).save(place)
    data = {"name": "images", "path": str(folder / "images")}
    recipe = {**runs.RECIPES["digits"], "data": data, "steps": STEPS, "keep": {"last": 9}}
    (folder / "images.yaml").write_text(json.dumps(recipe))
    made = Base(folder / "base", folder / "whole", {})
    _done(["train", str(folder / "images.yaml"), "--out", str(made.run)], folder)
    shutil.rmtree(made.run / "checkpoints" / f"step-{STEPS:08}")
    _done(["classifier", "digits"], folder)
    for command in ("train", "resume", "evaluate", "list"):
        shutil.rmtree(folder / "new", ignore_errors=True)
        shutil.copytree(made.run, folder / "run")
        made.wanted[command] = _called(command, folder)[1]
        shutil.rmtree(folder / "run")
    (folder / "cache").rename(made.cache)
    return made


def _done(words: list[str], folder: Path) -> None:
    ended = call(words, folder / "log", lambda: _cached(folder))
    assert ended.code == 0, ended.err


def _cached(folder: Path) -> None:
    os.environ["STEADYGAN_CACHE"] = str(folder / "cache")
    limited()


def caches(chance: Random, count: int, folder: Path) -> Iterator[Outcome]:
    """Damage a file of a cache, and call a command that reads it."""
    made = base(folder)
    names = sorted(path.relative_to(made.cache) for path in made.cache.rglob("*") if path.is_file())
    for _ in range(count):
        for name, whole in (("cache", made.cache), ("run", made.run)):
            shutil.rmtree(folder / name, ignore_errors=True)
            shutil.copytree(whole, folder / name)
        shutil.rmtree(folder / "new", ignore_errors=True)
        name = chance.choice(names)
        command = chance.choice(READERS[_kind(name)])
        what = damage_file(folder / "cache" / name, chance)
        yield _tried(command, name, what, made, folder)


def _kind(name: Path) -> str:
    return next(each for each in (name.parts[0], name.suffix) if each in READERS)


def _called(command: str, folder: Path) -> tuple[Ended, Result]:
    run, recipe = str(folder / "run"), str(folder / "images.yaml")
    words = {
        "train": ["train", recipe, "steps=2", "--out", str(folder / "new")],
        "resume": ["resume", run],
        "evaluate": ["evaluate", run, "-n", "50", "--extractor", "digits"],
        "info": ["data", "info", str(folder / "images")],
        "list": ["list", "recipes"],
    }[command]
    ended = call(words, folder / "log", lambda: _cached(folder))
    return ended, result(ended, folder / MADE[command] if command in MADE else None)


def _tried(command: str, name: Path, what: str, made: Base, folder: Path) -> Outcome:
    whole, file = (made.cache / name).read_bytes(), folder / "cache" / name
    believed = command in SHOWN.get(_kind(name), ()) and file.is_file() and alike(whole, file)
    ended, found = _called(command, folder)
    fell = judged(ended)
    if not fell and ended.code != 2 and command not in TOLD and not believed:
        wanted = made.wanted[command]
        fell = "another result" if found.made != wanted.made and not found.notes - wanted.notes else ""
    return Outcome(f"{command} after {what}: {fell}" if fell else "", ended.seconds)
