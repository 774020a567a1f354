"""precision=auto is bfloat16 where the device has units for it, and is decided once."""

import pytest
import torch

from steadygan import config
from steadygan.build import build
from steadygan.config import half
from steadygan.config.resolve import resolve

CPU = torch.device("cpu")
BASE = {
    "data": "ring8",
    "networks": "mlp",
    "optimizer": {"name": "sgd", "lr": 0.1},
    "steps": 4,
    "compile": False,
}


@pytest.mark.parametrize(
    ("capability", "bf16", "amx", "wanted"),
    [
        ("AVX512", True, False, True),  # Zen 4 and later
        ("AVX512", False, True, True),
        ("AVX512", False, False, False),  # Skylake
        ("AVX2", True, True, False),  # a processor with more, told to use AVX2
        ("DEFAULT", False, False, False),
    ],
)
def test_a_processor_has_units_or_not(capability, bf16, amx, wanted, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert half.has_units(CPU) is wanted
    assert half.chosen("auto", CPU) == ("bfloat16" if wanted else "float32")
    assert half.chosen("bfloat16", CPU) == "bfloat16"


@pytest.mark.parametrize(("major", "wanted"), [(7, False), (8, True), (9, True)])
def test_a_gpu_has_units_from_capability_8_on(major, wanted, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (major, 0))
    assert half.has_units(torch.device("cuda:1")) is wanted
    assert not half.has_units(torch.device("mps"))


@pytest.mark.parametrize("units", [True, False])
def test_auto_is_decided_when_the_run_starts_and_stays(units, tmp_path, command, monkeypatch):
    monkeypatch.setattr(half, "has_units", lambda device: units)
    told = command(
        "train", "ring8-fargan", "steps=2", "precision=auto", "compile=false", "--out", tmp_path / "run"
    )
    assert told.code == 0
    assert told.out.count("precision=auto") == (0 if units else 1)
    raw = config.load(tmp_path / "run" / "config.yaml")
    assert raw["precision"] == ("bfloat16" if units else "float32")
    monkeypatch.setattr(half, "has_units", lambda device: not units)  # another machine
    told = command("resume", tmp_path / "run", "steps=4", "optimizer.lr=1e-3")
    assert told.code == 0
    assert config.load(tmp_path / "run" / "config.yaml")["precision"] == raw["precision"]


@pytest.mark.parametrize(
    ("key", "remedy"),
    [
        ("precision", "precision=auto or precision=float32"),
        ("fake_as_real.scoring", "fake_as_real.scoring=same"),
    ],
)
def test_bfloat16_without_units_is_warned_about_with_the_factor(key, remedy, tmp_path, command, monkeypatch):
    monkeypatch.setattr(half, "has_units", lambda device: False)
    monkeypatch.setattr(half, "slower", lambda device: 9.87)
    told = command(
        "train", "ring8-fargan", "steps=2", f"{key}=bfloat16", "compile=false", "--out", tmp_path / "run"
    )
    assert f"a convolution takes 9.9 times as long as in float32; set {remedy} in a new run" in told.out
    raw = config.load(tmp_path / "run" / "config.yaml")
    assert (raw["precision"], raw["fake_as_real"].get("scoring", "same")).count("bfloat16") == 1


def test_the_factor_is_that_of_two_times(monkeypatch):
    """Of three pairs 1 and 4, 1 and 6, 2 and 4 the ratios' median is 4."""
    times = iter([1.0, 4.0, 1.0, 6.0, 2.0, 4.0])
    monkeypatch.setattr(half, "_seconds", lambda x, weight: next(times))
    assert half.slower(CPU) == 4


def test_the_networks_of_an_auto_run_have_autocast_where_there_are_units(monkeypatch):
    for units, wanted in ((True, torch.bfloat16), (False, None)):
        monkeypatch.setattr(half, "has_units", lambda device, answer=units: answer)
        settings = config.parse({**BASE, "precision": "auto"})
        assert resolve(settings).precision.autocast is wanted
        assert build(settings).game.players["G"].network.autocast is wanted
