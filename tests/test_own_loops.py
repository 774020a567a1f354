"""The loops of one's own in `examples/`, fed with the pure step's draws, end where the pure step ends."""

import ast
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from steadygan import losses, optim
from steadygan.data import Data, ring
from steadygan.draws import Draws
from steadygan.dynamics import alternating
from steadygan.game import Draw, Game, Network, flatten
from steadygan.games import FakeAsReal, Term, View, cr, gan, mdgan, reg_gan
from steadygan.networks import NETWORKS, ROLES
from steadygan.normalization import gradient_normalized, penalty_gradient_normalized
from steadygan.penalties import PENALTIES
from steadygan.state import complete, initial
from steadygan.tables import PLAYERS

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("own_loop_*.py"))


def of_gan(for_D: Draw, for_G: Draw) -> tuple[Tensor, ...]:
    """What a loop of G and D is fed of a step's draws."""
    fields = ("x_real", "move/real", "z", "z_pool", "alpha")
    return *(for_D[name] for name in fields if name in for_D), for_G["z"]


def of_reg_gan(for_D: Draw, for_G: Draw, for_E: Draw) -> tuple[Any, ...]:
    return (for_D["x_real"], for_D["z"]), (for_G["x_real"], for_G["z"]), for_E["x_real"]


def of_mdgan(for_D1: Draw, for_both: Draw, for_D2: Draw, for_G: Draw) -> tuple[Any, ...]:
    return for_D1["x_real"], for_both["x_real"], (for_D2["x_real"], for_D2["z"]), for_G["z"]


class Example(NamedTuple):
    """The game that a loop is to play, the options of its `train`, and what this is fed of a step's draws.

    With other `players` than the two, `train` takes the networks and their optimizers under the players' names.
    """

    game: dict[str, Any]
    options: dict[str, Any]
    make: Callable[..., Game] = gan
    players: dict[str, str] = PLAYERS["gan"]
    feed: Callable[..., tuple[Any, ...]] = of_gan


GAMES = {
    "own_loop_consistency": Example(
        {"loss": losses.non_saturating, "agreements": [cr(10.0, move="jitter")]}, {"weight": 10.0}
    ),
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
    "own_loop_mdgan": Example({"weight_mode": 0.5}, {"weight_mode": 0.5}, mdgan, PLAYERS["mdgan"], of_mdgan),
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
        PLAYERS["reg_gan"],
        of_reg_gan,
    ),
    "own_loop_wgan_gp": Example(
        {"loss": losses.wasserstein, "penalties": [Term(PENALTIES["one_centered"](), 10.0)]}, {"weight": 10.0}
    ),
}
STEPS, BATCH, LATENT = 20, 16, 3

each_example = pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)

OPTIMIZERS: dict[str, tuple[optim.Optimizer, Callable[..., torch.optim.Optimizer]]] = {
    "sgd": (optim.sgd(0.05), lambda params: torch.optim.SGD(params, 0.05)),
    "adam": (optim.adam(0.01, (0.0, 0.99)), lambda params: torch.optim.Adam(params, 0.01, (0.0, 0.99))),
    "rmsprop": (optim.rmsprop(0.003), lambda params: torch.optim.RMSprop(params, 0.003)),
}

Nets = dict[str, nn.Module]


def points(players: dict[str, str]) -> tuple[Data, Nets]:
    return ring(size=None), modules("mlp", players, (2,), latent=LATENT, width=16, depth=2)


def images(players: dict[str, str]) -> tuple[Data, Nets]:
    rows = torch.randint(256, (60, 1, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
    nets = modules("dcgan", players, (1, 8, 8), latent=LATENT, width=4, batch_norm=True)
    return Data("noise", (1, 8, 8), rows, flip=True), nets


def modules(name: str, players: dict[str, str], shape: tuple[int, ...], **options: Any) -> Nets:
    """A network of double precision for each player, by its role."""

    first = dict(zip(("generator", "critic"), NETWORKS[name](shape, **options)))

    def one(role: str) -> nn.Module:
        if role in first:
            return first.pop(role)
        return (
            NETWORKS[name](shape, **options)[1] if role == "critic" else ROLES[role][name](shape, **options)
        )

    return {player: one(role).double() for player, role in players.items()}


def pure(data: Data, nets: Nets, optimizer: optim.Optimizer, example: Example) -> tuple[Any, Draws]:
    """The state after STEPS pure steps, and the draws that led there."""
    wrapped = {name: Network(net) for name, net in nets.items()}
    game = example.make(**wrapped, shape=data.shape, batch=BATCH, latent=LATENT, **example.game)
    optimizers = dict.fromkeys(nets, optimizer)
    rule = alternating(game, optimizers)
    draws = Draws(game, rule.rounds, data, [0], members=False, dtype=torch.float64)
    step, state = complete(rule, game), initial(nets, optimizers, dtype=torch.float64)
    for number in range(STEPS):
        state, _ = step(state, draws(number))
    return state, draws


@each_example
@pytest.mark.parametrize("of", [points, images], ids=lambda of: of.__name__)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_ends_where_the_pure_step_ends(path, of, optimizer):
    torch.manual_seed(0)
    example = GAMES[path.stem]
    data, nets = of(example.players)
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
        # Of MDGAN's G and E, who move together, each makes a pass of its own: G's statistics see two.
        for key, buffer in net.named_buffers() if example.make is not mdgan else ():
            torch.testing.assert_close(state.buffers[name][key], buffer, rtol=0, atol=1e-9)


@each_example
def test_runs_as_a_script(path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", [str(path), "3"])
    runpy.run_path(str(path), run_name="__main__")
    assert re.fullmatch(r"\d of 8 modes, \d+% of samples near one\n", capsys.readouterr().out)


@pytest.mark.slow
@each_example
def test_covers_the_ring(path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", [str(path)])
    runpy.run_path(str(path), run_name="__main__")
    least = 20 if path.stem == "own_loop_wgan_gp" else 50  # which takes five critic steps for each of G's
    found = re.match(r"8 of 8 modes, (\d+)%", capsys.readouterr().out)
    assert found
    assert int(found[1]) >= least


@each_example
def test_is_short_and_takes_only_the_ideas(path):
    text = path.read_text()
    assert len(text.splitlines()) <= (40 if GAMES[path.stem].make is gan else 60)
    taken = {
        name.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ImportFrom) and node.module == "steadygan"
        for name in node.names
    }
    assert taken
    assert taken <= {"losses", "penalties", "fake_as_real", "normalization", "consistency"}
    assert text.count("steadygan") == text.count("from steadygan import")


def test_every_example_is_here():
    assert [path.stem for path in EXAMPLES] == sorted(GAMES)
