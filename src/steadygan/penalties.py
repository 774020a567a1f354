"""Gradient penalties: terms that differentiate a critic with respect to its input.

Each public penalty is the batch mean of a per-sample term. The norm in it runs over *all* input dimensions of
a sample. Penalties are unweighted and without the 1/2: a weight of 10 here is gamma = 20 in the gamma/2
convention.

A critic is any callable x [N, ...] -> logits [N]. Critics of other forms take keywords, the same everywhere:

- `reduce="sum"` or `"mean"` makes one number of a sample's own logits [N, ...] (a map of patches). R1 differs by
  the square of their number.
- `logits=lambda out: out[0]` takes the logits out of a tuple or dict. A list is several critics: the penalty is
  taken for each, and summed.
- `y=labels` calls D(x, y), with the rows of x. At interpolates it is the y of the real samples. A tuple is
  D(x, *y).

The approximated penalties take no gradient: they compare the logits at a sample and at a near one, drawn at random.

Batch norm in the critic breaks a per-sample term, because its gradient mixes samples. These functions cannot
see that. The trainer refuses it.

`difference` differentiates nothing. It compares the logits of close real and fake samples.
"""

from collections.abc import Callable
from functools import partial
from inspect import signature
from typing import Any, NamedTuple, Unpack

import torch
from torch import Tensor

from steadygan import parallel
from steadygan.critic_outputs import (
    AnyCritic,
    Asked,
    Logits,
    along,
    check_floats,
    check_twice_differentiable,
    differentiated,
    each_rank,
    total,
    wide,
)
from steadygan.errors import UsageError

__all__ = [
    "PAIRED",
    "PENALTIES",
    "SIGMA",
    "Paired",
    "Penalty",
    "approximated_r1",
    "approximated_r2",
    "difference",
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
    "value_and",
    "zero_centered",
]

Critic = Callable[[Tensor], Tensor]


def input_gradient(critic: AnyCritic, x: Tensor, **how: Unpack[Asked]) -> tuple[Any, Any]:
    """Return the critic's logits [N] at x [N, ...] and their gradient, shaped like x.

    Row i of the gradient is d logit_i / d x_i. It is the gradient of the sum of the logits, so the critic
    must treat samples independently. It can be differentiated again, and is safe where it is zero. Inside a
    pure step (torch.func, torch.compile) it is a vjp. In your own training loop it is ordinary autograd, so
    critics with buffers (spectral norm) or in-place activations work unchanged.

    A critic that answers with a list gives a list of logits and a list of gradients. The keywords are this
    module's. Raises UsageError if there is more than one number per sample and no `reduce`, and for samples that
    are not of floating point. Also in torch.inference_mode, where nothing has a gradient. The gradient of a critic
    that torch.compile made cannot be differentiated again: compile the function that computes the loss.

    >>> logits, gradient = input_gradient(lambda x: 3 * x.sum(1), torch.zeros(2, 2))
    >>> gradient
    tensor([[3., 3.],
            [3., 3.]])
    """
    seen = differentiated(critic, x, **how)
    return seen.shaped(seen.logits), seen.shaped(seen.gradients)


def squared_norm(gradient: Tensor) -> Tensor:
    """Return |gradient_i|^2 for each sample [N], summed over all input dimensions, in at least float32.

    >>> squared_norm(torch.ones(2, 3, 4))
    tensor([12., 12.])
    """
    return wide(gradient).square().reshape(len(gradient), -1).sum(1)


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
    check_floats(x_real)
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
    check_floats(x_real)
    noise = torch.rand_like(x_real) if noise is None else noise
    if noise.shape != x_real.shape:
        raise UsageError(
            f"noise must be shaped like the samples, {list(x_real.shape)}, not {list(noise.shape)}"
        )
    return interpolate(x_real + 0.5 * parallel.std(x_real) * noise, x_real, alpha)


PLACES: dict[str, Callable[..., Tensor]] = {
    "real": lambda x_real: x_real,
    "fake": lambda x_fake: x_fake,
    "between": interpolate,
    "around": perturb,
}
"""Where a penalty looks, of the samples that its function takes."""


