"""`--use FILE`: networks, data and a loss of one's own from the command line, and a sentence for each mistake in it."""

import hashlib
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from steadygan import config, losses
from steadygan.errors import UsageError
from steadygan.runs.own_code import OwnFile, as_loss, check_named, own_file
from steadygan.training.checkpoint import checkpoints

RECIPE = {
    "data": "ring8",
    "networks": {"name": "own", "latent": 4},
    "critic": {"penalties": ["r1"]},
    "optimizer": {"name": "sgd", "lr": 0.01},
    "batch": 8,
    "steps": 4,
    "compile": False,
    "every": {"log": 1, "score": 4, "checkpoint": 2},
}
NETWORKS = """
from torch import nn

def networks(shape, width=8):
    n = shape[0]
    G = nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, n))
    D = nn.Sequential(nn.Linear(n, width), nn.LeakyReLU(0.2), nn.Dropout(0.2), nn.Linear(width, 1), nn.Flatten(0))
    return G, D
"""
DATA = """
import torch

def data():
    return torch.randn(100, 3, generator=torch.Generator().manual_seed(0)), torch.arange(100) % 2
"""
LOSS = """
def loss():
    return (lambda real, fake: fake.mean() - real.mean()), (lambda fake: -fake.mean())
"""


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """An empty folder to work in, with a recipe `own.yaml` and a file `gan.py` in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STEADYGAN_DATA", raising=False)
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(RECIPE))
    (tmp_path / "gan.py").write_text(NETWORKS + DATA + LOSS)
    return tmp_path


def newest(folder: str) -> dict[str, torch.Tensor]:
    return load_file(checkpoints(Path(folder) / "checkpoints")[-1] / "state.safetensors")


def assert_sentence(done, *parts: str) -> None:
    assert done.code == 2, done
    assert len(done.err.splitlines()) == 1, done.err
    assert done.err.startswith("error: ")
    for part in parts:
        assert part in done.err


@pytest.mark.slow
def test_a_file_is_trained_resumed_sampled_and_evaluated(place, command):
    use = ("--use", "gan.py")
    assert command("train", "own.yaml", "steps=6", *use, "--out", "whole").code == 0
    done = command("train", "own.yaml", *use, "--out", "run")
    assert (done.code, done.err) == (0, "")
    done = command("resume", "run", "steps=6", *use)
    assert (done.code, done.err) == (0, "")
    whole, resumed = newest("whole"), newest("run")
    assert all(torch.equal(value, resumed[key]) for key, value in whole.items())
    done = command("sample", "run", "-n", "9", *use)
    assert (done.code, done.err) == (0, "")
    assert Path("run/samples.png").is_file()
    done = command("evaluate", "run", *use)
    assert (done.code, done.err) == (0, "")
    assert "sliced_w2" in done.out
    raw = config.load(Path("run/config.yaml"))
    assert [raw[key]["name"] for key in ("networks", "data")] == ["own", "own"]
    assert raw["game"]["loss"]["name"] == "own"


def test_the_run_folder_keeps_the_files_text_and_says_when_it_changed(place, command):
    text = (place / "gan.py").read_bytes()
    assert command("train", "own.yaml", "--use", "gan.py", "--out", "run").code == 0
    assert Path("run/gan.py").read_bytes() == text
    assert json.loads(Path("run/own.json").read_text()) == {
        "file": "gan.py",
        "sha256": hashlib.sha256(text).hexdigest(),
    }
    (place / "gan.py").write_bytes(text + b"# more\n")
    done = command("resume", "run", "steps=6", "--use", "gan.py")
    assert done.code == 0
    assert "gan.py is not as it was when run began (that text is in run/gan.py)" in done.err
    assert Path("run/gan.py").read_bytes() == text
    done = command("sample", "run", "--use", "run/gan.py")
    assert (done.code, done.err) == (0, "")


def test_a_run_of_ones_own_needs_its_file_again(place, command):
    assert command("train", "own.yaml", "--use", "gan.py", "--out", "run").code == 0
    kept = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    for words in (("resume", "run", "steps=6"), ("sample", "run"), ("evaluate", "run")):
        assert_sentence(command(*words), "run was trained with gan.py", "--use run/gan.py")
    assert {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()} == kept
    for words in (("diagnose", "run"), ("report", "run"), ("compare", "run", "run")):
        assert command(*words).code in (0, 1) or words[0] == "compare"
    Path("run/own.json").write_text(json.dumps({"networks": {"G": "Linear()"}}))
    assert_sentence(command("sample", "run"), "a program with steadygan.fit", "resume=True")
    assert_sentence(command("train", "own.yaml", "--out", "other"), "--use FILE", "networks of your own")
    assert not Path("other").exists()


def test_options_reach_the_files_networks(place, command):
    use = ("--use", "gan.py", "--out", "wide")
    assert command("train", "own.yaml", "networks.options.width=32", *use).code == 0
    assert newest("wide")["params/G"].numel() == 4 * 32 + 32 + 32 * 3 + 3
    assert config.load(Path("wide/config.yaml"))["networks"]["options"] == {"width": 32}
    assert command("resume", "wide", "steps=6", "--use", "gan.py").code == 0
    done = command("train", "own.yaml", "networks.options.widht=3", "--use", "gan.py", "--out", "no")
    assert_sentence(done, "networks(shape, **options) of gan.py fails", "unexpected keyword argument 'widht'")
    assert not Path("no").exists()


def test_a_file_may_define_one_part_alone(place, command):
    for name, text in (("networks", NETWORKS), ("data", DATA), ("loss", LOSS)):
        (place / f"{name}.py").write_text(text)
        found = own_file(place / f"{name}.py").named(
            {"data": "ring8", "networks": {"name": "mlp", "latent": 7}}
        )
        assert (found["networks"]["name"] == "own") is (name == "networks")
        assert (found["data"] == {"name": "own"}) is (name == "data")
        assert ("game" in found) is (name == "loss")
        assert found["networks"]["latent"] == 7
    assert command("train", "own.yaml", "networks=mlp", "--use", "loss.py", "--out", "loss").code == 0
    assert command("train", "own.yaml", "networks=mlp", "--use", "data.py", "--out", "data").code == 0
    assert command("train", "own.yaml", "--use", "networks.py", "--out", "nets").code == 0
    assert newest("nets")["params/G"].numel() == 4 * 8 + 8 + 8 * 2 + 2  # ring8 has two columns
    assert command("train", "own.yaml", "--use", "networks.py", "--dry-run").code == 0


def test_a_file_named_like_a_module_of_python_changes_no_module(place, command):
    shutil.copy("gan.py", "json.py")
    before = json.dumps
    assert command("train", "own.yaml", "--use", "json.py", "--out", "run").code == 0
    import json as again

    assert again.dumps is before
    assert command("sample", "run", "--use", "json.py").code == 0


def test_the_files_functions_may_import_its_neighbours_too(place, command, tmp_path):
    """As in `python gan.py`. Afterwards the folder is not on the path, also where the file has changed that."""
    (place / "neighbour_nets.py").write_text(NETWORKS)
    late = "def networks(shape):\n    import neighbour_nets\n    return neighbour_nets.networks(shape)\n"
    (place / "late.py").write_text(f"import sys\nsys.path = list(sys.path)[1:]\n{DATA}\n{late}")
    assert command("train", "own.yaml", "--use", "late.py", "--out", "run").code == 0
    assert str(place.resolve()) not in sys.path


WRONG = {
    "syntax": ("def networks(\n", "fails when it is run (SyntaxError", []),
    "import": ("import nosuchmodule\n", "ModuleNotFoundError: No module named 'nosuchmodule'", []),
    "exit": ("raise SystemExit(3)\n", "fails when it is run (SystemExit: 3)", []),
    "nothing": ("x = 1\n", "defines none of the functions networks, data, loss", []),
    "no function": ("networks = 3\n", "defines none of the functions", []),
    "a number": ("def networks(shape): return 3\n", "returns int: return G and D", []),
    "three": ("def networks(shape): return 1, 2, 3\n", "returns tuple: return G and D", []),
    "no modules": ("def networks(shape): return None, None\n", "must be a torch.nn.Module", []),
    "by name": ("def networks(shape): return {'G': None}\n", "has the players G, D", []),
    "raises": ("def networks(shape): raise KeyError('x\\ny')\n", "of use.py fails (KeyError", []),
    "no shape": ("def networks(): return None\n", "of use.py fails (TypeError", []),
    "data raise": (
        "def data(): return 1 / 0\n",
        "data() of use.py fails (ZeroDivisionError",
        ["networks=mlp"],
    ),
    "data by name": ("def data(): return 'ring8'\n", "data of type str cannot be read", ["networks=mlp"]),
    "data are none": ("def data(): pass\n", "data of type NoneType cannot be read", ["networks=mlp"]),
    "loss raises": ("def loss(): return 1 / 0\n", "loss() of use.py fails", ["networks=mlp"]),
    "loss is none": ("def loss(): return 3\n", "a loss of your own is a pair", ["networks=mlp"]),
    "loss is off": (
        "def loss(): return (lambda r, f: r), (lambda f: f)\n",
        "returns a tensor of shape [4]",
        ["networks=mlp"],
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_mistake_in_the_file_is_one_sentence_and_leaves_no_folder(place, command, kind):
    text, message, more = WRONG[kind]
    (place / "use.py").write_text(text)
    before = sorted(place.iterdir())
    assert_sentence(command("train", "own.yaml", *more, "--use", "use.py", "--out", "run"), message)
    assert_sentence(command("train", "own.yaml", *more, "--use", "use.py"), message)  # the default folder
    assert sorted(path for path in place.iterdir() if path.name != "__pycache__") == before


def test_a_file_that_cannot_be_read_is_named(place, command):
    (place / "notes.txt").write_text("x")
    for name, part in (("nosuch.py", "No such file"), (".", "Python file"), ("notes.txt", "Python file")):
        assert_sentence(command("train", "own.yaml", "--use", name, "--out", "run"), part, name)
    assert not Path("run").exists()


def test_a_loss_is_a_pair_of_functions_or_a_loss():
    pair = as_loss((lambda r, f: (f - r).mean(), lambda f: -f.sum()))
    real, fake = torch.tensor([1.0, 3.0]), torch.tensor([2.0, 5.0])
    assert (float(pair.discriminator(real, fake)), float(pair.generator(fake))) == (1.5, -7.0)
    assert as_loss(losses.LOSSES["hinge"]) is losses.LOSSES["hinge"]
    for wrong in (3, None, (1, 2), (abs,), "hinge"):
        with pytest.raises(UsageError, match="pair of functions"):
            as_loss(wrong)


def test_a_function_in_whose_place_an_override_has_put_a_name_is_told():
    file = OwnFile("gan.py", b"", {"data": print, "loss": print})
    assert file.unused({"data": "ring8", "loss": "own", "networks": "mlp"}) == [
        "data() of gan.py is not used, because an override says ring8"
    ]


def test_a_run_of_fit_needs_its_program_again(tmp_path):
    (tmp_path / "own.json").write_text(json.dumps({"networks": {}}))
    with pytest.raises(UsageError, match=r"was trained by a program with steadygan\.fit"):
        check_named(tmp_path)
