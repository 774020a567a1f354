"""The sets' own files, from stand-ins written here byte by byte as each format's description has it."""

import gzip
import io
import itertools
import json
import os
import pickle
import re
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from steadygan import data
from steadygan.commands import data as commands_data
from steadygan.data import archives, cifar, image_files
from steadygan.data.safe_pickle import read_pickle
from steadygan.errors import UsageError

REAL = [Path(folder) for folder in [os.environ.get("STEADYGAN_DATA")] if folder]
EMOJI_TGZ = next((found for p in REAL if (found := p / "emoji-datasource-google-16.0.0.tgz").is_file()), None)


@pytest.fixture(autouse=True)
def private_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("STEADYGAN_DATA", raising=False)


@pytest.fixture
def counts(known):
    """`counts("stl10", train=2)`: the stand-in's sizes instead of the published ones."""
    return lambda name, **few: known(name, counts=few)


def refusal(*words: str):
    """Expect a UsageError of one sentence that contains each of the words, in this order."""
    pattern = r"(?s)\A(?!.*(\n|\.\s|\.\Z)).*" + ".*".join(map(re.escape, words))
    return pytest.raises(UsageError, match=pattern)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


Files = dict[str, bytes]


def in_folder(root: Path, files: Files, archive: str = "") -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def in_tar(root: Path, files: Files, archive: str) -> Path:
    root.mkdir(exist_ok=True)
    with tarfile.open(root / archive, "w:gz") as packed:
        for name, content in reversed(files.items()):  # the order inside must not matter
            member = tarfile.TarInfo(f"./{name}" if "batch" in name else name)
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
    return root


each_form = pytest.mark.parametrize("form", [in_folder, in_tar], ids=["folder", "archive"])
Form = Callable[[Path, Files, str], Path]

# -- Pickles, as python 2 wrote them -----------------------------------------------------------------------


def text(value: str | bytes) -> bytes:
    """A python-2 string: SHORT_BINSTRING or BINSTRING."""
    raw = value.encode("latin1") if isinstance(value, str) else value
    return b"U" + bytes([len(raw)]) + raw if len(raw) < 256 else b"T" + struct.pack("<i", len(raw)) + raw


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def array(pixels: np.ndarray, kind: str = "u1", raw: bytes | None = None) -> bytes:
    """numpy's reconstruct(ndarray, (0,), 'b'), then its state: version 1, shape, dtype, not by columns, contents."""
    made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text("b") + b"\x87R"
    shape = b"(" + b"".join(map(number, pixels.shape)) + b"t"
    dtype = b"cnumpy\ndtype\n" + text(kind) + b"K\x00K\x01\x87R"
    dtype += b"(K\x03" + text("|") + b"NNN" + number(-1) + number(-1) + b"K\x00tb"
    return made + b"(K\x01" + shape + dtype + b"\x89" + text(pixels.tobytes() if raw is None else raw) + b"tb"


def numbers(values: list[int]) -> bytes:
    return b"](" + b"".join(map(number, values)) + b"e"


def python2(**parts: bytes) -> bytes:
    """A dict of already pickled values, protocol 2."""
    return b"\x80\x02}(" + b"".join(text(key) + value for key, value in parts.items()) + b"u."


def batch(pixels: np.ndarray, labels: list[int], key: str = "labels") -> bytes:
    names = b"](" + b"".join(text(f"{i}.png") for i in range(len(pixels))) + b"e"
    parts = {"batch_label": text("training batch"), key: numbers(labels)}
    return python2(**parts, data=array(pixels.reshape(len(pixels), -1)), filenames=names)


def python3(pixels: np.ndarray, labels: list[int], key: str = "labels") -> bytes:
    """What rewriting the same with python 3 leaves: bytes for keys, numpy's present module names."""
    return pickle.dumps({b"data": pixels.reshape(len(pixels), -1), key.encode(): labels}, 2)


def test_the_stand_in_is_a_pickle_that_python_reads():
    found = pickle.loads(batch(noise(2, 3072), [7, 1]), encoding="latin1")
    np.testing.assert_array_equal(found["data"], noise(2, 3072))
    assert found["labels"] == [7, 1]


@each_form
@pytest.mark.parametrize("write", [batch, python3])
def test_cifar10_from_its_own_pickles(form: Form, write, tmp_path, counts):
    counts("cifar10", train=10, test=2)
    pixels = noise(12, 3, 32, 32)
    labels = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 0, 8]
    files = {
        f"cifar-10-batches-py/data_batch_{i + 1}": write(pixels[2 * i : 2 * i + 2], labels[2 * i : 2 * i + 2])
        for i in range(5)
    } | {"cifar-10-batches-py/test_batch": write(pixels[10:], labels[10:])}
    form(tmp_path / "root", files, "cifar-10-python.tar.gz")
    for _ in range(2):  # read, then from the cache
        train, test = (data.cifar10(tmp_path / "root", split) for split in ("train", "test"))
        assert (train.name, train.shape, train.classes) == ("cifar10", (3, 32, 32), 10)
        np.testing.assert_array_equal(train.rows.numpy(), pixels[:10])
        assert train.labels.tolist() == labels[:10]
        np.testing.assert_array_equal(test.rows.numpy(), pixels[10:])
        assert test.labels.tolist() == labels[10:]
    direct = next((tmp_path / "root").iterdir())  # the archive or folder may be named itself
    assert torch.equal(data.cifar10(direct, "test").rows, test.rows)


def test_a_pixel_of_cifar_is_where_its_description_says(tmp_path, counts):
    """1,024 bytes of red, of green, of blue; the first 32 of each are the top row."""
    counts("cifar10", test=1)
    flat = np.zeros((1, 3072), np.uint8)
    flat[0, 31], flat[0, 1024 + 32], flat[0, 2 * 1024 + 1023] = 10, 20, 30
    in_folder(tmp_path, {"cifar-10-batches-py/test_batch": batch(flat, [0])})
    image = data.cifar10(tmp_path, "test").rows[0]
    assert (image[0, 0, 31], image[1, 1, 0], image[2, 31, 31]) == (10, 20, 30)
    assert image.sum() == 60


