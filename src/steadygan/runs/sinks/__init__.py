"""The loggers of a run's events. Each is a function of one event and independent of the others."""

from steadygan.runs.sinks.checkpoints import checkpoint_sink
from steadygan.runs.sinks.console import compiling, console_sink
from steadygan.runs.sinks.jsonl import line_sink
from steadygan.runs.sinks.landscapes import landscape_sink
from steadygan.runs.sinks.phase_portraits import portrait_sink
from steadygan.runs.sinks.samples import sample_sink
from steadygan.runs.sinks.tensorboard import tensorboard_sink

__all__ = [
    "checkpoint_sink",
    "compiling",
    "console_sink",
    "landscape_sink",
    "line_sink",
    "portrait_sink",
    "sample_sink",
    "tensorboard_sink",
]
