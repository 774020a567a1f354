"""The papers' statements against tables, numeric maximisers, plain loops, brute force and finite differences.

The tables of numbers were derived apart from this code, by direct numeric maximisation.
"""

import itertools
import math
import sys
from functools import partial

import numpy as np
import pytest
import torch
from scipy import optimize

from steadygan import theory
from steadygan.dynamics import alternating, simultaneous
from steadygan.errors import UsageError
from steadygan.game.optimizers import sgd
from steadygan.theory import (
    fargan,
    fargan_optimum,
    numerics_batches,
    numerics_consensus,
    numerics_games,
    numerics_modified,
    numerics_rules,
    survey_divergences,
    survey_wasserstein,
)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def tensor(*rows) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


# FARGAN

PROPOSITION2 = [  # n = m = 64: m0, k, xi0, xi*, P
    (1, 0.01, 0.17797761, -0.17797761, 0.19377395),
    (1, 0.1, 0.01934237, -0.01934237, 0.01952942),
    (2, 0.01, -0.39018061, -0.85606044, 0.32697166),
    (4, 0.001, 0.55354751, -2.29834117, 2.59162407),
    (4, 0.01, -0.95072704, -1.51421248, 0.46188037),
    (4, 0.1, -1.33697872, -1.39885314, 0.04962340),
    (4, 10, -1.38579443, -1.38641937, 0.00049996),
    (8, 0.01, -1.52606644, -2.16780867, 0.57584894),
]
PROPOSITION3 = [  # n = m = 64, m0 = 4, k = .01: lam, xi0, xi*, P, what the printed formula gives
    (0.001, -0.74089790, -1.26995429, 0.41305279, 0.00134243),
    (0.01, 0.19017942, -0.16341272, 0.19120937, 0.01824011),
    (0.1, 1.98592592, 1.89163799, 0.01235717, 0.45040262),
    (1.0, 4.17457161, 4.16273664, 0.00018139, 15.26978),
]


@pytest.mark.parametrize(("m0", "k", "xi0", "xi_star", "P"), PROPOSITION2)
def test_proposition2_table(m0, k, xi0, xi_star, P):
    assert theory.proposition2(64, 64, m0, k) == pytest.approx((xi0, xi_star, P), abs=6e-9)


@pytest.mark.parametrize(("lam", "xi0", "xi_star", "P", "printed"), PROPOSITION3)
def test_proposition3_table(lam, xi0, xi_star, P, printed):
    found = theory.proposition3(64, 64, 4, 0.01, lam)
    assert found == pytest.approx((xi0, xi_star, P), abs=6e-9)
    assert theory.eqn30(found.xi0, 64, 64, 4, 0.01) == pytest.approx(lam, rel=1e-9)
    assert theory.eqn30(found.xi0, 64, 64, 4, 0.01, printed=True) == pytest.approx(printed, rel=1e-5)


def test_printed_eqn30_is_right_where_2nk_is_one():
    found = theory.proposition3(4, 4, 2, 0.125, 0.1)
    assert found == pytest.approx((0.22199482, -0.22273327, 0.24702611), abs=6e-9)
    both = [theory.eqn30(found.xi0, 4, 4, 2, 0.125, printed=p) for p in (True, False)]
    assert both == pytest.approx([0.1, 0.1])


def test_printed_eqn30_overflows_to_infinity():
    xi0 = theory.proposition3(128, 128, 1, 10, 10.0).xi0
    assert theory.eqn30(xi0, 128, 128, 1, 10, printed=True) == math.inf


@pytest.mark.parametrize(
    ("n", "m", "m0", "k", "lam"),
    [(64, 64, 4, 0.01, 0), (7, 30, 3, 0.2, 0), (50, 9, 5, 0.05, 0.03), (3, 8, 1, 1, 2)],
)
def test_maximiser_agrees_with_a_numeric_one(n, m, m0, k, lam):
    def loss(xi):  # numpy, from Eqns 7 and 9
        real, fakes = xi[0], xi[1:]
        softplus = partial(np.logaddexp, 0)  # -log sigmoid(-t)
        value = -softplus(-real) - n / m * softplus(fakes).sum() - n * k / m0 * ((real - fakes) ** 2).sum()
        return -(value - n * lam * softplus(-fakes).sum())

    best = optimize.minimize(loss, np.zeros(m0 + 1), tol=1e-12)
    found = theory.proposition3(n, m, m0, k, lam)
    np.testing.assert_allclose(best.x, [found.xi0, *[found.xi_star] * m0], atol=2e-5)
    own = fargan_optimum.objective(torch.tensor(best.x), n, m, k, lam)
    assert float(own) == pytest.approx(-best.fun, rel=1e-12)


