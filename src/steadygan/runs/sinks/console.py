"""The logger of the terminal: a progress bar in an interactive terminal, plain lines otherwise."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress

import torch
from rich.console import Console
from rich.errors import LiveError
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

from steadygan import progress
from steadygan.runs.sinks.samples import sample_name
from steadygan.training.events import Event, Scored, Stopped
from steadygan.training.events import Progress as Logged

__all__ = ["compiling", "console_sink"]

Value = Tensor | float | list[float] | str

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
    shown: dict[str, Value] = {}  # read only when they are shown

    def sink(event: Event) -> None:
        if isinstance(event, Logged):
            shown.update({key: event.logs[key] for key in event.logs if key.startswith("loss/")})
            if not console.is_terminal:
                progress.report("training", event.step, steps, "steps")
                return
            seconds = max(time.perf_counter() - began, 1e-9)
            speed = f"{(event.step - first) * images_per_step / seconds:,.0f} images/s"
            live.update(task, completed=event.step, speed=speed, values=_line(shown))
        elif isinstance(event, Scored):
            shown.update(event.evaluated.scores)
            if event.evaluated.samples:
                shown["picture"] = f"samples/{sample_name(event.step)}"
            if not console.is_terminal:
                console.print(f"step {event.step:,}  {_line(shown)}", markup=False, soft_wrap=True)
        elif isinstance(event, Stopped):
            text = f"stopped early at step {event.step:,}: {event.rule.log} is below {event.rule.below:g}"
            console.print(text, markup=False, soft_wrap=True)

    with live, progress.shown_by(_nobody) if console.quiet else nullcontext():
        yield sink


def _nobody(*told: object) -> None:
    """Shows nothing: a quiet run has no bars in a notebook either."""


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


def _line(shown: Mapping[str, Value]) -> str:
    return "  ".join(f"{key} {_short(value)}" for key, value in shown.items())


def _short(value: Value) -> str:
    """A text as it is, and of a number four digits, of an ensemble the mean over the members that have a number."""
    if isinstance(value, str):
        return value
    return f"{torch.as_tensor(value, dtype=torch.float64).nanmean().item():.4g}"
