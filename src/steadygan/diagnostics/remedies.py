"""Remedies: what steadygan offers against each problem that the run does not use already."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

__all__ = ["remedy"]

CONSTRAINED = {"gan", "reg_gan", "infogan"}
"""The games whose critic takes penalties, normalization and fake-as-real."""

Facts = Mapping[str, Any]


class _Try(NamedTuple):
    """A sentence, the line of configuration if there is one, and whether the facts of a run leave room for it."""

    text: str
    config: str = ""
    fits: Callable[[Facts], bool] = lambda facts: True


def _constrained(facts: Facts) -> bool:
    return facts.get("game", "gan") in CONSTRAINED


def _plain(facts: Facts) -> bool:
    """Whether nothing limits the critic's slopes yet."""
    return _constrained(facts) and not facts.get("penalties") and facts.get("normalization") in (None, "none")


def _rate(facts: Facts) -> float:
    """The largest learning rate where all players have Adam, else infinity."""
    rate = facts.get("adam_rate")
    return math.inf if rate is None else float(rate)


def _lossy(*names: str) -> Callable[[Facts], bool]:
    return lambda facts: facts.get("loss") in names


def _has(*names: str) -> Callable[[Facts], bool]:
    return lambda facts: _constrained(facts) and bool(set(names) & set(facts.get("penalties") or ()))


def _within(facts: Facts, low: float, high: float) -> bool:
    least, most = facts.get("reals") or (math.nan, math.nan)
    return bool(low <= least and most <= high)


_R1 = _Try(
    "limit the critic's slope at real samples with R1, which makes GANs converge locally (Mescheder 2018)",
    "critic.penalties=[{name: r1, weight: 1}]",
    _plain,
)
_MORE_R1 = _Try(
    "limit the critic's slope more strongly, at real samples and at fakes (R1 and R2 as in R3GAN, Huang 2024)",
    "critic.penalties=[{name: r1, weight: 10}, {name: r2, weight: 10}]",
    lambda facts: _constrained(facts) and "r2" not in (facts.get("penalties") or ()),
)
_LESS_R1 = _Try(
    "reduce the weight of the penalty, which leaves the critic nothing to tell apart",
    "critic.penalties=[{name: r1, weight: 0.05}]",
    lambda facts: (
        _has("r1", "r2", "zero_centered", "max_gradient")(facts)
        and facts.get("penalty_weight", math.inf) > 0.05
    ),
)
_NON_SATURATING = _Try(
    "give G the non-saturating loss, whose gradient remains where D is certain (Goodfellow 2014)",
    "game.loss=non_saturating",
    _lossy("minimax", "total_variation"),
)
_RELATIVISTIC = _Try(
    "compare each fake with a real sample, so that no region of the data is left out (RpGAN, "
    "Jolicoeur-Martineau 2019)",
    "game.loss=relativistic",
    lambda facts: facts.get("game") in CONSTRAINED and facts.get("loss") not in (None, "relativistic"),
)
_LIPSCHITZ = _Try(
    "keep the critic's slope near 1 with a penalty in place of weight clipping (WGAN-GP, Gulrajani 2017)",
    "critic={penalties: [{name: one_centered, weight: 1}]}",
    lambda facts: _constrained(facts) and "one_centered" not in (facts.get("penalties") or ()),
)
_FAR = _Try(
    "show the critic some fakes as real, which keeps it from memorising the data (FARGAN, Tao and Wang 2020)",
    "fake_as_real={count: 16, pool: 8}",
    lambda facts: _constrained(facts) and not facts.get("fake_as_real"),
)
_NO_FAR = _Try(
    "reduce fake-as-real over time or turn it off, because it leaves the critic too little to tell apart",
    "fake_as_real.count=0",
    lambda facts: bool(facts.get("fake_as_real")),
)
_AUGMENT = _Try(
    "show the critic augmented images, as strongly as it overfits (ADA, Karras 2020)",
    "augment=ada",
    lambda facts: bool(facts.get("images")) and _constrained(facts) and not facts.get("augment"),
)
_LIGHTER = _LESS_R1._replace(
    text="reduce the weight of the penalty, whose gradient may be too large for these steps"
)
_LARGER = _Try(
    "take larger steps, because float32 rounds these away",
    "optimizer={name: adam, lr: 0.002, betas: [0.0, 0.99]}",
    lambda facts: _rate(facts) < 2e-3,
)
_SLOWER = (
    _Try(
        "take smaller steps, the same for all players, with an optimizer that adapts to the size of the gradients",
        "optimizer={name: adam, lr: 0.0002, betas: [0.0, 0.99]}",
        lambda facts: _rate(facts) > 2e-4,
    ),
    _Try(
        "take steps a tenth as large",
        "optimizer={name: adam, lr: 0.00002, betas: [0.0, 0.99]}",
        lambda facts: _rate(facts) > 2e-5,
    ),
)
_EXTRAGRADIENT = _Try(
    "look one step ahead before each step, which turns a circle into an inward spiral (extragradient, "
    "Korpelevich 1976)",
    "dynamics={name: extragradient}",
    lambda facts: facts.get("dynamics") != "extragradient",
)
_CONSENSUS = _Try(
    "reduce the norm of the vector field as well (consensus optimization, Mescheder 2017)",
    "dynamics={name: consensus, gamma: 1}",
)

