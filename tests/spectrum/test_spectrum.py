"""Spectra of games: against finite differences of fields written out with ordinary modules, and closed forms."""

import copy
import inspect
import json
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from steadygan import config, losses, spectrum
from steadygan.build import Run, build
from steadygan.commands import spectrum as clouds
from steadygan.dynamics import linear
from steadygan.errors import UsageError
from steadygan.game import Draw, Game, Network, State, flatten
from steadygan.games import FakeAsReal, Term, gan
from steadygan.games._quadratic import blocks
from steadygan.games.dirac_equilibrium import FORCES, SLOPES, rest
from steadygan.normalization import spectral_normalized
from steadygan.penalties import PENALTIES
from steadygan.plots.eigenvalues import draw_clouds
from steadygan.progress import shown_by
from steadygan.recipes import catalogue
from steadygan.spectrum import Operator, adjoint_gap, eigen, game_jacobian
from steadygan.theory import numerics_modified
from steadygan.training import toy_scores

BATCH, LATENT = 6, 2


def draw_of(seed: int) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    sizes = {"x_real": (BATCH, 2), "z": (BATCH, LATENT), "z_pool": (8, LATENT)}
    return {name: torch.randn(*size, generator=g, dtype=torch.float64) for name, size in sizes.items()}


def modules(spectral: bool = False) -> dict[str, nn.Module]:
    """D and G in float64, smooth, D first as in the game: 13 and 12 parameters."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        G = nn.Sequential(nn.Linear(LATENT, 2), nn.Tanh(), nn.Linear(2, 2))
        D = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1), nn.Flatten(0))
        if spectral:
            D = spectral_normalized(D)
    return {"D": D.double(), "G": G.double()}


def state_of(nets: dict[str, nn.Module]) -> State:
    buffers = {n: {k: b.clone() for k, b in net.named_buffers()} for n, net in nets.items()}
    return State({n: flatten(net) for n, net in nets.items()}, buffers, {}, {}, {})


def game_of(nets: dict[str, nn.Module], loss=losses.non_saturating, **extra) -> Game:
    return gan(Network(nets["G"]), Network(nets["D"]), loss, shape=(2,), batch=BATCH, latent=LATENT, **extra)


def naive_field(nets: dict[str, nn.Module], losses_of: Callable, draw: Draw) -> Callable[[Tensor], Tensor]:
    """v(x) with `.backward()`'s sibling on modules whose parameters are overwritten; x is D's, then G's."""

    def v(x: Tensor) -> Tensor:
        D, G = (copy.deepcopy(nets[name]) for name in "DG")
        nn.utils.vector_to_parameters(x, [*D.parameters(), *G.parameters()])
        parts = []
        for loss, net in zip(losses_of(D, G, draw), (D, G), strict=True):
            parts += torch.autograd.grad(loss, [*net.parameters()], retain_graph=True)
        return -torch.cat([part.reshape(-1) for part in parts])

    return v