@each_form
def test_cifar100_has_its_fine_labels(form: Form, tmp_path, counts):
    counts("cifar100", train=3, test=1)
    pixels, fine = noise(3, 3, 32, 32), [99, 0, 57]
    whole = python2(
        fine_labels=numbers(fine), coarse_labels=numbers([1, 2, 3]), data=array(pixels.reshape(3, -1))
    )
    form(tmp_path, {"cifar-100-python/train": whole}, "cifar-100-python.tar.gz")
    found = data.cifar100(tmp_path)
    np.testing.assert_array_equal(found.rows.numpy(), pixels)
    assert (found.labels.tolist(), found.classes) == (fine, 100)


def test_originals_are_taken_before_compressed_images(tmp_path, counts):
    counts("cifar10", test=1)
    in_folder(tmp_path, {"cifar-10-batches-py/test_batch": batch(noise(1, 3072), [5])})
    in_folder(tmp_path, {"cifar10/test/cat/0000.png": png(noise(32, 32, 3, seed=1))})
    np.testing.assert_array_equal(data.cifar10(tmp_path, "test").rows.flatten(1).numpy(), noise(1, 3072))


# -- Pickles that are not what they seem -------------------------------------------------------------------


class Bomb:
    """Pickled, it calls a function of the attacker's when it is read."""

    def __init__(self, function, *given):
        self.call = function, given

    def __reduce__(self):
        return self.call


def test_a_malicious_pickle_is_refused_by_name_and_not_run(tmp_path, counts):
    counts("cifar10", test=1)
    trace = tmp_path / "trace"
    bombs = {
        "system": Bomb(os.system, f"touch {trace}"),
        "eval": Bomb(eval, f"open({str(trace)!r}, 'w')"),
        "__import__": Bomb(__import__, "antigravity"),
        "getattr": Bomb(getattr, "", "join"),
        "load": Bomb(np.load, str(trace), None, True),
    }
    for name, bomb in bombs.items():
        for protocol in (0, 2, 4):
            raw = pickle.dumps({"data": bomb, "labels": [0]}, protocol)
            in_folder(tmp_path, {"cifar-10-batches-py/test_batch": raw})
            with refusal("test_batch in", "asks for", f".{name}", "do not trust it"):
                data.cifar10(tmp_path, "test")
    assert not trace.exists()
    for protocol in (0, 2, 4):  # the same files do run elsewhere: the test can see it
        trace.unlink(missing_ok=True)
        pickle.loads(pickle.dumps(bombs["system"], protocol))
        assert trace.exists()


def doubled(depth: int = 60) -> bytes:
    """A tuple of two tuples, each of the same two, and so on: some 200 bytes, whose hash takes 2^depth steps."""
    return b")" + b"2\x86" * depth


@pytest.mark.parametrize(
    "value",
    [
        b"}" + doubled() + b"Ns",
        b"}(" + doubled() + b"Nu",
        b"(" + doubled() + b"Nd",
        b"\x8f(" + doubled() + b"\x90",
        b"(" + doubled() + b"\x91",
        b"cnumpy\ndtype\n" + doubled() + b"K\x00K\x01\x87R",
        array(noise(1, 1)).replace(b"(" + number(1) + number(1) + b"t", b"(" + number(1) * 10**6 + b"t"),
    ],
    ids=["item", "items", "dict", "set", "frozenset", "text of it", "dimensions"],
)
def test_a_pickle_that_would_take_for_ever_is_refused(value):
    with refusal("some file", "download the data set again"):
        read_pickle(python2(data=value), "some file")


OBJECT = array(np.zeros(1, np.uint8), kind="O8")
SHORT = array(np.zeros((2, 3072), np.uint8), raw=b"x" * 3072)
HUGE = array(np.broadcast_to(np.uint8(0), (1, 1)), raw=b"").replace(number(1), number(2**31 - 1))


@pytest.mark.parametrize(
    "value",
    [
        OBJECT,
        SHORT,
        HUGE,
        b"cnumpy\nndarray\n(K\x01K\x02tb",  # a state for a class itself
        b"cnumpy\nndarray\n)R(K\x01K\x02tb",
        b"c_codecs\nencode\n" + text("x") + text("rot13") + b"\x86R",
        b"c_codecs\nencode\nN}"
        + text("__defaults__")
        + text("x")
        + b"\x85s\x86b",  # a state for what encodes
        b"\x82\x05",  # an extension code
        b"Pwhatever\n",  # a persistent name
        b"K\x01K\x02\x86b",
        b"h\x07",  # from an empty memo
    ],
    ids=[
        "objects",
        "short",
        "huge",
        "class",
        "marker",
        "codec",
        "encoder",
        "extension",
        "persistent",
        "state",
        "memo",
    ],
)
def test_a_pickle_that_is_not_the_sets_is_refused_in_a_sentence(value):
    with refusal("the batch", "download"):
        read_pickle(python2(data=value), "the batch")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (batch(noise(1, 3072), [3])[:-100], ("damaged pickle", "download the data set again")),
        (b"\x1f\x8b not a pickle", ("damaged pickle", "download the data set again")),
        (pickle.dumps([1, 2]), ("has no table", "download the data set again")),
        (batch(noise(1, 3071), [3]), ("1x3071 values", "n x 3072")),
        (python2(labels=numbers([1])), ("has no values", "n x 3072")),
        (python2(data=numbers([1]), labels=numbers([1])), ("has no values", "n x 3072")),
        (batch(noise(1, 3072), [10]), ("0 to 9", "each of its 1 images")),
        (batch(noise(1, 3072), [-1]), ("0 to 9", "each of its 1 images")),
        (batch(noise(1, 3072), [1, 2]), ("0 to 9", "each of its 1 images")),
        (batch(noise(1, 3072), [1], key="classes"), ("one label (labels)",)),
        (batch(noise(2, 3072), [1, 2]), ("2 images instead of 1", "again")),
    ],
    ids=[
        "cut", "foreign", "list", "narrow", "no data", "text", "eleven", "negative", "many", "unlabelled", "two",
    ],
)  # fmt: skip
def test_damaged_batches_are_refused(raw, words, tmp_path, counts):
    counts("cifar10", test=1)
    in_folder(tmp_path, {"cifar-10-batches-py/test_batch": raw})
    with refusal(*words):
        data.cifar10(tmp_path, "test")
    assert list((tmp_path / "cache").iterdir()) == []


