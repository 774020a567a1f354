"""Data that a program already has: read as they are, once, and refused in a sentence where they are no samples."""

import io
import itertools

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from steadygan.data import reading as module
from steadygan.data.dataset import rows_sha256, subset
from steadygan.data.given import given
from steadygan.errors import UsageError

X = torch.arange(24, dtype=torch.float32).view(8, 3) / 10 - 1
BYTES = np.arange(8 * 5 * 4 * 3, dtype=np.uint8).reshape(8, 5, 4, 3)  # [n, H, W, C]


class Items(Dataset):
    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


class Stream(IterableDataset):
    def __init__(self, items):
        self.items = items

    def __iter__(self):
        return iter(self.items)


SAME = {
    "tensor": X,
    "with a gradient": X.clone().requires_grad_(),
    "sparse": X.to_sparse(),
    "numpy": X.numpy(),
    "numpy, columns first": np.asfortranarray(X.numpy()),
    "numpy, other byte order": X.numpy().astype(">f4"),
    "list of tensors": list(X),
    "list of arrays": list(X.numpy()),
    "tuple": tuple(X),
    "map-style": Items(list(X)),
    "map-style, arrays": Items(list(X.numpy())),
    "TensorDataset": TensorDataset(X),
    "iterable": Stream(list(X)),
    "dictionaries": Items([{"__key__": "0", "x": x} for x in X]),
    "generator": (x for x in X),
}


@pytest.mark.parametrize("kind", SAME)
def test_samples_of_every_kind_are_the_same_rows(kind):
    found = given(SAME[kind])
    assert (found.shape, found.classes, found.labels, found.held) == ((3,), 0, None, None)
    assert torch.equal(found.rows, X)
    assert not found.rows.requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.uint8])
def test_the_precision_of_the_samples_stays(dtype):
    assert given(X.abs().to(dtype)).rows.dtype == dtype


def test_numpy_images_are_turned_and_others_stay():
    said = []
    found = given(BYTES, note=said.append)
    assert found.shape == (3, 5, 4)
    assert torch.equal(found.rows, torch.as_tensor(BYTES).permute(0, 3, 1, 2))
    assert "height x width x channels" in said[0]
    for kept in (BYTES.transpose(0, 3, 1, 2), BYTES[..., :2], torch.as_tensor(BYTES), BYTES[:, :3, :, :1]):
        assert given(kept).shape == tuple(kept.shape[1:])


def test_pictures_of_pillow_are_read():
    for mode, bands in (("RGB", 3), ("L", 1)):
        pictures = [Image.fromarray(image).convert(mode) for image in BYTES]
        found = given(Items([(picture, number) for number, picture in enumerate(pictures)]))
        assert (found.shape, found.classes) == ((bands, 5, 4), 8)
        assert torch.equal(
            found.rows[3, 0], torch.as_tensor(np.asarray(pictures[3]).reshape(5, 4, bands)[..., 0])
        )


def test_pictures_of_other_modes_are_those_of_their_files():
    """Red with a transparent half, as a palette's indices, as CMYK, in a list and in a dataset: red, white behind."""
    red = Image.new("RGB", (4, 5), (255, 0, 0))
    clear = red.copy()
    clear.putalpha(Image.new("L", (4, 5), 0))
    modes = {mode: red.convert(mode) for mode in ("P", "CMYK", "YCbCr", "HSV", "RGBA")}
    for name, one in {**modes, "clear": clear, "grey": clear.convert("LA")}.items():
        for found in (given([one, one]), given(Items([one, one]))):
            bands = found.rows[0].flatten(1)[:, 0].tolist()
            if name in modes:
                assert found.shape == (3, 5, 4)
                assert (bands[0] >= 254, max(bands[1:]) <= 1) == (True, True)
            else:
                assert set(bands) == {255}