def plain(D: nn.Module, G: nn.Module, draw: Draw) -> tuple[Tensor, Tensor]:
    """Non-saturating losses and 3 x R1, by hand."""
    x = draw["x_real"].clone().requires_grad_()
    logits = D(x)
    (slope,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    fake = D(G(draw["z"]))
    penalty = 3 * slope.square().sum(1).mean()
    return F.softplus(-logits).mean() + F.softplus(fake).mean() + penalty, F.softplus(-fake).mean()


def fake_as_real(D: nn.Module, G: nn.Module, draw: Draw) -> tuple[Tensor, Tensor]:
    """The last two of the rows that D takes as real are the two fakes of the pool that it scores lowest."""
    pool = G(draw["z_pool"])
    chosen = pool[D(pool).argsort()[:2]]
    real, fake = D(torch.cat([draw["x_real"][:-2], chosen])), D(G(draw["z"]))
    return F.softplus(-real).mean() + F.softplus(fake).mean(), F.softplus(-fake).mean()


def zero_sum(D: nn.Module, G: nn.Module, draw: Draw) -> tuple[Tensor, Tensor]:
    gap = D(draw["x_real"]).mean() - D(G(draw["z"])).mean()
    return -gap, gap


def differences(v: Callable[[Tensor], Tensor], x: Tensor, eps: float = 1e-6) -> Tensor:
    """Central finite differences: column j is (v(x + eps e_j) - v(x - eps e_j)) / 2 eps."""
    steps = eps * torch.eye(len(x), dtype=x.dtype)
    return torch.stack([(v(x + step) - v(x - step)) / (2 * eps) for step in steps], 1)


CASES = {
    "R1": (plain, {"penalties": [Term(PENALTIES["r1"](), 3.0)]}, False),
    "fake-as-real": (fake_as_real, {"far": FakeAsReal(2, 2, 4)}, False),
    "spectral norm": (fake_as_real, {"far": FakeAsReal(2, 2, 4)}, True),
    "zero sum": (zero_sum, {"loss": losses.wasserstein}, False),
}


@pytest.mark.parametrize("case", CASES)
def test_the_jacobian_is_that_of_finite_differences(case):
    by_hand, extra, spectral = CASES[case]
    nets = modules(spectral)
    state, draw = state_of(nets), draw_of(0)
    x = torch.cat([state.params["D"], state.params["G"]])
    J = spectrum.game_jacobian(game_of(nets, **extra), state, draw, chunk=7)
    assert J.shape == (25, 25) if not spectral else J.shape[0] == J.shape[1]
    expected = differences(naive_field(nets, by_hand, draw), x)
    assert expected.abs().amax(1)[[0, -1]].min() > 1e-3  # both players' rows say something
    torch.testing.assert_close(J, expected, rtol=1e-5, atol=1e-7)


def test_selected_fakes_move_with_the_generator():
    """In fake-as-real D's gradient depends on G through the rows taken as real: the block is not that of none."""
    nets, draw = modules(), draw_of(0)
    G = slice(13, None)
    seen = differences(naive_field(nets, fake_as_real, draw), torch.cat([flatten(nets[n]) for n in "DG"]))

    def fixed(D, G, draw):
        return fake_as_real(D, lambda z: nets["G"](z).detach() if len(z) == 8 else G(z), draw)

    held = differences(naive_field(nets, fixed, draw), torch.cat([flatten(nets[n]) for n in "DG"]))
    J = spectrum.game_jacobian(game_of(nets, far=FakeAsReal(2, 2, 4)), state_of(nets), draw)
    assert (seen - held)[:13, G].abs().max() > 1e-2
    torch.testing.assert_close(J[:13, G], seen[:13, G], rtol=1e-5, atol=1e-7)


def test_a_zero_sum_game_has_opposite_couplings():
    """v' = [[f_pp, f_pt], [-f_pt^T, -f_tt]] with f what D maximises: blocks symmetric, couplings skew."""
    nets = modules()
    J = spectrum.game_jacobian(game_of(nets, losses.wasserstein), state_of(nets), draw_of(1))
    D, G = slice(0, 13), slice(13, 25)
    torch.testing.assert_close(J[D, G], -J[G, D].T, rtol=1e-12, atol=1e-15)
    assert J[D, G].abs().max() > 1e-2
    for own in (D, G):
        torch.testing.assert_close(J[own, own], J[own, own].T, rtol=1e-12, atol=1e-15)
    saddle = spectrum.game_jacobian(game_of(nets), state_of(nets), draw_of(1))  # non-saturating: not zero-sum
    assert (saddle[D, G] + saddle[G, D].T).abs().max() > 1e-2


def test_draws_are_averaged_and_players_can_be_put_in_another_order():
    nets = modules()
    game, state, draws = game_of(nets), state_of(nets), [draw_of(i) for i in range(3)]
    each = [spectrum.game_jacobian(game, state, draw) for draw in draws]
    assert (each[0] - each[1]).abs().max() > 1e-2
    mean = spectrum.game_jacobian(game, state, draws)
    torch.testing.assert_close(mean, sum(each) / 3)
    torch.testing.assert_close(
        spectrum.operator(game, state, draws).forward(mean[0]), mean @ mean[0], rtol=1e-10, atol=1e-12
    )
    torch.testing.assert_close(
        spectrum.operator(game, state, draws).transpose(mean[0]), mean.T @ mean[0], rtol=1e-10, atol=1e-12
    )
    turned = spectrum.game_jacobian(game, state, draws, names=["G", "D"])
    torch.testing.assert_close(turned, mean.roll((12, 12), (0, 1)), rtol=1e-12, atol=1e-15)
    own = spectrum.game_jacobian(game, state, draws, names=["D"])
    torch.testing.assert_close(own, mean[:13, :13], rtol=1e-12, atol=1e-15)


def test_an_own_field_of_another_length():
    J = spectrum.jacobian(lambda x: torch.stack([x[0] * x[1], x[2] ** 3]), torch.tensor([2.0, 5.0, 1.0]))
    assert J.tolist() == [[5, 2, 0], [0, 0, 3]]


# ------------------------------------------------------------------------- eigenvalues, and what follows from them


def random(size: int, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(size, size, generator=g, dtype=torch.float64) / size**0.5


def as_operator(J: Tensor) -> spectrum.Operator:
    return spectrum.Operator(lambda w: J @ w, lambda w: J.T @ w, torch.zeros(len(J), dtype=J.dtype))


ORDERS = {
    "real": lambda v: -v.real,
    "smallest_real": lambda v: v.real,
    "imaginary": lambda v: -abs(v.imag),
    "modulus": lambda v: -abs(v),
}


@pytest.mark.parametrize("which", ORDERS)
def test_leading_eigenvalues_are_those_of_the_matrix(which):
    J = random(120)
    every = np.linalg.eigvals(J.numpy())
    wanted = sorted(ORDERS[which](every))[:8]
    found = spectrum.leading(as_operator(J), 8, which)
    assert found.note == ""
    np.testing.assert_allclose(ORDERS[which](found.values.numpy()), wanted, atol=1e-7)
    assert max(abs(every - value).min() for value in found.values.numpy()) < 1e-7
    again = spectrum.leading(as_operator(J), 8, which)
    assert torch.equal(found.values, again.values)


def test_leading_eigenvalues_near_zero_beside_large_ones():
    """The right end of a cloud after consensus: what lies there is a ten-thousandth of the other end."""
    values = -torch.logspace(-3, 3, 200, dtype=torch.float64)
    found = spectrum.leading(as_operator(values.diag()), 3, tolerance=1e-4)
    assert found.note == ""
    assert found.values.real.max().item() == pytest.approx(0, abs=0.5)


def test_leading_says_what_did_not_converge():
    found = spectrum.leading(as_operator(random(300)), 20, "imaginary", tolerance=1e-14, restarts=1)
    assert len(found.values) < 20
    assert "of 20 eigenvalues (imaginary) converged within 1 restarts" in found.note


@pytest.mark.parametrize("which", ORDERS)
@pytest.mark.parametrize("power", [1, 4], ids=["zero", "nilpotent"])
def test_leading_eigenvalues_of_what_only_sends_to_zero(which, power):
    """ARPACK cannot start there, but all eigenvalues are known: some power of the matrix is zero."""
    J = torch.zeros(9, 9, dtype=torch.float64)
    J[:power, 1 : 1 + power] = 0.0 if power == 1 else torch.eye(power, dtype=torch.float64)
    found = spectrum.leading(as_operator(J), 3, which)
    assert (found.values.tolist(), found.note) == ([0, 0, 0], "")


def test_leading_is_one_sentence_where_arpack_gives_up(monkeypatch):
    import scipy.sparse.linalg as linalg

    def gives_up(*args, **kwargs):
        raise linalg.ArpackError(-9)

    monkeypatch.setattr(linalg, "eigs", gives_up)
    with pytest.raises(UsageError, match="ARPACK"):
        spectrum.leading(as_operator(random(9)), 2)


def test_a_union_has_every_eigenvalue_once():
    parts = [[3.0, 1.0], [1.0 + 1e-7, -2.0], [], [2j, -2j, -2.0, 3.0 + 1e-2], [4.0, 2j]]
    found = spectrum.union([torch.tensor(part, dtype=torch.complex128) for part in parts], 1e-6)
    assert found.tolist() == [3, 1, -2, 2j, -2j, 3.01, 4]


def test_consensus_of_an_operator_is_that_of_the_matrix():
    nets = modules()
    game, state, draw = game_of(nets, penalties=[Term(PENALTIES["r1"](), 3.0)]), state_of(nets), draw_of(0)
    J, w = spectrum.game_jacobian(game, state, draw), random(25)[0]
    operator = spectrum.operator(game, state, draw)
    moved = spectrum.consensus_operator(operator, 2.0)
    expected = J - 2 * J.T @ J
    torch.testing.assert_close(moved.forward(w), expected @ w, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(moved.transpose(w), expected.T @ w, rtol=1e-10, atol=1e-12)
    assert spectrum.adjoint_gap(operator) < 1e-12
    assert spectrum.adjoint_gap(operator._replace(transpose=operator.forward)) > 1e-2
    found, whole = (
        np.sort_complex(np.asarray(v))
        for v in (spectrum.consensus_cloud(J, 2.0), np.linalg.eigvals(expected))
    )
    np.testing.assert_allclose(found, whole, atol=1e-9)


@pytest.mark.parametrize(
    ("values", "tolerance", "step"),
    [
        ([-1 + 3j, -1 - 3j], 0.0, 0.2),
        ([-1 + 3j, -4.0], 0.0, 0.2),
        ([-20.0, -1.0], 0.0, 0.1),
        ([-1.0, 1e-3], 0.0, 0.0),
        ([-1.0, 0.0], 0.0, 0.0),
        ([-1.0, 1e-9], 1e-6, 2.0),
        ([1j, -1j], 1e-6, 0.0),
        ([0.0], 1e-6, math.inf),
    ],
)
def test_the_largest_step(values, tolerance, step):
    assert spectrum.largest_step(torch.tensor(values) + 0j, tolerance) == pytest.approx(step)


def test_the_largest_step_divides_steps_that_contract_from_others():
    J = random(12) - 2 * torch.eye(12, dtype=torch.float64)
    step = spectrum.largest_step(spectrum.eigenvalues(J))
    radii = [max(abs(np.linalg.eigvals(np.eye(12) + f * step * J.numpy()))) for f in (0.999, 1.001)]
    assert radii[0] < 1 < radii[1]


@pytest.mark.parametrize(
    ("rule", "options", "radius"),
    [
        ("simultaneous", {}, 1.004988),
        ("alternating", {}, 1.0),
        ("consensus", {"gamma": 1.0}, 0.905539),
        ("consensus", {"gamma": 0.1}, 0.995038),
    ],
)
def test_rules_on_the_saddle(rule, options, radius):
    saddle = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
    cloud = spectrum.rule_cloud(saddle, rule, 1, 0.1, **options)
    assert cloud.abs().max().item() == pytest.approx(radius, abs=1e-6)


def test_every_option_of_a_rule_is_listed():
    for name, matrix in linear.STEPS.items():
        taken = tuple(inspect.signature(matrix).parameters)
        assert taken == ("V", "n", "h", *linear.OPTIONS.get(name, ()))


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9])
def test_a_step_with_momentum_is_that_of_the_optimizer(beta):
    """Against the step that trains, differentiated: a quadratic game under simultaneous steps of SGD."""
    optimizer = f"optimizer={{name: sgd, lr: 0.1, momentum: {beta}}}"
    run = run_of("quadratic-simultaneous", "game.eigenvalues=[[-1.0, 3.0]]", "game.skew=1.7", optimizer)
    J = blocks([(-1.0, 3.0)], 1.7)
    found = spectrum.rule_cloud(J, "momentum", 1, 0.1, beta=beta)
    step = toy_scores.spectrum(run.game, run.rule, run.draws, run.state).step
    wanted = torch.cat([step, torch.zeros(len(found) - len(step))])  # without momentum there is no sum
    gaps = (found[:, None] - wanted[None]).abs()
    assert max(gaps.amin(0).max(), gaps.amin(1).max()) < 1e-9


def test_momentum_of_a_cloud_is_that_of_the_matrix():
    J, friction = random(6) - torch.eye(6, dtype=torch.float64), 0.7
    found = spectrum.momentum_cloud(spectrum.eigenvalues(J), friction)
    whole = np.block([[np.zeros((6, 6)), np.eye(6)], [J.numpy(), -friction * np.eye(6)]])
    gaps = abs(found.numpy()[:, None] - np.linalg.eigvals(whole))
    assert len(found) == 12
    assert max(gaps.min(0).max(), gaps.min(1).max()) < 1e-9


def test_the_command_shows_momentum(place, command):
    """-1 +- 3i attracts plain steps and not these: |Im|^2 = 9 is above 1 * friction^2."""
    trained(command, "quadratic-simultaneous", "steps=2", "networks.G=[1.0]")
    done = command("spectrum", "run", "--batches", "1", "--friction", "2")
    assert (done.code, done.err) == (0, "")
    facts = numbers()
    roots = np.concatenate([np.roots([1, 2, -mu]) for mu in (-1 + 3j, -1 - 3j)])
    found = np.array([complex(*value) for value in facts["momentum"]["eigenvalues"]])
    assert abs(np.sort_complex(found) - np.sort_complex(roots)).max() < 1e-9
    assert (facts["friction"], facts["momentum"]["largest_step"]) == (2, 0)
    assert facts["momentum"]["signs"]["positive"] == 0.5
    assert "with momentum, friction 2" in done.out
    assert command("spectrum", "run", "--batches", "1", "--friction", "4").code == 0
    assert numbers()["momentum"]["signs"]["negative"] == 1
    assert numbers()["momentum"]["largest_step"] > 0


def test_what_is_zero_to_rounding_stays_zero_under_momentum():
    """The root of a rounding error is none: dead units are as still under momentum as they were."""
    cloud = clouds.Eigenvalues(torch.tensor([-1.0 + 0j, 1e-12, -1e-12j], dtype=torch.complex128), True, 1e-8)
    found = clouds.momentum(cloud, 1.0).values
    assert int((found == 0).sum()) == 2
    assert found.real.max() == 0


def test_momentum_by_hand():
    J = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert numerics_modified.momentum_matrix(J, 0.5).tolist() == [
        [0, 0, 1, 0],
        [0, 0, 0, 1],
        [1, 2, -0.5, 0],
        [3, 4, 0, -0.5],
    ]


def test_momentum_takes_each_eigenvalue_to_two():
    """The roots of lambda (lambda + gamma) = mu, and consensus and momentum of float64 use gamma as it is."""
    J, gamma = random(6), 0.7
    found = spectrum.eigenvalues(numerics_modified.momentum_matrix(J, gamma)).numpy()
    roots = [np.roots([1, gamma, -mu]) for mu in np.linalg.eigvals(J.numpy())]
    gaps = abs(found[:, None] - np.concatenate(roots))
    assert max(gaps.min(0).max(), gaps.min(1).max()) < 1e-10


BAD = {
    "NaN": lambda: spectrum.eigenvalues(torch.tensor([[1.0, math.nan], [0.0, 1.0]])),
    "infinity": lambda: spectrum.eigenvalues(torch.tensor([[math.inf]])),
    "not square": lambda: spectrum.eigenvalues(torch.zeros(2, 3)),
    "NaN operator": lambda: spectrum.leading(as_operator(random(9) * math.nan), 2),
    "too many": lambda: spectrum.leading(as_operator(random(9)), 8),
    "order": lambda: spectrum.leading(as_operator(random(9)), 2, "best"),
    "NaN step": lambda: spectrum.largest_step(torch.tensor([math.nan + 0j])),
    "no draws": lambda: spectrum.game_jacobian(game_of(modules()), state_of(modules()), []),
    "no player": lambda: spectrum.game_jacobian(game_of(modules()), state_of(modules()), draw_of(0), ["E"]),
    "rule": lambda: spectrum.rule_cloud(torch.eye(2), "alternate", 1, 0.1),
    "rule's reading": lambda: spectrum.rule_cloud(torch.eye(2), "smoothing", 1, 0.1, reading="ful"),
    "rule's inner": lambda: spectrum.rule_cloud(torch.eye(2), "lookahead", 1, 0.1, inner="simultaneus"),
    "rule's option": lambda: spectrum.rule_cloud(torch.eye(2), "consensus", 1, 0.1, gama=1.0),
    "rule without options": lambda: spectrum.rule_cloud(torch.eye(2), "simultaneous", 1, 0.1, gamma=1.0),
    "rule's count": lambda: spectrum.rule_cloud(torch.eye(2), "alternating", 1, 0.1, n_critic=-1),
    "rule's two inner loops": lambda: spectrum.rule_cloud(
        torch.eye(2), "alternating", 1, 0.1, n_critic=2, n_generator=2
    ),
    "rule of more than all": lambda: spectrum.rule_cloud(torch.eye(2), "alternating", 3, 0.1),
    "rule of fewer than none": lambda: spectrum.rule_cloud(torch.eye(2), "alternating", -1, 0.1),
    "rule of no square": lambda: spectrum.rule_cloud(torch.ones(2, 3), "simultaneous", 1, 0.1),
    "rule of no matrix": lambda: spectrum.rule_cloud(torch.ones(2), "simultaneous", 1, 0.1),
    "no friction": lambda: spectrum.momentum_cloud(torch.zeros(2) + 0j, 0.0),
    "a matrix": lambda: spectrum.jacobian(lambda x: x, torch.eye(2)),
    "no cloud": lambda: draw_clouds({}),
    "far cloud": lambda: draw_clouds({"a": torch.tensor([1e200 + 0j], dtype=torch.complex128)}),
    "infinite cloud": lambda: draw_clouds({"a": torch.tensor([math.inf + 0j])}),
    "NaN cloud": lambda: draw_clouds({"a": torch.tensor([math.nan + 0j])}),
}


@pytest.mark.parametrize("case", BAD)
def test_what_has_no_answer_is_a_usage_error(case):
    with pytest.raises(UsageError):
        BAD[case]()


def test_a_far_cloud_is_drawn():
    far = torch.tensor([-1e150 + 0j, 1e140j, -1e-150 + 0j, 0j], dtype=torch.complex128)
    assert draw_clouds({"near": far / 1e150, "far": far}).size[0] > 600


def test_scipy_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "scipy.sparse.linalg", None)
    with pytest.raises(UsageError, match=r"steadygan\[metrics\]"):
        spectrum.leading(as_operator(random(9)), 2)


