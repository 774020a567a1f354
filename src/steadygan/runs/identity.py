"""Which run a checkpoint belongs to: a hash of what determines its steps, in the folder and in checkpoints.

A resume with other settings goes on as another run from there, whose hash has that of the run before in it.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from steadygan.errors import UsageError, left_out
from steadygan.files import fits, read_json, write_whole

__all__ = [
    "IDENTITY",
    "ORIGIN",
    "OWN",
    "Run",
    "Runs",
    "beginning",
    "check_own",
    "continued",
    "fit_settings",
    "known_runs",
    "origin_of",
    "own_of",
    "record_runs",
    "runs_of",
    "same_steps",
    "to_json",
]

IDENTITY, ORIGIN, OWN = "run.json", "origin.json", "own.json"
"""Which runs a folder holds, where their first weights came from, and the file that made the user's own objects."""

MEANS = (
    *("game", "data", "networks", "critic", "augment", "noise", "fake_as_real", "dynamics", "optimizer"),
    *("ema", "freeze", "batch", "accumulate", "seed", "seeds", "sweep", "precision"),
)
"""The keys that determine a run's steps. How long it is, what it logs and keeps, and where it runs do not."""


class Run(NamedTuple):
    """The SHA-256 of what determines the steps of a run after the step `start`."""

    sha256: str
    start: int


Runs = tuple[Run, ...]
"""The first run of a folder, and those that resumes with other settings made of it. Empty where it is not known."""


def _sha256(raw: Mapping[str, Any], before: Runs, start: int, begun: object) -> str:
    """Hash a run's settings, as in config.yaml, and the run that it resumed or what it began with beside them."""
    found = {key: raw[key] for key in MEANS}
    found["data"] = {key: value for key, value in found["data"].items() if key != "root"}
    parent = [before[-1].sha256, start] if before else begun
    return hashlib.sha256(json.dumps([found, parent], sort_keys=True).encode()).hexdigest()


def same_steps(raw: Mapping[str, Any]) -> str:
    """A text that two runs share if their steps compute the same of state and batch: settings, but no seed."""
    found = {
        key: raw[key] for key in (*MEANS, "steps", "channels_last", "gpu") if key not in ("seed", "seeds")
    }
    found["data"] = {key: value for key, value in found["data"].items() if key != "root"}
    return json.dumps(found, sort_keys=True)


def fit_settings(runs: Runs, raw: Mapping[str, Any], begun: object) -> bool:
    """Whether the last one of `runs` has these settings."""
    return bool(runs) and runs[-1].sha256 == _sha256(raw, runs[:-1], runs[-1].start, begun)


def continued(runs: Runs, raw: Mapping[str, Any], begun: object, step: int) -> Runs:
    """What `runs` become with these settings from `step` on. Later runs are of no checkpoint that is used."""
    kept = tuple(run for run in runs if run.start < step) or runs[:1]
    if fit_settings(kept, raw, begun):
        return kept
    start = step if kept else 0
    return (*kept, Run(_sha256(raw, kept, start, begun), start))


def check_own(path: Path, meta: Mapping[str, Any], runs: Runs) -> None:
    """Raise UsageError if a checkpoint, of which this is the meta.json, is not of these runs at its step.

    One of an older version, which does not say of which run it is, is taken.
    """
    ends = [*(after.start for _, after in pairwise(runs)), math.inf]
    own = [run.sha256 for run, end in zip(runs, ends) if run.start <= meta["step"] <= end]
    if "run" not in meta or meta["run"] in own:
        return
    if runs:
        raise UsageError(f"checkpoint {path} belongs to another run: remove it, or put this run's own back")
    raise UsageError(
        f"checkpoint {path} has other settings than config.yaml, or began otherwise than {ORIGIN} and {OWN} say, and "
        f"{IDENTITY}, which says whose it is, cannot be read: put this run's {IDENTITY} back, undo a change of these "
        "files, or remove the checkpoint"
    )


def to_json(runs: Runs) -> dict[str, object]:
    """What a folder or a checkpoint says of its runs."""
    if not runs:
        return {}
    before = [{"run": run.sha256, "until": after.start} for run, after in pairwise(runs)]
    return {"run": runs[-1].sha256, **({"before": before} if before else {})}


def runs_of(facts: Mapping[str, Any]) -> Runs:
    """The runs that `to_json` has told of, or none where it did not."""
    before = facts.get("before", [])
    if not fits(facts, {"run": str}) or not fits(before, [{"run": str, "until": int}]):
        return ()
    hashes = [*(each["run"] for each in before), facts["run"]]
    runs = tuple(map(Run, hashes, [0, *(each["until"] for each in before)]))
    return runs if all(re.fullmatch("[0-9a-f]{64}", each) for each in hashes) else ()


def record_runs(folder: Path, runs: Runs) -> None:
    """Write to a folder which runs it holds, unless it says so."""
    if runs != known_runs(folder):
        write_whole(folder / IDENTITY, json.dumps(to_json(runs)) + "\n")


def known_runs(folder: Path) -> Runs:
    """The runs of a folder; none for one of an older version, or where the file is lost."""
    try:
        return runs_of(read_json(folder / IDENTITY, {}))
    except ValueError:
        return ()


def beginning(folder: Path) -> object:
    """What the run of a folder began with beside its settings: weights of another run, and a file of the user's own."""
    found = origin_of(folder)
    parts = {key: found[key] for key in ("players", "member") if found.get(key, "all") != "all"}
    weights = {"sha256": found.get("sha256"), **parts} if parts else found.get("sha256")
    file = own_of(folder).get("sha256")
    return [weights, file] if file else weights


def own_of(folder: Path) -> dict[str, Any]:
    """Where a run's own objects come from, as it wrote it; empty where it has none."""
    try:
        found = dict(read_json(folder / OWN, {}))
    except ValueError:
        return {}
    return found if all(type(found.get(key, "")) is str for key in ("file", "sha256")) else {}


def origin_of(folder: Path) -> dict[str, Any]:
    """Where a run's first weights came from, as `train --from` wrote it; empty where they came from its seed."""
    try:
        return dict(read_json(folder / ORIGIN, {"folder": str, "step": int, "sha256": str}))
    except ValueError:
        if (folder / ORIGIN).exists():
            left_out(folder / ORIGIN)
        return {}
