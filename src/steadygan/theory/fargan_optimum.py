"""FARGAN's local model: the optimal critic's logits at a real point with m0 fakes next to it.

There are n reals and m fakes. x_0 forms close pairs with y_1 .. y_m0. The critic's logits there are xi_0 and xi_i.
P = sigma(-xi_i) (xi_0 - xi_i) is the slope of G's loss from y_i towards x_0, times the distance of the pair.
Source: Tao and Wang 2020.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from steadygan.errors import UsageError
from steadygan.theory import cases
from steadygan.theory.verdicts import FARGAN, Verdict, judge

__all__ = [
    "Optimum",
    "check_eqn30",
    "check_proposition2",
    "check_proposition3",
    "eqn30",
    "objective",
    "proposition2",
    "proposition3",
]


class Optimum(NamedTuple):
    """The optimal critic's logits at the real and the fake points of close pairs, and P = sigma(-xi*) (xi0 - xi*)."""

    xi0: float
    xi_star: float
    P: float


def objective(xi: Tensor, n: int, m: int, k: float, lam: float = 0.0) -> Tensor:
    """The critic's objective at logits xi = (xi_0, xi_1 .. xi_m0): a concave scalar function.

    log s(xi_0) + n/m sum log s(-xi_i) - n k/m0 sum (xi_0 - xi_i)^2 + n lam sum log s(xi_i), s the sigmoid.
    Tao and Wang 2020 (FARGAN), Eqns 7 and 9.

    >>> objective(torch.zeros(2), 64, 64, k=1.0)
    tensor(-1.3863)
    """
    real, fakes = xi[0], xi[1:]
    value = F.logsigmoid(real) + n / m * F.logsigmoid(-fakes).sum() + n * lam * F.logsigmoid(fakes).sum()
    return value - n * k * (real - fakes).square().mean()


def proposition3(n: int, m: int, m0: int, k: float, lam: float) -> Optimum:
    """The maximiser with fake-as-real of weight lam: every xi_i equals xi* = xi_0 - sigma(-xi_0)/(2 n k).

    xi_0 is the root of -n/m s(xi*) + s(-xi_0)/m0 + n lam s(-xi*). This function decreases in xi_0, so the root is
    unique. Raises UsageError unless 1 <= m0 <= m, n >= 1, k > 0 and lam >= 0.
    Tao and Wang 2020 (FARGAN), Proposition 3.

    >>> [round(value, 8) for value in proposition3(64, 64, 4, k=0.01, lam=0.1)]
    [1.98592592, 1.89163799, 0.01235717]
    """
    if not (1 <= m0 <= m and n >= 1 and k > 0 and lam >= 0):
        raise UsageError(f"needs 1 <= m0 <= m, n >= 1, k > 0, lam >= 0; got {n=}, {m=}, {m0=}, {k=}, {lam=}")

    def other(xi0: float) -> float:
        return xi0 - sigmoid(-xi0) / (2 * n * k)

    def slope(xi0: float) -> float:
        fake = other(xi0)
        return -n / m * sigmoid(fake) + sigmoid(-xi0) / m0 + n * lam * sigmoid(-fake)

    xi0 = falling_root(slope)
    gap = sigmoid(-xi0) / (2 * n * k)
    return Optimum(xi0, xi0 - gap, sigmoid(gap - xi0) * gap)


def proposition2(n: int, m: int, m0: int, k: float) -> Optimum:
    """The maximiser with the difference penalty of weight k alone: `proposition3` at lam = 0.

    As k grows, xi_0 = xi* tends to log(m/(n m0)). At n = m and m0 = 1, xi* = -xi_0. Same errors.
    Tao and Wang 2020 (FARGAN), Proposition 2, Eqns 26 to 29.

    >>> [round(value, 8) for value in proposition2(64, 64, 4, k=0.01)]
    [-0.95072704, -1.51421248, 0.46188037]
    """
    return proposition3(n, m, m0, k, 0.0)


def eqn30(xi0: float, n: int, m: int, m0: int, k: float, printed: bool = False) -> float:
    """The weight lam of fake-as-real whose maximiser has this xi_0.

    s(-xi_0)/(n m0) [e^(xi_0 - s(-xi_0)/(2nk)) (n m0/(m s(-xi_0)) - 1) - 1]. The `printed` form raises the
    product to the power 2nk. The two are equal only where 2nk = 1 or lam = 0.
    Tao and Wang 2020 (FARGAN), Eqn 30.

    >>> xi0 = proposition3(64, 64, 4, k=0.1, lam=0.01).xi0
    >>> round(eqn30(xi0, 64, 64, 4, 0.1), 9), f"{eqn30(xi0, 64, 64, 4, 0.1, printed=True):.2e}"
    (0.01, '1.56e+07')
    """
    s = sigmoid(-xi0)
    log_product = xi0 - s / (2 * n * k) + math.log(n * m0 / (m * s) - 1)
    power = 2 * n * k if printed else 1.0
    exponent = power * log_product
    return s / (n * m0) * (math.expm1(exponent) if exponent < 700 else math.inf)


def sigmoid(t: float) -> float:
    """1 / (1 + e^-t) of a float; never overflows."""
    return 1 / (1 + math.exp(-t)) if t >= 0 else math.exp(t) / (1 + math.exp(t))


