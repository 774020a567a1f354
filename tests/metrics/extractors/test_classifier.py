"""Classifiers: what they learn, that the files hold what they should, and that bad ones are told in a sentence."""

import dataclasses
import hashlib
import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from steadygan.data import digits
from steadygan.data.fashion_files import DEBIAN_FASHION
from steadygan.errors import UsageError
from steadygan.files import cache_folder
from steadygan.metrics.extractors import classifier as module
from steadygan.metrics.extractors.classifier import Classifier, accuracy, cnn, train
from steadygan.metrics.extractors.classifier_file import CARD, WEIGHTS, load_classifier, save_classifier
from steadygan.runs import classifiers

ROWS = torch.randint(0, 256, (6, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("STEADYGAN_DATA", raising=False)


@pytest.fixture
def small() -> Classifier:
    net = train(ROWS, LABELS, 3, steps=3, width=2)
    made = {"name": "cnn", "shape": [1, 8, 8], "classes": ["a", "b", "c"], "width": 2}
    return Classifier(net, {"name": "six", "architecture": made, "seed": 0, "steps": 3})


# ---------------------------------------------------------------------------------------------------------- training


def test_six_images_are_learned_by_heart():
    net = train(ROWS, LABELS, 3, steps=100, width=8)
    assert net(ROWS / 127.5 - 1).argmax(1).tolist() == LABELS.tolist()


def test_weights_are_a_function_of_the_seed_alone():
    before = torch.random.get_rng_state()
    first, again, other = (train(ROWS, LABELS, 3, steps=3, seed=seed, width=2) for seed in (5, 5, 6))
    assert torch.equal(torch.random.get_rng_state(), before)  # nobody else's draws move
    torch.rand(1)
    for a, b in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first[1].weight, other[1].weight)


def test_it_computes_on_the_device_of_its_module_and_gives_all_features_back_at_once(small, monkeypatch):
    """The meta device stands for a GPU."""
    monkeypatch.setattr(module, "CHUNK", 4)
    moved: list[tuple[int, ...]] = []
    monkeypatch.setattr(torch.Tensor, "cpu", lambda t: moved.append(tuple(t.shape)) or t)
    small.module.to("meta")
    assert small.features(ROWS / 127.5 - 1).is_meta
    assert moved == [(6, module.FEATURES)]


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (2, 15, 31)], ids=str)
def test_images_of_any_size_come_down_to_features(shape):
    trunk, head = cnn(shape, classes=4, width=2)
    features = trunk(torch.zeros(2, *shape))
    assert features.shape == (2, 128)
    assert head(features).shape == (2, 4)


@pytest.mark.parametrize("labels", [[0, 1, 2, 0, 1, 3], [0, 1, 2, 0, 1, -1], [0, 1]], ids=str)
def test_labels_that_do_not_fit(labels):
    with pytest.raises(UsageError, match="6 images need as many labels from 0 to 2"):
        train(ROWS, torch.tensor(labels), 3, steps=1)


def test_images_that_are_too_small():
    with pytest.raises(UsageError, match="8 x 8 pixels or more"):
        cnn((1, 7, 8), 2)


# --------------------------------------------------------------------------------------------------------------- use


def test_features_logits_and_probabilities_belong_together(small):
    x = ROWS / 127.5 - 1
    features, logits = small.features(x), small.logits(x)
    head = small.module[1]
    by_hand = features.double() @ head.weight.double().T + head.bias.double()
    torch.testing.assert_close(logits.double(), by_hand, rtol=1e-5, atol=1e-6)
    odds = by_hand.exp()
    torch.testing.assert_close(
        small.probabilities(x).double(), odds / odds.sum(1, keepdim=True), rtol=1e-5, atol=1e-6
    )
    assert (features >= 0).all()  # after the ReLU
    assert torch.equal(features, small.features(x))  # dropout is over


