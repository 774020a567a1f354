"""A loaded generator makes the samples of `steadygan sample`, as a module of torch with the right weights."""

import math
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils import parameters_to_vector

import steadygan
from steadygan.commands.sample import sample
from steadygan.config import parse
from steadygan.errors import UsageError
from steadygan.noise import HiddenNoise
from steadygan.runs import train
from steadygan.runs.generator import Generator
from steadygan.training.checkpoint import checkpoints

SMALL = {
    "batch": 8,
    "compile": False,
    "steps": 3,
    "every": {"log": 3, "score": 3, "checkpoint": 3, "diagnostics": 3},
    "optimizer": {"name": "adam", "lr": 5e-2},
    "evaluation": {"images": 100},
    "seed": 5,
}
MLP = {"name": "mlp", "width": 8, "depth": 2, "latent": 3}
DCGAN = {"name": "dcgan", "latent": 4, "width": 4}
CONDITIONAL = {"name": "gan", "conditional": True}
RUNS = {
    "points": {"data": "ring8", "networks": MLP},
    "batch norm, average": {
        "data": "digits",
        "networks": {**DCGAN, "batch_norm": True},
        "ema": {"decay": 0.5},
    },
    "labels": {"data": "ring8", "networks": MLP, "game": CONDITIONAL},
    "labels, spectral norm, batch norm": {
        "data": "digits",
        "networks": {"name": "biggan32", "latent": 4, "width": 4},
        "game": CONDITIONAL,
        "ema": {"decay": 0.5},
    },
    "codes": {
        "data": "ring8",
        "networks": {**MLP, "latent": 7},
        "game": {"name": "infogan", "categorical": [3], "continuous": 1},
    },
    "uniform latents": {"data": "digits", "networks": DCGAN, "game": "began"},
    "an encoder": {"data": "ring8", "networks": MLP, "game": "reg_gan"},
    "hidden noise": {"data": "ring8", "networks": MLP, "noise": {"G": 0.5}},
    "float64": {"data": "ring8", "networks": MLP, "precision": "float64"},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """`trained(name)`: the folder of a run of `RUNS`, trained once."""
    from io import StringIO

    from rich.console import Console

    made = {}

    def get(name, **more):
        if name not in made:
            made[name] = tmp_path_factory.mktemp("load") / "run"
            train.start(parse({**SMALL, **RUNS[name]}), made[name], Console(file=StringIO()))
        return made[name]

    return get


def rows(count: int, classes: int) -> torch.Tensor:
    """The labels of a grid of samples with one class in each row."""
    wide = min(max(1, count // classes), math.ceil(math.sqrt(count)))
    return torch.tensor([i // wide % classes for i in range(count)])


@pytest.mark.parametrize("name", RUNS)
def test_samples_are_those_of_the_command(name, trained):
    G = steadygan.load(trained(name))
    found, _, _ = sample(trained(name), 12, average=True, member=0, note=print)
    labels = (rows(12, G.classes),) if G.classes else ()
    with torch.no_grad():
        x = G(G.latents(12), *labels)
    assert x.dtype == torch.float32
    assert tuple(x.shape[1:]) == G.shape
    assert G.latents(12).shape == (12, G.latent)
    # Of more than one number: a generator that ignores its latents would pass.
    assert x.std() > 1e-4
    torch.testing.assert_close(x, found, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("average", [True, False])
def test_weights_are_those_of_the_checkpoint(average, trained):
    name = "batch norm, average"
    G = steadygan.load(trained(name), average=average)
    state = load_file(checkpoints(trained(name) / "checkpoints")[-1] / "state.safetensors")
    wanted = state["average/G/params" if average else "params/G"]
    assert torch.equal(parameters_to_vector(G.parameters()), wanted)
    assert not torch.equal(state["average/G/params"], state["params/G"])


def test_batch_norm_has_the_statistics_of_its_weights(trained):
    """Means over batches of the layer's input, here of the first one, in a plain loop."""
    G = steadygan.load(trained("batch norm, average"))
    norm = next(part for part in G.modules() if isinstance(part, torch.nn.BatchNorm2d))
    first = torch.nn.Sequential(*G.net[:2])
    with torch.no_grad():
        h = first(torch.randn(16 * 64, G.latent, generator=torch.Generator().manual_seed(1)))
    assert (norm.running_mean - h.mean((0, 2, 3))).abs().max() < 5 * h.std() / 32
    assert torch.allclose(norm.running_var, h.var((0, 2, 3)), rtol=0.3)


def test_a_member_of_an_ensemble_is_the_single_run(tmp_path, trained, quiet):
    train.start(parse({**SMALL, **RUNS["points"], "seed": 4, "seeds": 2}), tmp_path / "run", quiet)
    G, single = steadygan.load(tmp_path / "run", member=1), steadygan.load(trained("points"))
    z = single.latents(5)
    assert torch.equal(G.latents(5), z)
    torch.testing.assert_close(G(z), single(z), rtol=1e-4, atol=1e-5)
    with pytest.raises(UsageError, match="member 2 does not exist"):
        steadygan.load(tmp_path / "run", member=2)


def test_the_data_need_not_be_there(tmp_path, quiet, trained):
    """Nor does a data set have to be read: the images are gone before the run is loaded."""
    (tmp_path / "images").mkdir()
    for number in range(100):
        Image.effect_noise((8, 8), 90).save(tmp_path / "images" / f"{number}.png")
    raw = {**SMALL, "data": {"name": "images", "path": str(tmp_path / "images")}, "networks": DCGAN}
    train.start(parse(raw), tmp_path / "run", quiet)
    found, _, _ = sample(tmp_path / "run", 3, average=True, member=0, note=print)
    shutil.rmtree(tmp_path / "images")
    G = steadygan.load(tmp_path / "run")
    torch.testing.assert_close(G(G.latents(3)).detach(), found, rtol=1e-5, atol=1e-6)


def test_it_can_be_trained_on(trained):
    G = steadygan.load(trained("hidden noise"))
    assert any(isinstance(part, HiddenNoise) for part in G.modules())
    z = G.latents(4)
    assert torch.equal(G(z), G(z))
    G.train()
    assert not torch.equal(G(z), G(z))
    G(z).sum().backward()
    assert all(p.grad is not None for p in G.parameters())


def test_latents_of_another_seed_are_others(trained):
    G = steadygan.load(trained("points"))
    assert torch.equal(G.latents(4, seed=5), G.latents(4))
    assert not torch.equal(G.latents(4, seed=6), G.latents(4))


def test_mistakes_are_sentences(tmp_path, trained, quiet):
    with pytest.raises(UsageError, match="conditional: call G\\(z, y\\) with labels y of 0 to 7"):
        steadygan.load(trained("labels"))(torch.zeros(2, 3))
    with pytest.raises(UsageError, match="takes no labels"):
        steadygan.load(trained("points"))(torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(UsageError, match="not a run folder"):
        steadygan.load(tmp_path)
    toy = {
        **SMALL,
        "data": "dirac",
        "networks": "dirac",
        "optimizer": {"name": "sgd", "lr": 0.1},
    }
    train.start(parse(toy), tmp_path / "toy", quiet)
    with pytest.raises(UsageError, match="toy game"):
        steadygan.load(tmp_path / "toy")


def test_what_is_no_name_is_told_to_write_one():
    with pytest.raises(UsageError, match=r"or USER/NAME, not int: write load\('runs/NAME'\)"):
        steadygan.load(5)
    with pytest.raises(
        UsageError, match=r"'https://example.org/x' is not the name .* write USER/NAME, in letters"
    ):
        steadygan.load("https://example.org/x")


@pytest.mark.parametrize(
    "given",
    [
        *("https://example.org/zz/b", "http://example.org/zz/b/tree/main", "git://example.org/zz/b.git"),
        *("https://example.org/zz/b?x=1", "zz/b@main"),
    ],
)
def test_an_address_and_a_revision_are_told_the_name_in_them(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as told:
        steadygan.load(given)
    assert str(told.value) == f"{given!r} is not the name of a repository: write USER/NAME, here 'zz/b'"
    Path("zz").mkdir()
    if "://" not in given:  # beside the folder zz it is a folder of another name
        with pytest.raises(UsageError, match="is not a run folder"):
            steadygan.load(given)


def test_seed_0_is_a_seed_of_latents():
    seven, zero = (Generator(nn.Linear(3, 2), 3, (2,), seed=seed) for seed in (7, 0))
    assert torch.equal(seven.latents(4, seed=0), zero.latents(4))
    assert not torch.equal(seven.latents(4), zero.latents(4))