def test_proposition2_limits():
    found = theory.proposition2(64, 32, 4, 1e9)
    assert found[:2] == pytest.approx([math.log(32 / (64 * 4))] * 2, abs=1e-8)
    pulls = [theory.proposition2(64, 64, 4, k).P for k in (1e-4, 1e-6, 1e-8)]
    assert pulls[0] < pulls[1] < pulls[2]
    assert pulls[2] > 10


@pytest.mark.parametrize(
    "bad", [(64, 64, 0, 1), (64, 4, 5, 1), (0, 4, 1, 1), (4, 4, 1, 0), (4, 4, 1, math.nan)]
)
def test_models_that_are_none_are_refused(bad):
    with pytest.raises(UsageError, match="m0"):
        theory.proposition2(*bad)
    with pytest.raises(UsageError, match="lam"):
        theory.proposition3(4, 4, 1, 1.0, -1.0)


@pytest.mark.parametrize(
    ("n", "m", "epsilon", "value"),
    [(64, 64, 0.5, -1.3736235765), (64, 64, 1, -1.3646335117), (100, 100, 0.1, -1.3843881575)],
)
def test_proposition1_objective_table(n, m, epsilon, value):
    assert fargan.proposition1_objective(n, m, epsilon) == pytest.approx(value, abs=6e-11)


@pytest.mark.parametrize("distance", [1.0, 0.1, 0.025])
def test_proposition1_separates_one_pair_and_no_other_sample(distance):
    x, y = normal(20, 6), normal(30, 6, seed=1)
    x, y = (t / t.norm(dim=1, keepdim=True) for t in (x, y))
    side = y[0] - (y[0] @ x[0]) * x[0]
    angle = 2 * math.asin(distance / 2)
    y[0] = math.cos(angle) * x[0] + math.sin(angle) * side / side.norm()
    D = theory.proposition1(x, y, epsilon=0.3)
    expected = np.full(20, 0.5), np.full(30, 0.5)
    expected[0][0], expected[1][0] = 0.65, 0.35
    np.testing.assert_allclose(D(x), expected[0], atol=1e-15)
    np.testing.assert_allclose(D(y), expected[1], atol=1e-15)
    assert D.parameters == 2 * 6 + 8
    if distance < 0.5:  # the other samples are further away, so the pair decides
        assert D.k1 == pytest.approx(160 / distance**2, rel=1e-6)


def test_proposition1_refuses_other_gaps_and_norms():
    unit = torch.eye(3)
    for epsilon in (0, -0.1, 1.5, math.nan):
        with pytest.raises(UsageError, match="epsilon"):
            theory.proposition1(unit, unit.flip(0), epsilon)
    with pytest.raises(UsageError, match="unit norm"):
        theory.proposition1(2 * unit, unit, 0.5)


def test_definition1_finds_all_pairs_of_many_points_far_from_0():
    """Distances from products of vectors lose pairs there, in float32."""
    g = torch.Generator().manual_seed(0)
    x = 100 + torch.arange(30.0)[:, None] * torch.ones(3)
    y = x + 0.01 * torch.rand(30, 3, generator=g)
    assert torch.equal(theory.definition1(x, y, 0.02), torch.eye(30, dtype=torch.bool))


def test_definition1_by_a_plain_loop():
    x, y = normal(6, 2), torch.cat([normal(6, 2) + 0.004, normal(3, 2, seed=2)])
    gap = min(math.dist(a, b) for a, b in itertools.combinations(x.tolist(), 2))
    for delta, wide in ((gap / 20, True), (gap / 5, False)):  # the second is not far below the gap
        expected = [[wide and math.dist(a, b) <= delta for b in y.tolist()] for a in x.tolist()]
        assert theory.definition1(x, y, delta).tolist() == expected
        assert not theory.definition1(x, y, delta, distinct=False).any()


