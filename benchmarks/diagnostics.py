"""The cost of diagnostics: seconds of the same training with and without diagnostics passes, side by side.

    python -m benchmarks.diagnostics

`python -m experiments.doctor.run --cost` keeps the figures and writes them to docs/doctor.md.
"""

import statistics
import time
from typing import Any

from benchmarks import script
from steadygan import config
from steadygan.build import Run, build
from steadygan.diagnostics import Events
from steadygan.recipes.catalogue import find_recipe
from steadygan.runs.live_diagnosis import early_stopping
from steadygan.training.advance import advancing
from steadygan.training.compile.compiled_step import compiled
from steadygan.training.compile.cpu import threads
from steadygan.training.events import Evaluated
from steadygan.training.gradient_stats import gradient_statistics
from steadygan.training.loop import train

__all__ = ["cost", "quickest"]

RECIPES, ROUNDS, EXAMINATIONS = ("ring8-fargan", "digits-0gp"), 5, 4


def cost() -> dict[str, Any]:
    """By recipe: median seconds of compiled steps, with four diagnostics passes and their diagnoses, and without."""
    return {name: _of(name) for name in RECIPES}


def _of(name: str) -> dict[str, Any]:
    settings = config.parse(find_recipe(name)[1])
    run = build(settings)
    step = compiled(run.step, print)
    step(run.state, run.draws(0))
    taken: dict[bool, list[float]] = {True: [], False: []}
    with threads(1):
        for _ in range(ROUNDS):
            for examined in (False, True):
                taken[examined].append(_seconds(run, step, examined))
    without, with_it = (statistics.median(taken[examined]) for examined in (False, True))
    return {"without_s": without, "with_s": with_it, "share": with_it / without - 1, **quickest(name)}


def quickest(name: str) -> dict[str, float]:
    """The quickest of 8 stretches of 50 steps and of 16 diagnostics passes: a busy machine disturbs these least.

    `quickest_share` is the time of all passes over that of all steps of the recipe, by these figures.
    """
    settings = config.parse(find_recipe(name)[1])
    run = build(settings)
    step, examine = (
        compiled(run.step, print),
        gradient_statistics(run.game, run.data, seeds=[0], ensemble=False),
    )
    state = run.state
    stretches, examinations = [], []
    with threads(1):
        for round_ in range(8):
            began = time.process_time()
            for number in range(50):
                before = state
                state, _ = step(before, run.draws(50 * round_ + number))
            stretches.append((time.process_time() - began) / 50)
            for _ in range(2):
                began = time.process_time()
                examine(before, state)
                examinations.append(time.process_time() - began)
    least, each = min(stretches), min(examinations)
    count = settings.steps // (run.every.diagnostics or settings.steps) + 1
    return {
        "step_ms": 1e3 * least,
        "examination_ms": 1e3 * each,
        "quickest_share": count * each / (settings.steps * least),
    }


def _seconds(run: Run, step: Any, examined: bool) -> float:
    """Processor seconds, so that other programs do not count."""
    look = gradient_statistics(run.game, run.data, seeds=[0], ensemble=False) if examined else None
    assert run.every.diagnostics
    steps = EXAMINATIONS * run.every.diagnostics
    callback = early_stopping(Events(), lambda step: step, (), print) if examined else lambda event: None
    began = time.process_time()
    for event in train(
        advancing(step, run.draws),
        run.state,
        evaluate=lambda state: Evaluated([], {}),
        statistics=look,
        steps=steps,
        every=run.every._replace(checkpoint=steps),
    ):
        callback(event)
    return time.process_time() - began


def main() -> None:
    script.parser(__doc__).parse_args()
    for name, found in cost().items():
        print(name, ", ".join(f"{key} {value:.4g}" for key, value in found.items()))


if __name__ == "__main__":
    script.run(main)
