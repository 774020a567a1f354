"""How logits become losses. Each objective is a pair of functions, minimised by the player it is named after.

A high logit means real, everywhere. Logits are [N], one number for each sample. A loss is the mean over the
batch.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from steadygan.errors import UsageError

__all__ = [
    "LOSSES",
    "Loss",
    "hinge",
    "indicator",
    "kl",
    "least_squares",
    "minimax",
    "non_saturating",
    "pull_away",
    "relativistic",
    "total_variation",
    "wasserstein",
]


class Loss(NamedTuple):
    """An objective: `discriminator(real_logits, fake_logits)` and `generator(fake_logits, real_logits=None)`, scalars.

    `pairs` says that the generator's loss compares its fakes with real samples. It then needs `real_logits`.
    `meaning` says in a sentence what it is, for lists and the reference of configuration keys.

    >>> LOSSES["hinge"].generator(torch.ones(2))
    tensor(-1.)
    """

    discriminator: Callable[..., Tensor]
    generator: Callable[..., Tensor]
    pairs: bool = False
    meaning: str = ""


def softplus(t: Tensor) -> Tensor:
    """Return log(1 + e^t), exact for large t, where torch's own becomes linear.

    >>> softplus(torch.zeros(()))
    tensor(0.6931)
    """
    return -F.logsigmoid(-t)


def check_logits(logits: Tensor, samples: int | None = None) -> Tensor:
    """Return `logits` if they are [N]; otherwise raise UsageError that names both shapes."""
    if logits.ndim != 1 or (samples is not None and len(logits) != samples):
        expected = "[N]" if samples is None else f"[{samples}]"
        raise UsageError(
            f"a critic must return one logit per sample, shape {expected}, but this one returned shape "
            f"{list(logits.shape)}: end it with .squeeze(1) or .flatten(0)"
        )
    return logits


def _means(
    real_term: Callable[[Tensor], Tensor], fake_term: Callable[[Tensor], Tensor]
) -> Callable[..., Tensor]:
    def discriminator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return real_term(check_logits(real_logits)).mean() + fake_term(check_logits(fake_logits)).mean()

    return discriminator


def _mean(term: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    def generator(fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        return term(check_logits(fake_logits)).mean()

    return generator


_cross_entropy = _means(lambda real: softplus(-real), softplus)

minimax = Loss(
    _cross_entropy,
    _mean(lambda fake: -softplus(fake)),
    meaning="The zero-sum game of the first paper (Goodfellow et al. 2014).",
)
"""The zero-sum game. D: mean log(1+e^-r) + mean log(1+e^f). G: -mean log(1+e^f).

Source: Goodfellow 2014, Eqn 1.

>>> zero = torch.zeros(4)
>>> minimax.discriminator(zero, zero), minimax.generator(zero)
(tensor(1.3863), tensor(-0.6931))
"""

non_saturating = Loss(
    _cross_entropy,
    _mean(lambda fake: softplus(-fake)),
    meaning="minimax's D; G minimises -log D, whose gradient stays while D is sure (Goodfellow et al. 2014).",
)
"""The same D as minimax. G: mean log(1+e^-f), whose gradient does not vanish while D is sure.

Source: Goodfellow 2014, section 3.

>>> non_saturating.generator(torch.zeros(4))
tensor(0.6931)
"""

wasserstein = Loss(
    _means(torch.neg, lambda fake: fake),
    _mean(torch.neg),
    meaning="WGAN: the difference of mean logits. A penalty or clipping has to bound D (Arjovsky et al. 2017).",
)
"""D: mean f - mean r. G: -mean f. A penalty or a normalization has to bound the critic's Lipschitz constant.

Source: Arjovsky 2017, Eqn 2.

>>> wasserstein.discriminator(torch.ones(2), -torch.ones(2))
tensor(-2.)
"""

hinge = Loss(
    _means(lambda real: F.relu(1 - real), lambda fake: F.relu(1 + fake)),
    _mean(torch.neg),
    meaning="D wants real logits above 1 and fake ones below -1 (Lim and Ye 2017).",
)
"""D: mean max(0, 1-r) + mean max(0, 1+f). G: -mean f.

Source: Lim and Ye 2017; Miyato 2018, Eqn 17.

>>> hinge.discriminator(torch.zeros(4), torch.zeros(4))
tensor(2.)
"""


def _least_squares_discriminator(real_logits: Tensor, fake_logits: Tensor, scale: float = 0.5) -> Tensor:
    return scale * _means(lambda real: (real - 1) ** 2, lambda fake: fake**2)(real_logits, fake_logits)


def _least_squares_generator(
    fake_logits: Tensor, real_logits: Tensor | None = None, scale: float = 0.5
) -> Tensor:
    return scale * ((check_logits(fake_logits) - 1) ** 2).mean()


least_squares = Loss(
    _least_squares_discriminator,
    _least_squares_generator,
    meaning="LSGAN: squared distances of the logits to 1 (real) and 0 (fake) (Mao et al. 2017).",
)
"""D: s mean (r-1)^2 + s mean f^2. G: s mean (f-1)^2, with s = `scale` = 1/2.

