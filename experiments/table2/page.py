"""The page docs/results.md, made from the figures of experiments.table2: questions, verdicts and pictures."""

import math
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from experiments.pages import spread
from experiments.table2 import pictures
from experiments.table2.choice import change, difference
from experiments.table2.claims import (
    ALL,
    CIFAR,
    ELSEWHERE,
    OPPOSITE,
    QUESTIONS,
    SUPPORTED,
    UNDECIDED,
    UNTESTABLE,
    Claim,
    Question,
    verdict,
)
from experiments.table2.figures import (
    Figures,
    Tried,
    all_diagnosed,
    at,
    ended,
    failing,
    fails,
    finals,
    gaps,
    grid,
    hours,
    is_worse,
    scores,
    undiagnosed,
)
from experiments.table2.long_tables import before_training, long_page, row
from experiments.table2.methods import METHODS, RATES
from experiments.table2.tables import LATE_TABLE, TABLES, Table, described
from steadygan.diagnostics import WELL

__all__ = ["page", "written"]

CRITICS, FAILED = "results-critics.png", "results-failed.png"
BALANCE = ("kd", "precision", "recall", "coverage")
UNITS = ("spreads", "logits")
IN_SHORT = {SUPPORTED: "supported", UNDECIDED: "undecided", OPPOSITE: "the opposite"}

INTRO = """# Results: which claims hold at a small size

Use this page to see which claims of the papers hold for small image GANs and short runs. It does not rank methods. Each
method runs at one of four learning rates, chosen on seeds of their own, and its G has batch norm where its source has
it. All methods of a table have the same tuning runs and the same steps of G. A step of theirs costs up to 6.6 times
NSGAN's in FLOPs (WGAN-GP), so scores at equal seconds stand beside those at equal steps.

```bash
python -m experiments.table2                          # all missing runs; stop and restart it at any time
python -m experiments.table2 --only fashion-mnist-all-dcgan --minutes 60   # one table for an hour
python -m experiments.table2 --figures again.jsonl --runs runs/again       # all runs once more
python -m experiments.table2 --page                   # write this page from the finished runs
python -m experiments.table2 --paper                  # the papers' own rows at full size, for a GPU
```

CIFAR-10 is read from `--data-root` or `$STEADYGAN_DATA`. **The runs are short.** They show how fast a small network
learns, on one core of a busy machine. No number here is comparable with a number of a paper. The protocol,
`experiments/table2/protocol.md`, was written before the runs. Its last section lists what changed since. Known figures
stood behind many of the changes: when a claim counts as testable, which claims are judged on 100 images, a fifth
seed, ten seeds in one table, new first weights for GN's CNN, consistency, the diagnosis of what fails, and more
tuning seeds on CIFAR-10. At first the protocol said that any change of a rule voids the figures before it. By that the
verdicts that were judged anew would be void. The figures are in `experiments/table2/figures.jsonl`.

- **Score**: the kernel distance (kd, [Bińkowski 2018](https://arxiv.org/abs/1801.01401)) between 2,000 samples of the
  averaged generator and 4,000 held-out images. Its features are those of a classifier of the data set. Lower is better.
  The Fréchet distance (fd) of the same features stands beside it; no choice used it.
- **Spread of D**: the standard deviation of the critic's raw logits over held-out images. **Gap of D**: its mean logit
  on training images minus that on held-out images, in units of the spread. It is 0 for a critic that does not know its
  training images.
- **Tuning**: four learning rates for each method, chosen on other held-out images than the final score's: on one seed
  with Fashion-MNIST, on three with CIFAR-10, and on nine with 1,000 of its images. One seed chose badly on GN's CNN.
  More are no remedy everywhere: with the small DCGAN, three in place of one changed 12 final means, and 8 of them rose.
  Nine in place of three changed five, and one rose.
- **Seeds**: the final score is the mean ± standard deviation over five fresh seeds, and over ten on 1,000 images of
  CIFAR-10. *Lost* are runs without a finite score.
- **Effect**: the kd of the method that the claim calls better minus that of the other, at equal steps, with its
  interval. Below 0 it speaks for the claim. **Ratio**: the geometric mean of the first over that of the other. Below 1
  it speaks for the claim. Other tables have the ratio alone, and the effect alone where a claim is not judged. Verdicts
  are those of Fashion-MNIST, which was run first. The papers' main tables have CIFAR-10, so read the other tables too.
- **Intervals**: Welch's 95 % interval of a difference of means, and of logarithms for a ratio. Methods share their
  seeds, and the intervals do not use that. They are not corrected for the number of comparisons. Verdicts follow the
  first: one that includes 0 is no evidence against a claim. Where one seed fails, it is wide whatever the others say,
  and the ratio says more.
- **Methods**: [Constraints](constraints.md) explains 0GP (R1 here), fake-as-real (f, N0), GN, PGN with its three
  readings, and consistency (CR). *Survey* is the survey of GAN training among the source papers
  ([survey](survey.md)). **Networks**: the small DCGAN is FARGAN's at width 8, GN's CNN is that of GN and PGN at width
  4.
- **Seconds** are a method's share of an ensemble's, on a machine that ran other programs too. The same step took up to
  1.5 times as long in one table as in another, and methods of one table that do the same work differ by up to 1.4
  times. So effects at equal seconds are rough, and have no verdicts.
"""

