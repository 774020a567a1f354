"""The survey's claims (Li 2017) that its pictures do not show, over four seeds: the second table of docs/survey.md.

    python -m experiments.survey.claims [--only RUN...] [--seeds 4] [--scale tiny] [--runs runs/survey/claims]

The seeds of a run train as one ensemble; one that is there already and finished is not repeated. Figures go to
claims.jsonl, from which the table is drawn anew. --scale tiny takes a hundredth of the steps and keeps its figures and
its page beside its runs.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import script
from experiments import records
from experiments.pages import DOCS, replaced, spread
from experiments.stacked_digits import run as stacked
from experiments.trained import events, of, opened, train_once
from steadygan.build import Run
from steadygan.data import stacked_digits
from steadygan.game import State
from steadygan.metrics.stacked import SAMPLES
from steadygan.penalties import input_gradient
from steadygan.recipes.catalogue import find_recipe
from steadygan.rng import generator
from steadygan.runs import classifiers
from steadygan.training.online_scores import IMAGES, reference
from steadygan.training.sampling import latents

FIGURES, PAGE = Path(__file__).parent / "claims.jsonl", DOCS / "survey.md"
FRAMES, COUNT = 20, 1000
"""Checkpoints of a run whose critics are measured, and the samples of each."""
AHEAD, BATCH = 1000, 256
"""Steps of a critic alone, and its samples in each."""

Measures = dict[str, list[float]]
SHOWN = {
    "steep": ("largest over median norm of G's gradient", 1, 1),
    "uneven": ("deviation of the log of that norm", 2, 1),
    "loss": ("loss of {}, second half", 2, 1),
    "early": ("gradient of log(1 − {}) at fakes, first checkpoint", 3, 1),
    "left": ("the same, with {} trained on alone", 3, 1),
    "alone": ("loss of {} then", 3, 1),
    "modes": ("modes", 1, 1),
    "high_quality": ("near a mode, %", 1, 100),
    "kd_pixels8": ("kd_pixels8 x 1000", 1, 1000),
}
"""A measure in words, its digits and its factor. `{}` is a critic's name, which follows the key after a slash."""


# ------------------------------------------------------------------------------------------------------ measuring


def unevenness(norms: Sequence[float]) -> tuple[float, float]:
    """The largest over the median, and the standard deviation of the natural logarithm.

    >>> unevenness([1.0, 1.0, 1.0, 8.0])[0]
    8.0
    """
    return max(norms) / statistics.median(norms), statistics.stdev(map(math.log, norms))