def test_an_image_is_classified_by_itself(small, monkeypatch):
    x = ROWS / 127.5 - 1
    whole = small.logits(x)
    monkeypatch.setattr(module, "CHUNK", 4)
    torch.testing.assert_close(small.logits(x), whole, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(small.logits(x[2:3]), whole[2:3], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "x", [ROWS, torch.zeros(2, 3, 8, 8), torch.zeros(1, 8, 8)], ids=["bytes", "3", "one"]
)
def test_images_of_another_kind(small, x):
    with pytest.raises(UsageError, match=r"the classifier of six takes images \['n', 1, 8, 8\] in \[-1, 1\]"):
        small.logits(x)


def test_accuracy_and_its_error_by_hand():
    # always class 0: 2 of 6 right, sqrt(1/3 2/3 / 6)
    constant = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    constant[1].weight.data.zero_()
    constant[1].bias.data = torch.tensor([1.0, 0.0, 0.0])
    made = Classifier(constant, {"name": "x", "architecture": {"shape": [1, 8, 8]}})
    assert accuracy(made, ROWS, LABELS) == (pytest.approx(1 / 3), pytest.approx(math.sqrt(2 / 9 / 6)))
    # all right: as if half an image were wrong, never an error of 0
    share, error = accuracy(made, ROWS, torch.zeros(6, dtype=torch.long))
    assert (share, error) == (1.0, pytest.approx(math.sqrt(1 / 12 * 11 / 12 / 6)))


# ------------------------------------------------------------------------------------------------------------- files


def test_what_was_saved_is_what_is_read(small, tmp_path):
    saved = save_classifier(small, tmp_path / "made")
    assert sorted(p.name for p in (tmp_path / "made").iterdir()) == [CARD, WEIGHTS]
    raw = (tmp_path / "made" / WEIGHTS).read_bytes()
    assert saved.card["sha256"] == hashlib.sha256(raw).hexdigest()
    before = torch.random.get_rng_state()
    found = load_classifier(tmp_path / "made")
    assert torch.equal(torch.random.get_rng_state(), before)
    assert found.card == saved.card == {"format": 1, **small.card, "sha256": saved.card["sha256"]}
    x = ROWS / 127.5 - 1
    assert torch.equal(found.logits(x), small.logits(x))


def _truncated(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-3])


def _foreign_weights(folder: Path) -> None:
    raw = b"PK\x03\x04 a pickle in a zip"
    (folder / WEIGHTS).write_bytes(raw)
    _edit(folder, sha256=hashlib.sha256(raw).hexdigest())


def _edit(folder: Path, **changes: object) -> None:
    card = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps({**card, **changes}))


SPOILED = {
    "truncated": (_truncated, "truncated or changed"),
    "foreign weights": (_foreign_weights, "cannot be read"),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), "cannot be read"),
    "no card": (lambda folder: (folder / CARD).unlink(), "has no classifier.json"),
    "half a card": (lambda folder: (folder / CARD).write_text('{"format": 1,'), "cannot be read"),
    "another card": (lambda folder: (folder / CARD).write_text("[1]"), "cannot be read"),
    "no UTF-8": (lambda folder: (folder / CARD).write_bytes(b"\xff\xfe"), "cannot be read"),
    "another accuracy": (lambda folder: _edit(folder, accuracy=["0.9"]), "is damaged"),
    "another set": (lambda folder: _edit(folder, name=3), "is damaged"),
    "another format": (lambda folder: _edit(folder, format=2), "has format 2, but this version reads 1"),
    "another network": (
        lambda folder: _edit(folder, architecture={"shape": [1, 8, 8], "classes": ["a"], "width": 2}),
        "cannot be read",
    ),
}


