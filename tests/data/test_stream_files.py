"""Shards of WebDataset and data sets of Hugging Face on the disk: the samples are those that were put in."""

import gzip
import io
import itertools
import re
import tarfile
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from typer.testing import CliRunner

from paths import ROOT
from steadygan import config
from steadygan.build import build
from steadygan.cli import app
from steadygan.data import archives, digits, hugging_face, hugging_face_sets, stream, webdataset
from steadygan.data.own_streams import chosen
from steadygan.data.streams import Reader
from steadygan.errors import UsageError
from steadygan.rng import generator
from steadygan.runs.folder import opened
from steadygan.training.checkpoint import checkpoints

DIGITS, PAGE = digits(), ROOT / "docs" / "streams.md"


def picture(number: int) -> Image.Image:
    return Image.fromarray(DIGITS.rows[number, 0].numpy())


def encoded(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def add(shard: tarfile.TarFile, name: str, raw: bytes) -> None:
    about = tarfile.TarInfo(name)
    about.size = len(raw)
    shard.addfile(about, io.BytesIO(raw))


def write_shards(folder: Path, cuts: list[int]) -> str:
    """Shards of scikit-learn's digits, with the classes, from one cut to the next."""
    for number, (low, high) in enumerate(itertools.pairwise(cuts)):
        with tarfile.open(folder / f"digits-{number:03}.tar", "w") as shard:
            for index in range(low, high):
                add(shard, f"{index:05}.png", encoded(picture(index)))
                add(shard, f"{index:05}.cls", str(int(DIGITS.labels[index])).encode())
                add(shard, f"{index:05}.json", b"{}")
    return str(folder / f"digits-{{000..{len(cuts) - 2:03}}}.tar")


CUTS = [0, 100, 103, 250, 300]


@pytest.fixture
def shards(tmp_path: Path) -> str:
    pytest.importorskip("webdataset")
    return write_shards(tmp_path, CUTS)


def of_shards(seed: int, block: int):
    """The digits of all shards, over and over: the shards in a random order, then blocks in a random order."""
    for epoch in itertools.count():
        order = torch.randperm(len(CUTS) - 1, generator=generator(seed, "shards", epoch))
        read = [index for shard in order.tolist() for index in range(CUTS[shard], CUTS[shard + 1])]
        for began in range(0, len(read), block):
            part = read[began : began + block]
            g = generator(seed, "block", epoch, began)
            yield from (part[place] for place in torch.randperm(len(part), generator=g).tolist())


def check(samples, numbers) -> None:
    numbers = torch.tensor(list(numbers))
    assert torch.equal(torch.stack([x for x, _ in samples]), DIGITS.rows[numbers])
    assert torch.equal(torch.tensor([y for _, y in samples]), DIGITS.labels[numbers])


def test_the_samples_of_shards_are_those_of_a_plain_loop(shards):
    data = webdataset(shards, classes=10, reference=120, shuffle=64)
    assert (data.shape, data.classes, data.name) == ((1, 8, 8), 10, "digits-000")
    assert torch.equal(data.rows, DIGITS.rows[:120])
    assert torch.equal(data.labels, DIGITS.labels[:120])
    check(Reader(data.stream, 2)(range(700)), itertools.islice(of_shards(2, 64), 700))


def test_a_folder_of_shards_is_their_sorted_files(shards):
    data = webdataset(str(Path(shards).parent), reference=120)
    assert torch.equal(data.rows, DIGITS.rows[:120])


@pytest.mark.parametrize("number", [0, 64, 70, 290, 299, 450])
def test_shards_are_resumed_without_opening_those_that_were_read(shards, number, monkeypatch):
    data = webdataset(shards, reference=120, shuffle=64)
    whole = Reader(data.stream, 1)
    whole(range(number))
    place = whole.mark(number)
    wanted = whole(range(number, number + 100))
    opened, plain = [], tarfile.open
    monkeypatch.setattr(tarfile, "open", lambda *a, **k: opened.append(1) or plain(*a, **k))
    later = Reader(data.stream, 1)
    later.resume(place)
    got = later(range(number, number + 1))
    if place.state:
        assert len(opened) <= len(CUTS) - 1 - place.state[0]
    got += later(range(number + 1, number + 100))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(got, wanted, strict=True))


