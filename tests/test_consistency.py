"""Transformations against tiny images worked by hand and slices of numpy; consistency terms against closed forms.

The comment in a test names the wrong implementation it is there to catch.
"""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck

from steadygan.consistency import (
    bcr,
    cr,
    disagreement,
    flip,
    flip_and_shift,
    jitter,
    pixels,
    shift,
    translate,
    zcr_discriminator,
    zcr_generator,
)
from steadygan.errors import UsageError
from steadygan.normalization import gradient_normalized

FILL = -1.0


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def moved_by(image: np.ndarray, down: int, right: int, fill: float) -> np.ndarray:
    """One image [C, H, W] moved pixel by pixel into a filled one."""
    height, width = image.shape[1:]
    result = np.full_like(image, fill)
    for row in range(max(0, -down), min(height, height - down)):
        for column in range(max(0, -right), min(width, width - right)):
            result[:, row + down, column + right] = image[:, row, column]
    return result


# ------------------------------------------------------------------------------------------- transformations


def test_a_tiny_image_is_moved_as_by_hand():
    # rows and columns mixed up, the opposite direction, wrapping round, a zero fill
    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]).view(1, 1, 2, 3)
    cases = {
        (0, 0): [[1, 2, 3], [4, 5, 6]],
        (1, 0): [[-1, -1, -1], [1, 2, 3]],
        (-1, 0): [[4, 5, 6], [-1, -1, -1]],
        (0, 1): [[-1, 1, 2], [-1, 4, 5]],
        (0, -2): [[3, -1, -1], [6, -1, -1]],
        (1, -1): [[-1, -1, -1], [2, 3, -1]],
        (2, 0): [[-1] * 3] * 2,
        (0, -5): [[-1] * 3] * 2,
    }
    for (down, right), expected in cases.items():
        found = translate(x, torch.tensor([down]), torch.tensor([right]), FILL)
        assert found[0, 0].tolist() == expected


def test_a_mirror_image_is_left_to_right_and_half_of_them():
    # upside down, the threshold the wrong way round or included
    x = torch.arange(12.0).view(2, 1, 2, 3)
    assert flip(x, torch.tensor([0.499, 0.5]))[0, 0].tolist() == [[2, 1, 0], [5, 4, 3]]
    assert torch.equal(flip(x, torch.tensor([0.499, 0.5]))[1], x[1])


@pytest.mark.parametrize("size", [(8, 8), (5, 9), (32, 20), (1, 7)], ids=str)
def test_every_sample_is_moved_on_its_own(size):
    # one offset for the batch, a transposed index, offsets drawn with the other side's length
    x, u = normal(40, 3, *size), uniform(40, 3, seed=1)
    found = flip_and_shift(x, u)
    for image, (mirror, vertical, horizontal), result in zip(
        x.numpy(), u.numpy(), found.numpy(), strict=True
    ):
        image = image[:, :, ::-1] if mirror < 0.5 else image
        down, right = (
            int(np.rint((2 * v - 1) * 0.2 * side))
            for v, side in zip((vertical, horizontal), size, strict=True)
        )
        assert np.array_equal(result, moved_by(image, down, right, FILL))


