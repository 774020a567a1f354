"""A step's chains back through convolutions are shared, and gradients of weights that have one factor are one."""

from collections import Counter
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fx import GraphModule

from steadygan.rng import generator
from steadygan.training.compile.passes.chains import BACKWARD
from steadygan.training.compile.passes.rewrite import share_backward
from tracing import traced

ROWS, SIDE = 5, 8
Weights = list[Tensor]


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator("convolutions", *shape), dtype=torch.float64)


def strided(w: Weights, x: Tensor) -> Tensor:
    """Two strided layers, leaky, and a matrix."""
    x = F.leaky_relu(F.conv2d(x, w[0], w[1], 2, 1), 0.2)
    x = F.leaky_relu(F.conv2d(x, w[2], w[3], 2, 1), 0.2)
    return F.linear(x.flatten(1), w[4]).squeeze(1)


def residual(w: Weights, x: Tensor) -> Tensor:
    """A first layer, a residual block with pooling on both ways, a sum over places and a matrix."""
    x = F.conv2d(x, w[0], w[1], 1, 1)
    h = F.conv2d(x.relu(), w[2], w[3], 1, 1)
    h = F.avg_pool2d(F.conv2d(h.relu(), w[4], None, 1, 1), 2)
    x = h + F.avg_pool2d(F.conv2d(x, w[5]), 2)
    return F.linear(x.relu().sum((2, 3)), w[6]).squeeze(1)


def dilated(w: Weights, x: Tensor) -> Tensor:
    """An uneven kernel, stride, padding and dilation, whose size cuts images; then a last convolution."""
    x = F.conv2d(x, w[0], w[1], (2, 1), (1, 2), (1, 2)).relu()
    return F.conv2d(x, w[2]).flatten(1).squeeze(1)


def leading(w: Weights, x: Tensor) -> Tensor:
    """Layers of one dimension."""
    x = F.conv1d(x.flatten(2), w[0], w[1], 3, 1).relu()
    x = F.conv1d(x, w[2], None, 2).relu()
    return F.linear(x.mean(2), w[3]).squeeze(1)


def grouped(w: Weights, x: Tensor) -> Tensor:
    """Two groups: another form of a double backward."""
    x = F.conv2d(x, w[0], w[1], 2, 1).relu()
    x = F.conv2d(x, w[2], w[3], 1, 1, groups=2).relu()
    return F.linear(x.flatten(1), w[4]).squeeze(1)


def upward(w: Weights, x: Tensor) -> Tensor:
    """A transposed convolution in a critic."""
    x = F.conv2d(x, w[0], w[1], 2, 1).relu()
    x = F.conv_transpose2d(x, w[2], None, 2, 1).relu()
    return F.linear(x.flatten(1), w[3]).squeeze(1)


def pooled(w: Weights, x: Tensor) -> Tensor:
    """The largest of a neighbourhood, and an average of every channel."""
    x = F.max_pool2d(F.conv2d(x, w[0], w[1], 1, 1), 2)
    x = F.conv2d(x, w[2], None, 1, 1).relu()
    return F.linear(F.adaptive_avg_pool2d(x, 1).flatten(1), w[3]).squeeze(1)


CRITICS: dict[str, tuple[Callable[[Weights, Tensor], Tensor], list[tuple[int, ...]], int, int]] = {
    "strided": (strided, [(6, 3, 4, 4), (6,), (4, 6, 4, 4), (4,), (1, 16)], 2, 2),
    "residual": (
        residual,
        [(4, 3, 3, 3), (4,), (4, 4, 3, 3), (4,), (6, 4, 3, 3), (6, 4, 1, 1), (1, 6)],
        4,
        4,
    ),
    "dilated": (dilated, [(5, 3, 3, 2), (5,), (1, 5, 4, 10)], 2, 2),
    "of one dimension": (leading, [(6, 3, 4), (6,), (4, 6, 2), (1, 4)], 2, 2),
    "a transposed layer": (upward, [(6, 3, 4, 4), (6,), (6, 2, 4, 4), (1, 128)], 2, 1),
    "pooled": (pooled, [(4, 3, 3, 3), (4,), (6, 4, 3, 3), (1, 6)], 2, 2),
    "of groups": (grouped, [(6, 3, 4, 4), (6,), (4, 3, 3, 3), (4,), (1, 64)], 2, 1),
}
"""Critics with the shapes of their weights, their convolutions, and those of them that are not grouped or transposed.

Chains do not go on below a maximum: the gradient of the layer under it is a product of its own."""