class Penalty(NamedTuple):
    """A penalty by its parts: where it differentiates, its per-sample `term(logits, gradient)` [N], and `reduce`.

    `where` is `real`, `fake`, `between` (interpolates) or `around` (perturbed real samples). Split like this,
    a step takes the critic's gradient at one place once for all penalties there.
    `meaning` says in a sentence what it is, for lists and the reference of configuration keys.
    With `sigma` the term gets no gradient. It gets the slope [N, 1] along a direction e ~ N(0, I) of each sample's
    own, (D(x + sigma e) - D(x)) / sigma.
    """

    name: str
    where: str
    term: Callable[[Tensor, Tensor], Tensor]
    reduce: Callable[[Tensor], Tensor] = torch.mean
    meaning: str = ""
    sigma: float | None = None


SIGMA = 0.01
"""How far the approximated penalties look, in the units of the samples (Lin et al. 2025, for latents of images)."""


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


def _looked(
    penalty: Penalty, critic: AnyCritic, x: Tensor, direction: Tensor | None = None, **how: Unpack[Asked]
) -> tuple[Tensor | list[Tensor], Tensor]:
    """The critic's logits at x, and the penalty there, summed over critics."""
    if penalty.sigma is None:
        seen = differentiated(critic, x, **how)
        check_twice_differentiable(seen.gradients)
    else:
        check_floats(x)
        seen = along(critic, x, torch.randn_like(x) if direction is None else direction, penalty.sigma, **how)
    terms = [penalty.term(*pair) for pair in zip(seen.logits, seen.gradients)]
    return seen.raw, total([penalty.reduce(term) for term in terms])


def r1(critic: AnyCritic, x_real: Tensor, of: str = "logit", **how: Unpack[Asked]) -> Tensor:
    """Return mean_i |grad D(x_i)|^2 at real samples x_real [N, ...]: a scalar, no 1/2.

    With `of="probability"` the gradient is that of sigmoid(logit). With fake-as-real, pass the mixed rows
    (FARGAN, Eqn 11). Keywords and errors are those of `input_gradient`. Source: Mescheder 2018, Eqn 9 (there with
    gamma/2).

    >>> r1(lambda x: x @ torch.tensor([3.0, 4.0]), torch.randn(8, 2))
    tensor(25.)
    """
    return _looked(PENALTIES["r1"](of), critic, x_real, **how)[1]


def r2(critic: AnyCritic, x_fake: Tensor, of: str = "logit", **how: Unpack[Asked]) -> Tensor:
    """Return mean_i |grad D(y_i)|^2 at fakes x_fake [M, ...]: a scalar, no 1/2.

    `of`, keywords and errors are those of `r1`. Source: Mescheder 2018, section 4.1.

    >>> r2(lambda x: x.square().sum(1), torch.ones(8, 2)).item()
    8.0
    """
    return _looked(PENALTIES["r2"](of), critic, x_fake, **how)[1]


def approximated_r1(
    critic: AnyCritic,
    x_real: Tensor,
    sigma: float = SIGMA,
    direction: Tensor | None = None,
    **how: Unpack[Asked],
) -> Tensor:
    """Return mean_i ((D(x_i + sigma e_i) - D(x_i)) / sigma)^2, e_i ~ N(0, I): R1 without a double backward.

    Its mean over e is R1 + O(sigma^2), so a weight means what it means for `r1`. The source leaves out the division:
    its weight lambda is lambda sigma^2 here (100 and sigma 0.01 are 0.01). One direction a sample gives a noisy
    estimate: for a linear critic its deviation is sqrt(2) |grad D|^2 a sample. Where D has kinks (ReLU), its gradient
    has what that of `r1` leaves out: parameters move kinks.

    `direction` is shaped like x_real, and drawn unless given. One forward pass of 2 N rows and one backward pass: no
    gradient is differentiated. So critics that torch.compile made, attention kernels without a second derivative and
    sharded modules work. The two logits must differ in x alone: with dropout or noise in the critic they do not. In
    bfloat16 take a sigma of 0.1 or more: at 0.01 rounding is a fifth of the value. Keywords are those of
    `input_gradient`. Raises UsageError for a sigma that is not positive, and as `input_gradient` does for logits.
    Source: Lin 2025 (Adversarial Post-Training, APT), approximated R1.

    >>> e = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> approximated_r1(lambda x: x @ torch.tensor([3.0, 4.0]), torch.zeros(2, 2), sigma=0.5, direction=e)
    tensor(12.5000)
    """
    return _looked(PENALTIES["approximated_r1"](sigma), critic, x_real, direction, **how)[1]


