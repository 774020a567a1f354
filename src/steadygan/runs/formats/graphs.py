"""Exports of the graph: torch.export and ONNX, with any number of samples."""

import warnings
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from steadygan.errors import UsageError

__all__ = ["check_onnx", "write_onnx", "write_program"]

Inputs = tuple[Tensor, ...]


class Called(nn.Module):
    """A network whose inputs have the names z and y."""

    def __init__(self, net: nn.Module) -> None:
        """Wrap `net`."""
        super().__init__()
        self.net = net

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the samples of latents z and labels y."""
        return self.net(z) if y is None else self.net(z, y)


def write_program(net: nn.Module, file: Path, inputs: Inputs) -> None:
    """Write what torch.export makes of `net`: torch.export.load(file).module() runs it without its source."""
    with warnings.catch_warnings(action="ignore"):
        program = torch.export.export(Called(net).eval(), inputs, dynamic_shapes=_batch(inputs))
        torch.export.save(program, file)


def write_onnx(net: nn.Module, file: Path, inputs: Inputs) -> None:
    """Write `net` as ONNX with inputs z and y, output x, and the weights in the file."""
    names = ["z", "y"][: len(inputs)]
    with warnings.catch_warnings(action="ignore"):
        torch.onnx.export(
            Called(net).eval(),
            inputs,
            str(file),
            dynamo=True,
            dynamic_shapes=_batch(inputs),
            input_names=names,
            output_names=["x"],
            external_data=False,
            verbose=False,
        )


def check_onnx() -> None:
    """Raise UsageError where the packages are missing that write ONNX and run it."""
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise UsageError(f"--to onnx needs the package {missing[0]}: pip install 'steadygan[onnx]'")


def _batch(inputs: Inputs) -> tuple[dict[int, torch.export.Dim], ...]:
    """The first dimension of every input is the number of samples, which may change."""
    batch = torch.export.Dim("batch")
    return tuple({0: batch} for _ in inputs)