LIMITS = """## Limits

- Training is a fraction of what the papers do: 1,500 steps (6,000 on 100 images) with batches of 32, where they take
  100,000 to 600,000 with larger ones. A method that starts slowly and ends well looks bad here.
- The networks have few channels, and one core trains them. D has no batch norm anywhere. CIFAR-10's images are those of
  the papers, the networks' size is not.
- On CIFAR-10 training has hardly begun: the best untrained generators of the small DCGAN have a kd below 4, and most
  methods end at about 3. So these tables compare the first steps.
- The classifiers behind the scores are right on 91 % of the test images of Fashion-MNIST, and on 69 % of CIFAR-10's.
- Only the learning rate is tuned. Penalty weights are those of the sources, whose networks are larger. For 0GP
  `steadygan probe gamma` recommends 0.24 to 34 on Fashion-MNIST and 2 to 290 on CIFAR-10: the source's 10 lies in both.
- Most chosen rates are the fastest of the grid, and three the slowest (marked *edge* in the long tables), so the best
  rates are not known.
- Methods differ in more than their name says: batch norm in G, the loss (hinge for SN, GN and PGN) and the updates of D
  a step (five for WGAN-GP). The long tables say which G has batch norm.
- One optimizer for all: Adam with betas (0, 0.9). Numerics uses RMSProp, and so does FARGAN but on ImageNet.
- SN, GN and PGN have one update of D for each update of G.
- The average of G has decay 0.995 for all. At equal seconds WGAN-GP has 150 to 300 steps, after which 47 to 22 %
  of it are still untrained weights.
- R3GAN is its loss alone, with gamma = 1: no schedules, and not its networks.
- On GN's CNN all generators have batch norm, also those of 0GP, fake-as-real and R3GAN, whose sources have none. There,
  too, SN, GN and PGN have the hinge loss, NSGAN and 0GP have not.
- The score uses features of one classifier. Another extractor may order methods differently. Final scores are of other
  images than validation scores, and 1.5 higher on Fashion-MNIST on average, 0.3 on CIFAR-10. Curves, choices of rates
  and the comparison with untrained generators use validation scores alone.
- Where there is no difference, about one interval in twenty misses 0 by chance. This page has more than a hundred.
  Welch's interval takes the means for normal. Those of five seeds, one of which fails, are not.
- The interval of a difference covers the seeds. It does not cover the choice of the rate, which used one to
  nine seeds and may have chosen badly, nor the classifier, nor the split.
- An earlier version of this page called GN and PGN the worst by far. It had trained them without batch norm in G, at
  the rate that most methods take here. That was a fault of the comparison, and says nothing of the methods.
"""

SHORT = """At equal steps, with all images of Fashion-MNIST and of CIFAR-10, which is the papers' set, and the small
DCGAN. An empty cell has no runs. Further down each claim has its effect, what other tables say, and its limits. WGAN-GP
is better at equal steps alone: at equal seconds its mean is higher in every table.
"""

