"""CUDA graphs: a compiled step is recorded once and replayed, so that the CPU starts one graph and not every kernel.

A graph always reads and writes the memory that it was recorded with. So a replay first copies its arguments there, and
then copies the results out: a state that was returned stays as it is, however long it is kept.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_leaves, tree_map, tree_unflatten

from steadygan.game import Draw, Logs, State
from steadygan.game.state import Step
from steadygan.training.compile.compiled_step import CompiledStepDiffers, compare

__all__ = ["Record", "on_gpu", "possible", "replayed"]

Record = Callable[[Callable[[], Any]], tuple[Any, Callable[[], None]]]
"""Runs a function once and records it. Returns the result's memory, and what repeats the work in that memory."""


def possible(device: torch.device) -> bool:
    """Whether a step on this device may run under CUDA graphs: on a GPU, in a run of one process.

    Processes that fall back at different steps would wait for each other for ever.
    """
    alone = not (torch.distributed.is_available() and torch.distributed.is_initialized())
    return device.type == "cuda" and alone


def on_gpu(device: torch.device) -> Record:
    """The recorder of a GPU. Its graphs share their working memory: each result is copied before the next replay."""
    pool = stream = None

    def record(run: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        nonlocal pool, stream
        with torch.cuda.device(device):
            if stream is None:  # graphs share memory only where they are recorded on one stream
                pool, stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                run()  # libraries set up a stream at their first call on it, which cannot be recorded
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            # thread_local: another thread, which writes a checkpoint, may call the GPU meanwhile.
            with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
                made = run()
        return made, graph.replay

    return record


def replayed(note: Callable[[str], None], precision: str, record: Record) -> Callable[[Step], Step]:
    """The function that turns a compiled step for one layout of arguments into one that replays its recording.

    The first call records. The second one replays with other arguments, and is compared with the step itself: a
    number that the CPU had read while recording would show there. Where either fails, all steps run as they are from
    then on, and `note` gets one sentence.
    """
    failed = False

    def graphed(step: Step) -> Step:
        recording: Recording | None = None
        compared = False

        def first(state: State, batch: Sequence[Draw]) -> tuple[State, Logs]:
            nonlocal recording, compared
            if recording is None:
                recording = _recorded(step, state, batch, record)
                return step(state, batch)
            result = recording.replay(state, batch)
            compare(step, state, batch, result[0], precision)
            compared = True
            return result

        def run(state: State, batch: Sequence[Draw]) -> tuple[State, Logs]:
            nonlocal failed, recording
            if failed:
                recording = None  # gives its memory back
                return step(state, batch)
            if recording and compared:
                return recording.replay(state, batch)
            try:
                return first(state, batch)
            except RuntimeError as error:
                failed = True
                note(f"the step runs without CUDA graphs, only slower ({_reason(error)})")
                return run(state, batch)

        return run

    return graphed


class Recording(NamedTuple):
    """A recorded step: the memory of its arguments and of its results, and what runs the graph."""

    arguments: list[Tensor]
    results: list[Tensor]
    layout: TreeSpec
    run: Callable[[], None]

    def replay(self, state: State, batch: Sequence[Draw]) -> tuple[State, Logs]:
        """The step's results for these arguments, in memory of their own."""
        _copy(tree_leaves((state, list(batch))), self.arguments)
        self.run()
        fresh = [_room(t) for t in self.results]
        _copy(self.results, fresh)
        return tree_unflatten(fresh, self.layout)


def _recorded(step: Step, state: State, batch: Sequence[Draw], record: Record) -> Recording:
    """Record the step on copies of these arguments. Raises RuntimeError where that is not possible."""
    given, layout = tree_flatten((state, list(batch)))
    held = [_room(t) for t in given]
    _copy(given, held)
    mine = tree_unflatten(held, layout)

    def run() -> tuple[State, Logs]:
        state, logs = step(*mine)
        return state, tree_map(Tensor.contiguous, logs)

    made, repeat = record(run)
    results, layout = tree_flatten(made)
    _copy(results, [_room(t) for t in results])  # a result that cannot be copied has to fail now
    return Recording(held, results, layout, repeat)


def _room(t: Tensor) -> Tensor:
    """New memory of the same layout: a program takes its arguments as they lie and does not check them."""
    return torch.empty_strided(t.shape, t.stride(), dtype=t.dtype, device=t.device)


def _copy(sources: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
    """Copy each tensor to its target, all of a type in one call."""
    alike: dict[Any, tuple[list[Tensor], list[Tensor]]] = defaultdict(lambda: ([], []))
    for source, target in zip(sources, targets, strict=True):
        into, out_of = alike[source.dtype, source.device]
        into.append(target)
        out_of.append(source)
    for into, out_of in alike.values():
        torch._foreach_copy_(into, out_of)


def _reason(error: RuntimeError) -> str:
    if isinstance(error, CompiledStepDiffers):
        return "its replay gives other numbers"
    return str(error).strip().partition("\n")[0] or type(error).__name__