def test_lists_of_arrays_are_the_stacked_array():
    assert torch.equal(given(list(BYTES)).rows, given(BYTES).rows)
    points = [np.array([1.0, 2.0]), np.array([3.0, 4.0])]
    assert given(points).rows.tolist() == [[1, 2], [3, 4]]


def test_image_files_in_bytes_are_decoded():
    files = [io.BytesIO() for _ in BYTES]
    for file, image in zip(files, BYTES):
        Image.fromarray(image).save(file, "PNG")
    found = given(Items([{"png": file.getvalue()} for file in files]))
    assert torch.equal(found.rows, torch.as_tensor(BYTES).permute(0, 3, 1, 2))
    with pytest.raises(UsageError, match="cannot be decoded"):
        given(Items([b"no image"] * 2))


LABELS = {
    "list": [0, 2, 1, 0, 2, 1, 0, 2],
    "numpy": np.array([0, 2, 1, 0, 2, 1, 0, 2], np.int32),
    "tensor": torch.tensor([0, 2, 1, 0, 2, 1, 0, 2], dtype=torch.uint8),
    "list of tensors": [torch.tensor(y) for y in (0, 2, 1, 0, 2, 1, 0, 2)],
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_come_alone_or_with_a_dataset(kind):
    labels = LABELS[kind]
    expected = torch.tensor([0, 2, 1, 0, 2, 1, 0, 2])
    for found in (
        given(X, labels),
        given(Items(list(zip(X, labels)))),
        given(Stream(list(zip(X, labels)))),
        given(Items([[x, y] for x, y in zip(X, labels)])),
        given(Items([{"sample": x, "cls": str(int(y)).encode()} for x, y in zip(X, labels)])),
        given(Stream([{"label": y, "x": x} for x, y in zip(X, labels)])),
        given(Items(list(zip(X, [5] * 8))), labels),  # those that are given count
    ):
        assert torch.equal(found.labels, expected)
        assert found.labels.dtype == torch.int64
        assert found.classes == 3


def test_a_label_without_samples_is_noted():
    said = []
    assert given(X, [0, 3] * 4, note=said.append).classes == 4
    assert "2 of the labels 0 to 3 have no sample" in said[0]


def test_held_out_samples_are_read_alike():
    for held in (X[:2], X[:2].numpy(), list(X[:2]), Items(list(X[:2]))):
        assert torch.equal(given(X, held=held).held(), X[:2])


def test_an_iterator_is_read_up_to_its_most_bytes(monkeypatch):
    monkeypatch.setattr(module, "MOST", 5 * 12)
    said, read = [], []

    def endless():
        for number in itertools.count():
            read.append(number)
            yield torch.full((3,), float(number))

    assert len(given(endless(), note=said.append).rows) == 5
    assert len(read) <= 6
    assert "the first 5 samples of the dataset were read" in said[0]
    assert "random transforms stay as they fell" in said[1]
    said.clear()
    assert len(given(Stream(list(X[:5])), note=said.append).rows) == 5
    assert len(said) == 1


def test_images_in_other_ranges_are_noted():
    images, said = torch.rand(4, 1, 3, 3), []
    given(images, note=said.append)
    assert "makes [-1, 1]" in said[0]
    said.clear()
    for others in (images * 2 - 1, (images * 255).to(torch.uint8), images[:, 0, 0]):
        given(others, note=said.append)
    assert said == []


class Raises(Items):
    def __getitem__(self, index):
        raise OSError("the disk\nis gone")


NAN = torch.tensor([[0.0, float("nan")], [1.0, 2.0]])
WRONG = {
    "a number": (5, "data of type int cannot be read"),
    "a word": ("ring8", "data of type str cannot be read"),
    "a mapping": ({"x": X}, "data of type dict cannot be read"),
    "a function": (lambda: X, "data of type function cannot be read"),
    "a loader": (DataLoader(TensorDataset(X), batch_size=2), r"loader\.dataset"),
    "no rows": ([], "cannot be put into one tensor"),
    "an empty dataset": (Items([]), "the dataset is empty"),
    "an empty stream": (Stream([]), "the dataset is empty"),
    "one row": (X[:1], "two or more samples"),
    "no columns": (X[:, :0], "two or more samples"),
    "a vector": (X[:, 0], "two or more samples"),
    "ragged": ([X[0], X[1, :2]], "one shape and type"),
    "ragged dataset": (Items([X[0], X[1, :2]]), "one shape and type"),
    "NaN": (NAN, "NaN or infinite"),
    "infinite": (X / 0, "NaN or infinite"),
    "whole numbers": (torch.arange(6).view(3, 2), "convert them"),
    "16 bits": (np.ones((3, 2), np.uint16), "convert them"),
    "truth": (X > 0, "convert them"),
    "complex": (X.to(torch.complex64), "convert them"),
    "words": (np.array([["a", "b"], ["c", "d"]]), "give numbers"),
    "objects": (np.array([[1, None], [2, "a"]], dtype=object), "give numbers"),
    "records": (np.zeros(4, dtype=[("a", "f4")]), "give numbers"),
    "list of words": (["a", "b"], "give numbers"),
    "items are mappings": (Items([{"a": X[0]}] * 2), "has the keys a: .* pairs .sample, label."),
    "items are triples": (Items([(X[0], 1, 2)] * 2), "has 3 parts"),
    "a dataset that fails": (Raises([1, 2]), "OSError: the disk\\)"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_data_is_refused_in_a_sentence(kind):
    samples, message = WRONG[kind]
    with pytest.raises(UsageError, match=message) as error:
        given(samples)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1, 2], "labels must be 8 whole numbers"),
        (torch.zeros(8), "labels must be 8 whole numbers"),
        (torch.zeros(8, 1, dtype=torch.int64), "labels must be 8 whole numbers"),
        ([-1] + [0] * 7, "count the classes from 0"),
        ([2001] * 8, "count the classes from 0"),
        (["a"] * 8, "labels cannot be made a tensor"),
        ([None] * 8, "labels cannot be made a tensor"),
        ([0.5] * 8, "labels must be 8 whole numbers"),
    ],
)
def test_wrong_labels_are_refused_alone_and_with_a_dataset(labels, message):
    with pytest.raises(UsageError, match=message):
        given(X, labels)
    if len(labels) == 8:
        with pytest.raises(UsageError, match=message):
            given(Items(list(zip(X, labels))))


