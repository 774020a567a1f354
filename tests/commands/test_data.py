"""Preparing sets once, and the commands that say what is there and whether it is whole."""

import gzip
import hashlib
import inspect
import io
import json
import os
import re
import struct
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from benchmarks import data as loader
from steadygan import build, config, data
from steadygan.commands import data as datasets
from steadygan.config import registry
from steadygan.data import array_cache, decoding
from steadygan.data import fashion_files as idx_files
from steadygan.data.folders import image_folder_source
from steadygan.errors import DataNote, UsageError
from steadygan.game.batches import Draws


@pytest.fixture(autouse=True)
def private_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("STEADYGAN_DATA", raising=False)


def refusal(*words: str):
    """Expect a UsageError of one sentence that contains each of the words, in this order."""
    pattern = r"(?s)\A(?!.*(\n|\.\s|\.\Z)).*" + ".*".join(map(re.escape, words))
    return pytest.raises(UsageError, match=pattern)


def shade(value: int, side: int = 4) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (side, side), (value, 0, 0)).save(stream, "PNG")
    return stream.getvalue()


def folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def shades(found: data.Data) -> list[int]:
    return found.rows[:, 0, 0, 0].tolist()


def manifest(tmp_path: Path) -> dict:
    (file,) = (tmp_path / "cache").glob("*.json")
    return json.loads(file.read_text())


# -- Corrupt images ----------------------------------------------------------------------------------------