_RATE = _Try(
    "give this player a learning rate above 0, and check that its loss depends on its parameters",
    "optimizer={name: adam, lr: 0.0002, betas: [0.0, 0.99]}",
    lambda facts: facts.get("dynamics") is not None,  # which the trainer states; a loop has no such line
)
_STEPS = _Try(
    "check that this player's optimizer takes a step, holds this player's parameters and has a learning rate above 0"
)
_BYTES = _Try(
    "scale the real samples to the range of G's output: beside a tanh, x / 127.5 - 1 for bytes",
    fits=lambda facts: _within(facts, 0, 255) and facts["reals"][1] > 2 and bool(facts.get("tanh")),
)
_UNIT = _Try(
    "scale the real samples to the range of G's output: beside a tanh, 2 x - 1 for samples in 0..1",
    fits=lambda facts: _within(facts, 0, 1) and bool(facts.get("tanh")),
)
_SCALE = _Try(
    "scale the real samples to the range of G's output, or let G's last layer reach the data's range"
)
_NEGATE = _Try("negate the critic's output, and let D's loss push reals up and fakes down")
_UNCANCEL = _Try(
    "put the activation between this normalization and the average or the last layer, or leave the normalization out"
)

_CLEAN = _Try(
    "look for NaN and infinity in your data: the real samples are the first that is not finite",
    fits=lambda facts: (facts.get("diverged") or {}).get("tensor") == "x_real",
)

_TRIES: dict[str, tuple[_Try, ...]] = {
    "diverged": (_CLEAN, _SLOWER[0], _LIGHTER, _SLOWER[1]),
    "frozen": (_RATE, _STEPS),
    "mismatched_ranges": (_BYTES, _UNIT, _SCALE),
    "reversed_sign": (_NEGATE,),
    "cancelled_gradient": (_UNCANCEL,),
    "dead_game": (_NON_SATURATING, _LARGER, _SLOWER[0]),
    "dead_critic": (_NO_FAR, _LESS_R1, *_SLOWER),
    "vanishing": (_NON_SATURATING, _LIPSCHITZ, *_SLOWER),
    "exploding": (_R1, _MORE_R1, *_SLOWER),
    "overfitted": (_AUGMENT, _R1, _FAR, _MORE_R1, *_SLOWER),
    "memorisation": (_AUGMENT, _FAR, _MORE_R1, *_SLOWER),
    "collapse": (_R1, _RELATIVISTIC, _FAR, *_SLOWER),
    "hopping": (_R1, _RELATIVISTIC, _EXTRAGRADIENT, _CONSENSUS),
    "rotation": (_R1, _EXTRAGRADIENT, _CONSENSUS),
}


def remedy(name: str, facts: Facts) -> tuple[str, str]:
    """The first remedy for the problem `name` that a run with these facts lacks: a sentence and a configuration line.

    A mistake in the code of a loop has no configuration line. Returns two empty strings if there is nothing to do.

    >>> remedy("vanishing", {"loss": "minimax"})[1], remedy("healthy", {})
    ('game.loss=non_saturating', ('', ''))
    """
    found = next((each for each in _TRIES.get(name, ()) if each.fits(facts)), None)
    return (found.text, found.config) if found else ("", "")
