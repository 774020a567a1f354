"""An exported file makes the run's samples without steadygan: it is run in a new process that cannot import it."""

import ast
import importlib.util
import io
import runpy
import shutil
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from torch import Tensor, nn

import steadygan
from steadygan import networks
from steadygan.config import parse
from steadygan.errors import UsageError
from steadygan.files import write_whole
from steadygan.runs import export as exporting
from steadygan.runs import train
from steadygan.runs.formats import fresh_process, python_file
from steadygan.runs.formats.plain import plain

SMALL = {
    "data": "digits",
    "networks": {"name": "dcgan", "latent": 4, "width": 4, "batch_norm": True},
    "batch": 8,
    "compile": False,
    "steps": 2,
    "every": {"log": 2, "score": 2, "checkpoint": 2, "diagnostics": 2},
    "optimizer": {"name": "adam", "lr": 5e-2},
    "ema": {"decay": 0.5},
    "evaluation": {"images": 100},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "run"
    train.start(parse(SMALL), folder, Console(file=io.StringIO()))
    return folder


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory) -> exporting.Exported:
    return steadygan.export(run, out=tmp_path_factory.mktemp("exported") / "mine")


def here(net: nn.Module, folder: Path, *inputs: Tensor, seed: int | None = None) -> Tensor:
    """The samples of the plain export of a network, in this process and without its check."""
    facts = dict.fromkeys(
        ["title", "weights", "module", "call", "names", "latent", "labels", "sides", "classes"], "1"
    )
    python_file.write(plain(net), folder / "G.safetensors", {**facts, "shape": "()"})
    made = runpy.run_path(str(folder / "G.py"))["load"]()
    if seed is not None:
        torch.manual_seed(seed)
    with torch.no_grad():
        return made(*inputs)


class Noisy(nn.Module):
    """A part as users write it: a parameter, a buffer, a constant tensor, settings, and noise of its own."""

    def __init__(self, width: int, gain: float = 0.5) -> None:
        super().__init__()
        self.width, self.gain = width, gain
        self.scale = nn.Parameter(torch.ones(width))
        self.register_buffer("shift", torch.arange(float(width)))
        self.constant = torch.full((width,), 2.0)
        self.activation = nn.functional.leaky_relu
        self.strange = object()

    def forward(self, h: Tensor) -> Tensor:
        noise = torch.randn(len(h), self.width)
        return self.activation(h * self.scale * self.constant + self.shift + self.gain * noise, SLOPE)


SLOPE = 0.3