def test_damaged_archives_are_refused(tmp_path, counts):
    counts("cifar10", test=1)
    in_tar(tmp_path, {"cifar-10-batches-py/test_batch": batch(noise(1, 3072), [3])}, "whole.tar.gz")
    whole, place = (tmp_path / "whole.tar.gz").read_bytes(), tmp_path / "cifar-10-python.tar.gz"
    for content in (whole[: len(whole) // 2], whole[:-4], b"no archive", b"", whole[:40] + b"?" + whole[41:]):
        place.write_bytes(content)
        with refusal("cifar-10-python.tar.gz", "damaged archive", "download it again"):
            data.cifar10(tmp_path, "test")
    in_tar(tmp_path, {"elsewhere/test_batch": b"x"}, place.name)
    with refusal("has no file cifar-10-batches-py/test_batch", "again"):
        data.cifar10(tmp_path, "test")
    place.unlink()
    in_folder(tmp_path, {"cifar-10-batches-py/readme.html": b""})
    with refusal("cifar-10-batches-py", "no file test_batch", "unpack"):
        data.cifar10(tmp_path, "test")


def test_an_archive_that_cannot_be_read_is_no_fault_of_the_cache(tmp_path, counts, monkeypatch):
    counts("cifar10", test=1)
    in_tar(tmp_path, {"cifar-10-batches-py/test_batch": batch(noise(1, 3072), [1])}, "cifar-10-python.tar.gz")

    def refused(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("steadygan.data.archives.gzip.open", refused)
    with refusal("cifar-10-python.tar.gz cannot be read (Permission denied)"):
        data.cifar10(tmp_path, "test")


@pytest.mark.parametrize("way", ["dot", "link", "user"])
def test_a_sets_own_folder_by_whatever_name(way, tmp_path, counts, monkeypatch):
    counts("cifar10", test=1)
    own = tmp_path / "cifar-10-batches-py"
    in_folder(tmp_path, {"cifar-10-batches-py/test_batch": batch(noise(1, 3072), [1])})
    monkeypatch.chdir(own)
    monkeypatch.setenv("HOME", str(own))
    (tmp_path / "elsewhere").symlink_to(own)
    root = {"dot": ".", "link": tmp_path / "elsewhere", "user": "~"}[way]
    assert data.cifar10(root, "test").labels.tolist() == [1]


def test_a_home_of_nobody_does_not_exist():
    with refusal("the data folder ~nobody.here/x does not exist"):
        data.cifar10("~nobody.here/x")
    with refusal("~nobody.here/x does not exist"):
        data.image_folder("~nobody.here/x")


def test_fewer_images_than_the_set_has_are_refused(tmp_path, counts):
    counts("cifar10", test=2)
    in_folder(tmp_path, {"cifar-10-batches-py/test_batch": batch(noise(1, 3072), [1])})
    with refusal("1 images instead of 2", "again"):
        data.cifar10(tmp_path, "test")


def test_an_archive_is_never_unpacked(tmp_path, counts):
    counts("cifar10", test=1)
    files = {"../escaped": b"x", "cifar-10-batches-py/test_batch": batch(noise(1, 3072), [3])}
    in_tar(tmp_path / "root", files, "cifar-10-python.tar.gz")
    data.cifar10(tmp_path / "root", "test")
    assert not (tmp_path / "escaped").exists()
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["cifar-10-python.tar.gz"]


# -- STL-10 ------------------------------------------------------------------------------------------------


def stl_bytes(images: np.ndarray) -> bytes:
    """Each image channel by channel, each channel column by column: a plain loop."""
    written = bytearray()
    for image in images:
        for channel in range(3):
            for column in range(96):
                for row in range(96):
                    written.append(image[channel, row, column])
    return bytes(written)


@each_form
def test_stl10_is_stored_by_columns(form: Form, tmp_path, counts):
    counts("stl10", unlabeled=2, train=3)
    images = noise(3, 3, 96, 96)
    files = {
        "stl10_binary/unlabeled_X.bin": stl_bytes(images[:2]),
        "stl10_binary/train_X.bin": stl_bytes(images),
        "stl10_binary/train_y.bin": bytes([10, 1, 7]),
    }
    form(tmp_path, files, "stl10_binary.tar.gz")
    found = data.stl10(tmp_path, size=96)
    np.testing.assert_array_equal(found.rows.numpy(), images[:2])
    assert (found.labels, found.classes) == (None, 0)
    train = data.stl10(tmp_path, "train", size=96)
    np.testing.assert_array_equal(train.rows.numpy(), images)
    assert (train.labels.tolist(), train.classes) == ([9, 0, 6], 10)
    assert found.held is train.held is None  # the stand-in has no test part


def test_what_stl10_holds_out_is_its_test_part_also_of_the_unlabelled(tmp_path, counts):
    counts("stl10", unlabeled=1, train=1, test=2)
    unseen = noise(2, 3, 96, 96, seed=7)
    parts = {"unlabeled": noise(1, 3, 96, 96), "train": noise(1, 3, 96, 96, seed=1), "test": unseen}
    files = {f"stl10_binary/{part}_X.bin": stl_bytes(images) for part, images in parts.items()}
    labels = {f"stl10_binary/{part}_y.bin": bytes([1] * len(parts[part])) for part in ("train", "test")}
    in_folder(tmp_path, files | labels)
    for part in ("unlabeled", "train"):
        np.testing.assert_array_equal(data.stl10(tmp_path, part, size=96).held().numpy(), unseen)
    assert data.stl10(tmp_path, "test", size=96).held is None


def test_stl10_is_resized_by_the_filter_that_its_manifest_names(tmp_path, counts):
    counts("stl10", unlabeled=2)
    images = noise(2, 3, 96, 96)
    in_folder(tmp_path, {"stl10_binary/unlabeled_X.bin": stl_bytes(images)})
    found = data.stl10(tmp_path, filter="box")
    means = images.reshape(2, 3, 48, 2, 48, 2).mean((3, 5))
    np.testing.assert_allclose(found.rows.numpy(), means, atol=1.01)  # pillow rounds twice
    manifest = json.loads(found.mapped.with_suffix(".json").read_text())
    assert (manifest["size"], manifest["filter"], manifest["shape"]) == (48, "box", [3, 48, 48])
    other = data.stl10(tmp_path)
    assert other.mapped != found.mapped
    assert not torch.equal(other.rows, found.rows)
    assert torch.equal(data.stl10(tmp_path, filter="box").rows, found.rows)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"test_X.bin": b"x" * 27_647, "test_y.bin": b"\x01"}, ("test_X.bin", "fewer than 1 images")),
        ({"test_X.bin": b"x" * 27_649, "test_y.bin": b"\x01"}, ("test_X.bin", "more than 1 images")),
        ({"test_X.bin": b"x" * 27_648, "test_y.bin": b"\x00"}, ("test_y.bin", "1 labels of 1 to 10")),
        ({"test_X.bin": b"x" * 27_648, "test_y.bin": b"\x0b"}, ("test_y.bin", "1 labels of 1 to 10")),
        ({"test_X.bin": b"x" * 27_648, "test_y.bin": b""}, ("test_y.bin", "1 labels of 1 to 10")),
        ({"test_X.bin": b"x" * 27_648}, ("no file test_y.bin", "again")),
    ],
)
def test_damaged_stl10(files, words, tmp_path, counts):
    counts("stl10", test=1)
    in_folder(tmp_path, {f"stl10_binary/{name}": content for name, content in files.items()})
    with refusal(*words):
        data.stl10(tmp_path, "test")


