"""Functional optimizers: (gradient, moments, parameters) -> new parameters and moments, on one flat vector.

Each equals its `torch.optim` namesake to rounding. (torch's Muon rounds to bfloat16 on its way; this one does not.) A
learning rate is a `Number`: a float, or a function of the state's scalars. The function is a schedule, or one member's
value in an ensemble.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from steadygan.schedules import Number, Scalars, at

__all__ = ["Optimizer", "adam", "adamw", "muon", "orthogonalized", "rmsprop", "sgd", "tf_rmsprop"]

Moments = dict[str, Tensor]


class Optimizer(NamedTuple):
    """`init(parameters) -> moments`; `update(gradient, moments, parameters, scalars) -> (parameters, moments)`."""

    init: Callable[[Tensor], Moments]
    update: Callable[[Tensor, Moments, Tensor, Scalars], tuple[Tensor, Moments]]


def sgd(lr: Number, momentum: float = 0.0) -> Optimizer:
    """p <- p - lr b with b <- momentum b + g; plain gradient descent at momentum 0.

    Source: Polyak 1964.

    >>> optimizer = sgd(lr=0.1)
    >>> p = torch.ones(1)
    >>> optimizer.update(torch.ones(1), optimizer.init(p), p, {})[0]
    tensor([0.9000])
    """

    def init(params: Tensor) -> Moments:
        return {"velocity": torch.zeros_like(params)} if momentum else {}

    def update(g: Tensor, moments: Moments, params: Tensor, scalars: Scalars) -> tuple[Tensor, Moments]:
        if momentum:
            g = momentum * moments["velocity"] + g
            moments = {"velocity": g}
        return params - at(lr, scalars) * g, moments

    return Optimizer(init, update)


def rmsprop(lr: Number, alpha: float = 0.99, eps: float = 1e-8) -> Optimizer:
    """p <- p - lr g / (sqrt(s) + eps) with s <- alpha s + (1 - alpha) g^2, s_0 = 0.

    Source: Hinton 2012, in torch's form.

    >>> optimizer = rmsprop(lr=0.1, alpha=0.75)
    >>> p = torch.ones(1)
    >>> optimizer.update(torch.ones(1), optimizer.init(p), p, {})[0]
    tensor([0.8000])
    """

    def init(params: Tensor) -> Moments:
        return {"square": torch.zeros_like(params)}

    def update(g: Tensor, moments: Moments, params: Tensor, scalars: Scalars) -> tuple[Tensor, Moments]:
        square = alpha * moments["square"] + (1 - alpha) * g.square()
        return params - at(lr, scalars) * g / (square.sqrt() + eps), {"square": square}

    return Optimizer(init, update)


def tf_rmsprop(lr: Number, decay: float = 0.9, eps: float = 1e-10) -> Optimizer:
    """p <- p - lr g / sqrt(s + eps) with s <- decay s + (1 - decay) g^2, s_0 = 1: TensorFlow 1's RMSProp.

    s starts at one and eps is inside the root, which makes the first steps small. The Numerics of GANs
    (Mescheder 2017) used it.

    >>> optimizer = tf_rmsprop(lr=0.1)
    >>> p = torch.ones(1)
    >>> optimizer.update(torch.ones(1), optimizer.init(p), p, {})[0]
    tensor([0.9000])
    """

    def init(params: Tensor) -> Moments:
        return {"square": torch.ones_like(params)}

    def update(g: Tensor, moments: Moments, params: Tensor, scalars: Scalars) -> tuple[Tensor, Moments]:
        square = decay * moments["square"] + (1 - decay) * g.square()
        return params - at(lr, scalars) * g / (square + eps).sqrt(), {"square": square}

    return Optimizer(init, update)


def adam(lr: Number, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> Optimizer:
    """p <- p - lr m^ / (sqrt(v^) + eps), with both moments corrected for their start at zero.

    Source: Kingma 2015, Algorithm 1.

    >>> optimizer = adam(lr=0.1)
    >>> p = torch.ones(1)
    >>> optimizer.update(torch.ones(1), optimizer.init(p), p, {})[0]
    tensor([0.9000])
    """
    beta1, beta2 = betas

    def init(params: Tensor) -> Moments:
        # A count in bfloat16 would stop at 256.
        wide = torch.promote_types(params.dtype, torch.float32)
        count = torch.zeros((), dtype=wide, device=params.device)
        return {"mean": torch.zeros_like(params), "square": torch.zeros_like(params), "count": count}

    def update(g: Tensor, moments: Moments, params: Tensor, scalars: Scalars) -> tuple[Tensor, Moments]:
        count = moments["count"] + 1
        mean = beta1 * moments["mean"] + (1 - beta1) * g
        square = beta2 * moments["square"] + (1 - beta2) * g.square()
        size = at(lr, scalars) / _started(beta1, count)
        step = size * mean / ((square / _started(beta2, count)).sqrt() + eps)
        return params - step, {"mean": mean, "square": square, "count": count}

    return Optimizer(init, update)


def adamw(
    lr: Number,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: Number = 0.01,
) -> Optimizer:
    """p <- (1 - lr weight_decay) p, and then the step of `adam`: weight decay that Adam does not rescale.

    All parameters decay, biases too. Source: Loshchilov and Hutter 2019, Algorithm 2.

    >>> optimizer = adamw(lr=0.1, weight_decay=0.5)
    >>> p = torch.ones(1)
    >>> optimizer.update(torch.ones(1), optimizer.init(p), p, {})[0]
    tensor([0.8500])
    """
    init, step = adam(lr, betas, eps)

    def update(g: Tensor, moments: Moments, params: Tensor, scalars: Scalars) -> tuple[Tensor, Moments]:
        kept = 1 - at(lr, scalars) * at(weight_decay, scalars)
        return step(g, moments, kept * params, scalars)

    return Optimizer(init, update)


def muon(
    lr: Number,
    shapes: Iterable[Sequence[int]],
    momentum: float = 0.95,
    weight_decay: Number = 0.1,
    adamw_lr: Number = 3e-4,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
) -> Optimizer:
    """W <- (1 - lr weight_decay) W - lr sqrt(max(1, m / n)) O for matrices W [m, n]; the step of `adamw` for the rest.

    O is `orthogonalized(momentum B + (1 - momentum) g)` with B <- momentum B + (1 - momentum) g. `shapes` are those of
    the tensors that the vector consists of, in its order. A tensor is a matrix, with its first dimension against all
    others (kernels too), where both sides are at least 2. So the first and the last layer count as well, but a
    critic's last weight [1, n] is a vector. Vectors, biases and norms move at the rate `adamw_lr`, with `betas` and
    `eps`; their decay is the same. Source: Jordan 2024, with Nesterov's momentum.

    >>> optimizer = muon(lr=0.1, shapes=[(2, 2), (2,)], weight_decay=0, adamw_lr=0.5)
    >>> p = torch.ones(6)
    >>> optimizer.update(torch.tensor([3.0, 0, 0, 3, 3, 3]), optimizer.init(p), p, {})[0]
    tensor([0.8892, 1.0000, 1.0000, 0.8892, 0.5000, 0.5000])
    """
    flat = [(shape[0], math.prod(shape[1:])) if len(shape) > 1 else (1, math.prod(shape)) for shape in shapes]
    layout = _Layout([math.prod(sides) for sides in flat], [min(sides) > 1 for sides in flat])
    matrices = [sides for sides in flat if min(sides) > 1]
    rest = adamw(adamw_lr, betas, eps, weight_decay)

    def init(params: Tensor) -> Moments:
        inner, outer = layout.apart(params)
        return {"momentum": torch.zeros_like(inner), **rest.init(outer)}

    def update(g: Tensor, moments: Moments, params: Tensor, scalars: Scalars) -> tuple[Tensor, Moments]:
        (inner, outer), (g_inner, g_outer) = layout.apart(params), layout.apart(g)
        outer, moved = rest.update(g_outer, moments, outer, scalars)
        mean = momentum * moments["momentum"] + (1 - momentum) * g_inner
        step = _steepest(momentum * mean + (1 - momentum) * g_inner, matrices)
        size = at(lr, scalars)
        inner = (1 - size * at(weight_decay, scalars)) * inner - size * step
        return layout.together(inner, outer), {"momentum": mean, **moved}

    return Optimizer(init, update)


def orthogonalized(matrix: Tensor) -> Tensor:
    """U f(S) V^T of U S V^T [m, n], with f(S) near 1: five Newton-Schulz iterations, without a decomposition.

    X <- aX + (bA + cA^2) X with A = XX^T, which maps a singular value s to as + bs^3 + cs^5. It begins with
    X = M / max(|M|, 1e-7), of Frobenius norm 1. Values above 0.002 end between 0.68 and 1.21, smaller ones grow
    by a factor of up to 485. The computation is in the matrix's own type. Source: Jordan 2024.

    >>> orthogonalized(torch.tensor([[3.0, 0.0], [0.0, 0.3]])).diagonal()
    tensor([0.7020, 0.7087])
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


