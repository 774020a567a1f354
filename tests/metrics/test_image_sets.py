"""Scores of arrays, lists and Pillow's images, in each range, against those of the same images as tensors."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from steadygan.data import Data
from steadygan.data.given import given
from steadygan.errors import UsageError
from steadygan.metrics import Extractor, Protocol, Read, describe, evaluate
from steadygan.metrics.image_sets import as_tensor, black_and_white, looks_like_units

PROTOCOL = Protocol("pixels8", generated=40)


@pytest.fixture(autouse=True)
def private_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "cache"))


def some(low: int = 0, high: int = 256, seed: int = 0, channels: int = 3) -> torch.Tensor:
    """60 images in bytes from `low` to `high` - 1."""
    g = torch.Generator().manual_seed(seed)
    return torch.randint(low, high, (60, channels, 8, 8), generator=g, dtype=torch.uint8)


REAL, FAKE = some(), some(0, 200, seed=1)


def scores(generate, data=REAL, **given):
    return evaluate(generate, data, PROTOCOL, **given).scores


def floats(rows: torch.Tensor) -> torch.Tensor:
    return rows.double() / 127.5 - 1


@pytest.fixture(scope="module")
def expected():
    return evaluate(lambda n: floats(FAKE[:n]), REAL, PROTOCOL).scores


FORMS = {
    "tensor of bytes": lambda x: x,
    "tensor": floats,
    "array, channels first": lambda x: x.numpy(),
    "array, channels last": lambda x: x.permute(0, 2, 3, 1).numpy(),
    "array of float64": lambda x: floats(x).permute(0, 2, 3, 1).numpy(),
    "list of arrays": lambda x: list(x.permute(0, 2, 3, 1).numpy()),
    "list of tensors": lambda x: list(floats(x).float()),
    "list of images": lambda x: [Image.fromarray(one) for one in x.permute(0, 2, 3, 1).numpy()],
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_both_sides_take_every_form(form, expected):
    assert scores(form(FAKE)) == expected
    assert scores(FAKE, form(REAL)) == expected


def test_a_function_may_return_bytes_or_arrays(expected):
    assert scores(lambda n: FAKE[:n]) == expected
    assert scores(lambda n: FAKE[:n].permute(0, 2, 3, 1).numpy()) == expected


def test_all_images_of_a_set_are_scored_unless_fewer_are_asked_for():
    assert evaluate(FAKE, REAL, Protocol("pixels8")).protocol["generated"] == 60
    assert evaluate(FAKE, REAL, PROTOCOL).protocol["generated"] == 40
    with pytest.raises(UsageError, match="only 60 generated samples, not 61: ask for fewer"):
        evaluate(FAKE, REAL, Protocol("pixels8", generated=61))


def test_points_may_be_an_array():
    points = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    real = points + 0.1
    protocol = Protocol(generated=200)
    made = evaluate(lambda n: points[:n], real, protocol).scores
    assert evaluate(points.numpy(), real.numpy(), protocol).scores == made


def test_images_in_0_to_1_are_refused_or_scaled(expected):
    units = FAKE.double() / 255
    with pytest.raises(
        UsageError, match=r"generated images lie in \[0, 0.78\].*pass 2 \* x - 1, or value_range=\(0, 1\)"
    ):
        scores(units)
    with pytest.raises(UsageError, match=r"real images lie in \[0, 1\]"):
        scores(FAKE, REAL.double() / 255)
    assert scores(units, value_range=(0, 1)) == expected
    assert scores(units, REAL.double() / 255, value_range=(0, 1)) == expected
    assert scores(FAKE.double(), value_range=(0, 255)) == expected
    assert scores(units, value_range=(-1, 1)) != expected  # whoever says so gets them as they are
    with pytest.raises(UsageError, match="give the values of black and white"):
        scores(units, value_range=(1, 0))


def test_the_range_is_that_of_the_whole_set():
    """A first batch without a dark value is no evidence while a later one has some."""
    bright_first = torch.cat([floats(some(140, 256)[:30]), floats(some()[:30])])
    evaluate(bright_first, REAL, Protocol("pixels8"), batch=10)
    with pytest.raises(UsageError, match="as if 0 were black"):
        evaluate(torch.cat([bright_first[:30]] * 2), REAL, Protocol("pixels8"), batch=10)


@pytest.mark.parametrize(("low", "high"), [(0, 13), (0, 100), (100, 156), (127, 129), (0, 1), (200, 201)])
def test_dark_grey_and_constant_sets_in_minus_1_to_1_are_scored(low, high):
    scores(floats(some(low, high)))


def test_a_bright_set_is_scored_against_bright_images():
    bright = some(140, 256)
    scores(floats(bright), bright)


def test_resized_images_in_0_to_1_overshoot_and_are_recognised():
    assert looks_like_units(-0.03, 1.04)
    assert not looks_like_units(-1.0, 1.0)
    assert not looks_like_units(-0.02, 0.02)  # an untrained generator around mid-grey
    assert not looks_like_units(0.0, 0.0)


@pytest.mark.parametrize(
    ("samples", "sentence"),
    [
        (np.zeros((5, 8, 8, 2)), "does not say which of its axes are channels"),
        (np.zeros((5, 3, 8, 3)), "does not say which of its axes are channels"),
        (np.zeros((5, 8, 8, 3), np.int64), "uint8 or floating point, not int64"),
        ([np.zeros((8, 8)), np.zeros((8, 9))], "sample 1 is 8x9 float64 but sample 0 is 8x8 float64"),
        (
            [Image.new("I;16", (4, 4))],
            r"mode I;16, of more than 8 bits: give its values in \[-1, 1\] as an array",
        ),
        ([torch.zeros(1, 8, 8), np.zeros((1, 8, 8))], "holds tensors and others"),
        (
            [torch.zeros(1, 8, 8), torch.zeros(1, 8, 9)],
            r"sample 1 is 1x8x9 torch\.float32 but sample 0 is 1x8x8",
        ),
        ([3], "a list of samples holds a int"),
        ([], "is empty: give one with samples"),
        ("folder", "not str: convert"),
        (None, "not NoneType: convert"),
    ],
)
def test_what_is_no_set_of_samples_is_refused(samples, sentence):
    with pytest.raises(UsageError, match=sentence):
        as_tensor(samples)


@pytest.mark.parametrize("mode", ["P", "RGBA", "LA", "La", "RGBa", "CMYK"])
def test_a_list_of_pictures_has_white_behind_transparency(mode):
    grey = Image.new("L", (9, 8), 204)  # a colour of the default palette
    one = grey.convert("RGB").convert(mode) if mode in ("P", "CMYK") else grey.convert("LA")
    if mode not in ("P", "CMYK"):
        one.putalpha(Image.new("L", (9, 8), 0))
        one = one.convert("RGBA").convert(mode) if mode.startswith("RGB") else one.convert(mode)
    found = as_tensor([one, one])
    assert found.shape == (2, 1 if mode in ("LA", "La") else 3, 8, 9)
    assert set(found.unique().tolist()) == ({204} if mode in ("P", "CMYK") else {255})


def test_a_list_of_tensors_may_be_in_bfloat16():
    rows = [torch.full((1, 8, 8), float(i), dtype=torch.bfloat16) for i in range(3)]
    assert torch.equal(as_tensor(rows), torch.stack(rows))


def test_grey_images_may_lack_the_channel():
    grey = some(channels=1)
    assert torch.equal(as_tensor(grey[:, 0].numpy()), grey)
    assert torch.equal(as_tensor([Image.fromarray(one) for one in grey[:, 0].numpy()]), grey)


def test_the_range_is_that_of_held_out_images_too():
    train, held, fake = (floats(some(seed=seed)) for seed in (1, 2, 3))
    protocol = Protocol("pixels8", generated=40)

    def found(scale, **given_range):
        data = given(scale(train), held=scale(held))
        return evaluate(scale(fake), data, protocol, **given_range).scores["memorised_pixels8"]

    wanted = found(lambda x: x)
    assert 0.2 < wanted.value < 0.8  # three sets alike: no copies
    for one in ((0, 1), [0, 1], np.array([0, 1])):
        assert found(lambda x: (x + 1) / 2, value_range=one) == wanted


def test_a_range_of_points_and_real_samples_of_whole_numbers_are_refused():
    with pytest.raises(UsageError, match=r"the range of images, and samples of shape \[2\] are none"):
        evaluate(torch.randn(50, 2), torch.randn(50, 2), value_range=(0, 1))
    for kind in (torch.bool, torch.int64):
        with pytest.raises(UsageError, match=f"real images are uint8 or floating point, not {kind}"):
            evaluate(FAKE, REAL.to(kind), PROTOCOL)


def test_one_held_out_image_takes_no_other_score_away():
    data = given(REAL, held=torch.cat([FAKE[:1], FAKE[:1]]))._replace(held=lambda: FAKE[:1])
    assert evaluate(FAKE, data, PROTOCOL).scores.keys() == evaluate(FAKE, REAL, PROTOCOL).scores.keys()


def test_points_are_their_own_copies():
    points = torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
    found = evaluate(points, points.clone(), Protocol(generated=300)).scores
    assert [found[name].value for name in ("w1", "w2", "sliced_w2")] == pytest.approx([0, 0, 0], abs=1e-6)


def test_a_data_set_keeps_its_name():
    card = evaluate(FAKE, Data("mine", (3, 8, 8), rows=REAL), PROTOCOL)
    assert card.protocol["data"] == "mine"


# ----------------------------------------------------------------------------------------------------- wrong ranges

FAR_OUT = {
    "bytes as floats about 0": (lambda x: 127.5 * x, {}, "generated images lie far outside of"),
    "normalised as for ImageNet": (lambda x: x / 0.45, {}, "generated images lie far outside of"),
    "from 0 to 2": (lambda x: x + 1, {}, r"as if 0 were black.*value_range=\(0, 2\)"),
    "from 0 to 1.5": (lambda x: 0.75 * (x + 1), {}, "as if 0 were black"),
    "bytes under the range of units": (
        lambda x: 127.5 * (x + 1),
        {"value_range": (0, 1)},
        "far outside of value_range",
    ),
}


@pytest.mark.parametrize(("change", "how", "sentence"), FAR_OUT.values(), ids=FAR_OUT)
def test_a_range_that_cannot_be_meant_is_refused(change, how, sentence):
    """All of these were cut to [-1, 1] and scored, between 4 and 110 where the same images have 0."""
    reals = (floats(REAL) + 1) / 2 if how else REAL
    with pytest.raises(UsageError, match=sentence):
        scores(change(floats(REAL)), reals, **how)


def test_real_images_that_fill_nothing_of_the_range_are_refused():
    """Units said to be bytes are all black: every generator is perfect then."""
    units = (floats(REAL) + 1) / 2
    with pytest.raises(UsageError, match="less than a tenth of value_range"):
        scores(units, units, value_range=(0, 255))


def test_a_generator_without_a_tanh_may_exceed_its_range():
    wide = 1.3 * floats(FAKE)
    wide[0, 0, 0, 0] = 40.0  # a single value far outside is no other range
    assert scores(wide)


@pytest.mark.parametrize("given", [(0,), (0, 1, 2), 5, "01", ("0", "1"), (0, float("inf")), (1, 1), None])
def test_what_is_no_range_is_refused(given):
    with pytest.raises(UsageError, match="give the values of black and white"):
        black_and_white(given)


# ------------------------------------------------------------------------------------------------ wrong questions


def test_the_split_is_what_its_card_says():
    """Asked for held-out images, it scored the training images and wrote `test` on the card."""
    data = given(REAL, held=FAKE)
    test = evaluate(REAL, data, Protocol("pixels8", split="test"))
    assert test.scores == evaluate(REAL, FAKE, Protocol("pixels8", split="test")).scores
    assert test.protocol["data_sha256"] != evaluate(REAL, data, Protocol("pixels8")).protocol["data_sha256"]


def test_the_split_of_points_is_what_its_card_says_too():
    near = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    data = Data("p", (2,), rows=near, held=lambda: near + 100)
    assert evaluate(near, data, Protocol(split="test")).scores["w1"].value > 100
    asked = Protocol("pixels8", generated=60, split="test")
    images = given(REAL, held=FAKE)
    assert describe(asked, images) == evaluate(REAL, images, asked).protocol


def test_numbers_of_numpy_are_numbers():
    asked = Protocol("pixels8", generated=np.int64(40), seed=np.int32(3))
    assert (type(asked.generated), type(asked.seed)) == (int, int)
    assert evaluate(FAKE, REAL, asked, batch=np.int64(32)).protocol["seed"] == 3
    ends = (torch.tensor(0.0), torch.tensor(1.0))
    assert black_and_white(ends) == (0, 1)


@pytest.mark.parametrize("shape", [(28, 28), (3, 4, 4), (3, 2, 8, 8)])
def test_samples_that_an_extractor_cannot_read_are_no_points(shape):
    rows = torch.rand(40, *shape) * 2 - 1
    with pytest.raises(UsageError, match="an extractor reads images"):
        evaluate(rows, rows, Protocol("pixels8"))
    assert "w1" in evaluate(rows, rows).scores  # without one they are


@pytest.mark.parametrize(
    "made",
    [
        lambda: Protocol(generated=20.5),
        lambda: Protocol(real="30"),
        lambda: Protocol(generated=2**31),
        lambda: Protocol(seed=-1),
        lambda: Protocol(seed=2**64),
        lambda: evaluate(FAKE, REAL, "pixels8"),
        lambda: evaluate(FAKE, REAL, Protocol(None)),
        lambda: evaluate(FAKE, REAL, PROTOCOL, batch=1.5),
        lambda: evaluate(FAKE, torch.tensor(1.0), PROTOCOL),
        lambda: evaluate(
            FAKE, Data("endless", (3, 8, 8), draw=lambda g, n: torch.zeros(n, 3, 8, 8)), PROTOCOL
        ),
    ],
)
def test_what_is_no_question_has_a_sentence(made):
    with pytest.raises(UsageError):
        made()


def test_too_few_images_are_refused_before_any_is_read():
    seen = []
    extract = Extractor("seen", lambda x: seen.append(x) or Read(x.flatten(1)), 192, "", "")
    with pytest.raises(UsageError, match="a score of 10 images means nothing: take 20"):
        evaluate(FAKE[:10], REAL, Protocol(extract))
    assert not seen


@pytest.mark.parametrize(
    "read",
    [
        lambda x: x.mean(),
        lambda x: x.flatten(1)[:, :9],
        lambda x: x.flatten(1)[:-1],
        lambda x: x.flatten(1).numpy(),
        lambda x: None,
    ],
)
def test_an_extractor_has_a_row_for_each_image(read):
    with pytest.raises(UsageError, match=r"has to return a tensor of features \[n, 192\]"):
        evaluate(FAKE, REAL, Protocol(Extractor("odd", read, 192, "", "")))


def test_two_extractors_without_a_hash_share_no_statistics():
    """The second one used what the first had kept of the real images, under the same name."""
    found = []
    for read in (lambda x: x.flatten(1), lambda x: 3 * x.flatten(1)):
        extract = Extractor("mine", read, 192, "none", "")
        found.append(evaluate(REAL, REAL, Protocol(extract)).scores["fd_mine"].value)
    assert found == pytest.approx([0, 0], abs=1e-6)


# -------------------------------------------------------------------------------------------- as engineers hold theirs


def card(generate, data, **how):
    return evaluate(generate, data, Protocol("pixels8", generated=40, **how)).scores


@pytest.fixture
def sets(tmp_path, monkeypatch):
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path))
    g = torch.Generator().manual_seed(0)
    return [torch.rand(40, 3, 8, 8, generator=g) * 2 - 1 for _ in "ab"]


def test_loaders_and_datasets_are_their_samples(sets):
    fake, real = sets
    wanted = card(fake, real)
    labelled = TensorDataset(real, torch.arange(40))
    for other in (
        labelled,
        DataLoader(labelled, batch_size=7),
        DataLoader(TensorDataset(real), batch_size=40),
    ):
        assert card(fake, other) == wanted
    assert card(DataLoader(TensorDataset(fake), batch_size=9), real) == wanted

    class Stream(IterableDataset):
        def __iter__(self):
            return iter(real)

        def __len__(self):
            return len(real)

    assert card(fake, Stream()) == wanted
    with pytest.raises(UsageError, match="has none: give one with samples"):
        card(fake, DataLoader(TensorDataset(real[:0])))


def test_a_module_of_latents_is_told_what_to_pass_and_one_of_counts_is_called(sets):
    fake, real = sets

    class Counts(torch.nn.Module):
        def forward(self, n):
            if not torch.is_grad_enabled():  # some samplers take gradients, as Langevin's
                raise RuntimeError("without gradients")
            return fake[:n]

    assert card(Counts(), real) == card(fake, real)

    class Views(torch.nn.Module):
        def forward(self, z):
            return z.view(-1, 3, 8, 8)

    with pytest.raises(UsageError, match="a generator takes latents"):
        card(Views(), real)
    with pytest.raises(
        UsageError, match=r"a generator takes latents: pass lambda n: G\(torch.randn\(n, latent\)\)"
    ):
        card(torch.nn.Linear(4, 2), real)


def test_an_extractor_may_return_features_alone(sets):
    fake, real = sets
    found = []
    for read in (lambda x: x.flatten(1)[:, :6], lambda x: Read(x.flatten(1)[:, :6])):
        mine = Extractor("mine", read, 6, "0" * 64, "none")
        found.append(evaluate(fake, real, Protocol(mine)).scores)
    assert found[0] == found[1]
    assert "fd_mine" in found[0]