# -- ImageNet-64 -------------------------------------------------------------------------------------------


def npz(path: Path, compress: bool = False, **arrays: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    (np.savez_compressed if compress else np.savez)(path, **arrays)


@pytest.mark.parametrize("compress", [False, True])
def test_imagenet64_in_the_order_of_its_batches(compress, tmp_path, counts):
    counts("imagenet64", train=10 * 300, test=2)
    base = noise(300, 3, 64, 64)
    for i in range(1, 11):
        part = tmp_path / f"Imagenet64_train_part{1 if i < 6 else 2}_npz"
        labels = np.arange(300) * 3 % 1000 + 1
        arrays = {"data": (base + i).reshape(300, -1), "labels": labels, "mean": np.zeros(3 * 64 * 64)}
        npz(part / f"train_data_batch_{i}.npz", compress, **arrays)
    found = data.imagenet64(tmp_path)
    assert (found.shape, found.classes) == ((3, 64, 64), 1000)
    for i in range(10):
        np.testing.assert_array_equal(found.rows[300 * i : 300 * i + 300].numpy(), base + (i + 1))
    assert found.labels.tolist() == [3 * k % 1000 for k in range(300)] * 10
    (part / "train_data_batch_7.npz").unlink()
    with refusal("lacks train_data_batch_7.npz of ImageNet-64", "download"):
        data.imagenet64(tmp_path)


def test_a_pixel_of_imagenet64_is_where_its_description_says(tmp_path, counts):
    """4,096 bytes of red, of green, of blue; the first 64 of each are the top row."""
    counts("imagenet64", test=1)
    flat = np.zeros((1, 12288), np.uint8)
    flat[0, 63], flat[0, 4096 + 64], flat[0, 12287] = 10, 20, 30
    npz(tmp_path / "val_data.npz", data=flat, labels=np.array([1000]))
    found = data.imagenet64(tmp_path, "test")
    image = found.rows[0]
    assert (image[0, 0, 63], image[1, 1, 0], image[2, 63, 63]) == (10, 20, 30)
    assert found.labels.tolist() == [999]


GOOD = {"data": np.zeros((1, 12288), np.uint8), "labels": np.array([1])}


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"data": np.zeros((1, 3072), np.uint8)}, ("1x3072 of uint8", "n x 12288", "64x64")),
        ({"data": np.zeros((1, 12288), np.float32)}, ("of float32", "n x 12288 bytes")),
        ({"data": np.zeros((2, 12288), np.uint8)}, ("2 images instead of 1",)),
        ({"data": np.asfortranarray(np.zeros((2, 12288), np.uint8))}, ("by columns",)),
        ({"labels": np.array([0])}, ("one label of 1 to 1000",)),
        ({"labels": np.array([1001])}, ("one label of 1 to 1000",)),
        ({"labels": np.array([1, 2])}, ("one label of 1 to 1000",)),
        ({"labels": np.array([Bomb(os.system, "false")])}, ("one label of 1 to 1000",)),
        ({"data": None}, ("no array 'data'",)),
        ({"labels": None}, ("no array 'labels'",)),
    ],
    ids=["32x32", "floats", "two", "columns", "zero", "thousand", "many", "objects", "no data", "no labels"],
)
def test_foreign_batches_of_imagenet64(arrays, words, tmp_path, counts):
    counts("imagenet64", test=1)
    npz(tmp_path / "val_data.npz", **{k: v for k, v in (GOOD | arrays).items() if v is not None})
    with refusal(*words):
        data.imagenet64(tmp_path, "test")


def test_damaged_batches_of_imagenet64(tmp_path, counts):
    counts("imagenet64", test=1)
    npz(tmp_path / "val_data.npz", **GOOD)
    whole = (tmp_path / "val_data.npz").read_bytes()
    for harmed in (whole[:-300], b"", whole[:5000] + b"?" + whole[5001:]):
        (tmp_path / "val_data.npz").write_bytes(harmed)
        with refusal("val_data.npz"):
            data.imagenet64(tmp_path, "test")
    with zipfile.ZipFile(tmp_path / "val_data.npz", "w") as archive:
        archive.writestr("data.npy", b"\x93NUMPY no header")
    with refusal("val_data.npz", "damaged array"):
        data.imagenet64(tmp_path, "test")


