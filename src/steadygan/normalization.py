"""Changes of a critic's output or weights that keep its gradient bounded.

Each function for the output takes a critic x [N, ...] -> logits [N] and returns another one. High still means
real. Further arguments of the new critic (labels) go to the old one.

A critic with several logits per sample needs `reduce="sum"` or `"mean"`: the gradient is that of one number. Its
normalized critic returns this number, [N]. A list is several critics, each normalized by itself: a list comes
back. `logits=lambda out: out[0]` takes the logits out of a tuple or dict.
"""

from collections.abc import Callable
from typing import Any, Unpack

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from steadygan import parallel
from steadygan.critic_outputs import (
    AnyCritic,
    Reading,
    Reduction,
    check_twice_differentiable,
    differentiated,
)
from steadygan.errors import UsageError
from steadygan.noise import HiddenNoise
from steadygan.penalties import input_gradient, norm, squared_norm

__all__ = [
    "READINGS",
    "check_no_zero_weights",
    "check_piecewise_linear",
    "clip_weights",
    "gradient_normalized",
    "gradient_size",
    "is_piecewise_linear",
    "penalty_gradient_normalized",
    "scaled_gradient",
    "spectral_normalized",
    "tangent",
]

EPS = 1e-12


def gradient_normalized(critic: AnyCritic, eps: float = EPS, **how: Unpack[Reading]) -> AnyCritic:
    """Return the gradient-normalized (GN) critic f / (|grad f| + |f| + eps), in [-1, 1].

    The norm is over all input dimensions of a sample. The result has a gradient norm of at most 1 within a
    linear region. It jumps where the norm does (at the kinks of a ReLU net), so this is no global Lipschitz
    bound. `eps` prevents 0/0 where f and its gradient both vanish; 0 is the published formula. The gradient
    there is 1 / eps, so do not start from a last layer of zeros. Keywords are this module's. Raises UsageError on
    a negative eps. The new critic raises what `penalties.input_gradient` raises. Source: Wu 2021 (GN-GAN), Eqn 8.

    >>> gradient_normalized(lambda x: 3 * x[:, 0])(torch.tensor([[1.0], [-1.0]])).detach()
    tensor([ 0.5000, -0.5000])
    """

    _check_eps(eps)

    def one(logits: Tensor, gradient: Tensor) -> Tensor:
        return logits / (norm(gradient) + logits.abs() + eps)

    return _normalized(critic, one, **how)


def _normalized(
    critic: AnyCritic, one: Callable[[Tensor, Tensor], Tensor], **how: Unpack[Reading]
) -> AnyCritic:
    """The critic that returns one(logits, gradient), of each critic where there are several."""

    def normalized(x: Tensor, *further: Any, **named: Any) -> Any:
        seen = differentiated(lambda x: critic(x, *further, **named), x, **how)
        check_twice_differentiable(seen.gradients)
        return seen.shaped([one(*pair) for pair in zip(seen.logits, seen.gradients)])

    return normalized


def _check_eps(eps: float) -> None:
    if not eps >= 0:
        raise UsageError(f"eps is added to a norm, so it must be 0 or more, not {eps}")


READINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "elementwise": lambda gradient: norm(1 - gradient),
    "proof": norm,
    "scalar": lambda gradient: (1 - norm(gradient)).abs(),
}
"""What |1 - grad f| of PGN may mean: 1 less each component, the proof's |grad (1 - f)|, or 1 - |grad f|."""