class EqualLinear(nn.Linear):
    """A layer that inherits from torch's."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight * halved(1.0), self.bias)


def halved(x: float) -> float:
    return x / 2


class Styled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mapping = nn.Sequential(EqualLinear(4, 8), nn.PReLU(), nn.LayerNorm(8))
        self.parts = nn.ModuleDict({"a": Noisy(8), "b-c": nn.Identity()})
        self.tied, again = nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False)
        again.weight = self.tied.weight
        self.again = again
        self.last = nn.utils.parametrizations.spectral_norm(nn.Linear(8, 6))

    def forward(self, z: Tensor) -> Tensor:
        return self.last(
            self.again(self.tied(self.parts["b-c"](self.parts["a"](self.mapping(z)))))
        ).unflatten(1, (2, 3))


@pytest.mark.slow
def test_a_file_runs_in_a_process_without_steadygan(run, exported):
    """The command's own check uses the same process, so the samples are computed here once more, from the tensors."""
    weights, source = exported.files
    assert (weights.name, source.name) == ("mine.safetensors", "mine.py")
    assert sorted(weights.parent.iterdir()) == [source, weights]
    assert 0 <= exported.difference < 1e-5
    G = steadygan.load(run)
    z = G.latents(5)
    found = load_file(weights)
    h = torch.nn.functional.linear(z, found["0.weight"], found["0.bias"]).view(5, 4, 4, 4)
    h = (h - found["2.running_mean"].view(1, -1, 1, 1)) / (
        found["2.running_var"].view(1, -1, 1, 1) + 1e-5
    ).sqrt()
    h = (h * found["2.weight"].view(1, -1, 1, 1) + found["2.bias"].view(1, -1, 1, 1)).relu()
    x = torch.nn.functional.conv_transpose2d(h, found["4.weight"], found["4.bias"], 2, 1).tanh()
    again = fresh_process.samples("safetensors", weights, (z,))
    torch.testing.assert_close(again, x, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(again, G(z).detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_the_source_is_python_that_needs_torch_alone(exported):
    text = exported.files[1].read_text()
    assert "import steadygan" not in text
    assert "from steadygan" not in text
    assert "nn.ConvTranspose2d(4, 1, kernel_size=(4, 4), stride=(2, 2), padding=(1, 1))" in text
    assert "LATENT, CLASSES, SHAPE = 4, 0, (1, 8, 8)" in text


ARCHITECTURES = {
    "mlp": ((2,), {"width": 8}),
    "dcgan": ((3, 8, 8), {"width": 4}),
    "mlp_dcgan": ((3, 8, 8), {"width": 4, "hidden": 8}),
    "far_conventional": ((3, 8, 8), {"width": 4}),
    "far_resnet": ((3, 8, 8), {"width": 4}),
    "far_resnet_deep": ((3, 8, 8), {"width": 4}),
    "gn_cnn": ((3, 8, 8), {"width": 4}),
    "gn_resnet": ((3, 8, 8), {"width": 4}),
    "numerics_dcgan": ((3, 16, 16), {"width": 4}),
    "numerics_conv": ((3, 16, 16), {"width": 4}),
    "numerics_resnet": ((3, 16, 16), {"width": 4}),
    "r3gan": ((3, 8, 8), {"width": 16}),
    "biggan32": ((3, 8, 8), {"width": 4, "classes": 3}),
}


def generator(name: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A generator with statistics that are not those of the start, and inputs for it."""
    shape, options = ARCHITECTURES[name]
    torch.manual_seed(0)
    net = getattr(networks, name)(shape, latent=5, **options)[0]
    inputs = (torch.randn(6, 5), *((torch.arange(6) % 3,) if "classes" in options else ()))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        net.train()(*inputs)
    return net.eval(), inputs


def test_every_architecture_is_here():
    from steadygan.config.registry import NETWORKS

    assert NETWORKS.keys() - ARCHITECTURES.keys() <= {"dirac", "point", "own"}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_has_a_source(name, tmp_path):
    net, inputs = generator(name)
    with torch.no_grad():
        torch.testing.assert_close(here(net, tmp_path, *inputs), net(*inputs), rtol=1e-5, atol=1e-6)


def test_codes_and_hidden_noise_leave_with_it(tmp_path):
    net = nn.Sequential(
        networks.Codes([2], 1),
        steadygan.noise.noisy_layers(nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)), 0.5),
        networks.Uniform(),
    ).eval()
    z = torch.randn(9, 4)
    with torch.no_grad():
        assert torch.equal(here(net, tmp_path, z), net(z))
    assert "HiddenNoise" not in (tmp_path / "G.py").read_text()


def test_a_module_of_one_s_own_with_noise_inputs(tmp_path):
    """Parameters, buffers, constants, inheritance, a torch parametrization, and names that are no identifiers."""
    torch.manual_seed(1)
    net, z = Styled().eval(), torch.randn(3, 4)
    torch.manual_seed(2)
    with torch.no_grad():
        wanted = net(z)
    found = here(net, tmp_path, z, seed=2)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    text = (tmp_path / "G.py").read_text()
    assert "SLOPE = 0.3" in text
    assert "def halved(" in text
    assert "spectral" not in text.lower()


def test_noise_inputs_have_no_onnx(tmp_path, monkeypatch):
    monkeypatch.setattr(exporting.graphs, "check_onnx", lambda: None)
    with pytest.raises(UsageError, match=r"draws random numbers in its forward.*choose --to safetensors"):
        steadygan.export(Styled(), "onnx", tmp_path / "G", latent=4)


@pytest.mark.slow
def test_a_module_s_door(tmp_path):
    """Any module of z with its latent's length; shapes are those of its samples."""
    made = steadygan.export(Styled(), out=tmp_path / "G", latent=4)
    assert made.difference < 1e-5
    assert "SHAPE = 4, 0, (2, 3)" in made.files[1].read_text()
    with pytest.raises(UsageError, match="give latent=N"):
        steadygan.export(nn.Linear(2, 2), out=tmp_path / "H")
    with pytest.raises(UsageError, match="give out=PATH"):
        steadygan.export(nn.Linear(2, 2), latent=2)


@pytest.mark.slow
def test_the_caller_s_module_keeps_its_mode(tmp_path):
    G = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5), nn.Sequential(nn.Linear(3, 2).eval()))
    before = [part.training for part in G.modules()]
    steadygan.export(G, out=tmp_path / "G", latent=4)
    assert [part.training for part in G.modules()] == before


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"latent": (4, 1, 1)}, "latent is a whole number"),
        ({"latent": 5}, "called with z"),
        ({"latent": 4, "classes": 3}, "labels y"),
    ],
)
def test_a_module_that_does_not_take_what_it_is_given(given, told, tmp_path):
    with pytest.raises(UsageError, match=told):
        steadygan.export(nn.Linear(4, 2), out=tmp_path / "G", **given)


