"""`steadygan train --images`: any recipe on a folder of images, and what is said of it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from steadygan import config
from steadygan.commands.own_images import check_images, on_images
from steadygan.config.resolve import resolve
from steadygan.errors import DataNote, UsageError
from steadygan.recipes.catalogue import find_recipe, recipe_names


@pytest.fixture(autouse=True)
def private_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def pictures(folder: Path, sizes: list[tuple[int, int]], mode: str = "RGB") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for index, (width, height) in enumerate(sizes):
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).convert(mode).save(folder / f"{index}.png")
    return folder


@pytest.mark.parametrize(
    "name", [n for n in recipe_names() if not n.startswith(("bilinear", "dirac", "quadratic"))]
)
def test_every_recipe_takes_own_images(name, tmp_path):
    own = on_images(find_recipe(name)[1], name, tmp_path / "my photos", 32)
    settings = config.parse(own.raw)
    assert (settings.data.name, settings.data.size) == ("images", 32)
    assert settings.data.path == str(tmp_path / "my photos")
    assert settings.name == "my-photos"
    assert settings.paper is None
    assert settings.keep.best in (None, "kd_pixels8")
    assert "paper" in own.left_out or not find_recipe(name)[1].get("paper")


def test_what_is_for_other_data_is_left_out_and_said(tmp_path):
    raw = {
        **find_recipe("fashion-mnist-fargan")[1],
        "data": {"name": "fashion_mnist", "flip": True, "limit": 500},
        "evaluation": {"extractor": "fashion_mnist", "images": 200},
        "keep": {"best": "fd_fashion_mnist", "last": 3},
    }
    own = on_images(raw, "r", tmp_path, None)
    settings = config.parse(own.raw)
    assert own.left_out == ["data.limit", "evaluation.extractor", "keep.best"]
    assert (settings.data.flip, settings.data.limit) == (True, None)
    assert (settings.evaluation.extractor, settings.evaluation.images) == ("pixels8", 200)
    assert (settings.keep.best, settings.keep.last) == (None, 3)
    assert "without its data.limit, evaluation.extractor, keep.best, which are for other data" in own.told(
        "r"
    )


def test_a_recipe_on_images_keeps_its_options(tmp_path):
    raw = {
        **find_recipe("emoji64-fargan")[1],
        "data": {"name": "images", "path": "x", "size": 16, "limit": 9},
    }
    own = on_images(raw, "r", tmp_path, None)
    assert own.raw["data"] == {"name": "images", "path": str(tmp_path), "size": 16, "limit": 9}
    assert own.left_out == []


def settings_of(folder: Path, recipe: str = "emoji64-fargan", size: int | None = None):
    own = on_images(find_recipe(recipe)[1], recipe, folder, size)
    return resolve(config.parse(own.raw)), own.side


@pytest.mark.parametrize(
    ("sizes", "recipe", "size", "sentence"),
    [
        (
            [(100, 100)] * 4,
            "emoji64-fargan",
            None,
            "takes no images of 100x100: give --size 64 or --size 128",
        ),
        (
            [(178, 218)] * 4,
            "emoji64-fargan",
            None,
            "takes no images of 218x178: give --size 64 or --size 128",
        ),
        (
            [(400, 300), (40, 50)],
            "emoji64-fargan",
            None,
            "have 2 sizes from 50x40 to 300x400: give --size 64 or",
        ),
        ([(20, 20)] * 4, "emoji64-fargan", None, "give --size 16 or --size 32"),
        ([(90, 90)] * 4, "cifar10-dcgan-fargan", None, "give --size 32 or --size 64"),
        ([(90, 90)] * 4, "cifar10-gn-cnn-gn", None, "give --size 32 or --size 40"),
        ([(90, 90)] * 4, "emoji64-fargan", 100, "takes no images of 100x100: give --size 64 or --size 128"),
    ],
)
def test_sizes_that_the_networks_take_are_offered(sizes, recipe, size, sentence, tmp_path):
    settings, side = settings_of(pictures(tmp_path / "set", sizes), recipe, size)
    with pytest.raises(UsageError, match=sentence):
        check_images(settings, side)


def test_mixed_kinds_are_told_with_the_sizes(tmp_path):
    pictures(tmp_path / "set" / "colour", [(90, 90), (70, 80), (90, 90)])
    settings, side = settings_of(pictures(tmp_path / "set" / "grey", [(90, 90)], "L").parent)
    with pytest.raises(
        UsageError, match=r"--size 128, and data.colour=rgb or .*, for 1 are grey and 3 in colour"
    ):
        check_images(settings, side)


def test_one_size_that_the_networks_take_needs_no_size(tmp_path):
    check_images(*settings_of(pictures(tmp_path / "set", [(32, 32)] * 4)))
    check_images(*settings_of(pictures(tmp_path / "grey", [(32, 32)] * 4, "L")))
    check_images(*settings_of(pictures(tmp_path / "set", [(32, 32)] * 4), "ring8-fargan"))  # an mlp takes any


def test_the_command_trains_and_labels_are_the_folders(tmp_path, command):
    for name in ("cat", "dog"):
        pictures(tmp_path / "set" / name, [(16, 16)] * 10)
    (tmp_path / "set" / "notes.txt").write_text("x")
    quick = [
        "steps=2",
        "compile=false",
        "batch=4",
        "networks.width=8",
        "fake_as_real.count=2",
        "precision=float32",
    ]
    with pytest.warns(DataNote, match="left out 1 file that is not an image in .*: notes.txt"):
        done = command(
            "train", "fashion-mnist-conditional", "--images", "set", "--size", "8", "--out", "run", *quick
        )
    assert done.code == 0, done.err
    written = config.load(Path("run/config.yaml"))
    expected = {"name": "images", "path": str(tmp_path / "set"), "size": 8}
    assert expected.items() <= written["data"].items()
    assert "training fashion-mnist-conditional on" in done.err


def test_size_is_for_images(command):
    done = command("train", "--size", "8")
    assert done.code == 2
    assert "--size is for --images" in done.err
