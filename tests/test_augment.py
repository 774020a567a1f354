"""DiffAugment and ADA against plain loops over samples in numpy, scipy's resampling, and colours worked by hand.

The comment in a test names the wrong implementation it is there to catch.
"""

import math
from statistics import NormalDist

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from steadygan.augment import ADA_NUMBERS, DIFFAUGMENT_NUMBERS, ada, adapt, diffaugment
from steadygan.errors import UsageError
from steadygan.games import differentiable

ALL = ("color", "translation", "cutout")


def images(*shape: int, seed: int = 0) -> Tensor:
    return 2 * uniform(*shape, seed=seed) - 1


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# ------------------------------------------------------------------------------------------------ DiffAugment


def plain_diffaugment(image: np.ndarray, u: np.ndarray, policy: tuple[str, ...]) -> np.ndarray:
    """One image [C, H, W], pixel by pixel where places matter."""
    _, height, width = image.shape
    for name in policy:
        if name == "color":
            image = image + u[0] - 0.5
            grey = image.mean(0)
            image = grey + 2 * u[1] * (image - grey)
            image = image.mean() + (0.5 + u[2]) * (image - image.mean())
        elif name == "translation":
            most = [math.floor(side / 8 + 0.5) for side in (height, width)]
            down, right = (math.floor(u[3 + i] * (2 * most[i] + 1)) - most[i] for i in (0, 1))
            moved = np.zeros_like(image)
            for row in range(height):
                for column in range(width):
                    if 0 <= row - down < height and 0 <= column - right < width:
                        moved[:, row, column] = image[:, row - down, column - right]
            image = moved
        else:
            image = image.copy()
            sizes = [math.floor(side / 2 + 0.5) for side in (height, width)]
            corner = [
                math.floor(v * (side + 1 - size % 2)) - size // 2
                for v, side, size in zip(u[5:], (height, width), sizes, strict=True)
            ]
            for row in range(corner[0], corner[0] + sizes[0]):
                for column in range(corner[1], corner[1] + sizes[1]):
                    if 0 <= row < height and 0 <= column < width:
                        image[:, row, column] = 0
    return image


@pytest.mark.parametrize(
    "policy", [ALL, ("color",), ("translation",), ("cutout",), ("cutout", "color")], ids=str
)
@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 9, 20), (2, 8, 5)], ids=str)
def test_diffaugment_is_a_plain_loop_over_samples(policy, shape):
    # one number for the batch, rows for columns, the batch's mean as contrast's, another order
    x, u = images(30, *shape), uniform(30, DIFFAUGMENT_NUMBERS, seed=1)
    found = diffaugment(x, u, policy)
    for image, numbers, result in zip(x.numpy(), u.numpy(), found.numpy(), strict=True):
        np.testing.assert_allclose(result, plain_diffaugment(image, numbers, policy), rtol=0, atol=1e-12)


def test_saturation_leaves_a_single_channel_as_it_is():
    x, u = images(4, 1, 6, 6), uniform(4, DIFFAUGMENT_NUMBERS)
    other = u.clone()
    other[:, 1] = 1 - u[:, 1]
    assert torch.equal(diffaugment(x, u, ("color",)), diffaugment(x, other, ("color",)))


