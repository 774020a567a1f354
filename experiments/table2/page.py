"""The page docs/results.md, made from the figures of experiments.table2.run: tables, and what they say in sentences."""

from collections.abc import Callable, Sequence
from typing import Any

from experiments.pages import spread
from experiments.table2.words import (
    CLAIMS,
    NAMES,
    Curve,
    Figures,
    Found,
    best,
    cards_at,
    chosen,
    overfitting,
    those_at,
    turned,
    verdict,
)

TITLES = {"cifar10": "CIFAR-10", "fashion-mnist": "Fashion-MNIST"}
PARTS = {
    ("full", "equal steps"): "All images, equal steps",
    ("full", "equal seconds"): "All images, equal seconds",
    ("few", "end"): "1,000 images",
    ("late", "end"): "1,000 images, trained on",
}


# ------------------------------------------------------------------------------------------------------------- tables


Cell = Callable[[list[dict[str, Any]], str], str]


def score_cell(name: str, digits: int, scale: float = 1.0) -> Cell:
    return lambda runs, at: spread([c.scores[name].value for c in cards_at(runs, at, name)], digits, scale)


def figure_cell(keys: tuple[str, ...], digits: int) -> Cell:
    def cell(runs: list[dict[str, Any]], at: str) -> str:
        values = []
        for run in those_at(runs, at):
            figure: Any = run["at"][at]
            for key in keys:
                figure = figure[key]
            values.append(figure)
        return spread(values, digits)

    return cell


def look_cell(curve: str, value: Callable[[Curve], float], digits: int, scale: float = 1.0) -> Cell:
    return lambda runs, at: spread([value(run[curve]) for run in those_at(runs, at)], digits, scale)


def step_cell(curve: str) -> Cell:
    return lambda runs, at: ", ".join(f"{best(run[curve])[0]:,}" for run in those_at(runs, at))


def cost(runs: list[dict[str, Any]], at: str) -> str:
    """Steps and seconds, as all seeds have them."""
    there = those_at(runs, at)
    if not there:
        return " | "
    steps = there[0]["at"][at]["steps"]
    return f"{steps:,} | {steps * there[0]['seconds_a_step']:.0f}"


def columns(regime: str, data: str) -> dict[str, Cell]:
    own = data.replace("-", "_")
    shared = {
        "steps | seconds": cost,
        "kd_lite0 x 1000": score_cell("kd_lite0", 1, 1000),
        f"kd_{own}": score_cell(f"kd_{own}", 2),
        f"is_{own}": score_cell(f"is_{own}", 2),
        "D, train over held-out": figure_cell(("critic", "over_held", "value"), 2),
        "D, train over fakes": figure_cell(("critic", "over_fake", "value"), 2),
        "spread of D": figure_cell(("critic", "spread"), 3),
    }
    if regime == "full":
        return shared
    classifier = {
        f"best kd_{own}": look_cell("own_curve", lambda curve: best(curve)[1], 2),
        f"at step ({own})": step_cell("own_curve"),
    }
    pixels = {
        "kd_pixels8 x 1000 at the end": look_cell("curve", lambda curve: curve[-1][1], 1, 1000),
        "its best": look_cell("curve", lambda curve: best(curve)[1], 1, 1000),
        "at step": step_cell("curve"),
        "memorised": figure_cell(("memorised_pixels8", "value"), 2),
    }
    return shared | (classifier if regime == "late" else {}) | pixels


