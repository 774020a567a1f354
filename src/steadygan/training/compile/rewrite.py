"""The pass that torch's compiler runs on the graph of a step, and its parts in order."""

import hashlib
from pathlib import Path
from typing import Any

from torch._inductor.custom_graph_pass import CustomGraphPass
from torch.fx import Graph

from steadygan.training.compile import share_backward, small_matmul, split_vectors

__all__ = ["SmallProducts"]


class SmallProducts(CustomGraphPass):
    """Shares backward chains, splits vectors, and lets the kernel for small matrices multiply."""

    def __call__(self, graph: Graph) -> None:
        """Rewrite the graph. Its results are the same up to rounding."""
        small_matmul.take_bias_out(graph)
        # Before the kernel takes over: both passes look for torch's own products and sums.
        share_backward.share_chains(graph)
        split_vectors.take_apart(graph)
        small_matmul.take_small(graph)

    def uuid(self) -> Any:
        """The cache key of this pass: a cached program depends on the text of the passes and of the kernel."""
        texts = [Path(str(part.__file__)) for part in (small_matmul, split_vectors, share_backward)]
        files = [Path(__file__), *texts, small_matmul.SOURCE]
        return hashlib.sha256(b"".join(file.read_bytes() for file in files)).digest()