@pytest.mark.parametrize(
    "top", [float(np.nextafter(np.float32(1), np.float32(0))), 1.0], ids=["below 1", "1"]
)
def test_the_ends_of_the_numbers_stay_in_range(top):
    """A number just below 1 is 1 in fewer bits: a move one too far, or a cutout beyond its places."""
    for side in (8, 16, 28, 33, 64):
        x = torch.ones(2, 1, side, side)
        u = torch.full((2, DIFFAUGMENT_NUMBERS), top)
        u[0] = 0
        most = math.floor(side / 8 + 0.5)
        kept = diffaugment(x, u, ("translation",)).flatten(1).sum(1)
        assert kept.tolist() == [(side - most) ** 2] * 2
        size = math.floor(side / 2 + 0.5)
        cut = side * side - diffaugment(x, u, ("cutout",)).flatten(1).sum(1)
        last = side - size % 2  # the last centre; in front of it lie size // 2 pixels
        left = [size - size // 2, side - (last - size // 2)]
        assert cut.tolist() == [min(size, n) ** 2 for n in left]


def test_each_policy_has_numbers_of_its_own():
    x, u = images(4, 3, 8, 8), uniform(4, DIFFAUGMENT_NUMBERS)
    one_by_one = diffaugment(diffaugment(diffaugment(x, u, ("color",)), u, ("translation",)), u, ("cutout",))
    assert torch.equal(diffaugment(x, u), one_by_one)
    assert torch.equal(diffaugment(x, u, ()), x)


# --------------------------------------------------------------------------------------------------------- ADA


GATES = ["mirror", "quarter", "shift", "scale", "turn", "stretch", "turn_again", "slide"]
AMOUNTS = [
    "mirror",
    "quarter",
    "right",
    "down",
    "scale",
    "turn",
    "stretch",
    "turn_again",
    "slide_right",
    "slide_down",
]
COLORS = ["brightness", "contrast", "luma", "hue", "saturation"]
GATE = {name: i for i, name in enumerate(GATES)} | {name: 18 + i for i, name in enumerate(COLORS)}
AMOUNT = {name: 8 + i for i, name in enumerate(AMOUNTS)} | {name: 23 + i for i, name in enumerate(COLORS)}


def numbers(count: int = 1, **applied: dict[str, float] | float) -> Tensor:
    """The numbers [count, 28] that apply, at p = 1/2, the named transformations by the named amounts, and no other."""
    u = torch.full((count, ADA_NUMBERS), 0.99, dtype=torch.float64)
    for name, amounts in applied.items():
        u[:, GATE[name]] = 0
        for key, value in (amounts if isinstance(amounts, dict) else {name: amounts}).items():
            u[:, AMOUNT[key]] = value
    return u


def applied(x: Tensor, **named: dict[str, float] | float) -> Tensor:
    return ada(x, torch.tensor(0.5), numbers(len(x), **named).to(x.dtype))


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 5, 12), (3, 1, 7)], ids=str)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_with_probability_0_nothing_happens_to_a_bit(shape, dtype):
    x, u = images(20, *shape).to(dtype), uniform(20, ADA_NUMBERS)
    u[0] = 0
    found = ada(x, torch.tensor(0.0), u)
    assert found.dtype == dtype
    assert torch.equal(found, x)


def test_blits_are_exact():
    # a turn the other way, a flip upside down, rounding in the sine of a quarter turn
    x = images(2, 3, 9, 9).float()
    assert torch.equal(applied(x, mirror=0.7), x.flip(3))
    assert torch.equal(applied(x, mirror=0.3), x)
    for k in range(4):
        assert torch.equal(applied(x, quarter=k / 4 + 0.1), torch.rot90(x, k, (2, 3)))
    both = applied(x, mirror=0.7, quarter=0.3)
    assert torch.equal(both, torch.rot90(x.flip(3), 1, (2, 3)))
    assert not torch.equal(both, torch.rot90(x, 1, (2, 3)).flip(3))


@pytest.mark.parametrize("size", [(16, 16), (24, 9), (32, 28)], ids=str)
def test_shifts_are_whole_pixels_up_to_an_eighth_and_reflect(size):
    # rows for columns, wrapping, a repeated border pixel
    x = images(1, 1, *size).float()
    for u in (0.0, 0.2, 0.5, 0.81, 1.0):
        for v in (0.0, 0.4, 1.0):
            right, down = (int(np.rint((2 * w - 1) * s / 8)) for w, s in ((u, size[1]), (v, size[0])))
            padded = np.pad(x[0, 0].numpy(), 8, mode="reflect")
            expected = padded[8 - down : 8 - down + size[0], 8 - right : 8 - right + size[1]]
            found = applied(x, shift={"right": u, "down": v})
            assert np.array_equal(found[0, 0].numpy(), expected)


def test_a_blit_of_all_three_keeps_their_order():
    x = images(1, 3, 8, 8).float()
    found = applied(x, mirror=0.7, quarter=0.3, shift={"right": 1.0, "down": 0.5})  # at last 1 to the right
    turned = np.rot90(x[0].numpy()[:, :, ::-1], 1, (1, 2))
    assert np.array_equal(
        found[0].numpy(), np.pad(turned, ((0, 0), (0, 0), (1, 0)), mode="reflect")[:, :, :-1]
    )


