"""InfoGAN: codes of the right law, a bound of what samples say of them, and who learns from which part of it.

The comment in a test names the wrong implementation it is there to catch.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

import small
from steadygan import config, information, losses, metrics
from steadygan.build import build
from steadygan.commands.sample import traverse
from steadygan.config import parse, registry
from steadygan.errors import UsageError
from steadygan.game import Game, Network, State, flatten, optimizers
from steadygan.game.state import initial, member
from steadygan.game.vector_field import field
from steadygan.games import FakeAsReal, Term, View, bcr, gan, infogan
from steadygan.networks import Codes
from steadygan.networks.code_critic import Informed
from steadygan.networks.latent_codes import coded, set_code, uniform
from steadygan.noise import HiddenNoise
from steadygan.normalization import gradient_normalized
from steadygan.penalties import PENALTIES
from steadygan.plots.axes import place
from steadygan.plots.scatter_by_class import coloured
from steadygan.training import checkpoint
from steadygan.training.compile.compiled_step import compiled, vectorised
from tracing import as_graph

NETWORKS = {name: part.make for name, part in registry.NETWORKS.items()}


LOG = math.log


def close(found: Tensor | float, wanted: Tensor | float, within: float = 1e-12) -> None:
    a, b = (torch.as_tensor(value, dtype=torch.float64) for value in (found, wanted))
    torch.testing.assert_close(a, b, rtol=within, atol=within)


def sp(t: float) -> float:
    return math.log(1 + math.exp(t))


# ------------------------------------------------------------------------------------------------- codes


def normal(count: int, size: int) -> Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def test_the_classes_are_one_hot_and_each_as_likely():
    """Rounding a uniform number, or a softmax in place of the largest, would show in counts or values."""
    z = coded(normal(10_000, 15), [10, 3], 1)
    for block in (z[:, :10], z[:, 10:13]):
        assert set(block.unique().tolist()) == {0.0, 1.0}
        assert bool((block.sum(1) == 1).all())
        counts, expected = block.sum(0), 10_000 / block.shape[1]
        assert ((counts - expected) ** 2 / expected).sum() < 27.9  # chi-square, 9 degrees: 1 in 1,000
    pairs = (z[:, :10].T @ z[:, 10:13]).flatten()  # the codes know nothing of each other
    assert ((pairs - 10_000 / 30) ** 2 / (10_000 / 30)).sum() < 58.3  # 29 degrees


def test_the_continuous_codes_are_uniform_and_the_rest_stays():
    """tanh, or Phi without the 2 and the 1, is bounded too."""
    raw = normal(10_000, 15)
    z = coded(raw, [10, 3], 1)
    counts = torch.histc(z[:, 13], 20, -1, 1)
    assert counts.sum() == 10_000
    assert ((counts - 500) ** 2 / 500).sum() < 43.8  # chi-square, 19 degrees: 1 in 1,000
    close(uniform(torch.tensor(1.959963984540054, dtype=torch.float64)), 0.95, 1e-12)  # the 97.5 % quantile
    assert torch.equal(z[:, 14], raw[:, 14])


@pytest.mark.parametrize(("code", "value"), [(0, 7), (1, 2), (2, -0.25), (3, 0.9)])
def test_a_code_is_set_and_nothing_else(code, value):
    raw = normal(6, 17)
    before, after = coded(raw, [10, 3], 2), coded(set_code(raw, code, value, [10, 3], 2), [10, 3], 2)
    first, last = [(0, 10), (10, 13), (13, 14), (14, 15)][code]
    wanted = F.one_hot(torch.tensor(value), last - first).double() if code < 2 else torch.tensor([value])
    close(after[:, first:last], wanted.expand(6, -1), 1e-7)
    kept = [i for i in range(17) if not first <= i < last]
    assert torch.equal(after[:, kept], before[:, kept])


def test_the_ends_of_a_continuous_code_can_be_set():
    for value in (-1.0, 1.0):
        assert coded(set_code(normal(2, 3), 0, value, [], 1), [], 1)[:, 0].tolist() == [value, value]


@pytest.mark.parametrize(
    ("code", "value", "told"),
    [
        (0, 10, "code 0 has the classes 0 to 9, not 10"),
        (1, -1, "code 1 has the classes 0 to 2, not -1"),
        (1, 0.5, "code 1 has the classes 0 to 2, not 0.5"),
        (2, 1.01, "code 2 is continuous and has values from -1 to 1, not 1.01"),
        (3, math.nan, "code 3 is continuous and has values from -1 to 1, not nan"),
    ],
)
def test_a_value_that_a_code_does_not_have_is_refused(code, value, told):
    with pytest.raises(UsageError, match=told):
        set_code(normal(2, 17), code, value, [10, 3], 2)


# -------------------------------------------------------------------------------------------- the bound

Bound = Callable[[Tensor, Tensor], Tensor]


def check_classes(bound: Bound) -> None:
    """Q gives the right class 3/4 and 1/2: log 3/4 + log 2 and log 1/2 + log 2."""
    logits = torch.tensor([[0.0, LOG(3)], [5.0, 5.0]], dtype=torch.float64)
    code = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    close(bound(logits, code), torch.tensor([LOG(1.5), 0.0], dtype=torch.float64))


def check_numbers(bound: Bound) -> None:
    """log 2 - log(2 pi) / 2 = -.2257913526 a code where the mean is right, 2^2 / 2 less where it is off by 2."""
    mean = torch.tensor([[0.5, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    code = torch.tensor([[0.5, 0.0], [1.0, 0.0]], dtype=torch.float64)
    close(bound(mean, code), torch.tensor([-0.4515827053, -2.4515827053], dtype=torch.float64), 1e-9)


def test_the_bound_of_two_samples():
    check_classes(information.categorical)
    check_numbers(information.continuous)


WRONG: dict[str, tuple[Callable[[Bound], None], Bound]] = {
    "classes without H(c)": (check_classes, lambda q, c: (c * q.log_softmax(1)).sum(1)),
    "probabilities for logits": (check_classes, lambda q, c: information.categorical(q.softmax(1), c)),
    "the log of no softmax": (check_classes, lambda q, c: (c * q).sum(1) + LOG(2)),
    "softmax over the batch": (check_classes, lambda q, c: (c * q.log_softmax(0)).sum(1) + LOG(2)),
    "numbers without H(c)": (check_numbers, lambda m, c: information.continuous(m, c) - 2 * LOG(2)),
    "no 1/2 on the square": (
        check_numbers,
        lambda m, c: information.continuous(m, c) - (m - c).square().sum(1) / 2,
    ),
    "a mean over the codes": (check_numbers, lambda m, c: information.continuous(m, c) / 2),
    "numbers in [0, 1]": (check_numbers, lambda m, c: information.continuous(m, c) - m.shape[1] * LOG(2)),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_table_tells_a_wrong_bound(name):
    check, mutant = WRONG[name]
    with pytest.raises(AssertionError):
        check(mutant)


def test_an_exact_reader_makes_the_bound_the_entropy_and_no_reader_more():
    code = torch.eye(10, dtype=torch.float64)
    close(information.categorical(1e3 * code, code).mean(), LOG(10))
    close(information.categorical(torch.ones(10, 10), code.float()).mean(), 0.0, 1e-6)
    assert bool((information.categorical(normal(10, 10), code) <= LOG(10)).all())


def test_the_bound_meets_the_mutual_information_at_the_posterior_and_only_there():
    """A binary channel that flips one bit in ten: I = log 2 - h(1/10), and 20 samples that hold exactly that."""
    c = torch.tensor([0] * 10 + [1] * 10)
    x = torch.where(torch.arange(20) % 10 == 0, 1 - c, c)
    truth = LOG(2) + 0.1 * LOG(0.1) + 0.9 * LOG(0.9)

    def bound(right: float) -> float:
        logits = torch.tensor([[right, 1 - right], [1 - right, right]], dtype=torch.float64).log()[x]
        return information.categorical(logits, F.one_hot(c, 2).double()).mean().item()

    close(bound(0.9), truth)
    assert all(bound(right) < truth for right in (0.5, 0.8, 0.89, 0.91, 0.99))


def test_the_numbers_bound_is_torchs_normal_and_the_uniform_entropy():
    mean, code = normal(7, 3), uniform(normal(14, 3)[7:])
    q = torch.distributions.Normal(mean, 1.0).log_prob(code)
    p = torch.distributions.Uniform(torch.tensor(-1.0).double(), 1.0).entropy()
    close(information.continuous(mean, code), (q + p).sum(1))


@pytest.mark.parametrize("shape", [(2, 3), (3,), (2, 2, 1)])
def test_answers_of_another_shape_are_refused(shape):
    for bound in (information.categorical, information.continuous):
        with pytest.raises(UsageError, match="outputs"):
            bound(torch.zeros(shape), torch.zeros(2, 2))


# ------------------------------------------------------------------------------------- the three losses


def linear(rows: list[list[float]]) -> nn.Linear:
    layer = nn.Linear(len(rows[0]), len(rows), bias=False)
    layer.weight.data = torch.tensor(rows, dtype=torch.float64)
    return layer


def by_hand(weight: float) -> tuple[Game, dict[str, nn.Module]]:
    """G shows the class itself, (1, 0) or (0, 1), D's logit is the first coordinate, Q's logits are log 3 x."""
    nets: dict[str, nn.Module] = {
        "G": nn.Sequential(Codes([2]), linear([[1.0, 0.0], [0.0, 1.0]])),
        "D": Informed(linear([[1.0, 0.0], [0.0, 1.0]]), nn.Sequential(linear([[1.0, 0.0]]), nn.Flatten(0))),
        "Q": linear([[LOG(3), 0.0], [0.0, LOG(3)]]),
    }
    nets = {name: net.double() for name, net in nets.items()}
    wrapped = {name: Network(net) for name, net in nets.items()}
    sizes: dict[str, Any] = {"shape": (2,), "batch": 2, "latent": 2}
    codes: dict[str, Any] = {"categorical": [2], "continuous": 0, "weight": weight}
    return infogan(**wrapped, loss=losses.non_saturating, **sizes, **codes), nets


def test_each_players_loss_of_two_samples():
    """z = (3, 1), (0, 2) are classes 0 and 1, x = (1, 0), (0, 1): logits 1 and 0, Q right with 3/4 both times.

    L_I = -(log 3/4 + log 2) = -log 3/2; G: (sp(-1) + sp(0)) / 2 + w L_I; D, with reals at logit 2:
    sp(-2) + (sp(1) + sp(0)) / 2 + w L_I; Q: L_I without w. A sign of L_I, a lost weight or a weighted Q shows.
    """
    game, nets = by_hand(weight=0.5)
    draw = {
        "z": torch.tensor([[3.0, 1.0], [0.0, 2.0]], dtype=torch.float64),
        "x_real": torch.tensor([[2.0, 0.0], [2.0, 9.0]], dtype=torch.float64),
    }
    found = {name: player.loss(nets, draw, {}) for name, player in game.players.items()}
    close(found["Q"][0], -LOG(1.5))
    close(found["G"][0], (sp(-1) + sp(0)) / 2 - 0.5 * LOG(1.5))
    close(found["D"][0], sp(-2) + (sp(1) + sp(0)) / 2 - 0.5 * LOG(1.5))
    close(found["Q"][1]["information"], LOG(1.5))
    close(found["Q"][1]["information/categorical"], LOG(1.5))
    assert "information/continuous" not in found["Q"][1]


CODES: dict[str, Any] = {"categorical": (3, 2), "continuous": 2}
SIZES: dict[str, Any] = {"shape": (2,), "batch": 6, "latent": 9}


def nets(seed: int = 0) -> dict[str, nn.Module]:
    torch.manual_seed(seed)
    options = {"latent": 9, "width": 8, "depth": 2}
    G, _ = NETWORKS["mlp"]((2,), **options)
    D = registry.NETWORKS["mlp"].roles["informed critic"]((2,), **options)
    Q = registry.NETWORKS["mlp"].roles["code head"]((2,), **CODES, **options)
    with torch.no_grad():
        for p in D.parameters():
            p.mul_(1.5)
    return {"G": nn.Sequential(Codes(**CODES), G).double(), "D": D.double(), "Q": Q.double()}


def made(modules: dict[str, nn.Module], weight: float, **options: Any) -> Game:
    wrapped = {name: Network(net) for name, net in modules.items()}
    loss = options.pop("loss", losses.non_saturating)
    return infogan(**wrapped, loss=loss, **SIZES, **CODES, weight=weight, **options)


def drawn(game: Game) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(1)
    makers = {"uniform": torch.rand, "due": lambda shape, **_: torch.zeros(shape)}
    return {
        name: makers.get(f.kind, torch.randn)(f.shape, generator=g, dtype=torch.float64)
        for name, f in game.fields.items()
    }


def gradients(game: Game, modules: dict[str, nn.Module]) -> dict[str, Tensor]:
    return field(game, tuple(game.players), start(modules), drawn(game))[0]


def start(modules: dict[str, nn.Module]) -> State:
    return initial(modules, dict.fromkeys(modules, optimizers.sgd(0.1)), dtype=torch.float64)


def l_i(modules: dict[str, nn.Module], z: Tensor) -> Tensor:
    """-(E log Q + H), in torch's own words."""
    noise = z[:, 7:]
    first, second = z[:, :3].argmax(1), z[:, 3:5].argmax(1)
    numbers = 2 * torch.special.ndtr(z[:, 5:7]) - 1
    latent = torch.cat([F.one_hot(first, 3), F.one_hot(second, 2), numbers, noise], 1)
    answer = modules["Q"](modules["D"].trunk(modules["G"][1](latent)))
    lost = F.cross_entropy(answer[:, :3], first) + F.cross_entropy(answer[:, 3:5], second)
    lost = lost - torch.distributions.Normal(answer[:, 5:], 1.0).log_prob(numbers).sum(1).mean()
    return lost - LOG(3) - LOG(2) - 2 * LOG(2)