def table(found: Found, regime: str, at: str, data: str, real: list[dict[str, Any]]) -> str:
    """A row for each method, run or not, and one for real images."""
    shown = columns(regime, data)
    heads = ["method", *shown, "seeds", "NaN"]
    rows = [f"| {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for method, runs in found.items():
        if not runs:
            rows.append(f"| {NAMES[method]} | not run yet {'| ' * len(heads)}|")
            continue
        cells = [cell(runs, at) for cell in shown.values()]
        lost = sum(run["diverged"] is not None for run in runs)
        rows.append(f"| {NAMES[method]} | {' | '.join(cells)} | {len(runs)} | {lost} |")
    if real:
        truth = [{"at": {at: {"cards": real}}}]
        names = [name for card in real for name in card["scores"]]
        cells = [
            cell(truth, at) if head.removesuffix(" x 1000") in names else "" for head, cell in shown.items()
        ]
        rows.append(f"| real images | | {' | '.join(cells)} | | |")
    return "\n".join(rows)


# --------------------------------------------------------------------------------------------------------------- page


INTRO = """# Results: a small Table 2 and Table II

Ten methods with one architecture, one optimizer and one budget on CIFAR-10 and Fashion-MNIST at 32x32: FARGAN's Table
2 and PGN-GAN's Table II at a size that a processor can train. **None of these numbers compares with a paper's.** This
page is written by `experiments.table2.run` from `experiments/table2/figures.jsonl`, a line for each run; sentences are
derived from the figures.

```bash
python -m experiments.table2.run --data-root FOLDER            # every run that is missing; stop and start it at will
python -m experiments.table2.run --minutes 60 --only 's0$'     # an hour's sitting, seed 0 only
python -m experiments.table2.run --page                        # this page, from what is there
```

Settings of all: the `dcgan` pair at width 16 without batch norm, z of 128, Adam with betas (0, 0.9) for both players,
an average of G with decay 0.995, no flips, no schedules; bfloat16, channels-last, compiled, one thread. Adam in place
of FARGAN's RMSProp at 0.0001, which needs hundreds of thousands of steps. Batches are of 64 and the rate is 0.001, five
times GN's, PGN's and WGAN-GP's own; in the last part 32 and 0.004, but for GN and PGN, which keep 0.001 (at 0.002 GN
collapsed there within 750 steps). From the papers: k = 10 without 1/2, f = 8 and N0 a half of the batch (FARGAN); the
hinge loss, which PGN's text has throughout, and one critic's step for each of G's, as GN's and PGN's small networks
have it, for GN, PGN and SN alike; penalty 10 and five critic's steps (WGAN-GP); R1 and R2 (R3GAN), here at weight 0.5
each, which is gamma = 1 in its authors' writing, without their schedules and networks.

Every score is of the averaged generator's samples against the 10,000 published test images, which no run has trained
on; ± is the standard deviation over seeds. `kd_` is the kernel distance (lower is better), `is_` an Inception-style
score (higher is better), through ImageNet features (`lite0`) or the set's own classifier. D, train over held-out: the
mean raw logit of the last critic on training images minus that on test images, in standard deviations of its logits
over the test images (`spread of D`; where that is next to nothing the critic is dead); over fakes likewise, against
the raw generator's. Seconds are the processor's, for training alone. In the text, a difference exceeds the noise at
Welch's threshold of 5 %; with one seed a standard error is that of sampling, which leaves out how seeds differ.
"""
SECONDS = "As many steps as take the seconds of NSGAN's 1,250, but no more than that."
FEW = """A random 1,000 of the training images, 3,000 steps. `kd_pixels8` is looked at every 250 steps, 1,000 samples
against 1,000 held-out images; `memorised` is how often a sample is nearer to the training images than a held-out image
is: 0.5 for neither, 1 for copies."""
LATE = """The same 1,000 images, smaller batches and a faster rate, so that the penalty alone passes its best and turns:
with the settings above its distance through the set's classifier still fell at step 6,000 (CIFAR-10, seed 0). That
distance, too, is looked at every 250 steps, 1,000 samples against 1,000 held-out images; the best of 24 looks is lower
for being the best. WGAN-GP's seed 2 on CIFAR-10 was not compiled: the look at its first step took rounding, five steps
of the critic long, for wrong code."""
NOTES = {("full", "equal seconds"): SECONDS, ("few", "end"): FEW, ("late", "end"): LATE}


def settled(seen: list[dict[str, Any]]) -> str:
    """What the scores look through, of a set, as its cards say it."""
    named = {c["protocol"]["extractor"]: c["protocol"] for c in seen}
    each = [
        f"{name}: {p['preprocessing']}, SHA-256 {p['extractor_sha256'][:12]}, {p['generated']:,} generated against "
        f"{p['real']:,} of the split {p['split']}"
        for name, p in named.items()
    ]
    return f"*{'; '.join(each)}.*"


def page(figures: Figures, sets: Sequence[str], methods: Sequence[str], seeds: int) -> str:
    """The whole page. Raises UsageError where cards of one table have unlike protocols."""
    blocks = [INTRO]
    for (regime, at), title in PARTS.items():
        blocks.append(f"## {title}\n")
        if note := NOTES.get((regime, at)):
            blocks.append(note + "\n")
        for data in sets:
            found = chosen(figures, regime, data, methods, seeds)
            real = figures.get(f"real-{data}", {}).get("cards", [])
            blocks.append(f"### {TITLES[data]}\n\n{table(found, regime, at, data, real)}\n")
            texts = [verdict(claimant, found, at) for claimant in CLAIMS if claimant in found]
            if regime != "full":
                texts = [turned(found), *texts, overfitting(found, at)]
            blocks.append("\n".join(f"- {text}" for text in texts if text) + "\n")
            seen = [c for runs in found.values() for r in those_at(runs, at) for c in r["at"][at]["cards"]]
            if seen:
                blocks.append(settled(seen) + "\n")
    return "\n".join(blocks)
