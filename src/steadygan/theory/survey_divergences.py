"""Divergences: the optimal discriminator, its value, and the divergence that the generator's losses then minimise.

Distributions are probabilities [K] over the same K points. P is that of the data, Q that of the generator.
Source: Li 2017, slides "Tackling the Gradient Issues in Generative Adversarial Networks".
"""

import math

import torch
from torch import Tensor

from steadygan.errors import UsageError
from steadygan.losses import minimax, non_saturating
from steadygan.theory import cases
from steadygan.theory.verdicts import AS_CORRECTED, SURVEY, Verdict, judge

__all__ = [
    "check_jensen_shannon",
    "check_kl_less_jsd",
    "check_optimal_discriminator",
    "generator_loss",
    "jensen_shannon",
    "kullback_leibler",
    "optimal_logits",
    "value",
]


def kullback_leibler(p: Tensor, q: Tensor) -> Tensor:
    """KL(p||q) = sum p log(p/q) in nats, infinite where p > 0 = q; p and q are [K], the result is a scalar.

    >>> kullback_leibler(torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.5]))
    tensor(0.6931)
    """
    return (torch.special.xlogy(p, p) - torch.special.xlogy(p, q)).sum()


def jensen_shannon(p: Tensor, q: Tensor) -> Tensor:
    """JSD(p||q) = KL(p||m)/2 + KL(q||m)/2 with m = (p + q)/2, from 0 to log 2; p and q are [K].

    >>> jensen_shannon(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]))
    tensor(0.6931)
    """
    middle = (p + q) / 2
    return (kullback_leibler(p, middle) + kullback_leibler(q, middle)) / 2


def optimal_logits(p: Tensor, q: Tensor) -> Tensor:
    """The logits log p - log q of the optimal discriminator D* = p/(p + q), [K]. Goodfellow 2014, Proposition 1.

    Raises UsageError unless all of p and q are positive: elsewhere the optimal logit is infinite or arbitrary.

    >>> torch.sigmoid(optimal_logits(torch.tensor([0.6, 0.4]), torch.tensor([0.2, 0.8])))
    tensor([0.7500, 0.3333])
    """
    if not bool((p > 0).all() & (q > 0).all()):
        raise UsageError(
            "the optimal logits are finite only where both distributions are positive: leave out the other points"
        )
    return p.log() - q.log()


