"""FARGAN on close pairs: what they are, how the gradient grows there, and a critic that tells one apart."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from steadygan.errors import UsageError
from steadygan.metrics import close_pairs, generator_gradient, smallest_gap
from steadygan.penalties import Critic, input_gradient
from steadygan.theory import cases
from steadygan.theory.verdicts import AS_CORRECTED, FARGAN, Verdict, judge

__all__ = [
    "Construction",
    "check_definition1",
    "check_eqn3",
    "check_eqn5",
    "check_proposition1",
    "definition1",
    "eqn5",
    "proposition1",
    "proposition1_objective",
]


def definition1(x: Tensor, y: Tensor, delta: float, much: float = 10.0, distinct: bool = True) -> Tensor:
    """Which (x_i, y_j) are delta-close pairs, bool [n, m]: d(x_i, y_j) <= delta, and much * delta <= all d(x_i, x_k).

    The paper takes "all" with i = k too, where d = 0, and then no pair is ever close; `distinct` takes i != k,
    which needs two points x or more (UsageError). Tao and Wang 2020 (FARGAN), Definition 1.

    >>> x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.01], [0.5]])
    >>> definition1(x, y, 0.05).tolist(), bool(definition1(x, y, 0.05, distinct=False).any())
    ([[True, False], [False, False]], False)
    """
    if distinct and len(x) < 2:
        raise UsageError("Definition 1 compares a pair with the real points' own distances: give two or more")
    between = torch.cdist(x, x)
    if distinct:
        between = between[~torch.eye(len(x), dtype=torch.bool)]
    return (torch.cdist(x, y) <= delta) & bool(0 < much * delta <= between.min())


def check_definition1(seed: int = 0) -> Verdict:
    """Plant fakes beside some reals, and look for exactly them.

    >>> check_definition1().verdict
    'holds as corrected'
    """
    g = cases.generator(seed)
    printed, corrected = [], []
    for _ in range(100):
        x = cases.normal(g, 8, 3)
        delta = smallest_gap(x) / 20
        step = cases.normal(g, 8, 3)
        y = x + torch.where(torch.arange(8) < 4, 0.9, 3.0)[:, None] * delta * step / step.norm(
            dim=1, keepdim=True
        )
        planted = torch.eye(8, dtype=torch.bool) & (torch.arange(8) < 4)
        found = torch.zeros(8, 8, dtype=torch.bool)
        found[close_pairs(y, x, delta)[::-1]] = True
        printed.append(torch.equal(definition1(x, y, delta, distinct=False), planted))
        corrected.append(torch.equal(definition1(x, y, delta), planted) and torch.equal(found, planted))
    return Verdict(
        "Definition 1",
        FARGAN,
        "a fake within delta of a real point, delta far below every d(x_i, x_j), forms a close pair",
        f"planted pairs found in {sum(printed)} of 100 sets with i = j allowed, in {sum(corrected)} with i != j",
        judge(torch.tensor(printed), torch.tensor(corrected), AS_CORRECTED),
        100,
    )


def eqn5(critic: Critic, x0: Tensor, y0: Tensor) -> Tensor:
    """sigma(-D(y_0)) |D(x_0) - D(y_0)| / |x_0 - y_0| of logits D, for pairs x0, y0 [N, n]: [N].

    As a pair closes this tends to the slope of the generator's loss towards x_0, a lower bound on the norm of
    its gradient, not the norm itself. Tao and Wang 2020 (FARGAN), right side of Eqn 5.

    >>> eqn5(lambda x: x @ torch.tensor([3.0, 4.0]), torch.tensor([[1.0, 0.0]]), torch.zeros(1, 2))
    tensor([1.5000])
    """
    fake = critic(y0)
    return torch.sigmoid(-fake) * (critic(x0) - fake).abs() / (x0 - y0).norm(dim=1)


def check_eqn5(seed: int = 0) -> Verdict:
    """Close pairs in random directions and along the gradient, at smooth random critics.

    >>> check_eqn5().verdict
    'false as printed'
    """
    g = cases.generator(seed)
    random: list[Tensor] = []
    along: list[Tensor] = []
    norms = []
    for _ in range(20):
        n = cases.integers(g, 2, 5)
        critic, y0 = cases.network(g, (n, 16, 16, 1), torch.tanh), cases.normal(g, 50, n)
        norm = generator_gradient(critic, y0)
        norms.append(norm)
        for ratios, direction in ((random, cases.normal(g, 50, n)), (along, input_gradient(critic, y0)[1])):
            x0 = y0 + 1e-6 * direction / direction.norm(dim=1, keepdim=True)
            ratios.append(eqn5(critic, x0, y0) / norm)
    ratio, best = torch.cat(random), torch.cat(along)
    slack = 1e-4 + 1e-6 / torch.cat(norms)  # a quotient over 1e-6 knows a flat slope only so well
    bound = (ratio <= 1 + slack) & ((best - 1).abs() <= slack)
    return Verdict(
        "Eqn 5",
        FARGAN,
        "as a pair closes, |grad L_G| at the fake = sigma(-D) |D(x0) - D(y0)| / |x0 - y0|",
        f"right over left side: median {ratio.median():.2f} in a random direction (a lower bound, never above "
        f"{ratio.max():.2f}), {best.median():.4f} along the gradient",
        judge((ratio - 1).abs() <= 1e-2, bound),
        len(ratio),
    )


def check_eqn3(seed: int = 0) -> Verdict:
    """Critics that keep a gap of epsilon while the pair closes: the steepest point between, against epsilon/delta.

    >>> check_eqn3().verdict
    'holds'
    """
    g = cases.generator(seed)
    steepness, means, largest = [], [], []
    for _ in range(50):
        net, epsilon = cases.network(g, (3, 16, 1), torch.tanh), float(cases.uniform(g, 0.1, 0.9))
        for delta in (1e-1, 1e-3, 1e-5):
            y0, step = cases.normal(g, 1, 3), cases.normal(g, 1, 3)
            x0 = y0 + delta * step / step.norm()
            scale = epsilon / (net(x0) - net(y0))
            points = y0 + torch.linspace(0, 1, 201, dtype=torch.float64)[:, None] * (x0 - y0)
            gradients = scale * input_gradient(net, points)[1]
            norm = gradients.norm(dim=1).max()
            steepness.append(norm * delta / epsilon)
            means.append(torch.trapezoid(gradients @ (x0 - y0).squeeze(0), dx=1 / 200) / epsilon)
            largest.append(norm)
    ratio, mean = torch.stack(steepness), torch.stack(means)
    return Verdict(
        "Eqn 3",
        FARGAN,
        "if D(x0) - D(y0) >= epsilon stays while the pair closes, the critic's gradient explodes",
        f"steepest point between them over epsilon/delta: at least {ratio.min():.3f}; norms up to "
        f"{torch.stack(largest).max():.1e}; the slope towards x0 is epsilon/delta on average to "
        f"{(mean - 1).abs().max():.0e}",
        judge((ratio >= 1 - 1e-4) & ((mean - 1).abs() <= 1e-3)),
        len(ratio),
    )


class Construction(NamedTuple):
    """Proposition 1's critic D(v) = W3 sigma(k2 W2 sigma(k1 (W1 v - b))), a probability; call it on v [N, d]."""

    W1: Tensor
    b: Tensor
    W2: Tensor
    W3: Tensor
    k1: float
    k2: float = 80.0

    def __call__(self, v: Tensor) -> Tensor:
        """D at v [N, d]: [N]."""
        return (
            torch.sigmoid(self.k2 * torch.sigmoid(self.k1 * (v @ self.W1.T - self.b)) @ self.W2.T) @ self.W3
        )

    @property
    def parameters(self) -> int:
        """How many values it learns: 2 d + 8."""
        return sum(t.numel() for t in self[:4])


