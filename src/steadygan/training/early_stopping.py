"""Early stopping by a rule: a logged scalar has fallen below a bound.

Early stopping by a verdict (`stop_on`) is in `runs.live_diagnosis`.
"""

import math
from collections.abc import Sequence

from torch import Tensor

from steadygan.training.events import Stop

__all__ = ["stops"]


def stops(rule: Stop, step: int, value: Tensor | Sequence[float | None] | float | None) -> bool:
    """Whether the scalar `value` meets the rule at `step`; in an ensemble, that of every member that is finite.

    >>> import torch
    >>> rule = Stop("convergence", below=0.5, after=10)
    >>> stops(rule, 10, torch.tensor([0.4, torch.nan])), stops(rule, 10, [0.4, 0.6]), stops(rule, 9, 0.4)
    (True, False, False)
    """
    if step < rule.after or value is None:
        return False
    values = value.flatten().tolist() if isinstance(value, Tensor) else value
    each = values if isinstance(values, Sequence) else [values]
    found = [v for v in each if v is not None and math.isfinite(v)]
    return bool(found) and all(v < rule.below for v in found)
