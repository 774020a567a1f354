"""FARGAN on close pairs: their definition, the growth of the gradient, and a critic that separates a pair.

Source: Tao and Wang 2020, "Alleviation of Gradient Exploding in GANs: Fake Can Be Real".
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from steadygan.errors import UsageError
from steadygan.losses import non_saturating
from steadygan.metrics import close_pairs, generator_gradient, smallest_gap
from steadygan.penalties import Critic, input_gradient, r1, squared_norm
from steadygan.theory import cases
from steadygan.theory.verdicts import AS_CORRECTED, FARGAN, Verdict, judge

__all__ = [
    "Construction",
    "check_definition1",
    "check_eqn3",
    "check_eqn5",
    "check_eqn11",
    "check_proposition1",
    "definition1",
    "eqn5",
    "eqn11",
    "proposition1",
    "proposition1_objective",
]


def definition1(x: Tensor, y: Tensor, delta: float, much: float = 10.0, distinct: bool = True) -> Tensor:
    """Which (x_i, y_j) are delta-close pairs, bool [n, m]: d(x_i, y_j) <= delta, and much * delta <= all d(x_i, x_k).

    The paper includes i = k, where d = 0: no pair is then close. `distinct` takes i != k only. It needs at least
    two points x (else UsageError). Tao and Wang 2020 (FARGAN), Definition 1.

    >>> x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.01], [0.5]])
    >>> definition1(x, y, 0.05).tolist(), bool(definition1(x, y, 0.05, distinct=False).any())
    ([[True, False], [False, False]], False)
    """
    if distinct and len(x) < 2:
        raise UsageError("Definition 1 compares a pair with the real points' own distances: give two or more")
    between = cases.distances(x, x)
    if distinct:
        between = between[~torch.eye(len(x), dtype=torch.bool)]
    return (cases.distances(x, y) <= delta) & bool(0 < much * delta <= between.min())


def check_definition1(seed: int = 0) -> Verdict:
    """Place fakes next to some reals; both definitions must find exactly those pairs.

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
        "a fake within delta of a real point, with delta far below every d(x_i, x_j), forms a close pair",
        f"all placed pairs found: with i = j allowed in {sum(printed)} of 100 sets, with i != j in {sum(corrected)}",
        judge(torch.tensor(printed), torch.tensor(corrected), AS_CORRECTED),
        100,
    )


def eqn5(critic: Critic, x0: Tensor, y0: Tensor) -> Tensor:
    """sigma(-D(y_0)) |D(x_0) - D(y_0)| / |x_0 - y_0| of logits D, for pairs x0, y0 [N, n]: [N].

    As the distance of a pair tends to 0, this tends to the slope of G's loss towards x_0. That slope is a lower
    bound on the norm of the gradient, not the norm itself. Tao and Wang 2020 (FARGAN), right side of Eqn 5.

    >>> eqn5(lambda x: x @ torch.tensor([3.0, 4.0]), torch.tensor([[1.0, 0.0]]), torch.zeros(1, 2))
    tensor([1.5000])
    """
    fake = critic(y0)
    return torch.sigmoid(-fake) * (critic(x0) - fake).abs() / (x0 - y0).norm(dim=1)


def check_eqn5(seed: int = 0) -> Verdict:
    """Smooth random critics, with close pairs in random directions and along the gradient.

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
    slack = 1e-4 + 1e-6 / torch.cat(norms)  # rounding in a quotient over 1e-6, relative to a small gradient
    bound = (ratio <= 1 + slack) & ((best - 1).abs() <= slack)
    return Verdict(
        "Eqn 5",
        FARGAN,
        "as a pair gets closer, |grad L_G| at the fake = sigma(-D) |D(x0) - D(y0)| / |x0 - y0|",
        f"right side over left side: median {ratio.median():.2f} in a random direction (a lower bound, never above "
        f"{ratio.max():.2f}), {best.median():.4f} along the gradient",
        judge((ratio - 1).abs() <= 1e-2, bound),
        len(ratio),
    )


def check_eqn3(seed: int = 0) -> Verdict:
    """Critics with a gap of epsilon at ever closer pairs: the largest gradient norm between, against epsilon/delta.

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
        "if D(x0) - D(y0) stays >= epsilon while the pair gets closer, the critic's gradient explodes",
        f"largest gradient norm between them over epsilon/delta: at least {ratio.min():.3f}; norms up to "
        f"{torch.stack(largest).max():.1e}; the mean slope towards x0 is epsilon/delta to "
        f"{(mean - 1).abs().max():.0e}",
        judge((ratio >= 1 - 1e-4) & ((mean - 1).abs() <= 1e-3)),
        len(ratio),
    )


class Construction(NamedTuple):
    """The critic of Proposition 1, D(v) = W3 sigma(k2 W2 sigma(k1 (W1 v - b))), a probability; call it on v [N, d]."""

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
        """Number of parameters: 2 d + 8."""
        return sum(t.numel() for t in self[:4])


