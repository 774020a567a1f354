"""Networks that know nothing of this package have the trainer's gifts: compiling, exact resume, ensembles, samples.

In float64, so that rounding decides nothing in fifty steps on any processor.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import steadygan
from tests.commands.strangers import STRANGERS

pytestmark = pytest.mark.slow
each_stranger = pytest.mark.parametrize("name", STRANGERS)

STEPS, HALF = 50, 25


def train(name, out, *, steps=STEPS, **more):
    """Train a stranger's pair; return the run and the tensors of its newest checkpoint."""
    G, D, data, options = STRANGERS[name]
    given = {
        "latent": 16,
        "batch": 16,
        "precision": "float64",
        "compile": False,
        "quiet": True,
        **options,
        **more,
    }
    given["every"] = {"log": 25, "score": 25, "checkpoint": 25, "diagnostics": 25}
    run = steadygan.fit(G, D, data, steps=steps, out=out, **given)
    return run, tensors(run)


def tensors(run):
    newest = sorted((run.folder / "checkpoints").glob("step-*"))[-1]
    return load_file(newest / "state.safetensors")


def close(found, wanted, tolerance=1e-7):
    assert found.keys() == wanted.keys()
    for key, tensor in wanted.items():
        scale = tensor.double().abs().max().item()
        gap = (found[key].double() - tensor.double()).abs().max().item() if tensor.numel() else 0
        assert gap <= tolerance * max(scale, 1e-3), key


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Callable[[str], Any]:
    """`whole(name)`: what `train` gives of a stranger, trained once for all tests, which leave it as it is."""
    return cache(lambda name: train(name, tmp_path_factory.mktemp(name) / "run"))


@each_stranger
def test_a_resumed_run_has_the_same_bits(name, whole, tmp_path):
    _, wanted = whole(name)
    run, _ = train(name, tmp_path / "parts", steps=HALF)
    run.resume(steps=STEPS)
    again = tensors(run)
    assert again.keys() == wanted.keys()
    assert all(torch.equal(again[key], tensor) for key, tensor in wanted.items())


@pytest.mark.parametrize("name", ["transformer", "stylegan", "wave"])
def test_the_compiled_step_is_the_eager_step(name, whole, tmp_path, capfd):
    _, eager = whole(name)
    _, compiled = train(name, tmp_path / "compiled", compile=True)
    assert "uncompiled" not in capfd.readouterr().err
    close(compiled, eager)


@each_stranger
def test_a_member_of_an_ensemble_is_the_single_run_with_its_seed(name, tmp_path):
    _, both = train(name, tmp_path / "both", seeds=2, seed=3)
    _, single = train(name, tmp_path / "single", seed=4)
    close({key: tensor[1] for key, tensor in both.items()}, single)
    other = {key: tensor[0] for key, tensor in both.items() if key.startswith("params")}
    assert all(not torch.equal(other[key], single[key]) for key in other)


@each_stranger
def test_it_is_sampled_diagnosed_evaluated_and_reported(name, whole):
    run, _ = whole(name)
    shape = STRANGERS[name].data.shape[1:]
    assert run.sample(5).shape == (5, *shape)
    assert run.diagnose()[0].name in steadygan.diagnostics.VERDICTS
    card = run.evaluate(generated=100, extractor="pixels8")[0]
    assert all(score.value == score.value for score in card.scores.values())
    latents = torch.randn(3, 16)
    assert steadygan.load(run.folder)(latents).shape == (3, *shape)
    assert "<html" in run.report().read_text()[:200].lower()
