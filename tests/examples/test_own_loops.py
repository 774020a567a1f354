"""The loops of one's own in `examples/`, fed with the pure step's draws, end where the pure step ends."""

import ast
import re
import runpy
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from paths import ROOT
from steadygan import losses
from steadygan.config import registry
from steadygan.data import Data, ring
from steadygan.dynamics import alternating
from steadygan.game import Draw, Game, Network, flatten
from steadygan.game import optimizers as optim
from steadygan.game.batches import Draws
from steadygan.game.state import complete, initial
from steadygan.games import FakeAsReal, Term, View, began, cr, ebgan, gan, infogan, mdgan, reg_gan
from steadygan.networks import Classed, Codes, Uniform
from steadygan.normalization import gradient_normalized, penalty_gradient_normalized
from steadygan.penalties import PENALTIES

NETWORKS = {name: part.make for name, part in registry.NETWORKS.items()}

# Each shows a method, but for the Monitor's, which watches one (tests/diagnostics/test_monitor.py).
LOOPS = sorted((ROOT / "examples").glob("own_loop_*.py"))
EXAMPLES = [path for path in LOOPS if path.stem != "own_loop_monitor"]


def of_gan(for_D: Draw, for_G: Draw) -> tuple[Tensor, ...]:
    """What a loop of G and D is fed of a step's draws."""
    fields = ("x_real", "move/real", "z", "z_pool", "alpha")
    return *(for_D[name] for name in fields if name in for_D), for_G["z"]


def of_began(for_D: Draw, for_G: Draw) -> tuple[Tensor, ...]:
    return for_D["x_real"], *(2 * torch.special.ndtr(draw["z"]) - 1 for draw in (for_D, for_G))


def of_conditional(for_D: Draw, for_G: Draw) -> tuple[Tensor, ...]:
    fakes = (part for z in (for_D["z"], for_G["z"]) for part in (z[:, CLASSES:], z[:, :CLASSES].argmax(1)))
    return for_D["x_real"], for_D["y_real"], *fakes


def of_reg_gan(for_D: Draw, for_G: Draw, for_E: Draw) -> tuple[Any, ...]:
    return (for_D["x_real"], for_D["z"]), (for_G["x_real"], for_G["z"]), for_E["x_real"]


def of_mdgan(for_D1: Draw, for_both: Draw, for_D2: Draw, for_G: Draw) -> tuple[Any, ...]:
    return for_D1["x_real"], for_both["x_real"], (for_D2["x_real"], for_D2["z"]), for_G["z"]


class Example(NamedTuple):
    """The game that a loop is to play, the options of its `train`, and what this is fed of a step's draws.

    Of a game of other players than G and D, `train` takes the networks and their optimizers under the players'
    names. `first` is what the generator begins with, which a loop of one's own does by itself.
    """

    game: dict[str, Any]
    options: dict[str, Any]
    make: Callable[..., Game] = gan
    feed: Callable[..., tuple[Any, ...]] = of_gan
    first: nn.Module | None = None
    latent: int = 3

    @property
    def players(self) -> dict[str, str]:
        return registry.GAMES[self.make.__name__].players

    @property
    def classes(self) -> int:
        return self.game.get("classes", 0)


CLASSES = 8

