"""The logger of the terminal: a progress bar in an interactive terminal, plain lines otherwise."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import torch
from rich.console import Console
from rich.errors import LiveError
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

from steadygan.runs.sinks.samples import sample_name
from steadygan.training.events import Event, Scored, Stopped
from steadygan.training.events import Progress as Logged

__all__ = ["compiling", "console_sink"]

COMPILING = "compiling the step: 10 to 30 s, once for these settings"


@contextmanager
def console_sink(
    console: Console, *, steps: int, first: int, images_per_step: int
) -> Iterator[Callable[[Event], None]]:
    """Show the progress of a run: step, speed, time left, losses and latest scores."""
    live = Progress(
        TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[values]}", markup=False),
        console=console,
        disable=not console.is_terminal,
    )
    task = live.add_task("train", total=steps, completed=first, speed="", values="")
    began = time.perf_counter()
    shown: dict[str, str] = {}

    def sink(event: Event) -> None:
        if isinstance(event, Logged):
            shown.update({key: _short(event.logs[key]) for key in event.logs if key.startswith("loss/")})
            seconds = max(time.perf_counter() - began, 1e-9)
            speed = f"{(event.step - first) * images_per_step / seconds:,.0f} images/s"
            values = "  ".join(f"{key} {value}" for key, value in shown.items())
            live.update(task, completed=event.step, speed=speed, values=values)
        elif isinstance(event, Scored):
            shown.update({key: _short(value) for key, value in event.evaluated.scores.items()})
            if event.evaluated.samples:
                shown["picture"] = f"samples/{sample_name(event.step)}"
            if not console.is_terminal:
                values = "  ".join(f"{key} {value}" for key, value in shown.items())
                console.print(f"step {event.step:,}  {values}", markup=False, soft_wrap=True)
        elif isinstance(event, Stopped):
            text = f"stopped early at step {event.step:,}: {event.rule.log} is below {event.rule.below:g}"
            console.print(text, markup=False, soft_wrap=True)

    with live:
        yield sink


@contextmanager
def compiling(console: Console) -> Iterator[None]:
    """Say that the step is being compiled: with a bar and the seconds in an interactive terminal, else in a line."""
    live = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    live.add_task(COMPILING, total=None)
    with ExitStack() as stack:
        if console.is_terminal:
            with suppress(LiveError):  # rich before 14.1 shows one bar at a time
                stack.enter_context(live)
        else:
            console.print(f"{COMPILING} ...", markup=False, soft_wrap=True)
        yield


def _short(value: Tensor | float | list[float]) -> str:
    """Four digits, of an ensemble the mean over the members that have a number."""
    return f"{torch.as_tensor(value, dtype=torch.float64).nanmean().item():.4g}"
