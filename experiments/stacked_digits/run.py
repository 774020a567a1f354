"""Mode coverage on stacked digits: modes and KL of each recipe at equal steps and at equal seconds.

    python -m experiments.stacked_digits.run [RECIPE...] [--seeds 3] [--steps 5000] [--runs runs/stacked]

Each recipe is trained for as many steps, its seeds as one ensemble; then once more for as
many steps as take the seconds of the first recipe of the same architecture, its schedules brought to their end there.
The seconds of a step are the median over the run's logged lines, so neither compiling nor looking at samples counts: a
quiet machine is wanted. A run that is there already and finished is not repeated. Each seed's averaged generator gives
26,000 samples.
Figures go to figures.jsonl, from which the table in docs/games.md is drawn anew.
"""

import argparse
import statistics
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import script
from experiments import records
from experiments.pages import DOCS, replaced, spread
from experiments.trained import events, of, opened, train_once
from steadygan.data import stacked_digits
from steadygan.metrics import (
    Classifier,
    expected_kl,
    expected_modes,
    kernel_distance,
    pooled_pixels,
    stacked_modes,
)
from steadygan.metrics.stacked import SAMPLES
from steadygan.recipes.catalogue import find_recipe
from steadygan.runs import classifiers
from steadygan.training.online_scores import IMAGES, reference
from steadygan.training.sampling import latents, samples

FIGURES = Path(__file__).parent / "figures.jsonl"
GAMES = ("nsgan", "0gp", "fargan", "reg-gan", "mdgan", "ebgan", "infogan", "began")
DEFAULT = [f"stacked-digits-{name}" for name in GAMES]
COLUMNS = {"modes": 1, "mode_kl": 3, "kd_pixels8": 4}
"""The scores, and the digits that they are shown with."""


# ------------------------------------------------------------------------------------------------------ measuring


def seconds_a_step(folder: Path) -> float:
    """The median time of a step of all seeds together, between logged lines."""
    lines = events(folder)
    logged = [(line["step"], line["wall_s"]) for line in lines if "loss/G" in line]
    return statistics.median((b - a) / (last - first) for (first, a), (last, b) in pairwise(logged))


def scores(found: Tensor, real: Tensor, classifier: Classifier) -> dict[str, float]:
    """Modes and KL of all samples, and the kernel distance of the first 1,000."""
    features = pooled_pixels(found[:IMAGES]), pooled_pixels(real[:IMAGES])
    return {**stacked_modes(found, classifier), "kd_pixels8": kernel_distance(*features)}


def columns(rows: list[dict[str, float]]) -> dict[str, list[float]]:
    return {key: [row[key] for row in rows] for key in COLUMNS}


def measured(folder: Path, step: int, count: int, real: Tensor, classifier: Classifier) -> dict[str, Any]:
    """The scores of every seed of a run at one of its steps; `lost` are those that became NaN."""
    run, states = opened(folder)
    rows = []
    for index, one in enumerate(run.members):
        mine, seed = of(run, states[step], index), int(one["seed"])
        z = latents(seed, "final", count, run.latent, mine.params["G"].dtype)
        found = samples(run.game.players["G"].network, mine, z, seed=seed)
        if found.isfinite().all():
            rows.append(scores(found, real, classifier))
    return {"steps": step, "lost": len(run.members) - len(rows), **columns(rows)}


