"""The Numerics of GANs' toy: modes covered and eigenvalues over training, under three update rules.

    python benchmarks/toy_spectrum.py [--seeds 8] [--steps 20000] [--jacobian-seeds 4] [--batches 3]

Each recipe ring8-RULE is trained as an ensemble; a run that is there already and finished is not repeated. At every
checkpoint, and of the untrained networks, the game's exact Jacobian (2,003 x 2,003) is averaged over the batches that
would come next. Zero real parts are those within 1.5e-8 of the largest modulus: directions in which nothing changes,
of dead units above all, have no sign. Figures go to docs/dynamics-toy.json, from which the table in docs/dynamics.md
and the picture docs/dynamics-toy.png are drawn anew (--out DIR: all three there). Eigenvalues in the JSON already are
not computed again. On one core a Jacobian takes some 3 to 5 s a batch, and its eigenvalues and those after consensus
some 2 s more, for each seed at each of six steps under each of three rules: about 20 minutes with the defaults.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from constraint_runs import spread
from torch import Tensor

from steadygan import config, spectrum
from steadygan.build import Run, build
from steadygan.game import State
from steadygan.game.state import member
from steadygan.metrics import modes
from steadygan.runs.folder import read_config
from steadygan.training import checkpoint
from steadygan.training.online_scores import POINTS
from steadygan.training.sampling import latents, samples

DOCS = Path(__file__).parent.parent / "docs"
RULES = {"simultaneous": "#0072B2", "alternating": "#E69F00", "consensus": "#009E73"}
"""The rules and their colours, told apart by every eye."""
GAMMA = 10.0  # the recipe's, for the cloud that consensus makes of J
ZERO = torch.finfo(torch.float64).eps ** 0.5  # of the largest modulus, as `steadygan spectrum` has it


# ------------------------------------------------------------------------------------------------------- training


def trained(rule: str, folder: Path, seeds: int, steps: int) -> Path:
    """Train a rule's recipe unless it is there, with a checkpoint at each fifth of the run."""
    words = ["keep.last=6", f"every.checkpoint={max(1, steps // 5)}"]
    return train_once(f"ring8-{rule}", folder, seeds, steps, *words)


def train_once(recipe: str, folder: Path, seeds: int, steps: int, *words: str) -> Path:
    """Train a recipe with these overrides unless it is there, finished, with as many seeds."""
    if not _finished(folder, seeds, steps):
        subprocess.run(["rm", "-rf", str(folder)], check=True)
        command = ["-m", "steadygan", "train", recipe, f"steps={steps}", *words]
        command += ["--seeds", str(seeds), "--out", str(folder)]
        ended = subprocess.run([sys.executable, *command], capture_output=True, text=True)
        if ended.returncode not in (0, 1):
            raise SystemExit(f"{recipe}: {ended.stderr}")
    return folder


def _finished(folder: Path, seeds: int, steps: int) -> bool:
    if not (folder / "checkpoints" / checkpoint.name(steps)).exists():
        return False
    made = read_config(folder)
    return (made["seeds"], made["steps"]) == (seeds, steps)


def opened(folder: Path) -> tuple[Run, dict[int, State]]:
    """A finished run, and its state at step 0 and at each checkpoint."""
    run = build(config.parse({**read_config(folder), "compile": False}, str(folder)))
    paths = checkpoint.checkpoints(folder / "checkpoints")
    states = {0: run.state, **{int(p.name[5:]): checkpoint.load(p, run.state) for p in paths}}
    return run, states


# ------------------------------------------------------------------------------------------------------ measuring


def cloud(run: Run, state: State) -> Tensor:
    """Samples [POINTS, 2] of one seed's generator."""
    z = latents(0, "look", POINTS, run.latent, state.params["G"].dtype)
    return samples(run.game.players["G"].network, state, z)


