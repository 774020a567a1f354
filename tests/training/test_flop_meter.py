"""What a step costs, against operations and bytes counted by hand."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from steadygan import parallel
from steadygan.training import flop_meter
from steadygan.training.flop_meter import Meter, on_paper

KIB = 256  # this many float32 are a KiB


def bytes_of(work) -> int:
    with Meter() as meter:
        work()
    return meter.peak


# ------------------------------------------------------------------------------------------- operations


@pytest.mark.parametrize(("batch", "inputs", "outputs"), [(1, 1, 1), (8, 3, 5), (64, 64, 64)])
def test_a_linear_layer_forward_and_backward(batch, inputs, outputs):
    """A product of [B, i] and [i, o] is B i o multiplications and as many additions; back come two such products."""
    layer = nn.Linear(inputs, outputs)
    x = torch.randn(batch, inputs, requires_grad=True)
    with Meter() as forward:
        y = layer(x)
    assert forward.flops == 2 * batch * inputs * outputs
    with Meter() as backward:
        y.sum().backward()
    assert backward.flops == 2 * (2 * batch * inputs * outputs)


def test_the_gradient_of_the_first_input_is_not_paid_for_where_nobody_asks():
    layer = nn.Linear(3, 5)
    with Meter() as meter:
        layer(torch.randn(8, 3)).sum().backward()
    assert meter.flops == 2 * (2 * 8 * 3 * 5)


def test_a_convolution_forward_and_backward():
    """Each of B o h w outputs is a sum over i k k products."""
    layer = nn.Conv2d(3, 5, kernel_size=3, padding=1)
    x = torch.randn(2, 3, 8, 8, requires_grad=True)
    once = 2 * (2 * 5 * 8 * 8) * (3 * 3 * 3)
    with Meter() as forward:
        y = layer(x)
    assert forward.flops == once
    with Meter() as backward:
        y.sum().backward()
    assert backward.flops == 2 * once


def test_a_strided_transposed_convolution():
    """Each of B i h w inputs is spread over o k k outputs."""
    with Meter() as meter:
        nn.ConvTranspose2d(6, 4, 4, stride=2, padding=1)(torch.randn(2, 6, 5, 5))
    assert meter.flops == 2 * (2 * 6 * 5 * 5) * (4 * 4 * 4)


def test_members_of_an_ensemble_each_cost_what_one_costs():
    weights, x = torch.randn(7, 3, 5), torch.randn(7, 8, 3)
    with Meter() as meter:
        torch.vmap(torch.mm)(x, weights)
    assert meter.flops == 7 * 2 * 8 * 3 * 5


def test_a_double_backward_is_counted():
    """|grad_x w.x|^2 and its gradient in w, worked by hand: two products forward, two back."""
    w = torch.randn(4, 4)
    x = torch.randn(8, 4)

    def penalty(w):
        _, pull_back = torch.func.vjp(lambda x: x @ w, x)
        return pull_back(torch.ones(8, 4))[0].square().sum()

    product = 2 * 8 * 4 * 4
    with Meter() as forward:
        penalty(w)
    assert forward.flops == 2 * product
    with Meter() as both:
        torch.func.grad(penalty)(w)
    assert both.flops == 3 * product, (
        "x @ w itself does not enter the penalty, so nothing comes back through it"
    )


def test_pointwise_work_is_free_and_a_fresh_meter_starts_at_zero():
    with Meter() as meter:
        torch.randn(100).relu().sum()
    assert meter.flops == 0
    assert Meter().flops == Meter().peak == 0


# ------------------------------------------------------------------------------------------------ memory


def test_the_peak_of_tensors_alive_at_once():
    def work():
        a = torch.zeros(4 * KIB)  # 4
        b = a + 1  # 4 + 4
        del a  # 4
        c = torch.zeros(8 * KIB)  # 4 + 8
        del b, c  # 0
        torch.zeros(9 * KIB)  # 9

    assert bytes_of(work) == 12 * 1024


def test_tensors_that_are_gone_make_room():
    def work():
        for _ in range(10):
            torch.zeros(4 * KIB)

    assert bytes_of(work) == 4 * 1024


def test_what_lives_on_in_a_graph_is_alive():
    """x, exp(x), exp(exp(x)): the backward pass needs both results; the names are gone, the bytes are not."""
    x = torch.zeros(4 * KIB, requires_grad=True)

    def work():
        y = x
        for _ in range(5):
            y = y.exp()
        return y

    with Meter() as meter:
        kept = work()
    assert meter.alive == meter.peak == 5 * 4 * 1024
    del kept
    assert meter.alive == 0


def test_a_view_is_no_new_memory():
    assert bytes_of(lambda: torch.zeros(4 * KIB).view(2, -1).t()[0]) == 4 * 1024


def test_memory_that_was_there_before_is_not_the_steps():
    """A step reads the state through views of it, and that is no memory of the step's own."""
    x = torch.zeros(4 * KIB)
    assert bytes_of(lambda: x.view(2, -1)) == 0
    assert bytes_of(lambda: x.add_(1)) == 0
    assert bytes_of(lambda: x.split(KIB)[0] + 1) == 1024