def proposition1(x: Tensor, y: Tensor, epsilon: float) -> Construction:
    """A critic with D(x_0) - D(y_0) = epsilon, and 1/2 at all other samples; x [n, d], y [m, d] of unit norm.

    b is the mean of 1 and the largest inner product with another sample. k1 = 40 / (1 - b) makes the sigmoids
    exact steps in float64; it is about 160 / d(x_0, y_0)^2. Raises UsageError unless 0 < epsilon <= 1 and all
    norms are 1. Tao and Wang 2020 (FARGAN), Proposition 1 and Eqns 14 to 19.

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
    products[0, 0] = products[1, len(x)] = -1.0  # leave out each row's own sample: its product is 1
    b = (1 + products.amax(1)) / 2
    return Construction(
        W1,
        b,
        torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=x.dtype),
        torch.tensor([0.5 + epsilon / 2, 0.5 - epsilon / 2], dtype=x.dtype),
        float(40 / (1 - b).min()),
    )


def proposition1_objective(n: int, m: int, epsilon: float) -> float:
    """The critic's objective at the critic of Proposition 1: -2 log 2 + (1/n + 1/m) log(1 + epsilon), Eqn 20.

    >>> round(proposition1_objective(64, 64, 0.5), 10)
    -1.3736235765
    """
    return -2 * math.log(2) + (1 / n + 1 / m) * math.log1p(epsilon)


def check_proposition1(seed: int = 0) -> Verdict:
    """The constructed critic on random unit vectors with one close pair.

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
        "an MLP of O(2 dim x) parameters has D(x0) - D(y0) >= epsilon at a close pair, and an objective above -2 log 2",
        f"2d + 8 parameters; gap and objective equal the formulas to {error.max():.0e}; but weights up to "
        f"{max(weights):.1e}",
        judge((error <= 1e-9) & (gain > 0)),
        len(errors),
    )


def eqn11(critic: Critic, c: Tensor, y: Tensor, k: float, printed: bool = False) -> Tensor:
    """The objective that the critic ascends: mean log s(D(c)) + mean log s(-D(y)) - k mean |grad D(c)|^2.

    c are the N rows that count as real, y the fakes, D logits and s the sigmoid. The `printed` form adds the penalty.
    Eqns 6 and 21 subtract theirs. Tao and Wang 2020 (FARGAN), Eqn 11.

    >>> c, y = torch.ones(1, 1), -torch.ones(1, 1)
    >>> [round(float(eqn11(lambda x: 2 * x[:, 0], c, y, 1.0, printed=p)), 4) for p in (True, False)]
    [3.7461, -4.2539]
    """
    logits, gradient = input_gradient(critic, c)
    penalty = k * squared_norm(gradient).mean()
    gain = F.logsigmoid(logits).mean() + F.logsigmoid(-critic(y)).mean()
    return (gain + penalty if printed else gain - penalty).detach()


def scaled(critic: Critic, by: float) -> Critic:
    """The critic times a number."""
    return lambda x: by * critic(x)


def check_eqn11(seed: int = 0) -> Verdict:
    """Random critics, each made steeper and steeper: does the objective rise with the steepness?

    The package's loss for D, with its penalty R1, is minimised. It should be the objective with the other sign.

    >>> check_eqn11().verdict
    'false as printed'
    """
    g = cases.generator(seed)
    steepness = [2.0**power for power in range(11)]
    bounded: dict[bool, list[bool]] = {True: [], False: []}
    errors = []
    for _ in range(100):
        n, k = cases.integers(g, 1, 4), float(cases.log_uniform(g, 0.1, 10, 1))
        net, c, y = cases.network(g, (n, 16, 1), torch.tanh), cases.normal(g, 16, n), cases.normal(g, 16, n)
        for form, held in bounded.items():
            values = [float(eqn11(scaled(net, by), c, y, k, printed=form)) for by in steepness]
            held.append(max(values) <= 0 and values[-1] < values[0])
        loss = non_saturating.discriminator(net(c), net(y)) + k * r1(net, c)
        errors.append(float((loss + eqn11(net, c, y, k)).detach().abs()))
    one = torch.ones(1, 1, dtype=torch.float64)
    steep = [
        float(eqn11(scaled(lambda x: x[:, 0], by), one, -one, 1.0, printed=True)) for by in (1.0, 10.0, 100.0)
    ]
    printed, corrected = (torch.tensor(bounded[form]) for form in (True, False))
    return Verdict(
        "Eqn 11",
        FARGAN,
        "D ascends mean log s(D(c)) + mean log s(-D(y)) + k mean |grad D(c)|^2, a penalty on its gradient",
        f"D = s x, real 1, fake -1, k = 1: {steep[0]:.3g}, {steep[1]:.3g} and {steep[2]:.4g} at s = 1, 10 and 100, so "
        f"nothing bounds D; the same for {int((~printed).sum())} of 100 critics. With a minus it is at most 0 and "
        f"falls; the package's loss is minus that to {max(errors):.0e}",
        judge(printed, corrected & (torch.tensor(errors) <= 1e-12)),
        100,
    )