def r1(critic: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    gradient = torch.func.grad(lambda at: critic(at).sum())(x)
    return gradient.square().sum()


def normalized(critic: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """GN: f / (|grad f| + |f|), summed with weights."""
    f, pull = torch.func.vjp(critic, x)
    gradient = pull(torch.ones_like(f))[0]
    return (f / (gradient.flatten(1).norm(dim=1) + f.abs())).cos().sum()


LOSSES: dict[str, Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]] = {
    "R1": lambda critic, x: F.softplus(-critic(x)).sum() + 5 * r1(critic, x),
    "R1 and other rows": lambda critic, x: (
        F.softplus(-critic(x)).sum() + critic(x + 1).exp().sum() + r1(critic, x)
    ),
    "GN": normalized,
}


def program(name: str, loss: str) -> tuple[Callable[..., list[Tensor]], list[Tensor]]:
    critic, shapes, *_ = CRITICS[name]
    weights = [numbers(*shape) / max(1, torch.Size(shape[1:]).numel()) ** 0.5 for shape in shapes]

    def step(x: Tensor, *weights: Tensor) -> list[Tensor]:
        return torch.func.grad(lambda w: LOSSES[loss](lambda at: critic(w, at), x))([*weights])

    return step, [numbers(ROWS, 3, SIDE, SIDE), *weights]


def shared(module: GraphModule) -> GraphModule:
    share_backward(module.graph)
    module.recompile()
    module.graph.lint()
    return module


def work(module: GraphModule) -> Counter[str]:
    """How many convolutions, gradients of inputs and gradients of weights are needed."""
    aten = torch.ops.aten
    made = module.graph.find_nodes(op="call_function", target=aten.convolution.default)
    layers = module.graph.find_nodes(op="call_function", target=BACKWARD)
    used = [{user.args[1] for user in layer.users if user.users} for layer in layers]
    return Counter(
        convolutions=len(made),
        inputs=sum(0 in each for each in used),
        weights=sum(1 in each for each in used),
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", CRITICS)
@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_are_the_same_with_fewer_convolutions(name, loss):
    step, args = program(name, loss)
    wanted = step(*args)
    module = traced(step, *args)
    module.graph.eliminate_dead_code()
    before = work(module)
    after = work(shared(module))
    for mine, theirs in zip(module(*args), wanted, strict=True):
        assert (mine - theirs).abs().max() <= 1e-11 * theirs.abs().max().clamp_min(1)
    layers, plain = CRITICS[name][2:]
    assert before["inputs"] - after["inputs"] >= layers - 1, (
        "the loss goes back through all but the first layer"
    )
    assert before["convolutions"] - after["convolutions"] == plain, (
        "double backward writes gradients of weights so"
    )
    assert after["weights"] - before["weights"] <= (name == "pooled"), "each merges with that of the loss"
    for layer in module.graph.find_nodes(op="call_function", target=BACKWARD):
        assert {user.args[1] for user in layer.users} == {
            place for place, asked in enumerate(layer.args[-1]) if asked
        }


def assert_same(
    critic: Callable[[Weights, Tensor], Tensor], shapes: list[tuple[int, ...]], tolerance: float
) -> None:
    """A loss with R1 has the same gradients in the weights after the pass."""
    args = [numbers(ROWS, 3, SIDE, SIDE), *(numbers(*shape) / 3 for shape in shapes)]

    def step(x: Tensor, *weights: Tensor) -> list[Tensor]:
        return torch.func.grad(lambda w: LOSSES["R1"](lambda at: critic(w, at), x))([*weights])

    found = shared(traced(step, *args))(*args)
    for mine, theirs in zip(found, step(*args), strict=True):
        assert (mine - theirs).abs().max() <= tolerance * theirs.abs().max()


def test_a_critic_that_is_not_piecewise_linear_has_the_same_gradients():
    """Its second derivative adds to the chain, so that nothing may be shared below the first softplus."""

    def critic(w: Weights, x: Tensor) -> Tensor:
        x = F.softplus(F.conv2d(x, w[0], w[1], 2, 1))
        return F.linear(F.softplus(F.conv2d(x, w[2], None, 2, 1)).flatten(1), w[3]).squeeze(1)

    assert_same(critic, [(6, 3, 4, 4), (6,), (4, 6, 4, 4), (1, 16)], 1e-11)


def test_rows_that_are_summed_are_not_rows_any_more():
    """Batch norm mixes rows, so that no factor per row can be taken out of what goes back through it."""

    def critic(w: Weights, x: Tensor) -> Tensor:
        x = F.batch_norm(F.conv2d(x, w[0], None, 2, 1), None, None, training=True).relu()
        return F.linear(F.conv2d(x, w[1], None, 2, 1).flatten(1), w[2]).squeeze(1)

    assert_same(critic, [(6, 3, 4, 4), (4, 6, 4, 4), (1, 16)], 1e-10)


def test_half_precision_is_no_further_from_the_truth():
    """bfloat16 rounds to 8 bits: s times a rounded chain has the error of a chain that starts with s."""
    step, args = program("strided", "R1")
    wanted = step(*args)
    half = [arg.bfloat16() for arg in args]
    module = traced(step, *half)

    def error(found: list[Tensor]) -> float:
        gaps = [
            (mine.double() - theirs).norm() / theirs.norm()
            for mine, theirs in zip(found, wanted, strict=True)
        ]
        return float(max(gaps))

    apart = error(module(*half))
    assert error(shared(module)(*half)) <= 1.5 * apart + 2**-8
