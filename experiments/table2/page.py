"""The page docs/results.md, made from the figures of experiments.table2.run: its tables and texts."""

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
    ("late", "end"): "1,000 images, longer training",
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
    """Steps and seconds, which are the same for all seeds."""
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
    """A row for each method, finished or not, and one for real images."""
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

Use this page to choose a method for a small image GAN, and to see which claims of the papers hold at this size. It
compares ten methods on CIFAR-10 and Fashion-MNIST at 32x32, with one architecture, one optimizer and one budget. The
comparison follows Table 2 of the FARGAN paper and Table II of the PGN paper, at a size that a CPU can train. **None of
these numbers is comparable with a number of a paper.**

```bash
python -m experiments.table2.run --data-root FOLDER            # all missing runs; stop and restart it at any time
python -m experiments.table2.run --minutes 60 --only 's0$'     # one hour, seed 0 only
python -m experiments.table2.run --page                        # write this page from the finished runs
```

`experiments.table2.run` writes this page from `experiments/table2/figures.jsonl`, which has one line per run. The
sentences below each table are derived from the figures. [The page on constraints](constraints.md) explains the methods.

## Methods

| name | method | paper |
|---|---|---|
| NSGAN | the non-saturating loss, no constraint on the critic | [Goodfellow 2014](https://arxiv.org/abs/1406.2661) |
| 0GP-sample | NSGAN with a zero-centred gradient penalty at real samples (R1), k = 10 without 1/2 | \
[Mescheder 2018](https://arxiv.org/abs/1801.04406) |
| FARGAN (f = 8) | fake-as-real GAN: 0GP-sample, and N0 fakes count as real, those with the lowest logits of f N0; N0 \
is half of the batch | [Tao and Wang 2020](https://arxiv.org/abs/1912.12485) |
| FARGAN, f = 1 | the same without selection: any N0 fakes | the same |
| GN | gradient normalization of the critic; hinge loss | [Wu 2021](https://arxiv.org/abs/2109.02235) |
| PGN (elementwise) | penalty gradient normalization, with the norm as printed; hinge loss | \
[Xia 2023](https://arxiv.org/abs/2306.13576) |
| PGN (proof) | the same, with the norm that the paper's proof uses | the same |
| SN | spectral normalization of the critic; hinge loss | [Miyato 2018](https://arxiv.org/abs/1802.05957) |
| WGAN-GP | Wasserstein GAN with gradient penalty 10 and five updates of the critic for each of G | \
[Gulrajani 2017](https://arxiv.org/abs/1704.00028) |
| R3GAN | relativistic loss with R1 and R2 at weight 0.5 each, which is gamma = 1 in the paper; without its schedules \
and networks | [Huang 2024](https://arxiv.org/abs/2501.05441) |

All methods share these settings:

- The networks are the `dcgan` pair ([Radford 2015](https://arxiv.org/abs/1511.06434)) at width 16 without batch norm. z
  has 128 dimensions.
- The optimizer of both players is [Adam](https://arxiv.org/abs/1412.6980) with betas (0, 0.9). FARGAN's own RMSProp at
  0.0001 would need hundreds of thousands of steps.
- Batches have 64 images, and the learning rate is 0.001. This is five times the rate of the papers of GN, PGN and
  WGAN-GP.
- In the last part, batches have 32 images and the rate is 0.004. GN and PGN keep 0.001 there, because GN collapsed at
  0.002 within 750 steps.
- G is averaged with decay 0.995. There are no flips and no learning-rate schedules.
- The steps run in bfloat16 and channels-last, compiled, on one thread.
- GN, PGN and SN use the hinge loss, because PGN's text uses it throughout. They update the critic once for each update
  of G, like the small networks of the GN and PGN papers.

## How to read the tables

- All scores are of samples of the averaged generator against the 10,000 published test images. No run has trained on
  these images. ± is the standard deviation over seeds.
- `kd_` is the kernel distance ([Bińkowski 2018](https://arxiv.org/abs/1801.01401)): lower is better. `is_` is an
  Inception-style score ([Salimans 2016](https://arxiv.org/abs/1606.03498)): higher is better.
- The features of `lite0` come from an ImageNet network, EfficientNet-Lite0. `cifar10` and `fashion_mnist` use a
  classifier of that data set.
- `D, train over held-out` is the mean raw logit of the final critic on training images minus that on test images. Its
  unit is the standard deviation of the logits over the test images, `spread of D`.
- Where `spread of D` is almost 0 the critic is dead: it gives all images the same logit.
- `D, train over fakes` is the same difference for samples of the raw generator in place of test images.
- `seconds` is processor time, for training alone. `NaN` counts the runs that diverged.
- In the text, a difference exceeds the noise if it passes Welch's t-test at 5 %. With one seed the standard error is
  that of sampling, which leaves out differences between seeds.
"""
SECONDS = """Each method trains for as many steps as fit into the seconds of 1,250 steps of NSGAN, but for at most 1,250
steps."""
FEW = """The training set is a random 1,000 of the training images, and training takes 3,000 steps. Every 250 steps an
evaluation measures `kd_pixels8`, the kernel distance of 8x8-pooled pixels. It compares 1,000 samples with 1,000
held-out images. `memorised` is how often a sample is nearer to the training images than a held-out image is: 0.5 for no
memorisation, 1 for copies.

A score *got worse after its best* if the mean of its last three values is above its lowest mean of three in a row. The
difference must exceed two standard deviations of such a difference."""
LATE = """The training set is the same 1,000 images. Smaller batches and a higher learning rate let the score of
0GP-sample pass its best and get worse. With the settings of the part above, its distance through the set's classifier
still improved at step 6,000 (CIFAR-10, seed 0). This distance is also measured every 250 steps, with 1,000 samples and
1,000 held-out images. The best of 24 evaluations is lower simply because it is the best. WGAN-GP's seed 2 on CIFAR-10
ran uncompiled: the check of its first compiled step mistook rounding, over five updates of the critic, for an error."""
NOTES = {("full", "equal seconds"): SECONDS, ("few", "end"): FEW, ("late", "end"): LATE}


def protocols(seen: list[dict[str, Any]]) -> str:
    """A row for each extractor: how the scores of a table were measured, from their cards."""
    named = {c["protocol"]["extractor"]: c["protocol"] for c in seen}
    rows = [
        f"| `{name}` | {p['preprocessing']} | {p['extractor_sha256'][:12]} | {p['generated']:,} | {p['real']:,} of the "
        f"split {p['split']} |"
        for name, p in named.items()
    ]
    return "\n".join(
        ["| extractor | preprocessing | SHA-256 | generated | against |", "|---|---|---|---|---|", *rows]
    )


def page(figures: Figures, sets: Sequence[str], methods: Sequence[str], seeds: int) -> str:
    """The whole page. Raises UsageError if the score cards of one table have different protocols."""
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
                blocks.append(protocols(seen) + "\n")
    return "\n".join(blocks)
