"""Which run a checkpoint belongs to: a hash of what determines its first steps, in the folder and in checkpoints."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steadygan.files import read_json, write_whole

__all__ = ["IDENTITY", "identity", "known_identity", "record_identity", "same_steps"]

IDENTITY = "run.json"

MEANS = (
    *("game", "data", "networks", "critic", "augment", "noise", "fake_as_real", "dynamics", "optimizer"),
    *("ema", "freeze", "batch", "accumulate", "seed", "seeds", "sweep", "precision"),
)
"""The keys that determine a run's steps. How long it is, what it logs and keeps, and where it runs do not."""


def identity(raw: Mapping[str, Any], origin: str | None = None) -> str:
    """SHA-256 of a run's settings, as in config.yaml, and of the checkpoint `origin` that it started from."""
    found = {key: raw[key] for key in MEANS}
    found["data"] = {key: value for key, value in found["data"].items() if key != "root"}
    return hashlib.sha256(json.dumps([found, origin], sort_keys=True).encode()).hexdigest()


def same_steps(raw: Mapping[str, Any]) -> str:
    """A text that two runs share if their steps compute the same of state and batch: settings, but no seed."""
    found = {
        key: raw[key] for key in (*MEANS, "steps", "channels_last", "gpu") if key not in ("seed", "seeds")
    }
    found["data"] = {key: value for key, value in found["data"].items() if key != "root"}
    return json.dumps(found, sort_keys=True)


def record_identity(folder: Path, found: str) -> None:
    """Write to a new run's folder which run it is. A resumed run stays the same run, whatever is overridden."""
    write_whole(folder / IDENTITY, json.dumps({"run": found}) + "\n")


def known_identity(folder: Path) -> str | None:
    """Which run a folder is; None for a folder of an older version."""
    try:
        return str(read_json(folder / IDENTITY, {"run": str})["run"])
    except ValueError:
        return None
