"""The Numerics of GANs on modified ascent: momentum, and the rescaling of RMSProp and Adam.

Source: Mescheder, Nowozin and Geiger 2017, supplement.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from steadygan.errors import UsageError
from steadygan.theory import cases
from steadygan.theory.numerics_steps import lemma4_largest_step
from steadygan.theory.verdicts import FALSE, NUMERICS, Verdict, judge

__all__ = [
    "check_corollary12",
    "check_eqn41",
    "check_lemma11",
    "check_proposition13",
    "corollary12_stable",
    "eqn41",
    "lemma11_eigenvalues",
    "momentum_matrix",
    "rescaled_step",
]


def momentum_matrix(J: Tensor, gamma: float | Tensor) -> Tensor:
    """G' = [[0, I], [J, -gamma I]] of gradient ascent with momentum, for J = v' [..., n, n]: [..., 2n, 2n].

    Mescheder 2017, supplement, Eqn 36.

    >>> momentum_matrix(torch.tensor([[-2.0]]), 0.5)
    tensor([[ 0.0000,  1.0000],
            [-2.0000, -0.5000]])
    """
    one = torch.eye(J.shape[-1], dtype=J.dtype).expand(J.shape)
    gamma = torch.as_tensor(gamma, dtype=J.dtype)[..., None, None]
    return torch.cat([torch.cat([0 * one, one], -1), torch.cat([J, -gamma * one], -1)], -2)


def _is_momentum(J: Tensor, gamma: Tensor) -> Tensor:
    """Whether `momentum_matrix` is the derivative of (x, u) -> (u, v(x) - gamma u), v(x) = J x, for each J: [N]."""

    def flow(point: Tensor, J: Tensor, gamma: Tensor) -> Tensor:
        x, u = point.chunk(2)
        return torch.cat([u, J @ x - gamma * u])

    zero = torch.zeros(len(J), 2 * J.shape[-1], dtype=J.dtype)
    exact = torch.vmap(torch.func.jacrev(flow))(zero, J, gamma)
    return (exact - momentum_matrix(J, gamma)).abs().amax((1, 2)) <= 1e-12


def lemma11_eigenvalues(mu: Tensor, gamma: float | Tensor) -> Tensor:
    """Both roots of lambda (lambda + gamma) = mu: the eigenvalues of momentum's G' for an eigenvalue mu of v'.

    (-gamma +- sqrt(gamma^2 + 4 mu))/2, complex, [..., 2]. Mescheder 2017, supplement, Lemma 11.

    >>> lemma11_eigenvalues(torch.tensor(-2.0), 3.0)
    tensor([-1.+0.j, -2.+0.j])
    """
    gamma = torch.as_tensor(gamma, dtype=mu.real.dtype)
    root = (gamma**2 + 4 * mu + 0j).sqrt()
    return torch.stack([root - gamma, -root - gamma], -1) / 2


def check_lemma11(seed: int = 0) -> Verdict:
    """The eigenvalues of G' against the roots for the eigenvalues of v': equal as sets.

    >>> check_lemma11().verdict
    'holds'
    """
    g = cases.generator(seed)
    apart, right = [], []
    for n in range(1, 6):
        J, gamma = cases.normal(g, 200, n, n), cases.uniform(g, -2, 2, 200)
        right.append(_is_momentum(J, gamma))
        whole = torch.linalg.eigvals(momentum_matrix(J, gamma))
        roots = lemma11_eigenvalues(torch.linalg.eigvals(J), gamma[:, None]).flatten(1)
        distance = (whole[:, :, None] - roots[:, None, :]).abs()
        apart.append(torch.maximum(distance.amin(1).amax(1), distance.amin(2).amax(1)))
    error = torch.cat(apart)
    return Verdict(
        "Lemma 11",
        NUMERICS,
        "lambda is an eigenvalue of momentum's G' iff lambda (lambda + gamma) is one of v'",
        f"the two sets of eigenvalues agree to {error.max():.0e}",
        judge((error <= 1e-4) & torch.cat(right)),
        len(error),
    )


def corollary12_stable(mu: Tensor, gamma: float | Tensor) -> Tensor:
    """Whether momentum has only eigenvalues with negative real part at mu = -a + bi of v': b^2 < a gamma^2.

    This holds for every real negative mu, as the corollary says. For complex mu, plain ascent can be stable where
    momentum is not. Raises UsageError unless gamma > 0. Derived from Mescheder 2017, supplement, Corollary 12.

    >>> corollary12_stable(torch.tensor([-1 + 0j, -1 + 2j]), 1.0)
    tensor([ True, False])
    """
    if not bool((torch.as_tensor(gamma) > 0).all()):
        raise UsageError("Corollary 12 takes a positive gamma")
    return mu.imag**2 < -mu.real * torch.as_tensor(gamma) ** 2


def check_corollary12(seed: int = 0) -> Verdict:
    """Fields with real negative eigenvalues; and fields with complex ones, where momentum can be unstable.

    >>> check_corollary12().verdict
    'holds'
    """
    g = cases.generator(seed)
    radii, right = [], []
    gamma = cases.log_uniform(g, 0.1, 3, 200)
    for n in range(1, 6):
        S = cases.normal(g, 200, n, n) / n + 2 * torch.eye(n, dtype=torch.float64)
        eigenvalues = -cases.log_uniform(g, 0.1, 3, 200, n)
        J = torch.linalg.solve(S, eigenvalues[:, :, None] * S)
        G = momentum_matrix(J, gamma)
        right.append(_is_momentum(J, gamma))
        h = lemma4_largest_step(lemma11_eigenvalues(eigenvalues, gamma[:, None]).flatten(1)).amin(1) / 2
        radii.append(cases.spectral_radius(torch.eye(2 * n, dtype=torch.float64) + h[:, None, None] * G))
    radius = torch.cat(radii)
    mu = torch.linalg.eigvals(cases.stable(g, 200, 4, 4))
    roots = lemma11_eigenvalues(mu, gamma[:, None]).real.amax(-1)
    rule = corollary12_stable(mu, gamma[:, None]) == (roots < 0)
    lost = int((roots.amax(1) >= 0).sum())
    return Verdict(
        "Corollary 12",
        NUMERICS,
        "gamma > 0 and real negative eigenvalues of v': momentum converges for small h",
        f"spectral radius at most {radius.max():.4f} at half of the step of Lemma 4; with complex eigenvalues of "
        f"negative real part {lost} of 200 fields are unstable at any h",
        judge((radius < 1).all() & rule & torch.cat(right).all()),
        len(radius),
    )


def rescaled_step(
    v: Callable[[Tensor], Tensor], h: float | Tensor, alpha: float | Tensor, eps: float | Tensor
) -> Callable[[Tensor], Tensor]:
    """The step F of rescaled ascent on (x, beta) as one vector [n + 1], with one beta for all coordinates.

    x <- x + h v(x)/sqrt(beta + eps), beta <- (1 - alpha) beta + alpha |v(x)|^2. Mescheder 2017, supplement, Eqn 40.

    >>> rescaled_step(lambda x: -x, h=0.1, alpha=0.5, eps=1.0)(torch.tensor([2.0, 3.0]))
    tensor([1.9000, 3.5000])
    """

    def step(point: Tensor) -> Tensor:
        x, beta = point[:-1], point[-1:]
        moved = v(x)
        return torch.cat([x + h / (beta + eps).sqrt() * moved, (1 - alpha) * beta + alpha * moved @ moved])

    return step


def eqn41(
    v: Callable[[Tensor], Tensor],
    point: Tensor,
    h: float,
    alpha: float,
    eps: float,
    printed: bool = False,
) -> Tensor:
    """F'(x, beta) of `rescaled_step` at a point [n + 1]: [n + 1, n + 1].

    [[I + h v'/s, -h v/(2 s^3)], [2 alpha v^T v', 1 - alpha]] with s = sqrt(beta + eps). The `printed` form has
    alpha in place of 2 alpha. At a zero of v both are equal. Mescheder 2017, supplement, Eqn 41.

    >>> eqn41(lambda x: -x, torch.tensor([2.0, 3.0]), h=0.1, alpha=0.5, eps=1.0)
    tensor([[0.9500, 0.0125],
            [2.0000, 0.5000]])
    """
    x, s = point[:-1], (point[-1] + eps).sqrt()
    here, J = v(x), torch.func.jacrev(v)(x)
    own = torch.eye(len(x), dtype=x.dtype) + h / s * J
    beside = -h / (2 * s**3) * here
    below = (1 if printed else 2) * alpha * here @ J
    return torch.cat(
        [torch.cat([own, beside[:, None]], 1), torch.cat([below, 1 - alpha + 0 * s[None]])[None]]
    )


def curved(M: Tensor, bend: Tensor, x: Tensor) -> Tensor:
    """The field M x + (x^T bend_i x)_i, for x [n], M [n, n], bend [n, n, n]: [n]."""
    return M @ x + torch.einsum("ijk,j,k->i", bend, x, x)


def check_eqn41(seed: int = 0) -> Verdict:
    """Both formulas against automatic differentiation of the step.

    >>> check_eqn41().verdict
    'false as printed'
    """
    g = cases.generator(seed)
    errors: dict[bool, list[Tensor]] = {True: [], False: []}
    for _ in range(50):
        M, bend = cases.normal(g, 3, 3), cases.normal(g, 3, 3, 3)
        v = partial(curved, M, bend)
        point = torch.cat([cases.normal(g, 3), cases.uniform(g, 0, 2, 1)])
        h, alpha, eps = (float(cases.uniform(g, 0.1, 0.9)) for _ in range(3))
        exact = torch.func.jacrev(rescaled_step(v, h, alpha, eps))(point)
        for form, found in errors.items():
            found.append((eqn41(v, point, h, alpha, eps, printed=form) - exact).norm() / exact.norm())
    printed, corrected = (torch.stack(errors[p]) for p in (True, False))
    example = [
        float(eqn41(lambda x: -x, torch.ones(2), 1.0, 0.5, 1.0, printed=p)[1, 0]) for p in (True, False)
    ]
    return Verdict(
        "Eqn 41 (Proposition 13)",
        NUMERICS,
        "the Jacobian of rescaled ascent has alpha v'^T v in its lower left block",
        f"v = -x, x = 1, alpha = .5: printed {example[0]:.3g}, derivative {example[1]:.3g}; relative error of the "
        f"Jacobian: as printed {printed.min():.1e} to {printed.max():.1g}, with 2 alpha {corrected.max():.0e}",
        judge(printed <= 1e-9, corrected <= 1e-9, FALSE),
        len(printed),
    )


def _steady(v: Tensor, beta: Tensor, h: Tensor, alpha: Tensor, eps: Tensor) -> Tensor:
    """beta after one rescaled step in a constant field v [n]."""
    return rescaled_step(lambda x: v, h, alpha, eps)(torch.cat([v, beta[None]]))[-1]


def check_proposition13(seed: int = 0) -> Verdict:
    """Rescaled ascent from a start near the fixed point, and the eigenvalues of its step there.

    >>> check_proposition13().verdict
    'holds'
    """
    g = cases.generator(seed)
    count, n, steps = 100, 3, 2000
    J, bend = cases.stable(g, count, n, n), cases.normal(g, count, n, n, n)
    eps, alpha = cases.log_uniform(g, 1e-3, 1, count), cases.uniform(g, 0.05, 0.95, count)
    h = eps.sqrt() * lemma4_largest_step(torch.linalg.eigvals(J)).amin(1) / 2
    radius = cases.spectral_radius(torch.eye(n, dtype=torch.float64) + (h / eps.sqrt())[:, None, None] * J)

    def step(point: Tensor, J: Tensor, bend: Tensor, h: Tensor, alpha: Tensor, eps: Tensor) -> Tensor:
        return rescaled_step(partial(curved, J, bend), h, alpha, eps)(point)

    zero = torch.zeros(count, n + 1, dtype=torch.float64)
    found = cases.spectral_radius(torch.vmap(torch.func.jacrev(step))(zero, J, bend, h, alpha, eps))
    expected = torch.maximum(radius, 1 - alpha)
    point = start = 1e-6 * eps[:, None] * torch.cat([cases.normal(g, count, n), torch.ones(count, 1)], 1)
    for _ in range(steps):
        point = torch.vmap(step)(point, J, bend, h, alpha, eps)
    shrunk = point.norm(dim=1) / start.norm(dim=1)
    # beta is a running mean of |v|^2, so for a constant v its fixed point is |v|^2.
    steady = cases.normal(g, count, n)
    square = steady.square().sum(1)
    allowed = (1e3 * expected ** (steps / 2)).clamp(1e-12, 0.5)
    after = torch.vmap(_steady)(steady, square, h, alpha, eps)
    return Verdict(
        "Proposition 13",
        NUMERICS,
        "eigenvalues of I + h v'/sqrt(eps) in the unit ball, alpha in (0, 1): rescaled ascent converges",
        f"spectral radius at the fixed point is that of I + h v'/sqrt(eps) or 1 - alpha to "
        f"{(found - expected).abs().max():.0e}; after {steps} steps at most {shrunk.max():.0e} of the distance "
        f"is left (h = 1e-4, eps = 1e-10 is a step size of {1e-4 / 1e-10**0.5:.0f})",
        judge(((found - expected).abs() <= 1e-6) & (shrunk <= allowed) & ((after - square).abs() <= 1e-9)),
        count,
    )
