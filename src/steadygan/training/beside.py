"""Work on a state beside training: a copy of it goes to the host, and one thread works on one copy after the other."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from steadygan.game import State

__all__ = ["Write", "beside", "on_host"]

Write = Callable[[State, Callable[[State], None]], None]


@contextmanager
def beside() -> Iterator[Write]:
    """Inside the block, `write(state, job)` has a thread run `job` on a copy of `state`, while training goes on.

    `write` waits for the job before. What that has raised is raised then, or at the end of the block, which waits for
    the last job.
    """
    with ThreadPoolExecutor(1) as thread:
        last: list[Future[None]] = []

        def write(state: State, job: Callable[[State], None]) -> None:
            if last:
                last.pop().result()
            copied = on_host(state)
            last.append(thread.submit(lambda: job(copied())))

        yield write
        if last:
            last.pop().result()


def on_host(state: State) -> Callable[[], State]:
    """Begin to copy a state to the host. The function that is returned waits for the copy, and gives it.

    A GPU copies after the steps that were taken, while the host takes the next ones.

    >>> on_host(State({"G": torch.ones(1)}, {}, {}, {}, {}))().params
    {'G': tensor([1.])}
    """
    copy = tree_map(_copied, state)
    gpus = {t.device for t in tree_leaves(state) if t.is_cuda}
    events = [torch.cuda.current_stream(device).record_event() for device in gpus]

    def wait() -> State:
        for event in events:
            event.synchronize()
        return copy

    return wait


def _copied(t: Tensor) -> Tensor:
    if t.device.type == "cpu":
        return t.detach().clone()
    held = torch.empty_like(t, device="cpu", pin_memory=t.is_cuda)
    return held.copy_(t.detach(), non_blocking=t.is_cuda)