FORESEEN = """- That a claim is not testable was decided with its figures known, but for f = 8 against f = 1.
- *Too large an N0 is worse* was not testable at first. It is judged since, with its figures known too.
"""

FEW = """## Few images

FARGAN's claims are about late training: the critic overfits, and fake-as-real prevents it. So they need a critic of 0GP
that tells its training images from others. Its *gap* is then far above 0.
"""

MISSING = """## Not run yet

The same command goes on with these. Hours are of one core of this machine, for the steps alone: their FLOPs over the
speed that the finished runs reached. Compiling and scoring add about a minute for each method.
"""

CAPTION = """*Scores on the validation split over steps. Lines are medians of the seeds, and bands reach from the lowest
to the highest. Curves that leave a panel at its top are cut. Grey lines are the means of untrained generators: dashed
with batch norm, dotted without.*
"""

WORSE = """## What trained badly

A method *fails* in a table if the mean of its seeds at equal steps is not below that of the same generators before
training, both on the validation split. The change of the mean stands behind its name, with Student's interval of the
runs' changes. Where that includes 0, it is no evidence that the method is worse than before. A run is *worse than
before training* if its own generator was better then. Tables and verdicts keep the chosen rate of a method that fails.
For a diagnosis it is trained on the same seeds at every rate of its grid, and beside it SN at its chosen rate, which
fails in no table. One bad seed can make a mean fail, so medians stand beside the means.

With the small DCGAN on CIFAR-10, PGN's scalar reading has seeds that are worse than before training at every rate. On
1,000 images it fails at the rate that nine tuning seeds choose. There its mean rises on the ten fresh seeds, and falls
from 12.5 to 10.1 on all 19 seeds that ran, tuning included: single seeds decide. Some
rows are of methods that failed at a rate chosen earlier, on fewer tuning seeds, and not at the rate chosen now.

On CIFAR-10 with GN's CNN this rule says little: its five untrained generators have 4 to 64. NSGAN does not fail, and
its samples are of one class on every seed (the classifier's Inception score is 1.0 to 1.1). So are those of SN's worst
seed, which `steadygan diagnose` calls healthy: it looks at the trained weights, and the score at their average.
"""

CRITICS_CAPTION = """*Lines are medians of the seeds, and bands reach from the lowest to the highest.*
"""

RATES_CAPTION = """*Scores on the validation split over steps, a line for each run. The dashed line is the mean of
the same generators before training.*

`steadygan diagnose` reads losses, gradients and samples, and no kernel distance. *Healthy* says that no sign of trouble
holds and that samples are at least about half as far apart as the images. *Undecided* says that too little is known.
"""


def written(figures: Figures, out: Path) -> None:
    """Write the page, the one of the long tables, and the pictures beside them."""
    out.write_text(page(figures))
    out.with_name("results-tables.md").write_text(long_page(figures))
    for question in QUESTIONS:
        shown = compared(figures, question)
        if shown:
            pictures.draw_scores(figures, question.methods, shown, out.with_name(picture(question)))
    if tried := all_diagnosed(figures):
        pictures.draw_rates(tried, out.with_name(FAILED))
    if len(finals(figures, str(LATE_TABLE))) > 1:
        pictures.draw_critics(figures, str(LATE_TABLE), out.with_name(CRITICS))


def picture(question: Question) -> str:
    return f"results-{question.slug}.png"


def page(figures: Figures) -> str:
    """The whole page."""
    first, *others = (answered(figures, question) for question in QUESTIONS)
    parts = [
        INTRO,
        overview(figures),
        first,
        few(figures),
        *others,
        elsewhere(),
        badly(figures),
        missing(figures),
        LIMITS,
    ]
    return "\n".join(part for part in parts if part)