# -------------------------------------------------------------------------------------- games that are solved by hand


def run_of(recipe: str, *assignments: str) -> Run:
    name, raw = catalogue.find_recipe(recipe)
    return build(config.parse(config.override({"name": name, **raw}, list(assignments)), name))


def at_rest(run: Run) -> Tensor:
    zeros = {name: torch.zeros_like(p) for name, p in run.state.params.items()}
    return spectrum.game_jacobian(run.game, run.state._replace(params=zeros), run.draws(0)[0])


@pytest.mark.parametrize(
    ("loss", "weight", "J"),
    [
        ("wasserstein", 0.0, [[0, -1], [1, 0]]),
        ("wasserstein", 0.5, [[-1, -1], [1, 0]]),
        ("non_saturating", 2.0, [[-4, -0.5], [0.5, 0]]),
    ],
)
def test_the_dirac_gan_at_rest(loss, weight, J):
    """D(x) = psi x, reals 0, fakes theta; R1 of weight k has the force -2 k psi. Mescheder 2018, Lemma 2.3."""
    penalty = f"critic.penalties=[{{name: r1, weight: {weight}}}]"
    run = run_of("dirac-consensus", "dynamics=simultaneous", f"game.loss={loss}", penalty)
    torch.testing.assert_close(at_rest(run), torch.tensor(J, dtype=torch.float64))