def test_a_process_decodes_its_own_images_of_shards(shards, monkeypatch):
    data = webdataset(shards, reference=120, shuffle=64)
    read = []
    reader = Reader(data.stream._replace(decode=lambda item: read.append(item) or (torch.zeros(1), 0)), 0)
    reader(range(10, 20))
    assert len(read) == 10


def test_images_of_shards_are_resized_and_turned_to_one_kind(tmp_path):
    pytest.importorskip("webdataset")
    with tarfile.open(tmp_path / "a.tar", "w") as shard:
        for number, (mode, size) in enumerate([("RGB", (20, 10)), ("L", (9, 30)), ("RGBA", (8, 8))] * 2):
            add(shard, f"{number}.png", encoded(Image.new(mode, size, 200)))
    assert webdataset(str(tmp_path), size=8, colour="rgb").rows.shape == (6, 3, 8, 8)
    with pytest.raises(UsageError, match="give all of them one shape and type"):
        webdataset(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "raw", "message"),
    [
        ("1.png", b"no image", "cannot be decoded"),
        ("1.txt", b"words", "has the keys __key__, __url__, txt"),
    ],
)
def test_what_is_no_image_is_refused(tmp_path, name, raw, message):
    pytest.importorskip("webdataset")
    with tarfile.open(tmp_path / "a.tar", "w") as shard:
        add(shard, name, raw)
    with pytest.raises(UsageError, match=message):
        webdataset(str(tmp_path / "a.tar"))


def test_wrong_shards_are_refused(tmp_path):
    pytest.importorskip("webdataset")
    with pytest.raises(UsageError, match=r"has no \.tar files"):
        webdataset(str(tmp_path))
    (tmp_path / "a.tar").write_bytes(b"\0\1\2" * 999)
    with pytest.raises(UsageError, match="cannot be read as a tar file"):
        webdataset(str(tmp_path / "a.tar"))
    with pytest.raises(UsageError, match=r"b\.tar does not exist"):
        webdataset(str(tmp_path / "{a,b}.tar"))
    with pytest.raises(UsageError, match="does not exist"):
        webdataset("pipe:touch /tmp/streams-ran")
    assert not Path("/tmp/streams-ran").exists()


def test_a_packed_shard_has_the_samples_of_a_plain_one(tmp_path):
    pytest.importorskip("webdataset")
    plain = write_shards(tmp_path, [0, 40])
    with gzip.open(tmp_path / "packed.tar", "wb") as file:
        file.write((tmp_path / "digits-000.tar").read_bytes())
    assert torch.equal(webdataset(str(tmp_path / "packed.tar")).rows, webdataset(plain).rows)


@pytest.mark.parametrize("kind", ["sample", "name"])
def test_a_shard_of_zeros_is_refused_before_they_fill_the_memory(kind, tmp_path, monkeypatch):
    """A megabyte of zeros takes a thousand bytes, as a file or as the long name of one."""
    pytest.importorskip("webdataset")
    monkeypatch.setattr(archives, "UNPACKED", 2**19)
    with tarfile.open(tmp_path / "a.tar", "w:gz", format=tarfile.GNU_FORMAT) as shard:
        add(
            shard,
            "1.png" if kind == "sample" else "n" * (2**20 - 999),
            b"\0" * (2**20 if kind == "sample" else 1),
        )
    assert (tmp_path / "a.tar").stat().st_size < 2**20 / archives.RATIO / 2
    with pytest.raises(UsageError, match="unpacks to more than 524,288 bytes"):
        webdataset(str(tmp_path / "a.tar"))


# ---------------------------------------------------------------------------------------------------- Hugging Face


def table(count: int = 300):
    datasets = pytest.importorskip("datasets")
    kinds = datasets.Features({"picture": datasets.Image(), "digit": datasets.ClassLabel(10)})
    columns = {"picture": [picture(n) for n in range(count)], "digit": DIGITS.labels[:count].tolist()}
    return datasets.Dataset.from_dict(columns, features=kinds)