def slopes(value: Tensor, module: nn.Module) -> Tensor:
    found = torch.autograd.grad(value, list(module.parameters()), retain_graph=True, materialize_grads=True)
    return torch.cat([part.flatten() for part in found])


def test_who_learns_from_which_term():
    """G and D learn from the game of two and from w L_I, Q from L_I alone.

    A trunk or a generator that is detached from L_I, a head that is weighted, or a game of two that changes
    with w would differ.
    """
    modules, weight = nets(), 0.3
    game = made(modules, weight)
    with_codes, without = gradients(game, modules), gradients(made(modules, 0.0), modules)
    lost = l_i(modules, drawn(game)["z"])
    for name, module in modules.items():
        own = slopes(lost, module)
        assert own.norm() > 1e-3
        if name == "Q":
            close(with_codes["Q"], own, 1e-9)
            close(without["Q"], own, 1e-9)  # at weight 0 it still reads what there is
        else:
            close(with_codes[name] - without[name], weight * own, 1e-9)


def test_the_logit_head_learns_nothing_of_the_codes():
    """D's last layer is no part of Q: neither Q's loss nor the L_I in D's own reaches it."""
    modules = nets()
    game = made(modules, 1.0)
    lost = l_i(modules, drawn(game)["z"])
    last, trunk = modules["D"].last, modules["D"].trunk
    assert slopes(lost, last).abs().max() == 0
    assert slopes(lost, trunk).abs().max() > 0
    difference = gradients(game, modules)["D"] - gradients(made(modules, 0.0), modules)["D"]
    assert difference[-len(flatten(last)) :].abs().max() < 1e-15
    value = game.players["Q"].loss(modules, drawn(game), {})[0]
    assert slopes(value, last).abs().max() == 0


CONSTRAINTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "penalties": {"penalties": [Term(PENALTIES[name](), 0.7) for name in ("r1", "r2", "one_centered")]},
    "fake as real": {"far": FakeAsReal(2, 2, 3)},
    "gradient normalization": {"view": View(gradient_normalized), "loss": losses.hinge},
    "on the tangent plane": {"view": View(gradient_normalized), "cheap": True},
    "instance noise": {"view": View(noise=0.2)},
    "relativistic": {"loss": losses.relativistic},
    "consistency": {"agreements": [bcr(1.0, 1.0, "jitter")]},
}


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_at_weight_0_it_is_the_game_of_two(name):
    """With every constraint of the critic: an answer given twice where samples differ would show."""
    modules, options = nets(), dict(CONSTRAINTS[name])
    game = made(modules, 0.0, **options)
    pair = {"G": modules["G"], "D": nn.Sequential(modules["D"].trunk, modules["D"].last)}
    loss = options.pop("loss", losses.non_saturating)
    plain = gan(**{name: Network(net) for name, net in pair.items()}, loss=loss, **SIZES, **options)
    assert {**game.fields} == {**plain.fields}
    found, wanted = gradients(game, modules), gradients(plain, pair)
    for player in ("G", "D"):
        assert wanted[player].norm() > 1e-6
        close(found[player], wanted[player], 1e-10)


