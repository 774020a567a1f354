"""Terms of the critic's loss that are of its logits alone: the centering penalty and LeCam regularization."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

from torch import Tensor

from steadygan import losses
from steadygan.critic_outputs import Logits
from steadygan.errors import UsageError
from steadygan.game import Logs
from steadygan.schedules import Number, at

__all__ = ["LogitTerm", "centering", "lecam"]

Scalars = Mapping[str, Tensor]
REAL, FAKE = "lecam/real", "lecam/fake"


class LogitTerm(NamedTuple):
    """weight * value(real_logits, fake_logits, scalars) in the critic's loss.

    `scalars` are numbers that it keeps in the state, at their start. `adapt(scalars, logs)` returns the next ones.
    """

    name: str
    weight: Number
    value: Callable[[Logits, Logits, Scalars], Tensor]
    scalars: Mapping[str, float] = MappingProxyType({})
    adapt: Callable[[Scalars, Logs], dict[str, Tensor]] | None = None


def centering(weight: Number = 0.01) -> LogitTerm:
    """Return the term with `losses.centering`. Source: Lin 2025 (AFM).

    >>> centering(0.1).weight
    0.1
    """
    return LogitTerm("centering", weight, lambda real, fake, scalars: losses.centering(real, fake))


def lecam(weight: Number = 0.3, decay: Number = 0.99) -> LogitTerm:
    """Return the term with `losses.lecam`, whose averages are in the state and move once a step.

    average <- decay average + (1 - decay) mean logit, from 0, by the last update of the critic in the step. Raises
    UsageError at training for several critics: each needs averages of its own. Source: Tseng 2021.

    >>> dict(lecam().scalars)
    {'lecam/real': 0.0, 'lecam/fake': 0.0}
    """
    return LogitTerm("lecam", weight, _lecam, {REAL: 0.0, FAKE: 0.0}, partial(_followed, decay))


def _lecam(real_logits: Logits, fake_logits: Logits, scalars: Scalars) -> Tensor:
    if not isinstance(real_logits, Tensor):
        raise UsageError(
            "lecam keeps the averages of one critic, but this one answers with several: leave lecam out, or take "
            "losses.lecam in your own training loop, with averages for each critic"
        )
    return losses.lecam(real_logits, fake_logits, scalars[REAL], scalars[FAKE])


def _followed(decay: Number, scalars: Scalars, logs: Logs) -> dict[str, Tensor]:
    kept = at(decay, scalars)
    means = {REAL: logs["logit/real"], FAKE: logs["logit/fake"]}
    return {key: kept * scalars[key] + (1 - kept) * mean for key, mean in means.items()}