def test_a_quadratic_game_has_the_eigenvalues_it_was_made_of():
    J = at_rest(run_of("quadratic-simultaneous"))
    values = spectrum.eigenvalues(J)
    assert sorted((round(v.real, 9), round(v.imag, 9)) for v in values.tolist()) == [(-1, -3), (-1, 3)]
    assert spectrum.largest_step(values) == pytest.approx(0.2)


# ------------------------------------------------------------------------------------------------------- the command


def trained(command, *words: str) -> None:
    assert command("train", *words, "compile=false", "every.score=2", "--out", "run").code == 0


def numbers() -> dict:
    with open("run/spectrum.json") as file:
        return json.load(file)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


TINY = (
    "dynamics=simultaneous",
    "networks.width=4",
    "networks.depth=1",
    "networks.latent=2",
    "batch=16",
    "steps=2",
    "every.checkpoint=1",
)


def test_a_ring_is_measured_whole(place, command):
    trained(command, "ring8-consensus", *TINY)
    done = command("spectrum", "run", "--batches", "3", "--gamma", "2")
    assert (done.code, done.err) == (0, "")
    facts = numbers()
    assert (facts["step"], facts["batches"], facts["method"], facts["seed"]) == (2, 3, "exact", 0)
    assert facts["P"] == sum(facts["parameters"].values()) == len(facts["simultaneous"]["eigenvalues"])
    assert len(facts["consensus"]["eigenvalues"]) == facts["P"]
    assert sum(facts["simultaneous"]["signs"].values()) == pytest.approx(1)
    assert f"{facts['simultaneous']['signs']['negative']:.0%} negative" in done.out
    assert Image.open("run/spectrum.png").size[0] > 600
    first = facts["simultaneous"]
    assert command("spectrum", "run", "--batches", "3", "--checkpoint", "1", "--out", "one.png").code == 0
    with open("one.json") as file:
        assert json.load(file)["step"] == 1
    assert numbers()["simultaneous"] == first


