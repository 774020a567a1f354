"""Work beside training: a copy of tensors goes to the host, and one thread works on one copy after the other."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

__all__ = ["Tree", "Write", "beside", "on_host"]

Tree = TypeVar("Tree")


class Write(Protocol):
    """What `beside` makes: a function of tensors and of a job on them."""

    def __call__(self, tree: Tree, job: Callable[[Tree], None], /) -> None:
        """Have a thread run `job` on a copy of the tensors in `tree`, while training goes on."""


@contextmanager
def beside() -> Iterator[Callable[[], Write]]:
    """Inside the block, `writer()` makes a function `write(tree, job)`. One thread runs the jobs of all of them.

    Jobs run in the order in which they come. `write` waits for its own job before, so that each has one copy at a time.
    After a job that raises an error no other one runs. The error is raised by the next `write` that waits, or at the
    end of the block, which waits for the last job.
    """
    with ThreadPoolExecutor(1) as thread:
        last: Future[None] | None = None

        def writer() -> Write:
            own: Future[None] | None = None

            def write(tree: Tree, job: Callable[[Tree], None]) -> None:
                nonlocal own, last
                if own:
                    own.result()
                own = last = thread.submit(_after, last, on_host(tree), job)

            return write

        yield writer
        if last:
            last.result()


def _after(before: Future[None] | None, copied: Callable[[], Tree], job: Callable[[Tree], None]) -> None:
    if before:
        before.result()  # which has ended: there is one thread
    job(copied())


def on_host(tree: Tree) -> Callable[[], Tree]:
    """Begin to copy the tensors of a tree to the host. The function that is returned waits for the copy, and gives it.

    A GPU copies after the steps that were taken, while the host takes the next ones.

    >>> on_host({"G": torch.ones(1)})()
    {'G': tensor([1.])}
    """
    copy: Tree = tree_map(_copied, tree)
    gpus = {t.device for t in tree_leaves(tree) if t.is_cuda}
    events = [torch.cuda.current_stream(device).record_event() for device in gpus]

    def wait() -> Tree:
        for event in events:
            event.synchronize()
        return copy

    return wait


def _copied(t: Tensor) -> Tensor:
    if t.device.type == "cpu":
        return t.detach().clone()
    held = torch.empty_like(t, device="cpu", pin_memory=t.is_cuda)
    return held.copy_(t.detach(), non_blocking=t.is_cuda)
