"""A landscape as SVG: its colours on any ground, its arrows and its dots."""

import base64
import io
import math
import re
from xml.etree import ElementTree

import pytest
import torch
from PIL import Image

from steadygan.plots.landscape_svg import dots, svg

FRAME = (1.0, -1.0, 2.0)


def test_logits_are_colours_over_the_page_s_ground():
    """Lowest, quarter, middle and highest logit, and none: the colour's share is the distance from the middle."""
    logits = torch.tensor([[-4.0, 4.0], [0.0, math.nan]])
    text = svg(FRAME, logits, torch.zeros(1, 1, 2), label="")
    picture = Image.open(io.BytesIO(base64.b64decode(re.search('base64,([^"]*)', text)[1])))
    for ground in (255, 27):
        page = Image.new("RGBA", picture.size, (ground, ground, ground, 255))
        page.alpha_composite(picture)
        seen = [page.getpixel(at)[:3] for at in ((0, 1), (1, 1), (0, 0), (1, 0))]  # the first row is below
        assert seen == [(244, 177, 124), (126, 173, 222), (ground,) * 3, (160,) * 3]


def test_an_arrow_points_along_the_gradient_and_y_is_up():
    """One cell of 400 pixels: 340 pixels long, and up is a negative y of SVG."""
    drawn = ElementTree.fromstring(svg(FRAME, torch.eye(2), torch.tensor([[[0.0, 2.0]]]), label=""))
    (path,) = [each.get("d") for each in drawn if each.get("data-mark") == "gradient"]
    assert re.match(r"M200 370l-?0\.0 -340\.0l", path)


def test_dots_lie_in_the_square_and_others_are_counted():
    points = torch.tensor([[1.0, -1.0], [3.0, 1.0], [3.1, 0.0], [math.nan, 0.0]])
    assert dots(points, FRAME) == ("M200 200h0M400 0h0", 2)


@pytest.mark.parametrize("gradient", [torch.zeros(2, 2, 2), torch.full((2, 2, 2), math.nan)])
def test_no_gradient_is_no_arrow(gradient):
    assert 'd=""' in svg(FRAME, torch.eye(2), gradient, label="")


def test_an_arrow_stands_in_its_own_cell():
    """Of 2 x 2 cells the upper left one: row 1 is above, as y is up."""
    gradient = torch.zeros(2, 2, 2)
    gradient[1, 0, 0] = 3.0
    assert re.search(r'd="M15 100l170\.0 -?0\.0l', svg((0.0, 0.0, 1.0), torch.eye(2), gradient, label=""))
