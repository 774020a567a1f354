"""Trackers of experiments: each follows the run folder in a process of its own, which cannot harm the training."""

from typing import TYPE_CHECKING

from steadygan._lazy import lazy

if TYPE_CHECKING:
    from steadygan.runs.trackers.services import SERVICES, check_trackers
    from steadygan.runs.trackers.started import Judged, followed

__all__ = ["SERVICES", "Judged", "check_trackers", "followed"]

__getattr__, __dir__ = lazy(__name__)