@pytest.mark.parametrize(
    ("net", "sentence"),
    [
        (nn.utils.spectral_norm(nn.Linear(2, 2)), "forward hooks, which a file cannot hold"),
        (type("Made", (nn.Linear,), {"forward": lambda self, z: z})(2, 2), "is not in a file"),
    ],
)
def test_what_has_no_source_is_a_sentence(net, sentence, tmp_path):
    with pytest.raises(UsageError, match=sentence):
        steadygan.export(net, out=tmp_path / "G", latent=2)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_makes_other_samples_is_not_left(run, tmp_path, monkeypatch):
    for wrong, sentence in [
        (
            lambda *given: torch.zeros(64, 1, 8, 8),
            r"differ by [\d.e-]+ from the original's, so nothing was written",
        ),
        (lambda *given: torch.full((64, 1, 8, 8), torch.nan), r"differ by nan"),
        (
            lambda *given: torch.zeros(64, 1, 4, 4),
            r"makes samples \[64, 1, 4, 4\] instead of \[64, 1, 8, 8\]",
        ),
    ]:
        monkeypatch.setattr(exporting.fresh_process, "samples", wrong)
        with pytest.raises(UsageError, match=sentence):
            steadygan.export(run, out=tmp_path / "G")
        assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_file_that_does_not_run_is_a_sentence(tmp_path):
    (tmp_path / "G.py").write_text("import steadygan")
    (tmp_path / "G.safetensors").write_bytes(b"")
    with pytest.raises(UsageError, match=r"does not run \(ModuleNotFoundError: import of steadygan halted"):
        fresh_process.samples("safetensors", tmp_path / "G.safetensors", (torch.zeros(1, 4),))


def test_tensors_of_every_kind_are_read_back(tmp_path):
    """The file's own reader of safetensors, against the library's."""
    from safetensors.torch import save_file

    kinds = [
        torch.float64,
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.int32,
        torch.int16,
    ]
    kinds += [torch.int8, torch.uint8, torch.bool]
    given = {str(kind): torch.arange(6).reshape(2, 3).to(kind) for kind in kinds}
    given |= {"scalar": torch.tensor(3), "empty": torch.zeros(0, 2)}
    save_file(given, tmp_path / "x.safetensors", metadata={"a": "b"})
    here(nn.Linear(1, 1), tmp_path, torch.zeros(1, 1))
    found = runpy.run_path(str(tmp_path / "G.py"))["read"](tmp_path / "x.safetensors")
    assert found.keys() == given.keys()
    for name, tensor in given.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name