def jacobian(run: Run, index: int | None, state: State, step: int, batches: int) -> Tensor:
    """The game Jacobian of one seed in float64, averaged over the draws of the steps to come."""
    wide = state._replace(params={name: p.double() for name, p in state.params.items()})
    draws = []
    for number in range(step, step + batches):
        draw = {name: values for each in run.draws(number) for name, values in each.items()}
        draws.append({name: (v if index is None else v[index]).double() for name, v in draw.items()})
    return spectrum.game_jacobian(run.game, wide, draws)


def eigenvalue_figures(J: Tensor) -> dict[str, float]:
    """Shares of eigenvalues of J by the sign of their real part, and what consensus makes of the largest one."""
    values = spectrum.eigenvalues(J)
    tolerance = ZERO * values.abs().max().item()
    after = spectrum.consensus_cloud(J, GAMMA)
    return {
        **spectrum.signs(values, tolerance),
        "largest_real": values.real.max().item(),
        "largest_modulus": values.abs().max().item(),
        "imaginary": (values.imag.abs() > tolerance).double().mean().item(),
        "largest_step": spectrum.largest_step(values, tolerance),
        "consensus_largest_real": after.real.max().item(),
    }


def measured(rule: str, folder: Path, known: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """The figures of one rule: for each step, modes of all seeds and eigenvalues of the first few."""
    run, states = opened(folder)
    assert run.data.modes is not None
    figures: dict[str, Any] = {}
    for step, state in sorted(states.items()):
        alone = range(options.seeds) if run.ensemble else [None]
        each = [member(state, index) for index in alone]
        found = [cloud(run, one) for one in each]
        scores = [modes(x, run.data.modes) for x in found if x.isfinite().all()]
        old = known.get(str(step), {}).get("spectra", [])
        spectra = list(old[: options.jacobian_seeds])
        for index in list(alone)[len(spectra) : options.jacobian_seeds]:
            J = jacobian(run, index, each[index or 0], step, options.batches)
            spectra.append(eigenvalue_figures(J) if J.isfinite().all() else {})
            print(rule, step, index, spectra[-1], flush=True)
        figures[str(step)] = {
            "modes": [score["modes"] for score in scores],
            "high_quality": [score["high_quality"] for score in scores],
            "lost": len(found) - len(scores),
            "spectra": spectra,
        }
    return figures


# -------------------------------------------------------------------------------------------------- table, picture


def column(figures: dict[str, Any], key: str) -> list[list[float]]:
    """One score at each step, over the seeds that have it."""
    if key in ("modes", "high_quality"):
        return [at[key] for at in figures.values()]
    return [[s[key] for s in at["spectra"] if key in s] for at in figures.values()]


def table(rules: dict[str, dict[str, Any]], seeds: int, spectra: int) -> str:
    """A row for each rule and step."""
    rows = [
        "| rule | step | modes (of 8) | near a mode, % | Re < 0, % | Re = 0, % | Re > 0, % | largest Re "
        "| largest Re of J − γJᵀJ |",
        "|---" * 9 + "|",
    ]
    for rule, figures in rules.items():
        for step, at in figures.items():
            cells = [spread(at["modes"], 1), spread([100 * v for v in at["high_quality"]], 1)]
            for key, scale, digits in (
                ("negative", 100, 1),
                ("zero", 100, 1),
                ("positive", 100, 1),
                ("largest_real", 1, 3),
                ("consensus_largest_real", 1, 3),
            ):
                cells.append(spread([scale * s[key] for s in at["spectra"] if key in s], digits))
            rows.append(f"| `{rule}` | {int(step):,} | {' | '.join(cells)} |")
    note = f"{seeds} seeds, eigenvalues of the first {spectra}; mean ± standard deviation"
    picture = "![modes, signs of real parts, and samples under each rule](dynamics-toy.png)"
    return "\n".join([*rows, "", picture, "", f"*{note}. The bands are a standard deviation.*"])


def page(text: str, made: str) -> str:
    """The documentation page with its table made anew, between the markers."""
    return re.sub(r"(<!-- toy -->\n).*?(<!-- end -->)", lambda m: f"{m[1]}{made}\n{m[2]}", text, flags=re.S)


def draw(rules: dict[str, dict[str, Any]], clouds: dict[str, Tensor], centres: Tensor, out: Path) -> None:
    """Modes and the signs of real parts over training, and below them a seed's last samples under each rule."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure = pyplot.figure(figsize=(11, 7.6), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=[1, 1.05])
    plots = upper.subplots(1, 3)
    for axis, key, title, scale in (
        (plots[0], "modes", "modes covered, of 8", 1),
        (plots[1], "negative", "eigenvalues with Re < 0, %", 100),
        (plots[2], "positive", "eigenvalues with Re > 0, %", 100),
    ):
        for rule, figures in rules.items():
            _band(axis, [int(step) for step in figures], column(figures, key), scale, rule)
        axis.set_title(title, fontsize=10, loc="left")
        axis.set_xlabel("steps", fontsize=9)
        axis.grid(alpha=0.25)
    plots[0].set_ylim(-0.3, 8.3)
    plots[0].legend(frameon=False, fontsize=9)
    for axis, (rule, points) in zip(lower.subplots(1, len(clouds)), clouds.items()):
        axis.scatter(
            centres[:, 0], centres[:, 1], s=60, facecolors="none", edgecolors="#999999", linewidths=1
        )
        axis.scatter(points[:, 0], points[:, 1], s=2, color=RULES[rule], linewidths=0, alpha=0.5)
        axis.set(xlim=(-1.6, 1.6), ylim=(-1.6, 1.6), aspect="equal")
        axis.set_title(f"{rule}, seed 0, last step", fontsize=10, loc="left")
    figure.savefig(out, dpi=110)
    pyplot.close(figure)


def _band(axis: Any, steps: Sequence[int], values: list[list[float]], scale: float, rule: str) -> None:
    """The mean over seeds, and one standard deviation about it."""
    rows = [(step, scale * torch.tensor(v, dtype=torch.float64)) for step, v in zip(steps, values) if v]
    x = [step for step, _ in rows]
    mean = torch.stack([v.mean() for _, v in rows])
    deviation = torch.stack([v.std(correction=min(1, len(v) - 1)) for _, v in rows])
    axis.plot(x, mean, color=RULES[rule], label=rule, marker="o", markersize=3)
    axis.fill_between(x, mean - deviation, mean + deviation, color=RULES[rule], alpha=0.15, linewidth=0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--jacobian-seeds", type=int, default=4)
    parser.add_argument("--batches", type=int, default=3, help="that a Jacobian is averaged over")
    parser.add_argument("--runs", type=Path, default=Path("runs/toy"))
    parser.add_argument("--out", type=Path, default=DOCS, help="folder of the JSON, the picture and the page")
    options = parser.parse_args()
    options.jacobian_seeds = min(options.jacobian_seeds, options.seeds)
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "dynamics-toy.json"
    settings = {"seeds": options.seeds, "steps": options.steps, "batches": options.batches}
    saved = json.loads(file.read_text()) if file.exists() else {}
    known = saved.get("rules", {}) if saved.get("settings") == settings else {}
    rules, clouds = {}, {}
    for rule in RULES:
        folder = trained(rule, options.runs / f"ring8-{rule}", options.seeds, options.steps)
        rules[rule] = measured(rule, folder, known.get(rule, {}), options)
        file.write_text(json.dumps({"settings": settings, "rules": {**known, **rules}}, indent=1) + "\n")
        run, states = opened(folder)
        clouds[rule] = cloud(run, member(states[max(states)], 0 if run.ensemble else None))
    made = table(rules, options.seeds, options.jacobian_seeds)
    text = (DOCS / "dynamics.md").read_text()
    (options.out / "dynamics.md").write_text(page(text, made))
    assert run.data.modes is not None
    draw(rules, clouds, run.data.modes.centres, options.out / "dynamics-toy.png")


if __name__ == "__main__":
    main()