def overview(figures: Figures) -> str:
    """The verdict of every claim, in the order of the page."""
    rows = [
        "## In short",
        "",
        SHORT,
    ]
    rows += [row(["claim", "source", "Fashion-MNIST", "CIFAR-10"]), "|---|---|---|---|"]
    claims = [claim for question in QUESTIONS for claim in question.claims]
    for claim in claims:
        on = ", on 100 images" if claim.table != ALL else ""
        words = [word(figures, claim, table) for table in (claim.table, CIFAR if claim.table == ALL else "")]
        rows.append(row([f"{claim.text}{on}", claim.paper, *words]))
    rows += [""]
    rows += [f"- Elsewhere: {text} ({source}): {found}." for source, text, found, _ in ELSEWHERE]
    rows += [*unjudged(figures, claims), FORESEEN]
    return "\n".join(rows)


def word(figures: Figures, claim: Claim, table: str) -> str:
    """The verdict of a claim in a table, in short; empty where its runs have none."""
    score = "kd_cifar10" if table == CIFAR else "kd_fashion_mnist"
    found = verdict(claim, scores(figures, table, "equal steps", score)).word
    return {**IN_SHORT, UNTESTABLE: "not testable"}.get(found, "")


def unjudged(figures: Figures, claims: Sequence[Claim]) -> Iterator[str]:
    """What the intervals of the claims that are not judged would say."""
    bare = [claim._replace(unmet="") for claim in claims if claim.unmet]
    for name, table in (("Fashion-MNIST", ALL), ("CIFAR-10", CIFAR)):
        counts = Counter(found for claim in bare if (found := word(figures, claim, table)))
        if counts:
            told = ", ".join(f"{counts[each]} {each}" for each in IN_SHORT.values())
            yield f"- By their intervals alone the claims that are not testable would be, on {name}: {told}."


# ------------------------------------------------------------------------------------------------------------ questions


def answered(figures: Figures, question: Question) -> str:
    """A question's section: what to know, its methods' scores in all tables, its picture and its verdicts."""
    shown = compared(figures, question)
    rows = [f"## {question.title}", "", question.told, ""]
    if shown:
        heads = ("kd at equal steps", *(label(table) for table in shown))
        rows += [row(heads), "|---" * len(heads) + "|"]
        rows += [scored(figures, method, shown) for method in question.methods]
        rows += ["", f"![{question.title}]({picture(question)})", "", CAPTION]
    return "\n".join([*rows, *(sentence(figures, claim) for claim in question.claims), ""])


def compared(figures: Figures, question: Question) -> list[Table]:
    """The tables that have both methods of one of a question's claims."""
    pairs = [{claim.first, claim.second} for claim in question.claims]
    return [table for table in TABLES if any(pair <= finals(figures, str(table)).keys() for pair in pairs)]


def label(table: Table) -> str:
    """A table in few words, for the head of a column.

    >>> label(TABLES[0]), label(LATE_TABLE)
    ('Fashion, all', 'Fashion, 100 (4 x as long)')
    """
    name = described(table).partition("-")[0]
    longer = f" ({table.longer} x as long)" if table.longer > 1 else ""
    network = ", GN's CNN" if table.network == "gn_cnn" else ""
    return f"{name}, {f'{table.images:,}' if table.images else 'all'}{longer}{network}"


def scored(figures: Figures, method: str, shown: Sequence[Table]) -> str:
    """A method's final scores in some tables; empty where it has none."""
    found = [scores(figures, str(table), "equal steps", table.score).get(method, []) for table in shown]
    return row([METHODS[method].name, *(spread(each, 2) for each in found)])


def sentence(figures: Figures, claim: Claim) -> str:
    """The verdict of a claim, its effect at equal steps and at equal seconds, what other tables say, and its limits."""
    found, later = (
        verdict(claim, scores(figures, claim.table, point, "kd_fashion_mnist"))
        for point in ("equal steps", "equal seconds")
    )
    text = f"- *{claim.paper}*: {claim.text}. **{found.word.capitalize()}**"
    if claim.table != ALL:
        text += ", on 100 images"
    text += f". Effect {found.effect}" if found.effect else ""
    text += f", ratio {found.ratio}" if found.ratio else ""
    if later.effect and claim.table == ALL:
        text += f"; at equal seconds {later.effect}"
    others = [] if claim.table != ALL else list(on_others(figures, claim))
    text += f". Other tables: {'; '.join(others)}" if others else ""
    return f"{text}. {claim.unmet or claim.limits}".rstrip(" .") + "."


