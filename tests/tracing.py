"""What the tests of the compiler's passes share: a function as the graph that such a pass is handed."""

from collections.abc import Callable
from typing import Any

from torch._functorch.compile_utils import fx_graph_cse
from torch._inductor.decomposition import select_decomp_table
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx


def traced(function: Callable[..., Any], *args: Any) -> GraphModule:
    """A function's graph as torch.compile would hand it to the pass."""
    module = make_fx(function, decomposition_table=select_decomp_table(), tracing_mode="fake")(*args)
    return GraphModule(module, fx_graph_cse(module.graph))
