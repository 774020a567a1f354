"""Where planes of eigenvalues and phase portraits draw what they show."""

import math

import torch

from steadygan.plots import eigenvalues, phase_portrait
from steadygan.plots.axes import FAKES, GREY, INK, TARGET, place


def is_drawn(image, u, v, colour):
    """Whether the colour is within 4 pixels of a place in the box."""
    x, y = (round(part) for part in place(u, v))
    near = [image.getpixel((x + i, y + j)) for i in range(-4, 5) for j in range(-4, 5)]
    return any(max(abs(a - b) for a, b in zip(pixel, colour)) < 40 for pixel in near)


def test_the_circle_has_radius_1_and_eigenvalues_lie_at_their_parts():
    image = eigenvalues.plane(torch.tensor([-2.0 + 0j]), torch.tensor([0.5j]), size=2160)
    half, turn = 1.25 * 2, math.sqrt(0.5)
    for radius in (0.5, 1.0, 2.0, half):
        at = radius / half * turn
        assert [is_drawn(image, u * at, v * at, INK) for u in (-1, 1) for v in (-1, 1)] == [radius == 1] * 4
    assert is_drawn(image, -2 / half, 0, TARGET)
    assert is_drawn(image, 0, 0.5 / half, FAKES)


def test_the_left_half_of_a_cloud_is_shaded_and_holds_its_stable_eigenvalues():
    image = eigenvalues.draw_clouds({"a": torch.tensor([-1.0 + 0j])}, size=2160)
    left, right = (
        image.getpixel((round(place(u, 0.5)[0]), round(place(u, 0.5)[1]) + 60)) for u in (-0.5, 0.5)
    )
    assert right == (255, 255, 255) != left
    # linear up to 0.02, a unit for each power of ten beyond, out to twice the greatest part
    u = (1 + math.log10(50)) / (1 + math.log10(100))
    x, y = place(u, 0)
    marks = [image.getpixel((round(at), round(y) + 66)) for at in (place(-u, 0)[0], x)]
    assert max(marks[0]) - min(marks[0]) > 40
    assert marks[1] == (255, 255, 255)


def test_an_arrow_stands_at_its_point_and_a_path_goes_from_its_start_to_its_end():
    path = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    points = phase_portrait.grid(phase_portrait.extent(path))
    moves = torch.zeros_like(points)
    (corner,) = ((points[:, 0] > 1.1) & (points[:, 1] < -1.1)).nonzero().flatten().tolist()  # below, right
    moves[corner, 0] = -3.0
    image = phase_portrait.phase(path, moves, size=2160)
    at = 0.9 - 0.055 / 2
    assert is_drawn(image, at, -0.9, GREY)
    assert not any(
        is_drawn(image, u, v, GREY) for u, v in ((-at, 0.9), (at, 0.9), (-at, -0.9), (-0.9, at), (0.9, -at))
    )
    assert image.getpixel(tuple(round(part) for part in place(0.8, 0))) == TARGET
    assert image.getpixel(tuple(round(part) for part in place(0, 0.8))) == FAKES


def test_a_circle_marks_an_equilibrium_and_no_other_place():
    path, moves = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.zeros(17 * 17, 2)
    pictures = [phase_portrait.phase(path, moves, size=2160, rest=rest) for rest in (True, False)]
    right = 24 / (place(1, 0)[0] - place(0, 0)[0])  # its radius in pixels, in units of half the box
    assert [is_drawn(image, right, 0, INK) for image in pictures] == [True, False]
