"""The Numerics of GANs on Jacobians: whether the Jacobian v' of a game's field is definite.

Both players phi and theta ascend. In a zero-sum game v(x) = (grad_phi f, -grad_theta f) at x = (phi, theta).
v' is definite if its symmetric part is. Source: Mescheder, Nowozin and Geiger 2017, supplement.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from steadygan.theory import cases
from steadygan.theory.verdicts import NUMERICS, Verdict, judge

__all__ = [
    "check_corollary2",
    "check_lemma1",
    "is_negative",
    "zero_sum_field",
    "zero_sum_matrix",
]

ROUNDING = 1e-9


def is_negative(matrix: Tensor, strictly: bool = True) -> Tensor:
    """Whether w^T M w < 0 (<= 0 unless `strictly`) for all w != 0, for M [..., n, n] symmetric or not: [...].

    >>> is_negative(torch.tensor([[0.0, 5.0], [-5.0, -1.0]])), is_negative(-torch.eye(2))
    (tensor(False), tensor(True))
    """
    top = torch.linalg.eigvalsh((matrix + matrix.mT) / 2)[..., -1]
    return top < -ROUNDING if strictly else top <= ROUNDING


def zero_sum_field(f: Callable[[Tensor, Tensor], Tensor], size: int) -> Callable[[Tensor], Tensor]:
    """The field v(x) = (grad_phi f, -grad_theta f) of a zero-sum game, phi the first `size` coordinates of x [n].

    >>> zero_sum_field(lambda phi, theta: (phi * theta).sum(), 1)(torch.tensor([2.0, 3.0]))
    tensor([ 3., -2.])
    """

    def field(x: Tensor) -> Tensor:
        own, other = torch.func.grad(f, (0, 1))(x[:size], x[size:])
        return torch.cat([own, -other])

    return field


def zero_sum_matrix(P: Tensor, B: Tensor, Q: Tensor) -> Tensor:
    """v' = [[P, B], [-B^T, -Q]] of f = phi^T P phi/2 + phi^T B theta + theta^T Q theta/2; batched over [...].

    >>> zero_sum_matrix(-torch.eye(1), torch.ones(1, 1), torch.zeros(1, 1))
    tensor([[-1.,  1.],
            [-1., -0.]])
    """
    return torch.cat([torch.cat([P, B], -1), torch.cat([-B.mT, -Q], -1)], -2)


def check_lemma1(seed: int = 0) -> Verdict:
    """Jacobians and Hessians by automatic differentiation, for definite, semi-definite and other games.

    >>> check_lemma1().verdict
    'holds'
    """
    g = cases.generator(seed)
    agree: list[Tensor] = []
    forms = []
    semi: list[Tensor] = []
    kinds = []
    for i in range(100):
        P, Q = (
            cases.negative(g, 3, 3, rank=cases.integers(g, 1, 3))
            if i % 2
            else cases.symmetric(g, 3, 3) / 2 - cases.eye(3)
            for _ in range(2)
        )
        B, x = cases.normal(g, 3, 3), cases.normal(g, 6) * (i % 4 > 1)

        def f(phi: Tensor, theta: Tensor, P: Tensor = P, B: Tensor = B, Q: Tensor = Q) -> Tensor:
            return (phi @ P @ phi - theta @ Q @ theta) / 2 + phi @ B @ theta + (phi @ B @ theta) ** 2 / 10

        whole = torch.func.jacrev(zero_sum_field(f, 3))(x)
        (own, _), (_, other) = torch.func.hessian(f, (0, 1))(x[:3], x[3:])
        w, u = cases.normal(g, 20, 3), cases.normal(g, 20, 3)
        both = torch.cat([w, u], 1)
        forms.append(
            (((both @ whole) * both).sum(1) - ((w @ own) * w).sum(1) + ((u @ other) * u).sum(1)).abs().max()
        )
        for strictly, found in ((True, agree), (False, semi)):
            parts = is_negative(own, strictly) & is_negative(-other, strictly)
            found.append(is_negative(whole, strictly) == parts)
        kinds.append(int(is_negative(whole)) + int(is_negative(whole, False)))
    held, form = torch.stack(agree) & torch.stack(semi), torch.stack(forms)
    counts = [kinds.count(kind) for kind in (2, 1, 0)]  # each kind must occur, or the check tests nothing
    return Verdict(
        "Lemma 1",
        NUMERICS,
        "zero-sum: v' is negative (semi-)definite iff f is concave in phi and convex in theta to second order",
        f"agree in {int(held.sum())} of {len(held)} games: {counts[0]} definite, {counts[1]} semi-definite, "
        f"{counts[2]} neither; w^T v' w equals the form of the two Hessians to {form.max():.0e}",
        judge(held & (form <= 1e-9) & (min(counts) > 0)),
        len(held),
    )


def check_corollary2(seed: int = 0) -> Verdict:
    """Games with a Nash equilibrium at the origin by construction, with and without curvature.

    >>> check_corollary2().verdict
    'holds'
    """
    g = cases.generator(seed)
    rank = [(cases.integers(g, 0, 3), cases.integers(g, 0, 3)) for _ in range(200)]
    P, Q = (torch.stack([cases.negative(g, 3, 3, rank=r[side]) for r in rank]) for side in (0, 1))
    whole = zero_sum_matrix(P, cases.normal(g, 200, 3, 3), -Q)
    semi, definite = is_negative(whole, False), is_negative(whole)
    steps = cases.normal(g, 200, 50, 3)
    nash = ((steps @ P * steps).sum(-1) < 0).all(1) & ((steps @ Q * steps).sum(-1) < 0).all(1)
    return Verdict(
        "Corollary 2",
        NUMERICS,
        "zero-sum: v' is negative semi-definite at a local Nash equilibrium; a stationary point with definite v' "
        "is one",
        f"semi-definite at {int(semi.sum())} of 200 equilibria, definite at {int(definite.sum())} (the proof says "
        "definite at all)",
        judge(semi & (~definite | nash)),
        200,
    )
