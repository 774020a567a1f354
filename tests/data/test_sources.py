"""Real samples against what is known of them elsewhere: formulas, other loaders, published statistics."""

import gzip
import io
import json
import math
import os
import pickle
import re
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from paths import CIFAR_ZIP
from steadygan import data
from steadygan.data import array_cache, gaussian, grid, ring, sklearn_digits, swissroll
from steadygan.data import fashion_files as idx_module
from steadygan.data.array_cache import RULES, map_rows
from steadygan.data.dataset import Data
from steadygan.data.folders import image_folder_source
from steadygan.data.sources import places
from steadygan.errors import DataNote, UsageError


@pytest.fixture(autouse=True)
def private_folders(tmp_path, monkeypatch):
    """Keep every test away from the user's cache and data."""
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("STEADYGAN_DATA", raising=False)


@pytest.fixture
def no_debian_package(monkeypatch, tmp_path):
    monkeypatch.setattr(idx_module, "DEBIAN_FASHION", tmp_path / "absent")


def drawn(dataset: Data, count: int, seed: int = 0) -> torch.Tensor:
    assert dataset.draw is not None
    return dataset.draw(torch.Generator().manual_seed(seed), count).double()


def refusal(*words: str):
    """Expect a UsageError of one sentence that contains each of the words, in this order."""
    pattern = r"(?s)\A(?!.*(\n|\.\s|\.\Z)).*" + ".*".join(map(re.escape, words))
    return pytest.raises(UsageError, match=pattern)


# -- Points: every builder --------------------------------------------------------------------------------

BUILDERS = [data.gaussian, data.ring, data.grid, data.swissroll]
each_builder = pytest.mark.parametrize("build", BUILDERS, ids=lambda build: build.__name__)


@each_builder
def test_a_stream_is_a_function_of_its_generator(build):
    stream = build(size=None)
    assert stream.rows is None
    assert stream.shape == (2,)
    samples = stream.draw(torch.Generator().manual_seed(3), 50)
    assert samples.dtype == torch.float32
    assert samples.shape == (50, 2)
    assert torch.equal(samples, stream.draw(torch.Generator().manual_seed(3), 50))
    assert not torch.equal(samples, stream.draw(torch.Generator().manual_seed(4), 50))


@each_builder
def test_a_finite_set_is_fixed_points_of_the_stream(build):
    finite = build(size=70, seed=5)
    assert finite.draw is None
    assert torch.equal(finite.rows, build(size=70, seed=5).rows)
    assert not torch.equal(finite.rows, build(size=70, seed=6).rows)
    assert torch.equal(finite.rows.double(), drawn(build(size=None), 70, seed=5))


@each_builder
def test_builders_do_not_touch_global_randomness(build):
    before = torch.get_rng_state()
    build(size=10)
    assert torch.equal(before, torch.get_rng_state())


@each_builder
def test_streams_travel_to_other_processes(build):
    stream = build(size=None)
    assert torch.equal(drawn(pickle.loads(pickle.dumps(stream)), 9), drawn(stream, 9))


@each_builder
@pytest.mark.parametrize(
    "options", [{"size": 0}, {"size": -3}, {"size": 2.5}, {"scale": 0.0}, {"scale": math.nan}]
)
def test_impossible_options_are_refused(build, options):
    (name, value), *_ = options.items()
    with refusal(f"{name} is {value}", "give a"):
        build(**options)


def test_options_of_one_builder_are_refused_too():
    for build, options in [
        (data.ring, {"modes": 0}),
        (data.ring, {"std": -1.0}),
        (data.grid, {"side": 0}),
        (data.grid, {"std": math.inf}),
        (data.swissroll, {"noise": -0.1}),
    ]:
        with refusal(*options, "give "):
            build(**options)


# -- Points: each distribution ----------------------------------------------------------------------------


def test_gaussian_has_scaled_unit_moments():
    assert data.gaussian().rows.shape == (100, 2)
    assert data.gaussian().modes is None
    samples = data.gaussian(size=200_000, scale=3.0).rows.double()
    assert samples.mean(0).abs().max() < 0.03
    torch.testing.assert_close(samples.T.cov(), 9 * torch.eye(2).double(), atol=0.12, rtol=0)


