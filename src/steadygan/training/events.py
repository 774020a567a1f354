"""What the training loop yields: one record for each kind of event."""

from typing import NamedTuple

from torch import Tensor

from steadygan.game import Logs, State

__all__ = [
    "Diverged",
    "Event",
    "Every",
    "Examined",
    "Finished",
    "Look",
    "Progress",
    "Scored",
    "Snapshot",
    "Stop",
    "Stopped",
]


class Every(NamedTuple):
    """How many steps lie between two events of a kind; the last step has all of them."""

    log: int
    score: int
    checkpoint: int
    examine: int | None = None  # never


class Stop(NamedTuple):
    """A rule that ends a run early: the logged scalar `log` is less than `below`, at step `after` or later."""

    log: str
    below: float
    after: int = 0


class Progress(NamedTuple):
    """What the step logged; tensors stay where they are until a sink reads them."""

    step: int
    wall_s: float
    logs: Logs


class Examined(NamedTuple):
    """What the gradients, the critic and the fakes of a state are found to be."""

    step: int
    wall_s: float
    logs: Logs


class Look(NamedTuple):
    """Samples [n, ...] of each member, and scores under flat names: a number, or a list over members."""

    samples: list[Tensor]
    scores: dict[str, float | list[float]]


class Scored(NamedTuple):
    """A look at the samples of a state."""

    step: int
    wall_s: float
    state: State
    look: Look


class Snapshot(NamedTuple):
    """A state that is safe to keep: finite, or in an ensemble so in the members that are not lost."""

    step: int
    state: State


class Diverged(NamedTuple):
    """Parameters became NaN or infinite between `good_step` and `step`, in these members of the ensemble.

    It began at the step `began`, where `tensor` was the first not to be finite; None where nobody traced it.
    """

    step: int
    good_step: int
    members: list[int]
    began: int | None = None
    tensor: str | None = None


class Stopped(NamedTuple):
    """The run's rule ends it at `step`, before its last; the events of a last step come as well."""

    step: int
    rule: Stop


class Finished(NamedTuple):
    """The last step is done."""

    step: int
    wall_s: float
    state: State


Event = Progress | Examined | Scored | Snapshot | Diverged | Stopped | Finished
