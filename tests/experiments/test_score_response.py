"""How scores answer to known damage: the claims' checker, the damages themselves, and the script in small."""

import sys

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from experiments import records
from experiments.pages import DOCS, replaced
from experiments.scores import damages, page
from experiments.scores import run as study
from steadygan.data import Data
from steadygan.errors import UsageError
from steadygan.metrics import Extractor, Read, Score

# ---------------------------------------------------------------------------------------------------------- claims


def curve(*values, error=0.1):
    return [Score(value, error) for value in values]


@pytest.mark.parametrize(
    ("claim", "values"),
    [
        ("rises", (0, 1, 2, 3)),
        ("rises", (0, 2, 1.9, 3)),  # turns by .7 errors of the difference
        ("rises", (0, 1, 1, 1)),  # there is no further up
        ("falls", (3, 2, 1, 0)),
        ("falls", (3, 1, 1.1, 0)),
        ("stays", (1, 1.1, 0.9, 1)),
        ("never rises", (3, 2, 1, 0)),
        ("never rises", (1, 1.1, 1, 1)),
        ("never falls", (0, 1, 2, 3)),
    ],
)
def test_a_curve_that_keeps_its_claim_within_its_errors_is_not_reported(claim, values):
    assert damages.contradiction(claim, curve(*values)) == ""


@pytest.mark.parametrize(
    ("claim", "values", "said"),
    [
        ("rises", (0, 2, 1, 3), "2 becomes 1, 7.1 errors apart, from level 1 to 2"),
        (
            "rises",
            (0, 2, 1.8, 1.6, 3),
            "2 becomes 1.6, 2.8 errors apart, from level 1 to 3",
        ),  # in two small steps
        ("rises", (0, 0.1, 0.1, 0.2), "0 becomes 0.2, which is noise"),
        ("rises", (3, 2, 1, 0), "3 becomes 0"),
        ("falls", (3, 1, 2, 0), "1 becomes 2, 7.1 errors apart, from level 1 to 2"),
        ("falls", (1, 1, 1, 1), "which is noise"),
        ("falls", (0, 1, 2, 3), "0 becomes 3"),
        ("stays", (1, 1, 2, 1), "1 becomes 2"),
        ("stays", (1, 1, 0, 0.1), "1 becomes 0"),
        ("never rises", (1, 0, 1, 0), "0 becomes 1"),
        ("never falls", (1, 2, 1, 2), "2 becomes 1"),
    ],
)
def test_a_curve_that_breaks_its_claim_is_reported_where_it_does(claim, values, said):
    assert said in damages.contradiction(claim, curve(*values))


def test_what_is_noise_is_a_matter_of_the_errors():
    values = (0, 2, 1, 3)
    assert damages.contradiction("rises", curve(*values, error=0.3))
    assert not damages.contradiction("rises", curve(*values, error=0.6))
    assert damages.contradiction("stays", curve(1, 1.001, error=0.0))
    assert not damages.contradiction("stays", curve(1, 1, error=0.0))


def test_exceptions_name_the_curve_and_leave_out_what_nobody_claimed():
    def of(score, *values, damage="classes"):
        errors = [0.1] * len(values)
        where = {"set": "a", "extractor": "own", "damage": damage, "score": score}
        return {**where, "values": values, "errors": errors}

    found = damages.exceptions(
        [
            of("fd", 1, 2, 1),
            of("recall", 1, 0.5, 0),
            of("density", 3, 1, 2),
            of("fd", 1, 1, 1, damage="noise"),
        ]
    )
    assert [(each["damage"], each["score"], each["claim"]) for each in found] == [
        ("noise", "fd", "rises"),
        ("classes", "fd", "rises"),
    ]


# --------------------------------------------------------------------------------------------------------- damages

N = 80


def a_set(count, seed, classes=10):
    """Images [count, 1, 8, 8] with a bright spot in the place of their class, in turn."""
    labels = torch.arange(count) % classes
    g = torch.Generator().manual_seed(seed)
    rows = torch.randint(0, 100, (count, 1, 8, 8), dtype=torch.uint8, generator=g)
    rows.flatten(1)[torch.arange(count), 6 * labels] = 255
    return Data("spots", (1, 8, 8), rows=rows, labels=labels)


@pytest.fixture
def made():
    return damages.source(a_set(4 * N, 0), a_set(10 * N, 1), N)


def class_of(x):
    """The class of images in [-1, 1], by the brightest of the spots' places."""
    return x.flatten(1)[:, : 6 * 9 + 1 : 6].argmax(1)


def test_noise_has_the_deviation_it_says(made):
    x = damages.untouched(made)
    for level in (0.05, 0.1):
        inner = x.abs() < 1 - 5 * level  # where nothing is cut off
        assert (damages.noise(made, level) - x)[inner].std().item() == pytest.approx(level, rel=0.05)
    assert damages.noise(made, 0.4).abs().max() <= 1


@pytest.mark.parametrize("deviation", [0.5, 1, 2, 4])
def test_blur_is_scipys(made, deviation):
    x = damages.untouched(made)
    wanted = gaussian_filter(x.double().numpy(), (0, 0, deviation, deviation), mode="nearest", truncate=3)
    np.testing.assert_allclose(damages.blur(made, deviation).numpy(), wanted, atol=1e-5)


