"""The eigenvalues that an update rule makes of the field's Jacobian J.

The matrices are elsewhere: `theory.consensus_matrix` and `theory.momentum_matrix` are those of new fields,
`dynamics.linear.MATRICES` those of one step of every rule. All of it holds where v = 0. Elsewhere J is the
local picture.
"""

import math
from typing import Any

from torch import Tensor

from steadygan.dynamics.linear import step_matrix
from steadygan.errors import UsageError
from steadygan.spectrum._jacobian import Operator
from steadygan.spectrum.eigen import eigenvalues
from steadygan.theory import lemma11_eigenvalues
from steadygan.theory.numerics_consensus import consensus_matrix

__all__ = ["consensus_cloud", "consensus_operator", "momentum_cloud", "rule_cloud"]


def consensus_cloud(J: Tensor, gamma: float) -> Tensor:
    """Return the eigenvalues [P] of J - gamma J^T J, which consensus optimization moves to the left.

    Source: Mescheder 2017, Lemma 7.

    >>> import torch
    >>> consensus_cloud(torch.tensor([[0.0, 1.0], [-1.0, 0.0]]), 0.5).real
    tensor([-0.5000, -0.5000])
    """
    return eigenvalues(consensus_matrix(J, gamma))


def momentum_cloud(eigenvalues: Tensor, friction: float) -> Tensor:
    """Return both roots of lambda (lambda + friction) = mu for each eigenvalue mu [k] of J, [2k]: ascent with momentum.

    They are the eigenvalues of x'' = v(x) - friction x'. They are all of them where `eigenvalues` are all of
    J's. Where |Im mu|^2 is at least -Re mu friction^2, a field that attracts plain steps does not attract
    these. Raises UsageError unless friction > 0. Source: Mescheder 2017, supplement, Lemma 11.

    >>> import torch
    >>> momentum_cloud(torch.tensor([-2.0 + 0j]), 3.0).real
    tensor([-1., -2.])
    """
    if not 0 < friction < math.inf:
        raise UsageError(f"momentum needs a positive friction, not {friction}")
    return lemma11_eigenvalues(eigenvalues, friction).flatten()


def consensus_operator(J: Operator, gamma: float) -> Operator:
    """Return J - gamma J^T J for a Jacobian known as an operator: w -> J w - gamma J^T (J w).

    >>> import torch
    >>> turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    >>> J = Operator(lambda w: turn @ w, lambda w: turn.T @ w, torch.zeros(2))
    >>> consensus_operator(J, 0.5).forward(torch.tensor([1.0, 0.0]))
    tensor([-0.5000, -1.0000])
    """

    def forward(w: Tensor) -> Tensor:
        push = J.forward(w)
        return push - gamma * J.transpose(push)

    def transpose(w: Tensor) -> Tensor:
        return J.transpose(w) - gamma * J.transpose(J.forward(w))

    return Operator(forward, transpose, J.like)


def rule_cloud(J: Tensor, rule: str, n: int, h: float, **options: Any) -> Tensor:
    """Return the eigenvalues of one step of size h of a rule of `dynamics`, with the critic's n parameters first in J.

    `rule` may also be "momentum" (option `beta`): simultaneous steps with it. The step contracts where all
    eigenvalues lie within the unit circle. A rule that keeps more than x between steps has more than P of
    them. Lookahead's are those of a whole cycle. Raises UsageError on an unknown rule or option, unless J is
    square, and unless 0 <= n <= P.

    >>> import torch
    >>> rule_cloud(torch.tensor([[0.0, 1.0], [-1.0, 0.0]]), "alternating", 1, 0.1).abs()
    tensor([1.0000, 1.0000])
    """
    return eigenvalues(step_matrix(rule, J, n, h, **options)[0])
