"""What the tests of the compiler share: a function as the graph that a pass is handed, and a step as its graph."""

from collections.abc import Callable, Sequence
from typing import Any

from torch._functorch.compile_utils import fx_graph_cse
from torch._inductor.decomposition import select_decomp_table
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from steadygan.game import Draw, Logs, State
from steadygan.game.state import Step
from steadygan.training.compile import program


def traced(function: Callable[..., Any], *args: Any) -> GraphModule:
    """A function's graph as torch.compile would hand it to the pass."""
    module = make_fx(function, decomposition_table=select_decomp_table(), tracing_mode="fake")(*args)
    return GraphModule(module, fx_graph_cse(module.graph))


def as_graph(step: Step) -> Step:
    """A step as the graph that is compiled, run as it is: a program but for what torch's compiler makes of it.

    It is traced once for each kind of draws. To compile it takes ten times as long.
    """
    made: dict[Any, Step] = {}

    def run(state: State, batch: Sequence[Draw]) -> tuple[State, Logs]:
        kind = tuple(tuple(draw) for draw in batch)
        if kind not in made:
            graph, form = program.traced(step, state, batch)
            made[kind] = program.as_step(lambda tensors: graph(*tensors), form)
        return made[kind](state, batch)

    return run