@pytest.mark.parametrize(("share", "reach"), [(0.2, (4, 8)), (0.0, (0, 0)), (0.45, (9, 18)), (0.26, (5, 11))])
def test_the_range_is_reached_and_not_exceeded(share, reach):
    # floor in place of round; half the range; the range of the other side
    u = torch.linspace(0, 1, 2001, dtype=torch.float64)
    x = torch.zeros(2001, 1, 21, 41, dtype=torch.float64)
    x[:, :, 10, 20] = 1
    for axis in (0, 1):
        numbers = torch.full((2001, 2), 0.5, dtype=torch.float64)
        numbers[:, axis] = u
        place = shift(x, numbers, share).flatten(1).argmax(1)
        offset = (place // 41 - 10, place % 41 - 20)
        assert offset[1 - axis].abs().max() == 0
        assert sorted(set(offset[axis].tolist())) == list(range(-reach[axis], reach[axis] + 1))


def test_what_is_vacated_is_as_much_as_was_moved():
    x = torch.ones(1, 2, 10, 20)
    moved = shift(x, torch.tensor([[1.0, 0.0]]), fill=-0.5)  # 2 down, 4 left
    assert (moved == -0.5).sum().item() == 2 * (10 * 20 - 8 * 16)
    assert set(moved.unique().tolist()) == {-0.5, 1.0}


def test_shift_with_the_middle_number_is_the_identity():
    x = normal(3, 2, 6, 7)
    assert torch.equal(shift(x, torch.full((3, 2), 0.5)), x)


def test_pixels_are_picked_by_row_and_column():
    x = torch.arange(24.0).view(1, 2, 3, 4)
    rows, columns = torch.tensor([[[2, 0]]]), torch.tensor([[[1, 3]]])
    assert pixels(x, rows, columns).tolist() == [[[[9, 3]], [[21, 15]]]]


TRANSFORMS = {"flip": (flip, ()), "shift": (shift, (2,)), "flip_and_shift": (flip_and_shift, (3,))}
each_transform = pytest.mark.parametrize("name", TRANSFORMS)


@each_transform
def test_transformations_are_differentiable_twice(name):
    move, numbers = TRANSFORMS[name]
    x, u = normal(3, 2, 4, 5).requires_grad_(), uniform(3, *numbers, seed=2)
    assert gradcheck(lambda x: move(x, u).sin(), x)
    assert gradgradcheck(lambda x: move(x, u).sin(), x)


@each_transform
def test_members_under_vmap_are_moved_as_alone(name):
    move, numbers = TRANSFORMS[name]
    x, u = normal(2, 4, 3, 6, 5), uniform(2, 4, *numbers, seed=3)
    together = torch.vmap(move)(x, u)
    slopes = torch.vmap(torch.func.grad(lambda x, u: move(x, u).sin().sum()))(x, u)
    for i in (0, 1):
        assert torch.equal(together[i], move(x[i], u[i]))
        torch.testing.assert_close(
            slopes[i], torch.func.grad(lambda x, u: move(x, u).sin().sum())(x[i], u[i])
        )


@each_transform
def test_the_type_of_the_images_stays(name):
    move, numbers = TRANSFORMS[name]
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        assert move(torch.ones(2, 1, 4, 4, dtype=dtype), torch.rand(2, *numbers)).dtype == dtype


def test_jitter_is_sigma_times_the_noise():
    x, noise = normal(5, 2), normal(5, 2, seed=1)
    torch.testing.assert_close((jitter(x, noise, 0.3) - x) / 0.3, noise)
    torch.testing.assert_close((jitter(x, noise) - x) / 0.05, noise)


def test_terms_are_means_over_all_logits_of_a_critic_summed_over_critics():
    # each logit moves by 2 (a map of 3) or by 6 (their sum)
    x, near = torch.zeros(4, 3), torch.full((4, 3), 2.0)

    def D(x: Tensor, y: Tensor) -> tuple[list[Tensor], None]:
        return [y[:, None] * x, x.sum(1)], None

    y, first = torch.ones(4), {"logits": lambda out: out[0]}
    assert cr(D, x, near, y=y, **first).item() == 4 + 36
    assert zcr_discriminator(D, x, near, y=2 * y, **first).item() == 16 + 36
    both = bcr(D, x, near, x, near, 0.5, y=y, y_fake=2 * y, **first)
    assert both.item() == 40 + 52 / 2
    assert disagreement([x, x[:, 0]], [near, near[:, 0]]).item() == 8
    with pytest.raises(UsageError, match="y_fake"):
        bcr(D, x, near, x, near, y=y, **first)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: flip(torch.ones(4, 2), torch.ones(4)), r"\[N, C, H, W\].*jitter"),
        (lambda: flip(torch.ones(4, 1, 2, 2), torch.ones(4, 1)), r"\[4\], not \[4, 1\]"),
        (lambda: shift(torch.ones(4, 1, 2, 2), torch.ones(4, 3)), r"\[4, 2\], not \[4, 3\]"),
        (lambda: flip_and_shift(torch.ones(4, 1, 2, 2), torch.ones(3, 3)), r"\[4, 3\], not \[3, 3\]"),
        (lambda: jitter(torch.ones(4, 2), torch.ones(1, 2)), r"\[4, 2\] and \[1, 2\]"),
        (lambda: cr(lambda x: x[:, 0], torch.ones(4, 2), torch.ones(1, 2)), r"\[4, 2\] and \[1, 2\]"),
        (lambda: cr(lambda x: (x, None), torch.ones(4, 1), torch.ones(4, 1)), r"logits=lambda out: out\[0\]"),
        (lambda: zcr_generator(torch.ones(4, 2), torch.ones(2)), r"\[4, 2\] and \[2\]"),
    ],
    ids=["points", "flip", "shift", "both", "jitter", "cr", "logits", "zcr"],
)
def test_wrong_shapes_are_refused_in_a_sentence(call, words):
    with pytest.raises(UsageError, match=words):
        call()


# ----------------------------------------------------------------------------------------------------- terms


W = torch.tensor([0.5, -2.0, 1.5], dtype=torch.float64)


def linear(x: Tensor) -> Tensor:
    return x @ W + 4