def test_other_types_count_their_own_bytes():
    assert bytes_of(lambda: torch.zeros(1000, dtype=torch.float64)) == 8000
    assert bytes_of(lambda: torch.zeros(1000, dtype=torch.bool)) == 1000


# ------------------------------------------------------------------------------------------------ on paper


@pytest.mark.parametrize(("batch", "width", "depth"), [(64, 8, 2), (256, 16, 4)])
def test_the_peak_of_an_mlp_is_the_sum_of_its_layers(batch, width, depth):
    """Of L layers, backward: L results of ReLU, the gradients on both sides of the last product, and its weights'.

    The sum's result and its gradient are 4 bytes each.
    """
    weights = [torch.randn(width, width) for _ in range(depth)]

    def gradient(x, *weights):
        for weight in weights:
            x = (x @ weight.requires_grad_()).relu()
        return torch.autograd.grad(x.sum(), weights)

    meter, gradients = on_paper(gradient, torch.randn(batch, width), *weights)
    assert meter.peak == 4 * ((depth + 2) * batch * width + width**2) + 8
    assert meter.flops == (3 * depth - 1) * 2 * batch * width**2
    assert [g.shape for g in gradients] == depth * [(width, width)]


def test_on_paper_counts_what_the_step_itself_counts_inside_transforms():
    """A double backward by torch.func, with a convolution and an in-place change."""
    w, x = torch.randn(4, 3, 3, 3), torch.randn(2, 3, 8, 8)

    def penalty(w, x):
        logits, pull = torch.func.vjp(lambda x: torch.conv2d(x, w).relu_().sum((1, 2, 3)), x)
        return pull(torch.ones_like(logits))[0].square().sum()

    def work(w, x):
        return torch.func.grad(penalty)(w, x)

    with Meter() as meter:
        kept = work(w, x)
    paper, shapes = on_paper(work, w, x)
    assert (paper.flops, paper.peak) == (meter.flops, meter.peak)
    assert shapes.shape == kept.shape


def test_on_paper_nothing_is_as_large_as_it_says():
    huge = torch.empty(1, device="meta").expand(10**6, 10**6)
    meter, _ = on_paper(lambda x: x + 1, huge)
    assert meter.peak == 4 * 10**12


def test_on_paper_a_number_cannot_be_read():
    with pytest.raises(RuntimeError):
        on_paper(lambda x: float(x.sum()), torch.ones(3))


def test_sums_over_processes_are_noted_with_their_bytes():
    """Forward, and back through what every process uses with its own rows."""

    def loss(x):
        return parallel.summed(parallel.spread(x).square().sum())

    with parallel.over(parallel.Processes(0, 4, "on paper")):
        meter, _ = on_paper(torch.func.grad(loss), torch.ones(5))
    assert meter.sums == [4, 20]
    meter, _ = on_paper(torch.func.grad(loss), torch.ones(5))
    assert meter.sums == []


def tower(x, weight):
    """Layers of each kind that a network has, with a gradient of the input inside the loss."""
    layers = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten()
    )
    x = x.requires_grad_()
    out = layers(x) @ weight
    (slope,) = torch.autograd.grad(out.sum(), x, create_graph=True)
    return (slope.square().sum() + out.mean().clamp(0, 1)).reshape(())


def test_what_is_counted_by_shapes_is_what_fake_tensors_count():
    x, weight = torch.zeros(2, 3, 8, 8), torch.zeros(64, 5)
    found, wanted = on_paper(tower, x, weight)[0], flop_meter._of_fakes(tower, x, weight)[0]
    assert found.flops == wanted.flops > 0


@pytest.mark.slow
def test_a_count_on_paper_does_not_load_the_compiler_and_leaves_it_as_it_was():
    code = """
import sys, torch
from steadygan.training.flop_meter import on_paper
for _ in range(2):
    on_paper(lambda x: torch.addmm(x, x, x).clamp(0, 1), torch.ones(3, 3))
assert "torch._dynamo" not in sys.modules
found = torch.compile(lambda x: x.clamp(0, 1) * 2, backend="eager")(torch.ones(2))
assert found.tolist() == [2, 2]
assert torch._dynamo.__file__
"""
    subprocess.run([sys.executable, "-c", code], check=True)
