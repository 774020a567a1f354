"""How logits become losses. Each objective is a pair of functions, minimised by the player it is named after.

A high logit means real, everywhere. Logits are [N], one number for each sample, or a map [N, ...] of patches. A
list or tuple of such is several critics. A loss is the mean over all logits of a critic, summed over critics.

A discriminator's loss takes `weights` [N] of the real samples: each one's term is multiplied by its own, in the same
mean. With weights of mean 1 it is a weighted mean (`fake_as_real.weights`).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from steadygan import parallel
from steadygan.critic_outputs import Logits, critics, paired, total, wide
from steadygan.errors import UsageError

__all__ = [
    "LOSSES",
    "Loss",
    "centering",
    "feature_matching",
    "hinge",
    "indicator",
    "kl",
    "least_squares",
    "lecam",
    "mean_feature_matching",
    "minimax",
    "non_saturating",
    "pull_away",
    "relativistic",
    "total_variation",
    "wasserstein",
]


class Loss(NamedTuple):
    """An objective: `discriminator(real_logits, fake_logits)` and `generator(fake_logits, real_logits=None)`, scalars.

    `discriminator` may take `weights` of the real samples, too.
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


def _means(
    real_term: Callable[[Tensor], Tensor], fake_term: Callable[[Tensor], Tensor]
) -> Callable[..., Tensor]:
    def discriminator(real_logits: Logits, fake_logits: Logits, weights: Tensor | None = None) -> Tensor:
        pairs = paired(real_logits, fake_logits)
        return total(
            _weighed(real_term(real), weights).mean() + fake_term(fake).mean() for real, fake in pairs
        )

    return discriminator


def _weighed(terms: Tensor, weights: Tensor | None) -> Tensor:
    """The terms [N, ...] of samples, each times the weight [N] of its sample."""
    if weights is None:
        return terms
    if weights.shape != terms.shape[:1]:
        raise UsageError(
            f"weights are one number for each real sample, [{len(terms)}], not {list(weights.shape)}: pass those of "
            "these samples"
        )
    return terms * weights.view(-1, *[1] * (terms.ndim - 1))