def test_eqn5_is_half_of_the_norm_at_sixty_degrees():
    slope, step = tensor(3.0, 0.0), 1e-3 * tensor([0.5, math.sqrt(0.75)])
    found = theory.eqn5(lambda x: x @ slope, step, torch.zeros(1, 2, dtype=torch.float64))
    assert float(found) == pytest.approx(0.5 * 3 * 0.5)  # sigma(0) |grad D| cos 60


# PGN


@pytest.mark.parametrize(
    ("reading", "gradient", "bound"),
    [
        ("elementwise", [2.0], 2),
        ("elementwise", [1.1], 11),
        ("elementwise", [0.9] * 5, 9),
        ("elementwise", [0.5, 0.5], 1),
        ("scalar", [0.5], 1),
        ("scalar", [3.0, 4.0], 5 / 4),
        ("proof", [7.0, 1.0], 1),
        ("proof", [0.0], 0),
    ],
)
def test_theorem6_bound_by_hand(reading, gradient, bound):
    assert float(theory.theorem6_bound(tensor(gradient), reading)) == pytest.approx(bound)


def test_elementwise_bound_is_one_exactly_up_to_half_the_dimension():
    gradient = normal(1000, 4) + 0.5
    bounded = theory.theorem6_bound(gradient, "elementwise") <= 1
    assert torch.equal(bounded, gradient.sum(1) <= 2)
    assert 100 < int(bounded.sum()) < 900


@pytest.mark.parametrize("reading", ["elementwise", "proof", "scalar"])
def test_theorem6_gradient_against_finite_differences(reading):
    slope, shift, x, step = np.array([0.7, -1.3, 0.4]), 0.3, np.array([0.2, 0.5, -0.1]), 1e-6
    c = {
        "elementwise": math.dist(slope, [1, 1, 1]),
        "proof": math.dist(slope, [0, 0, 0]),
        "scalar": abs(1 - math.dist(slope, [0, 0, 0])),
    }[reading]

    def normalized(x):
        g = 1 - (slope @ x + shift)
        return g / (c + abs(g))

    numeric = [(normalized(x + step * e) - normalized(x - step * e)) / (2 * step) for e in np.eye(3)]
    found = theory.theorem6_gradient(tensor(slope @ x + shift), torch.tensor(slope)[None], reading)
    assert float(found) == pytest.approx(np.linalg.norm(numeric), rel=1e-8)


@pytest.mark.parametrize("printed", [True, False])
def test_eqn11_by_hand(printed):
    """D = 2 x - 1 at c = (1, 0), y = -1: logits 1, -1 and -3, |grad D|^2 = 4."""

    def log_sigmoid(t):
        return -math.log1p(math.exp(-t))

    gain = (log_sigmoid(1) + log_sigmoid(-1)) / 2 + log_sigmoid(3)
    found = theory.eqn11(lambda x: 2 * x[:, 0] - 1, tensor([1.0], [0.0]), tensor([-1.0]), 0.3, printed)
    assert float(found) == pytest.approx(gain + (1.2 if printed else -1.2), rel=1e-12)


def test_eqn14_is_the_derivative_by_the_weight_of_a_line():
    """f = w x at x = .2, w = 1.5: f^ = (1 - w x)/(|w| + |1 - w x|), as in the counterexample of spec G."""

    def normalized(w):
        return (1 - 0.2 * w) / (abs(w) + abs(1 - 0.2 * w))

    numeric = (normalized(1.5 + 1e-6) - normalized(1.5 - 1e-6)) / 2e-6
    found = [float(theory.eqn14(*tensor(0.3, 1.5, 0.2, 1.0), printed=p)) for p in (False, True)]
    assert found[0] == pytest.approx(numeric, abs=1e-9)
    assert found == pytest.approx([-1 / 4.84, -0.4 / 4.84], rel=1e-12)


