"""The Numerics of GANs on minibatches: the bias of |v|^2/2 in consensus optimization, and its removal.

Source: Mescheder, Nowozin and Geiger 2017, supplement.
"""

import torch
from torch import Tensor

from steadygan.errors import UsageError
from steadygan.theory import cases
from steadygan.theory.verdicts import AS_CORRECTED, NUMERICS, Verdict, judge

__all__ = [
    "check_debiased",
    "check_lemma15",
    "debiased",
    "half_square",
    "lemma15_bias",
]


def half_square(v: Tensor) -> Tensor:
    """L_B = |mean_i v_i|^2/2 of a batch of gradients v [..., B, n]: [...]. Mescheder 2017, supplement, Eqn 48.

    >>> half_square(torch.tensor([[3.0, 0.0], [1.0, 0.0]]))
    tensor(2.)
    """
    return v.mean(-2).square().sum(-1) / 2


def lemma15_bias(variance: float, batch: int) -> float:
    """E[L_B] - L = Var[v_1]/(2B), with Var = E|v_1 - E v_1|^2. Mescheder 2017, supplement, Lemma 15.

    >>> lemma15_bias(4.0, batch=8)
    0.25
    """
    return variance / (2 * batch)


def debiased(v: Tensor, unbiased_variance: bool = False) -> Tensor:
    """L_B - S/(2B - 2), an unbiased estimate of |E v|^2/2 from a batch v [..., B, n] of B >= 2: [...].

    S = mean_i |v_i - mean v|^2, with 1/B. The result is the mean of v_i . v_j / 2 over i != j, and may be negative.
    `unbiased_variance` divides by B - 1 instead: it subtracts too much. Raises UsageError for B < 2.
    Huszar 2017, cited in Mescheder 2017, supplement.

    >>> debiased(torch.tensor([[3.0], [1.0]])), debiased(torch.tensor([[3.0], [1.0]]), unbiased_variance=True)
    (tensor(1.5000), tensor(1.))
    """
    B = v.shape[-2]
    if B < 2:
        raise UsageError(f"a batch of {B} shows no bias: give at least 2 gradients")
    S = v.var(-2, correction=int(unbiased_variance)).sum(-1)
    return half_square(v) - S / (2 * B - 2)


def every_batch(values: Tensor, batch: int) -> Tensor:
    """All K^batch equally likely batches of independent draws from the rows of values [K, n]: [K^batch, batch, n]."""
    return values[torch.cartesian_prod(*[torch.arange(len(values))] * batch)]


def check_lemma15(seed: int = 0) -> Verdict:
    """Exact expectations, from all possible batches of small random sets of gradients.

    >>> check_lemma15().verdict
    'holds'
    """
    g = cases.generator(seed)
    errors, shares = [], []
    for _ in range(50):
        values, batch = cases.normal(g, cases.integers(g, 2, 4), 3), cases.integers(g, 2, 5)
        L = half_square(values)
        bias = half_square(every_batch(values, batch)).mean() - L
        variance = (values - values.mean(0)).square().sum(1).mean()
        errors.append((bias - lemma15_bias(float(variance), batch)).abs())
        shares.append(bias / L)
    error = torch.stack(errors)
    return Verdict(
        "Lemma 15",
        NUMERICS,
        "E|v_B|^2/2 over batches exceeds |E v|^2/2 by Var[v_1]/(2B)",
        f"exact over all batches to {error.max():.0e}; the bias is up to {max(shares):.3g} times |E v|^2/2",
        judge(error <= 1e-12),
        len(error),
    )


def check_debiased(seed: int = 0) -> Verdict:
    """Exact expectations of both corrections, and the sum over pairs that equals the right one.

    >>> check_debiased().verdict
    'holds as corrected'
    """
    g = cases.generator(seed)
    off: dict[bool, list[Tensor]] = {True: [], False: []}
    pairs = []
    for _ in range(50):
        values, batch = cases.normal(g, cases.integers(g, 2, 4), 3), cases.integers(g, 2, 5)
        batches = every_batch(values, batch)
        scale = values.var(0, correction=0).sum() / (2 * batch)
        for unbiased, found in off.items():
            found.append((debiased(batches, unbiased_variance=unbiased).mean() - half_square(values)) / scale)
        products = batches @ batches.mT
        others = (products.sum((1, 2)) - products.diagonal(dim1=1, dim2=2).sum(1)) / (2 * batch * (batch - 1))
        pairs.append((others - debiased(batches)).abs().max())
    wrong, right, same = torch.stack(off[True]), torch.stack(off[False]).abs(), torch.stack(pairs)
    return Verdict(
        "Debiased consensus",
        NUMERICS,
        "L_B minus 1/(2B - 2) of the sample variance of the v_i is unbiased",
        f"with the variance over B unbiased to {right.max():.0e}; with the variance over B - 1 too low by "
        f"{-wrong.max():.2g} to {-wrong.min():.2g} of the bias it removes",
        judge((wrong.abs() <= 1e-9) & (right <= 1e-9), (right <= 1e-9) & (same <= 1e-12), AS_CORRECTED),
        len(right),
    )
