"""Training a labelled run of `experiments.doctor.run`: its events, and apart from them what became of it."""

import json
from pathlib import Path
from typing import Any

from experiments.doctor.outcomes import outcome
from experiments.doctor.settings import Setting, made
from steadygan.build import Run, build
from steadygan.config import Config
from steadygan.diagnostics import History, read
from steadygan.files import write_whole
from steadygan.runs.live_diagnosis import facts_of
from steadygan.runs.sinks import line_sink
from steadygan.training.advance import TOGETHER, advancing
from steadygan.training.compile.compiled_step import compiled, vectorised
from steadygan.training.compile.cpu import threads
from steadygan.training.divergence import origin
from steadygan.training.events import Evaluated, Scored
from steadygan.training.gradient_stats import gradient_statistics
from steadygan.training.loop import train

__all__ = ["histories", "trained"]


def trained(setting: Setting, seeds: int, folder: Path) -> Path:
    """The folder of the setting's runs, which are trained now unless that is done: events and outcomes."""
    home = folder / setting.path
    if len(_outcomes(home)) != seeds:
        home.mkdir(parents=True, exist_ok=True)
        (home / "events.jsonl").unlink(missing_ok=True)
        settings = made(setting, seeds)
        with threads(settings.threads):
            found = _train(settings, build(settings), home)
        write_whole(home / "outcomes.json", json.dumps(found) + "\n")
    return home


def _outcomes(home: Path) -> list[list[dict[str, Any]]]:
    """What became of each member, look by look; nothing where the runs are not done."""
    file = home / "outcomes.json"
    return json.loads(file.read_text()) if file.exists() else []


def _train(settings: Config, run: Run, home: Path) -> list[list[dict[str, Any]]]:
    """What is found of each member, look by look; a line for each look and event goes to events.jsonl."""
    step = vectorised(run.step) if run.ensemble else run.step
    step = compiled(step, print, settings.precision) if settings.compile else step
    together = TOGETHER if settings.compile else None
    advance = advancing(step, run.draws, together=together, stretch=run.draws.stretch)
    seeds = [int(m["seed"]) for m in run.members]
    examine = gradient_statistics(
        run.game, run.data, seeds=seeds, ensemble=run.ensemble, dtype=run.draws.dtype
    )
    with (home / "events.jsonl").open("a") as file:
        file.write(json.dumps({"facts": facts_of(settings)}) + "\n")
    write, looks, before = line_sink(home / "events.jsonl", lambda step: step * settings.batch), [], run.state
    for event in train(
        advance,
        run.state,
        evaluate=lambda state: Evaluated([], {}),  # scores are the outcome's: the diagnosis does not see them
        statistics=examine,
        trace=lambda good, until, i: origin(run.game, advance, good, until, i if run.ensemble else None),
        steps=settings.steps,
        every=run.every,
    ):
        write(event)
        if isinstance(event, Scored):
            found = outcome(run, event.state, before)
            looks.append([{"step": event.step, **one} for one in found])
            before = event.state
    return [list(member) for member in zip(*looks)] or [[] for _ in run.members]


def histories(home: Path) -> list[tuple[History, list[dict[str, Any]]]]:
    """Each member's history beside what became of it, look by look."""
    events = read(home / "events.jsonl")
    return [(events.history(i), found) for i, found in enumerate(_outcomes(home))]
