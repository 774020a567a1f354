"""The operator multiplies matrices however they lie in memory, and the pass calls it where it is meant to."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._inductor.config import aot_inductor
from torch.fx import Graph

from steadygan.rng import generator
from steadygan.training.compile.cpu import threads
from steadygan.training.compile.passes.rewrite import Rewrite, rewrite
from steadygan.training.compile.passes.small_matmul import LONGEST, WIDEST

pytestmark = pytest.mark.usefixtures("operators")


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator("products", *shape))


def by_numpy(a: Tensor, b: Tensor) -> Tensor:
    return torch.from_numpy(np.matmul(a.double().numpy(), b.double().numpy()))


LAID: dict[str, Callable[[], tuple[Tensor, Tensor]]] = {
    "in rows": lambda: (numbers(64, 48), numbers(48, 64)),
    "sizes of no block": lambda: (numbers(131, 37), numbers(37, 33)),
    "left in columns": lambda: (numbers(48, 70).t(), numbers(48, 64)),
    "right in columns": lambda: (numbers(70, 48), numbers(64, 48).t()),
    "a part of wider rows": lambda: (numbers(70, 100)[:, 9:57], numbers(48, 100)[:, 3:40]),
    "every other row": lambda: (numbers(140, 48)[::2], numbers(96, 64)[1::2]),
    "one row, repeated": lambda: (numbers(1, 48).expand(66, 48), numbers(48, 64)),
    "one number, repeated": lambda: (numbers(1, 1).expand(66, 48), numbers(48, 64)),
    "narrow": lambda: (numbers(64, 2), numbers(2, 3)),
    "a batch": lambda: (numbers(5, 65, 48), numbers(5, 48, 64)),
    "a batch in columns": lambda: (
        numbers(5, 48, 65).transpose(1, 2),
        numbers(5, 64, 48).transpose(1, 2),
    ),
    "a batch within a longer vector": lambda: (
        numbers(5, 65, 48),
        numbers(5, 4000)[:, 7 : 7 + 48 * 64].unflatten(1, (48, 64)),
    ),
    "a left batch within a longer vector": lambda: (
        numbers(5, 4000)[:, 11 : 11 + 65 * 48].unflatten(1, (65, 48)),
        numbers(5, 48, 64),
    ),
    "few columns": lambda: (numbers(70, 53), numbers(53, 3)),
    "few columns of a wider matrix, a batch": lambda: (
        numbers(5, 70, 53)[:, :, 2:],
        numbers(5, 51, 9)[:, :, 4:8],
    ),
    "few columns, left in columns": lambda: (numbers(53, 70).t(), numbers(53, 3)),
    "few columns and fewer rows, left in columns": lambda: (numbers(53, 2).t(), numbers(53, 3)),
    "few columns, every other number of the left": lambda: (numbers(70, 106)[:, ::2], numbers(53, 3)),
    "a column": lambda: (numbers(70, 53), numbers(53, 1)),
    "a row": lambda: (numbers(1, 53), numbers(53, 70)),
    "a row times a column": lambda: (numbers(1, 53), numbers(53, 1)),
    "one term": lambda: (numbers(70, 1), numbers(1, 50)),
    "no terms": lambda: (torch.ones(3, 0), torch.ones(0, 40)),
    "no rows": lambda: (torch.ones(2, 0, 4), torch.ones(2, 4, 40)),
    "no columns": lambda: (torch.ones(3, 4), torch.ones(4, 0)),
    "no matrices": lambda: (torch.ones(0, 3, 4), torch.ones(0, 4, 5)),
    "one right matrix for a batch": lambda: (numbers(5, 65, 48), numbers(48, 64).expand(5, 48, 64)),
}


@pytest.mark.parametrize("laid", LAID)
@pytest.mark.parametrize("cores", [1, 2])
def test_products_are_numpys(laid, cores):
    a, b = LAID[laid]()
    with threads(cores):
        found = torch.ops.steadygan.product(a, b)
    wanted = by_numpy(a, b)
    assert found.is_contiguous()
    assert found.shape == wanted.shape
    if a.numel() and b.numel():
        assert (found - wanted).abs().max() <= 1e-6 * a.shape[-1] * a.abs().max() * b.abs().max()
    else:
        assert not found.any()


@pytest.mark.parametrize("columns", range(1, 70))
def test_no_row_or_column_is_left_out_whatever_the_sizes(columns):
    for rows in (1, 3, 4, 7, 8, 9, 15, 63, 65):
        for left in (numbers(rows, 19), numbers(19, rows).t()):
            right = numbers(19, columns)
            found = torch.ops.steadygan.product(left, right)
            assert (found - by_numpy(left, right)).abs().max() <= 1e-4


def test_many_rows_are_shared_among_threads_without_a_gap():
    a, b = numbers(5000, 60), numbers(60, 70)
    with threads(2):
        found = torch.ops.steadygan.product(a, b)
    assert torch.allclose(found.double(), by_numpy(a, b), atol=1e-4)


def test_what_is_not_finite_stays_in_its_row():
    a = numbers(20, 16)
    a[3, 5], a[7, 2] = torch.nan, torch.inf
    found = torch.ops.steadygan.product(a, numbers(16, 16))
    assert [row for row in range(20) if not found[row].isfinite().all()] == [3, 7]
    assert found[3].isnan().all()


class Seen(Rewrite):
    """The pass, and how often each operator was there after it."""

    def __init__(self) -> None:
        super().__init__(kernels=True)
        self.after: Counter[str] = Counter()

    def __call__(self, graph: Graph) -> None:
        super().__call__(graph)
        self.after.update(str(node.target) for node in graph.nodes if node.op == "call_function")

    def uuid(self) -> None:
        """None: never from a cache, where the pass would not be called."""


def compiled(function: Callable[..., Tensor], *args: Tensor) -> tuple[Tensor, Counter[str]]:
    seen = Seen()
    options = {**rewrite(kernels=True), "post_grad_custom_post_pass": seen, "cpp_wrapper": True}
    program = torch.compile(function, fullgraph=True, dynamic=False, options=options)
    return program(*args), seen.after


def layers(x: Tensor, w: Tensor, bias: Tensor, column: Tensor, many: Tensor, long: Tensor) -> Tensor:
    h = torch.addmm(bias, x, w.t()).relu()  # small, with a bias
    twice = torch.addmm(bias, h, w.t()).relu()  # and again, by the same copy of w.t()
    again = torch.addmm(bias, h, w.t(), beta=2).relu()  # scaled: stays
    vectors = [(h @ column).flatten(), (column.t() @ w).flatten()]  # small too
    outer = column @ column.t()  # no product of matrices
    batch = torch.bmm(h.view(4, 16, 32).transpose(1, 2), x.view(4, 16, 32))  # small, a batch
    batch_of_vectors = torch.bmm(h.view(4, 16, 32), column.expand(4, 32, 1))  # stays
    wide = (x[:, :2] @ many).amax(1)  # right matrix too large: stays, and with a bias too
    wider = torch.addmm(many[0], x[:, :2], many).amin(1)
    sums = (long @ long.t()).sqrt()  # of too many terms: stays
    return torch.cat(
        [
            part.flatten()
            for part in (h.t() @ x, twice, again, *vectors, outer, batch, batch_of_vectors, wide, wider, sums)
        ]
    )


@pytest.mark.slow
def test_the_pass_takes_small_products_and_leaves_the_others():
    x, w, bias, column = numbers(64, 32), numbers(32, 32), numbers(32), numbers(32, 1)
    args = (x, w, bias, column, numbers(2, WIDEST // 2 + 1), numbers(2, LONGEST + 1).abs())
    found, after = compiled(layers, *args)
    wanted = layers(*(arg.double() for arg in args))
    assert after["steadygan.product.default"] == 6
    assert after["aten.addmm.default"] == 2
    assert after["aten.mm.default"] == 2
    assert after["aten.bmm.default"] == 1
    assert after["aten.clone.default"] == 1, "of w.t()"
    assert (found - wanted).abs().max() <= 1e-6 * wanted.abs().max()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(aot_inductor, "custom_ops_to_c_shims"), reason="torch before 2.7")
def test_a_program_calls_the_kernel_without_the_dispatcher():
    """The profiler sees every call of the dispatcher."""
    a, b = numbers(30, 40), numbers(40, 50)
    program = torch.compile(
        lambda a, b: (a @ b).relu(), options={**rewrite(kernels=True), "cpp_wrapper": True}
    )
    found = program(a, b)
    assert (found - by_numpy(a, b).relu()).abs().max() <= 1e-4

    def dispatched(function: Callable[[Tensor, Tensor], Tensor]) -> bool:
        with torch.profiler.profile() as seen:
            function(a, b)
        return "steadygan::product" in {event.name for event in seen.events()}

    assert dispatched(torch.ops.steadygan.product)
    assert not dispatched(program)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_are_multiplied_as_before(dtype):
    a = numbers(16, 16).to(dtype)
    found, after = compiled(lambda x: torch.addmm(x[0], x, x) @ x, a)
    assert after["steadygan.product.default"] == 0
    assert after["aten.addmm.default"] == after["aten.mm.default"] == 1
    wanted = (a.double() @ a.double() + a[0].double()) @ a.double()
    assert (found - wanted).abs().max() <= 0.02 * wanted.abs().max()


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (numbers(3, 4), numbers(5, 3)),
        (numbers(2, 3, 4), numbers(3, 4, 3)),
        (numbers(3, 4), numbers(2, 4, 3)),
        (numbers(3, 4).double(), numbers(4, 3).double()),
    ],
)
def test_what_is_no_product_of_matrices_is_refused(left, right):
    with pytest.raises(RuntimeError, match="product is of"):
        torch.ops.steadygan.product(left, right)
