"""The eigenvalues of a game's vector field: whether gradient steps converge here, how fast, and what a rule changes.

Throughout, v is the *ascent* field, minus the gradients of the players' losses, and J = v' is its Jacobian.
At a stationary point v = 0. It is locally stable under small simultaneous steps when every eigenvalue of J
has a negative real part. A large imaginary part beside it means that the players circle, and that steps must
be small. Source: Mescheder 2017 (The Numerics of GANs).
"""

from steadygan.spectrum._jacobian import (
    Operator,
    adjoint_gap,
    ascent_field,
    game_jacobian,
    jacobian,
    operator,
)
from steadygan.spectrum.eigen import Leading, eigenvalues, largest_step, leading, signs, union
from steadygan.spectrum.rules import consensus_cloud, consensus_operator, momentum_cloud, rule_cloud

__all__ = [
    "Leading",
    "Operator",
    "adjoint_gap",
    "ascent_field",
    "consensus_cloud",
    "consensus_operator",
    "eigenvalues",
    "game_jacobian",
    "jacobian",
    "largest_step",
    "leading",
    "momentum_cloud",
    "operator",
    "rule_cloud",
    "signs",
    "union",
]
