"""The page docs/results.md, made from the figures of experiments.table2: verdicts, tables and pictures."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from experiments.pages import spread
from experiments.table2 import paper, pictures
from experiments.table2.choice import difference
from experiments.table2.claims import ALL, CLAIMS, ELSEWHERE, OPPOSITE, SUPPORTED, UNDECIDED, Claim, verdict
from experiments.table2.figures import Figures, at, finals, gaps, grid, hours, rate, scores, untrained
from experiments.table2.methods import METHODS, RATES
from experiments.table2.tables import LATE_TABLE, MEMBERS, TABLES, Table

__all__ = ["page", "written"]

TITLES = {"fashion-mnist": "Fashion-MNIST", "cifar10": "CIFAR-10"}
BALANCE = ("kd", "precision", "recall", "coverage")
UNITS = ("spreads", "logits")
IN_SHORT = {SUPPORTED: "supported", UNDECIDED: "undecided", OPPOSITE: "the opposite"}
NETWORKS = {"dcgan": "the small DCGAN", "gn_cnn": "GN's CNN"}

INTRO = """# Results: which claims hold at a small size

Use this page to see which claims of the papers hold for small image GANs and short runs. It does not rank methods. Each
method runs at the best of four learning rates, with the generator that its source uses. All have the same budget.

```bash
python -m experiments.table2                          # all missing runs; stop and restart it at any time
python -m experiments.table2 --only fashion-mnist-all-dcgan --minutes 60   # one table for an hour
python -m experiments.table2 --figures again.jsonl --runs runs/again       # all runs once more
python -m experiments.table2 --page                   # write this page from the finished runs
python -m experiments.table2 --paper                  # the papers' own rows at full size, for a GPU
```

CIFAR-10 is read from `--data-root` or `$STEADYGAN_DATA`. **The runs are short.** They show how fast a small network
learns, on one core of a busy machine. No number here is comparable with a number of a paper. The protocol,
`experiments/table2/protocol.md`, was written before the runs. Its last section lists what changed since. Two of these
changes came after figures: when a claim counts as testable, and which claims are judged on 100 images. The figures are
in `experiments/table2/figures.jsonl`.

