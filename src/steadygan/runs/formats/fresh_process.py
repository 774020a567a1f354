"""Run an exported file as its user would: in a new process, in which steadygan cannot be imported."""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from steadygan.errors import UsageError

__all__ = ["samples"]

BEGIN = """
import sys
sys.modules["steadygan"] = None
import numpy
file, folder, *names = sys.argv[1:]
inputs = [numpy.load(f"{folder}/{name}.npy") for name in names]
"""
SEED = 0
"""Of torch's generator, for networks that draw noise of their own."""

TORCH = f"""
import torch
inputs = [torch.from_numpy(one) for one in inputs]
net = load(file)
torch.manual_seed({SEED})
with torch.no_grad():
    x = net(*inputs).numpy()
numpy.save(f"{{folder}}/x.npy", x)
"""
RUN = {
    "safetensors": "import runpy\nload = lambda file: runpy.run_path(file[:-12] + '.py')['load']()" + TORCH,
    "torch-export": "import torch.export\nload = lambda file: torch.export.load(file).module()" + TORCH,
    "onnx": "import onnxruntime\nsession = onnxruntime.InferenceSession(file, providers=['CPUExecutionProvider'])\n"
    "numpy.save(f'{folder}/x.npy', session.run(None, dict(zip(names, inputs)))[0])",
}
"""By format, the program that runs a file and saves its samples."""


def samples(kind: str, file: Path, inputs: Sequence[Tensor]) -> Tensor:
    """The samples that an exported file makes of `inputs`. Raises UsageError if it does not run."""
    with tempfile.TemporaryDirectory() as folder:
        names = ["z", "y"][: len(inputs)]
        for name, tensor in zip(names, inputs):
            np.save(f"{folder}/{name}.npy", tensor.numpy())
        words = [sys.executable, "-c", BEGIN + RUN[kind], str(file.resolve()), folder, *names]
        done = subprocess.run(words, capture_output=True, text=True, cwd=folder)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            instead = "--to torch-export" if kind == "safetensors" else "another --to"
            raise UsageError(
                f"the exported file does not run ({reason}), so nothing was written: choose {instead}"
            )
        return torch.from_numpy(np.load(f"{folder}/x.npy"))