@pytest.mark.parametrize("kind", ["folder", "parquet", "split"])
def test_a_data_set_of_hugging_face_is_read_in_random_orders_of_all(kind, tmp_path):
    found, split = table(), None
    if kind == "parquet":
        found.to_parquet(tmp_path / "part-0.parquet")
    elif kind == "split":
        import datasets

        datasets.DatasetDict(train=found, test=table(20)).save_to_disk(tmp_path)
        split = "train"
    else:
        found.save_to_disk(tmp_path)
    data = hugging_face(str(tmp_path), split=split, reference=50)
    assert (data.shape, data.classes) == ((1, 8, 8), 10)
    assert torch.equal(data.rows, DIGITS.rows[chosen(300, 50)])
    orders = [torch.randperm(300, generator=generator(2, "epoch", epoch)) for epoch in range(3)]
    check(Reader(data.stream, 2)(range(900)), torch.cat(orders).tolist())


def test_hugging_face_datasets_of_a_program_are_streams():
    found = table().rename_columns({"picture": "image", "digit": "label"})
    data = stream(found, reference=50)
    assert (data.shape, data.classes) == ((1, 8, 8), 10)
    orders = [torch.randperm(300, generator=generator(2, "epoch", epoch)) for epoch in range(2)]
    check(Reader(data.stream, 2)(range(600)), torch.cat(orders).tolist())


@pytest.mark.parametrize("buffer", [0, 40])
@pytest.mark.parametrize("number", [0, 120, 310])
@pytest.mark.filterwarnings("ignore::steadygan.errors.DataNote")
def test_iterable_datasets_of_hugging_face_resume_exactly(buffer, number):
    """Also with a shuffle buffer of their own, which their state does not hold."""

    def reader():
        found = (
            table().rename_columns({"picture": "image", "digit": "label"}).to_iterable_dataset(num_shards=4)
        )
        found = found.shuffle(seed=3, buffer_size=buffer) if buffer else found
        return Reader(stream(found, reference=50, shuffle=32).stream, 2)

    whole, later = reader(), reader()
    whole(range(number))
    later.resume(whole.mark(number))
    got, wanted = later(range(number, number + 400)), whole(range(number, number + 400))
    assert all(torch.equal(a[0], b[0]) and a[1] == b[1] for a, b in zip(got, wanted, strict=True))
    if not buffer and number:
        assert whole.mark(number + 400).state is not None


def test_a_row_of_hugging_face_without_its_image_is_named(tmp_path):
    (tmp_path / "image").write_bytes(b"of a file")
    assert hugging_face_sets._bytes({"bytes": None, "path": str(tmp_path / "image")}) == b"of a file"
    for nothing in (None, {"bytes": None, "path": None}):
        with pytest.raises(UsageError, match="has a row without an image"):
            hugging_face_sets._bytes(nothing)
    with pytest.raises(UsageError, match="gone, which the data set names, cannot be read"):
        hugging_face_sets._bytes({"bytes": None, "path": str(tmp_path / "gone")})


def test_of_two_columns_of_classes_the_finer_one_counts(tmp_path):
    """As CIFAR-100 has, in whichever order."""
    datasets = pytest.importorskip("datasets")
    kinds = {
        "img": datasets.Image(),
        "coarse_label": datasets.ClassLabel(2),
        "fine_label": datasets.ClassLabel(4),
    }
    columns = {
        "img": [picture(n) for n in range(4)],
        "coarse_label": [0, 0, 1, 1],
        "fine_label": [2, 0, 3, 1],
    }
    datasets.Dataset.from_dict(columns, features=datasets.Features(kinds)).save_to_disk(tmp_path)
    data = hugging_face(str(tmp_path), reference=4)
    assert data.classes == 4
    assert data.labels.tolist() == [[2, 0, 3, 1][n] for n in chosen(4, 4)]