def value(logits: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """E_P log D + E_Q log(1 - D) at D = sigmoid(logits), all [K], by the package's loss: a scalar.

    At the optimal D it is 2 JSD(p||q) - 2 log 2. Goodfellow 2014, Theorem 1.

    >>> even = torch.tensor([0.5, 0.5])
    >>> value(torch.zeros(2), even, even)
    tensor(-1.3863)
    """
    zero = logits.new_zeros(1)
    real = torch.stack([-minimax.discriminator(t[None], zero) for t in logits]) + math.log(2)
    fake = torch.stack([-minimax.discriminator(zero, t[None]) for t in logits]) + math.log(2)
    return p @ real + q @ fake


def generator_loss(logits: Tensor, q: Tensor, saturating: bool = False) -> Tensor:
    """E_Q of the package's generator loss at logits [K]: -log D, or log(1 - D) if `saturating`; a scalar.

    >>> generator_loss(torch.zeros(2), torch.tensor([0.5, 0.5]))
    tensor(0.6931)
    """
    loss = minimax if saturating else non_saturating
    return q @ torch.stack([loss.generator(t[None]) for t in logits])


def check_optimal_discriminator(seed: int = 0) -> Verdict:
    """The gradient of the concave value at D*, and the values at other critics.

    >>> check_optimal_discriminator().verdict
    'holds'
    """
    g = cases.generator(seed)
    slopes, gains = [], []
    for _ in range(50):
        p, q = cases.normal(g, 2, 5).softmax(1)
        best = optimal_logits(p, q)
        slopes.append(torch.func.grad(value)(best, p, q).abs().max())
        gains.append(value(best, p, q) - value(best + cases.normal(g, 5), p, q))
    slope, gain = torch.stack(slopes), torch.stack(gains)
    return Verdict(
        "Optimal discriminator",
        SURVEY,
        "the optimal D is P_r/(P_r + P_g)",
        f"gradient of the package's loss there at most {slope.max():.0e}; other critics are worse by {gain.min():.1e} "
        "or more",
        judge((slope <= 1e-12) & (gain > 0)),
        len(gain),
    )


def check_jensen_shannon(seed: int = 0) -> Verdict:
    """The value at D*, the gradient of the saturating loss, and the JSD of disjoint supports.

    >>> check_jensen_shannon().verdict
    'holds'
    """
    g = cases.generator(seed)
    errors, slopes = [], []
    for _ in range(50):
        p, w = cases.normal(g, 5).softmax(0), cases.normal(g, 5)
        best = optimal_logits(p, w.softmax(0))
        errors.append(value(best, p, w.softmax(0)) - 2 * jensen_shannon(p, w.softmax(0)) + 2 * math.log(2))
        frozen = torch.func.grad(lambda w, t=best: generator_loss(t, w.softmax(0), saturating=True))(w)
        slopes.append(
            (frozen - torch.func.grad(lambda w, p=p: 2 * jensen_shannon(p, w.softmax(0)))(w)).abs().max()
        )
    apart = torch.tensor([1.0, 0.0], dtype=torch.float64)
    disjoint = jensen_shannon(apart, 1 - apart) - math.log(2)
    error, slope = torch.stack(errors).abs(), torch.stack(slopes)
    return Verdict(
        "JSD identity",
        SURVEY,
        "at the optimal D the value is 2 JSD - 2 log 2, and the original generator loss has the gradient of 2 JSD; JSD "
        "is log 2 on disjoint supports",
        f"value right to {error.max():.0e}, gradient to {slope.max():.0e}; JSD - log 2 on disjoint supports: "
        f"{abs(disjoint):.0e}",
        judge((error <= 1e-12) & (slope <= 1e-12) & (disjoint.abs() <= 1e-12)),
        len(error),
    )


def check_kl_less_jsd(seed: int = 0) -> Verdict:
    """Values and gradients of the non-saturating loss, with D* frozen and with D* optimised again.

    >>> check_kl_less_jsd().verdict
    'holds as corrected'
    """
    g = cases.generator(seed)
    values, frozen, again = [], [], []
    for _ in range(50):
        p, w = cases.normal(g, 5).softmax(0), cases.normal(g, 5)

        def loss(w: Tensor, at: Tensor, p: Tensor = p) -> Tensor:
            return generator_loss(optimal_logits(p, at.softmax(0)), w.softmax(0))

        def divergence(w: Tensor, p: Tensor = p) -> Tensor:
            q = w.softmax(0)
            return kullback_leibler(q, p) - 2 * jensen_shannon(q, p)

        values.append(loss(w, w) - divergence(w))
        right = torch.func.grad(divergence)(w)
        frozen.append((torch.func.grad(loss)(w, w) - right).norm() / right.norm())
        again.append((torch.func.grad(lambda w, loss=loss: loss(w, w))(w) - right).norm() / right.norm())
    offset, same, other = torch.stack(values), torch.stack(frozen), torch.stack(again)
    return Verdict(
        "KL - 2 JSD",
        SURVEY,
        "at the optimal D, minimising the non-saturating loss is equal to minimising KL(P_g||P_r) - 2 JSD",
        f"gradients are equal to {same.max():.0e} with D* frozen; they differ by {other.min():.0%} or more with D* "
        f"optimised again; values differ by {offset.min():.2f} to {offset.max():.2f}",
        judge((other <= 1e-9) & (offset.abs() <= 1e-9), same <= 1e-9, AS_CORRECTED),
        len(same),
    )
