"""Sources of many layouts, and attributes of many kinds: the plain export runs, or says in one sentence why not."""

import importlib.util
import itertools
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import steadygan
from steadygan.errors import UsageError
from steadygan.runs import export as exporting
from steadygan.runs.formats.tree import missed
from tests.runs.test_export import here

HEAD = "import functools\n\nimport torch\nfrom torch import nn\nfrom torch.nn import functional as F\n\n\n"
COUNT = itertools.count()


@pytest.fixture
def imported(tmp_path):
    """Import the text of a file, under a name of its own."""

    def load(text: str) -> ModuleType:
        name = f"layout_{next(COUNT)}"
        file = tmp_path / f"{name}.py"
        file.write_text(HEAD + text)
        spec = importlib.util.spec_from_file_location(name, file)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
        return sys.modules[name]

    yield load
    for name in [name for name in sys.modules if name.startswith("layout_")]:
        del sys.modules[name]


def text_of(net: nn.Module, folder: Path) -> str:
    """The text of the plain export, which has the samples of `net` in this process."""
    z = torch.randn(5, 4)
    with torch.no_grad():
        torch.testing.assert_close(here(net, folder, z), net.eval()(z), rtol=1e-5, atol=1e-6)
    return (folder / "G.py").read_text()


LAYOUTS = {
    "no empty line": """
class G(nn.Module):
    def __init__(self):
        super().__init__()
        self.f = nn.Linear(4, 2)
    def forward(self, z):
        return self.f(z)
""",
    "a decorated init": """
def counted(init):
    @functools.wraps(init)
    def call(self):
        init(self)
    return call


class G(nn.Module):
    def one(self):
        return 1

    @counted
    def __init__(self):
        super().__init__()
        self.f = nn.Linear(4, 2)
    def forward(self, z):
        return self.one() * self.f(z)
""",
    "a property below": """
class G(nn.Module):
    def __init__(self):
        super().__init__()
        self.f = nn.Linear(4, 2)
    @property
    def gain(self):
        return 3.0
    @staticmethod
    def twice(x):
        return 2 * x
    def forward(self, z):
        return self.twice(self.f(z)) * self.gain
""",
    "a docstring, and init last": '''
class G(nn.Module):
    """A generator.

    Of one layer.
    """
    gain = 2.0
    def forward(self, z):
        return self.gain * self.f(z)
    def __init__(self):
        """Make it."""
        super().__init__()
        self.f = nn.Linear(4, 2)
''',
    "nested classes": """
class G(nn.Module):
    class Inner(nn.Module):
        def __init__(self, gain):
            super().__init__()
            self.gain = gain
        def forward(self, x):
            return self.gain * x
    def __init__(self):
        super().__init__()
        self.f, self.i = nn.Linear(4, 2), self.Inner(2.5)
    def forward(self, z):
        return self.i(self.f(z))
""",
    "a base class that is an init alone": """
class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.f = nn.Linear(4, 2)


class G(Base):
    def __init__(self):
        super().__init__()
        self.o = nn.Linear(2, 2)
    # the output
    def forward(self, z):
        return self.o(self.f(z))
""",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_class_keeps_all_but_its_init(layout, imported, tmp_path):
    text = text_of(imported(LAYOUTS[layout]).G(), tmp_path)
    assert "def forward(self, z):" in text
    assert text.count("def __init__(") == layout.startswith("nested")


def test_a_local_name_may_be_one_of_the_file_too(imported, tmp_path):
    """z and scale are a tensor and a module at the top of a script: the class has names of its own for them."""
    file = imported("""
z, scale, WIDE = torch.zeros(3), nn.Linear(1, 1), 2.0

class G(nn.Module):
    def __init__(self):
        super().__init__()
        self.f = nn.Linear(4, 2)
    def forward(self, z):
        scale = self.f(z) * WIDE
        return scale + sum(z.sum() for z in [scale])
""")
    text = text_of(file.G(), tmp_path)
    assert "WIDE = 2.0" in text
    assert "scale = nn" not in text


def test_a_class_may_bind_a_name_of_the_file_again(imported, tmp_path):
    file = imported("""
width = 3.0

class G(nn.Module):
    width = width
    def __init__(self):
        super().__init__()
        self.f = nn.Linear(4, 2)
    def forward(self, z):
        return self.f(z) * self.width
""")
    assert "width = 3.0\n" in text_of(file.G(), tmp_path)


class Recurrent(nn.Module):
    """The last state of a sequence of four numbers."""

    def __init__(self, cell: nn.RNNBase) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, z: Tensor) -> Tensor:
        return self.cell(z[:, :, None])[0][:, -1]


class Doubled(nn.LSTM):
    """A layer that inherits from torch's recurrent one."""

    def forward(self, x: Tensor) -> tuple[Tensor, Any]:
        h, state = super().forward(x)
        return 2 * h, state


CELLS = [
    "nn.LSTM(1, 5, batch_first=True)",
    "nn.LSTM(1, 5, proj_size=3, num_layers=2, batch_first=True, dropout=0.2, bidirectional=True)",
    "nn.GRU(1, 5, num_layers=3, bias=False, batch_first=True, dropout=0.1)",
    "nn.RNN(1, 5, batch_first=True, bidirectional=True)",
    "nn.RNN(1, 5, num_layers=2, batch_first=True, nonlinearity='relu')",
]