def gradients(folder: Path) -> Measures:
    """How much the norm of G's gradient varies from step to step, in the second half of the run."""
    lines = [line["gradient/G"] for line in events(folder) if "gradient/G" in line]
    late = zip(*lines[len(lines) // 2 :], strict=True)
    steep, uneven = zip(*map(unevenness, late), strict=True)
    return {"steep": list(steep), "uneven": list(uneven)}


def critic_of(D: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> tuple[float, float]:
    """The critic's loss on reals x and fakes y, 2 log 2 where it cannot tell, and the size of G's original gradient.

    That is the median over fakes of |d log(1 - D(y)) / dy| = sigmoid(f(y)) |df(y) / dy|.
    """
    loss = F.softplus(-D(x)).mean() + F.softplus(D(y)).mean()
    _, slope = input_gradient(lambda samples: -F.softplus(D(samples)), y)
    return loss.item(), slope.flatten(1).norm(dim=1).median().item()


def sides(run: Run, state: State, count: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Of one member: the two sets of samples [count, ...] that each critic is trained to tell apart."""
    assert run.data.draw is not None
    nets = {n: p.network.bound(state.params[n], dict(state.buffers[n])) for n, p in run.game.players.items()}
    x = run.data.draw(generator("claims"), count)
    fakes = nets["G"](latents(0, "look", count, run.latent, x.dtype)).detach()
    if "D1" not in nets:
        return {"D": (x, fakes)}
    again = nets["G"](nets["E"](x)).detach()
    return {"D1": (x, again), "D2": (again, fakes)}


def module_of(run: Run, state: State, name: str) -> nn.Module:
    """One player of one member, on its own."""
    module = deepcopy(run.game.players[name].network.module)
    nn.utils.vector_to_parameters(state.params[name], module.parameters())
    return module


def ahead(D: nn.Module, x: Tensor, y: Tensor) -> None:
    """Train the critic alone, while G is held, as Arjovsky and Bottou (2017) do."""
    optimizer, numbers = torch.optim.Adam(D.parameters(), 1e-3), generator("ahead")
    for _ in range(AHEAD):
        rows = torch.randint(len(x), (BATCH,), generator=numbers)
        optimizer.zero_grad()
        (F.softplus(-D(x[rows])).mean() + F.softplus(D(y[rows])).mean()).backward()
        optimizer.step()


def critics(folder: Path) -> Measures:
    """Each critic's loss on the mean of the second half, and the gradient that it gives at the first checkpoint.

    That gradient comes once more, and the loss with it, where the critic has trained on alone.
    """
    run, states = opened(folder)
    steps = sorted(states)
    found: Measures = {}
    for index in range(len(run.members)):
        first, *late = (of(run, states[step], index) for step in (steps[1], *steps[len(steps) // 2 :]))
        for name in sides(run, first, 1):
            losses = [critic_of(module_of(run, one, name), *sides(run, one, COUNT)[name])[0] for one in late]
            D, (x, y) = module_of(run, first, name), sides(run, first, 10 * COUNT)[name]
            _, early = critic_of(D, x[:COUNT], y[:COUNT])
            ahead(D, x, y)
            alone, left = critic_of(D, x[:COUNT], y[:COUNT])
            for key, value in zip(
                ("loss", "early", "left", "alone"), (statistics.fmean(losses), early, left, alone)
            ):
                found.setdefault(f"{key}/{name}", []).append(value)
    return found


def plain(folder: Path) -> Measures:
    """Both, of the game without an encoder."""
    return {**gradients(folder), **critics(folder)}


def scores(folder: Path) -> Measures:
    """The last scores of a run."""
    keys = ("modes", "high_quality", "kd_pixels8")
    last = next(line for line in reversed(events(folder)) if set(line) & {*keys})
    return {key: [value for value in last[key] if value is not None] for key in keys if key in last}


def stacked_modes(folder: Path) -> Measures:
    """How many of 1,000 modes the averaged generators cover, as docs/games.md counts them."""
    real, steps = reference(stacked_digits(), 2 * IMAGES), max(opened(folder)[1])
    classifier = classifiers.load_or_train("digits", print)
    return {"modes": stacked.measured(folder, steps, SAMPLES, real, classifier)["modes"]}


# ------------------------------------------------------------------------------------------------------- settings


class Study(NamedTuple):
    """A recipe with overrides, its steps, and what is measured of it."""

    recipe: str
    steps: int
    measure: Callable[[Path], Measures]
    words: tuple[str, ...] = ()


EACH, EAGER = "every.log=1", "compile=false"
REG_GAN = "game={name: reg_gan, weight_distance: 0.2, weight_mode: 0.1}"
STUDIES = {
    "digits-gan-bn": Study("digits-gan-bn", 600, gradients, (EACH, EAGER)),
    "digits-wgan-bn": Study("digits-wgan-bn", 600, gradients, (EACH, EAGER)),
    "ring8, plain": Study("ring8-mdgan", 3000, plain, ("game=gan",)),
    "ring8, Reg-GAN": Study("ring8-mdgan", 3000, critics, (REG_GAN,)),
    "ring8, MDGAN": Study("ring8-mdgan", 3000, critics),
    "ring8, no noise": Study("ring8-instance-noise", 10_000, scores, ("noise.instance=0",)),
    "ring8-ebgan": Study("ring8-ebgan", 5000, scores),
    "ring8-began": Study("ring8-began", 4000, scores),
    "digits-ebgan": Study("digits-ebgan", 1200, scores, (EAGER,)),
    "digits-began": Study("digits-began", 6000, scores, (EAGER,)),
    "stacked-digits-nsgan": Study("stacked-digits-nsgan", 5000, stacked_modes, (EAGER,)),
}


def taken(name: str, steps: int) -> str:
    """The steps of a run, and those of its recipe where these are more.

    >>> taken("digits-ebgan", 1200), taken("ring8-ebgan", 5000)
    ('1,200', '5,000 of 10,000')
    """
    whole = find_recipe(STUDIES[name].recipe)[1]["steps"]
    return f"{steps:,}" if steps == whole else f"{steps:,} of {whole:,}"


def table(found: dict[str, records.Record]) -> str:
    """A row for each measure of each run."""
    rows = ["| run | seeds | steps | measure | mean ± deviation |", "|---|---|---|---|---|"]
    for name in STUDIES:
        for key, values in found.get(name, {}).get("measures", {}).items():
            kind, _, critic = key.partition("/")
            words, digits, scale = SHOWN[kind]
            head = f"| `{name}` | {len(values)} | {taken(name, found[name]['steps'])} |"
            rows.append(f"{head} {words.format(critic)} | {spread(values, digits, scale)} |")
    return "\n".join(rows)


def page(found: dict[str, records.Record], text: str) -> str:
    """The page with its table made anew."""
    return replaced(text, "runs: claims", table(found))


def main(words: Sequence[str] | None = None) -> None:
    parser = script.parser(__doc__)
    parser.add_argument("--only", nargs="*", default=list(STUDIES), metavar="RUN", help=", ".join(STUDIES))
    parser.add_argument("--seeds", type=script.positive, default=4)
    parser.add_argument("--scale", choices=["full", "tiny"], default="full")
    parser.add_argument("--runs", type=Path, default=Path("runs/survey/claims"))
    given = parser.parse_args(words)
    torch.set_num_threads(1)
    script.check_known(given.only, STUDIES, "run of --only")
    full = given.scale == "full"
    runs = given.runs if full else given.runs / given.scale
    figures, out = (FIGURES, PAGE) if full else (runs / FIGURES.name, runs / PAGE.name)
    for name in given.only:
        one = STUDIES[name]
        steps = one.steps if full else one.steps // 100
        folder = runs / name.replace(", ", "-")
        every = (f"every.checkpoint={max(1, steps // FRAMES)}", f"keep.last={FRAMES}")
        train_once(one.recipe, folder, given.seeds, steps, *one.words, *every)
        records.put(figures, name, {"steps": steps, "measures": one.measure(folder)})
        print(name, records.read(figures)[name]["measures"], flush=True)
        out.write_text(page(records.read(figures), PAGE.read_text()))


if __name__ == "__main__":
    script.run(main)