def assert_is_its_mixture(dataset: Data, samples: torch.Tensor):
    """Assign samples to the nearest stated centre: uniform, centred there, and with the stated spread."""
    centres, std = dataset.modes.centres.double(), dataset.modes.std
    nearest = torch.cdist(samples, centres).argmin(1)
    counts = nearest.bincount(minlength=len(centres)).double()
    expected = len(samples) / len(centres)
    chi2 = ((counts - expected) ** 2 / expected).sum().item()
    dof = len(centres) - 1
    assert chi2 < dof + 5 * math.sqrt(2 * dof)
    offsets = samples - centres[nearest]
    per_mode = torch.zeros_like(centres).index_add_(0, nearest, offsets) / counts[:, None]
    assert per_mode.abs().max() < 5 * std / math.sqrt(expected)
    assert offsets.std().item() == pytest.approx(std, rel=0.02)
    assert (offsets.T.cov()[0, 1] / std**2).abs() < 0.02


@pytest.mark.parametrize(("scale", "radius"), [(10.0, 7.072), (2.0, 1.414)])
def test_ring_radius_and_unscaled_noise(scale, radius):
    ring = data.ring(scale=scale)
    samples = drawn(ring, 100_000)
    assert ring.name == "ring8"
    assert samples.norm(dim=1).mean().item() == pytest.approx(radius, abs=1e-3)
    assert ring.modes.centres.norm(dim=1) == pytest.approx(radius, abs=1e-3)
    assert ring.modes.std == pytest.approx(0.01414, abs=1e-5)  # the same at both scales
    assert_is_its_mixture(ring, samples)


def test_ring_directions_are_those_of_the_published_script():
    d = 1 / math.sqrt(2)
    published = [(1, 0), (-1, 0), (0, 1), (0, -1), (d, d), (d, -d), (-d, d), (-d, -d)]
    ours = data.ring(scale=1.414).modes.centres.double()
    assert torch.cdist(torch.tensor(published).double(), ours).min(1).values.max() < 1e-6


def test_a_stratified_ring_has_as_many_of_each_mode_in_every_batch():
    """Spec C4: exactly 64 of 512 a mode, on the unit circle, sigma .01."""
    ring = data.ring(scale=1.414, std=0.01414, stratified=True)
    x = drawn(ring, 4 * 512)
    centres = ring.modes.centres.double()
    torch.testing.assert_close(centres.norm(dim=1), torch.ones(8).double())
    for batch in x.view(4, 512, 2):
        nearest = torch.cdist(batch, centres).argmin(1)
        assert torch.bincount(nearest, minlength=8).tolist() == [64] * 8
        assert (batch - centres[nearest]).std().item() == pytest.approx(0.01, rel=0.1)


def test_dirac_data_are_zero_and_nothing_is_nothing():
    assert drawn(data.dirac(), 5).tolist() == [[0.0]] * 5
    assert data.nothing().shape == ()


@pytest.mark.parametrize("modes", [1, 3, 12])
def test_ring_of_any_number_of_modes_is_invariant_to_its_rotation(modes):
    centres = data.ring(modes=modes).modes.centres.double()
    a = 2 * math.pi / modes
    turn = torch.tensor([[math.cos(a), math.sin(a)], [-math.sin(a), math.cos(a)]]).double()
    torch.testing.assert_close(centres @ turn, centres.roll(-1, 0), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("scale", "spacing", "std"), [(1.0, 0.7072, 0.01768), (4.0, 2.8289, 0.07072)])
def test_grid_spacing_and_scaled_noise(scale, spacing, std):
    grid = data.grid(scale=scale)
    assert grid.name == "grid25"
    assert grid.rows.shape == (100_000, 2)
    assert grid.modes.std == pytest.approx(std, rel=1e-3)
    line = grid.modes.centres[:, 0].unique()
    assert line == pytest.approx([spacing * i for i in (-2, -1, 0, 1, 2)], rel=1e-3, abs=1e-6)
    assert_is_its_mixture(grid, grid.rows.double())


def test_grid_of_even_side_is_centred():
    centres = data.grid(side=2, scale=2.828).modes.centres
    assert sorted(centres.tolist()) == [[-1, -1], [-1, 1], [1, -1], [1, 1]]


