"""The long tables behind docs/results.md: every method of every table, the grids, and the papers' own rows."""

import statistics
from collections.abc import Iterable, Iterator, Sequence

from experiments.pages import spread
from experiments.table2 import paper
from experiments.table2.figures import (
    Figures,
    ended,
    failing,
    finals,
    gaps,
    grid,
    is_worse,
    ranked,
    scores,
    untrained,
)
from experiments.table2.methods import METHODS, RATES
from experiments.table2.tables import LATE_TABLE, TABLES, Table, described

__all__ = ["before_training", "long_page", "row"]

INTRO = """# Results: the long tables

Every method of every table, each method's grid of learning rates, and the papers' own rows. [Results](results.md) says
what the words mean, and what follows.
"""

PAPERS = """## The papers' own rows, at full size

`python -m experiments.table2 --paper --data-root FOLDER` trains these on a GPU and resumes after a stop. Their scores
then stand here. Hours are of one seed: the FLOPs of the recipe at 30 TFLOP a second. That speed is an assumption,
and scoring comes on top. `--only 'Table 2'` selects rows. Scores need Inception's weights, against the training images:
10,000 samples for FARGAN's table, and 50,000 for PGN's tables, of the best checkpoint by FID.
"""


def long_page(figures: Figures) -> str:
    """The whole page."""
    parts = [INTRO, *(section(figures, table) for table in TABLES if finals(figures, str(table)))]
    return "\n".join([*parts, tuning(figures), papers(figures)])


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
    late = " Its seconds are those of a busy machine, and are not compared." if table == LATE_TABLE else ""
    rows += ["", f"{lines[0]['steps']:,} steps. {sentences(figures, table)}{late}", ""]
    return "\n".join(rows)


def method_row(figures: Figures, table: Table, method: str) -> str:
    """The final scores of a method; or that it has none yet."""
    lines = finals(figures, str(table)).get(method, [])
    norm = "yes" if METHODS[method].batch_norm or table.network == "gn_cnn" else "no"
    if not lines:
        tried = len(grid(figures, str(table)).get(method, {})) == len(RATES)
        gone = tried and not ranked(figures, str(table), method)
        return row([METHODS[method].name, norm, "diverges at every rate" if gone else "not run yet"], 11)
    steps = scores(figures, str(table), "equal steps", table.score).get(method, [])
    seconds = scores(figures, str(table), "equal seconds", table.score).get(method, [])
    other = scores(figures, str(table), "equal steps", table.score.replace("kd", "fd", 1)).get(method, [])
    where = dict.fromkeys(f"{line['at']['equal seconds']['step']:,}" for line in lines)
    each = dict.fromkeys(f"{1000 * line['seconds_a_step']:.1f}" for line in lines)
    cells = [
        METHODS[method].name,
        norm,
        edge(lines[0]["rate"]),
        spread(steps, 2),
        spread(other, 0),
        spread(seconds, 2),
        " and ".join(where),
    ]
    critics = [line["at"]["equal steps"]["critic"] for line in lines]
    cells += [
        " and ".join(each),
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


def before_training(figures: Figures, table: Table) -> str:
    """The scores of the untrained generators, on the validation split."""
    found = untrained(figures, str(table))
    words = {True: " with batch norm", False: " without batch norm"} if len(found) > 1 else {}
    return ", ".join(
        f"{spread(values, 2)}{words.get(norm, '')}" for norm, values in sorted(found.items(), reverse=True)
    )


def references(figures: Figures, table: Table) -> Iterator[tuple[str, str]]:
    """The scores of the untrained generators and of training images."""
    yield "untrained generators, validation split", before_training(figures, table)
    real = figures.get(f"{table}-real")
    if real:
        score = real["card"]["scores"][table.score]
        yield "training images ± their standard error", f"{score['value']:.2f} ± {score['error']:.2f}"


def sentences(figures: Figures, table: Table) -> str:
    """Which method has the lowest score, and which methods and runs are no better than before training."""
    found = scores(figures, str(table), "equal steps", table.score)
    means = {method: statistics.fmean(values) for method, values in found.items()}
    best = min(means, key=lambda method: means[method])
    text = f"At equal steps {METHODS[best].name} has the lowest mean, {means[best]:.2f}, of {len(means)} methods. "
    bad = failing(figures, str(table))
    text += (
        f"**No better than before training**, on the validation split: {named(bad)}."
        if bad
        else "Every method is better than before training, on the validation split."
    )
    lost = list(collapsed(figures, table))
    return text + (f" Single runs that are no better: {'; '.join(lost)}." if lost else "")


def named(methods: Iterable[str]) -> str:
    return ", ".join(METHODS[method].name for method in methods)


def collapsed(figures: Figures, table: Table) -> Iterator[str]:
    """Runs that are no better than their own generator before training, with what their critics say of it."""
    for method, lines in finals(figures, str(table)).items():
        for line in lines:
            if is_worse(line):
                critic = line["at"]["equal steps"]["critic"]
                over = critic["over_fake"]["value"]
                yield (
                    f"{METHODS[method].name}, seed {line['seed']}, with {ended(line):.1f}: its critic puts fakes "
                    f"{abs(over):.1f} spreads {'below' if over >= 0 else 'above'} training images, and the spread is "
                    f"{critic['spread']:.2g}"
                )


# --------------------------------------------------------------------------------------------------------------- tuning


def tuning(figures: Figures) -> str:
    """The score of each method at each rate, on the validation split."""
    rows = [
        "## Tuning: each method's grid",
        "",
        "kd on the validation split at the last step, on the seeds of the tuning: mean ± standard deviation where they",
        "are several. Bold is the chosen rate, by these runs alone.",
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
            rows += [grid_row(figures, table, method) for method in found]
            rows += [
                "",
                decided([rates[0] for method in found if (rates := ranked(figures, str(table), method))]),
                "",
            ]
    return "\n".join(rows)


def decided(rates: Sequence[float]) -> str:
    """What the choices of the grid say of the grid itself.

    >>> decided([1e-3, 2e-4])
    '1 of 2 methods take the fastest rate, and 0 the slowest.'
    """
    fastest, slowest = (sum(each == end for each in rates) for end in (RATES[-1], RATES[0]))
    text = f"{fastest} of {len(rates)} methods take the fastest rate, and {slowest} the slowest."
    if fastest > len(rates) / 2:
        text += " So the runs are too short for the slower rates, and a still faster one may be better."
    return text


def grid_row(figures: Figures, table: Table, method: str) -> str:
    """A method's scores at each rate, the chosen one bold; NaN where a run has no score."""
    chosen = next(iter(ranked(figures, str(table), method)), None)
    found = grid(figures, str(table))[method]
    cells = ["NaN" if None in (each := found.get(rate, [None])) else spread(each, 2) for rate in RATES]
    marked = [f"**{cell}**" if each == chosen else cell for each, cell in zip(RATES, cells)]
    return f"| {METHODS[method].name} | {' | '.join(marked)} |"


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
