"""Data on a device: rows that fit are moved to it once, and blocks made on the host are moved ahead of use."""

from collections.abc import Callable
from concurrent.futures import Executor, Future

import torch
from torch import Tensor

from steadygan.data import Data

__all__ = ["Ahead", "moved", "placed"]


def placed(data: Data, device: torch.device, dtype: torch.dtype) -> Data:
    """Return the data as a step on `device` reads them: centres of modes are there, and rows where they fit.

    Rows fit if they take at most half of the device's free memory. A device that does not tell its free memory gets
    none. On a CPU the data stay as they are.

    >>> data = Data("ten", (2,), torch.zeros(10, 2))
    >>> placed(data, torch.device("cpu"), torch.float32) is data
    True
    """
    if device.type == "cpu":
        return data
    rows, modes = data.rows, data.modes
    if (
        rows is not None
        and not data.stream
        and rows.device.type != device.type
        and 2 * rows.nbytes <= _free(device)
    ):
        rows = rows.to(device)
    if modes:
        modes = modes._replace(centres=modes.centres.to(device, dtype))
    return data._replace(rows=rows, modes=modes)


def _free(device: torch.device) -> float:
    """Bytes of memory that are free on a device, as far as torch knows them."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0


def moved(block: Tensor, device: torch.device) -> Tensor:
    """Return the block on the device. A GPU copies it from pinned memory, and the host does not wait.

    >>> moved(torch.ones(2), torch.device("cpu"))
    tensor([1., 1.])
    """
    return (block.pin_memory() if device.type == "cuda" else block).to(device, non_blocking=True)


class Ahead:
    """Callable `ahead(number) -> block`: `make(number)` [...] on the device, where the next number is made meanwhile.

    `executor` makes blocks in another thread. On a GPU they are copied from pinned memory in a stream of their own, so
    neither the host nor a step waits for the copy.
    """

    def __init__(self, make: Callable[[int], Tensor], device: torch.device, executor: Executor) -> None:
        """Bind `make` to the device of its blocks."""
        self.make, self.device, self.executor = make, device, executor
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.begun: tuple[int, Future[Tensor]] | None = None

    def __call__(self, number: int) -> Tensor:
        """Return the block, and begin the next."""
        if self.begun is None or self.begun[0] != number:
            self._begin(number)
        assert self.begun is not None
        block = self.begun[1].result()
        if self.stream is not None:
            now = torch.cuda.current_stream(self.device)
            now.wait_stream(self.stream)
            block.record_stream(now)
        self._begin(number + 1)
        return block

    def _begin(self, number: int) -> None:
        self.begun = number, self.executor.submit(self._moved, number)

    def _moved(self, number: int) -> Tensor:
        if self.stream is None:
            return moved(self.make(number), self.device)
        with torch.cuda.device(self.device), torch.cuda.stream(self.stream):
            return moved(self.make(number), self.device)
