"""The checks of the papers' statements, and the command that prints them.

The same verdicts on other seeds, another verdict when a formula is wrong (each is bent in one place of a check's
two sides), and a page that is what the command writes.
"""

import json
import math
import re
import sys
from functools import partial

import pytest
import torch

from paths import ROOT
from steadygan import theory
from steadygan.errors import UsageError
from steadygan.theory import (
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
    statements,
    survey_divergences,
    survey_wasserstein,
)
from steadygan.theory.verdicts import AS_CORRECTED, FAILS, FALSE, HOLDS, judge

LOG2 = math.log(2)


@pytest.fixture(scope="module")
def verdicts():
    return statements.verify(0)


@pytest.mark.slow
def test_every_verdict_is_the_expected_one(verdicts):
    assert statements.surprises(verdicts) == []
    assert len({(v.name, v.source) for v in verdicts}) == len(verdicts) == 39
    assert [(v.name, v.source) for v in verdicts] == [(s.name, s.source) for s in statements.STATEMENTS]
    assert {v.verdict for v in verdicts} == {HOLDS, AS_CORRECTED, FALSE}
    assert all(v.cases >= 20 and re.search(r"\d", v.measured) for v in verdicts)


@pytest.mark.slow
def test_another_seed_comes_to_the_same_verdicts():
    assert statements.surprises(statements.verify(1)) == []


def test_every_statement_is_one_public_function():
    checks = [s.check.func if isinstance(s.check, partial) else s.check for s in statements.STATEMENTS]
    public = {name for name in theory.__all__ if name.startswith("check_")}
    assert {check.__name__ for check in checks} == public
    assert all(getattr(theory, check.__name__) is check for check in checks)
    assert len(public) == 37  # Theorem 6 has three readings


def test_other_seeds_draw_other_cases_and_the_same_seed_the_same():
    zero, again, one = (numerics_consensus.check_lemma9(seed, each=50) for seed in (0, 0, 1))
    assert zero == again
    assert zero.measured != one.measured


def test_judge_follows_from_its_cases():
    yes, some = torch.tensor([True, True]), torch.tensor([True, False])
    assert [judge(yes), judge(some), judge(yes, yes), judge(yes, some)] == [HOLDS, FAILS, HOLDS, FAILS]
    assert [judge(some, yes), judge(some, yes, AS_CORRECTED), judge(some, some)] == [
        FALSE,
        AS_CORRECTED,
        FAILS,
    ]
    assert judge(torch.tensor([math.nan]) <= 1) == FAILS  # what is not a number has not held
    assert [judge(yes[:0]), judge(yes, yes[:0]), judge(yes[:0], yes)] == [FAILS] * 3  # nothing was asked


def bent(function, change):
    """The function with its result changed."""
    return lambda *args, **kwargs: change(function(*args, **kwargs))


def always(function, **fixed):
    """The function with an option that callers cannot change."""
    return lambda *args, **kwargs: function(*args, **{**kwargs, **fixed})


def unmasked(weights, biases, x):
    """Theorem 5's norms as if every unit were active."""
    norms, product = [], torch.eye(x.shape[1], dtype=x.dtype)
    for weight in weights:
        product = weight @ product
        norms.append(torch.linalg.matrix_norm(product, 2).expand(len(x)))
    return torch.stack(norms)


def without_square(v, h, alpha, eps):
    """Rescaled ascent whose beta only decays."""

    def step(point):
        x, beta = point[:-1], point[-1:]
        return torch.cat([x + h / (beta + eps).sqrt() * v(x), (1 - alpha) * beta])

    return step