def test_wrong_data_sets_of_hugging_face_are_refused(tmp_path):
    found = table(20)
    import datasets

    with pytest.raises(UsageError, match="is no data set of Hugging Face"):
        hugging_face(str(tmp_path / "nothing"))
    datasets.DatasetDict(train=found, test=found).save_to_disk(tmp_path / "both")
    with pytest.raises(UsageError, match="has the splits train, test: choose one"):
        hugging_face(str(tmp_path / "both"))
    with pytest.raises(UsageError, match="did you mean 'train'"):
        hugging_face(str(tmp_path / "both"), split="tran")
    found.save_to_disk(tmp_path / "one")
    with pytest.raises(UsageError, match=r"leave out data\.split"):
        hugging_face(str(tmp_path / "one"), split="train")
    found.remove_columns("picture").save_to_disk(tmp_path / "labels")
    with pytest.raises(UsageError, match="has no columns of images among digit"):
        hugging_face(str(tmp_path / "labels"))


# ------------------------------------------------------------------------------------------------------------ runs


@pytest.mark.parametrize("kind", ["webdataset", "hugging_face"])
def test_the_configurations_of_the_page_load_the_digits(kind, tmp_path):
    blocks = [
        yaml.safe_load(text)["data"] for text in re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.S)
    ]
    raw = next(block for block in blocks if block["name"] == kind)
    if kind == "webdataset":
        pytest.importorskip("webdataset")
        write_shards(tmp_path, [0, 60, 120])
        raw["path"] = str(tmp_path / raw["path"].split("/")[1].replace("127", "001").replace("{", "digits-{"))
    else:
        found = table(120)
        datasets = pytest.importorskip("datasets")
        datasets.DatasetDict(train=found).save_to_disk(tmp_path)
        raw["path"] = str(tmp_path)
    more = {"networks": "dcgan", "batch": 8, "optimizer": {"name": "sgd", "lr": 0.1}, "steps": 9}
    run = build(config.parse({**more, "data": raw, "game": {"name": "gan", "conditional": True}}))
    assert run.data.shape == ((1, 64, 64) if kind == "webdataset" else (3, 64, 64))
    assert run.draws(0)[0]["y_real"].shape == (8,)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["webdataset", "hugging_face"])
def test_the_command_trains_stops_and_resumes_with_the_same_bits(kind, tmp_path):
    pytest.importorskip("webdataset" if kind == "webdataset" else "datasets")
    (tmp_path / "data").mkdir()
    if kind == "webdataset":
        path, more = write_shards(tmp_path / "data", CUTS), ["data.classes=10", "data.shuffle=64"]
    else:
        table().save_to_disk(tmp_path / "data")
        path, more = str(tmp_path / "data"), []

    def command(*arguments):
        result = CliRunner().invoke(app.app, list(map(str, arguments)))
        assert result.exit_code == 0, result.exception or result.output

    options = [
        f"data={{name: {kind}, path: '{path}', reference: 150, flip: true}}",
        *more,
        "game.conditional=true",
        "networks={name: dcgan, latent: 4, width: 4}",
        "fake_as_real={count: 4, pool: 2}",
        "optimizer={name: adam, lr: 0.001}",
        "precision=float64",
        "compile=false",
        "batch=32",
        "every={log: 5, score: 20, checkpoint: 10, diagnostics: 100%}",
    ]
    command("train", "digits-fargan", *options, "steps=20", "--out", tmp_path / "whole")
    command("train", "digits-fargan", *options, "steps=10", "--out", tmp_path / "parts")
    command("resume", tmp_path / "parts", "steps=20")
    ends = [
        (checkpoints(tmp_path / name / "checkpoints")[-1] / "state.safetensors").read_bytes()
        for name in ("whole", "parts")
    ]
    assert ends[0] == ends[1]
    command("evaluate", tmp_path / "whole", "--extractor", "pixels8", "-n", 100)
    card = (tmp_path / "whole" / "scores.json").read_text()
    assert "150 samples of the stream" in card
    assert opened(tmp_path / "whole")[1].data.stream is not None