@pytest.mark.slow
def test_a_source_file_that_no_export_wrote_is_left(run, tmp_path):
    """It may be the file that the run's own networks are in, which has the run's name."""
    (tmp_path / "mine.py").write_text("def networks(): ...")
    with pytest.raises(
        UsageError, match=r"mine.py is there already, and no export wrote it: choose another --out"
    ):
        steadygan.export(run, out=tmp_path / "mine")
    assert (tmp_path / "mine.py").read_text() == "def networks(): ..."
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]
    for _ in range(2):  # that of an export is replaced
        steadygan.export(run, out=tmp_path / "G")
    for out, sentence in (("q.onnx", "add --to onnx"), (".", "names no file")):
        with pytest.raises(UsageError, match=sentence):
            steadygan.export(run, out=tmp_path / out)
    (tmp_path / "state.safetensors").write_bytes(b"a checkpoint")
    with pytest.raises(UsageError, match="no export wrote it"):
        steadygan.export(run, out=tmp_path / "state.safetensors")
    assert (tmp_path / "state.safetensors").read_bytes() == b"a checkpoint"


@pytest.mark.parametrize("out", ["", ".", "/"])
def test_a_path_without_a_name_is_refused(out, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="names no file: choose another --out"):
        steadygan.export(Styled(), out=out, latent=4)
    with pytest.raises(IsADirectoryError):
        write_whole(Path(out), "text")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_folder_s_name_is_text_in_the_file(run, tmp_path):
    folder = tmp_path / 'w\\N{x}"""\x1b[31m\nraise SystemExit; """'
    shutil.copytree(run, folder)
    source = steadygan.export(folder, out=tmp_path / "plain").files[1]
    words = ast.get_docstring(ast.parse(source.read_text()))
    assert words.startswith('The generator of w\\N{x}"""\\x1b[31m\\nraise SystemExit; """.\n')


@pytest.mark.slow
def test_the_command(run, command):
    done = command("export", run, "--raw")
    assert (done.code, done.err) == (0, "")
    assert "G.safetensors and" in done.out
    assert "largest difference of 64 samples" in done.out
    raw = load_file(run / "G.safetensors")
    assert torch.equal(raw["0.weight"], steadygan.load(run, average=False).net[0].weight)
    for words, sentence in [
        ((run, "--to", "onxx"), "there is no format 'onxx': did you mean 'onnx'?"),
        ((run, "--member", "1"), "member 1 does not exist"),
        ((run.parent,), "is not a run folder"),
    ]:
        done = command("export", *words)
        assert done.code == 2
        assert sentence in done.err
        assert len(done.err.splitlines()) == 1


def test_onnx_without_its_packages_is_a_sentence(run, monkeypatch):
    monkeypatch.setattr(exporting.graphs, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs the package onnx: pip install 'steadygan\[onnx\]'"):
        steadygan.export(run, "onnx")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dcgan", "biggan32"])
def test_a_program_takes_any_number_of_samples(name, tmp_path):
    """64 in the new process of the export, and 1 here, the number that torch takes for a constant."""
    net, inputs = generator(name)
    classes = 3 * (len(inputs) - 1)
    made = steadygan.export(net, "torch-export", tmp_path / "G", latent=5, classes=classes)
    assert made.difference <= 1e-5
    one = [part[:1] for part in inputs]
    with torch.no_grad():
        found = torch.export.load(made.files[0]).module()(*one)
        torch.testing.assert_close(found, net(*one), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="needs pip install steadygan[onnx]",
)
@pytest.mark.parametrize("name", ["dcgan", "r3gan", "biggan32", "mlp"])
def test_onnx_takes_any_number_of_samples(name, tmp_path):
    net, inputs = generator(name)
    classes = 3 * (len(inputs) - 1)
    made = steadygan.export(net, "onnx", tmp_path / "G", latent=5, classes=classes)
    assert [path.name for path in made.files] == ["G.onnx"]
    assert made.difference <= 1e-5
    one = [part[:1] for part in inputs]
    found = fresh_process.samples("onnx", made.files[0], one)
    with torch.no_grad():
        torch.testing.assert_close(found, net(*one), rtol=1e-4, atol=1e-5)