def approximated_r2(
    critic: AnyCritic,
    x_fake: Tensor,
    sigma: float = SIGMA,
    direction: Tensor | None = None,
    **how: Unpack[Asked],
) -> Tensor:
    """Return mean_i ((D(y_i + sigma e_i) - D(y_i)) / sigma)^2 at fakes x_fake [M, ...]: R2 without a double backward.

    Everything else is as in `approximated_r1`. Source: Lin 2025 (APT), whose R1 this is at fakes.

    >>> approximated_r2(lambda x: 2 * x[:, 0], torch.zeros(4, 1), sigma=0.5, direction=torch.ones(4, 1))
    tensor(4.)
    """
    return _looked(PENALTIES["approximated_r2"](sigma), critic, x_fake, direction, **how)[1]


def zero_centered(
    critic: AnyCritic,
    x_real: Tensor,
    x_fake: Tensor,
    alpha: Tensor | None = None,
    of: str = "logit",
    **how: Unpack[Asked],
) -> Tensor:
    """Return mean_i |grad D(u_i)|^2 at interpolates u_i = alpha_i x_i + (1 - alpha_i) y_i: a scalar, no 1/2.

    x_real and x_fake are both [N, ...]. alpha_i ~ U[0, 1] unless given [N]. Raises UsageError on unequal
    shapes. Keywords and other errors are those of `input_gradient`. Source: Thanh-Tung 2019 (zero-centered
    gradient penalty, 0GP), whose code has `of="probability"`.

    >>> zero_centered(lambda x: 2 * x[:, 0], torch.ones(4, 2), torch.zeros(4, 2))
    tensor(4.)
    """
    u = interpolate(x_real, x_fake, alpha)
    return _looked(PENALTIES["zero_centered"](of), critic, u, **how)[1]


def _one_centered(logits: Tensor, gradient: Tensor) -> Tensor:
    return (norm(gradient) - 1).square()


def _one_sided(logits: Tensor, gradient: Tensor) -> Tensor:
    return (norm(gradient) - 1).relu().square()


def one_centered(
    critic: AnyCritic,
    x_real: Tensor,
    x_fake: Tensor,
    alpha: Tensor | None = None,
    **how: Unpack[Asked],
) -> Tensor:
    """Return mean_i (|grad D(u_i)| - 1)^2 at interpolates u_i: a scalar, the penalty of WGAN-GP.

    x_real and x_fake are both [N, ...]. alpha_i ~ U[0, 1] unless given [N]. Raises UsageError on unequal
    shapes. Keywords and other errors are those of `input_gradient`. Source: Gulrajani 2017 (Wasserstein GAN with
    gradient penalty), Eqn 3 (weight 10; 0.1 on their toys).

    >>> one_centered(lambda x: 3 * x[:, 0], torch.ones(4, 2), torch.zeros(4, 2))
    tensor(4.)
    """
    return _looked(PENALTIES["one_centered"](), critic, interpolate(x_real, x_fake, alpha), **how)[1]


def one_sided(
    critic: AnyCritic,
    x_real: Tensor,
    x_fake: Tensor,
    alpha: Tensor | None = None,
    **how: Unpack[Asked],
) -> Tensor:
    """Return mean_i max(0, |grad D(u_i)| - 1)^2 at interpolates: WGAN-LP, which does not penalise slopes below 1.

    Arguments, keywords and errors are those of `one_centered`. Source: Petzka 2018 (Wasserstein GAN with Lipschitz
    penalty), Eqn 8.

    >>> one_sided(lambda x: 0.5 * x[:, 0], torch.ones(4, 2), torch.zeros(4, 2))
    tensor(0.)
    """
    return _looked(PENALTIES["one_sided"](), critic, interpolate(x_real, x_fake, alpha), **how)[1]


