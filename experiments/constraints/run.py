"""Every constraint's recipe trained over several seeds: the tables and pictures of docs/constraints.md.

    python -m experiments.constraints.run [ring8] [digits] [--seeds 8] [--runs runs/constraints] [--only NAME...]

Each recipe DATA-CONSTRAINT is trained for its own length, its seeds as one ensemble; a run that is there already and
finished is not repeated. Figures go to figures.jsonl, from which the tables in docs/constraints.md and the pictures
are drawn anew.
"""

import math
from pathlib import Path
from typing import Any

import torch

from benchmarks import script
from experiments import records
from experiments.pages import DOCS, replaced, spread
from experiments.trained import events, existing, of, opened, train_once
from steadygan.build import Run
from steadygan.game import State
from steadygan.recipes.catalogue import find_recipe, recipe_names
from steadygan.training.sampling import latents, samples, weights

FIGURES, PAGE = Path(__file__).parent / "figures.jsonl", DOCS / "constraints.md"
CONSTRAINTS = [
    "0gp",
    "r2",
    "0gp-interpolation",
    "wgan-gp",
    "wgan-lp",
    "dragan",
    "max-gradient",
    "gn",
    "pgn",
    "sn",
    "wgan",
    "cr",
    "bcr",
    "zcr",
    "instance-noise",
    "layer-noise",
    "diffaugment",
    "ada",
    "r3gan",
    "r3gan-approximated",
    "r3gan-centering",
    "r3gan-generator-gradient",
    "lecam",
    "feature-matching",
    "r3gan-adamw",
    "r3gan-muon",
]
SCORES = {"ring8": ("modes", "high_quality"), "digits": ("kd_pixels8",)}


def trained(data: str, constraint: str, seeds: int, folder: Path) -> dict[str, Any]:
    """Train a recipe unless it is done; its last scores, and how many members were lost on the way."""
    recipe = f"{data}-{constraint}"
    steps = find_recipe(recipe)[1]["steps"]
    train_once(recipe, folder, seeds, steps)
    lines = events(folder)
    lost = {member for line in lines for member in line.get("diverged", [])}
    scores = next((line for line in reversed(lines) if set(line) & set(SCORES[data])), {})
    return {
        "steps": steps,
        "seeds": seeds,
        "lost": len(lost),
        **{key: [v for v in scores[key] if v is not None] for key in SCORES[data] if key in scores},
    }


def table(data: str, found: dict[str, records.Record]) -> str:
    """The markdown table of one data set: a row for each recipe that was run."""
    names = [c for c in CONSTRAINTS if f"{data}-{c}" in found]
    heads = {
        "modes": "modes (of 8)",
        "high_quality": "near a mode, %",
        "kd_pixels8": "kd_pixels8 x 1000",
    }
    keys = SCORES[data]
    rows = [
        f"| recipe | steps | {' | '.join(heads[key] for key in keys)} | NaN |",
        "|---" * (len(keys) + 3) + "|",
    ]
    scale = {"modes": 1, "high_quality": 100, "kd_pixels8": 1000}
    for name in names:
        one = found[f"{data}-{name}"]
        cells = [spread(one[key], 1, scale[key]) for key in keys]
        lost = f"{one['lost']} of {one['seeds']}"
        rows.append(f"| `{data}-{name}` | {one['steps']:,} | {' | '.join(cells)} | {lost} |")
    return "\n".join(rows)


def page(found: dict[str, records.Record], text: str) -> str:
    """The documentation page with its tables made anew, between the markers that name them."""
    for data in SCORES:
        text = replaced(text, f"runs: {data}", table(data, found))
    return text


def first_seed(folder: Path) -> tuple[Run, State]:
    run, states = opened(folder)
    return run, of(run, states[max(states)], 0)


def draw_points(folders: dict[str, Path], out: Path) -> None:
    """Samples of each recipe's first seed over its critic's logits: who pulls them where."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = 6
    rows = math.ceil(len(folders) / columns)
    figure, axes = pyplot.subplots(rows, columns, figsize=(2.2 * columns, 2.35 * rows), squeeze=False)
    side = torch.linspace(-2, 2, 120)
    grid = torch.stack(torch.meshgrid(side, side, indexing="xy"), -1).view(-1, 2)
    for axis in axes.flatten():
        axis.axis("off")
    for axis, (name, folder) in zip(axes.flatten(), folders.items()):
        run, state = first_seed(folder)
        params, buffers = weights(state, "D", average=False)
        critic = run.game.players["D"].network
        critic.module.eval()
        logits = critic(params, dict(buffers), grid).detach().view(120, 120)
        z = latents(0, "look", 1000, run.latent, state.params["G"].dtype)
        x = samples(run.game.players["G"].network, state, z, seed=0)
        axis.contourf(side, side, logits, 12, cmap="RdBu_r", alpha=0.6)
        axis.scatter(x[:, 0], x[:, 1], s=1.5, c="black", linewidths=0)
        axis.set(xlim=(-2, 2), ylim=(-2, 2), aspect="equal")
        axis.set_title(name, fontsize=9)
    figure.tight_layout()
    figure.savefig(out, dpi=100)
    pyplot.close(figure)


def draw_images(folders: dict[str, Path], out: Path) -> None:
    """Sixteen samples of each recipe's first seed, a row for each."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    count = 24
    figure, axes = pyplot.subplots(len(folders), 1, figsize=(9, 0.47 * len(folders)), squeeze=False)
    for axis, (name, folder) in zip(axes.flatten(), folders.items()):
        run, state = first_seed(folder)
        z = latents(0, "look", count, run.latent, state.params["G"].dtype)
        x = samples(run.game.players["G"].network, state, z, seed=0)
        axis.imshow(torch.cat(list(x[:, 0]), 1), cmap="gray", vmin=-1, vmax=1, aspect="equal")
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    figure.tight_layout(h_pad=0.1)
    figure.savefig(out, dpi=100)
    pyplot.close(figure)


def main() -> None:
    parser = script.parser(__doc__)
    parser.add_argument("data", nargs="*", metavar="SET", help=f"{', '.join(SCORES)} (default: all)")
    parser.add_argument("--seeds", type=script.positive, default=8)
    parser.add_argument("--runs", type=Path, default=Path("runs/constraints"))
    parser.add_argument(
        "--only", nargs="*", default=CONSTRAINTS, metavar="NAME", help="these constraints alone"
    )
    given = parser.parse_args()
    script.check_known(given.data, SCORES, "data set")
    script.check_known(given.only, CONSTRAINTS, "constraint")
    for data in given.data or SCORES:
        for name in given.only:
            if f"{data}-{name}" in recipe_names():
                found = trained(data, name, given.seeds, given.runs / f"{data}-{name}")
                print(data, name, found, flush=True)
                records.put(FIGURES, f"{data}-{name}", found)
        figures = records.read(FIGURES)
        PAGE.write_text(page(figures, PAGE.read_text()))
        folders = {c: given.runs / f"{data}-{c}" for c in CONSTRAINTS if f"{data}-{c}" in figures}
        existing(folders, data)
        (draw_points if data == "ring8" else draw_images)(folders, DOCS / f"constraints-{data}.png")


if __name__ == "__main__":
    script.run(main)