def test_general_moves_on_a_ramp_are_as_by_hand():
    """On the ramp x = column - centre bilinear interpolation is exact, away from the border."""
    side, middle = 33, slice(13, 20)
    ramp = torch.arange(side, dtype=torch.float64) - 16
    x = ramp.expand(1, 1, side, side).clone()
    one = NormalDist().cdf(1)

    def centre(**named: dict[str, float] | float) -> Tensor:
        return applied(x, **named)[0, 0, middle, middle]

    here = x[0, 0, middle, middle]
    torch.testing.assert_close(centre(scale=one), here / 2**0.2)  # enlarged
    torch.testing.assert_close(centre(stretch=one), here / 2**0.2)  # wider ...
    y = x.mT.contiguous()
    torch.testing.assert_close(
        applied(y, stretch=one)[0, 0, middle, middle], here.T * 2**0.2
    )  # ... and lower
    torch.testing.assert_close(
        centre(slide={"slide_right": NormalDist().cdf(0.3), "slide_down": one}), here - 0.3 * 33 / 8
    )
    for name in (
        "turn",
        "turn_again",
    ):  # u = 5/8: 45 degrees, counter-clockwise: what was right is now upper right
        torch.testing.assert_close(centre(**{name: 0.625}), (here - here.T) / math.sqrt(2))
    torch.testing.assert_close(applied(x, turn=0.75), torch.rot90(x, 1, (2, 3)))


def inverse_map(u: np.ndarray, height: int, width: int) -> np.ndarray:
    """Forward maps of (column, row, 1) about the centre, multiplied up in numpy and inverted at the end."""

    def turn(angle: float) -> np.ndarray:  # counter-clockwise to the eye, rows downwards
        return np.array(
            [[math.cos(angle), math.sin(angle), 0], [-math.sin(angle), math.cos(angle), 0], [0, 0, 1]]
        )

    def move(right: float, down: float) -> np.ndarray:
        return np.array([[1, 0, right], [0, 1, down], [0, 0, 1]])

    a = dict(zip(AMOUNTS, u[8:18], strict=True))
    z = {name: NormalDist().inv_cdf(v) for name, v in a.items()}
    steps = [
        np.diag([-1.0 if a["mirror"] >= 0.5 else 1.0, 1, 1]),
        turn(math.pi / 2 * math.floor(4 * a["quarter"])),
        move(np.rint((2 * a["right"] - 1) * width / 8), np.rint((2 * a["down"] - 1) * height / 8)),
        np.diag([2 ** (0.2 * z["scale"]), 2 ** (0.2 * z["scale"]), 1]),
        turn((2 * a["turn"] - 1) * math.pi),
        np.diag([2 ** (0.2 * z["stretch"]), 2 ** (-0.2 * z["stretch"]), 1]),
        turn((2 * a["turn_again"] - 1) * math.pi),
        move(z["slide_right"] * width / 8, z["slide_down"] * height / 8),
    ]
    whole = np.eye(3)
    for step in steps:
        whole = step @ whole
    return np.linalg.inv(whole)


def plain_colors(image: np.ndarray, u: np.ndarray) -> np.ndarray:
    """One image [3, H, W] through the five colour steps, each by its own formula; brightness is of all three alike."""
    brightness, contrast, luma, hue, saturation = u[23:]
    image = image + 0.2 * NormalDist().inv_cdf(brightness)
    image = image * 2 ** (0.5 * NormalDist().inv_cdf(contrast))
    if luma >= 0.5:
        image = image - 2 * image.mean(0)
    axis, angle = np.ones(3) / math.sqrt(3), (2 * hue - 1) * math.pi
    crossed = np.cross(axis, image, axisb=0).transpose(2, 0, 1)
    image = math.cos(angle) * image + math.sin(angle) * crossed + (1 - math.cos(angle)) * image.mean(0)
    return image.mean(0) + 2 ** NormalDist().inv_cdf(saturation) * (image - image.mean(0))


@pytest.mark.parametrize("shape", [(3, 12, 12), (3, 7, 16)], ids=str)
def test_the_whole_pipeline_is_a_plain_loop_with_scipys_resampling(shape):
    # any other order, sign, range, centre or border
    x, u = images(25, *shape), uniform(25, ADA_NUMBERS, seed=2)
    found = ada(x, torch.tensor(1.0), u)
    _, height, width = shape
    for image, values, result in zip(x.numpy(), u.numpy(), found.numpy(), strict=True):
        rows, columns = np.mgrid[:height, :width]
        centred = np.stack([columns - (width - 1) / 2, rows - (height - 1) / 2, np.ones_like(rows)]).reshape(
            3, -1
        )
        column, row, _ = inverse_map(values, height, width) @ centred
        there = [row + (height - 1) / 2, column + (width - 1) / 2]
        moved = np.stack([ndimage.map_coordinates(c, there, order=1, mode="mirror") for c in image])
        np.testing.assert_allclose(result, plain_colors(moved.reshape(shape), values), rtol=1e-9, atol=1e-9)