@pytest.mark.parametrize("k", [10, 8, 6, 4, 2])
def test_fewer_classes_make_as_many_images_and_none_twice(made, k):
    x = damages.classes(made, k)
    assert len(x) == N == len(x.flatten(1).unique(dim=0))
    counts = torch.bincount(class_of(x), minlength=10)
    assert (counts > 0).sum() == k == (counts[:k] > 0).sum()
    assert k < 10 or torch.equal(x, damages.untouched(made))


def test_classes_are_drawn_and_not_dealt_out():
    # of a sample with equal shares of classes the kernel distance is below 0 in the mean
    found = [
        damages.untouched(damages.source(a_set(4 * n, 0), a_set(10 * n, 1), n)) for n in (40, 50, 60, 70)
    ]
    assert any(torch.bincount(class_of(x), minlength=10).unique().numel() > 1 for x in found)


@pytest.mark.parametrize("share", [0.1, 0.5, 1])
def test_copies_are_of_the_images_that_are_compared_with(made, share):
    x, clean = damages.copies(made, share), damages.untouched(made)
    train = {row.numpy().tobytes() for row in made.train}
    copied = [row.numpy().tobytes() in train for row in ((x + 1) * 127.5).round().byte()]
    assert sum(copied) == round(share * N)
    assert torch.equal(x[~torch.tensor(copied)], clean[~torch.tensor(copied)])
    assert len(x.flatten(1).unique(dim=0)) == N


def test_what_is_held_out_is_no_training_image_of_the_comparison(made):
    both = torch.cat([made.train, made.held]).flatten(1)
    assert len(both.unique(dim=0)) == 2 * N


def test_too_few_images_of_a_class_are_told():
    with pytest.raises(UsageError, match="too few images for 80"):
        damages.source(a_set(4 * N, 0), a_set(5 * N - 10, 1), N)


# ------------------------------------------------------------------------------------------------------ the script


class Fake:
    """An extractor of the spots' places that counts what it reads."""

    def __init__(self):
        self.seen = 0

    def read(self, x):
        self.seen += len(x)
        places = x.flatten(1)[:, : 6 * 9 + 1 : 6]
        return Read(places, 8 * places)

    def through(self, name, channels, note, weights=None):
        return Extractor(name.replace("-", "_"), self.read, 10, f"{name:0<8}", "places")


@pytest.fixture
def script(monkeypatch, tmp_path):
    """`script()`: the script on spots; returns how many images were read, and its figures."""
    sets = {"spots": lambda root, split: a_set(*((4 * N, 0) if split == "train" else (10 * N, 1)))}
    figures = tmp_path / "figures.jsonl"
    places = ["--runs", str(tmp_path / "runs"), "--figures", str(figures), "--out", str(tmp_path / "out")]
    words = ["run.py", "--sets", "spots", "--images", str(N), *places]
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(study, "SETS", sets)
    monkeypatch.setattr(sys, "argv", words)

    def run():
        look = Fake()
        monkeypatch.setattr(study.classifiers, "named_extractor", look.through)
        study.main()
        return look.seen, records.read(figures)

    return run


@pytest.mark.slow
def test_the_script_in_small(script, monkeypatch, tmp_path, capsys):
    seen, figures = script()
    found = page.curves(figures)
    curves = {(c["extractor"], c["damage"], c["score"]): c["values"] for c in found}
    each = {(through, score) for through in ("own", "lite0") for score in damages.SCORES[:-1]}
    each.add(("pixels8", "memorised"))
    assert set(curves) == {(through, damage, score) for through, score in each for damage in damages.DAMAGES}
    assert len(curves) == len(found)
    assert len({curves["own", damage, "fd"][0] for damage in damages.DAMAGES}) == 1
    assert curves["own", "copies", "fd"][-1] == pytest.approx(0, abs=1e-9)
    assert curves["pixels8", "copies", "memorised"][-1] == 1
    assert curves["own", "classes", "is"][-1] < 2.1
    assert capsys.readouterr().out.count("not as it must be:") == len(damages.exceptions(found))
    assert (tmp_path / "out" / "scores.png").stat().st_size > 0
    assert (tmp_path / "out" / "scores.md").stat().st_size > 0

    # each image is read once by both extractors, however many sets it comes in
    made = damages.source(a_set(4 * N, 0), a_set(10 * N, 1), N)
    every = [(made.train / 127.5 - 1).float()]
    every += [d.make(made, level) for d in damages.DAMAGES.values() for level in d.levels if level]
    distinct = torch.cat(every).add(1).mul(127.5).round().flatten(1).unique(dim=0)
    assert seen == 2 * len(distinct)

    # interrupted, or the card is of other images: it is made again, of features that were kept
    cards = tmp_path / "runs" / "spots" / f"own-{N}"
    (cards / "noise 0.2.json").unlink()
    (cards / "blur 1.json").write_text((cards / "blur 4.json").read_text())
    monkeypatch.setattr(study, "draw", lambda *given: None)
    assert script() == (0, figures)


def test_the_page_shows_the_figures_that_were_measured():
    text = (DOCS / "scores.md").read_text()
    assert "<!-- scores -->" in text
    assert replaced(text, "scores", page.tables(records.read(study.FIGURES))) == text
