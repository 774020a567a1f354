"""Terms that differentiate a critic with respect to its input.

Each public penalty is a batch mean of a per-sample term, the norm over *all* input dimensions of that sample,
unweighted and without the 1/2: a weight of 10 here is gamma = 20 in the gamma/2 convention. A critic is any
callable x [N, ...] -> logits [N]. Per-sample means that batch norm in the critic breaks the term (its gradient
mixes samples); that cannot be seen from here, the trainer refuses it.
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

    Row i of the gradient is d logit_i / d x_i, taken as the gradient of the sum of the logits, so it needs
    a critic that treats samples independently. It can be differentiated again, and is safe where it is zero.
    Inside a pure step (torch.func, torch.compile) it is a vjp; in an imperative loop it is ordinary autograd,
    so that critics with buffers (spectral norm) or in-place activations work unchanged.

    Raises UsageError if the critic returns anything but [N], for samples that are not of floating point, and in
    torch.inference_mode, where nothing has a gradient.

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
            "torch.inference_mode knows no gradients, and this critic needs its own: use torch.no_grad"
        )
    with torch.enable_grad():
        x = x if x.requires_grad else x.detach().requires_grad_()
        logits = check_logits(critic(x.clone()), len(x))  # a clone: the first layer may work in place
        if not logits.requires_grad:  # a constant critic
            return logits, torch.zeros_like(x)
        (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True, materialize_grads=True)
    return logits, gradient


def squared_norm(gradient: Tensor) -> Tensor:
    """|gradient_i|^2 for each sample [N], summed over all input dimensions, in at least float32.

    >>> squared_norm(torch.ones(2, 3, 4))
    tensor([12., 12.])
    """
    wide = gradient.to(torch.promote_types(gradient.dtype, torch.float32))
    return wide.square().reshape(len(wide), -1).sum(1)


def norm(gradient: Tensor) -> Tensor:
    """|gradient_i| for each sample [N], with derivative 0 where it is 0 (the root's own is infinite there).

    >>> norm(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([5., 0.])
    """
    squared = squared_norm(gradient)
    zero = squared == 0  # and not > 0: NaN stays NaN
    return torch.where(zero, 0.0, torch.where(zero, 1.0, squared).sqrt())


def interpolate(x_real: Tensor, x_fake: Tensor, alpha: Tensor | None = None) -> Tensor:
    """alpha x_real + (1 - alpha) x_fake, one alpha a sample [N], uniform in [0, 1] when not given.

    >>> interpolate(torch.ones(2, 3), torch.zeros(2, 3), torch.tensor([0.0, 1.0]))
    tensor([[0., 0., 0.],
            [1., 1., 1.]])
    """
    if x_real.shape != x_fake.shape:
        raise UsageError(
            f"interpolation pairs one real with one fake sample, but their shapes are {list(x_real.shape)} "
            f"and {list(x_fake.shape)}: draw as many of each"
        )
    if alpha is None:
        alpha = torch.rand(len(x_real), dtype=x_real.dtype, device=x_real.device)
    if alpha.shape != x_real.shape[:1]:
        raise UsageError(f"alpha is one number a sample, [{len(x_real)}], not {list(alpha.shape)}")
    alpha = alpha.view(-1, *[1] * (x_real.ndim - 1))
    return alpha * x_real + (1 - alpha) * x_fake


def perturb(x_real: Tensor, noise: Tensor | None = None, alpha: Tensor | None = None) -> Tensor:
    """x_i + alpha_i s/2 noise_i with s the batch's standard deviation: DRAGAN's neighbourhood of the data.

    noise ~ U[0, 1] like x_real and alpha ~ U[0, 1] [N] unless given, one alpha a sample. Kodali 2017's code.

    >>> perturb(torch.tensor([[0.0], [2.0]]), torch.ones(2, 1), torch.ones(2)).flatten()
    tensor([0.5000, 2.5000])
    """
    noise = torch.rand_like(x_real) if noise is None else noise
    if noise.shape != x_real.shape:
        raise UsageError(f"noise is shaped like the samples, {list(x_real.shape)}, not {list(noise.shape)}")
    return interpolate(x_real + 0.5 * x_real.std(correction=0) * noise, x_real, alpha)


class Penalty(NamedTuple):
    """Its name, where it looks, its per-sample `term(logits, gradient)` [N], and how a batch of terms is reduced.

    Places are `real`, `fake`, `between` (interpolates) and `around` (perturbed reals). Split like this, a
    step that needs the critic's gradient at one place takes it once for all penalties there.
    """

    name: str
    where: str
    term: Callable[[Tensor, Tensor], Tensor]
    reduce: Callable[[Tensor], Tensor] = torch.mean


def _on_logit(logits: Tensor, gradient: Tensor) -> Tensor:
    return squared_norm(gradient)


def _on_probability(logits: Tensor, gradient: Tensor) -> Tensor:
    slope = torch.sigmoid(logits) * torch.sigmoid(-logits)  # d sigmoid / d logit, the chain rule
    return slope.square() * squared_norm(gradient)


SQUARED = {"logit": _on_logit, "probability": _on_probability}
"""What the gradient is taken of: the logit, or D = sigmoid(logit) as in 0GP's own code."""


def _squared(of: str) -> Callable[[Tensor, Tensor], Tensor]:
    if of not in SQUARED:
        raise UsageError(f"a penalty is of the logit or of the probability, not {of!r}")
    return SQUARED[of]


def r1(critic: Critic, x_real: Tensor, of: str = "logit") -> Tensor:
    """mean_i |grad D(x_i)|^2 at real samples x_real [N, ...]: a scalar, no 1/2.

    With `of="probability"` the gradient is that of sigmoid(logit). Mescheder 2018, Eqn 9 (there with
    gamma/2); with fake-as-real, pass the mixed rows (FARGAN, Eqn 11). Raises UsageError on logits not [N].

    >>> r1(lambda x: x @ torch.tensor([3.0, 4.0]), torch.randn(8, 2))
    tensor(25.)
    """
    return _squared(of)(*input_gradient(critic, x_real)).mean()


def r2(critic: Critic, x_fake: Tensor, of: str = "logit") -> Tensor:
    """mean_i |grad D(y_i)|^2 at fakes x_fake [M, ...]: a scalar, no 1/2. Mescheder 2018, section 4.1.

    Same `of` and errors as `r1`.

    >>> r2(lambda x: x.square().sum(1), torch.ones(8, 2)).item()
    8.0
    """
    return _squared(of)(*input_gradient(critic, x_fake)).mean()


def zero_centered(
    critic: Critic, x_real: Tensor, x_fake: Tensor, alpha: Tensor | None = None, of: str = "logit"
) -> Tensor:
    """mean_i |grad D(u_i)|^2 at u_i = alpha_i x_i + (1 - alpha_i) y_i, alpha_i ~ U[0, 1] unless given [N].

    x_real and x_fake are both [N, ...]; a scalar, no 1/2. Thanh-Tung 2019 (0GP); their code has
    `of="probability"`. Raises UsageError on unequal shapes or logits not [N].

    >>> zero_centered(lambda x: 2 * x[:, 0], torch.ones(4, 2), torch.zeros(4, 2))
    tensor(4.)
    """
    return _squared(of)(*input_gradient(critic, interpolate(x_real, x_fake, alpha))).mean()


def _one_centered(logits: Tensor, gradient: Tensor) -> Tensor:
    return (norm(gradient) - 1).square()


def _one_sided(logits: Tensor, gradient: Tensor) -> Tensor:
    return (norm(gradient) - 1).relu().square()


def one_centered(critic: Critic, x_real: Tensor, x_fake: Tensor, alpha: Tensor | None = None) -> Tensor:
    """mean_i (|grad D(u_i)| - 1)^2 at interpolates u_i, alpha_i ~ U[0, 1] unless given: WGAN-GP.

    x_real and x_fake are both [N, ...]; a scalar. Gulrajani 2017, Eqn 3 (weight 10; 0.1 on their toys).
    Raises UsageError on unequal shapes or logits not [N].

    >>> one_centered(lambda x: 3 * x[:, 0], torch.ones(4, 2), torch.zeros(4, 2))
    tensor(4.)
    """
    return _one_centered(*input_gradient(critic, interpolate(x_real, x_fake, alpha))).mean()


def one_sided(critic: Critic, x_real: Tensor, x_fake: Tensor, alpha: Tensor | None = None) -> Tensor:
    """mean_i max(0, |grad D(u_i)| - 1)^2 at interpolates: WGAN-LP, which leaves gentle slopes alone.

    Arguments and errors of `one_centered`. Petzka 2018, Eqn 8.

    >>> one_sided(lambda x: 0.5 * x[:, 0], torch.ones(4, 2), torch.zeros(4, 2))
    tensor(0.)
    """
    return _one_sided(*input_gradient(critic, interpolate(x_real, x_fake, alpha))).mean()


def dragan(
    critic: Critic, x_real: Tensor, noise: Tensor | None = None, alpha: Tensor | None = None
) -> Tensor:
    """mean_i (|grad D(u_i)| - 1)^2 at u_i = `perturb(x_real, noise, alpha)`: a scalar. Kodali 2017, Eqn 3.

    It constrains the critic near the data only; D still trains on the data itself. Same errors as `r1`.

    >>> dragan(lambda x: 3 * x[:, 0], torch.randn(4, 2))
    tensor(4.)
    """
    return _one_centered(*input_gradient(critic, perturb(x_real, noise, alpha))).mean()


def max_gradient(critic: Critic, x_real: Tensor, x_fake: Tensor, alpha: Tensor | None = None) -> Tensor:
    """max_i |grad D(u_i)|^2 at interpolates: the batch's estimate of the squared Lipschitz constant, a scalar.

    Arguments and errors of `one_centered`. Zhou 2019 (Lipschitz GANs), section 4.5.

    >>> max_gradient(lambda x: 3 * x[:, 0], torch.ones(4, 2), torch.zeros(4, 2))
    tensor(9.)
    """
    return _on_logit(*input_gradient(critic, interpolate(x_real, x_fake, alpha))).amax()


def lazy(penalty: Callable[..., Tensor], interval: int) -> Callable[..., Tensor | float]:
    """A penalty taken every `interval` steps only, and `interval` times as heavy then, so its mean is unchanged.

    Returns f(step, ...): interval * penalty(...) where step % interval == 0, else 0.0. Karras 2020, App. B.
    Raises UsageError unless interval is a whole number from 1 up.

    >>> lazily = lazy(r1, 16)
    >>> [float(lazily(step, lambda x: x[:, 0], torch.ones(4, 2))) for step in (0, 1, 16)]
    [16.0, 0.0, 16.0]
    """
    if interval < 1 or interval % 1:
        raise UsageError(f"a lazy penalty's interval must be a whole number from 1 up, not {interval}")
    return lambda step, *args, **kwargs: interval * penalty(*args, **kwargs) if step % interval == 0 else 0.0


PENALTIES: dict[str, Callable[..., Penalty]] = {
    "r1": lambda of="logit": Penalty("r1", "real", _squared(of)),
    "r2": lambda of="logit": Penalty("r2", "fake", _squared(of)),
    "zero_centered": lambda of="logit": Penalty("zero_centered", "between", _squared(of)),
    "one_centered": lambda: Penalty("one_centered", "between", _one_centered),
    "one_sided": lambda: Penalty("one_sided", "between", _one_sided),
    "dragan": lambda: Penalty("dragan", "around", _one_centered),
    "max_gradient": lambda: Penalty("max_gradient", "between", _on_logit, torch.amax),
}
"""Every penalty under the name a recipe uses."""
