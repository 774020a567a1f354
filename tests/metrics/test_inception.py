"""The Inception score against torchmetrics and by hand."""

import math

import pytest
import torch

from steadygan.errors import UsageError
from steadygan.metrics import inception_score


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_by_hand():
    """p(y|x) = (.9, .1) and (.1, .9): exp(log 2 - H(.9)); swapping KL's arguments gives 5/3."""
    logits = torch.tensor([[0.9, 0.1], [0.1, 0.9]]).log()
    entropy = -0.9 * math.log(0.9) - 0.1 * math.log(0.1)
    assert inception_score(logits, splits=1).value == pytest.approx(2 * math.exp(-entropy), rel=1e-6)


@pytest.mark.parametrize("classes", [2, 10])
def test_its_ends(classes):
    sure = 1e4 * torch.eye(classes)  # probabilities that underflow to 0
    assert inception_score(sure.repeat(5, 1), splits=1).value == pytest.approx(classes, rel=1e-12)
    assert inception_score(sure[:1].repeat(20, 1)).value == pytest.approx(1, rel=1e-12)  # one class
    assert inception_score(torch.zeros(20, classes)).value == pytest.approx(1, rel=1e-12)  # never sure


def test_torchmetrics_has_the_same_score():
    from torch import nn
    from torchmetrics.image.inception import InceptionScore

    logits = 2 * torch.randn(700, 12, generator=seeded(0))
    theirs = InceptionScore(nn.Identity(), splits=1)
    theirs.update(logits)
    ours = inception_score(logits, splits=1)
    assert ours.value == pytest.approx(theirs.compute()[0].item(), rel=1e-5)
    assert math.isnan(ours.error)  # of one split
    theirs = InceptionScore(nn.Identity())
    theirs.update(logits)
    mean, std = (x.item() for x in theirs.compute())  # over other splits
    ours = inception_score(logits)
    assert ours.value == pytest.approx(mean, abs=5 * ours.error)
    assert 0.4 < ours.error * math.sqrt(10) / std < 2.5


def test_labels_in_turn_are_not_one_class_a_split():
    # image i shows class i % 10: split i % 10 would have one class, and score 1
    logits = 100 * torch.eye(10).repeat(200, 1)
    found = inception_score(logits)
    # 200 images a split: log p(y) is biased by (10 - 1) / (2 * 200), at most
    assert 10 * math.exp(-2 * 9 / 400) < found.value < 10


@pytest.mark.parametrize(
    ("logits", "words"),
    [
        (torch.zeros(9, 3), "n at least 10"),
        (torch.zeros(20), "n, k"),
        (torch.full((20, 3), math.nan), "20 of 20 images have logits that are not finite"),
    ],
    ids=["few", "shape", "nan"],
)
def test_unfit_logits_are_one_sentence(logits, words):
    with pytest.raises(UsageError, match=words):
        inception_score(logits)