def test_swissroll_without_noise_is_the_spiral():
    points = drawn(data.swissroll(scale=3.0, noise=0.0), 20_000) * 7.5 / 3.0
    t = points.norm(dim=1)  # radius = parameter
    angle = torch.atan2(points[:, 1], points[:, 0])
    torch.testing.assert_close((angle - t).cos(), torch.ones_like(t), atol=1e-9, rtol=0)
    u = (t / (1.5 * math.pi) - 1) / 2
    assert u.min() > -1e-6
    assert u.max() < 1 + 1e-6
    assert u.mean().item() == pytest.approx(1 / 2, abs=0.01)
    assert u.var().item() == pytest.approx(1 / 12, rel=0.03)


def test_swissroll_agrees_with_scikit_learn():
    stats, datasets = pytest.importorskip("scipy.stats"), pytest.importorskip("sklearn.datasets")
    theirs = datasets.make_swiss_roll(20_000, noise=0.25, random_state=0)[0][:, [0, 2]] / 7.5 * 2.0
    ours = drawn(data.swissroll(), 20_000).numpy()
    for direction in [(1, 0), (0, 1), (1, 1), (1, -1)]:
        assert stats.ks_2samp(ours @ direction, theirs @ direction).pvalue > 1e-3
    radii = [np.linalg.norm(points, axis=1) for points in (ours, theirs)]
    assert stats.ks_2samp(*radii).pvalue > 1e-3


# -- Digits -----------------------------------------------------------------------------------------------


def test_digits_are_those_of_scikit_learn():
    sklearn = pytest.importorskip("sklearn.datasets")
    digits = data.digits()
    theirs = sklearn.load_digits().data.reshape(-1, 1, 8, 8)
    assert digits.shape == (1, 8, 8)
    assert digits.rows.dtype == torch.uint8
    np.testing.assert_allclose(digits.rows.numpy().astype(float), theirs * 255 / 16, atol=0.5, rtol=0)


def test_digits_without_scikit_learn(monkeypatch):
    monkeypatch.setattr(sklearn_digits, "find_spec", lambda name: None)
    with refusal("pip install 'steadygan[digits]'"):
        data.digits()


# -- Fashion-MNIST ----------------------------------------------------------------------------------------


def idx(pixels: np.ndarray) -> bytes:
    return struct.pack(">4B3I", 0, 0, 8, 3, *pixels.shape) + pixels.tobytes()


def test_fashion_mnist_pads_its_files(tmp_path, no_debian_package):
    pixels = np.random.default_rng(0).integers(0, 256, (10_000, 28, 28), dtype=np.uint8)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(pixels))
    fashion = data.fashion_mnist(tmp_path, "test")
    assert fashion.shape == (1, 32, 32)
    assert fashion.rows.shape == (10_000, 1, 32, 32)
    np.testing.assert_array_equal(fashion.rows[:, 0, 2:30, 2:30].numpy(), pixels)
    assert fashion.rows.sum() == pixels.sum(dtype=np.int64)  # so the border is zero


@pytest.mark.parametrize("folder", [".", "fashion-mnist", "FashionMNIST/raw"])
@pytest.mark.parametrize("by_environment", [True, False])
def test_fashion_mnist_is_found_as_gz(folder, by_environment, tmp_path, no_debian_package, monkeypatch):
    file = tmp_path / folder / "t10k-images-idx3-ubyte.gz"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress(idx(np.full((10_000, 28, 28), 9, np.uint8)), 1))
    if by_environment:
        monkeypatch.setenv("STEADYGAN_DATA", str(tmp_path))
    fashion = data.fashion_mnist(None if by_environment else tmp_path, "test")
    assert fashion.rows.sum() == 10_000 * 28 * 28 * 9


def test_fashion_mnist_missing(tmp_path, no_debian_package):
    with refusal("apt-get install dataset-fashion-mnist", "--data-root", "STEADYGAN_DATA"):
        data.fashion_mnist(tmp_path)
    with refusal("'train'"):
        data.fashion_mnist(split="trian")
    with refusal("does not exist", "--data-root"):
        data.fashion_mnist(tmp_path / "typo")