def compared(options: argparse.Namespace, classifier: Classifier) -> dict[str, Any]:
    """Train and measure every recipe at equal steps, and at the seconds of its architecture's first."""
    count, data = options.samples, stacked_digits()
    real = reference(data, max(count, 2 * IMAGES))
    figures: dict[str, Any] = {}
    budgets: dict[str, float] = {}
    for recipe in options.recipes:
        network, steps = find_recipe(recipe)[1]["networks"]["name"], options.steps
        folder = train_once(recipe, options.runs / recipe, options.seeds, steps)
        each = seconds_a_step(folder)
        first = network not in budgets
        budget = budgets.setdefault(network, each * steps)
        at = {"equal steps": measured(folder, steps, count, real, classifier)}
        fitting = max(1, round(budget / each))
        if not first:
            shorter = train_once(recipe, options.runs / f"{recipe}-{fitting}", options.seeds, fitting)
            at["equal seconds"] = measured(shorter, fitting, count, real, classifier)
        figures[recipe] = {"seconds_a_step": each, "at": at}
        print(recipe, figures[recipe], flush=True)
    untrained = measured(options.runs / options.recipes[0], 0, count, real, classifier)
    # both halves of the sample are real images, so the kernel distance has something to compare
    truth = columns([scores(real[:count], real[-IMAGES:], classifier)])
    return {**figures, "untrained": untrained, "real": truth}


# ---------------------------------------------------------------------------------------------------- table, page


def row(name: str, at: str, seconds: str, found: dict[str, Any], seeds: int) -> str:
    cells = [spread(found[key], digits) if found[key] else "" for key, digits in COLUMNS.items()]
    steps, lost = f"{found['steps']:,}", f"{found['lost']} of {seeds}"
    return f"| `{name}` | {at} | {steps} | {seconds} | {' | '.join(cells)} | {lost} |"


def table(figures: dict[str, Any]) -> str:
    """Two rows for each recipe, and what untrained networks, real images and perfect samples score."""
    made = figures["settings"]
    count, seeds = made["samples"], made["seeds"]
    rows = [
        "| recipe | at | steps | seconds | modes (of 1,000) | KL, nats | kd_pixels8 | NaN |",
        "|---" * 8 + "|",
    ]
    for recipe, found in figures.items():
        for at, scored in found.get("at", {}).items():
            seconds = f"{found['seconds_a_step'] * scored['steps']:.0f}"
            rows.append(row(recipe, at, seconds, scored, seeds))
    fresh = [spread(figures["untrained"][key], digits) for key, digits in COLUMNS.items()]
    truth = [f"{figures['real'][key][0]:.{digits}f}" for key, digits in COLUMNS.items()]
    perfect = f"{expected_modes(count):.1f} | {expected_kl(count):.3f} | 0"
    rows += [
        f"| untrained networks | | 0 | 0 | {' | '.join(fresh)} | |",
        f"| real images | | | | {' | '.join(truth)} | |",
        f"| perfect samples, expected | | | | {perfect} | |",
    ]
    note = (
        f"{seeds} seeds, {count:,} samples of each one's averaged generator, mean ± standard deviation. Seconds are "
        f"those of all seeds together, without compiling. Digits classifier: {made['classifier']}"
    )
    return "\n".join([*rows, "", f"*{note}.*"])


def main() -> None:
    parser = script.parser(__doc__)
    parser.add_argument(
        "recipes", nargs="*", default=DEFAULT, help="the first of its architecture sets the seconds"
    )
    parser.add_argument("--seeds", type=script.positive, default=3)
    parser.add_argument("--steps", type=script.positive, default=5000)
    parser.add_argument("--samples", type=script.positive, default=SAMPLES, help="of each seed")
    parser.add_argument("--runs", type=Path, default=Path("runs/stacked"))
    parser.add_argument("--figures", type=Path, default=FIGURES, help="where figures are kept")
    parser.add_argument("--out", type=Path, default=DOCS, help="folder of the page")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    classifier = classifiers.load_or_train("digits", print)
    figures = compared(options, classifier)
    figures["settings"] = {
        "seeds": options.seeds,
        "samples": options.samples,
        "classifier": f"{classifiers.accuracy_text(classifier)}, SHA-256 {classifier.card['sha256'][:12]}",
    }
    records.write(options.figures, figures)
    (options.out / "games.md").write_text(
        replaced((DOCS / "games.md").read_text(), "stacked", table(figures))
    )


if __name__ == "__main__":
    script.run(main)