def _mean(term: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    def generator(fake_logits: Logits, real_logits: Logits | None = None) -> Tensor:
        return total(term(fake).mean() for fake in critics(fake_logits))

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


def _least_squares_discriminator(
    real_logits: Logits, fake_logits: Logits, weights: Tensor | None = None, scale: float = 0.5
) -> Tensor:
    return scale * _means(lambda real: (wide(real) - 1) ** 2, lambda fake: wide(fake) ** 2)(
        real_logits, fake_logits, weights
    )


def _least_squares_generator(
    fake_logits: Logits, real_logits: Logits | None = None, scale: float = 0.5
) -> Tensor:
    return scale * _mean(lambda fake: (wide(fake) - 1) ** 2)(fake_logits)


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


def _relativistic_discriminator(
    real_logits: Logits, fake_logits: Logits, weights: Tensor | None = None
) -> Tensor:
    pairs = paired(real_logits, fake_logits)
    return total(_weighed(softplus(_margin(fake, real)), weights).mean() for real, fake in pairs)


def _relativistic_generator(fake_logits: Logits, real_logits: Logits | None = None) -> Tensor:
    if real_logits is None:
        raise UsageError("the relativistic loss of G compares fakes with reals: pass real_logits too")
    return _relativistic_discriminator(fake_logits, real_logits)


def _margin(a: Tensor, b: Tensor, term: str = "the relativistic loss") -> Tensor:
    if a.shape != b.shape:
        raise UsageError(
            f"{term} pairs each fake logit with a real one, but their shapes are "
            f"{list(a.shape)} and {list(b.shape)}: draw as many of each"
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


def centering(real_logits: Logits, fake_logits: Logits) -> Tensor:
    """Return mean_i (r_i + f_i)^2 on pairs of one real and one fake, a term of D's loss: it keeps the logits about 0.

    A relativistic loss sees r - f alone, so nothing else holds the logits' common level. The source's weight is 0.01.
    Raises UsageError on unequal numbers of logits. Source: Lin 2025 (Adversarial Flow Models, AFM).

    >>> centering(torch.tensor([1.0, 3.0]), torch.tensor([-1.0, -1.0]))
    tensor(2.)
    """
    return total(
        wide(_margin(real, -fake, "centering")).square().mean()
        for real, fake in paired(real_logits, fake_logits)
    )


Average = Tensor | float | Sequence[Tensor | float]
"""The running mean of a critic's logits on one side, or those of several critics."""


def lecam(real_logits: Logits, fake_logits: Logits, real_average: Average, fake_average: Average) -> Tensor:
    """Return mean (r - a_F)^2 + mean (f - a_R)^2, a term of D's loss that keeps the two sides' logits together.

    a_R and a_F are running means of the real and the fake logits, `real_average` and `fake_average`. They are
    constants here: after each step let a <- decay a + (1 - decay) mean logit, with a decay of 0.99. Several critics
    have a list of each. The authors' code leaves out the squares of r < a_F and f > a_R, and its StyleGAN2 divides
    averages that start at 0 by 1 - decay^step. This is the paper's formula.
    Raises UsageError where the numbers of averages and of critics differ.
    Source: Tseng 2021 (Regularizing GANs under limited data).

    >>> lecam(torch.tensor([1.0, 3.0]), torch.tensor([-1.0]), real_average=2.0, fake_average=-1.0)
    tensor(19.)
    """
    averages = [_constants(a) for a in (real_average, fake_average)]
    pairs = paired(real_logits, fake_logits)
    if {len(each) for each in averages} != {len(pairs)}:
        raise UsageError(
            f"lecam takes one average of each side for each critic, of {len(pairs)} here, not "
            f"{' and '.join(str(len(each)) for each in averages)}: pass lists with one for each critic"
        )
    found = zip(pairs, *averages, strict=True)
    return total(
        (wide(r) - below).square().mean() + (wide(f) - above).square().mean()
        for (r, f), above, below in found
    )


def _constants(average: Average) -> list[Tensor | float]:
    """The averages of each critic, without a graph."""
    each = average if isinstance(average, Sequence) else [average]
    return [one.detach() if isinstance(one, Tensor) else one for one in each]


def pull_away(codes: Tensor, count: int | None = None) -> Tensor:
    """Return EBGAN's pull-away term on the codes of fakes: 1/(N(N-1)) sum over i != j of cos^2(S_i, S_j), in [0, 1].

    Codes are [N, ...], one vector S_i for each sample, with N at least 2. A code of zero counts as orthogonal
    to all, with gradient 0. G minimises the term, with a weight of 0.1 in the paper. Where several processes share
    a batch, codes are one process's, of `count` samples (as many as here on each process, unless given), and the
    result is the mean over its samples. Raises UsageError on other shapes. Source: Zhao 2017, section 2.4.

    >>> pull_away(torch.ones(3, 4)), pull_away(torch.eye(3))
    (tensor(1.), tensor(0.))
    """
    flat = wide(codes.flatten(1) if codes.ndim > 1 else codes)
    count = parallel.whole(len(flat), count)
    if codes.ndim < 2 or count < 2:
        raise UsageError(
            f"the pull-away term compares the codes [N, ...] of two samples or more, not {list(codes.shape)}: "
            "choose a larger batch, or leave it out"
        )
    squared = flat.square().sum(1, keepdim=True)
    zero = squared == 0  # and not > 0: NaN stays NaN
    unit = flat / torch.where(zero, 1.0, squared).sqrt()
    place = parallel.rows(count).start + torch.arange(len(flat), device=flat.device)
    others = (torch.arange(count, device=flat.device) != place.view(-1, 1)).to(flat.dtype)
    return ((unit @ parallel.gathered(unit, count).T).square() * others).sum() / (len(flat) * (count - 1))


Layers = Sequence[Tensor]
"""The features of one critic."""


def feature_matching(
    real_features: Layers | Sequence[Layers], fake_features: Layers | Sequence[Layers]
) -> Tensor:
    """Return the mean of |real - fake| over a layer's entries, averaged over layers and summed over critics.

    One critic's features are a list of tensors, one for each layer. Several critics have a list of such lists. The
    reals are detached: G minimises the distance. Eqn 4 of the source sums over the T layers of a critic, where this
    averages: multiply its weight by T. Raises UsageError on features that do not pair. Source: Wang 2018 (pix2pixHD).

    >>> feature_matching([torch.zeros(2, 3), torch.zeros(2, 5)], [torch.ones(2, 3), torch.zeros(2, 5)])
    tensor(0.5000)
    """
    real, fake = _layers(real_features), _layers(fake_features)
    shapes = [[[list(layer.shape) for layer in critic] for critic in features] for features in (real, fake)]
    if shapes[0] != shapes[1]:
        raise UsageError(
            f"feature matching compares like layers, but the shapes are {shapes[0]} (real) and {shapes[1]} (fake): "
            "pass the features of as many reals as fakes, from the same layers"
        )
    pairs = (zip(*layers, strict=True) for layers in zip(real, fake, strict=True))
    return total(torch.stack([(a.detach() - b).abs().mean() for a, b in pair]).mean() for pair in pairs)


def mean_feature_matching(real_features: Tensor, fake_features: Tensor) -> Tensor:
    """Return |mean f(x) - mean f(G(z))|^2 of features [N, ...] and [M, ...]: the norm is over all that a sample has.

    G minimises it. The means are those of the whole batch where processes share it. The reals are not detached: compute
    them under torch.no_grad in your own training loop. Raises UsageError on features of unlike shapes. Source:
    Salimans 2016, section 3.1.

    >>> mean_feature_matching(torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.tensor([[0.0, 1.0]]))
    tensor(5.)
    """
    if real_features.shape[1:] != fake_features.shape[1:] or not (len(real_features) and len(fake_features)):
        raise UsageError(
            f"feature matching compares one layer's features, but their shapes are {list(real_features.shape)} (real) "
            f"and {list(fake_features.shape)} (fake): pass rows [N, ...] and [M, ...] of the same layer"
        )
    real, fake = (parallel.mean_row(wide(each)) for each in (real_features, fake_features))
    return (real - fake).square().sum()


def _layers(features: Any) -> list[list[Tensor]]:
    """The layers of each critic."""
    each = [features] if isinstance(features, Tensor) else features
    nested = list(each) if each and all(isinstance(part, list | tuple) for part in each) else [each]
    for layers in nested:
        if not layers or not all(isinstance(layer, Tensor) for layer in layers):
            raise UsageError(
                "features are a list of tensors, one for each layer, or a list of such lists, one for each critic"
            )
    return nested


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
