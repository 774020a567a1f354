"""The constraints on a critic: penalties, normalization, consistency, augmentation, noise and fake-as-real."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from steadygan import normalization
from steadygan.build.players import weighted_layers
from steadygan.config.records import Choice, make
from steadygan.config.registry import (
    AUGMENTATIONS,
    CONSISTENCY,
    GAMES,
    LOGIT_PENALTIES,
    NORMALIZATIONS,
    PENALTIES,
)
from steadygan.config.resolve import Constraints
from steadygan.data.dataset import Data
from steadygan.errors import UsageError
from steadygan.game import Network, carried, flatten
from steadygan.games import FeatureMatching, Term, View, passed
from steadygan.games.critic_batch import labelled
from steadygan.networks import logits_of
from steadygan.penalties import Critic
from steadygan.rng import generator

__all__ = ["constraints"]


def constraints(
    settings: Constraints,
    data: Data,
    nets: Mapping[str, Network],
    *,
    game: str,
    labels: bool,
    averaged: bool,
    tangent: bool,
) -> dict[str, Any]:
    """The constraints on the critic D of `nets`, as arguments of the game of this name.

    With `labels` D takes a sample and its label. With `tangent` the generator's step may replace a piecewise linear D
    by its tangent plane, which is cheaper. Raises UsageError if the game has no critic to constrain.
    """
    part, free = GAMES[game], settings.plain and not settings.penalties and not settings.clip
    free = free and settings.reduce is None and not settings.piecewise_linear
    if part.bare and (averaged or not free):
        raise UsageError(
            f"the game {game} has no critic and no samples: leave out critic, augment, noise, fake_as_real and ema"
        )
    if not part.constrained:
        if not free:
            raise UsageError(
                f"the game {game} does not use critic, augment, noise and fake_as_real: leave them out"
            )
        return {}
    normalize, cheap = _normalize(settings, data, nets["D"], labels)
    return {
        "penalties": [_term(chosen) for chosen in settings.penalties],
        "logit_terms": [make(LOGIT_PENALTIES, chosen) for chosen in settings.logit_penalties],
        "agreements": [make(CONSISTENCY, chosen) for chosen in settings.consistency],
        "view": View(
            normalize, make(AUGMENTATIONS, settings.augment), settings.instance_noise, settings.reduce
        ),
        "cheap": cheap and tangent,
        "clip": settings.clip,
        "received": settings.received,
        "matching": _matching(settings, data, nets["D"], labels),
        "far": settings.fake_as_real,
    }


def _term(chosen: Choice) -> Term:
    given = dict(chosen.options)
    weight, interval = given.pop("weight"), given.pop("interval")
    return Term(PENALTIES[chosen.name].make(**given), weight, interval)


def _normalize(settings: Constraints, data: Data, D: Network, labels: bool) -> tuple[Any, bool]:
    """The normalization of the critic's output, and whether its tangent plane may replace the critic."""
    chosen, declared = settings.normalization, settings.piecewise_linear
    if chosen.name in ("none", "spectral_normalized"):
        return None, False
    if declared:
        critic = _labelled(logits_of(D.module), labels)
        samples = _samples(data, D, "piecewise linear")
        normalization.check_piecewise_linear(critic, samples, reduce=settings.reduce)
    # A tangent plane has no derivative in D, but second-order rules and the Dirac-GAN's phase portrait need one.
    cheap = normalization.is_piecewise_linear(D.module) if declared is None else declared
    return partial(make(NORMALIZATIONS, chosen), reduce=settings.reduce), cheap


def _matching(settings: Constraints, data: Data, D: Network, labels: bool) -> FeatureMatching | None:
    """Feature matching with the layer of D that its features enter. Raises UsageError where D has no such layer."""
    if not settings.matching:
        return None
    weight, interval, count = settings.matching
    bound = D.bound(flatten(D.module), dict(carried(D.module)))  # which leaves the module's own buffers alone
    every = [D.module.get_submodule(name) for name in weighted_layers(D.module)]
    layers = passed(_labelled(bound, labels), every, _samples(data, D, "feature matching"))
    if not layers:
        raise UsageError(
            "critic.feature_matching compares what enters a layer of D, but no layer with weights of this critic is "
            "called once in a forward pass: leave it out"
        )
    if count is not None and count >= len(layers):
        raise UsageError(
            f"critic.feature_matching.layer={count} leaves no layer that the features enter, as samples pass "
            f"{len(layers)} layers of D: choose at most {len(layers) - 1}"
        )
    return FeatureMatching(layers[-1 if count is None else count], weight, interval)


ROWS = 4


def _samples(data: Data, D: Network, purpose: str) -> Tensor:
    """Random samples by which a critic is checked, in the type of its parameters."""
    dtype = next((p.dtype for p in D.module.parameters() if p.is_floating_point()), torch.float32)
    return torch.randn(ROWS, *data.shape, generator=generator(purpose)).to(dtype)


def _labelled(critic: Any, labels: bool) -> Critic:
    """The critic of these samples, which all have the first label if there are labels."""
    return labelled(critic, {"real": torch.zeros(ROWS, dtype=torch.int64)} if labels else {}, "real")