def proposition1(x: Tensor, y: Tensor, epsilon: float) -> Construction:
    """A critic with D(x_0) - D(y_0) = epsilon and 1/2 at all other samples; x [n, d], y [m, d] of unit norm.

    b lies half way between 1 and the largest inner product with another sample, and k1 = 40 / (1 - b) is what
    makes the steps exact in float64: about 160 / d(x_0, y_0)^2. Raises UsageError unless 0 < epsilon <= 1 and
    all norms are 1. Tao and Wang 2020 (FARGAN), Proposition 1 and Eqns 14 to 19.

    >>> x, y = torch.eye(3)[:2], torch.tensor([[0.6, 0.0, 0.8], [0.0, 0.0, 1.0]])
    >>> D = proposition1(x, y, epsilon=0.5)
    >>> D(x), D(y), D.parameters
    (tensor([0.7500, 0.5000]), tensor([0.2500, 0.5000]), 14)
    """
    if not 0 < epsilon <= 1:
        raise UsageError(f"epsilon is a gap between probabilities, above 0 and at most 1, not {epsilon}")
    samples = torch.cat([x, y])
    if not torch.allclose(samples.norm(dim=1), torch.ones(len(samples), dtype=x.dtype), atol=1e-6):
        raise UsageError("Proposition 1 takes samples of unit norm: divide each by its norm")
    W1 = torch.stack([x[0], y[0]])
    products = W1 @ samples.T
    products[0, 0] = products[1, len(x)] = -1.0  # each row's own sample
    b = (1 + products.amax(1)) / 2
    return Construction(
        W1,
        b,
        torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=x.dtype),
        torch.tensor([0.5 + epsilon / 2, 0.5 - epsilon / 2], dtype=x.dtype),
        float(40 / (1 - b).min()),
    )