def on_others(figures: Figures, claim: Claim) -> Iterator[str]:
    """Every other table that has the two methods: verdict and ratio at equal steps, or the effect without a verdict."""
    for table in TABLES:
        if str(table) not in (ALL, str(LATE_TABLE)):
            found = verdict(claim, scores(figures, str(table), "equal steps", table.score))
            if found.word in IN_SHORT:
                yield f"{label(table)}, {IN_SHORT[found.word]}, {found.ratio or found.effect}"
            elif found.word == UNTESTABLE:
                yield f"{label(table)}, {found.effect}"


def elsewhere() -> str:
    """The claims that need other runs."""
    rows = [
        f"- *{source}*: {text}. **{word[0].upper()}{word[1:]}**. {why}."
        for source, text, word, why in ELSEWHERE
    ]
    return "\n".join(["## Claims that need other runs", "", *rows, ""])


def badly(figures: Figures) -> str:
    """The methods that fail, by table, and their runs at every rate."""
    rows = []
    for table in TABLES:
        if finals(figures, str(table)):
            lines = finals(figures, str(table))
            names = "; ".join(rise(METHODS[m].name, lines[m]) for m in failing(figures, str(table)))
            start = before_training(figures, table)
            rows += [f"- {described(table)}: untrained generators have {start}. Fails: {names or 'none'}."]
    return "\n".join([WORSE, *rows, "", *at_all_rates(figures)]) if rows else ""


def rise(name: str, runs: Sequence[dict[str, Any]]) -> str:
    """A method that fails, with the change of its runs' scores from before training, and the interval of that."""
    whole = [line for line in runs if math.isfinite(ended(line))]
    if not whole:
        return f"{name} (no finite score)"
    found = change([line["curve"][0][1] for line in whole], [ended(line) for line in whole])
    return f"{name} ({found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}])"


def at_all_rates(figures: Figures) -> Iterator[str]:
    """Each method that has a diagnosis, at each rate: its scores, and what `steadygan diagnose` says."""
    found = all_diagnosed(figures)
    if not found:
        return
    heads = (
        "method",
        "table",
        "rate",
        "kd",
        "median",
        "worse than before training",
        "`steadygan diagnose`, runs",
    )
    yield from (row(heads), "|---" * len(heads) + "|")
    yield from (diagnosed_row(*each) for each in found)
    yield from (
        "",
        outcome(found),
        "",
        f"![scores of what failed, by rate]({FAILED})",
        "",
        RATES_CAPTION,
    )


NAMED = ((True, "worse than before training"), (False, "better"))


def diagnosed_row(table: Table, method: str, rate: float, runs: Sequence[dict[str, Any]]) -> str:
    found = [at(line, "equal steps", table.score) for line in runs]
    verdicts = Counter(", ".join(line["verdicts"]) for line in runs)
    cells = (
        METHODS[method].name,
        label(table),
        f"{rate:g}",
        spread([v for v in found if math.isfinite(v)], 2),
        f"{statistics.median(found):.2f}",
        f"{sum(map(is_worse, runs))} of {len(found)}",
        "; ".join(f"{count} {names}" for names, count in verdicts.most_common()),
    )
    return row(cells)


def outcome(found: Sequence[Tried]) -> str:
    """Which methods fail at every rate, and how many of the runs that are worse have a verdict that names a problem."""
    rates: dict[str, dict[float, bool]] = {}
    counts = {True: Counter[bool](), False: Counter[bool]()}
    for table, method, rate, runs in found:
        name = f"{METHODS[method].name} ({label(table)})"
        rates.setdefault(name, {})[rate] = fails(runs)
        for line in runs:
            counts[is_worse(line)][not set(line["verdicts"]) <= {*WELL, "undecided"}] += 1
    whole = {name: bad for name, bad in rates.items() if len(bad) == len(RATES)}
    every = [name for name, bad in whole.items() if all(bad.values())]
    some = [
        f"{name} at {' and '.join(f'{rate:g}' for rate, fell in sorted(bad.items()) if not fell)}"
        for name, bad in whole.items()
        if name not in every
    ]
    told = [f"{counts[bad][True]} of the {counts[bad].total()} runs that are {word}" for bad, word in NAMED]
    text = f"Fails at every rate of the grid: {'; '.join(every) or 'none'}."
    text += f" Does not fail: {'; '.join(some)}." if some else ""
    return f"{text} A verdict names a problem in {told[0]}, and in {told[1]}."


