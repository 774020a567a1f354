"""Gradient penalties: terms that differentiate a critic with respect to its input.

Each public penalty is the batch mean of a per-sample term. The norm in it runs over *all* input dimensions of
a sample. Penalties are unweighted and without the 1/2: a weight of 10 here is gamma = 20 in the gamma/2
convention. A critic is any callable x [N, ...] -> logits [N].

Batch norm in the critic breaks a per-sample term, because its gradient mixes samples. These functions cannot
see that. The trainer refuses it.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from steadygan.errors import UsageError
from steadygan.losses import check_logits

__all__ = [
    "PENALTIES",
    "Penalty",
    "dragan",
    "input_gradient",
    "interpolate",
    "lazy",
    "max_gradient",
    "norm",
    "one_centered",
    "one_sided",
    "perturb",
    "r1",
    "r2",
    "squared_norm",
    "zero_centered",
]

Critic = Callable[[Tensor], Tensor]


def input_gradient(critic: Critic, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the critic's logits [N] at x [N, ...] and their gradient, shaped like x.

    Row i of the gradient is d logit_i / d x_i. It is the gradient of the sum of the logits, so the critic
    must treat samples independently. It can be differentiated again, and is safe where it is zero. Inside a
    pure step (torch.func, torch.compile) it is a vjp. In your own training loop it is ordinary autograd, so
    critics with buffers (spectral norm) or in-place activations work unchanged.

    Raises UsageError if the critic returns anything but [N], and for samples that are not of floating point.
    Also in torch.inference_mode, where nothing has a gradient.

    >>> logits, gradient = input_gradient(lambda x: 3 * x.sum(1), torch.zeros(2, 2))
    >>> gradient
    tensor([[3., 3.],
            [3., 3.]])
    """
    if not x.is_floating_point():
        raise UsageError(f"a critic's gradient needs samples of floating point, not {x.dtype}: convert them")
    if torch.compiler.is_compiling() or torch._C._functorch.maybe_current_level() is not None:
        logits, pull_back, *_ = torch.func.vjp(lambda x: critic(x.clone()), x)
        return logits, pull_back(torch.ones_like(check_logits(logits, len(x))))[0]
    if torch.is_inference_mode_enabled():
        raise UsageError(
            "torch.inference_mode computes no gradients, but this critic needs its own: use torch.no_grad"
        )
    with torch.enable_grad():
        x = x if x.requires_grad else x.detach().requires_grad_()
        logits = check_logits(critic(x.clone()), len(x))  # a clone: the first layer may work in place
        if not logits.requires_grad:  # a constant critic
            return logits, torch.zeros_like(x)
        (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True, materialize_grads=True)
    return logits, gradient


def squared_norm(gradient: Tensor) -> Tensor:
    """Return |gradient_i|^2 for each sample [N], summed over all input dimensions, in at least float32.

    >>> squared_norm(torch.ones(2, 3, 4))
    tensor([12., 12.])
    """
    wide = gradient.to(torch.promote_types(gradient.dtype, torch.float32))
    return wide.square().reshape(len(wide), -1).sum(1)


def norm(gradient: Tensor) -> Tensor:
    """Return |gradient_i| for each sample [N], with derivative 0 where it is 0 (the root's own is infinite there).

    >>> norm(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([5., 0.])
    """
    squared = squared_norm(gradient)
    zero = squared == 0  # and not > 0: NaN stays NaN
    return torch.where(zero, 0.0, torch.where(zero, 1.0, squared).sqrt())


def interpolate(x_real: Tensor, x_fake: Tensor, alpha: Tensor | None = None) -> Tensor:
    """Return alpha x_real + (1 - alpha) x_fake, with one alpha for each sample [N].

    alpha is uniform in [0, 1] when not given. Raises UsageError unless x_real and x_fake have one shape, and
    alpha is [N].

    >>> interpolate(torch.ones(2, 3), torch.zeros(2, 3), torch.tensor([0.0, 1.0]))
    tensor([[0., 0., 0.],
            [1., 1., 1.]])
    """
    if x_real.shape != x_fake.shape:
        raise UsageError(
            f"interpolation pairs one real with one fake sample, but their shapes are {list(x_real.shape)} "
            f"and {list(x_fake.shape)}: draw the same number of each"
        )
    if alpha is None:
        alpha = torch.rand(len(x_real), dtype=x_real.dtype, device=x_real.device)
    if alpha.shape != x_real.shape[:1]:
        raise UsageError(f"alpha must be one number per sample, [{len(x_real)}], not {list(alpha.shape)}")
    alpha = alpha.view(-1, *[1] * (x_real.ndim - 1))
    return alpha * x_real + (1 - alpha) * x_fake


