"""The table of all statements, with their checks and expected verdicts, and the page that is made of it."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from steadygan.errors import UsageError
from steadygan.progress import report
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
    pgn_proof,
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
    """A statement: its name, its source, its check (a function of a seed), and the expected verdict."""

    name: str
    source: str
    check: Callable[[int], Verdict]
    expected: str


STATEMENTS: tuple[Statement, ...] = (
    Statement("Definition 1", FARGAN, fargan.check_definition1, AS_CORRECTED),
    Statement("Eqn 3", FARGAN, fargan.check_eqn3, HOLDS),
    Statement("Eqn 5", FARGAN, fargan.check_eqn5, FALSE),
    Statement("Eqn 11", FARGAN, fargan.check_eqn11, FALSE),
    Statement("Proposition 1", FARGAN, fargan.check_proposition1, HOLDS),
    Statement("Proposition 2", FARGAN, fargan_optimum.check_proposition2, HOLDS),
    Statement("Proposition 3", FARGAN, fargan_optimum.check_proposition3, HOLDS),
    Statement("Eqn 30 (Proposition 3)", FARGAN, fargan_optimum.check_eqn30, FALSE),
    Statement("Lemma 3", PGN, pgn.check_lemma3, HOLDS),
    Statement("Theorem 5", PGN, pgn.check_theorem5, HOLDS),
    Statement("Eqns 11 to 14", PGN, pgn_proof.check_eqn14, FALSE),
    Statement("Theorem 6 (elementwise)", PGN, partial(pgn.check_theorem6, reading="elementwise"), FALSE),
    Statement("Theorem 6 (proof)", PGN, partial(pgn.check_theorem6, reading="proof"), HOLDS),
    Statement("Theorem 6 (scalar)", PGN, partial(pgn.check_theorem6, reading="scalar"), FALSE),
    Statement("Eqn 26 (proof of Theorem 6)", PGN, pgn_proof.check_eqn26, FALSE),
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
    """The verdict on every statement, in order, on random cases of this seed.

    If a check raises an error, its statement fails with the sentence of the error, and the others are still
    checked. The checks of optimal transport do so without scipy. Raises UsageError unless 0 <= seed < 2^63.
    """
    cases.generator(seed)
    found = []
    for statement in STATEMENTS:
        found.append(_verdict(statement, seed))
        report("checked statements", len(found), len(STATEMENTS), "statements")
    return found


def _verdict(statement: Statement, seed: int) -> Verdict:
    try:
        return statement.check(seed)
    except Exception as error:  # any error is a verdict on that statement alone
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

Use this page to see which statements of the GAN literature you can rely on. It tests the propositions, lemmas and
equations of four sources on random cases. Each statement is also a function that you can call.

```bash
steadygan verify                          # claim, measured, verdict of every statement
steadygan verify --seed 3 --json          # other random cases, printed as a JSON list
steadygan verify --page docs/theory.md    # write this page
```

```python
from steadygan import theory

print(theory.check_lemma4(seed=0).verdict)  # holds
```

The command draws random cases from a seed, here {seed}. It computes both sides of every statement in float64. The
verdict follows from the numbers:

- **holds**: no case violates the statement.
- **holds as corrected**: cases violate the statement as it stands. None violates it after a missing hypothesis or
  another reading is added.
- **false as printed**: cases violate the printed formula. None violates the corrected formula.
- **fails**: cases violate the corrected statement too.

{counts}. `steadygan verify` exits with 1
when a verdict is not the expected one. A verdict is evidence from random cases, not a proof.

`check_lemma9` checks Lemma 9, and `lemma9_bound` computes one side of it; other names follow the same pattern. In the
tables, sigma is the logistic function, |.| a norm, and "to 1e-9" means with an error of at most 1e-9.
"""

SECTIONS = {
    FARGAN: """[Tao and Wang 2020](https://arxiv.org/abs/1912.12485), "Alleviation of Gradient Exploding in GANs: Fake
Can Be Real". The fake-as-real GAN (FARGAN) trains the discriminator D to accept some fakes as real. A *close pair* is a
real point x0 and a fake y0 at a distance of at most delta. P is the slope of the generator's loss from y0 towards x0,
times that distance. The difference penalty, of weight k, is the squared difference of the logits at the pair.""",
    PGN: """[Xia 2023](https://arxiv.org/abs/2306.13576), "Penalty Gradient Normalization for Generative Adversarial
Networks" (PGN). The normalized critic is f^ = (1 - f)/(c + |1 - f|). The paper can be read in three ways, which differ
in the norm term c.""",
    NUMERICS: """[Mescheder, Nowozin and Geiger 2017](https://arxiv.org/abs/1705.10461), "The Numerics of GANs". Each
player ascends its own objective. v is the vector field of all players' gradients, v' its Jacobian, and h the step size.
Consensus optimization replaces v by A v with A = I - gamma v'^T.""",
    SURVEY: """Slides by Yanran Li, "Tackling the Gradient Issues in Generative Adversarial Networks". They collect
results of [Goodfellow 2014](https://arxiv.org/abs/1406.2661) (GAN), of
[Arjovsky and Bottou 2017](https://arxiv.org/abs/1701.04862) and of
[Arjovsky 2017](https://arxiv.org/abs/1701.07875) (Wasserstein GAN). P_r is the distribution of the data, P_g that of
the generator. KL is the Kullback-Leibler divergence, JSD the Jensen-Shannon divergence, and W1 the Wasserstein
distance.""",
}
"""The paper of each source, with a link, and the symbols of its table."""

OUTCOMES = {HOLDS: "hold", AS_CORRECTED: "hold as corrected", FALSE: "are false as printed", FAILS: "fail"}
"""The verdicts, as a sentence says them of several statements."""


def page(verdicts: Sequence[Verdict], seed: int) -> str:
    """The verdicts as a page of Markdown, one table for each source."""
    *first, last = [
        f"{sum(v.verdict == outcome for v in verdicts)} {words}" for outcome, words in OUTCOMES.items()
    ]
    counts = f"Of {len(verdicts)} statements, {', '.join(first)} and {last}"
    lines = [HEADER.format(seed=seed, counts=counts)]
    for source in dict.fromkeys(v.source for v in verdicts):
        lines += [
            f"## {source}\n",
            f"{SECTIONS[source]}\n",
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
