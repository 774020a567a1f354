"""The Numerics of GANs on consensus optimization: the effect of A(x) = I - gamma v'(x)^T on a field's Jacobian.

Source: Mescheder, Nowozin and Geiger 2017, main text and supplement.
"""

import torch
from torch import Tensor

from steadygan.dynamics import consensus
from steadygan.game.optimizers import sgd
from steadygan.theory import cases
from steadygan.theory.numerics_games import is_negative, zero_sum_matrix
from steadygan.theory.numerics_rules import quadratic_game, step_jacobian
from steadygan.theory.numerics_steps import lemma4_largest_step
from steadygan.theory.verdicts import AS_CORRECTED, FALSE, NUMERICS, Verdict, judge

__all__ = [
    "check_corollary8",
    "check_lemma7",
    "check_lemma9",
    "consensus_matrix",
    "lemma9_bound",
    "lemma9_constant",
    "lemma9_ratio",
]


def consensus_matrix(J: Tensor, gamma: float | Tensor) -> Tensor:
    """A v' = (I - gamma J^T) J = J - gamma J^T J of consensus optimization at a stationary point, J [..., n, n].

    gamma is one number, or one number for each matrix [...]. Mescheder 2017, Algorithm 2 and Lemma 7.

    >>> consensus_matrix(torch.tensor([[0.0, 1.0], [-1.0, 0.0]]), 0.5)
    tensor([[-0.5000,  1.0000],
            [-1.0000, -0.5000]])
    """
    return J - torch.as_tensor(gamma, dtype=J.dtype)[..., None, None] * J.mT @ J