HEADERS = [
    b"{'shape': (1, (, }",
    b"('''",
    b"  1\n 2",
    b"{'descr': 5, 'fortran_order': False, 'shape': (1, 1)}",
]


@pytest.mark.parametrize("header", HEADERS, ids=["bracket", "quotes", "indent", "type"])
def test_headers_of_arrays_that_are_no_python(header, tmp_path, counts):
    """numpy raises something else for each."""
    counts("imagenet64", test=1)
    with zipfile.ZipFile(tmp_path / "val_data.npz", "w") as archive:
        archive.writestr("data.npy", b"\x93NUMPY\x01\x00" + bytes([118, 0]) + header.ljust(118))
    with refusal("val_data.npz", "damaged array", "download it again"):
        data.imagenet64(tmp_path, "test")


@pytest.mark.parametrize("place", [0.01, 0.5, 0.99])
def test_damage_inside_a_compressed_batch(place, tmp_path, counts):
    """Wrong bytes in a deflated member, at its header or later, are not only a wrong checksum."""
    counts("imagenet64", test=40)
    file = tmp_path / "val_data.npz"
    np.savez_compressed(file, data=noise(40, 12288) % 5, labels=np.full(40, 7))
    whole = bytearray(file.read_bytes())
    at = int(place * len(whole))
    for i in range(at, at + 200):
        whole[i] ^= 0xA5
    file.write_bytes(whole)
    with refusal("val_data.npz", "download it again"):
        data.imagenet64(tmp_path, "test")


def test_a_batch_whose_list_points_nowhere(tmp_path, counts):
    """The list at a zip's end says where each member begins: here, before the file."""
    counts("imagenet64", test=1)
    npz(tmp_path / "val_data.npz", **GOOD)
    whole = bytearray((tmp_path / "val_data.npz").read_bytes())
    end = whole.rindex(b"PK\x05\x06")
    where = struct.unpack("<I", whole[end + 16 : end + 20])[0]
    whole[end + 16 : end + 20] = struct.pack(
        "<I", where + 4096
    )  # zipfile takes it that 4,096 bytes are lacking
    (tmp_path / "val_data.npz").write_bytes(whole)
    with refusal("val_data.npz"):
        data.imagenet64(tmp_path, "test")


def test_a_batch_that_wants_a_password(tmp_path, counts):
    counts("imagenet64", test=1)
    npz(tmp_path / "val_data.npz", **GOOD)
    whole = bytearray((tmp_path / "val_data.npz").read_bytes())
    for head in (b"PK\x03\x04", b"PK\x01\x02"):  # the flag of encryption, in the file's head and in the list
        for at in [i for i in range(len(whole)) if whole[i : i + 4] == head]:
            whole[at + (6 if head[2] == 3 else 8)] |= 1
    (tmp_path / "val_data.npz").write_bytes(whole)
    with refusal("val_data.npz", "no array 'data'"):
        data.imagenet64(tmp_path, "test")


def test_imagenet64_as_a_folder_of_images(tmp_path, counts):
    counts("imagenet64", train=3, test=1)
    pixels = noise(4, 64, 64, 3)
    names = ("train/n02/a.png", "train/n01/b.png", "train/n02/c.png", "val/n01/d.png")
    in_folder(tmp_path / "imagenet64", {name: png(image) for name, image in zip(names, pixels)})
    in_folder(tmp_path / "imagenet64", {"train/n01/b.png": png(pixels[1, :, :, 0])})  # a grey one
    found = data.imagenet64(tmp_path)
    grey = np.stack([pixels[1, :, :, 0]] * 3, 2)
    expected = np.stack([grey, pixels[0], pixels[2]]).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(found.rows.numpy(), expected)
    assert found.labels.tolist() == [0, 1, 1]
    assert len(data.imagenet64(tmp_path, "test").rows) == 1
    counts("imagenet64", train=4, test=1)
    with refusal("train in", "3 images instead of 4"):
        data.imagenet64(tmp_path)
    larger = noise(128, 128, 3)
    in_folder(tmp_path / "imagenet64", {"val/n01/d.png": png(larger)})
    halved = larger.reshape(64, 2, 64, 2, 3).mean((1, 3)).transpose(2, 0, 1)  # the box filter is a mean
    np.testing.assert_allclose(data.imagenet64(tmp_path, "test").rows[0].numpy(), halved, atol=1)


# -- Emoji -------------------------------------------------------------------------------------------------


def sheet(cells: dict[tuple[int, int], np.ndarray], side: int = 3) -> bytes:
    """Images 64x64 RGBA at (column, row), each with a border of one pixel, here of loud red."""
    pixels = np.zeros((66 * side, 66 * side, 4), np.uint8)
    pixels[..., (0, 3)] = 255
    for (column, row), image in cells.items():
        pixels[66 * row + 1 : 66 * row + 65, 66 * column + 1 : 66 * column + 65] = image
    return png(pixels)


def entry(name: str, column: int, row: int, there: bool = True, **more: object) -> dict:
    return {"image": name, "sheet_x": column, "sheet_y": row, "has_img_google": there, **more}


PICTURES = noise(4, 64, 64, 4)
PICTURES[0, ..., 3], PICTURES[1, ..., 3], PICTURES[2, ..., 3] = 255, 0, 255
SKIN = {"1F3FB": entry("b-1f3fb.png", 2, 2), "1F3FC": entry("b-1f3fc.png", 0, 1, there=False)}
TABLE = [
    entry("c.png", 1, 2, category="Objects"),
    entry("b.png", 2, 0, category="People", skin_variations=SKIN),
    entry("a.png", 0, 0, category="Objects"),
    entry("z.png", 1, 1, there=False, category="Flags"),
]


