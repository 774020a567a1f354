"""Damaged files of a run, through the commands that read them: refused, passed over with a note, or harmless."""

import hashlib
import json
import resource
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

from experiments.faults import runs
from experiments.faults.commands import Ended, call, judged
from experiments.faults.damage import damage_file, damage_folder
from experiments.faults.trials import Outcome

__all__ = ["MEMORY", "checkpoints", "files", "limited"]

MEMORY = 16 << 30
"""Bytes of address space that a command may take here."""


class Base(NamedTuple):
    """An interrupted run, another of the same shapes, and what the commands make of the first one when it is whole."""

    run: Path
    foreign: Path
    states: dict[str, str]
    pictures: list[str]


def limited() -> None:
    """Let this process take no more than MEMORY: what is read without a bound ends it soon."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def base(folder: Path) -> Base:
    """Train two small runs, interrupt the first one, and see what its commands give."""
    run, foreign = folder / "base", folder / "foreign"
    changes = ["steps=8", "keep.last=9"]
    for words in (
        ["train", runs.recipe("best", folder), *changes, "--out", str(run)],
        ["train", runs.recipe("best", folder), *changes, "seed=1", "--out", str(foreign)],
        ["evaluate", str(run), "-n", "100", "--checkpoint", "6"],
    ):
        ended = call(words, folder / "log")
        assert ended.code == 0, ended.err
    states = _states(run)
    shutil.rmtree(run / "checkpoints" / runs.LAST)
    pictures = []
    whole = shutil.copytree(run, folder / "run")  # its name is in the picture
    for path in sorted((whole / "checkpoints").glob("step-*"), reverse=True):
        call(["sample", str(whole), "-n", "4", "--out", str(folder / "s.png")], folder / "log")
        pictures.append(_digest(folder / "s.png"))
        shutil.rmtree(path)
    return Base(run, foreign / "checkpoints", states, pictures)


def _states(run: Path) -> dict[str, str]:
    """The digest of the last checkpoint's tensors."""
    return {"state": _digest(run / "checkpoints" / runs.LAST / "state.safetensors")}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def checkpoints(chance: Random, count: int, folder: Path) -> Iterator[Outcome]:
    """Damage a checkpoint of an interrupted run, and resume it, draw from it, score it or start from it."""
    made = base(folder)
    for _ in range(count):
        run = _copied(made, folder)
        path = chance.choice(sorted((run / "checkpoints").glob("step-*/*")))
        if chance.random() < 0.2:
            what = damage_folder(run / "checkpoints", made.foreign, chance)
        else:
            what = damage_file(path, chance)
        command = chance.choice(("resume", "resume", "sample", "sample", "evaluate", "train", "report"))
        yield _tried(command, what, made, run, folder)


FILES = (
    *("events.jsonl", "scores.json", "evaluation.json", "checkpoints/best.json", "run.json", "config.yaml"),
    *("landscapes/step-00000008.safetensors", "origin.json", "own.json", "spectrum.json", "looks.json"),
)
"""Files of a run folder that commands read. Those that this run lacks begin with a small JSON object."""

READERS = {
    "events.jsonl": ("report", "diagnose", "resume"),
    "scores.json": ("report", "compare", "evaluate"),
    "evaluation.json": ("report", "resume"),
    "checkpoints/best.json": ("resume", "best"),
    "config.yaml": ("resume", "sample", "report", "evaluate"),
    "run.json": ("resume", "sample"),
    "landscapes/step-00000008.safetensors": ("report",),
}
"""The commands that read each file; all of them where it is not listed."""

COMMANDS = ("resume", "sample", "evaluate", "best", "train", "report", "diagnose", "compare")


def files(chance: Random, count: int, folder: Path) -> Iterator[Outcome]:
    """Damage another file of an interrupted run, and call a command that reads it."""
    made = base(folder)
    for _ in range(count):
        run, name = _copied(made, folder), chance.choice(FILES)
        if not (run / name).exists():
            (run / name).write_text(json.dumps({"file": "own.py", "sha256": "0", "step": 1, "folder": "x"}))
        what = f"{name}: {damage_file(run / name, chance)}"
        yield _tried(chance.choice(READERS.get(name, COMMANDS)), what, made, run, folder)


def _copied(made: Base, folder: Path) -> Path:
    run = folder / "run"
    for path in (run, folder / "new"):
        shutil.rmtree(path, ignore_errors=True)
    return Path(shutil.copytree(made.run, run))


def _words(command: str, run: Path, folder: Path) -> Sequence[str]:
    return {
        "resume": ["resume", str(run)],
        "sample": ["sample", str(run), "-n", "4", "--out", str(folder / "s.png")],
        "evaluate": ["evaluate", str(run), "-n", "100"],
        "best": ["evaluate", str(run), "-n", "100", "--checkpoint", "best"],
        "train": [
            *("train", str(folder / "best.yaml"), "steps=1", "--from", str(run)),
            *("--out", str(folder / "new")),
        ],
        "report": ["report", str(run), "--out", str(folder / "r.html")],
        "diagnose": ["diagnose", str(run)],
        "compare": ["compare", str(run), str(run)],
    }[command]


def _tried(command: str, what: str, made: Base, run: Path, folder: Path) -> Outcome:
    (folder / "s.png").unlink(missing_ok=True)
    ended = call(_words(command, run, folder), folder / "log", limited)
    fell = judged(ended) or (_other(command, what, ended, made, run, folder) if ended.code == 0 else "")
    return Outcome(f"{command} after {what}: {fell}" if fell else "", ended.seconds)


def _other(command: str, what: str, ended: Ended, made: Base, run: Path, folder: Path) -> str:
    """Where a command went on: "" if its result is that of the whole run, or of an older checkpoint with a note."""
    if what.startswith("config.yaml"):
        return ""  # another configuration may well be meant
    if command == "resume" and _states(run) != made.states:
        return "other bits"
    if command == "sample":
        found = (
            made.pictures.index(_digest(folder / "s.png"))
            if _digest(folder / "s.png") in made.pictures
            else -1
        )
        gone = not (run / "checkpoints" / "step-00000007").is_dir()
        if found < 0 or (found > 0 and not gone and "note: " not in ended.out + ended.err):
            return f"samples of checkpoint {found} without a note"
    return ""
