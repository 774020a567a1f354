"""What a configuration holds the critic by: penalties, normalization, consistency, noise and all the rest."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from steadygan import dynamics, normalization
from steadygan.build.arguments import make, number, options
from steadygan.config.field_types import ends
from steadygan.config.registry import AUGMENTATIONS, CONSISTENCY, NORMALIZATIONS, PENALTIES
from steadygan.data import Data
from steadygan.errors import UsageError
from steadygan.games import Clip, FakeAsReal, Term, View
from steadygan.games.critic_batch import labelled
from steadygan.networks import logits_of
from steadygan.rng import generator
from steadygan.schedules import Number, at

if TYPE_CHECKING:
    from steadygan.config import Config

__all__ = ["constraints"]


def constraints(config: "Config", data: Data, D: nn.Module, *, labels: bool) -> dict[str, Any]:
    """What the critic is held by, as arguments of a game; with `labels` it is one of a sample and its label."""
    critic = config.critic
    normalize, cheap = _normalize(config, data, D, labels)
    noisy = number(config.noise.instance, "noise.instance", config) if _is_noisy(config) else None
    return {
        "penalties": [_term(config, index) for index in range(len(critic.penalties))],
        "agreements": [
            make(CONSISTENCY, chosen, f"critic.consistency.{index}", config)
            for index, chosen in enumerate(critic.consistency)
        ],
        "view": View(normalize, make(AUGMENTATIONS, config.augment, "augment", config), noisy),
        "cheap": cheap,
        "clip": Clip(critic.clip.bound, critic.clip.when) if critic.clip else None,
        "far": _fake_as_real(config),
    }


def _term(config: "Config", index: int) -> Term:
    chosen = config.critic.penalties[index]
    given = options(chosen, f"critic.penalties.{index}", config)
    weight, interval = given.pop("weight"), given.pop("interval")
    return Term(PENALTIES[chosen.name].make(**given), weight, interval)


def _is_noisy(config: "Config") -> bool:
    return max(ends(config.noise.instance)) > 0


def _normalize(config: "Config", data: Data, D: nn.Module, labels: bool) -> tuple[Any, bool]:
    """What wraps the critic's output, and whether the generator's step may take it on the tangent plane."""
    chosen, declared = config.critic.normalization, config.critic.piecewise_linear
    if chosen.name in ("none", "spectral_normalized"):
        return None, False
    if declared:
        look = torch.randn(4, *data.shape, generator=generator("piecewise linear"))
        some = {"real": torch.zeros(4, dtype=torch.int64)} if labels else {}
        normalization.check_piecewise_linear(labelled(logits_of(D), some, "real"), look)
    cheap = normalization.is_piecewise_linear(D) if declared is None else declared
    # A tangent plane has no derivative in D, which these rules and the Dirac-GAN's portrait take.
    cheap = cheap and config.dynamics.name not in dynamics.TWICE and config.networks.name != "dirac"
    return make(NORMALIZATIONS, chosen, "critic.normalization", config), cheap


def _fake_as_real(config: "Config") -> FakeAsReal | None:
    most = round(max(ends(config.fake_as_real.count)))
    count: Number = number(config.fake_as_real.count, "fake_as_real.count", config)
    scoring = torch.bfloat16 if config.fake_as_real.scoring == "bfloat16" else None
    if not most:
        return None
    if config.accumulate > 1:
        if most % config.accumulate:
            raise UsageError(
                f"accumulate={config.accumulate} does not divide the {most} fakes of fake_as_real.count, of which each "
                "part of the batch has its share: choose one that does"
            )
        count, most = partial(_share, count, config.accumulate), most // config.accumulate
    return FakeAsReal(count, most, config.fake_as_real.pool, scoring)


def _share(count: Number, parts: int, scalars: Mapping[str, Any]) -> Any:
    return at(count, scalars) / parts
