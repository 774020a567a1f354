"""Damaged files of a run, through the commands that read them: refused, passed over with a note, or harmless."""

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
from experiments.faults.results import Result, alike, result
from experiments.faults.trials import Outcome

__all__ = ["MEMORY", "checkpoints", "files", "limited"]

MEMORY = 16 << 30
"""Bytes of address space that a command may take here."""


class Base(NamedTuple):
    """An interrupted run, another of the same shapes, and what the commands made of the first one when it was whole."""

    run: Path
    foreign: Path
    wanted: dict[tuple[str, str, int], Result]


def limited() -> None:
    """Let this process take no more than MEMORY: what is read without a bound ends it soon."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def base(folder: Path) -> Base:
    """Train two small runs, and interrupt the first one. Its log is long enough for a diagnosis."""
    run, foreign = folder / "base", folder / "foreign"
    changes = ["steps=8", "keep.last=9", "every.diagnostics=1"]
    for words in (
        ["train", runs.recipe("best", folder), *changes, "--out", str(run)],
        ["train", runs.recipe("best", folder), *changes, "seed=1", "--out", str(foreign)],
        ["evaluate", str(run), "-n", "100", "--checkpoint", "6"],
    ):
        ended = call(words, folder / "log")
        assert ended.code == 0, ended.err
    shutil.rmtree(run / "checkpoints" / runs.LAST)
    return Base(run, foreign / "checkpoints", {})


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
        yield _tried(command, what, "", made, folder)


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

EXTRA = json.dumps({"file": "own.py", "sha256": "0", "step": 1, "folder": "x"})
"""What a file says that this run lacks."""

SHOWN = {
    "events.jsonl": ("report", "diagnose"),
    "scores.json": ("report", "compare", "evaluate", "best"),
    **dict.fromkeys(("evaluation.json", "origin.json", "spectrum.json", "looks.json"), ("report",)),
    "landscapes/step-00000008.safetensors": ("report",),
}
"""The commands that show what a file says: other values in it as they are, and nothing where it is gone."""

COMMANDS = ("resume", "sample", "evaluate", "best", "train", "report", "diagnose", "compare")


def files(chance: Random, count: int, folder: Path) -> Iterator[Outcome]:
    """Damage another file of an interrupted run, and call a command that reads it."""
    made = base(folder)
    for _ in range(count):
        name = chance.choice(FILES)
        run = _copied(made, folder, name)
        what = f"{name}: {damage_file(run / name, chance)}"
        yield _tried(chance.choice(READERS.get(name, COMMANDS)), what, name, made, folder)


def _copied(made: Base, folder: Path, name: str = "") -> Path:
    """A copy of the run, which has a file of this name, too."""
    run = folder / "run"
    for path in (run, folder / "new", folder / "s.png", folder / "r.html"):
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    shutil.copytree(made.run, run)
    if name and not (run / name).exists():
        (run / name).write_text(EXTRA)
    return run


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


MADE = {
    "resume": f"run/checkpoints/{runs.LAST}/state.safetensors",
    "sample": "s.png",
    "train": "new/checkpoints/step-00000001/state.safetensors",
    "report": "r.html",
}
"""The file that is the result of a command. That of the others is what they print."""


def _called(command: str, folder: Path) -> tuple[Ended, Result]:
    ended = call(_words(command, folder / "run", folder), folder / "log", limited)
    return ended, result(ended, folder / MADE[command] if command in MADE else None)


def _wanted(command: str, name: str, without: int, made: Base, folder: Path) -> Result:
    """What a command makes of the whole run, or of the run `without` its newest checkpoints."""
    key = command, name, without
    if key not in made.wanted:
        run = _copied(made, folder, name)
        for path in sorted((run / "checkpoints").glob("step-*"), reverse=True)[:without]:
            shutil.rmtree(path)
        made.wanted[key] = _called(command, folder)[1]
    return made.wanted[key]


def _tried(command: str, what: str, name: str, made: Base, folder: Path) -> Outcome:
    """Call a command after a damage, of the file `name` or of checkpoints."""
    if not any((place / name).exists() for place in (folder / "run", made.run)):
        name = ""  # as if the run had never had it
    ended, found = _called(command, folder)
    fell = judged(ended)
    if not fell and ended.code != 2 and not _believed(command, name, made, folder / "run"):
        fell = _other(command, name, found, made, folder)
    return Outcome(f"{command} after {what}: {fell}" if fell else "", ended.seconds)


def _believed(command: str, name: str, made: Base, run: Path) -> bool:
    """Whether the result of a command is what the damaged file says, and it could say so."""
    if name == "config.yaml":
        return True  # another configuration may well be meant
    if command not in SHOWN.get(name, ()):
        return False
    before = (made.run / name).read_bytes() if (made.run / name).exists() else EXTRA.encode()
    return not (run / name).exists() or alike(before, run / name)


def _other(command: str, name: str, found: Result, made: Base, folder: Path) -> str:
    """What differs from the result with the whole run: "" where nothing does, or a note says what was passed over.

    It may then be that of an older checkpoint. What only shows a run may leave out a part.
    """
    newest = sorted((made.run / "checkpoints").glob("step-*"))[-1].name
    gone = not (folder / "run" / "checkpoints" / newest).is_dir()
    whole = _wanted(command, name, 0, made, folder)
    if found.made == whole.made:
        return ""
    noted = bool(found.notes - whole.notes)
    if noted and name and command in ("report", "diagnose", "compare"):
        return ""
    older = (_wanted(command, name, count, made, folder).made for count in (1, 2, 3))
    return "" if (noted or gone) and found.made in older else f"another result{' with a note' * noted}"