def penalty_gradient_normalized(
    critic: AnyCritic, reading: str = "elementwise", eps: float = EPS, **how: Unpack[Reading]
) -> AnyCritic:
    """Return the critic of penalty gradient normalization (PGN): g / (c + |g| + eps), in [-1, 1].

    g is 1 - f, and c is the norm term of READINGS. `elementwise` is c = |1 - grad f| over all n input
    dimensions: the printed formula and the released code. It does not bound the gradient. While |grad f| <<
    sqrt(n) it is a softsign of fixed scale sqrt(n). `proof` is what the paper proves bounded:
    `gradient_normalized` of 1 - f.

    The result falls as f rises. So training lowers f on real samples, and the normalized output keeps high =
    real. Keywords are this module's. Raises UsageError on an unknown reading or a negative eps. Source: Xia 2023
    (PGN), Algorithm 1, Eqns 11 to 14.

    >>> penalty_gradient_normalized(lambda x: 3 * x[:, 0], "proof")(torch.tensor([[2.0]])).detach()
    tensor([-0.6250])
    """
    if reading not in READINGS:
        raise UsageError(f"PGN's reading must be one of {', '.join(READINGS)}, not {reading!r}")
    _check_eps(eps)

    def one(logits: Tensor, gradient: Tensor) -> Tensor:
        g = 1 - logits
        return g / (READINGS[reading](gradient) + g.abs() + eps)

    return _normalized(critic, one, **how)


def tangent(critic: AnyCritic, **how: Unpack[Reading]) -> AnyCritic:
    """Return the critic's tangent plane at each sample: f(x0) + <grad f(x0), x - x0>, with x0 = x as a constant.

    Near each sample a piecewise linear critic equals this plane. So everything that a generator's step
    differentiates is exact: the output with respect to the sample. The critic's Hessian, zero almost
    everywhere there, is never computed. The normalizations above then cost one backward pass instead of a
    double one. The critic's parameters receive no gradient through it. Keywords are this module's.

    >>> x = torch.tensor([[2.0]], requires_grad=True)
    >>> tangent(lambda x: x[:, 0] ** 2)(x).sum().backward(); x.grad
    tensor([[4.]])
    """

    def plane(x: Tensor, *further: Any, **named: Any) -> Any:
        fixed = x.detach()
        seen = differentiated(lambda x: critic(x, *further, **named), fixed, **how)
        return seen.shaped(
            [
                logits.detach() + ((x - fixed) * gradient.detach()).reshape(len(x), -1).sum(1)
                for logits, gradient in zip(seen.logits, seen.gradients)
            ]
        )

    return plane


LINEAR_PIECES = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.ReLU,
    nn.LeakyReLU,
    nn.PReLU,
    nn.Hardtanh,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.MaxPool2d,
    nn.Upsample,
    nn.ZeroPad2d,
    nn.Flatten,
    nn.Unflatten,
    nn.Identity,
    nn.Sequential,
    nn.ModuleList,
    HiddenNoise,
)


def is_piecewise_linear(module: nn.Module) -> bool:
    """Return whether every part of `module` is known to be piecewise linear in its input.

    The code of a forward is not inspected. A class with a forward of its own (a residual block) declares it by
    an attribute `piecewise_linear = True`. Its parts are checked all the same. Modules of other classes may
    still be piecewise linear: declare it, and let `check_piecewise_linear` test it.

    >>> is_piecewise_linear(nn.Sequential(nn.Linear(2, 2), nn.ReLU())), is_piecewise_linear(nn.Tanh())
    (True, False)
    """
    return all(
        any(isinstance(part, piece) and type(part).forward is piece.forward for piece in LINEAR_PIECES)
        or getattr(type(part), "piecewise_linear", False)
        or _is_parametrization(part)
        for part in module.modules()
    )


def _is_parametrization(part: nn.Module) -> bool:
    return isinstance(part, parametrize.ParametrizationList | SpectralNorm | nn.ModuleDict)


