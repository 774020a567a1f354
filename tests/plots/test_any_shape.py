"""Pictures of samples of any shape: what is drawn where, read off the pixels."""

import numpy as np
import pytest
import torch
from PIL import Image

from steadygan.plots.any_shape import HIGH, WIDE, curves, picture


def ink(image: torch.Tensor) -> torch.Tensor:
    """The mean row of the dark pixels in each column."""
    dark = (image < 0).float()
    rows = torch.arange(HIGH)[:, None]
    return (dark * rows).sum(0) / dark.sum(0)


def test_a_curve_goes_through_its_values():
    t = torch.linspace(0, 1, WIDE)
    x = torch.stack([t, 1 - t, torch.full((WIDE,), 0.25), torch.sin(6 * t) / 2 + 0.5])[:, None]
    drawn = curves(x, torch.tensor([[[0.0, 1.0]]]))
    assert drawn.shape == (4, 1, HIGH, WIDE)
    for image, values in zip(drawn[:, 0], x[:, 0]):
        assert bool(((image < 0).sum(0) >= 1).all())  # no gap
        assert float((ink(image) - (1 - values) * (HIGH - 1)).abs().max()) <= 2


def test_every_channel_has_a_curve_and_what_lies_outside_is_on_the_edge():
    x = torch.stack([torch.full((20,), 9.0), torch.full((20,), -9.0), torch.zeros(20)])[None]
    (image,) = curves(x, torch.tensor([-1.0, 1.0]))[:, 0]
    assert [bool((image[row] < 0).all()) for row in (0, HIGH - 1)] == [True, True]
    assert int((image[:, 0] < 0).sum()) == 3


def test_a_long_signal_keeps_its_peaks():
    x = torch.zeros(1, 1, 5000)
    x[..., 2500], x[..., 4000] = 1.0, -1.0
    image = curves(x, torch.tensor([-1.0, 1.0]))[0, 0] < 0
    assert image[0].nonzero().flatten().tolist() in ([47, 48], [48, 49], [48])
    assert len(image[HIGH - 1].nonzero()) in (1, 2)


@pytest.mark.parametrize(
    "shape", [(9, 1), (9, 2), (9, 5), (9, 1, 30), (9, 2, 4000), (9, 3, 1), (9, 1, 8, 8), (9, 4, 6, 9)]
)
def test_samples_of_every_shape_have_a_picture(shape):
    for samples in (torch.randn(shape), torch.zeros(shape), torch.full(shape, float("nan"))):
        for target in (samples.nan_to_num(), torch.randn(shape)):
            image = picture(samples, target, "title")
            assert image.mode in ("RGB", "L")
            assert min(image.size) >= 8


def test_a_video_has_a_row_of_frames_for_each_clip():
    clips = torch.rand(3, 1, 5, 8, 6) * 2 - 1
    frames = clips.transpose(1, 2).flatten(0, 1)
    assert picture(clips, None, "").tobytes() == picture(frames, None, "", columns=5).tobytes()


def test_images_of_many_channels_show_the_first_three_or_one():
    x = torch.rand(4, 5, 8, 8) * 2 - 1
    assert picture(x, None, "").tobytes() == picture(x[:, :3], None, "").tobytes()
    assert picture(x[:, :2], None, "").tobytes() == picture(x[:, :1], None, "").tobytes()


ORANGE = (213, 94, 0)


def places(image: Image.Image) -> torch.Tensor:
    """(x, y) of the pixels of generated points, without those of the legend."""
    pixels = torch.as_tensor(np.array(image.convert("RGB")), dtype=torch.int64)
    near = (pixels - torch.tensor(ORANGE)).abs().sum(2) < 60
    near[:70] = False
    return near.nonzero().flip(1)


def test_columns_of_unlike_scales_both_fill_the_picture():
    torch.manual_seed(0)
    alike, rows = torch.randn(500, 2), torch.randn(500, 2) * torch.tensor([1.0, 1e4])
    for points in (alike, rows, torch.cat([rows, rows], 1)):
        wide, high = (
            places(picture(points, points, "")).amax(0) - places(picture(points, points, "")).amin(0)
        ).tolist()
        assert 0.7 < wide / high < 1.4


def test_points_that_are_off_lie_apart_from_a_target_of_unlike_scales():
    """In standard deviations of the target: in their own they would lie where it does."""
    torch.manual_seed(0)
    target = torch.randn(500, 2) * torch.tensor([1.0, 1e4])
    there, off = (places(picture(target + by * target.std(0), target, "")).float().mean(0) for by in (0, 5))
    right, down = (off - there).tolist()
    assert right > 100
    assert down < -100


def test_one_column_is_drawn_by_its_quantiles_over_those_of_the_target():
    torch.manual_seed(0)
    x = torch.randn(1000, 1) * 7 + 3
    same, above = (places(picture(x + 7 * by, x, "")).float() for by in (0, 1))
    assert float(torch.corrcoef(same.T)[0, 1]) < -0.99  # the diagonal: rows of pixels count downwards
    wide, high = (same.amax(0) - same.amin(0)).tolist()
    assert wide == pytest.approx(high, rel=0.1)
    assert float(above[:, 1].mean()) < float(same[:, 1].mean()) - 20  # one deviation up
