"""Update rules against theory: the rate of one whole step on linear games, and plain loops on curved ones.

A rate is the spectral radius of the Jacobian of one step at the equilibrium, over all that the rule carries
along. Each closed form is derived from the 2x2 linearisation v' = [[p, q], [s, t]] of the velocity v = -g,
where phi (the discriminator) is first. A rule without an oracle fails with a KeyError under its name.
"""

import cmath
import copy
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from steadygan import build, dynamics, losses
from steadygan.config import parse, registry
from steadygan.dynamics import (
    alternating,
    consensus,
    extragradient,
    lookahead,
    optimistic,
    simultaneous,
    smoothing,
    symplectic,
)
from steadygan.dynamics._consensus import debiased_norm
from steadygan.dynamics._symplectic import alignment
from steadygan.dynamics.player_steps import update
from steadygan.errors import UsageError
from steadygan.game import Field, Game, Network, Player, Rule, State, flatten
from steadygan.game import optimizers as optim
from steadygan.game.state import complete, initial
from steadygan.game.vector_field import accumulated, field, jacobian
from steadygan.games import Clip, FakeAsReal, Term, bilinear, gan, quadratic
from steadygan.games._quadratic import blocks
from steadygan.networks import dirac, mlp, point
from steadygan.penalties import PENALTIES
from steadygan.training import checkpoint
from steadygan.training.compile.compiled_step import compiled, vectorised
from tracing import as_graph

DYNAMICS = {name: getattr(dynamics, name) for name in registry.DYNAMICS}


Matrix = tuple[float, float, float, float]  # p, q, s, t
Draw = dict[str, Tensor]

# ---------------------------------------------------------------------------------------- rates by hand


def roots(trace: complex, determinant: complex) -> list[complex]:
    """The roots of z^2 - trace z + determinant: the eigenvalues of a 2x2 matrix."""
    gap = cmath.sqrt(trace * trace - 4 * determinant)
    return [(trace + gap) / 2, (trace - gap) / 2]


def radius(p: float, q: float, s: float, t: float) -> float:
    return max(abs(z) for z in roots(p + t, p * t - q * s))


def eigenvalues(v: Matrix) -> list[complex]:
    p, q, s, t = v
    return roots(p + t, p * t - q * s)


def rate_simultaneous(v: Matrix, h: float) -> float:
    return max(abs(1 + h * z) for z in eigenvalues(v))


def alternated(v: Matrix, h: float) -> list[complex]:
    """phi' = (1 + h p) phi + h q theta; theta' = h s phi' + (1 + h t) theta: two shears."""
    p, q, s, t = v
    return roots((1 + h * p) + (1 + h * t + h * h * s * q), (1 + h * p) * (1 + h * t))


def rate_alternating(v: Matrix, h: float) -> float:
    return max(abs(z) for z in alternated(v, h))


def rate_consensus(v: Matrix, h: float, gamma: float) -> float:
    """1 + h (v' - gamma v'^T v')."""
    p, q, s, t = v
    cross = gamma * (p * q + s * t)
    first, last = p - gamma * (p * p + s * s), t - gamma * (q * q + t * t)
    return radius(1 + h * first, h * (q - cross), h * (s - cross), 1 + h * last)


def rate_smoothing(v: Matrix, h: float, gamma: float, reading: str) -> float:
    """phi alone feels gamma d/dphi of (s phi + t theta)^2 / 2, or of both squares."""
    p, q, s, t = v
    own = 1 if reading == "full" else 0
    first, cross = p - gamma * (own * p * p + s * s), q - gamma * (own * p * q + s * t)
    return radius(1 + h * first, h * cross, h * s, 1 + h * t)


def rate_extragradient(v: Matrix, h: float) -> float:
    return max(abs(1 + h * z + h * h * z * z) for z in eigenvalues(v))


def rate_two_steps(v: Matrix, h: float) -> float:
    """x_(t+1) = x_t + 2 h z x_t - h z x_(t-1), on each eigenvector."""
    return max(abs(w) for z in eigenvalues(v) for w in roots(1 + 2 * h * z, h * z))


def rate_symplectic(v: Matrix, h: float, weight: float) -> float:
    """A^T g turns the velocity (v1, v2) by e (v2, -v1) with e = weight (q - s) / 2."""
    p, q, s, t = v
    e = weight * (q - s) / 2
    return radius(1 + h * (p + e * s), h * (q + e * t), h * (s - e * p), 1 + h * (t - e * q))


def rate_lookahead(v: Matrix, h: float, steps: int, alpha: float, inner: Callable[..., Any]) -> float:
    """A cycle is 1 - alpha + alpha M^k; the rate is a step's share of it."""
    each = alternated(v, h) if inner is alternating else [1 + h * z for z in eigenvalues(v)]
    return max(abs(1 - alpha + alpha * z**steps) for z in each) ** (1 / steps)


class Case(NamedTuple):
    """A rule with options, and the rate that it must have."""

    rule: Callable[..., Rule]
    options: dict[str, Any]
    rate: Callable[[Matrix, float], float]
    steps: int = 1


def case(name: str, rate: Callable[..., float], **options: Any) -> Case:
    return Case(DYNAMICS[name], options, partial(rate, **options), options.get("steps", 1))


CASES = {
    "simultaneous": [case("simultaneous", rate_simultaneous)],
    "alternating": [case("alternating", rate_alternating)],
    "consensus": [case("consensus", rate_consensus, gamma=g) for g in (0.1, 1.0)],
    "smoothing": [
        case("smoothing", rate_smoothing, gamma=0.5, reading=reading) for reading in ("generator", "full")
    ],
    "extragradient": [
        case("extragradient", rate_extragradient),
        Case(extragradient, {"past": True}, rate_two_steps),
    ],
    "optimistic": [case("optimistic", rate_two_steps)],
    "symplectic": [
        Case(symplectic, {"weight": w, "align": a}, partial(rate_symplectic, weight=w))
        for w, a in ((0.5, False), (1.0, True))
    ],
    "lookahead": [
        case("lookahead", rate_lookahead, steps=k, alpha=0.5, inner=inner)
        for k, inner in ((5, alternating), (3, simultaneous))
    ],
}


def label(c: Case) -> str:
    words = [f"{key}={getattr(value, '__name__', value)}" for key, value in c.options.items()]
    return "-".join([c.rule.__name__, *words])


each_case = pytest.mark.parametrize("case", [c for name in DYNAMICS for c in CASES[name]], ids=label)