def package(table: object = TABLE, side: int = 3) -> Files:
    pictures = sheet(
        {(0, 0): PICTURES[0], (2, 0): PICTURES[1], (2, 2): PICTURES[2], (1, 2): PICTURES[3]}, side=3
    )
    small = sheet({(0, 0): PICTURES[0]}, side=1)
    return {
        "package/emoji.json": json.dumps(table).encode(),
        "package/img/google/sheets/64.png": pictures if side == 3 else small,
    }


@pytest.fixture
def four(known):
    known("emoji", counts={"train": 4}, classes=2)


def emoji_in(kind: str, root: Path, files: Files) -> Path:
    if kind == "tgz":
        return in_tar(root, files, "emoji-datasource-google-16.0.0.tgz")
    below = {"npm": "node_modules/emoji-datasource-google", "folder": "emoji-datasource-google", "bare": "."}
    in_folder(root, {name.replace("package", below[kind], 1): content for name, content in files.items()})
    return root


@pytest.mark.parametrize("kind", ["tgz", "npm", "folder", "bare"])
def test_emoji_are_cut_out_of_their_sheet(kind, tmp_path, four):
    found = data.emoji(emoji_in(kind, tmp_path / "root", package()))
    assert (found.shape, found.classes) == ((3, 64, 64), 2)
    opaque = {0: PICTURES[0], 2: PICTURES[2]}  # a.png, b-1f3fb.png, b.png, c.png in the order of their names
    rows = found.rows.numpy().transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(rows[0], opaque[0][..., :3])
    np.testing.assert_array_equal(rows[1], opaque[2][..., :3])
    np.testing.assert_array_equal(rows[2], np.full((64, 64, 3), 255))  # wholly transparent: white
    colour, alpha = PICTURES[3][..., :3].astype(float), PICTURES[3][..., 3:] / 255
    np.testing.assert_allclose(rows[3], alpha * colour + (1 - alpha) * 255, atol=1.01)
    assert found.labels.tolist() == [0, 1, 1, 0]  # Objects, People


def test_emoji_of_another_size(tmp_path, four):
    emoji_in("tgz", tmp_path, package())
    half = data.emoji(tmp_path, size=32, filter="box").rows[0].numpy()
    means = PICTURES[0][..., :3].reshape(32, 2, 32, 2, 3).mean((1, 3)).transpose(2, 0, 1)
    np.testing.assert_allclose(half, means, atol=1.01)  # pillow rounds twice


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (package(TABLE[:1]), ("1 images in 1 categories instead of 4 in 2", "16.0.0")),
        (package({"a": 1}), ("emoji.json", "not the file of emoji-datasource-google")),
        (
            package() | {"package/emoji.json": b"[" * 100_000},
            ("emoji.json", "not the file of emoji-datasource-google"),
        ),
        (package([{"image": "a.png"}]), ("emoji.json", "not the file of emoji-datasource-google")),
        (package([*TABLE[:2], entry("a.png", -1, 0, category="Objects")]), ("not the file of",)),
        (package(side=1), ("64.png", "ends before")),
        (package() | {"package/emoji.json": b"<html>"}, ("emoji.json", "not the file of")),
        (package() | {"package/img/google/sheets/64.png": b"<html>"}, ("64.png", "cannot be decoded")),
        (
            package()
            | {"package/img/google/sheets/64.png": package()["package/img/google/sheets/64.png"][:-500]},
            ("64.png", "cannot be decoded"),
        ),
        ({"package/emoji.json": b"[]"}, ("no file package/img/google/sheets/64.png",)),
    ],
    ids=["few", "dict", "nested", "bare", "outside", "small", "html", "no png", "cut png", "no sheet"],
)
def test_foreign_packages_are_refused(files, words, tmp_path, four):
    emoji_in("tgz", tmp_path, files)
    with refusal(*words):
        data.emoji(tmp_path)


@pytest.mark.skipif(
    EMOJI_TGZ is None, reason="needs npm pack emoji-datasource-google@16.0.0 in STEADYGAN_DATA"
)
def test_the_published_sheet_holds_the_published_images():
    """The package ships every image as a file of its own too, which this loader does not read."""
    found = data.emoji(EMOJI_TGZ)
    assert found.rows.shape == (3786, 3, 64, 64)
    assert found.labels.bincount().tolist() == [85, 159, 5, 270, 131, 264, 2261, 169, 224, 218]
    with tarfile.open(EMOJI_TGZ) as archive:
        single = {m.name: m for m in archive if m.name.startswith("package/img/google/64/")}
        for index in range(0, 3786, 7):
            name = sorted(single)[index]
            image = np.asarray(Image.open(archive.extractfile(single[name])).convert("RGBA")).astype(float)
            alpha = image[..., 3:] / 255
            expected = (alpha * image[..., :3] + (1 - alpha) * 255).transpose(2, 0, 1)
            np.testing.assert_allclose(found.rows[index].numpy(), expected, atol=1.01, err_msg=name)


# -- CelebA-HQ and LSUN ------------------------------------------------------------------------------------


def faces(below: str, count: int = 12) -> Files:
    return {f"{below}{i}.png": png(np.full((8, 8, 3), i, np.uint8)) for i in range(count)}


def in_zip(path: Path, files: Files) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


@pytest.mark.parametrize("kind", ["folder", "masks", "zip", "zip of masks"])
def test_celeba_hq_is_in_the_order_of_its_numbers(kind, tmp_path, counts):
    counts("celeba_hq", all=12, train=10, test=2)
    mask = {"CelebAMask-HQ/CelebAMask-HQ-mask-anno/0/00000_hair.png": png(noise(8, 8))}
    if kind == "folder":
        in_folder(tmp_path, faces("celeba_hq/"))
    elif kind == "masks":
        in_folder(tmp_path, faces("CelebAMask-HQ/CelebA-HQ-img/") | mask)
    elif kind == "zip":
        in_zip(tmp_path / "celeba-hq.zip", faces("whatever/"))
    else:
        in_zip(tmp_path / "CelebAMask-HQ.zip", faces("CelebAMask-HQ/CelebA-HQ-img/") | mask)
    found = {split: data.celeba_hq(tmp_path, split, size=4) for split in ("all", "train", "test")}
    numbers = {split: part.rows[:, 0, 0, 0].tolist() for split, part in found.items()}
    assert numbers == {"all": [*range(12)], "train": [*range(10)], "test": [10, 11]}
    assert found["all"].shape == (3, 4, 4)
    assert torch.equal(found["train"].held(), found["test"].rows)
    assert found["all"].held is found["test"].held is None  # nothing is held out of the whole
    assert found["all"].classes == 0