def test_the_bound_rises_where_it_counts():
    """Not only its value but its sign in G's loss: training takes it to log 4, the most there is."""
    raw = {
        **RING,
        "game": {"name": "infogan", "categorical": [4], "continuous": 0, "weight": 3.0},
        "steps": 150,
        "optimizer": {"name": "adam", "lr": 0.01},
    }
    run = build(config.parse(raw))
    state, logs = run.state, []
    for step in range(150):
        state, now = run.step(state, run.draws(step))
        logs.append(now["information"].item())
    assert abs(logs[0]) < 0.3
    assert LOG(4) - 0.2 < logs[-1] <= LOG(4)


# ------------------------------------------------------------------------------------------ as a program

RING: dict[str, Any] = {
    "data": "ring8",
    "networks": {"name": "mlp", "latent": 8, "width": 8, "depth": 2},
    "game": {"name": "infogan", "categorical": [4], "continuous": 1},
    "critic": {"penalties": ["r1"]},
    "optimizer": {"name": "sgd", "lr": 0.05},
    "batch": 8,
    "steps": 10,
    "compile": False,
}
IMAGES: dict[str, Any] = {
    **RING,
    "data": "digits",
    "networks": {"name": "dcgan", "latent": 8, "width": 4, "batch_norm": True},
    "critic": {"normalization": "spectral_normalized"},
}