def cut() -> bytes:
    """The first half of a PNG that does not compress."""
    stream = io.BytesIO()
    Image.effect_noise((64, 64), 90).convert("RGB").save(stream, "PNG")
    return stream.getvalue()[: stream.tell() // 2]


CUT = cut()
MIXED = {f"{'ab'[i % 2]}/{i:03}.png": shade(i % 250) for i in range(600)}
BAD = {"a/010.png": CUT, "b/301.png": b"text", "b/599.png": b""}


def test_all_corrupt_images_are_named(tmp_path):
    folder(tmp_path / "set", MIXED | BAD)
    with refusal(
        "3 of 600 images in", "a/010.png (", "b/301.png (not an image)", "b/599.png (", "--skip-corrupt"
    ):
        array_cache.prepare(image_folder_source(tmp_path / "set"))
    assert list((tmp_path / "cache").iterdir()) == []
    with pytest.warns(
        DataNote, match=r"left out 3 images that cannot be decoded in .*: a/010.png \(.*599.png"
    ):
        assert len(data.image_folder(tmp_path / "set").rows) == 597


def test_more_than_a_sentence_takes_are_counted(tmp_path):
    files = {f"{i:03}.png": b"x" for i in range(decoding.NAMED + 7)} | {"z.png": shade(1)}
    with refusal(
        f"{decoding.NAMED + 7} of {decoding.NAMED + 8}", "049.png (not an image) and 7 more; replace"
    ):
        array_cache.prepare(image_folder_source(folder(tmp_path / "set", files)))


@pytest.mark.parametrize("packed", [False, True])
def test_corrupt_images_are_left_out_on_request_and_recorded(packed, tmp_path):
    path = folder(tmp_path / "set", MIXED | BAD)
    if packed:
        path = tmp_path / "set.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in (MIXED | BAD).items():
                archive.writestr(name, content)
    made = array_cache.prepare(image_folder_source(path), skip=True)
    assert made == manifest(tmp_path)
    assert made["skipped"] == sorted(BAD)
    assert (made["count"], made["shape"]) == (597, [3, 4, 4])
    with pytest.warns(DataNote, match="left out 3 images"):
        found = data.image_folder(path)  # a run takes what was prepared
    expected = [(int(name[2:5]) % 250, "ab".index(name[0])) for name in sorted(MIXED) if name not in BAD]
    assert (
        list(zip(shades(found), found.labels.tolist(), strict=True)) == expected
    )  # labels stay with their images
    with refusal("3 of 600"):  # nobody who did not ask is served it
        array_cache.prepare(image_folder_source(path))
    with pytest.warns(DataNote, match="left out 3 images"):
        assert len(data.image_folder(path).rows) == 597


def test_mended_images_come_back(tmp_path):
    path = folder(tmp_path / "set", {"a.png": shade(1), "b.png": b""})
    array_cache.prepare(image_folder_source(path), skip=True)
    folder(path, {"b.png": shade(2)})
    assert shades(data.image_folder(path)) == [1, 2]
    assert manifest(tmp_path)["skipped"] == []


def test_skipping_is_for_corrupt_images_only(tmp_path):
    path = folder(tmp_path / "set", {"a.png": b"", "b.png": shade(1), "c.png": shade(1, 5)})
    with refusal("c.png", "3x5x5", "b.png", "3x4x4", "give a size"):
        array_cache.prepare(image_folder_source(path), skip=True)
    with refusal("none of the 1 images"):
        array_cache.prepare(image_folder_source(folder(tmp_path / "bad", {"a.png": b""})), skip=True)


# -- Resizing ----------------------------------------------------------------------------------------------


def test_filter_and_crop_are_what_they_say_and_recorded(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 16, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    path = folder(tmp_path / "set", {"a.png": stream.getvalue()})
    centre = data.image_folder(path, size=4, filter="box").rows[0].numpy()
    means = pixels[:, 4:12].reshape(4, 2, 4, 2, 3).mean((1, 3)).transpose(2, 0, 1)
    np.testing.assert_allclose(centre, means, atol=1.01)
    whole = data.image_folder(path, size=4, filter="box", crop="none").rows[0].numpy()
    means = pixels.reshape(4, 2, 4, 4, 3).mean((1, 3)).transpose(2, 0, 1)
    np.testing.assert_allclose(whole, means, atol=1.01)
    corner = data.image_folder(path, size=4, filter="nearest", crop="none").rows[0].numpy()
    assert {*corner[0].flat} <= {*pixels[..., 0].flat}  # nothing is mixed
    made = [json.loads(file.read_text()) for file in (tmp_path / "cache").glob("*.json")]
    assert sorted((m["filter"], m["crop"], m["size"]) for m in made) == [
        ("box", "center", 4),
        ("box", "none", 4),
        ("nearest", "none", 4),
    ]


def test_filters_that_there_are_not(tmp_path):
    path = folder(tmp_path / "set", {"a.png": shade(1)})
    with refusal("no filter 'bicubik'", "did you mean 'bicubic'"):
        data.image_folder(path, size=4, filter="bicubik")
    with refusal("no crop 'centre'", "did you mean 'center'"):
        data.image_folder(path, size=4, crop="centre")


# -- One array, many readers -------------------------------------------------------------------------------


def test_readers_at_once_decode_once(tmp_path, monkeypatch):
    path = folder(tmp_path / "set", MIXED)
    writes, found = [], []
    write = array_cache._write
    monkeypatch.setattr(array_cache, "_write", lambda *given: (writes.append(1), write(*given)))
    together = threading.Barrier(5)

    def reader() -> None:
        together.wait()
        found.append(shades(data.image_folder(path)))

    threads = [threading.Thread(target=reader) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [found[0]] * 5
    assert len(writes) == 1
    assert len(list((tmp_path / "cache").iterdir())) == 3  # array, labels, manifest: no lock, no scratch


@pytest.mark.slow
def test_processes_at_once_see_one_whole_array(tmp_path):
    path = folder(tmp_path / "set", MIXED)
    code = (
        "import sys, os; from steadygan.data import image_folder\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        f"found = image_folder({str(path)!r})\n"
        "print(int(found.rows.long().sum()), int(found.labels.sum()), os.stat(found.mapped).st_ino)"
    )
    start = [sys.executable, "-c", code]
    readers = [
        subprocess.Popen(start, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    for one in readers:
        assert one.stdout.readline() == "ready\n"
    for one in readers:
        one.stdin.write("\n")
        one.stdin.flush()
    said = {one.communicate()[0] for one in readers}
    assert len(said) == 1  # and of one file, which nobody replaced
    assert said.pop().split()[:2] == [str(16 * sum(i % 250 for i in range(600))), "300"]


def test_a_lock_that_a_killed_process_left_holds_nobody_up(tmp_path):
    path = folder(tmp_path / "set", {"a.png": shade(1)})
    lock = array_cache.where(image_folder_source(path)).with_suffix(".lock")
    lock.parent.mkdir()
    lock.touch()
    assert shades(data.image_folder(path)) == [1]
    assert not lock.exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="nothing says there that nobody else writes")
def test_what_a_killed_process_had_written_is_taken_away(tmp_path):
    path = folder(tmp_path / "set[1]", {"a.png": shade(1)})
    code = (
        "import os; from steadygan.data import array_cache; from steadygan.data.folders import image_folder_source\n"
        "array_cache.os.fsync = lambda file: os.kill(os.getpid(), 9)\n"
        f"array_cache.prepare(image_folder_source({str(path)!r}))"
    )
    other = tmp_path / "cache" / ".preparing-set-0123456789abcdef-xyz"  # another set's, on its way
    other.mkdir(parents=True)
    subprocess.run([sys.executable, "-c", code])
    assert len(list((tmp_path / "cache").glob(".preparing-*"))) == 2
    assert shades(data.image_folder(path)) == [1]
    assert list((tmp_path / "cache").glob(".preparing-*")) == [other]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems reserve nothing for a mapping")
def test_a_set_larger_than_memory_can_be_mapped(tmp_path):
    count = 2**41 // (3 * 256 * 256)  # two terabytes, of which the file system stores nothing
    place = tmp_path / "large.npy"
    try:
        with place.open("wb") as file:
            file.write(array_cache._header((count, 3, 256, 256)))
            file.truncate(array_cache.HEADER + count * 3 * 256 * 256)
    except OSError:
        pytest.skip("the file system takes no file as large")
    rows = array_cache.map_rows(place)
    assert rows.shape == (count, 3, 256, 256)
    rows[-1] = 5  # copied on write
    assert array_cache.map_rows(place)[-1].sum() == 0


def test_the_header_is_numpys(tmp_path):
    shape = (3, 1, 2, 5)
    (tmp_path / "a.npy").write_bytes(array_cache._header(shape) + bytes(range(30)))
    for found in (np.load(tmp_path / "a.npy"), array_cache.map_rows(tmp_path / "a.npy").numpy()):
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, np.arange(30).reshape(shape))


@pytest.mark.parametrize("harm", ["cut labels", "no labels", "fewer labels", "older rules"])
def test_labels_that_are_damaged_are_made_again(harm, tmp_path):
    path = folder(tmp_path / "set", {"a/0.png": shade(3), "b/1.png": shade(4)})
    data.image_folder(path)
    (labels,) = (tmp_path / "cache").glob("*.labels.npy")
    (json_file,) = (tmp_path / "cache").glob("*.json")
    if harm == "cut labels":
        labels.write_bytes(labels.read_bytes()[:-3])
    elif harm == "no labels":
        labels.unlink()
    elif harm == "fewer labels":
        np.save(labels, np.zeros(1, np.int64))
    else:
        np.save(labels, np.zeros(2, np.int64))
        json_file.write_text(json_file.read_text().replace(f'"rules": {array_cache.RULES}', '"rules": 0'))
    assert data.image_folder(path).labels.tolist() == [0, 1]


# -- The tables --------------------------------------------------------------------------------------------


def test_every_known_set_is_called_what_its_data_are_called():
    for name, known in datasets.SETS.items():
        assert name == known.name
        assert all(re.fullmatch("[0-9a-f]{32}", digest) for digest in known.files.values())


@pytest.mark.parametrize("name", sorted(datasets.SETS))
def test_a_recipe_and_the_command_read_one_array(name):
    """Defaults that differ would have a run decode again what `data prepare` has made."""
    given = inspect.signature(datasets.SETS[name].source).parameters
    shown = (
        "flip",
        "limit",
        "limit_seed",
    )  # what is done to rows when they are taken, not when they are read
    options = {key: part.default for key, part in registry.DATA[name].options.items() if key not in shown}
    assert options.items() <= {key: part.default for key, part in given.items()}.items()
    assert {key for key in given if key in ("size", "filter", "crop")} <= options.keys()


def test_a_run_takes_what_was_prepared(tmp_path, command, monkeypatch):
    path = folder(tmp_path / "set", {f"{i}.png": shade(i, 12) for i in range(10)})
    done = command("data", "prepare", path, "--size", 8, "--filter", "box", "--crop", "none")
    assert (done.code, done.err) == (0, "")
    monkeypatch.setattr(Image, "open", None)  # decoding would fail
    options = {"size": 8, "filter": "box", "crop": "none", "flip": True}
    settings = {
        "data": {"name": "images", "path": str(path), **options},
        "networks": {"name": "mlp", "width": 4},
        "optimizer": {"name": "sgd", "lr": 0.1},
        "steps": 2,
        "batch": 4,
        "compile": False,
    }
    run = build.build(config.parse(settings))
    assert isinstance(run.draws, Draws)
    batches = [run.draws(step)[0]["x_real"] for step in range(50)]
    seen = {round(float(value)) for batch in batches for value in ((batch[:, 0, 0, 0] + 1) * 127.5)}
    assert seen == set(range(10))


# -- The command -------------------------------------------------------------------------------------------


def one_sentence(err: str) -> str:
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def test_info_of_everything(command):
    done = command("data", "info")
    assert done.code == 0
    assert [line.split()[0] for line in done.out.splitlines()] == list(datasets.SETS)
    assert "npm pack emoji-datasource-google@16.0.0" in done.out


def test_info_of_a_folder_before_and_after(tmp_path, command):
    path = folder(tmp_path / "set", {f"{c}/{i}.png": shade(i) for c in "ab" for i in range(3)})
    before = command("data", "info", path)
    assert before.code == 0
    assert f"all: 6 images 3x4x4, 2 classes in {path}" in before.out
    assert "not prepared" in before.out
    assert not (tmp_path / "cache").exists()  # looking makes nothing
    command("data", "prepare", path, "--size", 2, "--filter", "bicubic")
    after = command("data", "info", path).out
    assert "not prepared" not in after
    assert re.search(r"prepared: .*\.npy: 6 images 3x2x2, resized by bicubic, central square", after)
    folder(path, {"a/9.png": shade(9)})
    assert "prepared, out of date:" in command("data", "info", path).out


@pytest.mark.parametrize(
    "name", ["set[1]", "s" * 200, "\u5716" * 80], ids=["brackets", "long", "long and wide"]
)
def test_info_finds_the_array_of_a_folder_of_any_name(name, tmp_path, command):
    path = folder(tmp_path / name, {"0.png": shade(0)})
    assert command("data", "prepare", path).code == 0
    assert "  prepared: " in command("data", "info", path).out


def test_info_tells_an_array_that_is_cut_short(tmp_path, command):
    path = folder(tmp_path / "set", {"0.png": shade(0)})
    command("data", "prepare", path)
    (array,) = (tmp_path / "cache").glob("*.npy")
    os.truncate(array, array.stat().st_size - 1)
    assert "  prepared, out of date: " in command("data", "info", path).out


def test_prepare_names_what_it_leaves_out(tmp_path, command):
    path = folder(tmp_path / "set", {"a.png": shade(1), "b.png": b"", "c.png": CUT})
    done = command("data", "prepare", path)
    assert done.code == 2
    assert "2 of 3 images" in one_sentence(done.err)
    done = command("data", "prepare", path, "--skip-corrupt")
    assert (done.code, done.err) == (0, "")
    assert "1 images 3x4x4, 2 corrupt images left out" in done.out
    assert [line.strip() for line in done.out.splitlines()[1:]] == ["left out: b.png", "left out: c.png"]


def test_verify_of_a_folder_names_every_corrupt_image(tmp_path, command):
    path = folder(tmp_path / "set", {f"{i}.png": shade(i) for i in range(5)})
    done = command("data", "verify", path)
    assert (done.code, done.err) == (0, "")
    assert "5 images decoded in" in done.out
    assert "no published checksums are known for these files" in done.out
    folder(path, {"1.png": b"", "3.png": CUT, "large.png": shade(3, 90)})
    done = command("data", "verify", path)
    assert done.code == 2
    assert "2 images of it cannot be decoded; training leaves them out" in one_sentence(done.err)
    assert "corrupt: 1.png (" in done.out
    assert "corrupt: 3.png (" in done.out
    assert "4 images decoded in" in done.out
    assert not (tmp_path / "cache").exists()


@pytest.fixture
def fashion(tmp_path, monkeypatch, known) -> Path:
    """A set of 2 and 1 images with a checksum of their own."""
    monkeypatch.setattr(idx_files, "DEBIAN_FASHION", tmp_path / "absent")
    contents = {}
    for name, count in (("train", 2), ("t10k", 1)):
        contents[f"{name}-images-idx3-ubyte"] = struct.pack(">4B3I", 0, 0, 8, 3, count, 28, 28) + bytes(
            count * 784
        )
        contents[f"{name}-labels-idx1-ubyte"] = struct.pack(">4BI", 0, 0, 8, 1, count) + bytes(count)
    md5 = {name: hashlib.md5(content).hexdigest() for name, content in contents.items()}
    known("fashion_mnist", counts={"train": 2, "test": 1}, files=md5)
    return folder(tmp_path / "root", contents)


@pytest.mark.parametrize("packed", [False, True])
def test_verify_knows_a_file_also_when_it_is_packed_anew(packed, fashion, command):
    if packed:
        for file in list(fashion.iterdir()):
            (fashion / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
            file.unlink()
    done = command("data", "verify", "fashion-mnist", "--data-root", fashion)
    assert (done.code, done.err) == (0, "")
    assert done.out.count(": checksum matches") == 4
    assert "no published checksums" not in done.out
    assert "train: 2 images 1x32x32 decoded in" in done.out
    assert "test: 1 images 1x32x32 decoded in" in done.out


def test_verify_tells_another_checksum_and_a_missing_part(fashion, command):
    file = fashion / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-1] + b"\1")
    (fashion / "t10k-images-idx3-ubyte").unlink()
    done = command("data", "verify", "fashion-mnist", "--data-root", fashion)
    assert done.code == 2
    told = one_sentence(done.err)
    assert "train-images-idx3-ubyte differs" in told
    assert "test is missing" in told
    assert "checksum does NOT match" in done.out
    done = command("data", "info", "fashion-mnist", "--data-root", fashion)
    assert done.code == 0
    assert "train: 2 images 1x32x32, 10 classes" in done.out
    assert "needs no prepared array" in done.out
    assert command("data", "prepare", "fashion-mnist", "--data-root", fashion, "--split", "train").code == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("info", "cifar11"), "did you mean 'cifar10'?"),
        (("verify", "no/such/folder"), "does not exist"),
        (("verify", "stl10"), "stl10_binary.tar.gz"),
        (("prepare", "cifar10", "--size", 64), "cifar10 has no option size"),
        (("prepare", "emoji", "--crop", "none"), "emoji has no option crop"),
        (("prepare", "stl10", "--filter", "cubic"), "did you mean 'bicubic'?"),
        (("info", "stl10", "--split", "lebeled"), "did you mean 'unlabeled'?"),
        (("verify", "cifar10", "--data-root", "no/such/folder"), "--data-root"),
        (("prepare",), "--help"),
    ],
    ids=lambda part: " ".join(map(str, part)) if isinstance(part, tuple) else "",
)
def test_what_the_command_refuses(words, told, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = command("data", *words)
    assert done.code == 2
    assert told in one_sentence(done.err)
    assert not (tmp_path / "cache").exists()


# -- The benchmark -----------------------------------------------------------------------------------------


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="reads the process's memory as Linux tells it"
)
@pytest.mark.parametrize(("taken", "code"), [("1", 0), ("1e15", 1)])
def test_the_loaders_benchmark_judges_by_its_bar(taken, code, monkeypatch, capsys):
    """At a stated appetite, for no test is timed: one image a second is given 20 times over, 1e15 are not."""
    words = ["data.py", "--images", "640", "--repeats", "1", "--skip-step", taken]
    monkeypatch.setattr(sys, "argv", words)
    assert loader.main() == code
    out = capsys.readouterr().out
    assert "640 images 3x32x32" in out
    assert "(as stated)" in out


def grey(value):
    stream = io.BytesIO()
    Image.new("L", (4, 4), value).save(stream, "PNG")
    return stream.getvalue()


def test_labels_stay_with_their_images_where_a_corrupt_one_stands_before_them(tmp_path, monkeypatch):
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "cache"))
    files = {
        "a/0.png": grey(1),
        "a/1.png": b"x",
        "a/2.png": grey(2),
        "b/0.png": grey(3),
        "b/1.png": grey(4),
    }
    for name, content in files.items():
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(content)
    array_cache.prepare(image_folder_source(tmp_path / "set"), skip=True)
    with pytest.warns(DataNote):
        found = data.image_folder(tmp_path / "set")
    assert (found.rows[:, 0, 0, 0].tolist(), found.labels.tolist()) == ([1, 2, 3, 4], [0, 0, 1, 1])


def test_at_most_a_hundred_files_are_named(capsys):
    datasets._print_each(Console(), "corrupt", [f"{number}.png" for number in range(102)])
    lines = capsys.readouterr().out.splitlines()
    assert [len(lines), lines[99], lines[100]] == [101, "  corrupt: 99.png", "  corrupt: and 2 more"]
