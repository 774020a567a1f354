"""Diagnostics of GAN training: what the gradients do, what is wrong, and what to try next."""

from typing import TYPE_CHECKING

from steadygan._lazy import lazy

if TYPE_CHECKING:
    from steadygan.diagnostics.history import Events, History, Series, read
    from steadygan.diagnostics.measures import (
        SURE,
        closeness,
        compared,
        copies,
        cosine,
        critic_measures,
        fake_measures,
        features,
        ranges,
        signal_measures,
        spectral_norm,
        spread,
    )
    from steadygan.diagnostics.verdicts import VERDICTS, WELL, Verdict, Verdicts, as_html, diagnose, said

__all__ = [
    "SURE",
    "VERDICTS",
    "WELL",
    "Events",
    "History",
    "Series",
    "Verdict",
    "Verdicts",
    "as_html",
    "closeness",
    "compared",
    "copies",
    "cosine",
    "critic_measures",
    "diagnose",
    "fake_measures",
    "features",
    "ranges",
    "read",
    "said",
    "signal_measures",
    "spectral_norm",
    "spread",
]

__getattr__, __dir__ = lazy(__name__)