GAMES = {
    "own_loop_began": Example(
        # a rate that makes k count within twenty steps
        {"gamma": 0.7, "rate": 0.05},
        {"gamma": 0.7, "rate": 0.05},
        began,
        of_began,
        Uniform(),
    ),
    "own_loop_conditional": Example(
        {"loss": losses.non_saturating, "penalties": [Term(PENALTIES["r1"](), 10.0)], "classes": CLASSES},
        {"weight": 10.0},
        feed=of_conditional,
    ),
    "own_loop_consistency": Example(
        {"loss": losses.non_saturating, "agreements": [cr(10.0, move="jitter")]}, {"weight": 10.0}
    ),
    "own_loop_ebgan": Example({"margin": 2.0, "pull_away": 0.3}, {"margin": 2.0, "weight": 0.3}, ebgan),
    "own_loop_fake_as_real": Example(
        {
            "loss": losses.non_saturating,
            "penalties": [Term(PENALTIES["r1"](), 10.0)],
            "far": FakeAsReal(4, 4, 3),
        },
        {"weight": 10.0, "count": 4},
    ),
    "own_loop_gradient_normalization": Example(
        {"loss": losses.wasserstein, "view": View(gradient_normalized)}, {}
    ),
    "own_loop_infogan": Example(
        {
            "loss": losses.non_saturating,
            "penalties": [Term(PENALTIES["r1"](), 10.0)],
            "categorical": (2,),
            "continuous": 1,
            "weight": 0.5,
        },
        {"classes": 2, "numbers": 1, "weight": 0.5, "penalty": 10.0},
        infogan,
        first=Codes((2,), 1),
        latent=4,
    ),
    "own_loop_mdgan": Example({"weight_mode": 0.5}, {"weight_mode": 0.5}, mdgan, of_mdgan),
    "own_loop_pgn": Example({"loss": losses.wasserstein, "view": View(penalty_gradient_normalized)}, {}),
    "own_loop_r1": Example(
        {"loss": losses.non_saturating, "penalties": [Term(PENALTIES["r1"](), 10.0)]}, {"weight": 10.0}
    ),
    "own_loop_reg_gan": Example(
        {
            "loss": losses.non_saturating,
            "penalties": [Term(PENALTIES["r1"](), 10.0)],
            "weight_distance": 0.3,
            "weight_mode": 0.7,
        },
        {"weight": 10.0, "weight_distance": 0.3, "weight_mode": 0.7},
        reg_gan,
        of_reg_gan,
    ),
    "own_loop_wgan_gp": Example(
        {"loss": losses.wasserstein, "penalties": [Term(PENALTIES["one_centered"](), 10.0)]}, {"weight": 10.0}
    ),
}
STEPS, BATCH = 20, 16

each_example = pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)

OPTIMIZERS: dict[str, tuple[optim.Optimizer, Callable[..., torch.optim.Optimizer]]] = {
    "sgd": (optim.sgd(0.05), lambda params: torch.optim.SGD(params, 0.05)),
    "adam": (optim.adam(0.01, (0.0, 0.99)), lambda params: torch.optim.Adam(params, 0.01, (0.0, 0.99))),
    "rmsprop": (optim.rmsprop(0.003), lambda params: torch.optim.RMSprop(params, 0.003)),
}

Nets = dict[str, nn.Module]


def points(example: Example) -> tuple[Data, Nets]:
    return ring(size=None), modules("mlp", example, (2,), latent=example.latent, width=16, depth=2)


