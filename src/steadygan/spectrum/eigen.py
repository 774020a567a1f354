"""Eigenvalues of a field's Jacobian: all those of a matrix, or the leading ones of an operator, and what follows."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from steadygan.errors import UsageError
from steadygan.rng import generator
from steadygan.spectrum._jacobian import Operator
from steadygan.theory import lemma4_largest_step

__all__ = ["Leading", "eigenvalues", "largest_step", "leading", "signs", "union"]

WHICH = {"real": "LR", "smallest_real": "SR", "imaginary": "LI", "modulus": "LM"}
"""Which eigenvalues come first, and ARPACK's name for it."""

NO_EIGENVALUES = "it has no eigenvalues: take a state from before the run diverged"


def eigenvalues(J: Tensor) -> Tensor:
    """Return all eigenvalues of a square matrix J [P, P], complex [P], in no particular order.

    Raises UsageError on a matrix that is not square, or that holds NaN or infinity, which LAPACK does not
    survive.

    >>> eigenvalues(torch.tensor([[0.0, 1.0], [-1.0, 0.0]])).imag.sort().values
    tensor([-1.,  1.])
    """
    if J.ndim != 2 or J.shape[0] != J.shape[1]:
        raise UsageError(f"eigenvalues need a square matrix, not {list(J.shape)}")
    if not bool(J.isfinite().all()):
        raise UsageError(f"the matrix holds NaN or infinity, so {NO_EIGENVALUES}")
    return torch.linalg.eigvals(J.detach().cpu())


class Leading(NamedTuple):
    """Eigenvalues [k] that an iteration found, the leading one first. `note` says what it missed, if anything."""

    values: Tensor
    note: str = ""


def leading(
    operator: Operator,
    k: int = 20,
    which: str = "real",
    *,
    seed: int = 0,
    tolerance: float | None = None,
    restarts: int = 30,
) -> Leading:
    """Return the k leading eigenvalues of an operator, without its matrix: implicitly restarted Arnoldi (ARPACK).

    `which` is `real` (largest real part), `smallest_real`, `imaginary` (largest |Im|) or `modulus`. The start
    vector is a function of `seed`. `tolerance` is that of the residual, relative to the largest modulus. Its
    default is what the operator's dtype can give. The iteration keeps max(4k, 40) vectors: with fewer,
    imaginary parts inside the spectrum come out wrong. Where not all converge in `restarts` restarts, the
    result has those that did, and a note.

    Raises UsageError unless 1 <= k <= size - 2, on an unknown `which`, where the operator gives NaN, and
    where ARPACK fails.

    >>> double = Operator(lambda w: 2 * w, lambda w: 2 * w, torch.zeros(5, dtype=torch.float64))
    >>> round(leading(double, k=1).values.real.item(), 6)
    2.0
    """
    size = len(operator.like)
    if which not in WHICH:
        raise UsageError(f"which must be one of {', '.join(WHICH)}, not {which!r}")
    if not 1 <= k <= size - 2:
        raise UsageError(f"k is {k}, but an iteration finds 1 to {size - 2} of {size} eigenvalues")
    linalg = _arpack()
    start = torch.randn(size, generator=generator(seed, "arnoldi"), dtype=torch.float64).numpy()
    product = _matvec(operator)
    # ARPACK's tolerance is relative to each eigenvalue, so that one near zero would never converge: moved to
    # the right by twice the largest modulus, all are of that size, in the same order.
    modulus = _modulus(product, start)
    if modulus == 0:  # some power of the operator is zero, and so is every eigenvalue: ARPACK cannot start
        return Leading(torch.zeros(k, dtype=torch.complex128))
    shift = 0.0 if which == "modulus" else 2 * modulus
    linear = linalg.LinearOperator((size, size), matvec=lambda w: product(w) + shift * w, dtype="float64")
    if tolerance is None:
        tolerance = 1e-9 if operator.like.dtype == torch.float64 else 1e-3
    options = {"ncv": min(size, max(4 * k, 40)), "tol": tolerance, "maxiter": restarts}
    note = ""
    try:
        found = linalg.eigs(linear, k, which=WHICH[which], v0=start, return_eigenvectors=False, **options)
    except linalg.ArpackNoConvergence as error:
        found = error.eigenvalues
        note = f"{len(found)} of {k} eigenvalues ({which}) converged within {restarts} restarts"
    except linalg.ArpackError as error:
        raise UsageError(f"ARPACK found no eigenvalues ({error}): take another draw or checkpoint") from error
    return Leading(_ordered(torch.as_tensor(found, dtype=torch.complex128) - shift, which), note)


