"""The settings of a GPU hold inside their block alone, and nothing on another device touches them."""

from collections.abc import Iterator

import pytest
import torch

from steadygan.training.compile import gpu
from steadygan.training.compile.gpu import options

CUDA = torch.device("cuda:1")
cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul


def now() -> tuple[bool, bool, bool]:
    return matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark


@pytest.fixture(autouse=True, params=[(False, True, False), (True, False, True)], ids=["torch's", "mine"])
def before(request) -> Iterator[tuple[bool, bool, bool]]:
    kept = now()
    matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = request.param
    yield request.param
    matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = kept


@pytest.mark.parametrize("tf32", [True, False])
@pytest.mark.parametrize("autotune", [True, False])
def test_both_kinds_of_products_are_rounded_alike_and_the_settings_come_back(before, tf32, autotune):
    def run() -> None:
        with options(CUDA, tf32=tf32, autotune=autotune):
            assert now() == (tf32, tf32, autotune)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run()
    assert now() == before


@pytest.mark.parametrize("device", ["cpu", "mps", "xpu"])
def test_other_devices_are_left_alone(before, device):
    with options(torch.device(device), tf32=not before[0], autotune=not before[2]):
        assert now() == before


def test_evaluation_inside_a_run_is_exact_and_gives_the_run_its_settings_back(before):
    with options(CUDA, tf32=True, autotune=True):
        with options(CUDA):
            assert now() == (False, False, False)
        assert now() == (True, True, True)


def test_a_run_trains_with_the_settings_of_its_configuration(tmp_path, command, monkeypatch):
    asked: list[dict[str, bool]] = []
    plain = gpu.options
    monkeypatch.setattr(gpu, "options", lambda device, **given: asked.append(given) or plain(device, **given))
    words = ["steps=2", "compile=false", "gpu.tf32=true", "gpu.autotune=true", "--out", tmp_path / "run"]
    assert command("train", "ring8-fargan", *words).code == 0
    assert [given for given in asked if given] == [{"tf32": True, "autotune": True}], (
        "evaluation asks for neither"
    )
    assert len(asked) > 1


@pytest.mark.skipif(not hasattr(matmul, "fp32_precision"), reason="since torch 2.9")
def test_a_precision_that_the_program_has_set_itself_stays():
    """torch raises an error where the old and the new way of setting it are mixed."""
    matmul.allow_tf32 = False
    matmul.fp32_precision = "tf32"
    try:
        with options(CUDA, autotune=True):
            assert matmul.fp32_precision == "tf32"
            assert cudnn.benchmark
    finally:
        matmul.fp32_precision = "none"
