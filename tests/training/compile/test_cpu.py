"""Which library multiplies is nobody's business but the clock's: products stay exact, and the setting comes back."""

import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from steadygan.game import Network
from steadygan.games import bilinear, gan
from steadygan.losses import non_saturating
from steadygan.networks import dcgan, mlp, point
from steadygan.training.compile import cpu
from steadygan.training.compile.cpu import LARGE, convolutions, keep_memory, products, threads, work

matmul = torch.backends.mkldnn.matmul


@pytest.mark.parametrize("shape", [(64, 512, 500), (16, 64, 64, 64), (3, 1000, 7)], ids=str)
def test_products_keep_the_accuracy_of_float32(shape):
    """A library left to round to bfloat16 errs by 2^-9 of each term; float32's sum of k terms by less than k 2^-24."""
    *batch, m, k, n = shape
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(*batch, m, k, generator=g), torch.randn(*batch, k, n, generator=g)
    with products(LARGE):
        found = a @ b
    allowed = k * 2.0**-24 * (a.abs() @ b.abs())
    assert ((found.double() - a.double() @ b.double()).abs() <= allowed).all()


def test_a_processor_that_would_round_is_left_alone(monkeypatch):
    monkeypatch.setattr("steadygan.training.compile.cpu._exact", lambda: False)
    with products(LARGE):
        assert matmul.fp32_precision == "none"


@pytest.mark.parametrize("largest", [0, LARGE - 1, LARGE])
def test_the_setting_comes_back_even_when_a_run_fails(largest):
    seen = []

    def run() -> None:
        with products(largest):
            seen.append(matmul.fp32_precision)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run()
    assert seen == ["none"] or largest == LARGE
    assert matmul.fp32_precision == "none"


def test_a_choice_of_the_users_stays():
    matmul.fp32_precision = "ieee"
    try:
        with products(LARGE):
            assert matmul.fp32_precision == "ieee"
    finally:
        matmul.fp32_precision = "none"


def test_work_is_rows_times_the_largest_layer():
    G, D = mlp((2,), latent=5, width=7, depth=2)  # layers of 5x7, 7x7, 7x2 and 2x7, 7x7, 7x1
    game = gan(Network(G), Network(D), non_saturating, shape=(2,), batch=3, latent=5)
    assert work(game, 11) == 11 * 49
    assert work(bilinear(*(Network(net) for net in point(()))), 11) == 0


def test_threads_come_back():
    before = torch.get_num_threads()
    with threads(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


FAULTS = """
import resource, torch
from steadygan.training.compile.cpu import keep_memory
def faults():
    for i in range(25):
        if i == 5:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        pair = [torch.ones(12_000_000), torch.ones(9_000_000)]
        del pair
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
plain = faults()
assert keep_memory()
print(plain, faults())
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone has a setting for freed memory")
def test_kept_memory_is_not_faulted_in_again():
    """Twenty times 84 MB are 400,000 pages of 4 kB (or 800 of 2 MB) that a process that keeps them has already."""
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    plain, kept = map(int, done.stdout.split())
    assert kept < plain / 20


@pytest.mark.parametrize(
    ("most", "wanted"),
    [
        (2**31 - 1, [(-3, 2**31 - 1), (-1, 2**31 - 1), (1, 0)]),
        (2**25, [(-3, 2**31 - 1), (-3, 2**25), (-1, 2**31 - 1), (1, 0)]),
        (0, [(-3, 2**31 - 1), (-3, 2**25)]),
    ],
)
def test_memory_is_kept_wholly_or_not_at_all(most, wanted, monkeypatch):
    """Older versions of glibc refuse a large threshold for large blocks. The other one alone makes a step slower."""
    calls: list[tuple[int, int]] = []

    class Library:
        def mallopt(self, parameter: int, value: int) -> int:
            calls.append((parameter, value))
            return int(parameter != -3 or value <= most)

    monkeypatch.setattr("steadygan.training.compile.cpu.ctypes.CDLL", lambda name: Library())
    assert keep_memory() is bool(most)
    assert calls == wanted


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr("steadygan.training.compile.cpu.ctypes.CDLL", lambda name: object())
    assert keep_memory() is False


@pytest.mark.parametrize(
    ("side", "autocast", "taken"), [(8, None, True), (16, None, False), (8, torch.bfloat16, False)], ids=str
)
def test_torchs_own_convolutions_are_for_layers_of_few_channels_on_one_side(side, autocast, taken):
    """At side 16 the networks have a layer of 8 to 16 channels: there, and in bfloat16, oneDNN is the faster one."""
    G, D = (Network(net, autocast) for net in dcgan((1, side, side), latent=4, width=8))
    game = gan(G, D, non_saturating, shape=(1, side, side), batch=4, latent=4)
    before, seen = torch.backends.mkldnn.enabled, []

    def failed() -> None:
        with convolutions(game):
            seen.append(torch.backends.mkldnn.enabled)
            raise KeyError

    with pytest.raises(KeyError):
        failed()
    assert seen == [before and not taken]
    assert torch.backends.mkldnn.enabled == before


def test_networks_without_convolutions_change_no_setting():
    G, D = (Network(net) for net in mlp((2,)))
    before = torch.backends.mkldnn.enabled
    with convolutions(gan(G, D, non_saturating, shape=(2,), batch=4, latent=2)):
        assert torch.backends.mkldnn.enabled == before


def test_work_is_that_of_the_largest_matrix():
    shapes = {
        "conv": torch.Size((64, 64, 5, 5)),
        "linear": torch.Size((10, 20)),
        "small": torch.Size((3, 2)),
        "bias": torch.Size((9999,)),
    }
    game = SimpleNamespace(players={"D": SimpleNamespace(network=SimpleNamespace(shapes=shapes))})
    assert cpu.work(game, 7) == 7 * 10 * 20