def test_cr_of_a_linear_critic_is_the_mean_square_of_w_times_the_move():
    # a square of the mean, a sum, a norm over the batch, an absolute value
    x, move = normal(6, 3), normal(6, 3, seed=1)
    expected = float(
        np.mean([(sum(w * m for w, m in zip(W.tolist(), row, strict=True))) ** 2 for row in move.tolist()])
    )
    assert cr(linear, x, x + move).item() == pytest.approx(expected, rel=1e-12)
    y = normal(6, 3, seed=2)
    both = bcr(linear, x, x + move, y, y - 3 * move, weight_fake=0.25)
    assert both.item() == pytest.approx(expected * (1 + 9 / 4), rel=1e-12)
    assert bcr(linear, x, x + move, y, y - 3 * move).item() == pytest.approx(10 * expected, rel=1e-12)
    assert zcr_discriminator(linear, x, x + move).item() == pytest.approx(expected, rel=1e-12)
    assert disagreement(linear(x), linear(x + move)).item() == pytest.approx(expected, rel=1e-12)


def test_zcr_of_g_is_the_mean_over_pixels_with_the_sign_that_spreads():
    # a sum over pixels, a positive sign, a root
    x, step = normal(4, 3, 5, 6), normal(4, 3, 5, 6, seed=1)
    expected = -np.square(step.numpy()).mean()
    assert zcr_generator(x, x + step).item() == pytest.approx(expected, rel=1e-12)
    doubled = nn.functional.interpolate(step, scale_factor=2)
    assert zcr_generator(doubled, torch.zeros_like(doubled)).item() == pytest.approx(expected, rel=1e-12)
    weight = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    z, dz = normal(4, 2, seed=2), 0.1 * normal(4, 2, seed=3)
    zcr_generator(weight * z, weight * (z + dz)).backward()
    assert weight.grad.item() == pytest.approx(-2 * 0.5 * dz.square().mean().item(), rel=1e-12)
    assert weight.grad < 0  # descent makes G's slope larger


def test_an_invariant_critic_pays_nothing_and_feels_nothing():
    scale = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    x, u = normal(5, 2, 4, 6), torch.stack([torch.zeros(5), *[torch.full((5,), 0.5)] * 2], 1)
    value = cr(lambda x: scale * x.square().sum((1, 2, 3)), x, flip_and_shift(x, u))
    assert value.item() == pytest.approx(0, abs=1e-20)
    value.backward()
    assert scale.grad.item() == pytest.approx(0, abs=1e-12)
    assert cr(lambda x: scale * x[:, 0, 0, 0], x, flip_and_shift(x, u)) > 0.1


def test_gradients_flow_through_both_terms():
    """D(x) = a x^2 on points: by hand, d/da mean (a (t^2 - x^2))^2 = 2 a mean (t^2 - x^2)^2.

    One detached term would give 2 mean a (t^2 - x^2) t^2, or with x^2 and the other sign.
    """
    a = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    x, t = normal(9, 1), normal(9, 1, seed=1)
    cr(lambda x: a * x[:, 0] ** 2, x, t).backward()
    expected = 2 * 0.7 * (t.square() - x.square()).square().mean().item()
    assert a.grad.item() == pytest.approx(expected, rel=1e-12)


def test_gradients_reach_the_samples_of_both_terms():
    x, t = normal(4, 3).requires_grad_(), normal(4, 3, seed=1).requires_grad_()
    cr(linear, x, t).backward()
    slope = 2 * linear(t - x).detach()[:, None] - 8  # linear(t) - linear(x) = linear(t - x) - 4
    torch.testing.assert_close(t.grad, slope * W / 4)
    torch.testing.assert_close(x.grad, -slope * W / 4)


def test_the_terms_can_be_differentiated_twice():
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1), nn.Flatten(0)).double()
    x, t = normal(3, 3).requires_grad_(), normal(3, 3, seed=1).requires_grad_()
    assert gradgradcheck(lambda x, t: cr(net, x, t), (x, t))
    assert gradgradcheck(lambda x, t: zcr_generator(x, t), (x, t))


def test_a_gradient_normalized_critic_is_compared_with_itself():
    """GN of a linear critic: f / (|w| + |f|), so the term is known."""
    x, t = normal(4, 3), normal(4, 3, seed=1)
    length = math.sqrt(W.square().sum().item())

    def normalized(x: Tensor) -> list[float]:
        return [f / (length + abs(f)) for f in linear(x).tolist()]

    expected = np.mean([(a - b) ** 2 for a, b in zip(normalized(x), normalized(t), strict=True)])
    assert cr(gradient_normalized(linear), x, t).item() == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.slow
def test_the_term_compiles_with_its_own_derivative():
    net = nn.Sequential(nn.Flatten(1), nn.Linear(30, 4), nn.Tanh(), nn.Linear(4, 1), nn.Flatten(0)).double()

    def slope(x: Tensor, u: Tensor) -> Tensor:
        return torch.func.grad(lambda x: cr(net, x, flip_and_shift(x, u)))(x)

    x, u = normal(4, 1, 6, 5), uniform(4, 3, seed=1)
    torch.testing.assert_close(torch.compile(slope, fullgraph=True)(x, u), slope(x, u))