def perturb(x_real: Tensor, noise: Tensor | None = None, alpha: Tensor | None = None) -> Tensor:
    """Return x_i + alpha_i s/2 noise_i: the neighbourhood of the data in which DRAGAN samples.

    s is the standard deviation of the batch. noise ~ U[0, 1] is shaped like x_real, and alpha ~ U[0, 1] is
    [N], one for each sample. Both are drawn unless given. Raises UsageError on other shapes. Source: Kodali
    2017, their code.

    >>> perturb(torch.tensor([[0.0], [2.0]]), torch.ones(2, 1), torch.ones(2)).flatten()
    tensor([0.5000, 2.5000])
    """
    noise = torch.rand_like(x_real) if noise is None else noise
    if noise.shape != x_real.shape:
        raise UsageError(
            f"noise must be shaped like the samples, {list(x_real.shape)}, not {list(noise.shape)}"
        )
    return interpolate(x_real + 0.5 * x_real.std(correction=0) * noise, x_real, alpha)


class Penalty(NamedTuple):
    """A penalty by its parts: where it differentiates, its per-sample `term(logits, gradient)` [N], and `reduce`.

    `where` is `real`, `fake`, `between` (interpolates) or `around` (perturbed real samples). Split like this,
    a step takes the critic's gradient at one place once for all penalties there.
    `meaning` says in a sentence what it is, for lists and the reference of configuration keys.
    """

    name: str
    where: str
    term: Callable[[Tensor, Tensor], Tensor]
    reduce: Callable[[Tensor], Tensor] = torch.mean
    meaning: str = ""


def _on_logit(logits: Tensor, gradient: Tensor) -> Tensor:
    return squared_norm(gradient)


def _on_probability(logits: Tensor, gradient: Tensor) -> Tensor:
    slope = torch.sigmoid(logits) * torch.sigmoid(-logits)  # d sigmoid / d logit, the chain rule
    return slope.square() * squared_norm(gradient)


SQUARED = {"logit": _on_logit, "probability": _on_probability}
"""What the gradient is taken of: the logit, or D = sigmoid(logit) as in the code of Thanh-Tung 2019."""


def _squared(of: str) -> Callable[[Tensor, Tensor], Tensor]:
    if of not in SQUARED:
        raise UsageError(f"a penalty differentiates 'logit' or 'probability', not {of!r}")
    return SQUARED[of]


def r1(critic: Critic, x_real: Tensor, of: str = "logit") -> Tensor:
    """Return mean_i |grad D(x_i)|^2 at real samples x_real [N, ...]: a scalar, no 1/2.

    With `of="probability"` the gradient is that of sigmoid(logit). With fake-as-real, pass the mixed rows
    (FARGAN, Eqn 11). Raises UsageError on logits that are not [N]. Source: Mescheder 2018, Eqn 9 (there with
    gamma/2).

    >>> r1(lambda x: x @ torch.tensor([3.0, 4.0]), torch.randn(8, 2))
    tensor(25.)
    """
    return _squared(of)(*input_gradient(critic, x_real)).mean()


def r2(critic: Critic, x_fake: Tensor, of: str = "logit") -> Tensor:
    """Return mean_i |grad D(y_i)|^2 at fakes x_fake [M, ...]: a scalar, no 1/2.

    `of` and errors are those of `r1`. Source: Mescheder 2018, section 4.1.

    >>> r2(lambda x: x.square().sum(1), torch.ones(8, 2)).item()
    8.0
    """
    return _squared(of)(*input_gradient(critic, x_fake)).mean()


def zero_centered(
    critic: Critic, x_real: Tensor, x_fake: Tensor, alpha: Tensor | None = None, of: str = "logit"
) -> Tensor:
    """Return mean_i |grad D(u_i)|^2 at interpolates u_i = alpha_i x_i + (1 - alpha_i) y_i: a scalar, no 1/2.

    x_real and x_fake are both [N, ...]. alpha_i ~ U[0, 1] unless given [N]. Raises UsageError on unequal
    shapes or logits that are not [N]. Source: Thanh-Tung 2019 (zero-centered gradient penalty, 0GP), whose
    code has `of="probability"`.

    >>> zero_centered(lambda x: 2 * x[:, 0], torch.ones(4, 2), torch.zeros(4, 2))
    tensor(4.)
    """
    return _squared(of)(*input_gradient(critic, interpolate(x_real, x_fake, alpha))).mean()


def _one_centered(logits: Tensor, gradient: Tensor) -> Tensor:
    return (norm(gradient) - 1).square()


def _one_sided(logits: Tensor, gradient: Tensor) -> Tensor:
    return (norm(gradient) - 1).relu().square()


