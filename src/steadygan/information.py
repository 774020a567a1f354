"""How much a sample tells of the code that it was made from: a lower bound of their mutual information.

I(c; x) >= E log Q(c | x) + H(c) for any distribution Q of codes given samples (Barber and Agakov 2003). They
are equal where Q is the posterior. Terms are [N], one number for each sample, in nats. Their mean is the
bound.
"""

import math

import torch
from torch import Tensor

from steadygan.errors import UsageError

__all__ = ["categorical", "continuous"]


def categorical(logits: Tensor, code: Tensor) -> Tensor:
    """Return log Q(c | x) + log K for one-hot codes [N, K], with Q = softmax of `logits` [N, K]: [N], at most log K.

    Codes are uniform over the K classes, so H(c) = log K. Raises UsageError unless both are [N, K]. Source:
    Chen 2016 (InfoGAN), Eqn 5.

    >>> categorical(torch.zeros(1, 10), torch.eye(10)[:1])
    tensor([0.])
    """
    _check(logits, code)
    return (code * torch.log_softmax(logits, 1)).sum(1) + math.log(logits.shape[1])


def continuous(mean: Tensor, code: Tensor) -> Tensor:
    """Return the sum over n codes of log N(c; mean, 1) + log 2, for codes [N, n] uniform on [-1, 1]: [N].

    The entropy of such a code is log 2. The standard deviation is always 1, which makes the bound loose. For
    each code it is at most -0.23 (mean = c), and -0.39 for a mean of 0. Raises UsageError unless both are [N,
    n]. Source: Chen 2016 (InfoGAN), section 6, and their code, whose standard deviation is 1.

    >>> continuous(torch.zeros(1, 1), torch.zeros(1, 1))
    tensor([-0.2258])
    """
    _check(mean, code)
    most = math.log(2) - math.log(2 * math.pi) / 2
    return (most - (code - mean).square() / 2).sum(1)


def _check(answer: Tensor, code: Tensor) -> None:
    if answer.ndim != 2 or answer.shape != code.shape:
        raise UsageError(
            f"answers and codes must both be [N, K], not {list(answer.shape)} and {list(code.shape)}: give Q as "
            "many outputs as there are classes or codes"
        )
