"""The loops of one's own in `examples/`, fed with the pure step's draws, end where the pure step ends."""

import ast
import re
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from steadygan import losses, optim
from steadygan.data import Data, ring
from steadygan.draws import Draws
from steadygan.dynamics import alternating
from steadygan.game import Game, Network, flatten
from steadygan.games import FakeAsReal, Term, View, began, cr, ebgan, gan
from steadygan.networks import NETWORKS, ROLES
from steadygan.normalization import gradient_normalized, penalty_gradient_normalized
from steadygan.penalties import PENALTIES
from steadygan.state import complete, initial

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("own_loop_*.py"))


class Example(NamedTuple):
    """The game that a loop is to play, and the options of its `train`."""

    game: dict[str, Any]
    options: dict[str, Any]
    make: Callable[..., Game] = gan
    roles: tuple[str, str] | None = None  # of G and D, where they are no pair


ENERGIES = ("own_loop_began", "own_loop_ebgan")


GAMES = {
    "own_loop_began": Example(
        # a rate that makes k count within twenty steps
        {"gamma": 0.7, "rate": 0.05},
        {"gamma": 0.7, "rate": 0.05},
        began,
        ("uniform generator", "autoencoder"),
    ),
    "own_loop_consistency": Example(
        {"loss": losses.non_saturating, "agreements": [cr(10.0, move="jitter")]}, {"weight": 10.0}
    ),
    "own_loop_ebgan": Example(
        {"margin": 2.0, "pull_away": 0.3}, {"margin": 2.0, "weight": 0.3}, ebgan, ("generator", "autoencoder")
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
    "own_loop_pgn": Example({"loss": losses.wasserstein, "view": View(penalty_gradient_normalized)}, {}),
    "own_loop_r1": Example(
        {"loss": losses.non_saturating, "penalties": [Term(PENALTIES["r1"](), 10.0)]}, {"weight": 10.0}
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

Nets = tuple[nn.Module, nn.Module]


def points(roles: tuple[str, str] | None) -> tuple[Data, Nets]:
    return ring(size=None), nets("mlp", roles, (2,), latent=LATENT, width=16, depth=2)


def images(roles: tuple[str, str] | None) -> tuple[Data, Nets]:
    rows = torch.randint(256, (40, 1, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
    data = Data("noise", (1, 8, 8), rows, flip=True)
    return data, nets("dcgan", roles, (1, 8, 8), latent=LATENT, width=4, batch_norm=True)


def nets(name: str, roles: tuple[str, str] | None, *shape: Any, **options: Any) -> Nets:
    """A pair of the architecture, or a network of it for each role."""
    pair = NETWORKS[name](*shape, **options)
    if roles is None:
        return pair
    G, D = (pair[0] if role == "generator" else ROLES[role][name](*shape, **options) for role in roles)
    return G, D


def pure(data: Data, pair: Nets, optimizer: optim.Optimizer, example: Example) -> tuple[Any, Draws]:
    """The state after STEPS pure steps, and the draws that led there."""
    G, D = pair
    game = example.make(
        Network(G),
        Network(D),
        shape=data.shape,
        batch=BATCH,
        latent=LATENT,
        **example.game,
    )
    optimizers = {"G": optimizer, "D": optimizer}
    rule = alternating(game, optimizers)
    draws = Draws(game, rule.rounds, data, [0], members=False, dtype=torch.float64)
    state = initial({"G": G, "D": D}, optimizers, scalars=dict(game.scalars), dtype=torch.float64)
    step = complete(rule, game)
    for number in range(STEPS):
        state, _ = step(state, draws(number))
    return state, draws


def batches(draws: Draws) -> Iterator[tuple[Tensor, ...]]:
    for number in range(STEPS):
        for_D, for_G = draws(number)
        yield (
            *(for_D[name] for name in ("x_real", "move/real", "z", "z_pool", "alpha") if name in for_D),
            for_G["z"],
        )


@each_example
@pytest.mark.parametrize("of", [points, images], ids=lambda of: of.__name__)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_ends_where_the_pure_step_ends(path, of, optimizer):
    torch.manual_seed(0)
    example = GAMES[path.stem]
    data, pair = of(example.roles)
    G, D = (net.double() for net in pair)
    functional, of_torch = OPTIMIZERS[optimizer]
    state, draws = pure(data, (G, D), functional, example)

    start = {net: flatten(net) for net in (G, D)}
    train = runpy.run_path(str(path))["train"]
    train(G, D, of_torch(G.parameters()), of_torch(D.parameters()), batches(draws), **example.options)
    for name, net in (("G", G), ("D", D)):
        assert (flatten(net) - start[net]).norm() > 0.01
        torch.testing.assert_close(state.params[name], flatten(net), rtol=0, atol=1e-9)
        for key, buffer in net.named_buffers():
            torch.testing.assert_close(state.buffers[name][key], buffer, rtol=0, atol=1e-9)


@each_example
def test_runs_as_a_script(path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", [str(path), "3"])
    runpy.run_path(str(path), run_name="__main__")
    assert re.fullmatch(r"\d of 8 modes, \d+% of samples near one\n", capsys.readouterr().out)


@pytest.mark.slow
@pytest.mark.parametrize(  # BEGAN finds no more than one mode of a ring
    "path", [p for p in EXAMPLES if p.stem != "own_loop_began"], ids=lambda path: path.stem
)
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
    assert len(text.splitlines()) <= (60 if path.stem in ENERGIES else 40)
    taken = {
        name.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ImportFrom) and node.module == "steadygan"
        for name in node.names
    }
    assert taken
    assert taken <= {"losses", "penalties", "fake_as_real", "normalization", "consistency", "energies"}
    assert text.count("steadygan") == text.count("from steadygan import")


def test_every_example_is_here():
    assert [path.stem for path in EXAMPLES] == sorted(GAMES)
