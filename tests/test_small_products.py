"""The operator multiplies matrices however they lie in memory, and the pass calls it where it is meant to."""

import shutil
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.fx import Graph

from steadygan import small_products as module
from steadygan.draws import generator
from steadygan.processor import threads
from steadygan.small_products import LARGEST, SmallProducts, small_products

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")


@pytest.fixture(scope="module", autouse=True)
def operator() -> None:
    assert small_products(pytest.fail) is not None


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
    assert (found - wanted).abs().max() <= 1e-6 * a.shape[-1] * a.abs().max() * b.abs().max()


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


class Seen(SmallProducts):
    """The pass, and how often each operator was there after it."""

    def __init__(self) -> None:
        self.after: Counter[str] = Counter()

    def __call__(self, graph: Graph) -> None:
        super().__call__(graph)
        self.after.update(str(node.target) for node in graph.nodes if node.op == "call_function")

    def uuid(self) -> None:
        """None: never from a cache, where the pass would not be called."""


def compiled(function: Callable[..., Tensor], *args: Tensor) -> tuple[Tensor, Counter[str]]:
    seen = Seen()
    options = {"post_grad_custom_post_pass": seen, "cpp_wrapper": True}
    program = torch.compile(function, fullgraph=True, dynamic=False, options=options)
    return program(*args), seen.after


def layers(x: Tensor, w: Tensor, bias: Tensor, column: Tensor, many: Tensor) -> Tensor:
    h = torch.addmm(bias, x, w.t()).relu()  # small, with a bias
    again = torch.addmm(bias, h, w.t(), beta=2).relu()  # scaled: stays
    alone = h @ column  # a vector: stays
    batch = torch.bmm(h.view(4, 16, 32).transpose(1, 2), x.view(4, 16, 32))  # small, a batch
    wide = (x[:, :2] @ many).amax(1)  # right matrix too large: stays
    return torch.cat([part.flatten() for part in (h.t() @ x, again, alone, batch, wide)])


def test_the_pass_takes_small_products_and_leaves_the_others():
    x, w, bias, column = numbers(64, 32), numbers(32, 32), numbers(32), numbers(32, 1)
    args = (x, w, bias, column, numbers(2, LARGEST // 2 + 1))
    found, after = compiled(layers, *args)
    wanted = layers(*(arg.double() for arg in args))
    assert after["steadygan.product.default"] == 3
    assert after["aten.addmm.default"] == 1
    assert after["aten.mm.default"] == 2
    assert after["aten.bmm.default"] == 0
    assert (found - wanted).abs().max() <= 1e-6 * wanted.abs().max()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_are_multiplied_as_before(dtype):
    a = numbers(16, 16).to(dtype)
    found, after = compiled(lambda x: x @ x, a)
    assert after["steadygan.product.default"] == 0
    assert torch.allclose(found.double(), a.double() @ a.double(), rtol=0.02, atol=0.1)


def test_without_what_it_needs_there_is_a_note_and_no_pass(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", str(tmp_path / "no-compiler"))
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "cache"))
    module._load.cache_clear()
    notes: list[str] = []
    assert small_products(notes.append) is None
    assert "no-compiler" in notes[0]
    assert not list((tmp_path / "cache").iterdir())
    monkeypatch.undo()
