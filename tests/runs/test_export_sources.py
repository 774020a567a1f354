"""Sources of many layouts, and attributes of many kinds: the plain export runs, or says in one sentence why not."""

import importlib.util
import itertools
import sys
from types import ModuleType
from typing import Any

import pytest
from torch import Tensor, nn

import steadygan

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


def text_of(net, tmp_path) -> str:
    made = steadygan.export(net, out=tmp_path / "G", latent=4)
    assert made.difference <= 1e-5
    return made.files[1].read_text()


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
