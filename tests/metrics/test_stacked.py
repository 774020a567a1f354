"""Stacked digits: what the set holds, and modes counted by hand, by simulation and by closed forms."""

import json
import math
from collections import Counter

import pytest
import torch
from torch import Tensor, nn

from steadygan import config
from steadygan.data import stacked_digits
from steadygan.data.sources import ClassifierPlan
from steadygan.errors import UsageError
from steadygan.metrics import Classifier, expected_kl, expected_modes, stacked_modes
from steadygan.runs import classifiers, train
from steadygan.training.online_scores import reference

RAW = {
    "data": {"name": "stacked_digits", "size": 1000},
    "networks": {"name": "dcgan", "latent": 4, "width": 4},
    "optimizer": {"name": "adam", "lr": 1e-3},
    "steps": 2,
    "batch": 8,
    "compile": False,
}


def known_digits() -> dict[bytes, int]:
    """Each image's class by its bytes, from scikit-learn itself."""
    sklearn = pytest.importorskip("sklearn.datasets").load_digits()
    pixels = (sklearn.images * (255 / 16)).round().astype("uint8")
    return {image.tobytes(): int(label) for image, label in zip(pixels, sklearn.target, strict=True)}


# ---------------------------------------------------------------------------------------------------------- the set


def test_every_thousand_holds_each_triple_once():
    # independent draws of three digits would leave 37 of 100 triples out of a thousand
    known = known_digits()
    rows = stacked_digits(size=2500).rows
    triples = [tuple(known[channel.numpy().tobytes()] for channel in image) for image in rows]
    for start in (0, 1000):
        assert sorted(Counter(triples[start : start + 1000]).values()) == [1] * 1000
    assert len(set(triples[2000:])) == 500
    assert len({a for a, _, _ in triples[:50]}) > 5  # in the order of the triples, it would be 1


def test_every_digit_is_used_and_channels_are_chosen_apart():
    known = known_digits()
    rows = stacked_digits(size=10_000, seed=1).rows
    used = Counter(channel.numpy().tobytes() for image in rows for channel in image)
    assert used.keys() == known.keys()  # 30,000 draws of 1,797 leave one out once in 10^4 trials
    classes = Counter(known[image] for image in used.elements())
    assert set(classes.values()) == {3000}
    same = [torch.equal(a, b) for a, b, _ in rows if known[a.numpy().tobytes()] == known[b.numpy().tobytes()]]
    assert len(same) == 1000
    assert sum(same) < 20  # one image of 180 by chance: 5.6 of 1,000; all, were they drawn together


def test_the_set_is_fixed_by_its_seed():
    first, again, other = (stacked_digits(size=20, seed=seed).rows for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert stacked_digits(size=20).shape == tuple(first.shape[1:]) == (3, 8, 8)
    assert first.dtype == torch.uint8


@pytest.mark.parametrize("size", [0, -1, 2.5])
def test_a_size_that_is_none(size):
    with pytest.raises(UsageError, match=r"size is .*; give a whole number, 1 or more"):
        stacked_digits(size=size)


# ----------------------------------------------------------------------------------------------------------- counts


def by_pixel() -> Classifier:
    """A classifier whose class k is the images with pixel k on and the others off."""
    head = nn.Linear(64, 10, bias=False)
    head.weight.data = torch.eye(64)[:10]
    card = {"name": "pixels", "architecture": {"shape": [1, 8, 8]}}
    return Classifier(nn.Sequential(nn.Flatten(), head), card)


def drawn(triples: list[tuple[int, ...]]) -> Tensor:
    images = -torch.ones(len(triples), len(triples[0]), 64)
    for image, triple in zip(images, triples, strict=True):
        for channel, k in zip(image, triple, strict=True):
            channel[k] = 1
    return images.view(*images.shape[:2], 8, 8)


EVERY = [(a, b, c) for a in range(10) for b in range(10) for c in range(10)]
BY_HAND = {
    # each mode once
    "even": (EVERY, 1000, 0.0),
    # one mode alone: log 1000 = 6.9078; channels mixed up with samples would make several of it
    "collapsed": ([(1, 2, 3)] * 7, 1, math.log(1000)),
    # half of the modes, evenly: log 2
    "half": (EVERY[:500], 500, math.log(2)),
    # p = 2/3, 1/3: log 1000 + 2/3 log 2/3 + 1/3 log 1/3; a mean over seen modes only would give 0.057
    "uneven": ([(9, 9, 9), (9, 9, 9), (0, 9, 0)], 2, math.log(1000) + 2 / 3 * math.log(2) - math.log(3)),
    # orders of one triple are different modes; a sum or a set of the classes would make one of them
    "orders": ([(1, 2, 3), (3, 2, 1), (2, 1, 3), (1, 3, 2)], 4, math.log(250)),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_modes_by_hand(name):
    triples, count, kl = BY_HAND[name]
    found = stacked_modes(drawn(triples), by_pixel())
    assert found == {"modes": count, "mode_kl": pytest.approx(kl, abs=1e-12)}


def test_two_channels_have_a_hundred_modes():
    found = stacked_modes(drawn([(a, b) for a, b, _ in EVERY[::10]]), by_pixel())
    assert found == {"modes": 100, "mode_kl": pytest.approx(0, abs=1e-12)}


@pytest.mark.parametrize("n", [300, 5000])
def test_what_perfect_samples_score_is_what_simulation_gives(n):
    # (m - 1) / 2n alone would be wrong by a factor of two at n = 300
    m, trials = 1000, 200
    draws = torch.randint(m, (trials, n), generator=torch.Generator().manual_seed(n))
    counts = torch.stack([torch.bincount(row, minlength=m) for row in draws]).double()
    p = counts / n
    found = {"modes": (counts > 0).sum(1).double(), "kl": torch.xlogy(p, m * p).sum(1)}
    for wanted, values in ((expected_modes(n), found["modes"]), (expected_kl(n), found["kl"])):
        assert wanted == pytest.approx(values.mean().item(), abs=4 * values.std().item() / trials**0.5)


def test_what_perfect_samples_score_by_hand():
    assert expected_modes(1) == pytest.approx(1)
    assert expected_modes(2, m=2) == pytest.approx(1.5)
    assert expected_kl(1) == pytest.approx(math.log(1000))
    assert expected_kl(2, m=2) == pytest.approx(math.log(2) / 2)  # both in one mode, or one in each
    assert expected_kl(26_000) == pytest.approx(999 / 52_000, rel=0.01)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (torch.full((2, 3, 8, 8), math.nan), "2 of 2 images are not finite"),
        (torch.zeros(2, 3, 9, 9), r"takes images \['n', 1, 8, 8\] in \[-1, 1\]"),
        (torch.zeros(3, 8, 8), r"must be \[n, C, H, W\]"),
        (torch.zeros(0, 3, 8, 8), "n at least 1"),
    ],
    ids=["NaN", "size", "no batch", "none"],
)
def test_what_cannot_be_counted(images, words):
    with pytest.raises(UsageError, match=words):
        stacked_modes(images, by_pixel())