def _steepest(vector: Tensor, shapes: list[tuple[int, int]]) -> Tensor:
    """The orthogonalized matrices of a vector, each times sqrt(max(1, rows / columns)), as a vector."""
    parts = vector.split([m * n for m, n in shapes])
    steps = [
        math.sqrt(max(1, m / n)) * orthogonalized(part.view(m, n)).reshape(-1)
        for part, (m, n) in zip(parts, shapes, strict=True)
    ]
    return torch.cat([vector[:0], *steps])


class _Layout(NamedTuple):
    """The sizes of a vector's parts, and which of them are chosen."""

    sizes: list[int]
    chosen: list[bool]

    def apart(self, vector: Tensor) -> tuple[Tensor, Tensor]:
        """The chosen parts as one vector, and the others as another."""
        parts = list(zip(vector.split(self.sizes), self.chosen, strict=True))
        inner, outer = ([part for part, chosen in parts if chosen is side] for side in (True, False))
        return torch.cat([vector[:0], *inner]), torch.cat([vector[:0], *outer])

    def together(self, inner: Tensor, outer: Tensor) -> Tensor:
        """The reverse of `apart`."""
        parts = {
            side: iter(vector.split([n for n, chosen in zip(*self, strict=True) if chosen is side]))
            for side, vector in ((True, inner), (False, outer))
        }
        return torch.cat([next(parts[side]) for side in self.chosen])


def _started(beta: float, count: Tensor) -> Tensor:
    """1 - beta^count without cancellation, so that float32 agrees with float64 from the first step."""
    return -torch.expm1(count * (math.log(beta) if beta else -math.inf))