SMALL = idx(np.zeros((3, 28, 28), np.uint8))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("", SMALL, ("3x28x28", "60000x28x28", "replace it")),
        ("", SMALL[:-1], ("2351 values instead of 3x28x28", "download it again")),
        ("", SMALL + b"\0", ("more values instead of 3x28x28", "download it again")),
        (".gz", gzip.compress(SMALL + bytes(2**22), mtime=0), ("more values", "download it again")),
        ("", SMALL[:10], ("not an IDX file", "download it again")),
        ("", b"\0\0\x08\x01" + SMALL[4:], ("not an IDX file", "download it again")),
        ("", struct.pack(">4B3I", 0, 0, 8, 3, 0, 2**32 - 1, 2**32 - 1), ("0 values", "download it again")),
        (".gz", gzip.compress(SMALL, mtime=0)[:-9], ("cannot be read", "download it again")),
        (".gz", SMALL, ("cannot be read", "download it again")),
    ],
)
def test_fashion_mnist_damaged(name, content, words, tmp_path):
    (tmp_path / f"train-images-idx3-ubyte{name}").write_bytes(content)
    with refusal(f"train-images-idx3-ubyte{name}", *words):
        data.fashion_mnist(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not idx_module.DEBIAN_FASHION.is_dir(), reason="needs dataset-fashion-mnist")
def test_fashion_mnist_has_its_published_statistics():
    rows = data.fashion_mnist().rows
    assert rows.shape == (60_000, 1, 32, 32)
    original = rows[:, :, 2:30, 2:30].float() / 255
    assert original.mean().item() == pytest.approx(0.2860, abs=5e-5)  # the usual normalisation constants
    assert original.std().item() == pytest.approx(0.3530, abs=5e-5)
    assert rows.sum() == rows[:, :, 2:30, 2:30].sum()


# -- Folders and zips of images ---------------------------------------------------------------------------


def png(pixels: np.ndarray, **options) -> bytes:
    return encoded(Image.fromarray(pixels), "PNG", **options)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def write_folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in reversed(files.items()):  # the order inside must not matter
            archive.writestr(name, content)
    return path


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_folder_and_zip_give_the_pixels_in_order_of_path(tmp_path):
    pixels = noise(600, 4, 6, 3)  # more than two blocks
    files = {f"{'ab'[i % 2]}/{i:04}.png": png(pixels[i]) for i in range(600)}
    files |= {"a/notes.txt": b"x", "__MACOSX/a/._0000.png": b"x", ".thumbs/0.png": b"x"}
    with pytest.warns(DataNote, match="left out 2 files"):
        folder = data.image_folder(write_folder(tmp_path / "set", files))
    with pytest.warns(DataNote, match="left out 3 files"):
        archive = data.image_folder(write_zip(tmp_path / "packed.zip", files))
    expected = np.concatenate([pixels[0::2], pixels[1::2]]).transpose(0, 3, 1, 2)
    assert (folder.name, archive.name) == ("set", "packed")
    assert folder.shape == archive.shape == (3, 4, 6)
    np.testing.assert_array_equal(folder.rows.numpy(), expected)
    np.testing.assert_array_equal(archive.rows.numpy(), expected)
    part = data.image_folder(tmp_path / "packed.zip", split="b")
    np.testing.assert_array_equal(part.rows.numpy(), expected[300:])
    for same in ("b/", "./b", ".//b/."):
        for source in ("set", "packed.zip"):
            assert torch.equal(data.image_folder(tmp_path / source, split=same).rows, part.rows)


def test_linked_folders_are_read_too(tmp_path):
    write_folder(tmp_path / "elsewhere", {"a.png": png(noise(4, 4))})
    write_folder(tmp_path / "set", {"b.png": png(noise(4, 4, seed=1))})
    (tmp_path / "set" / "class").symlink_to(tmp_path / "elsewhere")
    assert len(data.image_folder(tmp_path / "set").rows) == 2