def test_held_out_samples_of_another_type_are_refused():
    with pytest.raises(
        UsageError, match=r"torch\.uint8, but those of training torch\.float32: give both in one type"
    ):
        given(torch.rand(4, 1, 8, 8), held=torch.zeros(3, 1, 8, 8, dtype=torch.uint8))


def test_every_type_has_a_hash():
    for kind in (torch.uint8, torch.float16, torch.bfloat16, torch.float64):
        one, other = (given(x.to(kind)) for x in (X.abs(), X.abs() + 1))
        assert rows_sha256(one.rows) == rows_sha256(one.rows.clone()) != rows_sha256(other.rows)
    column = X[:, 0]  # of one number a row, whatever its stride says
    assert rows_sha256(column[:, None]) == rows_sha256(column.clone()[:, None]) == rows_sha256(column[None].T)


@pytest.mark.parametrize("count", [0, -5])
def test_a_limit_keeps_a_row_or_more(count):
    with pytest.raises(UsageError, match=f"limited to 1 row or more, not {count}"):
        subset(given(X), count)


def test_held_out_samples_of_another_shape_are_refused():
    with pytest.raises(UsageError, match="give both in one shape"):
        given(X, held=X[:, :2])
    with pytest.raises(UsageError, match="cannot be read"):
        given(X, held=3)


def test_labels_from_1_are_refused_where_every_class_has_one_sample():
    with pytest.raises(UsageError, match="they are 1 to 3 for 3 samples"):
        given(torch.zeros(3, 2), [1, 2, 3])