def falling_root(f: Callable[[float], float]) -> float:
    """The root of a decreasing function, exact to the last bit, by bisection."""
    low, high = -1.0, 1.0
    while f(low) < 0:
        low *= 2
    while f(high) > 0:
        high *= 2
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if f(middle) > 0 else (low, middle)
    return middle


class Model(NamedTuple):
    """One random case: n reals, m fakes, m0 of them close to x_0, penalty weight k."""

    n: int
    m: int
    m0: int
    k: float


def draw_model(g: torch.Generator) -> Model:
    """n and m up to 128, m0 up to 8, k from 1e-3 to 10."""
    n, m = cases.integers(g, 1, 128), cases.integers(g, 2, 128)
    return Model(n, m, cases.integers(g, 1, min(8, m - 1)), float(cases.log_uniform(g, 1e-3, 10, 1)))


def stationarity(found: Optimum, model: Model, lam: float = 0.0) -> float:
    """The largest partial derivative of the objective at `found`, by automatic differentiation: 0 at the maximum."""
    xi = torch.tensor([found.xi0, *[found.xi_star] * model.m0], dtype=torch.float64)
    slopes = torch.func.grad(objective)(xi, model.n, model.m, model.k, lam)
    return float(slopes.abs().max()) / (1 + model.n * lam)


def check_proposition2(seed: int = 0) -> Verdict:
    """The solution is stationary; P decreases in k and increases in m0; xi* decreases in m0.

    >>> check_proposition2().verdict
    'holds'
    """
    g = cases.generator(seed)
    slopes, held = [], []
    for _ in range(200):
        n, m, m0, k = model = draw_model(g)
        here, stronger, more = (
            proposition2(n, m, m0, k),
            proposition2(n, m, m0, 1.2 * k),
            proposition2(n, m, m0 + 1, k),
        )
        slopes.append(stationarity(here, model))
        held.append(stronger.P < here.P < more.P and more.xi_star < here.xi_star < stronger.xi_star)
    return Verdict(
        "Proposition 2",
        FARGAN,
        "at the optimal critic P decreases in the penalty weight k and increases in the number m0 of close fakes "
        "(their logit decreases: footnote 1)",
        f"monotone in {sum(held)} of 200 draws; gradient of the objective at the solution below "
        f"{max(slopes):.0e}",
        judge(torch.tensor(held) & (torch.tensor(slopes) <= 1e-9)),
        200,
    )


def check_proposition3(seed: int = 0) -> Verdict:
    """The solution is stationary, and P tends to zero as the weight of fake-as-real grows.

    >>> check_proposition3().verdict
    'holds'
    """
    g = cases.generator(seed)
    slopes, held, last = [], [], []
    for _ in range(200):
        model = draw_model(g)
        first = float(cases.log_uniform(g, 1e-3, 1, 1))
        weights = [0.0, first, 2 * first, 1e3 * first]
        path = [proposition3(*model, lam) for lam in weights]
        slopes += [stationarity(found, model, lam) for found, lam in zip(path, weights, strict=True)]
        held.append(all(b.P < a.P and b.xi0 > a.xi0 and b.xi_star > a.xi_star for a, b in pairwise(path)))
        last.append(proposition3(*model, 1e9).P)
    return Verdict(
        "Proposition 3",
        FARGAN,
        "P decreases in the weight lambda of fake-as-real, and tends to 0",
        f"monotone in {sum(held)} of 200 draws; P at most {max(last):.0e} at lambda = 1e9; gradient of the objective "
        f"at the solution below {max(slopes):.0e}",
        judge(torch.tensor(held) & (torch.tensor(last) <= 1e-3) & (max(slopes) <= 1e-9)),
        200,
    )


def check_eqn30(seed: int = 0) -> Verdict:
    """Solve for xi_0 at a known weight; both closed forms should return that weight.

    >>> check_eqn30().verdict
    'false as printed'
    """
    g = cases.generator(seed)
    errors: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(200):
        model, lam = draw_model(g), float(cases.log_uniform(g, 1e-3, 10, 1))
        xi0 = proposition3(*model, lam).xi0
        for form, found in errors.items():
            found.append(abs(eqn30(xi0, *model, printed=form) / lam - 1))
    n, m, m0, k, lam = 64, 64, 4, 0.1, 0.01
    example = [eqn30(proposition3(n, m, m0, k, lam).xi0, n, m, m0, k, printed=p) for p in (True, False)]
    printed, corrected = (torch.tensor(errors[p]) for p in (True, False))
    return Verdict(
        "Eqn 30 (Proposition 3)",
        FARGAN,
        "lambda(xi0) = s/(n m0) [e^(2nk xi0 - s) (n m0/(m s) - 1)^(2nk) - 1], s = sigma(-xi0)",
        f"at n=m=64, m0=4, k=.1, lambda=.01 the printed form gives {example[0]:.3g}, the form without the power 2nk "
        f"{example[1]:.6g}; printed wrong by 1 % or more in {int((printed > 1e-2).sum())} of 200, corrected right to "
        f"{corrected.max():.0e}",
        judge(printed <= 1e-2, corrected <= 1e-6),
        200,
    )
