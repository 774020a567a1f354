"""What an update rule makes of the field's Jacobian J, as eigenvalues.

The matrices themselves stand elsewhere: `theory.consensus_matrix` and `theory.momentum_matrix` are new fields,
`dynamics.linear.MATRICES` one step of every rule. All of it holds where v = 0: elsewhere J is the local picture.
"""

import math
from typing import Any

from torch import Tensor

from steadygan.dynamics.linear import step_matrix
from steadygan.errors import UsageError
from steadygan.spectrum._jacobian import Operator
from steadygan.spectrum.eigen import eigenvalues
from steadygan.theory import consensus_matrix, lemma11_eigenvalues

__all__ = ["consensus_cloud", "consensus_operator", "momentum_cloud", "rule_cloud"]


def consensus_cloud(J: Tensor, gamma: float) -> Tensor:
    """The eigenvalues [P] of J - gamma J^T J: the cloud that consensus optimization moves to the left.

    Mescheder 2017, Lemma 7.

    >>> import torch
    >>> consensus_cloud(torch.tensor([[0.0, 1.0], [-1.0, 0.0]]), 0.5).real
    tensor([-0.5000, -0.5000])
    """
    return eigenvalues(consensus_matrix(J, gamma))


def momentum_cloud(eigenvalues: Tensor, friction: float) -> Tensor:
    """Both roots of lambda (lambda + friction) = mu for each eigenvalue mu [k] of J, [2k]: ascent with momentum.

    The eigenvalues of x'' = v(x) - friction x', all of them where `eigenvalues` are. Where |Im mu|^2 is at least
    -Re mu friction^2 a field that attracts plain steps does not attract these. Raises UsageError unless friction > 0.
    Mescheder 2017, supplement, Lemma 11.

    >>> import torch
    >>> momentum_cloud(torch.tensor([-2.0 + 0j]), 3.0).real
    tensor([-1., -2.])
    """
    if not 0 < friction < math.inf:
        raise UsageError(f"momentum needs a positive friction, not {friction}")
    return lemma11_eigenvalues(eigenvalues, friction).flatten()


def consensus_operator(J: Operator, gamma: float) -> Operator:
    """J - gamma J^T J for a Jacobian known as an operator: w -> J w - gamma J^T (J w)."""

    def forward(w: Tensor) -> Tensor:
        push = J.forward(w)
        return push - gamma * J.transpose(push)

    def transpose(w: Tensor) -> Tensor:
        return J.transpose(w) - gamma * J.transpose(J.forward(w))

    return Operator(forward, transpose, J.like)


def rule_cloud(J: Tensor, rule: str, n: int, h: float, **options: Any) -> Tensor:
    """The eigenvalues of one step of size h of a rule of `dynamics`, the critic's n parameters first in J.

    Or of simultaneous steps with `momentum` (option `beta`). The step contracts where all lie within the unit
    circle; a rule that carries more along than x has more than P of them, and look-ahead's are those of a whole
    cycle. Raises UsageError on a rule or an option that is not known, unless J is square, and unless 0 <= n <= P.

    >>> import torch
    >>> rule_cloud(torch.tensor([[0.0, 1.0], [-1.0, 0.0]]), "alternating", 1, 0.1).abs()
    tensor([1.0000, 1.0000])
    """
    return eigenvalues(step_matrix(rule, J, n, h, **options)[0])