# ------------------------------------------------------------------------------------------ the games


class Setting(NamedTuple):
    """A game of two numbers, its networks, and v' at its equilibrium."""

    game: Game
    nets: dict[str, nn.Module]
    v: Matrix


def linear(v: Matrix) -> Setting:
    G, D = (net.double() for net in point(()))
    matrix = torch.tensor(v, dtype=torch.float64).view(2, 2)
    return Setting(quadratic(Network(G), Network(D), matrix), {"G": G, "D": D}, v)


def saddle() -> Setting:
    G, D = (net.double() for net in point(()))
    return Setting(bilinear(Network(G), Network(D)), {"G": G, "D": D}, (0.0, 1.0, -1.0, 0.0))


SLOPES = {"wasserstein": 1.0, "non_saturating": 0.5}
"""c = d^2 L_D / dpsi dtheta at 0, which is also -d^2 L_G / dtheta dpsi: 1, and the logistic function's 1/2."""


def dirac_gan(loss: str, weights: Mapping[str, float]) -> Setting:
    """D = psi x, real 0, fake theta: a penalty k psi^2 at either has the force -2 k psi."""
    G, D = (net.double() for net in dirac((1,)))
    terms = [Term(PENALTIES[name](), k) for name, k in weights.items()]
    chosen = losses.LOSSES[loss]
    game = gan(Network(G), Network(D), chosen, shape=(1,), batch=3, latent=1, penalties=terms)
    c = SLOPES[loss]
    return Setting(game, {"G": G, "D": D}, (-2 * sum(weights.values()), -c, c, 0.0))


SETTINGS: dict[str, Callable[[], Setting]] = {
    "bilinear": saddle,
    "quadratic -1+-3i": partial(linear, (-1.0, 3.0, -3.0, -1.0)),
    "quadratic skewed": partial(linear, (-0.5, 2.0, -0.7, -0.5)),
    "quadratic real": partial(linear, (-1.5, 0.3, 0.2, -0.4)),
    **{
        f"dirac {loss} {'+'.join(weights) or 'plain'}": partial(dirac_gan, loss, weights)
        for loss in SLOPES
        for weights in ({}, {"r1": 0.2}, {"r1": 0.2, "r2": 0.5})
    },
}

each_setting = pytest.mark.parametrize("setting", SETTINGS)


def batches(rule: Rule, game: Game, steps: int) -> list[list[Draw]]:
    g = torch.Generator().manual_seed(0)

    def one() -> Draw:
        made = {n: torch.randn(f.shape, generator=g, dtype=torch.float64) for n, f in game.fields.items()}
        return {n: 0 * values if n == "x_real" else values for n, values in made.items()}

    return [[one() for _ in rule.rounds] for _ in range(steps)]


def at_rest(s: Setting, rule: Rule, h: float) -> State:
    state = initial(s.nets, dict.fromkeys(s.nets, optim.sgd(h)), dtype=torch.float64, rule=rule)
    zero = {part: {n: torch.zeros_like(p) for n, p in state.params.items()} for part in ("params", "slow")}
    moments = {n: {key: torch.zeros_like(m) for key, m in ms.items()} for n, ms in state.moments.items()}
    return state._replace(params=zero["params"], moments=moments)


def measured(s: Setting, rule: Rule, h: float, steps: int = 1) -> float:
    """The spectral radius of `steps` steps at the equilibrium, a step's share of it."""
    start, step = at_rest(s, rule, h), complete(rule, s.game)
    leaves, layout = tree_flatten((start.params, start.moments))
    sizes = [leaf.numel() for leaf in leaves]

    def whole(vector: Tensor) -> Tensor:
        params, moments = tree_unflatten(list(vector.split(sizes)), layout)
        state = start._replace(params=params, moments=moments)
        for batch in batches(rule, s.game, steps):
            state, _ = step(state, batch)
        return torch.cat(tree_flatten((state.params, state.moments))[0])

    matrix = torch.func.jacrev(whole)(torch.cat(leaves))
    return torch.linalg.eigvals(matrix).abs().max().item() ** (1 / steps)


@each_setting
@each_case
@pytest.mark.parametrize("h", [0.3, 0.8])
def test_a_step_contracts_at_its_rate(case, setting, h):
    """To 1e-7, on every game: rotation alone, with attraction, skewed, and the Dirac-GAN's own losses."""
    s = SETTINGS[setting]()
    rule = case.rule(s.game, dict.fromkeys(s.nets, optim.sgd(h)), **case.options)
    assert abs(measured(s, rule, h, case.steps) - case.rate(s.v, h)) < 1e-7


def optimizers(h: float) -> dict[str, optim.Optimizer]:
    return dict.fromkeys("GD", optim.sgd(h))


def test_the_published_rates():
    """Spec F7 at h = .1 on the saddle, and Lemma 4's largest step for -1 +- 3i."""
    s = saddle()
    for rule, rate in (
        (simultaneous, 1.004988),
        (alternating, 1.0),
        (partial(consensus, gamma=1.0), 0.905539),
        (partial(consensus, gamma=0.1), 0.995038),
    ):
        assert measured(s, rule(s.game, optimizers(0.1)), 0.1) == pytest.approx(rate, abs=5e-7)
    for gamma, most in ((1.0, 1.0), (0.1, 0.198020)):
        for h, stable in ((0.999 * most, True), (1.001 * most, False)):
            assert (measured(s, consensus(s.game, optimizers(h), gamma=gamma), h) < 1) is stable
    s = linear((-1.0, 3.0, -3.0, -1.0))
    for h in (0.199, 0.201):
        assert (measured(s, simultaneous(s.game, optimizers(h)), h) < 1) is (h < 0.2)


@pytest.mark.parametrize("k", [0.0, 0.1, 0.5, 1.0])
def test_r1_on_the_dirac_gan_has_the_papers_eigenvalues(k):
    """(-r +- sqrt(r^2 - 1)) / 2 with r = 2k, as k has no 1/2; a double -1/2 at r = 1."""
    s = dirac_gan("non_saturating", {"r1": k})
    (batch,) = batches(simultaneous(s.game, optimizers(0.1)), s.game, 1)
    rest = at_rest(s, simultaneous(s.game, optimizers(0.1)), 0.1)
    product = jacobian(s.game, rest, batch[0])
    unit = {"D": torch.tensor([1.0, 0.0]).double(), "G": torch.tensor([0.0, 1.0]).double()}
    columns = [product({n: unit[n][i : i + 1] for n in unit}) for i in range(2)]
    found = -torch.stack([torch.cat([column["D"], column["G"]]) for column in columns], dim=1)
    assert found.flatten().tolist() == pytest.approx(list(s.v), abs=1e-12)
    assert sorted(eigenvalues(s.v), key=lambda z: (z.real, z.imag)) == pytest.approx(
        sorted(roots(-2 * k, 0.25), key=lambda z: (z.real, z.imag))
    )


