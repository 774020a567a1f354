"""Measures of an iteration on a GPU: its time, how long kernels run in it, and how often the CPU waits for it."""

import statistics
import time
import warnings
from collections.abc import Callable, Iterable

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

Iteration = Callable[[], object]


def milliseconds(iteration: Iteration, device: torch.device, seconds: float, series: int = 5) -> float:
    """Milliseconds a call: the median of some series, which take about `seconds` together."""
    _series(iteration, device, 3)
    calls = 1
    while (took := _series(iteration, device, calls)) < seconds / series / 2:
        calls *= 2
    return (
        statistics.median([took, *(_series(iteration, device, calls) for _ in range(series - 1))])
        / calls
        * 1e3
    )


def _series(iteration: Iteration, device: torch.device, calls: int) -> float:
    wait(device)
    began = time.perf_counter()
    for _ in range(calls):
        iteration()
    wait(device)
    return time.perf_counter() - began


def wait(device: torch.device) -> None:
    """Return when a GPU has done all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def kernel_milliseconds(iteration: Iteration, device: torch.device, calls: int = 10) -> float | None:
    """Milliseconds a call in which one kernel or more runs, by torch.profiler; None on a CPU. Copies do not count."""
    if device.type != "cuda":
        return None
    wait(device)
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        for _ in range(calls):
            iteration()
        wait(device)
    kernels = (
        event.time_range
        for event in seen.events() or []
        if event.device_type == DeviceType.CUDA
        and not event.is_user_annotation  # a region that the compiler names, gaps included
        and not event.name.startswith(("Memcpy", "Memset"))
    )
    return covered((span.start, span.end) for span in kernels) / calls / 1e3


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """The length of the union of intervals.

    >>> covered([(5, 6), (0, 2), (1, 3)])
    4
    """
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0, end - max(start, reached))
        reached = max(reached, end)
    return total


def waits(iteration: Iteration, device: torch.device, calls: int = 5) -> float | None:
    """How often a call makes the CPU wait for the GPU, by torch's sync debug mode; None on a CPU."""
    if device.type != "cuda":
        return None
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            for _ in range(calls):
                iteration()
    finally:
        torch.cuda.set_sync_debug_mode(before)
    return sum("synchroniz" in str(warning.message) for warning in told) / calls
