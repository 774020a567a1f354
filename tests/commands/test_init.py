"""The starting file of `steadygan init` runs as it is, and everything that it says of itself is true."""

import re
import runpy
from pathlib import Path

import pytest
import torch
from PIL import Image

from steadygan import losses
from steadygan.commands import starting_file
from steadygan.runs.own_code import own_file

SHORT = ["networks.latent=16", "steps=2", "every.score=2", "compile=false"]


@pytest.fixture
def file(tmp_path, monkeypatch, command) -> Path:
    monkeypatch.chdir(tmp_path)
    done = command("init", "mine.py")
    assert (done.code, done.err) == (0, "")
    return Path("mine.py")


def test_the_commands_that_it_names_train_it(file, command):
    lines = re.findall(r"^ +steadygan (.*?)  +#", file.read_text(), re.M)
    assert len(lines) == 2
    for line in lines:
        assert all(word in line for word in ("--use mine.py", SHORT[0]))
    assert command(*lines[0].split(), *SHORT[1:], "--out", "a").code == 0
    assert Path("a/mine.py").read_bytes() == file.read_bytes()


def test_it_is_a_program(file, capsys):
    text = file.read_text()
    assert text.count("steps=4000") == 1
    file.write_text(text.replace("steps=4000", 'steps=2, compile=False, every={"score": 2}'))
    runpy.run_path(str(file), run_name="__main__")
    assert "diagnosis: " in capsys.readouterr().out
    assert Path("runs/mine/report.html").is_file()


@pytest.mark.parametrize("shape", [(2,), (1, 8, 8), (3, 16, 16)])
def test_its_networks_take_samples_of_every_shape(shape):
    G, D = starting_file.networks(shape, width=8)
    samples = G(torch.randn(5, starting_file.LATENT))
    assert samples.shape == (5, *shape)
    assert D(samples).shape == (5, 1)


def test_its_loss_is_the_hinge_loss_once_the_comment_signs_are_gone(file):
    text = file.read_text()
    before, comment, after = re.split(r"((?:^#.*\n)+)", text, maxsplit=1, flags=re.M)
    code = re.sub(r"^# ?", "", comment.partition("#\n")[2], flags=re.M)
    file.write_text(before + code + after)
    found = own_file(file).own({}, lambda text: None).loss
    real, fake = torch.tensor([0.3, 2.0]), torch.tensor([-0.5, 1.5])
    assert found is not None
    assert found.discriminator(real, fake) == losses.hinge.discriminator(real, fake)
    assert found.generator(fake) == losses.hinge.generator(fake)


def test_nothing_is_overwritten(file, command):
    file.write_text("mine alone")
    done = command("init", "mine.py")
    assert done.code == 2
    assert "mine.py is there already" in done.err
    assert file.read_text() == "mine alone"
    done = command("init", "other/new.py")
    assert (done.code, Path("other/new.py").is_file()) == (0, True)
    for name in ("mine.yaml", "my gan.py", "1.py", "torch.py", "random.py"):
        assert command("init", name).code == 2
        assert not Path(name).exists()


def test_two_sets_of_images_are_one_too_many(file, command, tmp_path):
    Path("images").mkdir()
    for number in range(40):
        Image.new("RGB", (32, 32), (number, 0, 0)).save(f"images/{number}.png")
    done = command(
        "train", "--use", file, "--images", "images", "--size", "32", "networks.latent=16", "steps=1"
    )
    assert (done.code, "remove data() from the file, or leave out --images" in done.err) == (2, True)