def test_a_member_of_an_ensemble_is_the_run_of_its_seed(place, command):
    trained(command, "ring8-consensus", *TINY, "seeds=2")
    assert command("spectrum", "run", "--batches", "1", "--member", "1").code == 0
    member = numbers()
    assert member["seed"] == 1
    assert command("train", "ring8-consensus", *TINY, "compile=false", "seed=1", "--out", "alone").code == 0
    assert command("spectrum", "alone", "--batches", "1").code == 0
    with open("alone/spectrum.json") as file:
        alone = json.load(file)
    for key in ("largest_real", "smallest_real", "largest_imaginary"):
        assert member["simultaneous"][key] == pytest.approx(alone["simultaneous"][key], rel=1e-3, abs=1e-5)


@pytest.mark.parametrize(("recipe", "step"), [("dirac-r1", 2.0), ("quadratic-simultaneous", 0.2)])
def test_games_solved_by_hand(place, command, recipe, step):
    """dirac-r1 near rest and the spiral -1 +- 3i."""
    trained(
        command, recipe, "steps=2", "networks.G=[1.0]" if recipe.startswith("quad") else "networks.theta=0"
    )
    done = command("spectrum", "run", "--batches", "1")
    assert (done.code, done.err) == (0, "")
    assert numbers()["P"] == 2
    if recipe.startswith("quad"):
        assert numbers()["simultaneous"]["largest_step"] == pytest.approx(step)