def test_every_format_and_colour_mode(tmp_path):
    colour, grey = noise(5, 7, 3), noise(5, 7)
    lossless = {"a.png": png(colour), "b.BMP": encoded(Image.fromarray(colour), "BMP")}
    lossless |= {"c.webp": encoded(Image.fromarray(colour), "WEBP", lossless=True)}
    rows = data.image_folder(write_folder(tmp_path / "colour", lossless)).rows
    np.testing.assert_array_equal(rows.numpy(), np.stack([colour.transpose(2, 0, 1)] * 3))
    rows = data.image_folder(write_folder(tmp_path / "grey", {"a.png": png(grey)})).rows
    np.testing.assert_array_equal(rows.numpy(), grey[None, None])
    smooth = np.full((8, 8, 3), (200, 100, 50), np.uint8)
    rows = data.image_folder(
        write_folder(tmp_path / "lossy", {"a.jpeg": encoded(Image.fromarray(smooth), "JPEG")})
    ).rows
    np.testing.assert_allclose(rows[0, :, 3, 3].numpy(), (200, 100, 50), atol=3)


def test_transparency_is_laid_over_white(tmp_path):
    pixels = np.array([[[10, 20, 30, 255], [10, 20, 30, 0]]], np.uint8)
    rows = data.image_folder(write_folder(tmp_path / "set", {"a.png": png(pixels)})).rows
    assert rows.tolist() == [[[[10, 255]], [[20, 255]], [[30, 255]]]]


def test_photographs_are_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by 90 degrees clockwise to show"
    pixels = noise(2, 3)
    rows = data.image_folder(write_folder(tmp_path / "set", {"a.png": png(pixels, exif=exif)})).rows
    np.testing.assert_array_equal(rows[0, 0].numpy(), np.rot90(pixels, -1))


def test_size_crops_the_centre_and_resizes(tmp_path):
    pixels = np.zeros((8, 16), np.uint8)
    pixels[:, 4:12] = np.kron([[10, 20], [30, 40]], np.ones((4, 4)))
    files = {"a.png": png(pixels), "b.png": png(noise(5, 3))}  # of unlike sizes
    rows = data.image_folder(write_folder(tmp_path / "set", files), size=8).rows
    assert rows.shape == (2, 1, 8, 8)
    np.testing.assert_array_equal(rows[0, 0].numpy(), pixels[:, 4:12])
    assert data.image_folder(tmp_path / "set", size=2).rows.shape == (2, 1, 2, 2)
    with refusal("size is 0", "give a whole number"):
        data.image_folder(tmp_path / "set", size=0)


def test_unusable_sources(tmp_path):
    good = png(noise(4, 4))
    with refusal("has no images", ".png"):
        data.image_folder(write_folder(tmp_path / "empty", {"a.txt": b""}))
    with refusal("has no images below valid", ".png"):
        data.image_folder(write_folder(tmp_path / "set", {"train/a.png": good}), split="valid")
    with refusal("'../set' leads out of", "without '..'"):
        data.image_folder(tmp_path / "empty", split="../set")
    with refusal("cannot be read as a zip", "give a folder"):
        data.image_folder(write_folder(tmp_path, {"no.zip": b"x"}) / "no.zip")
    (tmp_path / "set" / "link.png").symlink_to(tmp_path / "gone")
    with pytest.warns(
        DataNote, match=r"left out 1 file that is not an image in .*: link.png \(a broken link\)"
    ):
        assert len(data.image_folder(tmp_path / "set").rows) == 1


@pytest.mark.parametrize(
    "name", ["../a.png", "/a.png", "x/../../a.png", "..\\a.png", "C:\\a.png", "../notes.txt"]
)
def test_zip_entries_that_escape_are_refused(name, tmp_path):
    archive = write_zip(tmp_path / "set.zip", {"good.png": png(noise(4, 4)), name: png(noise(4, 4))})
    with refusal(repr(name), "leads out of", "set.zip", "use paths inside it"):
        data.image_folder(archive)


def test_a_link_back_to_its_own_folder_is_refused_and_others_are_not(tmp_path):
    """Followed, it would give every image again at each turn, and two of them for ever."""
    path = write_folder(tmp_path / "set", {"a/0.png": png(noise(4, 4)), "b/0.png": png(noise(4, 4, seed=1))})
    (path / "a" / "other").symlink_to(path / "b")
    (path / ".hidden").symlink_to(path)
    assert len(data.image_folder(path).rows) == 3
    (path / "b" / "back").symlink_to(path)
    (path / "b" / "again").symlink_to(path / "b")
    with refusal("is a link to a folder that contains it", "remove the link"):
        data.image_folder(path)