def check_lemma7(seed: int = 0) -> Verdict:
    """Invertible semi-definite matrices: some definite, some not, few of them normal.

    >>> check_lemma7().verdict
    'holds'
    """
    g = cases.generator(seed)
    top, degenerate = [], 0
    for n in range(2, 7):
        J = cases.negative(g, 400, n, n, rank=n if n % 2 else n // 2) + cases.skew(g, 400, n, n)
        J = J[torch.linalg.svdvals(J)[:, -1] > 1e-2]
        gamma = cases.log_uniform(g, 1e-2, 10, len(J))
        degenerate += int((~is_negative(J)).sum())
        AJ, back = consensus_matrix(J, gamma), torch.linalg.inv(J)
        # In the coordinates u = v' w: the largest w^T A v' w with |v' w| = 1.
        top.append(torch.linalg.eigvalsh(back.mT @ (AJ + AJ.mT) @ back / 2)[:, -1] / gamma)
    ratio = torch.cat(top)
    return Verdict(
        "Lemma 7",
        NUMERICS,
        "v' negative semi-definite and invertible: A v' is negative definite",
        f"largest w^T A v' w over gamma |v' w|^2: {ratio.max():.3g} (the proof: at most -1, with equality where v' is "
        f"not definite; {degenerate} are not)",
        judge((ratio <= -1 + 1e-6) & (ratio.max() >= -1 - 1e-6)),
        len(ratio),
    )


def own_step(J: Tensor, gamma: float) -> Tensor:
    """A v' of the package's own consensus step, on the game whose field is J x: (F' - 1)/h at h = 1."""
    n = len(J) // 2
    game = quadratic_game(J, n)
    rule = consensus(game, {"D": sgd(1.0), "G": sgd(1.0)}, gamma=gamma)
    return step_jacobian(rule, torch.zeros(len(J), dtype=J.dtype), n) - cases.eye(len(J))


def check_corollary8(seed: int = 0) -> Verdict:
    """Equilibria of quadratic zero-sum games, some with a singular v' (a direction in which v is zero).

    For some of them the matrix is compared with the package's own step.

    >>> check_corollary8().verdict
    'holds as corrected'
    """
    g = cases.generator(seed)
    P, Q, B = (
        cases.negative(g, 200, 3, 3, rank=1),
        cases.negative(g, 200, 3, 3, rank=1),
        cases.normal(g, 200, 3, 3),
    )
    flat, bilinear = torch.arange(200) % 2 == 0, torch.arange(200) % 4 < 2
    P, Q = ((~bilinear)[:, None, None] * t for t in (P, Q))
    keep = 1 - flat[:, None].double() * torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    both = keep[:, :, None] * keep[:, None, :]
    turn = torch.linalg.qr(cases.normal(g, 200, 3, 3))[0]
    P, Q, B = turn @ (P * both) @ turn.mT, turn @ (Q * both) @ turn.mT, turn @ (B * both) @ turn.mT
    J = zero_sum_matrix(P, B, -Q)
    drawn = flat | (torch.linalg.svdvals(J)[:, -1] > 0.05)  # a nearly singular game converges too slowly
    J, flat = J[drawn], flat[drawn]
    gamma = cases.log_uniform(g, 0.1, 10, len(J))
    AJ = consensus_matrix(J, gamma)
    apart = torch.stack(
        [(own_step(J[i], float(gamma[i])) - AJ[i]).abs().max() for i in range(0, len(J), 9)]
    ).max()
    eigenvalues = torch.linalg.eigvals(AJ)
    decaying = torch.where(eigenvalues.real < -1e-9, eigenvalues, -1.0)
    step = cases.eye(6) + (lemma4_largest_step(decaying).amin(1) / 2)[:, None, None] * AJ
    last = torch.linalg.matrix_power(step, 2**30) @ cases.normal(g, len(J), 6, 1)
    far = torch.linalg.vector_norm(last, dim=(1, 2))
    converged = far <= 1e-6
    return Verdict(
        "Corollary 8",
        NUMERICS,
        "zero-sum: consensus with small h converges to every local Nash equilibrium",
        f"converged to {int(converged[~flat].sum())} of {int((~flat).sum())} with v' invertible, to "
        f"{int(converged[flat].sum())} of {int(flat.sum())} with v' singular (the hypothesis of Lemma 7 is left out); "
        f"the package's step is I + h A v' to {apart:.0e}",
        judge(converged & (apart <= 1e-9), converged[~flat] & (apart <= 1e-9), AS_CORRECTED),
        len(J),
    )


def lemma9_ratio(A: Tensor, gamma: float | Tensor) -> Tensor:
    """q(gamma): the largest |Im|/|Re| of the eigenvalues of A - gamma A^T A, for A [..., n, n]: [...].

    >>> lemma9_ratio(torch.tensor([[0.0, 1.0], [-1.0, 0.0]]), 1.0)
    tensor(1.)
    """
    eigenvalues = torch.linalg.eigvals(consensus_matrix(A, gamma))
    return (eigenvalues.imag.abs() / eigenvalues.real.abs()).amax(-1)


def lemma9_constant(A: Tensor) -> Tensor:
    """c: the least |v^H (A + A^T) v| / |v^H (A - A^T) v| over complex v, for negative semi-definite A [..., n, n].

    It is 1 over the spectral radius of S^-1 (A - A^T) with S = A + A^T, and 0 where S is singular.
    Mescheder 2017, supplement, Eqn 17.

    >>> lemma9_constant(torch.tensor([[-1.0, 2.0], [-2.0, -1.0]]))
    tensor(0.5000)
    """
    values, vectors = torch.linalg.eigh(-(A + A.mT))
    root = values.clamp_min(0).rsqrt()[..., None, :] * vectors
    singular = values[..., 0] <= 1e-12 * values[..., -1].clamp_min(1e-300)
    inner = torch.where(singular[..., None, None], 0.0, root.mT @ (A - A.mT) @ root)
    return torch.where(singular, 0.0, 1 / torch.linalg.matrix_norm(inner, 2))


def lemma9_bound(A: Tensor, gamma: float | Tensor, printed: bool = False) -> Tensor:
    """1/(c + 2 rho^2 gamma/|A - A^T|_2), a bound on q(gamma) for invertible negative semi-definite A.

    A is [..., n, n], gamma a number or [...], the result [...]. rho is the least singular value of A. The
    `printed` bound 1/(c + 2 rho^2 gamma) leaves out |A - A^T|_2. Mescheder 2017, supplement, Lemma 9, Eqn 18.

    >>> A = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    >>> lemma9_bound(A, 1.0), lemma9_bound(A, 1.0, printed=True)
    (tensor(1.), tensor(0.5000))
    """
    size = 1.0 if printed else torch.linalg.matrix_norm(A - A.mT, 2)
    rho = torch.linalg.svdvals(A)[..., -1]
    return 1 / (lemma9_constant(A) + 2 * rho**2 * gamma / size)


def _eigenvalues_of_forms(A: Tensor, gamma: Tensor) -> Tensor:
    """Whether each eigenvalue is w^H A w - gamma |A w|^2 at its eigenvector w, for A [N, n, n]: [N]."""
    values, w = torch.linalg.eig(consensus_matrix(A, gamma))
    moved = A.to(w.dtype) @ w
    forms = (w.conj() * moved).sum(1) - gamma[:, None] * moved.abs().square().sum(1)
    return (values - forms).abs().amax(1) <= 1e-6 * values.abs().amax(1)


def check_lemma9(seed: int = 0, each: int = 2000) -> Verdict:
    """`each` matrices of every size from 2 to 6, with symmetric parts of all ranks, against both bounds.

    >>> check_lemma9().verdict
    'false as printed'
    """
    g = cases.generator(seed)
    over: dict[bool, list[Tensor]] = {True: [], False: []}
    forms = []
    for n in range(2, 7):
        ranks = range(n % 2, n + 1)  # a skew matrix of odd size is not invertible
        parts = [cases.negative(g, each // len(ranks) + 1, n, n, rank=rank) for rank in ranks]
        A = torch.cat(parts)[:each] * cases.log_uniform(g, 0.1, 10, each, 1, 1)
        A = A + cases.skew(g, each, n, n) * cases.log_uniform(g, 0.1, 10, each, 1, 1)
        gamma = cases.log_uniform(g, 1e-2, 10, each)
        for form, ratios in over.items():
            ratios.append(lemma9_ratio(A, gamma) / lemma9_bound(A, gamma, printed=form))
        forms.append(_eigenvalues_of_forms(A, gamma))
    J = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
    q, bound, tight = lemma9_ratio(J, 1.0), *(lemma9_bound(J, 1.0, printed=form) for form in (True, False))
    printed, corrected = torch.cat(over[True]), torch.cat(over[False])
    by_hand = ((q - 1).abs() <= 1e-9) & ((tight - 1).abs() <= 1e-9)
    reached = corrected.max() >= 0.999  # the bound is tight: equality for skew A and n = 2
    return Verdict(
        "Lemma 9",
        NUMERICS,
        "q(gamma) = max |Im/Re| over eig(A - gamma A^T A) <= 1/(c + 2 rho^2 gamma)",
        f"A = [[0, 1], [-1, 0]], gamma = 1: q = {q:.3g}, printed bound {bound:.3g}; violated by "
        f"{int((printed > 1 + 1e-6).sum())} of {len(corrected)} random matrices; with gamma/|A - A^T| in place of "
        f"gamma by {int((corrected > 1 + 1e-6).sum())} (largest q over bound {corrected.max():.4f})",
        judge(
            torch.cat([printed, (q / bound)[None]]) <= 1 + 1e-6,
            (corrected <= 1 + 1e-6) & by_hand & reached & torch.cat(forms),
            FALSE,
        ),
        len(corrected),
    )
