"""The Numerics of GANs on the package's own update rules: Jacobians of simultaneous and alternating steps.

Source: Mescheder, Nowozin and Geiger 2017, supplement.
"""

import torch
from torch import Tensor, nn

from steadygan.dynamics import alternating, simultaneous
from steadygan.game import Game, Network, Player, Rule, State
from steadygan.game.optimizers import sgd
from steadygan.theory import cases
from steadygan.theory.numerics_steps import lemma4_largest_step
from steadygan.theory.verdicts import NUMERICS, Verdict, judge

__all__ = [
    "check_corollary5",
    "check_proposition14",
    "proposition14_jacobian",
    "quadratic_game",
    "step_jacobian",
]


def quadratic_game(J: Tensor, size: int) -> Game:
    """A game of the package with the field v(x) = J x plus terms of second order: D holds x[:size], G the rest.

    Each player minimises -(quadratic form of its own block + coupling + a cube): ascent on v is descent on this
    loss. The diagonal blocks of J [n, n] must be symmetric, because they are Hessians.

    >>> game = quadratic_game(torch.eye(3), 1)
    >>> [p.network.module.weight.numel() for p in game.players.values()]
    [1, 2]
    """
    sizes = {"D": slice(0, size), "G": slice(size, len(J))}

    def player(own: str, other: str) -> Player:
        a, b = J[sizes[own], sizes[own]], J[sizes[own], sizes[other]]

        def loss(nets: dict, draw: dict, scalars: dict) -> tuple[Tensor, dict]:
            x, y = (
                nets[name](torch.eye(len(J[sizes[name]]), dtype=J.dtype)).squeeze(1) for name in (own, other)
            )
            return -(x @ a @ x / 2 + x @ b @ y + x.sum() ** 3), {}

        return Player(Network(nn.Linear(len(a), 1, bias=False)), loss, (), critic=own == "D")  # type: ignore[arg-type]

    return Game({"D": player("D", "G"), "G": player("G", "D")}, {})


def step_jacobian(rule: Rule, x: Tensor, size: int) -> Tensor:
    """The Jacobian [n, n] at x [n] of one step of a two-player rule with plain SGD, D first.

    >>> game = quadratic_game(torch.tensor([[0.0, 1.0], [-1.0, 0.0]]), 1)
    >>> step_jacobian(simultaneous(game, {name: sgd(0.1) for name in "DG"}), torch.zeros(2), 1)
    tensor([[ 1.0000,  0.1000],
            [-0.1000,  1.0000]])
    """

    def step(x: Tensor) -> Tensor:
        none: dict = {"D": {}, "G": {}}
        state = State({"D": x[:size], "G": x[size:]}, none, none, none, {})
        params = rule.step(state, [{} for _ in rule.rounds])[0].params
        return torch.cat([params["D"], params["G"]])

    return torch.func.jacrev(step)(x)


def draw_game(g: torch.Generator) -> tuple[Tensor, int]:
    """A matrix J with eigenvalues of negative real part and symmetric diagonal blocks, and the size of D's block."""
    size = cases.integers(g, 1, 4)
    n = size + cases.integers(g, 1, 4)
    J = cases.normal(g, n, n)
    for block in (slice(0, size), slice(size, n)):
        J[block, block] = (J[block, block] + J[block, block].T) / 2
    shift = torch.linalg.eigvals(J).real.max() + cases.uniform(g, 0.1, 1)
    return J - shift * torch.eye(n, dtype=torch.float64), size


def check_corollary5(seed: int = 0) -> Verdict:
    """The package's simultaneous step on games with a cubic term, at half of the step of Lemma 4.

    >>> check_corollary5().verdict
    'holds'
    """
    g = cases.generator(seed)
    errors, radii = [], []
    for _ in range(25):
        J, size = draw_game(g)
        h = float(lemma4_largest_step(torch.linalg.eigvals(J)).min()) / 2
        rule = simultaneous(quadratic_game(J, size), {"D": sgd(h), "G": sgd(h)})
        found = step_jacobian(rule, torch.zeros(len(J), dtype=torch.float64), size)
        errors.append((found - torch.eye(len(J), dtype=torch.float64) - h * J).abs().max())
        radii.append(cases.spectral_radius(found))
    error, radius = torch.stack(errors), torch.stack(radii)
    return Verdict(
        "Corollary 5",
        NUMERICS,
        "eigenvalues of v' with negative real part: simultaneous gradient ascent converges for small h",
        f"the package's step has Jacobian I + hv' to {error.max():.0e} and spectral radius at most {radius.max():.4f} "
        "at half of the step of Lemma 4",
        judge((error <= 1e-12) & (radius < 1)),
        len(error),
    )


def proposition14_jacobian(J: Tensor, size: int, h: float) -> Tensor:
    """F' = (I + h G2')(I + h G1') of alternating ascent: x[:size] is updated first, then the rest; [n, n].

    Mescheder 2017, supplement, Eqn 45.

    >>> proposition14_jacobian(torch.tensor([[0.0, 1.0], [-1.0, 0.0]]), 1, 0.5)
    tensor([[ 1.0000,  0.5000],
            [-0.5000,  0.7500]])
    """
    first = (torch.arange(len(J)) < size)[:, None] * J
    one = torch.eye(len(J), dtype=J.dtype)
    return (one + h * (J - first)) @ (one + h * first)


def check_proposition14(seed: int = 0) -> Verdict:
    """The package's alternating step on games with a cubic term, with h halved again and again.

    >>> check_proposition14().verdict
    'holds'
    """
    g = cases.generator(seed)
    errors, radii = [], []
    for _ in range(25):
        J, size = draw_game(g)
        h = float(lemma4_largest_step(torch.linalg.eigvals(J)).min()) / 4
        rule = alternating(quadratic_game(J, size), {"D": sgd(h), "G": sgd(h)})
        found = step_jacobian(rule, torch.zeros(len(J), dtype=torch.float64), size)
        errors.append((found - proposition14_jacobian(J, size, h)).abs().max())
        smaller = torch.stack([proposition14_jacobian(J, size, h / 2**i) for i in range(4, 12)])
        radii.append(cases.spectral_radius(smaller).max())
    error, radius = torch.stack(errors), torch.stack(radii)
    return Verdict(
        "Proposition 14",
        NUMERICS,
        "eigenvalues of v' with negative real part: alternating gradient ascent converges for small h",
        f"the package's step has Jacobian (I + hG2')(I + hG1') to {error.max():.0e}; spectral radius below 1 in "
        f"{int((radius < 1).sum())} of {len(radius)} games for h up to 1/64 of the step of Lemma 4",
        judge((error <= 1e-12) & (radius < 1)),
        len(error),
    )