def test_a_zip_holds_each_name_once_and_folders_are_no_images(tmp_path):
    """A file added again stands for the first, as everywhere else; `unzip` makes a folder of x.png/."""
    old, new = png(noise(4, 4)), png(noise(4, 4, seed=1))
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile's, of the second of a name
        for name, content in (("a.png", old), ("x.png/", b""), ("a.png", new)):
            archive.writestr(name, content)
    found = data.image_folder(tmp_path / "set.zip").rows
    np.testing.assert_array_equal(found[:, 0].numpy(), noise(4, 4, seed=1)[None])


def test_a_zip_whose_names_are_no_text(tmp_path):
    path = write_zip(tmp_path / "set.zip", {"\u00e9.png": png(noise(4, 4))})
    path.write_bytes(path.read_bytes().replace("\u00e9".encode(), b"\xff\xfe"))
    with refusal("set.zip cannot be read as a zip"):
        data.image_folder(path)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"z.png": png(noise(4, 5))}, ("z.png", "1x4x5", "a.png", "1x4x4", "give a size")),
        (
            {"z.png": png(noise(4, 4, 3))},
            ("z.png", "3x4x4", "a.png", "1x4x4", "data.colour=rgb or grey"),
        ),
        ({"y.png": png(noise(9, 9)), "z.png": png(noise(4, 5))}, ("y.png", "1x9x9")),
    ],
)
def test_the_first_bad_image_is_named_and_nothing_is_left(files, words, tmp_path):
    many = {f"b{i:04}.png": png(noise(4, 4)) for i in range(600)} if len(files) == 2 else {}
    files = {"a.png": png(noise(4, 4))} | many | files
    for source in (write_folder(tmp_path / "set", files), write_zip(tmp_path / "set.zip", files)):
        with refusal(*words):
            data.image_folder(source)
    assert list((tmp_path / "cache").iterdir()) == []


# -- The cache --------------------------------------------------------------------------------------------


@pytest.fixture(params=[write_folder, write_zip], ids=["folder", "zip"])
def source(request, tmp_path):
    """A source of two images, and a function that replaces its files."""
    path = tmp_path / ("set" if request.param is write_folder else "set.zip")
    request.param(path, {"a.png": png(noise(4, 4)), "b.png": png(noise(4, 4, seed=1))})
    return path, lambda files: request.param(path, files)


def cached(tmp_path: Path, suffix: str = "npy") -> Path:
    (file,) = (tmp_path / "cache").glob(f"*.{suffix}")
    return file


def test_the_cache_is_used_again(source, tmp_path, monkeypatch):
    first = data.image_folder(source[0]).rows.clone()
    before = cached(tmp_path).stat()
    monkeypatch.setattr(Image, "open", None)  # decoding would fail
    assert torch.equal(data.image_folder(source[0]).rows, first)
    after = cached(tmp_path).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_the_manifest_says_what_was_decoded(source, tmp_path):
    data.image_folder(source[0])
    manifest = json.loads(cached(tmp_path, "json").read_text())
    assert manifest["source"] == str(source[0])
    assert (manifest["count"], manifest["shape"]) == (2, [1, 4, 4])
    assert len(list((tmp_path / "cache").iterdir())) == 2  # array and manifest, no scratch files


def test_a_changed_source_is_decoded_again(source, tmp_path):
    path, replace = source
    old = data.image_folder(path).rows
    kept = old.clone()
    replace({"a.png": png(noise(4, 4, seed=7)), "b.png": png(noise(4, 4, seed=8)), "c.png": png(noise(4, 4))})
    new = data.image_folder(path).rows
    expected = [noise(4, 4, seed=7), noise(4, 4, seed=8), noise(4, 4)]
    np.testing.assert_array_equal(new[:, 0].numpy(), np.stack(expected))
    assert torch.equal(old, kept)  # who holds the old array keeps it
    cached(tmp_path)  # and its place was reused


