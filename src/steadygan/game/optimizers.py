"""Functional optimizers: (gradient, moments, parameters) -> new parameters and moments, on one flat vector.

Each equals its `torch.optim` namesake to rounding. A learning rate is a `Number`: a float, or a function of
the state's scalars. The function is a schedule, or one member's value in an ensemble.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from steadygan.schedules import Number, Scalars, at

__all__ = ["Optimizer", "adam", "adamw", "rmsprop", "sgd", "tf_rmsprop"]

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
        count = torch.zeros((), dtype=params.dtype, device=params.device)
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


def _started(beta: float, count: Tensor) -> Tensor:
    """1 - beta^count without cancellation, so that float32 agrees with float64 from the first step."""
    return -torch.expm1(count * (math.log(beta) if beta else -math.inf))
