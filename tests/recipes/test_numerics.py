"""The recipes of The Numerics of GANs on images: each builds, steps, and is what its name says.

The data need not be here: random images of their shapes stand in, with narrow networks and batches of two.
"""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from steadygan import config
from steadygan.build import Run, build
from steadygan.config import registry
from steadygan.data import Data
from steadygan.game.vector_field import field
from steadygan.recipes.catalogue import find_recipe, recipe_files, recipe_names

OBJECTIVES = {"standard": "non_saturating", "js": "minimax", "indicator": "indicator"}
NAMES = [
    name
    for name in recipe_names()
    if "-numerics-" in name and name.endswith(tuple(OBJECTIVES)) and not name.startswith("celeba64")
]
"""All but the sweeps and the faces, of which tests/recipes/test_recipes.py has the settings. Most are overrides."""
FILES = [name for name in NAMES if name in recipe_files()]
SHAPES = {"cifar10": (3, 32, 32), "fashion-mnist": (1, 32, 32)}
OBJECTIVE_NAMES = {"standard": "standard", "js": "zero-sum JS", "indicator": "indicator"}
NETWORKS = ["dcgan3", "dcgan3-nobn", "dcgan3-nobn-cf", "dcgan4", "dcgan4-nobn", "dcgan4-nobn-cf"]
NETWORKS += ["conv3", "conv4", "resnet"]
FIG_7 = [
    ("dcgan4", "standard"),
    ("dcgan4-nobn", "standard"),
    ("dcgan4-nobn-cf", "standard"),
    ("dcgan4-nobn-cf", "js"),
]
FIG_8 = [(f"{net}-fc", objective) for net, objective in FIG_7]
"""The networks of figure 7 with one more linear layer in D."""