def test_colours_are_as_by_hand():
    x = torch.tensor([0.1, 0.4, -0.8], dtype=torch.float64).view(1, 3, 1, 1)  # its mean is -0.1
    one = NormalDist().cdf(1)
    expected = {
        "brightness": (one, [0.3, 0.6, -0.6]),
        "contrast": (one, [0.1 * 2**0.5, 0.4 * 2**0.5, -0.8 * 2**0.5]),
        "luma": (0.5, [0.3, 0.6, -0.6]),
        "hue": (5 / 6, [-0.8, 0.1, 0.4]),  # a third of the circle: red's value is now green's
        "saturation": (one, [0.3, 0.9, -1.5]),
    }
    for name, (amount, colour) in expected.items():
        np.testing.assert_allclose(applied(x, **{name: amount}).flatten(), colour, atol=1e-12, err_msg=name)
    both = applied(x, brightness=one, contrast=one).flatten()
    np.testing.assert_allclose(both, (x.flatten() + 0.2) * 2**0.5, atol=1e-12)  # in this order


def test_a_grey_image_is_its_own_three_channels():
    grey, u = images(20, 1, 8, 8), uniform(20, ADA_NUMBERS, seed=3)
    found = ada(grey, torch.tensor(0.8), u)
    as_rgb = ada(grey.expand(-1, 3, -1, -1), torch.tensor(0.8), u)
    torch.testing.assert_close(found.expand(-1, 3, -1, -1), as_rgb, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(applied(grey, luma=0.5), -grey)
    torch.testing.assert_close(applied(grey, hue=0.7, saturation=0.9), grey)


@pytest.mark.parametrize("name", GATE)
def test_each_transformation_comes_with_its_probability(name):
    """4,000 samples, 4 standard deviations: a gate of another's number, 1 - p, a turn twice as often as it should."""
    p, count = 0.3, 4000
    u = numbers(count)
    u[:, GATE[name]] = uniform(count, seed=5)
    u[:, list(AMOUNT.values())] = 0.8
    x = images(1, 3, 8, 8).expand(count, -1, -1, -1)
    changed = ((ada(x, torch.tensor(p), u) - x).flatten(1).abs().amax(1) > 1e-9).double().mean().item()
    chance = 1 - math.sqrt(1 - p) if "turn" in name else p
    assert abs(changed - chance) < 4 * math.sqrt(chance * (1 - chance) / count)


def test_the_ends_of_the_numbers_give_finite_images():
    """A uniform number of exactly 0 has no finite normal: a scale of 0, then a gather out of bounds."""
    for value in (0.0, float(np.nextafter(np.float32(1), np.float32(0))), 1.0):
        u = torch.full((2, ADA_NUMBERS), value)
        u[:, list(GATE.values())] = 0
        assert ada(torch.ones(2, 3, 6, 9), torch.tensor(1.0), u).isfinite().all()


AUGMENTS = {
    "diffaugment": (diffaugment, DIFFAUGMENT_NUMBERS),
    "ada": (lambda x, u: ada(x, torch.tensor(0.9), u), ADA_NUMBERS),
}
each_augment = pytest.mark.parametrize("name", AUGMENTS)


@each_augment
@pytest.mark.parametrize("channels", [1, 3])
def test_augmentations_are_differentiable_twice(name, channels):
    augment, count = AUGMENTS[name]
    x, u = images(2, channels, 3, 4).requires_grad_(), uniform(2, count, seed=6)
    assert gradcheck(lambda x: augment(x, u).sin(), x)
    assert gradgradcheck(lambda x: augment(x, u).sin(), x)


@each_augment
def test_members_under_vmap_are_augmented_as_alone(name):
    augment, count = AUGMENTS[name]
    x, u = images(2, 5, 3, 8, 6), uniform(2, 5, count, seed=7)

    def slope(x: Tensor, u: Tensor) -> Tensor:
        return torch.func.grad(
            lambda x: torch.func.grad(lambda x: augment(x, u).sin().sum())(x).square().sum()
        )(x)

    for function in (augment, slope):
        together = torch.vmap(function)(x, u)
        for i in (0, 1):
            torch.testing.assert_close(together[i], function(x[i], u[i]), rtol=1e-12, atol=1e-12)


def test_members_have_their_own_probability():
    x, u, p = images(2, 5, 3, 8, 8), uniform(2, 5, ADA_NUMBERS, seed=8), torch.tensor([0.0, 0.7])
    together = torch.vmap(ada)(x, p, u)
    assert torch.equal(together[0], x[0])
    torch.testing.assert_close(together[1], ada(x[1], p[1], u[1]), rtol=1e-12, atol=1e-12)


@each_augment
def test_samples_do_not_know_of_each_other(name):
    augment, count = AUGMENTS[name]
    x, u = images(6, 3, 8, 8), uniform(6, count, seed=9)
    order = torch.tensor([3, 0, 5, 1])
    torch.testing.assert_close(augment(x[order], u[order]), augment(x, u)[order], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: diffaugment(torch.ones(2, 3, 8, 8), torch.ones(2, 7), ("colour",)), "did you mean 'color'"),
        (lambda: differentiable(()), "augment=none"),
        (lambda: differentiable(("color", "color")), r"change once, not"),
        (lambda: diffaugment(torch.ones(2, 3, 8, 8), torch.ones(2, 5)), r"\[2, 7\], not \[2, 5\]"),
        (lambda: diffaugment(torch.ones(2, 3), torch.ones(2, 7)), r"\[N, C, H, W\], not \[2, 3\]"),
        (
            lambda: ada(torch.ones(2, 3, 8, 8), torch.tensor(0.5), torch.ones(2, 7)),
            r"\[2, 28\], not \[2, 7\]",
        ),
        (lambda: ada(torch.ones(2, 2, 8, 8), torch.tensor(0.5), torch.ones(2, 28)), "1 or 3 channels, not 2"),
    ],
    ids=["policy", "no policy", "doubled", "numbers", "points", "ada numbers", "channels"],
)
def test_wrong_arguments_are_refused_in_a_sentence(call, words):
    with pytest.raises(UsageError, match=words):
        call()