def proposition1_objective(n: int, m: int, epsilon: float) -> float:
    """The critic's objective at Proposition 1's construction: -2 log 2 + (1/n + 1/m) log(1 + epsilon), Eqn 20.

    >>> round(proposition1_objective(64, 64, 0.5), 10)
    -1.3736235765
    """
    return -2 * math.log(2) + (1 / n + 1 / m) * math.log1p(epsilon)


def check_proposition1(seed: int = 0) -> Verdict:
    """The construction on random unit vectors with one close pair.

    >>> check_proposition1().verdict
    'holds'
    """
    g = cases.generator(seed)
    errors, weights, gains = [], [], []
    for _ in range(100):
        n, m, d = (cases.integers(g, 2, 40) for _ in range(3))
        epsilon = float(cases.uniform(g, 0.01, 1.0))
        x, y = cases.normal(g, n, d), cases.normal(g, m, d)
        y[0] = x[0] + cases.log_uniform(g, 1e-2, 1, 1) * y[0]
        x, y = (t / t.norm(dim=1, keepdim=True) for t in (x, y))
        D = proposition1(x, y, epsilon)
        reached = float(D(x).log().mean() + torch.log1p(-D(y)).mean())
        gap = abs(float(D(x[:1]) - D(y[:1])) - epsilon)
        size = abs(D.parameters - (2 * d + 8))
        errors.append(max(gap, abs(reached - proposition1_objective(n, m, epsilon)), size))
        gains.append(reached + 2 * math.log(2))
        weights.append(D.k1)
    error, gain = torch.tensor(errors), torch.tensor(gains)
    return Verdict(
        "Proposition 1",
        FARGAN,
        "an MLP of O(2 dim x) parameters has D(x0) - D(y0) >= epsilon at a close pair and beats -2 log 2",
        f"2d + 8 parameters, gap and objective as computed to {error.max():.0e}; but weights up to "
        f"{max(weights):.1e}",
        judge((error <= 1e-9) & (gain > 0)),
        len(errors),
    )