Source: Mao 2017, Eqn 9 (targets 0, 1, 1).

>>> least_squares.discriminator(torch.zeros(4), torch.zeros(4))
tensor(0.5000)
"""


def _relativistic_discriminator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    return softplus(_margin(fake_logits, real_logits)).mean()


def _relativistic_generator(fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
    if real_logits is None:
        raise UsageError("the relativistic loss of G compares fakes with reals: pass real_logits too")
    return softplus(_margin(real_logits, fake_logits)).mean()


def _margin(a: Tensor, b: Tensor) -> Tensor:
    if check_logits(a).shape != check_logits(b).shape:
        raise UsageError(
            f"the relativistic loss pairs each fake with a real, but there are {len(a)} and {len(b)}: draw as many"
        )
    return a - b


relativistic = Loss(
    _relativistic_discriminator,
    _relativistic_generator,
    pairs=True,
    meaning="Compares each fake with one real sample: RpGAN, R3GAN's loss (Jolicoeur-Martineau 2019).",
)
"""A loss on pairs of one real and one fake. D: mean log(1+e^-(r-f)). G: mean log(1+e^-(f-r)).

Source: Jolicoeur-Martineau 2019 (RpGAN); Huang 2024 (R3GAN).

>>> relativistic.generator(torch.zeros(4), torch.zeros(4))
tensor(0.6931)
"""

kl = Loss(
    _cross_entropy,
    _mean(torch.neg),
    meaning="minimax's D; G maximises the logit, at the best D a KL divergence (Mescheder et al. 2017).",
)
"""The same D as minimax. G: -mean f, which is the KL divergence at the best D.

Source: Mescheder 2017 (Numerics); Soenderby 2017.

>>> kl.generator(torch.ones(3))
tensor(-1.)
"""

total_variation = Loss(
    _means(lambda real: -torch.tanh(real), torch.tanh),
    _mean(lambda fake: -torch.tanh(fake)),
    meaning="The difference of mean tanh of logits, so that D is bounded (Nowozin et al. 2016).",
)
"""D: mean tanh f - mean tanh r. G: -mean tanh f: the tanh bounds the critic.

Source: Nowozin 2016; Mescheder 2017, their code.

>>> total_variation.discriminator(torch.zeros(2), torch.zeros(2))
tensor(0.)
"""

indicator = Loss(
    wasserstein.discriminator,
    wasserstein.generator,
    meaning="wasserstein's two functions with nothing that bounds D (Mescheder et al. 2017).",
)
"""The integral probability metric of an unbounded critic. D: mean f - mean r. G: -mean f.

These are the two functions of `wasserstein`, under the name of the Numerics paper. Nothing bounds D. Source:
Mescheder 2017.

>>> indicator.generator(torch.ones(3))
tensor(-1.)
"""


def pull_away(codes: Tensor) -> Tensor:
    """Return EBGAN's pull-away term on the codes of fakes: 1/(N(N-1)) sum over i != j of cos^2(S_i, S_j), in [0, 1].

    Codes are [N, ...], one vector S_i for each sample, with N at least 2. A code of zero counts as orthogonal
    to all, with gradient 0. G minimises the term, with a weight of 0.1 in the paper. Raises UsageError on
    other shapes. Source: Zhao 2017, section 2.4.

    >>> pull_away(torch.ones(3, 4)), pull_away(torch.eye(3))
    (tensor(1.), tensor(0.))
    """
    if codes.ndim < 2 or len(codes) < 2:
        raise UsageError(
            f"the pull-away term compares the codes [N, ...] of two samples or more, not {list(codes.shape)}: "
            "choose a larger batch, or leave it out"
        )
    flat = codes.flatten(1)
    squared = flat.square().sum(1, keepdim=True)
    zero = squared == 0  # and not > 0: NaN stays NaN
    unit = flat / torch.where(zero, 1.0, squared).sqrt()
    count = len(flat)
    others = 1 - torch.eye(count, dtype=flat.dtype, device=flat.device)
    return ((unit @ unit.T).square() * others).sum() / (count * (count - 1))


LOSSES: dict[str, Loss] = {
    "minimax": minimax,
    "non_saturating": non_saturating,
    "wasserstein": wasserstein,
    "hinge": hinge,
    "least_squares": least_squares,
    "relativistic": relativistic,
    "kl": kl,
    "total_variation": total_variation,
    "indicator": indicator,
}
"""Every objective under the name a recipe uses."""
