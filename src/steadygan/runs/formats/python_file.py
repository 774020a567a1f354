"""The plain export: a .safetensors file, and a readable .py file that loads it with torch alone."""

from pathlib import Path

from safetensors.torch import save_file
from torch import nn

from steadygan.runs.formats.plain import tensors
from steadygan.runs.formats.sources import collected
from steadygan.runs.formats.tree import expression, own_classes

__all__ = ["MARK", "source", "write"]

TEMPLATE = Path(__file__).with_name("template.py.txt")
MARK = "It needs torch alone."
"""A sentence in the head of each file that is written."""
OURS = ("load", "made", "main", "network", "read", "DTYPES", "LATENT", "CLASSES", "SHAPE")
IMPORTS = {
    "import json",
    "import torch as torch",
    "from pathlib import Path as Path",
    "import torch.nn as nn",
}


def write(net: nn.Module, file: Path, facts: dict[str, object]) -> None:
    """Write the tensors of `net` to `file`, and its source beside it with the suffix .py."""
    file.with_suffix(".py").write_text(source(net, facts), encoding="utf-8")
    save_file({name: t.clone().contiguous() for name, t in tensors(net).items()}, file)


def source(net: nn.Module, facts: dict[str, object]) -> str:
    """The text of the .py file. `facts` are the words and numbers that its head names."""
    imports, definitions = collected(own_classes(net), OURS)
    made = expression(net).replace("\n", "\n    ")
    lines = {_short(line) for line in imports if line not in IMPORTS}
    if any("functools.partial(" in text for text in (made, *definitions)):
        lines.add("import functools")
    parts = {"imports": "".join(f"{line}\n" for line in sorted(lines)), "network": made, **facts}
    parts["definitions"] = "".join(f"{text}\n\n\n" for text in definitions)
    text = TEMPLATE.read_text(encoding="utf-8")
    for key, value in parts.items():
        text = text.replace(f"<{key}>", str(value))
    return text


def _short(line: str) -> str:
    """`import a as a` as `import a`."""
    head, _, name = line.rpartition(" as ")
    return head if head.split()[-1] == name else line
