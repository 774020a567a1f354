"""Every statement with its check and the verdict that is expected of it: the one place where that is written."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from steadygan.errors import UsageError
from steadygan.theory import (
    cases,
    fargan,
    fargan_optimum,
    numerics_batches,
    numerics_consensus,
    numerics_games,
    numerics_modified,
    numerics_rules,
    numerics_steps,
    pgn,
    survey_divergences,
    survey_wasserstein,
)
from steadygan.theory.verdicts import (
    AS_CORRECTED,
    FAILS,
    FALSE,
    FARGAN,
    HOLDS,
    NUMERICS,
    PGN,
    SURVEY,
    Verdict,
)

__all__ = ["STATEMENTS", "Statement", "page", "surprises", "verify"]


class Statement(NamedTuple):
    """A name and a source, a check, which draws random cases from a seed, and the verdict that it should come to."""

    name: str
    source: str
    check: Callable[[int], Verdict]
    expected: str


STATEMENTS: tuple[Statement, ...] = (
    Statement("Definition 1", FARGAN, fargan.check_definition1, AS_CORRECTED),
    Statement("Eqn 3", FARGAN, fargan.check_eqn3, HOLDS),
    Statement("Eqn 5", FARGAN, fargan.check_eqn5, FALSE),
    Statement("Proposition 1", FARGAN, fargan.check_proposition1, HOLDS),
    Statement("Proposition 2", FARGAN, fargan_optimum.check_proposition2, HOLDS),
    Statement("Proposition 3", FARGAN, fargan_optimum.check_proposition3, HOLDS),
    Statement("Eqn 30 (Proposition 3)", FARGAN, fargan_optimum.check_eqn30, FALSE),
    Statement("Lemma 3", PGN, pgn.check_lemma3, HOLDS),
    Statement("Theorem 5", PGN, pgn.check_theorem5, HOLDS),
    Statement("Theorem 6 (elementwise)", PGN, partial(pgn.check_theorem6, reading="elementwise"), FALSE),
    Statement("Theorem 6 (proof)", PGN, partial(pgn.check_theorem6, reading="proof"), HOLDS),
    Statement("Theorem 6 (scalar)", PGN, partial(pgn.check_theorem6, reading="scalar"), FALSE),
    Statement("Loss section (hinge)", PGN, pgn.check_hinge, HOLDS),
    Statement("Lemma 1", NUMERICS, numerics_games.check_lemma1, HOLDS),
    Statement("Corollary 2", NUMERICS, numerics_games.check_corollary2, HOLDS),
    Statement("Proposition 3 (Numerics)", NUMERICS, numerics_steps.check_numerics_proposition3, AS_CORRECTED),
    Statement("Lemma 4", NUMERICS, numerics_steps.check_lemma4, HOLDS),
    Statement("Corollary 5", NUMERICS, numerics_rules.check_corollary5, HOLDS),
    Statement("Lemma 6", NUMERICS, numerics_steps.check_lemma6, HOLDS),
    Statement("Lemma 7", NUMERICS, numerics_consensus.check_lemma7, HOLDS),
    Statement("Corollary 8", NUMERICS, numerics_consensus.check_corollary8, AS_CORRECTED),
    Statement("Lemma 9", NUMERICS, numerics_consensus.check_lemma9, FALSE),
    Statement("Proposition 10", NUMERICS, numerics_steps.check_proposition10, HOLDS),
    Statement("Lemma 11", NUMERICS, numerics_modified.check_lemma11, HOLDS),
    Statement("Corollary 12", NUMERICS, numerics_modified.check_corollary12, HOLDS),
    Statement("Eqn 41 (Proposition 13)", NUMERICS, numerics_modified.check_eqn41, FALSE),
    Statement("Proposition 13", NUMERICS, numerics_modified.check_proposition13, HOLDS),
    Statement("Proposition 14", NUMERICS, numerics_rules.check_proposition14, HOLDS),
    Statement("Lemma 15", NUMERICS, numerics_batches.check_lemma15, HOLDS),
    Statement("Debiased consensus", NUMERICS, numerics_batches.check_debiased, AS_CORRECTED),
    Statement("Optimal discriminator", SURVEY, survey_divergences.check_optimal_discriminator, HOLDS),
    Statement("JSD identity", SURVEY, survey_divergences.check_jensen_shannon, HOLDS),
    Statement("KL - 2 JSD", SURVEY, survey_divergences.check_kl_less_jsd, AS_CORRECTED),
    Statement("Parallel lines", SURVEY, survey_wasserstein.check_parallel_lines, HOLDS),
    Statement("Kantorovich-Rubinstein", SURVEY, survey_wasserstein.check_kantorovich, HOLDS),
    Statement("Weight clipping", SURVEY, survey_wasserstein.check_clipping, AS_CORRECTED),
)


def verify(seed: int = 0) -> list[Verdict]:
    """The verdict of every statement on random cases of this seed, in order.

    Where a check raises, as those of optimal transport do without scipy, its statement fails, with the error's
    sentence, and the others go on. Raises UsageError unless 0 <= seed < 2^63.
    """
    cases.generator(seed)
    return [_verdict(statement, seed) for statement in STATEMENTS]


def _verdict(statement: Statement, seed: int) -> Verdict:
    try:
        return statement.check(seed)
    except Exception as error:  # whatever it is, it is a verdict on that statement alone
        told = str(error) if isinstance(error, UsageError) else f"{type(error).__name__}: {error}"
        return Verdict(statement.name, statement.source, "not checked", told, FAILS, 0)


def surprises(verdicts: Sequence[Verdict]) -> list[str]:
    """One sentence for each verdict that differs from the expected one.

    >>> surprises([STATEMENTS[0].check(0)._replace(verdict="fails")])
    ["Definition 1 of Tao and Wang 2020 (FARGAN): 'fails', where 'holds as corrected' was expected"]
    """
    return [
        f"{v.name} of {v.source}: {v.verdict!r}, where {statement.expected!r} was expected"
        + ("" if v.cases else f" ({v.measured})")
        for v, statement in zip(verdicts, STATEMENTS, strict=False)
        if v.verdict != statement.expected
    ]


HEADER = """# What the papers state, and what holds

Written by `steadygan verify --page docs/theory.md`, which draws fresh random cases from a seed (here {seed}), computes
both sides of every statement, and lets the verdict follow from the numbers:

- **holds**: no case violates the statement;
- **holds as corrected**: cases violate it as it stands, none once a hypothesis or a reading it leaves out is added;
- **false as printed**: cases violate the printed formula, none violates the corrected one;
- **fails**: cases violate even that. `steadygan verify` exits with 1 when a verdict is not the expected one.

`steadygan.theory` has one function for each statement, `check_lemma9(seed)` for Lemma 9, and those that compute its
sides, such as `lemma9_bound`. s is the logistic function, |.| a norm, v' a field's Jacobian.
"""


def page(verdicts: Sequence[Verdict], seed: int) -> str:
    """The verdicts as a page of Markdown, one table for each source."""
    lines = [HEADER.format(seed=seed)]
    for source in dict.fromkeys(v.source for v in verdicts):
        lines += [
            f"## {source}\n",
            "| statement | claim | measured | verdict | cases |",
            "|---|---|---|---|---|",
        ]
        for v in verdicts:
            if v.source == source:
                cells = (v.name, v.claim, v.measured, f"**{v.verdict}**", f"{v.cases:,}")
                escaped = " | ".join(cell.replace("|", "\\|") for cell in cells)
                lines.append(f"| {escaped} |")
        lines.append("")
    return "\n".join(lines)