def dragan(
    critic: AnyCritic,
    x_real: Tensor,
    noise: Tensor | None = None,
    alpha: Tensor | None = None,
    **how: Unpack[Asked],
) -> Tensor:
    """Return mean_i (|grad D(u_i)| - 1)^2 at u_i = `perturb(x_real, noise, alpha)`: a scalar.

    It constrains the critic near the data only. D still trains on the data itself. Keywords and errors
    are those of `r1`, and the errors of `perturb`.
    Source: Kodali 2017 (deep regret analytic GAN), Eqn 3.

    >>> dragan(lambda x: 3 * x[:, 0], torch.randn(4, 2))
    tensor(4.)
    """
    return _looked(PENALTIES["dragan"](), critic, perturb(x_real, noise, alpha), **how)[1]


def max_gradient(
    critic: AnyCritic,
    x_real: Tensor,
    x_fake: Tensor,
    alpha: Tensor | None = None,
    **how: Unpack[Asked],
) -> Tensor:
    """Return max_i |grad D(u_i)|^2 at interpolates: the batch's estimate of the squared Lipschitz constant, a scalar.

    Arguments, keywords and errors are those of `one_centered`. Source: Zhou 2019 (Lipschitz GANs), section 4.5.

    >>> max_gradient(lambda x: 3 * x[:, 0], torch.ones(4, 2), torch.zeros(4, 2))
    tensor(9.)
    """
    return _looked(PENALTIES["max_gradient"](), critic, interpolate(x_real, x_fake, alpha), **how)[1]


def difference(
    x_real: Tensor,
    x_fake: Tensor,
    real_logits: Logits,
    fake_logits: Logits,
    delta: float,
    total: int | None = None,
) -> Tensor:
    """Return the mean of (D(x_i) - D(y_j))^2 over all pairs with |x_i - y_j| <= delta: a scalar, 0 without pairs.

    x_real [N, ...] and x_fake [M, ...] are the samples of these logits, which the loss has computed already. The
    distance is the Euclidean one over all dimensions of a sample. A sample with several logits has their mean, summed
    over critics. With one real point in all pairs this is Eqn 6's mean over its m0 close fakes.

    Choose a delta far below the distances of real points from each other (Definition 1). Pairs that are not close
    teach D to rate fakes by their neighbours. Inside `parallel.over` the pairs are those of all processes' rows, where
    `total` is the number of fakes (as many as here on each process unless given). Raises UsageError unless delta is
    positive, and where the two kinds of samples have different shapes. Source: Tao and Wang 2020 (FARGAN), Eqn 6.

    >>> x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.1], [0.2], [3.0]])
    >>> difference(x, y, torch.tensor([2.0, 5.0]), torch.tensor([1.0, -1.0, 0.0]), delta=0.3)
    tensor(5.)
    """
    if not delta > 0:
        raise UsageError(f"a pair is close up to a positive distance delta, not {delta}")
    if x_real.shape[1:] != x_fake.shape[1:]:
        raise UsageError(
            f"real and fake samples have one shape, not {list(x_real.shape[1:])} and {list(x_fake.shape[1:])}"
        )
    sides = ((real_logits, x_real), (fake_logits, x_fake))
    real, fake = (wide(each_rank(raw, len(x))) for raw, x in sides)
    near = close(x_real, parallel.gathered(x_fake.detach(), total), delta)
    squares = torch.where(near, (real.unsqueeze(1) - parallel.gathered(fake, total)).square(), 0.0)
    found, count = parallel.together(torch.stack([squares.sum(), near.sum().to(squares.dtype)])).unbind()
    return found / count.clamp_min(1)


def close(x: Tensor, y: Tensor, delta: float) -> Tensor:
    """Which (x_i, y_j) of x [N, ...], y [M, ...] lie at most delta apart: bool [N, M], without a gradient.

    >>> close(torch.tensor([[0.0], [1.0]]), torch.tensor([[0.9]]), 0.2)
    tensor([[False],
            [ True]])
    """
    # Not by products of matrices, whose rounding is larger than the distances of close pairs.
    a, b = (wide(each.detach()).reshape(len(each), -1) for each in (x, y))
    far = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
    return far <= delta