@pytest.mark.parametrize(("f", "c"), [(0.25, 1.0), (0.5, 3.0), (2.0, 0.5), (-1.0, 2.0)])
def test_eqn26_is_the_difference_of_the_chains_ends(f, c):
    ends = (c + abs(f)) ** 2, (c + abs(1 - f)) ** 2
    assert float(theory.eqn26(*tensor(f, c))) == pytest.approx(ends[0] - ends[1], abs=1e-12)


def test_lemma3_on_a_sine():
    x, y = tensor([2.0]), tensor([-1.0])
    quotient, slope, largest = theory.lemma3(lambda x: torch.sin(x[:, 0]), x, y)
    assert float(quotient) == pytest.approx((math.sin(2) + math.sin(1)) / 3)
    assert float(slope) == pytest.approx(float(quotient), abs=1e-12)
    assert float(quotient) < float(largest) <= 1


def test_theorem5_norms_are_those_of_automatic_differentiation():
    weights, biases, x = [normal(5, 3), normal(4, 5)], [normal(5), normal(4)], normal(7, 3)

    def run(x, layers):
        for weight, bias in zip(weights[:layers], biases, strict=False):
            x = (weight @ x + bias).relu()
        return x

    jacobians = [[torch.func.jacrev(partial(run, layers=k))(row) for row in x] for k in (1, 2)]
    expected = [[np.linalg.norm(j.numpy(), 2) for j in layer] for layer in jacobians]
    np.testing.assert_allclose(theory.theorem5(weights, biases, x), expected, rtol=1e-12)


# The Numerics of GANs

BILINEAR = tensor([0.0, 1.0], [-1.0, 0.0])


def test_steps_on_the_bilinear_game():
    h, one = 0.1, torch.eye(2, dtype=torch.float64)

    def radius(matrix):
        return max(abs(np.linalg.eigvals(matrix.numpy())))

    assert radius(one + h * BILINEAR) == pytest.approx(1.004988, abs=1e-6)
    assert radius(theory.proposition14_jacobian(BILINEAR, 1, h)) == pytest.approx(1, abs=1e-12)
    for gamma, expected, largest in ((1.0, 0.905539, 1.0), (0.1, 0.995038, 0.198020)):
        AJ = numerics_consensus.consensus_matrix(BILINEAR, gamma)
        assert radius(one + h * AJ) == pytest.approx(expected, abs=1e-6)
        steps = theory.lemma4_largest_step(torch.linalg.eigvals(AJ))
        assert steps.tolist() == pytest.approx([largest] * 2, abs=1e-6)


def test_lemma4_by_bisection():
    for eigenvalue in (-1 + 3j, -2 + 0j, -0.1 - 5j):
        low, high = 1e-9, 100.0
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if abs(1 + middle * eigenvalue) < 1 else (low, middle)
        assert float(theory.lemma4_largest_step(torch.tensor(eigenvalue))) == pytest.approx(low, rel=1e-6)
    assert float(theory.lemma4_largest_step(torch.tensor(-1 - 3j))) == pytest.approx(0.2)
    with pytest.raises(UsageError, match="negative real part"):
        theory.lemma4_largest_step(torch.tensor([-1.0, 0.0]))


@pytest.mark.parametrize("rule", ["simultaneous", "alternating"])
def test_step_jacobian_against_a_plain_loop(rule):
    J = normal(5, 5)
    for block in (slice(0, 2), slice(2, 5)):
        J[block, block] = J[block, block] + J[block, block].T
    h, x0 = 0.05, normal(5, seed=3).numpy()

    def step(x):
        x, start = x.copy(), x.copy()
        for own in (slice(0, 2), slice(2, 5)):
            seen = start if rule == "simultaneous" else x
            x[own] = x[own] + h * (J.numpy()[own] @ seen + 3 * seen[own].sum() ** 2)
        return x

    numeric = np.stack([(step(x0 + 1e-6 * e) - step(x0 - 1e-6 * e)) / 2e-6 for e in np.eye(5)], 1)
    made = {"simultaneous": simultaneous, "alternating": alternating}[rule]
    game = numerics_rules.quadratic_game(J, 2)
    found = numerics_rules.step_jacobian(made(game, {"D": sgd(h), "G": sgd(h)}), torch.tensor(x0), 2)
    np.testing.assert_allclose(found, numeric, atol=1e-8)