def _modulus(product: Callable[[Any], Any], w: Any, rounds: int = 10) -> float:
    """The largest modulus of an operator's eigenvalues, roughly, by power iteration."""
    size = 0.0
    for _ in range(rounds):
        w = w / ((w @ w) ** 0.5 or 1.0)
        w = product(w)
        size = float((w @ w) ** 0.5)
    return size


def _matvec(operator: Operator) -> Callable[[Any], Any]:
    def matvec(w: Any) -> Any:
        out = operator.forward(torch.as_tensor(w).reshape(-1).to(operator.like)).detach()
        if not bool(out.isfinite().all()):
            raise UsageError(f"the field's derivative is NaN or infinite here, so {NO_EIGENVALUES}")
        return out.cpu().double().numpy()

    return matvec


def largest_step(eigenvalues: Tensor, tolerance: float = 0.0) -> float:
    """Return min over eigenvalues -a + bi of 2a / (a^2 + b^2): steps h below it contract, |1 + h lambda| < 1.

    It is 0 if any real part is zero or positive, since then no step contracts. With a `tolerance`,
    eigenvalues of modulus up to it are left out. They are directions in which the field does not change at
    all, as those of dead units and of a network's symmetries. They neither contract nor grow. Real parts up
    to the tolerance count as zero. With no eigenvalue left the result is inf. Raises UsageError on NaN.
    Source: Mescheder 2017, Lemma 4.

    >>> round(largest_step(torch.tensor([-1 + 3j, -1 - 3j, -0.5])), 6)
    0.2
    """
    values = eigenvalues.detach().to(torch.complex128)
    if bool(values.isnan().any()):
        raise UsageError(
            "eigenvalues that are NaN have no largest step: take a state from before the run diverged"
        )
    values = values[values.abs() > tolerance] if tolerance > 0 else values
    if not len(values):
        return float("inf")
    if bool((values.real >= -tolerance).any()):
        return 0.0
    return lemma4_largest_step(values).min().item()


def signs(eigenvalues: Tensor, tolerance: float = 0.0) -> dict[str, float]:
    """Return the shares of real parts that are `negative`, `zero` (|Re| <= tolerance) and `positive`.

    >>> signs(torch.tensor([-1 + 2j, -1 - 2j, 0, 3]))
    {'negative': 0.5, 'zero': 0.25, 'positive': 0.25}
    """
    real = eigenvalues.real
    kinds = {"negative": real < -tolerance, "zero": real.abs() <= tolerance, "positive": real > tolerance}
    return {name: kind.double().mean().item() for name, kind in kinds.items()}


def union(parts: Sequence[Tensor], tolerance: float) -> Tensor:
    """Merge the eigenvalues of several searches: those within `tolerance` x the largest modulus count as the same.

    >>> union([torch.tensor([2.0, 1.0]), torch.tensor([1.0, -3.0])], 1e-6)
    tensor([ 2.,  1., -3.])
    """
    scale = max((part.abs().max().item() for part in parts if len(part)), default=0.0)
    found = parts[0]
    for part in parts[1:]:
        new = ((part[:, None] - found[None, :]).abs() > tolerance * scale).all(1)
        found = torch.cat([found, part[new]])
    return found


def _ordered(values: Tensor, which: str) -> Tensor:
    keys = {
        "real": values.real,
        "smallest_real": -values.real,
        "imaginary": values.imag.abs(),
        "modulus": values.abs(),
    }
    return values[keys[which].argsort(descending=True, stable=True)]


def _arpack() -> Any:
    try:
        import scipy.sparse.linalg as linalg
    except ImportError as error:
        raise UsageError("leading eigenvalues need scipy: pip install 'steadygan[metrics]'") from error
    return linalg
