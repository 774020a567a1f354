"""Recipes trained by the command line, once, with their events and states."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from steadygan import config
from steadygan.build import Run, build
from steadygan.errors import UsageError
from steadygan.game import State
from steadygan.runs.folder import CHECKPOINTS, EVENTS, read_config
from steadygan.training import checkpoint


def train_once(recipe: str, folder: Path, seeds: int, steps: int, *words: str) -> Path:
    """Train a recipe with these overrides unless it is there, finished, with as many seeds.

    Raises UsageError where the command line refuses it.
    """
    if not _finished(folder, seeds, steps):
        shutil.rmtree(folder, ignore_errors=True)
        command = ["-m", "steadygan", "train", recipe, f"steps={steps}", *words]
        command += ["--seeds", str(seeds), "--out", str(folder)]
        ended = subprocess.run([sys.executable, *command], capture_output=True, text=True)
        if ended.returncode not in (0, 1):
            raise UsageError(f"{recipe}: {ended.stderr.strip()}")
    return folder


def _finished(folder: Path, seeds: int, steps: int) -> bool:
    if not (folder / CHECKPOINTS / checkpoint.name(steps)).exists():
        return False
    made = read_config(folder)
    return (made["seeds"], made["steps"]) == (seeds, steps)


def events(folder: Path) -> list[dict[str, Any]]:
    """The events of a run, a dictionary each."""
    return [json.loads(line) for line in (folder / EVENTS).read_text().splitlines()]


def opened(folder: Path) -> tuple[Run, dict[int, State]]:
    """A finished run, and its state at step 0 and at each checkpoint."""
    run = build(config.parse({**read_config(folder), "compile": False}, str(folder)))
    paths = checkpoint.checkpoints(folder / CHECKPOINTS)
    states = {0: run.state, **{int(p.name[5:]): checkpoint.load(p, run.state) for p in paths}}
    return run, states
