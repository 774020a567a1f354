"""The Numerics of GANs' toy: modes covered and eigenvalues over training, under three update rules.

    python -m experiments.toy_spectrum.run [--seeds 8] [--steps 20000] [--jacobian-seeds 8] [--batches 2]

Each recipe ring8-RULE is trained as an ensemble; a run that is there already and finished is not repeated. At every
checkpoint, and of the untrained networks, the game's exact Jacobian (2,003 x 2,003) is averaged over the batches that
would come next. Zero real parts are those within 1.5e-8 of the largest modulus: directions in which nothing changes,
of dead units above all, have no sign. Figures go to figures.jsonl, a line for each rule and step, from which the
table in docs/dynamics.md and the picture docs/dynamics-toy.png are drawn anew. Eigenvalues that are there already are
not computed again. On one core a Jacobian takes some 3 to 5 s a batch, and its eigenvalues and those after consensus
some 2 s more, for each seed at each of six steps under each of three rules: about 25 minutes with the defaults.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import script
from experiments import records
from experiments.pages import DOCS, replaced, spread
from experiments.trained import of, opened, train_once
from steadygan import spectrum
from steadygan.build import Run
from steadygan.game import State
from steadygan.game.state import member
from steadygan.metrics import modes
from steadygan.training.online_scores import POINTS
from steadygan.training.sampling import latents, samples

FIGURES = Path(__file__).parent / "figures.jsonl"
RULES = {"simultaneous": "#0072B2", "alternating": "#E69F00", "consensus": "#009E73"}
"""The rules and their colours, told apart by every eye."""
GAMMA = 10.0  # the recipe's, for the cloud that consensus makes of J
ZERO = torch.finfo(torch.float64).eps ** 0.5  # of the largest modulus, as `steadygan spectrum` has it

Rules = dict[str, dict[int, records.Record]]


# ------------------------------------------------------------------------------------------------------- training


def trained(rule: str, folder: Path, seeds: int, steps: int) -> Path:
    """Train a rule's recipe unless it is there, with a checkpoint at each fifth of the run."""
    words = ["keep.last=6", f"every.checkpoint={max(1, steps // 5)}"]
    return train_once(f"ring8-{rule}", folder, seeds, steps, *words)


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


def measured(rule: str, folder: Path, options: argparse.Namespace) -> None:
    """Keep the figures of one rule: for each step, modes of all seeds and eigenvalues of the first few."""
    run, states = opened(folder)
    assert run.data.modes is not None
    known = by_rule(records.read(options.figures)).get(rule, {})
    for step, state in sorted(states.items()):
        alone = range(options.seeds) if run.ensemble else [None]
        each = [member(state, index) for index in alone]
        found = [cloud(run, one) for one in each]
        scores = [modes(x, run.data.modes) for x in found if x.isfinite().all()]
        spectra = known.get(step, {}).get("spectra", [])[: options.jacobian_seeds]
        for index in list(alone)[len(spectra) : options.jacobian_seeds]:
            J = jacobian(run, index, each[index or 0], step, options.batches)
            spectra.append(eigenvalue_figures(J) if J.isfinite().all() else {})
            print(rule, step, index, spectra[-1], flush=True)
        figures = {
            "rule": rule,
            "step": step,
            "modes": [score["modes"] for score in scores],
            "high_quality": [score["high_quality"] for score in scores],
            "lost": len(found) - len(scores),
            "spectra": spectra,
        }
        records.put(options.figures, f"{rule} {step}", figures)


def by_rule(kept: dict[str, records.Record]) -> Rules:
    """The figures of each rule that are there, by step."""
    found: Rules = {}
    for record in kept.values():
        if "rule" in record:
            found.setdefault(record["rule"], {})[record["step"]] = record
    return found


# -------------------------------------------------------------------------------------------------- table, picture


def column(figures: dict[int, records.Record], key: str) -> list[list[float]]:
    """One score at each step, over the seeds that have it."""
    if key in ("modes", "high_quality"):
        return [at[key] for at in figures.values()]
    return [[s[key] for s in at["spectra"] if key in s] for at in figures.values()]


def table(rules: Rules, seeds: int) -> str:
    """A row for each rule and step."""
    rows = [
        "| rule | step | modes (of 8) | near a mode, % | Re < 0, % | Re = 0, % | Re > 0, % | largest Re "
        "| largest Re of J − γJᵀJ |",
        "|---" * 9 + "|",
    ]
    for rule, figures in rules.items():
        for step, at in figures.items():
            cells = [spread(at["modes"], 1), spread(at["high_quality"], 1, 100)]
            for key, scale, digits in (
                ("negative", 100, 1),
                ("zero", 100, 1),
                ("positive", 100, 1),
                ("largest_real", 1, 3),
                ("consensus_largest_real", 1, 3),
            ):
                cells.append(spread([s[key] for s in at["spectra"] if key in s], digits, scale))
            rows.append(f"| `{rule}` | {step:,} | {' | '.join(cells)} |")
    spectra = max(len(at["spectra"]) for figures in rules.values() for at in figures.values())
    note = f"{seeds} seeds, eigenvalues of the first {spectra}; mean ± standard deviation"
    picture = "![modes, signs of real parts, and samples under each rule](dynamics-toy.png)"
    return "\n".join([*rows, "", picture, "", f"*{note}. The bands are a standard deviation.*"])


def draw(rules: Rules, clouds: dict[str, Tensor], centres: Tensor, out: Path) -> None:
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
            _band(axis, list(figures), column(figures, key), scale, rule)
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
    parser = script.parser(__doc__)
    parser.add_argument("--seeds", type=script.positive, default=8)
    parser.add_argument("--steps", type=script.positive, default=20_000)
    parser.add_argument("--jacobian-seeds", type=script.positive, default=8)
    parser.add_argument("--batches", type=script.positive, default=2, help="that a Jacobian is averaged over")
    parser.add_argument("--runs", type=Path, default=Path("runs/toy"))
    parser.add_argument("--figures", type=Path, default=FIGURES, help="where figures are kept")
    parser.add_argument("--out", type=Path, default=DOCS, help="folder of the picture and the page")
    options = parser.parse_args()
    options.jacobian_seeds = min(options.jacobian_seeds, options.seeds)
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    settings = {"seeds": options.seeds, "steps": options.steps, "batches": options.batches}
    if records.read(options.figures).get("settings") != settings:
        records.write(options.figures, {"settings": settings})
    clouds = {}
    for rule in RULES:
        folder = trained(rule, options.runs / f"ring8-{rule}", options.seeds, options.steps)
        measured(rule, folder, options)
        run, states = opened(folder)
        clouds[rule] = cloud(run, of(run, states[max(states)], 0))
    rules = by_rule(records.read(options.figures))
    made = table(rules, options.seeds)
    (options.out / "dynamics.md").write_text(replaced((DOCS / "dynamics.md").read_text(), "toy", made))
    assert run.data.modes is not None
    draw(rules, clouds, run.data.modes.centres, options.out / "dynamics-toy.png")


if __name__ == "__main__":
    script.run(main)
