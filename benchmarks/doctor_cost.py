"""What the diagnosis costs: the seconds of the same training with and without examinations, side by side."""

import statistics
import time
from typing import Any

from steadygan import config
from steadygan.build import Run, build
from steadygan.catalogue import find_recipe
from steadygan.examining import examiner
from steadygan.processor import threads
from steadygan.program import compiled
from steadygan.scoring import Look
from steadygan.train import train

__all__ = ["cost"]

RECIPES, ROUNDS, STEPS = ("ring8-fargan", "digits-0gp"), 5, 1500


def cost() -> dict[str, Any]:
    """By recipe: median seconds of 1,500 compiled steps with the default examinations and without, and the share."""
    return {name: _of(name) for name in RECIPES}


def _of(name: str) -> dict[str, Any]:
    settings = config.parse(config.override(find_recipe(name)[1], [f"steps={STEPS}"]))
    run = build(settings)
    step = compiled(run.step, print)
    step(run.state, run.draws(0))
    taken: dict[bool, list[float]] = {True: [], False: []}
    with threads(1):
        for _ in range(ROUNDS):
            for examined in (False, True):
                taken[examined].append(_seconds(run, step, examined))
    without, with_it = (statistics.median(taken[examined]) for examined in (False, True))
    return {"without_s": without, "with_s": with_it, "share": with_it / without - 1}


def _seconds(run: Run, step: Any, examined: bool) -> float:
    """Processor seconds, so that a busy machine does not count."""
    look = examiner(run.game, run.data, seeds=[0], ensemble=False) if examined else None
    began = time.process_time()
    for _ in train(
        step,
        run.draws,
        run.state,
        look=lambda state: Look([], {}),
        examine=look,
        steps=STEPS,
        every=run.every._replace(score=STEPS, checkpoint=STEPS),
    ):
        pass
    return time.process_time() - began
