"""Recipes trained by the command line, once, with their events and states."""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steadygan import config
from steadygan.build import Run, build
from steadygan.errors import UsageError
from steadygan.files import write_whole
from steadygan.game import State
from steadygan.game.state import member
from steadygan.runs.folder import CHECKPOINTS, EVENTS, read_config
from steadygan.training import checkpoint

OF_ALL = {"step", "images", "wall_s", "good_step", "began"}
"""Numbers of an event that are of all members together."""
COMMAND = "command.json"
"""What trained a run, in its folder."""


def train_once(recipe: str, folder: Path, seeds: int, steps: int, *words: str) -> Path:
    """Train a recipe with these overrides unless it is there, finished, with as many seeds and the same overrides.

    Raises UsageError where the command line refuses it.
    """
    command = ["train", recipe, f"steps={steps}", *words, "--seeds", str(seeds)]
    told = folder / COMMAND
    finished = (folder / CHECKPOINTS / checkpoint.name(steps)).exists()
    if not finished or not told.exists() or json.loads(told.read_text()) != command:
        shutil.rmtree(folder, ignore_errors=True)
        full = [sys.executable, "-m", "steadygan", *command, "--out", str(folder)]
        ended = subprocess.run(full, capture_output=True, text=True)
        if ended.returncode not in (0, 1):
            raise UsageError(f"{recipe}: {ended.stderr.strip()}")
        write_whole(told, json.dumps(command) + "\n")
    return folder


def existing(folders: Mapping[str, Path], what: str) -> None:
    """Raise UsageError where a run is gone that a picture shows."""
    if gone := [name for name, folder in folders.items() if not folder.is_dir()]:
        places = ", ".join(sorted({str(folders[name].parent) for name in gone}))
        raise UsageError(
            f"the pictures of {what} also show {', '.join(gone)}, not in {places}: train without --only"
        )


def of(run: Run, state: State, index: int) -> State:
    """The state of one member of a run, which may be single."""
    return member(state, index if run.ensemble else None)


def events(folder: Path) -> list[dict[str, Any]]:
    """The events of a run, a dictionary each. Its values are lists with one number per member, also of a single run."""
    return [_of_members(json.loads(line)) for line in (folder / EVENTS).read_text().splitlines()]


def _of_members(line: dict[str, Any]) -> dict[str, Any]:
    found = {key: value for key, value in line.items() if isinstance(value, list | str) or key in OF_ALL}
    return {**{key: [value] for key, value in line.items()}, **found}


def opened(folder: Path) -> tuple[Run, dict[int, State]]:
    """A finished run, and its state at step 0 and at each checkpoint."""
    run = build(config.parse({**read_config(folder), "compile": False}, str(folder)))
    paths = checkpoint.checkpoints(folder / CHECKPOINTS)
    states = {0: run.state, **{int(p.name[5:]): checkpoint.load(p, run.state) for p in paths}}
    return run, states
