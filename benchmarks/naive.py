"""One D step and one G step as one writes them by hand: modules, `.backward()`, `autograd.grad(create_graph=True)`.

The names are those of `constraints.py`. D is frozen in G's step, and a normalization's double backward is in it.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WEIGHT, POOL = 10.0, 8
INTERPOLATED = ("zero_centered", "one_centered", "dragan")
"""Penalties at random places between two samples, which draw `alpha`."""
Draw = dict[str, Tensor]


def slope(D: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and gradients [N, n], differentiable again."""
    x = x if x.requires_grad else x.detach().requires_grad_()
    logits = D(x)
    (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    return logits, gradient.flatten(1)


NORMALIZED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "gn": lambda f, g: f / (g.norm(dim=1) + f.abs()),
    "pgn": lambda f, g: (1 - f) / ((1 - g).norm(dim=1) + (1 - f).abs()),
}


Forward = Callable[[Tensor], Tensor]


def twin_d(name: str, G: nn.Module | Forward, D: nn.Module, draw: Draw, plain: Forward | None = None) -> None:
    """D's gradients of the naive loop, left in `.grad`.

    `plain` computes D where no gradient of it is taken: torch.compile cannot differentiate a module twice.
    """
    x, plain = draw["x_real"], plain or D
    with torch.no_grad():
        y = G(draw["z"]) if "z_pool" not in draw else G(torch.cat([draw["z"], draw["z_pool"]]))
        if "z_pool" in draw:
            y, candidates = y[: len(x)], y[len(x) :]
            count = len(candidates) // POOL
            chosen = plain(candidates).topk(count, largest=False).indices
            x = torch.cat([x[: len(x) - count], candidates[chosen]])
    D.zero_grad()
    penalty: Tensor | float = 0.0
    if name in NORMALIZED:
        real, fake = NORMALIZED[name](*slope(D, torch.cat([x, y]))).chunk(2)
    elif name in ("r1", "far + r1"):
        real, gradient = slope(D, x)
        penalty, fake = gradient.square().sum(1).mean(), plain(y)
    else:
        real, fake = plain(x), plain(y)
        penalty = twin_penalty(name, D, x, y, draw)
    (F.softplus(-real).mean() + F.softplus(fake).mean() + WEIGHT * penalty).backward()


def twin_penalty(name: str, D: nn.Module, x: Tensor, y: Tensor, draw: Draw) -> Tensor | float:
    if name not in INTERPOLATED:
        return 0.0
    alpha = draw["alpha"].view(-1, *[1] * (x.ndim - 1))
    if name == "dragan":
        y = x + 0.5 * x.std(correction=0) * draw["noise"]
        alpha = 1 - alpha
    lengths = slope(D, alpha * x + (1 - alpha) * y)[1]
    if name == "zero_centered":
        return lengths.square().sum(1).mean()
    return (lengths.norm(dim=1) - 1).square().mean()


def twin_g(
    name: str,
    G: nn.Module,
    D: nn.Module,
    draw: Draw,
    made: Forward | None = None,
    plain: Forward | None = None,
) -> None:
    """G's gradients of the naive loop, D frozen, the double backward of a normalization included.

    `made` computes G, and `plain` D as in `twin_d`.
    """
    D.requires_grad_(False)
    G.zero_grad()
    y = (made or G)(draw["z"])
    fake = NORMALIZED[name](*slope(D, y)) if name in NORMALIZED else (plain or D)(y)
    F.softplus(-fake).mean().backward()
    D.requires_grad_(True)
