"""The events that the training loop yields: one record for each kind."""

from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from steadygan.game import Logs, State

if TYPE_CHECKING:
    from steadygan.diagnostics import Verdict

__all__ = [
    "Diverged",
    "Evaluated",
    "Event",
    "Every",
    "Finished",
    "Progress",
    "Scored",
    "Snapshot",
    "Statistics",
    "Stop",
    "Stopped",
    "StoppedByDiagnosis",
    "coming",
    "due",
]


class Every(NamedTuple):
    """The interval in steps of each kind of event. The last step has all kinds.

    The evaluations may be at chosen steps instead.
    """

    log: int
    score: int | tuple[int, ...]
    checkpoint: int
    diagnostics: int | None = None  # None: at the last step alone


def due(step: int, when: int | tuple[int, ...]) -> bool:
    """Whether a step is a multiple of a number, or one of the chosen steps.

    >>> due(6, 3), due(6, (0, 3)), due(0, 3)
    (True, False, True)
    """
    return step in when if isinstance(when, tuple) else step % when == 0


def coming(step: int, when: int | tuple[int, ...]) -> list[int]:
    """The next multiple of a number after `step`, or all chosen steps after it.

    >>> coming(6, 3), coming(6, (0, 7, 9))
    ([9], [7, 9])
    """
    return [each for each in when if each > step] if isinstance(when, tuple) else [step - step % when + when]


class Stop(NamedTuple):
    """Early stopping: the run ends when the logged scalar `log` is less than `below`, from step `after` on."""

    log: str
    below: float
    after: int = 0


class Progress(NamedTuple):
    """The logs of a step. Tensors stay on their device until a sink reads them."""

    step: int
    wall_s: float
    logs: Logs


class Statistics(NamedTuple):
    """The gradient statistics of a state: measures of its gradients, its critic and its fakes."""

    step: int
    wall_s: float
    logs: Logs


class Evaluated(NamedTuple):
    """The result of one evaluation: samples [n, ...] of each member, and scores by name (a list in an ensemble)."""

    samples: list[Tensor]
    scores: dict[str, float | list[float]]


class Scored(NamedTuple):
    """An evaluation of a state during training."""

    step: int
    wall_s: float
    state: State
    evaluated: Evaluated


class Snapshot(NamedTuple):
    """A state to save as a checkpoint: finite, except in members of an ensemble that have diverged."""

    step: int
    state: State


class Diverged(NamedTuple):
    """Parameters became NaN or infinite after `good_step` and by `step`, in these members of the ensemble.

    `began` is the step where it began, and `tensor` the first tensor that was not finite. Both are None if it was
    not traced.
    """

    step: int
    good_step: int
    members: list[int]
    began: int | None = None
    tensor: str | None = None


class Stopped(NamedTuple):
    """Early stopping ended the run at `step`. The events of a last step come with it."""

    step: int
    rule: Stop


class StoppedByDiagnosis(NamedTuple):
    """The verdict that stopped a run early, the step, and the members of the ensemble that have it."""

    step: int
    verdict: "Verdict"
    members: list[int]


class Finished(NamedTuple):
    """The run is complete: its last step is done."""

    step: int
    wall_s: float
    state: State


Event = Progress | Statistics | Scored | Snapshot | Diverged | Stopped | StoppedByDiagnosis | Finished