def check_piecewise_linear(
    critic: AnyCritic, x: Tensor, tolerance: float = 1e-4, *, reduce: Reduction | None = None
) -> None:
    """Raise UsageError unless the Hessian of each logit vanishes at x [N, ...] along a random direction.

    The condition is |H v| <= tolerance |grad f| |v| / |x| for every sample. Curvature of that size could
    change the gradient by no more than `tolerance` of itself over the sample's own length. Several logits of a sample
    become one number by `reduce`.

    >>> check_piecewise_linear(lambda x: x.relu().sum(1), torch.randn(4, 3))
    """
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype).to(x.device)

    x = x.detach().requires_grad_()
    found = input_gradient(critic, x, reduce=reduce)[1]
    gradients = found if isinstance(found, list) else [found]
    check_twice_differentiable(gradients)
    allowed = tolerance * norm(direction) / norm(x).clamp_min(1e-6)
    for gradient in gradients:
        bend = torch.zeros_like(x)
        if gradient.requires_grad:
            along = (gradient * direction).sum()
            (bend,) = torch.autograd.grad(along, x, retain_graph=True, materialize_grads=True)
        if bool((norm(bend) <= allowed * norm(gradient)).all()):  # NaN must not pass
            continue
        raise UsageError(
            "the critic was declared piecewise linear but its Hessian is not zero: switch the cheap generator "
            "step off (critic.piecewise_linear=false)"
        )


class SpectralNorm(nn.Module):
    """W / sigma(W), with sigma the largest singular value by power iteration: one iteration for each training forward.

    The vectors are in the buffers `u` and `v`. A forward uses a copy, so a second forward before the backward
    does no harm. Nothing is written with `out=`, so it runs under vmap.
    """

    u: Tensor
    v: Tensor

    def __init__(self, weight: Tensor, dim: int = 0, eps: float = 1e-12, warm: int = 15) -> None:
        """Start the vectors near the singular ones of `weight`, whose output dimension is `dim`."""
        super().__init__()
        self.dim, self.eps = dim, eps
        matrix = self._matrix(weight.detach())
        u = nn.functional.normalize(torch.randn(len(matrix), dtype=weight.dtype, device=weight.device), dim=0)
        self.register_buffer("u", u)
        self.register_buffer("v", self._unit(matrix.T @ u))
        for _ in range(warm):
            self.u, self.v = self._round(matrix)

    def forward(self, weight: Tensor) -> Tensor:
        """Return `weight` divided by its estimated spectral norm, which is computed in the weight's own precision."""
        device = "cpu" if weight.is_meta else weight.device.type  # meta: parameters are only counted
        with torch.autocast(device, enabled=False):
            return self._normalized(weight)

    def _normalized(self, weight: Tensor) -> Tensor:
        matrix = self._matrix(weight)
        if self.training:
            with torch.no_grad():
                u, v = self._round(matrix)
                self.u.copy_(u)
                self.v.copy_(v)
        else:
            u, v = self.u.clone(), self.v.clone()
        return weight / (u @ (matrix @ v)).clamp_min(self.eps)

    def _round(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        u = self._unit(matrix @ self.v)
        return u, self._unit(matrix.T @ u)

    def _unit(self, vector: Tensor) -> Tensor:
        return vector / vector.square().sum().sqrt().clamp_min(self.eps)

    def _matrix(self, weight: Tensor) -> Tensor:
        return weight.movedim(self.dim, 0).flatten(1)


def spectral_normalized(module: nn.Module, eps: float = EPS) -> nn.Module:
    """Divide every linear and convolutional weight of `module` by its spectral norm, or `eps`; return `module`.

    sigma(W) is that of W as a matrix [outputs, everything else], as in Miyato 2018. For a convolution this is
    not the operator's own norm. It works under double backward, two forwards before a backward, eval, vmap
    and compile.

    It divides what other parametrizations (weight norm) make of a weight. A second call changes nothing. Raises
    UsageError, before anything is changed, for a weight that torch's own spectral norm divides, that an old-style
    hook sets, or whose shape is not known yet.

    >>> net = spectral_normalized(nn.Linear(3, 3, bias=False))
    >>> bool((torch.linalg.matrix_norm(net.weight, 2) - 1).abs() < 0.05)
    True
    """
    layers = {
        name: part
        for name, part in module.named_modules()
        if isinstance(part, nn.Linear | nn.modules.conv._ConvNd) and not _is_divided(part, SpectralNorm)
    }
    for name, part in layers.items():
        if problem := _why_not_divided(part):
            raise UsageError(
                f"spectral norm cannot divide the weight of layer {name or type(part).__name__!r}: {problem}"
            )
    for part in layers.values():
        transposed = isinstance(part, nn.modules.conv._ConvTransposeNd)
        norm = SpectralNorm(part.weight, dim=int(transposed), eps=eps)
        parametrize.register_parametrization(part, "weight", norm)
    return module


def _is_divided(part: nn.Module, by: type[nn.Module]) -> bool:
    return parametrize.is_parametrized(part, "weight") and any(
        isinstance(each, by) for each in part.get_submodule("parametrizations.weight").children()
    )


def _why_not_divided(part: nn.Module) -> str | None:
    if _is_divided(part, parametrizations._SpectralNorm):
        return "torch's spectral_norm divides it already, so leave one of the two out"
    if parametrize.is_parametrized(part, "weight"):
        return None
    weight = dict(part.named_parameters(recurse=False)).get("weight")
    if weight is None:
        return (
            "a hook sets it before each forward pass, such as an old torch.nn.utils.weight_norm, spectral_norm or "
            "prune. Remove the hook (remove_weight_norm, remove_spectral_norm, prune.remove), or use weight_norm of "
            "torch.nn.utils.parametrizations"
        )
    if isinstance(weight, nn.parameter.UninitializedParameter):
        return "its shape is not known yet. Pass one batch through the network first"
    return None


def check_no_zero_weights(module: nn.Module) -> None:
    """Raise UsageError where a linear or convolutional weight is all zero: it has no spectral norm to divide by.

    W / eps would stay zero with a gradient of 1 / eps, and power iteration never leaves zero vectors.

    >>> check_no_zero_weights(nn.Linear(2, 2))
    """
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.modules.conv._ConvNd) and not bool(part.weight.any()):
            raise UsageError(
                "spectral norm cannot divide a weight that starts at zero, as these networks' residual branches do: "
                "choose other networks, or another critic.normalization"
            )