def images(example: Example) -> tuple[Data, Nets]:
    rows = torch.randint(256, (60, 1, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
    nets = modules("dcgan", example, (1, 8, 8), latent=example.latent, width=4, batch_norm=True)
    labels = torch.arange(60) % CLASSES
    return Data("noise", (1, 8, 8), rows, flip=True, labels=labels, classes=CLASSES), nets


def modules(name: str, example: Example, shape: tuple[int, ...], **options: Any) -> Nets:
    """A network of double precision for each player, by its role."""
    classes = {"classes": example.classes} if example.classes else {}

    def pair() -> dict[str, nn.Module]:
        return dict(zip(("generator", "critic"), NETWORKS[name](shape, **options, **classes)))

    first = pair()

    def one(role: str) -> nn.Module:
        if role in ("generator", "critic"):
            return first.pop(role) if role in first else pair()[role]
        given = {key: example.game[key] for key in registry.GAMES[example.make.__name__].given.get(role, ())}
        return registry.NETWORKS[name].roles[role](shape, **options, **given)

    return {player: one(role).double() for player, role in example.players.items()}


def pure(data: Data, nets: Nets, optimizer: optim.Optimizer, example: Example) -> tuple[Any, Draws]:
    """The state after STEPS pure steps, and the draws that led there."""
    if example.first:
        nets = {**nets, "G": nn.Sequential(example.first, nets["G"])}
    if example.classes:
        nets = {**nets, "G": Classed(nets["G"], example.classes)}
    wrapped = {name: Network(net) for name, net in nets.items()}
    latent = example.classes + example.latent
    game = example.make(**wrapped, shape=data.shape, batch=BATCH, latent=latent, **example.game)
    optimizers = dict.fromkeys(nets, optimizer)
    rule = alternating(game, optimizers)
    draws = Draws(game, rule.rounds, data, [0], members=False, dtype=torch.float64)
    step = complete(rule, game)
    state = initial(nets, optimizers, scalars=dict(game.scalars), dtype=torch.float64)
    for number in range(STEPS):
        state, _ = step(state, draws(number))
    return state, draws


@each_example
@pytest.mark.parametrize(
    ("of", "optimizer"),
    [*((points, name) for name in OPTIMIZERS), (images, "adam")],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_ends_where_the_pure_step_ends(path, of, optimizer):
    torch.manual_seed(0)
    example = GAMES[path.stem]
    data, nets = of(example)
    functional, of_torch = OPTIMIZERS[optimizer]
    state, draws = pure(data, nets, functional, example)

    start = {name: flatten(net) for name, net in nets.items()}
    train = runpy.run_path(str(path))["train"]
    optimizers = {name: of_torch(net.parameters()) for name, net in nets.items()}
    apart = nets.keys() == {"G", "D"}
    given = (nets["G"], nets["D"], optimizers["G"], optimizers["D"]) if apart else (nets, optimizers)
    train(*given, (example.feed(*draws(number)) for number in range(STEPS)), **example.options)
    for name, net in nets.items():
        assert (flatten(net) - start[name]).norm() > 0.01
        torch.testing.assert_close(state.params[name], flatten(net), rtol=0, atol=1e-9)
        # MDGAN's G and E, who move together, each make a pass of their own, and InfoGAN's players share one: there
        # the loop's statistics see another number of passes.
        for key, buffer in net.named_buffers() if example.make not in (mdgan, infogan) else ():
            inside = name == "G" and (("1." if example.first else "") or ("G." if example.classes else ""))
            found = state.buffers[name][f"{inside or ''}{key}"]
            torch.testing.assert_close(found, buffer, rtol=0, atol=1e-9)


@each_example
def test_runs_as_a_script(path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", [str(path), "3"])
    runpy.run_path(str(path), run_name="__main__")
    assert re.fullmatch(r"\d of 8 modes, \d+% of samples near one\n", capsys.readouterr().out)


WHOLE = [f"own_loop_{name}" for name in ("ebgan", "fake_as_real")]
"""Loops that also train to their end. All of them take the pure steps of recipes, whose figures are known."""


@pytest.mark.slow
@pytest.mark.parametrize("path", [p for p in EXAMPLES if p.stem in WHOLE], ids=lambda path: path.stem)
def test_covers_the_ring(path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", [str(path)])
    runpy.run_path(str(path), run_name="__main__")
    found = re.match(r"8 of 8 modes, (\d+)%", capsys.readouterr().out)
    assert found
    assert int(found[1]) >= 50


@each_example
def test_is_short_and_takes_only_the_ideas(path):
    text = path.read_text()
    example = GAMES[path.stem]
    assert len(text.splitlines()) <= (40 if example.make is gan and not example.classes else 60)
    taken = {
        name.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ImportFrom) and node.module == "steadygan"
        for name in node.names
    }
    assert taken
    assert taken <= {
        "losses",
        "penalties",
        "fake_as_real",
        "normalization",
        "consistency",
        "information",
        "energies",
    }
    assert text.count("steadygan") == text.count("from steadygan import")


def test_every_example_is_here():
    assert [path.stem for path in EXAMPLES] == sorted(GAMES)