# -------------------------------------------------------------------------------------------------------------- runs


@pytest.fixture
def quick(tmp_path, monkeypatch):
    """A cache of one's own, and a digits classifier of a few steps."""
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "cache"))
    short = ClassifierPlan(steps=3, width=32)
    monkeypatch.setitem(classifiers.SETS, "digits", classifiers.SETS["digits"]._replace(classifier=short))
    return tmp_path


@pytest.mark.slow
def test_a_run_counts_modes_with_a_classifier_that_is_made_once(quick, quiet):
    settings = config.parse({**RAW, "seeds": 2, "keep": {"best": "mode_kl"}})
    train.start(settings, quick / "first", quiet)
    lines = [json.loads(line) for line in (quick / "first" / "events.jsonl").read_text().splitlines()]
    scores = [line for line in lines if "modes" in line]
    assert scores
    for line in scores:
        assert all(1 <= n <= 1000 for n in line["modes"])
        assert all(0 <= kl <= math.log(1000) + 1e-9 for kl in line["mode_kl"])
        assert len(line["kd_pixels8"]) == len(line["modes"]) == len(line["mode_kl"]) == 2
    assert quiet.file.getvalue().count("training the classifier of digits first") == 1
    assert quiet.file.getvalue().count("scores use the classifier of digits") == 1
    train.start(settings, quick / "second", quiet)
    assert quiet.file.getvalue().count("training the classifier of digits first") == 1


def test_a_damaged_classifier_ends_the_run_before_it_begins(quick, quiet):
    classifiers.make("digits", classifiers.classifier_folder("digits"))
    weights = classifiers.classifier_folder("digits") / "classifier.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(UsageError, match=r"truncated or changed.*make it again with steadygan classifier"):
        train.start(config.parse(RAW), quick / "out", quiet)
    assert not (quick / "out").exists()


def test_plain_digits_have_no_modes_to_keep_the_best_by(quick, quiet):
    with pytest.raises(UsageError, match="has no score 'mode_kl'"):
        train.start(
            config.parse({**RAW, "data": "digits", "keep": {"best": "mode_kl"}}), quick / "out", quiet
        )


@pytest.mark.slow
def test_real_images_have_all_modes(tmp_path, monkeypatch, quiet):
    """Counted by the real classifier: 5,000 perfect samples would show 993 modes and a KL of 0.106."""
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path))
    found = stacked_modes(
        reference(stacked_digits(), 5000), classifiers.load_or_train("digits", lambda text: None)
    )
    assert found["modes"] >= 980
    assert found["mode_kl"] < 0.13