WRONG = {
    "definition 1 with i = j": (
        fargan,
        "definition1",
        always(fargan.definition1, distinct=False),
        "definition1",
    ),
    "eqn 5 twice as large": (fargan, "eqn5", bent(fargan.eqn5, lambda t: 2 * t), "eqn5"),
    "proposition 1 forgets m": (
        fargan,
        "proposition1_objective",
        lambda n, m, e: -2 * LOG2 + math.log1p(e) / n,
        "proposition1",
    ),
    "proposition 1 with a smaller gap": (
        fargan,
        "proposition1",
        lambda x, y, e, f=fargan.proposition1: f(x, y, e / 2),
        "proposition1",
    ),
    "proposition 2 at another k": (
        fargan_optimum,
        "proposition2",
        lambda n, m, m0, k: fargan_optimum.proposition3(n, m, m0, k / 2, 0.0),
        "proposition2",
    ),
    "proposition 3 without n": (
        fargan_optimum,
        "proposition3",
        lambda n, m, m0, k, lam, f=fargan_optimum.proposition3: f(n, m, m0, k, lam / n),
        "proposition3",
    ),
    "eqn 30 as printed": (fargan_optimum, "eqn30", always(fargan_optimum.eqn30, printed=True), "eqn30"),
    "eqn 11 as printed": (fargan, "eqn11", always(fargan.eqn11, printed=True), "eqn11"),
    "eqn 11 with a 1/2": (
        fargan,
        "eqn11",
        lambda D, c, y, k, f=fargan.eqn11, **how: f(D, c, y, k / 2, **how),
        "eqn11",
    ),
    "eqn 14 as printed": (pgn_proof, "eqn14", always(pgn_proof.eqn14, printed=True), "eqn14"),
    "eqn 26 with |grad f| once": (
        pgn_proof,
        "eqn26",
        lambda f, c, g=pgn_proof.eqn26: g(f, c / 2),
        "eqn26",
    ),
    "lemma 3 with half the gradient": (
        pgn,
        "lemma3",
        bent(pgn.lemma3, lambda found: (*found[:2], found[2] / 2)),
        "lemma3",
    ),
    "theorem 5 with norms of 2": (
        pgn,
        "theorem5",
        lambda w, b, x, f=pgn.theorem5: f([2 * t for t in w], b, x),
        "theorem5",
    ),
    "theorem 6 without the square": (
        pgn,
        "theorem6_gradient",
        bent(pgn.theorem6_gradient, torch.sqrt),
        "theorem6",
    ),
    "theorem 6 bounded by 1": (
        pgn,
        "theorem6_bound",
        bent(pgn.theorem6_bound, lambda t: t.clamp(max=1)),
        "theorem6",
    ),
    "hinge of unbounded outputs": (pgn, "penalty_gradient_normalized", lambda critic, *_: critic, "hinge"),
    "a field whose players agree": (
        numerics_games,
        "zero_sum_field",
        lambda f, n: lambda x: torch.func.grad(lambda x: f(x[:n], x[n:]))(x),
        "lemma1",
    ),
    "a matrix with + Q": (
        numerics_games,
        "zero_sum_matrix",
        lambda P, B, Q, f=numerics_games.zero_sum_matrix: f(P, B, -Q),
        "corollary2",
    ),
    "consensus of the wrong sign": (
        numerics_consensus,
        "consensus_matrix",
        lambda J, g, f=numerics_consensus.consensus_matrix: f(J, -g),
        "lemma7",
    ),
    "consensus left out": (numerics_consensus, "consensus_matrix", lambda J, g: J, "corollary8"),
    "lemma 9 as printed": (
        numerics_consensus,
        "lemma9_bound",
        always(numerics_consensus.lemma9_bound, printed=True),
        "lemma9",
    ),
    "lemma 4 without the imaginary part": (
        numerics_steps,
        "lemma4_largest_step",
        lambda e: -2 / e.real,
        "lemma4",
    ),
    "lemma 4 half as long": (
        numerics_steps,
        "lemma4_largest_step",
        lambda e: -e.real / e.abs() ** 2,
        "lemma4",
    ),
    "corollary 5 with four times the step": (
        numerics_rules,
        "lemma4_largest_step",
        lambda e: -8 * e.real / e.abs() ** 2,
        "corollary5",
    ),
    "lemma 6 with A transposed": (
        numerics_steps,
        "lemma6_jacobian",
        lambda v, A, x, h: torch.eye(len(x)) + h * A(x).T @ torch.func.jacrev(v)(x),
        "lemma6",
    ),
    "proposition 10 with twice the step": (
        numerics_steps,
        "lemma4_largest_step",
        lambda e: -4.4 / e.real,
        "proposition10",
    ),
    "proposition 14 in the other order": (
        numerics_rules,
        "proposition14_jacobian",
        bent(numerics_rules.proposition14_jacobian, lambda F: F.T),
        "proposition14",
    ),
    "proposition 14 taken simultaneous": (
        numerics_rules,
        "alternating",
        numerics_rules.simultaneous,
        "proposition14",
    ),
    "lemma 11 with gamma of the wrong sign": (
        numerics_modified,
        "lemma11_eigenvalues",
        lambda mu, g, f=numerics_modified.lemma11_eigenvalues: f(mu, -g),
        "lemma11",
    ),
    "corollary 12 with gamma unsquared": (
        numerics_modified,
        "corollary12_stable",
        lambda mu, g: mu.imag**2 < -mu.real * g,
        "corollary12",
    ),
    "eqn 41 as printed": (numerics_modified, "eqn41", always(numerics_modified.eqn41, printed=True), "eqn41"),
    "proposition 13 with another beta": (
        numerics_modified,
        "rescaled_step",
        lambda v, h, a, e, f=numerics_modified.rescaled_step: f(v, h, a, e / 9),
        "proposition13",
    ),
    "lemma 15 without the half": (
        numerics_batches,
        "lemma15_bias",
        lambda variance, B: variance / B,
        "lemma15",
    ),
    "debiased with 1/(B - 1)": (
        numerics_batches,
        "debiased",
        always(numerics_batches.debiased, unbiased_variance=True),
        "debiased",
    ),
    "debiased not at all": (
        numerics_batches,
        "debiased",
        lambda v, unbiased_variance=False: numerics_batches.half_square(v),
        "debiased",
    ),
    "the best D upside down": (
        survey_divergences,
        "optimal_logits",
        lambda p, q: q.log() - p.log(),
        "optimal_discriminator",
    ),
    "JSD without the half": (
        survey_divergences,
        "jensen_shannon",
        bent(survey_divergences.jensen_shannon, lambda t: 2 * t),
        "jensen_shannon",
    ),
    "KL + 2 JSD": (
        survey_divergences,
        "jensen_shannon",
        bent(survey_divergences.jensen_shannon, torch.neg),
        "kl_less_jsd",
    ),
    "KL the other way": (
        survey_divergences,
        "kullback_leibler",
        lambda p, q, f=survey_divergences.kullback_leibler: f(q, p),
        "kl_less_jsd",
    ),
    "W1 squared": (
        survey_wasserstein,
        "parallel_lines",
        lambda t: (t * t, LOG2 * bool(t), math.inf if t else 0.0),
        "parallel_lines",
    ),
    "a dual that is too large": (
        survey_wasserstein,
        "kantorovich",
        bent(survey_wasserstein.kantorovich, lambda found: (1.01 * found[0], found[1])),
        "kantorovich",
    ),
    "an extension that is too steep": (
        survey_wasserstein,
        "lipschitz_extension",
        lambda points, values, x: (values + 2 * torch.cdist(x, points)).amin(1),
        "kantorovich",
    ),
    "eqn 3 with ten times the gradient": (
        fargan,
        "input_gradient",
        bent(fargan.input_gradient, lambda found: (found[0], 10 * found[1])),
        "eqn3",
    ),
    "lemma 3 with a hundred times the largest": (
        pgn,
        "lemma3",
        bent(pgn.lemma3, lambda found: (*found[:2], 100 * found[2])),
        "lemma3",
    ),
    "theorem 5 halved at every layer": (
        pgn,
        "theorem5",
        bent(pgn.theorem5, lambda norms: norms / 2.0 ** torch.arange(1, len(norms) + 1)[:, None]),
        "theorem5",
    ),
    "theorem 5 without the activations": (pgn, "theorem5", unmasked, "theorem5"),
    **{
        f"theorem 6 bounded by {factor} times as much, {reading}": (
            pgn,
            "theorem6_bound",
            bent(pgn.theorem6_bound, lambda t, factor=factor: factor * t),
            f"theorem6 {reading}",
        )
        for reading in ("elementwise", "proof", "scalar")
        for factor in (2, math.inf)
    },
    "nothing is definite": (
        numerics_games,
        "is_negative",
        lambda M, strictly=True: torch.zeros(M.shape[:-2], dtype=torch.bool),
        "lemma1",
    ),
    "everything is definite": (
        numerics_games,
        "is_negative",
        lambda M, strictly=True: torch.ones(M.shape[:-2], dtype=torch.bool),
        "lemma1",
    ),
    **{
        f"consensus with J J^T in {check}": (
            numerics_consensus,
            "consensus_matrix",
            lambda J, g: J - torch.as_tensor(g, dtype=J.dtype)[..., None, None] * J @ J.mT,
            check,
        )
        for check in ("lemma7", "corollary8", "lemma9")
    },
    **{
        f"lemma 9 with a bound {factor} times as large": (
            numerics_consensus,
            "lemma9_bound",
            lambda A, g, printed=False, k=factor, f=numerics_consensus.lemma9_bound: (
                f(A, g, printed) * (1 if printed else k)
            ),
            "lemma9",
        )
        for factor in (1.01, 3.0, math.inf)
    },
    "lemma 9 with half the ratio": (
        numerics_consensus,
        "lemma9_ratio",
        bent(numerics_consensus.lemma9_ratio, lambda q: q / 2),
        "lemma9",
    ),
    **{
        f"momentum of J^T in {check}": (
            numerics_modified,
            "momentum_matrix",
            lambda J, g, f=numerics_modified.momentum_matrix: f(J.mT, g),
            check,
        )
        for check in ("lemma11", "corollary12")
    },
    "proposition 13 without |v|^2": (numerics_modified, "rescaled_step", without_square, "proposition13"),
    "a clipping bound ten times as large": (
        survey_wasserstein,
        "clipping_bound",
        bent(survey_wasserstein.clipping_bound, lambda bound: 10 * bound),
        "clipping",
    ),
    "a clipping bound without widths": (
        survey_wasserstein,
        "clipping_bound",
        lambda sizes, c: c ** (len(sizes) - 1),
        "clipping",
    ),
}


