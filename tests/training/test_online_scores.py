"""Evaluation during training computes on the device of the run, in full float32, and moves images once."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from steadygan import config, metrics
from steadygan.build import Run, build
from steadygan.data import Data
from steadygan.game.state import member
from steadygan.metrics.extractors.base import Extractor, Read
from steadygan.runs import classifiers, score_setup
from steadygan.training import online_scores
from steadygan.training.online_scores import generated, lower_is_better, make_evaluator
from steadygan.training.sampling import latents, samples

IMAGES: dict[str, Any] = {
    "data": {"name": "digits", "limit": 200},
    "networks": {"name": "dcgan", "latent": 4, "width": 4, "batch_norm": True},
    "optimizer": {"name": "adam", "lr": 1e-3},
    "batch": 16,
    "steps": 10,
    "device": "cpu",
}


def made(**changes: Any) -> Run:
    return build(config.parse({**IMAGES, **changes}))


def evaluator(run: Run, device: torch.device, extractor: Extractor | None) -> Any:
    seeds = [int(member["seed"]) for member in run.members]
    return make_evaluator(
        run.game,
        run.data,
        latent=run.latent,
        seeds=seeds,
        ensemble=run.ensemble,
        device=device,
        extractor=extractor,
        images=100,
    )


def means(images: Tensor) -> Read:
    return Read(torch.stack([images.flatten(1).mean(1), images.flatten(1).std(1)], 1))


TOY = Extractor("toy", means, 2, "none", "none")


@pytest.mark.parametrize("seeds", [1, 2])
def test_images_are_moved_once_a_member_and_not_for_each_score(seeds, monkeypatch):
    """They are moved for the picture. The scores get features."""
    run = made(seeds=seeds)
    look = evaluator(run, torch.device("cpu"), TOY)
    moved: list[tuple[int, ...]] = []
    plain = Tensor.cpu
    monkeypatch.setattr(Tensor, "cpu", lambda t: moved.append(tuple(t.shape)) or plain(t))
    found = look(run.state)
    assert [shape for shape in moved if len(shape) == 4] == [(100, 1, 8, 8)] * seeds
    assert len(found.samples) == seeds
    assert {"kd_pixels8", "fd_toy"} <= set(found.scores)


def test_all_of_an_evaluation_is_in_full_float32(monkeypatch):
    """Real images once, when the evaluation is set up, and generated ones at each of them."""
    inside: list[torch.device] = []
    read: list[int] = []

    @contextmanager
    def options(device: torch.device, **given: bool) -> Iterator[None]:
        assert not any(given.values())
        inside.append(device)
        yield
        inside.pop()

    def watched(images: Tensor) -> Read:
        assert inside == [torch.device("cpu")]
        read.append(len(images))
        return means(images)

    monkeypatch.setattr(online_scores.gpu, "options", options)
    run = made()
    look = evaluator(run, torch.device("cpu"), TOY._replace(read=watched))
    assert read == [100]
    look(run.state)
    assert read == [100, 100]


@pytest.mark.parametrize("batch_norm", [True, False])
def test_samples_are_made_where_the_state_is(batch_norm):
    """The meta device stands for a GPU: it refuses operands of the CPU."""
    run = made(networks={"name": "dcgan", "latent": 4, "width": 4, "batch_norm": batch_norm})
    state = torch.utils._pytree.tree_map(lambda t: t.to("meta"), run.state)
    z = latents(0, "look", 600, 4, torch.float32).to("meta")
    found = samples(run.game.players["G"].network, state, z)
    assert found.is_meta
    assert found.shape == (600, 1, 8, 8)


def test_the_extractor_and_the_classifier_of_a_run_are_on_its_device(monkeypatch):
    asked: list[object] = []
    monkeypatch.setattr(
        classifiers, "named_extractor", lambda name, channels, note, *, device: asked.append(device)
    )
    monkeypatch.setattr(classifiers, "load_or_train", lambda name, note, device: asked.append(device))
    run = made()
    cuda = torch.device("cuda:1")
    run = run._replace(device=cuda, data=run.data._replace(mode_classifier="digits"))
    score_setup.evaluator(
        run, config.parse({**IMAGES, "evaluation": {"extractor": "lite0"}}).evaluation, print
    )
    assert asked == [cuda, cuda]


CPU = torch.device("cpu")


def test_each_member_is_looked_at_with_its_own_latents_and_statistics():
    """Those of its seed, as a single run of that seed."""
    run = made(seeds=2, seed=3)
    found = evaluator(run, CPU, TOY)(run.state)
    for index, seed in enumerate((3, 4)):
        one, z = member(run.state, index), latents(seed, "look", 100, run.latent, torch.float32)
        wanted = samples(run.game.players["G"].network, one, z, seed=seed)
        torch.testing.assert_close(found.samples[index], wanted, rtol=1e-4, atol=1e-5)
        alone = evaluator(made(seed=seed), CPU, TOY)(one).scores
        assert {key: values[index] for key, values in found.scores.items()} == pytest.approx(alone)


def test_scores_are_of_as_many_samples_with_a_classifier_as_without(monkeypatch):
    """The classifier alone is shown more."""
    run, counted = made(), []
    monkeypatch.setattr(online_scores, "STACKED", 1000)
    monkeypatch.setattr(metrics, "stacked_modes", lambda found, classifier: counted.append(len(found)) or {})
    options = {
        "latent": run.latent,
        "seeds": [0],
        "ensemble": False,
        "device": CPU,
        "extractor": TOY,
        "images": 100,
    }
    plain, more = (
        make_evaluator(run.game, run.data, **options, classifier=given)(run.state)
        for given in (None, object())
    )
    assert counted == [1000]
    assert more.scores == pytest.approx(plain.scores, rel=1e-4, abs=1e-6)
    assert more.samples[0].shape == plain.samples[0].shape


def test_which_scores_are_better_when_lower():
    """Distances, errors and what goes wrong; of all others more is better."""
    lower = [
        "sliced_w2",
        "mode_kl",
        "unbalance",
        "close_pairs",
        "close_gradient",
        "gradient_max",
        "distance",
        "radius",
        "kd_pixels8",
    ]
    lower += ["fd_lite0", "kd_lite0", "fid", "kid"]
    higher = [
        "modes",
        "high_quality",
        "rows_covered",
        "recall_lite0",
        "precision_lite0",
        "density_lite0",
        "coverage_lite0",
        "is",
    ]
    assert [name for name in lower + higher if lower_is_better(name)] == lower


def test_a_finite_set_of_points_has_a_thousand_rows_at_most():
    found = [generated(Data("own", (2,), rows=torch.zeros(count, 2))) for count in (1000, 1001)]
    assert found == [4096, 1000]


def test_pixels_of_a_few_thousand_are_compared_however_many_samples_there_are(monkeypatch):
    monkeypatch.setattr(online_scores, "KEPT", 20)
    monkeypatch.setattr(online_scores, "_summary", lambda *_: None)
    run = made()
    look = make_evaluator(
        run.game,
        run.data,
        latent=run.latent,
        seeds=[0],
        ensemble=False,
        device=torch.device("cpu"),
        images=60,
        against_training=True,
    )
    assert len(look(run.state).samples[0]) == 20