def test_wgan_gp_has_no_rest_at_the_dirac_equilibrium():
    # |grad D| = |psi| is pushed to 1: at theta = 0 the discriminator does not stay at 0 (Mescheder 2018)
    s = dirac_gan("wasserstein", {"one_centered": 10.0})
    rule = alternating(s.game, optimizers(0.01))
    state = at_rest(s, rule, 0.01)
    state = state._replace(params={"D": torch.tensor([0.1]).double(), "G": torch.tensor([0.0]).double()})
    (given,) = batches(rule, s.game, 1)
    given = [{**draw, "alpha": torch.full((3,), 0.5, dtype=torch.float64)} for draw in given]
    gradients, _, _ = field(s.game, ("D",), state, given[0])
    assert gradients["D"].item() == pytest.approx(10 * 2 * (0.1 - 1))


# --------------------------------------------------------------------- wrong variants, which the table catches


def half(game: Game, opt: Any) -> Rule:
    """GAN_stability's consensus class: 1/2 where 1 belongs."""
    return consensus(game, opt, gamma=0.5)


def stale(game: Game, opt: Any) -> Rule:
    """The generator answers to the discriminator before its step."""
    rule = simultaneous(game, opt)
    return Rule(rule.step, rule.rounds)


def unrestored(game: Game, opt: Any) -> Rule:
    """Steps on from the extrapolated point."""
    rule = simultaneous(game, opt)

    def step(state: State, batch: Sequence[Draw]) -> tuple[State, Any]:
        ahead, _ = rule.step(state, batch[:1])
        return rule.step(ahead, batch[1:])

    return Rule(step, (("D", "G"), ("D", "G")))


def detached(game: Game, opt: Any) -> Rule:
    """Each player's own |g_i|^2 alone, as when fakes are detached and the critic frozen."""

    def step(state: State, batch: Sequence[Draw]) -> tuple[State, Any]:
        gradients, _, _ = field(game, ("D", "G"), state, batch[0])
        moved = dict(state.params)
        for name in gradients:

            def own(p: Tensor, name: str = name) -> Tensor:
                at = state._replace(params={**state.params, name: p})
                return field(game, (name,), at, batch[0])[0][name].square().sum() / 2

            slope = torch.func.grad(own)(state.params[name])
            params, _ = opt[name].update(gradients[name] + slope, {}, moved[name], {})
            moved[name] = params
        return state._replace(params=moved), {}

    return Rule(step, (("D", "G"),))


def forgetful(game: Game, opt: Any) -> Rule:
    """Optimism without the past gradient: twice the step."""
    twice = {
        name: optim.Optimizer(o.init, lambda g, *rest, o=o: o.update(2 * g, *rest)) for name, o in opt.items()
    }
    return simultaneous(game, twice)


def ascending(game: Game, opt: Any) -> Rule:
    """The adjustment with the other sign."""
    return symplectic(game, opt, weight=-1.0, align=False)


def one_sided(game: Game, opt: Any) -> Rule:
    """Lookahead for the generator alone."""
    rule = lookahead(game, opt, steps=2)

    def step(state: State, batch: Sequence[Draw]) -> tuple[State, Any]:
        after, logs = rule.step(state, batch)
        plain, _ = alternating(game, opt).step(state, batch)
        return after._replace(params={**after.params, "D": plain.params["D"]}), logs

    return Rule(step, rule.rounds, rule.init)