@pytest.mark.slow
def test_digits_are_measured_at_the_ends(place, command, monkeypatch):
    """A DCGAN small enough to be measured whole, and then as if it were too large for that."""
    trained(command, "digits-0gp", "networks.width=4", "networks.latent=2", "batch=4", "steps=2")
    assert command("spectrum", "run", "--batches", "1", "--gamma", "0.1").code == 0
    whole = numbers()
    monkeypatch.setattr(clouds, "EXACT", 10)
    monkeypatch.setattr(clouds, "LEADING", 3)
    done = command("spectrum", "run", "--batches", "1", "--gamma", "0.1")
    assert (done.code, len(done.err.splitlines())) == (0, 1)
    assert "leading" in done.out
    ends = numbers()
    assert (whole["method"], whole["P"]) == ("exact", ends["P"])
    assert ends["method"] == "matrix-free: 3 of each of real, smallest_real, imaginary"
    for cloud in ("simultaneous", "consensus"):
        scale = max(abs(complex(*value)) for value in whole[cloud]["eigenvalues"])
        for key in ("largest_real", "smallest_real", "largest_imaginary"):
            assert ends[cloud][key] == pytest.approx(whole[cloud][key], abs=0.01 * scale)
        assert (ends[cloud]["signs"], len(ends[cloud]["eigenvalues"]) <= 9) == (None, True)