def last_state(raw: dict[str, Any], wrap: Callable[[Any], Any] = lambda step: step, steps: int = 10) -> State:
    run = build(config.parse(raw))
    state, step = run.state, wrap(run.step)
    for number in range(steps):
        state, _ = step(state, run.draws(number))
    return state


@pytest.mark.parametrize("raw", [RING, IMAGES], ids=["points", "images"])
def test_a_member_of_an_ensemble_is_the_single_run(raw):
    swept = {**raw, "seeds": 2, "game": {**raw["game"], "weight": [0.5, 2.0]}}
    together = last_state(swept, vectorised)
    for index, (weight, seed) in enumerate([(0.5, 0), (0.5, 1), (2.0, 0), (2.0, 1)]):
        alone = last_state({**raw, "seed": seed, "game": {**raw["game"], "weight": weight}})
        one = member(together, index)
        for name in ("G", "D", "Q"):
            close(one.params[name], alone.params[name], 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("raw", [RING, IMAGES], ids=["points", "images"])
def test_the_compiled_step_is_the_eager_step(raw):
    """That on images as its graph alone."""
    of_points = raw is RING
    raw = {**raw, "precision": "float64", "fake_as_real": {"count": 2, "pool": 2}}
    fast = last_state(
        raw, lambda step: compiled(step, pytest.fail, "float64") if of_points else as_graph(step)
    )
    eager = last_state(raw)
    for name in ("G", "D", "Q"):
        close(fast.params[name], eager.params[name], 1e-9)


@pytest.mark.parametrize("rule", ["simultaneous", "consensus", "extragradient", "optimistic"])
def test_other_rules_play_it(rule):
    before = build(config.parse(RING)).state
    after = last_state({**RING, "dynamics": rule}, steps=2)
    for name in ("G", "D", "Q"):
        moved = (after.params[name] - before.params[name]).norm()
        assert moved > 0
        assert moved.isfinite()


def test_d_and_q_move_together_and_as_often():
    run = build(config.parse({**RING, "dynamics": {"name": "alternating", "n_critic": 3}}))
    assert run.rule.rounds == (("D", "Q"),) * 3 + (("G",),)


def test_what_holds_for_a_critic_holds_for_the_informed_one():
    raw = {**RING, "noise": {"D": 0.1}, "critic": {"normalization": "spectral_normalized"}}
    modules = {name: p.network.module for name, p in build(config.parse(raw)).game.players.items()}
    assert [sum(isinstance(part, HiddenNoise) for part in modules[name].modules()) for name in "GDQ"] == [
        0,
        2,
        0,
    ]
    named = {
        name: sum(key.endswith("original") for key, _ in modules[name].named_parameters()) for name in "GDQ"
    }
    assert named == {"G": 0, "D": 3, "Q": 0}
    raw = {**RING, "critic": {"normalization": "gradient_normalized", "piecewise_linear": True}}
    assert build(config.parse(raw)).game.players.keys() == {"G", "D", "Q"}


def test_batch_norm_in_the_trunk_is_refused_as_in_any_critic():
    modules = nets()
    modules["D"] = Informed(nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8)), modules["D"].last)
    with pytest.raises(UsageError, match="batch norm"):
        made(modules, 1.0, penalties=[Term(PENALTIES["r1"](), 1.0)])