MUTANTS = {
    "half": (half, CASES["consensus"][1]),
    "detached": (detached, CASES["consensus"][1]),
    "stale": (stale, CASES["alternating"][0]),
    "unrestored": (unrestored, CASES["extragradient"][0]),
    "forgetful": (forgetful, CASES["optimistic"][0]),
    "ascending": (ascending, CASES["symplectic"][1]),
    "one sided": (
        one_sided,
        Case(lookahead, {}, partial(rate_lookahead, steps=2, alpha=0.5, inner=alternating), 2),
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
@pytest.mark.parametrize("setting", ["bilinear", "quadratic -1+-3i", "dirac wasserstein r1"])
def test_the_table_catches_wrong_rules(name, setting):
    mutant, right = MUTANTS[name]
    s = SETTINGS[setting]()
    found = measured(s, mutant(s.game, optimizers(0.3)), 0.3, right.steps)
    assert abs(found - right.rate(s.v, 0.3)) > 1e-3


# ------------------------------------------------------------------------------- plain loops on curved games

BATCH, LATENT, WIDTH = 6, 3, 4


def curved(seed: int = 0) -> dict[str, nn.Module]:
    torch.manual_seed(seed)
    G = nn.Sequential(nn.Linear(LATENT, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 2))
    D = nn.Sequential(nn.Linear(2, WIDTH), nn.Softplus(), nn.Linear(WIDTH, 1), nn.Flatten(0))
    return {"D": D.double(), "G": G.double()}


def curved_game(nets: dict[str, nn.Module], penalised: bool = True) -> Game:
    terms = [Term(PENALTIES["r1"](), 0.7)] if penalised else []
    wrapped = {name: Network(net) for name, net in nets.items()}
    return gan(**wrapped, loss=losses.non_saturating, shape=(2,), batch=BATCH, latent=LATENT, penalties=terms)


def draw(seed: int) -> Draw:
    g = torch.Generator().manual_seed(seed)
    shapes = {"x_real": (BATCH, 2), "z": (BATCH, LATENT)}
    return {name: torch.randn(*shape, generator=g, dtype=torch.float64) for name, shape in shapes.items()}


def plain_losses(nets: dict[str, nn.Module], given: Draw) -> dict[str, Tensor]:
    """The penalised non-saturating game written out: nothing detached, one backward pass for R1."""
    x = given["x_real"].clone().requires_grad_()
    real, fake = nets["D"](x), nets["D"](nets["G"](given["z"]))
    (slope,) = torch.autograd.grad(real.sum(), x, create_graph=True)
    softplus = nn.functional.softplus
    critic = softplus(-real).mean() + softplus(fake).mean() + 0.7 * slope.square().sum(1).mean()
    return {"D": critic, "G": softplus(-fake).mean()}


def plain_field(nets: dict[str, nn.Module], given: Draw) -> dict[str, Tensor]:
    values = plain_losses(nets, given)
    return {
        name: torch.cat(
            [
                g.flatten()
                for g in torch.autograd.grad(values[name], list(net.parameters()), create_graph=True)
            ]
        )
        for name, net in nets.items()
    }


def parameters(nets: dict[str, nn.Module]) -> list[nn.Parameter]:
    return [p for net in nets.values() for p in net.parameters()]


def plain_jacobian(nets: dict[str, nn.Module], g: Tensor) -> Tensor:
    """All second derivatives, an entry of the field a row."""
    eye = torch.eye(len(g), dtype=g.dtype)
    parts = torch.autograd.grad(
        g, parameters(nets), eye, is_grads_batched=True, allow_unused=True, materialize_grads=True
    )
    return torch.cat([part.flatten(1) for part in parts], 1)


def take(nets: dict[str, nn.Module], steppers: Sequence[torch.optim.Optimizer], gradient: Tensor) -> None:
    """Let ordinary optimizers step along one long gradient."""
    sizes = [p.numel() for p in parameters(nets)]
    for p, part in zip(parameters(nets), gradient.detach().split(sizes), strict=True):
        p.grad = part.view_as(p).clone()
    for stepper in steppers:
        stepper.step()


def modified(nets: dict[str, nn.Module], given: Draw, name: str) -> Tensor:
    """g and what the rule adds to it, from the dense Jacobian."""
    parts = plain_field(nets, given)
    g = torch.cat(list(parts.values()))
    J = plain_jacobian(nets, g)
    g, critics = g.detach(), len(parts["D"])
    if name == "consensus":
        return g + 0.9 * J.T @ g
    if name == "smoothing":
        extra = 0.9 * J[critics:].T @ g[critics:]
        return g + torch.cat([extra[:critics], 0 * extra[critics:]])
    if name == "smoothing full":
        extra = 0.9 * J.T @ g
        return g + torch.cat([extra[:critics], 0 * extra[critics:]])
    turn = (J - J.T).T @ g / 2
    up = J.T @ g
    sign = 1.0 if (g @ up) * (turn @ up) / len(g) + 0.1 > 0 else -1.0
    return g + 0.9 * sign * turn


KINDS: dict[str, tuple[optim.Optimizer, Callable[..., torch.optim.Optimizer]]] = {
    "sgd": (optim.sgd(0.1, momentum=0.5), partial(torch.optim.SGD, lr=0.1, momentum=0.5)),
    "rmsprop": (optim.rmsprop(0.01), partial(torch.optim.RMSprop, lr=0.01)),
    "adam": (optim.adam(0.01, (0.5, 0.9)), partial(torch.optim.Adam, lr=0.01, betas=(0.5, 0.9))),
}

SECOND = {
    "consensus": partial(consensus, gamma=0.9),
    "smoothing": partial(smoothing, gamma=0.9),
    "smoothing full": partial(smoothing, gamma=0.9, reading="full"),
    "symplectic": partial(symplectic, weight=0.9),
}


def pure(nets: dict[str, nn.Module], make: Callable[..., Rule], kind: str, steps: int) -> tuple[State, Rule]:
    chosen = dict.fromkeys(nets, KINDS[kind][0])
    made = curved_game(nets)
    rule = make(made, chosen)
    step = complete(rule, made)
    state = initial(nets, chosen, dtype=torch.float64, rule=rule)
    for number in range(steps):
        state, _ = step(state, [draw(10 * number + turn) for turn in range(len(rule.rounds))])
    return state, rule


def assert_ends(state: State, nets: dict[str, nn.Module], tolerance: float = 1e-9) -> None:
    for name, net in nets.items():
        torch.testing.assert_close(state.params[name], flatten(net), rtol=0, atol=tolerance)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SECOND)
def test_rules_that_differentiate_the_field_are_plain_loops(name, kind):
    """Twenty steps with a dense Jacobian, the optimizer on the modified gradient: to 1e-9."""
    # the term preconditioned apart, or of the preconditioned gradient; a player's block left out of J
    nets = curved()
    state, _ = pure(nets, SECOND[name], kind, 20)
    steppers = [KINDS[kind][1](parameters(nets))]
    before = {n: flatten(net) for n, net in nets.items()}
    for number in range(20):
        take(nets, steppers, modified(nets, draw(10 * number), name))
    assert min((flatten(net) - before[n]).norm() for n, net in nets.items()) > 0.01
    assert_ends(state, nets)


def test_every_second_order_rule_is_in_the_loop_above():
    assert {name.split()[0] for name in SECOND} == {
        name for name, part in registry.DYNAMICS.items() if part.second_order
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("past", [False, True])
def test_extragradient_is_its_plain_loop(kind, past):
    """Moments move at both half steps, the parameters only at the second (ExtraAdam)."""
    nets = curved()
    state, rule = pure(nets, partial(extragradient, past=past), kind, 20)
    assert len(rule.rounds) == (1 if past else 2)
    steppers = [KINDS[kind][1](parameters(nets))]
    previous = torch.zeros(len(parameters(nets)) and sum(p.numel() for p in parameters(nets))).double()
    for number in range(20):
        kept = copy.deepcopy({n: net.state_dict() for n, net in nets.items()})
        if not past:
            previous = torch.cat(list(plain_field(nets, draw(10 * number)).values()))
        take(nets, steppers, previous)
        previous = torch.cat(list(plain_field(nets, draw(10 * number + (not past))).values())).detach()
        for n, net in nets.items():
            net.load_state_dict(kept[n])
        take(nets, steppers, previous)
    assert_ends(state, nets)


def test_optimistic_gradient_descent_by_its_formula():
    nets = curved()
    made, chosen = curved_game(nets), dict.fromkeys("DG", optim.sgd(0.1))
    rule = optimistic(made, chosen)
    state = initial(nets, chosen, dtype=torch.float64, rule=rule)
    x, before = torch.cat([flatten(net) for net in nets.values()]), 0.0
    for number in range(10):
        state, _ = rule.step(state, [draw(number)])
        g = torch.cat(list(plain_field(nets, draw(number)).values())).detach()
        x, before = x - 0.2 * g + 0.1 * before, g
        nn.utils.vector_to_parameters(x, parameters(nets))
    assert_ends(state, nets, 1e-12)


def test_optimistic_adam_by_its_formula():
    """w <- w - 2 h u_t + h u_(t-1), u = m^ / (sqrt(v^) + eps): Daskalakis 2018, Algorithm 1."""
    nets = curved()
    state, _ = pure(nets, optimistic, "adam", 10)
    x = torch.cat([flatten(net) for net in nets.values()])
    m, v, before = 0 * x, 0 * x, 0 * x
    for t in range(1, 11):
        g = torch.cat(list(plain_field(nets, draw(10 * (t - 1))).values())).detach()
        m, v = 0.5 * m + 0.5 * g, 0.9 * v + 0.1 * g * g
        u = m / (1 - 0.5**t) / ((v / (1 - 0.9**t)).sqrt() + 1e-8)
        x, before = x - 2 * 0.01 * u + 0.01 * before, u
        nn.utils.vector_to_parameters(x, parameters(nets))
    assert_ends(state, nets, 1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_lookahead_is_its_plain_loop(kind):
    # alpha and 1 - alpha swapped; the slow weights set to the fast ones; a step early or late
    nets = curved()
    state, _ = pure(nets, partial(lookahead, steps=4, alpha=0.3), kind, 11)
    steppers = {n: KINDS[kind][1](net.parameters()) for n, net in nets.items()}
    slow = [p.detach().clone() for p in parameters(nets)]
    for number in range(11):
        for turn, (n, net) in enumerate(nets.items()):
            value = plain_losses(nets, draw(10 * number + turn))[n]
            for p, g in zip(
                net.parameters(), torch.autograd.grad(value, list(net.parameters())), strict=True
            ):
                p.grad = g
            steppers[n].step()
        if number % 4 == 3:
            for p, s in zip(parameters(nets), slow, strict=True):
                s.lerp_(p.detach(), 0.3)
                p.data.copy_(s)
    assert_ends(state, nets)


# ------------------------------------------------------------------------- buffers, and projection beforehand


PASSES: dict[str, tuple[dict[str, Any], list[int]]] = {
    **{name: ({}, [0, 0]) for name in DYNAMICS if name not in ("alternating", "extragradient", "lookahead")},
    "alternating": ({}, [0, 1]),
    "lookahead": ({}, [0, 1]),
    "extragradient": ({}, [0, 0, 1, 1]),
    "extragradient past": ({"past": True}, [0, 0]),
}
"""Which draw each of G's passes sees in a step: both players' losses have one, on the draw of their turn."""


@pytest.mark.parametrize("name", PASSES)
def test_batch_norm_sees_every_pass_of_a_step(name):
    """Its first layer's running mean is an average of the latents' means, whatever the parameters are."""
    options, passes = PASSES[name]
    nets = curved()
    nets["G"] = nn.Sequential(nn.BatchNorm1d(LATENT), nets["G"]).double()
    made, chosen = curved_game(nets, penalised=False), dict.fromkeys("DG", optim.sgd(0.1))
    rule = DYNAMICS[name.split()[0]](made, chosen, **options)
    state = initial(nets, chosen, dtype=torch.float64, rule=rule)
    mean, count = torch.zeros(LATENT, dtype=torch.float64), 0
    for number in range(3):
        given = [draw(10 * number + turn) for turn in range(len(rule.rounds))]
        state, _ = complete(rule, made)(state, given)
        for turn in passes:
            mean, count = 0.9 * mean + 0.1 * given[turn]["z"].mean(0), count + 1
        torch.testing.assert_close(state.buffers["G"]["0.running_mean"], mean, rtol=0, atol=1e-12)
        assert state.buffers["G"]["0.num_batches_tracked"] == count


@pytest.mark.parametrize(
    ("past", "path"), [(False, [(0.65, 0.9), (0.6, 0.8)]), (True, [(0.7, 0.9), (0.6, 0.8)])]
)
def test_extragradient_clips_where_it_looks_ahead_too(past, path):
    """phi held to .2 before each gradient on the saddle, h = .5 from (1, 1), by hand: v = (theta, -phi).

    From (.2, 1) it looks at (.7, .9), clipped (.2, .9), and goes on to (.2 + .45, 1 - .1); then from (.2, .9) at
    (.65, .8), clipped (.2, .8), and on to (.2 + .4, .9 - .1). From the past it looks at (.2, 1) first.
    """
    s = saddle()
    held = s.game.players["D"]._replace(project=lambda p: p.clamp(-0.2, 0.2), project_first=True)
    game = s.game._replace(players={**s.game.players, "D": held})
    rule = extragradient(game, optimizers(0.5), past=past)
    state = initial(s.nets, optimizers(0.5), dtype=torch.float64, rule=rule)
    for number, place in enumerate(path):
        state, _ = rule.step(state, batches(rule, game, 2)[number])
        assert (state.params["D"].item(), state.params["G"].item()) == pytest.approx(place)


# ------------------------------------------------------------------------------------------- three players


def trio() -> tuple[Game, dict[str, nn.Module], Callable[..., Tensor]]:
    """Three small networks, each with a loss that needs the other two."""
    torch.manual_seed(1)
    nets: dict[str, nn.Module] = {
        name: nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).double() for name in "ABC"
    }

    def value(nets: Mapping[str, Callable[[Tensor], Tensor]], name: str, x: Tensor) -> Tensor:
        own, left, right = (nets[n](x) for n in (name, *[n for n in "ABC" if n != name]))
        return (own * left - (own * right).sin() + 0.1 * own.square() * left.square()).mean()

    players = {
        name: Player(
            Network(nets[name]),
            lambda nets, given, scalars, name=name: (value(nets, name, given["x"]), {}),
            ("x",),
            critic=name == "B",
        )
        for name in "ABC"
    }
    return Game(players, {"x": Field("normal", (5, 2))}), nets, value


def test_consensus_with_three_players_leaves_no_parameter_out():
    """An explicit loop: every player's own gradient, half the sum of all squares, differentiated in all."""
    game, nets, value = trio()
    chosen = dict.fromkeys(nets, optim.sgd(0.05))
    rule = consensus(game, chosen, gamma=2.0)
    state = initial(dict(reversed(nets.items())), chosen, dtype=torch.float64)  # another order of the players
    for number in range(10):
        x = torch.randn(5, 2, generator=torch.Generator().manual_seed(number), dtype=torch.float64)
        state, _ = rule.step(state, [{"x": x}])
        own: dict[str, Any] = {
            n: torch.autograd.grad(value(nets, n, x), list(net.parameters()), create_graph=True)
            for n, net in nets.items()
        }
        length = sum(g.square().sum() for gradients in own.values() for g in gradients) / 2
        slopes = torch.autograd.grad(length, parameters(nets))
        with torch.no_grad():
            for p, g, slope in zip(parameters(nets), [g for n in nets for g in own[n]], slopes, strict=True):
                p -= 0.05 * (g + 2.0 * slope)
    for name, net in nets.items():
        torch.testing.assert_close(state.params[name], flatten(net), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", DYNAMICS)
def test_a_state_keeps_its_layout(name):
    """The order of the players in a state's parts is what programs that flatten it rely on."""
    nets = curved()
    made, chosen = curved_game(nets), dict.fromkeys("DG", optim.adam(0.1))
    rule = DYNAMICS[name](made, chosen)
    state = initial(dict(reversed(nets.items())), chosen, ("G",), dtype=torch.float64, rule=rule)
    after, _ = complete(rule, made)(state, [draw(turn) for turn in range(len(rule.rounds))])
    assert tree_flatten(after)[1] == tree_flatten(state)[1]


@pytest.mark.parametrize("name", [n for n in DYNAMICS if n not in ("alternating", "lookahead")])
def test_joint_rules_move_any_number_of_players(name):
    game, nets, _ = trio()
    chosen = dict.fromkeys(nets, optim.rmsprop(0.01))
    rule = DYNAMICS[name](game, chosen)
    state = initial(nets, chosen, dtype=torch.float64, rule=rule)
    batch = [{"x": torch.randn(5, 2, dtype=torch.float64)} for _ in rule.rounds]
    after, logs = rule.step(rule.step(state, batch)[0], batch)
    assert all((after.params[n] - state.params[n]).norm() > 1e-4 for n in nets)
    assert {f"loss/{n}" for n in nets} <= logs.keys()


# --------------------------------------------------------------------------------------- one program

SMALL: dict[str, Any] = {
    "data": {"name": "ring8", "scale": 2.0},
    "networks": {"name": "mlp", "width": 16, "depth": 2},
    "critic": {"penalties": [{"name": "r1", "weight": 1}]},
    "optimizer": {"name": "adam", "lr": 1e-3},
    "batch": 16,
    "steps": 100,
    "precision": "float64",
}
PROGRAMS = {name: {"name": name} for name in registry.DYNAMICS} | {
    "past": {"name": "extragradient", "past": True},
    "debiased": {"name": "consensus", "gamma": 0.5, "debiased": True},
}


def played(run: build.Run, step: Any, steps: int = 12) -> State:
    state = run.state
    for number in range(steps):
        state, _ = step(state, run.draws(number))
    return state


WHOLE = ("past", "debiased")
"""Rules whose steps also go through torch's compiler: one with a memory, and one with a second derivative."""


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_compiled_is_eager(name):
    run = build.build(parse({**SMALL, "dynamics": PROGRAMS[name]}))
    step = compiled(run.step, pytest.fail, "float64") if name in WHOLE else as_graph(run.step)
    fast, eager = played(run, step), played(run, run.step)
    for player, vector in eager.params.items():
        assert (vector - run.state.params[player]).norm() > 1e-2
        torch.testing.assert_close(fast.params[player], vector, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_member_is_the_single_run(name):
    options = PROGRAMS[name]
    if "gamma" in registry.DYNAMICS[options["name"]].options:
        options = {**options, "gamma": [0.5, 0.1]}  # numbers may differ between members
    run = build.build(parse({**SMALL, "dynamics": options, "seeds": 2}))
    together = played(run, vectorised(run.step), 6)
    for index, m in enumerate(run.members):
        alone = {**options, **({"gamma": m["dynamics.gamma"]} if "gamma" in options else {})}
        single = build.build(parse({**SMALL, "dynamics": alone, "seed": int(m["seed"])}))
        state = played(single, single.step, 6)
        for player, vector in state.params.items():
            torch.testing.assert_close(together.params[player][index], vector, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_a_rule_remembers_is_in_a_checkpoint(name, tmp_path):
    """Seven steps, saved and loaded, and six more are thirteen, bit for bit: past gradients, slow weights."""
    run = build.build(parse({**SMALL, "dynamics": PROGRAMS[name]}))
    whole = played(run, run.step, 13)
    checkpoint.save(tmp_path, played(run, run.step, 7), {})
    fresh = build.build(parse({**SMALL, "dynamics": PROGRAMS[name]}))
    state = checkpoint.load_newest(tmp_path, fresh.state, pytest.fail)
    for number in range(7, 13):
        state, _ = fresh.step(state, fresh.draws(number))
    assert tree_flatten(state)[1] == tree_flatten(whole)[1]
    pairs = zip(tree_flatten(state)[0], tree_flatten(whole)[0], strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_the_cheap_generator_step_is_not_taken_where_its_derivative_counts():
    """A tangent plane hides D's parameters: under consensus the generator's gradient would not answer to them."""
    normal = {"normalization": "gradient_normalized", "penalties": []}
    full, cheap = (
        build.build(parse({**SMALL, "dynamics": "consensus", "critic": {**normal, **piecewise}}))
        for piecewise in ({"piecewise_linear": False}, {})
    )
    a, b = (played(each, each.step, 3) for each in (full, cheap))
    assert all(torch.equal(a.params[n], b.params[n]) for n in a.params)


# ------------------------------------------------------------------------------------------- special cases


@pytest.mark.parametrize(
    "rule",
    [
        partial(consensus, gamma=0.0),
        partial(smoothing, gamma=0.0),
        partial(smoothing, gamma=0.0, reading="full"),
        partial(symplectic, weight=0.0),
        partial(lookahead, steps=100, inner=simultaneous),
    ],
    ids=["consensus", "smoothing", "smoothing full", "symplectic", "lookahead"],
)
def test_without_their_term_they_are_simultaneous_bit_for_bit(rule):
    plain, _ = pure(curved(), simultaneous, "adam", 10)
    found, _ = pure(curved(), rule, "adam", 10)
    assert all(torch.equal(found.params[n], plain.params[n]) for n in plain.params)


def test_weights_may_follow_the_step():
    s = saddle()
    rule = consensus(s.game, optimizers(0.1), gamma=lambda scalars: scalars["step"].double())
    state = at_rest(s, rule, 0.1)
    state = state._replace(params={"D": torch.ones(1).double(), "G": torch.zeros(1).double()})
    for step in range(3):
        found, _ = rule.step(state._replace(scalars={"step": torch.tensor(step)}), [{}])
        # v = (theta, -phi), v'^T v = (phi, theta) on the saddle
        assert found.params["D"].item() == pytest.approx(1 - 0.1 * step)
        assert found.params["G"].item() == pytest.approx(-0.1)


@pytest.mark.parametrize("weight", [10.0, -10.0])
def test_alignment_keeps_an_attractor_and_repels_from_a_source(weight):
    """Balduzzi 2018, Theorem 4's case: near an unstable point the sign flips, so the point is left faster."""
    s = linear((0.5, 3.0, -3.0, 0.5)) if weight > 0 else linear((-0.5, 3.0, -3.0, -0.5))
    state = at_rest(s, simultaneous(s.game, optimizers(0.01)), 0.01)
    state = state._replace(params={"D": torch.tensor([5.0]).double(), "G": torch.tensor([2.0]).double()})
    rule = symplectic(s.game, optimizers(0.001), weight=abs(weight))
    after, _ = rule.step(state, [{}])
    length = [torch.cat(list(each.params.values())).norm() for each in (state, after)]
    assert (length[1] > length[0]).item() is (weight > 0)


def test_alignment_by_hand():
    g, up, turn = torch.tensor([1.0, 2.0]), torch.tensor([3.0, -1.0]), torch.tensor([1.0, 4.0])
    # <g, up> = 1, <turn, up> = -1: -1/2 + .1 < 0
    assert alignment(g, up, turn).item() == -1
    assert alignment(0.1 * g, up, turn).item() == 1  # within the tolerance eps


@pytest.mark.parametrize("when", ["after", "before"])
@pytest.mark.parametrize("name", DYNAMICS)
def test_a_projection_is_kept_by_every_rule(name, when):
    """Clipped after a step, the critic ends within the bound; before it, a step of length 0 leaves it there."""
    nets = curved()
    made = gan(
        **{n: Network(net) for n, net in nets.items()},
        loss=losses.wasserstein,
        shape=(2,),
        batch=BATCH,
        latent=LATENT,
        clip=Clip(0.05, when),
    )
    chosen = {"D": optim.sgd(1.0 if when == "after" else 0.0), "G": optim.sgd(1.0)}
    rule = DYNAMICS[name](made, chosen)
    state = initial(nets, chosen, dtype=torch.float64, rule=rule)
    assert state.params["D"].abs().max() > 0.05
    state, _ = complete(rule, made)(state, [draw(turn) for turn in range(len(rule.rounds))])
    assert state.params["D"].abs().max() <= 0.05
    assert state.params["G"].abs().max() > 0.05


def test_wrong_options_are_told():
    s = saddle()
    with pytest.raises(UsageError, match="generator or full"):
        smoothing(s.game, optimizers(0.1), reading="both")
    with pytest.raises(UsageError, match="1 step or more"):
        lookahead(s.game, optimizers(0.1), steps=0)


# ----------------------------------------------------------------------------------------------- debiasing


def test_the_debiased_norm_by_its_other_formulas():
    v = torch.randn(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    pairs = sum((v[i] @ v[j] for i in range(7) for j in range(7) if i != j), torch.zeros(()))
    assert debiased_norm(v).item() == pytest.approx(pairs.item() / (2 * 7 * 6))
    mean = v.mean(0)
    spread = (v - mean).square().sum(1).mean()  # the 1/B variance, with 2B - 2
    assert debiased_norm(v).item() == pytest.approx((mean @ mean / 2 - spread / 12).item())


def test_the_debiased_norm_has_no_bias():
    """Lemma 15: E |mean v|^2 / 2 = L + Var / 2B; the 1/(B-1) variance with 2B - 2 would over-correct."""
    g = torch.Generator().manual_seed(0)
    centre = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64)
    v = centre + 2.0 * torch.randn(200_000, 4, 3, generator=g, dtype=torch.float64)
    found = torch.vmap(debiased_norm)(v).mean().item()
    plain = (v.mean(1).square().sum(1) / 2).mean().item()
    truth = (centre @ centre / 2).item()
    assert found == pytest.approx(truth, abs=0.01)
    assert plain == pytest.approx(truth + 12 / 8, abs=0.02)


def test_debiased_consensus_is_a_plain_loop_over_samples():
    nets = curved()
    made, chosen = curved_game(nets), dict.fromkeys(nets, optim.sgd(0.1))
    rule = consensus(made, chosen, gamma=0.9, debiased=True)
    state = initial(nets, chosen, dtype=torch.float64)
    for number in range(5):
        given = draw(number)
        state, logs = rule.step(state, [given])
        rows = [{key: values[i : i + 1] for key, values in given.items()} for i in range(BATCH)]
        each = torch.stack([torch.cat(list(plain_field(nets, row).values())) for row in rows])
        pairs = (each @ each.T).fill_diagonal_(0).sum() / (2 * BATCH * (BATCH - 1))
        slopes = torch.autograd.grad(pairs, parameters(nets))
        g = torch.cat(list(plain_field(nets, given).values())).detach()
        slope = torch.cat([s.flatten() for s in slopes])
        value = {n: v.item() for n, v in plain_losses(nets, given).items()}
        assert {n: logs[f"loss/{n}"].item() for n in nets} == pytest.approx(value)
        x = torch.cat([flatten(net) for net in nets.values()]) - 0.1 * (g + 0.9 * slope)
        nn.utils.vector_to_parameters(x, parameters(nets))
    assert_ends(state, nets, 1e-12)


MIXING = ["batch norm", "batch norm without buffers", "fake as real", "dragan", "max_gradient", "lazy"]


def straight(width: int) -> dict[str, nn.Module]:
    """Piecewise linear networks: neighbours of a sample have the very same gradient."""
    nets = {"D": mlp((2,), width=width, latent=LATENT)[1], "G": mlp((2,), width=width, latent=LATENT)[0]}
    return {name: net.double() for name, net in nets.items()}


def mixing(what: str, nets: dict[str, nn.Module]) -> Game:
    if what.startswith("batch norm"):
        nets["G"] = nn.Sequential(
            nets["G"], nn.BatchNorm1d(2, track_running_stats=what == "batch norm").double()
        )
    terms = {
        "dragan": [Term(PENALTIES["dragan"](), 1.0)],
        "max_gradient": [Term(PENALTIES["max_gradient"](), 1.0)],
        "lazy": [Term(PENALTIES["r1"](), 1.0, 4)],
        "interpolated": [Term(PENALTIES["zero_centered"](), 1.0)],
    }.get(what, [])
    far = FakeAsReal(2, 2, 2) if what == "fake as real" else None
    loss = losses.relativistic if what == "pairs" else losses.non_saturating
    wrapped = {name: Network(net) for name, net in nets.items()}
    return gan(**wrapped, loss=loss, shape=(2,), batch=BATCH, latent=LATENT, penalties=terms, far=far)


@pytest.mark.parametrize(
    "networks", [curved, lambda: straight(64), lambda: straight(3)], ids=["curved", "64", "3"]
)
@pytest.mark.parametrize("what", MIXING)
def test_debiasing_refuses_games_that_mix_samples(what, networks):
    nets = networks()
    with pytest.raises(UsageError, match="mixes samples"):
        consensus(mixing(what, nets), dict.fromkeys(nets, optim.sgd(0.1)), debiased=True)


def test_debiasing_refuses_gradient_accumulation():
    nets = straight(3)
    game = accumulated(mixing("plain", nets), 2)
    with pytest.raises(UsageError, match="use accumulate=1"):
        consensus(game, dict.fromkeys(nets, optim.sgd(0.1)), debiased=True)


@pytest.mark.parametrize("what", ["plain", "interpolated", "pairs"])
def test_debiasing_takes_games_that_do_not(what):
    nets = straight(64)
    assert consensus(mixing(what, nets), dict.fromkeys(nets, optim.sgd(0.1)), debiased=True)


@pytest.mark.parametrize("what", ["dragan", "max_gradient"])
def test_debiasing_is_judged_alike_whatever_the_weights(what):
    """Dead units hide that samples are mixed: the networks' own weights have no say."""
    nets = straight(8)
    for net in nets.values():
        for p in net.parameters():
            p.data.zero_()
    with pytest.raises(UsageError, match="mixes samples"):
        consensus(mixing(what, nets), dict.fromkeys(nets, optim.sgd(0.1)), debiased=True)


def test_debiasing_needs_samples_that_are_drawn_alone(command, tmp_path):
    """Pairs within one batch have a mean product that is not |E v|^2 where each mode has its share of the rows."""
    words = ("train", "ring8-consensus", "dynamics.debiased=true", "batch=16", "steps=1", "compile=false")
    done = command(*words, "--out", tmp_path / "strata")
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert "data.stratified=false" in done.err
    assert command(*words, "data.stratified=false", "--out", tmp_path / "drawn").code == 0
    pairs = (
        "critic.penalties=[{name: difference, delta: 0.01}]"  # close ones, of which random points have none
    )
    done = command(*words, "data.stratified=false", pairs, "--out", tmp_path / "pairs")
    assert done.code == 2
    assert "the penalty difference compares samples" in done.err
    # of a finite set, batches are shuffled rows, whatever the set is made of
    assert command(*words, "data.size=64", "--out", tmp_path / "rows").code == 0


def test_debiasing_needs_two_samples(command, tmp_path):
    with pytest.raises(UsageError, match="at least 2"):
        debiased_norm(torch.ones(1, 3))
    words = ("dynamics.debiased=true", "data.stratified=false", "batch=1", "steps=2", "compile=false")
    done = command("train", "ring8-consensus", *words, "--out", tmp_path / "run")
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert "at least 2" in done.err


# ------------------------------------------------------------------------------------------ quadratic games


@pytest.mark.parametrize("skew", [1.0, 2.5])
def test_a_quadratic_game_has_the_eigenvalues_it_was_made_of(skew):
    pairs = [(-1.0, 3.0), (0.2, 0.5), (-2.0, 0.0)]
    G, D = (net.double() for net in point((), G=(1.0, 2.0, 3.0), D=(0.5, -1.0, 2.0)))
    game = quadratic(Network(G), Network(D), blocks(pairs, skew))
    state = initial({"G": G, "D": D}, optimizers(0.1), dtype=torch.float64)

    def velocity(vector: Tensor) -> Tensor:
        params = dict(zip("DG", vector.split(3), strict=True))
        gradients, _, _ = field(game, ("D", "G"), state._replace(params=params), {})
        return -torch.cat([gradients["D"], gradients["G"]])

    found = torch.linalg.eigvals(torch.func.jacrev(velocity)(torch.randn(6, dtype=torch.float64))).tolist()
    wanted = [complex(a, sign * b) for a, b in pairs for sign in (1, -1)]
    for z in wanted:
        assert min(abs(z - other) for other in found) < 1e-9
    assert velocity(torch.zeros(6, dtype=torch.float64)).abs().max() == 0


def test_only_an_unskewed_quadratic_game_is_zero_sum():
    for skew, zero_sum in ((1.0, True), (2.0, False)):
        v = blocks([(-1.0, 3.0)], skew)
        assert torch.allclose(v[:1, 1:], -v[1:, :1].T) is zero_sum


@pytest.mark.parametrize(
    "make",
    [
        lambda: blocks([]),
        lambda: blocks([(0.0, 1.0)], 0.0),
        lambda: quadratic(*(Network(net) for net in point(())), blocks([(0.0, 1.0)] * 2)),
        lambda: quadratic(
            *(Network(net) for net in point((), G=(1.0,), D=(1.0, 1.0))),
            torch.tensor([[0.0, 1.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 0.0]]),
        ),
    ],
    ids=["no pairs", "no skew", "other sizes", "not a gradient"],
)
def test_quadratic_games_refuse_what_is_none(make):
    with pytest.raises(UsageError):
        make()


def test_updates_of_named_players_leave_the_others_alone():
    s = linear((-1.0, 3.0, -3.0, -1.0))
    state = initial(s.nets, optimizers(0.1), dtype=torch.float64)
    after, _ = update(s.game, optimizers(0.1), ("D",), state, {})
    assert torch.equal(after.params["G"], state.params["G"])
    assert after.params["D"].item() == pytest.approx(1 + 0.1 * (-1 + 3))
    assert math.isclose(s.game.rest.point["D"].item(), 0.0)