def test_celeba_hq_incomplete(tmp_path, counts):
    counts("celeba_hq", all=13)
    in_folder(tmp_path, faces("celeba_hq/"))
    with refusal("12 images instead of the 13 of CelebA-HQ", "copy"):
        data.celeba_hq(tmp_path)


def test_lsun_takes_colour_images_of_any_size_from_any_depth(tmp_path):
    wide = np.zeros((4, 8, 3), np.uint8)
    wide[:, 2:6] = 90
    files = {
        "lsun/church_train/a/b/0.png": png(wide),
        "lsun/church_train/a/1.png": png(np.full((4, 4), 7, np.uint8)),
    }
    in_folder(tmp_path, files | {"lsun/bedroom_train/c/2.png": png(wide)})
    found = data.lsun(tmp_path, "church_train", size=4)
    assert found.rows.shape == (2, 3, 4, 4)
    assert (found.labels, found.classes) == (None, 0)
    assert {*found.rows.unique().tolist()} == {
        7,
        90,
    }  # the black margins are cropped, the grey one is in colour
    assert len(data.lsun(tmp_path, size=4).rows) == 3
    squeezed = data.lsun(tmp_path, "church_train", size=4, filter="box", crop="none")
    assert squeezed.rows[1, 0].tolist() == [[0, 90, 90, 0]] * 4
    in_folder(tmp_path / "db", {"lsun/bedroom_train_lmdb/data.mdb": b"x"})
    with refusal("has no images", "export its database"):
        data.lsun(tmp_path / "db")


# -- All of them -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("load", "words"),
    [
        (data.cifar10, ("CIFAR-10", "cifar-10-python.tar.gz (170 MB)")),
        (data.cifar100, ("CIFAR-100", "cifar-100-python.tar.gz (169 MB)")),
        (data.stl10, ("STL-10", "stl10_binary.tar.gz (2.6 GB)")),
        (data.celeba_hq, ("CelebA-HQ", "CelebAMask-HQ.zip (about 3 GB")),
        (data.imagenet64, ("ImageNet-64", "npz batches")),
        (data.emoji, ("emoji", "npm pack emoji-datasource-google@16.0.0")),
        (data.lsun, ("LSUN", "export")),
    ],
    ids=lambda part: getattr(part, "__name__", ""),
)
def test_a_missing_set_says_how_to_get_it(load, words, tmp_path):
    with refusal(words[0], "was not found", words[1], "--data-root", "STEADYGAN_DATA"):
        load(tmp_path)
    with refusal("does not exist", "--data-root"):
        load(tmp_path / "typo")


@pytest.mark.parametrize(
    "load", [data.stl10, data.celeba_hq, data.emoji, data.lsun], ids=lambda load: load.__name__
)
def test_sizes_and_filters_that_there_are_not(load, tmp_path):
    with refusal("size is 0", "whole number"):
        load(tmp_path, size=0)
    with refusal("no filter 'lanzcos'", "did you mean 'lanczos'"):
        load(tmp_path, filter="lanzcos")


ZEROS = {"cifar-10-batches-py/other": bytes(2**20)}
ONE = {"cifar-10-batches-py/test_batch": batch(noise(1, 3072), [3])}


@pytest.mark.parametrize(
    "files",
    [{"cifar-10-batches-py/test_batch": bytes(2**20)}, ONE | ZEROS, ZEROS | ONE],
    ids=["read", "passed over", "at the end"],
)
def test_an_archive_that_unpacks_to_far_more_than_its_size(files, tmp_path, counts, monkeypatch):
    """A megabyte of zeros packs to a kilobyte."""
    counts("cifar10", test=1)
    monkeypatch.setattr(archives, "UNPACKED", 2**16)
    in_tar(tmp_path, files, "cifar-10-python.tar.gz")
    with refusal("cifar-10-python.tar.gz unpacks to more than", "download it again"):
        data.cifar10(tmp_path, "test")


def header(kind: bytes, size: int = 0, *changes: tuple[int, bytes]) -> bytes:
    """512 bytes of GNU tar: an entry of a kind and a size, with some of its bytes changed, and their checksum."""
    about = tarfile.TarInfo("x")
    about.type, about.size = kind, size
    raw = bytearray(about.tobuf(tarfile.GNU_FORMAT))
    for place, content in changes:
        raw[place : place + len(content)] = content
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw)
    return bytes(raw)


LONG_NAME = header(b"L", 10) + b"a" * 10 + bytes(502)
MORE = bytes(504) + b"\x01" + bytes(7)
"""A block of the map of a sparse file, which says that there is another one."""

HOSTILE = {
    "entries": (header(b"0") * 3000, "has more than 1,000 entries"),
    "a long header": (header(b"L", 2**21) + bytes(2**21), "has a header of more than 1,048,576 bytes"),
    "long attributes": (header(b"x", 2**21) + b"8 aa=bb\n" * 2**18, "has a header of more than 1,048,576 bytes"),
    "headers of headers": (LONG_NAME * 3000, "a header has no sense"),
    "a negative size": (header(b"L", 0, (124, b"\xff" * 10 + b"\xf0\0")) + bytes(2**20), "a size is negative"),
    "a sparse map that is cut": (header(b"S", 0, (482, b"\x01")) + MORE * 3, "a header has no sense"),
    "a sparse file of 64 GiB": (header(b"S", 0, (483, b"\x80" + bytes(6) + (2**36).to_bytes(5))), "a file is sparse"),
}  # fmt: skip


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(archives, "ENTRIES", 1000)
    monkeypatch.setattr(archives, "SHARD", 1000)


