"""The update rules on a linear field, as matrices: what one step does to x where dx/dt = V x.

Each function takes V = v' [d, d] at the equilibrium, the number n of the critic's parameters, which come
first, and the step size h. It returns the matrix of one step, over x and all else that the rule keeps between
steps. It also returns after how many steps that matrix is one of a cycle. Source: Mescheder 2017 (Numerics of
GANs), Lemma 6, and Proposition 14 for alternating steps.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from steadygan.dynamics._alternating import check_inner
from steadygan.dynamics._smoothing import READINGS
from steadygan.errors import UsageError, nearest

__all__ = ["MATRICES", "momentum", "radius", "step_matrix"]

Cycle = tuple[Tensor, int]


def simultaneous(V: Tensor, n: int, h: float) -> Cycle:
    """1 + h V."""
    return _eye(V) + h * V, 1


def alternating(V: Tensor, n: int, h: float, n_critic: int = 1, n_generator: int = 1) -> Cycle:
    """(1 + h V_theta) (1 + h V_phi)^n_critic: V_phi keeps the critic's rows of V, and V_theta the others.

    With n_generator > 1, (1 + h V_phi) (1 + h V_theta)^n_generator.
    """
    check_inner(n_critic, n_generator)
    critic = _eye(V) + h * _rows(V, n)
    other = _eye(V) + h * (V - _rows(V, n))
    if n_generator > 1:
        return critic @ torch.linalg.matrix_power(other, n_generator), 1
    return other @ torch.linalg.matrix_power(critic, n_critic), 1


def consensus(V: Tensor, n: int, h: float, gamma: float = 10.0, debiased: bool = False) -> Cycle:
    """1 + h (V - gamma V^T V)."""
    return _eye(V) + h * (V - gamma * V.T @ V), 1


def smoothing(V: Tensor, n: int, h: float, gamma: float = 10.0, reading: str = "generator") -> Cycle:
    """1 + h (V - gamma [critic's rows of V^T W]), W = V or its generator's rows."""
    _one_of("reading", reading, READINGS)
    W = V if reading == "full" else V - _rows(V, n)
    return _eye(V) + h * (V - gamma * _rows(V.T @ W, n)), 1


def extragradient(V: Tensor, n: int, h: float, past: bool = False) -> Cycle:
    """1 + h V + h^2 V^2. With `past`, [[1 + h V, -h^2 V], [-V, h V]] over (x, the previous gradient)."""
    if not past:
        return _eye(V) + h * V + h * h * V @ V, 1
    return _blocks(_eye(V) + h * V, -h * h * V, -V, h * V), 1


def optimistic(V: Tensor, n: int, h: float) -> Cycle:
    """[[1 + 2 h V, -1], [h V, 0]] over (x, the previous step)."""
    return _blocks(_eye(V) + 2 * h * V, -_eye(V), h * V, 0 * V), 1


def symplectic(V: Tensor, n: int, h: float, weight: float = 1.0, align: bool = True) -> Cycle:
    """1 + h (1 + weight (V - V^T) / 2) V. Near the equilibrium the alignment is positive."""
    return _eye(V) + h * (V + weight * (V - V.T) @ V / 2), 1


def lookahead(
    V: Tensor,
    n: int,
    h: float,
    steps: int = 5,
    alpha: float = 0.5,
    inner: str = "alternating",
    n_critic: int = 1,
    n_generator: int = 1,
) -> Cycle:
    """1 - alpha + alpha M^steps, a cycle of `steps` steps, with M the matrix of the inner rule."""
    _one_of("inner", inner, INNER)
    counts = n_critic, n_generator
    M, _ = alternating(V, n, h, *counts) if inner == "alternating" else simultaneous(V, n, h)
    return (1 - alpha) * _eye(V) + alpha * torch.linalg.matrix_power(M, steps), steps


def momentum(V: Tensor, n: int, h: float, beta: float = 0.9) -> Cycle:
    """[[1 + h V, -h beta], [-V, beta]] over (x, the sum b): simultaneous steps with b <- beta b + g.

    Source: Polyak 1964.
    """
    return _blocks(_eye(V) + h * V, -h * beta * _eye(V), -V, beta * _eye(V)), 1


INNER = ("alternating", "simultaneous")

MATRICES: dict[str, Callable[..., Cycle]] = {
    "alternating": alternating,
    "simultaneous": simultaneous,
    "consensus": consensus,
    "smoothing": smoothing,
    "extragradient": extragradient,
    "optimistic": optimistic,
    "symplectic": symplectic,
    "lookahead": lookahead,
}
"""The matrix of every update rule, under the name of the rule."""

STEPS = {**MATRICES, "momentum": momentum}
OPTIONS = {
    "alternating": ("n_critic", "n_generator"),
    "consensus": ("gamma", "debiased"),
    "smoothing": ("gamma", "reading"),
    "extragradient": ("past",),
    "symplectic": ("weight", "align"),
    "lookahead": ("steps", "alpha", "inner", "n_critic", "n_generator"),
    "momentum": ("beta",),
}


def step_matrix(rule: str, V: Tensor, n: int, h: float, **options: Any) -> Cycle:
    """Return the matrix of the update rule `rule`, and its period; also of "momentum", simultaneous steps with it.

    Raises UsageError on an unknown rule or option, unless V is square and 0 <= n <= d, and on counts
    (n_critic, n_generator, steps) below 1, or where n_critic and n_generator are both above 1.

    >>> step_matrix("momentum", torch.tensor([[-1.0]]), 1, 0.1, beta=0.5)[0]
    tensor([[ 0.9000, -0.0500],
            [ 1.0000,  0.5000]])
    """
    if rule not in STEPS:
        raise UsageError(f"there is no update rule {rule!r}: {nearest(rule, STEPS)}")
    known = OPTIONS.get(rule, ())
    for name, value in options.items():
        if name not in known:
            hint = nearest(name, known) if known else "it has none"
            raise UsageError(f"{rule} has no option {name!r}: {hint}")
        if name == "steps" and value < 1:
            raise UsageError(f"{rule} takes steps of 1 or more, not {value}")
    if V.ndim != 2 or V.shape[0] != V.shape[1]:
        raise UsageError(f"v' must be a square matrix, not {list(V.shape)}")
    if not 0 <= n <= len(V):
        raise UsageError(f"n, the number of the critic's parameters, must be 0 to {len(V)}, not {n}")
    return STEPS[rule](V, n, h, **options)


def radius(matrix: Tensor, period: int = 1) -> float:
    """Return the spectral radius of a matrix; of a cycle of `period` steps its period-th root, the rate of one step.

    Below 1 each step multiplies the distance to the equilibrium by this factor in the end. NaN where the
    matrix is not finite.

    >>> round(radius(*simultaneous(torch.tensor([[0.0, 1.0], [-1.0, 0.0]]), 1, 0.1)), 6)
    1.004988
    """
    if not matrix.isfinite().all():  # eigvals would crash the process
        return float("nan")
    return torch.linalg.eigvals(matrix).abs().max().item() ** (1 / period)


def _eye(V: Tensor) -> Tensor:
    return torch.eye(len(V), dtype=V.dtype)


def _one_of(what: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise UsageError(f"{what} must be {' or '.join(known)}, not {given!r}")


def _rows(matrix: Tensor, n: int) -> Tensor:
    """The first n rows, and zeros below."""
    return torch.cat([matrix[:n], torch.zeros_like(matrix[n:])])


def _blocks(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    return torch.cat([torch.cat([a, b], 1), torch.cat([c, d], 1)])
