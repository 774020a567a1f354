"""What to try next against each illness, from what steadygan offers, that the run does not have already."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

__all__ = ["remedy"]

CONSTRAINED = {"gan", "reg_gan", "infogan"}
"""The games whose critic takes penalties, normalization and fake-as-real."""

Facts = Mapping[str, Any]


class _Try(NamedTuple):
    """A sentence, the configuration's line, and whether the facts of a run leave room for it."""

    text: str
    config: str
    fits: Callable[[Facts], bool] = lambda facts: True


def _constrained(facts: Facts) -> bool:
    return facts.get("game", "gan") in CONSTRAINED


def _plain(facts: Facts) -> bool:
    """Whether nothing holds the critic's slopes yet."""
    return _constrained(facts) and not facts.get("penalties") and facts.get("normalization") in (None, "none")


def _lossy(*names: str) -> Callable[[Facts], bool]:
    return lambda facts: facts.get("loss") in names


def _has(*names: str) -> Callable[[Facts], bool]:
    return lambda facts: _constrained(facts) and bool(set(names) & set(facts.get("penalties") or ()))


_R1 = _Try(
    "hold the critic's slope at real samples with R1, which makes GANs converge locally (Mescheder 2018)",
    "critic.penalties=[{name: r1, weight: 1}]",
    _plain,
)
_MORE_R1 = _Try(
    "hold the critic's slope harder, at the real samples and at the fakes (R3GAN's pair of penalties)",
    "critic.penalties=[{name: r1, weight: 10}, {name: r2, weight: 10}]",
    lambda facts: _constrained(facts) and "r2" not in (facts.get("penalties") or ()),
)
_LESS_R1 = _Try(
    "the penalty leaves the critic nothing to tell: let it weigh less",
    "critic.penalties=[{name: r1, weight: 0.05}]",
    _has("r1", "r2", "zero_centered", "max_gradient"),
)
_NON_SATURATING = _Try(
    "give G the non-saturating loss, whose pull lives where D is sure (Goodfellow 2014)",
    "game.loss=non_saturating",
    _lossy("minimax", "total_variation"),
)
_RELATIVISTIC = _Try(
    "compare each fake with a real sample, so that no region of the data is left behind (RpGAN)",
    "game.loss=relativistic",
    lambda facts: facts.get("game") in CONSTRAINED and facts.get("loss") not in (None, "relativistic"),
)
_LIPSCHITZ = _Try(
    "hold the critic's slope near 1 by a penalty, where clipping holds its weights (WGAN-GP)",
    "critic={penalties: [{name: one_centered, weight: 1}]}",
    lambda facts: _constrained(facts) and "one_centered" not in (facts.get("penalties") or ()),
)
_FAR = _Try(
    "show the critic some fakes as real ones, which keeps it from knowing the data by heart (FARGAN)",
    "fake_as_real={count: 16, pool: 8}",
    lambda facts: _constrained(facts) and not facts.get("fake_as_real"),
)
_NO_FAR = _Try(
    "fake-as-real leaves the critic too little to separate: let it fade out, or leave it out",
    "fake_as_real.count=0",
    lambda facts: bool(facts.get("fake_as_real")),
)
_AUGMENT = _Try(
    "show the critic augmented images, as strongly as it overfits (ADA, Karras 2020)",
    "augment=ada",
    lambda facts: bool(facts.get("images")) and _constrained(facts) and not facts.get("augment"),
)
_SLOWER = _Try(
    "take smaller steps, of an optimizer that knows the gradients' size",
    "optimizer={name: adam, lr: 0.0002, betas: [0.0, 0.99]}",
)
_EXTRAGRADIENT = _Try(
    "look a step ahead before each step, which turns a circle into an inward spiral (Korpelevich 1976)",
    "dynamics={name: extragradient}",
    lambda facts: facts.get("dynamics") != "extragradient",
)
_CONSENSUS = _Try(
    "go down the norm of the field as well (consensus optimization, Mescheder 2017)",
    "dynamics={name: consensus, gamma: 1}",
)

_TRIES: dict[str, tuple[_Try, ...]] = {
    "diverged": (_SLOWER,),
    "dead_game": (_NON_SATURATING, _SLOWER),
    "dead_critic": (_NO_FAR, _LESS_R1, _SLOWER),
    "vanishing": (_NON_SATURATING, _LIPSCHITZ, _SLOWER),
    "exploding": (_R1, _MORE_R1, _SLOWER),
    "overfitted": (_AUGMENT, _R1, _FAR, _MORE_R1, _SLOWER),
    "memorisation": (_AUGMENT, _FAR, _MORE_R1, _SLOWER),
    "collapse": (_R1, _RELATIVISTIC, _FAR, _SLOWER),
    "hopping": (_R1, _RELATIVISTIC, _EXTRAGRADIENT, _CONSENSUS),
    "rotation": (_R1, _EXTRAGRADIENT, _CONSENSUS),
}


def remedy(name: str, facts: Facts) -> tuple[str, str]:
    """The first remedy of the illness `name` that a run of these facts has not: a sentence and a line of configuration.

    Two empty strings where nothing is to be done.

    >>> remedy("vanishing", {"loss": "minimax"})[1], remedy("healthy", {})
    ('game.loss=non_saturating', ('', ''))
    """
    found = next((each for each in _TRIES.get(name, ()) if each.fits(facts)), None)
    return (found.text, found.config) if found else ("", "")