# ---------------------------------------------------------------------------------------------------------- few images


def few(figures: Figures) -> str:
    """What the table of few images says of FARGAN's claim."""
    rows = [FEW]
    lines = finals(figures, str(LATE_TABLE))
    if not lines:
        need = hours(figures, str(LATE_TABLE), LATE_TABLE.methods, LATE_TABLE.members)
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
    rows += ["", f"![gap of D, its spread and kd over steps]({CRITICS})", "", CRITICS_CAPTION]
    return "\n".join([*rows, *known(figures)])


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
    if real := figures.get(f"{LATE_TABLE}-real"):
        own = real["card"]["scores"][LATE_TABLE.score]
        yield (
            f"The kernel distance does not see what G copies: these 100 images have {own['value']:.1f} ± "
            f"{own['error']:.1f} themselves.\n"
        )
    for method in ("fargan", "fargan-f1"):
        if method in spreads:
            found = [difference(each[method], each["0gp"]) for each in (spreads, logits)]
            ends = [f"{d.value:+.2f} [{d.low:+.2f}, {d.high:+.2f}] {unit}" for d, unit in zip(found, UNITS)]
            yield f"- {METHODS[method].name}: its gap minus that of 0GP is {' and '.join(ends)}."
    yield (
        "\nFake-as-real shrinks all logits, so a small gap in logits is no sign that D forgets its images. For f = 1 "
        "the paper expects no clear gain over 0GP.\n"
    )
    yield from balanced(figures)


def balanced(figures: Figures) -> Iterator[str]:
    """What f = 8 changes in precision, recall and coverage."""
    found = {
        kind: scores(figures, str(LATE_TABLE), "equal steps", f"{kind}_fashion_mnist") for kind in BALANCE[1:]
    }
    if not all({"fargan", "0gp"} <= each.keys() for each in found.values()):
        return
    changed = {kind: difference(each["fargan"], each["0gp"]) for kind, each in found.items()}
    told = [f"{kind} by {d.value:+.2f} [{d.low:+.2f}, {d.high:+.2f}]" for kind, d in changed.items()]
    yield (
        f"Against 0GP, f = 8 changes {told[0]}, {told[1]} and {told[2]}. Recall is higher with f = 8 in "
        "six of all seven tables, and precision lower in six, also where no critic overfits. So this is no sign of "
        "what the paper is about. These three were looked at after the verdicts.\n"
    )


def lasting(need: float) -> str:
    return "Its time is not known." if math.isnan(need) else f"It needs about {need:.1f} hours of one core."


# ------------------------------------------------------------------------------------------------------ what is missing


def missing(figures: Figures) -> str:
    """The tables that lack runs, with the hours that these need."""
    rows = [
        MISSING,
        "| table | methods to run | runs | hours |",
        "|---|---|---|---|",
    ]
    for table in TABLES:
        left = {method: runs_left(figures, table, method) for method in table.methods}
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
    if len(rows) == 3:
        return ""
    lacking = [
        f"{METHODS[method].name} at {rate:g} ({label(table)})"
        for table in TABLES
        for method, rate, _ in undiagnosed(figures, str(table))
    ]
    if lacking:
        rows += ["", f"Diagnoses of what fails that are missing too: {'; '.join(lacking)}."]
    return "\n".join(rows) + "\n"


def runs_left(figures: Figures, table: Table, method: str) -> int:
    """The runs of a method that have no figures yet, of its grid and of its fresh seeds."""
    done = [*grid(figures, str(table)).get(method, {}).values(), finals(figures, str(table)).get(method, ())]
    return table.members - sum(map(len, done))