def read_shard(place: Path) -> None:
    try:
        list(archives.shard_files(place))
    except tarfile.ReadError as error:  # which the reader of shards makes a sentence of
        raise UsageError(f"{place} is damaged ({error})") from error


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("shard", [False, True], ids=["archive", "shard"])
def test_the_headers_of_an_archive_are_bounded(what, shard, tmp_path, counts, few):
    """Each takes a few kilobytes, and memory or minutes without a bound."""
    counts("cifar10", test=1)
    raw, why = HOSTILE[what]
    place = tmp_path / "cifar-10-python.tar.gz"
    place.write_bytes(gzip.compress(raw))
    with refusal("cifar-10-python.tar.gz", why, *(() if shard else ("download it again",))):
        read_shard(place) if shard else data.cifar10(tmp_path, "test")


def test_the_search_in_an_archive_takes_no_more_than_its_seconds(tmp_path, monkeypatch):
    """The time of those who use what was found is theirs."""
    clock = itertools.count()
    monkeypatch.setattr(archives.time, "thread_time", lambda: float(next(clock)))
    with tarfile.open(tmp_path / "a.tar", "w") as packed:
        for name in range(30):
            packed.addfile(tarfile.TarInfo(str(name)))
    found = archives.shard_files(tmp_path / "a.tar")
    monkeypatch.setattr(archives, "SECONDS", 10_000)
    assert len(list(found)) == 30
    monkeypatch.setattr(archives, "SECONDS", 0)
    monkeypatch.setattr(archives, "SPEED", 400)  # 30 entries are 20,480 bytes: 51 s, and each takes 3
    started = next(clock)
    shard = archives.shard_files(tmp_path / "a.tar")
    with refusal("a.tar", "takes too many seconds", "download it again"):
        for _ in shard:
            pass
    assert next(clock) - started < 150
    monkeypatch.setattr(archives, "SECONDS", 100)
    for _ in archives.shard_files(tmp_path / "a.tar"):
        for _ in range(1000):
            next(clock)


def test_a_packed_file_that_is_verified_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "UNPACKED", 2**16)
    (tmp_path / "x.gz").write_bytes(gzip.compress(bytes(2**22)))
    with refusal("x.gz unpacks to more than", "download it again"):
        commands_data._md5(tmp_path / "x.gz", unpacked=True)


def test_a_zip_of_too_many_files(tmp_path, monkeypatch):
    """Whatever its end says: zipfile goes by the list itself."""
    place = tmp_path / "set.zip"
    in_zip(place, {f"{i}.png": b"" for i in range(30)})
    raw = place.read_bytes()
    end = raw.rindex(b"PK\x05\x06")
    place.write_bytes(raw[: end + 8] + struct.pack("<HH", 1, 1) + raw[end + 12 :])
    monkeypatch.setattr(image_files, "ENTRIES", 30)
    assert len(image_files.list_images(place).entries) == 30
    monkeypatch.setattr(image_files, "ENTRIES", 29)
    with refusal("set.zip has more than 29 files", "give the folder"):
        image_files.list_images(place)


def test_a_zip_of_files_without_suffixes_is_searched_for_some_seconds(tmp_path, monkeypatch):
    in_zip(tmp_path / "set.zip", {f"{i}": b"" for i in range(30)})
    clock = itertools.count()
    monkeypatch.setattr(image_files.time, "thread_time", lambda: float(next(clock)))
    monkeypatch.setattr(image_files, "SECONDS", 30)
    assert len(image_files.list_images(tmp_path / "set.zip").others) == 30
    monkeypatch.setattr(image_files, "SECONDS", 29)
    with refusal("set.zip has so many files without a suffix", "give the folder"):
        image_files.list_images(tmp_path / "set.zip")


def test_a_file_of_a_folder_that_is_far_too_large(tmp_path, counts, monkeypatch):
    counts("cifar10", test=1)
    monkeypatch.setattr(cifar, "BATCH", 1000)
    in_folder(tmp_path, {"cifar-10-batches-py/test_batch": batch(noise(1, 3072), [3])})
    with refusal("test_batch in", "more than 1,000 bytes"):
        data.cifar10(tmp_path, "test")


def test_a_zip_whose_files_are_far_larger_than_it_is(tmp_path, monkeypatch):
    """As where all files of a zip are the same bytes, or zeros."""
    monkeypatch.setattr(image_files, "UNPACKED", 2**20)
    with zipfile.ZipFile(tmp_path / "set.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("a.png", "b.bmp", "c.txt"):
            archive.writestr(name, bytes(2**20))
    with refusal("set.zip unpacks to 3,145,728 bytes, more than 100 times its size", "give the folder"):
        data.image_folder(tmp_path / "set.zip")


def test_an_array_with_a_header_of_gigabytes_or_negative_sides(tmp_path, counts):
    counts("imagenet64", test=1)
    long = b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1) + b" " * 100
    text = b"{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 12288), }"
    negative = b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + text.ljust(118)
    for header in (long, negative):
        with zipfile.ZipFile(tmp_path / "val_data.npz", "w") as archive:
            archive.writestr("data.npy", header)
        with refusal("val_data.npz", "damaged array"):
            data.imagenet64(tmp_path, "test")


def test_a_pipe_in_place_of_an_archive_does_not_hang(tmp_path):
    for name in (
        "cifar-10-python.tar.gz",
        "stl10_binary.tar.gz",
        "emoji-datasource-google-16.0.0.tgz",
        "lsun.zip",
    ):
        os.mkfifo(tmp_path / name)
    for load in (data.cifar10, data.stl10, data.emoji, data.lsun):
        with pytest.raises(UsageError):
            load(tmp_path)


def test_an_array_in_columns_is_refused_and_not_read_in_rows():
    rows = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert read_pickle(pickle.dumps({"data": rows}, 2), "file")["data"].tolist() == rows.tolist()
    with pytest.raises(UsageError, match="shape and contents do not match"):
        read_pickle(pickle.dumps({"data": np.asfortranarray(rows)}, 2), "file")
