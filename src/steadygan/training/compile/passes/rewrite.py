"""The pass that torch.compile runs on the graph of a step, and its parts in order."""

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch._inductor.custom_graph_pass import CustomGraphPass
from torch.fx import Graph

from steadygan.training.compile.passes.chains import share
from steadygan.training.compile.passes.few_channels import take_few
from steadygan.training.compile.passes.kernels import DIRECT
from steadygan.training.compile.passes.nodes import tidy
from steadygan.training.compile.passes.small_matmul import take_bias_out, take_small
from steadygan.training.compile.passes.split_vectors import take_apart
from steadygan.training.compile.passes.sums import merge, restate

__all__ = ["Rewrite", "rewrite", "share_backward"]


def rewrite(*, kernels: bool) -> dict[str, Any]:
    """The options of torch's compiler that put the passes in, and with the kernels of a CPU let a program call them."""
    options: dict[str, Any] = {"post_grad_custom_post_pass": Rewrite(kernels=kernels)}
    if kernels:
        # The dispatcher, which looks the kernel up by its name, takes as long as a small product.
        options["aot_inductor.custom_ops_to_c_shims"] = {torch.ops.steadygan.product.default: [DIRECT]}
    return options


def share_backward(graph: Graph) -> None:
    """Rewrite torch.compile's graph of a step to compute the same with fewer products and convolutions.

    Results are equal up to rounding where both the factors and what they multiply are finite: 0 times infinity is NaN.
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
