"""A run of a file of one's own is exported with that file's source."""

import pytest

import steadygan
from steadygan.errors import UsageError

FILE = """
import math

import torch
from torch import nn

GAIN = math.sqrt(2)


def scaled(x):
    return GAIN * x


class Mine(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first, self.last = nn.Linear(4, width), nn.Linear(width, 2)

    def forward(self, z):
        return self.last(torch.relu(scaled(self.first(z))))


def networks(shape, width=8):
    return Mine(width), nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Linear(width, 1), nn.Flatten(0))
"""


@pytest.mark.slow
def test_the_command_exports_a_run_of_a_file(tmp_path, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_gan.py").write_text(FILE)
    small = ["steps=2", "batch=8", "compile=false", "networks.latent=4", "fake_as_real.count=0"]
    done = command("train", "ring8-fargan", *small, "--use", "my_gan.py", "--out", "run")
    assert done.code == 0, done.err
    done = command("export", "run", "--use", "my_gan.py")
    assert (done.code, done.err) == (0, "")
    text = (tmp_path / "run" / "G.py").read_text()
    assert "def scaled(x):" in text
    assert "GAIN = 1.4142135623730951" in text
    files = steadygan.export("run", use="my_gan.py", out=tmp_path / "other" / "G").files
    assert [file.read_text() for file in files if file.suffix == ".py"] == [text]
    G = steadygan.load("run", use="my_gan.py")
    assert G(G.latents(3)).shape == (3, 2)
    done = command("export", "run", "--to", "tflite")
    assert done.code == 2
    assert "there is no format 'tflite'" in done.err
    done = command("export", "run")
    assert done.code == 2
    assert "--use" in done.err
    with pytest.raises(UsageError, match="--use"):
        steadygan.load("run")