def value_and(
    penalty: Callable[..., Tensor],
    critic: AnyCritic,
    *points: Tensor | None,
    of: str = "logit",
    alpha: Tensor | None = None,
    noise: Tensor | None = None,
    sigma: float = SIGMA,
    direction: Tensor | None = None,
    **how: Unpack[Asked],
) -> tuple[Any, Tensor]:
    """Return (logits, penalty): what the critic answers where the penalty looks, of the same forward pass.

    The logits are as the critic gave them (a map, a list), so a loss takes them. Then D(x_real) needs no pass of
    its own beside r1, nor D(x_fake) beside r2. `penalty` is a function of this module, and the other arguments are
    its own. Raises UsageError on other functions, and what `penalty` raises.

    >>> value_and(r1, lambda x: x @ torch.tensor([3.0, 4.0]), torch.ones(2, 2))
    (tensor([7., 7.], grad_fn=<MvBackward0>), tensor(25.))
    """
    name = getattr(penalty, "__name__", "")
    if name not in PENALTIES or penalty.__module__ != __name__:
        raise UsageError(
            f"value_and takes one of {', '.join(PENALTIES)} of steadygan.penalties, not {name or penalty!r}: "
            "for a lazy one take the penalty itself on every k-th step, times k; for a penalty of your own take logits "
            "and gradient from input_gradient"
        )
    takes = signature(penalty).parameters
    draws = {key: value for key, value in {"alpha": alpha, "noise": noise}.items() if value is not None}
    changed = {"of": of != "logit", "sigma": sigma != SIGMA, "direction": direction is not None}
    foreign = [key for key in (*draws, *(key for key in changed if changed[key])) if key not in takes]
    if foreign:
        raise UsageError(f"{name} does not take {' or '.join(foreign)}")
    wanted = [key for key in takes if key in ("x_real", "x_fake")]
    most = len(wanted) + sum(key in takes for key in ("noise", "alpha"))
    if not len(wanted) <= len(points) <= most:
        raise UsageError(
            f"{name} takes {' and '.join(wanted)} after the critic, not {len(points)} tensors: see its docstring"
        )
    record = PENALTIES[name]() if of == "logit" else PENALTIES[name](of=of)
    if record.sigma is not None:
        record = PENALTIES[name](sigma)
    return _looked(record, critic, PLACES[record.where](*points, **draws), direction, **how)


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


def _approximated(name: str, where: str, meaning: str, sigma: float) -> Penalty:
    if not sigma > 0:
        raise UsageError(f"an approximated penalty looks a positive sigma away from a sample, not {sigma}")
    return Penalty(name, where, _on_logit, meaning=meaning, sigma=sigma)


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
        parallel.largest,
        meaning="Largest squared gradient between real and generated samples of a batch (Zhou et al. 2019).",
    ),
    "approximated_r1": lambda sigma=SIGMA: _approximated(
        "approximated_r1",
        "real",
        "R1 without a double backward: squared slope along a random direction (Lin et al. 2025).",
        sigma,
    ),
    "approximated_r2": lambda sigma=SIGMA: _approximated(
        "approximated_r2", "fake", "R2 without a double backward (Lin et al. 2025).", sigma
    ),
}
"""Every penalty under the name a recipe uses."""


class Paired(NamedTuple):
    """A penalty of pairs of samples: `term(x_real, x_fake, real_logits, fake_logits, total=None)`, a scalar.

    It differentiates no critic, and takes the logits that the loss has.
    """

    name: str
    term: Callable[..., Tensor]
    meaning: str = ""


PAIRED: dict[str, Callable[..., Paired]] = {
    "difference": lambda delta=0.1: Paired(
        "difference",
        partial(difference, delta=delta),
        meaning="Squared difference of the logits of a real and a generated sample that are close (Tao and Wang 2020).",
    ),
}
"""Every penalty of pairs under the name a recipe uses."""
