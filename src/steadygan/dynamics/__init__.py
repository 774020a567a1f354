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
    "alternating",
    "consensus",
    "extragradient",
    "lookahead",
    "optimistic",
    "simultaneous",
    "smoothing",
    "symplectic",
]
