"""The sizes that networks take: offered ones train, and the sentence names them."""

import pytest

from steadygan.build import build
from steadygan.build.sizes import nearest_sizes, takes
from steadygan.config import parse
from steadygan.config.records import Choice
from steadygan.errors import UsageError


@pytest.mark.parametrize(
    ("name", "side", "offered"),
    [
        ("dcgan", 100, [64, 128]),
        ("dcgan", 64, [64, 128]),
        ("dcgan", 5, [8]),
        ("gn_cnn", 100, [96, 104]),
        ("gn_resnet", 100, [96, 128]),
        ("mlp", 100, [100, 101]),
        ("biggan32", 100, []),  # it needs labels
        ("dirac", 100, []),
    ],
)
def test_the_nearest_sizes(name, side, offered):
    assert nearest_sizes(Choice(name, {}), 3, side) == offered


def test_labels_count():
    assert takes(Choice("biggan32", {}), (3, 32, 32), classes=10)
    assert nearest_sizes(Choice("biggan32", {}), 3, 40, classes=10) == [40, 48]


def test_the_sentence_offers_sizes(tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "set").mkdir()
    for index in range(8):
        Image.new("RGB", (18, 21), (index,) * 3).save(tmp_path / "set" / f"{index}.png")
    raw = {
        "data": {"name": "images", "path": str(tmp_path / "set")},
        "networks": {"name": "dcgan", "width": 4},
        "optimizer": {"name": "sgd", "lr": 0.1},
        "steps": 1,
        "batch": 4,
    }
    with pytest.raises(UsageError, match=r"takes no images of 21x18 .*: set data.size=16 or data.size=32"):
        build(parse(raw))
    assert build(parse({**raw, "data": {**raw["data"], "size": 16}})).data.shape == (3, 16, 16)
