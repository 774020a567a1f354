"""Pictures against facts about their pixels: positions and colours that are computed here, in another way."""

import math
import re

import pytest
import torch
from PIL import Image, ImageDraw

from steadygan.errors import UsageError
from steadygan.plots import samples

VERMILLION = torch.tensor([213.0, 94.0, 0.0])
SQUARE = torch.tensor(
    [[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]]
)  # seen in [-2, 2]^2: 25 % of 2 a side
FAR = torch.tensor([[100.0, 0.0]])  # a fake that leaves the plane to the target
NAN, INF = math.nan, math.inf


def pixels(image: Image.Image) -> torch.Tensor:
    """Return [height, width, 3], 0..255."""
    assert image.mode == "RGB"
    return torch.tensor(list(image.tobytes()), dtype=torch.float32).view(image.height, image.width, 3)


def middle(mask: torch.Tensor) -> torch.Tensor:
    """Return the mean (x, y) of the pixels that are set."""
    return mask.nonzero().double().mean(0).flip(0)


def orange(image: Image.Image) -> torch.Tensor:
    """Find the pixels of fakes; the header, where the legend has one too, is left out."""
    colours = pixels(image)
    mask = colours[..., 0] - colours[..., 2] > 60
    mask[: round(0.08 * image.height)] = False
    return mask


def square(image: Image.Image) -> tuple[float, ...]:
    """Return left, right, top and low: where the four points of SQUARE lie, found by their blue."""
    colours, edge = pixels(image), round(0.1 * image.width)
    mask = colours[..., 2] - colours[..., 0] > 24
    mask[:edge], mask[-edge:], mask[:, :edge], mask[:, -edge:] = False, False, False, False  # words are there
    ys, xs = mask.nonzero().double().unbind(1)
    return tuple(
        axis[side].mean().item() for axis in (xs, ys) for side in (axis < axis.mean(), axis > axis.mean())
    )


def refusal(*words: str):
    """Expect a UsageError of one sentence that contains each of the words, in this order."""
    pattern = r"(?s)\A(?!.*(\n|\.\s|\.\Z)).*" + ".*".join(map(re.escape, words))
    return pytest.raises(UsageError, match=pattern)


@pytest.fixture
def words(monkeypatch):
    """Collect every text that is written, as (text, place, anchor)."""
    written, write = [], ImageDraw.ImageDraw.text

    def text(self, xy, text, fill=None, font=None, anchor=None):
        written.append((text, xy, anchor))
        write(self, xy, text, fill, font, anchor)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    return written