def test_a_changed_file_of_the_same_size_is_decoded_again(source):
    path, replace = source
    replace({"a.bmp": encoded(Image.fromarray(noise(4, 4)), "BMP")})
    data.image_folder(path)
    replace({"a.bmp": encoded(Image.fromarray(noise(4, 4, seed=1)), "BMP")})
    if path.is_dir():
        os.utime(path / "a.bmp", ns=(1, 1))  # two writes may share one tick of the clock
    np.testing.assert_array_equal(data.image_folder(path).rows[0, 0].numpy(), noise(4, 4, seed=1))


def test_a_kill_between_array_and_manifest_leaves_no_wrong_pair(tmp_path, monkeypatch):
    one, two = ({"a.png": png(noise(4, 4, seed=i))} for i in (1, 2))
    path = write_zip(tmp_path / "set.zip", one)
    first = data.image_folder(path).rows.clone()
    write_zip(path, two)
    rename = Path.replace

    def killed(self, target):
        if target.suffix == ".json":
            raise KeyboardInterrupt
        rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            data.image_folder(path)
    write_zip(path, one)  # back to what the first manifest described
    assert torch.equal(data.image_folder(path).rows, first)


@pytest.mark.parametrize(
    "text", ["[]", "null", "[" * 100_000, '{"count": "2", "shape": 3, "labels": 1, "skipped": null}']
)
def test_a_manifest_of_another_kind_is_none(text, tmp_path):
    path = write_folder(tmp_path / "set", {"a.png": png(noise(4, 4)), "b.png": png(noise(4, 4, seed=1))})
    expected = data.image_folder(path).rows.clone()
    cached(tmp_path, "json").write_text(text)
    assert list(array_cache.manifests(image_folder_source(path))) == []
    assert torch.equal(data.image_folder(path).rows, expected)


@pytest.mark.parametrize("harm", ["cut array", "no array", "cut manifest", "no manifest", "older rules"])
def test_a_damaged_cache_is_never_used(harm, source, tmp_path):
    expected = data.image_folder(source[0]).rows.clone()
    array, manifest = cached(tmp_path), cached(tmp_path, "json")
    if harm == "cut array":
        os.truncate(array, array.stat().st_size - 1)
    elif harm == "no array":
        array.unlink()
    elif harm == "cut manifest":
        os.truncate(manifest, 20)
    elif harm == "no manifest":
        np.save(array, np.zeros((2, 1, 4, 4), np.uint8))  # as after a kill between the two renames
        manifest.unlink()
    else:
        np.save(array, np.zeros((2, 1, 4, 4), np.uint8))
        manifest.write_text(manifest.read_text().replace(f'"rules": {RULES}', '"rules": 0'))
    assert torch.equal(data.image_folder(source[0]).rows, expected)


HEADER = (
    b"\x93NUMPY\x01\x00\x76\x00" + b"{'descr': '<i8', 'fortran_order': False, 'shape': (1000000000000000,), }"
)


@pytest.mark.parametrize(
    "content",
    [b"", HEADER.ljust(128), b"PK\x05\x06" + bytes(18), [0.0, 1.0], [0, 2], [-1, 0]],
    ids=["empty", "huge", "zip", "floats", "no class", "negative"],
)
def test_damaged_labels_in_the_cache_are_never_used(content, tmp_path):
    path = write_folder(tmp_path / "set", {"a/a.png": png(noise(4, 4)), "b/b.png": png(noise(4, 4, seed=1))})
    data.image_folder(path)
    file = cached(tmp_path, "labels.npy")
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        np.save(file, np.array(content))
    assert data.image_folder(path).labels.tolist() == [0, 1]


def test_pipes_in_the_cache_keep_no_reader_waiting(source, tmp_path):
    expected = data.image_folder(source[0]).rows.clone()
    for suffix in ("npy", "json"):
        file = cached(tmp_path, suffix)
        file.unlink()
        os.mkfifo(file)
        assert torch.equal(data.image_folder(source[0]).rows, expected)


def test_rows_are_mapped_and_writing_to_them_changes_no_file(source, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns of arrays it must not write to
        rows = data.image_folder(source[0]).rows
    before = cached(tmp_path).read_bytes()
    expected = rows.clone()
    rows.zero_()
    assert cached(tmp_path).read_bytes() == before
    assert torch.equal(data.image_folder(source[0]).rows, expected)


def test_a_cache_that_cannot_be_written(source, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "file"))
    with refusal("cannot be written", "STEADYGAN_CACHE"):
        data.image_folder(source[0])


