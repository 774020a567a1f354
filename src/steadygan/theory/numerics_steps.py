"""The Numerics of GANs on fixed points: when x <- F(x) converges, and how large a step may be.

Source: Mescheder, Nowozin and Geiger 2017, supplement.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from steadygan.errors import UsageError
from steadygan.theory import cases
from steadygan.theory.verdicts import AS_CORRECTED, NUMERICS, Verdict, judge

__all__ = [
    "check_lemma4",
    "check_lemma6",
    "check_numerics_proposition3",
    "check_proposition10",
    "lemma4_largest_step",
    "lemma6_jacobian",
]


def check_numerics_proposition3(seed: int = 0) -> Verdict:
    """Non-linear maps with a simple or a defective dominant eigenvalue, from a start near the fixed point.

    >>> check_numerics_proposition3().verdict
    'holds as corrected'
    """
    g = cases.generator(seed)
    count, n = 200, 4
    jordan = torch.arange(count) % 2 == 0
    rate = cases.uniform(g, 0.5, 0.8, count)  # 0.4^400 would underflow in a norm
    T = torch.triu(cases.normal(g, count, n, n), 1) / 4 + torch.diag_embed(
        cases.uniform(g, -0.7, 0.7, count, n)
    )
    angle = cases.uniform(g, 0.3, 2.8, count)
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(-1, 2, 2)
    block = torch.tensor([[1.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
    T[:, :2, :2] = torch.where(jordan[:, None, None], block, turn)
    Q = torch.linalg.qr(cases.normal(g, count, n, n))[0]
    J, bend = rate[:, None, None] * Q @ T @ Q.mT, cases.normal(g, count, n, n, n)
    x = 1e-4 * cases.normal(g, count, n)
    error = []
    for _ in range(400):
        x = torch.einsum("bij,bj->bi", J, x) + torch.einsum("bijk,bj,bk->bi", bend, x, x)
        error.append(x.norm(dim=1))
    e, k = torch.stack(error, 1), torch.arange(1, 401)
    windows = [slice(100, 200), slice(300, 400)]
    sharp, loose = ((e / r[:, None] ** k) for r in (rate, rate**0.9))
    growth, decay = ((r[:, windows[1]].amax(1) / r[:, windows[0]].amax(1)) for r in (sharp, loose))
    return Verdict(
        "Proposition 3 (Numerics)",
        NUMERICS,
        "spectral radius of F' below 1: x <- F(x) converges, with an error in O(|lambda_max|^k)",
        f"{int((decay <= 1).sum())} of {count} converge; error/|lambda_max|^k grows from k = 100..200 to 300..400 by a "
        f"factor of {growth[~jordan].max():.2f} where lambda_max is semisimple, of up to {growth[jordan].max():.2f} "
        "where it is not (there any larger rate holds)",
        judge(growth <= 1.2, (decay <= 1) & (jordan | (growth <= 1.2)), AS_CORRECTED),
        count,
    )


def lemma4_largest_step(eigenvalues: Tensor) -> Tensor:
    """The h below which |1 + h lambda| < 1, for each lambda = -a + bi with a > 0: 2a/(a^2 + b^2), like `eigenvalues`.

    Below the minimum over all eigenvalues of A, those of I + hA lie in the unit ball. Raises UsageError where
    a <= 0.
    Mescheder 2017, supplement, Lemma 4, Eqn 10.

    >>> lemma4_largest_step(torch.tensor([-1 + 3j, -2.0]))
    tensor([0.2000, 1.0000])
    """
    if bool((eigenvalues.real >= 0).any()):
        raise UsageError(
            "Lemma 4 takes eigenvalues with negative real part: for others no step is small enough"
        )
    return -2 * eigenvalues.real / eigenvalues.abs() ** 2


def check_lemma4(seed: int = 0) -> Verdict:
    """Steps above and below the bound: close to it, and at random distances.

    >>> check_lemma4().verdict
    'holds'
    """
    g = cases.generator(seed)
    held, nearest = [], []
    for n in range(2, 7):
        A = cases.stable(g, 200, n, n)
        bound = lemma4_largest_step(torch.linalg.eigvals(A)).amin(1)
        for h in (0.999 * bound, 1.001 * bound, bound * cases.uniform(g, 0, 2, 200)):
            radius = cases.spectral_radius(torch.eye(n, dtype=torch.float64) + h[:, None, None] * A)
            held.append((radius < 1) == (h < bound))
            nearest.append((radius - 1).abs().min())
    agree = torch.cat(held)
    return Verdict(
        "Lemma 4",
        NUMERICS,
        "Re lambda < 0: eig(I + hA) lies in the unit ball iff h < 2/(|Re| (1 + (Im/Re)^2)) for every eigenvalue of A",
        f"agree in {int(agree.sum())} of {len(agree)}; the closest spectral radius differs from 1 by "
        f"{min(nearest):.0e}",
        judge(agree),
        len(agree),
    )


def lemma6_jacobian(
    v: Callable[[Tensor], Tensor], A: Callable[[Tensor], Tensor], x: Tensor, h: float
) -> Tensor:
    """F'(x) = I + h A(x) v'(x) of F(x) = x + h A(x) v(x), at a stationary point x [n] of v: [n, n].

    At other points the derivative of A adds a term. Mescheder 2017, supplement, Lemma 6, Eqn 16.

    >>> lemma6_jacobian(lambda x: -2 * x, lambda x: torch.diag(1 + x), torch.zeros(1), 0.25)
    tensor([[0.5000]])
    """
    return torch.eye(len(x), dtype=x.dtype) + h * A(x) @ torch.func.jacrev(v)(x)


def check_lemma6(seed: int = 0) -> Verdict:
    """Random fields with a known zero, and matrix exponentials as A: Jacobians at the zero and elsewhere.

    >>> check_lemma6().verdict
    'holds'
    """
    g = cases.generator(seed)
    at: list[Tensor] = []
    elsewhere: list[Tensor] = []
    moved = []
    for _ in range(50):
        zero, M, bend = cases.normal(g, 3), cases.normal(g, 3, 3), cases.normal(g, 3, 3, 3)
        base, slope = cases.normal(g, 3, 3), cases.normal(g, 3, 3, 3)
        h = float(cases.log_uniform(g, 1e-2, 1, 1))

        def v(x: Tensor, zero: Tensor = zero, M: Tensor = M, bend: Tensor = bend) -> Tensor:
            return M @ (x - zero) + torch.einsum("ijk,j,k->i", bend, x - zero, x - zero)

        def A(x: Tensor, base: Tensor = base, slope: Tensor = slope) -> Tensor:
            return torch.matrix_exp((base + slope @ x) / 3)

        def F(x: Tensor, h: float = h, A: Callable = A, v: Callable = v) -> Tensor:
            return x + h * A(x) @ v(x)

        for x, errors in ((zero, at), (zero + cases.normal(g, 3), elsewhere)):
            errors.append((torch.func.jacrev(F)(x) - lemma6_jacobian(v, A, x, h)).abs().max() / h)
        moved.append((F(x) - x).norm() / h)
    error, other, move = torch.stack(at), torch.stack(elsewhere), torch.stack(moved)
    return Verdict(
        "Lemma 6",
        NUMERICS,
        "A invertible: the fixed points of x + hA(x)v(x) are the zeros of v, and F' = I + hAv' there",
        f"F' as claimed to {error.max():.0e} at zeros of v (elsewhere it differs by {other.median():.2g} h); no other "
        f"point is fixed (all move by {move.min():.1e} h or more)",
        judge((error <= 1e-9) & (move > 1e-6)),
        len(error),
    )


def check_proposition10(seed: int = 0) -> Verdict:
    """Gradient ascent on quartics with a negative definite Hessian, with h below and above 2/|lambda|.

    >>> check_proposition10().verdict
    'holds'
    """
    g = cases.generator(seed)
    H = cases.negative(g, 200, 4, 4, rank=8) - 0.1 * torch.eye(4, dtype=torch.float64)
    quartic, start = cases.normal(g, 200, 4), 1e-3 * cases.normal(g, 200, 4)

    def f(x: Tensor) -> Tensor:
        return (torch.einsum("bi,bij,bj->b", x, H, x) / 2 + (quartic * x).sum(1) ** 4).sum()

    bound = lemma4_largest_step(torch.linalg.eigvals(H)).amin(1)[:, None]
    ends = []
    for h in (bound / 2, 1.1 * bound):
        x = start
        for _ in range(400):
            x = (x + h * torch.func.grad(f)(x)).clamp(-1, 1)
        ends.append(x.norm(dim=1) / start.norm(dim=1))
    return Verdict(
        "Proposition 10",
        NUMERICS,
        "negative definite Hessian: gradient ascent converges for small h, to a stationary point",
        f"distance after 400 steps over the initial one: at most {ends[0].max():.0e} at half the step 2/|lambda|, at "
        f"least {ends[1].min():.0e} at 1.1 times that step",
        judge((ends[0] <= 1e-2) & (ends[1] >= 1)),
        200,
    )