def test_the_probability_is_adapted_as_by_hand():
    # toward the target from the wrong side, proportional in place of a fixed step, no clamp
    cases = [
        (0.5, 0.7, 50_000, 0.6),
        (0.5, 0.61, 50_000, 0.6),
        (0.5, 0.5, 50_000, 0.4),
        (0.5, 0.6, 50_000, 0.5),  # on target
        (0.5, -1.0, 256, 0.5 - 256 / 500_000),
        (0.01, 0.0, 50_000, 0.0),
        (0.95, 1.0, 50_000, 1.0),
    ]
    for p, sign, shown, expected in cases:
        found = adapt(torch.tensor(p, dtype=torch.float64), torch.tensor(sign, dtype=torch.float64), shown)
        assert found.item() == pytest.approx(expected, abs=1e-12)
    quick = adapt(torch.tensor(0.5), torch.tensor(0.3), 100, target=0.2, over=1000)
    assert quick.item() == pytest.approx(0.6)


def test_it_takes_half_a_million_images_from_never_to_always():
    p = torch.tensor(0.0, dtype=torch.float64)
    for step in range(125):
        assert p.item() == pytest.approx(step / 125)
        p = adapt(p, torch.tensor(0.9), 4000)
    assert p.item() == pytest.approx(1)


@pytest.mark.slow
@each_augment
def test_augmentations_compile_with_their_second_derivative(name):
    augment, count = AUGMENTS[name]
    x, u = images(3, 3, 8, 8), uniform(3, count, seed=10)

    def both(x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        def curve(x: Tensor) -> Tensor:
            return torch.func.grad(lambda x: augment(x, u).sin().sum())(x).square().sum()

        return augment(x, u), torch.func.grad(curve)(x)

    backend = "inductor" if name == "diffaugment" else "aot_eager"  # all derivatives, without a C++ compiler
    compiled = torch.compile(both, fullgraph=True, backend=backend)
    torch.testing.assert_close(compiled(x, u), both(x, u), rtol=1e-9, atol=1e-9)


def test_a_difference_of_rounding_does_not_move_p():
    at = torch.tensor(0.5, dtype=torch.float64)
    assert adapt(at, torch.tensor(0.6 + 1e-7, dtype=torch.float64), 50_000) == at
    assert adapt(at, torch.tensor(0.6 + 1e-5, dtype=torch.float64), 50_000) > at
