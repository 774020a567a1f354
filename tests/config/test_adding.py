"""What CONTRIBUTING.md says about adding a method is true: each kind takes the source files that it names.

A copy of the package gets a data set, a network, a penalty, an update rule and a game of its own, and trains them.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import steadygan

pytestmark = pytest.mark.slow

NEW = {
    "data/moons.py": '''
"""Two half circles."""

import math

import torch
from torch import Generator, Tensor

from steadygan.data.dataset import Data


def moons(std: float) -> Data:
    """Points on two half circles, with noise."""

    def draw(generator: Generator, count: int) -> Tensor:
        angle = math.pi * torch.rand(count, generator=generator)
        points = torch.stack([angle.cos(), angle.sin()], 1)
        points[::2] = 0.5 - points[::2]
        return points + std * torch.randn(count, 2, generator=generator)

    return Data("moons", (2,), draw=draw)
''',
    "networks/_shallow.py": '''
"""One hidden layer each."""

from torch import nn


def shallow(shape: tuple[int, ...], latent: int, width: int) -> tuple[nn.Module, nn.Module]:
    """Generator and critic of one hidden layer."""
    G = nn.Sequential(nn.Linear(latent, width), nn.ReLU(), nn.Linear(width, *shape))
    D = nn.Sequential(nn.Linear(*shape, width), nn.ReLU(), nn.Linear(width, 1), nn.Flatten(0))
    return G, D
''',
    "dynamics/_half.py": '''
"""Simultaneous steps in which G moves half as far."""

from collections.abc import Mapping, Sequence

from steadygan.dynamics.player_steps import update
from steadygan.game import Draw, Game, Logs, Rule, State
from steadygan.game.optimizers import Optimizer


def half(game: Game, optimizers: Mapping[str, Optimizer], share: float) -> Rule:
    """Every player steps, G by this share of its step."""
    everyone = tuple(game.players)

    def step(state: State, batch: Sequence[Draw]) -> tuple[State, Logs]:
        moved, logs = update(game, optimizers, everyone, state, batch[0])
        before, after = state.params["G"], moved.params["G"]
        return moved._replace(params={**moved.params, "G": before + share * (after - before)}), logs

    return Rule(step, (everyone,))
''',
    "games/_means.py": '''
"""A critic of means: D parts the means of its logits, G follows."""

from steadygan.game import Field, Game, Network, Player


def means(G: Network, D: Network, shape: tuple[int, ...], batch: int, latent: int, scale: float) -> Game:
    """D minimises scale * (mean fake - mean real), G minimises -mean fake."""

    def of_D(nets, draw, scalars):
        return scale * (nets["D"](nets["G"](draw["z"])).mean() - nets["D"](draw["x_real"]).mean()), {}

    def of_G(nets, draw, scalars):
        return -nets["D"](nets["G"](draw["z"])).mean(), {}

    fields = {"x_real": Field("real", (batch, *shape)), "z": Field("normal", (batch, latent))}
    return Game({"D": Player(D, of_D, ("x_real", "z"), critic=True), "G": Player(G, of_G, ("z",))}, fields)
''',
}

ROWS = {
    "DATA: dict[str, DataPart] = {": """
    "moons": DataPart(moons, "Two half circles.", {"std": Option(Positive, 0.1, "Size of the noise.")}),""",
    "NETWORKS: dict[str, NetworkPart] = {": """
    "shallow": NetworkPart(shallow, "One hidden layer.", {"latent": _latent, "width": Option(Count, 8, "Units.")}),""",
    "DYNAMICS: dict[str, RulePart] = {": """
    "half": RulePart(half, "G moves half as far.", {"share": Option(Share, 0.5, "Which share of its step.")}),""",
    "GAMES: dict[str, GamePart] = {": """
    "means": GamePart(means, "A critic of means.", {"scale": Option(Positive, 1.0, "Factor of D's loss.")}),""",
}

IMPORTS = """
from steadygan.data.moons import moons
from steadygan.dynamics._half import half
from steadygan.games._means import means
from steadygan.networks._shallow import shallow
"""

PENALTY = """
    "cubed": lambda: Penalty("cubed", "real", lambda logits, slope: norm(slope) ** 3, meaning="The cubed norm."),
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """A copy of the package with one more of each kind: five new files, and lines in two that are there."""
    root = tmp_path_factory.mktemp("source")
    there = root / "steadygan"
    shutil.copytree(Path(steadygan.__file__).parent, there, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in NEW.items():
        (there / name).write_text(text.lstrip())
    registry = (there / "config" / "registry.py").read_text()
    for table, row in ROWS.items():
        assert registry.count(table) == 1
        registry = registry.replace(table, table + row)
    (there / "config" / "registry.py").write_text(registry.replace("\n__all__", f"{IMPORTS}\n__all__", 1))
    penalties = (there / "penalties.py").read_text()
    table = "PENALTIES: dict[str, Callable[..., Penalty]] = {\n"
    (there / "penalties.py").write_text(penalties.replace(table, table + PENALTY))
    return root


COMMON = {"data": {"name": "moons", "std": 0.2}, "networks": "shallow", "steps": 4, "compile": False}
COMMON |= {"optimizer": {"name": "sgd", "lr": 0.01}, "every": {"log": 1}, "device": "cpu"}

RECIPES = {
    "a data set, a network, a penalty and a rule": {
        "critic": {"penalties": [{"name": "cubed", "weight": 2}]},
        "dynamics": "half",
    },
    "a game": {"game": {"name": "means", "scale": 2}},
}


LISTED = {"data": "moons", "networks": "shallow", "dynamics": "half", "games": "means", "penalties": "cubed"}

COMMANDS = """
import json, sys
from steadygan.cli import app
from steadygan.recipes.listing import listed

print(json.dumps({kind: list(listed(kind)) for kind in sys.argv[1:]}))
for name in ("a", "b"):
    sys.argv = ["steadygan", "train", f"{name}.yaml", "--out", name]
    try:
        app.main()
    except SystemExit as stop:
        assert not stop.code, name
"""


@pytest.fixture(scope="module")
def told(package: Path) -> dict[str, list[str]]:
    """What is listed of each kind, by a process with this package in place of the installed one.

    It also trains the first recipe in the folder `a` of the package, and the second one in `b`.
    """
    for name, recipe in zip("ab", RECIPES.values(), strict=True):
        (package / f"{name}.yaml").write_text(yaml.safe_dump({**COMMON, **recipe}))
    env = {**os.environ, "PYTHONPATH": str(package), "PYTHONDONTWRITEBYTECODE": "1"}
    words = [sys.executable, "-c", COMMANDS, *LISTED]
    done = subprocess.run(words, capture_output=True, text=True, env=env, cwd=package)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[0])


@pytest.mark.parametrize(("folder", "kind"), zip("ab", RECIPES))
def test_what_is_added_trains(folder, kind, package, told):
    lines = [json.loads(line) for line in (package / folder / "events.jsonl").read_text().splitlines()]
    losses = {line["step"]: line["loss/G"] for line in lines if "loss/G" in line}
    assert sorted(losses) == [1, 2, 3, 4]
    assert len(set(losses.values())) == 4  # it moves
    first = next(line for line in lines if line["step"] == 1)
    assert ("penalty/cubed" in first) == ("critic" in RECIPES[kind])


def test_what_is_added_is_listed(told):
    assert [name for kind, name in LISTED.items() if name not in " ".join(told[kind])] == []