def test_zero_sum_field_and_matrix_agree_with_the_quadratic_form():
    P, Q, B, x = normal(2, 2), normal(3, 3, seed=1), normal(2, 3, seed=2), normal(5, seed=3)
    P, Q = P + P.T, Q + Q.T

    def f(phi, theta):
        return phi @ P @ phi / 2 + phi @ B @ theta + theta @ Q @ theta / 2

    expected = np.concatenate([P @ x[:2] + B @ x[2:], -(Q @ x[2:] + B.T @ x[:2])])
    np.testing.assert_allclose(numerics_games.zero_sum_field(f, 2)(x), expected, rtol=1e-12)
    np.testing.assert_allclose(numerics_games.zero_sum_matrix(P, B, Q) @ x, expected, rtol=1e-12)


def test_definiteness_is_that_of_the_form_and_not_of_the_eigenvalues():
    shear = tensor([-1.0, 10.0], [0.0, -1.0])  # both eigenvalues -1, but w^T M w > 0 at (1, 1)
    assert not numerics_games.is_negative(shear)
    assert not numerics_games.is_negative(shear, strictly=False)
    assert numerics_games.is_negative(BILINEAR, strictly=False)
    assert not numerics_games.is_negative(BILINEAR)


@pytest.mark.parametrize("b", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("gamma", [0.1, 1.0])
def test_lemma9_on_rotations_by_hand(b, gamma):
    A = b * BILINEAR
    assert float(theory.lemma9_ratio(A, gamma)) == pytest.approx(1 / (gamma * b))
    assert float(theory.lemma9_bound(A, gamma)) == pytest.approx(1 / (gamma * b))  # attained
    assert float(theory.lemma9_bound(A, gamma, printed=True)) == pytest.approx(1 / (2 * b * b * gamma))


def test_lemma9_constant_by_brute_force():
    rng = np.random.default_rng(0)
    for n in (2, 3):
        S, K = rng.normal(size=(n, n)), rng.normal(size=(n, n))
        A = -S @ S.T + K - K.T
        found = float(theory.lemma9_constant(torch.tensor(A)))

        def ratio(w, A=A, n=n):
            v = w[:n] + 1j * w[n:]
            return abs(v.conj() @ (A + A.T) @ v) / abs(v.conj() @ (A - A.T) @ v)

        least = min(
            optimize.minimize(
                ratio, rng.normal(size=2 * n), method="Nelder-Mead", options={"xatol": 1e-10}
            ).fun
            for _ in range(20)
        )
        assert found == pytest.approx(least, rel=1e-3)


def test_lemma9_corrected_bound_holds_on_ten_thousand_matrices():
    rng = np.random.default_rng(7)
    violated = 0
    for n, count in ((2, 5000), (3, 2500), (5, 2500)):
        R, K = rng.normal(size=(count, n, n)), rng.normal(size=(count, n, n))
        size = rng.choice([0.0, 0.01, 1.0] if n == 2 else [0.01, 1.0], (count, 1, 1))
        A = -size * R @ R.swapaxes(1, 2)
        A = A + rng.uniform(0.1, 5, (count, 1, 1)) * (K - K.swapaxes(1, 2))
        gamma = rng.uniform(0.01, 5, count)
        eigenvalues = np.linalg.eigvals(A - gamma[:, None, None] * A.swapaxes(1, 2) @ A)
        q = (abs(eigenvalues.imag) / abs(eigenvalues.real)).max(1)
        args = torch.tensor(A), torch.tensor(gamma)
        assert (q <= theory.lemma9_bound(*args).numpy() * (1 + 1e-6)).all()
        violated += int((q > theory.lemma9_bound(*args, printed=True).numpy() * (1 + 1e-6)).sum())
    assert violated > 500


def test_lemma11_roots_are_those_of_the_characteristic_polynomial():
    for mu, gamma in ((-2.0, 3.0), (-1 + 2j, 0.5), (0.5, -1.0)):
        expected = np.sort_complex(np.roots([1, gamma, -mu]))
        found = theory.lemma11_eigenvalues(torch.tensor(mu, dtype=torch.complex128), gamma)
        np.testing.assert_allclose(np.sort_complex(found.numpy()), expected, atol=1e-12)


def test_corollary12_stable_where_the_roots_are():
    mu = torch.complex(-normal(500).abs(), normal(500, seed=1))
    for gamma in (0.3, 1.0, 3.0):
        roots = np.array([np.roots([1, gamma, -m]).real.max() for m in mu.numpy()])
        np.testing.assert_array_equal(theory.corollary12_stable(mu, gamma), roots < 0)
    with pytest.raises(UsageError, match="gamma"):
        theory.corollary12_stable(mu, 0.0)


def test_eqn41_against_finite_differences():
    M, h, alpha, eps = np.array([[-1.0, 2.0], [-0.5, -1.5]]), 0.3, 0.4, 0.2
    point = np.array([0.7, -0.4, 0.9])

    def step(p):
        v = M @ p[:2] + p[:2] ** 2
        return np.append(p[:2] + h * v / math.sqrt(p[2] + eps), (1 - alpha) * p[2] + alpha * v @ v)

    numeric = np.stack([(step(point + 1e-6 * e) - step(point - 1e-6 * e)) / 2e-6 for e in np.eye(3)], 1)

    def v(x):
        return torch.tensor(M) @ x + x**2

    exact, printed = (theory.eqn41(v, torch.tensor(point), h, alpha, eps, p).numpy() for p in (False, True))
    np.testing.assert_allclose(exact, numeric, atol=1e-8)
    np.testing.assert_allclose(exact[2, :2], 2 * printed[2, :2])
    np.testing.assert_allclose(
        numerics_modified.rescaled_step(v, h, alpha, eps)(torch.tensor(point)), step(point), rtol=1e-12
    )


def test_bias_and_debiasing_by_monte_carlo():
    rng, B = np.random.default_rng(0), 4
    mean, scale = np.array([1.0, -2.0, 0.5]), np.array([1.0, 2.0, 0.5])
    v = torch.tensor(mean + scale * rng.normal(size=(200_000, B, 3)))
    truth, variance = (mean**2).sum() / 2, (scale**2).sum()
    assert float(numerics_batches.half_square(v).mean()) == pytest.approx(
        truth + theory.lemma15_bias(variance, B), rel=1e-2
    )
    assert float(numerics_batches.debiased(v).mean()) == pytest.approx(truth, rel=1e-2)
    over = truth - variance / (2 * B * (B - 1))
    assert float(numerics_batches.debiased(v, unbiased_variance=True).mean()) == pytest.approx(over, rel=1e-2)


def test_debiased_is_the_mean_over_pairs():
    v = normal(5, 3)
    pairs = [float(a @ b) for a, b in itertools.permutations(v, 2)]
    assert float(numerics_batches.debiased(v)) == pytest.approx(sum(pairs) / len(pairs) / 2)
    with pytest.raises(UsageError, match="at least 2"):
        numerics_batches.debiased(v[:1])


# The survey

P, Q = tensor(0.7, 0.2, 0.1), tensor(0.1, 0.3, 0.6)


def test_divergences_by_hand():
    assert float(survey_divergences.jensen_shannon(P, Q)) == pytest.approx(0.2306454879, abs=1e-10)
    assert float(survey_divergences.kullback_leibler(Q, P)) == pytest.approx(1.0021041991, abs=1e-10)
    best = survey_divergences.optimal_logits(P, Q)
    assert float(survey_divergences.value(best, P, Q)) == pytest.approx(-0.9250033853, abs=1e-10)
    assert float(survey_divergences.generator_loss(best, Q)) == pytest.approx(1.4557864482, abs=1e-10)


def test_generator_gradients_by_hand():
    w, best = Q.log(), survey_divergences.optimal_logits(P, Q)

    def again(w):
        return survey_divergences.generator_loss(
            survey_divergences.optimal_logits(P, w.softmax(0)), w.softmax(0)
        )

    found = {
        "frozen": torch.func.grad(lambda w: survey_divergences.generator_loss(best, w.softmax(0)))(w),
        "saturating": torch.func.grad(
            lambda w: survey_divergences.generator_loss(best, w.softmax(0), saturating=True)
        )(w),
        "optimised again": torch.func.grad(again)(w),
    }
    expected = {
        "frozen": [-0.13222551, -0.16184872, 0.29407422],
        "saturating": [-0.16257593, -0.01714301, 0.17971894],
        "optimised again": [-0.19040408, -0.19388443, 0.38428851],
    }
    for name, gradient in found.items():
        np.testing.assert_allclose(gradient, expected[name], atol=6e-9, err_msg=name)


def test_transport_on_a_line_is_that_of_sorted_samples():
    x, y = normal(9, 1), normal(9, 1, seed=1)
    expected = float((x.sort(0).values - y.sort(0).values).abs().mean())
    assert survey_wasserstein.wasserstein1(x, y) == pytest.approx(expected, rel=1e-9)
    assert survey_wasserstein.kantorovich(x, y)[0] == pytest.approx(expected, rel=1e-9)


def test_transport_is_the_best_assignment_and_its_critic_is_1_lipschitz():
    x, y = normal(7, 3), normal(7, 3, seed=1)
    cost = torch.cdist(x, y).numpy()
    best = cost[optimize.linear_sum_assignment(cost)].mean()
    value, critic = survey_wasserstein.kantorovich(x, y)
    assert [survey_wasserstein.wasserstein1(x, y), value] == pytest.approx([best] * 2, rel=1e-9)
    assert float(critic[:7].mean() - critic[7:].mean()) == pytest.approx(best, rel=1e-9)
    points = torch.cat([x, y])
    assert ((critic[:, None] - critic).abs() <= torch.cdist(points, points) + 1e-9).all()
    np.testing.assert_allclose(
        survey_wasserstein.lipschitz_extension(points, critic, points), critic, atol=1e-9
    )


def test_transport_of_weights_that_are_no_distribution_is_refused():
    x = normal(2, 1)
    for weights in (tensor(0.5, 0.6), tensor(1.5, -0.5), tensor(1.0)):
        with pytest.raises(UsageError, match="sum to 1"):
            survey_wasserstein.wasserstein1(x, x, weights)


def test_transport_without_scipy_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(UsageError, match=r"steadygan\[metrics\]"):
        survey_wasserstein.wasserstein1(normal(2, 1), normal(2, 1))


def test_clipping_bound_is_reached_by_equal_weights():
    sizes, c = (3, 5, 4, 1), 0.2
    slope = np.linalg.multi_dot([np.full((o, i), c) for i, o in itertools.pairwise(sizes)][::-1])
    assert survey_wasserstein.clipping_bound(sizes, c) == pytest.approx(np.linalg.norm(slope, 2))


NONE = {
    "one real point": lambda: theory.definition1(torch.zeros(1, 2), torch.zeros(3, 2), 0.1),
    "a reading of the bound": lambda: theory.theorem6_bound(torch.ones(1, 2), "typo"),
    "a reading of the gradient": lambda: theory.theorem6_gradient(torch.ones(1), torch.ones(1, 2), "prof"),
    "no points": lambda: survey_wasserstein.wasserstein1(torch.zeros(0, 2), torch.zeros(3, 2)),
    "no points to go to": lambda: survey_wasserstein.kantorovich(torch.zeros(3, 2), torch.zeros(0, 2)),
    "nowhere": lambda: survey_divergences.optimal_logits(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.0])),
    "on one side": lambda: survey_divergences.optimal_logits(
        torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.0])
    ),
    "not a number": lambda: survey_divergences.optimal_logits(torch.tensor([math.nan]), torch.tensor([1.0])),
}


@pytest.mark.parametrize("what", NONE)
def test_what_has_no_answer_is_refused(what):
    with pytest.raises(UsageError):
        NONE[what]()


def test_public_functions_have_a_doctest():
    functions = [
        getattr(theory, name) for name in theory.__all__ if not isinstance(getattr(theory, name), tuple)
    ]
    bare = [f.__name__ for f in functions if ">>>" not in f.__doc__ and not hasattr(f, "_fields")]
    assert bare == ["verify"]  # seconds long
