"""What the gradients of a game do while it is trained, and what is wrong with it."""

from steadygan.diagnostics.history import Events, History, Series, read
from steadygan.diagnostics.measures import (
    SURE,
    closeness,
    copies,
    cosine,
    critic_measures,
    fake_measures,
    signal_measures,
    spectral_norm,
    spread,
)

__all__ = [
    "SURE",
    "Events",
    "History",
    "Series",
    "closeness",
    "copies",
    "cosine",
    "critic_measures",
    "fake_measures",
    "read",
    "signal_measures",
    "spectral_norm",
    "spread",
]