# -- Grid -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("channels", "zoom"), [(1, 1), (3, 1), (1, 3), (3, 4)])
def test_each_cell_of_a_grid_is_its_image_and_nothing_else(channels, zoom):
    columns, rows, n, height, width = 3, 3, 7, 4, 5
    levels = torch.randint(256, (n, channels, height, width), generator=torch.Generator().manual_seed(0))
    image = samples.grid(levels / 127.5 - 1, columns, zoom)
    gap, rest = divmod(image.width - columns * width * zoom, columns + 1)
    assert rest == 0
    assert 1 <= gap <= 4
    assert image.height == rows * height * zoom + (rows + 1) * gap
    for i in range(n):
        for channel, y, x in [(c, y, x) for c in range(3) for y in range(height) for x in range(width)]:
            left = gap + (i % columns) * (width * zoom + gap) + x * zoom
            top = gap + (i // columns) * (height * zoom + gap) + y * zoom
            block = image.crop((left, top, left + zoom, top + zoom)).getchannel(channel)
            assert set(block.tobytes()) == {int(levels[i, channel % channels, y, x])}  # nearest: one value


def test_gaps_and_empty_cells_are_neither_black_nor_white():
    image = pixels(samples.grid(torch.cat([-torch.ones(1, 1, 2, 2), torch.ones(2, 1, 2, 2)]), 2, 1))
    ground = image[0, 0]
    assert 60 < ground.mean() < 200
    for row, column in [(3, 1), (-1, -1), (-2, -2)]:  # between the rows, the border, the fourth cell's end
        torch.testing.assert_close(image[row, column], ground)


@pytest.mark.parametrize(
    ("value", "level"), [(-1, 0), (1, 255), (0, 128), (0.1, 140), (-7, 0), (7, 255), (0.5, 191)]
)
def test_a_constant_image_keeps_its_brightness(value, level):
    for channels in (1, 3):
        image = pixels(samples.grid(torch.full((1, channels, 4, 4), float(value)), zoom=2))
        assert set(image[2:-2, 2:-2].flatten().tolist()) == {level}


def test_an_image_looks_the_same_in_every_batch():
    dim = 0.1 * torch.rand(1, 1, 4, 4)
    alone = samples.grid(dim, 2, 3)
    beside = samples.grid(torch.cat([dim, torch.full_like(dim, 50.0)]), 2, 3)
    cell = (0, 0, 2 + 4 * 3, alone.height)
    assert alone.crop(cell).tobytes() == beside.crop(cell).tobytes()


def test_pixels_that_are_not_finite_stand_out_and_leave_the_others():
    images = torch.zeros(1, 3, 2, 2)
    images[0, 0, 0, 0], images[0, 1, 0, 1], images[0, 2, 1, 0] = NAN, INF, -INF
    inner = pixels(samples.grid(images, zoom=1))[2:-2, 2:-2]
    assert inner.tolist() == [[[255, 0, 255], [255, 0, 255]], [[255, 0, 255], [128, 128, 128]]]


@pytest.mark.parametrize("n", [1, 2, 10, 64])
@pytest.mark.parametrize("side", [8, 28, 32])
def test_a_grid_of_small_images_is_made_visible(n, side):
    image = samples.grid(torch.zeros(n, 1, side, side))
    assert 600 <= image.width <= 900


def test_a_grid_is_about_square_and_takes_any_float_that_needs_a_gradient():
    assert samples.grid(torch.zeros(9, 3, 8, 8)).size == samples.grid(torch.zeros(7, 3, 8, 8)).size
    images = torch.zeros(4, 1, 300, 600, dtype=torch.bfloat16, requires_grad=True)
    image = samples.grid(images)
    assert image.width >= 2 * 600  # large images are not shrunk
    assert image.getpixel((9, 9)) == (128, 128, 128)


@pytest.mark.parametrize("shape", [(0, 1, 8, 8), (4, 2, 8, 8), (4, 1, 0, 8), (1, 8, 8), (4, 2)])
def test_a_grid_refuses_what_are_no_images(shape):
    with refusal("[n, 1 or 3, H, W]", str(list(shape)), "pass"):
        samples.grid(torch.zeros(shape))


def test_a_grid_refuses_bytes_and_no_columns():
    with refusal("uint8", "127.5"):
        samples.grid(torch.zeros(1, 1, 8, 8, dtype=torch.uint8))
    for options in ({"columns": 0}, {"columns": -2}, {"zoom": 0}):
        with refusal("columns", "zoom", "1 or more"):
            samples.grid(torch.zeros(1, 1, 8, 8), **options)


# -- Scatter ----------------------------------------------------------------------------------------------


def test_y_points_up_and_x_to_the_right():
    image = samples.scatter(torch.tensor([[0.9, 0.8]]), SQUARE)
    x, y = middle(orange(image)).tolist()
    assert x > 0.6 * image.width
    assert y < 0.4 * image.height


@pytest.mark.parametrize("size", [300, 720])
@pytest.mark.parametrize("at", [(0.5, 0.5), (-0.7, 0.2), (0.0, -0.4)])
def test_a_fake_lies_where_the_target_says(at, size):
    left, right, top, low = square(samples.scatter(FAR, SQUARE, size=size))
    assert right - left == pytest.approx(low - top, abs=0.6)  # both axes alike
    expected = left + (at[0] + 1) / 2 * (right - left), low + (at[1] + 1) / 2 * (top - low)
    found = middle(orange(samples.scatter(torch.tensor([at]), SQUARE, size=size)))
    assert found.tolist() == pytest.approx(expected, abs=0.6)


def test_the_view_is_the_targets_extent_and_a_quarter_more_on_each_side():
    image = samples.scatter(FAR, SQUARE)
    left, right, _, _ = square(image)
    row = pixels(image)[330].mean(-1)  # free of dots and of the ticks' numbers
    frame = (row < 240).nonzero().flatten()
    assert (right - left) / (frame[-1] - frame[0]).item() == pytest.approx(1 / 1.5, abs=0.005)
    for inside, x in ((True, 1.49), (False, 1.51)):
        texts = samples.legend(torch.tensor([[0.0, x], [-x, 0.0]]), SQUARE)
        assert ("outside" not in texts["fakes"]) == inside


def test_the_numbers_stand_where_their_values_lie(words):
    target = SQUARE * 20 + torch.tensor([100.0, -3.0])
    left, right, top, low = square(samples.scatter(FAR + 1e9, target))
    across = {float(text): place[0] / 3 for text, place, anchor in words if anchor == "ma"}
    up = {float(text): place[1] / 3 for text, place, anchor in words if anchor == "rm"}
    assert across.keys() == {70, 80, 90, 100, 110, 120, 130}
    assert up.keys() == {-30, -20, -10, 0, 10, 20}
    for value, x in across.items():
        assert x == pytest.approx(left + (value - 80) / 40 * (right - left), abs=1.2)
    for value, y in up.items():
        assert y == pytest.approx(low + (value + 23) / 40 * (top - low), abs=1.2)


def test_title_and_legend_are_written(words):
    samples.scatter(torch.tensor([[NAN, 0.0], [9.0, 9.0]]), SQUARE, "step\n12", SQUARE, lambda x: x[:, 0])
    texts = [text for text, _, _ in words]
    assert "step 12" in texts
    assert "generated (1 outside, 1 not finite)" in texts
    assert {"target", "mode", "critic: real", "critic: fake"} <= set(texts)


def test_a_long_title_stays_in_the_picture():
    image = pixels(samples.scatter(FAR, SQUARE, "a title that is far too long " * 12))
    assert image[:30, -40:].min() == 255


def test_the_target_lies_under_the_fakes():
    here = torch.zeros(1, 2)
    target = torch.cat([SQUARE, here.expand(50, 2)])
    x, y = middle(orange(samples.scatter(here, SQUARE))).round().int().tolist()
    assert samples.scatter(FAR, target).getpixel((x, y)) == (132, 152, 180)
    assert samples.scatter(here.expand(50, 2), target).getpixel((x, y)) == tuple(VERMILLION.int().tolist())
    red, _, bluish = samples.scatter(here, target).getpixel((x, y))
    assert red > bluish + 50


def test_fakes_are_translucent_so_that_crowds_are_darker():
    x, y = middle(orange(samples.scatter(torch.zeros(1, 2), SQUARE))).round().int().tolist()
    greens = [samples.scatter(torch.zeros(n, 2), SQUARE).getpixel((x, y))[1] for n in (1, 2, 4)]
    assert greens[0] > greens[1] > greens[2] > 93


def test_the_legend_counts_what_is_not_drawn():
    inside = torch.zeros(5, 2)
    outside = torch.tensor([[9.0, 0.0]]).expand(37, 2)
    broken = torch.tensor([[NAN, 0.0], [0.0, INF], [-INF, NAN]]).repeat(4, 1)
    assert samples.legend(inside, SQUARE) == {"target": "target", "fakes": "generated"}
    for fakes, text in [
        (outside, "generated (37 outside)"),
        (broken, "generated (12 not finite)"),
        (torch.cat([broken, inside, outside]), "generated (37 outside, 12 not finite)"),
    ]:
        assert samples.legend(fakes, SQUARE)["fakes"] == text
    assert samples.legend(inside, torch.cat([SQUARE, broken]))["target"] == "target (12 not finite)"


@pytest.mark.parametrize("direction", [(1.0, 0.2), (-1.0, 0.2), (0.3, 1.0), (0.3, -1.0)])
@pytest.mark.parametrize("distance", [3.0, 1e30])
def test_fakes_outside_are_marked_on_the_frame_in_their_direction(direction, distance):
    image = samples.scatter(distance * torch.tensor([direction]), SQUARE)
    edge = middle(orange(samples.scatter(1.4999 * torch.tensor([direction]), SQUARE)))
    mark = orange(image)
    assert (mark.nonzero().flip(1) - edge).abs().max() < 9
    assert mark.sum() > 30
    axis = int(abs(direction[0]) < abs(direction[1]))  # 0: a mark on the left or right
    across = mark.sum(axis).double()[mark.sum(axis) > 0]  # its breadth, from left to right or top to bottom
    points_on = across[-1] < across[0]
    assert points_on == ([direction[0] > 0, direction[1] < 0][axis])


def test_not_finite_fakes_leave_the_picture_as_it_is_without_them():
    plain = samples.scatter(torch.zeros(1, 2), SQUARE)
    broken = samples.scatter(torch.tensor([[NAN, 0.0], [0.0, 0.0], [INF, -INF]]), SQUARE)
    plane = (0, 62, 720, 720)
    assert plain.crop(plane).tobytes() == broken.crop(plane).tobytes()
    assert not orange(samples.scatter(torch.full((3, 2), NAN), SQUARE)).any()


@pytest.mark.parametrize("spread", [0.0, 1e-6, 1e30])
@pytest.mark.parametrize("at", [0.0, -1e5])
def test_any_extent_of_the_target_is_drawn(at, spread):
    target = (SQUARE * spread + at).double()
    found = middle(orange(samples.scatter(target.mean(0, keepdim=True), target)))
    assert found.tolist() == pytest.approx([360, 374], abs=1)


def test_centres_are_circled():
    without, circled = (samples.scatter(FAR, SQUARE, centres=c) for c in (None, torch.tensor([[0.0, 0.5]])))
    changed = (pixels(without) != pixels(circled)).any(-1)
    changed[:62] = False
    expected = middle(orange(samples.scatter(torch.tensor([[0.0, 0.5]]), SQUARE)))
    assert middle(changed).tolist() == pytest.approx(expected.tolist(), abs=0.6)
    assert not changed[expected[1].round().int(), expected[0].round().int()]  # a ring hides no sample


def test_the_ground_shows_what_the_critic_says():
    asked = []

    def critic(x):
        asked.append(x)
        return 40 * x[:, 1]

    image = samples.scatter(FAR, SQUARE, critic=critic)
    real, undecided, fake = (image.getpixel((400, y)) for y in (100, 374, 640))
    assert real[2] - real[0] > 25
    assert fake[0] - fake[2] > 25
    assert min(undecided) > 245
    (points,) = asked
    assert points.dtype == FAR.dtype
    assert points.abs().max() < 1.5
    sideways = samples.scatter(FAR, SQUARE, critic=lambda x: 40 * x[:, 0])
    assert sideways.getpixel((640, 400))[2] > sideways.getpixel((640, 400))[0]


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_a_critic_that_is_not_finite_is_drawn(value):
    level = samples.scatter(FAR, SQUARE, critic=lambda x: torch.full((len(x),), value)).getpixel((400, 400))
    assert level == {NAN: (190, 196, 206), INF: (205, 224, 243), -INF: (253, 226, 205)}[value]


def test_a_critic_with_an_extra_axis_is_refused():
    with refusal("one number per sample", "reduce"):
        samples.scatter(FAR, SQUARE, critic=lambda x: x)


@pytest.mark.parametrize("shape", [(0, 2), (5, 3), (5,), (5, 2, 1)])
@pytest.mark.parametrize("which", ["fakes", "target", "centres"])
def test_a_scatter_refuses_what_are_no_points(which, shape):
    with refusal("[n, 2]", str(list(shape)), "pass"):
        samples.scatter(**{"fakes": FAR, "target": SQUARE, which: torch.zeros(shape)})


def test_a_scatter_refuses_a_target_without_extent_and_an_unfit_size():
    with refusal("no target point is finite", "check"):
        samples.scatter(FAR, torch.full((3, 2), NAN))
    for size in (0, 299, 2161):
        with refusal(str(size), "300"):
            samples.scatter(FAR, SQUARE, size=size)


# -- Strip and save ---------------------------------------------------------------------------------------


def test_a_strip_holds_its_pictures_in_order():
    strip = samples.strip([Image.new("RGB", (5, 4), "red"), Image.new("L", (3, 6), 7)])
    assert strip.size == (8, 6)
    assert {strip.getpixel((x, y)) for x in range(5) for y in range(4)} == {(255, 0, 0)}
    assert {strip.getpixel((x, y)) for x in range(5) for y in range(4, 6)} == {(255, 255, 255)}
    assert {strip.getpixel((x, y)) for x in range(5, 8) for y in range(6)} == {(7, 7, 7)}
    with refusal("no pictures", "one or more"):
        samples.strip([])


def test_save_writes_png_into_new_folders_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "run" / "samples" / "0001.PNG"
    assert samples.save(Image.new("RGB", (4, 3), (1, 2, 3)), str(path)) == path
    with Image.open(path) as image:
        assert (image.format, image.size, image.getpixel((0, 0))) == ("PNG", (4, 3), (1, 2, 3))
    assert list(path.parent.iterdir()) == [path]
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode  # readable to whom other files are


def test_save_replaces_a_file_in_one_go(tmp_path, monkeypatch):
    path, old, seen = tmp_path / "grid.png", b"the old picture", []
    path.write_bytes(old)
    write = Image.Image.save

    def spy(self, fp, *args, **options):
        write(self, fp, *args, **options)
        seen.append(path.read_bytes())

    monkeypatch.setattr(Image.Image, "save", spy)
    samples.save(Image.new("L", (4, 4)), path)
    assert seen[0] == old  # written in full, and still not where a reader looks
    assert path.read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_save_keeps_the_old_file_and_cleans_up(tmp_path, monkeypatch):
    path = tmp_path / "grid.png"
    path.write_bytes(b"old")

    def full(self, fp, *args, **options):
        fp.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="disk full"):
        samples.save(Image.new("L", (4, 4)), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["grid.jpg", "grid", "grid.png.gz"])
def test_save_refuses_other_endings(tmp_path, name):
    with refusal("PNG", name, ".png"):
        samples.save(Image.new("L", (4, 4)), tmp_path / name)
    assert list(tmp_path.iterdir()) == []