# -- CIFAR-10 ---------------------------------------------------------------------------------------------


def test_cifar10_missing_or_incomplete(tmp_path):
    with refusal("CIFAR-10 was not found", "cifar10-jpeg.zip", "--data-root", "STEADYGAN_DATA"):
        data.cifar10(tmp_path)
    with refusal("'test'"):
        data.cifar10(split="tset")
    with refusal("does not exist", "--data-root"):
        data.cifar10(tmp_path / "typo")
    files = {f"cifar10/train/cat/{i:04}.png": png(noise(32, 32, 3)) for i in range(3)}
    for root in (write_folder(tmp_path / "root", files), write_zip(tmp_path / "any.zip", files)):
        with refusal("cifar10/train", "3 images instead of 50000", "copy the data set again"):
            data.cifar10(root)
        with refusal("cifar10/test", "0 images instead of 10000", "copy the data set again"):
            data.cifar10(root, "test")


def test_cifar10_in_a_folder_equals_its_zip(tmp_path, monkeypatch, known):
    known("cifar10", counts={"test": 4})
    files = {
        f"cifar10/test/{c}/{i:04}.png": png(noise(32, 32, 3, seed=i)) for c in ("cat", "dog") for i in (0, 1)
    }
    files["cifar10/train/cat/0000.png"] = png(noise(32, 32, 3))
    unpacked = data.cifar10(write_folder(tmp_path / "root", files), "test")
    write_zip(tmp_path / "cifar10.zip", files)
    monkeypatch.setenv("STEADYGAN_DATA", str(tmp_path))
    packed = data.cifar10(split="test")
    assert packed.name == "cifar10"
    assert packed.shape == (3, 32, 32)
    assert torch.equal(packed.rows, unpacked.rows)


def test_cifar10_of_another_size_is_refused(tmp_path, known):
    known("cifar10", counts={"test": 1})
    write_folder(tmp_path, {"cifar10/test/cat/0000.png": png(noise(16, 16, 3))})
    with refusal("3x16x16", "instead of 3x32x32; use the originals of CIFAR-10"):
        data.cifar10(tmp_path, "test")


@pytest.mark.slow
@pytest.mark.skipif(not CIFAR_ZIP.is_file(), reason="needs cifar10-jpeg.zip")
def test_cifar10_has_its_published_statistics():
    cifar = data.cifar10(CIFAR_ZIP.parent, "test")
    assert cifar.rows.shape == (10_000, 3, 32, 32)
    means = cifar.rows.float().mean((0, 2, 3)) / 255
    assert means.tolist() == pytest.approx([0.4942, 0.4851, 0.4504], abs=1e-3)  # of the lossless test split


@pytest.mark.parametrize("size", [100, 1024, 2000])
@pytest.mark.parametrize("build", [gaussian, ring, grid, swissroll])
def test_held_out_points_are_none_of_training(build, size):
    found = build(size=size, seed=3)
    held = found.held()
    assert torch.equal(held, found.held())
    assert set(map(tuple, held.tolist())).isdisjoint(map(tuple, found.rows.tolist()))
    # nor made of the same random numbers
    assert torch.corrcoef(torch.stack([held[:100, 0], found.rows[:100, 0]]))[0, 1].abs() < 0.35


def test_an_array_in_columns_is_no_prepared_array(tmp_path):
    rows = np.arange(12, dtype=np.uint8).reshape(3, 4)
    np.save(tmp_path / "rows.npy", rows)
    np.save(tmp_path / "columns.npy", np.asfortranarray(rows))
    assert map_rows(tmp_path / "rows.npy").tolist() == rows.tolist()
    with pytest.raises(ValueError, match="whole array"):
        map_rows(tmp_path / "columns.npy")


def test_the_named_folder_comes_before_the_environments(tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("STEADYGAN_DATA", str(tmp_path / "b"))
    assert places(tmp_path / "a") == [tmp_path / "a", tmp_path / "b"]
    assert places(None) == [tmp_path / "b"]