# ---------------------------------------------------------------------------------------------- networks


@pytest.mark.parametrize(
    ("name", "shape", "features"),
    [("mlp", (2,), 8), ("dcgan", (1, 8, 8), 8 * 16), ("dcgan", (3, 32, 32), 512)],
)
def test_the_informed_critic_is_the_critic_and_what_it_last_saw(name, shape, features):
    torch.manual_seed(0)
    _, critic = NETWORKS[name](shape, latent=4, width=8)
    D = registry.NETWORKS[name].roles["informed critic"](shape, latent=4, width=8)
    assert [p.shape for p in D.parameters()] == [p.shape for p in critic.parameters()]
    D.load_state_dict(dict(zip(D.state_dict(), critic.state_dict().values(), strict=True)))
    x = torch.randn(3, *shape)
    logits, seen = D(x)
    assert seen.shape == (3, features)
    assert torch.equal(logits, critic(x))
    weight, bias = list(critic.parameters())[-2:]
    close(logits, (seen @ weight.T + bias)[:, 0], 1e-5)
    Q = registry.NETWORKS[name].roles["code head"](shape, categorical=(4,), continuous=1, latent=4, width=8)
    assert Q(seen).shape == (3, 5)


# --------------------------------------------------------------------------------------------- bad input

REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "no room for the codes": ({"networks": {"name": "mlp", "latent": 4}}, ["networks.latent", "5"]),
    "no code": ({"game": {"name": "infogan", "categorical": [], "continuous": 0}}, ["code"]),
    "a class alone": ({"game": {"name": "infogan", "categorical": [1]}}, ["game.categorical.0"]),
    "fewer than no numbers": ({"game": {"name": "infogan", "continuous": -1}}, ["game.continuous"]),
    "a negative weight": ({"game": {"name": "infogan", "weight": -1}}, ["game.weight"]),
    "an architecture without the role": (
        {"networks": {"name": "gn_cnn", "latent": 8}, "data": "digits"},
        ["informed critic", "mlp or dcgan"],
    ),
    "no optimizer for Q": (
        {"optimizer": {name: {"name": "sgd", "lr": 0.1} for name in ("G", "D")}},
        ["optimizer", "D, G, Q"],
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_mistake_is_one_sentence(name):
    change, words = REFUSED[name]
    with pytest.raises(UsageError) as caught:
        build(config.parse({**RING, **change}))
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_game_made_by_hand_refuses_a_class_alone():
    for codes in ({"categorical": [1], "continuous": 1}, {"categorical": [2], "continuous": -1}):
        with pytest.raises(UsageError, match="needs a code"):
            infogan(*map(Network, nets().values()), losses.hinge, **SIZES, **codes)
    with pytest.raises(
        UsageError, match="infogan has no batch_G, because G and Q read the codes of D's batch"
    ):
        infogan(*map(Network, nets().values()), losses.hinge, **SIZES, categorical=[2], batch_G=4)


# --------------------------------------------------------------------------- what the codes have come to


def test_purity_by_hand():
    """Groups 0 (classes 0, 0, 1), 4 (1, 1), 2 (2): 2 + 2 + 1 of 6; the commonest group of each class is not it."""
    found, truth = torch.tensor([0, 0, 0, 4, 4, 2]), torch.tensor([0, 0, 1, 1, 1, 2])
    close(metrics.purity(found, truth), 5 / 6)
    close(metrics.purity(torch.zeros(6, dtype=torch.int64), truth), 3 / 6)
    close(metrics.purity(torch.tensor([3, 3, 0, 0, 0, 1]), truth), 1.0)
    close(metrics.purity(torch.arange(6), torch.zeros(6, dtype=torch.int64)), 1.0)
    for kind in (torch.uint8, torch.int8):  # whose products of group and class would overflow
        close(metrics.purity(torch.arange(20).to(kind), torch.arange(20).to(kind)), 1.0)


@pytest.mark.parametrize(
    "found",
    [torch.tensor([0, 1]), torch.tensor([0, 1, -1]), torch.tensor([0.0, 1.0, 2.0]), torch.zeros(3, 1)],
)
def test_purity_refuses_what_are_no_groups(found):
    with pytest.raises(UsageError):
        metrics.purity(found, torch.tensor([0, 1, 2]))


def trained(place: Path, raw: dict[str, Any], command: Callable[..., Any]) -> Path:
    (place / "r.yaml").write_text(config.dump(config.parse({**raw, "steps": 2})))
    done = command("train", place / "r.yaml", "--out", place / "run")
    assert done.code == 0, done.err
    return place / "run"


@pytest.mark.parametrize(("code", "columns"), [(0, 4), (1, 10)])
@pytest.mark.parametrize("raw", [RING, IMAGES], ids=["points", "images"])
def test_a_code_is_traversed(raw, code, columns, tmp_path, command):
    folder = trained(tmp_path, raw, command)
    done = command("sample", folder, "--traverse", code, "-n", 23)
    rows = 23 // columns
    assert (done.code, done.err) == (0, "")
    assert f"{rows * columns} samples by code {code}" in done.out
    picture = Image.open(folder / f"traversal-{code}.png")
    if raw is IMAGES:
        across, down = (side - 2 for side in picture.size)
        assert across / down == pytest.approx(columns / rows)


def test_rows_share_their_noise_and_columns_their_code(tmp_path, command):
    """All but the traversed code is alike along a row."""
    folder = trained(tmp_path, RING, command)
    run = build(config.parse(config.load(folder / "config.yaml")))
    Shower.seen.clear()
    G = run.game.players["G"].network.module
    G[1] = nn.Sequential(Shower(), G[1])
    players = {**run.game.players, "G": run.game.players["G"]._replace(network=Network(G))}
    run = run._replace(game=run.game._replace(players=players))
    values, _ = traverse(run, folder, 0, 12, average=True, member=0, note=print)
    latents = torch.cat(Shower.seen).view(3, 4, 8)
    assert values == [0, 1, 2, 3]
    assert torch.equal(latents[:, :, :4], torch.eye(4).expand(3, 4, 4))
    assert torch.equal(latents[:, :, 4:], latents[:, :1, 4:].expand(3, 4, 4))
    assert not torch.equal(latents[0, 0, 4:], latents[1, 0, 4:])


class Shower(nn.Module):
    """Lets through what it is given, and remembers it, also of its copies."""

    seen: ClassVar[list[Tensor]] = []

    def forward(self, z: Tensor) -> Tensor:
        self.seen.append(z)
        return z


@pytest.mark.parametrize("code", ["2", "-1", "first"])
def test_a_code_that_is_not_there_is_refused(code, tmp_path, command):
    folder = trained(tmp_path, RING, command)
    done = command("sample", folder, "--traverse", code)
    assert done.code == 2
    assert len(done.err.splitlines()) == 1
    assert "traverse" in done.err
    assert not list(folder.glob("traversal*"))


def test_a_run_without_codes_has_none_to_traverse(tmp_path, command):
    folder = trained(tmp_path, {**RING, "game": "gan"}, command)
    done = command("sample", folder, "--traverse", "0")
    assert done.code == 2
    assert len(done.err.splitlines()) == 1
    assert "infogan" in done.err


def test_a_traversal_has_one_row_at_least(tmp_path):
    """Three samples are asked for, and a continuous code has ten values."""
    run = build(parse({"name": "it", **RING}))
    checkpoint.save(tmp_path / "checkpoints", run.state, {})
    values, found = traverse(run, tmp_path, 1, 3, average=True, member=0, note=print)
    assert found.shape == (1, 10, 2)
    assert (len(values), values[0], values[-1]) == (10, -1, 1)


def test_groups_of_points_have_colours_of_their_own():
    target = torch.tensor([[-1.0, -1.0], [1.0, 1.0]])
    groups = [torch.tensor([[-0.5, 0.0]]), torch.tensor([[0.5, 0.0]]), torch.full((1, 2), torch.nan)]
    image = coloured(groups, ["a", "b", "c"], target, size=2160)
    # the view is 1.5 to each side of 0, on a box of 1872 pixels from (144, 186)
    left, right = (image.getpixel((round(144 + (1 + u / 1.5) / 2 * 1872), 186 + 936)) for u in (-0.5, 0.5))
    assert left != right
    assert (255, 255, 255) not in (left, right)
    for wrong in ([], groups[:2]):
        with pytest.raises(UsageError):
            coloured(wrong, ["a"], target)
    for nothing in (torch.zeros(0, 2), torch.full((3, 2), math.nan)):
        with pytest.raises(UsageError, match=r"needs points \[n, 2\]|no target point is finite"):
            coloured([target], ["a"], nothing)
    lost = torch.cat([target, torch.full((1, 2), math.nan)])
    assert coloured([target], ["a"], lost).tobytes() == coloured([target], ["a"], target).tobytes()


def test_a_traversal_is_of_the_average_where_it_is_wanted(tmp_path):
    raw = {
        **small.RING,
        "critic": {},
        "game": "infogan",
        "networks": {"name": "mlp", "width": 8, "depth": 2, "latent": 14},
        "ema": {"decay": 0.9},
    }
    run = build(parse({"name": "it", **raw}))
    zero = {key: torch.zeros_like(t) for key, t in run.state.average["G"].items()}
    checkpoint.save(tmp_path / "checkpoints", run.state._replace(average={"G": zero}), {})
    made = {
        average: traverse(run, tmp_path, 0, 8, average=average, member=0, note=print)[1]
        for average in (True, False)
    }
    assert not made[True].any(), "a generator whose weights are all zero"
    assert made[False].any()


def test_a_name_stands_above_its_own_group():
    target = torch.tensor([[-1.0, -1.0], [1.0, 1.0]])
    groups = [torch.tensor([[-0.5, 0.0]]), torch.tensor([[0.5, 0.0]])]
    image = coloured(groups, ["", "MMM"], target, size=2160)
    above = []
    for u in (-0.5, 0.5):
        x, y = (round(at) for at in place(u / 1.5, 0))
        above.append(len(image.crop((x - 30, y - 90, x + 30, y - 30)).getcolors()) > 1)
    assert above == [False, True]