def test_a_clipped_field_that_is_zero_has_zero_eigenvalues(place, command, monkeypatch):
    """A critic clipped to 1e-30 has no slope in float32, so J = 0, on the matrix-free path too."""
    trained(command, "ring8-wgan", *TINY, "networks.depth=3", "critic.clip.bound=1e-30")
    for exact in (4000, 10):
        monkeypatch.setattr(clouds, "EXACT", exact)
        done = command("spectrum", "run", "--batches", "1")
        assert done.code == 0, done.err
        for cloud in ("simultaneous", "consensus"):
            assert max(abs(complex(*value)) for value in numbers()[cloud]["eigenvalues"]) < 1e-20


EXTREMES = ("largest_real", "smallest_real", "largest_imaginary")


def extremes() -> list[float]:
    return [numbers()[cloud][key] for cloud in ("simultaneous", "consensus") for key in EXTREMES]


@pytest.mark.parametrize("exact", [4000, pytest.param(10, marks=pytest.mark.slow)])
def test_a_run_in_bfloat16_is_measured_in_its_parameters_own_numbers(exact, place, command, monkeypatch):
    """The very eigenvalues that the same checkpoint has as a run in float32, whole and at the ends."""
    monkeypatch.setattr(clouds, "EXACT", exact)
    monkeypatch.setattr(clouds, "LEADING", 3)
    trained(command, "ring8-consensus", *TINY, "precision=bfloat16")
    assert command("spectrum", "run", "--batches", "2").code == 0
    rough = extremes()
    with open("run/config.yaml") as file:
        text = file.read()
    assert "precision: bfloat16" in text
    with open("run/config.yaml", "w") as file:
        file.write(text.replace("precision: bfloat16", "precision: float32"))
    assert command("spectrum", "run", "--batches", "2").code == 0
    assert rough == extremes()


def test_a_cheap_generator_step_is_not_what_is_measured(place, command):
    """It is exact for training and detaches what the Jacobian is about: both runs have the same field."""
    found = []
    for cheap in ("true", "false"):
        given = (
            "ring8-gn",
            *TINY,
            f"critic.piecewise_linear={cheap}",
            "compile=false",
        )
        assert command("train", *given, "precision=float64", "--out", f"run-{cheap}").code == 0
        assert command("spectrum", f"run-{cheap}", "--batches", "2").code == 0
        with open(f"run-{cheap}/spectrum.json") as file:
            facts = json.load(file)
        found.append([facts["simultaneous"][key] for key in EXTREMES])
    assert found[0] == pytest.approx(found[1], rel=1e-6)
    assert found[0][2] > 0  # G's gradient moves with D, so that the two turn


def test_a_lost_member_is_named_as_such(place, command):
    rates = "optimizer={name: sgd, lr: [0.001, 1.0e+30]}"
    done = command("train", "ring8-consensus", *TINY, rates, "compile=false", "--out", "run")
    assert done.code == 1
    assert command("spectrum", "run", "--batches", "1").code == 0
    lost = command("spectrum", "run", "--batches", "1", "--member", "1")
    assert lost.code == 0
    assert "member 1 has diverged: this is its last good state" in lost.err


