"""Consumers of a run's events: each is a function of one event, and knows none of the others."""

from steadygan.sinks.checkpoints import checkpoint_sink
from steadygan.sinks.console import console_sink
from steadygan.sinks.landscapes import landscape_sink
from steadygan.sinks.lines import line_sink
from steadygan.sinks.portraits import portrait_sink
from steadygan.sinks.samples import sample_sink
from steadygan.sinks.tensorboard import check_tensorboard, tensorboard_sink

__all__ = [
    "check_tensorboard",
    "checkpoint_sink",
    "console_sink",
    "landscape_sink",
    "line_sink",
    "portrait_sink",
    "sample_sink",
    "tensorboard_sink",
]