LONG = {"lemma1", "proposition10", "proposition13"}
"""Checks that take the longest."""


@pytest.mark.parametrize(
    "wrong",
    [pytest.param(w, marks=pytest.mark.slow if case[-1] in LONG else ()) for w, case in WRONG.items()],
)
def test_a_wrong_formula_fails(wrong, monkeypatch):
    module, name, replacement, check = WRONG[wrong]
    monkeypatch.setattr(module, name, replacement)
    check, *reading = check.split()
    assert getattr(module, f"check_{check}")(0, *reading).verdict == FAILS


NOTHING_TO_CORRECT = {
    "eqn 11": (fargan, "eqn11", "eqn11"),
    "eqn 14": (pgn_proof, "eqn14", "eqn14"),
    "eqn 30": (fargan_optimum, "eqn30", "eqn30"),
    "lemma 9": (numerics_consensus, "lemma9_bound", "lemma9"),
    "eqn 41": (numerics_modified, "eqn41", "eqn41"),
}


@pytest.mark.parametrize("name", NOTHING_TO_CORRECT)
def test_a_printed_formula_without_a_violation_is_not_called_false(name, monkeypatch):
    module, function, check = NOTHING_TO_CORRECT[name]
    monkeypatch.setattr(module, function, always(getattr(module, function), printed=False))
    assert getattr(module, f"check_{check}")(0).verdict == HOLDS


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_that_is_none_is_refused(seed):
    with pytest.raises(UsageError, match="seed"):
        statements.verify(seed)


