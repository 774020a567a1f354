"""What a recipe costs, without computing anything: its networks' parameters, and the FLOPs of its steps."""

import math
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils._pytree import tree_map

from steadygan.build import build
from steadygan.config import Config
from steadygan.generate import member
from steadygan.meter import Meter
from steadygan.preview import parameters

__all__ = ["Cost", "cost"]


class Cost(NamedTuple):
    """How many parameters each player of a member has, and the FLOPs of all steps of all members."""

    parameters: dict[str, int]
    flops: int


def cost(config: Config) -> Cost:
    """Count on tensors without contents: matrix products and convolutions, as `train --dry-run` counts them.

    A step is the mean over those after which penalties that are not taken at each step, and the rule, begin anew.
    """
    quiet = {"device": "cpu", "precision": "float64" if config.precision == "float64" else "float32"}
    run = build(config.model_copy(update=quiet))
    state = member(run.state, 0) if run.ensemble else run.state
    period = math.lcm(run.rule.period, *(term.interval for term in config.critic.penalties))
    with Meter() as meter:
        for number in range(period):
            draws = run.draws(number)
            draws = tree_map(lambda leaf: leaf[0], draws) if run.ensemble else draws
            run.step(_empty(state), _empty(draws))
    return Cost(parameters(run), meter.flops * len(run.members) * config.steps // period)


def _empty(tree: Any) -> Any:
    return tree_map(lambda leaf: leaf.to("meta") if isinstance(leaf, Tensor) else leaf, tree)
