"""Update rules: how the gradients of a game move its players."""

from steadygan.dynamics._alternating import alternating
from steadygan.dynamics._consensus import consensus
from steadygan.dynamics._extragradient import extragradient
from steadygan.dynamics._lookahead import lookahead
from steadygan.dynamics._optimistic import optimistic
from steadygan.dynamics._simultaneous import simultaneous
from steadygan.dynamics._smoothing import smoothing
from steadygan.dynamics._symplectic import symplectic

__all__ = [
    "DYNAMICS",
    "TWICE",
    "alternating",
    "consensus",
    "extragradient",
    "lookahead",
    "optimistic",
    "simultaneous",
    "smoothing",
    "symplectic",
]

DYNAMICS = {
    "alternating": alternating,
    "simultaneous": simultaneous,
    "consensus": consensus,
    "smoothing": smoothing,
    "extragradient": extragradient,
    "optimistic": optimistic,
    "symplectic": symplectic,
    "lookahead": lookahead,
}
"""Every update rule under the name a recipe uses."""

TWICE = frozenset({"consensus", "smoothing", "symplectic"})
"""The rules that differentiate the field itself, for which a player's loss must keep its second derivatives."""