def test_lazy_penalties_have_their_weight(place, command):
    """Due at one step of three, with three times the weight: the mean is over whole intervals."""
    penalty = "critic.penalties=[{name: r1, weight: 5, interval: 3}]"
    trained(command, "ring8-consensus", *TINY, penalty)
    done = command("spectrum", "run", "--batches", "4")
    assert done.code == 0
    assert numbers()["batches"] == 6
    assert "6 batches are used, a multiple" in done.err
    assert command("spectrum", "run", "--batches", "6").code == 0
    assert "a multiple" not in command("spectrum", "run", "--batches", "6").err


MISTAKES = {
    "member": ("run", "--member", "1"),
    "checkpoint": ("run", "--checkpoint", "7"),
    "no step": ("run", "--checkpoint", "last"),
    "format": ("run", "--out", "picture.jpg"),
    "gamma": ("run", "--gamma", "nan"),
    "large gamma": ("run", "--gamma", "1e308"),
    "friction": ("run", "--friction", "0"),
    "large friction": ("run", "--friction", "1e300"),
    "negative gamma": ("run", "--gamma", "-1"),
    "batches": ("run", "--batches", "0"),
    "folder": ("nowhere",),
}


def test_mistakes_are_one_sentence(place, command):
    trained(command, "ring8-consensus", *TINY)
    for case, words in MISTAKES.items():
        done = command("spectrum", *words)
        assert done.code == 2, case
        assert len(done.err.splitlines()) == 1, (case, done.err)
        assert done.err.startswith("error: "), case


def test_columns_and_searches_are_reported_to_whoever_shows_a_bar():
    seen: list[tuple] = []
    with shown_by(lambda *told: seen.append(told)):
        spectrum.jacobian(lambda x: x**2, torch.ones(5), chunk=2)
        scales = torch.arange(1.0, 51.0)
        diagonal = spectrum.Operator(lambda w: scales * w, lambda w: scales * w, scales)
        found = clouds._extremes(diagonal, "eigenvalues", lambda text: None)
    assert seen[:4] == [("columns of the Jacobian", done, 5, "columns") for done in (0, 2, 4, 5)]
    assert seen[4:] == [("eigenvalues", done, 3, "searches") for done in (0, 1, 2, 3)]
    assert {1.0, 50.0} <= {round(value, 2) for value in found.values.real.tolist()}


def test_eigenvalues_are_one_where_they_agree_to_a_share_of_the_largest():
    assert eigen.union([torch.tensor([1e6]), torch.tensor([1e6 + 0.5])], 1e-6).tolist() == [1e6]
    assert len(eigen.union([torch.tensor([1e6, 1.0])], 1e-6)) == 2


def test_the_gap_of_an_adjoint_is_relative_to_the_size_of_the_operator():
    """With 0 for J^T it is |w . J u| / (|w| |J u|), a cosine, whatever J's unit."""
    one, large = (
        adjoint_gap(
            Operator(lambda w, c=c: c * w.flip(0), torch.zeros_like, torch.zeros(50, dtype=torch.float64))
        )
        for c in (1.0, 1e6)
    )
    assert 0 < one <= 1
    assert large == pytest.approx(one, rel=1e-9)


@pytest.mark.parametrize("penalty", [None, *FORCES])
@pytest.mark.parametrize("loss", SLOPES)
def test_the_dirac_gans_velocity_is_its_jacobian_at_rest(loss, penalty):
    name, raw = catalogue.find_recipe("dirac-consensus")
    terms = f"critic.penalties=[{{name: {penalty}, weight: 3.0}}]" if penalty else "critic.penalties=[]"
    changes = ["dynamics=simultaneous", f"game.loss={loss}", terms]
    run = build(config.parse(config.override({"name": name, **raw}, changes), name))
    zeros = {player: torch.full_like(p, 1e-9) for player, p in run.state.params.items()}
    found = game_jacobian(run.game, run.state._replace(params=zeros), run.draws(0)[0])
    torch.testing.assert_close(
        found, rest(loss, [(penalty, 3.0)] if penalty else []).velocity, atol=1e-6, rtol=0
    )


def test_a_picture_never_takes_the_name_of_another_file_of_the_run(tmp_path):
    """Eigenvalues are written beside it: `scores.png` would have taken the run's scores."""
    scores, own = tmp_path / "scores.json", tmp_path / "cloud.json"
    scores.write_text('{"cards": []}')
    with pytest.raises(UsageError, match=r"scores.json is there already, and has no eigenvalues"):
        clouds._check(tmp_path / "scores.png", 0.1, None)
    own.write_text(json.dumps({"field": "v", "method": "exact", "gamma": 0.1}))
    clouds._check(tmp_path / "cloud.png", 0.1, None)
