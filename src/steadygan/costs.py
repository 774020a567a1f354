"""What a recipe costs, without computing anything: its networks' parameters, and the FLOPs of its steps."""

import math
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils._pytree import tree_map

from steadygan.build import Run, build
from steadygan.config import Config
from steadygan.generate import member
from steadygan.meter import Meter

__all__ = ["Cost", "cost", "counted", "parameters", "quiet"]


class Cost(NamedTuple):
    """How many parameters each player of a member has, and the FLOPs of all steps of all members."""

    parameters: dict[str, int]
    flops: int


def cost(config: Config) -> Cost:
    """Count on tensors without contents: matrix products and convolutions, as `train --dry-run` counts them.

    A step is the mean over those after which penalties that are not taken at each step, and the rule, begin anew.
    """
    run = build(quiet(config))
    period = math.lcm(run.rule.period, *(term.interval for term in config.critic.penalties))
    flops = sum(counted(run, number).flops for number in range(period))
    return Cost(parameters(run), flops * config.steps // period)


def quiet(config: Config) -> Config:
    """The same where tensors without contents can take a step: on the CPU, without autocast."""
    precision = "float64" if config.precision == "float64" else "float32"
    return config.model_copy(update={"device": "cpu", "precision": precision})


def counted(run: Run, number: int = 0) -> Meter:
    """A meter of one step of all members, taken without computing anything: `flops` and `peak`."""
    state, draws = run.state, run.draws(number)
    if run.ensemble:
        state, draws = member(state, 0), tree_map(lambda leaf: leaf[0], draws)
    with Meter() as meter:
        run.step(_empty(state), _empty(draws))
    meter.flops, meter.peak = meter.flops * len(run.members), meter.peak * len(run.members)
    return meter


def parameters(run: Run) -> dict[str, int]:
    """How many parameters each player has."""
    return {
        name: sum(p.numel() for p in player.network.module.parameters())
        for name, player in run.game.players.items()
    }


def _empty(tree: Any) -> Any:
    return tree_map(lambda leaf: leaf.to("meta") if isinstance(leaf, Tensor) else leaf, tree)