@pytest.mark.parametrize("how", SPOILED)
def test_a_spoiled_classifier_is_told_in_a_sentence(small, tmp_path, how):
    spoil, words = SPOILED[how]
    save_classifier(small, tmp_path)
    spoil(tmp_path)
    with pytest.raises(UsageError, match=words) as told:
        load_classifier(tmp_path)
    assert "steadygan classifier" in str(told.value) or how == "another format"
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("given", "folder"),
    [
        ({"STEADYGAN_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, "/a"),
        ({"XDG_CACHE_HOME": "/b"}, "/b/steadygan"),
        ({}, "/home/me/.cache/steadygan"),
        ({"STEADYGAN_CACHE": "~/c"}, "/home/me/c"),
    ],
    ids=["own", "xdg", "home", "tilde"],
)
def test_the_cache_is_where_the_user_says(monkeypatch, given, folder):
    for name in ("STEADYGAN_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/home/me", **given}.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Path(folder)


# -------------------------------------------------------------------------------------------------------------- sets


def test_the_digits_are_split_and_keep_their_labels():
    sklearn = pytest.importorskip("sklearn.datasets").load_digits()
    found = classifiers.labelled("digits")
    pixels = (sklearn.images * (255 / 16)).round().astype("uint8")
    known = {image.tobytes(): label for image, label in zip(pixels, sklearn.target, strict=True)}
    assert len(known) == 1797
    sides = [(found.rows, found.labels), (found.held_rows, found.held_labels)]
    seen = [{row.numpy().tobytes(): int(n) for row, n in zip(*side, strict=True)} for side in sides]
    assert [len(side) for side in seen] == [1438, 359]
    assert seen[0] | seen[1] == known  # as many as all: none is in both


def test_a_set_without_its_labels_is_refused(monkeypatch):
    bare = digits()._replace(labels=None)
    monkeypatch.setattr(classifiers, "load", lambda source: bare)
    with pytest.raises(UsageError, match="put its label files beside"):
        classifiers.labelled("digits")


def test_the_published_labels():
    """The first garments of the training set: ankle boot, T-shirt, T-shirt, dress, T-shirt."""
    if not (DEBIAN_FASHION / "train-labels-idx1-ubyte.gz").exists():
        pytest.skip("the Debian package's files are not here")
    found = classifiers.labelled("fashion-mnist")
    assert [found.classes[n] for n in found.labels[:5]] == [
        "ankle boot",
        "T-shirt",
        "T-shirt",
        "dress",
        "T-shirt",
    ]
    assert torch.bincount(found.labels).tolist() == [6000] * 10
    assert torch.bincount(found.held_labels).tolist() == [1000] * 10


# ----------------------------------------------------------------------------------------------------------- command


def test_the_command_makes_the_same_classifier_twice(command, tmp_path):
    first = command("classifier", "digits", "--steps", 3)
    assert (first.code, first.err) == (0, "")
    again = command("classifier", "digits", "--steps", 3, "--out", tmp_path / "again")
    folder = tmp_path / "cache" / "classifiers" / "digits"
    assert str(folder) in first.out
    assert "accuracy on 359 held-out images after 3 steps" in again.out
    assert (folder / WEIGHTS).read_bytes() == (tmp_path / "again" / WEIGHTS).read_bytes()
    card = json.loads((folder / CARD).read_text())
    assert card == json.loads((tmp_path / "again" / CARD).read_text())
    assert (card["seed"], card["steps"], card["split"]["train"]) == (0, 3, 1438)
    assert set(load_file(folder / WEIGHTS)) == set(load_classifier(folder).module.state_dict())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["digit"], "did you mean 'digits'?"),
        (["stacked-digits"], "there is no classifier for 'stacked-digits'"),
        (["fashion-mnist", "--data-root", "/no/such/folder"], "does not exist"),
        (["digits", "--steps", "0"], "--steps"),
        (["digits", "--steps", "1", "--out", "file"], "cannot be written to file"),
    ],
    ids=["name", "no labels", "root", "steps", "out"],
)
def test_what_the_command_refuses(command, tmp_path, monkeypatch, words, told):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("mine")
    outcome = command("classifier", *words)
    assert outcome.code == 2
    assert told in outcome.err
    assert Path("file").read_text() == "mine"


@pytest.mark.slow
def test_the_digits_classifier_reaches_98_percent(tmp_path):
    found = classifiers.make("digits", tmp_path)
    assert found.card["accuracy"] >= 0.98


@pytest.mark.parametrize(
    "card", [{"accuracy": 0.9, "accuracy_error": 0.1}, {"split": {"held_out": 3}}], ids=str
)
def test_a_card_without_its_accuracy_is_told_in_a_sentence(small, card):
    with pytest.raises(UsageError, match="card lacks"):
        classifiers.accuracy_text(dataclasses.replace(small, card=card))