def one_centered(critic: Critic, x_real: Tensor, x_fake: Tensor, alpha: Tensor | None = None) -> Tensor:
    """Return mean_i (|grad D(u_i)| - 1)^2 at interpolates u_i: a scalar, the penalty of WGAN-GP.

    x_real and x_fake are both [N, ...]. alpha_i ~ U[0, 1] unless given [N]. Raises UsageError on unequal
    shapes or logits that are not [N]. Source: Gulrajani 2017 (Wasserstein GAN with gradient penalty), Eqn 3
    (weight 10; 0.1 on their toys).

    >>> one_centered(lambda x: 3 * x[:, 0], torch.ones(4, 2), torch.zeros(4, 2))
    tensor(4.)
    """
    return _one_centered(*input_gradient(critic, interpolate(x_real, x_fake, alpha))).mean()


def one_sided(critic: Critic, x_real: Tensor, x_fake: Tensor, alpha: Tensor | None = None) -> Tensor:
    """Return mean_i max(0, |grad D(u_i)| - 1)^2 at interpolates: WGAN-LP, which does not penalise slopes below 1.

    Arguments and errors are those of `one_centered`. Source: Petzka 2018 (Wasserstein GAN with Lipschitz
    penalty), Eqn 8.

    >>> one_sided(lambda x: 0.5 * x[:, 0], torch.ones(4, 2), torch.zeros(4, 2))
    tensor(0.)
    """
    return _one_sided(*input_gradient(critic, interpolate(x_real, x_fake, alpha))).mean()


def dragan(
    critic: Critic, x_real: Tensor, noise: Tensor | None = None, alpha: Tensor | None = None
) -> Tensor:
    """Return mean_i (|grad D(u_i)| - 1)^2 at u_i = `perturb(x_real, noise, alpha)`: a scalar.

    It constrains the critic near the data only. D still trains on the data itself. Errors are those of `r1`.
    Source: Kodali 2017 (deep regret analytic GAN), Eqn 3.

    >>> dragan(lambda x: 3 * x[:, 0], torch.randn(4, 2))
    tensor(4.)
    """
    return _one_centered(*input_gradient(critic, perturb(x_real, noise, alpha))).mean()


def max_gradient(critic: Critic, x_real: Tensor, x_fake: Tensor, alpha: Tensor | None = None) -> Tensor:
    """Return max_i |grad D(u_i)|^2 at interpolates: the batch's estimate of the squared Lipschitz constant, a scalar.

    Arguments and errors are those of `one_centered`. Source: Zhou 2019 (Lipschitz GANs), section 4.5.

    >>> max_gradient(lambda x: 3 * x[:, 0], torch.ones(4, 2), torch.zeros(4, 2))
    tensor(9.)
    """
    return _on_logit(*input_gradient(critic, interpolate(x_real, x_fake, alpha))).amax()


def lazy(penalty: Callable[..., Tensor], interval: int) -> Callable[..., Tensor | float]:
    """Return a penalty that is taken every `interval` steps only, and is `interval` times as heavy then.

    The result is f(step, ...): interval * penalty(...) where step % interval == 0, else 0.0. So its mean over
    steps is unchanged. Raises UsageError unless interval is a whole number, 1 or more. Source: Karras 2020,
    App. B.

    >>> lazily = lazy(r1, 16)
    >>> [float(lazily(step, lambda x: x[:, 0], torch.ones(4, 2))) for step in (0, 1, 16)]
    [16.0, 0.0, 16.0]
    """
    if interval < 1 or interval % 1:
        raise UsageError(f"a lazy penalty's interval must be a whole number, 1 or more, not {interval}")
    return lambda step, *args, **kwargs: interval * penalty(*args, **kwargs) if step % interval == 0 else 0.0


PENALTIES: dict[str, Callable[..., Penalty]] = {
    "r1": lambda of="logit": Penalty(
        "r1", "real", _squared(of), meaning="Squared gradient at real samples (Mescheder et al. 2018)."
    ),
    "r2": lambda of="logit": Penalty(
        "r2", "fake", _squared(of), meaning="Squared gradient at generated samples (Mescheder et al. 2018)."
    ),
    "zero_centered": lambda of="logit": Penalty(
        "zero_centered",
        "between",
        _squared(of),
        meaning="0GP: squared gradient between real and generated samples (Thanh-Tung et al. 2019).",
    ),
    "one_centered": lambda: Penalty(
        "one_centered",
        "between",
        _one_centered,
        meaning="WGAN-GP: pulls the gradient norm to 1 between real and generated samples (Gulrajani et al. 2017).",
    ),
    "one_sided": lambda: Penalty(
        "one_sided",
        "between",
        _one_sided,
        meaning="WGAN-LP: the same, of gradient norms above 1 only (Petzka et al. 2018).",
    ),
    "dragan": lambda: Penalty(
        "dragan",
        "around",
        _one_centered,
        meaning="DRAGAN: pulls the gradient norm to 1 around real samples (Kodali et al. 2017).",
    ),
    "max_gradient": lambda: Penalty(
        "max_gradient",
        "between",
        _on_logit,
        torch.amax,
        meaning="Largest squared gradient between real and generated samples of a batch (Zhou et al. 2019).",
    ),
}
"""Every penalty under the name a recipe uses."""
