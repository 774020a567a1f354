"""A step as a flat program: its graph is traced, and what it takes and gives becomes a list of tensors."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from steadygan.game import Draw, Logs, State
from steadygan.game.state import Step

__all__ = ["Call", "Form", "as_step", "leaves", "traced"]

Call = Callable[[list[Tensor]], Sequence[Tensor]]
"""A program: from tensors to new tensors."""

Numbers = dict[str, Any]
"""A tree of dicts like a state or logs. In the place of each tensor is its number."""


class Form(NamedTuple):
    """What a program takes and gives.

    It takes all tensors of the arguments. `state` and `logs` have the number of each result among these and the
    program's `outputs`, in this order: some results are an input as it was.
    """

    outputs: int
    state: Numbers
    logs: Numbers


def traced(step: Step, state: State, batch: Sequence[Draw]) -> tuple[GraphModule, Form]:
    """Trace a pure step for arguments of this layout, without doing it.

    Every operation is recorded as it is dispatched, derivatives included. So nothing of torch.func is left in the
    graph for a compiler to differentiate. Raises what the step raises where it needs a tensor's numbers.
    """
    from torch.fx.experimental.proxy_tensor import make_fx

    # Each argument as a tensor of its own: the program then takes a state that holds one tensor twice.
    given = [leaf.detach() for leaf in leaves((*state, *batch))]
    arguments = _numbered([*state, *batch], iter(range(len(given))))
    found: list[tuple[State, Logs]] = []

    def flat(*inputs: Tensor) -> list[Tensor]:
        parts = [filled(part, inputs) for part in arguments]
        held = len(State._fields)
        found.append(step(State(*parts[:held]), parts[held:]))
        after, logs = found[-1]
        return leaves((*after, logs))

    with _compiling():
        graph = make_fx(flat, tracing_mode="fake", _allow_non_fake_inputs=True)(*given)
    numbers = _new_results(graph, len(given))
    after, logs = found[-1]
    *fields, named = _numbered([*after, logs], iter(numbers))
    outputs = len({number for number in numbers if number >= len(given)})
    return graph, Form(outputs, dict(zip(State._fields, fields, strict=True)), named)


def as_step(call: Call, form: Form) -> Step:
    """The step that a flat program computes."""

    def step(state: State, batch: Sequence[Draw]) -> tuple[State, Logs]:
        given = leaves((*state, *batch))
        tensors = [*given, *call(given)]
        return State(**filled(form.state, tensors)), filled(form.logs, tensors)

    return step


def leaves(trees: Sequence[Any]) -> list[Tensor]:
    """The tensors of some trees of dicts, in their order.

    >>> leaves([{"a": torch.zeros(1), "b": {"c": torch.ones(2)}}, {}])
    [tensor([0.]), tensor([1., 1.])]
    """
    found: list[Tensor] = []
    for part in trees:
        if isinstance(part, Mapping):
            found += leaves(part.values())  # type: ignore[arg-type]
        else:
            found.append(part)
    return found


def filled(numbers: Any, tensors: Sequence[Tensor]) -> Any:
    """The tree with the tensors of these numbers.

    >>> filled({"a": 1, "b": {"c": 0}}, [torch.zeros(1), torch.ones(2)])
    {'a': tensor([1., 1.]), 'b': {'c': tensor([0.])}}
    """
    if isinstance(numbers, int):
        return tensors[numbers]
    return {name: filled(part, tensors) for name, part in numbers.items()}


def _numbered(trees: Sequence[Any], numbers: Iterator[int]) -> list[Any]:
    """The trees with the next number in the place of each tensor."""
    return [
        dict(zip(tree, _numbered([*tree.values()], numbers), strict=True))
        if isinstance(tree, Mapping)
        else next(numbers)
        for tree in trees
    ]


def _new_results(graph: GraphModule, inputs: int) -> list[int]:
    """Leave only new tensors in the output of the graph, each once. Returns the number of each result."""
    output = graph.graph.output_node()
    known: dict[Node, int] = {
        node: number for number, node in enumerate(graph.graph.nodes) if number < inputs
    }
    numbers = [known.setdefault(node, len(known)) for node in output.args[0]]  # type: ignore[union-attr, arg-type]
    output.args = ([*known][inputs:],)
    graph.recompile()
    return numbers


@contextmanager
def _compiling() -> Iterator[None]:
    """Inside the block `torch.compiler.is_compiling()` is true, as it is for any code that torch compiles."""
    before = torch.compiler._is_compiling_flag
    torch.compiler._is_compiling_flag = True
    try:
        yield
    finally:
        torch.compiler._is_compiling_flag = before
