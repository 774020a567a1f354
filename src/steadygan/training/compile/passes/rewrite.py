"""The pass that torch.compile runs on the graph of a step, and its parts in order."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch._inductor.custom_graph_pass import CustomGraphPass
from torch.fx import Graph

from steadygan.training.compile.passes.chains import share
from steadygan.training.compile.passes.few_channels import take_few
from steadygan.training.compile.passes.kernels import load
from steadygan.training.compile.passes.nodes import tidy
from steadygan.training.compile.passes.small_matmul import take_bias_out, take_small
from steadygan.training.compile.passes.split_vectors import take_apart
from steadygan.training.compile.passes.sums import merge, restate

__all__ = ["Rewrite", "rewrite", "share_backward"]


def rewrite(device: torch.device, note: Callable[[str], None]) -> "Rewrite":
    """The pass for torch.compile's option `post_grad_custom_post_pass`, for a step on this device."""
    return Rewrite(kernels=device.type == "cpu" and load(note))


def share_backward(graph: Graph) -> None:
    """Rewrite torch.compile's graph of a step to compute the same with fewer products and convolutions.

    Results are equal up to rounding, as long as factors are finite.
    """
    tidy(graph)
    restate(graph)
    merge(graph, share(graph))
    graph.eliminate_dead_code()


class Rewrite(CustomGraphPass):
    """Shares backward chains; with the kernels of a CPU also splits vectors and calls them."""

    def __init__(self, *, kernels: bool) -> None:
        """Keep whether this processor has the kernels."""
        self.kernels = kernels

    def __call__(self, graph: Graph) -> None:
        """Rewrite the graph. Its results are the same up to rounding."""
        if self.kernels:
            take_bias_out(graph)
        share_backward(graph)
        if self.kernels:
            take_few(graph)
            take_apart(graph)
            take_small(graph)

    def uuid(self) -> Any:
        """The cache key of this pass: a cached program depends on the text of the passes and of the kernels."""
        texts = [file.read_bytes() for file in sorted(Path(__file__).parent.iterdir()) if file.is_file()]
        return hashlib.sha256(b"".join(texts) + bytes([self.kernels])).digest()