def clip_weights(params: Tensor, c: float) -> Tensor:
    """Return every parameter clipped to [-c, c], as a new tensor.

    In your own training loop, under torch.no_grad: `for p in D.parameters(): p.copy_(clip_weights(p, c))`.
    Raises UsageError unless c is positive. Source: Arjovsky 2017 (WGAN), Algorithm 1 (c = 0.01).

    >>> clip_weights(torch.tensor([-3.0, 0.5]), 1.0)
    tensor([-1.0000,  0.5000])
    """
    if not c > 0:
        raise UsageError(f"weights are clipped to [-c, c] with a positive c, not {c}")
    c = min(c, torch.finfo(params.dtype).max)
    return params.clamp(-c, c)


def scaled_gradient(x: Tensor, scale: float | Tensor) -> Tensor:
    """Return x, whose gradient arrives multiplied by `scale`: a linear map in the backward pass alone.

    Between G and D it normalizes the gradient that G receives: D(scaled_gradient(G(z), 1 / size)), with `size` a
    running mean of `gradient_size`, and 1 where that is 0. So the step of G does not follow how steep D is.

    >>> x = torch.ones(2, requires_grad=True)
    >>> scaled_gradient(x, 0.5).sum().backward()
    >>> x.grad
    tensor([0.5000, 0.5000])
    """
    fixed = x.detach()
    return fixed + scale * (x - fixed)


def gradient_size(gradient: Tensor) -> Tensor:
    """Return the root mean square of |N dL/dx_i| over the N samples, of the gradient dL/dx [N, ...] of a mean loss.

    It is that of a sample's own loss, so it does not depend on N. Processes that share a batch have one number, of
    all its samples.

    >>> gradient_size(torch.tensor([[3.0, 4.0], [3.0, 4.0]]) / 2)
    tensor(5.)
    """
    return parallel.mean(squared_norm(len(gradient) * gradient)).sqrt()
