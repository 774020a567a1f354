"""Evaluation during training computes on the device of the run, in full float32, and moves images once."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from steadygan import config
from steadygan.build import Run, build
from steadygan.metrics.extractors.base import Extractor, Read
from steadygan.runs import classifiers, score_setup
from steadygan.training import online_scores
from steadygan.training.online_scores import make_evaluator
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