each_recipe = pytest.mark.parametrize("name", NAMES)
each_file = pytest.mark.parametrize("name", FILES)


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, shape in SHAPES.items():
        rows = torch.randint(256, (8, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        key = name.replace("-", "_")
        part = registry.DATA[key]._replace(make=lambda rows=rows, shape=shape, **_: Data("some", shape, rows))
        monkeypatch.setitem(registry.DATA, key, part)


def parts(recipe: str) -> tuple[str, str, str]:
    """The data, the network and the objective that a recipe is named after."""
    data, rest = recipe.split("-numerics-")
    net, objective = rest.rsplit("-", 1)
    return data, net, objective


def narrow(recipe: str, *changes: str) -> Run:
    small = ["batch=2", "compile=false", "device=cpu", "networks.width=4", "networks.latent=5"]
    return build(config.parse(config.override(find_recipe(recipe)[1], [*small, *changes])))


@each_file
@pytest.mark.parametrize(
    "rule",
    ["", "dynamics=simultaneous", "dynamics=alternating", "dynamics.name=smoothing"],
)
def test_a_step_of_each_of_the_papers_columns_is_finite(name, rule):
    """The changes are those that the header names."""
    run = narrow(name, *([] if rule == "" else [rule]))
    state, logs = run.step(run.state, run.draws(0))
    assert logs["finite"] == 1
    assert all(logs[f"loss/{player}"].isfinite() for player in "DG")
    for player, p in run.state.params.items():
        assert not torch.equal(state.params[player], p)


@each_recipe
def test_the_network_is_the_one_of_the_name(name):
    _, net, _ = parts(name)
    run = narrow(name)
    D = run.game.players["D"].network.module
    norms = [m for m in D.modules() if isinstance(m, nn.BatchNorm2d)]
    strided = [m for m in D.modules() if isinstance(m, nn.Conv2d) and m.stride == (2, 2)]
    widths = [m.out_channels for m in strided]
    assert bool(norms) == (net in ("dcgan3", "dcgan4", "dcgan4-fc"))
    assert len(strided) == (4 if net == "resnet" else int(net.removeprefix("dcgan").removeprefix("conv")[0]))
    doubling = net.startswith("dcgan") and "-cf" not in net
    assert widths == [4 << k if doubling else 4 for k in range(len(widths))]
    linear = [m for m in D.modules() if isinstance(m, nn.Linear)]
    assert len(linear) == (2 if net.startswith("conv") or net.endswith("-fc") else 1)
    assert sum(isinstance(m, nn.Linear) for m in run.game.players["G"].network.module.modules()) == (
        2 if net == "conv4" else 1
    ), "G stays as it is"


def softplus(t: Tensor) -> Tensor:
    return torch.log1p(t.exp())


LOSSES: dict[str, Any] = {
    "standard": (lambda r, f: softplus(-r) + softplus(f), lambda f: softplus(-f)),
    "js": (lambda r, f: softplus(-r) + softplus(f), lambda f: -softplus(f)),
    "indicator": (lambda r, f: f - r, lambda f: -f),
}
"""The objectives as the published code has them, of one pair of logits."""


@each_recipe
def test_the_objective_is_the_one_of_the_name(name):
    _, _, objective = parts(name)
    run = narrow(name)
    (draw,) = run.draws(0)
    state = run.state
    nets = {player: run.game.players[player].network for player in "DG"}
    fake = nets["G"](state.params["G"], dict(state.buffers["G"]), draw["z"])
    f, r = (nets["D"](state.params["D"], dict(state.buffers["D"]), x) for x in (fake, draw["x_real"]))
    of_D, of_G = LOSSES[objective]
    _, _, logs = field(run.game, ["D", "G"], state, draw)
    torch.testing.assert_close(logs["loss/D"], of_D(r, f).mean().detach())
    torch.testing.assert_close(logs["loss/G"], of_G(f).mean().detach())
    assert find_recipe(name)[1]["game"]["loss"] == OBJECTIVES[objective]


@each_recipe
def test_settings_are_the_papers(name):
    """gamma .1 for three layers and 10 for four; TensorFlow's RMSProp at 1e-4; no mirrored images."""
    _, net, _ = parts(name)
    made = config.parse(find_recipe(name)[1])
    assert made.dynamics.name == "consensus"
    assert made.dynamics.gamma == (0.1 if net.startswith(("dcgan3", "conv3")) else 10)
    assert (made.optimizer.name, made.optimizer.lr) == ("tf_rmsprop", 1e-4)
    assert (made.networks.latent, made.networks.width) == (256, 128 if net == "resnet" else 64)
    assert (made.batch, made.steps, made.data.flip) == (64, 150_000, False)


@pytest.mark.parametrize("data", SHAPES)
def test_every_network_and_every_objective_of_a_dcgan_are_there(data):
    """All three objectives on each network; with a linear layer more, those that figure 8 has."""
    named = {parts(name)[1:] for name in NAMES if parts(name)[0] == data}
    assert named == {(net, objective) for net in NETWORKS for objective in OBJECTIVES} | {*FIG_8}


@pytest.mark.parametrize(("net", "objective"), FIG_7)
def test_a_recipe_of_figure_8_is_that_of_figure_7_with_a_layer_of_512_units(net, objective):
    wanted = find_recipe(f"cifar10-numerics-{net}-{objective}")[1]
    made = find_recipe(f"cifar10-numerics-{net}-fc-{objective}")[1]
    assert made.pop("paper") == {"source": "Mescheder 2017", "row": "Fig. 8"}
    assert "7" in wanted.pop("paper")["row"]
    assert made["networks"].pop("hidden") == 512
    assert made == wanted


@each_file
def test_a_header_claims_figures_of_what_the_paper_has_alone(name):
    """Fig. 6 to 8 have JS, and figure 9 all three objectives, with dcgan4-nobn-cf and with nothing else."""
    _, net, objective = parts(name)
    header = " ".join(
        line.lstrip("# ") for line in recipe_files()[name].read_text().splitlines() if line.startswith("#")
    )
    assert f"steadygan train {name} " in header + " "
    assert OBJECTIVE_NAMES[objective] in header.split(" Command:")[0]
    if objective != "standard":
        shown = net.removesuffix("-fc") == "dcgan4-nobn-cf"
        assert ("Fig." in header, "nothing is published" in header) == (shown, not shown)