- **Score**: the kernel distance (kd, [Bińkowski 2018](https://arxiv.org/abs/1801.01401)) between 2,000 samples of the
  averaged generator and 4,000 held-out images. Its features are those of a classifier of the data set. Lower is better.
  The Fréchet distance (fd) of the same features stands beside it; no choice used it.
- **Spread of D**: the standard deviation of the critic's raw logits over held-out images. **Gap of D**: its mean logit
  on training images minus that on held-out images, in units of the spread. It is 0 for a critic that does not know its
  training images.
- **Tuning**: four learning rates for each method, on seed 0, chosen on other held-out images than the final score's.
- **Seeds**: the final score is the mean ± standard deviation over fresh seeds. *Lost* are runs without a finite score.
- **Intervals**: Welch's 95 % interval of a difference of means. They are not corrected for the number of comparisons.
  An interval that includes 0 is no evidence against a claim.
- **Seconds** are a method's share of an ensemble's, uncertain by about 20 %: other programs ran on the machine.
"""

LIMITS = """## Limits

- Training is a fraction of what the papers do: 1,500 steps with batches of 32, where they take 150,000 to 500,000 with
  larger ones. A method that starts slowly and ends well looks bad here.
- The networks have few channels, and one core trains them. D has no batch norm anywhere. CIFAR-10's images are those of
  the papers, their size is not.
- Only the learning rate is tuned. Penalty weights are those of the sources, whose networks are larger.
- Most chosen rates are the fastest of the grid (marked *edge*), so the methods' best rates are not known.
- Methods differ in more than their name says: batch norm in G, the loss (hinge for SN, GN and PGN) and the updates of D
  a step (five for WGAN-GP). Compare rows with the same entry under *batch norm in G*.
- One optimizer for all: Adam with betas (0, 0.9). FARGAN and Numerics use RMSProp.
- SN, GN and PGN have one update of D for each update of G. No method has consistency (CR).
- The average of G has decay 0.995 for all. After 300 steps 22 % of it are still untrained weights, which hurts costly
  methods at equal seconds.
- R3GAN is its loss alone, with gamma = 1: no schedules, and not its networks.
- On GN's CNN all generators have batch norm, also that of 0GP, whose source has none. There, too, SN, GN and PGN have
  the hinge loss, NSGAN and 0GP have not.
- The score uses features of one classifier. Another extractor may order methods differently. Validation scores are of
  other images than final ones, and differ from them by up to 2.
- About one interval in twenty misses 0 by chance.
- The interval of a difference covers the seeds. It does not cover the choice of the rate, which used one seed, nor the
  classifier, nor the split.
- An earlier version of this page called GN and PGN the worst by far. It had trained them without batch norm in G, at
  the rate that most methods take here. That was a fault of the comparison, and says nothing of the methods.
"""


CLAIMED = """## Which claims hold here

On Fashion-MNIST: claims of late training with 100 images, all others with all of them. *Effect* is the kd of the method
that the claim calls better minus that of the other: below 0 it speaks for the claim. It has its interval, and is also
given as a share of the other's kd. The verdict uses equal steps. It holds for runs of this length alone.
"""

ACROSS = """## The same claims on the other tables

Do the verdicts depend on the images, on their number and on the network? The words are those of the verdicts above. The
share is the effect at equal steps.
"""

FEW = """## Few images

FARGAN's claim is about late training: the critic overfits, and fake-as-real prevents it. So it needs a critic of 0GP
that tells its training images from others. Its *gap* is then far above 0.
"""

MISSING = """## Not run yet

The same command goes on with these. Hours are of one core of this machine, for the steps alone: their FLOPs over the
speed that the finished runs reached. Compiling and scoring add about a minute for each method.
"""

PAPERS = """## The papers' own rows, at full size

`python -m experiments.table2 --paper --data-root FOLDER` trains these on a GPU and resumes after a stop. Their scores
then stand here. Hours are of one seed: the FLOPs of the recipe at 30 TFLOP a second. That speed is an assumption,
and scoring comes on top. `--only 'Table 2'` selects rows. Scores need Inception's weights, against the training images:
10,000 samples for FARGAN's table, and 50,000 for PGN's tables, of the best checkpoint by FID.
"""


def written(figures: Figures, out: Path) -> None:
    """Write the page, and its pictures beside it."""
    out.write_text(page(figures))
    for table in TABLES:
        if len(finals(figures, str(table))) > 1:
            draw = pictures.draw_critics if table == LATE_TABLE else pictures.draw_scores
            draw(figures, str(table), out.with_name(f"results-{table}.png"))


def page(figures: Figures) -> str:
    """The whole page."""
    parts = [INTRO, claims(figures), across(figures)]
    parts += [section(figures, table) for table in TABLES if finals(figures, str(table))]
    parts += [few(figures), tuning(figures), missing(figures), papers(figures), LIMITS]
    return "\n".join(part for part in parts if part)


# ------------------------------------------------------------------------------------------------------------- verdicts


def claims(figures: Figures) -> str:
    """A row for each claim of a paper: its verdict, its effect at equal steps and at equal seconds, its limits."""
    heads = ("claim of", "claim", "verdict", "effect, equal steps", "effect, equal seconds", "limits")
    rows = [CLAIMED, row(heads), "|---" * len(heads) + "|"]
    for claim in CLAIMS:
        (word, effect), (other, later) = (
            verdict(claim, scores(figures, claim.table, point, "kd_fashion_mnist"))
            for point in ("equal steps", "equal seconds")
        )
        if claim.table != ALL:
            later = ""
        elif word != other:
            word = f"{word}; at equal seconds {IN_SHORT[other]}"
        rows.append(row([claim.paper, claim.text, word, effect, later, claim.unmet or claim.limits]))
    rows += [row([source, text, word, "", "", why]) for source, text, word, why in ELSEWHERE]
    return "\n".join(rows) + "\n"


def across(figures: Figures) -> str:
    """The verdict at equal steps of each claim about all images, in every table that has runs but the late one."""
    tables = [table for table in TABLES if table != LATE_TABLE and finals(figures, str(table))]
    claimed = [claim for claim in CLAIMS if claim.table == ALL and not claim.unmet]
    heads = ["claim of", "claim", *(described(table) for table in tables)]
    rows = [ACROSS, row(heads), "|---" * len(heads) + "|"]
    for claim in claimed:
        cells = [answer(claim, scores(figures, str(table), "equal steps", table.score)) for table in tables]
        rows.append(row([claim.paper, claim.text, *cells]))
    return "\n".join(rows) + "\n" if len(tables) > 1 else ""


def answer(claim: Claim, found: Mapping[str, Sequence[float]]) -> str:
    """Whether a claim holds in a table, and its effect as a share of the second method's mean, in a word each.

    >>> answer(Claim("P", "a beats b", "a", "b"), {"a": [1.0, 1.2], "b": [4.0, 4.2]})
    'supported, -73 %'
    """
    word, effect = verdict(claim, found)
    return f"{IN_SHORT[word]}, {effect.rpartition(', ')[2]}" if word in IN_SHORT else ""


def described(table: Table) -> str:
    """A table in words: its set, how many images, and the network."""
    images = f"{table.images:,} images" if table.images else "all images"
    return f"{TITLES[table.data]}, {images}, {NETWORKS[table.network]}"


# --------------------------------------------------------------------------------------------------------------- tables


def section(figures: Figures, table: Table) -> str:
    """A table of final scores, its sentences and its picture."""
    name = str(table)
    rows = [f"## {described(table)}", ""]
    heads = (
        "method",
        "batch norm in G",
        "rate",
        "kd, equal steps",
        "fd, equal steps",
        "kd, equal seconds",
        "steps there",
        "ms a step",
        "spread of D",
        "gap of D",
        "lost",
    )
    rows += [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    rows += [method_row(figures, table, method) for method in table.methods]
    rows += [row([label, "", "", text], len(heads)) for label, text in references(figures, table)]
    lines = next(iter(finals(figures, name).values()))
    rows += ["", f"{lines[0]['steps']:,} steps. {sentences(figures, table)}", ""]
    if len(finals(figures, name)) > 1:
        rows += [f"![Scores over steps]({picture(table)})", "", caption(table), ""]
    return "\n".join(rows)


def picture(table: Table) -> str:
    return f"results-{table}.png"


def caption(table: Table) -> str:
    if table == LATE_TABLE:
        return (
            "Lines are medians of the seeds, and bands reach from the lowest to the highest. Seconds of this table are "
            "those of a busy machine, and are not compared."
        )
    return (
        "Scores on the validation split over steps. Lines are medians of the seeds, and bands reach from the lowest to "
        "the highest. The dashed line is the untrained generator."
    )


def method_row(figures: Figures, table: Table, method: str) -> str:
    """The final scores of a method; or that it has none yet."""
    lines = finals(figures, str(table)).get(method, [])
    norm = "yes" if METHODS[method].batch_norm or table.network == "gn_cnn" else "no"
    if not lines:
        tried = len(grid(figures, str(table)).get(method, {})) == len(RATES)
        gone = tried and rate(figures, str(table), method) is None
        return row([METHODS[method].name, norm, "diverges at every rate" if gone else "not run yet"], 11)
    steps = scores(figures, str(table), "equal steps", table.score).get(method, [])
    seconds = scores(figures, str(table), "equal seconds", table.score).get(method, [])
    other = scores(figures, str(table), "equal steps", table.score.replace("kd", "fd", 1)).get(method, [])
    where = lines[0]["at"]["equal seconds"]["step"]
    cells = [
        METHODS[method].name,
        norm,
        edge(lines[0]["rate"]),
        spread(steps, 2),
        spread(other, 0),
        spread(seconds, 2),
        f"{where:,}",
    ]
    critics = [line["at"]["equal steps"]["critic"] for line in lines]
    cells += [
        f"{1000 * lines[0]['seconds_a_step']:.1f}",
        spread([c["spread"] for c in critics], 3),
        spread(gaps(figures, str(table), "equal steps")[method], 2),
    ]
    cells.append(f"{len(lines) - len(steps)} of {len(lines)}")
    return row(cells)


def row(cells: Sequence[str], columns: int = 0) -> str:
    """A row of a table, with empty cells up to a number of columns.

    >>> row(["a", "b"], 3)
    '| a | b |  |'
    """
    return f"| {' | '.join([*cells, *[''] * (columns - len(cells))])} |"


def edge(rate: float) -> str:
    """A learning rate, marked where it is at an end of the grid.

    >>> edge(1e-3), edge(2e-4)
    ('0.001, edge', '0.0002')
    """
    return f"{rate:g}{', edge' if rate in (RATES[0], RATES[-1]) else ''}"


def references(figures: Figures, table: Table) -> Iterator[tuple[str, str]]:
    """The scores of the untrained generators and of training images."""
    yield "untrained generators, validation split", spread(untrained(figures, str(table)), 2)
    real = figures.get(f"{table}-real")
    if real:
        score = real["card"]["scores"][table.score]
        yield "training images ± their standard error", f"{score['value']:.2f} ± {score['error']:.2f}"


def sentences(figures: Figures, table: Table) -> str:
    """Which method has the lowest score, which are worse than an untrained generator, and which diverge."""
    found = scores(figures, str(table), "equal steps", table.score)
    means = {method: statistics.fmean(values) for method, values in found.items()}
    start = statistics.fmean(untrained(figures, str(table)))
    best = min(means, key=lambda method: means[method])
    text = f"At equal steps {METHODS[best].name} has the lowest mean, {means[best]:.2f}, of {len(means)} methods. "
    worse = [method for method, mean in means.items() if mean >= start]
    text += (
        f"**Worse than the untrained generator** ({start:.2f}): {named(worse)}."
        if worse
        else f"Every method is better than the untrained generator ({start:.2f})."
    )
    slow = scores(figures, str(table), "equal seconds", table.score)
    late = [m for m, each in slow.items() if statistics.fmean(each) >= start and m not in worse]
    text += f" Worse than it at equal seconds: {named(late)}." if late else ""
    lost = list(collapsed(figures, table, start))
    return text + (f" Single runs that are worse: {'; '.join(lost)}." if lost else "")


def named(methods: Sequence[str]) -> str:
    return ", ".join(METHODS[method].name for method in methods)


def collapsed(figures: Figures, table: Table, start: float) -> Iterator[str]:
    """Runs that are worse than the untrained generator, with what their critics say of it."""
    for method, lines in finals(figures, str(table)).items():
        for line in lines:
            score, critic = at(line, "equal steps", table.score), line["at"]["equal steps"]["critic"]
            if score >= start:
                over = critic["over_fake"]["value"]
                yield (
                    f"{METHODS[method].name}, seed {line['seed']}, with {score:.1f}: its critic puts fakes "
                    f"{abs(over):.1f} spreads {'below' if over >= 0 else 'above'} training images, and the spread is "
                    f"{critic['spread']:.2g}"
                )


# ---------------------------------------------------------------------------------------------------------- few images


def few(figures: Figures) -> str:
    """What the table of few images says of FARGAN's claim."""
    rows = [FEW]
    lines = finals(figures, str(LATE_TABLE))
    if not lines:
        need = hours(figures, str(LATE_TABLE), LATE_TABLE.methods, MEMBERS)
        rows += [f"**Not run yet**, and so *not testable here*. {lasting(need)}", ""]
        rows += ["```bash", f"python -m experiments.table2 --only {LATE_TABLE}", "```", ""]
        return "\n".join(rows)
    heads = ("method", "gap, spreads", "gap, logits", *(kind for kind in BALANCE))
    rows += [row(heads), "|---" * len(heads) + "|"]
    both = [gaps(figures, str(LATE_TABLE), "equal steps", logits) for logits in (False, True)]
    kinds = [scores(figures, str(LATE_TABLE), "equal steps", f"{kind}_fashion_mnist") for kind in BALANCE]
    for method in lines:
        cells = [spread(each.get(method, []), 2) for each in (*both, *kinds)]
        rows.append(row([METHODS[method].name, *cells]))
    return "\n".join([*rows, "", *known(figures)])


def known(figures: Figures) -> Iterator[str]:
    """Whether the critic of 0GP knows its images, which the claims of late training need, and whether it does harm."""
    spreads, logits = (gaps(figures, str(LATE_TABLE), "equal steps", each) for each in (False, True))
    if "0gp" not in spreads:
        return
    late = [line["curve"][-2:] for line in finals(figures, str(LATE_TABLE))["0gp"]]
    before, last = (statistics.fmean(each[point][1] for each in late) for point in (0, 1))
    yield (
        f"The critic of 0GP puts its 100 images {spread(spreads['0gp'], 2)} spreads above held-out ones. So it tells "
        f"them apart. Yet the kd of 0GP goes from {before:.2f} to {last:.2f} in the last quarter, on the validation "
        "split: the late collapse of the paper is not reached. The gap is our measure. The paper looks at G's gradient "
        "at close pairs of real and fake.\n"
    )
    for method in ("fargan", "fargan-f1"):
        if method in spreads:
            found = [difference(each[method], each["0gp"]) for each in (spreads, logits)]
            ends = [f"{d.value:+.2f} [{d.low:+.2f}, {d.high:+.2f}] {unit}" for d, unit in zip(found, UNITS)]
            yield f"- {METHODS[method].name}: its gap minus that of 0GP is {' and '.join(ends)}."
    yield (
        "\nFake-as-real shrinks all logits, so a small gap in logits is no sign that D forgets its images. For f = 1 "
        "the paper expects no clear gain over 0GP. Precision, recall and coverage were looked at after the verdicts.\n"
    )


def lasting(need: float) -> str:
    return "Its time is not known." if math.isnan(need) else f"It needs about {need:.1f} hours of one core."


# --------------------------------------------------------------------------------------------------------------- tuning


def tuning(figures: Figures) -> str:
    """The score of each method at each rate, on the validation split."""
    rows = [
        "## Tuning: each method's grid",
        "",
        "kd on the validation split at the last step, seed 0. Bold is the rate that was chosen. Each method had these",
        "four runs and no others.",
        "",
    ]
    for table in TABLES:
        found = grid(figures, str(table))
        if found:
            rows += [f"{described(table)}:", ""]
            rows += [
                f"| method | {' | '.join(f'{rate:g}' for rate in RATES)} |",
                "|---" * (1 + len(RATES)) + "|",
            ]
            rows += [grid_row(figures, table, method, each) for method, each in found.items()]
            rows += ["", decided([rate(figures, str(table), method) for method in found]), ""]
    return "\n".join(rows)


def decided(rates: Sequence[float | None]) -> str:
    """What the choices of the grid say of the grid itself.

    >>> decided([1e-3, 2e-4])
    '1 of 2 methods take the fastest rate, and 0 the slowest.'
    """
    fastest, slowest = (sum(each == end for each in rates) for end in (RATES[-1], RATES[0]))
    text = f"{fastest} of {len(rates)} methods take the fastest rate, and {slowest} the slowest."
    if fastest > len(rates) / 2:
        text += " So the runs are too short for the slower rates, and a still faster one may be better."
    return text


def grid_row(figures: Figures, table: Table, method: str, found: Mapping[float, float | None]) -> str:
    chosen = rate(figures, str(table), method)
    cells = ["NaN" if (score := found.get(each)) is None else f"{score:.2f}" for each in RATES]
    marked = [f"**{cell}**" if each == chosen else cell for each, cell in zip(RATES, cells)]
    return f"| {METHODS[method].name} | {' | '.join(marked)} |"


# ------------------------------------------------------------------------------------------------------ what is missing


def missing(figures: Figures) -> str:
    """The tables that lack runs, with the hours that these need."""
    rows = [
        MISSING,
        "| table | methods to run | runs | hours |",
        "|---|---|---|---|",
    ]
    for table in TABLES:
        left = {method: runs_left(figures, str(table), method) for method in table.methods}
        gone = {method: runs for method, runs in left.items() if runs}
        if gone:
            need = sum(hours(figures, str(table), [method], runs) for method, runs in gone.items())
            cells = (
                f"`{table}`",
                f"{len(gone)} of {len(table.methods)}",
                f"{sum(gone.values())}",
                f"{need:.1f}",
            )
            rows.append(row(cells))
    return "\n".join(rows) + "\n" if len(rows) > 3 else ""


def runs_left(figures: Figures, table: str, method: str) -> int:
    """The runs of a method that have no figures yet, of its grid and of its fresh seeds."""
    return MEMBERS - len(grid(figures, table).get(method, ())) - len(finals(figures, table).get(method, ()))


def papers(figures: Figures) -> str:
    """The papers' own rows: published scores, ours, and the hours that a row is expected to take."""
    rows = [
        PAPERS,
        "| table | row | recipe | hours | published | here |",
        "|---|---|---|---|---|---|",
    ]
    for each in paper.rows():
        ours = figures.get(str(each), {}).get("scores")
        text = ", ".join(f"{key} {value:.2f}" for key, value in ours.items()) if ours else "not run yet"
        known = paper.published(each.line).strip(" ()").removeprefix("published: ")
        cells = (
            each.table,
            each.place,
            f"`{each.line.recipe}`",
            f"{paper.expected_hours(each.line):.1f}",
            known,
            text,
        )
        rows.append(row(cells))
    return "\n".join(rows) + "\n"