# The command and its page


def columns(page: str) -> list[list[str]]:
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    return [re.split(r"(?<!\\)\|", row)[1:-1] for row in rows]


def numbers(text: str) -> list[float]:
    return [float(n) for n in re.findall(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?", text)]


@pytest.mark.slow
def test_committed_page_is_what_the_command_writes(verdicts):
    made, committed = statements.page(verdicts, 0), (ROOT / "docs" / "theory.md").read_text()
    assert made.split("##")[0] == committed.split("##")[0]
    for new, old in zip(columns(made), columns(committed), strict=True):
        assert [new[i] for i in (0, 1, 3, 4)] == [old[i] for i in (0, 1, 3, 4)]
        for a, b in zip(numbers(new[2]), numbers(old[2]), strict=True):
            # Rounding errors differ between machines.
            assert a == pytest.approx(b, rel=0.05, abs=1e-6), new[2]


EVERY = statements.STATEMENTS


@pytest.fixture
def few(monkeypatch):
    """Three quick statements, one of each expected verdict."""
    chosen = [
        s
        for s in statements.STATEMENTS
        if s.check in (fargan.check_eqn5, numerics_steps.check_lemma4, numerics_batches.check_debiased)
    ]
    monkeypatch.setattr(statements, "STATEMENTS", chosen)
    return chosen


def test_command_prints_claim_source_measured_and_verdict(few, command):
    done = command("verify", "--seed", 3)
    assert done.code == 0
    for word in ("Lemma 4", "Mescheder", "claim", "measured", "false as", "3 statements", "seed 3"):
        assert word in done.out


def test_command_prints_json_and_writes_the_page(few, command, tmp_path):
    done = command("verify", "--json", "--page", tmp_path / "page.md")
    rows = json.loads(done.out)
    assert done.code == 0
    for column in ("verdict", "expected"):
        assert [row[column] for row in rows] == [FALSE, HOLDS, AS_CORRECTED]
    assert set(rows[0]) == {"name", "source", "claim", "measured", "verdict", "cases", "expected"}
    assert (tmp_path / "page.md").read_text() == statements.page(statements.verify(0), 0)


def test_command_exits_with_1_when_a_verdict_is_not_the_expected_one(few, command, monkeypatch):
    few[1] = few[1]._replace(expected=FALSE)
    done = command("verify", "--json")
    assert done.code == 1
    assert "Lemma 4" in done.err
    assert "'false as printed' was expected" in done.err
    assert len(json.loads(done.out)) == 3


@pytest.mark.parametrize("seed", ["-1", "two", str(2**63)])
def test_command_refuses_a_bad_seed(seed, command):
    done = command("verify", "--seed", seed)
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert done.out == ""


def test_a_check_that_raises_is_a_verdict_on_its_statement_alone(few, command, monkeypatch):
    def broken(seed):
        raise ZeroDivisionError("by nothing")

    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    few[1] = few[1]._replace(check=broken)
    few += [s for s in EVERY if s.check is survey_wasserstein.check_kantorovich]
    done = command("verify", "--json")
    rows = json.loads(done.out)
    assert done.code == 1
    assert [row["verdict"] for row in rows] == [FALSE, FAILS, AS_CORRECTED, FAILS]
    assert (rows[1]["name"], rows[1]["measured"], rows[1]["cases"]) == (
        "Lemma 4",
        "ZeroDivisionError: by nothing",
        0,
    )
    assert rows[3]["measured"] == "optimal transport needs scipy: pip install 'steadygan[metrics]'"
    assert "steadygan[metrics]" in done.err
    assert command("verify").code == 1


def test_command_says_where_it_cannot_write(few, command, tmp_path):
    done = command("verify", "--page", tmp_path / "missing" / "page.md")
    assert done.code == 2
    assert "missing" in done.err