@pytest.mark.parametrize("call", CELLS)
def test_a_recurrent_layer_is_the_call_of_its_constructor(call, tmp_path):
    assert f"cell={call}" in text_of(Recurrent(eval(call)), tmp_path)


def test_a_class_of_a_recurrent_layer(tmp_path):
    text = text_of(Recurrent(Doubled(1, 5, num_layers=2, batch_first=True)), tmp_path)
    assert "class Doubled(nn.LSTM):" in text


ATTRIBUTES = """
SLOPED = functools.partial(F.leaky_relu, negative_slope=0.3)
SLOPES = {"a": lambda x: 2 * x}
LAYER = nn.LeakyReLU(0.2)


class Activated(nn.Module):
    def __init__(self, act):
        super().__init__()
        self.f, self.act = nn.Linear(4, 2), act

    def forward(self, z):
        return (self.act["a"] if isinstance(self.act, dict) else self.act)(self.f(z))


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.f, self.sizes = nn.Linear(4, 2), object()

    @property
    def gain(self):
        return 1.0 if self.sizes else 0.0

    def forward(self, z):
        return self.gain * self.f(z)


class Sloped(nn.Linear):
    def forward(self, z):
        return SLOPED(super().forward(z))


class Layered(nn.Linear):
    def forward(self, z):
        return LAYER(super().forward(z))


class Chosen(nn.Linear):
    def forward(self, z):
        return SLOPES["a"](super().forward(z))
"""


@pytest.mark.parametrize(
    ("act", "written"),
    [
        ("F.gelu", "act=torch.nn.functional.gelu"),
        ("{'a': torch.tanh, 'b': float('nan')}", "act={'a': torch.tanh, 'b': float('nan')}"),
        (
            "functools.partial(F.leaky_relu, negative_slope=0.3)",
            "act=functools.partial(torch.nn.functional.leaky_relu, negative_slope=0.3)",
        ),
    ],
)
def test_functions_of_torch_are_attributes(act, written, imported, tmp_path):
    module = imported(ATTRIBUTES)
    text = text_of(module.Activated(eval(act, vars(module))), tmp_path)
    assert written in text
    assert text.count("import functools\n") == ("functools" in act)


def test_a_partial_of_a_file_is_written(imported, tmp_path):
    text = text_of(imported(ATTRIBUTES).Sloped(4, 2), tmp_path)
    assert "SLOPED = functools.partial(torch.nn.functional.leaky_relu, negative_slope=0.3)" in text


def refused(net: nn.Module, sentence: str, folder: Path) -> None:
    with pytest.raises(UsageError, match=f"{sentence}.* choose --to torch-export") as error:
        steadygan.export(net, out=folder / "G", latent=4)
    assert len(str(error.value).splitlines()) == 1
    assert list(folder.glob("G*")) == []


@pytest.mark.slow
@pytest.mark.parametrize(("act", "kind"), [("SLOPES", "dict"), ("lambda x: x", "function")])
def test_an_attribute_that_cannot_be_written_is_named(act, kind, imported, tmp_path):
    module = imported(ATTRIBUTES)
    sentence = rf"Activated has attributes that cannot be written as Python \(act: {kind}\)"
    refused(module.Activated(eval(act, vars(module))), sentence, tmp_path)


def test_an_attribute_of_a_property_is_named(imported, tmp_path):
    """torch's error has the name of the property alone."""
    net = imported(ATTRIBUTES).Scaled()
    with pytest.raises(AttributeError) as error:
        here(net, tmp_path, torch.randn(5, 4))
    assert "has no attribute 'gain'" in str(error.value)
    assert "Scaled has attributes that cannot be written as Python (sizes: object)" in missed(
        net, str(error.value)
    )


@pytest.mark.parametrize(
    ("net", "sentence"),
    [
        ("Chosen", "SLOPES is a dict outside of the network.*: make it a function or a plain value"),
        ("Layered", "LAYER is a LeakyReLU outside of the network.*: make it a layer of the network"),
    ],
)
def test_a_name_that_cannot_be_written_is_named(net, sentence, imported, tmp_path):
    refused(getattr(imported(ATTRIBUTES), net)(4, 2), sentence, tmp_path)


def test_a_network_that_cannot_be_copied_is_a_sentence(tmp_path):
    net = nn.Linear(4, 2)
    net.lock = threading.Lock()
    with pytest.raises(UsageError, match=r"the network cannot be copied \(cannot pickle"):
        steadygan.export(net, out=tmp_path / "G", latent=4)


def test_whatever_fails_in_the_writing_is_a_sentence(tmp_path, monkeypatch):
    def broken(*given: object) -> None:
        raise IndentationError("unexpected\nindent")

    monkeypatch.setattr(exporting.python_file, "write", broken)
    with pytest.raises(UsageError, match=r"as safetensors \(unexpected indent\): choose --to torch-export$"):
        steadygan.export(nn.Linear(4, 2), out=tmp_path / "G", latent=4)


def test_lambdas_whose_source_is_part_of_a_line_are_a_sentence(imported, tmp_path):
    """The line of a lambda in brackets is no Python by itself."""
    text = """
(
    first, second) = (
    lambda x: x, lambda x: 2 * x)


class G(nn.Linear):
    def forward(self, z):
        return second(super().forward(z))
"""
    with pytest.raises(
        UsageError, match="make it a function or a class at the top of a file, or choose --to torch"
    ):
        steadygan.export(imported(text).G(4, 2), out=tmp_path / "G", latent=4)
